//! Doing what a scenario's step says, and checking what it expects.
//!
//! Invariant: an expectation reads the true state of the world and changes nothing.
//!
//! Not here: the script's grammar (`crate::scenario`).

use std::collections::BTreeMap;

use crate::config::{MILLI, SECOND};
use crate::controller::Death;
use crate::engine::Sched;
use crate::net::Place;
use crate::scenario::{Expectation, SETTLE, Step, Target};
use crate::world::World;

impl World {
    /// Does it; false if it was an expectation that is not met, or could not be done.
    pub(crate) fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Group { .. } => true,
            Step::Run(span) => {
                self.run_until(self.now + span);
                true
            }
            Step::Settle => self.settle(),
            Step::Expect(expectation) => self.expect(expectation),
            Step::Cut(one, others) => self.cut_off(one, others),
            Step::HealAll => {
                self.net = crate::net::Net::new(self.net.usual, self.net.slowest, 0, 0);
                true
            }
            Step::KillAtWrite { controller, after } => {
                let death = if *after { Death::AfterWrite } else { Death::BeforeWrite };
                self.controllers[*controller].dies = Some(death);
                true
            }
            Step::Replicas(count) => {
                self.respecify(|spec| spec.replicas = *count);
                true
            }
            Step::Move { kind, to, accept_loss } => self.ask_to_move(*kind, *to, *accept_loss),
            Step::RestartGroup => {
                self.stop_in_order();
                true
            }
            Step::Block(node, span) => self.block(*node, *span),
            Step::Kill(target)
            | Step::Start(target)
            | Step::Freeze(target)
            | Step::Thaw(target)
            | Step::Crash(target)
            | Step::Return(target) => self.act_on(step, target).is_some(),
        }
    }

    /// Runs until the group is complete, and sums up what has come about.
    fn settle(&mut self) -> bool {
        let told = self.told.take();
        let until = self.now + SETTLE;
        while self.now < until && !self.complete() {
            self.run_until(self.now + 100 * MILLI);
        }
        // Clients have written for a while.
        self.run_until(self.now + SECOND);
        self.told = told;
        let complete = self.complete();
        let topology = self.store.topology.clone();
        let (_, in_sync) = self.in_sync_is(&[]);
        self.tell(|| {
            let epoch = topology.as_ref().map_or(0, |topology| topology.epoch.0);
            let primary = topology.as_ref().and_then(|topology| topology.primary());
            let primary = primary.map_or("nobody", |run| run.node.as_str());
            format!("primary {primary} in epoch {epoch}, {in_sync}")
        });
        complete
    }

    fn complete(&self) -> bool {
        let in_sync = self.store.topology.as_ref().map_or(0, |topology| topology.in_sync.len());
        in_sync == usize::from(self.spec.replicas)
    }

    fn act_on(&mut self, step: &Step, target: &Target) -> Option<()> {
        match (step, target) {
            (Step::Kill(_), Target::Controller(controller)) => self.controller_dies(*controller),
            (Step::Start(_), Target::Controller(controller)) => {
                self.controller_starts(*controller);
            }
            (Step::Crash(_), Target::Host(host)) => self.host_crashes(*host),
            (Step::Crash(_), _) => {
                let host = self.procs[self.target_proc(target)?].host;
                self.host_crashes(host);
            }
            (Step::Return(_), Target::Host(host)) => self.host_returns(*host),
            (Step::Kill(_), _) => {
                let proc = self.target_proc(target)?;
                let host = self.procs[proc].host;
                self.kill_proc(proc, false);
                self.report_soon(host);
            }
            (Step::Freeze(_), _) => {
                let proc = self.target_proc(target)?;
                self.hold_proc(proc, Sched::Stopped, None);
            }
            (Step::Thaw(_), _) => {
                // A process that was killed meanwhile does not go on.
                if let Some(proc) = self.target_proc(target) {
                    let turn = self.procs[proc].sched_turn;
                    self.resume(proc, turn);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn target_proc(&self, target: &Target) -> Option<usize> {
        match target {
            Target::Primary => self.primary_proc(),
            Target::Node(node) => self.node_proc(*node),
            _ => None,
        }
    }

    fn node_proc(&self, node: usize) -> Option<usize> {
        (0..self.procs.len()).rev().find(|proc| {
            let engine = &self.procs[*proc];
            engine.alive && engine.node == node
        })
    }

    fn target_places(&self, target: &Target) -> Vec<Place> {
        let hosts = (0..self.hosts.len()).map(Place::Host);
        let controllers = (0..self.controllers.len()).map(Place::Controller);
        let proxies = (0..self.proxies.len()).map(Place::Proxy);
        match target {
            Target::Host(host) => vec![Place::Host(*host)],
            Target::Controller(controller) => vec![Place::Controller(*controller)],
            Target::Primary | Target::Node(_) => {
                let proc = self.target_proc(target);
                proc.map(|proc| Place::Host(self.procs[proc].host)).into_iter().collect()
            }
            Target::Controllers => controllers.collect(),
            Target::Hosts => hosts.collect(),
            Target::All => hosts.chain(controllers).chain(proxies).chain([Place::Store]).collect(),
        }
    }

    fn cut_off(&mut self, one: &Target, others: &Target) -> bool {
        let places = self.target_places(one);
        for from in &places {
            for to in self.target_places(others) {
                if *from != to {
                    self.net.cut(*from, to);
                    self.net.cut(to, *from);
                }
            }
        }
        !places.is_empty()
    }

    fn block(&mut self, node: usize, span: u64) -> bool {
        let link = self.node_proc(node).and_then(|proc| self.procs[proc].link_up);
        let until = self.now + span;
        match link {
            Some(link) => self.links[link].blocked_until = until,
            None => return false,
        }
        true
    }

    fn expect(&mut self, expectation: &Expectation) -> bool {
        let (met, says) = match expectation {
            Expectation::Primary(node) => {
                let now = self.primary_proc().map(|proc| self.procs[proc].node);
                let name = now.map_or("nobody".to_owned(), |node| self.nodes[node].to_string());
                (now == Some(*node), format!("the primary is {name}"))
            }
            Expectation::NoPrimary => {
                let vacant = self.store.topology.as_ref().is_some_and(|t| t.vacancy().is_some());
                let says = if vacant { "nobody is primary" } else { "somebody is primary" };
                (vacant, says.to_owned())
            }
            Expectation::InSync(nodes) => self.in_sync_is(nodes),
            Expectation::Acknowledged | Expectation::NotAcknowledged => {
                let lately = self.now - self.judge.last_ack < SECOND / 2;
                let wanted = *expectation == Expectation::Acknowledged;
                let says =
                    if lately { "writes are acknowledged" } else { "no write is acknowledged" };
                (lately == wanted, says.to_owned())
            }
            Expectation::Epoch(epoch) => {
                let now = self.store.topology.as_ref().map_or(0, |t| t.epoch.0);
                (now == *epoch, format!("the epoch is {now}"))
            }
            Expectation::Wait(kind) => {
                let waits = self.controllers.iter().flat_map(|c| &c.plan.waits);
                let waits: Vec<_> = waits.map(|w| format!("{}: {}", w.kind, w.detail)).collect();
                (waits.iter().any(|wait| wait.starts_with(kind)), listed("waits", &waits))
            }
            Expectation::Problem(kind) => {
                let problems = self.controllers.iter().flat_map(|c| &c.plan.problems);
                let names: Vec<_> = problems.map(|problem| problem.kind.name()).collect();
                (names.contains(&kind.as_str()), listed("problems", &names))
            }
            Expectation::Lost(count) => self.lost_is(*count),
        };
        let verdict = if met { "as expected" } else { "NOT AS EXPECTED" };
        self.tell(|| format!("{verdict}: {says}"));
        met
    }

    fn in_sync_is(&self, nodes: &[usize]) -> (bool, String) {
        let in_sync = self.store.topology.iter().flat_map(|topology| &topology.in_sync);
        let now: Vec<usize> = in_sync.map(|tag| Self::node_index(&tag.run.node)).collect();
        let names: Vec<_> = now.iter().map(|node| self.nodes[*node].as_str()).collect();
        (now == nodes, listed("in sync", &names))
    }

    /// Counts writes, not keys: a later write to the same key does not make up for a lost one.
    fn lost_is(&self, count: u64) -> (bool, String) {
        let Some(proc) = self.primary_proc() else { return (false, "nobody to read".to_owned()) };
        let pos = self.procs[proc].pos;
        let gone = self.judge.acked().filter(|write| !self.logs.holds(pos, *write)).count();
        let lost = gone as u64 + self.judge.forgiven;
        let verdict = self.judge.ledger.judge(&BTreeMap::new());
        let says = format!(
            "of {} acknowledged writes {lost} are lost; {} had no certain answer, {} failed",
            self.judge.acks, verdict.uncertain, verdict.failed
        );
        (lost == count, says)
    }
}

fn listed(what: &str, names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() {
        format!("{what}: nobody")
    } else {
        format!("{what}: {}", names.join("; "))
    }
}
