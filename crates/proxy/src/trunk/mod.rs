//! A connection to an engine that many clients share.
//!
//! An engine that serves five connections instead of five hundred reads five times as much with each
//! system call, so what is saved here is mostly the engine's. Requests of all clients leave in the
//! order in which they were handed over, and a reply belongs to whoever handed over the oldest
//! request without one.
//!
//! In a `sync` shard writes go in batches. While one is being proven the next is collected, and its
//! requests are sent when the proof is done: one question per round trip, however many clients ask.
//!
//! Clients of different users never share one: the engine judges each request by the user of its
//! connection.
//!
//! Invariant: a reply reaches the seat that asked, or nobody; of a batch with a write, nothing that
//! comes at or behind the first write is released before its proof holds.
//!
//! Not here: sockets (`self::socket`); what a client may hand over, and what becomes of what it had
//! in flight (`crate::session`).

mod inbox;
mod seat;
mod socket;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_core::gate::Sent;
use tanist_resp::{Command, Encoder, Piece, Reply, ReplyFramer, Value, Version, command};
use tokio::time::Instant;

use crate::bell;
use crate::out::OutQueue;
use crate::proof::{PrimaryRole, Proof, WAIT_MILLIS};
use crate::session::LARGE;
use crate::shard::{Lane, Shard};
pub(crate) use inbox::Come;
pub(crate) use seat::{Seat, Verdict};
pub(crate) use socket::run;

/// Bytes that may wait to be sent, above which nobody hands over more.
const CROWDED: usize = 16 << 20;
/// Bytes of replies that nobody has taken, above which no more are read.
const FULL: usize = 32 << 20;
/// How long all clients wait for one that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Batches without a proof that are remembered.
const DOUBTFUL: usize = 16;

/// What a trunk is for: requests of different keys mean different things.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) lane: Lane,
    /// The user whose clients share it; `None` for those that need no lane of their own.
    pub(crate) user: Option<Rc<str>>,
    pub(crate) db: u32,
    pub(crate) version: Version,
    /// Its clients' requests or replies are large: there are more of these.
    pub(crate) heavy: bool,
    /// Writes go over it that have to be proven. Reads have trunks of their own, which wait for no
    /// proof.
    pub(crate) proving: bool,
}

/// How far a trunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being connected, or the engine is being told who we are.
    Opening,
    /// What is handed over is sent.
    Ready,
    /// Nothing will come any more.
    Over,
}

/// Whose a reply is.
#[derive(Debug, Clone, Copy)]
enum Owed {
    /// A client's; with the place of its request's last byte.
    Seat {
        seat: usize,
        end: u64,
    },
    /// One of the answers to who we are and what we want.
    Handshake,
    /// The answer to HELLO among them.
    Hello,
    /// Nobody's.
    Nobody,
    Role {
        proof: u64,
        first: bool,
    },
    Wait {
        proof: u64,
    },
}

/// A request that waits for the proof of the batch before it.
#[derive(Debug)]
struct Next {
    seat: usize,
    raw: Bytes,
}

/// A client's place.
#[derive(Debug, Default)]
struct Place {
    inbox: VecDeque<Come>,
    /// What was lost with the trunk, in order.
    lost: VecDeque<Sent>,
    waker: Option<Waker>,
    /// Replies that the engine owes it.
    owed: usize,
    /// The batch in which it last handed over something that has to be proven.
    gated: u64,
    taken: bool,
    /// Others wait because it does not take what is its: its client ends.
    choked: bool,
}

impl Place {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[derive(Debug)]
struct Core {
    phase: Phase,
    framer: ReplyFramer,
    input: BytesMut,
    out: OutQueue,
    owed: VecDeque<Owed>,
    next: VecDeque<Next>,
    places: Vec<Place>,
    free: Vec<usize>,
    /// The batch that is being filled; numbers begin at 1.
    open: u64,
    /// It has something that has to be proven.
    writes: bool,
    /// Places that wait for it, and for the one that is being proven.
    waiting: [Vec<usize>; 2],
    proof: Option<Proof>,
    /// Every batch up to this one is decided.
    decided: u64,
    /// Those of them that could not be proven.
    doubtful: VecDeque<u64>,
    /// A large reply has come over it: whoever asks for more does so elsewhere.
    retired: bool,
    /// Somebody was told that there is no room.
    crowded: bool,
    /// Bytes of replies that nobody has taken.
    kept: usize,
    /// Since when they are too many to read more.
    full_since: Option<Instant>,
}

/// A shared connection.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) key: Key,
    core: RefCell<Core>,
    /// The task that has the socket.
    task: RefCell<Option<Waker>>,
    /// The task has been woken and has not looked yet.
    woken: Cell<bool>,
    seats: Cell<usize>,
}

