# shellcheck shell=bash
# What every topology here does alike: up, down, status and run; namespaces, wires, addresses and routes.
#
# A script says `topology=NAME`, sources this file, defines `usage`, `options` (reads the words after `up`) and `build`
# (the topology, once, in the words below), and ends with `main "$@"`. The same `build` makes the topology and tells
# `status` what there should be. Further commands are functions named `command_NAME`.
#
# Everything is in namespaces called ice.TOPOLOGY.HOST, interfaces and rules included. `down` removes those of its
# topology; nothing else is ever touched.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

: "${topology:?a script names its topology before it sources lib.sh}"
readonly NAMES=/run/netns
readonly PREFIX="ice.$topology."

# Exit codes. Of status: up, down or partly up. Of the others: done, failed, not on this machine, misused.
readonly UP=0 DOWN=1 PARTLY=2 CANNOT=3 MISUSED=64

# What `build` does: `make` things, or only `list` them in `expected`.
doing='list'
expected=()

main() {
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    case $command in
        help | -h | --help) usage ;;
        up | down | status | run)
            check_machine
            "$command" "$@"
            ;;
        *)
            declare -F "command_${command//-/_}" >/dev/null || misused "no such command: $command"
            check_machine
            [ "$(state)" = "$UP" ] || fail "$topology is not up"
            "command_${command//-/_}" "$@"
            ;;
    esac
}

say() { printf '%s\n' "$topology: $*"; }
fail() { say "$*" >&2 && exit 1; }
cannot() { say "$*" >&2 && exit "$CANNOT"; }
misused() {
    say "$*" >&2
    usage >&2
    exit "$MISUSED"
}

# -------------------------------------------------------------------------------------------------- up, down and status

up() {
    options "$@"
    case $(state) in
        "$UP")
            [ "$(recorded)" = "$*" ] || fail "is up with other options: '$(recorded)', not '$*'; take it down first"
            say "is up already"
            return
            ;;
        "$PARTLY") down ;;
    esac
    trap undo EXIT
    doing='make'
    build
    record "$*"
    trap - EXIT
    say "is up"
}

# What an `up` that did not come to its end leaves behind: nothing.
undo() {
    local code=$?
    trap - EXIT
    say "could not be made; what there was of it is removed" >&2
    down >&2 || true
    # 128 and more: by a signal.
    exit "$((code > 128 ? code : 1))"
}

down() {
    local name inside
    for name in $(present); do
        # A namespace lives as long as somebody is in it, even without its name. Nobody's programs are ended from here.
        inside=$(running "$name")
        if [ -n "$inside" ]; then
            say "still running in ${name#"$PREFIX"}, without a network from now on: process $inside" >&2
            delete_interfaces "$name"
        fi
        ip netns delete "$name"
    done
    say "is down"
}

# Processes whose network namespace this is. `ip netns pids` would go through all processes once for each namespace.
processes=
running() { # NAMESPACE
    local inode path number
    [ -n "$processes" ] || processes=$(stat --dereference --format '%i %n' /proc/[0-9]*/ns/net 2>/dev/null) || true
    inode=$(stat --format %i "$NAMES/$1")
    while read -r number path; do
        [ "$number" != "$inode" ] || printf '%s ' "${path//[!0-9]/}"
    done <<<"$processes"
}

delete_interfaces() { # NAMESPACE
    local interface
    # The first deletion of a pair takes the other end with it.
    for interface in $(interfaces "$1"); do
        ip -n "$1" link delete dev "$interface" 2>/dev/null || true
    done
}

status() {
    local lacking name words code=$UP
    lacking=$(missing)
    if [ -z "$(present)" ]; then
        say "down"
        return "$DOWN"
    elif [ -n "$lacking" ]; then
        say "partly up"
        code=$PARTLY
    else
        words=$(recorded)
        say "up${words:+ ($words)}"
    fi
    for name in $(present); do
        printf '\n%s\n' "$name"
        ip -n "$name" -brief address show 2>/dev/null | grep -v '^lo ' | sed 's/^/    /' || true
    done
    [ -z "$lacking" ] || printf 'missing: %s\n' "${lacking//$'\n'/$'\n'missing: }"
    return "$code"
}

