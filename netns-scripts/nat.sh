#!/usr/bin/env bash
# Two hosts, each behind a NAT of the class you name, and servers between them. IPv4 only.
set -euo pipefail
topology=nat
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

left=ei/apd
right=ei/apd

usage() {
    cat <<'END'
nat.sh up [LEFT [RIGHT]] [OPTION...]   two hosts, each behind a NAT of its class; one class is for both
nat.sh down | status
nat.sh run HOST COMMAND...             HOST: left, left2, left-nat, right, right2, right-nat, server, control, internet

END
    nat_usage
}

options() {
    two_classes "$@"
    left=$first_class right=$second_class
}

build() {
    internet
    side left 1 "$left"
    side right 2 "$right"
}

side() { # NAME N CLASS
    border "$1-nat" "$2" "192.168.$2.1/24"
    host "$1" "${1}2"
    plug "$1" eth0 "$1-nat" "192.168.$2.2/24"
    plug "${1}2" eth0 "$1-nat" "192.168.$2.3/24"
    gateway "$1" eth0 "192.168.$2.1"
    gateway "${1}2" eth0 "192.168.$2.1"
    nat "$1-nat" "203.0.113.$2" "$3"
}

main "$@"
