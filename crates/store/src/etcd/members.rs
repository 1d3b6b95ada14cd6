//! The members of a cluster, as those whom one can ask.
//!
//! One member is kept as long as it serves; the one on this host, if there is one, is kept again as
//! soon as it does. Whoever does not answer in time, cannot be reached or has
//! no leader is left for the next in the list, and comes last for a while. Reads, and calls that do
//! no harm when they are done twice, go from member to member until the call's time is up. What must
//! not be done twice goes to one member only, and only after that member has just answered a
//! linearizable read: then it has a leader and a quorum, and is not hung.
//!
//! Invariant: of what is sent in the manner `Once`, at most one request has an unknown outcome.
//!
//! Not here: what an error says (`fault`); streams that stay open (`follow`, `lease`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint as Target};
use tonic::{Request, Response, Status};

use super::config::{EtcdConfig, EtcdTimeouts};
use super::fault::{EtcdError, Fault, Refusal, at, refused};
use super::pb::kv_client::KvClient;
use super::pb::{Answer, RangeRequest, RangeResponse};
use crate::error::StoreError;
use crate::model::LeaseId;

/// For how long a member that answered is trusted with a transaction without being asked.
const PROVEN: Duration = Duration::from_secs(1);
/// For how long a member that failed comes last; doubled with each failure in a row.
const SHUN: Duration = Duration::from_millis(250);
const SHUN_MOST: Duration = Duration::from_secs(5);
/// How often one looks whether the member on this host serves again.
const HOME_EVERY: Duration = Duration::from_secs(1);
/// Pauses between rounds over all members; doubled each time.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSE_MOST: Duration = Duration::from_millis(400);
/// Longest answer to a read. One key with the largest value fits many times.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// Most members that one process knows in its life: many times the largest cluster.
const MAX_KNOWN: usize = 256;
const STRANGER: &str = "members of different clusters are configured";

/// Which connection of a member: long answers on one must not hold up the other's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Calls with one answer.
    Calls,
    /// Watches and keep-alives.
    Streams,
}

#[derive(Default)]
struct Condition {
    /// The way to it; `None` once it is not of the configuration any more.
    way: Option<Target>,
    calls: Option<Channel>,
    streams: Option<Channel>,
    proven: Option<Instant>,
    shunned: Option<Instant>,
    failures: u32,
    answered: bool,
}

struct Member {
    name: Arc<str>,
    condition: Mutex<Condition>,
}

impl Member {
    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every member that was ever configured, so that a number means the same one for ever.
#[derive(Default)]
struct Slots {
    all: Vec<Arc<Member>>,
    /// Those that are configured now, in their order.
    listed: Vec<usize>,
    /// The one on this host.
    near: Option<usize>,
}

impl Slots {
    /// The number of the member with this name.
    fn number(&mut self, name: &str) -> Result<usize, StoreError> {
        if let Some(known) = self.all.iter().position(|member| &*member.name == name) {
            return Ok(known);
        }
        if self.all.len() >= MAX_KNOWN {
            let what = format!("another endpoint, {name},");
            let wrong = "this process has known too many; start it again";
            return Err(StoreError::BadEtcdConfig { what, wrong });
        }
        self.all.push(Arc::new(Member { name: name.into(), condition: Mutex::default() }));
        Ok(self.all.len() - 1)
    }
}

/// All members.
pub(super) struct Members {
    slots: RwLock<Slots>,
    kept: AtomicUsize,
    cluster: OnceLock<u64>,
    suspicion: Option<&'static str>,
    /// A key that nobody has.
    nothing: Vec<u8>,
    pub(super) timeouts: EtcdTimeouts,
}

impl Members {
    /// Takes over a configuration; nothing is dialled yet.
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, StoreError> {
        let members = Self {
            slots: RwLock::default(),
            kept: AtomicUsize::new(0),
            cluster: OnceLock::new(),
            suspicion: config.suspicion(),
            nothing: nothing(&config.prefix),
            timeouts: config.timeouts,
        };
        members.redirect(config)?;
        Ok(members)
    }

