//! The kernel's own NATs, by `netns-scripts/`: several topologies at once, each in namespaces of its own.
//!
//! Each side gets the verdict of the modelled NAT with the same words, but for what the kernel cannot do (see
//! `netns-scripts/README.md`):
//!
//! * Mappings that depend on the destination never keep the inside port, so there `preserved` is `random`.
//! * What hairpins teaches no mapping before somebody owns the port that it is for, where the model's NAT gives it one as
//!   to any other destination. So two hosts that foresee each other's ports rarely meet, and whether that is for
//!   lack of hairpinning cannot be told, unless a repeated packet of one comes when the other's port has its owner.

use crate::{Passed, Stage, finish, verdict::Verdict, verdict::word};
use netmodel::{Dependence, Hairpinning, NatKind, NatSpec, PortAssignment};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread};

/// A topology, and who asks in it.
struct Universe {
    topology: &'static str,
    /// Of its `up`.
    words: String,
    /// Host, its interface, whom it asks, and what it should find.
    probes: Vec<(&'static str, &'static str, Verdict)>,
}

const SERVER: &str = "198.51.100.1";
const SERVER_IPV6: &str = "2001:db8:ffff::1";

/// Arguments: topology, where files go, words of `up`, and HOST=SERVER of each prober.
const SCRIPT: &str = r#"
mount -t tmpfs tmpfs /run
topology=$1 out=$2 words=$3
shift 3
netns-scripts/$topology.sh up $words >&2
inside() { echo timeout 80 nsenter --net=/run/netns/ice.$topology.$1; }
$(inside server) ./iceperf relay --bind 198.51.100.1 --bind 198.51.100.2 \
    --bind 2001:db8:ffff::1 --bind 2001:db8:ffff::2 >$out/relay 2>&1 &
relay=$!
trap 'kill $relay' EXIT
until grep -q '^TURN: ' $out/relay; do
    kill -0 $relay || { cat $out/relay; exit 1; }
    sleep 0.05
done
probers=
for probe; do
    $(inside ${probe%%=*}) ./iceperf probe nat ${probe#*=} --interface eth0 --json >$out/${probe%%=*} &
    probers="$probers $!"
done
for prober in $probers; do wait $prober; done
"#;

pub(crate) fn run(stage: &Stage) -> Result<Passed, String> {
    if let Some(why) = cannot(stage) {
        return Ok(Passed::NotTested(why));
    }
    let universes = universes();
    let found: Vec<_> = thread::scope(|scope| {
        let run = |(number, universe)| scope.spawn(move || probe(stage, number, universe));
        let running: Vec<_> = universes.iter().enumerate().map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(Err("it panicked".into()))).collect()
    });
    let mut wrong = String::new();
    for (universe, found) in universes.iter().zip(found) {
        let name = format!("{}.sh up {}", universe.topology, universe.words);
        match found {
            Err(why) => wrong += &format!("{name}: {why}\n"),
            Ok(found) => {
                for ((host, _, expected), (found, document)) in universe.probes.iter().zip(found) {
                    if !agrees(&found, expected, universe) {
                        wrong += &format!("{name}, {host}\n  is {expected}\n  found {found}\n{document}\n");
                    }
                }
            }
        }
    }
    let count = universes.iter().map(|universe| universe.probes.len()).sum();
    if wrong.is_empty() { Ok(Passed::Recognised(count)) } else { Err(wrong) }
}

/// Whether a verdict is the expected one; or, where hairpinning is expected to be inconclusive, whether it was seen and
/// is there.
fn agrees(found: &Verdict, expected: &Verdict, universe: &Universe) -> bool {
    let seen = || Verdict { hairpinning: "external-source".into(), ..expected.clone() };
    let may_be_seen = expected.hairpinning == "inconclusive" && universe.words.ends_with("--hairpin yes");
    found == expected || (may_be_seen && *found == seen())
}

/// Why the kernel's NATs cannot be had here, if so.
fn cannot(stage: &Stage) -> Option<String> {
    let mut command = stage.command(Path::new("unshare"));
    let script = "PATH=$PATH:/usr/sbin:/sbin; for one in ip nsenter; do command -v $one; done && nft add table inet probe";
    command.args(["-Urmn", "bash", "-ec", script]);
    let why = finish(command, &stage.path("machine.log")).err()?;
    Some(format!("`testbed/setup test` installs what is missing, or this user may not: {why}"))
}

