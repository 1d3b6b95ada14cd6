//! The upstream of one client: which lane, how far it is, and what it owes.
//!
//! Requests are forwarded only when the engine has accepted the lane's credentials and everything
//! that the client's state consists of, so that nothing is executed in the wrong state.
//!
//! Invariant: `expect` has one entry for everything that was queued and is not answered.
//!
//! Not here: the socket (`crate::client`); the replies themselves (`super::replies`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use tanist_core::gate::HOLD_LIMIT;
use tanist_resp::{ReplyFramer, command};
use tokio::time::Instant;

use super::flight::Expect;
use super::{Closing, Session, Stop};
use crate::bell;
use crate::out::OutQueue;
use crate::shard::{EndpointKind, Lane, Shard};

/// How far an upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// There is none.
    #[default]
    Down,
    /// The socket is being connected.
    Connecting,
    /// The engine is told who and what the client is.
    Handshake,
    /// Requests may be forwarded.
    Ready,
    /// Its epoch is over or its engine has refused; only what it may still say counts.
    Draining {
        /// When to give that up.
        until: Instant,
    },
}

/// An upstream.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) phase: Phase,
    pub(crate) lane: Option<Lane>,
    /// The user as whom the engine is used; `None` for the proxy's own.
    pub(crate) user: Option<Rc<str>>,
    /// Differs for each connection.
    pub(crate) serial: u64,
    /// The engine's number for it, once it has said so.
    pub(super) engine_id: Option<i64>,
    pub(super) expect: VecDeque<Expect>,
    pub(super) framer: ReplyFramer,
    /// What has come from the engine and is not parsed.
    pub(crate) input: BytesMut,
    /// Something was written over it.
    pub(super) wrote: bool,
    /// What goes to the engine.
    pub(crate) out: OutQueue,
}

impl Link {
    /// Whether there is a socket.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Ready | Phase::Draining { .. })
    }

    /// Whether what is queued may be written.
    pub(crate) fn may_write(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Ready)
    }

    /// Where to connect to.
    pub(crate) fn wanted_address(&self) -> Option<SocketAddr> {
        self.lane.as_ref().filter(|_| self.phase == Phase::Connecting).map(|lane| lane.address)
    }

    /// Room to make before reading, in bytes.
    pub(crate) fn wants(&self) -> usize {
        self.framer.wanted(self.input.len())
    }

    /// Forgets the connection.
    pub(super) fn clear(&mut self) {
        *self = Self { serial: self.serial + 1, ..Self::default() };
    }

    fn begin(&mut self, lane: Lane, user: Option<Rc<str>>) {
        self.clear();
        self.user = user;
        self.phase = Phase::Connecting;
        self.lane = Some(lane);
    }
}

/// Whether a request can be forwarded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    Connecting,
    Held,
    /// Something of this client has to end first.
    Busy,
}

impl Readiness {
    /// Why not now.
    pub(super) fn stop(self) -> Option<Stop> {
        match self {
            Self::Ready => None,
            Self::Connecting => Some(Stop::Connecting),
            Self::Held => Some(Stop::Held),
            Self::Busy => Some(Stop::Busy),
        }
    }
}

impl Session {
    /// Whether a request can be forwarded now on a connection of the client's own; if there is none,
    /// one is begun.
    pub(super) fn make_own_ready(&mut self, shard: &Shard) -> Readiness {
        if self.shared.is_some() {
            if !self.slots.is_empty() {
                return Readiness::Busy;
            }
            self.shared = None;
            self.spare = None;
        }
        self.make_ready(shard)
    }

    /// Counts the client at a node. It stays counted there while it is between two connections.
    pub(super) fn serve_at(&mut self, shard: &Shard, lane: &Lane) {
        if self.served.as_ref().is_none_or(|served| *served.node() != lane.node) {
            self.served = Some(shard.use_lane(lane));
        }
    }

    /// Whether the engine knows what the client's user may do now. Asked only of users with a lane of
    /// their own.
    pub(super) fn is_known_at(&self, lane: &Lane, shard: &Shard) -> bool {
        self.who.lane_user().is_none() || shard.has_users(lane)
    }

    fn make_ready(&mut self, shard: &Shard) -> Readiness {
        match (self.link.phase, &self.link.lane) {
            (Phase::Draining { .. }, _) => Readiness::Held,
            (phase, Some(lane)) if phase != Phase::Down => {
                if !shard.may_forward(lane) || !self.is_known_at(lane, shard) {
                    Readiness::Held
                } else if phase == Phase::Ready {
                    Readiness::Ready
                } else {
                    Readiness::Connecting
                }
            }
            _ => match shard.goal(&self.endpoint.kind, None) {
                Some(lane) if !shard.is_down(&lane) && self.is_known_at(&lane, shard) => {
                    self.serve_at(shard, &lane);
                    self.link.begin(lane, self.who.lane_user().cloned());
                    Readiness::Connecting
                }
                _ => Readiness::Held,
            },
        }
    }

