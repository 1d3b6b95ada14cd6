//! Looking at shards: what is due is decided, written and told.
//!
//! One look is: decide; if a decision is due, have it written and look again; otherwise send the orders
//! that are not true yet and publish the route if it changed. What several shards have come to is
//! written in one transaction: the store is waited for, and a host may have had a hundred primaries.
//!
//! Invariant: one look never waits for a hand; only the store is waited for. Decisions that are written
//! together are of different shards, and none of them was made without knowing what another one takes
//! up.
//!
//! Not here: which shards are looked at (`crate::reconciler`, `crate::attention`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::decide::{Commit, Plan, converge, decide, orphans, route};
use tanist_core::model::{
    Event, EventKind, GroupSpec, HostId, Instant, Order, Route, ShardKey, ShardTopology,
};
use tanist_link::Encoded;
use tanist_link::api::Step;
use tanist_link::wire::{ToAgent, ToProxy};
use tracing::debug;

use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::reconciler::{Controller, TICK};

/// An order that is not true yet is given again after this.
const ORDER_AGAIN: Duration = TICK;
/// Decisions that one look may commit in a row; more would be a loop.
const COMMITS_PER_LOOK: usize = 8;
/// Decisions that are written together at most.
pub(crate) const TOGETHER: usize = 32;
/// Keys that are written together at most: not more than a transaction holds.
const KEYS_TOGETHER: usize = 96;

const _: () = assert!(KEYS_TOGETHER < tanist_store::MAX_TXN_OPS);
/// A decision waits no longer than this for others to be written with.
const GATHERING: Duration = Duration::from_millis(3);

/// A route that proxies were told.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) route: Route,
    /// It is said to every proxy, and again to each that comes.
    pub(crate) message: Option<Encoded<ToProxy>>,
}

impl Published {
    fn new(route: Route) -> Self {
        let message = Encoded::new(&ToProxy::Route(Box::new(route.clone())));
        // Nothing in a route cannot be written as JSON.
        Self { route, message: message.ok() }
    }
}

/// An order that was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) host: HostId,
    order: Order,
    at: Instant,
}

/// A decision that is not written yet.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) spec: Arc<GroupSpec>,
    pub(crate) before: Arc<ShardTopology>,
    pub(crate) next: Arc<ShardTopology>,
    pub(crate) events: Vec<Event>,
    pub(crate) at: Instant,
}

impl Decided {
    pub(crate) fn new(
        spec: Arc<GroupSpec>,
        before: Arc<ShardTopology>,
        commit: Commit,
        at: Instant,
    ) -> Self {
        let faults = commit.next.check_after(&before);
        assert!(faults.is_empty(), "a decision that must not be committed: {faults:?}");
        Self { spec, before, next: Arc::new(commit.next), events: commit.events, at }
    }

    /// Whether the shard had a primary and has none any more.
    fn vacates(&self) -> bool {
        self.before.primary().is_some() && self.next.primary().is_none()
    }

    /// Whether the shard takes up other room than before.
    fn moves(&self) -> bool {
        let places = |shard: &ShardTopology| {
            let places = shard.members.iter().map(|(node, member)| {
                (node.clone(), member.host.clone(), member.address, member.endpoint)
            });
            places.collect::<Vec<_>>()
        };
        places(&self.before) != places(&self.next)
    }

    /// Keys that it writes: each event takes an old one's place.
    fn keys(&self) -> usize {
        1 + 2 * self.events.len()
    }
}

/// Decisions that are to be written together.
#[derive(Debug, Default)]
struct Gathered {
    decided: Vec<Decided>,
    keys: usize,
    /// One of them is to be written before anything else is decided.
    urgent: bool,
}

impl Gathered {
    fn push(&mut self, decided: Decided, alone: bool) {
        self.keys += decided.keys();
        self.urgent |= alone || decided.moves();
        self.decided.push(decided);
    }

    /// Whether there is room for this one.
    fn has_room(&self, decided: &Decided) -> bool {
        self.keys + decided.keys() <= KEYS_TOGETHER
    }

    /// Whether no other one is to be waited for.
    fn is_due(&self, now: Instant) -> bool {
        let waited = self.decided.first().is_some_and(|first| now.since(first.at) >= GATHERING);
        self.urgent || waited || self.decided.len() >= TOGETHER
    }
}

impl Controller {
    /// Looks at shards: decides until nothing more is due, then orders and publishes.
    pub(crate) async fn look_at(
        &mut self,
        keys: BTreeSet<ShardKey>,
    ) -> Result<(), ControllerError> {
        let mut due = keys;
        for _ in 0..COMMITS_PER_LOOK {
            due = self.look_once(due).await?;
            if due.is_empty() {
                return Ok(());
            }
        }
        for key in due {
            self.act(&key).await?;
        }
        Ok(())
    }

