# shellcheck shell=bash
# What topologies are made of: the internet with its servers, NATs by RFC 4787 class, firewalls, networks of hosts.
#
# Addresses are those of the network model: N counts networks, none appears on the real internet.
#
#   host behind a home NAT       192.168.N.0/24   2001:db8:N::/64      outside of a NAT   203.0.113.N
#   host behind a carrier's NAT  100.64.N.0/24    2001:db8:N::/64      servers            198.51.100.0/24  2001:db8:ffff::/64

# shellcheck source=netns-scripts/lib.sh
[ -n "${topology:-}" ] || . ./lib.sh
readonly SERVERS="198.51.100.1, 198.51.100.2"

# The internet: `server` with two addresses, as RFC 5780 wants it, and `control`, a host without NAT that no carrier
# knows as a server.
internet() {
    router internet
    host server control
    address internet lo 192.0.2.1/32 2001:db8:fffe::1/128
    public_host server 198.51.100.1 2001:db8:ffff::1
    public_host server 198.51.100.2 2001:db8:ffff::2
    public_host control 198.51.100.9 2001:db8:ffff::9
}

# An address of a host on the internet; the first one brings the wire.
public_host() { # HOST IPV4 IPV6
    case " ${expected[*]} " in
        *" $1/eth0 "*) ;;
        *) uplink "$1" eth0 ;;
    esac
    address "$1" eth0 "$2/32" "$3/128"
    route internet "$2" dev "$1"
    route internet "$3" via fe80::2 dev "$1"
}

# The wire from a router or host to the internet.
uplink() { # HOST INTERFACE
    wire "$1" "$2" internet "$1"
    address internet "$1" fe80::1/64
    address "$1" "$2" fe80::2/64
    route "$1" 192.0.2.1 dev "$2"
    route "$1" default via 192.0.2.1 dev "$2"
    route "$1" default via fe80::1 dev "$2"
}

# A router between the internet and network N: outside `wan` with 203.0.113.N, inside `lan` with the addresses given.
border() { # HOST N INSIDE/LENGTH...
    router "$1"
    uplink "$1" wan
    address "$1" wan "203.0.113.$2/32"
    route internet "203.0.113.$2" dev "$1"
    bridge "$1" lan
    address "$1" lan "${@:3}"
}

# Sends what is for the global IPv6 addresses of network N to its router.
delegate_ipv6() { # HOST N
    route internet "2001:db8:$2::/64" via fe80::2 dev "$1"
}

# A host's interface on the inside of a router or switch.
plug() { # HOST INTERFACE ROUTER ADDRESS/LENGTH...
    wire "$1" "$2" "$3" "$1-$2"
    enslave "$3" lan "$1-$2"
    address "$1" "$2" "${@:4}"
}

gateway() { # HOST INTERFACE ROUTER...
    local router
    for router in "${@:3}"; do
        route "$1" default via "$router" dev "$2"
    done
}

# A carrier: network N with carrier-grade NAT, IPv6 behind a firewall that opens from inside, and a block.
carrier() { # HOST N CLASS BLOCK
    border "$1" "$2" "100.64.$2.1/24" "2001:db8:$2::1/64"
    delegate_ipv6 "$1" "$2"
    nat "$1" "203.0.113.$2" "$3"
    block "$1" "$4"
}

# A home: network N with a NAT, and IPv6 behind a firewall that opens from inside.
home() { # HOST N CLASS
    border "$1" "$2" "192.168.$2.1/24" "2001:db8:$2::1/64"
    delegate_ipv6 "$1" "$2"
    nat "$1" "203.0.113.$2" "$3"
}

# ---------------------------------------------------------------------------------------------------------------- blocks

# Of IPv4 UDP alone, by the address that the outside sees, in both directions, without an answer.
is_block() { # WORD
    case $1 in none | udp-p2p | stun | udp) ;; *) return 1 ;; esac
}

# What `block_option` has read: the block, and the words besides.
blocked=udp-p2p
# shellcheck disable=SC2034  # read by the topologies
rest=()

block_option() { # WORD...
    rest=() blocked=udp-p2p
    while [ $# -gt 0 ]; do
        if [ "$1" = --block ]; then
            is_block "${2:-}" || misused "no such block: ${2:-}"
            # shellcheck disable=SC2034  # read by the topologies
            blocked=$2
            shift 2
        else
            rest+=("$1")
            shift
        fi
    done
}

block_usage() {
    cat <<'END'
BLOCK, of IPv4 and in both directions:
  udp-p2p   UDP to and from all but the known servers 198.51.100.1 and .2
  stun      UDP with the magic cookie of STUN (RFC 8489 section 5) in its place
  udp       all UDP
  none
END
}

block() { # HOST BLOCK
    rules "$1" block "chain forward {
        type filter hook forward priority filter - 1
        $(block_rules "$2")
    }"
}

