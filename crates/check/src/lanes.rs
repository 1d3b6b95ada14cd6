//! A proxy: writes out, ROLE in, acknowledgements only with proof.
//!
//! What it knows is the gate that ships; what it may acknowledge is asked of `proven` and
//! `may_release` under the route of that moment, with a ROLE that may be old by then.
//!
//! Invariant: a lane is a user of one epoch at one run; without it nothing is executed and no ROLE
//! is read.
//!
//! Not here: which routes there are (`crate::decision`).

use tanist_core::gate::{Effect, Fate, Learned, Pass, Sent, fate, proven};
use tanist_core::model::{Epoch, Offset, RouteState};

use crate::config::Tooth;
use crate::nouns::{Act, Attachment, node_of};
use crate::state::{Flight, Link, NODES, Proxy, Role, State, lane};
use crate::step::Next;
use crate::world::World;

impl World {
    fn proxy(&self, state: &State, proxy: u8) -> Proxy {
        *self.proxies.get(state.proxies[usize::from(proxy)])
    }

    fn with_proxy(&mut self, state: &State, number: u8, proxy: Proxy) -> State {
        let mut next = *state;
        next.proxies[usize::from(number)] = self.proxies.number(proxy);
        next
    }

    /// A gate after a route, and whether an epoch ended with it.
    pub(crate) fn learn(&mut self, gate: u32, route: u32) -> (u32, bool) {
        if let Some(known) = self.learned.get(&(gate, route)) {
            return *known;
        }
        let before = self.gates.get(gate);
        let (mut after, mut primary) = (before.gate.clone(), before.primary);
        let told = &self.routes.get(route).route;
        let learned = after.learn(told);
        if learned != Learned::Stale
            && let RouteState::Serving { primary: named, .. } = &told.state
        {
            primary = node_of(named);
        }
        let number = self.gate(after, primary);
        let result = (number, matches!(learned, Learned::EpochOver { .. }));
        self.learned.insert((gate, route), result);
        result
    }

    pub(crate) fn take_route(&mut self, state: &State, number: u8, route: u32) -> Option<State> {
        let mut proxy = self.proxy(state, number);
        let (gate, over) = self.learn(proxy.gate, route);
        if gate == proxy.gate {
            return None;
        }
        proxy.gate = gate;
        if over && !self.bites(Tooth::LateRelease) {
            // Its lane is void: the client is told that the outcome is not known.
            proxy.flight = None;
        }
        Some(self.with_proxy(state, number, proxy))
    }

    pub(crate) fn send(&mut self, state: &State, number: u8, route: Option<u32>) -> Option<State> {
        let mut proxy = self.proxy(state, number);
        if let Some(route) = route {
            let (gate, _) = self.learn(proxy.gate, route);
            if gate == proxy.gate {
                return None;
            }
            proxy.gate = gate;
        }
        let gated = self.gates.get(proxy.gate);
        let Pass::Forward(Epoch(epoch)) = gated.gate.pass() else { return None };
        let (epoch, at) = (u8::try_from(epoch).ok()?, gated.primary);
        let mut node = *self.node(state, at);
        if !gated.gate.writable() || !self.has_lane(state, at, epoch, number) {
            return None;
        }
        let mut next = *state;
        next.budget.writes = next.budget.writes.checked_sub(1)?;
        let mut ledger = self.ledgers.get(state.ledger).clone();
        ledger.written += 1;
        node.history.push(ledger.written);
        node.offset += 1;
        proxy.flight = Some(Flight {
            write: ledger.written,
            epoch,
            node: at,
            run: node.run,
            position: node.offset,
            seen: None,
        });
        next.ledger = self.ledgers.number(ledger);
        self.put(&mut next, at, node);
        Some(self.with_proxy(&next, number, proxy))
    }

    fn has_lane(&self, state: &State, at: u8, epoch: u8, proxy: u8) -> bool {
        let node = self.node(state, at);
        node.alive && node.role == Role::Primary && node.lanes & lane(epoch, proxy) != 0
    }

    fn lane_lives(&self, state: &State, number: u8, flight: &Flight) -> bool {
        self.node(state, flight.node).run == flight.run
            && self.has_lane(state, flight.node, flight.epoch, number)
    }

    pub(crate) fn look(&mut self, state: &State, number: u8) -> Option<State> {
        let mut proxy = self.proxy(state, number);
        let mut flight = proxy.flight?;
        if !self.lane_lives(state, number, &flight) {
            return None;
        }
        let users = self.node(state, flight.node).users;
        let mut seen = Vec::new();
        for other in 0..NODES as u8 {
            let replica = self.node(state, other);
            if let Role::Replica { of, seq, link: Link::Up } = replica.role
                && of == flight.node
                && users & (1 << seq) != 0
                && replica.offset >= flight.position
            {
                seen.push(Attachment { node: other, run: replica.run, seq });
            }
        }
        if seen.is_empty() {
            return None;
        }
        flight.seen = Some(self.lists.number(seen));
        proxy.flight = Some(flight);
        Some(self.with_proxy(state, number, proxy))
    }

