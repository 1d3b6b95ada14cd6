//! Users of an engine besides the agent's: lanes of proxies and attachments of replicas.
//!
//! A proxy has a lane for itself, and one more for each client's user whose rights differ. The rules
//! of such a user come from its owner; behind them, in each set of rules, stand the fences that hold
//! for everybody, so that no rule gives more than a proxy's own lane has. What the proxy itself asks
//! on such a lane has a set of its own.
//!
//! A user exists exactly as long as an order wants it. Deleting one closes its connections and bars
//! new ones at once, so a proxy with an old route and a replica with an old attachment are cut off
//! by the engine itself.
//!
//! Invariant: no command holds a password, only its hash; a user whose rules the engine refuses may
//! do nothing, and keeps nobody else from being let in.
//!
//! Not here: when they are changed (`crate::node`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::accounts::allows;
use tanist_core::model::{Order, ProxyId, Rules, Tag};
use tanist_link::Secret;
use tanist_link::wire::{
    ADMIN_USER, BELL_CHANNEL, STAND_IN_USERS, lane_label, lane_owner, lane_user, own_lane_label,
    own_lane_user, replica_label, replica_user,
};
use tanist_resp::Command;

/// What replication needs of its user.
const REPLICA_RULES: [&str; 4] = ["-@all", "+psync", "+replconf", "+ping"];

/// What a proxy's own lane may: everything but what is fenced.
const LANE_RULES: [&str; 3] = ["~*", "&*", "+@all"];

/// What no lane may do: change roles, persistence, configuration and users, or stop the engine. What
/// clients may do beyond this is the proxy's business.
const FENCES: &[&str] = &[
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
    "-client|pause",
    "-client|unpause",
    "-acl",
    // Of CLUSTER's subcommands most change the cluster.
    "-cluster",
];

/// What is allowed one by one of families that are fenced as a whole, to whom its own rules allow it.
const EXCEPTIONS: &[&str] = &[
    "acl|whoami",
    "acl|cat",
    "acl|genpass",
    "cluster|countkeysinslot",
    "cluster|getkeysinslot",
    "cluster|info",
    "cluster|keyslot",
    "cluster|links",
    "cluster|myid",
    "cluster|nodes",
    "cluster|shards",
    "cluster|slots",
];

/// The category of all of these.
const EXCEPTIONS_ARE: [&str; 1] = ["slow"];

/// What a proxy asks by itself on the lane of a client's user: how far replicas are, and a word that
/// goes to them and to nobody else. Whether its client may ask the same the proxy decides.
fn proxys_own() -> String {
    format!("(+role +wait +client|id +spublish &{BELL_CHANNEL})")
}

/// A set of rules with the fences behind it.
fn fenced(rules: &[String]) -> Vec<String> {
    let fences = FENCES.iter().map(|rule| (*rule).to_owned());
    let exceptions = EXCEPTIONS.iter().filter(|name| allows(rules, name, &EXCEPTIONS_ARE, &[]));
    rules.iter().cloned().chain(fences).chain(exceptions.map(|name| format!("+{name}"))).collect()
}

/// Everything that a lane of a client's user is told.
fn own_lane_rules(rules: &Rules) -> Vec<String> {
    let mut sets = rules.0.iter().map(|set| fenced(set));
    let mut words = sets.next().unwrap_or_default();
    words.extend(sets.map(|set| format!("({})", set.join(" "))));
    words.push(proxys_own());
    words
}

/// The users that an order wants, with the hashes of their passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Users {
    wanted: BTreeMap<String, (Kind, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Lane,
    /// A lane on behalf of a client's user.
    Own(Rules),
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
        let (group, shard, epoch) = (&order.group, &order.shard, order.epoch);
        let own = lanes.iter().flat_map(|proxy| {
            order.users.iter().map(move |(user, rules)| {
                let label = own_lane_label(group, shard, epoch, proxy, user);
                let hash = secret.password_hash(&label);
                (own_lane_user(epoch, proxy, user), (Kind::Own(rules.clone()), hash))
            })
        });
        let lanes = lanes.iter().map(|proxy| {
            let label = lane_label(group, shard, epoch, proxy);
            (lane_user(epoch, proxy), (Kind::Lane, secret.password_hash(&label)))
        });
        let replicas = replicas.iter().map(|tag| {
            let label = replica_label(&order.group, &order.shard, tag);
            (replica_user(tag), (Kind::Replica, secret.password_hash(&label)))
        });
        Self { wanted: lanes.chain(replicas).chain(own).collect() }
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
        let missing = self.wanted.iter().filter(|(name, _)| !present.contains(*name));
        missing.filter_map(|(name, (kind, hash))| {
            let user = set_user(name, hash);
            match kind {
                Kind::Lane => {
                    let whole = LANE_RULES.map(str::to_owned);
                    Some(user.args(fenced(&whole)))
                }
                Kind::Replica => Some(user.args(REPLICA_RULES)),
                Kind::Own(_) => None,
            }
        })
    }

    /// Tells the engine of every lane of a client's user: what it may do changes under the same name.
    /// With each the name, and what to tell an engine that does not take the rules: nothing is allowed.
    pub(crate) fn own_lanes(&self) -> Vec<(&str, Command, Command)> {
        let own = self.wanted.iter().filter_map(|(name, (kind, hash))| match kind {
            Kind::Own(rules) => Some((name.as_str(), hash, rules)),
            Kind::Lane | Kind::Replica => None,
        });
        own.map(|(name, hash, rules)| {
            (name, set_user(name, hash).args(own_lane_rules(rules)), set_user(name, hash))
        })
        .collect()
    }
}

