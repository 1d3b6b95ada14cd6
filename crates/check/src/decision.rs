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
use crate::head::{Choice, Cost};
use crate::state::{
    Controller, Heard, Link, NODES, Probe, ProbeRole, RETIRED, Report, Role, State,
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

    /// Every controller is sent what has changed about any node.
    pub(crate) fn report(&mut self, state: &mut State) {
        for index in 0..usize::from(self.config.controllers) {
            let before = *self.controllers.get(state.controllers[index]);
            if before.term == 0 {
                continue;
            }
            let deposed = self.is_deposed(state, &before);
            if deposed && self.is_mute(state, &before) {
                state.controllers[index] = self.idle(before.known);
                continue;
            }
            let mut controller = before;
            for node in 0..NODES as u8 {
                let report = self.report_now(state, node);
                let mut report = self.essence(controller.known, node, report);
                let decided = self.topologies.get(controller.known);
                let fresh = decided.pending
                    && !deposed
                    && decided.primary.is_some_and(|(primary, _)| primary == node);
                if deposed {
                    report = without_probe(report);
                }
                let list = &mut controller.heard[usize::from(node)];
                *list = self.sent(*list, Heard { report: Some(report), fresh });
                if deposed {
                    *list = self.unordered(*list);
                }
            }
            if controller != before {
                state.controllers[index] = self.controllers.number(controller);
                self.say(state, index);
            }
        }
    }

    /// Its commits are refused for good: it can only send orders and routes.
    fn is_deposed(&self, state: &State, controller: &Controller) -> bool {
        u32::from(controller.term) != state.term && !self.bites(Tooth::CasWithoutTerm)
    }

    /// Whatever it sends is refused: every guard has promised more, and no proxy cares.
    fn is_mute(&self, state: &State, controller: &Controller) -> bool {
        let rev = self.topologies.get(controller.known).rev;
        let cares = |number: &u32| {
            let gate = self.proxies.get(*number).gate;
            gate != RETIRED && self.gates.get(gate).gate.rev().0 < u64::from(rev)
        };
        !self.bites(Tooth::AgentForgetsGuard)
            && !self.config.plain
            && (0..NODES as u8).all(|node| self.node(state, node).guard_rev > rev)
            && !state.proxies.iter().any(cares)
    }

    fn idle(&mut self, known: u32) -> u32 {
        let nothing = self.heard.number(vec![Heard { report: None, fresh: false }]);
        let idle = Controller { term: 0, known, heard: [nothing; NODES], confirmed: 0 };
        self.controllers.number(idle)
    }

    /// For one that decides nothing any more the order of reports does not matter.
    fn unordered(&mut self, list: u32) -> u32 {
        let mut numbered: Vec<(u32, Heard)> = Vec::new();
        for heard in self.heard.get(list).clone() {
            let report = heard.report.map(without_probe);
            let heard = Heard { report, fresh: false };
            numbered.push((self.reports.number(report), heard));
        }
        numbered.sort_unstable_by_key(|(number, _)| *number);
        numbered.dedup_by_key(|(number, _)| *number);
        self.heard.number(numbered.into_iter().map(|(_, heard)| heard).collect())
    }

    /// The list with one more report, unless that says nothing new.
    fn sent(&mut self, list: u32, heard: Heard) -> u32 {
        let known = self.heard.get(list);
        let Some(last) = known.last().copied() else { return list };
        if last == heard {
            return list;
        }
        let mut longer = known.clone();
        if let (Some(before), Some(now)) = (last.report, heard.report)
            && before.run == now.run
            && before.done != now.done
            && before.probe.is_some()
        {
            // The agent tells what it did before its next probe is answered, but never beside one
            // from before it let in or cut anybody.
            if self.bites(Tooth::ProbeOlderThanUsers) {
                let told = known.iter().filter_map(|heard| heard.report);
                let older = told.filter(|told| told.run == now.run && told.probe.is_some());
                let beside = older.map(|told| Report { probe: told.probe, ..now });
                longer.extend(beside.map(|told| Heard { report: Some(told), fresh: false }));
            } else if self.whole_reports() {
                longer.push(Heard { report: Some(Report { probe: None, ..now }), fresh: false });
            }
        }
        longer.push(heard);
        self.heard.number(longer)
    }

    pub(crate) fn beat(&mut self, state: &State, number: u8, proxy: u8) -> Option<State> {
        let index = usize::from(number);
        let mut controller = *self.controllers.get(state.controllers[index]);
        let rev = u64::from(self.topologies.get(controller.known).rev);
        if controller.confirmed & (1 << proxy) != 0 || self.is_deposed(state, &controller) {
            return None;
        }
        let mut next = *state;
        let mut said = *self.proxies.get(state.proxies[usize::from(proxy)]);
        if said.gate != RETIRED && self.gates.get(said.gate).gate.rev().0 < rev {
            if said.flight.is_some() {
                return None;
            }
            // It has learned the route by now, and will not go back to an older one.
            let routes = self.sets.get(state.routes).clone();
            let current =
                routes.into_iter().find(|route| u64::from(self.routes.get(*route).rev) == rev)?;
            said.gate = self.learn(said.gate, current).0;
            if self.gates.get(said.gate).gate.rev().0 < rev {
                return None;
            }
            next.proxies[usize::from(proxy)] = self.proxies.number(said);
        }
        controller.confirmed |= 1 << proxy;
        for node in 0..NODES {
            let list = self.heard.get(controller.heard[node]).clone();
            let aged = |heard: Heard| self.aged(controller.known, node as u8, heard);
            let mut list: Vec<Heard> = list.into_iter().map(aged).collect();
            list.dedup();
            controller.heard[node] = self.heard.number(list);
        }
        next.controllers[index] = self.controllers.number(controller);
        Some(next)
    }

    /// A report that was sent before something that its probe would have to be newer than.
    fn aged(&self, known: u32, node: u8, mut heard: Heard) -> Heard {
        let decided = self.topologies.get(known);
        let leads = decided.primary.is_some_and(|(primary, _)| primary == node);
        let useless = decided.pending && leads && !decided.topology.lanes.is_empty();
        if let Some(report) = &mut heard.report
            && useless
            && !self.whole_reports()
        {
            report.probe = None;
        }
        heard.fresh = false;
        heard
    }

    pub(crate) fn commit(&mut self, state: &State, number: u8, choice: u32) -> Option<Next> {
        let index = usize::from(number);
        let mut controller = *self.controllers.get(state.controllers[index]);
        let choices = self.choices(state.controllers[index]);
        let Choice { outcome, used } = *choices.get(choice as usize)?;
        let mut next = *state;
        pay(&mut next, outcome.cost)?;
        if let Some(faulty) = outcome.faulty {
            let detail = self.faults.get(faulty as usize)?.clone();
            let fault = Fault { promise: "a commit is legal", detail };
            return Some(Next { state: next, fault: Some(fault) });
        }
        next.topology = outcome.topology;
        self.adopt(&mut controller, outcome.topology, used);
        next.controllers[index] = self.controllers.number(controller);
        self.say(&mut next, index);
        Some(self.judge_commit(state, next, outcome.recovered))
    }

    /// Takes in another topology; what was sent is kept as far as it can matter, but nothing older
    /// than what was used.
    fn adopt(&mut self, controller: &mut Controller, topology: u32, used: [u8; NODES]) {
        controller.known = topology;
        controller.confirmed = 0;
        for (node, used) in used.into_iter().enumerate() {
            let all = self.heard.get(controller.heard[node]);
            let rest = all.iter().skip(usize::from(used));
            let mut rest: Vec<Heard> = rest
                .map(|heard| {
                    let report = heard.report.map(|r| self.essence(topology, node as u8, r));
                    self.aged(topology, node as u8, Heard { report, fresh: false })
                })
                .collect();
            rest.dedup();
            controller.heard[node] = self.heard.number(rest);
        }
    }

    pub(crate) fn lead_anew(&mut self, state: &State, number: u8) -> Option<State> {
        let mut next = *state;
        next.budget.leaders = next.budget.leaders.checked_sub(1)?;
        next.term += 1;
        for index in 0..usize::from(self.config.controllers) {
            let mut other = *self.controllers.get(next.controllers[index]);
            if other.term > 0 && self.is_deposed(&next, &other) {
                other.confirmed = 0;
                other.heard = other.heard.map(|list| self.unordered(list));
                next.controllers[index] = self.controllers.number(other);
            }
        }
        let nothing = self.heard.number(vec![Heard { report: None, fresh: false }]);
        let controller = Controller {
            term: u8::try_from(next.term).ok()?,
            known: state.topology,
            heard: [nothing; NODES],
            confirmed: 0,
        };
        next.controllers[usize::from(number)] = self.controllers.number(controller);
        self.say(&mut next, usize::from(number));
        Some(next)
    }

    pub(crate) fn reread(&mut self, state: &State, number: u8) -> Option<State> {
        let index = usize::from(number);
        let mut controller = *self.controllers.get(state.controllers[index]);
        self.adopt(&mut controller, state.topology, [0; NODES]);
        let mut next = *state;
        next.controllers[index] = self.controllers.number(controller);
        self.say(&mut next, index);
        Some(next)
    }

    /// What may follow from what a controller knows is on its way.
    fn say(&mut self, state: &mut State, index: usize) {
        let emission = self.emission(state.controllers[index]);
        state.orders = self.pooled(state.orders, &emission.orders);
        state.routes = self.pooled(state.routes, &emission.routes);
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

/// Orders depend on probes only as far as they show a stray primary or a copy under way.
fn without_probe(mut report: Report) -> Report {
    report.probe = report.probe.filter(|probe| match probe.role {
        ProbeRole::Primary { .. } => report.done.is_none(),
        ProbeRole::Replica { copying, .. } => copying,
    });
    report
}

fn pay(state: &mut State, cost: Cost) -> Option<()> {
    let budget = &mut state.budget;
    budget.failovers = budget.failovers.checked_sub(cost.failovers)?;
    budget.sets = budget.sets.checked_sub(cost.sets)?;
    budget.cuts = budget.cuts.checked_sub(cost.cuts)?;
    Some(())
}
