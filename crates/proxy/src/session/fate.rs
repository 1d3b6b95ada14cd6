//! What becomes of everything in flight when its upstream is given up.
//!
//! `gate::fate` decides about a single request; here are the cases around it: evidence that came
//! after the upstream was given up, transactions, and requests that are answered but not proven.
//!
//! Invariant: a write that the engine may have executed is never put back into the queue.
//!
//! Not here: when an upstream is given up (`super::upstream`, `super::replies`).

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;
use tanist_core::gate::{Fate, Sent, fate};
use tanist_resp::Effect;
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Answer, Flight, Item, Role, Slot};
use super::large::Flow;
use super::{Closing, Forward, Session};
use crate::shard::{Lane, Shard};
use crate::{meter, text};

/// The queue that is to be, while it is put together.
struct Fates<'a> {
    shard: &'a Shard,
    lane: Lane,
    /// Bytes that the engine can have seen.
    written: u64,
    /// Replies of the lane may be released without further proof.
    releasable: bool,
    items: VecDeque<Item>,
    /// Where the transaction begins that the next items may belong to.
    group: Option<usize>,
    /// The transaction that the engine has begun to answer will be queued again.
    kept: bool,
    /// That transaction is over.
    ended: bool,
    /// Bytes of requests that are answered now.
    answered: usize,
    replayed: u64,
    /// Answered requests before this place were followed by one that changed the connection.
    changed_at: usize,
}

impl Fates<'_> {
    fn replay(&mut self, mut pending: Pending) {
        if pending.streamed {
            // Its beginning is not here any more, and it has changed nothing.
            let primary = self.lane.primary;
            let text = if primary { text::TRYAGAIN } else { text::TRYAGAIN_READER };
            return self.answer(&pending, Bytes::from_static(text));
        }
        self.replayed += 1;
        if self.shard.is_valid(&self.lane) {
            pending.losses = pending.losses.saturating_add(1);
        }
        self.items.push_back(Item::Request(pending));
    }

    fn answer(&mut self, pending: &Pending, bytes: impl Into<Bytes>) {
        self.answered += pending.size();
        self.items.push_back(Item::Answer(Answer::to(pending, bytes)));
    }

    fn uncertain(&mut self, pending: &Pending) {
        self.shard.note_uncertain();
        self.answer(pending, self.shard.uncertain(self.lane.epoch));
    }

    /// EXEC or DISCARD was executed or may have been: what it closed is not queued again.
    fn end_group(&mut self) {
        let from = self.group.take().unwrap_or(self.items.len());
        for item in self.items.iter_mut().skip(from) {
            if let Item::Request(pending) = item {
                let text = if pending.class == Class::Multi { text::OK } else { text::QUEUED };
                self.answered += pending.size();
                *item = Item::Answer(Answer::to(pending, Bytes::from_static(text)));
            }
        }
        self.ended |= !self.kept;
    }

    /// EXEC or DISCARD will be sent again, so what it closes is queued again first.
    fn keep_group(&mut self) {
        self.group = None;
        self.kept = true;
    }

    fn judge(&mut self, index: usize, flight: Flight) {
        match (flight.reply.clone(), flight.settled) {
            (Some(reply), true) => self.judge_unproven(index, flight, reply),
            (Some(reply), false) => self.judge_evidence(flight, &reply),
            (None, _) => self.judge_unanswered(flight),
        }
    }

    /// The engine has answered, but not everybody who must have it is known to.
    fn judge_unproven(&mut self, index: usize, flight: Flight, reply: Bytes) {
        let pending = flight.pending;
        let plain_error = flight.role == Role::Plain
            && pending.class != Class::Script
            && reply.first() == Some(&b'-');
        match flight.role {
            Role::Exec => self.uncertain(&pending),
            Role::Plain if plain_error => self.answer(&pending, reply),
            Role::Plain if pending.effect.is_write() => self.uncertain(&pending),
            // It may have read what is not proven, and cannot be asked again in another database.
            Role::Plain if pending.effect.is_read() && index < self.changed_at => {
                self.uncertain(&pending);
            }
            Role::Plain if pending.effect.is_read() => self.replay(pending),
            _ => self.answer(&pending, reply),
        }
    }

    /// The engine has answered after it was given up.
    fn judge_evidence(&mut self, flight: Flight, reply: &Bytes) {
        let pending = flight.pending;
        let is_error = reply.first() == Some(&b'-');
        match flight.role {
            Role::Multi | Role::Queued => {
                if flight.role == Role::Multi {
                    self.group = Some(self.items.len());
                }
                self.replay(pending);
            }
            Role::Exec if flight.refused || reply.first() != Some(&b'*') || is_nil(reply) => {
                self.keep_group();
                self.replay(pending);
            }
            Role::Exec => {
                self.end_group();
                self.executed(&pending, reply);
            }
            Role::Plain => match pending.effect {
                Effect::Wait => self.no_copies(&pending),
                Effect::Write | Effect::BlockingWrite
                    if !(flight.refused || is_error && pending.flagged_write) =>
                {
                    self.executed(&pending, reply);
                }
                _ => self.replay(pending),
            },
            Role::Instead(_) | Role::Discard | Role::Side => {
                self.resolve(flight.role, &pending);
            }
        }
    }

    fn executed(&mut self, pending: &Pending, reply: &Bytes) {
        if self.releasable {
            self.answer(pending, reply.clone());
        } else {
            self.uncertain(pending);
        }
    }

    fn judge_unanswered(&mut self, flight: Flight) {
        let sent = if flight.end <= self.written { Sent::Whole } else { Sent::NotWhole };
        let pending = flight.pending;
        match (flight.role, sent) {
            (Role::Multi, _) => {
                self.group = Some(self.items.len());
                self.replay(pending);
            }
            (Role::Queued, _) => self.replay(pending),
            (Role::Exec | Role::Discard, Sent::NotWhole) => {
                self.keep_group();
                self.replay(pending);
            }
            (Role::Exec, Sent::Whole) => {
                self.end_group();
                self.uncertain(&pending);
            }
            (Role::Plain, Sent::Whole) if pending.effect == Effect::Wait => {
                self.no_copies(&pending);
            }
            (Role::Plain, sent) => match fate(pending.gate_effect(self.lane.primary), sent) {
                Fate::Replay => self.replay(pending),
                Fate::Uncertain => self.uncertain(&pending),
            },
            (role @ (Role::Instead(_) | Role::Discard | Role::Side), _) => {
                self.resolve(role, &pending);
            }
        }
    }

    /// Requests whose outcome does not depend on the engine.
    fn resolve(&mut self, role: Role, pending: &Pending) {
        match role {
            Role::Instead(answer) => {
                self.end_group();
                // A nil that every version understands is made when it is released.
                let mut item = Answer::to(pending, answer.unwrap_or_default());
                item.nil = answer.is_none() && !pending.is_mute();
                self.answered += pending.size();
                self.items.push_back(Item::Answer(item));
            }
            Role::Discard => {
                self.end_group();
                self.answer(pending, Bytes::from_static(text::OK));
            }
            _ => self.uncertain(pending),
        }
    }

    /// WAIT on another connection would count the copies of nothing.
    fn no_copies(&mut self, pending: &Pending) {
        let aof = pending.class == Class::WaitAof;
        let text = if aof { text::NO_COPIES_AOF } else { text::NO_COPIES };
        self.answer(pending, Bytes::from_static(text));
    }
}

