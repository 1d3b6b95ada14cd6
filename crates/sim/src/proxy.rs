//! Proxies: core's gate, one lane, one batch outstanding, and what becomes of requests.
//!
//! A batch is `cmds, ROLE, WAIT, ROLE` on one connection; a `sync` write's reply is withheld until
//! the last ROLE proves it. A proxy that restarts is a new proxy with a new id: what an old one had
//! learned must not be forgotten under the same name.
//!
//! Invariant: a request that the engine may have executed is never sent again.
//!
//! Not here: the gate's judgment (core's `gate`).

use std::collections::VecDeque;
use std::rc::Rc;

use tanist_core::gate::{
    Effect, Fate, Gate, HOLD_LIMIT, Learned, Pass, Sent, fate, proven, refused_by_role,
};
use tanist_core::ledger::Answer;
use tanist_core::model::{Durability, Epoch, Offset, ProxyId, Route, RouteState};

use crate::bugs::Bug;
use crate::config::MILLI;
use crate::controller::{ControllerMsg, News};
use crate::engine::{Ask, EngineMsg, Lane};
use crate::history::WriteId;
use crate::net::Place;
use crate::world::{Event, World};

/// Questions that follow each other at once, before the pauses between them get longer.
const QUICK_QUESTIONS: u32 = 4;

/// Bytes or news for a proxy.
#[derive(Debug)]
pub(crate) struct ProxyMsg {
    pub(crate) seat: usize,
    pub(crate) number: usize,
    /// The engine's host, for bytes of a lane.
    pub(crate) from: Option<usize>,
    pub(crate) lane: usize,
    pub(crate) news: ProxyNews,
}

#[derive(Debug)]
pub(crate) enum ProxyNews {
    Route(Rc<Route>),
    Connected,
    Closed,
    Refused {
        batch: u64,
        code: &'static str,
    },
    Role {
        batch: u64,
        position: u64,
        is_primary: bool,
        acked: Vec<(Rc<str>, u64)>,
        /// What WAIT returned.
        count: usize,
    },
}

/// A client's write on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) client: usize,
    pub(crate) write: WriteId,
    pub(crate) since: u64,
}

#[derive(Debug)]
struct Batch {
    number: u64,
    lane: usize,
    epoch: Epoch,
    requests: Vec<Request>,
    /// How many of them were sent to their last byte.
    whole: usize,
    /// Where the engine was after it, once it has said so.
    position: u64,
    sent_at: u64,
    /// Answers that proved nothing yet.
    asked: u32,
}

/// One proxy process.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) number: usize,
    pub(crate) up: bool,
    gate: Gate,
    route: Option<Rc<Route>>,
    lane: Option<usize>,
    ready: bool,
    dialled_at: u64,
    pub(crate) queue: VecDeque<Request>,
    batch: Option<Batch>,
    batches: u64,
    ticks: u64,
    sequence: u64,
    /// Takes no route in any more.
    pub(crate) deaf: bool,
    /// Says nothing any more.
    pub(crate) mute: bool,
}

impl World {
    /// A proxy process on a seat, with an id of its own.
    pub(crate) fn new_proxy(&mut self, seat: usize) -> Proxy {
        let number = self.proxy_ids.len();
        self.proxy_ids.push(ProxyId::new(format!("proxy-{}.{number}", seat + 1)));
        self.after(MILLI, Event::ProxyTick { seat, number });
        Proxy {
            number,
            up: true,
            gate: Gate::default(),
            route: None,
            lane: None,
            ready: false,
            dialled_at: 0,
            queue: VecDeque::new(),
            batch: None,
            batches: 0,
            ticks: 0,
            sequence: 0,
            deaf: false,
            mute: false,
        }
    }

    /// Its connections break; what it had sent may or may not happen.
    pub(crate) fn proxy_dies(&mut self, seat: usize) {
        let proxy = &mut self.proxies[seat];
        proxy.up = false;
        let batch = proxy.batch.take();
        let waiting = std::mem::take(&mut proxy.queue);
        let sent = batch.into_iter().flat_map(|batch| batch.requests);
        for request in sent.chain(waiting) {
            self.client_disconnected(request);
        }
        if let Some(lane) = self.proxies[seat].lane.take() {
            self.lanes[lane].open = false;
        }
    }

