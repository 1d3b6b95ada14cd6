//! A request's body, read whole.
//!
//! The signature covers its hash, so nothing can be done before the last byte is there. Until then
//! nobody knows who sends it: what all of them together may hold in memory is bounded.
//!
//! Invariant: a [`Held`] body is at most [`MAX_BODY_BYTES`] long, and its memory is counted in the
//! budget for as long as it or its [`Place`] exists.
//!
//! Not here: what the bytes mean.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::limits::Limits;
use crate::error::Fault;
use crate::request::MAX_BODY_BYTES;

/// The budget is counted in pieces of this size.
const PIECE: usize = 4096;

/// The memory for the bodies of all requests.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / PIECE)))
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.0.available_permits() * PIECE
    }
}

/// A whole body.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    counted: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Lets the bytes go, and keeps their place in the budget for what was made of them.
    pub(super) fn into_place(self) -> Place {
        Place { _counted: self.counted }
    }

    fn add(&mut self, data: &Bytes, budget: &Budget) -> Result<(), Fault> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            // As `Vec` grows, but counted before it does.
            let doubled = (self.bytes.capacity() * 2).min(MAX_BODY_BYTES);
            let capacity = needed.max(doubled).div_ceil(PIECE) * PIECE;
            let more = (capacity - self.bytes.capacity()).div_ceil(PIECE);
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let permit = Arc::clone(&budget.0).try_acquire_many_owned(more);
            let permit = permit.map_err(|_| Fault::Busy("Too many requests at one time."))?;
            match &mut self.counted {
                Some(counted) => counted.merge(permit),
                none => *none = Some(permit),
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

/// A place in the budget.
#[derive(Debug)]
pub(super) struct Place {
    _counted: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) fault: Fault,
    /// All of it has come, so that the connection can go on.
    pub(super) is_over: bool,
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self { fault, is_over: false }
    }
}

/// Reads a body until `deadline`.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::TimedOut`], [`Fault::Busy`] or [`Fault::NotHttp`].
pub(super) async fn read(
    mut body: Incoming,
    waits_for_leave: bool,
    deadline: Instant,
    budget: &Budget,
    limits: &Limits,
) -> Result<Held, Unread> {
    let too_large = Fault::TooLarge { limit: MAX_BODY_BYTES };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // Who asks first (`Expect: 100-continue`) is told before anything is sent.
    let most = if waits_for_leave { MAX_BODY_BYTES } else { limits.discarded_bytes };
    if announced > most {
        return Err(too_large.into());
    }
    let mut held = Held::default();
    let mut received = 0;
    loop {
        let frame = timeout_at(deadline, body.frame()).await;
        let seconds = limits.request.as_secs();
        let Some(frame) = frame.map_err(|_| Fault::TimedOut { seconds })? else { break };
        let frame = frame.map_err(|_| Fault::NotHttp {
            status: 400,
            what: "the body is not what its header fields say",
        })?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > limits.discarded_bytes {
            return Err(too_large.into());
        }
        if received > MAX_BODY_BYTES {
            held = Held::default();
        } else {
            held.add(&data, budget)?;
        }
    }
    if received > MAX_BODY_BYTES {
        return Err(Unread { fault: too_large, is_over: true });
    }
    Ok(held)
}
