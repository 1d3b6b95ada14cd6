//! The way of nearly every request: from the framer straight to the shared connection, and its reply
//! straight to the client.
//!
//! A client about which nothing is out of the ordinary needs no queue and no place in the order of
//! replies with room for everything that may happen to a request: its requests go on the moment that
//! they are found, and of each no more is kept than what it would be found out from again. Whatever
//! happens that is not ordinary, they are unfolded: put where they would be if they had come by the
//! long way, which goes on from there.
//!
//! Invariant: nothing is in flight here while something is queued or in flight by the long way; the
//! shortcut does nothing that the long way would not have done; whoever looks at queue or slots has
//! unfolded first.
//!
//! Not here: everything that is not ordinary (`super::forward`, `super::replies`).

use std::collections::VecDeque;

use tanist_resp::{Piece, Reply, Request};
use tokio::time::Instant;

use super::class::{Ordinary, Pending, Profile};
use super::flight::{Flight, Role, Slot};
use super::mute::Hearing;
use super::shared::{LARGE_REPLY, LARGE_REQUEST};
use super::{Closing, LARGE, Phase, Session, Stop};
use crate::shard::{EndpointKind, Shard};
use crate::trunk::Come;

/// A request in flight, in brief.
#[derive(Debug)]
pub(super) struct Brief {
    request: Request,
    parsed: Instant,
}

impl Brief {
    /// What it would be if it had come by the long way.
    pub(super) fn unfolded(self) -> Flight {
        // Whoever wants to hear less does not come this way.
        let pending = Pending { mute: Some(false), ..Pending::new(self.request, self.parsed) };
        Flight::new(pending, Role::Plain, 0)
    }

    /// A copy of it, unfolded.
    pub(super) fn copied(&self) -> Flight {
        Self { request: self.request.clone(), parsed: self.parsed }.unfolded()
    }
}

/// The shortcut of one client.
#[derive(Debug, Default)]
pub(super) struct Shortcut {
    /// What is in flight, in order.
    pub(super) flying: VecDeque<Brief>,
    /// The shard's generation in which it is open; a shard's first one is 1.
    open_in: u64,
    /// Writes may take it too.
    writes: bool,
    /// The command of the last request that took it.
    before: Option<&'static Profile>,
}

impl Session {
    /// Goes as far as the shortcut leads; whether there is nothing left to do.
    pub(super) fn take_shortcut(&mut self, shard: &Shard, now: Instant) -> bool {
        let done = self.is_shortcut_open(shard)
            && self.receive_in_brief(shard, now)
            && self.send_in_brief(now);
        if done {
            self.set_tally(shard, 0, self.is_busy());
        }
        done
    }

    /// Puts everything that is in flight where it would be by the long way.
    pub(super) fn unfold(&mut self) {
        self.shortcut.open_in = 0;
        if !self.shortcut.flying.is_empty() {
            let flying = self.shortcut.flying.drain(..);
            self.slots.extend(flying.map(|brief| Slot::Flight(brief.unfolded())));
        }
    }

    /// Whether anything is in flight, or has its place in the order of replies.
    pub(super) fn is_owed(&self) -> bool {
        !self.slots.is_empty() || !self.shortcut.flying.is_empty()
    }

    /// Opens the shortcut if nothing is out of the ordinary. Asked when the long way has come to its
    /// end: what is asked here changes on the long way or with the shard only.
    pub(super) fn open_shortcut(&mut self, shard: &Shard) {
        self.shortcut.open_in = 0;
        let Some(shared) = &self.shared else { return };
        let (key, lane) = (shared.seat.key(), shared.seat.lane());
        let at_rest = self.stop == Stop::Empty
            && self.queue.is_empty()
            && self.slots.is_empty()
            && self.flow.is_none()
            && !self.inbound.over
            && !self.inbound.waits
            && !self.unread
            && !self.is_proving()
            && !self.proof_wanted
            && self.side.is_none()
            && self.held_since.is_none()
            && self.link.phase == Phase::Down;
        let common = self.state.is_common()
            && !self.forward.multi
            && !self.forward.doomed
            && !self.forward.watch_lost
            && !self.transaction.is_open()
            && !self.is_nobody()
            && self.hearing == Hearing::All
            && self.limits.lanes > 0;
        if !at_rest || !common {
            return;
        }
        let db = self.state.db_number();
        let fits = key.db == db
            && key.version == self.state.version
            && key.user.as_ref() == self.who.lane_user()
            && (db == 0 || key.user.is_none())
            && !key.proving;
        let serves = shared.draining.is_none()
            && shard.may_forward(lane)
            && self.is_known_at(lane, shard)
            && !shard.reads_strictly();
        if fits && serves {
            self.shortcut.open_in = shard.generation.get();
            self.shortcut.writes = self.endpoint.kind != EndpointKind::Reader
                && !(lane.primary && shard.is_sync())
                && (shard.is_writable() || !self.leads_to_primary());
        }
    }

