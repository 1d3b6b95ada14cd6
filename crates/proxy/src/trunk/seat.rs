//! A client's place on a trunk.
//!
//! Invariant: what is handed over is answered, or given back by [`Seat::forfeit`], in order and once.
//!
//! Not here: the trunk itself (`super`).

use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use tanist_core::gate::Sent;
use tanist_resp::Piece;

use super::{CROWDED, Come, Core, FULL, Phase, Trunk};
use crate::shard::{Lane, Shard};

/// What was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Its batch.
    pub(crate) batch: u64,
    /// Its reply waits for the batch's proof.
    pub(crate) gated: bool,
}

/// Whether the replies of a batch may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not known yet that everybody has it.
    Open,
    /// Everybody has it who has to.
    Proven,
    /// It could not be proven in time.
    Doubtful,
}

/// A place that is taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {
    trunk: Rc<Trunk>,
    index: usize,
}

impl Seat {
    /// Takes a place.
    pub(crate) fn take(trunk: &Rc<Trunk>) -> Self {
        let core = &mut *trunk.core.borrow_mut();
        let index = core.free.pop().unwrap_or_else(|| {
            core.places.push(super::Place::default());
            core.places.len() - 1
        });
        core.places[index] = super::Place { taken: true, ..Default::default() };
        trunk.seats.set(trunk.seats.get() + 1);
        Self { trunk: Rc::clone(trunk), index }
    }

    /// The engine that it leads to.
    pub(crate) fn lane(&self) -> &Lane {
        &self.trunk.key.lane
    }

    /// The trunk's key.
    pub(crate) fn key(&self) -> &super::Key {
        &self.trunk.key
    }

    /// How far the trunk is.
    pub(crate) fn phase(&self) -> Phase {
        self.trunk.phase()
    }

    /// Whether something may be handed over; if not, the place is woken when it may.
    pub(crate) fn has_room(&self) -> bool {
        let core = &mut *self.trunk.core.borrow_mut();
        let queued: usize = core.next.len().saturating_mul(64);
        core.crowded |= core.out.len() + queued >= CROWDED;
        !core.crowded
    }

    /// Hands a request over; `writes` if its reply has to be proven.
    pub(crate) fn hand_over(&self, raw: &Bytes, writes: bool) -> Ticket {
        let core = &mut *self.trunk.core.borrow_mut();
        let proves = self.trunk.proves();
        core.writes |= proves && writes;
        let ticket = Ticket { batch: core.open, gated: core.writes };
        if ticket.gated && core.places[self.index].gated != core.open {
            core.places[self.index].gated = core.open;
            core.waiting[0].push(self.index);
        }
        core.hand_over(self.index, raw);
        self.trunk.wake();
        ticket
    }

    /// Hands over what never has to be proven, if there is room; whether there is.
    pub(crate) fn pass(&self, raw: &Bytes) -> bool {
        let core = &mut *self.trunk.core.borrow_mut();
        if core.out.len() >= CROWDED || core.crowded {
            return false;
        }
        core.hand_over(self.index, raw);
        self.trunk.wake();
        true
    }

    /// Whether the trunk serves as it should and proves nothing, so that [`Self::pass`] may be used.
    pub(crate) fn is_ordinary(&self) -> bool {
        let core = self.trunk.core.borrow();
        core.phase == Phase::Ready
            && !core.retired
            && !core.places[self.index].choked
            && !self.trunk.proves()
    }

    /// Whether the replies of a batch may be released.
    pub(crate) fn verdict(&self, shard: &Shard, batch: u64) -> Verdict {
        let core = self.trunk.core.borrow();
        if core.doubtful.contains(&batch) {
            Verdict::Doubtful
        } else if batch <= core.decided || shard.with_gate(|gate| gate.required().is_empty()) {
            Verdict::Proven
        } else {
            Verdict::Open
        }
    }

    /// Whether there is a reply, or a part of one.
    pub(crate) fn has_come(&self) -> bool {
        !self.trunk.core.borrow().places[self.index].inbox.is_empty()
    }

    /// The next reply, or a part of it.
    pub(crate) fn receive(&self) -> Option<Piece> {
        self.taking(|core| core.receive(self.index))
    }

    /// What has come next, in one piece if it came so.
    pub(crate) fn receive_any(&self) -> Option<Come> {
        self.taking(|core| core.receive_any(self.index))
    }

    fn taking<T>(&self, take: impl FnOnce(&mut Core) -> Option<T>) -> Option<T> {
        let core = &mut *self.trunk.core.borrow_mut();
        let taken = take(core)?;
        if core.full_since.is_some() && core.kept < FULL / 2 {
            self.trunk.wake();
        }
        Some(taken)
    }

    /// Whether what comes next has to go elsewhere.
    pub(crate) fn is_retired(&self) -> bool {
        self.trunk.is_retired()
    }

    /// Whether others have waited too long because this one takes nothing.
    pub(crate) fn is_choked(&self) -> bool {
        self.trunk.core.borrow().places[self.index].choked
    }

    /// Whom to wake when something has come.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let place = &mut self.trunk.core.borrow_mut().places[self.index];
        if !place.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            place.waker = Some(waker.clone());
        }
    }

    /// What of the requests without a reply the engine can have seen, in order; of those whose reply
    /// nobody has taken it certainly has. The trunk is of no use to anybody if somebody has to ask this
    /// with requests unanswered.
    pub(crate) fn forfeit(&self) -> Vec<Sent> {
        if self.trunk.core.borrow().places[self.index].owed > 0 {
            self.trunk.end();
        }
        let core = &mut *self.trunk.core.borrow_mut();
        let answered = core.discard(self.index);
        let place = &mut core.places[self.index];
        place.owed = 0;
        std::iter::repeat_n(Sent::Whole, answered).chain(place.lost.drain(..)).collect()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.trunk.seats.set(self.trunk.seats.get().saturating_sub(1));
        let core = &mut *self.trunk.core.borrow_mut();
        core.discard(self.index);
        let place = &mut core.places[self.index];
        place.taken = false;
        place.waker = None;
        if place.owed == 0 {
            core.free.push(self.index);
        }
        if self.trunk.seats.get() == 0 || core.full_since.is_some() {
            self.trunk.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tanist_resp::Version;
    use tokio::time::Instant;

    use super::*;
    use crate::shard::EndpointKind;
    use crate::shard::tests::{route, serving, shard};
    use crate::trunk::Key;

    #[test]
    fn a_request_whose_reply_nobody_has_taken_was_executed() {
        let shard = shard();
        shard.learn(route(1, 1, serving("n1", &[], None)));
        let lane = shard.goal(&EndpointKind::Primary, None).unwrap();
        let version = Version::Resp2;
        let key = Key { lane, user: None, db: 0, version, heavy: false, proving: false };
        let trunk = Rc::new(Trunk::new(key));
        trunk.begin(&shard);
        let says = |text: &str| {
            trunk.core.borrow_mut().input = BytesMut::from(text);
            trunk.read(&shard, Instant::now()).unwrap();
        };
        says("+OK\r\n*0\r\n");
        let seat = Seat::take(&trunk);
        for _ in 0..3 {
            seat.hand_over(&Bytes::from_static(b"*1\r\n$4\r\nINCR\r\n"), true);
        }
        let sent = trunk.core.borrow().out.len();
        trunk.core.borrow_mut().out.consume(sent - 1);
        says(":1\r\n");
        assert_eq!(seat.forfeit(), [Sent::Whole, Sent::Whole, Sent::NotWhole]);
    }
}
