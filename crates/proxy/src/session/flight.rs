//! Requests between the moment they leave the queue and the moment their reply leaves the proxy.
//!
//! Invariant: slots are in the order in which the client asked; those that wait for an engine are
//! answered in that order too, so the first waiting one owns the next reply.
//!
//! Not here: what becomes of a slot whose upstream is lost (`super::fate`).

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tanist_core::model::Epoch;

use super::class::Pending;
use crate::shard::Shard;
use crate::text;

/// A reply that needs no engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// The bytes; none if the client asked for no reply.
    pub(crate) bytes: Bytes,
    /// It is "no list" in the version that the client speaks by then.
    pub(crate) nil: bool,
    /// The transaction that it was given in cannot succeed.
    pub(crate) fails: bool,
    /// The transaction that it was given in is over.
    pub(crate) ends: bool,
    /// The connection ends with it.
    pub(crate) closes: bool,
    /// It answers no request, so `CLIENT REPLY` decides whether it is heard.
    pub(crate) unasked: bool,
    /// It answers nothing: the engine has said it by itself.
    pub(crate) message: bool,
}

impl Answer {
    /// An answer to a request.
    pub(crate) fn to(pending: &Pending, bytes: impl Into<Bytes>) -> Self {
        let bytes = if pending.is_mute() { Bytes::new() } else { bytes.into() };
        Self { bytes, ..Self::default() }
    }
}

/// What waits to be forwarded.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every item is a request")]
pub(crate) enum Item {
    /// A request.
    Request(Pending),
    /// Already answered, but what precedes it is not.
    Answer(Answer),
}

/// What a forwarded request is to the transaction around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    Plain,
    Multi,
    Queued,
    Exec,
    /// DISCARD in place of an EXEC that must not run; `None` answers "a watched key changed".
    Instead(Option<&'static [u8]>),
    Discard,
    /// Sent to the primary by way of its own endpoint.
    Side,
}

/// A forwarded request.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) pending: Pending,
    pub(crate) role: Role,
    /// Where its last byte is in what was queued for the upstream.
    pub(crate) end: u64,
    /// Its reply is withheld while a proof is outstanding.
    pub(crate) gated: bool,
    /// Its batch on a shared connection.
    pub(crate) batch: u64,
    /// The whole reply, as the client will see it.
    pub(crate) reply: Option<Bytes>,
    /// The reply has changed the connection's state; otherwise it came while the upstream was being
    /// given up, and only counts as evidence.
    pub(crate) settled: bool,
    /// It is heard whatever the client has asked for.
    pub(crate) heard: bool,
    /// The reply proves that the request was not executed.
    pub(crate) refused: bool,
    /// Bytes of the reply that the client has already.
    pub(crate) passed: usize,
    /// The parts so far of a large reply that has to be whole.
    pub(crate) parts: Option<Box<BytesMut>>,
    /// The frames so far of a reply that has several, and how many are missing.
    pub(crate) partial: Option<Box<(BytesMut, usize)>>,
}

impl Flight {
    /// One that has just been forwarded.
    pub(crate) fn new(pending: Pending, role: Role, end: u64) -> Self {
        Self {
            pending,
            role,
            end,
            gated: false,
            batch: 0,
            reply: None,
            settled: false,
            heard: false,
            refused: false,
            passed: 0,
            parts: None,
            partial: None,
        }
    }

    /// Whether it blocks its connection until data arrives.
    pub(crate) fn is_parked(&self) -> bool {
        self.reply.is_none() && self.role == Role::Plain && self.pending.effect.is_blocking()
    }

    /// It was answered, and what was answered cannot be proven.
    pub(crate) fn doubt(&mut self, shard: &Shard, epoch: Epoch) {
        if self.is_write() {
            shard.note_uncertain();
            self.reply = Some(shard.uncertain(epoch));
        } else if shard.reads_strictly()
            && self.role == Role::Plain
            && self.pending.effect.is_read()
        {
            self.reply = Some(Bytes::from_static(text::UNPROVEN_READ));
        }
    }

    /// Whether its reply must be proven in a shard that is `sync`.
    pub(crate) fn is_write(&self) -> bool {
        match self.role {
            Role::Plain => self.pending.effect.is_write(),
            Role::Exec => true,
            _ => false,
        }
    }
}

/// One place in the order of replies.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every slot is a flight")]
pub(crate) enum Slot {
    /// Nothing to wait for but its turn.
    Answer(Answer),
    /// A forwarded request.
    Flight(Flight),
}

impl Slot {
    /// Whether an engine has yet to answer.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Self::Flight(flight) if flight.reply.is_none())
    }
}

/// What the next frame of an upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expect {
    /// The reply to the first waiting slot.
    Slot,
    /// The reply to the lane's credentials.
    Auth,
    /// The replies to one step of a restored state, so many frames.
    Restore { frames: usize, needed: bool },
    /// `+OK` or `+QUEUED` of a transaction that is queued again.
    Rebuild,
    /// The engine's number for the connection.
    EngineId,
    /// The reply to a DISCARD of the proxy's own.
    Discard,
    /// A proof's ROLE: the one that tells the position, or a later one.
    Role { proof: u64, first: bool },
    /// A proof's WAIT.
    Wait { proof: u64 },
    /// The reply to something of which only the effect counts.
    Nothing,
}
