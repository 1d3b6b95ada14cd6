//! What is measured at an endpoint.
//!
//! Invariant: measuring a request costs no system call and no allocation unless it was slow; what is
//! kept is bounded.
//!
//! Not here: who asks for it (`crate::control`), what the numbers mean (`tanist_link::wire::Meters`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tanist_link::wire::{Meters, Slow, TIMES, Times, place};
use tanist_resp::Request;
use tokio::time::Instant;

/// A request that takes longer is remembered: what engines take for slow by default.
const SLOW: Duration = Duration::from_millis(10);
/// Of those that are answered within this time of each other the slowest is remembered: when everything
/// is slow, writing it all down would make it slower.
const APART: Duration = Duration::from_millis(10);
/// How many are remembered.
const MOST_SLOW: usize = 128;
/// How many of a request's words, and bytes of each.
const WORDS: (usize, usize) = (32, 128);

/// An endpoint's numbers.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) held: Cell<u64>,
    pub(crate) replayed: Cell<u64>,
    pub(crate) uncertain: Cell<u64>,
    pub(crate) pinned: Cell<u64>,
    times: Box<[Cell<u64>; TIMES]>,
    slow: RefCell<VecDeque<Slow>>,
    /// Until when the latest of them stands for all that are answered.
    apart: Cell<Option<Instant>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            held: Cell::default(),
            replayed: Cell::default(),
            uncertain: Cell::default(),
            pinned: Cell::default(),
            times: Box::new([const { Cell::new(0) }; TIMES]),
            slow: RefCell::default(),
            apart: Cell::default(),
        }
    }
}

impl Meter {
    /// One that goes on from numbers of before.
    pub(crate) fn from(numbers: &Meters) -> Self {
        let meter = Self::default();
        meter.held.set(numbers.held);
        meter.replayed.set(numbers.replayed);
        meter.uncertain.set(numbers.uncertain);
        for (cell, number) in meter.times.iter().zip(&numbers.times.0) {
            cell.set(*number);
        }
        meter.slow.borrow_mut().extend(numbers.slow.iter().take(MOST_SLOW).cloned());
        meter
    }
}

/// Adds to a number.
pub(crate) fn add(number: &Cell<u64>, more: u64) {
    number.set(number.get().wrapping_add(more));
}

impl Meter {
    /// A request was answered after so long; whether that was slow.
    pub(crate) fn took(&self, time: Duration) -> bool {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&self.times[place(micros)], 1);
        time >= SLOW
    }

    /// Whether a slow request that is answered now is to be remembered.
    pub(crate) fn is_notable(&self, time: Duration, now: Instant) -> bool {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if self.apart.get().is_none_or(|until| until <= now) {
            self.apart.set(Some(now + APART));
            return true;
        }
        let mut all = self.slow.borrow_mut();
        let slower = all.front().is_none_or(|latest| latest.micros < micros);
        if slower {
            all.pop_front();
        }
        slower
    }

    /// Remembers a slow request.
    pub(crate) fn remember(
        &self,
        time: Duration,
        request: &Request,
        client: SocketAddr,
        name: &[u8],
    ) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let slow = Slow {
            at_millis: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            micros: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            client,
            name: String::from_utf8_lossy(name).into_owned(),
            words: words(request),
        };
        let mut all = self.slow.borrow_mut();
        all.truncate(MOST_SLOW - 1);
        all.push_front(slow);
    }

    /// How long requests took.
    pub(crate) fn times(&self) -> Times {
        Times(self.times.iter().map(Cell::get).collect())
    }

    /// The latest slow requests, the latest first.
    pub(crate) fn slow(&self) -> Vec<Slow> {
        self.slow.borrow().iter().cloned().collect()
    }
}

fn words(request: &Request) -> Vec<String> {
    let argc = request.argc();
    if request.is("auth") || request.is("hello") {
        // What stands behind may be a password.
        return request.args().take(1).map(word).collect();
    }
    let shown = if argc > WORDS.0 { WORDS.0 - 1 } else { argc };
    let mut words: Vec<String> = request.args().take(shown).map(word).collect();
    if argc > shown {
        words.push(format!("... ({} more arguments)", argc - shown));
    }
    words
}

fn word(bytes: &[u8]) -> String {
    let shown = bytes.get(..WORDS.1).unwrap_or(bytes);
    let mut text = shown.escape_ascii().to_string();
    if bytes.len() > shown.len() {
        text.push_str(&format!("... ({} more bytes)", bytes.len() - shown.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    #[test]
    fn no_password_is_remembered() {
        let hello = Command::new("hello").args(["3", "AUTH", "app", "secret"]).to_request();
        assert_eq!(words(&hello), ["hello"]);
        assert_eq!(words(&Command::new("AUTH").arg("secret").to_request()), ["AUTH"]);
    }

    #[test]
    fn of_many_slow_requests_at_once_the_slowest_is_remembered() {
        let meter = Meter::default();
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let start = Instant::now();
        for (at, millis) in [(0, 20), (1, 15), (2, 40), (9, 30), (10, 12), (11, 11)] {
            let (time, now) = (Duration::from_millis(millis), start + Duration::from_millis(at));
            if meter.is_notable(time, now) {
                meter.remember(time, &Command::new("GET").to_request(), client, b"");
            }
        }
        let kept: Vec<u64> = meter.slow().iter().map(|slow| slow.micros / 1000).collect();
        assert_eq!(kept, [12, 40]);
    }

    #[test]
    fn what_is_kept_of_slow_requests_is_bounded_and_the_latest() {
        let meter = Meter::default();
        assert!(!meter.took(Duration::from_millis(9)));
        assert!(meter.took(Duration::from_millis(10)));
        assert_eq!(meter.times().count(), 2);
        let long = "x".repeat(1000);
        for number in 0..500 {
            let keys = (0..100).map(|_| long.as_str());
            let request = Command::new("MGET").arg(number.to_string()).args(keys).to_request();
            let client = SocketAddr::from(([127, 0, 0, 1], 1));
            meter.remember(Duration::from_secs(1), &request, client, b"app");
        }
        let slow = meter.slow();
        assert_eq!((slow.len(), slow[0].words[1].as_str()), (MOST_SLOW, "499"));
        assert_eq!(slow[0].words.len(), 32);
        assert_eq!(slow[0].words[31], "... (71 more arguments)");
        assert!(slow[0].words[2].ends_with("... (872 more bytes)"));
    }
}
