//! Talking to a role: on its unix socket, or over a fleet's network.
//!
//! One connection per request or conversation: a broken connection then concerns nobody else, and
//! the cost of opening one is nothing to a unix socket and little to a fleet, which converses. Only who
//! asks all the time keeps one ([`Client::kept`]).
//!
//! Invariant: an answer is either the type that was asked for or an error with the peer's own words.
//! What may have been done is not asked for a second time, unless the caller says that it may be.
//!
//! Not here: retries; which server of a fleet is dialled (`crate::fleet`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::api::ApiError;
use crate::duplex::{Duplex, Receiver, receiver};
use crate::fleet::Servers;
use crate::kept::{Kept, Line};
use crate::{LinkError, duplex};

/// The largest answer, in bytes. Half of it is for what surfaces remember of groups, which they keep
/// within that; the other for the status of the most groups that there can be (2,500), each with 13 KiB.
const ANSWER_LIMIT: usize = 64 << 20;
/// How often a peer on the network is asked whether it is still there, and how long it may take to
/// say so.
pub(crate) const ALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// An answer that is larger, in bytes, takes longer to be understood than others should wait.
const LARGE: usize = 256 << 10;

/// After how long without an answer to a call the next server is dialled as well.
const NEXT_DIAL: Duration = Duration::from_millis(100);
/// After how long a server that does not lead is asked again, while another is still being dialled.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Time between two rounds of servers of which none leads.
const AGAIN: Duration = Duration::from_millis(50);

/// A role's address.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    limit: Option<Duration>,
    /// How long a fleet may take to have somebody who leads.
    patience: Duration,
    /// The connection that is used again, if any is.
    kept: Option<Kept>,
}

/// How a role is reached.
#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Fleet(Arc<Servers>),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Fleet(servers) => write!(f, "{servers}"),
        }
    }
}

/// What an answer can be.
pub trait Answered: DeserializeOwned + Send + 'static {}

impl<T: DeserializeOwned + Send + 'static> Answered for T {}

/// An answer that has begun, and who gives it.
struct Answer {
    peer: Arc<str>,
    response: Response<Incoming>,
    /// For more requests.
    line: Option<Line>,
}