    pub(crate) fn proxy_starts(&mut self, seat: usize) {
        if !self.proxies[seat].up {
            self.proxies[seat] = self.new_proxy(seat);
        }
    }

    pub(crate) fn proxy_tick(&mut self, seat: usize, number: usize) {
        let proxy = &mut self.proxies[seat];
        if !proxy.up || proxy.number != number {
            return;
        }
        proxy.ticks += 1;
        let reports = proxy.ticks.is_multiple_of(2);
        if reports {
            self.proxy_reports(seat);
        }
        self.expire(seat);
        self.ask_again(seat);
        self.forward(seat);
        self.after(50 * MILLI, Event::ProxyTick { seat, number });
    }

    fn proxy_reports(&mut self, seat: usize) {
        let proxy = &mut self.proxies[seat];
        if proxy.mute {
            return;
        }
        proxy.sequence += 1;
        let (number, sequence, rev) = (proxy.number, proxy.sequence, proxy.gate.rev());
        let hold = proxy.gate.hold().map(|request| request.0);
        let drained = hold.filter(|_| proxy.batch.is_none());
        for to in 0..self.controllers.len() {
            self.send(Place::Proxy(seat), Place::Controller(to), || {
                let news = News::Proxy { number, sequence, rev, drained };
                Event::AtController(Box::new(ControllerMsg { to, news }))
            });
        }
    }

    /// Held for too long: "not executed". Sent for too long: nobody knows.
    fn expire(&mut self, seat: usize) {
        let now = self.now;
        let limit = HOLD_LIMIT.as_micros() as u64;
        let proxy = &mut self.proxies[seat];
        let mut held_too_long = Vec::new();
        while proxy.queue.front().is_some_and(|request| now - request.since > limit) {
            held_too_long.extend(proxy.queue.pop_front());
        }
        for request in held_too_long {
            self.answer_client(request, Answer::Failed);
        }
        if self.proxies[seat].batch.as_ref().is_some_and(|batch| now - batch.sent_at > limit) {
            self.lane_is_void(seat);
        }
    }

    pub(crate) fn at_proxy(&mut self, msg: ProxyMsg) {
        let ProxyMsg { seat, number, from, lane, news } = msg;
        let proxy = &self.proxies[seat];
        if !proxy.up || proxy.number != number {
            return;
        }
        if let Some(host) = from
            && !self.net.open(Place::Host(host), Place::Proxy(seat))
        {
            let msg = ProxyMsg { seat, number, from, lane, news };
            return self.after(100 * MILLI, Event::AtProxy(Box::new(msg)));
        }
        if from.is_some() && proxy.lane != Some(lane) {
            return;
        }
        match news {
            ProxyNews::Route(route) => self.learn_route(seat, &route),
            ProxyNews::Connected => self.proxies[seat].ready = true,
            ProxyNews::Closed => self.lane_is_void(seat),
            ProxyNews::Refused { batch, code } => self.refused(seat, batch, code),
            ProxyNews::Role { batch, position, is_primary, acked, count } => {
                self.weigh(seat, batch, position, is_primary, &acked, count);
            }
        }
        self.forward(seat);
    }

    fn learn_route(&mut self, seat: usize, route: &Rc<Route>) {
        let proxy = &mut self.proxies[seat];
        if proxy.deaf {
            return;
        }
        let (rev, hold, pass) = (proxy.gate.rev(), proxy.gate.hold(), proxy.gate.pass());
        let learned = proxy.gate.learn(route);
        if learned == Learned::Stale {
            return;
        }
        proxy.route = Some(Rc::clone(route));
        let news = (rev, hold) != (proxy.gate.rev(), proxy.gate.hold());
        if let Learned::EpochOver { below } = learned {
            let old = proxy.lane.is_some_and(|lane| self.lanes[lane].epoch < below.0);
            if old {
                self.release_unproven(seat);
                self.lane_is_void(seat);
            }
        }
        let now = self.proxies[seat].gate.pass();
        if now != pass {
            self.tell_pass(seat, now, route);
        }
        if matches!(learned, Learned::EpochOver { .. }) {
            // Whatever came of the last attempt, somebody else is dialled now.
            self.proxies[seat].dialled_at = 0;
        }
        if news {
            self.proxy_reports(seat);
            self.ask_role(seat, 0);
        }
    }

