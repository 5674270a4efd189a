//! Size and direction of a bulk workload's object, and the receiver's figures of it. Left out: carrying it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One object, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkSpec {
    /// Which way.
    pub direction: BulkDirection,
    /// Its size; none: as much as goes until the peer ends.
    pub bytes: Option<u64>,
}

/// Which way an object travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BulkDirection {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Figures of an object, measured by its receiver. None of them ever falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct BulkFigures {
    /// Distinct bytes that arrived.
    pub bytes: u64,
    /// From the receiver's beginning to the newest of these bytes.
    pub duration: Duration,
    /// Longest time without a new byte; at the end of an object that lacks bytes, the time since the newest counts, too.
    pub longest_stall: Duration,
}
