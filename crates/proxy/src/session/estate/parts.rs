//! The parts of what is handed over of a session: requests, slots, the upstream, the state.
//!
//! Each live type is taken apart field by field, without `..`: whoever adds a field has to decide
//! here what becomes of it. Each written type has defaults, so that a release reads what the one
//! before it wrote.
//!
//! Invariant: what is put together again behaves as what was taken apart.
//!
//! Not here: the session itself (`super`), who writes and reads (`crate::renewal`).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tanist_resp::{Limits, ReplyFramer, Request, RequestFramer, Version};

use super::Unreadable;
use crate::octets::{Clock, Octets};
use crate::out::OutQueue;
use crate::session::class::Pending;
use crate::session::flight::{Answer, Expect, Flight, Item, Role, Slot};
use crate::session::notices::Notices;
use crate::session::state::State;
use crate::session::transaction::{Special, Transaction};
use crate::session::upstream::{Link, Phase};
use crate::shard::Lane;
use crate::text;

/// Texts that requests carry as the program's own; another release may word them otherwise.
const OWN_TEXTS: [&[u8]; 6] = [
    text::EXECABORT,
    text::EXECABORT_NOREPLICAS,
    text::NO_PASSWORD,
    text::WRONGPASS,
    text::AUTH_IN_MULTI,
    text::OK,
];

/// This program's own copy of a text, or what is said in place of one that it does not have.
fn own_text(octets: &Octets, otherwise: &'static [u8]) -> &'static [u8] {
    OWN_TEXTS.into_iter().find(|own| *own == &octets.0[..]).unwrap_or(otherwise)
}

fn request(raw: Bytes) -> Result<Request, Unreadable> {
    let mut input = BytesMut::from(&raw[..]);
    let framed = RequestFramer::new(Limits::default()).next(&mut input);
    framed.ok().flatten().filter(|_| input.is_empty()).ok_or(Unreadable::Request)
}

/// A request.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PendingEstate {
    raw: Octets,
    instead: Option<Octets>,
    parsed_ago: u64,
    started_ago: Option<u64>,
    mute: Option<bool>,
    login: Option<Octets>,
    own_lane: bool,
    losses: u8,
}

impl PendingEstate {
    fn of(pending: &Pending, clock: Clock) -> Self {
        let Pending {
            request,
            // What follows from the request is found again.
            name: _,
            effect: _,
            class: _,
            known: _,
            family_shares: _,
            changes_keys: _,
            flagged_write: _,
            instead,
            parsed,
            started,
            mute,
            // Nothing is handed over that passes through in parts.
            streamed: _,
            login,
            own_lane,
            losses,
        } = pending;
        Self {
            raw: request.raw().into(),
            instead: instead.as_ref().map(Octets::from),
            parsed_ago: clock.ago(*parsed),
            started_ago: started.map(|started| clock.ago(started)),
            mute: *mute,
            login: login.map(Octets::of),
            own_lane: *own_lane,
            losses: *losses,
        }
    }

    fn restore(self, clock: Clock) -> Result<Pending, Unreadable> {
        let Self { raw, instead, parsed_ago, started_ago, mute, login, own_lane, losses } = self;
        Ok(Pending {
            instead: instead.map(|octets| octets.0),
            started: started_ago.map(|ago| clock.before(ago)),
            login: login.map(|said| own_text(&said, text::WRONGPASS)),
            own_lane,
            losses,
            mute,
            ..Pending::new(request(raw.0)?, clock.before(parsed_ago))
        })
    }
}

/// A reply that needs no engine.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AnswerEstate {
    bytes: Octets,
    nil: bool,
    fails: bool,
    ends: bool,
    closes: bool,
    message: bool,
    unasked: bool,
}

impl AnswerEstate {
    fn of(answer: &Answer) -> Self {
        let Answer { bytes, nil, fails, ends, closes, message, unasked } = answer;
        let (nil, fails, ends, closes) = (*nil, *fails, *ends, *closes);
        let (message, unasked) = (*message, *unasked);
        Self { bytes: bytes.into(), nil, fails, ends, closes, message, unasked }
    }

    fn restore(self) -> Answer {
        let Self { bytes, nil, fails, ends, closes, message, unasked } = self;
        Answer { bytes: bytes.0, nil, fails, ends, closes, message, unasked }
    }
}

/// What waits to be forwarded.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ItemEstate {
    Request(Box<PendingEstate>),
    Answer(AnswerEstate),
}

impl ItemEstate {
    pub(super) fn of(item: &Item, clock: Clock) -> Self {
        match item {
            Item::Request(pending) => Self::Request(Box::new(PendingEstate::of(pending, clock))),
            Item::Answer(answer) => Self::Answer(AnswerEstate::of(answer)),
        }
    }