    pub(crate) fn release(&mut self, state: &State, number: u8) -> Option<Next> {
        let mut proxy = self.proxy(state, number);
        let flight = proxy.flight?;
        let gate = &self.gates.get(proxy.gate).gate;
        let open = gate.may_release(Epoch(u64::from(flight.epoch)));
        if !open && !self.bites(Tooth::LateRelease) {
            return None;
        }
        if !self.proven(proxy.gate, &flight) {
            return None;
        }
        proxy.flight = None;
        let next = self.with_proxy(state, number, proxy);
        Some(self.judge_release(next, &flight))
    }

    fn proven(&mut self, gate: u32, flight: &Flight) -> bool {
        let required = self.gates.get(gate).gate.required();
        let Some(seen) = flight.seen else { return required.is_empty() };
        if let Some(known) = self.proofs.get(&(gate, seen)) {
            return *known;
        }
        let position = Offset(u64::from(flight.position));
        let tags: Vec<String> =
            self.lists.get(seen).iter().map(|at| at.tag().to_string()).collect();
        let holds = if self.bites(Tooth::AnonymousWait) {
            tags.len() >= required.len()
        } else if self.bites(Tooth::OneShortProof) {
            tags.iter().filter(|tag| required.contains(*tag)).count() + 1 >= required.len()
        } else {
            proven(required, position, tags.iter().map(|tag| (tag.as_str(), position)))
        };
        self.proofs.insert((gate, seen), holds);
        holds
    }

    /// Whether a flight can never be acknowledged any more: whatever route of its epoch the proxy
    /// works by, somebody is required who was not seen to have the write and never will be.
    pub(crate) fn hopeless(&self, state: &State, number: u8, gate: u32, flight: &Flight) -> bool {
        let planted = [Tooth::LateRelease, Tooth::AgentForgetsGuard, Tooth::UsersSurvive];
        if planted.iter().any(|tooth| self.bites(*tooth)) {
            return false;
        }
        let broken = !self.lane_lives(state, number, flight);
        let seen = flight.seen.map(|seen| self.lists.get(seen).as_slice()).unwrap_or_default();
        let lacks = |required: &[Attachment]| {
            let out = |at: &Attachment| {
                !seen.contains(at) && (broken || !self.may_acknowledge(state, flight, at))
            };
            // Proofs that are planted count otherwise.
            let short = usize::from(self.bites(Tooth::OneShortProof));
            !self.bites(Tooth::AnonymousWait)
                && required.iter().filter(|at| out(at)).count() > short
        };
        for controller in state.controllers {
            let controller = self.controllers.get(controller);
            let known = self.topologies.get(controller.known);
            if controller.term == 0 || known.epoch > flight.epoch {
                continue;
            }
            if u32::from(controller.term) == state.term
                || self.bites(Tooth::CasWithoutTerm)
                || known.epoch < flight.epoch
                || !lacks(&known.required)
            {
                return false;
            }
        }
        let routes = self.sets.get(state.routes).iter().map(|route| self.routes.get(*route));
        let mut routes = routes.filter(|route| route.epoch == flight.epoch);
        lacks(&self.gates.get(gate).required)
            && routes.all(|route| route.required.as_ref().is_none_or(|required| lacks(required)))
    }

    /// Whether an attachment may still be seen with the flight's write.
    fn may_acknowledge(&self, state: &State, flight: &Flight, at: &Attachment) -> bool {
        let node = self.node(state, at.node);
        if !node.alive || node.run != at.run {
            return false;
        }
        let follows = matches!(node.role, Role::Replica { of, seq, .. }
            if of == flight.node && seq == at.seq);
        follows
            || self.sets.get(state.orders).iter().any(|order| {
                let asked = &self.asked[*order as usize];
                asked.node == at.node
                    && matches!(asked.act, Act::Follow { seq, .. } if seq == at.seq)
            })
    }

    /// A lane that broke proves nothing; only worth a step if the client goes on afterwards.
    pub(crate) fn give_up(&mut self, state: &State, number: u8) -> Option<State> {
        let mut proxy = self.proxy(state, number);
        let flight = proxy.flight?;
        let broken = !self.lane_lives(state, number, &flight);
        if !broken
            || state.budget.writes == 0
            || fate(Effect::Write, Sent::Whole) != Fate::Uncertain
        {
            return None;
        }
        proxy.flight = None;
        Some(self.with_proxy(state, number, proxy))
    }
}
