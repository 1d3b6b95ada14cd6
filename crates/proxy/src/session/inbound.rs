//! From a client's bytes to requests in a queue.
//!
//! Invariant: parsing stops at the limit of queued bytes; a frame that does not end within its time
//! ends the connection.
//!
//! Not here: what is done with a request (`super::forward`).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tanist_resp::{Limits, Request, RequestFramer};
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Answer, Item};
use super::{Closing, Session};
use crate::text;

/// How long a request may be incomplete before its client is taken for hostile.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// A second more is given for so many bytes of it.
const FRAME_RATE: usize = 64 << 10;

/// Whether the client wants replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReplyMode {
    #[default]
    On,
    Off,
    SkipNext,
}

/// The parsing side of a client.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(super) framer: RequestFramer,
    pub(super) mode: ReplyMode,
    /// Within MULTI, as the client wrote it.
    pub(super) multi: bool,
    /// No further byte is looked at.
    pub(super) over: bool,
    /// Since when a request is incomplete.
    pub(super) partial: Option<Instant>,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            framer: RequestFramer::new(Limits::default()),
            mode: ReplyMode::On,
            multi: false,
            over: false,
            partial: None,
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

    /// Takes note of what concerns the parsing side; whether the request is muted, and its answer if
    /// that is all there is to it.
    fn look(&mut self, pending: &mut Pending) -> Option<Answer> {
        pending.mute = match self.mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.mode = ReplyMode::On;
                true
            }
        };
        match pending.class {
            Class::Multi => self.multi = true,
            Class::Exec | Class::Discard => self.multi = false,
            _ if pending.is_bad_exec() => self.multi = false,
            Class::Reset => {
                self.multi = false;
                self.mode = ReplyMode::On;
                pending.mute = false;
            }
            Class::Quit => self.over = true,
            Class::ReplyMode if !self.multi => return self.reply_mode(&pending.request),
            _ => {}
        }
        None
    }

    fn reply_mode(&mut self, request: &Request) -> Option<Answer> {
        let mode = request.arg(2).unwrap_or_default();
        let is = |word: &[u8]| mode.eq_ignore_ascii_case(word);
        if is(b"on") {
            self.mode = ReplyMode::On;
            return Some(Answer { bytes: Bytes::from_static(text::OK), ..Answer::default() });
        }
        if is(b"off") {
            self.mode = ReplyMode::Off;
        } else if !is(b"skip") {
            return None;
        } else if self.mode == ReplyMode::On {
            self.mode = ReplyMode::SkipNext;
        }
        Some(Answer::default())
    }
}

impl Session {
    /// How many bytes to make room for before reading the client.
    pub(crate) fn client_wants(&self) -> usize {
        self.inbound.wanted(self.client_in.len())
    }

    /// Cuts what has come into requests, as many as may be queued.
    pub(super) fn parse(&mut self, now: Instant) {
        if self.closing != Closing::No || self.quiet {
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
                    let mut pending = Pending::new(request, now, false);
                    let barred = self.is_barred(&pending);
                    self.card.note(now, pending.name);
                    let answer = if barred { None } else { self.inbound.look(&mut pending) };
                    if let Some(answer) = answer {
                        self.queue.push_back(Item::Answer(answer));
                    } else {
                        self.load += pending.size();
                        self.queue.push_back(Item::Request(pending));
                    }
                }
                Ok(None) => {
                    self.watch_partial(now);
                    return;
                }
                Err(error) => {
                    self.inbound.over = true;
                    let bytes = error.reply().unwrap_or_default();
                    let answer = Answer { bytes, closes: true, ..Answer::default() };
                    self.queue.push_back(Item::Answer(answer));
                }
            }
        }
        if self.inbound.over {
            self.client_in.clear();
        }
    }

    fn watch_partial(&mut self, now: Instant) {
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