    /// As [`Self::look_at`], but for what follows from what is written; those shards are returned.
    async fn look_once(
        &mut self,
        keys: BTreeSet<ShardKey>,
    ) -> Result<BTreeSet<ShardKey>, ControllerError> {
        let mut again = BTreeSet::new();
        let mut gathered = Gathered::default();
        for key in keys {
            match self.decide(&key).await? {
                None => self.act(&key).await?,
                Some(decided) => {
                    let alone = self.refused.contains(&key);
                    if alone || !gathered.has_room(&decided) {
                        let before = std::mem::take(&mut gathered).decided;
                        again.extend(self.write(before).await?);
                    }
                    gathered.push(decided, alone);
                }
            }
            if gathered.is_due(boot_time()) {
                let due = std::mem::take(&mut gathered).decided;
                again.extend(self.write(due).await?);
            }
        }
        again.extend(self.write(gathered.decided).await?);
        Ok(again)
    }

    /// What is due of a shard.
    async fn decide(&mut self, key: &ShardKey) -> Result<Option<Decided>, ControllerError> {
        let Some((spec, shard)) = self.shard(key) else {
            self.miss(key).await?;
            return Ok(None);
        };
        let now = boot_time();
        for (node, member) in &shard.members {
            self.observer.expect(node, &member.host, shard.rev, now);
        }
        self.note_steps(&spec, &shard, now);
        self.note_lease(key);
        let seen = &self.observer.seen;
        // Not the time of now: a commit that took long must not look like everybody's silence.
        let judged = self.heard_until;
        let mut plan = decide(&spec, &shard, seen, &self.config.limits, judged);
        if let Some(request) = plan.hold {
            let entry = self.observer.seen.holds.entry(key.clone()).or_insert((request, now));
            if entry.0 != request {
                *entry = (request, now);
            }
        }
        let commit = plan.commit.take();
        self.stand_back(key, &plan).await?;
        self.plans.insert(key.clone(), plan);
        Ok(commit.map(|commit| Decided::new(spec, shard, commit, now)))
    }

    /// Writes decisions, all or none; the shards of which another look is due. What the store does not
    /// take is decided again at the next tick.
    pub(crate) async fn write(
        &mut self,
        decided: Vec<Decided>,
    ) -> Result<Vec<ShardKey>, ControllerError> {
        if decided.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<ShardKey> = decided.iter().map(|one| one.next.key()).collect();
        if self.commit(decided).await? {
            for key in &keys {
                self.refused.remove(key);
            }
            return Ok(keys);
        }
        for key in keys {
            self.act(&key).await?;
            // Nothing that is said will tell when the store takes it; and the others need not wait for
            // the one that it does not take.
            self.attention.keep(&key);
            self.refused.insert(key);
        }
        Ok(Vec::new())
    }

    /// Whether decisions were written.
    async fn commit(&mut self, decided: Vec<Decided>) -> Result<bool, ControllerError> {
        let mut records = Vec::new();
        for one in &decided {
            self.begin_timeline(one).await?;
            records.extend(one.events.iter().map(|event| self.archive.record(event)));
        }
        let next = decided.iter().map(|one| Arc::clone(&one.next)).collect();
        if let Err(err) = self.archive.write_topologies(next, &records).await {
            return self.survive(err).map(|()| false);
        }
        let done = boot_time();
        for one in &decided {
            self.committed(one, done).await?;
        }
        if decided.iter().any(Decided::moves) {
            self.observer.recount(&self.archive);
        }
        records.into_iter().for_each(|record| self.publish(record));
        Ok(true)
    }

    /// Begins the record of a failover, if this is one.
    async fn begin_timeline(&mut self, decided: &Decided) -> Result<(), ControllerError> {
        if !decided.vacates() {
            return Ok(());
        }
        let key = decided.next.key();
        // One that was not over yet is over now.
        self.end_timeline(&key).await?;
        if let Some(vacancy) = decided.next.vacancy() {
            let from = vacancy.prev.as_ref().map(|run| run.node.clone());
            self.timelines.begin(&key, decided.next.epoch, vacancy.cause, from, decided.at);
        }
        Ok(())
    }

    /// Takes in that a decision is written.
    async fn committed(&mut self, decided: &Decided, done: Instant) -> Result<(), ControllerError> {
        let Decided { spec, before, next, events, .. } = decided;
        let key = next.key();
        self.observer.committed(before, next, done);
        if decided.vacates() {
            self.timelines.note(&key, Step::Vacated, done);
        }
        for event in events {
            if let EventKind::PrimaryChosen { node, .. } = &event.kind {
                self.timelines.chosen(&key, node, done);
            }
        }
        debug!(group = %key.group, shard = %key.shard, rev = %next.rev, epoch = %next.epoch,
            "committed");
        if next.in_sync.len() == usize::from(spec.replicas) && next.primary().is_some() {
            if self.timelines.has(&key, Step::Released) {
                self.timelines.note(&key, Step::Replaced, done);
                self.end_timeline(&key).await?;
            }
            self.was_whole.insert(key);
        }
        Ok(())
    }

