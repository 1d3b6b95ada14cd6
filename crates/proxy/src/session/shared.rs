//! A client on a connection that it shares with others.
//!
//! Most requests mean the same whoever sends them, so they can go where everybody's go. What needs a
//! connection of its own (transactions, subscriptions, waiting for data, tracking) gets one, and the
//! client stays there for a while: whoever does so once mostly does so again.
//!
//! Invariant: a client changes its connection only when nothing of it is in flight, so its requests
//! are executed in their order.
//!
//! Not here: the shared connection (`crate::trunk`), the client's own (`super::upstream`).

use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tanist_core::gate::{HOLD_LIMIT, Sent};
use tanist_resp::{Effect, Piece, Version};
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Role, Slot};
use super::upstream::Readiness;
use super::{Closing, MAX_WITHHELD, Phase, Session};
use crate::shard::{EndpointKind, Lane, Shard};
use crate::trunk::{self, Seat, Verdict};

/// How long a client keeps its own connection after the last request that needed one.
const KEEP_OWN: Duration = Duration::from_secs(1);
/// A client whose replies are larger than this on average, in bytes, gets a connection of its own:
/// everybody else would wait behind them.
pub(super) const LARGE_REPLY: usize = 64 << 10;
/// A request larger than this, in bytes, goes over a connection of its own for the same reason.
pub(super) const LARGE_REQUEST: usize = 64 << 10;
/// Who sends and receives more than this at once on average, in bytes, is with others of the kind, and
/// not any more when it is less than half of it.
const HEAVY: usize = 1 << 10;
/// So many times more connections are shared by those. An engine takes at most 16 KiB of a connection
/// before it turns to the next one, and whatever it does once for each round (writing its append-only
/// file, sending replies) it would do for every three or four of such requests.
const HEAVY_LANES: usize = 4;

/// Whether subcommands of a container may go over a shared connection.
pub(super) fn family_shares(name: &str) -> bool {
    name.split_once('|').is_none_or(|(family, _)| SHARED_FAMILIES.contains(&family))
}

/// A client's part in a shared connection.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) seat: Seat,
    /// Its engine has refused something: only what it may still say counts, until then.
    pub(crate) draining: Option<Instant>,
}

/// A request with which more connections than this have ended has one of its own: it may be what ends
/// them.
const MOST_LOSSES: u8 = 1;

/// Families whose subcommands may go over a shared connection: they are about data, or clients ask
/// them all the time. Others may word an error by what the client wrote, end a script that keeps the
/// whole connection from being read (`SCRIPT KILL`), or change it (`SCRIPT DEBUG`).
const SHARED_FAMILIES: &[&str] =
    &["object", "xinfo", "xgroup", "memory", "pubsub", "command", "cluster"];

impl Pending {
    /// Whether it needs a connection of its own.
    fn needs_own(&self, shard: &Shard) -> bool {
        if self.losses > MOST_LOSSES || self.streamed {
            return true;
        }
        match self.class {
            Class::SetName | Class::SetInfo | Class::MaintNotifications => false,
            // Some engines let a script's error end in the middle of its line; what follows would be
            // taken for the reply to somebody else.
            Class::Script if !shard.errors_are_lines.get() => true,
            Class::Plain if !self.family_shares => true,
            Class::Plain | Class::Script | Class::Info | Class::Role | Class::Publish => {
                !self.known
                    || self.size() > LARGE_REQUEST
                    || !matches!(self.effect, Effect::Read | Effect::Write)
            }
            _ => true,
        }
    }
}

impl Session {
    /// The engine that the client's connection leads to, shared or not.
    pub(super) fn lane(&self) -> Option<&Lane> {
        match &self.shared {
            Some(shared) => Some(shared.seat.lane()),
            None => self.link.lane.as_ref(),
        }
    }

    /// Whether only what the engine may still say counts.
    pub(super) fn is_draining(&self) -> bool {
        match &self.shared {
            Some(shared) => shared.draining.is_some(),
            None => matches!(self.link.phase, Phase::Draining { .. }),
        }
    }

    /// Whether a request has to go over a connection of the client's own.
    pub(super) fn wants_own(&mut self, pending: &Pending, shard: &Shard, now: Instant) -> bool {
        if self.limits.lanes == 0 {
            return true;
        }
        let state = self.forward.multi
            || self.forward.doomed
            || self.forward.watch_lost
            || self.transaction.is_open()
            || !self.state.is_common()
            || self.usual_reply > LARGE_REPLY
            // Whether it may choose a database is the engine's to say, to this user.
            || (self.who.lane_user().is_some() && self.state.db_number() != 0);
        if pending.needs_own(shard) || state {
            self.own_until = Some(now + KEEP_OWN);
            return true;
        }
        self.link.phase != Phase::Down
            && (self.own_until.is_some_and(|until| until > now) || !self.slots.is_empty())
    }

