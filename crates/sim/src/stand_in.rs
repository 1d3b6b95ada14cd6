//! Replicas that stand in for controllers: by their word, all together, an `async` primary goes on
//! when no controller grants it a lease.
//!
//! A replica's agent lets it give its word while no controller is heard, and reports whether it does;
//! the primary's supervisor asks the replicas' engines themselves.
//!
//! Invariant: a lease counts from when its supervisor asked, whoever answers.
//!
//! Not here: leases of controllers, and their end (`crate::host`).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tanist_core::guard::stands_in;
use tanist_core::model::{Epoch, Instant, StandIn, Standing};

use crate::bugs::Bug;
use crate::net::Place;
use crate::world::{Event, World};

/// A question to everybody in the set, until all have answered.
#[derive(Debug)]
pub(crate) struct Proof {
    epoch: Epoch,
    asked_at: Instant,
    waiting: BTreeSet<u64>,
}

/// A supervisor's question to one replica's engine, or the answer to it.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    asker: usize,
    asked: usize,
    node: usize,
    seq: u64,
    asked_at: Instant,
}

impl World {
    /// Lets a replica give its word or not, with a probe that it has answered.
    pub(crate) fn stand(&mut self, host: usize, index: usize, proc: usize) {
        let machine = &self.hosts[host];
        let silence = machine.clock.shows(self.now).since(machine.heard_at);
        let slot = &machine.slots[index];
        let applied = slot.applied.as_ref();
        let follows = applied.filter(|done| !done.primary && done.run == self.procs[proc].run);
        let seq = follows.and_then(|done| done.seqs.first().copied());
        let wanted = seq.filter(|_| stands_in(silence));
        let before = slot.standing;
        let turn = before.turn.max(u64::from(wanted.is_some() && !before.on) + before.turn);
        self.hosts[host].slots[index].standing = Standing { on: wanted.is_some(), turn };
        let always = seq.filter(|_| self.has(Bug::StandsInAnyway));
        self.procs[proc].stands_for = wanted.or(always);
    }

    /// Asks everybody in the set; with nobody in it nobody else can take over.
    pub(crate) fn ask_stand_ins(&mut self, host: usize, proc: usize) {
        let asked_at = self.hosts[host].clock.shows(self.now);
        let epoch = Epoch(self.procs[proc].epoch);
        let all: Vec<StandIn> = self.procs[proc].stand_ins.iter().cloned().collect();
        if all.is_empty() {
            return self.granted(host, epoch, asked_at);
        }
        let waiting = all.iter().map(|one| one.tag.seq).collect();
        self.hosts[host].proof = Some(Proof { epoch, asked_at, waiting });
        for StandIn { tag, address } in all {
            let (asked, node) = (host_at(address), Self::node_index(&tag.run.node));
            let word = Word { asker: host, asked, node, seq: tag.seq, asked_at };
            self.send(Place::Host(host), Place::Host(asked), || Event::StandInAsked(word.clone()));
        }
    }

    pub(crate) fn stand_in_asked(&mut self, word: &Word) {
        let proc = self.hosts[word.asked].slots.iter().find(|slot| slot.node == word.node);
        let Some(proc) = proc.and_then(|slot| slot.proc) else { return };
        let engine = &self.procs[proc];
        if engine.responsive() && engine.stands_for == Some(word.seq) {
            let (from, to) = (Place::Host(word.asked), Place::Host(word.asker));
            self.send(from, to, || Event::StandInAnswers(word.clone()));
        }
    }

    pub(crate) fn stand_in_answers(&mut self, word: &Word) {
        let one_is_enough = self.has(Bug::AnyStandIn);
        let machine = &mut self.hosts[word.asker];
        let Some(proof) = machine.proof.as_mut().filter(|_| machine.up) else { return };
        if proof.asked_at != word.asked_at || !proof.waiting.remove(&word.seq) {
            return;
        }
        if proof.waiting.is_empty() || one_is_enough {
            let (epoch, asked_at) = (proof.epoch, proof.asked_at);
            machine.proof = None;
            self.census.stood_in += 1;
            self.granted(word.asker, epoch, asked_at);
        }
    }
}

/// The host that has the address.
fn host_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]).saturating_sub(1),
        SocketAddr::V6(_) => 0,
    }
}
