//! Whether the hosts that were chosen for a group's endpoints are there.
//!
//! Invariant: a group that is served at every host has nothing to miss here.
//!
//! Not here: whether their proxies work, and who listens (`tanist-proxy`).

use super::View;
use crate::model::{HostId, NodeId};

/// The chosen hosts that are not there, in words.
pub(super) fn lost<'a>(
    view: &'a View<'_>,
) -> impl Iterator<Item = (Option<NodeId>, String)> + use<'a> {
    let chosen = view.asked.endpoint_hosts.iter().filter(|_| !view.asked.deleting);
    chosen.filter_map(|host| Some((None, missing(view, host)?)))
}

/// Whether there is one that is there.
pub(super) fn has_one(view: &View<'_>) -> bool {
    view.asked.endpoint_hosts.iter().any(|host| missing(view, host).is_none())
}

fn missing(view: &View<'_>, host: &HostId) -> Option<String> {
    match view.seen.hosts.get(host) {
        None => Some(format!("{host} is no host of the fleet any more")),
        Some(seen) if view.now.since(seen.at) > view.limits.host => {
            Some(format!("{host} is not heard from"))
        }
        Some(_) => None,
    }
}
