//! Controllers: observe, decide, commit, converge, publish; and forget everything when they restart.
//!
//! Each has its own observations, built from messages alone. One leads by a term in the store; a
//! deposed one may go on acting until it hears of it. Core's functions are called as they ship.
//!
//! Invariant: a lease is granted only by a leader that knows, by its own clock, that it leads.
//!
//! Not here: taking observations in (`crate::listen`), planted bugs (`crate::mischief`).

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use tanist_core::decide::{Outlook, Plan, converge, found, off_host, orphans, rebalance, route};
use tanist_core::model::{
    Cause, Fenced, GroupSpec, HostId, Instant, MoveKind, NodeSeen, Observations, Order, Problem,
    Rev, Route, ShardId, ShardTopology, Term,
};

use crate::config::MILLI;
use crate::host::{AgentMsg, AgentWord};
use crate::net::Place;
use crate::probe::HostReport;
use crate::proxy::{ProxyMsg, ProxyNews};
use crate::store::{Proposal, StoreAsk, StoreMsg, StoreWord};
use crate::world::{Clock, Event, World};

/// What a controller hears.
#[derive(Debug)]
pub(crate) struct ControllerMsg {
    pub(crate) to: usize,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    Report(HostReport),
    LeaseAsked { host: usize, asked_at: Instant },
    Proxy { number: usize, sequence: u64, rev: Rev, drained: Option<u64> },
    Store { turn: u32, word: StoreWord },
}

/// Where a controller dies when it writes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    BeforeWrite,
    AfterWrite,
    /// It lives, but hears nothing of the store after its write.
    CutOff,
}

/// One controller.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) up: bool,
    /// Stopped by the machine: it misses time, not messages.
    pub(crate) paused: bool,
    pub(crate) kept: Vec<News>,
    /// Counts starts.
    pub(crate) turn: u32,
    pub(crate) clock: Clock,
    pub(crate) term: Option<u64>,
    pub(crate) leads_until: Instant,
    pub(crate) asked_to_lead: Instant,
    pub(crate) decided: Option<Rc<ShardTopology>>,
    pub(crate) spec: Option<Rc<GroupSpec>>,
    pub(crate) version: u64,
    /// The documents were read since it leads.
    pub(crate) fresh: bool,
    pub(crate) seen: Observations,
    /// The newest revision that a host said it was told.
    pub(crate) told: Rev,
    /// Numbers of polls and when they were sent.
    pub(crate) polls: VecDeque<(u64, Instant)>,
    pub(crate) sequences: [(u32, u64); 6],
    pub(crate) proxy_sequences: Vec<(usize, u64)>,
    /// A commit's outcome is awaited since then.
    pub(crate) commit_since: Option<Instant>,
    pub(crate) read_at: Instant,
    pub(crate) waking: bool,
    pub(crate) ticks: u64,
    pub(crate) published: Option<Rc<Route>>,
    pub(crate) plan: Plan,
    pub(crate) dies: Option<Death>,
}

impl Controller {
    pub(crate) fn new(clock: Clock, turn: u32) -> Self {
        Self {
            up: true,
            paused: false,
            kept: Vec::new(),
            turn,
            clock,
            term: None,
            leads_until: Instant::ZERO,
            asked_to_lead: Instant::ZERO,
            decided: None,
            spec: None,
            version: 0,
            fresh: false,
            seen: Observations::default(),
            told: Rev(0),
            polls: VecDeque::new(),
            sequences: [(0, 0); 6],
            proxy_sequences: Vec::new(),
            commit_since: None,
            read_at: Instant::ZERO,
            waking: false,
            ticks: 0,
            published: None,
            plan: Plan::default(),
            dies: None,
        }
    }
}

impl World {
    /// The controller's own time.
    pub(crate) fn local(&self, controller: usize) -> Instant {
        self.controllers[controller].clock.shows(self.now)
    }