    /// Whether a request can be handed over now; a place is taken if there is none.
    pub(super) fn make_shared_ready(&mut self, shard: &Shard, writes: bool) -> Readiness {
        let writes = writes || shard.reads_strictly();
        if let Some(shared) = &self.shared {
            let lane = shared.seat.lane();
            let known = self.is_known_at(lane, shard);
            if shared.draining.is_some() || !shard.may_forward(lane) || !known {
                return Readiness::Held;
            }
            if !self.fits(shared.seat.key(), shard, writes) || shared.seat.is_retired() {
                if !self.slots.is_empty() {
                    return Readiness::Busy;
                }
                self.change_seats(shard, writes);
            }
            if let Some(shared) = &self.shared {
                return match shared.seat.phase() {
                    trunk::Phase::Opening => Readiness::Connecting,
                    trunk::Phase::Over => Readiness::Held,
                    trunk::Phase::Ready if !shared.seat.has_room() => Readiness::Busy,
                    trunk::Phase::Ready if self.withheld >= MAX_WITHHELD => Readiness::Busy,
                    trunk::Phase::Ready => Readiness::Ready,
                };
            }
        }
        self.drop_link();
        let usable = |lane: &Lane| !shard.is_down(lane) && self.is_known_at(lane, shard);
        let Some(lane) = shard.goal(&self.endpoint.kind, None).filter(usable) else {
            return Readiness::Held;
        };
        let proving = writes && lane.primary && shard.is_sync();
        let heavy = self.heavy && !proving;
        self.serve_at(shard, &lane);
        let (db, version) = (self.state.db_number(), self.state.version);
        let most = match (proving, heavy) {
            (true, _) => 1,
            (false, false) => self.limits.lanes,
            (false, true) => self.limits.lanes * HEAVY_LANES,
        };
        let user = self.who.lane_user().cloned();
        let trunk = shard.trunks.pick(trunk::Key { lane, user, db, version, heavy, proving }, most);
        let ready = trunk.phase() == trunk::Phase::Ready;
        self.shared = Some(Shared { seat: Seat::take(&trunk), draining: None });
        if ready { Readiness::Ready } else { Readiness::Connecting }
    }

    /// Whether a request may go over a shared connection. A read may stay behind the client's writes,
    /// and a write goes where its proof is asked for.
    fn fits(&self, key: &trunk::Key, shard: &Shard, writes: bool) -> bool {
        let proves = key.lane.primary && shard.is_sync();
        let stays = key.proving && !self.slots.is_empty();
        key.db == self.state.db_number()
            && key.version == self.state.version
            && key.user.as_ref() == self.who.lane_user()
            && (!proves || key.proving == writes || stays)
            && (key.proving || key.heavy == self.heavy || !self.slots.is_empty())
    }

