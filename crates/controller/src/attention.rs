//! Which shards are looked at although nothing was said of them.
//!
//! What is said of a shard has it looked at at once. But silence says nothing, and time passes without
//! a word. So every tick looks at the shards where something is under way, at those of hosts that are
//! silent, at those of which something else was asked, and at a part of the others, each in its turn: an
//! installation of thousands of shards is at rest but for a few.
//!
//! When it is not, as after the loss of a host with very many, there may be more to look at than there
//! is time before the next tick. Then shards wait in a row, and the loop goes on listening between them:
//! a leader that falls silent would be given up, and be called by everybody at once.
//!
//! Invariant: a shard at rest whose hosts all speak is due within [`ROUND`] ticks, any other at every
//! tick. What waits is looked at in its order, and nothing said keeps what time has brought waiting, nor
//! the other way round.
//!
//! Not here: what a look does (`crate::looks`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use tanist_core::decide::Plan;
use tanist_core::model::{
    GroupName, GroupSpec, HostId, HostSeen, Instant, ShardId, ShardKey, ShardTopology,
};

use crate::archive::Held;

/// Ticks within which every shard has its turn.
const ROUND: usize = 20;
/// A host's agent speaks more often than this.
const SILENT: Duration = Duration::from_millis(200);

/// What has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// Shards where something is under way.
    restless: BTreeSet<ShardKey>,
    /// The shard whose turn was last.
    last: Option<ShardKey>,
    /// Of which something was said.
    news: Row,
    /// Which a tick has found.
    due: Row,
}

/// Shards that wait, each once.
#[derive(Debug, Default)]
struct Row {
    order: VecDeque<ShardKey>,
    all: BTreeSet<ShardKey>,
}

impl Row {
    fn join(&mut self, keys: impl IntoIterator<Item = ShardKey>) {
        for key in keys {
            if self.all.insert(key.clone()) {
                self.order.push_back(key);
            }
        }
    }

    fn first(&mut self) -> Option<ShardKey> {
        let key = self.order.pop_front()?;
        self.all.remove(&key);
        Some(key)
    }
}

/// Where something was asked that was not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Of hosts, or of more groups than one: every shard may be concerned.
    pub(crate) everywhere: bool,
    /// Of these groups.
    pub(crate) of: BTreeSet<GroupName>,
}

impl Attention {
    /// Takes in what a look has come to; `ordered` says that something is not true yet.
    pub(crate) fn note(
        &mut self,
        spec: &GroupSpec,
        shard: &ShardTopology,
        plan: &Plan,
        ordered: bool,
    ) {
        let key = shard.key();
        if ordered || !is_at_rest(spec, shard, plan) {
            self.restless.insert(key);
        } else {
            self.restless.remove(&key);
        }
    }

    /// Has a shard looked at by the next tick, whatever a look has come to.
    pub(crate) fn keep(&mut self, key: &ShardKey) {
        self.restless.insert(key.clone());
    }

    /// Whether somebody may wait for news of the shard that change nothing but how old they are.
    pub(crate) fn is_restless(&self, key: &ShardKey) -> bool {
        self.restless.contains(key)
    }

    /// Something new was said of these shards.
    pub(crate) fn hear(&mut self, keys: impl IntoIterator<Item = ShardKey>) {
        self.news.join(keys);
    }

    /// Whether a shard waits to be looked at.
    pub(crate) fn is_behind(&self) -> bool {
        !self.news.order.is_empty() || !self.due.order.is_empty()
    }

    /// The next shards to look at, from both rows in turns; at most so many.
    pub(crate) fn next(&mut self, most: usize) -> BTreeSet<ShardKey> {
        let mut next = BTreeSet::new();
        while next.len() < most {
            let two = [self.news.first(), self.due.first()];
            if two == [None, None] {
                break;
            }
            next.extend(two.into_iter().flatten());
        }
        next
    }

