#!/usr/bin/env bash
# A home: hosts on the LAN of a router with NAT, IPv6 behind a firewall that opens from inside, and servers outside.
set -euo pipefail
topology=home
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

class=ei/apd

usage() {
    cat <<'END'
home.sh up [CLASS] [OPTION...]
home.sh down | status
home.sh run HOST COMMAND...      HOST: laptop, desktop, router, server, control, internet

END
    nat_usage
}

options() {
    class=ei/apd
    if [ $# -gt 0 ] && is_class "$1"; then
        class=$1
        shift
    fi
    nat_options "$@"
}

build() {
    internet
    home router 1 "$class"
    inside laptop 2
    inside desktop 3
}

inside() { # HOST NUMBER
    host "$1"
    plug "$1" eth0 router "192.168.1.$2/24" "2001:db8:1::$2/64"
    gateway "$1" eth0 192.168.1.1 2001:db8:1::1
}

main "$@"
