//! One client's sockets.
//!
//! A task per client polls its two sockets by hand: each pass reads what there is, lets the session
//! go as far as it can, and writes what came of it in one call per socket. Readiness is kept by the
//! runtime, so an idle client costs nothing.
//!
//! Invariant: a socket that the session does not want is not read; a client that leaves is noticed
//! even then.
//!
//! Not here: what the bytes mean (`crate::session`), encryption (`crate::tls`).

mod estate;

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_resp::ReplyFramer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::clients::Card;
use crate::endpoint;
use crate::login::Who;
use crate::out::{MAX_SLICES, OutQueue};
use crate::session::{Endpoint, Phase, Session, Stock};
use crate::shard::{Identity, Shard};
use crate::tls::Wire;
pub(crate) use estate::restore;

/// Room for one read, in bytes.
pub(crate) const READ_BYTES: usize = 16 << 10;
/// Most room that is made because a length in a frame asks for it, in bytes.
pub(crate) const MAX_RESERVE: usize = 1 << 20;
/// How long a connection to an engine may take to open.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Passes before other clients get their turn.
const MAX_PASSES: usize = 16;

type Connecting = Pin<Box<dyn Future<Output = Option<(TcpStream, OwnedSemaphorePermit)>>>>;
type Aside = Pin<Box<dyn Future<Output = Option<Bytes>>>>;

/// A client and its sockets.
pub(crate) struct Client {
    shard: Rc<Shard>,
    session: Session,
    wire: Wire,
    endpoint: Rc<Endpoint>,
    /// Resolves when the client has left; only while its socket is not read.
    leaving: Option<Pin<Box<dyn Future<Output = ()>>>>,
    upstream: Option<TcpStream>,
    connecting: Option<Connecting>,
    /// Held from connecting until the engine has accepted the lane.
    permit: Option<OwnedSemaphorePermit>,
    /// Which of the session's connections `upstream` or `connecting` is.
    serial: u64,
    aside: Option<Aside>,
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    place: usize,
    from: SocketAddr,
    card: Rc<Card>,
    /// The shard's generation in which it was last asked whether the client is admitted.
    admitted_in: u64,
    /// It was told that its connection will end.
    warned: Option<Instant>,
    _seat: endpoint::Seat,
}

/// The task of a client, which ends when the client or its endpoint does, or when it is not admitted any
/// more.
///
/// It is a future by itself, not an async function, which would keep room for each place that a
/// client is moved through; and the client is apart from it, so that all can be handed over at one
/// moment.
pub(crate) struct Task(Rc<RefCell<Client>>);

impl Task {
    /// That of a client that was just accepted.
    pub(crate) fn new(
        socket: TcpStream,
        from: SocketAddr,
        endpoint: Rc<Endpoint>,
        shard: Rc<Shard>,
        seat: endpoint::Seat,
    ) -> Self {
        let id = shard.identity.next_client.get();
        shard.identity.next_client.set(id + 1);
        let card = Rc::new(Card::new(id, from, Instant::now()));
        let mut session =
            Session::new(Rc::clone(&endpoint), shard.identity.limits.clone(), Rc::clone(&card));
        let who = shard.identity.own.borrow().get(&from).cloned();
        let own = who.is_some();
        if let Some(who) = who {
            session.turn_into(who, &shard);
        }
        Self(Client::begin(session, Wire::new(socket, own), endpoint, shard, (card, seat)))
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut client = self.0.borrow_mut();
        let over = client.work(cx);
        if over.is_ready() {
            client.wire.farewell();
        }
        over
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let count = &self.shard.counters.clients;
        count.set(count.get().saturating_sub(1));
        self.session.retire(&self.shard);
        self.endpoint.clients.leave(self.card.id);
        self.shard.identity.renewal.leave(self.card.id);
        self.shard.leave(self.place);
    }
}

