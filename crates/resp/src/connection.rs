//! A connection to one engine, for the roles that ask engines about themselves.
//!
//! It is deliberately plain: one request or one pipeline at a time, each with a deadline. A reply
//! that is late could be taken for the answer to the next request, so a call that does not end
//! well makes the connection useless for good; a dropped call does as well.
//!
//! Invariant: a returned value is the answer to the command at the same position; memory is bounded
//! by the reply limit.
//!
//! Not here: the proxy's lanes, which share one connection among many clients; TLS, which is any
//! other stream given to [`Connection::from_stream`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command::Command;
use crate::reply::{FrameError, ReplyFramer, ReplyLimits};
use crate::value::Value;

/// Largest reply unless [`Connection::with_max_reply`] says otherwise, in bytes.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// Room for one read, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Most room that is reserved ahead because a length in a reply asks for it, in bytes.
const MAX_RESERVE: usize = 1 << 20;

/// Why a call gave no answer. An engine's own error is an answer: [`Value::Error`].
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection could not be opened.
    #[error("connecting to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The deadline passed; whether the commands ran is not known.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The commands could not be sent.
    #[error("sending to the engine")]
    Send(#[source] io::Error),
    /// The answer could not be read.
    #[error("reading from the engine")]
    Receive(#[source] io::Error),
    /// The engine closed the connection before it had answered.
    #[error("the engine closed the connection")]
    Closed,
    /// What came is not a reply, or is too large.
    #[error("framing the engine's reply")]
    Frame(#[from] FrameError),
    /// An earlier call did not end well, so that replies could be mistaken for one another.
    #[error("the connection is broken by an earlier call")]
    Broken,
}

/// A connection to one engine.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    framer: ReplyFramer,
    input: BytesMut,
    output: BytesMut,
    /// Set while a call is under way, so that a call that is dropped leaves it set.
    broken: bool,
}

impl Connection<TcpStream> {
    /// Opens a TCP connection; no command is sent.
    ///
    /// # Errors
    /// [`ConnectionError::Connect`], or [`ConnectionError::Deadline`] after `deadline`.
    pub async fn connect(address: SocketAddr, deadline: Duration) -> Result<Self, ConnectionError> {
        let failed = |source| ConnectionError::Connect { address, source };
        let stream = timeout(deadline, TcpStream::connect(address))
            .await
            .map_err(|_| ConnectionError::Deadline(deadline))?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self::from_stream(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes over any open stream.
    #[must_use]
    pub fn from_stream(stream: S) -> Self {
        Self {
            stream,
            framer: framer(MAX_REPLY_BYTES),
            input: BytesMut::new(),
            output: BytesMut::new(),
            broken: false,
        }
    }

    /// Sets the largest reply in bytes. To be called before the first command.
    #[must_use]
    pub fn with_max_reply(mut self, bytes: usize) -> Self {
        self.framer = framer(bytes);
        self
    }

    /// Whether an earlier call made the connection useless.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The stream underneath, for its addresses.
    #[must_use]
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends one command and gives its answer. Pushes that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// See [`ConnectionError`]. After any error, and when the future is dropped before its end,
    /// every later call gives [`ConnectionError::Broken`].
    pub async fn call(
        &mut self,
        command: &Command,
        deadline: Duration,
    ) -> Result<Value, ConnectionError> {
        let mut values = self.pipeline(std::slice::from_ref(command), deadline).await?;
        values.pop().ok_or(ConnectionError::Closed)
    }

    /// Sends several commands at once and gives their answers in the same order.
    ///
    /// # Errors
    /// As [`Self::call`]; an engine's error for one command does not stop the others.
    pub async fn pipeline(
        &mut self,
        commands: &[Command],
        deadline: Duration,
    ) -> Result<Vec<Value>, ConnectionError> {
        if self.broken {
            return Err(ConnectionError::Broken);
        }
        self.broken = true;
        let values = timeout(deadline, self.exchange(commands))
            .await
            .map_err(|_| ConnectionError::Deadline(deadline))??;
        self.broken = false;
        Ok(values)
    }

    async fn exchange(&mut self, commands: &[Command]) -> Result<Vec<Value>, ConnectionError> {
        self.output.clear();
        for command in commands {
            command.encode_into(&mut self.output);
        }
        self.stream.write_all(&self.output).await.map_err(ConnectionError::Send)?;
        self.stream.flush().await.map_err(ConnectionError::Send)?;
        let mut values = Vec::with_capacity(commands.len());
        while values.len() < commands.len() {
            match self.framer.next(&mut self.input)? {
                Some(reply) if reply.is_push() => {}
                Some(reply) => values.push(reply.value()?),
                None => self.fill().await?,
            }
        }
        Ok(values)
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        let wanted = self.framer.wanted(self.input.len());
        self.input.reserve(wanted.clamp(READ_BYTES, MAX_RESERVE));
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(ConnectionError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(ConnectionError::Receive(error)),
        }
    }
}

fn framer(max_reply_bytes: usize) -> ReplyFramer {
    ReplyFramer::new(&ReplyLimits { max_reply_bytes, ..ReplyLimits::default() })
}
