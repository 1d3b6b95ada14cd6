//! The orderly end of everything: who was asked to stop, and what came of it.
//!
//! Invariant: it ends, with the hosts named that did not stop.
//!
//! Not here: stopping engines (`tanist-agent`).

use std::collections::BTreeSet;

use tanist_core::model::{HostId, Instant};
use tanist_link::api::ApiError;

use crate::inputs::Reply;

/// The orderly end of everything.
#[derive(Debug)]
pub(crate) struct Stopping {
    pub(crate) reply: Reply<()>,
    pub(crate) waiting: BTreeSet<HostId>,
    /// When whoever has not stopped is given up.
    pub(crate) until: Instant,
}

impl Stopping {
    /// The answer, once there is one.
    pub(crate) fn outcome(&self, now: Instant) -> Option<Result<(), ApiError>> {
        if self.waiting.is_empty() {
            return Some(Ok(()));
        }
        let silent: Vec<&str> = self.waiting.iter().map(HostId::as_str).collect();
        let message = format!("these hosts did not stop their engines: {}", silent.join(", "));
        let remedy = "see dev.log; then run tanist down again";
        (now >= self.until).then(|| Err(ApiError::new("T502", message, remedy)))
    }
}