    fn tell_pass(&mut self, seat: usize, pass: Pass, route: &Route) {
        let name = self.proxy_ids[self.proxies[seat].number].clone();
        self.tell(|| match (pass, &route.state) {
            (Pass::Forward(epoch), RouteState::Serving { primary, .. }) => {
                format!("{name} forwards to {primary} in epoch {epoch}")
            }
            _ => format!("{name} holds its clients' requests"),
        });
    }

    /// The planted bug: whatever the engine has replied goes out.
    fn release_unproven(&mut self, seat: usize) {
        if !self.has(Bug::ReleaseOldEpoch) {
            return;
        }
        let Some(batch) = self.proxies[seat].batch.take() else { return };
        for request in batch.requests {
            // The replies to the commands come before that to WAIT.
            if self.was_executed(request.write) {
                self.acknowledge_client(request, batch.epoch);
            } else {
                self.answer_client(request, Answer::Uncertain);
            }
        }
    }

    /// A lane is gone: each of its requests meets its fate.
    fn lane_is_void(&mut self, seat: usize) {
        let proxy = &mut self.proxies[seat];
        proxy.lane = None;
        proxy.ready = false;
        let Some(batch) = proxy.batch.take() else { return };
        let mut replay = Vec::new();
        for (index, request) in batch.requests.into_iter().enumerate() {
            let sent = if index < batch.whole { Sent::Whole } else { Sent::NotWhole };
            let doomed = fate(Effect::Write, sent);
            match doomed {
                Fate::Replay => replay.push(request),
                Fate::Uncertain if self.has(Bug::ReplaySentWrite) => replay.push(request),
                Fate::Uncertain => self.answer_client(request, Answer::Uncertain),
            }
        }
        self.requeue(seat, replay);
    }

