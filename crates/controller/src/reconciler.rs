//! The loop itself: take in what happened, and have each shard looked at that it touches.
//!
//! Every shard is also looked at when nothing was said of it, so that the rare path is the path that
//! always runs.
//!
//! Invariant: everything that was said before a look is taken in, or nobody counts as silent.
//!
//! Not here: what happens (`super::inputs`), what a look does (`super::looks`), which shards a tick
//! looks at (`super::attention`), answers to the API (`super::calls`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tanist_core::decide::{Plan, cure};
use tanist_core::model::{
    GroupName, GroupSpec, HostId, Instant, NodeId, Problem, ProblemKind, ProxyId, Severity,
    ShardKey, ShardTopology,
};
use tanist_link::api::EventRecord;
use tanist_link::wire::{FromAgent, ToAgent, ToProxy};
use tanist_store::AnyStore;
use tanist_telemetry::Series;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::agents::Hand;
use crate::archive::Archive;
use crate::attention::Attention;
use crate::certificates::Certificates;
use crate::clock::boot_time;
use crate::clocks::Clocks;
use crate::confirm::Confirmations;
use crate::error::ControllerError;
use crate::handle::Handle;
use crate::inputs::Input;
use crate::keeping::Keeping;
use crate::leadership::{Claim, Reign};
use crate::looks::{Given, Published, TOGETHER};
use crate::meters::Measurements;
use crate::observe::{Observer, Touched};
use crate::proxies::Session;
use crate::recall::Recalls;
use crate::renewals::Renewals;
use crate::requests::{Ages, Cures};
use crate::servers::Heard;
use crate::stopping::Stopping;
use crate::surveys::Surveys;
use crate::timeline::Timelines;
use crate::vitals::Recorder;
use crate::{ControllerConfig, Parts};

/// How often shards are looked at, whatever happens.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// A pass of the loop that is later than this was late because of the controller itself.
const OWN_DELAY: Duration = Duration::from_millis(50);
/// Inputs that may wait; the senders wait beyond it.
const INBOX: usize = 4096;
/// Inputs that are taken in before the shards that they touch are looked at: however many speak of a
/// shard, it is looked at once.
const INPUTS_PER_PASS: usize = 1024;
/// For no longer, however many there are: those who listen count on hearing that somebody leads.
const TAKING_IN: Duration = Duration::from_millis(25);
/// For how long shards are looked at before it is listened again.
const LOOKING: Duration = Duration::from_millis(25);
/// Ticks between two words to proxies: so that they know that somebody leads.
const PROXY_TICKS: u64 = 4;
/// Events that a slow follower may lag behind.
const NEWS: usize = 1024;
/// Numbers that a controller has for what it says to agents: more than it can use in its time.
const ECHO_BITS: u32 = 36;

/// Everything that the loop owns.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) config: ControllerConfig,
    pub(crate) archive: Archive,
    pub(crate) observer: Observer,
    pub(crate) agents: BTreeMap<HostId, Hand>,
    pub(crate) proxies: BTreeMap<ProxyId, Session>,
    pub(crate) plans: BTreeMap<ShardKey, Plan>,
    pub(crate) attention: Attention,
    /// Orders that are not true yet, as they were given last.
    pub(crate) ordered: BTreeMap<ShardKey, Vec<Given>>,
    /// Shards whose last decision the store did not take: their next one is written alone.
    pub(crate) refused: BTreeSet<ShardKey>,
    pub(crate) was_whole: BTreeSet<ShardKey>,
    pub(crate) servers: Heard,
    pub(crate) clocks: Clocks,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) ending: watch::Sender<bool>,
    pub(crate) timelines: Timelines,
    pub(crate) recorder: Recorder,
    pub(crate) confirmations: Confirmations,
    pub(crate) certificates: Certificates,
    pub(crate) measurements: Measurements,
    pub(crate) renewals: Renewals,
    /// It has to go on saying that it leads.
    pub(crate) reign: Option<Reign>,
    pub(crate) routes: BTreeMap<ShardKey, Published>,
    ages: Ages,
    cures: Cures,
    /// Moves off hosts that are drained.
    pub(crate) departures: Cures,
    /// Everything that had been said by then has been taken in: silence is judged by this time.
    pub(crate) heard_until: Instant,
    /// Shards of which the store knows less than the hosts; said once.
    pub(crate) stood_back: BTreeSet<ShardKey>,
    /// Shards that hosts have and the store does not know; said once.
    pub(crate) missed: BTreeSet<ShardKey>,
    pub(crate) keeping: Keeping,
    pub(crate) recalls: Recalls,
    pub(crate) surveys: Surveys,
    events: broadcast::Sender<EventRecord>,
}