    /// Whether it is open, and nothing has come that is not seen from the long way's end.
    fn is_shortcut_open(&self, shard: &Shard) -> bool {
        self.shortcut.open_in == shard.generation.get()
            && !shard.gone.get()
            && !self.endpoint.closed.get()
            && self.endpoint.pause.get().is_none()
            && !self.card.killed.get()
            && self.closing == Closing::No
            && !self.eof
            && !self.quiet
            && self.shared.as_ref().is_some_and(|shared| shared.seat.is_ordinary())
    }

    /// Lets go of what has come; `false` if there is something that is not ordinary.
    fn receive_in_brief(&mut self, shard: &Shard, now: Instant) -> bool {
        let Some(shared) = &self.shared else { return false };
        let lane = shared.seat.lane();
        let epoch = lane.primary.then_some(lane.epoch);
        // At once: what comes next may be nothing ordinary.
        let released = || {
            if let Some(epoch) = epoch {
                shard.note_released(epoch);
            }
        };
        while self.client_out.len() < self.limits.output_bytes {
            let come = self.shared.as_ref().and_then(|shared| shared.seat.receive_any());
            let piece = match come {
                None => break,
                Some(Come::Piece(piece)) => piece,
                Some(Come::Run(run)) => {
                    if !run.sizes.iter().all(|size| self.account_in_brief(*size, now)) {
                        // More than was asked for.
                        self.lose(shard);
                        return false;
                    }
                    self.client_out.push(run.raw);
                    released();
                    continue;
                }
            };
            match piece {
                Piece::Whole(reply) if !reply.is_error() && self.release_in_brief(&reply, now) => {
                    released();
                }
                Piece::Whole(reply) => {
                    self.unfold();
                    self.answer_slot(shard, reply, now);
                    return false;
                }
                Piece::Part(part) => {
                    self.unfold();
                    self.take_part(part);
                    return false;
                }
            }
        }
        true
    }

    /// Lets go of a reply; `false` if nobody waits for it.
    fn release_in_brief(&mut self, reply: &Reply, now: Instant) -> bool {
        let waits = self.account_in_brief(reply.raw().len(), now);
        if waits {
            self.client_out.share(reply.raw());
        }
        waits
    }

    /// Takes note that a reply of so many bytes leaves; `false` if nobody waits for it.
    fn account_in_brief(&mut self, bytes: usize, now: Instant) -> bool {
        let Some(brief) = self.shortcut.flying.pop_front() else { return false };
        self.weigh(bytes);
        self.usual_reply = (self.usual_reply * 7 + bytes) / 8;
        self.load = self.load.saturating_sub(brief.request.raw().len());
        self.note_time(&brief.request, brief.parsed, now);
        true
    }

    /// Whether no queue and no slots are needed as far as is known.
    pub(super) fn expects_shortcut(&self) -> bool {
        self.shortcut.open_in > 0
    }

    /// Hands over what has been read; `false` if there is something that is not ordinary.
    fn send_in_brief(&mut self, now: Instant) -> bool {
        let window = self.window();
        while self.load < self.limits.pending_bytes {
            match self.inbound.framer.next(&mut self.client_in) {
                Ok(Some(request)) => {
                    self.inbound.partial = None;
                    self.inbound.whole = false;
                    let has_place = self.shortcut.flying.len() < window;
                    if !(has_place && self.hand_over_in_brief(&request, now)) {
                        self.enqueue(request, now);
                        return false;
                    }
                    self.shortcut.flying.push_back(Brief { request, parsed: now });
                }
                Ok(None) => {
                    if self.inbound.framer.is_large(LARGE) {
                        return false;
                    }
                    self.watch_partial(now);
                    return self.closing == Closing::No;
                }
                // The framer says so again.
                Err(_) => return false,
            }
        }
        true
    }

    /// Hands a request over, if it is ordinary; whether it is.
    fn hand_over_in_brief(&mut self, request: &Request, now: Instant) -> bool {
        let Some(ordinary) = Ordinary::of(request, self.shortcut.before) else { return false };
        let Some(shared) = &self.shared else { return false };
        let size = request.raw().len();
        // A client changes its connection only when nothing of it is in flight.
        let stays = shared.seat.key().heavy == self.heavy || !self.shortcut.flying.is_empty();
        let passes = stays
            && (self.shortcut.writes || !ordinary.may_write())
            && size <= LARGE_REQUEST
            && self.usual_reply <= LARGE_REPLY
            && self.client_out.len() < self.limits.output_bytes
            && shared.seat.pass(request.raw());
        if passes {
            self.shortcut.before = Some(ordinary.profile);
            self.card.note(now, ordinary.profile.name());
            self.load += size;
            self.weigh(size);
            self.wrote_elsewhere |= ordinary.effect.is_write();
        }
        passes
    }
}
