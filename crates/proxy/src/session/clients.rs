//! `CLIENT ID`, `INFO`, `LIST`, `KILL`, `UNBLOCK` and where `TRACKING` redirects to: who is connected to
//! the endpoint.
//!
//! To the engine there are the proxy's connections and nobody else, so these are answered here, with
//! the engine's words. Only who waits for data is on a connection of its own, which the engine is asked
//! to unblock by the number that it has there.
//!
//! Invariant: a client sees and ends clients of its own endpoint only.
//!
//! Not here: what is known of each client (`crate::clients`).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tanist_resp::{Command, Encoder, Request};
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::Answer;
use super::{Closing, Session};
use crate::clients::Card;
use crate::shard::Shard;
use crate::text;

/// Which clients are meant.
#[derive(Debug, Default)]
struct Filter {
    ids: Vec<u64>,
    kind: Option<Kind>,
    address: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    max_age: Option<u64>,
    spare_me: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Subscribed,
    /// Masters and replicas, of which an endpoint has none.
    Nobody,
}

/// The words for a request that is wrong.
type Refusal = Bytes;

fn number(word: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number > 0).then_some(number)
}

fn kind(word: &[u8]) -> Result<Kind, Refusal> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Kind::Normal),
        b"pubsub" => Ok(Kind::Subscribed),
        b"master" | b"primary" | b"replica" | b"slave" => Ok(Kind::Nobody),
        _ => {
            let word = String::from_utf8_lossy(word);
            Err(text::error(&format!("Unknown client type '{word}'")))
        }
    }
}

/// The filter of `CLIENT LIST`.
fn listed(request: &Request) -> Result<Filter, Refusal> {
    let mut filter = Filter::default();
    let words: Vec<&[u8]> = request.args().skip(2).collect();
    match words.as_slice() {
        [] => {}
        [option, word] if option.eq_ignore_ascii_case(b"type") => filter.kind = Some(kind(word)?),
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            for id in ids {
                filter.ids.push(number(id).ok_or_else(|| text::error("Invalid client ID"))?);
            }
        }
        _ => return Err(text::error("syntax error")),
    }
    Ok(filter)
}

/// The filter of `CLIENT KILL` in its newer form.
fn killed(request: &Request, is_user: &dyn Fn(&[u8]) -> bool) -> Result<Filter, Refusal> {
    let mut filter = Filter { spare_me: true, ..Filter::default() };
    let words: Vec<&[u8]> = request.args().skip(2).collect();
    for pair in words.chunks(2) {
        let [option, word] = pair else { return Err(text::error("syntax error")) };
        let own = || Some(word.to_vec());
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let wrong = "client-id should be greater than 0";
                filter.ids.push(number(word).ok_or_else(|| text::error(wrong))?);
            }
            b"type" => filter.kind = Some(kind(word)?),
            b"addr" => filter.address = own(),
            b"laddr" => filter.local = own(),
            b"user" if is_user(word) => filter.user = own(),
            b"user" => {
                let user = String::from_utf8_lossy(word);
                return Err(text::error(&format!("No such user '{user}'")));
            }
            b"maxage" => {
                let wrong = "maxage is not an integer or out of range";
                filter.max_age = Some(number(word).ok_or_else(|| text::error(wrong))?);
            }
            b"skipme" if word.eq_ignore_ascii_case(b"yes") => filter.spare_me = true,
            b"skipme" if word.eq_ignore_ascii_case(b"no") => filter.spare_me = false,
            _ => return Err(text::error("syntax error")),
        }
    }
    Ok(filter)
}

impl Session {
    /// The answer to a request about clients; `None` if it is none, or if an engine has to see it.
    pub(super) fn answer_clients(
        &mut self,
        pending: &Pending,
        shard: &Shard,
        now: Instant,
    ) -> Option<Answer> {
        let request = &pending.request;
        let bytes = match pending.class {
            Class::ClientId => Bytes::from(format!(":{}\r\n", self.card.id)),
            Class::ClientInfo => {
                self.write_card();
                let line = self.line(&Rc::clone(&self.card), now) + "\n";
                self.text(&line)
            }
            Class::ClientList => match listed(request) {
                Ok(filter) => {
                    self.write_card();
                    let lines = self.chosen(&filter, now);
                    let lines: String =
                        lines.iter().map(|card| self.line(card, now) + "\n").collect();
                    self.text(&lines)
                }
                Err(refusal) => refusal,
            },
            Class::ClientKill => return Some(self.kill(pending, shard, now)),
            Class::ClientUnblock => {
                let is_wrong = request.argc() > 4 || request.arg(2).and_then(integer).is_none();
                if is_wrong || self.finds_waiting(pending) {
                    return None;
                }
                Bytes::from_static(b":0\r\n")
            }
            Class::ClientGetredir => self.redirection(),
            _ => return None,
        };
        Some(Answer::to(pending, bytes))
    }