impl Client {
    fn begin(
        session: Session,
        wire: Wire,
        endpoint: Rc<Endpoint>,
        shard: Rc<Shard>,
        (card, seat): (Rc<Card>, endpoint::Seat),
    ) -> Rc<RefCell<Self>> {
        endpoint.clients.enter(&card);
        let count = &shard.counters.clients;
        count.set(count.get() + 1);
        let (place, from, id) = (shard.enroll(), card.from, card.id);
        let identity = Rc::clone(&shard.identity);
        let client = Rc::new(RefCell::new(Self {
            shard,
            session,
            wire,
            endpoint,
            leaving: None,
            upstream: None,
            connecting: None,
            permit: None,
            serial: 0,
            aside: None,
            timer: None,
            armed: None,
            place,
            from,
            card,
            admitted_in: 0,
            warned: None,
            _seat: seat,
        }));
        identity.renewal.enter(id, &client);
        client
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shard.keep_waker(self.place, cx.waker());
        self.card.keep_waker(cx.waker());
        if !self.is_admitted() {
            return Poll::Ready(());
        }
        if self.is_left_for_next() {
            self.note_settled();
            return Poll::Pending;
        }
        if !self.wire.is_open() {
            match self.poll_open(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Ready(true) => {}
            }
        }
        for _ in 0..MAX_PASSES {
            let now = Instant::now();
            self.obey_stage();
            let mut moved = self.poll_connecting(cx);
            moved |= self.poll_aside(cx);
            let wanted = self.wanted();
            moved |= self.read_upstream(cx, now);
            let (read, more) = self.read_client(cx);
            moved |= more;
            self.session.borrow_from(&mut self.shard.identity.stock.borrow_mut());
            self.session.advance(&self.shard, now);
            self.session.keep_waker(cx.waker());
            moved |= self.follow_link();
            moved |= self.write_upstream(cx, now);
            moved |= self.write_client(cx);
            // A side that was not asked above would never be heard.
            let wants = self.wanted();
            moved |= wants.into_iter().zip(wanted).any(|(now, before)| now && !before);
            // Nor does anything bring up what was read and left for want of room that is there now.
            moved |= read && self.session.has_unparsed();
            // Nor is it told again of what it has not taken, for which there is room now.
            moved |= self.session.has_come();
            if self.session.is_closed() && (self.wire.is_flushed() || self.session.is_cut()) {
                return Poll::Ready(());
            }
            moved |= self.poll_timer(cx);
            if !moved {
                if self.ends_for_next() {
                    return Poll::Ready(());
                }
                self.note_settled();
                self.give_buffers_back();
                return if self.wire.poll_idle(cx) { Poll::Ready(()) } else { Poll::Pending };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the client may still be connected; asked again whenever the shard has changed.
    fn is_admitted(&mut self) -> bool {
        let generation = self.shard.generation.get();
        if self.admitted_in != generation {
            self.admitted_in = generation;
            return self.shard.admits(self.from) && self.wire.is_allowed(&self.shard);
        }
        true
    }

    /// Finds out whether the connection is encrypted; whether it is one that may go on.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.endpoint.closed.get() || self.shard.gone.get() || self.card.killed.get() {
            return Poll::Ready(false);
        }
        match self.wire.poll_open(cx, &self.shard) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(self.wire.is_allowed(&self.shard)),
            Poll::Ready(Err(refused)) => {
                endpoint::note_refused(&self.shard.identity, self.endpoint.address, &refused);
                Poll::Ready(false)
            }
        }
    }