    pub(crate) fn controller_tick(&mut self, controller: usize, turn: u32) {
        let state = &self.controllers[controller];
        if !state.up || state.turn != turn {
            return;
        }
        self.after(50 * MILLI, Event::ControllerTick { controller, turn });
        if !self.controllers[controller].paused {
            self.look(controller);
        }
    }

    pub(crate) fn wake(&mut self, controller: usize, turn: u32) {
        let state = &mut self.controllers[controller];
        state.waking = false;
        if state.up && state.turn == turn && !state.paused {
            self.look(controller);
        }
    }

    /// Looks again soon, because something has changed.
    pub(crate) fn wake_soon(&mut self, controller: usize) {
        let state = &mut self.controllers[controller];
        if !state.waking {
            state.waking = true;
            let turn = state.turn;
            self.after(MILLI / 2, Event::Wake { controller, turn });
        }
    }

    /// Kills a controller; it comes back with an empty memory.
    pub(crate) fn controller_dies(&mut self, controller: usize) {
        self.controllers[controller].up = false;
        self.controllers[controller].turn += 1;
        self.tell(|| format!("controller-{} dies", controller + 1));
    }

    pub(crate) fn controller_starts(&mut self, controller: usize) {
        let old = &self.controllers[controller];
        if old.up {
            return;
        }
        let turn = old.turn + 1;
        self.controllers[controller] = Controller::new(old.clock, turn);
        self.after(MILLI, Event::ControllerTick { controller, turn });
        self.tell(|| format!("controller-{} starts", controller + 1));
    }

    fn look(&mut self, controller: usize) {
        self.controllers[controller].ticks += 1;
        self.keep_leadership(controller);
        self.read_again(controller);
        if !self.acts(controller) {
            return;
        }
        let state = &self.controllers[controller];
        let Some(spec) = state.spec.clone() else { return };
        match state.decided.clone() {
            Some(decided) => self.reconcile(controller, &spec, &decided),
            None => self.found_shard(controller, &spec),
        }
    }

    /// It leads, or believes so.
    fn acts(&self, controller: usize) -> bool {
        let state = &self.controllers[controller];
        let lingers = self.config.leaders_linger;
        state.term.is_some()
            && state.fresh
            && (lingers || self.local(controller) < state.leads_until)
    }

    fn keep_leadership(&mut self, controller: usize) {
        let now = self.local(controller);
        let state = &mut self.controllers[controller];
        if now.since(state.asked_to_lead).as_millis() >= 300 || state.asked_to_lead == Instant::ZERO
        {
            state.asked_to_lead = now;
            self.ask_store(controller, StoreAsk::Lead { sent_at: now });
        }
    }

    /// A watch may lose what it should tell: read again now and then, and when a commit's outcome
    /// does not come.
    fn read_again(&mut self, controller: usize) {
        let now = self.local(controller);
        let state = &mut self.controllers[controller];
        let late = state.commit_since.is_some_and(|since| now.since(since).as_millis() >= 300);
        let wait = if state.fresh { 700 } else { 100 };
        let old = now.since(state.read_at).as_millis() >= wait;
        if late || old {
            state.commit_since = None;
            state.read_at = now;
            let term = self.controllers[controller].term;
            self.ask_store(controller, StoreAsk::Read { term });
        }
    }

    pub(crate) fn ask_store(&mut self, from: usize, ask: StoreAsk) {
        let turn = self.controllers[from].turn;
        self.send(Place::Controller(from), Place::Store, || {
            Event::AtStore(Box::new(StoreMsg { from, turn, ask: ask.clone() }))
        });
    }

    fn found_shard(&mut self, controller: usize, spec: &Rc<GroupSpec>) {
        let state = &self.controllers[controller];
        if state.commit_since.is_some() || spec.deleting {
            return;
        }
        let now = self.local(controller);
        // Nodes are spread over the hosts that have reported, so give all of them time to.
        if self.now < 600 * MILLI {
            return self.poll(controller, None, Vec::new());
        }
        match found(spec, &ShardId::new("0001"), &state.seen, &self.config.limits, now) {
            Ok(topology) => self.propose(controller, None, Some(topology), Vec::new()),
            Err(wait) => self.census.wait(wait.kind),
        }
        self.poll(controller, None, Vec::new());
    }