    /// The answer to `CLIENT GETREDIR`.
    pub(super) fn redirection(&self) -> Bytes {
        let none = if self.state.is_tracking() { 0 } else { -1 };
        let id = self.state.redirect().map_or(none, |id| i64::try_from(id).unwrap_or(i64::MAX));
        Bytes::from(format!(":{id}\r\n"))
    }

    /// Whether a request to unblock a client finds one that waits.
    pub(super) fn finds_waiting(&self, pending: &Pending) -> bool {
        let id = pending.request.arg(2).and_then(number);
        let card = id.and_then(|id| self.endpoint.clients.get(id));
        card.is_some_and(|card| card.blocked.get() && card.engine_id.get().is_some())
    }

    /// What is sent to the engine for a request that names another client; `None` if it is sent as it
    /// is. A number that nobody has stays, and is refused by the engine in its own words.
    pub(super) fn by_engine_id(&self, pending: &Pending) -> Option<Bytes> {
        let request = &pending.request;
        let at = match pending.class {
            Class::ClientUnblock => 2,
            Class::Tracking => {
                1 + request.args().position(|word| word.eq_ignore_ascii_case(b"redirect"))?
            }
            _ => return None,
        };
        let id = request.arg(at).and_then(number)?;
        let card = self.endpoint.clients.get(id);
        // No engine gives this number away.
        let known = card.and_then(|card| card.engine_id.get());
        let theirs = if id == self.card.id { self.link.engine_id } else { known };
        let theirs = theirs.unwrap_or(i64::MAX);
        let theirs = theirs.to_string();
        let words: Vec<&[u8]> = request
            .args()
            .enumerate()
            .map(|(index, word)| if index == at { theirs.as_bytes() } else { word })
            .collect();
        let mut out = BytesMut::new();
        tanist_resp::command::encode(&mut out, &words);
        Some(out.freeze())
    }

    pub(super) fn kill(&mut self, pending: &Pending, shard: &Shard, now: Instant) -> Answer {
        let request = &pending.request;
        if request.argc() == 3 {
            let address = request.arg(2).unwrap_or_default();
            let named = |card: &Rc<Card>| card.from.to_string().as_bytes() == address;
            let Some(card) = self.endpoint.clients.all().into_iter().find(named) else {
                return Answer::to(pending, text::error("No such client"));
            };
            return self.end([card], pending, Bytes::from_static(text::OK));
        }
        match killed(request, &|name| shard.has_user(name)) {
            Err(refusal) => Answer::to(pending, refusal),
            Ok(filter) => {
                let chosen = self.chosen(&filter, now);
                let count = Bytes::from(format!(":{}\r\n", chosen.len()));
                self.end(chosen, pending, count)
            }
        }
    }

    fn end(
        &self,
        cards: impl IntoIterator<Item = Rc<Card>>,
        pending: &Pending,
        bytes: Bytes,
    ) -> Answer {
        let mut closes = false;
        for card in cards {
            if card.id == self.card.id {
                closes = true;
            } else {
                card.kill();
            }
        }
        Answer { closes, ..Answer::to(pending, bytes) }
    }