    pub(super) fn restore(self, clock: Clock) -> Result<Item, Unreadable> {
        Ok(match self {
            Self::Request(pending) => Item::Request(pending.restore(clock)?),
            Self::Answer(answer) => Item::Answer(answer.restore()),
        })
    }
}

/// What a forwarded request is to the transaction around it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleEstate {
    #[default]
    Plain,
    Multi,
    Queued,
    Exec,
    Instead(Option<Octets>),
    Discard,
    Side,
}

impl From<&Role> for RoleEstate {
    fn from(role: &Role) -> Self {
        match role {
            Role::Plain => Self::Plain,
            Role::Multi => Self::Multi,
            Role::Queued => Self::Queued,
            Role::Exec => Self::Exec,
            Role::Instead(answer) => Self::Instead(answer.map(Octets::of)),
            Role::Discard => Self::Discard,
            Role::Side => Self::Side,
        }
    }
}

impl From<RoleEstate> for Role {
    fn from(role: RoleEstate) -> Self {
        match role {
            RoleEstate::Plain => Self::Plain,
            RoleEstate::Multi => Self::Multi,
            RoleEstate::Queued => Self::Queued,
            RoleEstate::Exec => Self::Exec,
            RoleEstate::Instead(answer) => {
                Self::Instead(answer.map(|said| own_text(&said, text::EXECABORT)))
            }
            RoleEstate::Discard => Self::Discard,
            RoleEstate::Side => Self::Side,
        }
    }
}

/// A forwarded request.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FlightEstate {
    pending: PendingEstate,
    role: RoleEstate,
    end: u64,
    gated: bool,
    reply: Option<Octets>,
    settled: bool,
    refused: bool,
    partial: Option<(Octets, usize)>,
    heard: bool,
}

impl FlightEstate {
    fn of(flight: &Flight, clock: Clock) -> Self {
        let Flight {
            pending,
            role,
            end,
            gated,
            // Nothing is handed over that is in flight on a shared connection.
            batch: _,
            reply,
            settled,
            refused,
            partial,
            heard,
            // Nor while a reply passes through in parts.
            passed: _,
            parts: _,
        } = flight;
        let partial = partial.as_deref();
        Self {
            pending: PendingEstate::of(pending, clock),
            role: role.into(),
            end: *end,
            gated: *gated,
            reply: reply.as_ref().map(Octets::from),
            settled: *settled,
            refused: *refused,
            partial: partial.map(|(frames, missing)| (Octets::of(frames), *missing)),
            heard: *heard,
        }
    }

    fn restore(self, clock: Clock) -> Result<Flight, Unreadable> {
        let Self { pending, role, end, gated, reply, settled, refused, partial, heard } = self;
        let partial = partial.map(|(frames, missing)| (BytesMut::from(&frames.0[..]), missing));
        Ok(Flight {
            pending: pending.restore(clock)?,
            role: role.into(),
            end,
            gated,
            batch: 0,
            reply: reply.map(|octets| octets.0),
            settled,
            refused,
            partial: partial.map(Box::new),
            heard,
            passed: 0,
            parts: None,
        })
    }
}

/// One place in the order of replies.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SlotEstate {
    Answer(AnswerEstate),
    Flight(Box<FlightEstate>),
}

impl SlotEstate {
    pub(super) fn of(slot: &Slot, clock: Clock) -> Self {
        match slot {
            Slot::Answer(answer) => Self::Answer(AnswerEstate::of(answer)),
            Slot::Flight(flight) => Self::Flight(Box::new(FlightEstate::of(flight, clock))),
        }
    }

    pub(super) fn restore(self, clock: Clock) -> Result<Slot, Unreadable> {
        Ok(match self {
            Self::Answer(answer) => Slot::Answer(answer.restore()),
            Self::Flight(flight) => Slot::Flight(flight.restore(clock)?),
        })
    }
}

/// The client's own upstream.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkEstate {
    lane: Lane,
    #[serde(default)]
    user: Option<String>,
    /// Until when only what it may still say counts.
    #[serde(default)]
    draining_left: Option<u64>,
    #[serde(default)]
    engine_id: Option<i64>,
    #[serde(default)]
    expect: Vec<Expect>,
    #[serde(default)]
    input: Octets,
    #[serde(default)]
    out: Octets,
    /// The position behind the last byte of `out`.
    #[serde(default)]
    pushed: u64,
    /// Something was written over it.
    #[serde(default)]
    wrote: bool,
}

