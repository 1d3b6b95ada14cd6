//! Permissions to accept writes in `async` groups, as the controller that leads gives them.
//!
//! They are given beside the one loop, not by it: a commit that takes long must not cost a primary that
//! is well its lease. What the loop decides is taken in before it is written: a primary that is about
//! to be replaced gets no more.
//!
//! Invariant: after a vacancy is committed no lease is given to the primary before; none is given while
//! somebody else may lead.
//!
//! Not here: how long a lease lasts and when it is over (`tanist_core::guard`, `tanist_core::decide`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tanist_core::model::{
    Durability, Epoch, HostId, HostSpec, Instant, NodeId, ShardKey, ShardTopology,
};
use tanist_link::wire::{AskLeases, AskedFor, Leased};
use tokio::sync::watch;

use crate::reconciler::Controller;

/// Shared by the loop and those who answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// Until when nobody else can lead.
    sure_until: Option<watch::Receiver<Instant>>,
    primaries: BTreeMap<NodeId, (ShardKey, Epoch, HostId)>,
    /// The node of each shard that is among these.
    of: BTreeMap<ShardKey, NodeId>,
    removed: BTreeSet<HostId>,
    granted: BTreeMap<ShardKey, Instant>,
}

impl Table {
    fn withdraw(&mut self, key: &ShardKey) {
        if let Some(node) = self.of.remove(key) {
            self.primaries.remove(&node);
        }
    }
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one step: nothing is ever half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases can be given while this is in the future.
    pub(crate) fn open(&self, sure_until: watch::Receiver<Instant>) {
        self.table().sure_until = Some(sure_until);
    }

    /// Takes in what was committed.
    pub(crate) fn learn(&self, shard: &ShardTopology) {
        let key = shard.key();
        let mut table = self.table();
        table.withdraw(&key);
        let member = shard.primary().and_then(|run| Some((run, shard.members.get(&run.node)?)));
        if let (Durability::Async, Some((run, member))) = (shard.durability, member) {
            table.of.insert(key.clone(), run.node.clone());
            table.primaries.insert(run.node.clone(), (key, shard.epoch, member.host.clone()));
        }
    }

    /// Gives nothing more to the shard's primary; to be called before anything else is committed.
    pub(crate) fn withdraw(&self, key: &ShardKey) {
        self.table().withdraw(key);
    }

    /// Takes in what is asked of a host.
    pub(crate) fn know(&self, host: &HostSpec) {
        let removed = &mut self.table().removed;
        if host.removed {
            removed.insert(host.host.clone());
        } else {
            removed.remove(&host.host);
        }
    }

    /// When a lease was given last for the shard.
    fn granted(&self, key: &ShardKey) -> Option<Instant> {
        self.table().granted.get(key).copied()
    }

    /// Gives what is asked for, as far as it is due at `now`.
    pub(crate) fn give(&self, asked: &AskLeases, now: Instant) -> Leased {
        let mut table = self.table();
        let sure = table.sure_until.as_ref().is_some_and(|until| now < *until.borrow());
        if !sure || table.removed.contains(&asked.host) {
            return Leased::default();
        }
        let mut given = Leased::default();
        for AskedFor { node, epoch } in &asked.primaries {
            let found = table.primaries.get(node);
            let due = found.filter(|(_, known, host)| known == epoch && *host == asked.host);
            let Some(key) = due.map(|(key, ..)| key.clone()) else { continue };
            table.granted.insert(key, now);
            given.primaries.push(AskedFor { node: node.clone(), epoch: *epoch });
        }
        given
    }
}

impl Controller {
    /// Whether nobody else can lead at this moment.
    fn is_sure(&self, now: Instant) -> bool {
        self.reign.as_ref().is_none_or(|reign| reign.is_sure(now))
    }

    /// The number to send to every agent. Who is not sure to lead says the last one again, and so does who
    /// leads by a store that does not know what hosts have: replicas stand in for a leader that can give
    /// no leases.
    pub(crate) fn echo(&mut self, now: Instant) -> u64 {
        let knows = self.missed.is_empty() || self.unknown_groups().is_empty();
        let gives = knows && self.is_sure(now);
        if gives { self.observer.next_echo(now) } else { self.observer.last_echo() }
    }

    /// Looks up when a lease was given last, for the next decision.
    pub(crate) fn note_lease(&mut self, key: &ShardKey) {
        if let Some(at) = self.archive.leases.granted(key) {
            self.observer.seen.granted.insert(key.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use tanist_core::model::Epoch;

    use super::*;
    use crate::tests::rig::topology;

    const NOW: Instant = Instant::from_millis(10_000);

    fn asked(host: &str, node: &str, epoch: u64) -> AskLeases {
        let primaries = vec![AskedFor { node: NodeId::new(node), epoch: Epoch(epoch) }];
        AskLeases { host: HostId::new(host), primaries }
    }

    /// The leases of a group whose primary is `web-001` on `h1` in epoch 3, and how long they can be given.
    fn leases(durability: Durability) -> (Leases, watch::Sender<Instant>, ShardTopology) {
        let shard = ShardTopology { durability, ..topology() };
        assert_eq!((shard.epoch, shard.primary().unwrap().node.as_str()), (Epoch(3), "web-001"));
        let (sure, until) = watch::channel(NOW + std::time::Duration::from_millis(1));
        let leases = Leases::default();
        leases.open(until);
        leases.learn(&shard);
        (leases, sure, shard)
    }

    fn gives(leases: &Leases, asked: &AskLeases) -> bool {
        leases.give(asked, NOW).primaries == asked.primaries
    }

    #[test]
    fn a_lease_is_given_to_the_primary_of_the_epoch_on_its_host_and_to_nobody_else() {
        let (leases, _sure, shard) = leases(Durability::Async);
        assert_eq!(leases.granted(&shard.key()), None);
        for other in
            [asked("h2", "web-001", 3), asked("h1", "web-002", 3), asked("h1", "web-001", 2)]
        {
            assert!(!gives(&leases, &other), "{other:?}");
        }
        assert_eq!(leases.granted(&shard.key()), None);
        assert!(gives(&leases, &asked("h1", "web-001", 3)));
        assert_eq!(leases.granted(&shard.key()), Some(NOW));
    }

    #[test]
    fn nobody_gets_one_while_another_may_lead_or_a_vacancy_is_being_written() {
        let (leases, sure, shard) = leases(Durability::Async);
        let asked = asked("h1", "web-001", 3);
        sure.send_replace(NOW);
        assert!(!gives(&leases, &asked));
        sure.send_replace(NOW + std::time::Duration::from_millis(1));
        assert!(gives(&leases, &asked));
        leases.withdraw(&shard.key());
        assert!(!gives(&leases, &asked));
        // It was not written after all.
        leases.learn(&shard);
        assert!(gives(&leases, &asked));
    }

    #[test]
    fn a_removed_host_and_a_sync_group_get_none() {
        let asked = asked("h1", "web-001", 3);
        let (of_sync, _sure, _) = leases(Durability::Sync);
        assert!(!gives(&of_sync, &asked));
        let (leases, _sure, _) = leases(Durability::Async);
        let host = HostSpec { removed: true, ..HostSpec::new(HostId::new("h1")) };
        leases.know(&host);
        assert!(!gives(&leases, &asked));
        leases.know(&HostSpec { removed: false, ..host });
        assert!(gives(&leases, &asked));
    }
}
