//! A client of the Query protocol, as small as can be.
//!
//! `tanist demo` creates its group as everybody else does: with a signed request. Whoever writes a
//! program takes an AWS SDK instead.
//!
//! Invariant: a call that was refused is an error with the service's own code and text.
//!
//! Not here: waiting, retries, reading answers; the local API says more.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::error::Fault;
use crate::identity::AccessKey;
use crate::sigv4::{SecretKey, Signer};

/// Most bytes of an answer.
const MOST: usize = 4 << 20;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody answers.
    #[error("connecting to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// The request cannot be made.
    #[error("signing the request")]
    Sign(#[source] Fault),
    /// The request cannot be made.
    #[error("writing the request")]
    Write(#[source] http::Error),
    /// The conversation broke.
    #[error("talking to {0}")]
    Http(SocketAddr, #[source] hyper::Error),
    /// The answer cannot be read, or is too long.
    #[error("reading the answer: {0}")]
    Answer(String),
    /// The service refused.
    #[error("{code} ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code that clients branch on.
        code: String,
        /// The text for people.
        message: String,
    },
}

/// Where and as whom calls are made.
#[derive(Clone, Debug)]
pub struct QueryClient {
    /// The address of the endpoint.
    pub endpoint: SocketAddr,
    /// The region of the calls.
    pub region: String,
    /// The key that signs them.
    pub key: AccessKey,
}

impl QueryClient {
    /// Calls an operation with parameters as they stand in a form; gives the answer's XML.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, CallError> {
        self.connect().await?.call(service, version, action, parameters).await
    }

    /// Opens a connection for several calls, one after another.
    ///
    /// # Errors
    /// [`CallError::Connect`] or [`CallError::Http`].
    pub async fn connect(&self) -> Result<QueryConnection, CallError> {
        let refused = |err| CallError::Connect(self.endpoint, err);
        let stream = TcpStream::connect(self.endpoint).await.map_err(refused)?;
        // A request is written whole; waiting for more of it would only delay it.
        stream.set_nodelay(true).map_err(refused)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|err| CallError::Http(self.endpoint, err))?;
        let talking = AbortOnDrop(tokio::spawn(connection));
        Ok(QueryConnection { client: self.clone(), sender, _talking: talking })
    }

    fn request(&self, service: &str, body: Bytes) -> Result<Request<Full<Bytes>>, CallError> {
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(&self.endpoint.to_string());
        let host = host.map_err(|err| CallError::Write(err.into()))?;
        headers.insert(HOST, host);
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
        let secret = SecretKey::new(self.key.secret.clone());
        let signer = Signer {
            access_key_id: &self.key.access_key_id,
            secret: &secret,
            region: &self.region,
            service,
        };
        let now = Timestamp::now();
        signer.sign("POST", "/", &mut headers, &body, now).map_err(CallError::Sign)?;
        let mut request = Request::builder().method(Method::POST).uri("/");
        if let Some(all) = request.headers_mut() {
            *all = headers;
        }
        request.body(Full::new(body)).map_err(CallError::Write)
    }
}

/// A connection that is kept open between calls.
#[derive(Debug)]
pub struct QueryConnection {
    client: QueryClient,
    sender: SendRequest<Full<Bytes>>,
    _talking: AbortOnDrop,
}

/// The task that talks for a connection; it ends with it.
#[derive(Debug)]
struct AbortOnDrop(JoinHandle<hyper::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl QueryConnection {
    /// As [`QueryClient::call`], on this connection.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Http`] or [`CallError::Answer`] a new connection is needed.
    pub async fn call(
        &mut self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let own = [("Action", action), ("Version", version)];
        let pairs: Vec<String> = own
            .iter()
            .chain(parameters)
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let body = Bytes::from(pairs.join("&"));
        let request = self.client.request(service, body)?;
        let broken = |err| CallError::Http(self.client.endpoint, err);
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let whole = Limited::new(response.into_body(), MOST).collect().await;
        let whole = whole.map_err(|err| CallError::Answer(err.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&whole).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let part = |name| between(&text, name).unwrap_or_default().to_owned();
        let (code, message) = (part("Code"), part("Message"));
        Err(CallError::Refused { status: status.as_u16(), code, message })
    }
}

/// The text of the first element of a name: enough for an error, whose elements hold only text.
fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}
