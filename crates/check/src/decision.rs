//! A controller's hands: hearing, committing, leading.
//!
//! Orders and routes follow from every change of what a controller knows, at once: saying them is
//! harmless until they arrive, and when they arrive is free.
//!
//! Invariant: a commit replaces the revision that it was decided on, and, unless a bug is planted,
//! is made by the controller whose leadership the store compares.
//!
//! Not here: what is decided (`crate::head`), whether it was right (`crate::judge`).

use crate::config::Tooth;
use crate::head::{Cost, Key};
use crate::state::{
    Beat, Controller, Link, NODES, PROXIES, Probe, ProbeRole, Report, Role, State,
};
use crate::step::{Fault, Next};
use crate::world::World;

impl World {
    /// What the agent of a node would report now.
    pub(crate) fn report_now(&self, state: &State, number: u8) -> Report {
        let node = self.node(state, number);
        let role = match node.role {
            Role::Primary => ProbeRole::Primary { online: self.online(state, number) },
            Role::Fenced => ProbeRole::Replica { up: false, copying: false },
            Role::Replica { link, .. } => ProbeRole::Replica {
                up: matches!(link, Link::Up | Link::Draining(_)),
                copying: link == Link::Copying,
            },
        };
        let probe = Probe { role, replid: node.replid, offset: node.offset };
        Report {
            run: node.alive.then_some(node.run),
            probe: node.alive.then_some(probe),
            answer: node.answer,
            done: node.done.filter(|_| node.alive),
        }
    }

    /// The attachments whose link to a node is up.
    fn online(&self, state: &State, number: u8) -> u32 {
        let users = self.node(state, number).users;
        let of = |other: u8| match self.node(state, other).role {
            Role::Replica { of, seq, link: Link::Up } if of == number => 1 << seq,
            _ => 0,
        };
        (0..NODES as u8).fold(0, |bits, other| bits | of(other)) & users
    }

    pub(crate) fn hear(
        &mut self,
        state: &State,
        number: u8,
        node: u8,
        fresh: bool,
    ) -> Option<State> {
        let mut controller = *self.controllers.get(state.controllers[usize::from(number)]);
        let mut report = self.report_now(state, node);
        let known = controller.reports[usize::from(node)];
        if !fresh {
            // The agent reports a process's end or an answer before its next probe is answered,
            // but never a probe from before it let in or cut anybody.
            let before = (*self.reports.get(known))?;
            let done = report.done.filter(|_| report.run == before.run);
            let older = done.is_some()
                && self.essence(controller.known, node, report).done != before.done
                && !self.bites(Tooth::ProbeOlderThanUsers);
            report.probe = before.probe.filter(|_| before.run == report.run && !older);
        }
        let decided = self.topologies.get(controller.known);
        let of_primary = decided.primary.is_some_and(|(primary, _)| primary == node);
        if fresh && of_primary && decided.pending && report.run.is_some() {
            controller.probed = true;
            for beat in &mut controller.beats {
                beat.probed_after = beat.current;
            }
        }
        let report = self.essence(controller.known, node, report);
        controller.reports[usize::from(node)] = self.reports.number(Some(report));
        Some(self.told(*state, number, controller))
    }

    pub(crate) fn beat(&mut self, state: &State, number: u8, proxy: u8) -> Option<State> {
        let mut controller = *self.controllers.get(state.controllers[usize::from(number)]);
        let gate = self.proxies.get(state.proxies[usize::from(proxy)]).gate;
        let rev = self.gates.get(gate).gate.rev().0;
        let beat = &mut controller.beats[usize::from(proxy)];
        if beat.current || rev < u64::from(self.topologies.get(controller.known).rev) {
            return None;
        }
        *beat = Beat { current: true, probed_after: false };
        let mut next = *state;
        next.controllers[usize::from(number)] = self.controllers.number(controller);
        Some(next)
    }

    pub(crate) fn commit(&mut self, state: &State, number: u8, topology: u32) -> Option<Next> {
        let mut controller = *self.controllers.get(state.controllers[usize::from(number)]);
        let outcomes = self.outcomes(Key::of(&controller));
        let outcome = outcomes.iter().find(|outcome| outcome.topology == topology)?.clone();
        let mut next = *state;
        pay(&mut next, outcome.cost)?;
        if let Some(detail) = outcome.fault {
            let fault = Fault { promise: "a commit is legal", detail };
            return Some(Next { state: next, fault: Some(fault) });
        }
        next.topology = topology;
        self.adopt(&mut controller, topology);
        let next = self.told(next, number, controller);
        Some(self.judge_commit(state, next, outcome.recovered))
    }

    /// Takes in another topology; what was heard is kept as far as it can matter.
    fn adopt(&mut self, controller: &mut Controller, topology: u32) {
        controller.known = topology;
        controller.beats = [Beat::default(); PROXIES];
        controller.probed = false;
        for node in 0..NODES as u8 {
            let number = &mut controller.reports[usize::from(node)];
            if let Some(report) = *self.reports.get(*number) {
                let report = self.essence(topology, node, report);
                *number = self.reports.number(Some(report));
            }
        }
    }

    pub(crate) fn lead_anew(&mut self, state: &State, number: u8) -> Option<State> {
        let mut next = *state;
        next.budget.leaders = next.budget.leaders.checked_sub(1)?;
        next.term += 1;
        let controller = Controller {
            term: u8::try_from(next.term).ok()?,
            known: state.topology,
            reports: [0; NODES],
            beats: [Beat::default(); PROXIES],
            probed: false,
        };
        Some(self.told(next, number, controller))
    }

    pub(crate) fn reread(&mut self, state: &State, number: u8) -> Option<State> {
        let mut controller = *self.controllers.get(state.controllers[usize::from(number)]);
        self.adopt(&mut controller, state.topology);
        Some(self.told(*state, number, controller))
    }

    /// Stores what a controller knows now and says what follows from it.
    fn told(&mut self, mut state: State, number: u8, controller: Controller) -> State {
        let index = usize::from(number);
        let before = state.controllers[index];
        state.controllers[index] = self.controllers.number(controller);
        if state.controllers[index] == before {
            return state;
        }
        let emission = self.emission(controller.known, controller.reports);
        state.orders = self.pooled(state.orders, &emission.orders);
        state.routes = self.pooled(state.routes, &[emission.route]);
        state
    }

    fn pooled(&mut self, pool: u32, more: &[u32]) -> u32 {
        let known = self.sets.get(pool);
        if more.iter().all(|number| known.binary_search(number).is_ok()) {
            return pool;
        }
        let mut all = known.clone();
        all.extend_from_slice(more);
        all.sort_unstable();
        all.dedup();
        self.sets.number(all)
    }
}

fn pay(state: &mut State, cost: Cost) -> Option<()> {
    let budget = &mut state.budget;
    budget.failovers = budget.failovers.checked_sub(cost.failovers)?;
    budget.sets = budget.sets.checked_sub(cost.sets)?;
    budget.cuts = budget.cuts.checked_sub(cost.cuts)?;
    Some(())
}