    /// Opens and closes the upstream as the session wishes; whether something has begun.
    fn follow_link(&mut self) -> bool {
        let link = &self.session.link;
        let mut begun = false;
        if link.serial != self.serial {
            self.serial = link.serial;
            self.upstream = None;
            self.connecting = None;
            self.permit = None;
            if let Some(address) = link.wanted_address() {
                begun = true;
                let permits = Arc::clone(&self.shard.connecting);
                self.connecting = Some(Box::pin(async move {
                    let permit = permits.acquire_owned().await.ok()?;
                    let socket = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
                    let socket = socket.ok()?.ok()?;
                    socket.set_nodelay(true).ok()?;
                    Some((socket, permit))
                }));
            }
        } else if link.phase == Phase::Ready {
            self.permit = None;
        }
        if self.aside.is_none()
            && let Some(request) = self.session.take_side()
        {
            begun = true;
            let route = self.shard.route();
            let primary = route.map(|route| {
                let endpoints = &route.endpoints;
                endpoints.at(endpoints.primary, self.shard.identity.address)
            });
            let identity = Rc::clone(&self.shard.identity);
            let who = self.session.who.clone();
            self.aside =
                Some(Box::pin(async move { ask_primary(&identity, who, primary?, request).await }));
        }
        begun
    }

    fn poll_connecting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(connecting) = &mut self.connecting else { return false };
        let Poll::Ready(outcome) = connecting.as_mut().poll(cx) else { return false };
        self.connecting = None;
        if self.session.link.serial != self.serial {
            return true;
        }
        match outcome {
            Some((socket, permit)) => {
                self.upstream = Some(socket);
                self.permit = Some(permit);
                self.session.connected(&self.shard);
            }
            None => self.session.connect_failed(&self.shard),
        }
        true
    }

    fn poll_aside(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(aside) = &mut self.aside else { return false };
        let Poll::Ready(reply) = aside.as_mut().poll(cx) else { return false };
        self.aside = None;
        self.session.side_done(&self.shard, reply);
        true
    }

    fn read_upstream(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.session.link.serial != self.serial || !self.session.wants_upstream() {
            return false;
        }
        let Some(socket) = &self.upstream else { return false };
        let wanted = self.session.link.wants();
        match poll_read(socket, cx, &mut self.session.link.input, wanted) {
            Poll::Pending => false,
            Poll::Ready(Ok(more)) if more > 0 => true,
            Poll::Ready(_) => {
                self.session.upstream_lost(&self.shard, now);
                true
            }
        }
    }

    /// Reads the client; whether something has come, and whether there may be more.
    fn read_client(&mut self, cx: &mut Context<'_>) -> (bool, bool) {
        if !self.session.wants_client() {
            return (false, self.watch_client(cx));
        }
        self.leaving = None;
        let wanted = self.session.client_wants();
        match self.wire.poll_read(cx, &self.shard, &mut self.session.client_in, wanted) {
            Poll::Pending => (false, false),
            // Where it is known that there is no more now, nobody has to come back to ask.
            Poll::Ready(Ok(bytes)) if bytes > 0 => (true, !self.wire.is_drained(cx)),
            Poll::Ready(Ok(_)) => {
                self.session.client_eof();
                (false, true)
            }
            Poll::Ready(Err(_)) => {
                self.session.client_lost();
                (false, true)
            }
        }
    }

    /// Notices that a client leaves whose socket is not read.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> bool {
        if self.session.has_eof() {
            return false;
        }
        let socket = &self.wire.socket;
        let leaving = self.leaving.get_or_insert_with(|| {
            let socket = Rc::clone(socket);
            // In this interest's readiness there is nothing but the peer's end of sending.
            Box::pin(async move {
                let _ = socket.ready(Interest::PRIORITY).await;
            })
        });
        if leaving.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.leaving = None;
        self.session.client_eof();
        true
    }

    fn write_upstream(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let link = &mut self.session.link;
        if link.serial != self.serial || !link.may_write() || link.out.is_empty() {
            return false;
        }
        let Some(socket) = &self.upstream else { return false };
        let lost = poll_write(socket, cx, &mut link.out).is_err();
        if lost {
            self.session.upstream_lost(&self.shard, now);
        }
        lost
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> bool {
        let lost = self.wire.poll_write(cx, &self.shard, &mut self.session.client_out).is_err();
        if lost {
            self.session.client_lost();
        }
        lost
    }

    fn wanted(&self) -> [bool; 3] {
        let session = &self.session;
        [session.wants_client(), session.wants_upstream(), session.wants_shared()]
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.session.deadline() else { return false };
        // A timer that fires early only looks again; re-arming it for every reply costs more.
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                // waits: the deadline is the event.
                None => self.timer = Some(Box::pin(sleep_until(deadline))),
            }
        }
        let Some(timer) = &mut self.timer else { return false };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.armed = None;
        true
    }

    /// Ten thousand idle clients need no buffers.
    fn give_buffers_back(&mut self) {
        let stock = &mut *self.shard.identity.stock.borrow_mut();
        self.session.give_back(stock);
        if self.timer.is_some() && self.armed.is_none() && self.session.deadline().is_none() {
            self.timer = None;
        }
    }
}