    /// From now on these are the members, and this is how they are dialled. What is under way comes to
    /// its own end; what begins later dials anew, with the certificate of now.
    pub(super) fn redirect(&self, config: &EtcdConfig) -> Result<(), StoreError> {
        let targets = config.targets()?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let (mut listed, mut near) = (Vec::new(), None);
        for (name, target) in targets {
            let number = slots.number(&name)?;
            if near.is_none() && config.is_near(&name) {
                near = Some(number);
            }
            slots.all[number].condition().way = Some(target);
            if !listed.contains(&number) {
                listed.push(number);
            }
        }
        for (number, member) in slots.all.iter().enumerate() {
            let mut condition = member.condition();
            (condition.calls, condition.streams) = (None, None);
            if !listed.contains(&number) {
                condition.way = None;
            }
        }
        (slots.listed, slots.near) = (listed, near);
        Ok(())
    }

    /// The one on this host, unless it failed last; else the one that served last.
    pub(super) fn first(&self) -> usize {
        let near = self.slots().near;
        let near = near.filter(|near| self.member(*near).condition().failures == 0);
        near.unwrap_or_else(|| self.kept.load(Ordering::Relaxed))
    }

    /// Comes back to the member on this host once it serves again. Ends with the last who asks.
    pub(super) async fn come_home(members: Weak<Self>) {
        loop {
            // waits: a member tells nobody that it serves again.
            tokio::time::sleep(HOME_EVERY).await;
            let Some(members) = members.upgrade() else { return };
            let near = members.slots().near;
            let away = near.filter(|near| members.first() != *near);
            if let Some(near) = away
                && members.prove(near).await.is_ok()
            {
                members.serves(near);
            }
        }
    }

    fn slots(&self) -> RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, member: usize) -> Arc<Member> {
        Arc::clone(&self.slots().all[member])
    }

    /// Those that are configured, in their order.
    pub(super) fn listed(&self) -> Vec<usize> {
        self.slots().listed.clone()
    }

    /// A member's address.
    pub(super) fn name(&self, member: usize) -> Arc<str> {
        Arc::clone(&self.member(member).name)
    }

