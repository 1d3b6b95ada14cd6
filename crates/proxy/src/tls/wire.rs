//! A client's connection, encrypted or not.
//!
//! The first byte of a TLS connection is 22, with which no request of Redis begins; so one port serves
//! both kinds. Nobody is read before it is known which: a client that is to be told something hears it
//! in its own language.
//!
//! Invariant: the proxy's own connections are plain in every mode; a handshake ends within
//! [`HANDSHAKE_LIMIT`], whatever the peer does, and so does every record after it.
//!
//! Not here: records (`super::sealed`), what the bytes mean (`crate::session`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tanist_core::model::TransitMode;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::sealed::Sealed;
use crate::client;
use crate::out::OutQueue;
use crate::shard::Shard;
use crate::text;

/// How long a handshake may take, and a record of which a part has come.
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection: the content type of handshakes.
const HANDSHAKE: u8 = 22;
/// Bytes of a client that is refused which are read and thrown away, so that it hears why.
const DISCARD: usize = 16 << 10;

/// Why a connection was not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The client left.
    Gone,
    /// It is not encrypted and has to be.
    Plain,
    /// There is no certificate to show.
    NoCertificate,
    /// The handshake failed.
    Handshake(io::Error),
    /// It did not end in time.
    Late,
}

/// What the first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Tls,
    Refused,
}

/// What a connection is that begins with this byte.
pub(super) fn kind(first: u8, mode: TransitMode) -> Kind {
    match mode {
        TransitMode::Off => Kind::Plain,
        _ if first == HANDSHAKE => Kind::Tls,
        TransitMode::Preferred => Kind::Plain,
        TransitMode::Required => Kind::Refused,
    }
}