/// Reads once, what is small into a block that many clients share; 0 bytes are the end.
pub(crate) fn poll_read_small(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    stock: &mut Stock,
    into: &mut BytesMut,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    if !into.is_empty() || wanted > READ_BYTES {
        return poll_read(socket, cx, into, wanted);
    }
    let block = stock.room(READ_BYTES);
    let read = poll_read(socket, cx, block, READ_BYTES);
    if matches!(read, Poll::Ready(Ok(1..))) {
        *into = block.split();
    }
    read
}

/// Reads once; 0 bytes are the end.
pub(crate) fn poll_read(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
    wanted: usize,
) -> Poll<io::Result<usize>> {
    loop {
        match socket.poll_read_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        into.reserve(wanted.clamp(READ_BYTES, MAX_RESERVE));
        let room = into.capacity() - into.len();
        match socket.try_read_buf(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(bytes) => {
                if bytes > 0 && bytes < room {
                    // There is no more: saying so here saves the read that would find it out.
                    let empty = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
                    let _ = socket.try_io(Interest::READABLE, empty);
                }
                return Poll::Ready(Ok(bytes));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Writes as much as the socket takes.
pub(crate) fn poll_write(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    out: &mut OutQueue,
) -> io::Result<()> {
    while !out.is_empty() {
        match socket.poll_write_ready(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(ready) => ready?,
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = out.slices(&mut slices);
        let written = match &slices[..count] {
            // One piece is cheaper without a vector.
            [only] => socket.try_write(only),
            several => socket.try_write_vectored(several),
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => out.consume(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends a request to the primary's own endpoint, where every rule for the primary holds.
async fn ask_primary(
    identity: &Rc<Identity>,
    who: Who,
    address: SocketAddr,
    request: Bytes,
) -> Option<Bytes> {
    let (mut socket, _own) = dial_endpoint(identity, who, address).await.ok()?;
    socket.set_nodelay(true).ok()?;
    socket.write_all(&request).await.ok()?;
    let mut framer = ReplyFramer::default();
    let mut input = BytesMut::new();
    loop {
        if let Some(reply) = framer.next(&mut input).ok()? {
            return Some(reply.into_raw());
        }
        if socket.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}

/// An address that the proxy itself dials from, known as such for as long as this lives.
struct OwnAddress {
    identity: Rc<Identity>,
    address: SocketAddr,
}

impl Drop for OwnAddress {
    fn drop(&mut self) {
        self.identity.own.borrow_mut().remove(&self.address);
    }
}

/// Dials an own endpoint on behalf of a client that was admitted, whoever else is, and as its user.
/// The source is the
/// endpoint's own address: this host has it, and it is known before the endpoint sees it.
async fn dial_endpoint(
    identity: &Rc<Identity>,
    who: Who,
    endpoint: SocketAddr,
) -> io::Result<(TcpStream, OwnAddress)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(endpoint.ip(), 0))?;
    let own = OwnAddress { identity: Rc::clone(identity), address: socket.local_addr()? };
    identity.own.borrow_mut().insert(own.address, who);
    Ok((socket.connect(endpoint).await?, own))
}
