//! Replication groups, through the local API.
//!
//! Invariant: none yet.
//!
//! Not here: what becomes of a spec.

use tanist_link::Client;

/// The local API.
#[derive(Debug, Clone)]
pub struct Groups {
    /// How it is reached.
    pub client: Client,
}
