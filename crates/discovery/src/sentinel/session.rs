//! One client: bytes in, answers and news out, within its limits.
//!
//! Answers are given one after another, and no request is read while enough of them wait to be sent:
//! a client that does not read costs what it has been given, and no more. News have a queue that all
//! share; a subscriber that falls behind it is dropped, as Redis drops one.
//!
//! Invariant: what a client sends never makes another one wait, nor this one hold more than its
//! limits and one answer; a request that stays incomplete, or output that nobody takes, ends it.
//!
//! Not here: what is answered (`super::desk`, `super::asked`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tanist_resp::request::{Limits as Framing, ProtocolError};
use tanist_resp::{Encoder, RequestFramer, Version};
use tanist_tls::{Admitted, NotAdmitted};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::notice::Notice;
use super::subscriptions::Subscriptions;

/// Room for one read, in bytes.
const READ_BYTES: usize = 4096;
/// How long a connection that we end is listened to, so that its client can read our last words.
const LINGER: Duration = Duration::from_secs(1);

/// As a group's endpoints say it.
const PLAIN: &[u8] = b"-ERR this endpoint takes encrypted connections only: connect with TLS\r\n";

/// One client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    /// Its number.
    pub(super) id: i64,
    /// What it dialled.
    pub(super) dialled: Option<SocketAddr>,
    pub(super) version: Version,
    pub(super) name: Vec<u8>,
    pub(super) authenticated: bool,
    pub(super) subscriptions: Subscriptions,
    pub(super) out: BytesMut,
    /// It is to be ended when everything is sent.
    pub(super) closing: bool,
    /// There as long as it subscribes to anything.
    news: Option<broadcast::Receiver<Arc<Notice>>>,
    framer: RequestFramer,
    input: BytesMut,
    /// Since when a request is incomplete.
    incomplete: Option<Instant>,
    /// When its client last took a byte, or had none to take.
    taken: Instant,
    /// What was written may not have been sent: it waits until the socket takes it.
    unsent: bool,
}