run() { # HOST COMMAND...
    [ $# -ge 2 ] || misused "run which command on which host?"
    [ -e "$NAMES/$PREFIX$1" ] || fail "no host $1; there are: $(present | sed "s/^$PREFIX//" | tr '\n' ' ')"
    local host=$1
    shift
    exec ip netns exec "$PREFIX$host" "$@"
}

# Prints UP, DOWN or PARTLY.
state() {
    if [ -z "$(present)" ]; then
        echo "$DOWN"
    elif [ -n "$(missing)" ]; then
        echo "$PARTLY"
    else
        echo "$UP"
    fi
}

# Namespaces of this topology.
present() {
    local path
    for path in "$NAMES/$PREFIX"*; do
        [ ! -e "$path" ] || echo "${path##*/}"
    done
}

# Things that should be there and are not, a line each: HOST, HOST/INTERFACE or HOST:TABLE.
missing() {
    local words name interface table thing
    declare -A there=()
    if ! words=$(recorded); then
        echo "the end of 'up'"
        return
    fi
    # shellcheck disable=SC2086  # the words of `up`, which hold no blanks
    options $words
    expected=()
    doing='list'
    build
    for name in $(present); do
        there[${name#"$PREFIX"}]=yes
        for interface in $(interfaces "$name"); do
            there[${name#"$PREFIX"}/$interface]=yes
        done
    done
    for thing in "${expected[@]}"; do
        if [[ $thing = *:* && -n ${there[${thing%:*}]-} ]]; then
            while read -r _ _ table; do
                there[${thing%:*}:$table]=yes
            done < <(in_namespace "$PREFIX${thing%:*}" nft list tables)
        fi
        [ -n "${there[$thing]-}" ] || echo "$thing"
    done
}

# All but the loopback interface.
interfaces() { # NAMESPACE
    local interface
    while read -r _ interface _; do
        [ "$interface" = lo: ] || echo "${interface%%[@:]*}"
    done < <(ip -n "$1" -oneline link show 2>/dev/null)
}

# The last thing that `up` does: the words it was called with, kept as an alias of the loopback interface, so that they
# live exactly as long as the topology.
record() { # WORDS
    local name
    for name in $(present); do
        ip -n "$name" link set dev lo alias "up $1"
    done
}

recorded() {
    local name line
    for name in $(present); do
        while read -r line; do
            [[ $line = 'alias up'* ]] || continue
            line=${line#alias up}
            echo "${line# }"
            return
        done < <(ip -n "$name" link show dev lo 2>/dev/null)
    done
    return 1
}

# ------------------------------------------------------------------------------------------------- what this needs to run

check_machine() {
    local program
    for program in ip:iproute2 nft:nftables nsenter:util-linux; do
        command -v "${program%:*}" >/dev/null || cannot "needs ${program%:*} (Debian package ${program#*:})"
    done
    [ "$(id -u)" -eq 0 ] || cannot "needs root; without it, open a shell by 'unshare -Urmn' first"
    if ! mkdir -p "$NAMES" 2>/dev/null || ! [ -w "$NAMES" ]; then
        # Root of a user namespace may not write to the machine's /run, but has its own mounts: an own /run, then.
        mount -t tmpfs tmpfs /run 2>/dev/null || cannot "may not write to $NAMES; use 'unshare -Urmn', with the m"
        mkdir "$NAMES"
    fi
}

in_namespace() { # NAMESPACE COMMAND...
    # Lighter than `ip netns exec`, which mounts /sys anew.
    nsenter --net="$NAMES/$1" "${@:2}"
}

# --------------------------------------------------------------------------------------------- the words of a topology

# Hosts, which answer to nobody else's packets.
host() { # NAME...
    local name
    for name; do
        expected+=("$name")
        [ "$doing" = make ] || continue
        ip netns add "$PREFIX$name"
        ip -n "$PREFIX$name" link set dev lo up
        # IPv4 settings start as copies of the machine's. IPv6 addresses are usable at once without the search for
        # duplicates, and come from here alone.
        set_kernel "$name" net/ipv4/ip_forward=0 net/ipv4/conf/all/rp_filter=0 net/ipv4/conf/default/rp_filter=0 \
            net/ipv6/conf/default/accept_dad=0 net/ipv6/conf/all/accept_dad=0 net/ipv6/conf/default/accept_ra=0
    done
}

# Hosts that forward.
router() { # NAME...
    local name
    host "$@"
    for name; do
        set_kernel "$name" net/ipv4/ip_forward=1 net/ipv6/conf/all/forwarding=1 \
            net/ipv4/conf/all/send_redirects=0 net/ipv4/conf/default/send_redirects=0
    done
}

# A wire between two hosts, with an interface at either end.
wire() { # HOST INTERFACE HOST INTERFACE
    expected+=("$1/$2" "$3/$4")
    [ "$doing" = make ] || return 0
    # Neither end can be up before the other one is there.
    ip -n "$PREFIX$1" -batch - <<<"link add name $2 type veth peer name $4 netns $PREFIX$3
link set dev $2 up"
    ip -n "$PREFIX$3" link set dev "$4" up
}

# A switch inside a host, which joins the interfaces that are enslaved to it.
bridge() { # HOST BRIDGE
    expected+=("$1/$2")
    [ "$doing" = make ] || return 0
    ip -n "$PREFIX$1" link add name "$2" up type bridge forward_delay 0 mcast_snooping 0
    # Where br_netfilter is loaded (Docker does), the rules of routers would see frames that are only bridged, and what a
    # host hairpins to itself would be turned round in the bridge and not leave by the port that it came in by.
    # shellcheck disable=SC2016  # the inner shell expands
    in_namespace "$PREFIX$1" sh -ec 'for one in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do
        [ ! -e "$one" ] || echo 0 > "$one"
    done'
}

enslave() { # HOST BRIDGE INTERFACE
    [ "$doing" = make ] || return 0
    ip -n "$PREFIX$1" link set dev "$3" master "$2"
}

address() { # HOST INTERFACE ADDRESS/LENGTH...
    [ "$doing" = make ] || return 0
    local one lines=
    for one in "${@:3}"; do
        lines+="address replace $one dev $2"
        case $one in *:*) lines+=' nodad' ;; esac
        lines+=$'\n'
    done
    ip -n "$PREFIX$1" -batch - <<<"$lines"
}

route() { # HOST ROUTE...
    [ "$doing" = make ] || return 0
    # shellcheck disable=SC2046  # no word at all for IPv4
    ip -n "$PREFIX$1" $(case "$*" in *:*) echo -6 ;; esac) route replace "${@:2}"
}

set_kernel() { # HOST SETTING=VALUE...
    [ "$doing" = make ] || return 0
    # shellcheck disable=SC2016  # the inner shell expands
    in_namespace "$PREFIX$1" sh -ec 'for one; do echo "${one#*=}" > "/proc/sys/${one%%=*}"; done' sh "${@:2}"
}

# nftables rules, which replace what the table held.
rules() { # HOST TABLE RULES
    expected+=("$1:$2")
    [ "$doing" = make ] || return 0
    in_namespace "$PREFIX$1" nft -f - <<<"table inet $2; delete table inet $2; table inet $2 {
$3
}"
}