impl Trunk {
    /// One that is about to be connected.
    pub(crate) fn new(key: Key) -> Self {
        let core = Core {
            phase: Phase::Opening,
            framer: ReplyFramer::default(),
            input: BytesMut::new(),
            out: OutQueue::default(),
            owed: VecDeque::new(),
            next: VecDeque::new(),
            places: Vec::new(),
            free: Vec::new(),
            open: 1,
            writes: false,
            waiting: [Vec::new(), Vec::new()],
            proof: None,
            decided: 0,
            doubtful: VecDeque::new(),
            retired: false,
            crowded: false,
            kept: 0,
            full_since: None,
        };
        Self {
            key,
            core: RefCell::new(core),
            task: RefCell::default(),
            woken: Cell::new(false),
            seats: Cell::new(0),
        }
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.core.borrow().phase
    }

    /// Clients that have a seat.
    pub(crate) fn seats(&self) -> usize {
        self.seats.get()
    }

    /// Whether it is for those only who have asked for something already.
    pub(crate) fn is_retired(&self) -> bool {
        self.core.borrow().retired
    }

    /// Replies that its engine owes.
    pub(crate) fn owed(&self) -> usize {
        self.core.borrow().owed.len()
    }

    /// The task is about to look at everything.
    fn keep_task(&self, waker: &Waker) {
        self.woken.set(false);
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if self.woken.replace(true) {
            return;
        }
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// The socket is connected: the engine is told who we are and what we want.
    fn begin(&self, shard: &Shard) {
        let core = &mut *self.core.borrow_mut();
        core.own(&shard.credentials(&self.key.lane, self.key.user.as_deref()), Owed::Handshake);
        let version = match self.key.version {
            Version::Resp2 => "2",
            Version::Resp3 => "3",
        };
        core.own(&Command::new("HELLO").arg(version), Owed::Hello);
        if self.key.db != 0 {
            core.own(&Command::new("SELECT").int(i64::from(self.key.db)), Owed::Handshake);
        }
    }

    /// It is of no use any more: everybody learns what of theirs was sent.
    pub(crate) fn end(&self) {
        let core = &mut *self.core.borrow_mut();
        if core.phase == Phase::Over {
            return;
        }
        core.phase = Phase::Over;
        let written = core.out.written();
        for owed in core.owed.drain(..) {
            if let Owed::Seat { seat, end } = owed {
                let sent = if end <= written { Sent::Whole } else { Sent::NotWhole };
                core.places[seat].lost.push_back(sent);
            }
        }
        for next in core.next.drain(..) {
            core.places[next.seat].lost.push_back(Sent::NotWhole);
        }
        core.places.iter().for_each(Place::wake);
        self.wake();
    }

    /// Takes in what has come. `Err` if the engine cannot be used as what it is taken for.
    fn read(&self, shard: &Shard, now: Instant) -> Result<(), Unusable> {
        let core = &mut *self.core.borrow_mut();
        while !core.input.is_empty() {
            core.take_run();
            match core.framer.next_piece(&mut core.input, LARGE) {
                Ok(Some(Piece::Whole(reply))) => core.take(&self.key, shard, reply, now)?,
                Ok(Some(Piece::Part(part))) => core.take_part(part)?,
                Ok(None) => break,
                Err(_) => return Err(Unusable),
            }
        }
        Ok(())
    }

    /// Ends the batch that is being filled if it has to be proven, and looks at the one that is.
    fn flush(&self, shard: &Shard, now: Instant) {
        let core = &mut *self.core.borrow_mut();
        if core.phase != Phase::Ready || !self.proves() {
            return;
        }
        core.settle(shard, now);
        if core.proof.as_mut().is_some_and(|proof| proof.is_slow(now)) {
            shard.bell.ring();
        }
        let required = shard.with_gate(|gate| gate.required().len());
        if core.proof.is_none() && core.writes && required > 0 {
            if shard.reads_strictly() {
                core.own(&bell::word(), Owed::Nobody);
            }
            core.own(&Command::new("ROLE"), Owed::Role { proof: core.open, first: true });
            core.proof = Some(Proof::new(core.open));
            core.ask(required, WAIT_MILLIS);
            core.open += 1;
            core.writes = false;
            core.waiting.swap(0, 1);
        }
    }

    /// Whether writes have to be proven here.
    fn proves(&self) -> bool {
        self.key.proving
    }

    /// When [`Self::flush`] or [`Self::has_room`] has to be called at the latest.
    fn deadline(&self) -> Option<Instant> {
        let core = self.core.borrow();
        let full = core.full_since.map(|since| since + PATIENCE);
        [core.proof.as_ref().and_then(Proof::due), full].into_iter().flatten().min()
    }

    /// Whether more may be read. An engine does not limit what it keeps for a connection, and a client
    /// that takes nothing must not fill this process; nor may it keep the others waiting for long.
    fn has_room(&self, now: Instant) -> bool {
        let core = &mut *self.core.borrow_mut();
        if core.kept < FULL {
            core.full_since = None;
            return true;
        }
        let since = *core.full_since.get_or_insert(now);
        if now >= since + PATIENCE {
            core.full_since = Some(now);
            let kept = |place: &Place| place.inbox.iter().map(Come::len).sum();
            let waited = !core.retired || core.is_waited_for();
            let most = core.places.iter_mut().max_by_key(|place| -> usize { kept(place) });
            if let Some(place) = most.filter(|_| waited) {
                place.choked = true;
                place.wake();
            }
        }
        false
    }
}

/// The engine said something that one in its place does not say.
#[derive(Debug)]
pub(crate) struct Unusable;

impl Core {
    fn own(&mut self, command: &Command, owed: Owed) {
        self.out.push(command.encode());
        self.owed.push_back(owed);
    }

