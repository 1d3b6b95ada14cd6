//! A node that another one takes the place of, because its shard is better spread then.
//!
//! Only that it was decided, and what for, is part of the topology; how long it takes is remembered by
//! whoever leads, beside what must be quiet before the next one begins.
//!
//! Invariant: a shard has one relocation at most, and it names two of its members.
//!
//! Not here: which one is worth it (`crate::decide::rebalance`), how it goes on
//! (`crate::decide::decide`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cause, Instant, NodeId, Primaryship, ShardKey, ShardTopology};

/// What is wrong with where a node is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Imbalance {
    /// It shares its zone with a node of its shard, and another zone has room.
    SharedZone,
    /// It shares its host with a node of its shard, and another host has room.
    SharedHost,
    /// Its host carries much more than another one.
    CrowdedHost,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedZone => "it shares its zone with another node of its shard",
            Self::SharedHost => "it shares its host with another node of its shard",
            Self::CrowdedHost => "its host carries much more than another one",
        })
    }
}

/// One node takes another one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Who leaves, once nobody is missed.
    pub node: NodeId,
    /// Who comes, on the better host.
    pub newcomer: NodeId,
    /// What gets better.
    pub why: Imbalance,
}

/// What whoever leads remembers of relocations, and of what has to be over before one begins. It is
/// in no store: a new leader begins with none of it, and waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calm {
    /// When something last went wrong, or the one who leads began to.
    pub unrest: Instant,
    /// Since when each relocation is known.
    pub begun: BTreeMap<ShardKey, Instant>,
    /// When a shard's last one was given up.
    pub given_up: BTreeMap<ShardKey, Instant>,
}

impl Calm {
    /// Nothing is known before `now`.
    pub fn beginning(now: Instant) -> Self {
        Self { unrest: now, ..Self::default() }
    }

    /// Takes in that `next` was decided at `now`, after `before` if that is known.
    pub fn note(&mut self, before: Option<&ShardTopology>, next: &ShardTopology, now: Instant) {
        let key = next.key();
        if before.is_some_and(|before| went_wrong(before, next)) {
            self.unrest = now;
        }
        match &next.relocation {
            Some(_) => {
                self.begun.entry(key.clone()).or_insert(now);
            }
            None => {
                self.begun.remove(&key);
            }
        }
        if is_leaving(next) && !before.is_some_and(is_leaving) {
            self.given_up.insert(key, now);
        }
    }

    /// Forgets a shard that does not exist any more.
    pub fn forget(&mut self, key: &ShardKey) {
        self.begun.remove(key);
        self.given_up.remove(key);
    }
}

/// The newcomer of a relocation was let go.
fn is_leaving(shard: &ShardTopology) -> bool {
    let relocation = shard.relocation.as_ref();
    let newcomer = relocation.and_then(|relocation| shard.members.get(&relocation.newcomer));
    newcomer.is_some_and(|member| member.leaving)
}

/// Whether `next` follows from something that nobody wanted: a primary was lost, or a replica that
/// is not leaving fell out of the in-sync set.
fn went_wrong(before: &ShardTopology, next: &ShardTopology) -> bool {
    if let Primaryship::Vacant(vacancy) = &next.primaryship {
        let wanted = matches!(vacancy.cause, Cause::Created | Cause::Deleted);
        return !wanted && !vacancy.cause.is_planned();
    }
    let fell_out = before
        .in_sync
        .difference(&next.in_sync)
        .any(|tag| next.members.get(&tag.run.node).is_some_and(|member| !member.leaving));
    // At an election the set begins anew.
    before.primary().is_some() && fell_out
}
