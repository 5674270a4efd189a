"""LAN, home, carrier-grade NAT, carriers and two ways: what reaches whom."""

import socket
import struct
import unittest

from harness import Topology, ip, script
from probe import Hairpin, Server, Udp, filtering, mapping, one_processor

SERVER = ("198.51.100.1", 3478)
SERVER6 = ("2001:db8:ffff::1", 3478)
CONTROL = ("198.51.100.9", 9000)
CONTROL6 = ("2001:db8:ffff::9", 9000)
# A STUN Binding request without attributes (RFC 8489 section 5).
STUN = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"transaction.")


def setUpModule():
    one_processor()


class Network(Topology):
    def host(self, host, address="", port=0, device=None):
        return self.opens(Udp(self.ns(host), address, port, device))


class Lan(Network):
    name = "lan"

    def setUp(self):
        self.hosts = {name: f"192.168.1.{2 + index}" for index, name in enumerate(("laptop", "desktop", "phone"))}

    def test_all_reach_all(self):
        for sender in self.hosts:
            for number, receiver in enumerate(self.hosts, 2):
                if sender != receiver:
                    for address in (self.hosts[receiver], f"fd00:1::{number}"):
                        listener = self.host(receiver, address)
                        one = self.host(sender, "::" if ":" in address else "")
                        listener.expect(one.send(listener.endpoint))

    def test_multicast_reaches_all(self):
        """As mDNS wants it (RFC 6762 section 3)."""
        for group, any_address in (("224.0.0.251", ""), ("ff02::fb", "::")):
            listeners = []
            for name in ("desktop", "phone"):
                one = self.host(name, any_address, 5353)
                if any_address:
                    # Interface 0: any that reaches the group.
                    member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", self.index(name))
                    one.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
                else:
                    member = socket.inet_aton(group) + socket.inet_aton(self.hosts[name])
                    one.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                listeners.append(one)
            speaker = self.host("laptop", any_address, device="eth0")
            sent = speaker.send((group, 5353))
            for one in listeners:
                one.expect(sent)

    def index(self, host):
        return int(ip("-n", self.ns(host), "-o", "link", "show", "dev", "eth0").split(":")[0])

    def test_a_wire_that_is_out_and_in_again(self):
        listener, sender = self.host("desktop", self.hosts["desktop"]), self.host("laptop")
        listener.expect(sender.send(listener.endpoint))
        script("lan", "unplug", "laptop")
        self.assertIn("NO-CARRIER", ip("-n", self.ns("laptop"), "link", "show", "dev", "eth0"))
        self.assertIn("192.168.1.2/24", ip("-n", self.ns("laptop"), "address"))
        lost = sender.send(listener.endpoint)
        self.assertNotIn(lost, listener.until(self.host("phone").send(listener.endpoint)))
        script("lan", "status")
        script("lan", "plug", "laptop")
        listener.expect(sender.send(listener.endpoint))


class Home(Network):
    name = "home"
    words = ("ei/ad",)

    def test_class(self):
        with Server(self.ns("server")) as server:
            self.assertEqual(mapping(self.host("laptop"), server)[0], "ei")
            self.assertEqual(filtering(self.host("laptop"), server), "ad")
            tried = Hairpin(self.host("laptop"), self.host("desktop"), server)
            self.assertEqual(tried.at_one, tried.outside_two)

    def test_the_lan_needs_no_nat(self):
        sender, listener = self.host("laptop", "192.168.1.2"), self.host("desktop", "192.168.1.3")
        sent = sender.send(listener.endpoint)
        self.assertEqual(listener.expect(sent), sender.endpoint)

    def test_ipv6_opens_from_inside_for_whom_it_was_opened(self):
        laptop = self.host("laptop", "2001:db8:1::2", 9001)
        control, other = self.host("control", *CONTROL6), self.host("server", *SERVER6)
        early = [control.send(laptop.endpoint), other.send(laptop.endpoint)]
        control.expect(laptop.send(control.endpoint))
        other_port = self.host("control", CONTROL6[0])
        refused = [*early, other.send(laptop.endpoint), other_port.send(laptop.endpoint)]
        arrived = laptop.until(control.send(laptop.endpoint))
        self.assertFalse(set(refused) & set(arrived))
        self.assertIn(control.endpoint, arrived.values())


