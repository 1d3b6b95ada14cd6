//! Steps: everything that can happen next, one thing at a time.
//!
//! Nothing is ever obliged to happen, so "late" and "lost" need no steps of their own: they are the
//! worlds in which other things happen first.
//!
//! Invariant: a step changes the state or does not exist; the order of steps is fixed.
//!
//! Not here: what a step does (`crate::decision`, `crate::hands`, `crate::engine`, `crate::lanes`).

use crate::config::Tooth;
use crate::nouns::{Act, Attachment, Decided};
use crate::state::{CONTROLLERS, Link, NODES, PROXIES, Proxy, RETIRED, Role, State, lane};
use crate::world::World;

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A client's write is sent and executed, under the route that the proxy works by or one that
    /// it has learned meanwhile.
    Send { proxy: u8, route: Option<u32> },
    /// A proxy reads ROLE.
    Look { proxy: u8 },
    /// A proxy acknowledges a write.
    Release { proxy: u8 },
    /// A proxy finds its lane broken and says that it does not know.
    GiveUp { proxy: u8 },
    /// A route arrives at a proxy.
    Learn { proxy: u8, route: u32 },
    /// A controller hears which route a proxy works by.
    Beat { controller: u8, proxy: u8 },
    /// A controller hears what it needs and commits what follows: one of its choices.
    Commit { controller: u8, choice: u32 },
    /// A controller takes the leadership and reads the store; nothing was sent to it yet.
    Lead { controller: u8 },
    /// A controller reads the store again.
    Reread { controller: u8 },
    /// An order arrives.
    Deliver { order: u32 },
    /// A replica connects to whom it was told to follow.
    Attach { node: u8 },
    /// A full copy is complete.
    Copied { node: u8 },
    /// A replica receives one more write.
    Pull { node: u8 },
    /// A process dies; its disk has everything, or lacks the last write.
    Crash { node: u8, kept: bool },
    /// A link breaks and the replica has lost its place in the stream.
    Recopy { node: u8 },
}

/// A promise that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which promise.
    pub promise: &'static str,
    /// How.
    pub detail: String,
}

/// What a step leads to.
pub(crate) struct Next {
    pub(crate) state: State,
    pub(crate) fault: Option<Fault>,
}

impl From<State> for Next {
    fn from(state: State) -> Self {
        Self { state, fault: None }
    }
}

impl World {
    /// Everything that may happen now; some of it may turn out to change nothing.
    ///
    /// Some steps need no alternative, because whatever could go wrong without them can go wrong
    /// after them too: an acknowledgement that is due only adds to what must never be lost; a ROLE
    /// that shows more than the one before only makes it due; a route that is confirmed by a proxy
    /// that will not send only lets the in-sync set grow (unless a proxy may be cut for want of it).
    pub(crate) fn steps(&mut self, state: &State, steps: &mut Vec<Step>) {
        steps.clear();
        if !self.config.plain
            && let Some(step) = self.eager(state)
        {
            steps.push(step);
            return;
        }
        for proxy in 0..self.config.proxies {
            let Proxy { flight, gate } = *self.proxies.get(state.proxies[usize::from(proxy)]);
            if gate == RETIRED {
                continue;
            }
            let routes = self.sets.get(state.routes);
            if flight.is_some() {
                let own = [Step::Look { proxy }, Step::Release { proxy }, Step::GiveUp { proxy }];
                steps.extend(own);
                steps.extend(routes.iter().map(|route| Step::Learn { proxy, route: *route }));
            } else if state.budget.writes > 0 {
                steps.push(Step::Send { proxy, route: None });
                let newer = routes.iter().map(|route| Step::Send { proxy, route: Some(*route) });
                steps.extend(newer);
            }
        }
        self.controller_steps(state, steps);
        steps.extend(
            self.sets.get(state.orders).iter().map(|order| Step::Deliver { order: *order }),
        );
        for node in 0..NODES as u8 {
            self.engine_steps(state, node, steps);
        }
    }

    fn eager(&mut self, state: &State) -> Option<Step> {
        for proxy in 0..self.config.proxies {
            let number = state.proxies[usize::from(proxy)];
            let Some(flight) = self.proxies.get(number).flight else { continue };
            let release = Step::Release { proxy };
            if self.apply(state, release).is_some() {
                return Some(release);
            }
            let look = Step::Look { proxy };
            if let Some(next) = self.apply(state, look) {
                let after = self.proxies.get(next.state.proxies[usize::from(proxy)]).flight;
                let more = after.and_then(|after| after.seen).map(|seen| self.lists.get(seen));
                let less = flight.seen.map(|seen| self.lists.get(seen));
                let covers = |at| more.is_some_and(|more| more.contains(at));
                if less.is_none_or(|less| less.iter().all(covers)) {
                    return Some(look);
                }
            }
        }
        if self.config.budget.cuts > 0 {
            return None;
        }
        for controller in 0..self.config.controllers {
            let known = self.controllers.get(state.controllers[usize::from(controller)]).known;
            for proxy in 0..self.config.proxies {
                let beat = Step::Beat { controller, proxy };
                let number = state.proxies[usize::from(proxy)];
                if self.proxies.get(number).gate == RETIRED
                    && self.topologies.get(known).pending
                    && self.apply(state, beat).is_some()
                {
                    return Some(beat);
                }
            }
        }
        None
    }