/// Takes the leadership and starts the loop; it ends when everything was asked to stop and has, or
/// when another controller leads.
///
/// # Errors
/// [`ControllerError`] if the store cannot be read or another controller leads.
pub async fn run(
    parts: Parts,
) -> Result<(Handle, JoinHandle<Result<(), ControllerError>>), ControllerError> {
    let Parts { config, store, agents, metrics, claim } = parts;
    let reign = claim.clone().map(|claim| Reign::begin(store.clone(), claim));
    let claim = match claim {
        Some(claim) => claim,
        None => Claim::alone(&store).await?,
    };
    let (mut controller, handle, inputs) =
        lead(config, store, claim, agents.outboxes, metrics).await?;
    reign.iter().for_each(|reign| controller.archive.leases.open(reign.sureness()));
    controller.reign = reign;
    info!(term = %controller.archive.term(), "controller leads");
    let task = tokio::spawn(controller.run(inputs, agents.inbox));
    Ok((handle, task))
}

/// Takes the leadership: a controller that knows what the store holds, and has heard nothing yet.
pub(crate) async fn lead(
    config: ControllerConfig,
    store: AnyStore,
    claim: Claim,
    agents: BTreeMap<HostId, mpsc::Sender<ToAgent>>,
    metrics: Arc<Series>,
) -> Result<(Controller, Handle, mpsc::Receiver<Input>), ControllerError> {
    let archive = Archive::open(store, claim).await?;
    let now = boot_time();
    // By a store that was lost terms begin anew: a number is not to mean what it meant then.
    let first_echo = (archive.term().0 << ECHO_BITS) + rand::random_range(0..1 << (ECHO_BITS - 1));
    let mut observer = Observer::new(&config, first_echo, now);
    observer.recount(&archive);
    for held in archive.topologies.values() {
        observer.seen.rev_since.insert(held.body.key(), (held.body.rev, now));
    }
    let was_whole = archive.whole_shards();
    let (inbox, inputs) = mpsc::channel(INBOX);
    let (events, _) = broadcast::channel(NEWS);
    let (ending, heard) = watch::channel(false);
    let (admission, leases) = (config.admission.clone(), archive.leases.clone());
    let handle = Handle { inbox, events: events.clone(), admission, ending: heard, leases };
    let mut controller = Controller {
        recorder: Recorder::new(metrics, &config.region),
        config,
        archive,
        observer,
        agents: agents.into_iter().map(|(host, outbox)| (host, Hand::Near(outbox))).collect(),
        proxies: BTreeMap::new(),
        plans: BTreeMap::new(),
        attention: Attention::default(),
        ordered: BTreeMap::new(),
        refused: BTreeSet::new(),
        was_whole,
        servers: Heard::default(),
        clocks: Clocks::default(),
        stopping: None,
        ending,
        timelines: Timelines::default(),
        confirmations: Confirmations::default(),
        certificates: Certificates::default(),
        measurements: Measurements::default(),
        renewals: Renewals::default(),
        reign: None,
        routes: BTreeMap::new(),
        ages: Ages::default(),
        cures: Cures::default(),
        departures: Cures::default(),
        heard_until: now,
        stood_back: BTreeSet::new(),
        missed: BTreeSet::new(),
        keeping: Keeping::default(),
        recalls: Recalls::default(),
        surveys: Surveys::default(),
        events,
    };
    controller.adopt_hosts();
    Ok((controller, handle, inputs))
}

/// Resolves when another leads.
async fn over(reign: &mut Option<Reign>) {
    match reign {
        Some(reign) => reign.over().await,
        None => std::future::pending().await,
    }
}

