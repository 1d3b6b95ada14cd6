//! A session as it is handed over to the next program image, and put together again there.
//!
//! Nothing of a client is in flight on a shared connection then ([`Session::is_settled`]), so its seats
//! are simply left. What is its own alone goes along with everything that is known about it: the
//! engine notices nothing, and a request that waits for data goes on waiting.
//!
//! Invariant: every field of a session is decided about here; a new one does not compile before it
//! is.
//!
//! Not here: sockets (`crate::client`), who asks for all this (`crate::renewal`).

mod parts;

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::demoted::Came;
use super::flight::{Item, Role, Slot};
use super::inbound::Inbound;
use super::mute::Hearing;
use super::shortcut::Shortcut;
use super::{Closing, Endpoint, Forward, Phase, Session};
use crate::clients::Card;
use crate::config::ProxyLimits;
use crate::login::Who;
use crate::octets::{Clock, Octets};
use crate::out::OutQueue;
use crate::shard::Shard;
use parts::{ItemEstate, LinkEstate, SlotEstate, StateEstate, TransactionEstate};

/// Why a session cannot be put together again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// What should be one request is not.
    #[error("a request that was handed over is not one")]
    Request,
    /// The order of replies has no such place.
    #[error("a place in the order of replies does not exist")]
    Cursor,
}

/// What is handed over of the parsing side: a framer only remembers how far it has looked, and time in
/// which nothing was read is not the client's. Whether a large request waits or is held whole is found
/// out anew.
fn is_over(inbound: &Inbound) -> bool {
    let Inbound { framer: _, over, partial: _, waits: _, whole: _ } = inbound;
    *over
}

/// A session, written down. Most clients are idle, and most of what could be said of them is not worth a
/// word.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionEstate {
    #[serde(skip_serializing_if = "is_default")]
    client_in: Octets,
    #[serde(skip_serializing_if = "is_default")]
    client_out: Octets,
    #[serde(skip_serializing_if = "is_default")]
    hearing: Hearing,
    #[serde(skip_serializing_if = "is_default")]
    inbound_over: bool,
    #[serde(skip_serializing_if = "is_default")]
    queue: Vec<ItemEstate>,
    #[serde(skip_serializing_if = "is_default")]
    forward: Forward,
    #[serde(skip_serializing_if = "is_default")]
    slots: Vec<SlotEstate>,
    #[serde(skip_serializing_if = "is_default")]
    cursor: usize,
    #[serde(skip_serializing_if = "is_default")]
    link: Option<LinkEstate>,
    #[serde(skip_serializing_if = "is_default")]
    own_left: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    wrote_elsewhere: bool,
    #[serde(skip_serializing_if = "is_default")]
    who: Who,
    #[serde(skip_serializing_if = "is_default")]
    nobody_ago: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    unread: bool,
    #[serde(skip_serializing_if = "is_default")]
    state: StateEstate,
    #[serde(skip_serializing_if = "is_default")]
    transaction: TransactionEstate,
    /// How many proofs there have been, and whether another one is wanted.
    #[serde(skip_serializing_if = "is_default")]
    proofs: (u64, bool),
    #[serde(skip_serializing_if = "is_default")]
    usual_reply: usize,
    #[serde(skip_serializing_if = "is_default")]
    held_ago: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    eof: bool,
    #[serde(skip_serializing_if = "is_default")]
    closing: bool,
    /// How much its requests weigh, whether that is much, and what its node was when it came.
    #[serde(skip_serializing_if = "is_default")]
    habits: (usize, bool, Came),
}

/// What is in flight, by either way.
fn slots_estate(slots: &VecDeque<Slot>, shortcut: &Shortcut, clock: Clock) -> Vec<SlotEstate> {
    let unfolded = shortcut.flying.iter().map(|brief| Slot::Flight(brief.copied()));
    let slots = slots.iter().map(|slot| SlotEstate::of(slot, clock));
    slots.chain(unfolded.map(|slot| SlotEstate::of(&slot, clock))).collect()
}

fn is_default<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}

impl SessionEstate {
    /// Whether its own upstream goes along.
    pub(crate) fn has_upstream(&self) -> bool {
        self.link.is_some()
    }
}

impl Session {
    /// Whether nothing of the client is where it could not be handed over from: on a shared connection,
    /// in a proof, or at another endpoint.
    pub(crate) fn is_settled(&self) -> bool {
        let aside = |slot: &Slot| matches!(slot, Slot::Flight(flight) if flight.role == Role::Side);
        !self.is_proving()
            && !self.is_streaming()
            && (self.shared.is_none() || !self.is_owed())
            && self.side.is_none()
            && !self.slots.iter().any(aside)
    }

