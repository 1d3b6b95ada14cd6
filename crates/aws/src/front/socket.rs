//! A connection's socket, which knows what its connection is doing.
//!
//! hyper speaks HTTP, and has two habits that do not fit here: it drops a client that sends its
//! header too slowly without a word, and answers bytes that are not HTTP with an empty page. The
//! socket notes when a request begins and when an answer is out, so that deadlines can be counted
//! from there, and keeps hyper's own answers back, so that ours can be sent instead.
//!
//! Invariant: what belongs to an answer of the desk is never kept back.
//!
//! Not here: what follows from a deadline (`accept`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tanist_tls::Admitted;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing: the next request has not begun.
    Idle,
    /// A request has begun, and its header is not whole.
    Head,
    /// The desk has the request.
    Serving,
    /// The desk has answered, and the answer is being written.
    Answering,
    /// All of the answer is written, but perhaps not sent.
    Written,
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) doing: Doing,
    pub(super) since: Instant,
}

/// The phase of one connection, shared by all that change it.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<watch::Sender<Phase>>);

impl Phases {
    pub(super) fn new() -> Self {
        let phase = Phase { doing: Doing::Idle, since: Instant::now() };
        Self(Arc::new(watch::Sender::new(phase)))
    }

    pub(super) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// The next phase, if the connection is in one of `from`.
    fn pass(&self, from: &[Doing], to: Doing) {
        self.0.send_if_modified(|phase| {
            let passes = from.contains(&phase.doing);
            if passes {
                *phase = Phase { doing: to, since: Instant::now() };
            }
            passes
        });
    }

    /// The desk takes a request; answers when it began.
    pub(super) fn serve(&self) -> Instant {
        let before = self.now();
        self.0.send_replace(Phase { doing: Doing::Serving, since: Instant::now() });
        match before.doing {
            Doing::Head => before.since,
            // It came together with the request before it.
            _ => Instant::now(),
        }
    }

    /// The desk answers, with this body.
    pub(super) fn answer(&self, body: Vec<u8>) -> Answer {
        self.pass(&[Doing::Serving], Doing::Answering);
        Answer { body: Full::from(body), phases: self.clone() }
    }
}

/// An answer's body. hyper drops it when it has taken all of it.
#[derive(Debug)]
pub(super) struct Answer {
    body: Full<Bytes>,
    phases: Phases,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.phases.pass(&[Doing::Answering], Doing::Written);
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Admitted,
    phases: Phases,
    /// The beginning of an answer that hyper made by itself and that was not sent.
    kept_back: Vec<u8>,
}

impl Socket {
    pub(super) const fn new(stream: Admitted, phases: Phases) -> Self {
        Self { stream, phases, kept_back: Vec::new() }
    }

    /// The stream, and the status of the answer that was kept back, if there was one.
    pub(super) fn into_parts(self) -> (Admitted, Option<u16>) {
        let line = str::from_utf8(&self.kept_back).unwrap_or_default();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        (self.stream, status)
    }

    /// Is hyper speaking for itself?
    fn is_unasked(&self) -> bool {
        matches!(self.phases.now().doing, Doing::Idle | Doing::Head)
    }

    fn keep_back(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The status stands within the first line; the rest is of no interest.
        let room = 64_usize.saturating_sub(self.kept_back.len());
        self.kept_back.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.phases.pass(&[Doing::Idle], Doing::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_unasked() {
            return self.keep_back(buf);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_unasked() {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            return self.keep_back(&all);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper flushes when it has written everything that it had.
        self.phases.pass(&[Doing::Written], Doing::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept_back.is_empty() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