    /// Whom to ask, in this order: who comes first, those after it, and last those that failed.
    pub(super) fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let (mut order, first) = (self.listed(), self.first());
        let first = order.iter().position(|member| *member == first).unwrap_or(0);
        order.rotate_left(first);
        order.sort_by_key(|member| {
            self.member(*member).condition().shunned.filter(|until| *until > now)
        });
        order
    }

    /// The member serves.
    pub(super) fn serves(&self, member: usize) {
        let slot = self.member(member);
        let mut condition = slot.condition();
        (condition.shunned, condition.failures) = (None, 0);
        condition.proven = Some(Instant::now());
        self.kept.store(member, Ordering::Relaxed);
    }

    /// The member does not serve now. Its connections are given up: a path that swallows packets
    /// would be kept for a quarter of an hour otherwise.
    pub(super) fn fails(&self, member: usize, used: Use) {
        let slot = self.member(member);
        let mut condition = slot.condition();
        let shun = SHUN.saturating_mul(1 << condition.failures.min(6)).min(SHUN_MOST);
        condition.shunned = Some(Instant::now() + shun);
        condition.failures = condition.failures.saturating_add(1);
        condition.proven = None;
        match used {
            Use::Calls => condition.calls = None,
            Use::Streams => condition.streams = None,
        }
    }

    /// Gives up the member's connections and says nothing else about it.
    pub(super) fn hang_up(&self, member: usize) {
        let slot = self.member(member);
        let mut condition = slot.condition();
        (condition.calls, condition.streams) = (None, None);
    }

    /// Whoever is asked next has to prove first that it serves now.
    pub(super) fn doubt(&self, member: usize) {
        self.member(member).condition().proven = None;
    }

    fn is_proven(&self, member: usize) -> bool {
        let proven = self.member(member).condition().proven;
        proven.is_some_and(|at| at.elapsed() <= PROVEN)
    }

    /// A connection to the member.
    pub(super) async fn channel(&self, member: usize, used: Use) -> Result<Channel, Fault> {
        let member = self.member(member);
        let (open, way) = {
            let condition = member.condition();
            let open = match used {
                Use::Calls => condition.calls.clone(),
                Use::Streams => condition.streams.clone(),
            };
            (open, condition.way.clone())
        };
        if let Some(channel) = open {
            return Ok(channel);
        }
        let Some(way) = way else {
            return Err(Fault::Elsewhere("it is not configured any more".to_owned()));
        };
        let channel = match timeout(self.timeouts.connect, way.connect()).await {
            Ok(Ok(channel)) => channel,
            // Nothing was sent, whatever it was.
            Ok(Err(error)) => {
                let said = Fault::of(&Status::from_error(Box::new(error))).said().to_owned();
                return Err(Fault::Elsewhere(said));
            }
            Err(_) => return Err(Fault::Elsewhere("no connection in time".to_owned())),
        };
        let mut condition = member.condition();
        match used {
            Use::Calls => condition.calls = Some(channel.clone()),
            Use::Streams => condition.streams = Some(channel.clone()),
        }
        Ok(channel)
    }

    /// Whether an answer comes from the cluster that answered first.
    pub(super) fn belongs(&self, answer: &impl Answer) -> Result<(), Fault> {
        let Some(header) = answer.header() else { return Ok(()) };
        let cluster = *self.cluster.get_or_init(|| header.cluster_id);
        if cluster == header.cluster_id {
            return Ok(());
        }
        let other = header.cluster_id;
        // Not `Elsewhere`: what a stranger did, it has done.
        Err(Fault::Lost(format!("{STRANGER}: this is {other:016x}, others are {cluster:016x}")))
    }

    /// One request to one member.
    async fn attempt<A, F>(
        &self,
        member: usize,
        patience: Duration,
        call: impl FnOnce(Channel) -> F,
    ) -> Result<A, Fault>
    where
        A: Answer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let channel = self.channel(member, Use::Calls).await?;
        let answer = match timeout(patience, call(channel)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Err(self.suspected(member, Fault::of(&status))),
            Err(_) => return Err(Fault::Lost(format!("no answer within {patience:?}"))),
        };
        self.member(member).condition().answered = true;
        self.belongs(&answer)?;
        Ok(answer)
    }

    /// Says what may be behind a connection that just ended.
    fn suspected(&self, member: usize, fault: Fault) -> Fault {
        match (fault, self.suspicion) {
            (Fault::Lost(said), Some(suspicion)) if !self.member(member).condition().answered => {
                Fault::Lost(format!("{said}; {suspicion}"))
            }
            (fault, _) => fault,
        }
    }

    /// A linearizable read of nothing: only who has a leader and a quorum can answer it.
    pub(super) async fn prove(&self, member: usize) -> Result<RangeResponse, Fault> {
        let key = self.nothing.clone();
        let message = RangeRequest { key, count_only: true, ..RangeRequest::default() };
        let call = |channel| async { KvClient::new(channel).range(request(message)).await };
        self.attempt(member, self.timeouts.attempt, call).await
    }

    /// Asks member after member until one serves or the call's time is up.
    pub(super) async fn ask<A, F>(
        &self,
        doing: &'static str,
        manner: Manner,
        call: impl Fn(Channel) -> F,
    ) -> Result<Answered<A>, AskError>
    where
        A: Answer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut round = Round::new(self);
        loop {
            for member in self.order() {
                if round.is_over() {
                    return Err(round.over(doing));
                }
                if manner != Manner::Read && !self.is_proven(member) {
                    if let Err(fault) = self.prove(member).await {
                        round.failed(doing, member, fault)?;
                        continue;
                    }
                    self.serves(member);
                }
                let patience = match manner {
                    Manner::Read => self.timeouts.attempt,
                    Manner::Repeatable | Manner::Once => self.timeouts.commit,
                };
                match self.attempt(member, patience, &call).await {
                    Ok(answer) => {
                        self.serves(member);
                        return Ok(Answered { answer, member });
                    }
                    Err(Fault::Lost(said) | Fault::TooLong(said)) if manner == Manner::Once => {
                        self.fails(member, Use::Calls);
                        let source = Some(at(&self.name(member), &said));
                        return Err(AskError::Store(StoreError::Unknown { doing, source }));
                    }
                    Err(fault) => {
                        round.lost |= matches!(fault, Fault::Lost(_));
                        round.failed(doing, member, fault)?;
                    }
                }
            }
            round.pause().await;
        }
    }
}

