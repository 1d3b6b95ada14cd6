//! From the queue to the upstream: what may go, in which form, and what is answered on the way.
//!
//! Everything that one read has brought leaves in one write. In a `sync` shard such a batch is
//! followed by the question whether everybody has it, and nothing else is sent before the answer;
//! a batch therefore ends before a request after which the question could not be asked at once.
//!
//! Invariant: requests are forwarded in the order in which they came; none is forwarded twice
//! unless `super::fate` has put it back.
//!
//! Not here: the proof itself (`super::proof`).

use bytes::Bytes;
use tanist_core::gate::HOLD_LIMIT;
use tanist_resp::Effect;
use tokio::time::Instant;

use super::class::{Class, Pending};
use super::flight::{Answer, Expect, Flight, Item, Role, Slot};
use super::large::Flow;
use super::mute::Hearing;
use super::{Closing, Pause, Session, Stop, local, transaction};
use crate::shard::{EndpointKind, Shard};
use crate::text;

/// What to do with the first request of the queue.
pub(super) enum Step {
    Answer(Answer),
    Forward,
    /// Send it to the primary's own endpoint.
    Side,
    Stop(Stop),
}

impl Session {
    /// Forwards what may be forwarded.
    pub(super) fn pump(&mut self, shard: &Shard, now: Instant) {
        let mut batch_writes = false;
        self.stop = loop {
            if self.closing != Closing::No || self.flow_on(now) {
                break Stop::Busy;
            }
            match self.queue.front() {
                None => break Stop::Empty,
                Some(Item::Answer(answer)) => {
                    if answer.ends && self.is_draining() {
                        break Stop::Busy;
                    }
                    if let Some(Item::Answer(mut answer)) = self.queue.pop_front() {
                        if answer.unasked && self.hearing != Hearing::All {
                            answer.bytes = Bytes::new();
                        }
                        self.push_answer(answer);
                    }
                    continue;
                }
                // What has begun to pass has to end.
                Some(Item::Request(next)) if self.quiet && !next.streamed => break self.stop,
                Some(Item::Request(_)) => {}
            }
            let Some(Item::Request(mut pending)) = self.queue.pop_front() else {
                break Stop::Empty;
            };
            self.hearing.mark(&mut pending);
            match self.step(&pending, shard, now, batch_writes) {
                Step::Stop(stop) => {
                    self.queue.push_front(Item::Request(pending));
                    break stop;
                }
                Step::Answer(answer) => {
                    self.load = self.load.saturating_sub(pending.size());
                    if pending.streamed {
                        self.flow = Some(Flow::Swallowed);
                        self.queue.push_front(Item::Answer(answer));
                    } else {
                        self.push_answer(answer);
                    }
                }
                Step::Side => self.send_aside(pending),
                Step::Forward => batch_writes |= self.send(pending, shard, now, batch_writes),
            }
        };
        self.proof_wanted |= batch_writes;
        self.begin_wanted_proof(shard);
        if self.quiet {
            // What is held goes on being so.
            return;
        }
        match self.stop {
            Stop::Held | Stop::Connecting => {
                self.held_since.get_or_insert(now);
            }
            Stop::Empty | Stop::Busy | Stop::Paused => self.held_since = None,
        }
    }

    fn push_answer(&mut self, answer: Answer) {
        // A transaction that was refused a command cannot succeed; the engine does not know.
        self.forward.failed |= answer.fails && self.forward.multi;
        if answer.ends && self.forward.multi {
            self.forward.multi = false;
            self.forward.watch_lost = false;
            if self.link.is_connected() {
                self.push_own(&[b"DISCARD"], Expect::Discard);
            } else {
                self.transaction.end();
            }
        }
        self.withheld += answer.bytes.len();
        if self.cursor == self.slots.len() {
            self.cursor += 1;
        }
        self.slots.push_back(Slot::Answer(answer));
    }

