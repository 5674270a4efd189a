#!/usr/bin/env bash
# Two carriers with a phone each, as the field notes of June 2024 met them: carrier-grade NAT, IPv4 UDP between peers
# blocked while servers are reached, and IPv6 behind firewalls that open from inside.
set -euo pipefail
topology=carrier
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

o2_class=ei/apd
telekom_class=ei/apd

usage() {
    cat <<'END'
carrier.sh up [O2 [TELEKOM]] [--block BLOCK] [OPTION...]   classes of the carriers' NATs; the options are for both
carrier.sh down | status
carrier.sh run HOST COMMAND...     HOST: phone1 (at o2), phone2 (at telekom), o2, telekom, server, control, internet
carrier.sh block [CARRIER BLOCK]   what is blocked and how many packets were; or another block from now on

END
    block_usage
    nat_usage
}

options() {
    block_option "$@"
    two_classes "${rest[@]}"
    o2_class=$first_class telekom_class=$second_class
}

build() {
    internet
    carrier o2 1 "$o2_class" "$blocked"
    phone phone1 o2 1
    carrier telekom 2 "$telekom_class" "$blocked"
    phone phone2 telekom 2
}

phone() { # HOST CARRIER N
    host "$1"
    plug "$1" wwan0 "$2" "100.64.$3.2/24" "2001:db8:$3::2/64"
    gateway "$1" wwan0 "100.64.$3.1" "2001:db8:$3::1"
}

command_block() { # [CARRIER BLOCK]
    local name
    if [ $# -eq 0 ]; then
        for name in o2 telekom; do
            printf '%s\n' "$name"
            in_namespace "$PREFIX$name" nft list chain inet block forward | grep counter | sed 's/^[[:space:]]*/    /' || true
        done
        return
    fi
    case $1 in o2 | telekom) ;; *) misused "no such carrier: $1" ;; esac
    is_block "${2:-}" || misused "no such block: ${2:-}"
    doing='make'
    block "$1" "$2"
}

main "$@"