    /// Sends the orders that are not true yet, and publishes the route if it changed.
    async fn act(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        let Some((spec, shard)) = self.shard(key) else { return Ok(()) };
        self.keep(key, &spec, &shard).await?;
        let now = boot_time();
        let term = self.archive.term();
        let (seen, limits, judged) = (&self.observer.seen, &self.config.limits, self.heard_until);
        let mut orders = converge(&spec, &shard, seen, limits, term, judged);
        orders.extend(orphans(&spec, &shard, seen, limits, term, judged));
        let empty = Plan::default();
        let plan = self.plans.get(key).unwrap_or(&empty);
        let route = route(&spec, &shard, seen, limits, plan, judged);
        self.attention.note(&spec, &shard, plan, !orders.is_empty());
        self.order(key, orders, now);
        if self.routes.get(key).map(|known| &known.route) != Some(&route) {
            self.certify(&key.group).await?;
            let known = Published::new(route);
            if let Some(message) = &known.message {
                for session in self.proxies.values_mut().filter(|session| session.up) {
                    session.tell_encoded(message);
                }
            }
            self.routes.insert(key.clone(), known);
        }
        self.note_steps(&spec, &shard, now);
        if self.timelines.has(key, Step::Released) && !spec.deleting {
            self.keep_timeline(key, spec.replicas, &shard).await?;
        }
        if spec.deleting && self.is_gone(&shard) {
            self.forget(&key.group).await?;
        }
        Ok(())
    }

    /// Gives orders, but for those that were given a moment ago.
    fn order(&mut self, key: &ShardKey, orders: Vec<(HostId, Order)>, now: Instant) {
        let before = self.ordered.remove(key).unwrap_or_default();
        let given = orders.into_iter().map(|(host, order)| {
            let same = before.iter().find(|given| given.host == host && given.order == order);
            if let Some(same) = same.filter(|same| now.since(same.at) < ORDER_AGAIN) {
                return Given { host, order, at: same.at };
            }
            debug!(%host, node = %order.node, action = order.action.name(), rev = %order.rev, "order");
            self.tell(&host, ToAgent::Order(Box::new(order.clone())));
            Given { host, order, at: now }
        });
        let given: Vec<Given> = given.collect();
        if !given.is_empty() {
            self.ordered.insert(key.clone(), given);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rig::{spec, topology};

    const NOW: Instant = Instant::from_millis(10_000);

    fn decided(change: impl FnOnce(&mut ShardTopology), events: usize) -> Decided {
        let (spec, before) = (Arc::new(spec()), topology());
        let mut next = before.clone();
        next.rev = before.rev.next();
        change(&mut next);
        let kind = EventKind::ProxyAdmitted { proxy: "p1".to_owned() };
        let (group, shard, epoch) = (before.group.clone(), before.shard.clone(), before.epoch);
        let event = Event { group, shard, epoch, kind };
        let commit = Commit { next, events: vec![event; events] };
        Decided::new(spec, Arc::new(before), commit, NOW)
    }

    #[test]
    fn what_takes_up_other_room_is_written_before_anything_else_is_decided() {
        let mut gathered = Gathered::default();
        gathered.push(decided(|next| drop(next.in_sync.pop_last()), 1), false);
        assert!(!gathered.is_due(NOW), "others may come");
        let moved = decided(
            |next| {
                next.members.values_mut().for_each(|member| {
                    member.address.set_port(member.address.port() + 1);
                })
            },
            0,
        );
        gathered.push(moved, false);
        assert!(gathered.is_due(NOW));
    }

    #[test]
    fn nobody_waits_long_for_others_and_what_was_refused_for_nobody() {
        let mut gathered = Gathered::default();
        gathered.push(decided(|_| {}, 0), false);
        assert!(!gathered.is_due(NOW + GATHERING / 2) && gathered.is_due(NOW + GATHERING));
        let mut gathered = Gathered::default();
        gathered.push(decided(|_| {}, 0), true);
        assert!(gathered.is_due(NOW));
    }

    #[test]
    fn no_more_is_gathered_than_a_transaction_holds() {
        let mut gathered = Gathered::default();
        while gathered.has_room(&decided(|_| {}, 4)) && !gathered.is_due(NOW) {
            gathered.push(decided(|_| {}, 4), false);
        }
        assert_eq!((gathered.decided.len(), gathered.keys), (10, 90));
        assert!(gathered.has_room(&decided(|_| {}, 2)) && !gathered.is_due(NOW));
    }
}
