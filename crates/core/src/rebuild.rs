//! A store that is lost: what hosts keep of it, and how each shard goes on from there.
//!
//! Each host of a shard keeps the newest decision that it was sent. Whether that was the last one has
//! to be known, not hoped: a set of before would let somebody be promoted who lacks what was
//! acknowledged since. So every host of the newest decision has to be heard, and every proxy that it
//! lets in, and nobody may have been told of anything newer. Then the shard goes on as after any
//! crash: nobody is primary, and the usual election follows. If anything of that is missing, that is a
//! [`Doubt`], and only a node that a person names becomes primary.
//!
//! Invariant: a rebuilt shard has numbers beyond everything that anybody was told, and no primary.
//!
//! Not here: asking the hosts (`tanist-controller`), keeping (`tanist-agent`), the election
//! (`crate::decide`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{
    Cause, Epoch, GAP, GroupSpec, HostId, Primaryship, ProxyId, Rev, ShardKey, ShardTopology,
    Vacancy,
};

/// What a host keeps of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Orders what was kept of one store in time.
    pub at: u64,
    /// What was asked.
    pub spec: GroupSpec,
    /// What was decided.
    pub shard: ShardTopology,
}

/// What a host says of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The host.
    pub host: HostId,
    /// The shard.
    pub key: ShardKey,
    /// The newest revision by which it has acted.
    pub promised: Rev,
    /// What it keeps.
    pub kept: Option<Kept>,
}

/// Everything that was heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The hosts that have said everything they keep.
    pub hosts: BTreeSet<HostId>,
    /// What they have said.
    pub told: Vec<Told>,
    /// The proxies that are connected, and the revisions of the routes by which they work.
    pub routes: BTreeMap<ProxyId, BTreeMap<ShardKey, Rev>>,
}

/// Why what is kept may not be the last that was decided, or may not be wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A host of the shard was not heard.
    HostSilent(HostId),
    /// A host of the shard keeps nothing of it.
    NothingKept(HostId),
    /// A proxy that may serve its clients was not heard.
    ProxySilent(ProxyId),
    /// Somebody was told of a decision that nobody keeps.
    Newer {
        /// Who.
        by: String,
        /// Its revision.
        rev: Rev,
    },
    /// Two hosts keep different decisions of one revision.
    TwoVersions {
        /// The host whose decision was not taken.
        other: HostId,
    },
    /// The group was being deleted.
    BeingDeleted,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostSilent(host) => write!(f, "{host} was not heard"),
            Self::NothingKept(host) => write!(f, "{host} keeps nothing of it"),
            Self::ProxySilent(proxy) => write!(f, "the proxy {proxy} was not heard"),
            Self::Newer { by, rev } => {
                write!(f, "{by} was told of revision {rev}, which nobody keeps")
            }
            Self::TwoVersions { other } => write!(f, "{other} keeps another decision as new"),
            Self::BeingDeleted => f.write_str("it was being deleted"),
        }
    }
}

/// A shard of which hosts know more than the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What was asked, as it was kept last.
    pub spec: GroupSpec,
    /// The newest decision that is kept.
    pub shard: ShardTopology,
    /// Orders it in time, as [`Kept::at`].
    pub at: u64,
    /// Who keeps it.
    pub by: HostId,
    /// The newest revision that anybody was told.
    pub newest: Rev,
    /// What keeps one from being sure.
    pub doubts: Vec<Doubt>,
}

/// The shards of which hosts know more than the store, by their names. `known` says which revision
/// of a shard the store has, or had when the shard was deleted.
pub fn lost(evidence: &Evidence, known: impl Fn(&ShardKey) -> Option<Rev>) -> Vec<Lost> {
    let mut by_key: BTreeMap<&ShardKey, Vec<&Told>> = BTreeMap::new();
    for told in &evidence.told {
        by_key.entry(&told.key).or_default().push(told);
    }
    // Hosts answer in any order, and the same answers are to lead to the same proposal.
    by_key.values_mut().for_each(|told| told.sort_by(|a, b| a.host.cmp(&b.host)));
    let found = by_key.into_iter().filter_map(|(key, told)| one(evidence, key, &told));
    found.filter(|lost| known(&lost.shard.key()).is_none_or(|rev| rev < lost.newest)).collect()
}