    /// Has the shards looked at that this tick has to look at.
    pub(crate) fn tick(
        &mut self,
        all: &BTreeMap<ShardKey, Held<ShardTopology>>,
        asked: &mut Asked,
        hosts: &BTreeMap<HostId, HostSeen>,
        now: Instant,
    ) {
        let due = self.due(all, asked, hosts, now);
        self.due.join(due);
    }

    /// The shards of `all` that this tick looks at; `asked` is what was asked since the one before.
    fn due(
        &mut self,
        all: &BTreeMap<ShardKey, Held<ShardTopology>>,
        asked: &mut Asked,
        hosts: &BTreeMap<HostId, HostSeen>,
        now: Instant,
    ) -> BTreeSet<ShardKey> {
        let Asked { everywhere, of } = std::mem::take(asked);
        if everywhere {
            return all.keys().cloned().collect();
        }
        self.restless.retain(|key| all.contains_key(key));
        let mut due = self.restless.clone();
        for group in of {
            let first = ShardKey { group: group.clone(), shard: ShardId::new("") };
            let shards = all.range(first..).map(|(key, _)| key);
            due.extend(shards.take_while(|key| key.group == group).cloned());
        }
        let silent = hosts.iter().filter(|(_, host)| now.since(host.at) > SILENT);
        let silent: BTreeSet<&HostId> = silent.map(|(host, _)| host).collect();
        if !silent.is_empty() {
            let is_there = |shard: &ShardTopology| {
                shard.members.values().any(|member| silent.contains(&member.host))
            };
            let there = all.iter().filter(|(_, held)| is_there(&held.body));
            due.extend(there.map(|(key, _)| key.clone()));
        }
        let last = self.last.take();
        let later = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let turns = all.range((later, Bound::Unbounded)).chain(all).take(all.len().div_ceil(ROUND));
        let turns: Vec<&ShardKey> = turns.map(|(key, _)| key).collect();
        self.last = turns.last().map(|key| (*key).clone());
        due.extend(turns.into_iter().cloned());
        due
    }
}

