//! Requests about the connection that need no engine while the client shares one.
//!
//! A client tells its version, name and database when it connects. If each of these needed a
//! connection of its own, sharing would save nothing; so the proxy keeps them, and chooses the shared
//! connection that fits. What is not well-formed goes to the engine, which has the words for it.
//!
//! Invariant: nothing of the client is in flight when its state changes here.
//!
//! Not here: what each request means (`super::state`).

use bytes::{Bytes, BytesMut};
use tanist_resp::{Encoder, Request, Version};

use super::class::{Class, Pending};
use super::flight::Answer;
use super::forward::Step;
use super::{Phase, Session, State, Stop};
use crate::shard::Shard;
use crate::text;

/// Databases of an engine.
const DATABASES: u32 = 16;

/// A well-formed HELLO: the version that it asks for.
fn greeted(request: &Request) -> Option<Option<Version>> {
    let version = match request.arg(1) {
        None => return Some(None),
        Some(b"2") => Version::Resp2,
        Some(b"3") => Version::Resp3,
        Some(_) => return None,
    };
    let mut options = request.args().skip(2);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            // They were judged before.
            options.nth(1)?;
        } else if option.eq_ignore_ascii_case(b"setname") {
            let name = options.next()?;
            if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
                return None;
            }
        } else {
            return None;
        }
    }
    Some(Some(version))
}

/// A well-formed SELECT of a database that exists.
fn selects(request: &Request) -> bool {
    let number = request.arg(1).and_then(|text| std::str::from_utf8(text).ok());
    let number = number.filter(|text| text.len() == 1 || !text.starts_with(['0', '+']));
    number.and_then(|text| text.parse::<u32>().ok()).is_some_and(|db| db < DATABASES)
}

impl Session {
    /// The step for a request that needs no engine; `None` if it needs one.
    pub(super) fn answer_unconnected(&mut self, pending: &Pending, shard: &Shard) -> Option<Step> {
        if pending.class == Class::Reset {
            return Some(self.reset(pending, shard));
        }
        // What a user of its own may ask is for the engine to say; HELLO everybody may.
        let all = self.who.lane_user().is_none();
        let concerns = pending.class == Class::Hello
            || (all && matches!(pending.class, Class::Select | Class::GetName));
        let shares = self.limits.lanes > 0
            && self.link.phase == Phase::Down
            && !self.forward.multi
            && !self.forward.doomed
            && self.state.is_common();
        if !concerns || !shares {
            return None;
        }
        if !self.slots.is_empty() {
            return Some(Step::Stop(Stop::Busy));
        }
        let bytes = match pending.class {
            Class::Select if selects(&pending.request) => {
                self.state.apply(pending);
                Bytes::from_static(text::OK)
            }
            Class::GetName => self.name(),
            Class::Hello => {
                let version = greeted(&pending.request)?.unwrap_or(self.state.version);
                // The engine has to be there, and says what it is.
                if let Some(stop) = self.make_shared_ready(shard, false).stop() {
                    return Some(Step::Stop(stop));
                }
                let greeting = self.greeting(shard, version)?;
                self.state.apply(pending);
                greeting
            }
            _ => return None,
        };
        Some(Step::Answer(Answer::to(pending, bytes)))
    }

    /// A client that starts anew does so on a new connection: an engine forgets the lane's user as well,
    /// and keeps hardly any replies for a connection that is nobody's.
    fn reset(&mut self, pending: &Pending, shard: &Shard) -> Step {
        if !self.slots.is_empty() {
            return Step::Stop(Stop::Busy);
        }
        self.drop_link();
        self.transaction.end();
        self.state = State::default();
        self.forward = super::Forward::default();
        self.own_until = None;
        self.forget_who(shard, pending.parsed);
        Step::Answer(Answer::to(pending, Bytes::from_static(text::RESET)))
    }

    fn name(&self) -> Bytes {
        let mut out = BytesMut::new();
        let encoder = Encoder::new(self.state.version);
        match self.state.name() {
            Some(name) => encoder.bulk(&mut out, name),
            None => encoder.null(&mut out),
        }
        out.freeze()
    }
}
