//! The store: revisioned documents, compare-and-set, and the leader's lease.
//!
//! Its answers may be late or lost after the write was done, which its clients see as an unknown
//! outcome. Every commit compares the topology's revision and the leader's term.
//!
//! Invariant: a commit is one indivisible event; the judge looks at every one.
//!
//! Not here: what is committed (core's `decide`).

use std::collections::VecDeque;
use std::rc::Rc;

use tanist_core::model::{Event as Happened, GroupSpec, Instant, NodeId, Rev, ShardTopology};

use crate::bugs::Bug;
use crate::config::SECOND;
use crate::controller::{ControllerMsg, News};
use crate::copies::OldCopy;
use crate::net::Place;
use crate::world::{Event, World};

/// How long a leadership lasts after the store has written it.
pub(crate) const LEADERSHIP: u64 = 2 * SECOND;

/// What the store holds.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) topology: Option<Rc<ShardTopology>>,
    pub(crate) spec: Rc<GroupSpec>,
    /// Counts changes of either.
    pub(crate) version: u64,
    pub(crate) term: u64,
    holder: Option<(usize, u32)>,
    leads_until: u64,
    /// Extra delay of every answer, in microseconds.
    pub(crate) slow: u64,
    /// Answers to commits that get lost, per mille.
    pub(crate) forgets: u64,
    /// What it held after each of the last commits.
    pub(crate) copies: VecDeque<OldCopy>,
}

/// What a controller asks.
#[derive(Debug, Clone)]
pub(crate) struct StoreMsg {
    pub(crate) from: usize,
    /// The asking controller's start.
    pub(crate) turn: u32,
    pub(crate) ask: StoreAsk,
}

#[derive(Debug, Clone)]
pub(crate) enum StoreAsk {
    Lead {
        sent_at: Instant,
    },
    /// The term is echoed: the answer is as new as the question.
    Read {
        term: Option<u64>,
    },
    Commit(Rc<Proposal>),
}

/// A compare-and-set.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) term: u64,
    /// The revision that it replaces; `None` creates.
    pub(crate) expected: Option<Rev>,
    /// What replaces it; `None` deletes.
    pub(crate) next: Option<Rc<ShardTopology>>,
    pub(crate) events: Vec<Happened>,
    /// Nodes whose frozen answer to the vacancy the proposer had.
    pub(crate) answered: Vec<NodeId>,
    /// The proposer had heard of a revision that the store does not have.
    pub(crate) told_more: bool,
}

/// The documents as of a version.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) topology: Option<Rc<ShardTopology>>,
    pub(crate) spec: Rc<GroupSpec>,
}

/// What the store says.
#[derive(Debug, Clone)]
pub(crate) enum StoreWord {
    Led {
        term: u64,
        sent_at: Instant,
    },
    NotLed,
    State(Snapshot),
    /// What holds, read after the term was known.
    Read {
        term: Option<u64>,
        snapshot: Snapshot,
    },
    /// The outcome of the commit in flight, and what holds now.
    Outcome(Snapshot),
}

impl Store {
    pub(crate) fn new(spec: Rc<GroupSpec>) -> Self {
        Self {
            topology: None,
            spec,
            version: 1,
            term: 0,
            holder: None,
            leads_until: 0,
            slow: 0,
            forgets: 0,
            copies: VecDeque::new(),
        }
    }

    /// Whoever led has ended; what it sent and has not arrived comes too late.
    pub(crate) fn forget_leader(&mut self, now: u64) {
        self.holder = None;
        self.leads_until = now;
        self.term += 1;
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: self.version,
            topology: self.topology.clone(),
            spec: Rc::clone(&self.spec),
        }
    }
}

impl World {
    pub(crate) fn at_store(&mut self, msg: StoreMsg) {
        let StoreMsg { from, turn, ask } = msg;
        match ask {
            StoreAsk::Lead { sent_at } => {
                let word = self.lead(from, turn, sent_at);
                self.store_says(from, turn, word);
            }
            StoreAsk::Read { term } => {
                let word = StoreWord::Read { term, snapshot: self.store.snapshot() };
                self.store_says(from, turn, word);
            }
            StoreAsk::Commit(proposal) => {
                self.commit(&proposal);
                if self.dice.chance(self.store.forgets) {
                    self.census.unknown_outcomes += 1;
                    return;
                }
                let word = StoreWord::Outcome(self.store.snapshot());
                self.store_says(from, turn, word);
            }
        }
    }

    fn lead(&mut self, from: usize, turn: u32, sent_at: Instant) -> StoreWord {
        let me = (from, turn);
        let store = &mut self.store;
        let free = self.now >= store.leads_until;
        if free && store.holder != Some(me) {
            store.holder = Some(me);
            store.term += 1;
            self.census.leaderships += 1;
        } else if store.holder != Some(me) {
            return StoreWord::NotLed;
        }
        self.store.leads_until = self.now + LEADERSHIP;
        StoreWord::Led { term: self.store.term, sent_at }
    }

    fn store_says(&mut self, to: usize, turn: u32, word: StoreWord) {
        let slow = self.store.slow;
        for delay in self
            .net
            .message(Place::Store, Place::Controller(to), &mut self.dice)
            .into_iter()
            .flatten()
        {
            let news = News::Store { turn, word: word.clone() };
            self.after(delay + slow, Event::AtController(Box::new(ControllerMsg { to, news })));
        }
    }

    fn commit(&mut self, proposal: &Proposal) {
        let current = self.store.topology.as_ref().map(|topology| topology.rev);
        let same_term = proposal.term == self.store.term || self.has(Bug::CasWithoutTerm);
        if current != proposal.expected || !same_term {
            self.census.conflicts += 1;
            return;
        }
        let before = std::mem::replace(&mut self.store.topology, proposal.next.clone());
        self.census.commits += 1;
        self.changed();
        self.keep_copy();
        self.judge_commit(before.as_deref(), proposal);
    }

    /// The owner changes the spec.
    pub(crate) fn respecify(&mut self, change: impl FnOnce(&mut GroupSpec)) {
        change(Rc::make_mut(&mut self.spec));
        self.store.spec = Rc::clone(&self.spec);
        self.changed();
    }

    /// Tells every controller, as a watch does; what is lost is read again later.
    fn changed(&mut self) {
        self.store.version += 1;
        for to in 0..self.controllers.len() {
            let turn = self.controllers[to].turn;
            let word = StoreWord::State(self.store.snapshot());
            self.store_says(to, turn, word);
        }
    }
}
