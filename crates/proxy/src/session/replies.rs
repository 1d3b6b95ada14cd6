//! From the upstream to the client: whose reply a frame is, what it changes, and when it leaves.
//!
//! Invariant: every frame is the reply to the oldest request without one, or a message that answers
//! none; a frame that is neither ends the upstream.
//!
//! Not here: what a lost upstream means (`super::fate`).

use bytes::{Bytes, BytesMut};
use tanist_core::gate::refused_by_role;
use tanist_resp::{Kind, Piece, Reply, Request, Version};
use tokio::time::Instant;

use super::class::Class;
use super::flight::{Answer, Expect, Flight, Role, Slot};
use super::transaction::Special;
use super::{Closing, LARGE, Phase, Session, State, mute, transaction};
use crate::shard::{EndpointKind, Shard};
use crate::{meter, rewrite};

/// How often a script's own word that it was refused is believed.
const MOST_SCRIPT_REFUSALS: u8 = 2;

impl Session {
    /// Takes in what the upstream has sent.
    pub(super) fn read_replies(&mut self, shard: &Shard, now: Instant) {
        while self.link.is_connected() && !self.link.input.is_empty() {
            // Messages are told from replies by what is in them.
            let whole = self.state.is_limited() || self.link.expect.front() != Some(&Expect::Slot);
            let hold = if whole { usize::MAX } else { LARGE };
            match self.link.framer.next_piece(&mut self.link.input, hold) {
                Ok(Some(Piece::Whole(reply))) => self.take(shard, reply, now),
                Ok(Some(Piece::Part(part))) => self.take_part(part),
                Ok(None) => return,
                Err(_) => self.lose(shard),
            }
        }
    }

    fn take(&mut self, shard: &Shard, reply: Reply, now: Instant) {
        if self.is_message(&reply) {
            if !matches!(self.link.phase, Phase::Draining { .. }) {
                self.pass_on(reply.into_raw());
            }
            return;
        }
        let Some(expect) = self.link.expect.pop_front() else {
            // What the engine says before it closes a connection.
            return self.lose(shard);
        };
        let fine = match expect {
            Expect::Slot => {
                self.answer_slot(shard, reply, now);
                true
            }
            Expect::Auth if reply.is_error() => {
                return if self.link.phase == Phase::Handshake {
                    self.connect_failed(shard);
                } else {
                    self.lose(shard);
                };
            }
            Expect::Auth => true,
            Expect::Restore { needed: true, .. }
                if self.link.user.is_some() && reply.error_code() == Some("NOPERM") =>
            {
                // It may not be any more what it has become; an engine would have let it stay.
                self.closing = Closing::Now;
                return;
            }
            Expect::Restore { frames, needed } => {
                if frames > 1 && !reply.is_error() {
                    let rest = Expect::Restore { frames: frames - 1, needed };
                    self.link.expect.push_front(rest);
                }
                !(needed && reply.is_error())
            }
            // A command that this engine refuses to queue fails the transaction by itself.
            Expect::Rebuild => !reply.error_code().is_some_and(refused_by_role),
            Expect::Discard => {
                self.transaction.end();
                self.state.unwatch();
                true
            }
            Expect::EngineId => {
                self.link.engine_id = reply.value().ok().and_then(|id| id.as_int());
                true
            }
            Expect::Nothing => true,
            Expect::Wait { proof } => self.wait_reply(proof, &reply),
            Expect::Role { proof, first } => self.role_reply(shard, proof, first, &reply, now),
        };
        if !fine {
            let lane = self.link.lane.clone();
            if self.link.phase == Phase::Handshake {
                return self.connect_failed(shard);
            }
            self.lose(shard);
            if let Some(lane) = lane {
                shard.mark_down(&lane);
            }
        } else if self.link.phase == Phase::Handshake && self.link.expect.is_empty() {
            self.become_ready();
        }
    }

    /// A message leaves where the engine has put it: whoever is told that a value is void before being
    /// told the value keeps it for ever.
    fn pass_on(&mut self, message: Bytes) {
        // What the proxy answers itself may stand behind the engine's last reply already.
        let own = |slot: &Slot| matches!(slot, Slot::Answer(answer) if !answer.message);
        let mut place = self.cursor;
        while place > 0 && self.slots.get(place - 1).is_some_and(own) {
            place -= 1;
        }
        if place == 0 {
            return self.client_out.push(message);
        }
        self.withheld += message.len();
        let message = Answer { bytes: message, message: true, ..Answer::default() };
        self.slots.insert(place, Slot::Answer(message));
        self.cursor += 1;
    }