/// Nothing is under way, nobody waits for anything, and all is as it was asked.
fn is_at_rest(spec: &GroupSpec, shard: &ShardTopology, plan: &Plan) -> bool {
    let replicas = usize::from(spec.replicas);
    let asked =
        spec.requests.get(&shard.shard).is_some_and(|request| request.id > shard.request_done);
    plan.waits.is_empty()
        && plan.hold.is_none()
        && !asked
        && !spec.deleting
        && shard.pending.is_none()
        && shard.relocation.is_none()
        && shard.primary().is_some()
        && shard.in_sync.len() == replicas
        && shard.members.len() == replicas + 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tanist_core::model::{RequestId, Wait, WaitKind};
    use tanist_store::Revision;

    use super::*;
    use crate::tests::rig::{spec, topology};

    type All = BTreeMap<ShardKey, Held<ShardTopology>>;

    const NOW: Instant = Instant::from_millis(10_000);

    fn shard(number: usize) -> ShardTopology {
        ShardTopology { group: format!("g{number:03}").as_str().into(), ..topology() }
    }

    /// So many shards, each on hosts of its own.
    fn all(shards: usize) -> All {
        let shards = (0..shards).map(|number| {
            let mut shard = shard(number);
            for (place, member) in shard.members.values_mut().enumerate() {
                member.host = HostId::new(format!("h{number}-{place}"));
            }
            (shard.key(), Held { body: Arc::new(shard), revision: Revision::ABSENT })
        });
        shards.collect()
    }

    /// What `due` says while nothing is asked and every host speaks.
    fn due(attention: &mut Attention, all: &All) -> BTreeSet<ShardKey> {
        attention.due(all, &mut Asked::default(), &BTreeMap::new(), NOW)
    }

    #[test]
    fn every_shard_has_its_turn_within_a_round() {
        for shards in [1, 19, 20, 21, 57] {
            let (all, mut attention) = (all(shards), Attention::default());
            let few = shards.div_ceil(ROUND);
            let mut seen = BTreeSet::new();
            for _ in 0..ROUND {
                let due = due(&mut attention, &all);
                assert!(due.len() <= few, "{} of {shards}", due.len());
                seen.extend(due);
            }
            assert_eq!(seen.len(), shards);
        }
        assert!(due(&mut Attention::default(), &BTreeMap::new()).is_empty());
    }

    #[test]
    fn where_something_is_under_way_every_tick_looks() {
        let (all, mut attention) = (all(40), Attention::default());
        let busy = all.values().nth(30).map(|held| Arc::clone(&held.body)).unwrap();
        let well = Plan::default();
        let wait = Wait { kind: WaitKind::CatchUp, detail: String::new() };
        let waits = Plan { waits: vec![wait], ..Plan::default() };
        let holds = Plan { hold: Some(RequestId(1)), ..Plan::default() };
        let looked =
            |attention: &mut Attention| (0..3).all(|_| due(attention, &all).contains(&busy.key()));
        for (plan, ordered) in [(&waits, false), (&holds, false), (&well, true)] {
            attention.note(&spec(), &busy, plan, ordered);
            assert!(attention.is_restless(&busy.key()) && looked(&mut attention));
        }
        attention.note(&spec(), &busy, &well, false);
        assert!(!attention.is_restless(&busy.key()) && !looked(&mut attention));
        let mut less = (*busy).clone();
        less.in_sync.pop_last();
        attention.note(&spec(), &less, &well, false);
        assert!(looked(&mut attention), "it has not what was asked for");
    }

    #[test]
    fn a_silent_hosts_shards_and_after_a_change_all_are_looked_at() {
        let (all, mut attention) = (all(40), Attention::default());
        let host = |at| HostSeen {
            region: "here".into(),
            zone: "a".into(),
            address: std::net::Ipv4Addr::LOCALHOST,
            at,
            since: at,
            draining: false,
            memory_bytes: 1,
        };
        let key = shard(33).key();
        let mut hosts = BTreeMap::from([(HostId::new("h33-2"), host(NOW))]);
        let mut due = |hosts: &BTreeMap<HostId, HostSeen>, asked: &mut Asked| {
            attention.due(&all, asked, hosts, NOW)
        };
        assert!(!due(&hosts, &mut Asked::default()).contains(&key));
        hosts.insert(HostId::new("h33-2"), host(NOW - SILENT - Duration::from_millis(1)));
        for _ in 0..3 {
            assert!(due(&hosts, &mut Asked::default()).contains(&key));
        }
        let mut asked = Asked { everywhere: true, ..Asked::default() };
        assert_eq!(due(&hosts, &mut asked).len(), 40);
        assert!(due(&hosts, &mut asked).len() < 40, "once");
        let of = BTreeSet::from([shard(17).group]);
        let mut asked = Asked { of, ..Asked::default() };
        assert!(due(&hosts, &mut asked).contains(&shard(17).key()));
    }

    #[test]
    fn what_waits_is_looked_at_once_and_in_its_order_whatever_else_comes() {
        let mut attention = Attention::default();
        let keys = |numbers: std::ops::Range<usize>| numbers.map(|number| shard(number).key());
        attention.due.join(keys(50..53));
        attention.hear(keys(0..9));
        let mut next = |more: std::ops::Range<usize>| {
            attention.hear(keys(more));
            attention.next(4).iter().map(|key| key.group.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(next(0..9), ["g000", "g001", "g050", "g051"]);
        assert_eq!(next(0..2), ["g002", "g003", "g004", "g052"]);
        assert_eq!(next(0..0), ["g005", "g006", "g007", "g008"]);
        assert_eq!(next(0..0), ["g000", "g001"]);
        assert!(!attention.is_behind());
    }
}