    fn reconcile(&mut self, controller: usize, spec: &GroupSpec, decided: &Rc<ShardTopology>) {
        let now = self.local(controller);
        let plan = self.think(controller, spec, decided, now);
        self.census.note(&plan);
        self.tell_problems(controller, &plan);
        self.note_hold(controller, decided, &plan, now);
        let state = &self.controllers[controller];
        let term = Term(state.term.unwrap_or(0));
        let limits = self.config.limits;
        let believed = self.believed(controller, decided);
        let mut orders = converge(spec, &believed, &state.seen, &limits, term, now);
        orders.extend(orphans(spec, &believed, &state.seen, &limits, term, now));
        let required = self.required(decided);
        let new_route = route(spec, &required, &state.seen, &limits, &plan, now);
        let idle = state.commit_since.is_none();
        self.poll(controller, Some(decided), orders);
        self.publish(controller, new_route);
        if idle {
            if let Some(commit) = &plan.commit {
                let next = Some(commit.next.clone());
                self.propose(controller, Some(decided.rev), next, commit.events.clone());
            } else if self.all_removed(controller, decided) {
                self.propose(controller, Some(decided.rev), None, Vec::new());
            } else {
                self.rebalance(controller, spec, decided, now);
            }
        }
        self.controllers[controller].plan = plan;
    }

    /// Begins a relocation that is due, and lets a primary go that is to be relocated.
    fn rebalance(&mut self, at: usize, spec: &GroupSpec, decided: &ShardTopology, now: Instant) {
        let state = &self.controllers[at];
        if !state.ticks.is_multiple_of(20) {
            return;
        }
        let limits = self.config.limits;
        match rebalance(&[(spec, decided)], &state.seen, &limits, now) {
            Outlook::Settled => {}
            Outlook::Later(_, wait) => self.census.wait(wait.kind),
            Outlook::Now(_, commit) => {
                self.propose(at, Some(decided.rev), Some(commit.next), commit.events);
            }
        }
        let seen = &self.controllers[at].seen;
        if decided.relocation.is_some()
            && let Some(heir) = off_host(spec, decided, seen, &limits, now)
        {
            self.ask_to_move(MoveKind::Switchover, Some(Self::node_index(&heir)), false);
        }
    }

    /// Tells what has become wrong and what is not any more.
    fn tell_problems(&mut self, controller: usize, plan: &Plan) {
        if self.told.is_none() {
            return;
        }
        let name = |problem: &Problem| match &problem.node {
            Some(node) => format!("{} {node}", problem.kind),
            None => problem.kind.to_string(),
        };
        let now: BTreeSet<String> = plan.problems.iter().map(name).collect();
        let before = &self.controllers[controller].plan.problems;
        let before: BTreeSet<String> = before.iter().map(name).collect();
        for problem in now.difference(&before) {
            self.tell(|| format!("problem: {problem}"));
        }
        for problem in before.difference(&now) {
            self.tell(|| format!("no more: {problem}"));
        }
    }

    /// A deleted group's topology goes once nothing of it is left.
    fn all_removed(&self, controller: usize, decided: &ShardTopology) -> bool {
        let deleted = decided.vacancy().is_some_and(|vacancy| vacancy.cause == Cause::Deleted);
        let seen = &self.controllers[controller].seen;
        deleted
            && decided.members.iter().all(|(node, member)| {
                seen.node(node, &member.host)
                    .is_some_and(|seen| !seen.report.data && seen.report.run().is_none())
            })
    }

    fn note_hold(&mut self, at: usize, decided: &ShardTopology, plan: &Plan, now: Instant) {
        let Some(request) = plan.hold else { return };
        let holds = &mut self.controllers[at].seen.holds;
        let key = decided.key();
        if holds.get(&key).is_none_or(|(known, _)| *known != request) {
            holds.insert(key, (request, now));
        }
    }

