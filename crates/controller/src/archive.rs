//! The controller's memory: specs, topologies, users, events and failovers, in the store.
//!
//! Everything is read once at the start; from then on this controller is the only writer, and every
//! write says so: it compares the term key and the document's own revision.
//!
//! Invariant: what is in memory here is what the store last confirmed. After a failure whose outcome
//! is unknown everything is read again.
//!
//! Not here: when to write (`super::looks`, `super::calls`).

mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tanist_core::model::stored::Stored;
use tanist_core::model::{
    Epoch, Event, GroupName, GroupSpec, HostId, HostSpec, NodeId, RequestId, Rev, Severity,
    ShardId, ShardKey, ShardTopology, Term, User, UserGroup,
};
use tanist_link::api::{EventRecord, FailoverRecord};
use tanist_store::{AnyStore, KeyValue, Revision, Store, Txn};

use crate::attention::Asked;
use crate::clock::wall_ms;
use crate::error::ControllerError;
use crate::keys;
use crate::leadership::Claim;
use crate::leases::Leases;

/// Events that are kept.
const EVENTS_KEPT: u64 = 10_000;
/// Failovers of a group that are kept; a transaction holds so many keys and some more.
const FAILOVERS_KEPT: usize = 100;

/// A document and the store's revision of it. The document is shared: every look at a shard takes
/// it, several thousand times a second in an installation of many groups.
#[derive(Debug, Clone)]
pub(crate) struct Held<T> {
    pub(crate) body: Arc<T>,
    pub(crate) revision: Revision,
}

/// What is remembered of a shard that is gone: hands keep the revision that they have promised, so a
/// group of the same name has to go on from it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Retired {
    rev: Rev,
    epoch: Epoch,
    next_seq: u64,
    request_done: RequestId,
}

/// What the store holds.
#[derive(Debug)]
pub(crate) struct Archive {
    store: AnyStore,
    claim: Claim,
    next_event: u64,
    pub(crate) specs: BTreeMap<GroupName, Held<GroupSpec>>,
    pub(crate) topologies: BTreeMap<ShardKey, Held<ShardTopology>>,
    pub(crate) users: BTreeMap<String, Held<User>>,
    pub(crate) user_groups: BTreeMap<String, Held<UserGroup>>,
    pub(crate) hosts: BTreeMap<HostId, Held<HostSpec>>,
    pub(crate) leases: Leases,
    /// The last revisions of shards that are gone.
    pub(crate) retired: BTreeMap<ShardKey, Rev>,
    /// Grows whenever a user or a user group has changed.
    pub(crate) users_turn: u64,
    /// Where something was asked that nobody has looked at yet.
    pub(crate) asked: Asked,
}

impl Archive {
    /// Reads everything that a leader has to know.
    pub(crate) async fn open(store: AnyStore, claim: Claim) -> Result<Self, ControllerError> {
        let mut archive = Self {
            store,
            claim,
            next_event: 1,
            specs: BTreeMap::new(),
            topologies: BTreeMap::new(),
            users: BTreeMap::new(),
            user_groups: BTreeMap::new(),
            hosts: BTreeMap::new(),
            leases: Leases::default(),
            retired: BTreeMap::new(),
            users_turn: 0,
            asked: Asked::default(),
        };
        archive.reload().await?;
        Ok(archive)
    }

    pub(crate) fn term(&self) -> Term {
        self.claim.term()
    }

    /// Shards that serve with as many in sync as were asked for: they are not being created any more,
    /// whoever decided that.
    pub(crate) fn whole_shards(&self) -> BTreeSet<ShardKey> {
        let shards = self.topologies.values().map(|held| &*held.body);
        let whole = shards.filter(|shard| {
            let replicas = self.specs.get(&shard.group).map(|held| held.body.replicas);
            shard.primary().is_some()
                && replicas.is_some_and(|n| shard.in_sync.len() == usize::from(n))
        });
        whole.map(ShardTopology::key).collect()
    }

