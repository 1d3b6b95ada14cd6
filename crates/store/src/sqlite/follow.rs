//! Following the store: history from the log, then each new revision as it comes.
//!
//! A watcher is woken by the newest revision and fetches what it has not seen from the log. So
//! there is no hand-over between past and live changes in which one could be missed, and a slow
//! watcher costs no memory: it only falls behind, and is told so when the log is trimmed.
//!
//! Invariant: `next` is the first revision that was not yet looked at; it only grows.
//!
//! Not here: reading the log (`reader`).

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot, watch};

use super::reader::{Page, Read};
use super::rows::State;
use crate::error::StoreError;
use crate::model::EventBatch;
use crate::watch::Watch;

/// A watcher's place in the history.
pub(super) struct Follow {
    reader: mpsc::Sender<Read>,
    head: watch::Receiver<State>,
    prefix: String,
    next: u64,
    ready: VecDeque<EventBatch>,
}

impl Follow {
    /// Starts at revision `from`.
    pub(super) const fn new(
        reader: mpsc::Sender<Read>,
        head: watch::Receiver<State>,
        prefix: String,
        from: u64,
    ) -> Self {
        Self { reader, head, prefix, next: from, ready: VecDeque::new() }
    }

    /// Fetches the first page, which also shows whether the start is still there.
    pub(super) async fn start(mut self) -> Result<Watch, StoreError> {
        self.fetch().await?;
        Ok(Watch::new(futures_util::stream::unfold(self, Self::step)))
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let question = Read::Log { prefix: self.prefix.clone(), from: self.next, reply };
        self.reader.send(question).await.map_err(|_| StoreError::Closed)?;
        let Page { batches, next } = answer.await.map_err(|_| StoreError::Closed)??;
        self.next = next;
        self.ready = batches.into();
        Ok(())
    }

    async fn step(mut self) -> Option<(Result<EventBatch, StoreError>, Self)> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some((Ok(batch), self));
            }
            let next = self.next;
            if self.head.wait_for(|state| state.revision >= next).await.is_err() {
                return Some((Err(StoreError::Closed), self));
            }
            if let Err(error) = self.fetch().await {
                return Some((Err(error), self));
            }
        }
    }
}