    fn propose(
        &mut self,
        controller: usize,
        expected: Option<Rev>,
        next: Option<ShardTopology>,
        events: Vec<tanist_core::model::Event>,
    ) {
        let now = self.local(controller);
        let limits = self.config.limits;
        let state = &mut self.controllers[controller];
        let Some(term) = state.term else { return };
        state.commit_since = Some(now);
        let dies = state.dies.take();
        if dies == Some(Death::BeforeWrite) {
            return self.controller_dies(controller);
        }
        let frozen = |seen: &NodeSeen| {
            let answer = seen.report.fence.as_ref().filter(|answer| Some(answer.rev) == expected);
            answer.is_some_and(|answer| matches!(answer.state, Fenced::Frozen { .. }))
        };
        // Whoever is out of reach now cannot be promoted, whatever it answered before.
        let near = |seen: &NodeSeen| {
            let host = state.seen.hosts.get(&seen.host);
            host.is_some_and(|host| now.since(host.at) <= limits.host)
        };
        let reports = state.seen.nodes.iter();
        let answered =
            reports.filter(|(_, seen)| seen.iter().any(|seen| frozen(seen) && near(seen)));
        let answered = answered.map(|(node, _)| node.clone()).collect();
        let told_more = expected.is_some_and(|expected| state.told > expected);
        let next = next.map(Rc::new);
        let proposal = Proposal { term, expected, next, events, answered, told_more };
        self.ask_store(controller, StoreAsk::Commit(Rc::new(proposal)));
        match dies {
            Some(Death::AfterWrite) => self.controller_dies(controller),
            Some(Death::CutOff) => self.cut_from_store(controller),
            Some(Death::BeforeWrite) | None => {}
        }
    }

    /// One message to each agent: a number to echo, the nodes it should have, and orders.
    fn poll(
        &mut self,
        controller: usize,
        decided: Option<&ShardTopology>,
        orders: Vec<(HostId, Order)>,
    ) {
        let now = self.local(controller);
        let number = self.now + 1;
        let state = &mut self.controllers[controller];
        if state.polls.len() == 64 {
            state.polls.pop_front();
        }
        state.polls.push_back((number, now));
        let mut by_host: Vec<(u32, Vec<Order>)> = vec![(0, Vec::new()); self.hosts.len()];
        for (node, member) in decided.iter().flat_map(|decided| &decided.members) {
            by_host[host_index(&member.host)].0 |= 1 << Self::node_index(node);
        }
        for (host, order) in orders {
            by_host[host_index(&host)].1.push(order);
        }
        for (host, (nodes, orders)) in by_host.into_iter().enumerate() {
            self.send(Place::Controller(controller), Place::Host(host), || {
                let word = AgentWord::Poll { number, nodes, orders: orders.clone() };
                Event::AtAgent(Box::new(AgentMsg { host, from: controller, word }))
            });
        }
    }

    /// Tells the proxies: at once when the route has changed, and again now and then.
    fn publish(&mut self, controller: usize, new_route: Route) {
        let state = &mut self.controllers[controller];
        let same = state.published.as_deref() == Some(&new_route);
        if same && !state.ticks.is_multiple_of(4) {
            return;
        }
        let new_route = if same { state.published.take() } else { Some(Rc::new(new_route)) };
        state.published.clone_from(&new_route);
        let Some(new_route) = new_route else { return };
        for seat in 0..self.proxies.len() {
            let number = self.proxies[seat].number;
            self.send(Place::Controller(controller), Place::Proxy(seat), || {
                let news = ProxyNews::Route(Rc::clone(&new_route));
                let msg = ProxyMsg { seat, number, from: None, lane: 0, news };
                Event::AtProxy(Box::new(msg))
            });
        }
    }
}

pub(crate) fn host_index(host: &HostId) -> usize {
    host.as_str().rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(1_usize) - 1
}
