//! Every word of the scenario language and of the command line, in one table: those that this version knows, and those
//! of the contract that are not built yet. So a slip of the pen and a word from the future are told apart.

/// The words that may stand in one kind of place.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// What such a word is, with its article: "a key of a link".
    pub(crate) what: &'static str,
    /// Known to this version.
    pub(crate) known: &'static [&'static str],
    /// In the contract, and not in this version.
    pub(crate) not_yet: &'static [&'static str],
}

const fn words(
    what: &'static str,
    known: &'static [&'static str],
    not_yet: &'static [&'static str],
) -> Vocabulary {
    Vocabulary { what, known, not_yet }
}

/// All `N` words of both.
const fn joined<const N: usize>(first: &[&'static str], second: &[&'static str]) -> [&'static str; N] {
    assert!(first.len() + second.len() == N);
    let mut all = [""; N];
    let mut place = 0;
    while place < N {
        all[place] = if place < first.len() { first[place] } else { second[place - first.len()] };
        place += 1;
    }
    all
}

pub(crate) const COMMANDS: Vocabulary = words(
    "a command",
    if cfg!(feature = "dissect") {
        &["check", "compare", "completions", "dissect", "doctor", "list", "plan", "run", "verify"]
    } else {
        &["check", "compare", "completions", "doctor", "list", "plan", "run", "verify"]
    },
    &[
        "agent",
        "agree",
        "explain",
        "explain-run",
        "hosts",
        "matrix",
        "new",
        "report",
        "schema",
        "search",
        "show",
        "sweep",
    ],
);

pub(crate) const BACKENDS: Vocabulary = words("a backend", &["netns"], &["hosts", "sim"]);

pub(crate) const SCENARIO: Vocabulary = words(
    "a key of a scenario",
    &[
        "scenario", "why", "answers", "seed", "duration", "hosts", "networks", "servers", "peers",
        "backends", "evidence", "timeline", "expect",
    ],
    &["blocking"],
);

pub(crate) const EVIDENCE: Vocabulary = words("a key of evidence", &["captures", "qlog", "max"], &[]);

pub(crate) const AMOUNTS: Vocabulary = words("an amount of evidence", &["full", "limited", "none"], &[]);

pub(crate) const HOST: Vocabulary = words("a key of a host", &["interfaces"], &[]);

pub(crate) const INTERFACE: Vocabulary =
    words("a key of an interface", &["type", "network", "metric"], &["addresses"]);

pub(crate) const INTERFACE_TYPES: Vocabulary = words("an interface type", &["lan", "wifi", "cellular"], &[]);

pub(crate) const NETWORK: Vocabulary = words(
    "a key of a network",
    &["preset", "behind", "link", "nat", "ipv6", "block", "multicast", "distances"],
    &[],
);

pub(crate) const PRESET: Vocabulary =
    words("a key of a preset", &["evidence", "link", "nat", "ipv6", "block", "multicast"], &[]);

pub(crate) const LINK: Vocabulary = words(
    "a key of a link",
    &[
        "delay",
        "jitter",
        "rate",
        "trace",
        "queue",
        "loss",
        "duplicate",
        "reorder",
        "mtu",
        "radio",
        "down",
        "up",
    ],
    &[],
);

pub(crate) const LINK_DIRECTION: Vocabulary = words(
    "a key of one direction of a link",
    &["delay", "jitter", "rate", "trace", "queue", "loss", "duplicate", "reorder", "mtu"],
    &[],
);

pub(crate) const JITTER: Vocabulary = words("a key of jitter", &["by", "distribution", "order"], &[]);

pub(crate) const JITTER_DISTRIBUTION: Vocabulary =
    words("a distribution of jitter", &["uniform", "normal", "pareto-normal"], &[]);

pub(crate) const JITTER_ORDER: Vocabulary = words("an order of packets", &["kept", "free"], &[]);

pub(crate) const QUEUE: Vocabulary =
    words("a key of a queue", &["size", "time", "discipline", "target", "interval"], &[]);

pub(crate) const QUEUE_DISCIPLINE: Vocabulary = words("a queue discipline", &["drop-tail", "codel"], &[]);

pub(crate) const LOSS: Vocabulary = words("a kind of loss", &["bursts", "pattern"], &[]);

pub(crate) const BURSTS: Vocabulary =
    words("a key of losses in bursts", &["to_bad", "to_good", "loss_in_good", "loss_in_bad"], &[]);

pub(crate) const REORDER: Vocabulary = words("a key of reordering", &["share", "by"], &[]);

pub(crate) const TRACE: Vocabulary = words("a direction of a trace", &["down", "up"], &[]);

