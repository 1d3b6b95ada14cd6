//! One client and its upstream, without sockets.
//!
//! Bytes go in and out of buffers that `crate::client` fills and empties; everything that has to be
//! decided is decided here, so that tests can drive it byte by byte and the upstream can one day be
//! shared among clients.
//!
//! Invariant: replies leave in the order of the requests; a reply of an upstream whose epoch is over
//! never leaves; every queue has a limit, at which the side that fills it is no longer read.
//!
//! Not here: sockets and timers (`crate::client`), routes (`crate::shard`).

mod class;
mod clients;
mod demoted;
mod estate;
mod fate;
mod flight;
mod forward;
mod inbound;
mod large;
mod local;
mod login;
mod mute;
mod notices;
mod proof;
mod replies;
mod shared;
mod shortcut;
mod state;
mod stock;
#[cfg(test)]
mod tests;
mod transaction;
mod unconnected;
mod upstream;
mod witness;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tanist_core::gate::HOLD_LIMIT;
use tokio::time::Instant;

use crate::clients::{Card, Clients};
use crate::config::ProxyLimits;
use crate::login::Who;
use crate::meter::{self, Meter};
use crate::out::OutQueue;
use crate::proof::Proof;
use crate::shard::{EndpointKind, LaneUse, Shard};
use demoted::Came;
pub(crate) use estate::{SessionEstate, Unreadable};
use flight::{Item, Slot};
use inbound::Inbound;
use large::Flow;
pub(crate) use large::LARGE;
use mute::Hearing;
use shared::Shared;
use shortcut::Shortcut;
use state::State;
pub(crate) use stock::Stock;
use transaction::Transaction;
pub(crate) use upstream::{Link, Phase};
use witness::Witness;

/// What the next reply is taken to be before there was one, in bytes.
const FIRST_GUESS: usize = 4 << 10;
/// Fewest and most requests in flight for one client.
const WINDOW: (usize, usize) = (16, 16 << 10);
/// Most of them on a connection that others share, which is read whether or not the client reads.
const SHARED_WINDOW: usize = 256;
/// Replies that may be withheld for one proof, in bytes.
const MAX_WITHHELD: usize = 64 << 20;

/// `CLIENT PAUSE` as asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    pub(crate) until: Instant,
    pub(crate) writes_only: bool,
}

/// An address that clients dial.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) kind: EndpointKind,
    pub(crate) address: SocketAddr,
    pub(crate) pause: Cell<Option<Pause>>,
    /// The endpoint is offered no more: its clients end.
    pub(crate) closed: Cell<bool>,
    pub(crate) clients: Clients,
    pub(crate) meter: Meter,
}

impl Endpoint {
    pub(crate) fn new(kind: EndpointKind, address: SocketAddr) -> Self {
        Self {
            kind,
            address,
            pause: Cell::new(None),
            closed: Cell::new(false),
            clients: Clients::default(),
            meter: Meter::default(),
        }
    }
}

/// Why the first request of the queue is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// There is none.
    Empty,
    /// Something of this client has to end first.
    Busy,
    /// An upstream is being connected.
    Connecting,
    /// There is nobody to forward it to.
    Held,
    /// `CLIENT PAUSE`.
    Paused,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// When everything has been written.
    Flushed,
    Now,
}

