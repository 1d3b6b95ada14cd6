//! Pauses after repeated failures, per access key and address.
//!
//! A secret of 40 characters is not guessed. What is kept from somebody who tries is what is wrong
//! with each attempt: the refusal before is repeated for a while, as AWS does for keys that it does
//! not know. Good signatures are none of its business.
//!
//! Invariant: at most [`MAX_REMEMBERED`] failures are remembered, and a pause is never longer than
//! [`LONGEST_PAUSE`].
//!
//! Not here: what a failure is (`sigv4`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::error::Fault;

/// Failures before the first pause: a person corrects a key more than once.
pub const FREE_FAILURES: u32 = 5;

/// The longest pause. The first is 100 ms; each failure doubles it.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// How many pairs of key and address are remembered; of more, the oldest is forgotten.
pub const MAX_REMEMBERED: usize = 1024;

/// After so long without a failure the count begins anew.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
struct Failure {
    count: u32,
    last: Timestamp,
    fault: Fault,
}

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: BTreeMap<(IpAddr, String), Failure>,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { failures: BTreeMap::new() }
    }

    /// The refusal of a bad request during a pause.
    pub(super) fn pause(&self, source: IpAddr, key: &str, now: Timestamp) -> Option<Fault> {
        let failure = self.failures.get(&(source, key.to_owned()))?;
        let since = now.duration_since(failure.last);
        // A clock that was set back ends the pause.
        let within = since >= SignedDuration::ZERO && since < pause(failure.count);
        within.then(|| failure.fault.clone())
    }

    pub(super) fn failed(&mut self, source: IpAddr, key: &str, fault: &Fault, now: Timestamp) {
        let is_old = |failure: &Failure| now.duration_since(failure.last).abs() > FORGOTTEN;
        let entry = (source, key.to_owned());
        if !self.failures.contains_key(&entry) && self.failures.len() >= MAX_REMEMBERED {
            self.failures.retain(|_, failure| !is_old(failure));
            let oldest = self.failures.iter().min_by_key(|(_, failure)| failure.last);
            if let Some(oldest) = oldest.map(|(entry, _)| entry.clone())
                && self.failures.len() >= MAX_REMEMBERED
            {
                self.failures.remove(&oldest);
            }
        }
        let fresh = Failure { count: 0, last: now, fault: fault.clone() };
        let failure = self.failures.entry(entry).or_insert(fresh);
        let count = if is_old(failure) { 0 } else { failure.count };
        *failure = Failure { count: count.saturating_add(1), last: now, fault: fault.clone() };
    }

    pub(super) fn succeeded(&mut self, source: IpAddr, key: &str) {
        self.failures.remove(&(source, key.to_owned()));
    }
}

fn pause(count: u32) -> SignedDuration {
    let Some(doublings) = count.checked_sub(FREE_FAILURES) else { return SignedDuration::ZERO };
    SignedDuration::from_millis(100 << doublings.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(milliseconds: i64) -> Timestamp {
        START + SignedDuration::from_millis(milliseconds)
    }

    #[test]
    fn pauses_begin_after_some_failures_double_and_have_an_end() {
        let pauses: Vec<i128> = (0..40).map(|count| pause(count).as_millis()).collect();
        assert_eq!(pauses[..5], [0; 5]);
        assert_eq!(pauses[5..12], [100, 200, 400, 800, 1600, 3200, 5000]);
        assert!(pauses[12..].iter().all(|pause| *pause == 5000));
    }

    #[test]
    fn a_pause_is_for_one_key_from_one_address() {
        let mut backoff = Backoff::new();
        for _ in 0..FREE_FAILURES {
            assert_eq!(backoff.pause(HERE, "K", START), None);
            backoff.failed(HERE, "K", &Fault::UnknownKey, START);
        }
        assert_eq!(backoff.pause(HERE, "K", after(99)), Some(Fault::UnknownKey));
        assert_eq!(backoff.pause(HERE, "K", after(100)), None);
        assert_eq!(backoff.pause(HERE, "L", START), None);
        assert_eq!(backoff.pause(Ipv4Addr::new(127, 0, 0, 2).into(), "K", START), None);
        assert_eq!(backoff.pause(HERE, "K", after(-1)), None);
        backoff.succeeded(HERE, "K");
        assert_eq!(backoff.pause(HERE, "K", START), None);
    }

    #[test]
    fn failures_of_long_ago_are_forgotten() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.failed(HERE, "K", &Fault::UnknownKey, START);
        }
        backoff.failed(HERE, "K", &Fault::UnknownKey, after(60_001));
        assert_eq!(backoff.pause(HERE, "K", after(60_001)), None);
    }

    #[test]
    fn the_table_stays_small() {
        let mut backoff = Backoff::new();
        for at in 0..5000 {
            backoff.failed(HERE, &format!("K{at}"), &Fault::UnknownKey, after(at));
        }
        assert_eq!(backoff.failures.len(), MAX_REMEMBERED);
        assert!(backoff.failures.contains_key(&(HERE, "K4999".to_owned())));
        assert!(!backoff.failures.contains_key(&(HERE, "K0".to_owned())));
    }
}
