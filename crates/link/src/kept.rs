//! A connection that is used again for the next request.
//!
//! Whoever asks a fleet's leader several times a second should not shake hands each time. But a leader
//! may vanish without a word: one that does not answer at once is asked no more, and the fleet is asked
//! anew.
//!
//! Invariant: a request may be done twice, so only such go this way for which that is the same as once.
//!
//! Not here: finding who leads (`crate::client`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::time::timeout;

use crate::client::request;

/// How long whoever answered before may take now.
const PROMPT: Duration = Duration::from_millis(100);

/// A connection to a server, as one request after another uses it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) peer: Arc<str>,
    pub(crate) requests: SendRequest<Body>,
}

/// The one that was used last, if it is still good. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Arc<Line>>>>);

impl Kept {
    /// Uses a connection from now on.
    pub(crate) fn keep(&self, line: Line) {
        *self.line() = Some(Arc::new(line));
    }

    /// The answer of whoever answered last, if there is one and it still leads.
    pub(crate) async fn ask<T>(
        &self,
        method: &Method,
        uri: &str,
        make: impl Fn(&Arc<str>) -> (T, Body),
    ) -> Option<(T, Arc<str>, Response<Incoming>)> {
        let line = self.line().clone()?;
        let (kept, body) = make(&line.peer);
        let mut requests = line.requests.clone();
        let asked = request(&line.peer, method, uri, body).ok()?;
        match timeout(PROMPT, requests.send_request(asked)).await {
            Ok(Ok(answer)) if answer.status() != StatusCode::MISDIRECTED_REQUEST => {
                Some((kept, Arc::clone(&line.peer), answer))
            }
            Ok(_) | Err(_) => {
                // Another may have taken its place meanwhile.
                self.line().take_if(|now| Arc::ptr_eq(now, &line));
                None
            }
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Option<Arc<Line>>> {
        // It is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
