//! Clients of a node that was primary and is so no more.
//!
//! Whoever was led to a node because it is primary (by Sentinel, with `advertise = "nodes"`) asks again
//! only when it is disconnected: Lettuce, for one, would be told `READONLY` for ever. Redis' own Sentinel
//! ends the connections of a node that it demotes for this reason, and an engine that dies ends them by
//! itself. Jedis, when it is disconnected before it has heard who is primary, comes back to the same
//! node at once and stays; whoever comes that late is disconnected when it is told `READONLY`.
//!
//! Invariant: a client is disconnected once another node is primary, never while nobody is; what was
//! sent for it is answered before. Whoever came to a replica, to read from it, stays.
//!
//! Not here: clients of the primary endpoint and the reader endpoint, which are led on.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Closing, Session};
use crate::shard::{EndpointKind, Shard};

/// How long after a node was primary clients may still be led to it: Sentinel says who is primary when
/// replicas have followed, in less than a second, and an application may be slow to hear of it.
const LATE: Duration = Duration::from_secs(5);

/// What a node was when the client came to its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Came {
    /// It is not known, or the endpoint is not a node's.
    #[default]
    Unknown,
    /// Primary then or since.
    ToPrimary,
    /// Primary until just before.
    Late,
    ToReplica,
}

impl Session {
    /// Sees whether the client's node has lost the primaryship.
    pub(super) fn leave_demoted(&mut self, shard: &Shard, now: Instant) {
        let EndpointKind::Node(node) = &self.endpoint.kind else { return };
        match (shard.leads(node), self.came) {
            (Some(true), _) => self.came = Came::ToPrimary,
            // As if the client had said that it is done.
            (Some(false), Came::ToPrimary) => self.client_eof(),
            (Some(false), Came::Unknown) => {
                let led = shard.led_until(node);
                let late = led.is_some_and(|led| now.saturating_duration_since(led) < LATE);
                self.came = if late { Came::Late } else { Came::ToReplica };
            }
            _ => {}
        }
    }

    /// The client is told this: it writes, so it has not come to read from a replica.
    pub(super) fn leave_astray(&mut self, reply: &[u8]) {
        let astray = self.came == Came::Late && reply.starts_with(b"-READONLY ");
        if astray && self.closing == Closing::No {
            self.closing = Closing::Flushed;
        }
    }
}