    fn ask(&mut self, replicas: usize, millis: u64) {
        let Some(proof) = &mut self.proof else { return };
        proof.asks(replicas);
        let serial = proof.serial;
        let (replicas, millis) = (replicas.to_string(), millis.to_string());
        let mut raw = BytesMut::with_capacity(64);
        command::encode(&mut raw, &[b"WAIT", replicas.as_bytes(), millis.as_bytes()]);
        command::encode(&mut raw, &[b"ROLE"]);
        self.out.put(&raw);
        self.owed.push_back(Owed::Wait { proof: serial });
        self.owed.push_back(Owed::Role { proof: serial, first: false });
    }

    fn take(
        &mut self,
        key: &Key,
        shard: &Shard,
        reply: Reply,
        now: Instant,
    ) -> Result<(), Unusable> {
        if reply.is_push() {
            // Nothing is asked here that would be answered by one.
            return Ok(());
        }
        match self.owed.pop_front().ok_or(Unusable)? {
            Owed::Seat { seat, .. } => self.deliver_reply(seat, reply),
            Owed::Hello if !reply.is_error() => {
                let facts = reply.value().map_err(|_| Unusable)?;
                shard.greeted(&key.lane.node, facts);
                self.greeted();
            }
            Owed::Handshake if !reply.is_error() => self.greeted(),
            Owed::Nobody if !reply.is_error() => {}
            Owed::Hello | Owed::Handshake | Owed::Nobody => return Err(Unusable),
            Owed::Wait { proof } => {
                if reply.is_error() {
                    return Err(Unusable);
                }
                if let Some(proof) = self.proof.as_mut().filter(|known| known.serial == proof) {
                    proof.waited(&reply);
                }
            }
            Owed::Role { proof, first } => {
                let role = PrimaryRole::of(&reply).ok_or(Unusable)?;
                self.role(shard, proof, role, first, now);
            }
        }
        Ok(())
    }

