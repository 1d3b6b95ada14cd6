//! The backend for fleets: etcd.
//!
//! etcd, because whatever keeps two primaries apart needs a consensus that others have tried to break
//! for years. Its client here is a thin one of our own over generated calls: what matters is who is
//! asked next, what may be asked twice, and what an error proves, and that differs between clients.
//!
//! - Reads are linearizable and go from member to member until one serves.
//! - A transaction is sent once, to a member that has just proved that it serves. If its answer is
//!   lost, the outcome is `Unknown`.
//! - A watch goes on at another member from where it was, without gap or duplicate.
//! - All keys lie under a prefix, so that installations can share an etcd. The revision, the history
//!   and its compaction are etcd's, and so are common to all of them.
//!
//! Invariant: nothing that was sent and not answered is sent again, unless doing it twice is the same
//! as doing it once.
//!
//! Not here: running etcd; users and passwords of etcd (certificates say who one is).

mod assemble;
mod cluster;
mod config;
mod fault;
mod follow;
mod keys;
mod lease;
mod members;
mod pb;
mod range;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::time::timeout;

pub use self::config::{EtcdConfig, EtcdIdentity, EtcdTimeouts, EtcdTls};
pub use self::status::{EndpointStatus, EtcdMember, EtcdStatus, MemberStatus};

use self::fault::{Fault, Refusal, at};
use self::follow::Follow;
use self::keys::{Prefix, number, revision, signed};
use self::lease::KeepAlives;
use self::members::{AskError, Manner, Members, Use, nothing, request};
use self::pb::kv_client::KvClient;
use self::pb::lease_client::LeaseClient;
use self::pb::watch_client::WatchClient;
use self::pb::watch_request::RequestUnion;
use self::pb::{
    CompactionRequest, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, RangeRequest,
    WatchCreateRequest, WatchRequest,
};
use crate::error::StoreError;
use crate::model::{
    KeyValue, Lease, LeaseId, Op, Revision, Txn, TxnOutcome, check_key, check_prefix, whole_seconds,
};
use crate::store::Store;
use crate::watch::Watch;

const COMPACTING: &str = "a compaction";
const COMMITTING: &str = "a transaction";

/// A handle to a store on etcd.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

struct Inner {
    members: Arc<Members>,
    own: Prefix,
    keep_alives: KeepAlives,
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("prefix", &self.inner.own.0).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Opens the store: asks until a member serves. Must be called within a tokio runtime with time
    /// and I/O enabled.
    ///
    /// # Errors
    /// `BadEtcdConfig`, or `Backend` when no endpoint serves within `EtcdTimeouts::call`.
    pub async fn open(config: &EtcdConfig) -> Result<Self, StoreError> {
        let members = Arc::new(Members::new(config)?);
        tokio::spawn(Members::come_home(Arc::downgrade(&members)));
        let own = Prefix(config.prefix.clone());
        let inner = Inner { members, own, keep_alives: KeepAlives::default() };
        let store = Self { inner: Arc::new(inner) };
        store.current("opening the store").await?;
        Ok(store)
    }

    /// What the members say of themselves and of the cluster, within three seconds.
    pub async fn status(&self) -> EtcdStatus {
        status::status(&self.inner.members, &self.inner.own.0).await
    }

    /// The endpoint of the member that is asked first now.
    pub fn asks_first(&self) -> Arc<str> {
        self.members().name(self.members().first())
    }

    fn members(&self) -> &Members {
        &self.inner.members
    }

    /// etcd's revision.
    async fn current(&self, doing: &'static str) -> Result<Revision, StoreError> {
        let key = nothing(&self.inner.own.0);
        let message = RangeRequest { key, count_only: true, ..RangeRequest::default() };
        let answer = range::read(self.members(), doing, &message).await;
        let answer = answer.map_err(|error| error.error(self.members(), doing, None))?;
        Ok(revision(answer.header.map_or(0, |header| header.revision)))
    }

    /// The oldest revision from which a watch can start, if history was compacted; asked of the only
    /// call that tells: a watch that is refused.
    async fn oldest(&self) -> Option<Revision> {
        let members = self.members();
        let ask = async |member| {
            let channel = members.channel(member, Use::Streams).await.ok()?;
            let create = WatchCreateRequest {
                key: nothing(&self.inner.own.0),
                start_revision: 1,
                ..WatchCreateRequest::default()
            };
            let union = Some(RequestUnion::CreateRequest(create));
            let question = WatchRequest { request_union: union };
            // It stays open: etcd answers nothing more to a stream whose questions have ended.
            let asked = stream::unfold(Some(question), |question| async {
                match question {
                    Some(question) => Some((question, None)),
                    None => std::future::pending().await,
                }
            });
            let mut answers =
                WatchClient::new(channel).watch(request(asked)).await.ok()?.into_inner();
            while let Some(answer) = answers.message().await.ok()? {
                if answer.compact_revision > 0 {
                    return Some(revision(answer.compact_revision).next());
                }
            }
            None
        };
        for member in members.order() {
            if let Ok(Some(oldest)) = timeout(members.timeouts.attempt, ask(member)).await {
                return Some(oldest);
            }
        }
        None
    }