/// The verdicts of all probers of a universe, and what they are read from.
fn probe(stage: &Stage, number: usize, universe: &Universe) -> Result<Vec<(Verdict, String)>, String> {
    // Two first packets must not pass the NAT at the same time, before either has taught it.
    one_processor(number)?;
    let out = format!("universe{number}");
    let failed = |error: std::io::Error| format!("{out}: {error}");
    fs::create_dir(stage.path(&out)).map_err(failed)?;
    fs::set_permissions(stage.path(&out), fs::Permissions::from_mode(0o777)).map_err(failed)?;
    let mut command = stage.command(Path::new("unshare"));
    command.args(["-Urmn", "bash", "-euc", SCRIPT, "bash", universe.topology, &out, &universe.words]);
    command.args(universe.probes.iter().map(|(host, server, _)| format!("{host}={server}")));
    finish(command, &stage.path(&format!("{out}.log")))?;
    let read = |(host, _, _): &(&str, &str, Verdict)| {
        let document = fs::read_to_string(stage.path(&format!("{out}/{host}"))).map_err(failed)?;
        Ok((Verdict::read(&document)?, document))
    };
    universe.probes.iter().map(read).collect()
}

/// This thread and what it starts stay on one processor, not all on the same.
fn one_processor(number: usize) -> Result<(), String> {
    let failed = |error: nix::Error| format!("one processor: {error}");
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).map_err(failed)?;
    let allowed: Vec<usize> =
        (0..CpuSet::count()).filter(|index| allowed.is_set(*index).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(allowed[number % allowed.len()]).map_err(failed)?;
    sched_setaffinity(this, &one).map_err(failed)
}

fn nat(class: (Dependence, Dependence), ports: PortAssignment, hairpinning: Hairpinning) -> NatSpec {
    let (mapping, filtering) = class;
    NatSpec { mapping, filtering, ports, hairpinning, ..NatSpec::new(NatKind::Home) }
}

/// As the scripts call it.
fn class((mapping, filtering): (Dependence, Dependence)) -> String {
    let short = |dependence| match dependence {
        Dependence::EndpointIndependent => "ei",
        Dependence::AddressDependent => "ad",
        Dependence::AddressAndPortDependent => "apd",
    };
    format!("{}/{}", short(mapping), short(filtering))
}

/// What the prober says of the kernel's NAT of that class.
fn expected(class: (Dependence, Dependence), ports: PortAssignment, hairpinning: Hairpinning) -> Verdict {
    let is_independent = class.0 == Dependence::EndpointIndependent;
    let ports = match ports {
        PortAssignment::Preserved if !is_independent => PortAssignment::Random,
        ports => ports,
    };
    let verdict = Verdict::behind(&[nat(class, ports, hairpinning)]);
    match is_independent || class.1 == Dependence::EndpointIndependent {
        true => verdict,
        false => Verdict { hairpinning: "inconclusive".into(), ..verdict },
    }
}

fn universes() -> Vec<Universe> {
    use Dependence::{AddressAndPortDependent as Apd, AddressDependent as Ad, EndpointIndependent as Ei};
    use Hairpinning::{ExternalSource, Off};
    use PortAssignment::{Preserved, Random, Sequential};
    let pair = |left, right, ports, hairpinning| {
        let words = match ports {
            Preserved => "preserved",
            Sequential => "sequential",
            Random => "random",
        };
        let hairpins = if hairpinning == Off { "no" } else { "yes" };
        let probe = |host, class| (host, SERVER, expected(class, ports, hairpinning));
        Universe {
            topology: "nat",
            words: format!("{} {} --ports {words} --hairpin {hairpins}", class(left), class(right)),
            probes: vec![probe("left", left), probe("right", right)],
        }
    };
    let symmetric = expected((Apd, Apd), Random, Off);
    let firewall = Verdict::without_nat(word(Apd));
    let behind_two = Verdict::behind(&[
        nat((Ei, Ei), Preserved, ExternalSource),
        nat((Ei, Ad), Preserved, ExternalSource),
    ]);
    vec![
        pair((Ei, Ei), (Ei, Ad), Sequential, ExternalSource),
        pair((Ei, Apd), (Ad, Ei), Sequential, ExternalSource),
        pair((Ad, Ad), (Ad, Apd), Sequential, ExternalSource),
        pair((Apd, Ei), (Apd, Ad), Sequential, ExternalSource),
        pair((Apd, Apd), (Ei, Apd), Preserved, ExternalSource),
        pair((Ei, Ad), (Apd, Ei), Random, Off),
        Universe {
            topology: "nat",
            words: "masquerade masquerade-random".into(),
            probes: vec![("left", SERVER, expected((Ei, Apd), Preserved, Off)), ("right", SERVER, symmetric)],
        },
        Universe {
            topology: "cgnat",
            words: "ei/ei ei/ad".into(),
            probes: vec![("laptop", SERVER, behind_two)],
        },
        Universe {
            topology: "home",
            words: "ei/apd".into(),
            probes: vec![
                ("laptop", SERVER, expected((Ei, Apd), Preserved, ExternalSource)),
                ("desktop", SERVER_IPV6, firewall),
            ],
        },
    ]
}
