//! What a bulk workload is asked to carry.

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