impl LinkEstate {
    /// `None` if there is none that could be handed over: one that is still being opened carries
    /// nothing of its client's yet, and is opened again.
    pub(super) fn of(link: &Link, clock: Clock) -> Option<Self> {
        let Link { phase, lane, user, serial: _, engine_id, expect, framer: _, input, out, wrote } =
            link;
        let draining_left = match phase {
            Phase::Down | Phase::Connecting | Phase::Handshake => return None,
            Phase::Ready => None,
            Phase::Draining { until } => Some(clock.left(*until)),
        };
        Some(Self {
            lane: lane.clone()?,
            user: user.as_deref().map(str::to_owned),
            draining_left,
            engine_id: *engine_id,
            expect: expect.iter().copied().collect(),
            // The framer only remembers how far it has looked.
            input: Octets::of(input),
            out: Octets(out.copied()),
            pushed: out.pushed(),
            wrote: *wrote,
        })
    }

    pub(super) fn restore(self, clock: Clock) -> Link {
        let Self { lane, user, draining_left, engine_id, expect, input, out, pushed, wrote } = self;
        Link {
            phase: match draining_left {
                Some(left) => Phase::Draining { until: clock.after(left) },
                None => Phase::Ready,
            },
            lane: Some(lane),
            user: user.map(Rc::from),
            serial: 1,
            engine_id,
            expect: expect.into(),
            framer: ReplyFramer::default(),
            input: BytesMut::from(&input.0[..]),
            out: OutQueue::at(out.0, pushed),
            wrote,
        }
    }
}

/// What the connection has become.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StateEstate {
    resp3: bool,
    watching: bool,
    monitor: bool,
    notices: Notices,
    changes: u32,
    db: Option<Octets>,
    name: Option<Octets>,
    settings: Vec<Octets>,
    channels: [Vec<Octets>; 3],
}

impl StateEstate {
    pub(super) fn of(state: &State) -> Self {
        let State {
            version,
            watching,
            monitor,
            notices,
            changes,
            db,
            name,
            settings,
            channels,
            channel_bytes: _,
        } = state;
        Self {
            resp3: *version == Version::Resp3,
            watching: *watching,
            monitor: *monitor,
            notices: notices.clone(),
            changes: *changes,
            db: db.as_ref().map(Octets::from),
            name: name.as_ref().map(Octets::from),
            settings: settings.iter().map(|(_, raw)| raw.into()).collect(),
            channels: channels.each_ref().map(|set| set.iter().map(Octets::from).collect()),
        }
    }

    pub(super) fn restore(self, clock: Clock) -> Result<State, Unreadable> {
        let Self { resp3, watching, monitor, notices, changes, db, name, settings, channels } =
            self;
        let setting = |raw: Octets| {
            let class = Pending::new(request(raw.0.clone())?, clock.0).class;
            Ok((class, raw.0))
        };
        let mut state = State {
            version: if resp3 { Version::Resp3 } else { Version::Resp2 },
            watching,
            monitor,
            notices,
            changes,
            db: db.map(|octets| octets.0),
            name: name.map(|octets| octets.0),
            settings: settings.into_iter().map(setting).collect::<Result<_, _>>()?,
            channels: channels.map(|all| all.into_iter().map(|octets| octets.0).collect()),
            channel_bytes: 0,
        };
        state.measure_channels();
        Ok(state)
    }
}

/// An answer within EXEC's that needs care.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SpecialEstate {
    index: usize,
    pending: PendingEstate,
    instead: Option<Octets>,
}

/// The transaction that is open.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TransactionEstate {
    open: bool,
    sent: Option<Vec<Octets>>,
    bytes: usize,
    queued: usize,
    special: Vec<SpecialEstate>,
    failed: bool,
    changes_keys: bool,
}

impl TransactionEstate {
    pub(super) fn of(transaction: &Transaction, clock: Clock) -> Self {
        let Transaction { open, sent, bytes, queued, special, failed, changes_keys } = transaction;
        let special = special.iter().map(|Special { index, pending, instead }| SpecialEstate {
            index: *index,
            pending: PendingEstate::of(pending, clock),
            instead: instead.as_ref().map(Octets::from),
        });
        Self {
            open: *open,
            sent: sent.as_ref().map(|sent| sent.iter().map(Octets::from).collect()),
            bytes: *bytes,
            queued: *queued,
            special: special.collect(),
            failed: *failed,
            changes_keys: *changes_keys,
        }
    }

    pub(super) fn restore(self, clock: Clock) -> Result<Transaction, Unreadable> {
        let Self { open, sent, bytes, queued, special, failed, changes_keys } = self;
        let special = special.into_iter().map(|SpecialEstate { index, pending, instead }| {
            let instead = instead.map(|octets| octets.0);
            Ok(Special { index, pending: pending.restore(clock)?, instead })
        });
        Ok(Transaction {
            open,
            sent: sent.map(|sent| sent.into_iter().map(|octets| octets.0).collect()),
            bytes,
            queued,
            special: special.collect::<Result<_, _>>()?,
            failed,
            changes_keys,
        })
    }
}