/// Why a session has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// It has asked for it, or has gone without a word.
    #[error("the client is gone")]
    Gone,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// What it sent is not a request.
    #[error("reading a request")]
    Protocol(#[source] ProtocolError),
    /// A request stayed incomplete.
    #[error("a request stayed incomplete")]
    Incomplete,
    /// It did not take what it was sent.
    #[error("the client did not take what it was sent")]
    Slow,
    /// It does not encrypt where it has to.
    #[error("the client does not encrypt")]
    Plain,
    /// It could not be let in.
    #[error("letting the client in")]
    Stranger(#[source] NotAdmitted),
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, dialled: Option<SocketAddr>) -> Self {
        let id = shared.connected.fetch_add(1, Ordering::Relaxed);
        let authenticated = shared.settings.password.is_none();
        let framing = Framing {
            max_bulk_bytes: shared.limits.request_bytes,
            inline_bytes: shared.limits.request_bytes,
            max_request_bytes: shared.limits.request_bytes,
            unauthenticated: !authenticated,
            ..Framing::default()
        };
        Self {
            shared,
            id: i64::try_from(id).unwrap_or(i64::MAX).saturating_add(1),
            dialled,
            version: Version::Resp2,
            name: Vec::new(),
            authenticated,
            subscriptions: Subscriptions::default(),
            out: BytesMut::new(),
            closing: false,
            news: None,
            framer: RequestFramer::new(framing),
            input: BytesMut::new(),
            incomplete: None,
            taken: Instant::now(),
            unsent: false,
        }
    }

    /// Writes in the client's version.
    pub(super) fn to(&self) -> Encoder {
        Encoder::new(self.version)
    }

    /// Serves the client until one of both ends it.
    pub(super) async fn run(mut self, stream: Admitted) -> Ended {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut why = Ended::Gone;
        loop {
            match self.answer().await {
                Ok(()) => {}
                Err(Ended::Protocol(error)) => {
                    self.out.extend_from_slice(&error.reply().unwrap_or_default());
                    self.closing = true;
                    why = Ended::Protocol(error);
                }
                Err(ended) => return ended,
            }
            if self.closing && !self.has_to_send() {
                linger(reader.unsplit(writer)).await;
                return why;
            }
            if let Err(ended) = self.wait(&mut reader, &mut writer).await {
                return ended;
            }
        }
    }

    /// Answers the requests that are whole, as long as there is room for answers.
    async fn answer(&mut self) -> Result<(), Ended> {
        while !self.closing && self.has_room() {
            self.framer.set_authenticated(self.authenticated);
            let request = self.framer.next(&mut self.input).map_err(Ended::Protocol)?;
            let Some(request) = request else {
                let is_empty = self.input.is_empty();
                self.incomplete = self.incomplete.filter(|_| !is_empty);
                if !is_empty {
                    self.incomplete.get_or_insert_with(Instant::now);
                }
                return Ok(());
            };
            self.incomplete = None;
            // What was said before a subscription does not belong to it.
            self.drain()?;
            self.handle(&request).await;
            self.subscribe();
        }
        Ok(())
    }

    fn has_to_send(&self) -> bool {
        !self.out.is_empty() || self.unsent
    }

    fn has_room(&self) -> bool {
        self.out.len() < self.shared.limits.output_bytes
    }

    /// Has the news come as long as there are subscriptions.
    fn subscribe(&mut self) {
        if self.subscriptions.count() == 0 {
            self.news = None;
        } else if self.news.is_none() {
            self.news = Some(self.shared.news.subscribe());
        }
    }

    /// Delivers the news that are there.
    fn drain(&mut self) -> Result<(), Ended> {
        let to = self.to();
        while self.has_room()
            && let Some(news) = &mut self.news
        {
            match news.try_recv() {
                Ok(notice) => self.subscriptions.deliver(&notice, to, &mut self.out),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return Err(Ended::Slow),
            }
        }
        Ok(())
    }

    /// Waits for the next thing to do with the connection, and does it.
    async fn wait(
        &mut self,
        reader: &mut ReadHalf<Admitted>,
        writer: &mut WriteHalf<Admitted>,
    ) -> Result<(), Ended> {
        let (has_room, to, patience) = (self.has_room(), self.to(), self.shared.limits.patience);
        let has_to_send = self.has_to_send();
        if !has_to_send {
            self.taken = Instant::now();
        }
        let mut life: Option<(Instant, Ended)> = None;
        if let Some(since) = self.incomplete {
            life = Some((since + patience, Ended::Incomplete));
        }
        let until = self.taken + patience;
        if has_to_send && life.as_ref().is_none_or(|(first, _)| until < *first) {
            life = Some((until, Ended::Slow));
        }
        self.input.reserve(READ_BYTES);
        let doing = async {
            tokio::select! {
                read = reader.read_buf(&mut self.input), if has_room && !self.closing => {
                    match read {
                        Ok(0) => Err(Ended::Gone),
                        Ok(_) => Ok(()),
                        Err(err) => Err(Ended::Broken(err)),
                    }
                }
                sent = send(writer, &mut self.out), if has_to_send => {
                    self.taken = Instant::now();
                    self.unsent = sent.map_err(Ended::Broken)?;
                    Ok(())
                }
                notice = next(&mut self.news), if has_room && !self.closing => match notice {
                    Ok(notice) => {
                        self.subscriptions.deliver(&notice, to, &mut self.out);
                        Ok(())
                    }
                    Err(RecvError::Lagged(_) | RecvError::Closed) => Err(Ended::Slow),
                },
            }
        };
        match life {
            None => doing.await,
            Some((until, ended)) => match timeout_at(until, doing).await {
                Ok(done) => done,
                Err(_) => Err(ended),
            },
        }
    }
}

async fn next(
    news: &mut Option<broadcast::Receiver<Arc<Notice>>>,
) -> Result<Arc<Notice>, RecvError> {
    match news {
        Some(news) => news.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes something, or sees to it that the socket has what was written; whether that is still to be done.
async fn send(writer: &mut WriteHalf<Admitted>, out: &mut BytesMut) -> io::Result<bool> {
    if out.is_empty() {
        return writer.flush().await.map(|()| false);
    }
    writer.write_buf(out).await.map(|_| true)
}

/// Whoever does not encrypt where it has to hears why.
pub(super) async fn refuse_plain(stream: TcpStream) -> Ended {
    let mut stream = Admitted::Plain(stream);
    match stream.write_all(PLAIN).await {
        Ok(()) => {
            linger(stream).await;
            Ended::Plain
        }
        Err(err) => Ended::Broken(err),
    }
}

/// Ends a connection without a reset: a client that is still sending would lose our answer to it.
async fn linger(mut stream: Admitted) {
    // It fails if the client is gone, and then there is nobody to wait for.
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut thrown_away = vec![0; READ_BYTES];
    let drain = async { while matches!(stream.read(&mut thrown_away).await, Ok(1..)) {} };
    // Over or not, the socket is dropped now.
    let _over = timeout(LINGER, drain).await;
}
