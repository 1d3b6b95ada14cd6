//! The requests by which a client says who it is, and what it may do before.
//!
//! Invariant: whoever is nobody gets an answer from the proxy, and never reaches an engine; a client
//! becomes somebody else only when nothing of it is in flight.
//!
//! Not here: who has which password (`crate::login`).

use std::time::Duration;

use bytes::Bytes;
use tanist_link::wire::BELL_CHANNEL;
use tanist_resp::Request;
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::Answer;
use super::forward::Step;
use super::{Closing, Phase, Session, Stop};
use crate::login::Who;
use crate::shard::Shard;
use crate::text;

/// The categories of what a client asks about itself.
const OWN_CLIENT: &[&str] = &["slow", "connection"];
/// The categories of what it asks about others.
const ALL_CLIENTS: &[&str] = &["admin", "slow", "dangerous", "connection"];

/// How long a client may be nobody.
const NOBODY_LIMIT: Duration = Duration::from_secs(10);

/// A HELLO, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello<'a> {
    /// Its words have a meaning; with the name and the password, if there are any.
    Fine(Option<(&'a [u8], &'a [u8])>),
    /// Whoever is somebody hears of it from the engine, everybody else this.
    Malformed(Bytes),
}

/// Takes a HELLO apart, in the engine's order of complaints.
pub(super) fn hello(request: &Request) -> Hello<'_> {
    let malformed = |text: &[u8]| Hello::Malformed(Bytes::copy_from_slice(text));
    match request.arg(1).map(|text| std::str::from_utf8(text).map(str::parse::<i64>)) {
        None | Some(Ok(Ok(2 | 3))) => {}
        Some(Ok(Ok(_))) => return malformed(text::NOPROTO),
        Some(_) => return malformed(text::PROTO_NUMBER),
    }
    let mut credentials = None;
    let mut options = request.args().skip(2);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"auth") && options.len() >= 2 {
            credentials = options.next().zip(options.next());
        } else if option.eq_ignore_ascii_case(b"setname") && options.len() >= 1 {
            let name = options.next().unwrap_or_default();
            if !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
                return malformed(text::CLIENT_NAME);
            }
        } else {
            return Hello::Malformed(text::hello_option(option));
        }
    }
    Hello::Fine(credentials)
}

/// The name and the password of an AUTH.
fn credentials(request: &Request) -> Option<(&[u8], &[u8])> {
    match request.argc() {
        2 => Some((b"default", request.arg(1)?)),
        3 => Some((request.arg(1)?, request.arg(2)?)),
        _ => None,
    }
}

impl Pending {
    /// Whether somebody may ask this who is nobody.
    fn is_for_nobody(&self) -> bool {
        let word = |word| self.request.is(word);
        matches!(self.class, Class::Quit | Class::Reset) || word("auth") || word("hello")
    }
}

impl Session {
    /// Whether the client has to say who it is first.
    pub(super) fn is_nobody(&self) -> bool {
        self.who == Who::Nobody
    }

    /// Whether a request is judged by the proxy before anything is done about it.
    pub(super) fn is_barred(&self, pending: &Pending) -> bool {
        self.is_nobody() && !pending.is_for_nobody()
    }

    /// Until when the client may be nobody.
    pub(super) fn nobody_until(&self) -> Option<Instant> {
        self.nobody_since.filter(|_| self.is_nobody()).map(|since| since + NOBODY_LIMIT)
    }

    /// Asks again who the client is, after something about the group has changed.
    pub(super) fn check_who(&mut self, shard: &Shard, now: Instant) {
        match shard.still(&self.who) {
            Some(who) => self.turn_into(who, shard),
            None => self.closing = Closing::Now,
        }
        if self.is_nobody() {
            self.nobody_since.get_or_insert(now);
        }
    }

    /// Ends a client that has been nobody for too long.
    pub(super) fn check_nobody(&mut self, now: Instant) {
        if self.nobody_until().is_some_and(|until| until <= now) {
            self.closing = Closing::Now;
        }
    }

    /// The client is this from now on. (A connection that another client's task has made on its behalf
    /// is so from the beginning.)
    pub(crate) fn turn_into(&mut self, who: Who, shard: &Shard) {
        if who == self.who {
            return;
        }
        let moves = who.lane_user() != self.who.lane_user();
        self.who = who;
        self.card.become_user(self.who.name());
        self.nobody_since = None;
        if !moves {
            return;
        }
        self.unfold();
        self.spare = None;
        if self.shared.is_some() && self.slots.is_empty() {
            self.shared = None;
        }
        if self.shared.is_some() || self.link.phase != Phase::Down {
            self.lose(shard);
        }
    }

    /// The client forgets who it is, as RESET says.
    pub(super) fn forget_who(&mut self, shard: &Shard, now: Instant) {
        self.turn_into(shard.stranger(), shard);
        if self.is_nobody() {
            self.nobody_since.get_or_insert(now);
        }
    }