    fn requeue(&mut self, seat: usize, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.proxies[seat].queue.push_front(request);
        }
    }

    fn refused(&mut self, seat: usize, number: u64, code: &str) {
        let proxy = &mut self.proxies[seat];
        if proxy.batch.as_ref().is_none_or(|batch| batch.number != number) {
            return;
        }
        let Some(batch) = proxy.batch.take() else { return };
        if refused_by_role(code) {
            // Not executed: it waits for the next route, on a new lane.
            proxy.lane = None;
            proxy.ready = false;
            proxy.dialled_at = self.now;
            return self.requeue(seat, batch.requests);
        }
        for request in batch.requests {
            self.answer_client(request, Answer::Failed);
        }
    }

    /// A ROLE has come: is the batch proven?
    fn weigh(
        &mut self,
        seat: usize,
        number: u64,
        position: u64,
        is_primary: bool,
        acked: &[(Rc<str>, u64)],
        count: usize,
    ) {
        let async_group = self.is_async();
        let bug = self.config.bug;
        let proxy = &self.proxies[seat];
        let Some(batch) = proxy.batch.as_ref().filter(|batch| batch.number == number) else {
            return;
        };
        let required = proxy.gate.required();
        let acks = acked.iter().map(|(tag, offset)| (&**tag, Offset(*offset)));
        let proof = match bug {
            Some(Bug::NoProof) => true,
            Some(Bug::WaitIsProof) => count >= required.len(),
            _ => is_primary && proven(required, Offset(position), acks),
        };
        if (async_group || proof) && proxy.gate.may_release(batch.epoch) {
            if let Some(batch) = self.proxies[seat].batch.take() {
                for request in batch.requests {
                    self.acknowledge_client(request, batch.epoch);
                }
            }
            return;
        }
        let Some(batch) = &mut self.proxies[seat].batch else { return };
        batch.position = position;
        batch.asked += 1;
        if batch.asked <= QUICK_QUESTIONS {
            // WAIT was satisfied by somebody who does not count: whoever does is not far behind.
            self.ask_role(seat, 5 * MILLI);
        }
    }

    /// WAIT has a time limit: a batch that is not proven yet is asked about again and again, for the
    /// set of those who have to have it may have shrunk.
    fn ask_again(&mut self, seat: usize) {
        let sent_at = self.proxies[seat].batch.as_ref().map(|batch| batch.sent_at);
        if sent_at.is_some_and(|sent_at| self.now - sent_at >= 50 * MILLI) {
            self.ask_role(seat, 0);
        }
    }

    fn ask_role(&mut self, seat: usize, pause: u64) {
        let Some(batch) = &self.proxies[seat].batch else { return };
        let (lane, ask) = (batch.lane, Ask::Role { batch: batch.number, position: batch.position });
        let delay = self.stream_delay() + pause;
        self.after(delay, Event::AtEngine(Box::new(EngineMsg { lane, ask })));
    }

    /// Sends what waits, if it may and can.
    pub(crate) fn forward(&mut self, seat: usize) {
        let proxy = &self.proxies[seat];
        if !proxy.up || proxy.batch.is_some() || proxy.queue.is_empty() {
            return;
        }
        let Pass::Forward(epoch) = proxy.gate.pass() else { return };
        if !proxy.gate.writable() && !self.is_async() {
            let refused: Vec<Request> = self.proxies[seat].queue.drain(..).collect();
            for request in refused {
                self.answer_client(request, Answer::Failed);
            }
            return;
        }
        let lane = proxy.lane.filter(|lane| self.lanes[*lane].epoch == epoch.0);
        match lane {
            Some(lane) if proxy.ready => self.send_batch(seat, lane, epoch),
            Some(_) | None => self.dial(seat, epoch),
        }
    }

    fn dial(&mut self, seat: usize, epoch: Epoch) {
        let now = self.now;
        let proxy = &self.proxies[seat];
        if proxy.dialled_at > 0 && proxy.dialled_at + 60 * MILLI > now {
            return;
        }
        let Some(route) = &proxy.route else { return };
        let RouteState::Serving { primary, .. } = &route.state else { return };
        let address = route.nodes.iter().find(|node| node.node == *primary).map(|n| n.address);
        let slots = self.hosts.iter().flat_map(|host| &host.slots).filter_map(|slot| slot.proc);
        let proc = slots.into_iter().find(|proc| Some(self.procs[*proc].address) == address);
        let number = proxy.number;
        self.proxies[seat].dialled_at = now;
        let Some(proc) = proc else { return };
        let lane = self.lanes.len();
        self.lanes.push(Lane { seat, number, proc, epoch: epoch.0, open: true });
        let proxy = &mut self.proxies[seat];
        proxy.lane = Some(lane);
        proxy.ready = false;
        let delay = self.stream_delay();
        let msg = EngineMsg { lane, ask: Ask::Connect };
        self.after(delay, Event::AtEngine(Box::new(msg)));
    }

    fn send_batch(&mut self, seat: usize, lane: usize, epoch: Epoch) {
        let now = self.now;
        let breaks = self.config.net_loss > 0 && self.dice.chance(10);
        let async_group = self.is_async();
        let unproven = async_group || self.has(Bug::NoProof);
        let proxy = &mut self.proxies[seat];
        let size = proxy.queue.len().min(16);
        let requests: Vec<Request> = proxy.queue.drain(..size).collect();
        let whole = if breaks { size - 1 } else { size };
        let writes: Rc<[WriteId]> = requests[..whole].iter().map(|r| r.write).collect();
        proxy.batches += 1;
        let number = proxy.batches;
        let count = if unproven { 0 } else { proxy.gate.required().len() };
        proxy.batch = Some(Batch {
            number,
            lane,
            epoch,
            requests,
            whole,
            position: 0,
            sent_at: now,
            asked: 0,
        });
        let delay = self.stream_delay();
        if whole > 0 {
            let ask = Ask::Batch { batch: number, writes, count };
            self.after(delay, Event::AtEngine(Box::new(EngineMsg { lane, ask })));
        }
        if breaks {
            // The connection breaks while the last request is being written.
            self.lane_is_void(seat);
        }
    }

    /// Writes are acknowledged by the primary alone.
    pub(crate) fn is_async(&self) -> bool {
        self.config.durability == Durability::Async
    }
}