block_rules() { # BLOCK
    local out in
    case $1 in
        none) return ;;
        udp) out='' in='' ;;
        udp-p2p) out="ip daddr != { $SERVERS }" in="ip saddr != { $SERVERS }" ;;
        # Behind eight bytes of UDP and four of STUN.
        stun) out='@th,96,32 0x2112a442' in='@th,96,32 0x2112a442' ;;
    esac
    cat <<END
    oifname "wan" meta nfproto ipv4 meta l4proto udp $out counter drop
    iifname "wan" meta nfproto ipv4 meta l4proto udp $in counter drop
END
}

# ------------------------------------------------------------------------------------------------------------------- NAT

# What a NAT does, as `nat_options` and `two_classes` have read it.
nat_hairpin=yes nat_ports=preserved nat_timeout=120
# shellcheck disable=SC2034  # read by the topologies
first_class=ei/apd second_class=ei/apd

nat_usage() {
    cat <<'END'
CLASS is MAPPING/FILTERING, each of ei (endpoint-independent), ad (address-dependent) and apd (address-and-port-
dependent), RFC 4787 sections 4.1 and 5; or masquerade or masquerade-random: what Linux does by itself. Default: ei/apd.
  --hairpin yes|no    packets from inside to the NAT's own outside address       (default yes; not with masquerade)
  --ports WHICH       outside ports: preserved where the class allows it and nobody else has it, and otherwise random
                      (default); sequential; random                                          (not with masquerade)
  --timeout SECONDS   life of a mapping that nothing refreshes                                      (default 120)
END
}

# Reads one option; fails if it is none of a NAT's.
nat_option() { # NAME VALUE
    case $1=$2 in
        --hairpin=yes | --hairpin=no) nat_hairpin=$2 ;;
        --ports=preserved | --ports=sequential | --ports=random) nat_ports=$2 ;;
        --timeout=[1-9]*) [[ $2 =~ ^[0-9]{1,5}$ ]] && nat_timeout=$2 ;;
        *) return 1 ;;
    esac
}

nat_options() { # [OPTION VALUE]...
    nat_hairpin=yes nat_ports=preserved nat_timeout=120
    while [ $# -gt 0 ]; do
        nat_option "$1" "${2:-}" || misused "neither class nor option of a NAT: $*"
        shift 2
    done
}

# Reads one or two classes and the options; one class is for both.
# shellcheck disable=SC2034  # read by the topologies
two_classes() { # [CLASS [CLASS]] [OPTION VALUE]...
    first_class=ei/apd
    if is_class "${1:-}"; then first_class=$1 && shift; fi
    second_class=$first_class
    if is_class "${1:-}"; then second_class=$1 && shift; fi
    nat_options "$@"
}

is_class() { # WORD
    case $1 in
        masquerade | masquerade-random) ;;
        ei/ei | ei/ad | ei/apd | ad/ei | ad/ad | ad/apd | apd/ei | apd/ad | apd/apd) ;;
        *) return 1 ;;
    esac
}

# The NAT and the firewall of a router with `wan` and `lan`. What comes from outside and was not asked for is dropped,
# IPv6 included: it opens from inside.
nat() { # HOST OUTSIDE_IPV4 CLASS
    # Unanswered flows end sooner, as on other Linux routers.
    local unanswered=$((nat_timeout < 30 ? nat_timeout : 30))
    set_kernel "$1" "net/netfilter/nf_conntrack_udp_timeout=$unanswered" \
        "net/netfilter/nf_conntrack_udp_timeout_stream=$nat_timeout"
    rules "$1" ice "$(firewall_rules "$2" && nat_rules "$2" "$3")"
}

firewall_rules() { # OUTSIDE_IPV4
    cat <<END
    chain input {
        type filter hook input priority filter
        # A packet from a peer that got here, before ours went out, would be remembered as a flow and take the outside
        # port away from ours. Packets from inside to the outside address come here if there is no hairpinning.
        ct state new ip daddr $1 meta l4proto udp drop
        ct state new iifname "wan" meta l4proto { tcp, udp } drop
    }
    chain forward {
        type filter hook forward priority filter
        iifname "wan" ct state { established, related } accept
        iifname "wan" ct status dnat accept
        iifname "wan" counter drop
    }
END
}

nat_rules() { # OUTSIDE_IPV4 CLASS
    case $2 in
        masquerade) masquerade_rules ;;
        masquerade-random) masquerade_rules random ;;
        *) class_rules "$1" "${2%/*}" "${2#*/}" ;;
    esac
}

masquerade_rules() { # [random]
    cat <<END
    chain out {
        type nat hook postrouting priority srcnat
        oifname "wan" meta nfproto ipv4 masquerade ${1:-}
    }
END
}

