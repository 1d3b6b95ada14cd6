//! What was decided about one shard: who is primary at which epoch, who holds every acknowledged
//! write, and where each node is placed.
//!
//! Immutable and revisioned: a new one replaces it by compare-and-set, the only point of no return.
//! A failover is two of them: nobody is primary (`Vacant`), then the heir is (`Serving`). The
//! vacancy is a decision, not progress, so any controller can go on from it.
//!
//! Invariant: `rev` and `epoch` only grow; `in_sync` and `pending` name attachments of the current
//! epoch, each handed out once ([`ShardTopology::check`]).
//!
//! Not here: how the next one is chosen (`crate::decide`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    Cause, Durability, Epoch, GroupName, HostId, NodeId, Offset, ProxyId, Relocation, ReplId,
    RequestId, Rev, RunId, ShardId, ShardKey, Zone,
};

/// How far a shard's numbers move on when its store was put back from an older copy: further than
/// anything that can have been given out since the copy was made.
pub const GAP: u64 = 1 << 32;

/// An inclusive range of hash slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotRange {
    /// First slot, 0 to 16383.
    pub first: u16,
    /// Last slot, 0 to 16383.
    pub last: u16,
}

impl SlotRange {
    /// Every slot: what the one shard of a group without cluster mode owns.
    pub const ALL: Self = Self { first: 0, last: 16_383 };
}

/// One engine process of a node, from its start to its death.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The node that it is a process of.
    pub node: NodeId,
    /// The engine's own id of the process.
    pub id: RunId,
}

/// One attachment of a replica's run to a primary. Never re-used.
///
/// WAIT counts anonymous connections, so a lagging newcomer, a removed member that keeps
/// reconnecting or a half-dead link of the same replica can satisfy it. An attachment is therefore
/// named: the replica announces the tag as its address (ROLE at the primary shows it) and
/// authenticates as a user of that name, which exists only while the attachment is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// The replica's run.
    pub run: Run,
    /// Number of the attachment, unique in its shard.
    pub seq: u64,
}

impl fmt::Display for Tag {
    /// The form on the wire: `web-001.3f2a9c01.17`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.run.id.as_str();
        write!(f, "{}.{}.{}", self.run.node, id.get(..8).unwrap_or(id), self.seq)
    }
}

/// Where a node is placed and how it is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The host that runs it.
    pub host: HostId,
    /// That host's zone.
    pub zone: Zone,
    /// Where its engine listens; only agents and proxies dial it.
    pub address: SocketAddr,
    /// Its node endpoint, which clients may dial.
    pub endpoint: Ipv4Addr,
    /// The attachment that it has to hold in this epoch, if it is to be a replica.
    pub attach: Option<Tag>,
    /// It is being removed: no longer a candidate for anything.
    pub leaving: bool,
}

/// Nobody is primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacancy {
    /// The primary before, if there ever was one.
    pub prev: Option<Run>,
    /// Why there is none now.
    pub cause: Cause,
    /// The operator's request that it serves.
    pub request: Option<RequestId>,
    /// The heir asked for.
    pub heir: Option<NodeId>,
}

/// Who may be primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Primaryship {
    /// Nobody: between the two commits of a failover, or without a candidate.
    Vacant(Vacancy),
    /// This run, and no other process.
    Serving(Run),
}

/// The history of writes that the epoch continues.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Replication id and offset of the primary's run when it was chosen.
    pub base: Option<(ReplId, Offset)>,
    /// The replication id that it took at its promotion, once seen.
    pub replid: Option<ReplId>,
}

/// One shard as decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTopology {
    /// The group that it belongs to.
    pub group: GroupName,
    /// Its id within the group.
    pub shard: ShardId,
    /// Grows by one with every commit, and by more than [`GAP`] over a store that has forgotten some;
    /// the one number that hands compare.
    pub rev: Rev,
    /// Grows by one with every vacancy; leaps with the revision. Never greater than that.
    pub epoch: Epoch,
    /// What an acknowledged write means.
    pub durability: Durability,
    /// The slots that it owns.
    pub slots: Vec<SlotRange>,
    /// Who may be primary.
    pub primaryship: Primaryship,
    /// S: attachments without whose acknowledgement no `sync` write is acknowledged.
    pub in_sync: BTreeSet<Tag>,
    /// An attachment that writes wait for already and that joins S once it has everything.
    pub pending: Option<Tag>,
    /// The history that the epoch continues.
    pub lineage: Lineage,
    /// Every node and its placement.
    pub members: BTreeMap<NodeId, Member>,
    /// Proxies that get lanes to the engines.
    pub lanes: BTreeSet<ProxyId>,
    /// The number of the next attachment.
    pub next_seq: u64,
    /// The highest operator's request that was carried out.
    pub request_done: RequestId,
    /// The node that another one is taking the place of, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relocation: Option<Relocation>,
}

impl ShardTopology {
    /// Its name across groups.
    pub fn key(&self) -> ShardKey {
        ShardKey { group: self.group.clone(), shard: self.shard.clone() }
    }

    /// The recorded primary, if somebody is.
    pub fn primary(&self) -> Option<&Run> {
        match &self.primaryship {
            Primaryship::Serving(run) => Some(run),
            Primaryship::Vacant(_) => None,
        }
    }