/// What the client's next command meets on the upstream's side, as far as it was forwarded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Forward {
    /// MULTI was forwarded, and neither EXEC nor DISCARD.
    multi: bool,
    /// That transaction cannot succeed any more.
    failed: bool,
    /// It has a command that may change keys.
    changes_keys: bool,
    /// There is no such transaction on the upstream, but the client believes so: answer it here.
    doomed: bool,
    /// Something is queued in it, or was in the last one, after which only subscriptions may be allowed.
    subscribes: bool,
    /// A key was watched on an upstream that is gone.
    watch_lost: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    endpoint: Rc<Endpoint>,
    limits: ProxyLimits,
    /// What has come from the client and is not parsed.
    pub(crate) client_in: BytesMut,
    /// What goes to the client.
    pub(crate) client_out: OutQueue,
    inbound: Inbound,
    hearing: Hearing,
    /// A large request that is under way.
    flow: Option<Flow>,
    queue: VecDeque<Item>,
    /// Bytes of requests that are queued or in flight.
    load: usize,
    forward: Forward,
    slots: VecDeque<Slot>,
    /// The first slot that waits for an engine, or the end.
    cursor: usize,
    shortcut: Shortcut,
    /// The client's own upstream.
    pub(crate) link: Link,
    /// Its part in one that it shares; never beside an own one.
    shared: Option<Shared>,
    /// It is counted at the node that serves it.
    served: Option<LaneUse>,
    /// The other of two shared ones, with nothing in flight.
    spare: Option<Shared>,
    /// Until when an own one is kept although none is needed.
    own_until: Option<Instant>,
    /// It has written over another connection than its present own one since it last waited for copies.
    wrote_elsewhere: bool,
    /// Who the client is.
    pub(crate) who: Who,
    /// Since when it is nobody.
    nobody_since: Option<Instant>,
    /// Requests were left unread because of that.
    unread: bool,
    /// What others see of it.
    card: Rc<Card>,
    state: State,
    transaction: Transaction,
    proof: Option<Proof>,
    /// In its place, where the connection itself cannot be asked.
    witness: Option<Witness>,
    proofs: u64,
    /// A proof has to begin as soon as it can be asked for.
    proof_wanted: bool,
    /// Bytes of replies in slots.
    withheld: usize,
    /// The recent replies' size on average, in bytes.
    usual_reply: usize,
    /// The recent requests' and replies' size on average, in bytes.
    weight: usize,
    /// It is with those whose requests or replies are large.
    heavy: bool,
    /// A request for the primary's own endpoint, until somebody takes it.
    side: Option<Bytes>,
    stop: Stop,
    held_since: Option<Instant>,
    /// What the shard was when it was last looked at.
    generation: u64,
    came: Came,
    eof: bool,
    closing: Closing,
    tally: Tally,
    /// Nothing new is begun: the session is about to be handed over.
    pub(crate) quiet: bool,
}

/// What the session has added to the shard's counters, and written on its card.
#[derive(Debug, Default)]
struct Tally {
    written: Option<(u32, bool)>,
    held: u64,
    busy: bool,
    pinned: bool,
}

impl Session {
    pub(crate) fn new(endpoint: Rc<Endpoint>, limits: ProxyLimits, card: Rc<Card>) -> Self {
        Self {
            endpoint,
            limits,
            client_in: BytesMut::new(),
            client_out: OutQueue::default(),
            inbound: Inbound::default(),
            hearing: Hearing::default(),
            flow: None,
            queue: VecDeque::new(),
            load: 0,
            forward: Forward::default(),
            slots: VecDeque::new(),
            cursor: 0,
            shortcut: Shortcut::default(),
            link: Link::default(),
            shared: None,
            served: None,
            spare: None,
            own_until: None,
            wrote_elsewhere: false,
            witness: None,
            who: Who::Nobody,
            nobody_since: None,
            unread: false,
            card,
            state: State::default(),
            transaction: Transaction::default(),
            proof: None,
            proofs: 0,
            proof_wanted: false,
            withheld: 0,
            usual_reply: FIRST_GUESS,
            weight: 0,
            heavy: false,
            side: None,
            stop: Stop::Empty,
            held_since: None,
            generation: 0,
            came: Came::Unknown,
            eof: false,
            closing: Closing::No,
            tally: Tally::default(),
            quiet: false,
        }
    }

    /// Goes as far as is possible without further bytes or time.
    pub(crate) fn advance(&mut self, shard: &Shard, now: Instant) {
        if !self.take_shortcut(shard, now) {
            self.unfold();
            self.go_all_the_way(shard, now);
            self.open_shortcut(shard);
        }
    }

