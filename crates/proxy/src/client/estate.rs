//! A client as it is handed over, and when it can be.
//!
//! Invariant: a client that was handed over is served by the same sockets; one whose bytes are
//! encrypted cannot be, because nobody but its own TLS session could go on with them.
//!
//! Not here: what is handed over of its session (`crate::session`), when (`crate::renewal`).

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Client, Task};
use crate::clients::Card;
use crate::endpoint::Seat;
use crate::octets::Clock;
use crate::renewal::{ClientEstate, GRACE, NOTICE, Parcel, Stage};
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
            Stage::Off => false,
            Stage::Warning { notice } => {
                // It may have asked for notices just now.
                self.warn(notice);
                false
            }
            // An encrypted one is served until it ends.
            Stage::Quiet { .. } => !self.wire.is_own() && !self.wire.is_sealed(),
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
        if self.stage() != Stage::Off && self.is_settled() {
            self.shard.identity.renewal.settled.notify_one();
        }
    }

    /// Whether it can be handed over, or ended where it cannot.
    pub(crate) fn is_settled(&self) -> bool {
        if self.wire.is_own() {
            // It is another client's, who waits for it.
            return false;
        }
        if self.wire.is_unknown() || self.session.is_cut() {
            return true;
        }
        !self.wire.is_sealed() && self.aside.is_none() && self.session.is_settled()
    }

    /// Whether a client ends now, because it cannot be handed over. An encrypted one is owed nothing and
    /// has begun to ask for nothing, or has had its time and only waits; another one has had its time and
    /// is still in the middle of a large request or reply. Asked when nothing more can be read.
    pub(super) fn ends_for_next(&self) -> bool {
        if !matches!(self.stage(), Stage::Quiet { .. }) || self.wire.is_own() {
            return false;
        }
        if !self.wire.is_sealed() {
            let cut = self.session.is_streaming() && self.stage().is_late(Instant::now());
            if cut {
                self.shard.identity.renewal.note_ended();
            }
            return cut;
        }
        let between = self.wire.is_open()
            && self.wire.is_flushed()
            && self.wire.is_blank()
            && self.session.is_between_requests();
        let late = self.stage().is_late(Instant::now())
            && (!self.wire.is_open() || self.session.is_idle() || self.session.only_waits());
        if between || late {
            self.shard.identity.renewal.note_ended();
        }
        between || late
    }

    /// Tells an encrypted client that its connection will end, if it has asked for that.
    pub(crate) fn warn(&mut self, notice: u64) {
        if self.warned.is_none() && self.wire.is_sealed() && self.wire.is_open() {
            self.warned = self.session.tell_moving(notice, NOTICE).then(Instant::now);
        }
    }

    /// Whether it was told so a moment ago and may be about to leave, or is encrypted and so young that it
    /// may be about to ask for notices.
    pub(crate) fn may_leave(&self, now: Instant) -> bool {
        self.warned.is_some_and(|warned| warned + GRACE > now)
            || (self.wire.is_sealed() && self.card.is_younger(GRACE, now))
    }

    /// The upgrade has failed: it stays.
    pub(crate) fn unwarn(&mut self) {
        self.warned = None;
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
        let session = self.session.estate(Clock(now));
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
}

/// Puts a client together again.
pub(crate) fn restore(
    estate: ClientEstate,
    socket: OwnedFd,
    upstream: Option<OwnedFd>,
    (endpoint, shard, seat): (Rc<Endpoint>, Rc<Shard>, Seat),
    now: Instant,
) -> Result<Task, Lost> {
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
    let client = Client::begin(session, wire, endpoint, shard, (card, seat));
    client.borrow_mut().upstream = upstream;
    client.borrow_mut().serial = serial;
    Ok(Task(client))
}

fn open(fd: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(fd.into())
}
