//! Leases of this host's primaries (`async` groups): asked for, kept, and enforced at their end.
//!
//! The supervisor has them because it outlives agent, proxy and server: none of these may cost a
//! primary that is well its permission, and none has to be there when it ends. The agent says which
//! primaries there are, before each begins to take writes.
//!
//! Invariant: a lease counts from the moment before it was asked for; what the supervisor was told to
//! guard it guards until the process ends or the agent takes it back, across its own restarts.
//!
//! Not here: one primary's guard (`guarded`), who grants (`tanist-controller`).

mod guarded;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tanist_core::guard::{ASK_EVERY, Lease};
use tanist_core::model::{Epoch, HostId, Instant, Limits, NodeId};
use tanist_link::wire::{AskLeases, AskedFor, LEASE_ROUTE, Lead, Leased, Leave};
use tanist_link::{Client, Secret};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};

use super::Event;
use super::state::StateFile;
use crate::SuperviseError;
use crate::clock::boot_time;

/// How long an agent waits for a primary's first lease before it asks again.
const FIRST: Duration = Duration::from_millis(500);
/// What has to be left of a lease for a primary to begin by it.
const TO_BEGIN: Duration = Duration::from_millis(200);
/// How long a supervisor that was restarted may take to have a primary's lease renewed: what was left
/// of it is not known.
const AGAIN: Duration = Duration::from_millis(100);

/// What a supervisor needs to have leases.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Its host, as the fleet knows it.
    pub host: HostId,
    /// The installation's secret, from which the engines' passwords follow.
    pub secret: Secret,
    /// Whoever leads.
    pub controllers: Client,
    /// The installation's times.
    pub limits: Limits,
}

/// Every lease of a host. A handle; all share one state.
#[derive(Clone)]
pub(super) struct Leases(Arc<Shared>);

struct Shared {
    config: LeaseConfig,
    file: StateFile,
    primaries: Mutex<BTreeMap<NodeId, Arc<Primary>>>,
    /// One was added.
    added: Notify,
    events: mpsc::Sender<Event>,
}

/// A primary that needs a lease.
struct Primary {
    /// As the supervisor names its node.
    name: NodeId,
    /// What is known of it; `None` once nothing is to be guarded any more.
    lead: watch::Sender<Option<Lead>>,
    lease: watch::Sender<Lease>,
}

impl Primary {
    /// Takes in that it has been confirmed what was asked at `asked_at`.
    fn grant(&self, epoch: Epoch, asked_at: Instant, limits: &Limits) {
        self.lease.send_modify(|lease| lease.grant(epoch, asked_at, limits));
    }
}

/// A node's name in the supervisor's records.
fn name(host: &HostId, node: &NodeId) -> NodeId {
    NodeId::new(format!("{host}/{node}"))
}

impl Leases {
    /// Guards on what was guarded before, as far as it still runs.
    pub(super) fn restore(
        config: LeaseConfig,
        dir: &std::path::Path,
        events: mpsc::Sender<Event>,
        runs: impl Fn(&NodeId) -> bool,
    ) -> Result<Self, SuperviseError> {
        let file = StateFile::new(dir.join("leases.json"));
        let before: Vec<Lead> = file.load()?;
        let primaries = Mutex::default();
        let added = Notify::new();
        let leases = Self(Arc::new(Shared { config, file, primaries, added, events }));
        for lead in before {
            let name = name(&lead.host, &lead.node);
            if runs(&name) {
                info!(node = %name, "guarded again");
                leases.guard(name, lead, Some(AGAIN));
            }
        }
        tokio::spawn(leases.clone().ask());
        Ok(leases)
    }

