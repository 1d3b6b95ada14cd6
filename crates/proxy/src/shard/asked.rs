//! What was asked about a shard's clients, which is no decision about the shard: it holds as it was heard last.
//!
//! Invariant: an answer here is what the latest route said, whatever its revision.
//!
//! Not here: where requests go (`super`).

use std::net::SocketAddr;

use tanist_core::model::Transit;
use tanist_link::host_of;

use super::Shard;

impl Shard {
    /// Whether this proxy's host is to have the group's endpoints.
    pub(crate) fn is_offered_here(&self) -> bool {
        let hosts = self.hosts.borrow();
        hosts.is_empty() || host_of(&self.identity.proxy).is_some_and(|own| hosts.contains(&own))
    }

    /// Whether a client with this address may be connected; the proxy's own connections may.
    pub(crate) fn admits(&self, client: SocketAddr) -> bool {
        self.access.borrow().admits(client.ip()) || self.identity.own.borrow().contains_key(&client)
    }

    /// How bytes travel between clients and endpoints.
    pub(crate) fn transit(&self) -> Transit {
        self.transit.get()
    }
}