    /// The socket is connected: say who and what the client is.
    pub(crate) fn connected(&mut self, shard: &Shard) {
        let Some(lane) = &self.link.lane else { return };
        self.link.phase = Phase::Handshake;
        self.link.out.push(shard.credentials(lane, self.link.user.as_deref()).encode());
        self.link.expect.push_back(Expect::Auth);
        for step in self.state.restore() {
            self.link.out.push(step.raw);
            let (frames, needed) = (step.frames, step.needed);
            self.link.expect.push_back(Expect::Restore { frames, needed });
        }
        self.link.out.push(Self::ask_engine_id());
        self.link.expect.push_back(Expect::EngineId);
        for raw in self.transaction.rebuild().unwrap_or_default() {
            self.link.out.push(raw.clone());
            self.link.expect.push_back(Expect::Rebuild);
        }
    }

    /// The socket could not be connected, or the engine did not accept the lane.
    pub(crate) fn connect_failed(&mut self, shard: &Shard) {
        let lane = self.link.lane.clone();
        self.link.clear();
        if let Some(lane) = lane {
            shard.mark_down(&lane);
        }
    }

    /// The socket is gone.
    pub(crate) fn upstream_lost(&mut self, shard: &Shard, now: Instant) {
        self.unfold();
        self.look_at_route(shard, now);
        // What had come before the end still counts.
        self.read_replies(shard, now);
        match self.link.phase {
            Phase::Down => {}
            Phase::Connecting | Phase::Handshake => self.connect_failed(shard),
            Phase::Ready | Phase::Draining { .. } => self.lose(shard),
        }
    }

    /// A route, or the health of a lane, has changed.
    pub(super) fn follow_route(&mut self, shard: &Shard, now: Instant) {
        if self.shared.is_some() {
            return self.follow_shared_route(shard);
        }
        let Some(lane) = self.link.lane.clone() else { return };
        if shard.is_valid(&lane) {
            self.recheck_proof(shard);
            let idle = self.slots.is_empty()
                && !self.transaction.is_open()
                && !self.state.watching
                && !self.state.needs_lane();
            let reader = self.endpoint.kind == EndpointKind::Reader;
            if reader && idle && shard.is_better_elsewhere(&lane) {
                self.lose(shard);
            }
            return;
        }
        match self.link.phase {
            Phase::Down => {}
            Phase::Connecting | Phase::Handshake => self.link.clear(),
            // Its engine says by itself that it was not served, or dies.
            Phase::Ready if self.has_parked() => self.drain(now),
            Phase::Ready => self.lose(shard),
            Phase::Draining { .. } if self.has_parked() => {}
            Phase::Draining { .. } => self.lose(shard),
        }
    }

    /// Whether the last thing in flight waits for data.
    fn has_parked(&self) -> bool {
        matches!(self.slots.back(), Some(super::Slot::Flight(flight)) if flight.is_parked())
    }

    /// Gives the upstream up, but not what it may still say.
    pub(super) fn drain(&mut self, now: Instant) {
        if self.shared.is_some() {
            self.drain_shared(now);
        } else if !matches!(self.link.phase, Phase::Draining { .. }) {
            self.link.phase = Phase::Draining { until: now + HOLD_LIMIT };
        }
    }

    /// Ends an upstream that has nothing more to say, and keeps one that the client needs.
    pub(super) fn check_link(&mut self, shard: &Shard, now: Instant) {
        if let Phase::Draining { until } = self.link.phase {
            let written = self.link.out.written();
            let owed = self.slots.iter().skip(self.cursor).any(|slot| match slot {
                super::Slot::Flight(flight) => flight.reply.is_none() && flight.end <= written,
                super::Slot::Answer(_) => false,
            });
            if !owed || until <= now {
                self.lose(shard);
            }
        }
        if self.link.phase == Phase::Down && self.closing == Closing::No && self.state.needs_lane()
        {
            self.make_own_ready(shard);
        }
        if self.has_idle_own(now) {
            self.drop_link();
        }
    }

    /// Whether the client's own connection has not been needed for a while.
    fn has_idle_own(&self, now: Instant) -> bool {
        self.link.phase == Phase::Ready
            && self.slots.is_empty()
            && self.queue.is_empty()
            && self.state.is_common()
            && !self.transaction.is_open()
            && !self.forward.multi
            && !self.forward.watch_lost
            && self.limits.lanes > 0
            && self.own_until.is_none_or(|until| until <= now)
    }

    /// The engine has said yes to everything: the client's requests may follow.
    pub(super) fn become_ready(&mut self) {
        self.link.phase = Phase::Ready;
        if let Some(message) = self.state.moved() {
            self.client_out.put(message);
        }
    }

    /// Forgets the connection, but not that something was written over it.
    pub(super) fn drop_link(&mut self) {
        self.wrote_elsewhere |= self.link.wrote;
        self.link.clear();
    }

    /// Appends something for the replicas to hear.
    pub(super) fn push_word(&mut self) {
        self.link.out.push(bell::word().encode());
        self.link.expect.push_back(Expect::Nothing);
    }

    /// Appends a request of the proxy's own.
    pub(super) fn push_own(&mut self, args: &[&[u8]], expect: Expect) {
        let mut raw = BytesMut::with_capacity(64);
        command::encode(&mut raw, args);
        self.link.out.put(&raw);
        self.link.expect.push_back(expect);
    }
}