    fn step(&mut self, pending: &Pending, shard: &Shard, now: Instant, batch_writes: bool) -> Step {
        let blocked = self.is_blocked()
            || self.is_proving()
            || self.is_window_full()
            || (self.proof_wanted && !self.forward.multi)
            || self.is_draining();
        if blocked || self.is_answer_open(pending, shard) {
            return Step::Stop(Stop::Busy);
        }
        if let Some(step) = self.log_in(pending, shard, now) {
            return step;
        }
        if let Some(answer) = self.refuse_own(pending, shard) {
            return Step::Answer(answer);
        }
        if let Some(answer) = self.answer_locally(pending, shard, now) {
            return Step::Answer(answer);
        }
        if self.is_paused(pending, now) {
            return Step::Stop(Stop::Paused);
        }
        if self.endpoint.kind == EndpointKind::Reader && !self.forward.multi {
            if pending.flagged_write {
                return Step::Answer(Answer::to(pending, text::READONLY));
            }
            let at_primary = self.lane().is_some_and(|lane| lane.primary);
            if pending.class == Class::Publish && !at_primary {
                let idle = self.slots.is_empty();
                return if idle { Step::Side } else { Step::Stop(Stop::Busy) };
            }
        }
        if let Some(step) = self.answer_unconnected(pending, shard) {
            return step;
        }
        let own = self.wants_own(pending, shard, now);
        let ready = if own {
            self.make_own_ready(shard)
        } else {
            self.make_shared_ready(shard, pending.effect.is_write())
        };
        if let Some(stop) = ready.stop() {
            return Step::Stop(stop);
        }
        if pending.changes_keys && self.leads_to_primary() && !shard.is_writable() {
            let mut answer = Answer::to(pending, text::NOREPLICAS);
            answer.fails = self.forward.multi;
            return Step::Answer(answer);
        }
        if batch_writes && self.ends_batch(pending) {
            return Step::Stop(Stop::Busy);
        }
        Step::Forward
    }

    /// Whether something in flight keeps the connection to itself.
    fn is_blocked(&self) -> bool {
        match self.slots.back() {
            Some(Slot::Flight(flight)) => {
                flight.is_parked() || (flight.role == Role::Side && flight.reply.is_none())
            }
            _ => false,
        }
    }

    /// Whether something in flight decides who answers this, the proxy or the engine, or whether it has
    /// to be proven: after a SUBSCRIBE most requests are refused in RESP2, and nothing can be asked.
    fn is_answer_open(&self, pending: &Pending, shard: &Shard) -> bool {
        let local = matches!(
            pending.class,
            Class::Auth
                | Class::Hello
                | Class::WhoAmI
                | Class::Pause
                | Class::Unpause
                | Class::ClientId
                | Class::ClientInfo
                | Class::ClientList
                | Class::ClientKill
                | Class::ClientUnblock
                | Class::ClientGetredir
                | Class::ReplyMode
        );
        let shown = pending.class.shows_connections();
        let decides = |slot: &Slot| match slot {
            Slot::Flight(flight) if !flight.settled => match flight.role {
                Role::Plain => match flight.pending.class {
                    Class::Subscribe(_) | Class::Unsubscribe(_) | Class::Hello => true,
                    class => shown && class.changes_connection(),
                },
                Role::Exec => true,
                _ => false,
            },
            _ => false,
        };
        let concerned = local || (pending.effect.is_write() && shard.is_sync());
        concerned && !self.forward.multi && self.slots.iter().any(decides)
    }

    /// Whether a batch with a write ends before this request: nothing could be asked of the engine
    /// right after it, or reads of the batch could not be repeated.
    fn ends_batch(&self, pending: &Pending) -> bool {
        !self.forward.multi
            && (pending.effect.is_blocking()
                || matches!(pending.effect, Effect::Connection | Effect::Subscription))
    }

    fn is_paused(&self, pending: &Pending, now: Instant) -> bool {
        let Some(pause) = self.endpoint.pause.get() else { return false };
        if pause.until <= now {
            self.endpoint.pause.set(None);
            return false;
        }
        !pause.writes_only || pending.effect.is_write()
    }

