#!/usr/bin/env bash
# Tests the topologies in namespaces of their own, so that nothing of this machine is touched. Root tests as root, and what
# packets do and that scripts go up and down as an ordinary user, too, who needs no more than `unshare -Urmn`.
#
#   test.sh            all
#   test.sh NAME...    classes, such as test_nat.Usual
#   test.sh lint       shellcheck
#
# Exit codes: 0 passed, 1 failed, 3 this machine cannot run them, and why.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
here=$(dirname "$(readlink -f "$0")")
readonly NOBODY=65534
readonly CANNOT=3
stage=

# Python of the system: an ordinary user may not be able to read another one.
python=/usr/bin/python3
[ -x "$python" ] || python=python3

# Where trouble is tried; the user makes no difference to it.
readonly TROUBLE='test_life\.(Failures|Misuse|Partly)'

main() {
    local code=0 tests
    if [ "${1:-}" = lint ]; then
        cd "$here/.." && exec shellcheck --external-sources netns-scripts/*.sh
    fi
    check_machine
    [ $# -eq 0 ] || tests=$(printf '%s\n' "$@")
    [ $# -gt 0 ] || tests=$(classes)
    stage=$(mktemp --directory)
    trap 'rm -rf "$stage"' EXIT
    cp -r "$here" "$stage/netns-scripts"
    chmod -R a+rX "$stage"
    # The longest ones come first in the order of the names.
    for_whom "$tests" | sort --key 2 | run_all || code=1
    return "$code"
}

# A line USER CLASS for all that is to be run.
for_whom() { # CLASSES
    local class
    for class in $1; do
        [ "$(id -u)" -ne 0 ] || echo "root $class"
        [ "$(id -u)" -eq 0 ] && [[ $class =~ $TROUBLE ]] || echo "ordinary_user $class"
    done
}

check_machine() {
    local program
    for program in ip:iproute2 nft:nftables nsenter:util-linux unshare:util-linux "$python:python3"; do
        command -v "${program%:*}" >/dev/null || cannot "${program%:*} is missing (Debian package ${program#*:})"
    done
    local enter=(unshare --mount --net)
    [ "$(id -u)" -eq 0 ] || enter=(unshare -Urmn)
    "${enter[@]}" true 2>/dev/null || cannot "'${enter[*]}' is not allowed here"
    "${enter[@]}" nft add table inet probe 2>/dev/null || cannot "this kernel has no nftables"
}

cannot() {
    echo "netns-scripts: NOT TESTED: $*" >&2
    exit "$CANNOT"
}

classes() {
    (cd "$here/tests" && "$python" -B -c '
import unittest
suites = unittest.defaultTestLoader.discover(".")
names = {f"{type(test).__module__}.{type(test).__qualname__}" for module in suites for suite in module for test in suite}
print(*sorted(names), sep="\n")')
}

# Each class in network and mount namespaces of its own, several at a time; standard input has lines USER CLASS.
run_all() {
    export stage python NOBODY
    export -f run_one
    xargs --max-procs="$(($(nproc) * 2))" --max-args=2 bash -euo pipefail -c 'run_one "$@"' bash
}

run_one() { # USER CLASS
    local enter=(unshare -Urmn) said
    [ "$(id -u)" -ne 0 ] || enter=(setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups unshare -Urmn)
    [ "$1" = ordinary_user ] || enter=(unshare --mount --net)
    # shellcheck disable=SC2016  # the inner shell expands
    if said=$("${enter[@]}" bash -ec '
        mount -t tmpfs tmpfs /run
        cd "$1/netns-scripts/tests"
        exec "$2" -B -W error -m unittest "$3"' bash "$stage" "$python" "$2" 2>&1); then
        echo "$1::$2: $(grep '^Ran' <<<"$said")"
    else
        printf '%s::%s: FAILED\n%s\n' "$1" "$2" "$said"
        exit 1
    fi
}

main "$@"