/// How a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// To anybody, as often as needed: it changes nothing.
    Read,
    /// To who is proven to serve, as often as needed: done twice is as good as done once.
    Repeatable,
    /// To who is proven to serve; not again unless it certainly was not done.
    Once,
}

/// An answer.
pub(super) struct Answered<A> {
    /// It.
    pub(super) answer: A,
    /// Whose it is.
    pub(super) member: usize,
}

/// Why nobody served.
pub(super) enum AskError {
    /// A member refused it.
    Refused {
        /// By whom, with what it said.
        fault: Fault,
        /// The member.
        member: usize,
        /// Whether an earlier attempt may have been carried out.
        lost: bool,
    },
    /// What the caller hears.
    Store(StoreError),
}

impl AskError {
    /// Whether a lease is missing.
    pub(super) fn names_no_lease(&self) -> bool {
        matches!(self, Self::Refused { fault: Fault::Refused(Refusal::NoLease, _), .. })
    }

    /// The store's error for it.
    pub(super) fn error(
        self,
        members: &Members,
        doing: &'static str,
        lease: Option<LeaseId>,
    ) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Refused { fault, member, .. } => {
                let source = at(&members.name(member), fault.said());
                match fault {
                    Fault::Refused(refusal, _) => refused(doing, refusal, lease, source),
                    _ => StoreError::Backend { doing, source },
                }
            }
        }
    }
}

/// A call on its way through the members.
struct Round<'a> {
    members: &'a Members,
    until: Instant,
    pause: Duration,
    said: BTreeMap<usize, String>,
    lost: bool,
}

impl<'a> Round<'a> {
    fn new(members: &'a Members) -> Self {
        Self {
            members,
            until: Instant::now() + members.timeouts.call,
            pause: PAUSE,
            said: BTreeMap::new(),
            lost: false,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn failed(&mut self, doing: &'static str, member: usize, fault: Fault) -> Result<(), AskError> {
        if matches!(fault, Fault::Refused(..) | Fault::TooLong(_)) {
            return Err(AskError::Refused { fault, member, lost: self.lost });
        }
        tracing::debug!(doing, endpoint = &*self.members.name(member), said = fault.said(), "etcd");
        self.members.fails(member, Use::Calls);
        self.said.insert(member, fault.said().to_owned());
        Ok(())
    }

    async fn pause(&mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        // waits: nobody tells when a cluster has a leader again.
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(PAUSE_MOST);
    }

    fn over(&self, doing: &'static str) -> AskError {
        AskError::Store(StoreError::Backend { doing, source: std::sync::Arc::new(self.nowhere()) })
    }

    fn nowhere(&self) -> EtcdError {
        let named = self.members.listed().into_iter().map(|member| {
            let said = self.said.get(&member).map_or("not asked", String::as_str);
            format!("{}: {said}", self.members.name(member))
        });
        EtcdError::Nowhere { said: named.collect() }
    }
}

/// A request that a member without a leader refuses at once.
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// A key under the prefix that nobody has: keys have no control characters.
pub(super) fn nothing(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), b"\0"].concat()
}
