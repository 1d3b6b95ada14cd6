//! What an error of etcd says about the request that met it.
//!
//! A caller must know whether a transaction was applied. etcd has no field for that; it follows from
//! where in its source an error arises (`server/etcdserver/v3_server.go`, `api/v3rpc/*.go`, `apply/`,
//! and `raft.go`; the same in 3.4, 3.5 and 3.6):
//!
//! | error | arises | so a transaction was |
//! |---|---|---|
//! | no connection could be made (`ConnectError`) | here | never sent |
//! | `etcdserver: no leader` | interceptor, because requests say `hasleader` | never proposed |
//! | `etcdserver: not capable`, `rpc not supported for learner` | interceptor | never proposed |
//! | `etcdserver: too many requests` | before the proposal: this member lags | never proposed |
//! | `raft proposal dropped` | raft, before the proposal enters the log or is forwarded | never proposed |
//! | `etcdserver: mvcc: database space exceeded` | before the proposal, or as the answer of applying it | not applied |
//! | `etcdserver: requested lease not found` | checks of applying it, before its first write | not applied |
//! | `etcdserver: member not found` | checks of a change of members | not applied |
//! | other `InvalidArgument`, `FailedPrecondition`, `PermissionDenied`, `Unauthenticated`, `OutOfRange` of `etcdserver:` | checks before the proposal or before its first write | not applied |
//! | `request timed out` with or without `possibly due to …`, `server stopped`, `request canceled`, `context deadline exceeded` | while waiting for a proposal that is under way | perhaps applied |
//! | `leader changed`, `unhealthy cluster`, `corrupt cluster` | never for transactions, as far as is known | perhaps applied |
//! | any other code or text, a broken connection, no answer in time | anywhere | perhaps applied |
//!
//! Invariant: what is not in the table is `Lost`.
//!
//! Not here: who is asked next (`members`).

use std::error::Error;
use std::sync::Arc;

use tonic::{Code, ConnectError, Status};

use crate::error::{Cause, StoreError};
use crate::model::LeaseId;

/// What tonic says of a message that is longer than it shall be.
const TOO_LONG: &str = "message length too large";

/// What went wrong at etcd.
#[derive(Debug, thiserror::Error)]
pub(super) enum EtcdError {
    /// One member's answer, or that there was none.
    #[error("etcd at {endpoint}: {said}")]
    At {
        /// The member's address.
        endpoint: String,
        /// What it said.
        said: String,
    },
    /// No member could serve.
    #[error("no endpoint of etcd serves: {}", .said.join("; "))]
    Nowhere {
        /// What each said last, with its address.
        said: Vec<String>,
    },
}

/// Why an attempt at one member failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was applied; another member may serve.
    Elsewhere(String),
    /// Nothing was applied, and no other member would say otherwise.
    Refused(Refusal, String),
    /// Nobody knows whether it was applied.
    Lost(String),
    /// The answer to a read is longer than we take.
    TooLong(String),
}

/// What a member refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its database has its largest size.
    Full,
    /// There is no such lease.
    NoLease,
    /// The revision is gone.
    Compacted,
    /// The revision does not exist yet.
    Future,
    /// Anything else about the request or its sender.
    Other,
}

impl Fault {
    /// What a member's answer means.
    pub(super) fn of(status: &Status) -> Self {
        let said = text(status);
        if has_source::<ConnectError>(status) {
            return Self::Elsewhere(said);
        }
        let message = status.message();
        if message == "raft proposal dropped" {
            return Self::Elsewhere(said);
        }
        if status.code() == Code::OutOfRange && message.contains(TOO_LONG) {
            return Self::TooLong(said);
        }
        let Some(reason) = message.strip_prefix("etcdserver: ") else { return Self::Lost(said) };
        match (status.code(), reason) {
            (Code::Unavailable, "no leader")
            | (Code::ResourceExhausted, "too many requests")
            | (Code::FailedPrecondition, "not capable" | "rpc not supported for learner")
            | (Code::Unavailable, "rpc not supported for learner") => Self::Elsewhere(said),
            (Code::ResourceExhausted, "mvcc: database space exceeded") => {
                Self::Refused(Refusal::Full, said)
            }
            (Code::NotFound, "member not found") => Self::Refused(Refusal::Other, said),
            (Code::NotFound, "requested lease not found") => Self::Refused(Refusal::NoLease, said),
            (Code::OutOfRange, "mvcc: required revision has been compacted") => {
                Self::Refused(Refusal::Compacted, said)
            }
            (Code::OutOfRange, "mvcc: required revision is a future revision") => {
                Self::Refused(Refusal::Future, said)
            }
            (
                Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::OutOfRange,
                _,
            ) => Self::Refused(Refusal::Other, said),
            _ => Self::Lost(said),
        }
    }