    fn chosen(&self, filter: &Filter, now: Instant) -> Vec<Rc<Card>> {
        let local = self.endpoint.address.to_string();
        let meant = |card: &Rc<Card>| {
            let kind = filter.kind.is_none_or(|kind| match kind {
                Kind::Normal => !card.is_subscribed(),
                Kind::Subscribed => card.is_subscribed(),
                Kind::Nobody => false,
            });
            let address = filter.address.as_ref();
            kind && (filter.ids.is_empty() || filter.ids.contains(&card.id))
                && address.is_none_or(|address| card.from.to_string().as_bytes() == *address)
                && filter.local.as_ref().is_none_or(|address| local.as_bytes() == *address)
                && filter.user.as_ref().is_none_or(|user| card.user().as_bytes() == *user)
                && filter.max_age.is_none_or(|least| card.age(now) >= least)
                && !(filter.spare_me && card.id == self.card.id)
        };
        let all = self.endpoint.clients.all().into_iter();
        all.filter(meant).collect()
    }

    fn line(&self, card: &Rc<Card>, now: Instant) -> String {
        card.line(self.endpoint.address, now)
    }

    /// A text of several lines, as the engine sends one.
    fn text(&self, lines: &str) -> Bytes {
        let mut out = BytesMut::new();
        let encoder = Encoder::new(self.state.version);
        encoder.verbatim(&mut out, *b"txt", lines);
        out.freeze()
    }

    /// What a command about clients that is queued in a transaction will have answered.
    pub(super) fn answer_queued(
        &mut self,
        pending: &Pending,
        shard: &Shard,
        now: Instant,
    ) -> Option<Bytes> {
        match pending.class {
            Class::ClientId | Class::ClientInfo | Class::ClientList | Class::ClientUnblock => {
                self.answer_clients(pending, shard, now).map(|answer| answer.bytes)
            }
            // What it says depends on what it does then, or on what was done before it.
            Class::ClientKill | Class::ClientGetredir => Some(Bytes::new()),
            _ => None,
        }
    }

    /// Writes what the connection has become on the client's card.
    pub(super) fn write_card(&self) {
        let mut facts = self.state.facts();
        facts.queued = self.transaction.is_open().then(|| self.transaction.queued());
        self.card.write(facts);
    }

    /// Ends the connection if somebody has said so.
    pub(super) fn obey_kill(&mut self) {
        if self.card.killed.get() {
            self.closing = Closing::Now;
        }
    }

    /// Keeps the client's card true.
    pub(super) fn keep_card(&mut self) {
        self.card.blocked.set(self.is_parked());
        self.card.engine_id.set(self.link.engine_id);
        let written = (self.state.changes, self.transaction.is_open());
        if self.tally.written != Some(written) {
            self.tally.written = Some(written);
            self.write_card();
        }
    }

    /// The request for the engine's number of a connection that is the client's alone.
    pub(super) fn ask_engine_id() -> Bytes {
        Command::new("CLIENT").arg("ID").encode()
    }
}

fn integer(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Request {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap()).args(words).to_request()
    }

    #[test]
    fn filters_are_read_and_refused_in_the_engines_words() {
        assert!(listed(&request("CLIENT LIST")).is_ok());
        assert_eq!(listed(&request("CLIENT LIST ID 3 4")).unwrap().ids, [3, 4]);
        assert_eq!(
            listed(&request("CLIENT LIST TYPE pubsub")).unwrap().kind,
            Some(Kind::Subscribed)
        );
        for (line, words) in [
            ("CLIENT LIST TYPE nope", "-ERR Unknown client type 'nope'\r\n"),
            ("CLIENT LIST ID x", "-ERR Invalid client ID\r\n"),
            ("CLIENT LIST NOPE", "-ERR syntax error\r\n"),
        ] {
            assert_eq!(listed(&request(line)).unwrap_err(), words, "{line}");
        }
        let kills = |line: &str| killed(&request(line), &|user| user == b"app");
        assert_eq!(kills("CLIENT KILL USER app").unwrap().user.as_deref(), Some(&b"app"[..]));
        assert!(kills("CLIENT KILL ID 3").unwrap().spare_me);
        assert!(!kills("CLIENT KILL TYPE normal SKIPME no").unwrap().spare_me);
        for (line, words) in [
            ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n"),
            ("CLIENT KILL ID 1 ADDR", "-ERR syntax error\r\n"),
            ("CLIENT KILL USER x", "-ERR No such user 'x'\r\n"),
            ("CLIENT KILL TYPE x", "-ERR Unknown client type 'x'\r\n"),
        ] {
            assert_eq!(kills(line).unwrap_err(), words, "{line}");
        }
    }
}