    /// Whether a frame answers no request.
    fn is_message(&self, reply: &Reply) -> bool {
        match reply.kind() {
            Kind::Push => {
                let confirms = first_word(reply.raw()).ends_with(b"subscribe");
                !(confirms && self.awaits_confirmation())
            }
            Kind::Array if self.state.is_limited() => {
                matches!(first_word(reply.raw()), b"message" | b"pmessage" | b"smessage")
            }
            Kind::Simple if self.state.monitor => {
                reply.raw().get(1).is_some_and(u8::is_ascii_digit)
            }
            _ => false,
        }
    }

    fn awaits_confirmation(&self) -> bool {
        match (self.link.expect.front(), self.slots.get(self.cursor)) {
            (Some(Expect::Restore { .. }), _) => true,
            (Some(Expect::Slot), Some(Slot::Flight(flight))) => {
                flight.role == Role::Plain
                    && matches!(flight.pending.class, Class::Subscribe(_) | Class::Unsubscribe(_))
            }
            _ => false,
        }
    }

    pub(super) fn answer_slot(&mut self, shard: &Shard, reply: Reply, now: Instant) {
        let reply = self.put_together(reply);
        self.weigh(reply.raw().len());
        let lane_primary = self.lane().is_some_and(|lane| lane.primary);
        let draining = self.is_draining();
        let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) else {
            return self.lose(shard);
        };
        let passed = flight.passed;
        self.usual_reply = (self.usual_reply * 7 + passed + reply.raw().len()) / 8;
        let refused = reply.is_error()
            && is_refused(&reply, flight, &self.endpoint.kind)
            && (lane_primary || reply.error_code() != Some("READONLY"));
        if (draining || refused) && passed == 0 {
            // Followers are in doubt as well: their order with this one counts.
            flight.reply = Some(rewrite::error(reply.into_raw()));
            flight.refused = refused;
            self.step_cursor();
            return self.drain(now);
        }
        let raw = match self.collect(shard, reply) {
            // What is left of a large one is a piece of data.
            Some(raw) if passed > 0 => raw,
            Some(raw) => rewrite::error(raw),
            None => return,
        };
        let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) else { return };
        let raw = match flight.role {
            Role::Exec if flight.heard && flight.pending.is_mute() => mute::confirmations(&raw),
            _ => raw,
        };
        flight.heard |= flight.role == Role::Plain
            && is_subscription(flight.pending.class)
            && raw.first() != Some(&b'-');
        let blocks = flight.pending.effect.is_blocking();
        let served = blocks && flight.is_write() && !is_null_or_error(&raw);
        let seen = blocks && flight.gated && flight.pending.effect.is_read();
        self.withheld += raw.len();
        flight.reply = Some(raw);
        flight.settled = true;
        self.step_cursor();
        self.proof_wanted |= (served || seen) && self.needs_proof(shard);
    }

    fn step_cursor(&mut self) {
        self.cursor += 1;
        while self.slots.get(self.cursor).is_some_and(|slot| !slot.is_waiting()) {
            self.cursor += 1;
        }
    }

    /// Puts a reply of several frames together and lets it take effect; `None` while it is not
    /// whole.
    fn collect(&mut self, shard: &Shard, reply: Reply) -> Option<Bytes> {
        let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) else { return None };
        let is_error = reply.is_error();
        if let Some(partial) = &mut flight.partial {
            let (frames, missing) = &mut **partial;
            frames.extend_from_slice(reply.raw());
            *missing -= 1;
            if *missing > 0 {
                self.link.expect.push_front(Expect::Slot);
                return None;
            }
            let whole = std::mem::take(frames).freeze();
            if flight.role == Role::Plain {
                let flight_pending = flight.pending.clone();
                self.state.apply(&flight_pending);
            }
            return Some(whole);
        }
        let (raw, more) = match flight.role {
            Role::Exec => self.settle_exec(shard, reply.into_raw()),
            _ => {
                let more = match flight.role {
                    Role::Plain if !is_error => self.state.confirmations(&flight.pending) - 1,
                    _ => 0,
                };
                (reply.into_raw(), more)
            }
        };
        if more > 0 {
            if let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) {
                flight.partial = Some(Box::new((BytesMut::from(&raw[..]), more)));
            }
            self.link.expect.push_front(Expect::Slot);
            return None;
        }
        Some(self.settle(shard, raw, is_error))
    }

    /// Lets a whole reply take effect; what the client is to see of it.
    fn settle(&mut self, shard: &Shard, raw: Bytes, is_error: bool) -> Bytes {
        let Some(Slot::Flight(flight)) = self.slots.get(self.cursor) else { return raw };
        let pending = &flight.pending;
        match &flight.role {
            Role::Plain if is_error => raw,
            Role::Plain => {
                self.state.apply(pending);
                rewritten(shard, pending.class, &self.state, raw)
            }
            Role::Multi => {
                if is_error {
                    self.forward.multi = false;
                } else {
                    self.transaction.begin(pending.request.raw());
                }
                raw
            }
            Role::Queued => {
                if is_error {
                    self.transaction.failed = true;
                } else {
                    let before = self.transaction.failed;
                    self.transaction.queue(pending, self.limits.transaction_bytes);
                    // What is being forwarded may be the next transaction already.
                    let rest = self.slots.iter().skip(self.cursor);
                    let begins = |slot: &Slot| matches!(slot, Slot::Flight(flight) if flight.role == Role::Multi);
                    self.forward.failed |=
                        self.transaction.failed && !before && !rest.into_iter().any(begins);
                }
                raw
            }
            Role::Instead(answer) => {
                let answer = answer.map(Bytes::from_static);
                self.transaction.end();
                self.state.unwatch();
                answer.unwrap_or_else(|| nil(self.state.version))
            }
            Role::Discard => {
                self.transaction.end();
                self.state.unwatch();
                raw
            }
            Role::Exec | Role::Side => raw,
        }
    }

    /// Takes in EXEC's answer: its bytes for the client, and how many frames follow it. (An engine
    /// counts a SUBSCRIBE within it as one element however many confirmations it sends.)
    fn settle_exec(&mut self, shard: &Shard, raw: Bytes) -> (Bytes, usize) {
        let special = self.transaction.end();
        self.state.unwatch();
        let names = shard.names_users.get() && rewrite::names_a_lane(&raw);
        let named = names && raw.first() == Some(&b'*');
        if (special.is_empty() && !named) || raw.first() != Some(&b'*') || raw.starts_with(b"*-1") {
            return (raw, 0);
        }
        let Some(mut parts) = transaction::elements(&raw) else { return (raw, 0) };
        let confirms = |entry: &Special| is_subscription(entry.pending.class);
        let heard = special.iter().any(confirms);
        if let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor) {
            flight.heard = heard;
        }
        let mut more = 0;
        for entry in special {
            let frames = self.state.confirmations(&entry.pending);
            if let Some(part) = parts.get_mut(entry.index + more) {
                if entry.pending.class == Class::ClientKill {
                    let answer = self.kill(&entry.pending, shard, Instant::now());
                    *part = answer.bytes;
                    if answer.closes {
                        self.card.kill();
                    }
                } else if entry.pending.class == Class::ClientGetredir {
                    *part = self.redirection();
                } else if let Some(instead) = entry.instead {
                    *part = instead;
                } else if part.first() != Some(&b'-') {
                    *part = rewritten(shard, entry.pending.class, &self.state, part.clone());
                    self.state.apply(&entry.pending);
                }
            } else if frames > 0 {
                self.state.apply(&entry.pending);
            }
            more += frames.saturating_sub(1);
        }
        if named {
            parts.iter_mut().for_each(|part| *part = rewrite::error(std::mem::take(part)));
        }
        (transaction::array(&parts), more)
    }

    fn note_uncertain(&self, reply: &[u8]) {
        if reply.starts_with(b"-UNCERTAIN ") {
            meter::add(&self.endpoint.meter.uncertain, 1);
        }
    }

    /// Measures a request that is answered, and did not wait for data.
    pub(super) fn note_time(&self, request: &Request, parsed: Instant, now: Instant) {
        let meter = &self.endpoint.meter;
        let time = now.saturating_duration_since(parsed);
        if meter.took(time) && meter.is_notable(time, now) {
            let name = self.state.name().cloned().unwrap_or_default();
            meter.remember(time, request, self.card.from, &name);
        }
    }

    /// Lets go of every reply whose turn it is; whether there was one.
    pub(super) fn release(&mut self, shard: &Shard, now: Instant) -> bool {
        let before = self.slots.len();
        let withholding = self.shared.is_some() || self.is_proving() || self.proof_wanted;
        while self.closing == Closing::No {
            match self.slots.front() {
                None => break,
                Some(Slot::Flight(flight)) => {
                    // What came while the upstream was given up is only evidence.
                    if !flight.settled || (flight.gated && withholding) {
                        break;
                    }
                }
                Some(Slot::Answer(_)) => {}
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.cursor = self.cursor.saturating_sub(1);
            match slot {
                Slot::Answer(answer) => {
                    self.withheld = self.withheld.saturating_sub(answer.bytes.len());
                    if answer.fails && self.transaction.is_open() {
                        self.transaction.failed = true;
                    }
                    if answer.nil {
                        self.client_out.push(nil(self.state.version));
                    }
                    self.note_uncertain(&answer.bytes);
                    self.client_out.push(answer.bytes);
                    if answer.closes {
                        self.closing = Closing::Flushed;
                    }
                }
                Slot::Flight(flight) => {
                    self.load = self.load.saturating_sub(flight.pending.size());
                    let reply = flight.reply.unwrap_or_default();
                    self.withheld = self.withheld.saturating_sub(reply.len());
                    self.note_uncertain(&reply);
                    let pending = &flight.pending;
                    if pending.effect.is_blocking() {
                        // Who waits for data is not slow.
                        let time = now.saturating_duration_since(pending.parsed);
                        self.endpoint.meter.took(time);
                    } else {
                        self.note_time(&pending.request, pending.parsed, now);
                    }
                    if let Some(lane) = self.lane().filter(|lane| lane.primary) {
                        shard.note_released(lane.epoch);
                    }
                    if !flight.pending.is_mute() || flight.heard {
                        self.leave_astray(&reply);
                        self.client_out.push(reply);
                    }
                }
            }
        }
        self.slots.len() < before
    }
}