#[derive(Debug)]
enum State {
    /// Nothing has come.
    Unknown,
    Plain,
    Tls(Box<Sealed>),
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Rc<TcpStream>,
    state: State,
    /// The proxy itself dialled it.
    own: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, own: bool) -> Self {
        Self { socket: Rc::new(socket), state: State::Unknown, own, deadline: None }
    }

    /// One whose kind is known already, if it is plain.
    pub(crate) fn restored(socket: TcpStream, plain: bool) -> Self {
        let state = if plain { State::Plain } else { State::Unknown };
        Self { socket: Rc::new(socket), state, own: false, deadline: None }
    }

    /// Whether the proxy itself dialled it.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.state, State::Unknown)
    }

    /// Whether it is encrypted, or about to be.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.state, State::Tls(_))
    }

    /// Whether nothing of what the client has sent is kept here.
    pub(crate) fn is_blank(&self) -> bool {
        match &self.state {
            State::Unknown | State::Plain => true,
            State::Tls(sealed) => sealed.is_blank(),
        }
    }

    /// Whether bytes of the client can be read and written.
    pub(crate) fn is_open(&self) -> bool {
        match &self.state {
            State::Unknown => false,
            State::Plain => true,
            State::Tls(sealed) => sealed.is_open(),
        }
    }

    /// Whether the connection may be what it is.
    pub(crate) fn is_allowed(&self, shard: &Shard) -> bool {
        let transit = shard.transit();
        match &self.state {
            State::Unknown => true,
            State::Plain => self.own || transit.allows(None),
            State::Tls(sealed) => {
                !sealed.is_open() || transit.allows(Some(sealed.has_shown_certificate()))
            }
        }
    }

    /// Finds out what the connection is, and shakes hands.
    pub(crate) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
    ) -> Poll<Result<(), Refused>> {
        loop {
            match &mut self.state {
                State::Plain => return Poll::Ready(Ok(())),
                State::Unknown => match self.poll_kind(cx, shard) {
                    Poll::Pending => return self.poll_deadline(cx),
                    Poll::Ready(Err(refused)) => return Poll::Ready(Err(refused)),
                    Poll::Ready(Ok(state)) => self.state = state,
                },
                State::Tls(sealed) => {
                    let room = &mut *shard.identity.room.borrow_mut();
                    match sealed.poll_open(&self.socket, cx, room) {
                        Poll::Pending => return self.poll_deadline(cx),
                        Poll::Ready(Err(err)) => {
                            return Poll::Ready(Err(Refused::Handshake(err)));
                        }
                        Poll::Ready(Ok(())) => {}
                    }
                    self.deadline = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>, shard: &Shard) -> Poll<Result<State, Refused>> {
        let mode = shard.transit().mode;
        if self.own || mode == TransitMode::Off {
            self.deadline = None;
            return Poll::Ready(Ok(State::Plain));
        }
        if mode == TransitMode::Required {
            // Its client has to begin; a plain one may be idle for as long as it likes.
            self.begin_deadline();
        }
        let mut first = [0];
        let mut place = ReadBuf::new(&mut first);
        match self.socket.poll_peek(cx, &mut place) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(_) => return Poll::Ready(Err(Refused::Gone)),
        }
        match kind(first[0], mode) {
            Kind::Plain => Poll::Ready(Ok(State::Plain)),
            Kind::Refused => {
                self.say_why();
                Poll::Ready(Err(Refused::Plain))
            }
            Kind::Tls => {
                let Some(config) = shard.identity.certificates.of(&shard.key.group) else {
                    return Poll::Ready(Err(Refused::NoCertificate));
                };
                self.begin_deadline();
                let failed = |err| Refused::Handshake(io::Error::other(err));
                Poll::Ready(
                    Sealed::new(config).map(|sealed| State::Tls(Box::new(sealed))).map_err(failed),
                )
            }
        }
    }

    /// Tells a plain client what is expected. What it has sent is read first: closing a socket with
    /// unread bytes would take the answer back.
    fn say_why(&self) {
        let mut thrown_away = [0; DISCARD];
        let _ = self.socket.try_read(&mut thrown_away);
        let _ = self.socket.try_write(text::TLS_REQUIRED);
    }

    fn begin_deadline(&mut self) {
        // waits: the deadline is the event.
        self.deadline.get_or_insert_with(|| Box::pin(sleep(HANDSHAKE_LIMIT)));
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        let late =
            self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if late { Poll::Ready(Err(Refused::Late)) } else { Poll::Pending }
    }

    /// Reads once; 0 bytes are the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        into: &mut BytesMut,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Unknown => Poll::Pending,
            State::Plain => {
                let stock = &mut *shard.identity.stock.borrow_mut();
                client::poll_read_small(&self.socket, cx, stock, into, wanted)
            }
            State::Tls(sealed) => {
                let room = &mut *shard.identity.room.borrow_mut();
                if wanted > client::READ_BYTES {
                    into.reserve(wanted.min(client::MAX_RESERVE));
                }
                sealed.poll_read(&self.socket, cx, room, into)
            }
        }
    }

    /// Whether there is nothing more to be read now; who is told so is woken when there is.
    pub(crate) fn is_drained(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.state, State::Plain) && self.socket.poll_read_ready(cx).is_pending()
    }

    /// Writes as much as the socket takes.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard,
        out: &mut OutQueue,
    ) -> io::Result<()> {
        match &mut self.state {
            State::Unknown => Ok(()),
            State::Plain => client::poll_write(&self.socket, cx, out),
            State::Tls(sealed) if out.is_empty() && sealed.is_flushed() => Ok(()),
            State::Tls(sealed) => {
                let room = &mut *shard.identity.room.borrow_mut();
                sealed.poll_write(&self.socket, cx, room, out)
            }
        }
    }

    /// Whether the socket has taken everything that was written.
    pub(crate) fn is_flushed(&self) -> bool {
        match &self.state {
            State::Unknown | State::Plain => true,
            State::Tls(sealed) => sealed.is_flushed(),
        }
    }

    /// Says that nothing follows.
    pub(crate) fn farewell(&mut self) {
        if let State::Tls(sealed) = &mut self.state {
            sealed.farewell(&self.socket);
        }
    }

    /// Nothing is to be done at the moment: an idle connection needs no buffers. Whether one is over,
    /// because a record has been incomplete for too long and holds memory.
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) -> bool {
        let State::Tls(sealed) = &mut self.state else { return false };
        sealed.give_buffers_back();
        match sealed.take_partial() {
            (false, _) => self.deadline = None,
            (true, true) => match &mut self.deadline {
                Some(deadline) => deadline.as_mut().reset(Instant::now() + HANDSHAKE_LIMIT),
                None => self.begin_deadline(),
            },
            (true, false) => self.begin_deadline(),
        }
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}