impl Client {
    /// The role that listens on `path`; nothing is dialled yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::by(Way::Socket(path.into()))
    }

    /// The one of these servers that leads; nothing is dialled yet.
    pub fn fleet(servers: Arc<Servers>) -> Self {
        Self::by(Way::Fleet(servers))
    }

    fn by(way: Way) -> Self {
        Self { way, limit: None, patience: Duration::ZERO, kept: None }
    }

    /// With one connection for all of its requests to a fleet, as long as whoever leads answers at
    /// once. Only for what may be done twice: a request that is not answered at once is made again.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { kept: Some(Kept::default()), ..self }
    }

    /// With an end to waiting: each document is there after `limit`, or the call fails. Without it
    /// whoever calls decides for how long. Streams and conversations have no end of their own.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// With patience for a fleet in which nobody leads at the moment: as nobody can have done what is
    /// asked, it is asked again until `patience` is over.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whom it talks to, in words.
    pub fn peer(&self) -> String {
        self.way.to_string()
    }

    /// Whether there are others to ask.
    pub fn is_fleet(&self) -> bool {
        matches!(self.way, Way::Fleet(_))
    }

    /// The server that was talked to last is tried last from now on.
    pub fn pass_over(&self) {
        if let Way::Fleet(servers) = &self.way {
            servers.pass_over();
        }
    }

    /// `GET`s a JSON document.
    ///
    /// # Errors
    /// [`LinkError::Refused`] with the peer's own error, or what went wrong below it.
    pub async fn get<T: Answered>(&self, uri: &str) -> Result<T, LinkError> {
        self.request(Method::GET, uri, Bytes::new()).await
    }

    /// `POST`s a JSON document and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<B: Serialize, T: Answered>(
        &self,
        uri: &str,
        body: &B,
    ) -> Result<T, LinkError> {
        let json = serde_json::to_vec(body)
            .map_err(|source| LinkError::Message { peer: self.peer(), source })?;
        self.request(Method::POST, uri, Bytes::from(json)).await
    }

    /// `DELETE`s a resource and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: Answered>(&self, uri: &str) -> Result<T, LinkError> {
        self.request(Method::DELETE, uri, Bytes::new()).await
    }

    /// `GET`s a stream of JSON lines.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn follow<T: DeserializeOwned>(&self, uri: &str) -> Result<Receiver<T>, LinkError> {
        let ((), answer) = self.send(&Method::GET, uri, |_| ((), Body::empty())).await?;
        let answer = accepted(answer).await?;
        Ok(receiver(&answer.peer, Body::new(answer.response.into_body())))
    }

    /// Opens a conversation.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn open<Out, In>(&self, uri: &str) -> Result<Duplex<Out, In>, LinkError> {
        let (sender, answer) =
            self.send(&Method::POST, uri, |peer| duplex::outgoing::<Out>(peer)).await?;
        let answer = accepted(answer).await?;
        let receiver = receiver(&answer.peer, Body::new(answer.response.into_body()));
        Ok(Duplex { sender, receiver })
    }

    async fn request<T: Answered>(
        &self,
        method: Method,
        uri: &str,
        body: Bytes,
    ) -> Result<T, LinkError> {
        let answered = async {
            let sent = self.send(&method, uri, |_| ((), Body::from(body.clone()))).await?;
            whole(accepted(sent.1).await?).await
        };
        let bytes = match self.limit {
            Some(limit) => timeout(limit, answered).await.unwrap_or_else(|_| {
                Err(LinkError::TimedOut { peer: self.peer(), method: method.clone(), limit })
            })?,
            None => answered.await?,
        };
        let understood = if bytes.len() < LARGE {
            serde_json::from_slice(&bytes)
        } else {
            // Others wait for this thread.
            let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes));
            read.await.map_err(|_| LinkError::Closed)?
        };
        understood.map_err(|source| LinkError::Message { peer: self.peer(), source })
    }

    /// Sends a request to whom it is for. Another server is tried only while nobody can have done
    /// what was asked; `make` gives the body for each try, and what goes with it.
    async fn send<T>(
        &self,
        method: &Method,
        uri: &str,
        make: impl Fn(&Arc<str>) -> (T, Body),
    ) -> Result<(T, Answer), LinkError> {
        let servers = match &self.way {
            Way::Socket(path) => return on_socket(path, method, uri, make).await,
            Way::Fleet(servers) => servers,
        };
        if let Some(kept) = &self.kept
            && let Some((with, peer, response)) = kept.ask(method, uri, &make).await
        {
            return Ok((with, Answer { peer, response, line: None }));
        }
        let began = Instant::now();
        loop {
            let why = match Box::pin(self.round(servers, method, uri, &make)).await {
                Tried::Done(done) => return done.map(|(with, answer)| (with, self.keep(answer))),
                Tried::Nobody(why) => why,
            };
            if began.elapsed() >= self.patience {
                return Err(why);
            }
            // waits: nothing tells when a server will lead.
            sleep(AGAIN).await;
        }
    }

    /// Uses the connection by which an answer came again, if it is to be.
    fn keep(&self, mut answer: Answer) -> Answer {
        if let Some((kept, line)) = self.kept.as_ref().zip(answer.line.take()) {
            kept.keep(line);
        }
        answer
    }

    /// Asks one server after the other. The next one is dialled when one has refused, cannot be reached,
    /// or has not answered the call for [`NEXT_DIAL`]: one that is cut off holds nobody up. As long as
    /// one is still being dialled, those that have refused are asked again: one of them may lead by now.
    async fn round<T>(
        &self,
        servers: &Arc<Servers>,
        method: &Method,
        uri: &str,
        make: impl Fn(&Arc<str>) -> (T, Body),
    ) -> Tried<(T, Answer)> {
        let mut why = LinkError::Closed;
        let mut order = servers.in_order();
        let mut dialled = JoinSet::new();
        let dial = |index: usize, first: bool| {
            let servers = Arc::clone(servers);
            async move {
                if !first {
                    // waits: nothing tells when a server will lead.
                    sleep(ASK_AGAIN).await;
                }
                (index, first, servers.dial(index).await)
            }
        };
        let mut unknown = order.len();
        while unknown > 0 {
            if let Some(index) = order.next() {
                dialled.spawn(dial(index, true));
            }
            let (index, first, reached) = tokio::select! {
                next = dialled.join_next(), if !dialled.is_empty() => match next {
                    Some(Ok(next)) => next,
                    // A dial that broke is one that reached nobody.
                    Some(Err(_)) | None => return Tried::Nobody(why),
                },
                // waits: for the one that is being dialled, not longer than this.
                () = sleep(NEXT_DIAL), if order.len() > 0 => continue,
            };
            unknown -= usize::from(first);
            let (peer, stream) = match reached {
                Ok(reached) => reached,
                Err(err) => {
                    why = err;
                    continue;
                }
            };
            let (kept, body) = make(&peer);
            match on_stream(stream, &peer, method, uri, body, true).await {
                Ok(answer) if answer.response.status() == StatusCode::MISDIRECTED_REQUEST => {
                    if let Err(refused) = accepted(answer).await {
                        why = refused;
                    }
                    dialled.spawn(dial(index, false));
                }
                Ok(answer) => {
                    servers.prefer(index);
                    return Tried::Done(Ok((kept, answer)));
                }
                // It may have been heard.
                Err(err) => {
                    servers.avoid(index);
                    return Tried::Done(Err(err));
                }
            }
        }
        Tried::Nobody(why)
    }
}