    fn go_all_the_way(&mut self, shard: &Shard, now: Instant) {
        if shard.gone.get() || self.endpoint.closed.get() {
            self.closing = Closing::Now;
        }
        self.obey_kill();
        self.look_at_route(shard, now);
        self.read_replies(shard, now);
        self.read_shared(shard, now);
        self.check_shared(shard, now);
        self.check_link(shard, now);
        self.check_proof(shard, now);
        self.check_witness(shard);
        self.check_nobody(now);
        self.parse(now);
        self.expire(now);
        // Some requests wait until everything before them has left.
        self.release(shard, now);
        let mut flows = self.flow.is_some();
        loop {
            self.pump(shard, now);
            let released = self.release(shard, now);
            let idle = self.slots.is_empty() && !self.is_proving() && !self.proof_wanted;
            let waited = self.inbound.waits && idle;
            let passed = std::mem::replace(&mut flows, self.flow.is_some()) && !flows;
            // Who is about to end asks nothing more: parsing would change nothing, for ever.
            let open = self.closing == Closing::No && self.queue.is_empty() && !self.quiet;
            if open && (self.unread || waited || passed) {
                // Who asks next depends on what was just answered, and a large request comes alone.
                self.parse(now);
                continue;
            }
            // What has just left may be all that the next request has waited for.
            if !released || self.stop != Stop::Busy {
                break;
            }
        }
        self.finish(shard);
    }

    fn look_at_route(&mut self, shard: &Shard, now: Instant) {
        if self.generation != shard.generation.get() {
            self.generation = shard.generation.get();
            self.check_who(shard, now);
            self.tell_notices(shard);
            self.leave_demoted(shard, now);
            self.follow_route(shard, now);
        }
    }

    /// The client will send no more.
    pub(crate) fn client_eof(&mut self) {
        self.eof = true;
    }

    /// Whether the client has said so.
    pub(crate) fn has_eof(&self) -> bool {
        self.eof
    }

    /// The client is gone.
    pub(crate) fn client_lost(&mut self) {
        self.closing = Closing::Now;
    }

    /// Whether the client's socket should be read.
    pub(crate) fn wants_client(&self) -> bool {
        let holding = matches!(self.stop, Stop::Held | Stop::Paused) && !self.queue.is_empty();
        self.closing == Closing::No
            && !self.eof
            && (!self.quiet || self.flow.is_some())
            && !holding
            && !self.is_flow_full()
            && !self.inbound.is_over()
            && self.load < self.limits.pending_bytes
            && self.client_out.len() < self.limits.output_bytes
    }

    /// Whether the upstream's socket should be read.
    pub(crate) fn wants_upstream(&self) -> bool {
        self.link.is_connected()
            && self.closing == Closing::No
            && self.client_out.len() < self.limits.output_bytes
            && self.withheld < MAX_WITHHELD
    }