next_ports() { # COUNT
    local number
    for ((number = 0; number < $1; number++)); do
        printf '%d : %d, ' "$number" "$((10000 + number))"
    done
}

# A NAT of any class. Connection tracking alone knows flows, not mappings, so each packet that leaves teaches the maps
# which outside port its inside endpoint has:
#
#   mappings   inside endpoint (and remote address, and port: as far as the mapping depends on them) -> outside port
#   owners     outside port -> inside endpoint
#   peers      outside port and the remote endpoints that it has sent to, as far as the filtering depends on them
#
# The first packet of a flow looks its mapping up, or gets a new one; one from outside is sent to the port's owner and
# dropped at the last moment if the filtering forbids it, when a hairpinned packet already has its outside source.
class_rules() { # OUTSIDE_IPV4 MAPPING FILTERING
    local hairpin=() fresh='' key_type='ipv4_addr . inet_service' peer_type='inet_service'
    local original='ct original ip saddr . ct original proto-src' original_key original_peer='udp sport'
    local reply='ct reply ip saddr . ct reply proto-src' reply_key reply_peer='udp sport' arriving='ct original proto-dst'
    original_key=$original reply_key=$reply
    case $2 in ad | apd)
        key_type+=' . ipv4_addr' original_key+=' . ct original ip daddr' reply_key+=' . ct reply ip daddr' ;;
    esac
    case $2 in apd)
        key_type+=' . inet_service' original_key+=' . ct original proto-dst' reply_key+=' . ct reply proto-dst' ;;
    esac
    case $3 in ad | apd)
        peer_type+=' . ipv4_addr' arriving+=' . ip saddr'
        original_peer+=' . ct original ip daddr' reply_peer+=' . ct reply ip daddr' ;;
    esac
    case $3 in apd)
        peer_type+=' . inet_service' arriving+=' . udp sport'
        original_peer+=' . ct original proto-dst' reply_peer+=' . ct reply proto-dst' ;;
    esac
    # With endpoint-independent mapping the inside port is kept unless it is somebody else's. Mappings that depend on
    # the destination differ by their ports, so these are always new. New ports lie below those that inside hosts choose.
    if [ "$2/$nat_ports" = ei/preserved ]; then fresh+="udp sport != @taken snat ip to $1;"; fi
    case $nat_ports in
        # A number would come out with its bytes in the other order; a table has them right.
        sequential) fresh+="meta l4proto udp snat ip to $1:numgen inc mod 2000 map { $(next_ports 2000) }" ;;
        *) fresh+="meta l4proto udp snat ip to $1:10000-29999 random" ;;
    esac
    if [ "$nat_hairpin" = no ]; then hairpin=(iifname '"wan"'); fi
    cat <<END
    map mappings { type $key_type : ipv4_addr . inet_service; flags dynamic,timeout; timeout ${nat_timeout}s; size 65535; }
    map owners { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout ${nat_timeout}s; size 65535; }
    set taken { type inet_service; flags dynamic,timeout; timeout ${nat_timeout}s; size 65535; }
    set peers { type $peer_type; flags dynamic,timeout; timeout ${nat_timeout}s; size 65535; }

    chain in {
        type nat hook prerouting priority dstnat
        ${hairpin[*]} ip daddr $1 meta l4proto udp dnat ip to udp dport map @owners
    }
    # Which way a packet came in is not known any more when it is about to leave.
    chain from_inside {
        type filter hook forward priority filter + 1
        iifname "lan" meta mark set 1
    }
    chain out {
        type nat hook postrouting priority srcnat
        meta nfproto ipv4 oifname "wan" goto translate
        meta nfproto ipv4 meta mark 1 ct status dnat goto translate
    }
    chain translate {
        meta l4proto != udp snat ip to $1
        meta l4proto udp snat ip to $original_key map @mappings
        $fresh
    }
    chain after {
        type filter hook postrouting priority srcnat + 1
        meta mark 1 ip saddr $1 meta l4proto udp jump learn
        oifname "lan" ct direction original ct status dnat meta l4proto udp jump filtering
    }
    chain learn {
        meta l4proto udp ct direction original update @mappings { $original_key : ip saddr . udp sport }
        meta l4proto udp ct direction original update @owners { udp sport : $original }
        meta l4proto udp ct direction original update @peers { $original_peer }
        meta l4proto udp ct direction reply update @mappings { $reply_key : ip saddr . udp sport }
        meta l4proto udp ct direction reply update @owners { udp sport : $reply }
        meta l4proto udp ct direction reply update @peers { $reply_peer }
        update @taken { udp sport }
    }
    chain filtering {
        meta l4proto udp $arriving @peers accept
        counter drop
    }
END
}