    /// A group's shards. All groups are asked for theirs at once, so this must not look at others'.
    pub(crate) fn shards_of<'a>(
        &'a self,
        group: &'a GroupName,
    ) -> impl Iterator<Item = &'a ShardTopology> {
        // No shard's id is less than the empty one.
        let first = ShardKey { group: group.clone(), shard: ShardId::new("") };
        let all = self.topologies.range(first..).map(|(_, held)| &*held.body);
        all.take_while(move |shard| shard.group == *group)
    }

    /// Reads every user, host, spec and topology again.
    pub(crate) async fn reload(&mut self) -> Result<(), ControllerError> {
        self.is_whole().await?;
        let users: Vec<Held<User>> = self.read_all(keys::USERS).await?;
        self.users = users.into_iter().map(|held| (held.body.id.clone(), held)).collect();
        let groups: Vec<Held<UserGroup>> = self.read_all(keys::USER_GROUPS).await?;
        self.user_groups = groups.into_iter().map(|held| (held.body.id.clone(), held)).collect();
        let hosts: Vec<Held<HostSpec>> = self.read_all(keys::HOSTS).await?;
        self.hosts = hosts.into_iter().map(|held| (held.body.host.clone(), held)).collect();
        self.hosts.values().for_each(|held| self.leases.know(&held.body));
        let specs: Vec<Held<GroupSpec>> = self.read_all(keys::SPECS).await?;
        self.specs = specs.into_iter().map(|held| (held.body.name.clone(), held)).collect();
        self.settle_accounts();
        let shards: Vec<Held<ShardTopology>> = self.read_all(keys::TOPOLOGIES).await?;
        self.topologies = shards.into_iter().map(|held| (held.body.key(), held)).collect();
        self.topologies.values().for_each(|held| self.leases.learn(&held.body));
        self.retired = retired(&self.range(keys::RETIRED).await?)?;
        let events = self.range(keys::EVENTS).await?;
        let last = events.last().and_then(|kv| kv.key.strip_prefix(keys::EVENTS)?.parse().ok());
        self.next_event = last.unwrap_or(0) + 1;
        Ok(())
    }

    /// A copy that was put back only in part is no store to lead by.
    async fn is_whole(&self) -> Result<(), ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading the store", source };
        let (half, _) = self.store.get(keys::RESTORING).await.map_err(failed)?;
        if half.is_some() { Err(ControllerError::Half) } else { Ok(()) }
    }

    async fn range(&self, prefix: &str) -> Result<Vec<KeyValue>, ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading the store", source };
        Ok(self.store.range(prefix).await.map_err(failed)?.0)
    }

    async fn read_all<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<Held<T>>, ControllerError> {
        let all = self.range(prefix).await?;
        all.iter()
            .map(|kv| Ok(Held { body: Arc::new(parse(kv)?), revision: kv.mod_revision }))
            .collect()
    }

    /// Writes a spec, and the topologies of a group that is new.
    pub(crate) async fn write_spec(
        &mut self,
        spec: GroupSpec,
        mut new_shards: Vec<ShardTopology>,
        events: &[EventRecord],
    ) -> Result<(), ControllerError> {
        for shard in &mut new_shards {
            self.go_on(shard).await?;
        }
        self.write_group(spec, new_shards, events, "writing a group").await
    }

    /// Writes what was asked about a host.
    pub(crate) async fn write_host(
        &mut self,
        spec: HostSpec,
        events: &[EventRecord],
    ) -> Result<(), ControllerError> {
        let key = keys::host(&spec.host);
        let before = self.hosts.get(&spec.host).map_or(Revision::ABSENT, |held| held.revision);
        let txn = self.fenced().when_unchanged(&key, before).put(&key, json(&spec)?);
        let revision = self.commit(with_events(txn, events)?, "writing a host").await?;
        self.leases.know(&spec);
        self.asked.everywhere = true;
        self.hosts.insert(spec.host.clone(), Held { body: Arc::new(spec), revision });
        Ok(())
    }

    /// Lets a new shard go on from one of the same name that is gone.
    async fn go_on(&self, shard: &mut ShardTopology) -> Result<(), ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading the store", source };
        let (found, _) = self.store.get(&keys::retired(&shard.key())).await.map_err(failed)?;
        if let Some(kv) = found {
            let before: Retired = parse(&kv)?;
            shard.rev = before.rev.next();
            shard.epoch = before.epoch.next();
            shard.next_seq = before.next_seq;
            shard.request_done = before.request_done;
        }
        Ok(())
    }

    /// Replaces topologies, of different shards, all or none: the point of no return of every decision.
    pub(crate) async fn write_topologies(
        &mut self,
        next: Vec<Arc<ShardTopology>>,
        events: &[EventRecord],
    ) -> Result<(), ControllerError> {
        let mut txn = self.fenced();
        for next in &next {
            let key = keys::topology(&next.key());
            let held = self.topologies.get(&next.key());
            let before = held.map_or(Revision::ABSENT, |held| held.revision);
            txn = txn.when_unchanged(&key, before).put(&key, json(next)?);
        }
        let txn = with_events(txn, events)?;
        for next in &next {
            let held = self.topologies.get(&next.key());
            if held.is_some_and(|held| held.body.primary() != next.primary()) {
                self.leases.withdraw(&next.key());
            }
        }
        let revision = self.commit(txn, "committing topologies").await?;
        for body in next {
            self.leases.learn(&body);
            self.topologies.insert(body.key(), Held { body, revision });
        }
        Ok(())
    }

    /// Writes a group that was lost, or of which the store knows less than its hosts.
    pub(crate) async fn write_rebuilt(
        &mut self,
        spec: GroupSpec,
        shards: Vec<ShardTopology>,
        events: &[EventRecord],
    ) -> Result<(), ControllerError> {
        self.write_group(spec, shards, events, "rebuilding a group").await
    }

    /// Writes a spec with topologies, in place of those that are held.
    async fn write_group(
        &mut self,
        mut spec: GroupSpec,
        shards: Vec<ShardTopology>,
        events: &[EventRecord],
        doing: &'static str,
    ) -> Result<(), ControllerError> {
        spec.accounts = self.accounts_of(&spec.login);
        let key = keys::spec(&spec.name);
        let before = self.specs.get(&spec.name).map_or(Revision::ABSENT, |held| held.revision);
        let mut txn = self.fenced().when_unchanged(&key, before).put(&key, json(&spec)?);
        for shard in &shards {
            let held = self.topologies.get(&shard.key());
            let before = held.map_or(Revision::ABSENT, |held| held.revision);
            let key = keys::topology(&shard.key());
            txn = txn.when_unchanged(&key, before).put(&key, json(shard)?);
        }
        shards.iter().for_each(|shard| self.leases.withdraw(&shard.key()));
        let revision = self.commit(with_events(txn, events)?, doing).await?;
        for body in shards {
            self.leases.learn(&body);
            self.topologies.insert(body.key(), Held { body: Arc::new(body), revision });
        }
        self.asked.of.insert(spec.name.clone());
        self.specs.insert(spec.name.clone(), Held { body: Arc::new(spec), revision });
        Ok(())
    }

    /// The store, for who copies it.
    pub(crate) fn store(&self) -> AnyStore {
        self.store.clone()
    }

    /// Removes a group whose nodes are gone.
    pub(crate) async fn forget(&mut self, group: &GroupName) -> Result<(), ControllerError> {
        let mut txn = self.without_failovers(group, 0).await?.delete(keys::spec(group));
        let shards: Vec<ShardKey> =
            self.topologies.keys().filter(|key| key.group == *group).cloned().collect();
        for key in &shards {
            txn = txn.delete(keys::topology(key));
            if let Some(Held { body, .. }) = self.topologies.get(key) {
                let retired = Retired {
                    rev: body.rev,
                    epoch: body.epoch,
                    next_seq: body.next_seq,
                    request_done: body.request_done,
                };
                txn = txn.put(keys::retired(key), json(&retired)?);
            }
        }
        self.commit(txn, "forgetting a group").await?;
        self.specs.remove(group);
        for key in &shards {
            self.leases.withdraw(key);
            let rev = self.topologies.get(key).map(|held| held.body.rev);
            self.retired.extend(rev.map(|rev| (key.clone(), rev)));
        }
        self.topologies.retain(|key, _| key.group != *group);
        Ok(())
    }

    /// Stores what happened without a decision.
    pub(crate) async fn write_events(
        &mut self,
        events: &[EventRecord],
    ) -> Result<(), ControllerError> {
        let txn = with_events(self.fenced(), events)?;
        self.commit(txn, "writing events").await.map(|_| ())
    }

    /// Stores a failover's record, in place of the oldest one if there are enough.
    pub(crate) async fn write_failover(
        &mut self,
        record: &FailoverRecord,
    ) -> Result<(), ControllerError> {
        let shard = ShardKey { group: record.group.clone(), shard: record.shard.clone() };
        let txn = self.without_failovers(&record.group, FAILOVERS_KEPT - 1).await?;
        let txn = txn.put(keys::failover(&shard, record.epoch), json(record)?);
        self.commit(txn, "writing a failover's record").await.map(|_| ())
    }

    /// A transaction that drops a group's failovers but the `left` newest, of all its shards.
    async fn without_failovers(
        &mut self,
        group: &GroupName,
        left: usize,
    ) -> Result<Txn, ControllerError> {
        let mut all = self.range(&keys::failovers(group)).await?;
        all.sort_by_key(|kv| kv.mod_revision);
        let old = all.len().saturating_sub(left);
        let mut parts = all[..old].chunks(FAILOVERS_KEPT);
        let last = parts.next_back().unwrap_or_default();
        // There is one part, but after a release that kept all of them.
        for part in parts {
            let txn = part.iter().fold(self.fenced(), |txn, kv| txn.delete(&*kv.key));
            self.commit(txn, "dropping old failovers").await?;
        }
        Ok(last.iter().fold(self.fenced(), |txn, kv| txn.delete(&*kv.key)))
    }

    /// A group's failovers, oldest first.
    pub(crate) async fn failovers(
        &self,
        group: &GroupName,
    ) -> Result<Vec<FailoverRecord>, ControllerError> {
        let all = self.range(&keys::failovers(group)).await?;
        all.iter().map(parse).collect()
    }

    /// Events after `after`, oldest first.
    pub(crate) async fn events(&self, after: u64) -> Result<Vec<EventRecord>, ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading events", source };
        let first = keys::event(after.saturating_add(1));
        let (newer, _) = self.store.range_from(keys::EVENTS, &first).await.map_err(failed)?;
        newer.iter().map(parse).collect()
    }

    /// A record of an event that followed from a decision.
    pub(crate) fn record(&mut self, event: &Event) -> EventRecord {
        let mut record = self.note(
            Some(event.group.clone()),
            event.kind.node().cloned(),
            event.kind.name(),
            event.kind.severity(),
            event.kind.sentence(),
        );
        record.epoch = Some(event.epoch);
        record
    }

    /// A record of something that happened to a hand.
    pub(crate) fn note(
        &mut self,
        group: Option<GroupName>,
        node: Option<NodeId>,
        name: &str,
        severity: Severity,
        text: String,
    ) -> EventRecord {
        let id = self.next_event;
        self.next_event += 1;
        let name = name.to_owned();
        EventRecord { id, at_ms: wall_ms(), group, node, epoch: None, name, severity, text }
    }

    /// A transaction that fails once another controller leads.
    fn fenced(&self) -> Txn {
        self.claim.fenced()
    }

    async fn commit(&mut self, txn: Txn, doing: &'static str) -> Result<Revision, ControllerError> {
        match self.store.txn(txn).await {
            Ok(outcome) if outcome.committed => Ok(outcome.revision),
            Ok(_) => {
                self.still_leading().await?;
                self.reload().await?;
                Err(ControllerError::Deposed)
            }
            Err(source) => {
                if source.outcome_unknown() {
                    self.reload().await?;
                } else {
                    self.topologies.values().for_each(|held| self.leases.learn(&held.body));
                }
                Err(ControllerError::Store { doing, source })
            }
        }
    }

    async fn still_leading(&self) -> Result<(), ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading the term", source };
        let (term, _) = self.store.get(keys::TERM).await.map_err(failed)?;
        let ours = term.is_some_and(|kv| kv.mod_revision == self.claim.revision);
        if ours { Ok(()) } else { Err(ControllerError::Deposed) }
    }
}

