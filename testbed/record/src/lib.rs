//! What a run leaves behind, and nothing else: the typed events, the run directory that holds them, and the fold
//! that turns them into results.
//!
//! Every serialised event type of the project is declared here, once; the cores have their own small enums, and each
//! driver maps one to the other in one place. This crate leaves out how events come about and how they are shown.
//!
//! * [`Event`]: one line of `events.jsonl`.
//! * [`Writer`] and [`read_events`]: lossless writing that survives `kill -9`, and reading it back.
//! * [`Command`]: what `testbed` tells a running `iceperf` over its control descriptor.
//! * [`RunDirectory`] and [`Manifest`]: where things are and how they were made.
//! * [`Results`] and [`fold`]: the metrics, folded from the events and a few facts of the run.
//! * [`Expectation`]: what a scenario expects, judged by the metrics.

mod blocking;
mod command;
mod directory;
mod event;
mod expectation;
pub mod fold;
mod heartbeat;
mod jsonl;
mod millis;
mod results;
pub mod statistics;

pub use blocking::{BlockedAfter, Blocking, BlockingVerdict, ControlAnswer, Probes, Variants, Way, Which};
pub use command::Command;
pub use directory::{
    BlockSummary, DirectoryError, EvidenceSummary, Fault, HostFacts, LatenessSummary, LinkSummary, Manifest,
    RadioSummary, RunDirectory, SCHEMA_VERSION,
};
pub use event::{
    BulkFigures, CandidateKind, CheckListState, CheckPurpose, DetectedBy, Direction, DisturbanceKind,
    DropCause, Event, EventKind, Family, IceRole, InterfaceKind, MappedProtocol, PairState, PathState,
    PathStatus, RelayNews, StopReason, WorkloadKind,
};
pub use expectation::{BitRate, Expectation, Percent, Steps};
pub use fold::{LATE_AFTER, LinkRates, RunFacts};
pub use heartbeat::Heartbeat;
pub use jsonl::{EventLog, LineError, ReadError, WriteError, Writer, parse_line, read_events};
pub use millis::Millis;
pub use results::{
    BulkMetrics, CallMetrics, Censored, DisturbanceMetrics, Episode, EpisodeCause, ExpectationVerdict,
    FlowMetrics, How, IntervalSummary, Metrics, MissedMedia, MissedRuns, PathMetrics, PerDirection, Phases,
    ProbeMetrics, Results, RttSummary,
};
