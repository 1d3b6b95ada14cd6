//! A watch: the stream of changes under a prefix.
//!
//! One concrete type for every backend, so that whoever holds watches of several prefixes can keep
//! them in one collection.
//!
//! Invariant: batches come in strictly growing revisions; none is left out and none comes twice.
//! After an error the stream ends.
//!
//! Not here: where the batches come from; each backend builds its own stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use crate::error::StoreError;
use crate::model::EventBatch;

type Batches = Pin<Box<dyn Stream<Item = Result<EventBatch, StoreError>> + Send>>;

/// The changes under a prefix, from a given revision on and without an end.
pub struct Watch {
    batches: Option<Batches>,
}

impl Watch {
    /// For backends: wraps a stream that keeps this module's invariant.
    pub fn new(
        batches: impl Stream<Item = Result<EventBatch, StoreError>> + Send + 'static,
    ) -> Self {
        Self { batches: Some(Box::pin(batches)) }
    }

    /// Waits for the next batch; `None` after an error was returned. Safe to cancel: a batch that
    /// was not returned is returned by the next call.
    ///
    /// # Errors
    /// `Compacted` when this watch fell behind the retained history, `Closed` when the store was
    /// closed, and the errors of reading.
    pub async fn next(&mut self) -> Option<Result<EventBatch, StoreError>> {
        StreamExt::next(self).await
    }
}

impl Stream for Watch {
    type Item = Result<EventBatch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(batches) = self.batches.as_mut() else { return Poll::Ready(None) };
        let item = std::task::ready!(batches.as_mut().poll_next(cx));
        if !matches!(item, Some(Ok(_))) {
            self.batches = None;
        }
        Poll::Ready(item)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("ended", &self.batches.is_none()).finish()
    }
}
