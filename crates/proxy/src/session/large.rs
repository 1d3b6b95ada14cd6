//! Requests and replies that pass through without being held whole.
//!
//! An engine executes a request when it has all of it, so a large one can be forwarded as it comes: if
//! its rest never comes, or the engine is lost before, nothing was executed. What was forwarded is not
//! kept, so such a request is never sent again; the client hears that it was not executed when it has
//! sent all of it. A large reply leaves as it comes; if its rest never comes, the connection ends,
//! since a half cannot be taken back.
//!
//! Invariant: between the first and the last part of a request nothing else is sent on its connection;
//! before the first part of a reply everything before it has left.
//!
//! Not here: where the parts end (`tanist_resp`).

use bytes::Bytes;
use tanist_resp::{Effect, Reply};
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Answer, Item, Role, Slot};
use super::{Closing, Session};

/// From this size on, in bytes, a request or a reply is not held whole.
pub(crate) const LARGE: usize = 1 << 20;
/// Bytes of a large request that may be on their way through.
pub(super) const ROOM: usize = 256 << 10;

/// Where the rest of a large request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Its turn has not come.
    Queued,
    /// To the engine.
    Sent,
    /// Nowhere: it is answered already, which the client hears when it has sent the rest.
    Swallowed,
}

impl Session {
    /// Whether a request may be forwarded before all of it is here, as far as is known by then.
    fn may_flow(&self, pending: &Pending) -> bool {
        pending.known
            && matches!(pending.class, Class::Plain | Class::Script)
            && matches!(pending.effect, Effect::Read | Effect::Write)
            // Whether it blocks depends on what has not come.
            && !pending.name.starts_with("xread")
            && !self.forward.multi
            && !self.forward.doomed
            && !self.transaction.is_open()
            && !self.is_nobody()
    }

    /// Looks whether the request under way is one that is not to be held.
    pub(super) fn begin_flow(&mut self, now: Instant) {
        self.inbound.waits = false;
        if self.inbound.whole || !self.inbound.framer.is_large(LARGE) {
            return;
        }
        let busy = !self.slots.is_empty() || self.proof_wanted || self.is_proving();
        if busy || !self.queue.is_empty() {
            self.inbound.waits = true;
            return;
        }
        let beginning = self.inbound.framer.beginning(&self.client_in);
        let mut pending = Pending::new(beginning, now);
        if !self.may_flow(&pending) {
            self.inbound.whole = true;
            return;
        }
        pending.streamed = true;
        self.card.note(now, pending.name);
        self.load += pending.size();
        self.queue.push_back(Item::Request(pending));
        self.flow = Some(Flow::Queued);
    }

    /// Whether as much of a large request is here as may be.
    pub(super) fn is_flow_full(&self) -> bool {
        match self.flow {
            Some(Flow::Queued) => self.client_in.len() >= ROOM,
            Some(Flow::Sent) => self.link.out.len() >= ROOM,
            Some(Flow::Swallowed) => false,
            None => self.inbound.waits && self.client_in.len() >= ROOM,
        }
    }

    /// Moves what has come of a large request to where it goes; whether its end is yet to come.
    pub(super) fn flow_on(&mut self, now: Instant) -> bool {
        let Some(flow) = self.flow.filter(|flow| *flow != Flow::Queued) else { return false };
        while self.closing == Closing::No && !self.is_flow_full() {
            match self.inbound.framer.next_part(&mut self.client_in) {
                Ok(Some(part)) => {
                    self.inbound.partial = None;
                    if flow == Flow::Sent {
                        self.link.out.push(part.bytes);
                    }
                    if part.last {
                        self.end_flow(flow);
                        return false;
                    }
                }
                Ok(None) => {
                    self.watch_flow(now);
                    if self.eof {
                        self.closing = Closing::Flushed;
                    }
                    return true;
                }
                Err(error) => {
                    self.inbound.over = true;
                    self.flow = None;
                    if flow == Flow::Sent {
                        // Nothing was before it, and the engine forgets what it has of it.
                        self.slots.clear();
                        self.cursor = 0;
                        self.drop_link();
                    }
                    self.proof_wanted = false;
                    self.queue.clear();
                    let bytes = error.reply().unwrap_or_default();
                    let answer = Answer { bytes, closes: true, unasked: true, ..Answer::default() };
                    self.queue.push_back(Item::Answer(answer));
                    return false;
                }
            }
        }
        true
    }

    /// Ends a client that sends nothing more of its request. Time in which nothing was read is not its.
    fn watch_flow(&mut self, now: Instant) {
        if !self.wants_client() {
            self.inbound.partial = None;
            return;
        }
        self.inbound.partial.get_or_insert(now);
        if self.inbound.deadline(self.client_in.len()).is_some_and(|until| until <= now) {
            self.closing = Closing::Now;
        }
    }

    /// The whole of it has passed.
    fn end_flow(&mut self, flow: Flow) {
        self.flow = None;
        let end = self.link.out.pushed();
        if let (Flow::Sent, Some(Slot::Flight(flight))) = (flow, self.slots.back_mut()) {
            flight.end = end;
        }
    }

    /// Takes in a part of the reply that is next.
    pub(super) fn take_part(&mut self, part: Bytes) {
        let first = self.cursor == 0 && !self.is_draining();
        let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) else { return };
        let pending = &flight.pending;
        let passes = first
            && flight.parts.is_none()
            && flight.role == Role::Plain
            && matches!(pending.class, Class::Plain | Class::Script)
            && !pending.effect.is_blocking()
            && !flight.gated
            && !pending.is_mute();
        if passes || flight.passed > 0 {
            flight.passed += part.len();
            self.client_out.push(part);
        } else {
            flight.parts.get_or_insert_default().extend_from_slice(&part);
        }
    }

    /// Puts the rest of a reply behind the parts of it that were kept.
    pub(super) fn put_together(&mut self, rest: Reply) -> Reply {
        let parts = match self.slots.get_mut(self.cursor) {
            Some(Slot::Flight(flight)) => flight.parts.take(),
            _ => None,
        };
        match parts {
            Some(parts) => rest.behind(*parts),
            None => rest,
        }
    }

    /// Whether a request or a reply of the client is passing through in parts.
    pub(crate) fn is_streaming(&self) -> bool {
        let in_parts = |slot: &Slot| match slot {
            Slot::Flight(flight) => flight.passed > 0 || flight.parts.is_some(),
            Slot::Answer(_) => false,
        };
        self.flow.is_some() || self.slots.iter().any(in_parts)
    }

    /// Whether a part of the next reply has left, so that no other can take its place.
    pub(super) fn has_begun_reply(&self) -> bool {
        let begun = |slot: &Slot| matches!(slot, Slot::Flight(flight) if flight.passed > 0);
        self.slots.front().is_some_and(begun)
    }
}