class Cgnat(Network):
    name = "cgnat"
    words = ("ei/ei", "ei/apd")

    def test_both_translate_and_the_stricter_one_decides(self):
        with Server(self.ns("server")) as server:
            kind, seen = mapping(self.host("laptop"), server)
            self.assertEqual((kind, {address for address, _ in seen.values()}), ("ei", {"203.0.113.9"}))
            self.assertEqual(filtering(self.host("laptop"), server), "apd")

    def test_one_port_in_both_homes(self):
        with Server(self.ns("server")) as server:
            ports = [server.sees(self.host(name, port=6000))[1] for name in ("laptop", "desktop")]
            self.assertEqual(ports[0], 6000)
            self.assertNotEqual(ports[1], 6000)

    def test_the_homes_reach_each_other_by_the_carriers_hairpin(self):
        with Server(self.ns("server")) as server:
            tried = Hairpin(self.host("laptop"), self.host("desktop"), server)
            self.assertEqual((tried.at_one, tried.at_two), (tried.outside_two, None))


class Carrier(Network):
    name = "carrier"

    def tearDown(self):
        for name in ("o2", "telekom"):
            script("carrier", "block", name, "udp-p2p")

    def test_ipv4_between_peers_is_blocked_and_servers_are_reached(self):
        with Server(self.ns("server")) as server:
            phone, control = self.host("phone1"), self.host("control", *CONTROL)
            outside = server.sees(phone)
            self.assertEqual(outside[0], "203.0.113.1")
            lost = [phone.send(CONTROL), phone.send(CONTROL, b"\x40 no STUN at all"), phone.send(CONTROL, STUN)]
            script("carrier", "block", "o2", "none")
            arrived = control.until(phone.send(CONTROL))
            self.assertFalse(set(lost) & set(arrived))
            # Now that the NAT would let the control host in, only the block is in the way.
            script("carrier", "block", "o2", "udp-p2p")
            lost = control.send(outside)
            self.assertNotIn(lost, phone.until(server.first.send(outside)))
            self.assertRegex(script("carrier", "block"), r"ip saddr != \{.*\} counter packets 1 ")

    def test_the_phones_reach_each_other_over_ipv4_without_the_block_only(self):
        with Server(self.ns("server")) as server:
            one, two = self.host("phone1"), self.host("phone2")
            at_one, at_two = server.sees(one), server.sees(two)

            def punch():
                sent = one.send(at_two), two.send(at_one), one.send(at_two)
                arrived = one.until(server.first.send(at_one)), two.until(server.first.send(at_two))
                return sent[1] in arrived[0] and sent[2] in arrived[1]

            self.assertFalse(punch())
            script("carrier", "block", "o2", "none")
            self.assertFalse(punch(), "one carrier is enough to block")
            script("carrier", "block", "telekom", "none")
            self.assertTrue(punch())

    def test_stun_alone_can_be_blocked(self):
        script("carrier", "block", "o2", "stun")
        phone, control = self.host("phone1"), self.host("control", *CONTROL)
        phone.send(CONTROL, STUN)
        disguised = phone.send(CONTROL, STUN[:4] + b"\x12\x34" + STUN[6:])
        self.assertEqual(set(control.until(phone.send(CONTROL))) & {STUN, disguised}, {disguised})

    def test_all_ipv4_udp_can_be_blocked(self):
        server, server6 = self.host("server", *SERVER), self.host("server", *SERVER6)
        phone, phone6 = self.host("phone1"), self.host("phone1", "2001:db8:1::2")
        script("carrier", "block", "o2", "udp")
        lost = phone.send(SERVER)
        server6.expect(phone6.send(SERVER6))
        script("carrier", "block", "o2", "none")
        self.assertNotIn(lost, server.until(phone.send(SERVER)))

    def test_ipv6_between_the_phones_loses_the_first_packets_only(self):
        """What the notes saw on 04.06 at 17:30, and at 18:38, where only one side sent."""
        one, two = self.host("phone1", "2001:db8:1::2", 9001), self.host("phone2", "2001:db8:2::2", 9002)
        control = self.host("control", *CONTROL6)
        control.expect(two.send(CONTROL6))
        lost = [one.send(two.endpoint) for _ in range(6)]
        self.assertFalse(set(lost) & set(two.until(control.send(two.endpoint))))
        one.expect(two.send(one.endpoint))
        two.expect(one.send(two.endpoint))


