//! What has come for a place and waits for its client.
//!
//! A client that asks much at once is answered much at once: its replies lie one behind the other in what
//! was read. They are handed over as one piece, and leave as one.
//!
//! Invariant: a run has only whole replies of one place, in order, and neither an error nor a push among
//! them.
//!
//! Not here: whose a reply is (`super`).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tanist_resp::{Found, Kind, Piece, Reply, ReplyFramer};

use super::{Core, Owed};

/// Several replies.
#[derive(Debug)]
pub(crate) struct Run {
    /// All of them.
    pub(crate) raw: Bytes,
    /// The size of each, in bytes.
    pub(crate) sizes: Vec<usize>,
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Come {
    /// A reply, or a part of one.
    Piece(Piece),
    /// Replies about which there is nothing to find out.
    Run(Run),
}

impl Come {
    /// Its size, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Piece(Piece::Whole(reply)) => reply.raw().len(),
            Self::Piece(Piece::Part(part)) => part.len(),
            Self::Run(run) => run.raw.len(),
        }
    }

    /// How many replies end with it.
    pub(super) fn replies(&self) -> usize {
        match self {
            Self::Piece(Piece::Whole(_)) => 1,
            Self::Piece(Piece::Part(_)) => 0,
            Self::Run(run) => run.sizes.len(),
        }
    }
}

impl Run {
    /// The replies one by one.
    pub(super) fn apart(self) -> VecDeque<Come> {
        let (mut rest, mut framer) = (BytesMut::from(&self.raw[..]), ReplyFramer::default());
        let replies = std::iter::from_fn(|| framer.next(&mut rest).ok().flatten());
        replies.map(|reply| Come::Piece(Piece::Whole(reply))).collect()
    }
}

/// Whether a reply is data, whatever its place has asked for.
fn is_ordinary(found: &Found) -> bool {
    !matches!(found.kind(), Kind::Error | Kind::BulkError | Kind::Push)
}

impl Core {
    /// Hands over the replies at the front that are one place's, if they are ordinary.
    pub(super) fn take_run(&mut self) {
        if self.framer.has_given() {
            // The rest of a reply is not one.
            return;
        }
        let Some(&Owed::Seat { seat, .. }) = self.owed.front() else { return };
        let (mut at, mut first, mut sizes) = (0, None, Vec::new());
        let mut count = 0;
        while matches!(self.owed.get(count), Some(Owed::Seat { seat: next, .. }) if *next == seat) {
            let rest = self.input.get(at..).unwrap_or_default();
            let Ok(Some(found)) = self.framer.look(rest) else { break };
            if !is_ordinary(&found) {
                break;
            }
            at += found.size();
            match &first {
                None => first = Some(found),
                Some(one) if sizes.is_empty() => sizes.extend([one.size(), found.size()]),
                Some(_) => sizes.push(found.size()),
            }
            count += 1;
        }
        let Some(one) = first else { return };
        self.owed.drain(..count);
        let raw = self.input.split_to(at).freeze();
        let come = if count == 1 {
            Come::Piece(Piece::Whole(one.reply(raw)))
        } else {
            Come::Run(Run { raw, sizes })
        };
        self.deliver(seat, come);
    }

    /// Hands over what has come for a place.
    pub(super) fn deliver(&mut self, seat: usize, come: Come) {
        let place = &mut self.places[seat];
        place.owed -= come.replies();
        if place.taken {
            // Whoever has been woken takes everything.
            if place.inbox.is_empty() {
                place.wake();
            }
            self.kept += come.len();
            place.inbox.push_back(come);
        } else if place.owed == 0 {
            self.free.push(seat);
        }
    }

    /// The next reply for a place, or a part of it.
    pub(super) fn receive(&mut self, seat: usize) -> Option<Piece> {
        match self.receive_any(seat)? {
            Come::Piece(piece) => Some(piece),
            Come::Run(run) => {
                let mut apart = run.apart();
                let first = apart.pop_front();
                self.kept += apart.iter().map(Come::len).sum::<usize>();
                let inbox = &mut self.places[seat].inbox;
                apart.into_iter().rev().for_each(|come| inbox.push_front(come));
                match first {
                    Some(Come::Piece(piece)) => Some(piece),
                    _ => None,
                }
            }
        }
    }

    /// What has come next for a place.
    pub(super) fn receive_any(&mut self, seat: usize) -> Option<Come> {
        let come = self.places[seat].inbox.pop_front()?;
        self.kept -= come.len();
        Some(come)
    }

    /// A whole reply that is not ordinary, or not at the front of what was read.
    pub(super) fn deliver_reply(&mut self, seat: usize, reply: Reply) {
        self.deliver(seat, Come::Piece(Piece::Whole(reply)));
    }
}
