//! What can go wrong between two roles.
//!
//! Invariant: an error says which peer was being talked to, so that a person knows where to look.
//!
//! Not here: errors of the API itself, which are answers (`crate::api::ApiError`).

use std::time::Duration;

use crate::api::ApiError;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody listens, the socket is not ours to use, or who answers is not who was meant.
    #[error("connecting to {peer}")]
    Connect {
        /// The peer.
        peer: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket could not be offered.
    #[error("listening on {peer}")]
    Listen {
        /// The peer.
        peer: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// HTTP failed below the messages.
    #[error("talking to {peer}")]
    Http {
        /// The peer.
        peer: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// A message could not be written as JSON or read from it.
    #[error("a message to or from {peer} is not understood")]
    Message {
        /// The peer.
        peer: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A request could not be put together.
    #[error("building a request to {peer}")]
    Request {
        /// The peer.
        peer: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// A message or an answer is larger than allowed.
    #[error("a message from {peer} is larger than {limit} bytes")]
    TooLarge {
        /// The peer.
        peer: String,
        /// The limit.
        limit: usize,
    },
    /// The peer did not answer in time. Whether it did what it was asked is not known.
    #[error("{peer} did not answer a {method} within {limit:?}")]
    TimedOut {
        /// The peer.
        peer: String,
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