    /// The answer to a request that no engine has to see.
    fn answer_locally(&mut self, pending: &Pending, shard: &Shard, now: Instant) -> Option<Answer> {
        if self.forward.doomed
            && let Some(bytes) = self.answer_doomed(pending)
        {
            return Some(Answer::to(pending, Bytes::from_static(bytes)));
        }
        let multi = self.forward.multi;
        let denied = |name| Answer { fails: multi, ..Answer::to(pending, text::noperm(name)) };
        // While only subscriptions are allowed, the engine says so.
        let limited = self.state.is_limited();
        let bytes: &'static [u8] = match pending.class {
            // Nearly all.
            Class::Plain | Class::Script => return None,
            Class::Denied(_) if shard.identity.pass_through => return None,
            Class::Denied(name) => return Some(denied(name)),
            Class::Quit => {
                return Some(Answer { closes: true, ..Answer::to(pending, text::OK) });
            }
            Class::Pause if multi => return Some(denied("client|pause")),
            Class::Unpause if multi => return Some(denied("client|unpause")),
            Class::ReplyMode if multi => return Some(denied("client|reply")),
            // Somebody waits whom only the engine can wake, and it has other numbers.
            Class::ClientUnblock if multi && self.finds_waiting(pending) => {
                return Some(denied("client|unblock"));
            }
            _ if !multi && !limited && pending.name.starts_with("client|") => {
                return self.answer_client(pending, shard, now);
            }
            Class::MaintNotifications if !multi && !limited => {
                self.answer_notices(pending, shard)?
            }
            Class::WhoAmI if !multi && !limited && self.who.lane_user().is_none() => text::WHOAMI,
            _ => return None,
        };
        Some(Answer::to(pending, Bytes::from_static(bytes)))
    }

    /// The answer to a `CLIENT` that no engine has to see.
    fn answer_client(&mut self, pending: &Pending, shard: &Shard, now: Instant) -> Option<Answer> {
        let bytes = match pending.class {
            Class::Pause => self.pause(pending, now),
            Class::Unpause => {
                self.endpoint.pause.set(None);
                shard.changed();
                text::OK
            }
            Class::ReplyMode => return self.answer_reply_mode(pending),
            _ => return self.answer_clients(pending, shard, now),
        };
        Some(Answer::to(pending, Bytes::from_static(bytes)))
    }

    /// The answer within a transaction that no engine knows of any more.
    fn answer_doomed(&mut self, pending: &Pending) -> Option<&'static [u8]> {
        match pending.class {
            Class::Quit => None,
            Class::Reset => {
                self.forward.doomed = false;
                None
            }
            Class::Exec | Class::Discard => {
                self.forward.doomed = false;
                self.forward.watch_lost = false;
                Some(if pending.class == Class::Exec { text::EXECABORT_CHANGED } else { text::OK })
            }
            _ => Some(text::QUEUED),
        }
    }

    fn pause(&self, pending: &Pending, now: Instant) -> &'static [u8] {
        match local::pause(&pending.request) {
            Err(text) => text,
            Ok((time, writes_only)) => {
                // As in the engine: the later end and the stricter mode win.
                let before = self.endpoint.pause.get().filter(|pause| pause.until > now);
                let until = before.map_or(now + time, |before| before.until.max(now + time));
                let writes_only = writes_only && before.is_none_or(|before| before.writes_only);
                self.endpoint.pause.set(Some(Pause { until, writes_only }));
                text::OK
            }
        }
    }

    fn send_aside(&mut self, pending: Pending) {
        self.side = Some(pending.request.raw().clone());
        self.push_flight(pending, Role::Side, 0, false);
    }

    /// The primary's own endpoint has answered, or could not be asked.
    pub(crate) fn side_done(&mut self, shard: &Shard, reply: Option<Bytes>) {
        let bytes = reply.unwrap_or_else(|| {
            shard.note_uncertain();
            text::uncertain(shard.epoch(), None)
        });
        if let Some(Slot::Flight(flight)) = self.slots.get_mut(self.cursor)
            && flight.role == Role::Side
        {
            self.withheld += bytes.len();
            flight.reply = Some(bytes);
            flight.settled = true;
            self.cursor += 1;
        }
    }

    /// Forwards a request; whether a proof has to follow the batch.
    fn send(
        &mut self,
        mut pending: Pending,
        shard: &Shard,
        now: Instant,
        batch_writes: bool,
    ) -> bool {
        if self.shared.is_some() {
            self.send_shared(pending, shard);
            return false;
        }
        let (role, raw) = self.wire_form(&mut pending, shard, now);
        // Within a transaction WAIT counts what was written before it.
        let waits = role == Role::Multi || role == Role::Plain && pending.effect == Effect::Wait;
        if waits && std::mem::take(&mut self.wrote_elsewhere) {
            // The client's writes went over another connection, and WAIT counts its own. This goes
            // to all replicas, behind everything that was written before.
            self.push_word();
        }
        self.link.wrote |= role == Role::Exec || pending.effect.is_write();
        self.link.expect.push_back(Expect::Slot);
        let end = if pending.streamed {
            self.flow = Some(Flow::Sent);
            // Its end is not known yet.
            u64::MAX
        } else {
            self.link.out.push(raw);
            self.link.out.pushed()
        };
        let parks = role == Role::Plain && pending.effect.is_blocking();
        let reads = role == Role::Plain && pending.effect.is_read() && self.proves_reads(shard);
        let gates = self.push_flight(pending, role, end, batch_writes || reads) || reads;
        // A request that waits for data is asked about when it has been served.
        gates && !parks && self.needs_proof(shard)
    }

    /// Puts a request into the order of replies; whether it is a write.
    pub(super) fn push_flight(
        &mut self,
        pending: Pending,
        role: Role,
        end: u64,
        gated: bool,
    ) -> bool {
        let mut flight = Flight::new(pending, role, end);
        let writes = flight.is_write();
        flight.gated = gated || writes;
        self.slots.push_back(Slot::Flight(flight));
        writes
    }

    /// What a request is to the transaction around it, and the bytes to send for it.
    fn wire_form(&mut self, pending: &mut Pending, shard: &Shard, now: Instant) -> (Role, Bytes) {
        let raw = pending.request.raw().clone();
        let forward = &mut self.forward;
        if !forward.multi {
            match pending.class {
                Class::Multi => {
                    forward.multi = true;
                    (forward.failed, forward.changes_keys) = (false, false);
                    forward.subscribes = false;
                    return (Role::Multi, raw);
                }
                Class::Unwatch => forward.watch_lost = false,
                Class::Hello if !self.state.is_limited() => {
                    return (Role::Plain, local::hello(&pending.request));
                }
                Class::ClientUnblock | Class::Tracking => {
                    return (Role::Plain, self.by_engine_id(pending).unwrap_or(raw));
                }
                _ if pending.effect.is_blocking() => {
                    let raw = pending.blocking_form(now);
                    pending.started.get_or_insert(now);
                    return (Role::Plain, raw);
                }
                _ => {}
            }
            return (Role::Plain, raw);
        }
        match pending.class {
            Class::Exec => {
                forward.multi = false;
                let starved = forward.changes_keys && !shard.is_writable();
                let instead = if forward.failed {
                    Some(Some(text::EXECABORT))
                } else if forward.watch_lost {
                    Some(None)
                } else if starved && self.leads_to_primary() {
                    Some(Some(text::EXECABORT_NOREPLICAS))
                } else {
                    None
                };
                self.forward.watch_lost = false;
                match instead {
                    Some(answer) => {
                        (Role::Instead(answer), tanist_resp::Command::new("DISCARD").encode())
                    }
                    None => (Role::Exec, raw),
                }
            }
            Class::Discard => {
                (forward.multi, forward.watch_lost) = (false, false);
                (Role::Discard, raw)
            }
            _ if pending.is_bad_exec() => {
                forward.multi = false;
                forward.watch_lost = false;
                (Role::Exec, raw)
            }
            // An error, which the engine has the words for.
            Class::Multi | Class::Watch => (Role::Plain, raw),
            _ => {
                forward.changes_keys |= pending.changes_keys;
                forward.subscribes |= matches!(pending.class, Class::Subscribe(_) | Class::Hello);
                self.prepare_queued(pending, shard, now);
                (Role::Queued, transaction::queued_form(pending).0)
            }
        }
    }

    /// Finds out what is to be answered here when the transaction is executed.
    fn prepare_queued(&mut self, pending: &mut Pending, shard: &Shard, now: Instant) {
        pending.own_lane = self.who.lane_user().is_some();
        pending.login = self.log_in_queued(pending, shard);
        pending.instead = self.answer_queued(pending, shard, now);
    }

    /// Answers what has been held for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(since) = self.held_since else { return };
        if self.held_from(since).is_none_or(|from| from + HOLD_LIMIT > now) {
            return;
        }
        let reads = self.endpoint.kind == EndpointKind::Reader;
        let text = if reads { text::TRYAGAIN_READER } else { text::TRYAGAIN };
        let mut in_transaction = false;
        for item in &mut self.queue {
            let Item::Request(pending) = item else { continue };
            // What a refused MULTI was to hold together must not run by itself.
            if !in_transaction && pending.parsed.max(since) + HOLD_LIMIT > now {
                break;
            }
            match pending.class {
                Class::Multi if !self.forward.multi => in_transaction = true,
                Class::Exec | Class::Discard => in_transaction = false,
                _ => {}
            }
            self.load = self.load.saturating_sub(pending.size());
            self.hearing.mark(pending);
            if pending.streamed {
                self.flow = Some(Flow::Swallowed);
            }
            let mut answer = Answer::to(pending, text);
            answer.fails = true;
            answer.ends = matches!(pending.class, Class::Exec | Class::Discard);
            *item = Item::Answer(answer);
        }
    }
}