class TwoPaths(Network):
    name = "two-paths"
    WLAN, WWAN = ("192.168.1.2", "2001:db8:1::2"), ("100.64.2.2", "2001:db8:2::2")
    SEEN = {"192.168.1.2": "203.0.113.1", "100.64.2.2": "203.0.113.2"}

    def setUp(self):
        self.server, self.server6 = self.host("server", *SERVER), self.host("server", *SERVER6)

    def leaves(self, address="", device=None):
        """The source of a packet as the server sees it."""
        server = self.server6 if ":" in address else self.server
        return server.expect(self.host("laptop", address, device=device).send(server.endpoint))[0]

    def routes(self):
        """Default routes and rules of both families, in any order."""
        words = [(family, *what) for family in ("-4", "-6") for what in (("route", "show", "table", "all"), ("rule",))]
        found = [line for some in words for line in ip("-n", self.ns("laptop"), *some).splitlines()]
        return sorted(line.rstrip() for line in found if line.startswith("default") or "lookup" in line)

    def test_each_address_leaves_by_its_interface(self):
        for address in self.SEEN:
            self.assertEqual(self.leaves(address), self.SEEN[address])
        for address in (self.WLAN[1], self.WWAN[1]):
            self.assertEqual(self.leaves(address), address)
        for device, address in (("wlan0", "203.0.113.1"), ("wwan0", "203.0.113.2")):
            self.assertEqual(self.leaves(device=device), address)

    def test_metrics_decide_for_the_rest(self):
        before = self.routes()
        self.assertEqual((self.leaves(), self.leaves("::")), ("203.0.113.1", self.WLAN[1]))
        script("two-paths", "metric", "wlan0", 900)
        self.assertEqual((self.leaves(), self.leaves("::")), ("203.0.113.2", self.WWAN[1]))
        script("two-paths", "metric", "wlan0", 600)
        self.assertEqual((self.leaves(), self.leaves("::")), ("203.0.113.1", self.WLAN[1]))
        self.assertEqual(self.routes(), before)

    def test_without_policy_routing_packets_leave_by_the_wrong_interface(self):
        """What failed in the tests of 06.06 with cellular."""
        before = self.routes()
        script("two-paths", "policy", "off")
        self.assertEqual(self.leaves(self.WWAN[0]), "203.0.113.1")
        script("two-paths", "policy", "on")
        script("two-paths", "policy", "on")
        self.assertEqual(self.leaves(self.WWAN[0]), "203.0.113.2")
        self.assertEqual(self.routes(), before)

    def test_an_interface_that_is_switched_off_and_on(self):
        before = self.routes()
        bound = self.host("laptop", self.WLAN[0])
        script("two-paths", "off", "wlan0")
        script("two-paths", "off", "wlan0")
        self.assertNotIn(self.WLAN[1], ip("-n", self.ns("laptop"), "address"))
        self.assertEqual((self.leaves(), self.leaves("::")), ("203.0.113.2", self.WWAN[1]))
        script("two-paths", "status")
        script("two-paths", "on", "wlan0")
        script("two-paths", "on", "wlan0")
        self.assertEqual(self.server.expect(bound.send(SERVER))[0], "203.0.113.1")
        self.assertEqual(self.leaves("::"), self.WLAN[1])
        self.assertEqual(self.routes(), before)

    def test_carrier_that_is_lost_and_back(self):
        bound = self.host("laptop", self.WLAN[0])
        self.server.expect(bound.send(SERVER))
        script("two-paths", "carrier-off", "wlan0")
        self.assertIn("NO-CARRIER", ip("-n", self.ns("laptop"), "link", "show", "dev", "wlan0"))
        self.assertIn(self.WLAN[1], ip("-n", self.ns("laptop"), "address"))
        lost = bound.send(SERVER)
        self.assertNotIn(lost, self.server.until(self.host("control").send(SERVER)))
        script("two-paths", "carrier-on", "wlan0")
        self.server.expect(bound.send(SERVER))

    def test_the_desktop_is_reached_over_ipv6_by_both_ways_and_over_ipv4_by_wlan_only(self):
        desktop6 = self.host("desktop", "2001:db8:3::2", 9003)
        for address in (self.WLAN[1], self.WWAN[1]):
            laptop = self.host("laptop", address)
            lost = laptop.send(desktop6.endpoint)
            laptop.expect(desktop6.send(laptop.endpoint))
            self.assertNotIn(lost, desktop6.until(laptop.send(desktop6.endpoint)))
        desktop = self.host("desktop", "192.168.3.2")
        at_desktop = self.server.expect(desktop.send(SERVER))
        heard = {}
        for address in self.SEEN:
            laptop = self.host("laptop", address)
            at_laptop = self.server.expect(laptop.send(SERVER))
            sent = laptop.send(at_desktop), desktop.send(at_laptop), laptop.send(at_desktop)
            arrived = laptop.until(self.server.send(at_laptop)), desktop.until(self.server.send(at_desktop))
            heard[address] = (sent[1] in arrived[0], sent[2] in arrived[1])
        self.assertEqual(heard, {self.WLAN[0]: (True, True), self.WWAN[0]: (False, False)})


del Topology, Network

if __name__ == "__main__":
    unittest.main()
