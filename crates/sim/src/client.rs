//! Clients: each writes to a key of its own, one write after the other, through any proxy.
//!
//! Invariant: a client sends a write once; whoever sends it again is at fault.
//!
//! Not here: what its answers mean (core's `ledger`).

use tanist_core::ledger::Answer;
use tanist_core::model::{Epoch, Instant};

use crate::config::{MILLI, SECOND};
use crate::history::WriteId;
use crate::proxy::Request;
use crate::world::{Event, World};

/// One writer.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: u64,
    pub(crate) seat: usize,
    pub(crate) waiting: Option<WriteId>,
}

impl World {
    pub(crate) fn client_sends(&mut self, client: usize) {
        if self.clients[client].waiting.is_some() || self.now + SECOND > self.config.end {
            return;
        }
        let first = self.clients[client].seat;
        let seats = self.proxies.len();
        let seat = (0..seats).map(|n| (first + n) % seats).find(|seat| self.proxies[*seat].up);
        let Some(seat) = seat else {
            return self.after(100 * MILLI, Event::ClientSends { client });
        };
        let now = Instant::from_micros(self.now);
        let write = self.judge.sent(self.clients[client].key, now);
        self.clients[client].waiting = Some(write);
        self.proxies[seat].queue.push_back(Request { client, write, since: self.now });
        self.forward(seat);
    }

    fn next_write(&mut self, client: usize, pause: u64) {
        self.clients[client].waiting = None;
        self.after(pause, Event::ClientSends { client });
    }

    pub(crate) fn answer_client(&mut self, request: Request, answer: Answer) {
        self.judge.answered(request.write, answer, Instant::from_micros(self.now));
        if answer != Answer::Acked {
            // As clients do: another address may serve.
            self.clients[request.client].seat += 1;
        }
        let pause = self.dice.range(self.config.think / 2, self.config.think * 3 / 2);
        self.next_write(request.client, pause);
    }

    /// The reply of a lane of `epoch` goes out.
    pub(crate) fn acknowledge_client(&mut self, request: Request, epoch: Epoch) {
        self.judge_acknowledgement(request.write, epoch.0);
        self.answer_client(request, Answer::Acked);
    }

    pub(crate) fn client_disconnected(&mut self, request: Request) {
        self.judge.disconnected();
        let client = request.client;
        self.clients[client].seat += 1;
        self.next_write(client, 20 * MILLI);
    }
}
