//! The names of everything in the store.
//!
//! Invariant: numbers in keys are padded, so that the order of keys is the order of numbers.
//!
//! Not here: what the documents hold (`tanist_core::model`, `tanist_link::api`).

use tanist_core::model::{Epoch, GroupName, HostId, ShardKey};

/// The leading controller's term.
pub(crate) const TERM: &str = "term";
/// Prefix of what servers that share a store say about leading.
pub(crate) const LEADERSHIP: &str = "leader/";
/// The server that has the term.
pub(crate) const LEADER: &str = "leader/who";
/// Written anew for as long as it is there.
pub(crate) const BEAT: &str = "leader/beat";
/// Prefix of every group's spec.
pub(crate) const SPECS: &str = "spec/";
/// Prefix of every shard's topology.
pub(crate) const TOPOLOGIES: &str = "topology/";
/// Prefix of every event.
pub(crate) const EVENTS: &str = "event/";
/// Prefix of every failover's record.
pub(crate) const FAILOVERS: &str = "failover/";

/// Prefix of what is remembered of shards that are gone.
pub(crate) const RETIRED: &str = "retired/";

/// There while a copy is being put back.
pub(crate) const RESTORING: &str = "restoring";

/// Prefix of what was asked about every host.
pub(crate) const HOSTS: &str = "host/";
/// Prefix of every user.
pub(crate) const USERS: &str = "user/";
/// Prefix of every user group.
pub(crate) const USER_GROUPS: &str = "user-group/";

pub(crate) fn host(host: &HostId) -> String {
    format!("{HOSTS}{host}")
}

pub(crate) fn user(id: &str) -> String {
    format!("{USERS}{id}")
}

pub(crate) fn user_group(id: &str) -> String {
    format!("{USER_GROUPS}{id}")
}

pub(crate) fn retired(key: &ShardKey) -> String {
    format!("{RETIRED}{key}")
}

pub(crate) fn spec(group: &GroupName) -> String {
    format!("{SPECS}{group}")
}

pub(crate) fn topology(key: &ShardKey) -> String {
    format!("{TOPOLOGIES}{key}")
}

pub(crate) fn event(id: u64) -> String {
    format!("{EVENTS}{id:020}")
}

pub(crate) fn failover(key: &ShardKey, epoch: Epoch) -> String {
    format!("{FAILOVERS}{key}/{:020}", epoch.0)
}

/// Prefix of a group's failovers.
pub(crate) fn failovers(group: &GroupName) -> String {
    format!("{FAILOVERS}{group}/")
}
