//! How much of everything there may be.
//!
//! Invariant: whatever clients do, they hold at most the connections, the memory and the time that
//! are written here.
//!
//! Not here: limits of one request's content (`crate::request`, `crate::wire`).

use std::time::Duration;

/// The limits of a front door.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections at one time. A further one waits in the kernel until one has ended; one that
    /// has nothing to do, the first to have become idle, is ended for it.
    pub(crate) connections: usize,
    /// Bytes of a request's first line and header fields.
    pub(crate) head_bytes: usize,
    /// Header fields.
    pub(crate) headers: usize,
    /// Bytes of all bodies together whose operations do not have their turn yet.
    pub(crate) all_bodies_bytes: usize,
    /// Bytes of one body that are read and thrown away, so that a client which sends too much hears
    /// of it: many listen only when they have sent everything.
    pub(crate) discarded_bytes: usize,
    /// From the first byte of a request to its last.
    pub(crate) request: Duration,
    /// Between two requests, and before the first.
    pub(crate) idle: Duration,
    /// For a client to take its answer.
    pub(crate) answer: Duration,
    /// How long an operation is waited for. Clients give up after 60 s by themselves.
    pub(crate) operation: Duration,
    /// Operations at one time.
    pub(crate) operations: usize,
    /// How long an operation waits for its turn.
    pub(crate) turn: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        connections: 1024,
        // A target of 64 KiB (`crate::request::MAX_TARGET_BYTES`) and as much as others allow beside.
        head_bytes: 80 * 1024,
        headers: 64,
        all_bodies_bytes: 64 * 1024 * 1024,
        discarded_bytes: 8 * 1024 * 1024,
        request: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        answer: Duration::from_secs(30),
        operation: Duration::from_secs(50),
        operations: 64,
        turn: Duration::from_secs(10),
    };
}
