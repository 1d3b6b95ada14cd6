//! The loop itself: take in what happened, look at each shard that it touches, do what follows.
//!
//! One look is: decide; if a decision is due, commit it and look again; otherwise send the orders
//! that are not true yet and publish the route if it changed. Every shard is also looked at when nothing
//! was said of it, so that the rare path is the path that always runs.
//!
//! Invariant: one look never waits for a hand; only the store is waited for.
//!
//! Not here: what happens (`super::inputs`), which shards a tick looks at (`super::attention`), answers
//! to the API (`super::calls`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tanist_core::decide::{Commit, Plan, converge, cure, decide, orphans, route};
use tanist_core::model::{
    EventKind, GroupName, GroupSpec, HostId, Instant, NodeId, Order, Problem, ProblemKind, ProxyId,
    Route, Severity, ShardKey, ShardTopology,
};
use tanist_link::Encoded;
use tanist_link::api::{EventRecord, Step};
use tanist_link::wire::{FromAgent, ToAgent, ToProxy};
use tanist_store::AnyStore;
use tanist_telemetry::Series;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

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
const TICK: Duration = Duration::from_millis(50);
/// A pass of the loop that is later than this was late because of the controller itself.
const OWN_DELAY: Duration = Duration::from_millis(50);
/// Inputs that may wait; the senders wait beyond it.
const INBOX: usize = 4096;
/// Inputs that are taken in before the shards that they touch are looked at: however many speak of a
/// shard, it is looked at once.
const INPUTS_PER_PASS: usize = 1024;
/// For no longer, however many there are: those who listen count on hearing that somebody leads.
const TAKING_IN: Duration = Duration::from_millis(25);
/// Ticks between two words to proxies: so that they know that somebody leads.
const PROXY_TICKS: u64 = 4;
/// An order that is not true yet is given again after this.
const ORDER_AGAIN: Duration = TICK;
/// Events that a slow follower may lag behind.
const NEWS: usize = 1024;
/// Numbers that a controller has for what it says to agents: more than it can use in its time.
const ECHO_BITS: u32 = 36;
/// Decisions that one look may commit in a row; more would be a loop.
const COMMITS_PER_LOOK: usize = 8;

/// A route that proxies were told.
#[derive(Debug)]
pub(crate) struct Published {
    route: Route,
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

/// Everything that the loop owns.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) config: ControllerConfig,
    pub(crate) archive: Archive,
    pub(crate) observer: Observer,
    pub(crate) agents: BTreeMap<HostId, Hand>,
    pub(crate) proxies: BTreeMap<ProxyId, Session>,
    pub(crate) plans: BTreeMap<ShardKey, Plan>,
    attention: Attention,
    /// Orders that are not true yet, as they were given last.
    pub(crate) ordered: BTreeMap<ShardKey, Vec<Given>>,
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

/// Whether two topologies of a shard take up the same room.
fn is_placed_as(before: &ShardTopology, next: &ShardTopology) -> bool {
    let places = |shard: &ShardTopology| {
        let places = shard.members.iter().map(|(node, member)| {
            (node.clone(), member.host.clone(), member.address, member.endpoint)
        });
        places.collect::<Vec<_>>()
    };
    places(before) == places(next)
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
                () = std::future::ready(()), if self.surveys.is_open() => {}
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
                let again = touched.said_again.into_iter();
                let again = again.filter(|key| self.attention.is_restless(key));
                touched.shards.extend(again);
                for key in touched.shards {
                    self.look(&key).await?;
                }
                self.confirm(now);
                self.settle_recalls(now).await?;
            }
            self.survey();
        }
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
        for host in self.agents.keys() {
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
        touched.shards.extend(self.attention.due(all, asked, &self.observer.seen.hosts, now));
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

    /// Looks at one shard: decides until nothing more is due, then orders and publishes.
    async fn look(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        let mut undone = false;
        for _ in 0..COMMITS_PER_LOOK {
            let Some((spec, shard)) = self.shard(key) else { return self.miss(key).await };
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
            match commit {
                Some(commit) => self.commit(key, &spec, &shard, commit, now).await?,
                None => break,
            }
            undone = self.shard(key).is_some_and(|(_, held)| held.rev == shard.rev);
            if undone {
                break;
            }
        }
        self.act(key).await?;
        if undone {
            // The store did not take it: nothing that is said will tell when it does.
            self.attention.keep(key);
        }
        Ok(())
    }

    pub(crate) fn shard(&self, key: &ShardKey) -> Option<(Arc<GroupSpec>, Arc<ShardTopology>)> {
        let shard = Arc::clone(&self.archive.topologies.get(key)?.body);
        let spec = Arc::clone(&self.archive.specs.get(&key.group)?.body);
        Some((spec, shard))
    }

    pub(crate) async fn commit(
        &mut self,
        key: &ShardKey,
        spec: &GroupSpec,
        before: &ShardTopology,
        commit: Commit,
        now: Instant,
    ) -> Result<(), ControllerError> {
        let faults = commit.next.check_after(before);
        assert!(faults.is_empty(), "a decision that must not be committed: {faults:?}");
        let vacated = before.primary().is_some() && commit.next.primary().is_none();
        if vacated {
            // One that was not over yet is over now.
            self.end_timeline(key).await?;
        }
        if let Some(vacancy) = commit.next.vacancy().filter(|_| vacated) {
            let from = vacancy.prev.as_ref().map(|run| run.node.clone());
            self.timelines.begin(key, commit.next.epoch, vacancy.cause, from, now);
        }
        let records: Vec<EventRecord> =
            commit.events.iter().map(|event| self.archive.record(event)).collect();
        let written = self.archive.write_topology(commit.next.clone(), &records).await;
        if let Err(err) = written {
            return self.survive(err);
        }
        let done = boot_time();
        let next = &commit.next;
        self.observer.committed(before, next, done);
        if !is_placed_as(before, next) {
            self.observer.recount(&self.archive);
        }
        if vacated {
            self.timelines.note(key, Step::Vacated, done);
        }
        for event in &commit.events {
            if let EventKind::PrimaryChosen { node, .. } = &event.kind {
                self.timelines.chosen(key, node, done);
            }
        }
        if next.in_sync.len() == usize::from(spec.replicas) && next.primary().is_some() {
            self.was_whole.insert(key.clone());
            if self.timelines.has(key, Step::Released) {
                self.timelines.note(key, Step::Replaced, done);
                self.end_timeline(key).await?;
            }
        }
        for record in records {
            self.publish(record);
        }
        debug!(group = %key.group, shard = %key.shard, rev = %next.rev, epoch = %next.epoch,
            "committed");
        Ok(())
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

    pub(crate) fn tell(&self, host: &HostId, message: ToAgent) {
        let Some(hand) = self.agents.get(host) else { return };
        // A full queue is an agent that does not keep up; orders are derived anew at every look.
        // One that was asked to stop has ended and reads nothing more.
        if !hand.tell(message) && self.stopping.is_none() {
            warn!(%host, "an agent does not take messages");
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