/// The last revision of each shard that is gone.
fn retired(all: &[KeyValue]) -> Result<BTreeMap<ShardKey, Rev>, ControllerError> {
    let mut revs = BTreeMap::new();
    for kv in all {
        let names = kv.key.strip_prefix(keys::RETIRED).and_then(|names| names.split_once('/'));
        let Some((group, shard)) = names else { continue };
        let retired: Retired = parse(kv)?;
        revs.insert(ShardKey { group: group.into(), shard: shard.into() }, retired.rev);
    }
    Ok(revs)
}

fn with_events(mut txn: Txn, events: &[EventRecord]) -> Result<Txn, ControllerError> {
    for event in events {
        txn = txn.put(keys::event(event.id), json(event)?);
        if let Some(old) = event.id.checked_sub(EVENTS_KEPT) {
            txn = txn.delete(keys::event(old));
        }
    }
    Ok(txn)
}

pub(crate) fn json<T: Serialize>(body: &T) -> Result<Vec<u8>, ControllerError> {
    serde_json::to_vec(&Stored::new(body))
        .map_err(|source| ControllerError::Document { key: "(new)".to_owned(), source })
}

pub(crate) fn parse<T: DeserializeOwned>(kv: &KeyValue) -> Result<T, ControllerError> {
    let stored: Stored<T> = serde_json::from_slice(&kv.value)
        .map_err(|source| ControllerError::Document { key: kv.key.clone(), source })?;
    Ok(stored.into_body())
}
