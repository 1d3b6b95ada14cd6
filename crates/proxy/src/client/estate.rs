//! A client as it is handed over, and when it can be.
//!
//! Invariant: a client that was handed over is served by the same sockets; one whose bytes are
//! encrypted cannot be, because nobody but its own TLS session could go on with them.
//!
//! Not here: what is handed over of its session (`crate::session`), when (`crate::renewal`).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Client;
use crate::clients::Card;
use crate::octets::Clock;
use crate::renewal::{ClientEstate, Parcel, Stage};
use crate::session::{Endpoint, Session};
use crate::shard::Shard;
use crate::tls::Wire;

/// Why a client cannot go on here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("its socket: {0}")]
    Socket(#[from] io::Error),
    #[error("its session: {0}")]
    Session(#[from] crate::session::Unreadable),
}

impl Client {
    /// Does what the stage of an upgrade asks of the session; asked before anything is read.
    pub(super) fn obey_stage(&mut self) {
        self.session.quiet = match self.stage() {
            Stage::Off | Stage::Warning => false,
            // What has begun to come of an encrypted request is read to its end.
            Stage::Quiet { .. } if self.wire.is_sealed() => self.session.is_between_requests(),
            Stage::Quiet { .. } => !self.wire.is_own(),
        };
    }

    fn stage(&self) -> Stage {
        self.shard.identity.renewal.stage()
    }

    /// Whether it has just connected and is left for the next image.
    pub(super) fn is_left_for_next(&self) -> bool {
        self.stage() != Stage::Off && self.wire.is_unknown() && !self.wire.is_own()
    }

    /// Says that it has come to rest, if somebody waits for that.
    pub(super) fn note_settled(&self) {
        if self.stage() != Stage::Off && self.is_settled(Instant::now()) {
            self.shard.identity.renewal.settled.notify_one();
        }
    }

    /// Whether it can be handed over, or ended where it cannot.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        if self.wire.is_own() {
            // It is another client's, who waits for it.
            return false;
        }
        if self.wire.is_unknown() || self.session.is_cut() {
            return true;
        }
        if self.wire.is_sealed() {
            let done = self.session.is_between_requests() && self.wire.is_flushed();
            let late = self.stage().is_late(now)
                && (!self.wire.is_open() || self.session.is_idle() || self.session.only_waits());
            return (self.wire.is_open() && done) || late;
        }
        self.aside.is_none() && self.session.is_settled()
    }

    /// Tells an encrypted client that its connection will end, if it has asked for that.
    pub(crate) fn warn(&mut self, notice: u64, seconds: u64) {
        if self.wire.is_sealed() && self.wire.is_open() {
            self.warned = self.session.tell_moving(notice, seconds);
        }
    }

    /// Whether it was told so.
    pub(crate) fn is_warned(&self) -> bool {
        self.warned
    }

    /// The upgrade has failed: it stays.
    pub(crate) fn unwarn(&mut self) {
        self.warned = false;
    }

    /// Writes the client down, and adds its sockets; `None` if it cannot be handed over.
    pub(crate) fn hand_over(
        &self,
        parcel: &mut Parcel,
        now: Instant,
    ) -> io::Result<Option<ClientEstate>> {
        if self.wire.is_own() || self.wire.is_sealed() || self.session.is_cut() {
            return Ok(None);
        }
        let session = self.session.estate(now);
        let upstream = self.upstream.as_ref().filter(|_| session.has_upstream());
        Ok(Some(ClientEstate {
            endpoint: self.endpoint.address,
            card: self.card.estate(Clock(now)),
            plain: !self.wire.is_unknown(),
            socket: parcel.add(&*self.wire.socket)?,
            upstream: upstream.map(|socket| parcel.add(socket)).transpose()?,
            session,
        }))
    }

    /// Says goodbye to a client that is not handed over.
    pub(crate) fn farewell(&mut self) {
        self.wire.farewell();
    }

    /// Whether its bytes are encrypted.
    pub(crate) fn is_sealed(&self) -> bool {
        self.wire.is_sealed()
    }
}

/// Puts a client together again.
pub(crate) fn restore(
    estate: ClientEstate,
    socket: OwnedFd,
    upstream: Option<OwnedFd>,
    endpoint: Rc<Endpoint>,
    shard: Rc<Shard>,
    now: Instant,
) -> Result<Rc<RefCell<Client>>, Lost> {
    let ClientEstate { endpoint: _, card, plain, socket: _, upstream: _, session } = estate;
    let socket = open(socket)?;
    let upstream = upstream.map(open).transpose()?;
    let card = Rc::new(Card::restore(card, Clock(now)));
    let limits = shard.identity.limits.clone();
    let lacks_upstream = session.has_upstream() && upstream.is_none();
    let own = Rc::clone(&endpoint);
    let mut session = Session::restore(session, own, limits, Rc::clone(&card), &shard, now)?;
    if lacks_upstream {
        session.left_behind(&shard);
    }
    let wire = Wire::restored(socket, plain);
    let serial = session.link.serial;
    let client = Client::new(session, wire, endpoint, shard, card);
    client.borrow_mut().upstream = upstream;
    client.borrow_mut().serial = serial;
    Ok(client)
}

fn open(fd: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(fd.into())
}
