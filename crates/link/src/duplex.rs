//! Conversations: two streams of JSON lines, one in each direction, within one HTTP/2 request.
//!
//! Invariant: a line is at most [`LINE_LIMIT`] bytes and at most [`QUEUE`] messages wait to be sent;
//! a peer that does not read is cut off rather than buffered for.
//!
//! Not here: reconnecting; whoever talks decides whether and when.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::LinkError;

/// The longest message, in bytes.
pub(crate) const LINE_LIMIT: usize = 4 << 20;
/// Messages that may wait to be sent.
const QUEUE: usize = 4096;

/// The sending half of a conversation.
#[derive(Debug)]
pub struct Sender<T> {
    queue: mpsc::Sender<Bytes>,
    peer: Arc<str>,
    kind: PhantomData<fn(T)>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), peer: Arc::clone(&self.peer), kind: PhantomData }
    }
}

/// A message as it goes out, for saying the same to many.
#[derive(Debug)]
pub struct Encoded<T> {
    line: Bytes,
    kind: PhantomData<fn(T)>,
}

impl<T: Serialize> Encoded<T> {
    /// Encodes a message.
    ///
    /// # Errors
    /// [`LinkError::Message`] if it cannot be.
    pub fn new(message: &T) -> Result<Self, LinkError> {
        let mut line = serde_json::to_vec(message)
            .map_err(|source| LinkError::Message { peer: "anybody".to_owned(), source })?;
        line.push(b'\n');
        Ok(Self { line: Bytes::from(line), kind: PhantomData })
    }
}

impl<T> Sender<T> {
    /// Queues a message that is encoded already.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send_encoded(&self, message: &Encoded<T>) -> Result<(), LinkError> {
        self.queue.try_send(message.line.clone()).map_err(|_| LinkError::Closed)
    }
}

impl<T: Serialize> Sender<T> {
    /// Queues a message.
    ///
    /// # Errors
    /// [`LinkError::Closed`] if the peer is gone or reads so slowly that the queue is full.
    pub fn send(&self, message: &T) -> Result<(), LinkError> {
        let mut line = serde_json::to_vec(message)
            .map_err(|source| LinkError::Message { peer: self.peer.to_string(), source })?;
        line.push(b'\n');
        self.queue.try_send(Bytes::from(line)).map_err(|_| LinkError::Closed)
    }

    /// Resolves when the peer is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// The receiving half of a conversation.
#[derive(Debug)]
pub struct Receiver<T> {
    body: Body,
    rest: BytesMut,
    peer: Arc<str>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message; `None` when the peer has ended the conversation. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Message`] for one that is not understood, [`LinkError::TooLarge`] for one that
    /// is too long, [`LinkError::Closed`] when the connection broke.
    pub async fn recv(&mut self) -> Result<Option<T>, LinkError> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line = self.rest.split_to(end + 1);
                let message = serde_json::from_slice(&line)
                    .map_err(|source| LinkError::Message { peer: self.peer.to_string(), source })?;
                return Ok(Some(message));
            }
            if self.rest.len() > LINE_LIMIT {
                return Err(LinkError::TooLarge { peer: self.peer.to_string(), limit: LINE_LIMIT });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.rest.extend_from_slice(data);
                    }
                }
                Some(Err(_)) => return Err(LinkError::Closed),
                None => return Ok(None),
            }
        }
    }
}

/// Both halves.
#[derive(Debug)]
pub struct Duplex<Out, In> {
    /// To the peer.
    pub sender: Sender<Out>,
    /// From the peer.
    pub receiver: Receiver<In>,
}

pub(crate) fn outgoing<Out>(peer: &Arc<str>) -> (Sender<Out>, Body) {
    let (queue, waiting) = mpsc::channel::<Bytes>(QUEUE);
    let lines =
        unfold(waiting, |mut waiting| async move { Some((waiting.recv().await?, waiting)) });
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    let body = Body::new(http_body_util::StreamBody::new(frames));
    (Sender { queue, peer: Arc::clone(peer), kind: PhantomData }, body)
}

pub(crate) fn receiver<In>(peer: &Arc<str>, body: Body) -> Receiver<In> {
    Receiver { body, rest: BytesMut::new(), peer: Arc::clone(peer), kind: PhantomData }
}

/// Accepts a conversation inside a handler: its halves, and the response to return at once.
pub fn accept<Out, In>(name: &str, request: Body) -> (Duplex<Out, In>, Response<Body>) {
    let peer = Arc::from(name);
    let (sender, body) = outgoing(&peer);
    (Duplex { sender, receiver: receiver(&peer, request) }, Response::new(body))
}
