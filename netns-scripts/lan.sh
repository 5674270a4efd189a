#!/usr/bin/env bash
# A LAN segment: hosts on one switch, with multicast, and nothing else. IPv4 and IPv6 (unique local and link-local).
set -euo pipefail
topology=lan
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

hosts=()

usage() {
    cat <<'END'
lan.sh up [HOST...]           hosts on one switch; default: laptop desktop phone
lan.sh down | status
lan.sh run HOST COMMAND...
lan.sh unplug HOST            the wire is out: no carrier; addresses and routes stay, and sending still succeeds
lan.sh plug HOST              and in again
END
}

options() {
    local name
    hosts=("$@")
    [ $# -gt 0 ] || hosts=(laptop desktop phone)
    [ ${#hosts[@]} -le 200 ] || misused "more than 200 hosts"
    for name in "${hosts[@]}"; do
        # The switch's end of the wire is called HOST-eth0, in at most 15 characters.
        [[ $name =~ ^[a-z][a-z0-9-]{0,9}$ && $name != switch ]] || misused "no name for a host: $name"
    done
    [ -z "$(printf '%s\n' "${hosts[@]}" | sort | uniq -d)" ] || misused "two hosts of one name"
}

build() {
    local name number=1
    host switch
    bridge switch lan
    for name in "${hosts[@]}"; do
        number=$((number + 1))
        host "$name"
        plug "$name" eth0 switch "192.168.1.$number/24" "fd00:1::$(printf %x "$number")/64"
        # Without a default route, IPv4 multicast of a program that names no interface has nowhere to go.
        route "$name" 224.0.0.0/4 dev eth0
    done
}

command_unplug() { carrier_of "${1:-}" down; }
command_plug() { carrier_of "${1:-}" up; }

carrier_of() { # HOST up|down
    ip -n "${PREFIX}switch" link show dev "$1-eth0" >/dev/null 2>&1 || misused "no such host: '$1'"
    ip -n "${PREFIX}switch" link set dev "$1-eth0" "$2"
}

main "$@"
