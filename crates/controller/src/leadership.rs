//! Who leads, of the servers that share a store.
//!
//! The leader says every [`BEAT`] that it is there. Who has heard nothing for long enough claims the
//! next term, by a compare-and-set that fails if the leader was heard meanwhile. No lease of the store
//! takes part: etcd's last for seconds, and nothing rests on nobody else believing to lead, because
//! every commit compares the term.
//!
//! What a leader may give away without asking the store, it may give only while it is sure
//! ([`Reign::is_sure`]), which ends before anybody else can have claimed.
//!
//! Invariant: of all that claim a term one gets it; a leader is no longer sure before another leads.
//!
//! Not here: the times (`tanist_core::leading`), a store that one process alone has open ([`Claim::alone`]), what leaders do
//! (`super::reconciler`).

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tanist_core::leading::{BEAT, claim_due, sure_until};
use tanist_core::model::{HostId, Instant, Term};
use tanist_store::{AnyStore, KeyValue, Revision, Store, StoreError, Txn, Watch};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::archive::{json, parse};
use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::keys;

/// Time between two looks at a store that does not answer.
const AGAIN: Duration = Duration::from_millis(200);
/// Beats after which the store may forget what was before: a minute's worth.
const REMEMBERED: u64 = 600;

/// The server that leads, for those who ask another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its term.
    pub term: Term,
    /// The host that it is on.
    pub host: HostId,
    /// What tells this claim from any other.
    nonce: u64,
}

/// A term that this process has claimed.
#[derive(Debug, Clone)]
pub struct Claim {
    pub(crate) term: Term,
    /// The revision of its key: whatever compares it fails once another leads.
    pub(crate) revision: Revision,
}

/// What the store says about the leadership.
#[derive(Debug, Default)]
struct Seen {
    term: Option<(Term, Revision)>,
    leader: Option<Leader>,
    /// When the leader was heard last, in revisions.
    beat: Revision,
    /// Everything up to this was read.
    read: Revision,
}

impl Seen {
    async fn read(store: &AnyStore) -> Result<Self, ControllerError> {
        let failed = |source| ControllerError::Store { doing: "reading who leads", source };
        let (term, _) = store.get(keys::TERM).await.map_err(failed)?;
        let (all, read) = store.range(keys::LEADERSHIP).await.map_err(failed)?;
        let term = term.map(|kv| Ok::<_, ControllerError>((parse(&kv)?, kv.mod_revision)));
        let of = |key: &str| all.iter().find(|kv| kv.key == key);
        Ok(Self {
            term: term.transpose()?,
            leader: of(keys::LEADER).map(parse).transpose()?,
            beat: of(keys::BEAT).map_or(Revision::ABSENT, |kv: &KeyValue| kv.mod_revision),
            read,
        })
    }
}

impl Claim {
    /// The leadership over a store that no other process can have open, at once.
    pub(crate) async fn alone(store: &AnyStore) -> Result<Self, ControllerError> {
        let seen = Seen::read(store).await?;
        let (claim, txn) = Self::next(&seen)?;
        let failed = |source| ControllerError::Store { doing: "taking the leadership", source };
        let outcome = store.txn(txn).await.map_err(failed)?;
        let revision = outcome.revision;
        outcome.committed.then_some(Self { revision, ..claim }).ok_or(ControllerError::Deposed)
    }

    /// The next term, and what makes it this process's if nobody else has claimed it.
    fn next(seen: &Seen) -> Result<(Self, Txn), ControllerError> {
        let (before, revision) = seen.term.unwrap_or((Term(0), Revision::ABSENT));
        let term = before.next();
        let txn = Txn::new().when_unchanged(keys::TERM, revision).put(keys::TERM, json(&term)?);
        Ok((Self { term, revision: Revision::ABSENT }, txn))
    }

    /// The term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// A transaction that fails once another leads.
    pub(crate) fn fenced(&self) -> Txn {
        Txn::new().when_unchanged(keys::TERM, self.revision)
    }

    /// Gives the leadership up, so that another takes it without waiting.
    ///
    /// # Errors
    /// What the store says; whoever waits then waits for silence.
    pub async fn resign(&self, store: &AnyStore) -> Result<(), StoreError> {
        let txn = self.fenced().delete(keys::LEADER).delete(keys::BEAT);
        store.txn(txn).await.map(drop)
    }
}

/// A server that would lead.
#[derive(Debug)]
pub struct Candidate {
    /// Its host.
    pub host: HostId,
    /// Whom it tells who leads.
    pub known: watch::Sender<Option<Leader>>,
}

fn note_trouble(doing: &str, source: &StoreError, said: bool) {
    let err = source as &dyn std::error::Error;
    if said {
        debug!(err, "{doing} fails");
    } else {
        warn!(err, "{doing} fails: nobody can take over the leadership meanwhile");
    }
}

/// What came of waiting.
enum Waited {
    /// It is this server's turn.
    Turn,
    /// What is known is not enough to go on.
    Anew,
}