pub(crate) const RADIOS: Vocabulary = words("a radio", &["lte"], &[]);

pub(crate) const RADIO: Vocabulary =
    words("a key of a radio", &["promotion", "inactivity", "paging_cycle", "drx"], &[]);

pub(crate) const DRX: Vocabulary =
    words("a key of discontinuous reception", &["inactivity", "cycle", "on"], &[]);

pub(crate) const NAT: Vocabulary =
    words("a key of a NAT", &["mapping", "filtering", "ports", "hairpin", "udp_timeout", "refresh"], &[]);

const DEPENDENCES: &[&str] = &["endpoint-independent", "address-dependent", "address-and-port-dependent"];

pub(crate) const NAT_MAPPING: Vocabulary = words("a mapping", DEPENDENCES, &[]);

pub(crate) const NAT_FILTERING: Vocabulary = words("a filtering", DEPENDENCES, &[]);

pub(crate) const NAT_PORTS: Vocabulary =
    words("a port assignment", &["preserved", "sequential", "random"], &[]);

pub(crate) const NAT_REFRESH: Vocabulary = words("a direction of refreshing", &["outbound", "both"], &[]);

pub(crate) const NAT_TIMEOUT: Vocabulary = words("a key of a timeout", &["initial", "established"], &[]);

pub(crate) const IPV6: Vocabulary = words("a kind of IPv6 access", &["true", "false", "open"], &[]);

pub(crate) const BLOCK: Vocabulary = words("a filter", &["stun", "udp_p2p", "udp"], &[]);

pub(crate) const BLOCK_STUN: Vocabulary =
    words("a key of this filter", &["match", "direction", "answer"], &[]);

pub(crate) const BLOCK_UDP_P2P: Vocabulary =
    words("a key of this filter", &["family", "direction", "answer"], &[]);

pub(crate) const BLOCK_UDP: Vocabulary = words("a key of this filter", &["direction", "answer"], &[]);

pub(crate) const BLOCK_MATCH: Vocabulary =
    words("a way to recognise STUN", &["port", "cookie", "signature"], &[]);

pub(crate) const BLOCK_FAMILY: Vocabulary = words("a family", &["ipv4", "ipv6", "both"], &[]);

pub(crate) const BLOCK_DIRECTION: Vocabulary = words("a direction", &["in", "out", "both"], &[]);

pub(crate) const BLOCK_ANSWER: Vocabulary = words("an answer", &["silence", "icmp-prohibited"], &[]);

pub(crate) const SERVER: Vocabulary =
    words("a key of a server", &["kind", "delay", "addresses", "mimic"], &[]);

pub(crate) const SERVER_KINDS: Vocabulary =
    words("a kind of server", &["rendezvous", "stun", "relay", "control", "coturn", "iperf3"], &[]);

pub(crate) const MIMICS: Vocabulary = words("something that a relay can be like", &["whatsapp"], &[]);

pub(crate) const PEERS: Vocabulary = words("a key of `peers`", &["client", "server"], &[]);

pub(crate) const PEER: Vocabulary = words(
    "a key of a peer",
    &["host", "engine", "ice", "policy", "disguise", "bind", "workload", "signal"],
    &["cc", "duplicate", "scheduler"],
);

pub(crate) const ICE_AGENTS: Vocabulary = words("an ICE agent", &["ours", "webrtc-ice"], &[]);

pub(crate) const ENGINES: Vocabulary = words("an engine", &["noq", "quiche"], &["mptcp", "tcp"]);

pub(crate) const POLICIES: Vocabulary =
    words("a policy", &["multipath", "rfc8445", "whatsapp", "quickshare", "prototype-2024"], &[]);

/// The preset, and what may be changed of it, as `iceperf --policy` names it.
const POLICY_KEYS: [&str; 20] = [
    "preset",
    "interfaces",
    "reach",
    "relays",
    "stop",
    "cadence",
    "budget",
    "retry",
    "active_first",
    "active",
    "idle_first",
    "idle",
    "consent",
    "standby",
    "on_loss",
    "on_return",
    "answers",
    "paths",
    "relayed_paths",
    "move_to_preferred",
];

pub(crate) const POLICY: Vocabulary = words("a key of a policy", &POLICY_KEYS, &[]);

pub(crate) const RUNGS: Vocabulary = words(
    "a disguise",
    &["plain", "first-byte", "cookie", "first-byte-cookie", "scrambled-length", "xor"],
    &[],
);

pub(crate) const BINDS: Vocabulary = words("what a socket is bound to", &["device", "address", "none"], &[]);

pub(crate) const WORKLOADS: Vocabulary =
    words("a workload", &["call", "bulk", "probe"], &["request", "video"]);

