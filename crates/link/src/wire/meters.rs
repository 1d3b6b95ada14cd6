//! What a proxy has measured at an endpoint since it began to offer it.
//!
//! Invariant: numbers only grow, so that two of these can be subtracted; those of several proxies can be
//! added.
//!
//! Not here: measuring (`tanist-proxy`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tanist_core::model::ShardKey;

/// Fractions of each power of two that are told apart.
const STEPS: u32 = 4;
/// How many times are told apart: up to 2^25 microseconds, half a minute.
pub const TIMES: usize = 25 * STEPS as usize;

/// How many requests took how long.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Times(pub Vec<u64>);

/// The place of a time, in microseconds; each is at most a quarter above the one before.
#[must_use]
pub fn place(micros: u64) -> usize {
    if micros < u64::from(STEPS) {
        return micros as usize;
    }
    let power = micros.ilog2();
    let fraction = (micros >> (power - 2)) & u64::from(STEPS - 1);
    ((power - 1) as usize * STEPS as usize + fraction as usize).min(TIMES - 1)
}

/// The longest time of a place, in microseconds.
#[must_use]
pub fn longest(place: usize) -> u64 {
    let (power, fraction) = (place as u64 / u64::from(STEPS), place as u64 % u64::from(STEPS));
    if power == 0 {
        return fraction;
    }
    let step = 1 << (power - 1);
    (u64::from(STEPS) + fraction + 1) * step - 1
}

impl Times {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time within which this share of the requests was answered, in microseconds; `None` if there
    /// were none. `share` is between 0 and 1.
    #[must_use]
    pub fn within(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut sum = 0;
        let place = self.0.iter().position(|number| {
            sum += number;
            sum >= wanted
        })?;
        (count > 0).then(|| longest(place))
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        for (own, other) in self.0.iter_mut().zip(&others.0) {
            *own += other;
        }
    }
}

/// A request that took long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slow {
    /// When it was answered, in milliseconds since 1970.
    pub at_millis: u64,
    /// From when it was read to when its answer was sent, in microseconds.
    pub micros: u64,
    /// Whose it was.
    pub client: SocketAddr,
    /// The client's name, if it has one.
    pub name: String,
    /// The command and the first of its arguments, shortened as the engine does in its own log.
    pub words: Vec<String>,
}

/// What was measured at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meters {
    /// The endpoint.
    pub address: SocketAddr,
    /// `primary`, `reader` or the node's name.
    pub kind: String,
    /// Clients that are connected.
    pub clients: u64,
    /// Requests that an engine answered.
    pub requests: u64,
    /// Requests that waited because nobody could take them.
    pub held: u64,
    /// Requests that were sent again.
    pub replayed: u64,
    /// Requests whose outcome is not known.
    pub uncertain: u64,
    /// Clients that have a connection of their own to an engine.
    pub pinned: u64,
    /// How long requests took, from when they were read to when their answers were sent.
    pub times: Times,
    /// The latest that took long, the latest first.
    pub slow: Vec<Slow>,
}

/// What was measured at a shard's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMeters {
    /// The shard.
    pub key: ShardKey,
    /// Its endpoints.
    pub endpoints: Vec<Meters>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place_that_is_close_above() {
        let mut last = 0;
        for micros in 0..100_000 {
            let place = place(micros);
            assert!(place == last || place == last + 1, "{micros}");
            last = place;
            let longest = longest(place);
            assert!(longest >= micros && longest * 4 <= micros * 5 + 4, "{micros} {longest}");
        }
        assert_eq!(place(u64::MAX), TIMES - 1);
    }

    #[test]
    fn a_share_is_answered_within_its_slowest() {
        assert_eq!(Times::default().within(0.5), None);
        let mut times = Times(vec![0; TIMES]);
        for micros in 1..=1000 {
            times.0[place(micros)] += 1;
        }
        let half = times.within(0.5).unwrap();
        assert!((500..640).contains(&half), "{half}");
        assert!(times.within(1.0).unwrap() >= 1000);
        assert_eq!(times.within(0.0), Some(1));
        let mut more = Times::default();
        more.add(&times);
        assert_eq!(more.count(), 1000);
    }
}
