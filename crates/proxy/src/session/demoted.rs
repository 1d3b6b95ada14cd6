//! Clients of a node that was primary and is so no more.
//!
//! Whoever was led to a node because it is primary (by Sentinel, with `advertise = "nodes"`) asks again
//! only when it is disconnected: Lettuce, for one, would be told `READONLY` for ever. Redis' own Sentinel
//! ends the connections of a node that it demotes for this reason, and an engine that dies ends them by
//! itself.
//!
//! Invariant: a client is disconnected once another node is primary, never while nobody is; what was
//! sent for it is answered before. Whoever came to a replica stays.
//!
//! Not here: clients of the primary endpoint and the reader endpoint, which are led on.

use super::Session;
use crate::shard::{EndpointKind, Shard};

impl Session {
    /// Sees whether the client's node has lost the primaryship.
    pub(super) fn leave_demoted(&mut self, shard: &Shard) {
        let EndpointKind::Node(node) = &self.endpoint.kind else { return };
        match shard.leads(node) {
            Some(true) => self.at_primary = true,
            // As if the client had said that it is done.
            Some(false) if self.at_primary => self.client_eof(),
            _ => {}
        }
    }
}
