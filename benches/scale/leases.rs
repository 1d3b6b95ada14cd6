//! What a host's supervisor does for its `async` primaries: it asks for their leases, and ends them.
//!
//! Questions go by one connection that is kept, as the real one's do. Where nobody leads that can be heard, the
//! replicas' words count, as far as all of them are given.
//!
//! Invariant: a primary begins with a lease only, and one whose lease has ended leads no more.
//!
//! Not here: how long a lease lasts (`tanist_core::guard`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tanist_core::guard::{ASK_EVERY, Due, Lease};
use tanist_core::model::{Epoch, HostId, Instant, Limits, NodeId, StandIn};
use tanist_link::Client;
use tanist_link::wire::{AskLeases, AskedFor, LEASE_ROUTE, Leased};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::shared::Shared;

/// What has to be left of a lease for a primary to begin by it.
const TO_BEGIN: Duration = Duration::from_millis(200);

/// A primary that needs a lease.
#[derive(Debug)]
struct Held {
    epoch: Epoch,
    lease: Lease,
    stand_ins: BTreeSet<StandIn>,
    /// It takes writes.
    leads: bool,
}

/// The leases of one host.
#[derive(Debug)]
pub(crate) struct Leases {
    host: HostId,
    client: Client,
    shared: Arc<Shared>,
    held: Mutex<BTreeMap<NodeId, Held>>,
    ended: Mutex<Vec<NodeId>>,
    /// One was added.
    added: Notify,
    /// One was given, or has ended.
    pub(crate) news: Notify,
}

impl Leases {
    pub(crate) fn new(host: HostId, client: Client, shared: Arc<Shared>) -> Self {
        let client = client.within(Limits::DEFAULT.lease).kept();
        let (held, ended) = (Mutex::default(), Mutex::default());
        Self { host, client, shared, held, ended, added: Notify::new(), news: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<NodeId, Held>> {
        // Every change is complete in itself.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        let passed = self.shared.began.elapsed().as_micros();
        Instant::from_micros(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Asks for this primary's from now on; whether it may begin.
    pub(crate) fn lead(&self, node: &NodeId, epoch: Epoch, stand_ins: &BTreeSet<StandIn>) -> bool {
        let now = self.now();
        let mut held = self.held();
        let new =
            || Held { epoch, lease: Lease::default(), stand_ins: BTreeSet::new(), leads: false };
        let one = held.entry(node.clone()).or_insert_with(new);
        if one.epoch < epoch {
            (one.epoch, one.leads) = (epoch, false);
        }
        one.stand_ins.clone_from(stand_ins);
        let may = one.lease.left(epoch, now) >= TO_BEGIN;
        if !may {
            self.added.notify_one();
        }
        may
    }

    /// It takes writes from now on.
    pub(crate) fn begin(&self, node: &NodeId) {
        if let Some(one) = self.held().get_mut(node) {
            one.leads = true;
        }
    }

    /// It is no primary of an epoch before this one.
    pub(crate) fn leave(&self, node: &NodeId, epoch: Epoch) {
        self.held().retain(|known, one| known != node || one.epoch >= epoch);
    }

    /// Its process has ended.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.held().remove(node);
    }

    /// Primaries whose leases have ended since this was asked last.
    pub(crate) fn ended(&self) -> Vec<NodeId> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for as long as the host has power.
    pub(crate) async fn work(self: Arc<Self>, mut power: watch::Receiver<bool>) {
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if power.wait_for(|on| *on).await.is_err() {
                return;
            }
            let wanted = self.wanted();
            if wanted.is_empty() {
                self.added.notified().await;
                continue;
            }
            // The next question does not wait for it.
            tokio::spawn(Arc::clone(&self).ask(wanted));
            tokio::select! {
                _ = ticks.tick() => self.look(),
                () = self.added.notified() => {}
            }
        }
    }

    fn wanted(&self) -> Vec<AskedFor> {
        let of = |(node, one): (&NodeId, &Held)| AskedFor { node: node.clone(), epoch: one.epoch };
        self.held().iter().map(of).collect()
    }

    async fn ask(self: Arc<Self>, primaries: Vec<AskedFor>) {
        let asked_at = self.now();
        let counts = &self.shared.counts;
        counts.questions.fetch_add(1, Ordering::Relaxed);
        let asked = AskLeases { host: self.host.clone(), primaries };
        let Ok(leased) = self.client.post::<_, Leased>(LEASE_ROUTE, &asked).await else {
            counts.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut held = self.held();
        let mut begins = false;
        for AskedFor { node, epoch } in leased.primaries {
            if let Some(one) = held.get_mut(&node) {
                one.lease.grant(epoch, asked_at, &Limits::DEFAULT);
                begins |= !one.leads;
            }
        }
        drop(held);
        if begins {
            self.news.notify_one();
        }
    }

    /// Does what is due about each.
    fn look(&self) {
        let now = self.now();
        let mut ended = Vec::new();
        for (node, one) in self.held().iter_mut().filter(|(_, one)| one.leads) {
            match one.lease.due(one.epoch, now, &Limits::DEFAULT).0 {
                Due::Wait => {}
                Due::Ask => {
                    let engines = self.shared.engines();
                    let mut words = one.stand_ins.iter();
                    let said = |one: &StandIn| engines.confirms(one.address, &one.tag);
                    if words.all(said) {
                        one.lease.grant(one.epoch, now, &Limits::DEFAULT);
                        self.shared.counts.stood_in.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Due::Stop => {
                    one.leads = false;
                    ended.push(node.clone());
                }
            }
        }
        if !ended.is_empty() {
            let number = u64::try_from(ended.len()).unwrap_or(u64::MAX);
            self.shared.counts.leases_ended.fetch_add(number, Ordering::Relaxed);
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).extend(ended);
            self.news.notify_one();
        }
    }
}