    /// The lease that a refused transaction misses: etcd does not say which of several it is.
    async fn missing(&self, txn: &Txn) -> Option<LeaseId> {
        let leases: BTreeSet<_> = txn.then.iter().filter_map(Op::lease).collect();
        for id in leases.iter().take(leases.len().saturating_sub(1)) {
            let message = LeaseTimeToLiveRequest { id: signed(id.0) };
            let call = |channel| async move {
                LeaseClient::new(channel).lease_time_to_live(request(message)).await
            };
            let asked = self.members().ask(COMMITTING, Manner::Read, call).await;
            if asked.is_ok_and(|answered| answered.answer.ttl < 0) {
                return Some(*id);
            }
        }
        leases.last().copied()
    }

    async fn compacted(&self, asked: Revision) -> StoreError {
        let oldest = self.oldest().await.unwrap_or(asked).max(Revision(1));
        StoreError::Compacted { oldest }
    }
}

impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        check_key(key)?;
        let doing = "reading a key";
        let message = RangeRequest { key: self.inner.own.key(key), ..RangeRequest::default() };
        let answer = range::read(self.members(), doing, &message).await;
        let answer = answer.map_err(|error| error.error(self.members(), doing, None))?;
        let at = revision(answer.header.map_or(0, |header| header.revision));
        let kv = answer.kvs.into_iter().next();
        Ok((kv.map(|kv| self.inner.own.key_value(kv)).transpose()?, at))
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<KeyValue>, Revision), StoreError> {
        self.range_from(prefix, prefix).await
    }

    async fn range_from(
        &self,
        prefix: &str,
        start: &str,
    ) -> Result<(Vec<KeyValue>, Revision), StoreError> {
        check_prefix(prefix)?;
        check_prefix(start)?;
        range::range(self.members(), &self.inner.own, prefix, start.max(prefix)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let message = self.inner.own.txn(&txn);
        let call = |channel| {
            let message = message.clone();
            async { KvClient::new(channel).txn(request(message)).await }
        };
        let manner = if txn.then.is_empty() { Manner::Read } else { Manner::Once };
        let answer = match self.members().ask(COMMITTING, manner, call).await {
            Ok(answered) => answered.answer,
            Err(error) => {
                let lease = if error.names_no_lease() { self.missing(&txn).await } else { None };
                return Err(error.error(self.members(), COMMITTING, lease));
            }
        };
        let at = revision(answer.header.map_or(0, |header| header.revision));
        Ok(TxnOutcome::new(answer.succeeded, at))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        let (members, own) = (Arc::clone(&self.inner.members), self.inner.own.clone());
        Follow::start(members, own, prefix.to_owned(), from).await
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        let current = self.current(COMPACTING).await?;
        if up_to > current {
            return Err(StoreError::FutureRevision { current });
        }
        // Before revision 1 there is no history. One less than asked: at the revision of a compaction
        // etcd may leave deletions out, and a watch must be able to start at `up_to`.
        let Some(revision) = up_to.0.checked_sub(1).filter(|revision| *revision > 0) else {
            return Err(self.compacted(Revision(1)).await);
        };
        let message = CompactionRequest { revision: signed(revision) };
        let call = |channel| async move { KvClient::new(channel).compact(request(message)).await };
        match self.members().ask(COMPACTING, Manner::Repeatable, call).await {
            Ok(_) => Ok(()),
            Err(AskError::Refused {
                fault: Fault::Refused(Refusal::Compacted, _), lost, ..
            }) => {
                // After a lost answer: it was done, whoever did it.
                if lost { Ok(()) } else { Err(self.compacted(up_to).await) }
            }
            Err(error) => Err(error.error(self.members(), COMPACTING, None)),
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = whole_seconds(ttl)?;
        let doing = "granting a lease";
        let message = LeaseGrantRequest { ttl: signed(ttl.as_secs()), id: 0 };
        let call =
            |channel| async move { LeaseClient::new(channel).lease_grant(request(message)).await };
        // A lease whose grant was not heard of has no keys, and ends by itself.
        let answered = self.members().ask(doing, Manner::Repeatable, call).await;
        let answered = answered.map_err(|error| error.error(self.members(), doing, None))?;
        let answer = answered.answer;
        let (id, granted) = (number(answer.id), number(answer.ttl));
        if id == 0 || !answer.error.is_empty() {
            let endpoint = self.members().name(answered.member);
            let source = at(&endpoint, &format!("no lease: {}", answer.error));
            return Err(StoreError::Backend { doing, source });
        }
        Ok(Lease { id: LeaseId(id), ttl: Duration::from_secs(granted) })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Duration, StoreError> {
        self.inner.keep_alives.keep_alive(self.members(), id).await
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        let doing = "revoking a lease";
        let message = LeaseRevokeRequest { id: signed(id.0) };
        let call =
            |channel| async move { LeaseClient::new(channel).lease_revoke(request(message)).await };
        match self.members().ask(doing, Manner::Repeatable, call).await {
            Ok(_) => Ok(()),
            // After a lost answer: it is gone, which is what was asked for.
            Err(AskError::Refused {
                fault: Fault::Refused(Refusal::NoLease, _),
                lost: true,
                ..
            }) => Ok(()),
            Err(error) => Err(error.error(self.members(), doing, Some(id))),
        }
    }
}
