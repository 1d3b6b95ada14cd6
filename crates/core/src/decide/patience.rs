//! For how long something is put up with before it is acted upon, or given up.
//!
//! The caller remembers since when; what that means is judged here, so that it can be tested without
//! waiting and tuned beside the other limits.
//!
//! Invariant: nothing here looks at a clock or remembers anything.
//!
//! Not here: which move would cure (`super::cure`), whether a request can be carried out
//! (`super::vacate`).

use crate::model::{Instant, Limits, RequestId, ShardTopology};

/// Whether a primary that a move would cure since `since` is to be moved now; at most one such move
/// within the flap limit, because a disk that fills up everywhere would chase the primary around.
pub fn move_due(since: Instant, last_move: Option<Instant>, limits: &Limits, now: Instant) -> bool {
    let rests = last_move.is_some_and(|moved| now.since(moved) < limits.flap);
    !rests && now.since(since) >= limits.refusing
}

/// Whether a request that waits since `since` is to be dropped: carried out much later, it would
/// surprise whoever made it. A vacancy that serves it is beyond recall.
pub fn request_expired(
    decided: &ShardTopology,
    request: RequestId,
    since: Instant,
    limits: &Limits,
    now: Instant,
) -> bool {
    let served = decided.vacancy().is_some_and(|vacancy| vacancy.request == Some(request));
    !served && now.since(since) > limits.request
}