/// Whether an engine that is not what it should be has refused a request, so that it was not
/// executed. A node's own endpoint shows what the node says.
fn is_refused(reply: &Reply, flight: &Flight, kind: &EndpointKind) -> bool {
    if matches!(kind, EndpointKind::Node(_)) {
        return false;
    }
    let Some(code) = reply.error_code() else { return false };
    let text = reply.error_text().unwrap_or_default();
    if flight.role == Role::Exec {
        return code == "EXECABORT"
            && ["READONLY ", "LOADING ", "MASTERDOWN "]
                .iter()
                .any(|reason| contains(text, &format!("because of: {reason}")));
    }
    if !refused_by_role(code) {
        return false;
    }
    match code {
        // CLIENT UNBLOCK is for the client to see.
        "UNBLOCKED" => contains(text, "force unblock"),
        // A script may make up any error. These are the engine's own and come before it has written
        // anything; one that an engine repeats although it is still the right one is made up too.
        _ if flight.pending.class == Class::Script => {
            flight.pending.losses < MOST_SCRIPT_REFUSALS
                && (text.starts_with(b"READONLY You can't write against a read only replica")
                    || contains(text, "is loading the dataset in memory"))
        }
        _ => true,
    }
}

/// Whether the answer is a confirmation, which even somebody hears who wants no replies.
fn is_subscription(class: Class) -> bool {
    matches!(class, Class::Subscribe(_) | Class::Unsubscribe(_))
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

/// The word that says what a push or a message of RESP2 is.
fn first_word(raw: &[u8]) -> &[u8] {
    raw.split(|byte| *byte == b'\n')
        .nth(2)
        .and_then(|line| line.strip_suffix(b"\r"))
        .unwrap_or_default()
}

fn is_null_or_error(raw: &[u8]) -> bool {
    matches!(raw.first(), Some(b'-' | b'_')) || raw.starts_with(b"*-1") || raw.starts_with(b"$-1")
}

/// A list that is none: an EXEC that was aborted.
fn nil(version: Version) -> Bytes {
    Bytes::from_static(match version {
        Version::Resp2 => b"*-1\r\n",
        Version::Resp3 => b"_\r\n",
    })
}

fn rewritten(shard: &Shard, class: Class, state: &State, raw: Bytes) -> Bytes {
    match class {
        Class::Info => shard.route().map_or(raw.clone(), |route| {
            rewrite::info(&raw, rewrite::Neighbours { route: &route, host: shard.identity.address })
        }),
        Class::Role => shard.route().map_or(raw.clone(), |route| {
            let around = rewrite::Neighbours { route: &route, host: shard.identity.address };
            rewrite::role(&raw, around, state.version)
        }),
        Class::WhoAmI => rewrite::user(raw),
        Class::TrackingInfo => rewrite::redirect(raw, state.redirect()),
        _ => raw,
    }
}
