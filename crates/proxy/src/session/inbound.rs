//! From a client's bytes to requests in a queue.
//!
//! Invariant: parsing stops at the limit of queued bytes; a frame that does not end within its time
//! ends the connection.
//!
//! Not here: what is done with a request (`super::forward`).

use std::time::Duration;

use tanist_resp::{Limits, Request, RequestFramer};
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Answer, Item};
use super::large::ROOM;
use super::{Closing, Session};

/// How long a request may be incomplete before its client is taken for hostile.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// A second more is given for so many bytes of it.
const FRAME_RATE: usize = 64 << 10;

/// The parsing side of a client.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(super) framer: RequestFramer,
    /// No further byte is looked at.
    pub(super) over: bool,
    /// Since when a request is incomplete.
    pub(super) partial: Option<Instant>,
    /// It is large, and has to wait for what was before it.
    pub(super) waits: bool,
    /// It is held whole, however large it is.
    pub(super) whole: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            framer: RequestFramer::new(Limits::default()),
            over: false,
            partial: None,
            waits: false,
            whole: false,
        }
    }
}

impl Inbound {
    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// How many bytes to make room for.
    pub(crate) fn wanted(&self, buffered: usize) -> usize {
        self.framer.wanted(buffered)
    }

    /// When the incomplete request of so many bytes has had its time.
    pub(crate) fn deadline(&self, buffered: usize) -> Option<Instant> {
        let more = Duration::from_secs((buffered / FRAME_RATE) as u64);
        self.partial.map(|since| since + FRAME_LIMIT + more)
    }
}

impl Session {
    /// How many bytes to make room for before reading the client.
    pub(crate) fn client_wants(&self) -> usize {
        let wanted = self.inbound.wanted(self.client_in.len());
        if self.flow.is_some() || self.inbound.waits { wanted.min(ROOM) } else { wanted }
    }

    /// Whether something has come that was not looked at although it may be.
    pub(crate) fn has_unparsed(&self) -> bool {
        !self.client_in.is_empty() && self.inbound.partial.is_none() && self.wants_client()
    }

    /// Cuts what has come into requests, as many as may be queued.
    pub(super) fn parse(&mut self, now: Instant) {
        if self.closing != Closing::No || self.flow.is_some() || self.quiet {
            return;
        }
        self.unread = false;
        while !self.inbound.over && self.load < self.limits.pending_bytes {
            if self.is_nobody() && !self.queue.is_empty() {
                // As what the next one is read depends on the answer to this one.
                self.unread = true;
                return;
            }
            self.inbound.framer.set_authenticated(!self.is_nobody());
            match self.inbound.framer.next(&mut self.client_in) {
                Ok(Some(request)) => {
                    self.inbound.partial = None;
                    self.inbound.whole = false;
                    self.enqueue(request, now);
                }
                Ok(None) => {
                    self.begin_flow(now);
                    self.watch_partial(now);
                    return;
                }
                Err(error) => {
                    self.inbound.over = true;
                    let bytes = error.reply().unwrap_or_default();
                    let answer = Answer { bytes, closes: true, unasked: true, ..Answer::default() };
                    self.queue.push_back(Item::Answer(answer));
                }
            }
        }
        if self.inbound.over {
            self.client_in.clear();
        }
    }

    /// Takes a request into the queue.
    pub(super) fn enqueue(&mut self, request: Request, now: Instant) {
        let pending = Pending::new(request, now);
        self.card.note(now, pending.name);
        self.inbound.over |= pending.class == Class::Quit && !self.is_barred(&pending);
        self.load += pending.size();
        self.queue.push_back(Item::Request(pending));
    }

    pub(super) fn watch_partial(&mut self, now: Instant) {
        // Time in which nothing was read is not the client's.
        if self.client_in.is_empty() || !self.wants_client() {
            self.inbound.partial = None;
            return;
        }
        self.inbound.partial.get_or_insert(now);
        if self.inbound.deadline(self.client_in.len()).is_some_and(|until| until <= now) {
            self.closing = Closing::Now;
        }
    }
}
