#!/usr/bin/env bash
# A laptop with WiFi (a home) and cellular (a carrier), and a desktop in another home. Both ways have default routes with
# metrics, and policy routing that lets each address leave by its own interface.
set -euo pipefail
topology=two-paths
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=netns-scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=netns-scripts/parts.sh
. "$here/parts.sh"

home_class=ei/apd
carrier_class=ei/apd

usage() {
    cat <<'END'
two-paths.sh up [HOME [CARRIER]] [--block BLOCK] [OPTION...]   classes of the NATs of both homes, and of the carrier's
two-paths.sh down | status
two-paths.sh run HOST COMMAND...    HOST: laptop, desktop, home, o2, far-home, server, control, internet
two-paths.sh metric INTERFACE N     the laptop's default routes by wlan0 (600 at first) or wwan0 (700); least wins
two-paths.sh off INTERFACE          switched off: the kernel takes routes and IPv6 addresses away, and tells
two-paths.sh on INTERFACE           and on again, with the metric it had
two-paths.sh carrier-off INTERFACE  the other end is gone: no carrier; addresses stay, and sending still succeeds
two-paths.sh carrier-on INTERFACE
two-paths.sh policy off|on          without policy routing, all packets leave by the least metric, whatever their source

END
    block_usage
    nat_usage
}

options() {
    block_option "$@"
    two_classes "${rest[@]}"
    home_class=$first_class carrier_class=$second_class
}

build() {
    internet
    home home 1 "$home_class"
    carrier o2 2 "$carrier_class" "$blocked"
    home far-home 3 "$home_class"
    host laptop desktop
    plug laptop wlan0 home 192.168.1.2/24
    plug laptop wwan0 o2 100.64.2.2/24
    plug desktop eth0 far-home 192.168.3.2/24 2001:db8:3::2/64
    gateway desktop eth0 192.168.3.1 2001:db8:3::1
    way wlan0 600
    way wwan0 700
    policy
}

# Each way of the laptop: its network's number, its routers, and the addresses.
way_of() { # INTERFACE
    case $1 in
        wlan0) ipv4=192.168.1 ipv6=2001:db8:1: table=101 port=home ;;
        wwan0) ipv4=100.64.2 ipv6=2001:db8:2: table=102 port=o2 ;;
        *) misused "the laptop has wlan0 and wwan0, not '$1'" ;;
    esac
}

# Addresses and routes of a way; what is there stays, so this also mends what `off` has taken.
way() { # INTERFACE METRIC
    local ipv4 ipv6 table port
    way_of "$1"
    address laptop "$1" "$ipv4.2/24" "$ipv6:2/64"
    default_routes "$1" "$2"
    route laptop default via "$ipv4.1" dev "$1" table "$table"
    route laptop default via "$ipv6:1" dev "$1" table "$table"
    # Kept for `on`.
    if [ "$doing" = make ]; then ip -n "${PREFIX}laptop" link set dev "$1" alias "metric $2"; fi
}

default_routes() { # INTERFACE METRIC
    [ "$doing" = make ] || return 0
    local family router
    for family in -4 -6; do
        router=$ipv4.1
        [ "$family" = -4 ] || router=$ipv6:1
        ip -n "${PREFIX}laptop" "$family" route replace default via "$router" dev "$1" metric "$2"
        ip -n "${PREFIX}laptop" "$family" route show default dev "$1" | sed -n 's/.* metric \([0-9]*\).*/\1/p' |
            while read -r old; do
                [ "$old" = "$2" ] || ip -n "${PREFIX}laptop" "$family" route delete default dev "$1" metric "$old"
            done
    done
}

policy() {
    [ "$doing" = make ] || return 0
    local interface ipv4 ipv6 table port
    no_policy
    for interface in wlan0 wwan0; do
        way_of "$interface"
        ip -n "${PREFIX}laptop" -4 rule add from "$ipv4.2" lookup "$table" priority "$table"
        ip -n "${PREFIX}laptop" -6 rule add from "$ipv6:2" lookup "$table" priority "$table"
    done
}

no_policy() {
    local family priority
    for family in -4 -6; do
        for priority in 101 102; do
            ip -n "${PREFIX}laptop" "$family" rule delete priority "$priority" 2>/dev/null || true
        done
    done
}

command_metric() { # INTERFACE METRIC
    [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || misused "no metric: ${2:-}"
    local ipv4 ipv6 table port
    way_of "${1:-}"
    ip -n "${PREFIX}laptop" -oneline link show dev "$1" up | grep -q . || fail "$1 is off"
    doing='make'
    way "$1" "$2"
}

command_off() { # INTERFACE
    local ipv4 ipv6 table port
    way_of "${1:-}"
    ip -n "${PREFIX}laptop" link set dev "$1" down
}

command_on() { # INTERFACE
    local ipv4 ipv6 table port metric
    way_of "${1:-}"
    metric=$(ip -n "${PREFIX}laptop" -details link show dev "$1" | sed -n 's/^ *alias metric //p')
    ip -n "${PREFIX}laptop" link set dev "$1" up
    doing='make'
    way "$1" "$metric"
}

command_carrier_off() { far_end "${1:-}" down; }
command_carrier_on() { far_end "${1:-}" up; }

far_end() { # INTERFACE up|down
    local ipv4 ipv6 table port
    way_of "$1"
    ip -n "$PREFIX$port" link set dev "laptop-$1" "$2"
}

command_policy() { # off|on
    doing='make'
    case ${1:-} in
        on) policy ;;
        off) no_policy ;;
        *) misused "policy off or on?" ;;
    esac
}

main "$@"
