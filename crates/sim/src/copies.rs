//! A store that is put back from an older copy, and the person who then names a node.
//!
//! What was committed since the copy is forgotten: who is primary, and who has to have a write. The
//! hosts were told of it, so the head finds out as soon as it hears from one of them; until then
//! nobody can know, and what is lost by an election before that is lost by putting the copy back.
//!
//! Invariant: a copy is put back only if some host was told of something that it lacks, and only
//! while no controller runs, as a store is one program's file.
//!
//! Not here: what may be lost then (`crate::judge`).

use std::rc::Rc;

use tanist_core::decide::promised_beyond;
use tanist_core::model::{
    Cause, GroupSpec, HostId, MoveKind, NodeId, ProblemKind, Rev, ShardTopology,
};

use crate::config::SECOND;
use crate::world::{Event, World};

/// Copies that are kept.
const COPIES: usize = 48;

/// The store as it once was.
#[derive(Debug, Clone)]
pub(crate) struct OldCopy {
    topology: Rc<ShardTopology>,
    spec: Rc<GroupSpec>,
}

/// Where every node is placed.
fn places(topology: &ShardTopology) -> Vec<(&NodeId, &HostId)> {
    topology.members.iter().map(|(node, member)| (node, &member.host)).collect()
}

impl World {
    /// Keeps a copy of what the store holds now.
    pub(crate) fn keep_copy(&mut self) {
        let store = &mut self.store;
        let Some(topology) = store.topology.clone() else { return };
        if store.copies.len() == COPIES {
            store.copies.pop_front();
        }
        store.copies.push_back(OldCopy { topology, spec: Rc::clone(&store.spec) });
    }

    /// Ends every controller and puts an older copy in the store's place; false if none fits.
    pub(crate) fn put_copy_back(&mut self) -> bool {
        let Some(now) = self.store.topology.clone().filter(|_| !self.judge.deleted) else {
            return false;
        };
        let told = |copy: &OldCopy| {
            let hosts = copy.topology.members.values().map(|member| &member.host);
            let guards =
                hosts.map(|host| self.hosts[crate::controller::host_index(host)].guard_on_disk);
            guards.map(|guard| guard.rev).max() > Some(copy.topology.rev)
        };
        let older = |copy: &&OldCopy| copy.topology.rev < now.rev && told(copy);
        // A node that was moved since is not where the copy looks for it.
        let in_place = |copy: &&OldCopy| places(&copy.topology) == places(&now);
        let fit: Vec<OldCopy> =
            self.store.copies.iter().filter(older).filter(in_place).cloned().collect();
        let at = self.dice.index(fit.len());
        let Some(copy) = fit.get(at).cloned() else { return false };
        for controller in 0..self.controllers.len() {
            if self.controllers[controller].up {
                self.controller_dies(controller);
            }
        }
        self.tell(|| format!("the store goes back from {} to {}", now.rev, copy.topology.rev));
        self.judge.restored = true;
        // Owners ask again for what they want; of requests only those of before are there.
        let requests = copy.spec.requests.clone();
        self.store.topology = Some(copy.topology);
        self.store.forget_leader(self.now);
        self.respecify(|spec| spec.requests = requests);
        self.after(3 * SECOND, Event::PersonReads);
        true
    }

    /// A person reads what is wrong; if it is that the store is behind, they name a node.
    pub(crate) fn person_reads(&mut self) {
        self.after(3 * SECOND, Event::PersonReads);
        let (Some(topology), false) = (self.store.topology.clone(), self.judge.deleted) else {
            return;
        };
        let beyond = self.shown_beyond(&topology);
        let waits_for = topology.vacancy().filter(|vacancy| vacancy.cause == Cause::StoreBehind);
        let given_up = waits_for.and_then(|vacancy| vacancy.heir.as_ref());
        let gone = given_up.is_some_and(|heir| !self.node_is_well(Self::node_index(heir)));
        if beyond.is_none() && !gone {
            return;
        }
        let Some(node) = self.newest_node(&topology) else { return };
        self.judge.named = Some(self.nodes[node].clone());
        self.ask_beyond(MoveKind::Failover, Some(node), true, beyond);
    }

    /// What the leader shows as forgotten.
    fn shown_beyond(&self, topology: &ShardTopology) -> Option<Rev> {
        let term = Some(self.store.term);
        let leader = self.controllers.iter().find(|c| c.up && c.fresh && c.term == term)?;
        let shown = |kind| leader.plan.problems.iter().any(|problem| problem.kind == kind);
        promised_beyond(topology, &leader.seen).filter(|_| shown(ProblemKind::StoreBehind))
    }

    /// The node with the newest data, as far as a person can find out: the last primary, if its
    /// process lives, or else whoever lacks least; a node that cannot be reached only for want of
    /// another.
    fn newest_node(&self, topology: &ShardTopology) -> Option<usize> {
        let last = self.judge.last_heir().filter(|proc| self.procs[*proc].alive);
        let last = last.map(|proc| self.procs[proc].node);
        let member = |node: &usize| topology.members.contains_key(&self.nodes[*node]);
        if let Some(node) = last.filter(member).filter(|node| self.node_is_well(*node)) {
            return Some(node);
        }
        let nodes = topology.members.keys().map(Self::node_index);
        nodes.min_by_key(|node| (!self.node_is_well(*node), self.lacks(*node), *node))
    }

    /// Acknowledged writes that neither the node's process nor its disk has.
    fn lacks(&self, node: usize) -> usize {
        let slots = self.hosts.iter().flat_map(|host| &host.slots);
        let held = slots
            .filter(|slot| slot.node == node)
            .filter_map(|slot| slot.proc.map(|proc| self.procs[proc].pos).or(slot.disk));
        held.map(|pos| self.count_missing(pos)).min().unwrap_or(usize::MAX)
    }
}