pub(crate) const CALL: Vocabulary = words("a key of a call", &["rate", "payload"], &[]);

pub(crate) const PROBE: Vocabulary = words("a key of a probe", &[], &[]);

pub(crate) const BULK: Vocabulary = words("a key of a bulk transfer", &["direction", "size"], &[]);

pub(crate) const BULK_DIRECTIONS: Vocabulary = words("a direction of a transfer", &["up", "down"], &[]);

pub(crate) const SIGNALS: Vocabulary = words("a way of signalling", &["in-band", "rendezvous"], &["mdns"]);

pub(crate) const STEP: Vocabulary = words("a key of a step", &["at", "do", "name"], &[]);

pub(crate) const ACTIONS: Vocabulary = words(
    "an action",
    &[
        "down",
        "up",
        "carrier_off",
        "carrier_on",
        "silence",
        "restore",
        "address",
        "roam",
        "metric",
        "link",
        "block",
        "unblock",
        "nat_rebind",
        "nat_flush",
        "server_down",
        "server_up",
        "hotspot",
        "policy",
        "priority",
        "path",
    ],
    &[],
);

/// Those of [`LINK`] but for `radio`, which stays.
pub(crate) const LINK_STEP: Vocabulary = words(
    "a key of a link step",
    &[
        "network",
        "delay",
        "jitter",
        "rate",
        "trace",
        "queue",
        "loss",
        "duplicate",
        "reorder",
        "mtu",
        "down",
        "up",
    ],
    &[],
);

pub(crate) const BLOCK_STEP: Vocabulary = words("a key of a block step", &["network", "filters"], &[]);

pub(crate) const UNBLOCK_STEP: Vocabulary = words("a key of an unblock step", &["network"], &[]);

pub(crate) const ROAM: Vocabulary = words("a key of a roam step", &["interface", "network", "gap"], &[]);

pub(crate) const HOTSPOT: Vocabulary =
    words("a key of a hotspot step", &["host", "interface", "network"], &[]);

pub(crate) const METRIC: Vocabulary = words("a key of a metric step", &["interface", "value"], &[]);

/// [`POLICY`], whose preset may be left out where only disguises change.
pub(crate) const POLICY_STEP: Vocabulary =
    words("a key of a policy step", &joined::<22>(&["peer", "disguise"], &POLICY_KEYS), &[]);

pub(crate) const PEER_NAMES: Vocabulary = words("a peer", &["client", "server", "both"], &[]);

pub(crate) const ONE_PEER: Vocabulary = words("a peer", &["client", "server"], &[]);

pub(crate) const PRIORITY: Vocabulary = words("a key of a priority step", &["interface", "value"], &[]);

pub(crate) const PATH: Vocabulary = words("a key of a path step", &["peer", "interface", "status"], &[]);

pub(crate) const PATH_STATUSES: Vocabulary =
    words("a status of paths", &["available", "backup", "closed"], &[]);

pub(crate) const EXPECTATIONS: Vocabulary = words(
    "an expectation",
    &[
        "interruption",
        "missed",
        "same_connection",
        "how",
        "first_path",
        "direct_path",
        "relay_path",
        "goodput",
        "lost",
        "verdict",
    ],
    &[],
);

pub(crate) const BOUND_OF_STEPS: Vocabulary =
    words("a key of a limit for steps", &["below", "at", "step"], &[]);

pub(crate) const HELD: Vocabulary = words("a key of what steps are held to", &["is", "at", "step"], &[]);

pub(crate) const VERDICT: Vocabulary =
    words("a key of a verdict", &["is", "interface", "remote_interface", "family", "direction"], &[]);

pub(crate) const VERDICTS: Vocabulary = words(
    "a verdict",
    &[
        "open",
        "stun-filtered",
        "udp-p2p-blocked",
        "udp-blocked",
        "nat-incompatible",
        "one-way",
        "inconclusive",
    ],
    &[],
);

pub(crate) const VERDICT_FAMILY: Vocabulary = words("a family", &["ipv4", "ipv6"], &[]);

pub(crate) const VERDICT_DIRECTION: Vocabulary = words("a direction", &["out", "in"], &[]);

pub(crate) const BELOW: Vocabulary = words("a key of a limit", &["below"], &[]);

pub(crate) const ABOVE: Vocabulary = words("a key of a lower bound", &["above"], &[]);

pub(crate) const ADDRESS: Vocabulary = words("a key of a new address", &["interface"], &[]);

pub(crate) const HOW: Vocabulary =
    words("a way to survive", &["none", "migrated", "multipath", "rebuilt", "relay", "failed"], &[]);
