//! What proxies have measured at a group's endpoints, asked for when somebody wants to know.
//!
//! Proxies measure all the time and say nothing: a hundred groups' numbers five times a second would
//! be more work than the failovers that they are about.
//!
//! Invariant: no answer waits longer than [`PATIENCE`]; one that lacks a proxy's numbers names it.
//!
//! Not here: measuring (`tanist-proxy`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{Instant, ProxyId};
use tanist_link::api::EndpointsStatus;
use tanist_link::wire::{Meters, ShardMeters};

use crate::inputs::Reply;

/// How long proxies may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Slow requests that an endpoint's answer has at most.
const MOST_SLOW: usize = 128;

#[derive(Debug)]
struct Waiting {
    number: u64,
    proxies: BTreeSet<ProxyId>,
    until: Instant,
    found: BTreeMap<SocketAddr, Meters>,
    reply: Reply<EndpointsStatus>,
}

impl Waiting {
    fn take(&mut self, shards: Vec<ShardMeters>) {
        for meters in shards.into_iter().flat_map(|shard| shard.endpoints) {
            match self.found.get_mut(&meters.address) {
                Some(known) => add(known, meters),
                None => {
                    self.found.insert(meters.address, meters);
                }
            }
        }
    }

    fn answer(self) {
        let endpoints = self.found.into_values().collect();
        let silent = self.proxies.into_iter().collect();
        // A caller that has gone away needs no answer.
        let _ = self.reply.send(Ok(EndpointsStatus { endpoints, silent }));
    }
}

/// Adds what another proxy has measured at the same endpoint.
fn add(known: &mut Meters, other: Meters) {
    known.clients += other.clients;
    known.requests += other.requests;
    known.held += other.held;
    known.replayed += other.replayed;
    known.uncertain += other.uncertain;
    known.pinned += other.pinned;
    known.times.add(&other.times);
    known.slow.extend(other.slow);
    known.slow.sort_by_key(|slow| std::cmp::Reverse(slow.at_millis));
    known.slow.truncate(MOST_SLOW);
}

/// Questions that proxies have not all answered.
#[derive(Debug, Default)]
pub(crate) struct Measurements {
    waiting: Vec<Waiting>,
    last: u64,
}

impl Measurements {
    /// Somebody asks these proxies; the number to ask with.
    pub(crate) fn ask(
        &mut self,
        proxies: BTreeSet<ProxyId>,
        reply: Reply<EndpointsStatus>,
        now: Instant,
    ) -> u64 {
        self.last += 1;
        let (number, until) = (self.last, now + PATIENCE);
        self.waiting.push(Waiting { number, proxies, until, found: BTreeMap::new(), reply });
        number
    }

    /// A proxy has answered.
    pub(crate) fn hear(&mut self, proxy: &ProxyId, number: u64, shards: Vec<ShardMeters>) {
        let asked = self.waiting.iter_mut().find(|waiting| waiting.number == number);
        if let Some(waiting) = asked.filter(|waiting| waiting.proxies.contains(proxy)) {
            waiting.proxies.remove(proxy);
            waiting.take(shards);
        }
    }

    /// Gives the answers that are due.
    pub(crate) fn settle(&mut self, now: Instant) {
        let due = |waiting: &mut Waiting| waiting.proxies.is_empty() || now >= waiting.until;
        for waiting in self.waiting.extract_if(.., due) {
            waiting.answer();
        }
    }
}

#[cfg(test)]
mod tests {
    use tanist_core::model::ShardKey;
    use tanist_link::wire::Times;
    use tokio::sync::oneshot;

    use super::*;

    fn measured(requests: u64) -> Vec<ShardMeters> {
        let meters = Meters {
            address: SocketAddr::from(([127, 80, 1, 1], 6379)),
            kind: "primary".to_owned(),
            clients: 1,
            requests,
            held: 0,
            replayed: 0,
            uncertain: 0,
            pinned: 0,
            times: Times(vec![requests]),
            slow: Vec::new(),
        };
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        vec![ShardMeters { key, endpoints: vec![meters] }]
    }

    #[test]
    fn the_numbers_of_several_proxies_are_one_endpoints() {
        let now = Instant::from_millis(1000);
        let (reply, mut answer) = oneshot::channel();
        let mut measurements = Measurements::default();
        let proxies = BTreeSet::from(["p1".into(), "p2".into()]);
        let number = measurements.ask(proxies, reply, now);
        measurements.hear(&"p1".into(), number, measured(3));
        measurements.hear(&"p1".into(), number, measured(3));
        measurements.settle(now);
        assert!(answer.try_recv().is_err(), "one is missing");
        measurements.hear(&"p2".into(), number, measured(4));
        measurements.settle(now);
        let answer = answer.try_recv().unwrap().unwrap();
        assert!(answer.silent.is_empty());
        let [only] = answer.endpoints.as_slice() else { panic!("{answer:?}") };
        assert_eq!((only.requests, only.clients, only.times.count()), (7, 2, 7));
    }

    #[test]
    fn a_proxy_that_is_silent_is_named_and_not_waited_for_any_longer() {
        let now = Instant::from_millis(1000);
        let (reply, mut answer) = oneshot::channel();
        let mut measurements = Measurements::default();
        measurements.ask(BTreeSet::from(["p1".into()]), reply, now);
        measurements.settle(now + PATIENCE);
        assert_eq!(answer.try_recv().unwrap().unwrap().silent, ["p1".into()]);
    }
}