/// `reset` comes first: what is not said is not allowed.
fn set_user(name: &str, hash: &str) -> Command {
    let user = Command::new("ACL").arg("SETUSER").arg(name).arg("reset").arg("on");
    user.arg(format!("#{hash}"))
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
    lane_owner(name).is_some()
}

/// Users as `ACL USERS` answers, without the engine's own, the agent's, and those that come and go with
/// a replica's word.
pub(crate) fn from_answer(answer: &tanist_resp::Value) -> Option<BTreeSet<String>> {
    let names = answer.as_array()?.iter().filter_map(tanist_resp::Value::as_str);
    let own = |name: &&str| matches!(*name, "default" | ADMIN_USER) || is_stand_in(name);
    Some(names.filter(|name| !own(name)).map(str::to_owned).collect())
}

fn is_stand_in(name: &str) -> bool {
    name.starts_with(STAND_IN_USERS)
}

/// Users by which primaries' supervisors ask for this replica's word, as `ACL USERS` answers.
pub(crate) fn stand_ins(answer: &tanist_resp::Value) -> Vec<String> {
    let names = answer.as_array().unwrap_or_default().iter();
    let names = names.filter_map(tanist_resp::Value::as_str);
    names.filter(|name| is_stand_in(name)).map(str::to_owned).collect()
}

/// Lets a primary's supervisor ask, and nothing else.
pub(crate) fn stand_in(name: &str, hash: &str) -> Command {
    set_user(name, hash).args(["-@all", "+ping"])
}

#[cfg(test)]
mod tests {
    use tanist_core::model::Epoch;

    use super::*;

    fn set(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn fences_stand_behind_every_set_of_rules() {
        let rules = Rules(vec![set("~a +@all"), set("~b +config +@all"), set("+acl|setuser")]);
        let words = own_lane_rules(&rules);
        let root: Vec<&str> =
            words.iter().map(String::as_str).take_while(|word| !word.starts_with('(')).collect();
        assert_eq!(root[..3], ["~a", "+@all", "-replicaof"]);
        assert_eq!(root.last(), Some(&"+cluster|slots"));
        let sets: Vec<&String> = words.iter().filter(|word| word.starts_with('(')).collect();
        assert_eq!(sets.len(), 3);
        assert!(
            sets[0].starts_with("(~b +config +@all -replicaof") && sets[0].contains(" -config")
        );
        // What was asked for itself is fenced like all else, and nothing is given that was not.
        assert!(sets[1].ends_with(" -acl -cluster)"), "{}", sets[1]);
        assert_eq!(*sets[2], proxys_own());
    }

    #[test]
    fn a_proxys_own_lane_may_what_it_always_might() {
        let whole = fenced(&LANE_RULES.map(str::to_owned));
        for word in ["~*", "&*", "+@all", "-acl", "+acl|whoami", "-cluster", "+cluster|slots"] {
            assert!(whole.iter().any(|rule| rule == word), "{word}");
        }
        let at = |word: &str| whole.iter().position(|rule| rule == word).unwrap();
        assert!(at("-acl") < at("+acl|whoami") && at("-cluster") < at("+cluster|info"));
    }

    #[test]
    fn lanes_are_told_from_attachments_by_name() {
        let lane = lane_user(Epoch(7), &ProxyId::new("proxy-1.a"));
        let users = BTreeSet::from([lane.clone(), "lane-7.3f2a9c01.17".to_owned()]);
        assert_eq!(lanes_of(&users).collect::<Vec<_>>(), [&lane]);
        let own = BTreeSet::from([own_lane_user(Epoch(7), &ProxyId::new("proxy-1"), "a.b:c-d")]);
        assert_eq!(lanes_of(&own).count(), 1);
    }

    #[test]
    fn nothing_to_delete_is_no_command() {
        assert!(delete([].iter()).is_none());
        assert!(Users::default().delete_others(&BTreeSet::new()).is_none());
    }
}
