//! An agent's hands: whether an order may be carried out, and what that does to the engine.
//!
//! As the agent does it: the guard first, then the order as a whole. An order for another process
//! than the one that runs does nothing.
//!
//! Invariant: what an agent reports as done or answers was true of the engine at that moment.
//!
//! Not here: what engines do by themselves (`crate::engine`).

use tanist_core::guard::{Guard, Verdict};
use tanist_core::model::{Epoch, Rev};

use crate::config::Tooth;
use crate::nouns::{Act, Asked, fresh_replid, promoted_replid};
use crate::state::{Answer, Done, Link, NODES, Node, Role, State, lane};
use crate::step::{Fault, Next};
use crate::world::World;

impl World {
    pub(crate) fn deliver(&mut self, state: &State, order: u32) -> Option<Next> {
        let Asked { node: number, rev, epoch, act, .. } = self.asked[order as usize];
        let mut node = *self.node(state, number);
        let promised = Guard {
            rev: Rev(u64::from(node.guard_rev)),
            epoch: Epoch(u64::from(node.guard_epoch)),
        };
        match promised.judge(Rev(u64::from(rev)), Epoch(u64::from(epoch))) {
            Verdict::Refuse { .. } if self.bites(Tooth::AgentForgetsGuard) => {}
            Verdict::Refuse { .. } => return None,
            Verdict::Admit => {}
            Verdict::Persist(_) => (node.guard_rev, node.guard_epoch) = (rev, epoch),
        }
        let mut next = *state;
        let mut fault = None;
        match act {
            Act::Start { load } if !node.alive => self.start(&mut next, &mut node, number, load)?,
            Act::Start { .. } | Act::Other => {}
            Act::Fence { was_primary } => {
                self.fence(&mut next, &mut node, number, rev, was_primary);
            }
            Act::Lead { run, users, lanes, promote } if node.alive && node.run == run => {
                let done = Done { epoch, primary: true, seqs: users, lanes };
                fault = self.lead(&mut next, &mut node, number, done, promote);
            }
            Act::Follow { run, seq, of, lanes } if node.alive && node.run == run => {
                let done = Done { epoch, primary: false, seqs: 1 << seq, lanes };
                self.follow(&mut next, &mut node, number, done, (of, seq));
            }
            Act::Lead { .. } | Act::Follow { .. } => {}
        }
        self.put(&mut next, number, node);
        Some(Next { state: next, fault })
    }

    fn start(&mut self, state: &mut State, node: &mut Node, number: u8, load: bool) -> Option<()> {
        state.budget.restarts = state.budget.restarts.checked_sub(1)?;
        node.alive = true;
        node.disk = node.disk.filter(|_| load);
        node.history = node.disk.unwrap_or_default();
        node.loaded = node.disk.take().is_some();
        if !self.bites(Tooth::NewRunIsMember) {
            node.run += 1;
            node.replid = fresh_replid(number, node.run);
            node.offset = 0;
        }
        Some(())
    }

    fn fence(
        &mut self,
        state: &mut State,
        node: &mut Node,
        number: u8,
        rev: u8,
        was_primary: bool,
    ) {
        node.done = None;
        if !node.alive {
            node.answer = Some((rev, Answer::Dead));
            return;
        }
        let zero = self.bites(Tooth::LoadingCountsAsZero);
        let answer = if node.hollow && !zero {
            Answer::Unusable { run: node.run }
        } else {
            Answer::Frozen {
                run: node.run,
                replid: node.replid,
                before: node.before,
                offset: node.offset,
                loaded: node.loaded,
            }
        };
        node.answer = Some((rev, answer));
        node.role = Role::Fenced;
        node.lanes = 0;
        if !was_primary {
            node.users = 0;
            self.cut_links(state, node, number);
        }
    }

    /// Makes a run the primary, or keeps it one, with exactly these users.
    fn lead(
        &mut self,
        state: &mut State,
        node: &mut Node,
        number: u8,
        done: Done,
        promote: bool,
    ) -> Option<Fault> {
        let lanes = (0..2_u8).filter(|proxy| done.lanes & (1 << proxy) != 0);
        let lanes = lanes.fold(0, |bits, proxy| bits | lane(done.epoch, proxy));
        let survive = self.bites(Tooth::UsersSurvive);
        node.users = if survive { node.users | done.seqs } else { done.seqs };
        node.lanes = if survive { node.lanes | lanes } else { lanes };
        let shift = promote && node.role != Role::Primary;
        if shift {
            node.before = Some((node.replid, node.offset + 1));
            node.replid = promoted_replid(number, done.epoch);
            node.role = Role::Primary;
            // Whoever is attached has to learn the new replication id.
            let users = std::mem::take(&mut node.users);
            self.cut_links(state, node, number);
            node.users = users;
        } else {
            self.cut_links(state, node, number);
        }
        node.done = (node.role == Role::Primary).then_some(done);
        if node.role != Role::Primary {
            node.lanes = 0;
            return None;
        }
        self.judge_primary(state, number, node.run, done.epoch)
    }

    fn follow(
        &mut self,
        state: &mut State,
        node: &mut Node,
        number: u8,
        done: Done,
        (of, seq): (u8, u8),
    ) {
        node.users = 0;
        node.lanes = 0;
        self.cut_links(state, node, number);
        let attached = node.done.is_some_and(|before| !before.primary && before.seqs == done.seqs)
            && matches!(node.role, Role::Replica { of: now, seq: number, .. } if now == of && number == seq);
        if !attached {
            node.role = Role::Replica { of, seq, link: Link::Down };
        }
        node.done = Some(done);
    }

    /// Breaks the links of replicas whose user a node does not have any more; what it has sent
    /// still arrives. `node` is what becomes of the node, not yet stored.
    pub(crate) fn cut_links(&mut self, state: &mut State, node: &Node, number: u8) {
        for other in 0..NODES as u8 {
            let mut replica = *self.node(state, other);
            let Role::Replica { of, seq, link } = replica.role else { continue };
            let allowed = node.alive && node.users & (1 << seq) != 0;
            if other == number || of != number || allowed {
                continue;
            }
            let broken = match link {
                Link::Up if replica.history.len() < node.history.len() => {
                    Link::Draining(node.history)
                }
                Link::Up | Link::Copying | Link::Down => Link::Down,
                Link::Draining(sent) => Link::Draining(sent),
            };
            if broken != link {
                replica.role = Role::Replica { of, seq, link: broken };
                self.put(state, other, replica);
            }
        }
    }
}
