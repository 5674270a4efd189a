//! `trace`: when a link may deliver, from a file beside the scenario or from a channel that the project ships.

use super::{
    diagnostic::{Problem, Problems, suggest},
    reader,
    yaml::Node,
};
use netmodel::{Channel, Direction, Trace, TraceProblem};
use serde::{Serialize, Serializer};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The channels that come with the project.
const CHANNELS: [(&str, Channel); 5] = [
    ("lte-standing", Channel::LTE_STANDING),
    ("lte-walking", Channel::LTE_WALKING),
    ("lte-driving", Channel::LTE_DRIVING),
    ("wifi-leaving-room", Channel::WIFI_LEAVING_ROOM),
    ("handover", Channel::HANDOVER),
];

/// What a run may take longer than its scenario says, for its set-up: a channel must not begin again in it.
const SET_UP: Duration = Duration::from_secs(60);
/// The longest trace of a channel, which then begins again; some hundred megabytes.
const LONGEST: Duration = Duration::from_secs(3600);
/// What stands for a trace that nobody replays.
const BEGINNING: Duration = Duration::from_secs(1);
/// No sound trace is larger.
const LARGEST_FILE: u64 = 512 << 20;

/// Where a trace comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TraceSource {
    /// Drawn from the run's seed.
    Channel { name: &'static str, channel: Channel },
    /// Mahimahi's format.
    File { path: PathBuf, trace: Trace },
}

impl TraceSource {
    /// The name of a channel, or else a path relative to the scenario's folder.
    pub(super) fn read(node: &Node, folder: &Path, problems: &mut Problems) -> Option<Self> {
        let written = reader::text(node, "a trace", problems)?;
        if let Some((name, channel)) = CHANNELS.iter().find(|(name, _)| *name == written) {
            return Some(Self::Channel { name, channel: *channel });
        }
        match read_file(&folder.join(written)) {
            Ok(trace) => Some(Self::File { path: written.into(), trace }),
            Err(why) => {
                let message = format!("no trace can be read from `{written}`: {why}");
                let channels = suggest(written, CHANNELS.iter().map(|(name, _)| *name));
                let help = format!("a file's path, relative to the scenario, or a channel:\n{channels}");
                problems.push(Problem::new(message, node.span, "not a trace").help(help));
                None
            }
        }
    }

    /// The trace of one direction of a network's links in a run of this length; those of two directions or networks have
    /// nothing in common.
    pub(super) fn lower(
        &self,
        seed: u64,
        network: &str,
        direction: Direction,
        run: Duration,
        traces: &mut Traces,
    ) -> Result<Trace, TraceProblem> {
        match self {
            Self::Channel { name, channel } => {
                let whole = Duration::from_secs(run.saturating_add(SET_UP).min(LONGEST).as_secs());
                let draw = |length| channel.trace(seed ^ place(network, direction), length);
                match traces {
                    Traces::Beginnings => draw(BEGINNING.min(whole)),
                    Traces::Drawn(drawn) => match drawn.entry((name, network.to_owned(), direction)) {
                        Entry::Occupied(known) => Ok(known.get().clone()),
                        Entry::Vacant(place) => Ok(place.insert(draw(whole)?).clone()),
                    },
                }
            }
            Self::File { trace, .. } => Ok(trace.clone()),
        }
    }
}

/// The channels' traces of one run. To draw an hour takes 100 ms and more, and its trace up to 100 MB.
#[derive(Debug)]
pub(crate) enum Traces {
    /// The first second stands for the whole, where nothing is carried.
    Beginnings,
    /// Whole, each drawn once.
    Drawn(BTreeMap<(&'static str, String, Direction), Trace>),
}

impl Traces {
    /// None is drawn yet.
    pub(crate) fn to_run() -> Self {
        Self::Drawn(BTreeMap::new())
    }
}

fn read_file(path: &Path) -> Result<Trace, String> {
    let told = |error: io::Error| error.to_string();
    let metadata = fs::metadata(path).map_err(told)?;
    if !metadata.is_file() {
        return Err("not a file".to_owned());
    }
    if metadata.len() > LARGEST_FILE {
        return Err("too large".to_owned());
    }
    Trace::parse(&fs::read(path).map_err(told)?).map_err(|error| error.to_string())
}

/// FNV-1a of a name and a direction.
fn place(network: &str, direction: Direction) -> u64 {
    let way: u8 = if direction == Direction::Up { 1 } else { 2 };
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    network.bytes().chain([0, way]).fold(0xcbf2_9ce4_8422_2325, mix)
}

/// As it is written.
impl fmt::Display for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel { name, .. } => f.write_str(name),
            Self::File { path, .. } => path.display().fmt(f),
        }
    }
}

impl Serialize for TraceSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_the_same_for_a_seed_and_another_elsewhere() {
        let source = TraceSource::Channel { name: "lte-walking", channel: Channel::LTE_WALKING };
        let trace = |seed, network, direction| {
            source.lower(seed, network, direction, Duration::from_secs(5), &mut Traces::to_run()).unwrap()
        };
        let one = trace(7, "o2", Direction::Up);
        assert_eq!(one, trace(7, "o2", Direction::Up));
        assert_eq!(one.duration(), Duration::from_secs(65));
        for other in [
            trace(8, "o2", Direction::Up),
            trace(7, "o2", Direction::Down),
            trace(7, "telekom", Direction::Up),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_channel_is_drawn_once_for_a_run_and_not_at_all_for_a_plan() {
        let channel = |name, channel| TraceSource::Channel { name, channel };
        let (walking, driving) =
            (channel("lte-walking", Channel::LTE_WALKING), channel("lte-driving", Channel::LTE_DRIVING));
        let run = Duration::from_secs(5);
        let mut traces = Traces::to_run();
        let mut lower = |source: &TraceSource, network| {
            source.lower(7, network, Direction::Up, run, &mut traces).unwrap()
        };
        let first = lower(&walking, "o2");
        // The very same memory: to compare two would take as long as to draw one.
        assert_eq!(lower(&walking, "o2").opportunities().as_ptr(), first.opportunities().as_ptr());
        assert_ne!(lower(&driving, "o2"), first);
        assert_ne!(lower(&walking, "telekom"), first);
        let Traces::Drawn(drawn) = &traces else { panic!("{traces:?}") };
        assert_eq!(drawn.len(), 3);
        let beginning = walking.lower(7, "o2", Direction::Up, LONGEST, &mut Traces::Beginnings).unwrap();
        assert_eq!(beginning.duration(), BEGINNING);
    }

    /// The longest is within what a trace may hold.
    #[test]
    fn every_channel_can_be_drawn_for_the_longest_run() {
        for (name, channel) in CHANNELS {
            let per_second = channel.mean.bits_per_second() / (8 * Trace::OPPORTUNITY);
            // A rate that varies is a tenth above its mean over an hour with a probability that nobody sees.
            let most = per_second * LONGEST.as_secs() * 11 / 10;
            assert!(most < Trace::MOST_LINES as u64, "{name}: {most}");
        }
    }
}
