//! One encrypted connection.
//!
//! Ciphertext is read into and written from a room that all connections of the proxy share, and taken
//! apart there; a connection keeps only a record that has not come whole, and what its socket did not
//! take. So an idle one has no buffers, and a busy one copies nothing twice.
//!
//! Invariant: what is kept of a peer is less than a room; what waits for its socket never grows while
//! something waits.
//!
//! Not here: which connections are encrypted (`super::wire`).

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::out::{MAX_SLICES, OutQueue};

/// Bytes of ciphertext of one read.
const READ: usize = 32 << 10;
/// What is kept of a peer at most: a handshake message that has not come whole.
const KEEP: usize = 96 << 10;
/// Bytes of plaintext in one record.
const RECORD: usize = 16 << 10;
/// What a record may have beside its plaintext, with room to spare.
const OVERHEAD: usize = 256;

/// Room for ciphertext, shared by all connections of a thread; made when it is first needed.
#[derive(Default)]
pub(crate) struct Room(Vec<u8>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Room {
    fn bytes(&mut self) -> &mut [u8] {
        if self.0.is_empty() {
            self.0 = vec![0; KEEP + READ];
        }
        &mut self.0
    }
}

/// How a read has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Some,
    End,
}

/// An encrypted connection.
pub(crate) struct Sealed {
    session: UnbufferedServerConnection,
    /// The beginning of a record that has not come whole.
    input: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    output: BytesMut,
    /// Plaintext that came with the end of the handshake.
    early: BytesMut,
    /// The peer has said that nothing follows.
    ended: bool,
    /// A record has come whole since somebody asked.
    moved: bool,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Sealed {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(config)?,
            input: Vec::new(),
            output: BytesMut::new(),
            early: BytesMut::new(),
            ended: false,
            moved: false,
        })
    }

    /// Whether the handshake is over.
    pub(crate) fn is_open(&self) -> bool {
        !self.session.is_handshaking()
    }

    /// Whether the peer has shown a certificate.
    pub(crate) fn has_shown_certificate(&self) -> bool {
        self.session.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }

    /// Whether nothing of what has come is kept here.
    pub(crate) fn is_blank(&self) -> bool {
        self.input.is_empty() && self.early.is_empty()
    }

    /// Whether the socket has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether a part of a record is kept, and whether a whole one has come since it was asked last.
    pub(crate) fn take_partial(&mut self) -> (bool, bool) {
        (!self.input.is_empty(), std::mem::take(&mut self.moved))
    }

    /// Shakes hands.
    pub(crate) fn poll_open(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        room: &mut Room,
    ) -> Poll<io::Result<()>> {
        loop {
            self.flush(socket, cx)?;
            if self.is_open() {
                return Poll::Ready(Ok(()));
            }
            let mut early = std::mem::take(&mut self.early);
            let filled = self.poll_fill(socket, cx, room, &mut early);
            self.early = early;
            match filled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Read::Some)) => {}
                Poll::Ready(Ok(Read::End)) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
            }
        }
    }

    /// Reads plaintext; 0 bytes are the end.
    pub(crate) fn poll_read(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        room: &mut Room,
        into: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let before = into.len();
        if !self.early.is_empty() {
            into.extend_from_slice(&std::mem::take(&mut self.early));
            return Poll::Ready(Ok(into.len() - before));
        }
        while !self.ended {
            match self.poll_fill(socket, cx, room, into) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Ready(Ok(Read::End)) => self.ended = true,
                Poll::Ready(Ok(Read::Some)) => {
                    // An answer that the protocol owes, such as to an update of keys.
                    self.flush(socket, cx)?;
                    if into.len() > before {
                        return Poll::Ready(Ok(into.len() - before));
                    }
                }
            }
        }
        Poll::Ready(Ok(0))
    }

    /// Encrypts and writes as much as the socket takes.
    pub(crate) fn poll_write(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        room: &mut Room,
        out: &mut OutQueue,
    ) -> io::Result<()> {
        while self.flush(socket, cx)? && !out.is_empty() {
            match socket.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            let room = room.bytes();
            let sealed = self.seal(room, out)?;
            let sealed = room.get(..sealed).unwrap_or_default();
            let written = if self.output.is_empty() { attempt(socket, sealed)? } else { 0 };
            self.output.extend_from_slice(sealed.get(written..).unwrap_or_default());
        }
        Ok(())
    }

    /// Says that nothing follows, if the socket takes it at once.
    pub(crate) fn farewell(&mut self, socket: &TcpStream) {
        if !self.is_open() || !self.output.is_empty() {
            return;
        }
        let mut last = [0; OVERHEAD];
        let status = self.session.process_tls_records(&mut self.input);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state
            && let Ok(length) = traffic.queue_close_notify(&mut last)
        {
            // A peer that does not read it finds the end of the stream.
            let _ = attempt(socket, last.get(..length).unwrap_or_default());
        }
    }

    /// Gives back what an idle connection does not need.
    pub(crate) fn give_buffers_back(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.input = Vec::new();
        }
        if self.output.is_empty() && self.output.capacity() > 0 {
            self.output = BytesMut::new();
        }
    }

    /// Reads once and takes apart what has come.
    fn poll_fill(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        room: &mut Room,
        into: &mut BytesMut,
    ) -> Poll<io::Result<Read>> {
        let room = room.bytes();
        let kept = self.input.len();
        let Some(place) = room.get_mut(..kept) else { return Poll::Ready(Err(too_long())) };
        place.copy_from_slice(&self.input);
        let all = loop {
            match socket.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ready) => ready?,
            }
            let Some(free) = room.get_mut(kept..kept + READ) else {
                return Poll::Ready(Err(too_long()));
            };
            match socket.try_read(free) {
                Ok(0) => return Poll::Ready(Ok(Read::End)),
                Ok(bytes) => {
                    if bytes < READ {
                        // There is no more: saying so here saves the read that would find it out.
                        let empty = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
                        let _ = socket.try_io(Interest::READABLE, empty);
                    }
                    break kept + bytes;
                }
                Err(err) if is_momentary(&err) => {}
                Err(err) => return Poll::Ready(Err(err)),
            }
        };
        self.input.clear();
        let came = room.get_mut(..all).unwrap_or_default();
        let (used, outcome) = self.digest(came, into);
        let rest = came.get(used..).unwrap_or_default();
        self.input.extend_from_slice(rest);
        if let Err(err) = outcome {
            // The peer is told why, if it listens.
            let _ = attempt(socket, &std::mem::take(&mut self.output));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, err)));
        }
        if self.input.len() > KEEP {
            return Poll::Ready(Err(too_long()));
        }
        Poll::Ready(Ok(Read::Some))
    }

    /// Takes records apart: plaintext goes to `into`, what the protocol answers to the output. How many
    /// bytes are done with.
    fn digest(
        &mut self,
        records: &mut [u8],
        into: &mut BytesMut,
    ) -> (usize, Result<(), rustls::Error>) {
        let mut used = 0;
        let mut failed = None;
        loop {
            let rest = match &failed {
                None => records.get_mut(used..).unwrap_or_default(),
                // Only the alert is to be had now.
                Some(_) => &mut [],
            };
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(rest);
            let mut done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                into.extend_from_slice(record.payload);
                            }
                            Err(err) => failed = Some(err),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.output),
                // The output is written before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::Closed) => {
                    self.ended = true;
                    done = true;
                }
                Ok(_) => done = true,
                Err(err) if failed.is_none() => failed = Some(err),
                Err(_) => done = true,
            }
            if failed.is_none() {
                used += discard;
                self.moved |= discard > 0;
            }
            if done {
                return (used.min(records.len()), failed.map_or(Ok(()), Err));
            }
        }
    }

    /// Encrypts from the queue into `room` as much as it holds; how many bytes that is.
    fn seal(&mut self, room: &mut [u8], out: &mut OutQueue) -> io::Result<usize> {
        loop {
            let status = self.session.process_tls_records(&mut self.input);
            let discard = status.discard;
            let sealed = match status.state {
                Ok(ConnectionState::WriteTraffic(traffic)) => Some(encrypt(traffic, room, out)?),
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.output);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    None
                }
                Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
                Err(err) => return Err(io::Error::new(io::ErrorKind::InvalidData, err)),
            };
            self.input.drain(..discard.min(self.input.len()));
            if let Some(sealed) = sealed {
                return Ok(sealed);
            }
        }
    }

    /// Writes what waits; whether nothing does any more.
    fn flush(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> io::Result<bool> {
        while !self.output.is_empty() {
            match socket.poll_write_ready(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(ready) => ready?,
            }
            let written = attempt(socket, &self.output)?;
            self.output.advance(written);
        }
        Ok(true)
    }
}