    /// When [`Self::advance`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let frame = self.inbound.deadline(self.client_in.len()).filter(|_| self.wants_client());
        if self.expects_shortcut() {
            // Whatever else has a deadline is not ordinary.
            return frame;
        }
        let held = self.held_since.and_then(|since| Some(self.held_from(since)? + HOLD_LIMIT));
        let draining = match self.link.phase {
            Phase::Draining { until } => Some(until),
            _ => self.shared.as_ref().and_then(|shared| shared.draining),
        };
        let own = self.own_until.filter(|_| self.link.phase == Phase::Ready);
        let own = own.filter(|_| self.state.is_common() && self.slots.is_empty());
        let paused = self.endpoint.pause.get().filter(|_| self.stop == Stop::Paused);
        [
            held,
            draining,
            self.proof.as_ref().and_then(Proof::due),
            paused.map(|pause| pause.until),
            frame,
            own,
            self.nobody_until(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether the connection is over.
    pub(crate) fn is_closed(&self) -> bool {
        match self.closing {
            Closing::No => false,
            Closing::Flushed => self.client_out.is_empty(),
            Closing::Now => true,
        }
    }

    /// Whether it is over although something may not have been written.
    pub(crate) fn is_cut(&self) -> bool {
        self.closing == Closing::Now
    }

    /// Takes what has to be sent to the primary's own endpoint.
    pub(crate) fn take_side(&mut self) -> Option<Bytes> {
        self.side.take()
    }

    /// Since when the first request of the queue is held.
    fn held_from(&self, since: Instant) -> Option<Instant> {
        self.queue.iter().find_map(|item| match item {
            Item::Request(pending) => Some(pending.parsed.max(since)),
            Item::Answer(_) => None,
        })
    }

    /// The last steps of [`Self::advance`]: a client that has left, and the shard's counters.
    fn finish(&mut self, shard: &Shard) {
        if self.eof {
            if matches!(self.stop, Stop::Held | Stop::Paused) {
                // What was not sent leaves with the client.
                self.drop_queued();
            }
            let idle = self.queue.is_empty()
                && (self.slots.is_empty() || self.is_parked())
                && !self.is_proving();
            if idle && self.closing == Closing::No {
                self.closing = Closing::Flushed;
            }
        }
        let held = match self.stop {
            Stop::Held | Stop::Connecting => self.queue.len() as u64,
            _ => 0,
        };
        self.set_tally(shard, held, self.is_busy());
        self.keep_card();
    }

    fn set_tally(&mut self, shard: &Shard, held: u64, busy: bool) {
        if held != self.tally.held {
            let counter = &shard.counters.held;
            counter.set((counter.get() + held).saturating_sub(self.tally.held));
            meter::add(&self.endpoint.meter.held, held.saturating_sub(self.tally.held));
            self.tally.held = held;
        }
        let pinned = self.link.phase != Phase::Down && self.closing == Closing::No;
        if pinned != self.tally.pinned {
            self.tally.pinned = pinned;
            let more = if pinned { 1 } else { u64::MAX };
            meter::add(&self.endpoint.meter.pinned, more);
        }
        if busy != self.tally.busy {
            self.tally.busy = busy;
            shard.note_busy(busy);
        }
    }

    /// Takes the session out of the shard's counters.
    pub(crate) fn retire(&mut self, shard: &Shard) {
        self.closing = Closing::Now;
        self.set_tally(shard, 0, false);
    }

    /// Something of this client is in flight to the primary and not merely parked there.
    fn is_busy(&self) -> bool {
        let to_primary = self.lane().is_some_and(|lane| lane.primary);
        if self.shared.is_some() {
            return to_primary && self.is_owed();
        }
        to_primary
            && (self.is_proving()
                || self.proof_wanted
                || (self.cursor < self.slots.len() && !self.is_parked()))
    }

    /// The only thing in flight is a request that waits for data.
    fn is_parked(&self) -> bool {
        self.cursor + 1 == self.slots.len()
            && matches!(self.slots.back(), Some(Slot::Flight(flight)) if flight.is_parked())
    }

    /// Whether the engine owes this client as much as may wait for it: an engine puts no limit to
    /// the replies that it keeps for a client who does not read them.
    fn is_window_full(&self) -> bool {
        self.slots.len() - self.cursor.min(self.slots.len()) >= self.window()
            || self.client_out.len() >= self.limits.output_bytes
    }

    /// How many requests may be in flight.
    fn window(&self) -> usize {
        let room = self.limits.output_bytes / self.usual_reply.max(1);
        let most = if self.shared.is_some() { SHARED_WINDOW } else { WINDOW.1 };
        room.clamp(WINDOW.0, most)
    }

    fn drop_queued(&mut self) {
        let mut dropped = 0;
        self.queue.retain(|item| match item {
            Item::Request(pending) => {
                dropped += pending.size();
                false
            }
            Item::Answer(_) => true,
        });
        self.load = self.load.saturating_sub(dropped);
    }

    fn leads_to_primary(&self) -> bool {
        self.endpoint.kind == EndpointKind::Primary || self.lane().is_some_and(|lane| lane.primary)
    }
}
