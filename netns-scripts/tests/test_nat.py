"""Each class of NAT is what it says, by its packets."""

import time
import unittest

from harness import Topology, script
from probe import PORTS, SERVERS, Hairpin, Server, Udp, filtering, mapping, one_processor

OUTSIDE = {"left": "203.0.113.1", "right": "203.0.113.2"}
INSIDE = {"left": "192.168.1.2", "right": "192.168.2.2"}


def setUpModule():
    one_processor()


class Nat(Topology):
    """Two sides, a NAT each."""

    name = "nat"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(Server(cls.ns("server")))

    def host(self, host, port=0, address=""):
        return self.opens(Udp(self.ns(host), address, port))

    def assert_class(self, side, wanted_mapping, wanted_filtering, keeps_ports):
        with self.subTest(side, mapping=wanted_mapping, filtering=wanted_filtering):
            client = self.host(side, 5000)
            kind, seen = mapping(client, self.server)
            self.assertEqual((kind, filtering(self.host(side), self.server)), (wanted_mapping, wanted_filtering))
            self.assertEqual({address for address, _ in seen.values()}, {OUTSIDE[side]})
            self.assertEqual({port for _, port in seen.values()} == {5000}, keeps_ports)
            # The same again: a mapping stays.
            self.assertEqual(mapping(client, self.server), (kind, seen))
            client.close()

    def assert_hairpin(self, side, kind, allowed):
        """RFC 4787 section 6: the source is the sender's outside endpoint, and the filtering applies."""
        for other in (f"{side}2", side):
            with self.subTest("hairpin", side=side, other=other):
                tried = Hairpin(self.host(side), self.host(other), self.server)
                # The first packet comes from an endpoint that the second socket has not written to yet.
                self.assertEqual(tried.at_two is not None, allowed == "ei")
                # The second comes to the mapping by which the first was sent only if there is just one.
                self.assertEqual(tried.at_one is not None, allowed == "ei" or kind == "ei")
                for source, outside in ((tried.at_two, tried.outside_one), (tried.at_one, tried.outside_two)):
                    if source and kind == "ei":
                        self.assertEqual(source, outside)
                    elif source:
                        self.assertEqual(source[0], OUTSIDE[side])

    def punch(self):
        """Both write to where a server has seen the other; does one hear, and is its answer heard?"""
        left, right = self.host("left"), self.host("right")
        at = {left: self.server.sees(left), right: self.server.sees(right)}
        content = {}
        for _ in range(2):
            for one, other in ((left, right), (right, left)):
                content[one.send(at[other])] = other
        for receiver, sender in ((left, right), (right, left)):
            heard = receiver.until(self.server.first.send(at[receiver]))
            source = next((heard[one] for one, to in content.items() if to is receiver and one in heard), None)
            if source:
                answer = receiver.send(source)
                return answer in sender.until(self.server.first.send(at[sender]))
        return False

    def all_of(self, left, right, keeps_ports):
        for side, of in (("left", left), ("right", right)):
            kind, allowed = of.split("/")
            self.assert_class(side, kind, allowed, keeps_ports)
            self.assert_hairpin(side, kind, allowed)


# Each class once, in pairs whose holes can be punched or not when both sides write first (RFC 5128 section 3.3): a side
# hears if it filters nothing, or if the mapping that the server saw is the one by which it has written to the other
# (endpoint-independent) and, where it filters by port, so is the other's.
PAIRS = {
    ("ei/ei", "apd/apd"): True,
    ("ei/ad", "apd/ad"): True,
    ("ei/apd", "ad/apd"): False,
    ("ad/ei", "apd/ei"): True,
    ("ad/ad", "ei/apd"): False,
}


def of_pair(left, right, punches):
    class Pair(Nat):
        # Random ports are the same by chance now and then.
        words = (left, right, "--ports", "sequential")

        def test_classes(self):
            self.all_of(left, right, keeps_ports=False)

        def test_hole_punching(self):
            self.assertEqual(self.punch(), punches)

    Pair.__name__ = Pair.__qualname__ = f"Pair_{left}_{right}".replace("/", "_")
    return Pair


for (one, another), may in PAIRS.items():
    pair = of_pair(one, another, may)
    globals()[pair.__name__] = pair
del pair


