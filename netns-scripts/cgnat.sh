#!/usr/bin/env bash
# Homes behind a carrier: two home NATs behind one carrier-grade NAT, as with a hotspot. IPv4 only.
set -euo pipefail
topology=cgnat
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

home=ei/apd
carrier=ei/apd

usage() {
    cat <<'END'
cgnat.sh up [HOME [CARRIER]] [OPTION...]   classes of the NATs of both homes, and of the carrier's; the options are for all
cgnat.sh down | status
cgnat.sh run HOST COMMAND...               HOST: laptop, home1, desktop, home2, carrier, server, control, internet

END
    nat_usage
}

options() {
    two_classes "$@"
    home=$first_class carrier=$second_class
}

build() {
    internet
    border carrier 9 100.64.9.1/24
    nat carrier 203.0.113.9 "$carrier"
    subscriber home1 1 laptop
    subscriber home2 2 desktop
}

subscriber() { # ROUTER N HOST
    router "$1"
    plug "$1" wan carrier "100.64.9.1$2/24"
    gateway "$1" wan 100.64.9.1
    bridge "$1" lan
    address "$1" lan "192.168.$2.1/24"
    nat "$1" "100.64.9.1$2" "$home"
    host "$3"
    plug "$3" eth0 "$1" "192.168.$2.2/24"
    gateway "$3" eth0 "192.168.$2.1"
}

main "$@"