fn one(evidence: &Evidence, key: &ShardKey, told: &[&Told]) -> Option<Lost> {
    let kept = || told.iter().filter_map(|told| Some((&told.host, told.kept.as_ref()?)));
    // Of equals the first host's.
    let best = kept().rev().max_by_key(|(_, kept)| (kept.shard.rev, kept.at));
    let (by, Kept { at, spec, shard }) = best?;
    let heard = |told: &&Told| (told.host.to_string(), told.promised);
    let routes = evidence.routes.iter();
    let routed = routes.filter_map(|(proxy, shards)| Some((proxy.to_string(), *shards.get(key)?)));
    let revs: Vec<(String, Rev)> = told.iter().map(heard).chain(routed).collect();
    let newest = revs.iter().map(|(_, rev)| *rev).max()?.max(shard.rev);
    let mut doubts = BTreeSet::new();
    if spec.deleting {
        doubts.insert(Doubt::BeingDeleted);
    }
    for member in shard.members.values() {
        let host = member.host.clone();
        if !evidence.hosts.contains(&host) {
            doubts.insert(Doubt::HostSilent(host));
        } else if !kept().any(|(keeper, _)| *keeper == host) {
            doubts.insert(Doubt::NothingKept(host));
        }
    }
    let silent = shard.lanes.iter().filter(|proxy| !evidence.routes.contains_key(*proxy));
    doubts.extend(silent.cloned().map(Doubt::ProxySilent));
    let newer = revs.into_iter().filter(|(_, rev)| *rev > shard.rev);
    doubts.extend(newer.map(|(by, rev)| Doubt::Newer { by, rev }));
    let other = kept().filter(|(_, kept)| kept.shard.rev == shard.rev && kept.shard != *shard);
    doubts.extend(other.map(|(host, _)| Doubt::TwoVersions { other: host.clone() }));
    Some(Lost {
        spec: spec.clone(),
        shard: shard.clone(),
        at: *at,
        by: by.clone(),
        newest,
        doubts: doubts.into_iter().collect(),
    })
}

impl Lost {
    /// Whether the shard can go on by itself.
    pub fn is_certain(&self) -> bool {
        self.doubts.is_empty()
    }

    /// What is asked from now on. Requests of before are not carried out any more, and what was being
    /// deleted is there until somebody deletes it again.
    pub fn asked(&self) -> GroupSpec {
        GroupSpec { deleting: false, requests: BTreeMap::new(), ..self.spec.clone() }
    }

    /// The decision from which the shard goes on; nothing if no number is left to go on with.
    pub fn next(&self) -> Option<ShardTopology> {
        let mut next = self.shard.clone();
        next.rev = Rev(self.newest.0.checked_add(GAP)?);
        // As over a store that was put back: beyond every epoch, and never beyond the revision.
        next.epoch = Epoch(next.epoch.0.checked_add(GAP)?.max(next.rev.0));
        next.next_seq = next.next_seq.checked_add(GAP)?;
        next.pending = None;
        let before = self.spec.requests.get(&next.shard).map(|request| request.id);
        next.request_done = before.map_or(next.request_done, |id| id.max(next.request_done));
        let (prev, named) = match &self.shard.primaryship {
            Primaryship::Serving(run) => (Some(run.clone()), None),
            Primaryship::Vacant(vacancy) => {
                let named = vacancy.heir.clone();
                let named = named.filter(|_| vacancy.cause == Cause::StoreBehind);
                (vacancy.prev.clone(), named)
            }
        };
        let decided = self.is_certain() && named.is_none();
        let cause = if decided { Cause::Rebuilt } else { Cause::StoreBehind };
        if !decided {
            // A set of before says nothing of now.
            next.in_sync.clear();
        }
        let heir = named.filter(|_| self.is_certain());
        next.primaryship = Primaryship::Vacant(Vacancy { prev, cause, request: None, heir });
        Some(next)
    }
}