class Usual(Nat):
    """Both sides with the class that is the default."""

    def test_the_default_is_what_rfc_4787_demands_with_the_strictest_filtering(self):
        self.all_of("ei/apd", "ei/apd", keeps_ports=True)

    def test_hole_punching(self):
        self.assertTrue(self.punch())

    def test_two_inside_hosts_with_the_same_port(self):
        first, second = self.host("left", 6000), self.host("left2", 6000)
        kind, seen = mapping(first, self.server)
        self.assertEqual((kind, set(seen.values())), ("ei", {(OUTSIDE["left"], 6000)}))
        # REQ-1 and REQ-3: one port for all destinations, and never the other's, not even towards one that only the
        # second host writes to, where a flow could be told from the first host's.
        control = self.host("control", 6001, "198.51.100.9")
        at_control = control.expect(second.send(control.endpoint))
        self.assertNotEqual(at_control, (OUTSIDE["left"], 6000))
        kind, seen = mapping(second, self.server)
        self.assertEqual((kind, set(seen.values())), ("ei", {at_control}))

    def test_a_peer_that_comes_too_early_does_not_move_the_port(self):
        early = self.host("control", 7000, "198.51.100.9")
        for _ in range(3):
            early.send((OUTSIDE["left"], 7000))
        client = self.host("left", 7000)
        sent = client.send(("198.51.100.9", 7000))
        self.assertEqual(early.expect(sent), (OUTSIDE["left"], 7000))
        self.assertEqual(self.server.sees(client), (OUTSIDE["left"], 7000))

    def test_nothing_enters_but_by_the_nat(self):
        # Not even what is routed to the inside address itself.
        client = self.host("left", 8000)
        outside = self.server.sees(client)
        script("nat", "run", "internet", "ip", "route", "add", "192.168.1.0/24", "via", OUTSIDE["left"], "dev", "left-nat")
        sent = self.host("control").send((INSIDE["left"], 8000))
        self.assertNotIn(sent, client.until(self.server.first.send(outside)))


class Masquerade(Nat):
    """What Linux does by itself."""

    words = ("masquerade", "masquerade-random")

    def test_classes(self):
        self.assert_class("left", "ei", "apd", keeps_ports=True)
        # Ports that are drawn from 64,000 may be the same by chance: once, but not every time.
        drawn = {mapping(self.host("right"), self.server)[0] for _ in range(3)}
        self.assertIn("apd", drawn)
        self.assertEqual(filtering(self.host("right"), self.server), "apd")

    def test_there_is_no_hairpinning(self):
        tried = Hairpin(self.host("left"), self.host("left2"), self.server)
        self.assertEqual((tried.at_one, tried.at_two), (None, None))


class Options(Nat):
    words = ("ei/ei", "ad/ei", "--ports", "sequential", "--hairpin", "no", "--timeout", "2")

    def test_ports_are_sequential(self):
        seen = [self.server.sees(self.host("left"))[1] for _ in range(3)]
        self.assertEqual(seen, [seen[0], seen[0] + 1, seen[0] + 2])

    def test_there_is_no_hairpinning(self):
        for side in OUTSIDE:
            tried = Hairpin(self.host(side), self.host(f"{side}2"), self.server)
            self.assertEqual((tried.at_one, tried.at_two), (None, None))

    def test_an_answer_leaves_by_the_port_that_was_written_to(self):
        """Where the kernel is no NAT of RFC 4787: with mappings by destination a stranger had a port of its own."""
        client, stranger = self.host("right"), self.host("control")
        outside = self.server.sees(client)
        source = client.expect(stranger.send(outside))
        self.assertEqual(stranger.expect(client.send(source)), outside)
        other = self.host("control", address="198.51.100.9")
        self.assertEqual(other.expect(client.send(other.endpoint)), outside, "one remote address, one mapping")

    def test_a_mapping_that_nothing_refreshes_ends(self):
        client = self.host("left")
        before = self.server.sees(client)
        time.sleep(2.2)
        late = self.server.sockets[SERVERS[1], PORTS[1]].send(before)
        after = self.server.sees(client)
        self.assertNotEqual(after, before)
        self.assertNotIn(late, client.until(self.server.first.send(after)))


class Random(Nat):
    words = ("ei/ei", "--ports", "random")

    def test_ports_are_random(self):
        self.assert_class("left", "ei", "ei", keeps_ports=False)
        seen = [self.server.sees(self.host("left"))[1] for _ in range(4)]
        self.assertNotEqual(seen, list(range(seen[0], seen[0] + 4)))


del Topology, Nat

if __name__ == "__main__":
    unittest.main()