    /// Takes note of the size of a request or a reply.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.weight = (self.weight * 7 + bytes) / 8;
        if self.weight > HEAVY {
            self.heavy = true;
        } else if self.weight < HEAVY / 2 {
            self.heavy = false;
        }
    }

    /// Takes the other seat if it is the right one. Whoever reads and writes by turns has both.
    fn change_seats(&mut self, shard: &Shard, writes: bool) {
        std::mem::swap(&mut self.shared, &mut self.spare);
        let right = self.shared.as_ref().is_some_and(|shared| {
            self.fits(shared.seat.key(), shard, writes)
                && shard.may_forward(shared.seat.lane())
                && shared.seat.phase() != trunk::Phase::Over
                && !shared.seat.is_retired()
        });
        if !right {
            self.shared = None;
        }
        let useful = |spare: &Shared| {
            let key = spare.seat.key();
            key.db == self.state.db_number() && key.version == self.state.version
        };
        if !self.spare.as_ref().is_some_and(useful) {
            self.spare = None;
        }
    }

    /// Hands a request over.
    pub(super) fn send_shared(&mut self, pending: Pending, shard: &Shard) {
        self.weigh(pending.size());
        let Some(shared) = &self.shared else { return };
        let writes = pending.effect.is_write();
        let proves = writes || shard.reads_strictly();
        let ticket = shared.seat.hand_over(pending.request.raw(), proves);
        self.wrote_elsewhere |= writes;
        self.push_flight(pending, Role::Plain, 0, ticket.gated);
        if let Some(Slot::Flight(flight)) = self.slots.back_mut() {
            flight.batch = ticket.batch;
            flight.gated = ticket.gated;
        }
    }

    /// Whether there is room for what has come on the shared connection.
    pub(crate) fn wants_shared(&self) -> bool {
        self.shared.is_some()
            && self.closing == Closing::No
            // Before a handover everything is taken that the engine owes: it is little.
            && (self.quiet || self.client_out.len() < self.limits.output_bytes)
            && self.withheld < MAX_WITHHELD
    }

    /// Whether something waits on the shared connection for which there is room.
    pub(crate) fn has_come(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.seat.has_come()) && self.wants_shared()
    }

    /// Takes in what has come on the shared connection.
    pub(super) fn read_shared(&mut self, shard: &Shard, now: Instant) {
        let over = |shared: &Shared| shared.seat.phase() == trunk::Phase::Over;
        let over = self.shared.as_ref().is_some_and(over);
        if self.shared.as_ref().is_some_and(|shared| shared.seat.is_choked()) {
            self.closing = Closing::Now;
        }
        while over || self.wants_shared() {
            match self.shared.as_ref().and_then(|shared| shared.seat.receive()) {
                Some(Piece::Whole(reply)) => self.answer_slot(shard, reply, now),
                Some(Piece::Part(part)) => self.take_part(part),
                None => break,
            }
        }
        self.decide_batches(shard);
        if over {
            self.lose(shard);
        }
    }

    /// Lets replies go whose batch everybody has, and says so of those that could not be proven.
    pub(super) fn decide_batches(&mut self, shard: &Shard) {
        let Some(shared) = &self.shared else { return };
        let epoch = shared.seat.lane().epoch;
        for slot in &mut self.slots {
            let Slot::Flight(flight) = slot else { continue };
            if !flight.gated || flight.reply.is_none() {
                continue;
            }
            match shared.seat.verdict(shard, flight.batch) {
                Verdict::Open => break,
                Verdict::Proven => flight.gated = false,
                Verdict::Doubtful => {
                    flight.gated = false;
                    flight.doubt(shard, epoch);
                }
            }
        }
    }

    /// Only what the engine may still say counts from now on.
    pub(super) fn drain_shared(&mut self, now: Instant) {
        if let Some(shared) = &mut self.shared {
            shared.draining.get_or_insert(now + HOLD_LIMIT);
        }
    }

    /// Ends the part in a shared connection that has nothing more to say.
    pub(super) fn check_shared(&mut self, shard: &Shard, now: Instant) {
        let Some(until) = self.shared.as_ref().and_then(|shared| shared.draining) else { return };
        let owed = self.slots.iter().skip(self.cursor).any(Slot::is_waiting);
        if !owed || until <= now {
            self.lose(shard);
        }
    }

    /// A route, or the health of a lane, has changed.
    pub(super) fn follow_shared_route(&mut self, shard: &Shard) {
        let Some(shared) = &self.shared else { return };
        let lane = shared.seat.lane();
        // It is of the same epoch, or of none that matters.
        self.spare = None;
        if !shard.is_valid(lane) {
            return self.lose(shard);
        }
        let reader = self.endpoint.kind == EndpointKind::Reader;
        if reader && self.slots.is_empty() && shard.is_better_elsewhere(lane) {
            self.shared = None;
        }
    }

    /// Gives the place up; marks what was in flight by whether the engine can have seen it.
    pub(super) fn forfeit(&mut self) {
        self.spare = None;
        let Some(shared) = self.shared.take() else { return };
        let mut sent = shared.seat.forfeit().into_iter();
        let waiting = self.slots.iter_mut().skip(self.cursor).filter_map(|slot| match slot {
            Slot::Flight(flight) if flight.reply.is_none() && flight.role != Role::Side => {
                Some(flight)
            }
            _ => None,
        });
        for flight in waiting {
            // Nothing of a shared connection counts as written, so 0 stands for "seen".
            flight.end = match sent.next() {
                Some(Sent::Whole) => 0,
                Some(Sent::NotWhole) | None => 1,
            };
        }
    }

    /// Whom to wake when something comes on the shared connection.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        if let Some(shared) = &self.shared {
            shared.seat.keep_waker(waker);
        }
        if let Some(witness) = &self.witness {
            witness.seat.keep_waker(waker);
        }
    }

    /// HELLO's answer, if the client's engine has greeted this proxy.
    pub(super) fn greeting(&self, shard: &Shard, version: Version) -> Option<Bytes> {
        let lane = self.lane()?;
        let greetings = shard.greetings.borrow();
        Some(trunk::greeting(greetings.get(&lane.node)?, self.card.id, version))
    }
}