impl Controller {
    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut agents: mpsc::Receiver<FromAgent>,
    ) -> Result<(), ControllerError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut touched = Touched::default();
            tokio::select! {
                // In this order: agents that always have something to say keep nobody else waiting.
                biased;
                () = over(&mut self.reign) => return Err(ControllerError::Deposed),
                _ = ticks.tick() => self.tick(&mut touched).await?,
                Some(message) = agents.recv() => {
                    self.take(Input::Agent(message), &mut touched).await?;
                }
                Some(input) = inputs.recv() => self.take(input, &mut touched).await?,
                // Everything else comes first.
                () = std::future::ready(()), if self.is_behind() => {}
                else => return Ok(()),
            }
            // What happened is known before anything is judged, in a tick as well.
            let now = boot_time();
            while let Ok(message) = agents.try_recv() {
                self.take(Input::Agent(message), &mut touched).await?;
            }
            let until = now + TAKING_IN;
            for _ in 0..INPUTS_PER_PASS {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input, &mut touched).await?;
                if boot_time() > until {
                    break;
                }
            }
            if inputs.is_empty() {
                self.listened(now);
            }
            let outcome = self.stopping.as_ref().and_then(|stopping| stopping.outcome(now));
            if let Some((stopping, outcome)) =
                self.stopping.take_if(|_| outcome.is_some()).zip(outcome)
            {
                // The one who asked may be gone; everything has stopped all the same.
                let _ = stopping.reply.send(outcome);
                return Ok(());
            }
            if self.stopping.is_none() {
                let Touched { shards, mut news, mut said_again, .. } = touched;
                said_again.retain(|key| self.attention.is_restless(key));
                news.append(&mut said_again);
                self.attention.hear(news);
                self.look_at(shards).await?;
                self.look_for_a_while().await?;
                self.confirm(now);
                self.settle_recalls(now).await?;
            }
            self.survey();
        }
    }

    /// Whether something is to be done that nothing new will tell of.
    fn is_behind(&self) -> bool {
        self.surveys.is_open() || (self.stopping.is_none() && self.attention.is_behind())
    }

    /// Looks at shards that wait for it, until it is time to listen again.
    async fn look_for_a_while(&mut self) -> Result<(), ControllerError> {
        let until = boot_time() + LOOKING;
        while boot_time() < until {
            let next = self.attention.next(TOGETHER);
            if next.is_empty() {
                break;
            }
            self.look_at(next).await?;
        }
        Ok(())
    }

    /// Everything said before `now` is taken in. If the loop comes late, because a commit took long,
    /// more was said than it could take in, or the process was stopped, others did not fall silent
    /// meanwhile.
    fn listened(&mut self, now: Instant) {
        let missed = now.since(self.heard_until).saturating_sub(TICK);
        if missed > OWN_DELAY {
            warn!(?missed, "the controller comes late; nobody counts as silent for that time");
            self.observer.excuse(missed, now);
        }
        self.heard_until = now;
    }

    async fn tick(&mut self, touched: &mut Touched) -> Result<(), ControllerError> {
        let now = boot_time();
        let tick = self.observer.tick();
        let echo = self.echo(now);
        let hosts: Vec<HostId> = self.agents.keys().cloned().collect();
        for host in &hosts {
            self.tell(host, ToAgent::Echo(echo));
        }
        if let Some(roster) = &self.config.servers {
            // Whoever leads is proof of its own host.
            self.observer.vouch(&roster.own, now);
        }
        if tick.is_multiple_of(PROXY_TICKS) {
            // A number that nobody waits for.
            self.proxies.values_mut().for_each(|session| session.tell(&ToProxy::Echo(0)));
        }
        for key in self.ages.expired(&self.archive, &self.config.limits, now) {
            self.drop_request(&key).await?;
        }
        if self.stopping.is_none() {
            self.cure_all(touched).await?;
            self.leave_hosts(touched).await?;
            self.rebalance(tick).await?;
            self.certify_all(now).await?;
        }
        let (all, asked) = (&self.archive.topologies, &mut self.archive.asked);
        self.attention.tick(all, asked, &self.observer.seen.hosts, now);
        Ok(())
    }

    /// Asks, as a person would, for the moves that cure a primary.
    async fn cure_all(&mut self, touched: &mut Touched) -> Result<(), ControllerError> {
        let now = self.heard_until;
        let refuses = |problem: &Problem| problem.kind == ProblemKind::WritesRefused;
        let ill = self.plans.iter().filter(|(_, plan)| plan.problems.iter().any(refuses));
        let ill: BTreeSet<ShardKey> = ill.map(|(key, _)| key.clone()).collect();
        let keys: BTreeSet<ShardKey> = self.cures.known().chain(&ill).cloned().collect();
        for key in keys {
            let ill = ill.contains(&key);
            let (seen, limits) = (&self.observer.seen, &self.config.limits);
            let shard = if ill { self.shard(&key) } else { None };
            let heir = shard.and_then(|(spec, shard)| cure(&spec, &shard, seen, limits, now));
            if self.cures.due(&key, heir.as_ref(), limits, now)
                && let Some(heir) = heir
            {
                self.move_for_health(key, heir, touched).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn shard(&self, key: &ShardKey) -> Option<(Arc<GroupSpec>, Arc<ShardTopology>)> {
        let shard = Arc::clone(&self.archive.topologies.get(key)?.body);
        let spec = Arc::clone(&self.archive.specs.get(&key.group)?.body);
        Some((spec, shard))
    }

    /// Goes on after a failed write, unless another controller leads: nothing was decided, and the
    /// next look decides again.
    pub(crate) fn survive(&self, err: ControllerError) -> Result<(), ControllerError> {
        if matches!(err, ControllerError::Deposed) {
            return Err(err);
        }
        error!(err = &err as &dyn std::error::Error, "the store does not take writes");
        Ok(())
    }

    pub(crate) fn tell(&mut self, host: &HostId, message: ToAgent) {
        let Some(hand) = self.agents.get(host) else { return };
        // A full queue is an agent that does not keep up; orders are derived anew at every look.
        // One that was asked to stop has ended and reads nothing more.
        if !hand.tell(message) && self.stopping.is_none() {
            warn!(%host, "an agent does not take messages");
            // Most of what waits for it is out of date; it calls again when it can.
            self.hang_up(host);
        }
    }

    /// Stores and publishes something that no decision led to.
    pub(crate) async fn announce(
        &mut self,
        group: Option<GroupName>,
        node: Option<NodeId>,
        name: &str,
        severity: Severity,
        text: String,
    ) -> Result<(), ControllerError> {
        let record = self.archive.note(group, node, name, severity, text);
        if let Err(err) = self.archive.write_events(std::slice::from_ref(&record)).await {
            self.survive(err)?;
        }
        self.publish(record);
        Ok(())
    }

    pub(crate) fn publish(&self, record: EventRecord) {
        // Nobody may be following.
        let _ = self.events.send(record);
    }
}
