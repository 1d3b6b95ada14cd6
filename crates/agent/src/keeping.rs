//! What is kept of shards for the case that the store is lost: one file each, beside the guards.
//!
//! Nothing waits for it. What comes while something is written replaces what was to be written next,
//! so that at most one document per shard is on its way.
//!
//! Invariant: a file is the old document or the new one, as a whole; an older document never replaces
//! a newer one; what cannot be read is said to be so, not left out.
//!
//! Not here: what follows from it (`tanist_core::rebuild`), promises (`crate::guards`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use tanist_core::model::{HostId, Rev, ShardKey};
use tanist_link::wire::{FromAgent, Keep, KeptShard, Recalled};
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::guards::{SharedGuard, checksum};
use crate::layout::{self, Durable, Layout, is_plain};

/// How a document begins; its checksum and its JSON follow.
const MAGIC: &str = "tanist keep 1 ";
/// The largest file that is read, in bytes.
const MOST: u64 = 2 * Keep::MOST as u64;

/// What is to be done with a shard's file.
#[derive(Debug)]
enum Due {
    Keep(Box<Keep>),
    LetGo(Rev),
}

/// A question that is not answered yet.
#[derive(Debug)]
pub(crate) struct Question {
    /// Its number.
    pub(crate) number: u64,
    /// The shards of which there is anything, and their guards.
    pub(crate) shards: Vec<(ShardKey, SharedGuard)>,
}

/// The one who keeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    layout: Layout,
    due: Mutex<(BTreeMap<ShardKey, Due>, Option<Question>)>,
    news: Notify,
}

impl Keeper {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, due: Mutex::default(), news: Notify::new() }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ShardKey, Due>, &mut Option<Question>)) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let (shards, question) = &mut *due;
        change(shards, question);
        self.news.notify_one();
    }

    /// Keeps a document, soon.
    pub(crate) fn keep(&self, keep: Box<Keep>) {
        let key = keep.key();
        if ![key.group.as_str(), key.shard.as_str()].into_iter().all(is_plain) {
            return warn!(%key, "a shard with a name that cannot be a file's");
        }
        self.change(|shards, _| {
            let newer = |due: &Due| matches!(due, Due::Keep(known) if known.age() > keep.age());
            if !shards.get(&key).is_some_and(newer) {
                shards.insert(key, Due::Keep(keep));
            }
        });
    }

    /// Keeps nothing of a shard any more, soon.
    pub(crate) fn let_go(&self, key: ShardKey, rev: Rev) {
        self.change(|shards, _| {
            shards.insert(key, Due::LetGo(rev));
        });
    }

    /// Says what is kept once everything that was said before is done. The latest question counts.
    pub(crate) fn ask(&self, asked: Question) {
        self.change(|_, question| *question = Some(asked));
    }

    /// Keeps and answers, for ever; ends when nobody hears answers any more.
    pub(crate) async fn work(&self, host: &HostId, outbox: &mpsc::Sender<FromAgent>) {
        loop {
            self.news.notified().await;
            let (due, question) =
                std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
            for (key, due) in due {
                let layout = self.layout.clone();
                let done = tokio::task::spawn_blocking(move || settle(&layout, &key, &due)).await;
                if let Err(err) = done.map_err(io::Error::other).and_then(|done| done) {
                    warn!(%err, "what is needed to rebuild a shard could not be kept");
                }
            }
            let Some(question) = question else { continue };
            if self.answer(host, question, outbox).await.is_err() {
                return;
            }
        }
    }

    async fn answer(
        &self,
        host: &HostId,
        question: Question,
        outbox: &mpsc::Sender<FromAgent>,
    ) -> Result<(), mpsc::error::SendError<FromAgent>> {
        let number = question.number;
        let recalled = |shard: Option<KeptShard>| {
            let (host, shard) = (host.clone(), shard.map(Box::new));
            FromAgent::Recalled(Box::new(Recalled { host, number, shard }))
        };
        for (key, guard) in question.shards {
            let shard = self.one(key, &guard).await;
            outbox.send(recalled(Some(shard))).await?;
        }
        outbox.send(recalled(None)).await
    }

    async fn one(&self, key: ShardKey, guard: &SharedGuard) -> KeptShard {
        let promised = guard.lock().await.known();
        let (layout, of) = (self.layout.clone(), key.clone());
        let read = tokio::task::spawn_blocking(move || read(&layout, &of)).await;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        let (kept, mut trouble) = match read {
            Ok(kept) => (kept, None),
            Err(err) => (None, Some(err.to_string())),
        };
        if promised.is_none() {
            trouble = Some("what the host has promised cannot be read".to_owned());
        }
        let promised = promised.unwrap_or_default();
        KeptShard { key, promised: promised.rev, epoch: promised.epoch, kept, trouble }
    }
}

fn settle(layout: &Layout, key: &ShardKey, due: &Due) -> io::Result<()> {
    let path = layout.kept(key);
    // One that cannot be read is worth nothing beside one that can.
    let known = read(layout, key).ok().flatten();
    match due {
        Due::Keep(keep) if known.as_ref().is_some_and(|known| known.age() > keep.age()) => Ok(()),
        Due::Keep(keep) => {
            let json = serde_json::to_vec(keep)?;
            let mut bytes = format!("{MAGIC}{:016x}\n", checksum(&json)).into_bytes();
            bytes.extend(json);
            layout::replace(&path, &bytes, Durable::Yes)
        }
        Due::LetGo(rev) if known.as_ref().is_some_and(|known| known.rev() > *rev) => Ok(()),
        Due::LetGo(_) => match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// What is kept of a shard; nothing if nothing is.
fn read(layout: &Layout, key: &ShardKey) -> io::Result<Option<Box<Keep>>> {
    let path = layout.kept(key);
    let damaged = |what: &str| io::Error::other(format!("{} {what}", path.display()));
    match fs::metadata(&path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(damaged(&err.to_string())),
        Ok(meta) if meta.len() > MOST => return Err(damaged("is too large")),
        Ok(_) => {}
    }
    let bytes = fs::read(&path).map_err(|err| damaged(&err.to_string()))?;
    let body = bytes.strip_prefix(MAGIC.as_bytes()).and_then(|rest| {
        let (sum, json) = rest.split_at_checked(16)?;
        let json = json.strip_prefix(b"\n")?;
        (format!("{:016x}", checksum(json)).as_bytes() == sum).then_some(json)
    });
    let body = body.ok_or_else(|| damaged("is damaged"))?;
    let keep: Box<Keep> = serde_json::from_slice(body)
        .map_err(|err| damaged(&format!("is not understood: {err}")))?;
    if keep.key() == *key { Ok(Some(keep)) } else { Err(damaged("is of another shard")) }
}

#[cfg(test)]
mod tests;
