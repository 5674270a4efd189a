//! What `testbed` tells a running `iceperf`: JSON lines over the control descriptor.

use serde::{Deserialize, Serialize};

/// One line on `--control-fd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Time zero. ICE and the workload begin then.
    Start {
        /// The instant, nanoseconds of CLOCK_MONOTONIC.
        monotonic_ns: u64,
    },
    /// End now, in an orderly way.
    Stop {},
}