    fn primaries(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Primary>>> {
        // Every change is complete in itself.
        self.0.primaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Guards a primary from now on; whether it has a lease to begin by.
    pub(super) async fn lead(&self, lead: Lead) -> bool {
        let epoch = lead.epoch;
        let primary = self.enter(lead);
        self.0.added.notify_one();
        let mut lease = primary.lease.subscribe();
        let enough = |lease: &Lease| lease.left(epoch, boot_time()) >= TO_BEGIN;
        let first = timeout(FIRST, lease.wait_for(enough));
        first.await.is_ok_and(|lease| lease.is_ok())
    }

    fn enter(&self, lead: Lead) -> Arc<Primary> {
        let name = name(&lead.host, &lead.node);
        let known = self.primaries().get(&name).cloned();
        let primary = match known {
            Some(primary) => {
                primary.lead.send_if_modified(|known| {
                    let newer = known.as_ref().is_none_or(|known| known.epoch <= lead.epoch);
                    let changes = newer && known.as_ref() != Some(&lead);
                    if changes {
                        *known = Some(lead);
                    }
                    changes
                });
                primary
            }
            None => self.guard(name, lead, None),
        };
        self.save();
        primary
    }

    /// Guards one that has to have a lease within `grace`, or that begins when it has one.
    fn guard(&self, name: NodeId, lead: Lead, grace: Option<Duration>) -> Arc<Primary> {
        let primary = Arc::new(Primary {
            name: name.clone(),
            lead: watch::channel(Some(lead)).0,
            lease: watch::channel(Lease::default()).0,
        });
        self.primaries().insert(name, Arc::clone(&primary));
        tokio::spawn(guarded::guard(Arc::clone(&self.0), Arc::clone(&primary), grace));
        primary
    }

    /// Guards a node no more: it was told to follow somebody.
    pub(super) fn leave(&self, leave: &Leave) {
        let name = name(&leave.host, &leave.node);
        let older = |lead: &Lead| lead.epoch < leave.epoch;
        let over = |one: &Arc<Primary>| one.lead.borrow().as_ref().is_some_and(older);
        if self.primaries().get(&name).is_some_and(over) {
            self.forget(&name);
        }
    }

    /// Guards a node no more: its process has ended.
    pub(super) fn forget(&self, name: &NodeId) {
        let primary = self.primaries().remove(name);
        if let Some(primary) = primary {
            primary.lead.send_replace(None);
            self.save();
        }
    }

    fn save(&self) {
        let leads: Vec<Lead> =
            self.primaries().values().filter_map(|one| one.lead.borrow().clone()).collect();
        self.0.file.save(&leads);
    }

    /// Asks whoever leads, again and again, for as long as there is a primary.
    async fn ask(self) {
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = self.wanted();
            if wanted.is_empty() {
                self.0.added.notified().await;
                continue;
            }
            // Each question lives no longer than what it asks for; the next does not wait for it.
            tokio::spawn(self.clone().ask_once(wanted));
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.added.notified() => {}
            }
        }
    }

    fn wanted(&self) -> Vec<AskedFor> {
        let lead = |one: &Arc<Primary>| one.lead.borrow().clone();
        let all = self.primaries().values().filter_map(lead).collect::<Vec<Lead>>();
        all.into_iter().map(|lead| AskedFor { node: lead.node, epoch: lead.epoch }).collect()
    }

    async fn ask_once(self, primaries: Vec<AskedFor>) {
        let Shared { config, .. } = &*self.0;
        let asked_at = boot_time();
        let asked = AskLeases { host: config.host.clone(), primaries };
        let controllers = config.controllers.clone().within(config.limits.lease);
        match controllers.post::<_, Leased>(LEASE_ROUTE, &asked).await {
            Ok(leased) => {
                for AskedFor { node, epoch } in leased.primaries {
                    let primary = self.primaries().get(&name(&config.host, &node)).cloned();
                    if let Some(primary) = primary {
                        primary.grant(epoch, asked_at, &config.limits);
                    }
                }
            }
            Err(err) => {
                debug!(err = &err as &dyn std::error::Error, "no controller grants a lease");
            }
        }
    }
}
