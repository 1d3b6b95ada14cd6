//! Steps: everything that can happen next, one thing at a time.
//!
//! Nothing is ever obliged to happen, so "late" and "lost" need no steps of their own: they are the
//! worlds in which other things happen first.
//!
//! Invariant: a step changes the state or does not exist; the order of steps is fixed.
//!
//! Not here: what a step does (`crate::decision`, `crate::hands`, `crate::engine`, `crate::lanes`).

use crate::config::Tooth;
use crate::nouns::Act;
use crate::state::{CONTROLLERS, Link, NODES, PROXIES, Role, State};
use crate::world::World;

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A client's write is sent and executed.
    Send { proxy: u8 },
    /// A proxy reads ROLE.
    Look { proxy: u8 },
    /// A proxy acknowledges a write.
    Release { proxy: u8 },
    /// A proxy finds its lane broken and says that it does not know.
    GiveUp { proxy: u8 },
    /// A route arrives at a proxy.
    Learn { proxy: u8, route: u32 },
    /// A report is taken and heard; its probe is of now, or the one before.
    Hear { controller: u8, node: u8, fresh: bool },
    /// A controller hears which route a proxy works by.
    Beat { controller: u8, proxy: u8 },
    /// A controller commits what follows from what it has heard.
    Commit { controller: u8, topology: u32 },
    /// A controller takes the leadership and reads the store; it has heard nothing yet.
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
    pub(crate) fn steps(&mut self, state: &State, steps: &mut Vec<Step>) {
        steps.clear();
        for proxy in 0..self.config.proxies {
            let flight = self.proxies.get(state.proxies[usize::from(proxy)]).flight;
            if flight.is_some() {
                let rest = [Step::Release { proxy }, Step::Look { proxy }, Step::GiveUp { proxy }];
                steps.extend(rest);
            } else if state.budget.writes > 0 {
                steps.push(Step::Send { proxy });
            }
            for route in self.sets.get(state.routes) {
                steps.push(Step::Learn { proxy, route: *route });
            }
        }
        self.controller_steps(state, steps);
        steps.extend(self.sets.get(state.orders).iter().map(|order| Step::Deliver { order: *order }));
        for node in 0..NODES as u8 {
            self.engine_steps(state, node, steps);
        }
    }

    fn controller_steps(&mut self, state: &State, steps: &mut Vec<Step>) {
        for number in 0..self.config.controllers {
            let controller = *self.controllers.get(state.controllers[usize::from(number)]);
            let leads = u32::from(controller.term) == state.term;
            if state.budget.leaders > 0 && (!leads || self.config.requests) {
                steps.push(Step::Lead { controller: number });
            }
            if controller.term == 0 {
                continue;
            }
            for node in 0..NODES as u8 {
                steps.push(Step::Hear { controller: number, node, fresh: true });
                steps.push(Step::Hear { controller: number, node, fresh: false });
            }
            if self.topologies.get(controller.known).pending {
                let beats = (0..self.config.proxies)
                    .map(|proxy| Step::Beat { controller: number, proxy });
                steps.extend(beats);
            }
            let may_write = leads || self.bites(Tooth::CasWithoutTerm);
            if may_write && controller.known == state.topology {
                let outcomes = self.outcomes(crate::head::Key::of(&controller));
                steps.extend(outcomes.iter().map(|outcome| Step::Commit {
                    controller: number,
                    topology: outcome.topology,
                }));
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

    /// Whether nothing that can still happen could break a promise about writes: none is
    /// acknowledged and none can be, or nothing can be committed any more that concerns them.
    pub(crate) fn is_quiet(&self, state: &State) -> bool {
        let flying =
            state.proxies.iter().any(|number| self.proxies.get(*number).flight.is_some());
        if flying || state.budget.writes > 0 {
            return false;
        }
        let decided = self.topologies.get(state.topology);
        let fixed = state.budget.failovers == 0
            && state.budget.sets == 0
            && decided.primary.is_some()
            && !decided.pending;
        fixed || self.ledgers.get(state.ledger).acked == 0
    }

    /// What a step leads to; `None` if it cannot happen or changes nothing.
    pub(crate) fn apply(&mut self, state: &State, step: Step) -> Option<Next> {
        let next = match step {
            Step::Send { proxy } => self.send(state, proxy)?.into(),
            Step::Look { proxy } => self.look(state, proxy)?.into(),
            Step::Release { proxy } => self.release(state, proxy)?,
            Step::GiveUp { proxy } => self.give_up(state, proxy)?.into(),
            Step::Learn { proxy, route } => self.take_route(state, proxy, route)?.into(),
            Step::Hear { controller, node, fresh } => {
                self.hear(state, controller, node, fresh)?.into()
            }
            Step::Beat { controller, proxy } => self.beat(state, controller, proxy)?.into(),
            Step::Commit { controller, topology } => self.commit(state, controller, topology)?,
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

    /// Forgets orders and routes that can never matter again.
    fn settled(&mut self, before: &State, mut state: State) -> State {
        if state.orders != before.orders || state.nodes != before.nodes {
            let pool = self.sets.get(state.orders);
            if !pool.is_empty() {
                let kept: Vec<u32> =
                    pool.iter().copied().filter(|order| self.order_lives(&state, *order)).collect();
                if kept.len() != pool.len() {
                    state.orders = self.sets.number(kept);
                }
            }
        }
        if state.routes != before.routes || state.proxies != before.proxies {
            let pool = self.sets.get(state.routes).clone();
            if !pool.is_empty() {
                let all = pool.len();
                let kept: Vec<u32> =
                    pool.into_iter().filter(|route| self.route_lives(&state, *route)).collect();
                if kept.len() != all {
                    state.routes = self.sets.number(kept);
                }
            }
        }
        state
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
        (0..self.config.proxies).any(|proxy| {
            let gate = self.proxies.get(state.proxies[usize::from(proxy)]).gate;
            self.learn(gate, route).0 != gate
        })
    }
}