    /// A part of the handshake was answered.
    fn greeted(&mut self) {
        let more = self.owed.iter().any(|owed| matches!(owed, Owed::Handshake | Owed::Hello));
        if !more && self.phase == Phase::Opening {
            self.phase = Phase::Ready;
            self.places.iter().for_each(Place::wake);
        }
    }

    /// Hands over a part of a large reply. Nobody else is to wait behind such a client for longer than
    /// until what they have asked for already is here.
    fn take_part(&mut self, part: Bytes) -> Result<(), Unusable> {
        let Some(Owed::Seat { seat, .. }) = self.owed.front() else { return Err(Unusable) };
        self.retired = true;
        let seat = *seat;
        if self.places[seat].taken {
            self.deliver(seat, Come::Piece(Piece::Part(part)));
        }
        Ok(())
    }

    /// Whether anybody waits behind whoever is owed the next reply.
    fn is_waited_for(&self) -> bool {
        let seat = |owed: &Owed| match owed {
            Owed::Seat { seat, .. } => Some(*seat),
            _ => None,
        };
        let first = self.owed.front().and_then(seat);
        self.owed.iter().any(|owed| seat(owed) != first)
    }

    /// Forgets the replies that a place has not taken; how many they are.
    fn discard(&mut self, seat: usize) -> usize {
        let inbox = std::mem::take(&mut self.places[seat].inbox);
        self.kept -= inbox.iter().map(Come::len).sum::<usize>();
        inbox.iter().map(Come::replies).sum()
    }

    fn role(&mut self, shard: &Shard, serial: u64, role: PrimaryRole, first: bool, now: Instant) {
        let Some(proof) = self.proof.as_mut().filter(|proof| proof.serial == serial) else {
            return;
        };
        proof.role(role, first, now);
        self.settle(shard, now);
        let required = shard.with_gate(|gate| gate.required().len());
        if !first && let Some(proof) = &mut self.proof {
            let (replicas, millis) = proof.next_wait(required);
            self.ask(replicas, millis);
        }
    }

    /// Looks at the proof under the route of this moment.
    fn settle(&mut self, shard: &Shard, now: Instant) {
        let Some(proof) = &self.proof else { return };
        let late = proof.is_late(now);
        if !late && !shard.with_gate(|gate| proof.holds(gate.required())) {
            return;
        }
        if late {
            if self.doubtful.len() == DOUBTFUL {
                self.doubtful.pop_front();
            }
            self.doubtful.push_back(proof.serial);
        }
        self.decided = proof.serial;
        self.proof = None;
        for seat in self.waiting[1].drain(..) {
            self.places[seat].wake();
        }
        for next in std::mem::take(&mut self.next) {
            self.put(next.seat, &next.raw);
        }
    }

    /// A request is handed over: it is sent, or waits for the proof of the batch before it.
    fn hand_over(&mut self, seat: usize, raw: &Bytes) {
        self.places[seat].owed += 1;
        if self.proof.is_some() {
            self.next.push_back(Next { seat, raw: raw.clone() });
        } else {
            self.put(seat, raw);
        }
    }

    /// Sends a request.
    fn put(&mut self, seat: usize, raw: &Bytes) {
        self.out.share(raw);
        let end = self.out.pushed();
        self.owed.push_back(Owed::Seat { seat, end });
    }

    /// Room came back.
    fn uncrowd(&mut self) {
        if self.crowded && self.out.len() < CROWDED / 2 {
            self.crowded = false;
            self.places.iter().for_each(Place::wake);
        }
    }
}

/// HELLO's answer to one client, from what the engine answered to us.
pub(crate) fn greeting(facts: &Value, id: u64, version: Version) -> Bytes {
    let number = match version {
        Version::Resp2 => 2,
        Version::Resp3 => 3,
    };
    let pairs = facts.pairs().map(|(key, value)| {
        let value = match key.as_str() {
            Some("id") => Value::Integer(i64::try_from(id).unwrap_or(i64::MAX)),
            Some("proto") => Value::Integer(number),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    let mut out = BytesMut::with_capacity(160);
    Encoder::new(version).value(&mut out, &Value::Map(pairs.collect()));
    out.freeze()
}
