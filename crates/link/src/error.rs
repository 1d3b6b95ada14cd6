//! What can go wrong between two roles.
//!
//! Invariant: an error says which peer was being talked to, so that a person knows where to look.
//!
//! Not here: errors of the API itself, which are answers (`crate::api::ApiError`).

use std::path::PathBuf;
use std::time::Duration;

use crate::api::ApiError;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens, or the socket is not ours to use.
    #[error("connecting to {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket could not be offered.
    #[error("listening on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// HTTP failed below the messages.
    #[error("talking to {path}")]
    Http {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// A message could not be written as JSON or read from it.
    #[error("a message to or from {path} is not understood")]
    Message {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A request could not be put together.
    #[error("building a request to {path}")]
    Request {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// A message or an answer is larger than allowed.
    #[error("a message from {path} is larger than {limit} bytes")]
    TooLarge {
        /// The socket.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The peer did not answer in time. Whether it did what it was asked is not known.
    #[error("{path} did not answer a {method} within {limit:?}")]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// What it was asked to do; a `GET` changes nothing.
        method: http::Method,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The conversation is over.
    #[error("the peer has closed the conversation")]
    Closed,
    /// The peer answered with an error of the API.
    #[error(transparent)]
    Refused(ApiError),
}

impl LinkError {
    /// The peer cannot be reached at all (rather than having refused something).
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Http { .. } | Self::Closed)
    }
}
