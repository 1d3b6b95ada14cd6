//! What engines do by themselves: attach, copy, stream, die.
//!
//! Partial resynchronization is decided as the engines decide it, by replication ids and offsets,
//! not by what the histories really are; so two histories that only look alike would mix here too.
//!
//! Invariant: a replica receives writes only over an attachment that its primary lets in, or what
//! was sent before that ended.
//!
//! Not here: orders (`crate::hands`).

use crate::config::Tooth;
use crate::nouns::BASE;
use crate::state::{History, Link, Node, Role, State};
use crate::world::World;

impl World {
    pub(crate) fn attach(&mut self, state: &State, number: u8) -> Option<State> {
        let mut node = *self.node(state, number);
        let Role::Replica { of, seq, .. } = node.role else { return None };
        let primary = *self.node(state, of);
        let admitted = primary.users & (1 << seq) != 0;
        if !primary.alive || primary.role != Role::Primary || !admitted || of == number {
            return None;
        }
        let link = if continues(&mut node, &primary) {
            Link::Up
        } else {
            empty(&mut node);
            Link::Copying
        };
        node.role = Role::Replica { of, seq, link };
        let mut next = *state;
        self.put(&mut next, number, node);
        Some(next)
    }

    pub(crate) fn copied(&mut self, state: &State, number: u8) -> Option<State> {
        let mut node = *self.node(state, number);
        let Role::Replica { of, seq, link: Link::Copying } = node.role else { return None };
        let primary = *self.node(state, of);
        node.history = primary.history;
        node.offset = primary.offset;
        node.replid = primary.replid;
        node.before = None;
        node.hollow = false;
        node.loaded = false;
        node.role = Role::Replica { of, seq, link: Link::Up };
        let mut next = *state;
        self.put(&mut next, number, node);
        Some(next)
    }

    pub(crate) fn pull(&mut self, state: &State, number: u8) -> Option<State> {
        let mut node = *self.node(state, number);
        let Role::Replica { of, seq, link } = node.role else { return None };
        match link {
            Link::Up => {
                let primary = self.node(state, of);
                let missing = primary.offset.checked_sub(node.offset).filter(|n| *n > 0)?;
                let index = primary.history.len().checked_sub(missing)?;
                node.history.push(primary.history.at(index));
            }
            Link::Draining(sent) => {
                node.history.push(sent.at(node.history.len()));
                if node.history.len() == sent.len() {
                    node.role = Role::Replica { of, seq, link: Link::Down };
                }
            }
            Link::Down | Link::Copying => return None,
        }
        node.offset += 1;
        let mut next = *state;
        self.put(&mut next, number, node);
        Some(next)
    }

    pub(crate) fn crash(&mut self, state: &State, number: u8, kept: bool) -> Option<State> {
        let mut node = *self.node(state, number);
        let mut next = *state;
        next.budget.crashes = next.budget.crashes.checked_sub(1)?;
        node.alive = false;
        self.cut_links(&mut next, &node, number);
        let copying = matches!(node.role, Role::Replica { link: Link::Copying, .. });
        let left = if kept { node.history } else { node.history.without_last() };
        node.disk = (!copying && !node.hollow).then_some(left);
        if !self.bites(Tooth::NewRunIsMember) {
            (node.replid, node.before) = (0, None);
        }
        node.history = History::default();
        node.offset = BASE;
        node.hollow = false;
        node.loaded = false;
        node.role = Role::Fenced;
        (node.users, node.lanes, node.done) = (0, 0, None);
        self.put(&mut next, number, node);
        Some(next)
    }

    pub(crate) fn recopy(&mut self, state: &State, number: u8) -> Option<State> {
        let mut node = *self.node(state, number);
        let Role::Replica { of, seq, link: Link::Up } = node.role else { return None };
        let primary = self.node(state, of);
        if primary.role != Role::Primary || !primary.alive {
            return None;
        }
        empty(&mut node);
        node.role = Role::Replica { of, seq, link: Link::Copying };
        let mut next = *state;
        next.budget.recopies = next.budget.recopies.checked_sub(1)?;
        self.put(&mut next, number, node);
        Some(next)
    }
}

/// A full copy begins: what was there is gone, the replication id is not.
fn empty(node: &mut Node) {
    node.history = History::default();
    node.offset = 0;
    node.hollow = true;
    node.loaded = false;
}

/// Whether a partial resynchronization is possible; if so the replica takes the primary's id.
fn continues(node: &mut Node, primary: &Node) -> bool {
    if node.hollow || node.offset > primary.offset {
        return false;
    }
    if node.replid == primary.replid {
        return true;
    }
    let left = primary.before.is_some_and(|(id, from)| id == node.replid && node.offset < from);
    if left {
        node.before = Some((node.replid, node.offset + 1));
        node.replid = primary.replid;
    }
    left
}