    fn controller_steps(&mut self, state: &State, steps: &mut Vec<Step>) {
        for number in 0..self.config.controllers {
            let controller = *self.controllers.get(state.controllers[usize::from(number)]);
            let leads = u32::from(controller.term) == state.term;
            if state.budget.leaders > 0 && (!leads || self.config.leader_restarts) {
                steps.push(Step::Lead { controller: number });
            }
            if controller.term == 0 {
                continue;
            }
            if self.topologies.get(controller.known).pending {
                let beats =
                    (0..self.config.proxies).map(|proxy| Step::Beat { controller: number, proxy });
                steps.extend(beats);
            }
            let may_write = leads || self.bites(Tooth::CasWithoutTerm);
            if may_write && controller.known == state.topology {
                let choices = self.choices(state.controllers[usize::from(number)]).len();
                let choices = 0..u32::try_from(choices).unwrap_or(u32::MAX);
                steps.extend(choices.map(|choice| Step::Commit { controller: number, choice }));
            } else if may_write {
                steps.push(Step::Reread { controller: number });
            }
        }
        debug_assert!(usize::from(self.config.controllers) <= CONTROLLERS);
        debug_assert!(usize::from(self.config.proxies) <= PROXIES);
    }

    fn engine_steps(&self, state: &State, node: u8, steps: &mut Vec<Step>) {
        let engine = self.node(state, node);
        if !engine.alive {
            return;
        }
        if let Role::Replica { link, .. } = engine.role {
            match link {
                Link::Down => steps.push(Step::Attach { node }),
                Link::Copying => steps.push(Step::Copied { node }),
                Link::Draining(_) => steps.extend([Step::Attach { node }, Step::Pull { node }]),
                Link::Up => {
                    steps.push(Step::Pull { node });
                    if state.budget.recopies > 0 {
                        steps.push(Step::Recopy { node });
                    }
                }
            }
        }
        if state.budget.crashes > 0 {
            let empty = engine.history.len() == 0;
            if !empty {
                steps.push(Step::Crash { node, kept: false });
            }
            if empty || self.config.kind_disks {
                steps.push(Step::Crash { node, kept: true });
            }
        }
    }

    /// Whether nothing that can still happen could break a promise about writes.
    ///
    /// Either none is acknowledged and none can be; or nothing that concerns S or the primary can be
    /// committed any more and whoever can still acknowledge anything waits for all of S.
    pub(crate) fn is_quiet(&self, state: &State) -> bool {
        if self.config.plain {
            return false;
        }
        let flying = state.proxies.iter().any(|number| self.proxies.get(*number).flight.is_some());
        if !flying && state.budget.writes == 0 && self.ledgers.get(state.ledger).acked == 0 {
            return true;
        }
        let decided = self.topologies.get(state.topology);
        state.budget.failovers == 0
            && state.budget.sets == 0
            && decided.primary.is_some()
            && !decided.pending
            && self.all_wait_for_all(state, decided)
    }

    fn all_wait_for_all(&self, state: &State, decided: &Decided) -> bool {
        let all = |required: &[Attachment]| decided.in_sync.iter().all(|at| required.contains(at));
        let routes_fit = self.sets.get(state.routes).iter().all(|route| {
            let route = self.routes.get(*route);
            match &route.required {
                Some(required) if route.epoch == decided.epoch => all(required),
                Some(_) => !self.may_lead(state, route.epoch),
                None => true,
            }
        });
        routes_fit
            && state.proxies.iter().all(|number| {
                let Proxy { gate, flight } = *self.proxies.get(*number);
                if gate == RETIRED {
                    return true;
                }
                let gate = self.gates.get(gate);
                let current = gate.epoch == decided.epoch;
                let fits = current && all(&gate.required);
                fits || (flight.is_none() && !current && !self.may_lead(state, gate.epoch))
            })
    }

    /// What a step leads to; `None` if it cannot happen or changes nothing.
    pub(crate) fn apply(&mut self, state: &State, step: Step) -> Option<Next> {
        let next = match step {
            Step::Send { proxy, route } => self.send(state, proxy, route)?.into(),
            Step::Look { proxy } => self.look(state, proxy)?.into(),
            Step::Release { proxy } => self.release(state, proxy)?,
            Step::GiveUp { proxy } => self.give_up(state, proxy)?.into(),
            Step::Learn { proxy, route } => self.take_route(state, proxy, route)?.into(),
            Step::Beat { controller, proxy } => self.beat(state, controller, proxy)?.into(),
            Step::Commit { controller, choice } => self.commit(state, controller, choice)?,
            Step::Lead { controller } => self.lead_anew(state, controller)?.into(),
            Step::Reread { controller } => self.reread(state, controller)?.into(),
            Step::Deliver { order } => self.deliver(state, order)?,
            Step::Attach { node } => self.attach(state, node)?.into(),
            Step::Copied { node } => self.copied(state, node)?.into(),
            Step::Pull { node } => self.pull(state, node)?.into(),
            Step::Crash { node, kept } => self.crash(state, node, kept)?.into(),
            Step::Recopy { node } => self.recopy(state, node)?.into(),
        };
        let next = Next { state: self.settled(state, next.state), fault: next.fault };
        (next.state != *state || next.fault.is_some()).then_some(next)
    }