/// Where the last answered request is that changed the connection's state.
fn changed_at(slots: &VecDeque<Slot>) -> usize {
    let changes = |slot: &Slot| match slot {
        Slot::Flight(flight) if flight.settled => match flight.role {
            Role::Plain => {
                matches!(flight.pending.effect, Effect::Connection | Effect::Subscription)
            }
            Role::Multi | Role::Queued => true,
            Role::Exec | Role::Instead(_) | Role::Discard | Role::Side => false,
        },
        _ => false,
    };
    slots.iter().rposition(changes).unwrap_or_default()
}

fn is_nil(reply: &[u8]) -> bool {
    reply.starts_with(b"*-1")
}

impl Session {
    /// Gives the upstream up: every request in flight meets its fate.
    pub(super) fn lose(&mut self, shard: &Shard) {
        self.unfold();
        let Some(lane) = self.lane().cloned() else { return };
        if self.has_begun_reply() {
            self.closing = Closing::Now;
        }
        if self.flow == Some(Flow::Sent) {
            self.flow = Some(Flow::Swallowed);
        }
        if shard.is_valid(&lane) {
            self.decide_batches(shard);
            self.release(shard, Instant::now());
        }
        let written = if self.shared.is_some() { 0 } else { self.link.out.written() };
        self.forfeit();
        let refused = self.slots.iter().any(|slot| match slot {
            Slot::Flight(flight) => flight.refused,
            Slot::Answer(_) => false,
        });
        let releasable = shard.is_valid(&lane) && !(lane.primary && shard.is_sync());
        let mut fates = Fates {
            shard,
            lane: lane.clone(),
            written,
            releasable,
            items: VecDeque::new(),
            group: self.transaction.is_open().then_some(0),
            kept: false,
            ended: false,
            answered: 0,
            replayed: 0,
            changed_at: changed_at(&self.slots),
        };
        let mut aside = None;
        for (index, slot) in mem::take(&mut self.slots).into_iter().enumerate() {
            match slot {
                Slot::Answer(answer) => fates.items.push_back(Item::Answer(answer)),
                // It is not on this upstream.
                Slot::Flight(flight) if flight.role == Role::Side => aside = Some(flight),
                Slot::Flight(flight) => fates.judge(index, flight),
            }
        }
        let Fates { mut items, ended, answered, replayed, .. } = fates;
        meter::add(&self.endpoint.meter.replayed, replayed);
        items.append(&mut self.queue);
        self.queue = items;
        self.load = self.load.saturating_sub(answered);
        self.cursor = 0;
        self.withheld = 0;
        self.slots.extend(aside.map(Slot::Flight));
        self.proof = None;
        self.witness = None;
        self.proof_wanted = false;
        if ended {
            self.transaction.end();
            self.state.unwatch();
        }
        self.forget_upstream();
        if refused {
            // Whoever asks it again is refused again, until a probe says otherwise.
            shard.mark_down(&lane);
        }
    }

    fn forget_upstream(&mut self) {
        self.drop_link();
        let before = mem::take(&mut self.forward);
        let watching = self.state.unwatch();
        let open = self.transaction.is_open();
        let lost = open && self.transaction.rebuild().is_none();
        self.forward = Forward {
            multi: open && !lost,
            failed: self.transaction.failed,
            changes_keys: self.transaction.changes_keys,
            subscribes: self.transaction.subscribes(),
            doomed: before.doomed || lost,
            watch_lost: before.watch_lost || watching,
        };
        if lost {
            self.transaction.end();
        }
        if !self.state.is_movable() {
            self.closing = Closing::Now;
        }
    }
}