    /// What to do about a request by which the client says who it is, or which it may not ask as
    /// nobody; `None` if it is one as any other.
    pub(super) fn log_in(
        &mut self,
        pending: &Pending,
        shard: &Shard,
        now: Instant,
    ) -> Option<Step> {
        if !self.is_nobody() && !matches!(pending.class, Class::Auth | Class::Hello) {
            return None;
        }
        let answer =
            |text: &'static [u8]| Some(Step::Answer(Answer::to(pending, Bytes::from_static(text))));
        if self.is_barred(pending) {
            let exec = pending.class == Class::Exec;
            return answer(if exec { text::EXECABORT_NOAUTH } else { text::NOAUTH });
        }
        if self.forward.multi || self.forward.doomed || self.state.is_limited() {
            return None;
        }
        if pending.request.is("auth") {
            let Some((name, password)) = credentials(&pending.request) else {
                let words = pending.request.argc() > 1;
                let text = if words { text::SYNTAX } else { text::AUTH_ARGUMENTS };
                return self.is_nobody().then(|| answer(text)).flatten();
            };
            if pending.request.argc() == 2 && shard.is_open() {
                return answer(text::NO_PASSWORD);
            }
            return match shard.log_in(name, password) {
                None => answer(text::WRONGPASS),
                Some(who) => self.log_in_as(who, shard, now).or_else(|| answer(text::OK)),
            };
        }
        if !pending.request.is("hello") {
            return None;
        }
        match hello(&pending.request) {
            Hello::Malformed(bytes) if self.is_nobody() => {
                Some(Step::Answer(Answer::to(pending, bytes)))
            }
            Hello::Malformed(_) => None,
            Hello::Fine(Some((name, password))) => match shard.log_in(name, password) {
                None => answer(text::WRONGPASS),
                Some(who) => self.log_in_as(who, shard, now),
            },
            Hello::Fine(None) if self.is_nobody() => Some(self.hello_nobody(pending, shard)),
            Hello::Fine(None) => None,
        }
    }

    /// The answer to a HELLO of somebody who does not say who they are. Engines word it differently, so
    /// one has to have greeted this proxy.
    fn hello_nobody(&mut self, pending: &Pending, shard: &Shard) -> Step {
        if shard.greetings.borrow().is_empty() {
            if let Some(stop) = self.make_shared_ready(shard, false).stop() {
                return Step::Stop(stop);
            }
            self.shared = None;
        }
        let newer = shard.names_users.get();
        let text = if newer { text::HELLO_NOAUTH } else { text::HELLO_NOAUTH_OLDER };
        Step::Answer(Answer::to(pending, Bytes::from_static(text)))
    }

    /// `None` once the client is who it says.
    fn log_in_as(&mut self, who: Who, shard: &Shard, _now: Instant) -> Option<Step> {
        if who == self.who {
            return None;
        }
        if !self.slots.is_empty() || self.is_proving() {
            return Some(Step::Stop(Stop::Busy));
        }
        self.turn_into(who, shard);
        None
    }

    /// What a request within MULTI by which the client says who it is will be answered: nobody becomes
    /// somebody else halfway through a transaction.
    pub(super) fn log_in_queued(&self, pending: &Pending, shard: &Shard) -> Option<&'static [u8]> {
        let (given, silent) = match pending.class {
            Class::Auth => (credentials(&pending.request)?, None),
            Class::Hello => match hello(&pending.request) {
                Hello::Fine(Some(given)) => (given, Some(())),
                Hello::Fine(None) | Hello::Malformed(_) => return None,
            },
            _ => return None,
        };
        if pending.class == Class::Auth && pending.request.argc() == 2 && shard.is_open() {
            return Some(text::NO_PASSWORD);
        }
        match shard.log_in(given.0, given.1) {
            None => Some(text::WRONGPASS),
            Some(who) if who != self.who => Some(text::AUTH_IN_MULTI),
            Some(_) => silent.is_none().then_some(text::OK),
        }
    }

    /// The refusal of a command that the proxy answers itself, or that the client's lane may run for the
    /// proxy's sake only: for all others the engine finds the words.
    pub(super) fn refuse_own(&self, pending: &Pending, shard: &Shard) -> Option<Answer> {
        let name = self.who.lane_user()?;
        let (command, categories): (&str, &[&str]) = match pending.class {
            Class::Role => ("role", &["admin", "fast", "dangerous"]),
            Class::Wait => ("wait", &["slow", "connection"]),
            Class::Publish if pending.request.arg(1) == Some(BELL_CHANNEL.as_bytes()) => {
                (pending.name, &["pubsub", "fast"])
            }
            Class::ClientId | Class::ClientInfo | Class::ClientGetredir | Class::ReplyMode => {
                (pending.name, OWN_CLIENT)
            }
            Class::ClientList | Class::ClientKill | Class::ClientUnblock => {
                (pending.name, ALL_CLIENTS)
            }
            Class::Pause | Class::Unpause => (pending.name, ALL_CLIENTS),
            _ => return None,
        };
        if shard.allows(&self.who, command, categories) {
            return None;
        }
        let bytes = text::noperm_of(command, name, shard.names_users.get());
        Some(Answer { fails: self.forward.multi, ..Answer::to(pending, bytes) })
    }
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    fn request(line: &str) -> Request {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap()).args(words).to_request()
    }

    #[test]
    fn a_hello_is_taken_apart_as_the_engine_does() {
        for (line, given) in [
            ("HELLO", None),
            ("HELLO 3", None),
            ("HELLO 2 AUTH a b", Some((&b"a"[..], &b"b"[..]))),
            ("HELLO 3 SETNAME x auth a b", Some((b"a", b"b"))),
            ("HELLO 3 AUTH a b AUTH c d", Some((b"c", b"d"))),
        ] {
            assert_eq!(hello(&request(line)), Hello::Fine(given), "{line}");
        }
        for (line, text) in [
            ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
            ("HELLO 3 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
            ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n"),
            ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        ] {
            assert_eq!(hello(&request(line)), Hello::Malformed(text.into()), "{line}");
        }
        let name = Command::new("HELLO").args(["3", "SETNAME", "a b"]).to_request();
        assert!(matches!(hello(&name), Hello::Malformed(_)));
    }
}
