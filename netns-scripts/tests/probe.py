#!/usr/bin/env python3
"""What a host is behind, found out by packets between sockets in several namespaces at once (RFC 5780 section 4).

    probe.py INSIDE SERVER [SECOND_INSIDE]     such as: probe.py ice.nat.left ice.nat.server ice.nat.left2

The server is a namespace with two addresses. Prints mapping, filtering, whether the port was preserved and, with a second
host on the inside, hairpinning. Shares no code with the prober that it is an oracle for, nor its protocol: as both ends
are in this process, nothing needs to be said in the packets but which is which.

A packet that does not arrive is told from one that is late without waiting: one that is known to arrive is sent after
it, by the same last hops. That holds because one processor delivers in order what was sent from it.
"""

import ctypes
import os
import select
import socket
import sys
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
SERVERS = ("198.51.100.1", "198.51.100.2")
PORTS = (3478, 3479)
# For packets that must arrive, on however busy a machine.
PATIENCE = 20.0

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(namespace):
    """What is opened here belongs to the namespace for good."""
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        enter(there)
        try:
            yield
        finally:
            enter(home)


def enter(file):
    if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def one_processor():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Udp:
    """A UDP socket in a namespace."""

    count = 0

    def __init__(self, namespace, address="", port=0, device=None):
        with inside(namespace):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if device:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        self.socket.bind((address, port))
        self.endpoint = self.socket.getsockname()[:2]

    def close(self):
        self.socket.close()

    def send(self, to, content=None):
        """Sends a packet like no other; returns its content."""
        Udp.count += 1
        content = content or f"packet {Udp.count}".encode()
        self.socket.sendto(content, to)
        return content

    def receive(self, patience=PATIENCE):
        """The next packet and where it came from."""
        if not select.select([self.socket], [], [], patience)[0]:
            raise TimeoutError(f"nothing arrived at {self.endpoint}")
        content, source = self.socket.recvfrom(2048)
        return content, source[:2]

    def expect(self, content):
        """Where the packet came from, which must arrive; others may come before it."""
        return self.until(content)[content]

    def until(self, content):
        """All that arrives up to that packet, which must, and where it came from."""
        arrived = {}
        while content not in arrived:
            packet, source = self.receive()
            arrived[packet] = source
        return arrived


class Server:
    """Two addresses by two ports."""

    def __init__(self, namespace):
        self.sockets = {
            (address, port): Udp(namespace, address, port) for address in SERVERS for port in PORTS
        }
        self.first = self.sockets[SERVERS[0], PORTS[0]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.sockets.values():
            one.close()

    def sees(self, client, endpoint=None):
        """The source of a client's packet as one of the four sees it."""
        server = self.sockets[endpoint or self.first.endpoint]
        return server.expect(client.send(server.endpoint))


def mapping(client, server):
    """RFC 5780 section 4.3, with all four instead of as few as possible."""
    seen = {endpoint: server.sees(client, endpoint) for endpoint in server.sockets}
    if len(set(seen.values())) == 1:
        return "ei", seen
    by_address = [{seen[address, port] for port in PORTS} for address in SERVERS]
    return ("ad" if all(len(one) == 1 for one in by_address) else "apd"), seen


def filtering(client, server):
    """RFC 5780 section 4.4. The client must not have sent to any of the four before."""
    outside = server.sees(client)
    sent = {
        one.send(outside): endpoint
        for endpoint, one in server.sockets.items()
        if one is not server.first
    }
    arrived = client.until(server.first.send(outside))
    heard = {endpoint for content, endpoint in sent.items() if content in arrived}
    same_address = (SERVERS[0], PORTS[1])
    kinds = {frozenset(sent.values()): "ei", frozenset({same_address}): "ad", frozenset(): "apd"}
    return kinds.get(frozenset(heard), f"none of RFC 4787: heard {sorted(heard)}")


class Hairpin:
    """Two inside hosts write to each other's outside endpoints, first `one` and then `two`."""

    def __init__(self, one, two, server):
        self.outside_one, self.outside_two = server.sees(one), server.sees(two)
        # Where the packet came from, as its receiver sees it; None if it did not arrive.
        self.at_two = self.hear(one, self.outside_two, two, server)
        self.at_one = self.hear(two, self.outside_one, one, server)

    @staticmethod
    def hear(sender, to, receiver, server):
        content = sender.send(to)
        return receiver.until(server.first.send(to)).get(content)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    one_processor()
    host, others = sys.argv[1], sys.argv[3:]
    with Server(sys.argv[2]) as server:
        client = Udp(host)
        kind, seen = mapping(client, server)
        print(f"outside    {' '.join(sorted({f'{address}:{port}' for address, port in seen.values()}))}")
        print(f"mapping    {kind}")
        print(f"filtering  {filtering(Udp(host), server)}")
        kept = all(port == client.socket.getsockname()[1] for _, port in seen.values())
        print(f"ports      {'preserved' if kept else 'changed'}")
        for other in others:
            tried = Hairpin(Udp(host), Udp(other), server)
            print(f"hairpin    {'yes' if tried.at_one or tried.at_two else 'no'}")


if __name__ == "__main__":
    main()
