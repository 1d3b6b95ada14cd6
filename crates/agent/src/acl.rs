//! Users of an engine besides the agent's: lanes of proxies and attachments of replicas.
//!
//! A user exists exactly as long as an order wants it. Deleting one closes its connections and bars
//! new ones at once, so a proxy with an old route and a replica with an old attachment are cut off
//! by the engine itself.
//!
//! Invariant: no command holds a password, only its hash.
//!
//! Not here: when they are changed (`crate::node`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::{Epoch, Order, ProxyId, Tag};
use tanist_link::Secret;
use tanist_link::wire::{ADMIN_USER, lane_label, lane_user, replica_label, replica_user};
use tanist_resp::Command;

/// What replication needs of its user.
const REPLICA_RULES: [&str; 4] = ["-@all", "+psync", "+replconf", "+ping"];

/// What a lane may not do: change roles, persistence, configuration and users, or stop the engine.
/// What clients may do beyond this is the proxy's business.
const LANE_RULES: &[&str] = &[
    "~*",
    "&*",
    "+@all",
    "-replicaof",
    "-slaveof",
    "-sync",
    "-psync",
    "-replconf",
    "-failover",
    "-shutdown",
    "-debug",
    "-module",
    "-config",
    "-save",
    "-bgsave",
    "-bgrewriteaof",
    "-migrate",
    "-acl",
    "+acl|whoami",
    "+acl|cat",
    "+acl|genpass",
    "-client|pause",
    "-client|unpause",
    // Allowed one by one: of CLUSTER's subcommands most change the cluster.
    "-cluster",
    "+cluster|countkeysinslot",
    "+cluster|getkeysinslot",
    "+cluster|info",
    "+cluster|keyslot",
    "+cluster|links",
    "+cluster|myid",
    "+cluster|nodes",
    "+cluster|shards",
    "+cluster|slots",
];

/// The users that an order wants, with the hashes of their passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Users {
    wanted: BTreeMap<String, (Kind, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lane,
    Replica,
}

impl Users {
    /// The lanes of these proxies in the order's epoch and these attachments.
    pub(crate) fn wanted(
        secret: &Secret,
        order: &Order,
        lanes: &BTreeSet<ProxyId>,
        replicas: &BTreeSet<Tag>,
    ) -> Self {
        let lanes = lanes.iter().map(|proxy| {
            let label = lane_label(&order.group, &order.shard, order.epoch, proxy);
            (lane_user(order.epoch, proxy), (Kind::Lane, secret.password_hash(&label)))
        });
        let replicas = replicas.iter().map(|tag| {
            let label = replica_label(&order.group, &order.shard, tag);
            (replica_user(tag), (Kind::Replica, secret.password_hash(&label)))
        });
        Self { wanted: lanes.chain(replicas).collect() }
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.wanted.keys().cloned().collect()
    }

    /// Deletes every user in `present` that is not wanted.
    pub(crate) fn delete_others(&self, present: &BTreeSet<String>) -> Option<Command> {
        let others = present.iter().filter(|name| !self.wanted.contains_key(*name));
        delete(others)
    }

    /// Creates every wanted user that is not in `present`.
    pub(crate) fn create_missing<'a>(
        &'a self,
        present: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = Command> + 'a {
        self.wanted.iter().filter(|(name, _)| !present.contains(*name)).map(
            |(name, (kind, hash))| {
                let rules: &[&str] = match kind {
                    Kind::Lane => LANE_RULES,
                    Kind::Replica => &REPLICA_RULES,
                };
                let user = Command::new("ACL").arg("SETUSER").arg(name).arg("reset").arg("on");
                user.arg(format!("#{hash}")).args(rules)
            },
        )
    }
}

/// Deletes users; nothing to send if there are none.
pub(crate) fn delete<'a>(names: impl Iterator<Item = &'a String>) -> Option<Command> {
    let mut names = names.peekable();
    names.peek()?;
    Some(Command::new("ACL").arg("DELUSER").args(names))
}

/// The users of proxies among these.
pub(crate) fn lanes_of(users: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    users.iter().filter(|name| is_lane(name))
}

fn is_lane(name: &str) -> bool {
    // An attachment's name has dots (`NODE.RUN.SEQ`), a lane's has none before its proxy's.
    let rest = name.strip_prefix("lane-").and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(epoch, _)| epoch.parse().map(Epoch).is_ok())
}

/// Users as `ACL USERS` answers, without the engine's own and the agent's.
pub(crate) fn from_answer(answer: &tanist_resp::Value) -> Option<BTreeSet<String>> {
    let names = answer.as_array()?.iter().filter_map(tanist_resp::Value::as_str);
    Some(names.filter(|name| !matches!(*name, "default" | ADMIN_USER)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_told_from_attachments_by_name() {
        let lane = lane_user(Epoch(7), &ProxyId::new("proxy-1.a"));
        let users = BTreeSet::from([lane.clone(), "lane-7.3f2a9c01.17".to_owned()]);
        assert_eq!(lanes_of(&users).collect::<Vec<_>>(), [&lane]);
    }

    #[test]
    fn nothing_to_delete_is_no_command() {
        assert!(delete([].iter()).is_none());
        assert!(Users::default().delete_others(&BTreeSet::new()).is_none());
    }
}
