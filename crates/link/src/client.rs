//! Talking to a role on its unix socket.
//!
//! One connection per request or conversation: a unix socket costs nothing to open, and a broken
//! connection then concerns nobody else.
//!
//! Invariant: an answer is either the type that was asked for or an error with the peer's own words.
//!
//! Not here: retries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::api::ApiError;
use crate::duplex::{Duplex, Receiver, receiver};
use crate::{LinkError, duplex};

/// The largest answer, in bytes. Half of it is for what surfaces remember of groups, which they keep
/// within that: the status of the most groups that there can be (500), each with 64 KiB.
const ANSWER_LIMIT: usize = 64 << 20;

/// A role's address.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    limit: Option<Duration>,
}

impl Client {
    /// The role that listens on `path`; nothing is dialled yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limit: None }
    }

    /// With an end to waiting: each document is there after `limit`, or the call fails. Without it
    /// whoever calls decides for how long. Streams and conversations have no end of their own.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `GET`s a JSON document.
    ///
    /// # Errors
    /// [`LinkError::Refused`] with the peer's own error, or what went wrong below it.
    pub async fn get<T: DeserializeOwned>(&self, uri: &str) -> Result<T, LinkError> {
        self.request(Method::GET, uri, Body::empty()).await
    }

    /// `POST`s a JSON document and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        uri: &str,
        body: &B,
    ) -> Result<T, LinkError> {
        let json = serde_json::to_vec(body)
            .map_err(|source| LinkError::Message { path: self.path.clone(), source })?;
        self.request(Method::POST, uri, Body::from(json)).await
    }

    /// `DELETE`s a resource and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(&self, uri: &str) -> Result<T, LinkError> {
        self.request(Method::DELETE, uri, Body::empty()).await
    }

    /// `GET`s a stream of JSON lines.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn follow<T: DeserializeOwned>(&self, uri: &str) -> Result<Receiver<T>, LinkError> {
        let response = self.send(Method::GET, uri, Body::empty()).await?;
        let response = self.accepted(response).await?;
        Ok(receiver(&self.path, Body::new(response.into_body())))
    }

    /// Opens a conversation.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn open<Out, In>(&self, uri: &str) -> Result<Duplex<Out, In>, LinkError> {
        let (sender, body) = duplex::outgoing(&self.path);
        let response = self.send(Method::POST, uri, body).await?;
        let response = self.accepted(response).await?;
        Ok(Duplex { sender, receiver: receiver(&self.path, Body::new(response.into_body())) })
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: Body,
    ) -> Result<T, LinkError> {
        let called = method.clone();
        let answered = async {
            let response = self.send(method, uri, body).await?;
            let response = self.accepted(response).await?;
            self.whole(response).await
        };
        let bytes = match self.limit {
            Some(limit) => timeout(limit, answered).await.unwrap_or_else(|_| {
                Err(LinkError::TimedOut { path: self.path.clone(), method: called, limit })
            })?,
            None => answered.await?,
        };
        serde_json::from_slice(&bytes)
            .map_err(|source| LinkError::Message { path: self.path.clone(), source })
    }

    /// Turns an answer that is not a success into the peer's own error.
    async fn accepted(
        &self,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, LinkError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.whole(response).await?;
        let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| unexplained(status, &bytes));
        Err(LinkError::Refused(error))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, LinkError> {
        let limited = Limited::new(response.into_body(), ANSWER_LIMIT);
        let too_large = |_| LinkError::TooLarge { path: self.path.clone(), limit: ANSWER_LIMIT };
        Ok(limited.collect().await.map_err(too_large)?.to_bytes())
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        body: Body,
    ) -> Result<Response<Incoming>, LinkError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| LinkError::Connect { path: self.path.clone(), source })?;
        let http = |source| LinkError::Http { path: self.path.clone(), source };
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(http)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("http://tanist{uri}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|source| LinkError::Request { path: self.path.clone(), source })?;
        requests.send_request(request).await.map_err(http)
    }
}

fn unexplained(status: StatusCode, body: &[u8]) -> ApiError {
    let text = String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap_or_default());
    ApiError::new("T500", format!("the peer answered {status}: {text}"), "see the log of the role")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::{Listener, serve};

    #[tokio::test]
    async fn a_peer_that_does_not_answer_is_waited_for_as_long_as_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("role.sock");
        let listener = Listener::bind(&socket).await.unwrap();
        let routes = Router::new()
            .route("/silent", get(std::future::pending::<()>).post(std::future::pending::<()>))
            .route("/prompt", get(|| async { axum::Json(7) }));
        let serving = tokio::spawn(serve(listener, routes));
        let limit = Duration::from_millis(50);
        let client = Client::new(&socket).within(limit);
        let read = client.get::<()>("/silent").await.unwrap_err();
        assert!(matches!(&read, LinkError::TimedOut { method, .. } if method == Method::GET));
        let written = client.post::<_, ()>("/silent", &7).await.unwrap_err();
        assert!(matches!(&written, LinkError::TimedOut { method, .. } if method == Method::POST));
        let client = Client::new(&socket).within(Duration::from_secs(20));
        assert_eq!(client.get::<u8>("/prompt").await.unwrap(), 7);
        serving.abort();
    }

    #[tokio::test]
    async fn an_answer_may_be_as_large_as_the_largest_status_and_no_larger() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("role.sock");
        let listener = Listener::bind(&socket).await.unwrap();
        let text = |bytes: usize| move || async move { axum::Json("x".repeat(bytes)) };
        let routes = Router::new()
            .route("/large", get(text(500 * (64 << 10))))
            .route("/endless", get(text(ANSWER_LIMIT)));
        let serving = tokio::spawn(serve(listener, routes));
        let client = Client::new(&socket);
        let large: String = client.get("/large").await.unwrap();
        assert_eq!(large.len(), 500 * (64 << 10));
        let refused = client.get::<String>("/endless").await.unwrap_err();
        assert!(matches!(refused, LinkError::TooLarge { .. }), "{refused}");
        serving.abort();
    }
}
