"""A libnice agent for the tests beside this file: lines in, lines out (see script.rs).

    nice_peer.py controlling|controlled ADDRESS...

It nominates regularly, knows renomination and keeps consent fresh. Beside the lines of every script it says `state WORD`
when its component changes its state and `selected ADDRESS PORT`, naming the far end of the pair that it selected; it
understands `lose-consent`, after which it refuses checks.
"""

import ctypes
import sys
import threading

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402

COMPONENT = 1
STATES = ["disconnected", "gathering", "connecting", "connected", "ready", "failed"]


def say(text):
    print(text, flush=True)


class Peer:
    def __init__(self, role, addresses):
        options = Nice.AgentOption
        self.agent = Nice.Agent.new_full(
            GLib.MainContext.default(),
            Nice.Compatibility.RFC5245,
            options.REGULAR_NOMINATION | options.SUPPORT_RENOMINATION | options.CONSENT_FRESHNESS,
        )
        self.agent.set_property("controlling-mode", role == "controlling")
        self.agent.set_property("upnp", False)
        self.agent.set_property("ice-tcp", False)
        for text in addresses:
            address = Nice.Address.new()
            assert address.set_from_string(text)
            self.agent.add_local_address(address)
        self.agent.connect("candidate-gathering-done", self.gathered)
        self.agent.connect("component-state-changed", lambda a, s, c, state: say(f"state {STATES[state]}"))
        self.agent.connect("new-selected-pair-full", self.selected)
        self.stream = self.agent.add_stream(1)
        self.credentials = None
        self.candidates = []
        self.hear()

    def hear(self):
        """The callback for data is the one thing that introspection does not offer."""
        kind = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p
        )
        self.callback = kind(lambda a, s, c, length, buf, d: say(f"data {ctypes.string_at(buf, length).hex()}"))
        attach = ctypes.CDLL("libnice.so.10").nice_agent_attach_recv
        attach.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, kind, ctypes.c_void_p]
        attach.restype = ctypes.c_int
        # An object's hash is its address. No context means the default one.
        assert attach(hash(self.agent), self.stream, COMPONENT, None, self.callback, None)

    def gathered(self, agent, stream):
        _, ufrag, pwd = agent.get_local_credentials(stream)
        say(f"credentials {ufrag} {pwd}")
        for candidate in agent.get_local_candidates(stream, COMPONENT):
            say("candidate " + agent.generate_local_candidate_sdp(candidate).removeprefix("a=candidate:"))
        say("gathered")

    def selected(self, agent, stream, component, local, remote):
        words = agent.generate_local_candidate_sdp(remote).split()
        say(f"selected {words[4]} {words[5]}")

    def told(self, line):
        what, _, rest = line.strip().partition(" ")
        if what == "credentials":
            self.agent.set_remote_credentials(self.stream, *rest.split())
        elif what == "candidate":
            self.candidates.append(self.agent.parse_remote_candidate_sdp(self.stream, "a=candidate:" + rest))
        elif what == "end":
            self.agent.set_remote_candidates(self.stream, COMPONENT, self.candidates)
        elif what == "send":
            # It takes text, which ASCII is.
            text = bytes.fromhex(rest).decode("ascii")
            self.agent.send(self.stream, COMPONENT, len(text), text)
        elif what == "lose-consent":
            say(f"refusing {self.agent.consent_lost(self.stream, COMPONENT)}")

    def listen(self, loop):
        for line in sys.stdin:
            GLib.idle_add(self.told, line)
        GLib.idle_add(loop.quit)


peer = Peer(sys.argv[1], sys.argv[2:])
loop = GLib.MainLoop()
threading.Thread(target=peer.listen, args=(loop,), daemon=True).start()
peer.agent.gather_candidates(peer.stream)
loop.run()