    /// The vacancy, if nobody is primary.
    pub fn vacancy(&self) -> Option<&Vacancy> {
        match &self.primaryship {
            Primaryship::Serving(_) => None,
            Primaryship::Vacant(vacancy) => Some(vacancy),
        }
    }

    /// The attachments whose acknowledgement a `sync` write needs: S and the pending one.
    pub fn required(&self) -> BTreeSet<Tag> {
        self.in_sync.iter().chain(self.pending.as_ref()).cloned().collect()
    }

    /// The attachments that the primary has to let in.
    pub fn attachments(&self) -> BTreeSet<Tag> {
        self.members.values().filter(|m| !m.leaving).filter_map(|m| m.attach.clone()).collect()
    }

    /// Hands out an attachment for `run`.
    pub fn next_tag(&mut self, run: Run) -> Tag {
        let seq = self.next_seq;
        self.next_seq += 1;
        Tag { run, seq }
    }

    /// Takes a node's attachment out of the in-sync set and out of waiting.
    pub fn forget(&mut self, tag: &Tag) {
        self.in_sync.remove(tag);
        if self.pending.as_ref() == Some(tag) {
            self.pending = None;
        }
    }

    /// What is wrong with it in itself; empty for every topology that may be committed.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let attached = self.attachments();
        for tag in self.required() {
            if tag.seq >= self.next_seq {
                faults.push(format!("{tag} was never handed out"));
            }
            if !attached.contains(&tag) {
                faults.push(format!("{tag} is in sync but not attached"));
            }
            if self.primary() == Some(&tag.run) {
                faults.push(format!("{tag} is the primary's own run"));
            }
        }
        if self.pending.as_ref().is_some_and(|tag| self.in_sync.contains(tag)) {
            faults.push("the pending attachment is in sync already".to_owned());
        }
        if let Some(run) = self.primary()
            && !self.members.contains_key(&run.node)
        {
            faults.push(format!("the primary {} is not a member", run.node));
        }
        if let Some(Relocation { node, newcomer, .. }) = &self.relocation
            && (node == newcomer || [node, newcomer].iter().any(|n| !self.members.contains_key(*n)))
        {
            faults.push(format!("{newcomer} cannot take the place of {node}"));
        }
        let ports: BTreeSet<_> = self.members.values().map(|m| m.address).collect();
        if ports.len() != self.members.len() {
            faults.push("two members share an address".to_owned());
        }
        faults
    }

    /// What is wrong with `self` as the successor of `before`; empty for every legal commit.
    pub fn check_after(&self, before: &Self) -> Vec<String> {
        if self.rev > before.rev.next() {
            return self.check_leap(before);
        }
        let mut faults = self.check();
        if self.rev != before.rev.next() {
            faults.push(format!("rev {} follows {}", self.rev, before.rev));
        }
        let step = self.epoch.0.checked_sub(before.epoch.0);
        let vacated = self.primary().is_none();
        if step != Some(u64::from(vacated)) {
            faults.push(format!("epoch {} follows {}", self.epoch, before.epoch));
        }
        if self.next_seq < before.next_seq {
            faults.push("an attachment number was taken back".to_owned());
        }
        if before.primary().is_some()
            && self.primary().is_some()
            && before.primary() != self.primary()
        {
            faults.push("the primary changed without a vacancy".to_owned());
        }
        faults
    }

    /// What is wrong with `self` as the successor of a `before` that has forgotten what followed.
    ///
    /// Numbers may leap there and nowhere else, because whatever `before` would count on to was
    /// given out already. So nothing else may be decided with it, and nobody but whom a person has
    /// named may follow.
    fn check_leap(&self, before: &Self) -> Vec<String> {
        let mut faults = self.check();
        let far = |from: u64, to: u64| to.checked_sub(from).is_some_and(|step| step >= GAP);
        let numbers = [
            ("rev", before.rev.0, self.rev.0),
            ("epoch", before.epoch.0, self.epoch.0),
            ("attachment", before.next_seq, self.next_seq),
        ];
        for (name, from, to) in numbers.into_iter().filter(|(_, from, to)| !far(*from, *to)) {
            faults.push(format!("{name} {to} may have been given out after {from}"));
        }
        let named = self.vacancy().is_some_and(|vacancy| {
            let member = |node| self.members.contains_key(node);
            vacancy.cause == Cause::StoreBehind
                && vacancy.request > Some(before.request_done)
                && vacancy.heir.as_ref().is_some_and(member)
        });
        if !named {
            faults.push("numbers leap although no person has named a node".to_owned());
        }
        if !self.in_sync.is_empty() {
            faults.push("a set of before is taken for what is in sync now".to_owned());
        }
        let kept = Self {
            rev: before.rev,
            epoch: before.epoch,
            next_seq: before.next_seq,
            primaryship: before.primaryship.clone(),
            in_sync: before.in_sync.clone(),
            pending: before.pending.clone(),
            ..self.clone()
        };
        if kept != *before {
            faults.push("more is decided than from which node to go on".to_owned());
        }
        faults
    }
}
