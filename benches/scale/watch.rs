//! What was seen of groups, and how long it took after something failed.
//!
//! Who is primary is known by the routes that one proxy is told. A time begins with the last word of
//! whoever failed and ends with the first order of a later epoch that any host hears; orders are
//! sent after the commit, so that it is in it.
//!
//! Invariant: of a shard one failure is timed at a time.
//!
//! Not here: making something fail (`super::phases`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tanist_core::model::{Action, Durability, Epoch, NodeId, Order, Route, RouteState, ShardKey};

/// What a proxy knows of a shard.
#[derive(Debug, Clone)]
struct View {
    epoch: Epoch,
    durability: Durability,
    primary: Option<NodeId>,
    /// It serves and has all its replicas.
    whole: bool,
    since: Instant,
}

/// One failure.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) durability: Durability,
    epoch: Epoch,
    began: Instant,
    /// Until nobody was primary any more, by anybody's order.
    pub(crate) decided: Option<Duration>,
    /// Until somebody was told to lead.
    pub(crate) promoted: Option<Duration>,
}

#[derive(Debug, Default)]
struct Seen {
    shards: BTreeMap<ShardKey, View>,
    placed: HashMap<NodeId, usize>,
    trials: HashMap<ShardKey, Trial>,
    /// Those before the latest of their shards.
    earlier: Vec<Trial>,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Watch {
    replicas: usize,
    seen: Mutex<Seen>,
}

impl Watch {
    pub(crate) fn new(replicas: usize) -> Self {
        Self { replicas, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Every change is complete in itself.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy is told a route.
    pub(crate) fn route(&self, key: &ShardKey, route: &Route) {
        let (primary, whole) = match &route.state {
            RouteState::Vacant => (None, false),
            RouteState::Serving { primary, required, .. } => {
                (Some(primary.clone()), required.len() >= self.replicas)
            }
        };
        let now = Instant::now();
        let (epoch, durability) = (route.epoch, route.durability);
        let view = View { epoch, durability, primary, whole, since: now };
        let mut seen = self.seen();
        match seen.shards.get_mut(key) {
            Some(known) => {
                let since = if known.whole && view.whole { known.since } else { now };
                *known = View { since, ..view };
            }
            None => drop(seen.shards.insert(key.clone(), view)),
        }
    }

    /// A host has heard of a node.
    pub(crate) fn place(&self, node: &NodeId, host: usize) {
        self.seen().placed.insert(node.clone(), host);
    }

    /// A host hears an order.
    pub(crate) fn order(&self, order: &Order) {
        let fences = matches!(order.action, Action::Fence { .. });
        let promotes = matches!(order.action, Action::Promote { .. });
        if !fences && !promotes {
            return;
        }
        let key = ShardKey { group: order.group.clone(), shard: order.shard.clone() };
        let mut seen = self.seen();
        let Some(trial) = seen.trials.get_mut(&key).filter(|trial| order.epoch > trial.epoch)
        else {
            return;
        };
        let took = trial.began.elapsed();
        trial.decided.get_or_insert(took);
        if promotes {
            trial.promoted.get_or_insert(took);
        }
    }

    /// From now on a shard has no primary, though nobody may know yet.
    pub(crate) fn fail(&self, key: &ShardKey) {
        let began = Instant::now();
        let mut seen = self.seen();
        let Some(view) = seen.shards.get(key) else { return };
        let (durability, epoch) = (view.durability, view.epoch);
        let trial = Trial { durability, epoch, began, decided: None, promoted: None };
        let before = seen.trials.insert(key.clone(), trial);
        seen.earlier.extend(before);
    }

    /// Failures whose times are not known yet.
    pub(crate) fn pending(&self) -> usize {
        self.seen().trials.values().filter(|trial| trial.promoted.is_none()).count()
    }

    /// Every failure since this was asked last.
    pub(crate) fn take(&self) -> Vec<Trial> {
        let mut seen = self.seen();
        let mut all = std::mem::take(&mut seen.earlier);
        all.extend(std::mem::take(&mut seen.trials).into_values());
        all
    }

    /// How many groups serve with all replicas, and how many there are.
    pub(crate) fn whole(&self) -> (usize, usize) {
        let seen = self.seen();
        (seen.shards.values().filter(|view| view.whole).count(), seen.shards.len())
    }

    /// The epoch of every shard.
    pub(crate) fn epochs(&self) -> BTreeMap<ShardKey, Epoch> {
        self.seen().shards.iter().map(|(key, view)| (key.clone(), view.epoch)).collect()
    }

    /// Some of the shards that do not serve, or not with all replicas.
    pub(crate) fn some_not_whole(&self, most: usize) -> Vec<ShardKey> {
        let seen = self.seen();
        let others = seen.shards.iter().filter(|(_, view)| !view.whole);
        others.map(|(key, _)| key.clone()).take(most).collect()
    }

    /// Shards that have been whole for so long and were not made to fail yet, with their primaries and
    /// the hosts of these. If there are none of these, those that are whole again.
    pub(crate) fn healthy(&self, age: Duration) -> Vec<(ShardKey, NodeId, usize)> {
        let seen = self.seen();
        let well = |view: &&View| view.whole && view.since.elapsed() >= age;
        let of = |(key, view): (&ShardKey, &View)| {
            let primary = view.primary.clone()?;
            let host = *seen.placed.get(&primary)?;
            Some((key.clone(), primary, host))
        };
        let all = || seen.shards.iter().filter(|(_, view)| well(view));
        let fresh: Vec<_> =
            all().filter(|(key, _)| !seen.trials.contains_key(*key)).filter_map(of).collect();
        if !fresh.is_empty() {
            return fresh;
        }
        let over = |key: &ShardKey| seen.trials.get(key).is_some_and(|t| t.promoted.is_some());
        all().filter(|(key, _)| over(key)).filter_map(of).collect()
    }
}