    /// Forgets what can never matter again.
    fn settled(&mut self, before: &State, mut state: State) -> State {
        if state.nodes != before.nodes || state.controllers != before.controllers {
            self.report(&mut state);
        }
        if self.config.plain {
            return state;
        }
        self.retire(&mut state);
        if state.controllers != before.controllers {
            self.forget_answers(&mut state);
        }
        if state.orders != before.orders || state.nodes != before.nodes {
            let pool = self.sets.get(state.orders);
            if pool.iter().any(|order| !self.order_lives(&state, *order)) {
                let kept: Vec<u32> =
                    pool.iter().copied().filter(|order| self.order_lives(&state, *order)).collect();
                state.orders = self.sets.number(kept);
            }
        }
        if state.routes != before.routes
            || state.proxies != before.proxies
            || state.nodes != before.nodes
            || state.orders != before.orders
        {
            let pool = self.sets.get(state.routes).clone();
            let all = pool.len();
            let kept: Vec<u32> =
                pool.into_iter().filter(|route| self.route_lives(&state, *route)).collect();
            if kept.len() != all {
                state.routes = self.sets.number(kept);
            }
        }
        state
    }

    /// Gives up flights that can never be acknowledged. A proxy with nothing in flight, when no
    /// write is left, can do no harm whatever it learns.
    fn retire(&mut self, state: &mut State) {
        for number in 0..self.config.proxies {
            let index = usize::from(number);
            let mut proxy = *self.proxies.get(state.proxies[index]);
            if let Some(flight) = &proxy.flight
                && self.hopeless(state, number, proxy.gate, flight)
            {
                proxy.flight = None;
            }
            if proxy.flight.is_none() && state.budget.writes == 0 {
                proxy.gate = RETIRED;
            }
            state.proxies[index] = self.proxies.number(proxy);
        }
    }

    /// An answer counts for one revision: once every controller knows a later one it is void.
    fn forget_answers(&mut self, state: &mut State) {
        if self.bites(Tooth::OlderAnswerCounts) || self.whole_reports() {
            return;
        }
        let led = state.controllers.iter().map(|number| self.controllers.get(*number));
        let known = led.filter(|controller| controller.term > 0).map(|c| c.known);
        let Some(oldest) = known.map(|known| self.topologies.get(known).rev).min() else { return };
        for number in 0..NODES as u8 {
            let mut node = *self.node(state, number);
            if node.answer.is_some_and(|(rev, _)| rev < oldest) {
                node.answer = None;
                self.put(state, number, node);
            }
        }
    }

    /// Whether an order can still do anything: its guard lets it pass and its run may be there.
    fn order_lives(&self, state: &State, order: u32) -> bool {
        let asked = &self.asked[order as usize];
        let node = self.node(state, asked.node);
        if asked.rev < node.guard_rev && !self.bites(Tooth::AgentForgetsGuard) {
            return false;
        }
        match asked.act {
            Act::Lead { run, .. } | Act::Follow { run, .. } => {
                let there = node.alive || self.bites(Tooth::NewRunIsMember);
                run > node.run || (run == node.run && there)
            }
            Act::Start { .. } => state.budget.restarts > 0,
            Act::Fence { .. } => true,
            Act::Other => false,
        }
    }

    fn route_lives(&mut self, state: &State, route: u32) -> bool {
        let told = self.routes.get(route);
        let (epoch, serving) = (told.epoch, told.required.is_some());
        let current = epoch >= self.topologies.get(state.topology).epoch;
        (0..self.config.proxies).any(|proxy| {
            let Proxy { gate, flight } = *self.proxies.get(state.proxies[usize::from(proxy)]);
            gate != RETIRED
                && (flight.is_some() || (serving && (current || self.may_lead(state, epoch))))
                && self.learn(gate, route).0 != gate
        })
    }

    /// Whether somebody has, or may get, lanes of an epoch.
    fn may_lead(&self, state: &State, epoch: u8) -> bool {
        let lanes = lane(epoch, 0) | lane(epoch, 1);
        let has = (0..NODES as u8).any(|node| self.node(state, node).lanes & lanes != 0);
        let may = |order: &u32| {
            let asked = &self.asked[*order as usize];
            asked.epoch == epoch && matches!(asked.act, Act::Lead { .. })
        };
        has || self.sets.get(state.orders).iter().any(may)
    }
}