/// Encrypts record by record.
fn encrypt<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    room: &mut [u8],
    out: &mut OutQueue,
) -> io::Result<usize> {
    let (mut sealed, mut taken) = (0, 0);
    {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = out.slices(&mut slices);
        let pieces = slices.iter().take(count).flat_map(|slice| slice.chunks(RECORD));
        for piece in pieces {
            let free = room.get_mut(sealed..).unwrap_or_default();
            if free.len() < piece.len() + OVERHEAD {
                break;
            }
            match traffic.encrypt(piece, free) {
                Ok(bytes) => sealed += bytes,
                Err(EncryptError::InsufficientSize(_)) if sealed > 0 => break,
                Err(err) => return Err(io::Error::other(err)),
            }
            taken += piece.len();
        }
    }
    out.consume(taken);
    Ok(sealed)
}

/// Appends what the handshake wants to send.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, output: &mut BytesMut) {
    let before = output.len();
    let mut room = OVERHEAD;
    loop {
        output.resize(before + room, 0);
        let place = output.get_mut(before..).unwrap_or_default();
        match data.encode(place) {
            Ok(bytes) => return output.truncate(before + bytes),
            Err(EncodeError::InsufficientSize(wanted)) => room = wanted.required_size,
            Err(EncodeError::AlreadyEncoded) => return output.truncate(before),
        }
    }
}

/// Writes once; what a socket does not take now is no error.
fn attempt(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match socket.try_write(bytes) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(err) if is_momentary(&err) => Ok(0),
        written => written,
    }
}

fn is_momentary(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a handshake message is too long")
}