    /// What was said.
    pub(super) fn said(&self) -> &str {
        match self {
            Self::Elsewhere(said) | Self::Refused(_, said) => said,
            Self::Lost(said) | Self::TooLong(said) => said,
        }
    }
}

/// The error of one member, for the store's errors.
pub(super) fn at(endpoint: &str, said: &str) -> Cause {
    Arc::new(EtcdError::At { endpoint: endpoint.to_owned(), said: said.to_owned() })
}

/// The store's error for a refusal of one member.
pub(super) fn refused(
    doing: &'static str,
    refusal: Refusal,
    lease: Option<LeaseId>,
    source: Cause,
) -> StoreError {
    match (refusal, lease) {
        (Refusal::Full, _) => StoreError::Full { doing, source },
        (Refusal::NoLease, Some(id)) => StoreError::LeaseNotFound(id),
        _ => StoreError::Backend { doing, source },
    }
}

fn has_source<E: Error + 'static>(status: &Status) -> bool {
    sources(status).any(|error| error.is::<E>())
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// One line: the message, the reasons behind it, and the code where the message is not etcd's.
fn text(status: &Status) -> String {
    let mut said = status.message().to_owned();
    if !said.starts_with("etcdserver: ") {
        for reason in sources(status).map(ToString::to_string) {
            if !reason.is_empty() && !said.contains(&reason) {
                said = if said.is_empty() { reason } else { format!("{said}: {reason}") };
            }
        }
        said = format!("{said} ({:?})", status.code());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Fault {
        Fault::of(&Status::new(code, message))
    }

    #[test]
    fn only_what_certainly_was_not_proposed_goes_elsewhere() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::FailedPrecondition, "etcdserver: not capable"),
            (Code::Unavailable, "etcdserver: rpc not supported for learner"),
            (Code::Unknown, "raft proposal dropped"),
        ] {
            assert!(matches!(of(code, message), Fault::Elsewhere(_)), "{message}");
        }
    }

    #[test]
    fn a_proposal_that_may_be_under_way_is_lost() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Cancelled, "etcdserver: request canceled"),
            (Code::DeadlineExceeded, "etcdserver: context deadline exceeded"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            (Code::Unavailable, "no leader"),
            (Code::Unavailable, "transport is closing"),
            (Code::Unknown, "etcdserver: something new"),
            (Code::InvalidArgument, "a proxy's own opinion"),
        ] {
            assert!(matches!(of(code, message), Fault::Lost(_)), "{message}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_refused() {
        let refusal = |code, message| match of(code, message) {
            Fault::Refused(refusal, _) => refusal,
            other => panic!("{other:?}"),
        };
        let space = "etcdserver: mvcc: database space exceeded";
        assert_eq!(refusal(Code::ResourceExhausted, space), Refusal::Full);
        let lease = "etcdserver: requested lease not found";
        assert_eq!(refusal(Code::NotFound, lease), Refusal::NoLease);
        let gone = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(refusal(Code::OutOfRange, gone), Refusal::Compacted);
        let future = "etcdserver: mvcc: required revision is a future revision";
        assert_eq!(refusal(Code::OutOfRange, future), Refusal::Future);
        let denied = "etcdserver: permission denied";
        assert_eq!(refusal(Code::PermissionDenied, denied), Refusal::Other);
        let large = "etcdserver: request is too large";
        assert_eq!(refusal(Code::InvalidArgument, large), Refusal::Other);
    }

    #[test]
    fn what_was_said_is_one_line_with_its_reasons() {
        let mut status = Status::unavailable("transport error");
        status.set_source(Arc::new(std::io::Error::other("received fatal alert")));
        let said = "transport error: received fatal alert (Unavailable)";
        assert_eq!(Fault::of(&status), Fault::Lost(said.to_owned()));
    }
}