/// What came of asking every server.
enum Tried<T> {
    /// One has answered, or may have heard.
    Done(Result<T, LinkError>),
    /// None has.
    Nobody(LinkError),
}

async fn on_socket<T>(
    path: &Path,
    method: &Method,
    uri: &str,
    make: impl Fn(&Arc<str>) -> (T, Body),
) -> Result<(T, Answer), LinkError> {
    let peer: Arc<str> = Arc::from(path.to_string_lossy());
    let stream = UnixStream::connect(path)
        .await
        .map_err(|source| LinkError::Connect { peer: peer.to_string(), source })?;
    let (kept, body) = make(&peer);
    Ok((kept, on_stream(stream, &peer, method, uri, body, false).await?))
}

/// Sends a request on a connection of its own. Who is far away may vanish without a word.
async fn on_stream(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: &Arc<str>,
    method: &Method,
    uri: &str,
    body: Body,
    far: bool,
) -> Result<Answer, LinkError> {
    let http = |source| LinkError::Http { peer: peer.to_string(), source };
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    if far {
        builder.timer(TokioTimer::new()).keep_alive_interval(ALIVE.0).keep_alive_timeout(ALIVE.1);
    }
    let (mut requests, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    tokio::spawn(connection);
    let asked = request(peer, method, uri, body)?;
    let response = requests.send_request(asked).await.map_err(http)?;
    let line = Some(Line { peer: Arc::clone(peer), requests });
    Ok(Answer { peer: Arc::clone(peer), response, line })
}

/// A request as every role expects it.
pub(crate) fn request(
    peer: &Arc<str>,
    method: &Method,
    uri: &str,
    body: Body,
) -> Result<Request<Body>, LinkError> {
    Request::builder()
        .method(method)
        .uri(format!("http://tanist{uri}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|source| LinkError::Request { peer: peer.to_string(), source })
}

/// Turns an answer that is not a success into the peer's own error.
async fn accepted(answer: Answer) -> Result<Answer, LinkError> {
    let status = answer.response.status();
    if status.is_success() {
        return Ok(answer);
    }
    let bytes = whole(answer).await?;
    let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| unexplained(status, &bytes));
    Err(LinkError::Refused(error))
}

async fn whole(answer: Answer) -> Result<Bytes, LinkError> {
    let Answer { peer, response, line: _ } = answer;
    let limited = Limited::new(response.into_body(), ANSWER_LIMIT);
    let too_large = |_| LinkError::TooLarge { peer: peer.to_string(), limit: ANSWER_LIMIT };
    Ok(limited.collect().await.map_err(too_large)?.to_bytes())
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
            .route("/large", get(text(2_500 * (13 << 10))))
            .route("/endless", get(text(ANSWER_LIMIT)));
        let serving = tokio::spawn(serve(listener, routes));
        let client = Client::new(&socket);
        let large: String = client.get("/large").await.unwrap();
        assert_eq!(large.len(), 2_500 * (13 << 10));
        let refused = client.get::<String>("/endless").await.unwrap_err();
        assert!(matches!(refused, LinkError::TooLarge { .. }), "{refused}");
        serving.abort();
    }
}
