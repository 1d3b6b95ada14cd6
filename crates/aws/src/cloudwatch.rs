//! Operations of cloudwatch.
//!
//! Invariant: none yet.
//!
//! Not here: the wire.

use crate::service::{Answer, Ask, Context};

/// Operations that are built; every other is an invalid action.
pub(crate) const OPERATIONS: &[&str] = &[];

/// What a request is about, as ARNs, for the policies of its caller.
pub(crate) fn resources(_context: &Context, _ask: &Ask) -> Vec<String> {
    vec!["*".to_owned()]
}

/// Carries a request out.
pub(crate) async fn answer(_context: &Context, ask: &Ask) -> Answer {
    Err(ask.unknown())
}