impl Candidate {
    /// Waits until nobody else leads, and claims the next term. A store that does not answer is
    /// waited for.
    ///
    /// # Errors
    /// [`ControllerError::Document`] if the store holds what this release does not understand.
    pub async fn stand_by(&self, store: &AnyStore) -> Result<Claim, ControllerError> {
        let mut said = false;
        loop {
            match self.attempt(store).await {
                Ok(Some(claim)) => return Ok(claim),
                Ok(None) => said = false,
                Err(ControllerError::Store { doing, source }) => {
                    note_trouble(doing, &source, std::mem::replace(&mut said, true));
                    // waits: nothing tells when a store answers again.
                    sleep(AGAIN).await;
                }
                Err(err) => return Err(err),
            }
        }
    }

    async fn attempt(&self, store: &AnyStore) -> Result<Option<Claim>, ControllerError> {
        let mut seen = Seen::read(store).await?;
        self.known.send_replace(seen.leader.clone());
        if seen.leader.is_some() {
            let failed = |source| ControllerError::Store { doing: "watching who leads", source };
            let news = store.watch(keys::LEADERSHIP, seen.read.next()).await.map_err(failed)?;
            if let Waited::Anew = self.wait(news, &mut seen).await? {
                return Ok(None);
            }
        }
        self.claim(store, &seen).await
    }

    /// Follows what the leader says until it says no more.
    async fn wait(&self, mut news: Watch, seen: &mut Seen) -> Result<Waited, ControllerError> {
        loop {
            let heard = boot_time();
            let until = tokio::time::Instant::now() + claim_due(heard).since(heard);
            let batch = tokio::select! {
                // What was heard while this process did not run counts.
                biased;
                batch = news.next() => batch,
                // waits: silence is the event.
                () = sleep_until(until) => return Ok(Waited::Turn),
            };
            let failed = |source| ControllerError::Store { doing: "watching who leads", source };
            let Some(batch) = batch.transpose().map_err(failed)? else { return Ok(Waited::Anew) };
            if batch.events.iter().any(|event| event.key() == keys::LEADER) {
                // It is another one, or nobody.
                return Ok(Waited::Anew);
            }
            seen.beat = batch.revision;
        }
    }

    /// Claims the next term, unless somebody was heard or has claimed it since.
    async fn claim(&self, store: &AnyStore, seen: &Seen) -> Result<Option<Claim>, ControllerError> {
        let (claim, txn) = Claim::next(seen)?;
        let nonce = rand::rng().random();
        let leader = Leader { term: claim.term, host: self.host.clone(), nonce };
        let txn = txn
            .when_unchanged(keys::BEAT, seen.beat)
            .put(keys::LEADER, json(&leader)?)
            .delete(keys::BEAT);
        let won = match store.txn(txn).await {
            Ok(outcome) => outcome.committed.then_some(outcome.revision),
            Err(StoreError::Unknown { .. }) => {
                // The claim names itself.
                let found = Seen::read(store).await?;
                let ours = found.leader.as_ref() == Some(&leader);
                found.term.filter(|_| ours).map(|(_, revision)| revision)
            }
            Err(source) => {
                return Err(ControllerError::Store { doing: "claiming the leadership", source });
            }
        };
        let Some(revision) = won else { return Ok(None) };
        info!(term = %claim.term, "this server leads");
        self.known.send_replace(Some(leader));
        Ok(Some(Claim { revision, ..claim }))
    }
}

/// A leadership for as long as it lasts: it beats until this is dropped or another leads.
#[derive(Debug)]
pub struct Reign {
    beats: JoinHandle<()>,
    sure_until: watch::Receiver<Instant>,
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

impl Reign {
    /// Begins to beat.
    pub fn begin(store: AnyStore, claim: Claim) -> Self {
        let (sure, sure_until) = watch::channel(Instant::ZERO);
        let beats = tokio::spawn(beat(store, claim, Arc::new(sure)));
        Self { beats, sure_until }
    }

    /// Whether nobody else can lead at this moment.
    pub fn is_sure(&self, now: Instant) -> bool {
        now < *self.sure_until.borrow()
    }

    /// Until when nobody else can lead, as it becomes known.
    pub(crate) fn sureness(&self) -> watch::Receiver<Instant> {
        self.sure_until.clone()
    }

    /// Resolves when another leads. Cancel-safe.
    pub async fn over(&mut self) {
        // Nothing else ends it but its own drop.
        while self.sure_until.changed().await.is_ok() {}
    }
}

async fn beat(store: AnyStore, claim: Claim, sure: Arc<watch::Sender<Instant>>) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number: u64 = 0;
    let mut forget = None;
    loop {
        ticks.tick().await;
        number += 1;
        let sent = boot_time();
        let txn = claim.fenced().put(keys::BEAT, number.to_string());
        match store.txn(txn).await {
            Ok(outcome) if outcome.committed => {
                sure.send_replace(sure_until(sent));
                if number.is_multiple_of(REMEMBERED) {
                    let before = forget.replace(outcome.revision);
                    tidy(&store, before).await;
                }
            }
            Ok(_) => {
                warn!(term = %claim.term, "another server leads");
                return;
            }
            Err(err) => {
                let err = &err as &dyn std::error::Error;
                warn!(err, "the store does not hear that this server leads");
            }
        }
    }
}

/// Beats are many, and nobody needs those of a minute ago.
async fn tidy(store: &AnyStore, before: Option<Revision>) {
    let Some(before) = before else { return };
    if let Err(err) = store.compact(before).await {
        debug!(err = &err as &dyn std::error::Error, "the store keeps its history");
    }
}

#[cfg(test)]
mod tests;