    /// Whether the client is between two requests and has been given everything that it is owed.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.client_in.is_empty()
            && self.queue.is_empty()
            && !self.is_owed()
            && !self.is_proving()
            && self.client_out.is_empty()
    }

    /// Whether an engine owes it nothing.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_owed() && !self.is_proving()
    }

    /// Whether it waits for data and for nothing else.
    pub(crate) fn only_waits(&self) -> bool {
        self.queue.is_empty() && !self.is_proving() && self.is_parked()
    }

    /// Writes the session down; nothing changes by it.
    ///
    /// What is left out: the endpoint and the card, which are written down by themselves; sums, which are
    /// counted again; seats on shared connections, which are left; the proof, what is asked aside and
    /// what passes through in parts, of which a settled session has none; and what the first look at
    /// the queue and the route finds out anew.
    pub(crate) fn estate(&self, clock: Clock) -> SessionEstate {
        let Self {
            endpoint: _,
            limits: _,
            client_in,
            client_out,
            inbound,
            hearing,
            flow: _,
            queue,
            load: _,
            withheld: _,
            forward,
            slots,
            cursor,
            shortcut,
            link,
            shared: _,
            served: _,
            spare: _,
            own_until,
            wrote_elsewhere,
            who,
            nobody_since,
            unread,
            card: _,
            state,
            transaction,
            proof: _,
            witness: _,
            side: _,
            proofs,
            proof_wanted,
            usual_reply,
            stop: _,
            generation: _,
            held_since,
            eof,
            closing,
            tally: _,
            quiet: _,
            weight,
            heavy,
            came,
        } = self;
        SessionEstate {
            client_in: Octets::of(client_in),
            client_out: Octets(client_out.copied()),
            hearing: *hearing,
            inbound_over: is_over(inbound),
            queue: queue.iter().map(|item| ItemEstate::of(item, clock)).collect(),
            forward: forward.clone(),
            slots: slots_estate(slots, shortcut, clock),
            cursor: *cursor,
            link: LinkEstate::of(link, clock),
            own_left: own_until.map(|until| clock.left(until)),
            wrote_elsewhere: *wrote_elsewhere,
            who: who.clone(),
            nobody_ago: nobody_since.map(|since| clock.ago(since)),
            unread: *unread,
            state: StateEstate::of(state),
            transaction: TransactionEstate::of(transaction, clock),
            proofs: (*proofs, *proof_wanted),
            usual_reply: *usual_reply,
            held_ago: held_since.map(|since| clock.ago(since)),
            eof: *eof,
            closing: *closing == Closing::Flushed,
            habits: (*weight, *heavy, *came),
        }
    }

    /// Puts a session together again. `connected` says whether its own upstream's socket came along;
    /// without it, what was in flight there meets the fate of a lost connection.
    pub(crate) fn restore(
        estate: SessionEstate,
        endpoint: Rc<Endpoint>,
        limits: ProxyLimits,
        card: Rc<Card>,
        shard: &Shard,
        now: Instant,
    ) -> Result<Self, Unreadable> {
        let clock = Clock(now);
        let mut session = Self::new(endpoint, limits, card);
        session.client_in = BytesMut::from(&estate.client_in.0[..]);
        session.client_out = OutQueue::at(estate.client_out.0, 0);
        session.hearing = estate.hearing;
        session.inbound.over = estate.inbound_over;
        let items = estate.queue.into_iter().map(|item| item.restore(clock));
        session.queue = items.collect::<Result<_, _>>()?;
        session.forward = estate.forward;
        let slots = estate.slots.into_iter().map(|slot| slot.restore(clock));
        session.slots = slots.collect::<Result<_, _>>()?;
        session.cursor = estate.cursor;
        if session.cursor > session.slots.len() {
            return Err(Unreadable::Cursor);
        }
        if let Some(link) = estate.link {
            session.link = link.restore(clock);
        }
        session.own_until = estate.own_left.map(|left| clock.after(left));
        session.wrote_elsewhere = estate.wrote_elsewhere;
        session.card.become_user(estate.who.name());
        session.who = estate.who;
        session.nobody_since = estate.nobody_ago.map(|ago| clock.before(ago));
        session.unread = estate.unread;
        session.state = estate.state.restore(clock)?;
        session.transaction = estate.transaction.restore(clock)?;
        (session.proofs, session.proof_wanted) = estate.proofs;
        session.usual_reply = estate.usual_reply;
        session.held_since = estate.held_ago.map(|ago| clock.before(ago));
        session.eof = estate.eof;
        session.closing = if estate.closing { Closing::Flushed } else { Closing::No };
        (session.weight, session.heavy, session.came) = estate.habits;
        session.count_again();
        if let Some(lane) = session.link.lane.clone() {
            session.serve_at(shard, &lane);
            session.card.engine_id.set(session.link.engine_id);
        }
        // Before the controller can ask whether anything is in flight.
        let busy = session.is_busy();
        session.set_tally(shard, 0, busy);
        Ok(session)
    }

    /// The sums that follow from the queue and the slots.
    fn count_again(&mut self) {
        let queued = self.queue.iter().map(|item| match item {
            Item::Request(pending) => pending.size(),
            Item::Answer(_) => 0,
        });
        let slots = self.slots.iter().map(|slot| match slot {
            Slot::Answer(answer) => (0, answer.bytes.len()),
            Slot::Flight(flight) => {
                (flight.pending.size(), flight.reply.as_ref().map_or(0, Bytes::len))
            }
        });
        let (flying, withheld) = slots.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.load = queued.sum::<usize>() + flying;
        self.withheld = withheld;
    }

    /// The socket of the client's own upstream did not come along.
    pub(crate) fn left_behind(&mut self, shard: &Shard) {
        if self.link.phase != Phase::Down {
            self.lose(shard);
        }
    }
}
