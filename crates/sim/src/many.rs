//! Many worlds: seeds spread over threads, results put together in the order of seeds.
//!
//! Invariant: what a run reports does not depend on the number of threads.
//!
//! Not here: a single world (`crate::verdict`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::bugs::Bug;
use crate::census::Census;
use crate::config::Mode;
use crate::judge::Violation;

/// A world that broke a promise.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// Its mode.
    pub mode: Mode,
    /// What it broke.
    pub violation: Violation,
}

/// What many worlds came to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Worlds that ran.
    pub worlds: u64,
    /// Simulated time, in microseconds.
    pub simulated: u64,
    /// Events that happened.
    pub events: u64,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Acknowledged writes whose loss was accounted for.
    pub forgiven: u64,
    /// What occurred.
    pub census: Census,
    /// Worlds that broke a promise, by seed.
    pub broken: Vec<Broken>,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.simulated += other.simulated;
        self.events += other.events;
        self.acked += other.acked;
        self.forgiven += other.forgiven;
        self.census.add(&other.census);
        self.broken.extend(other.broken.iter().cloned());
        self.broken.sort_by_key(|broken| (broken.seed, broken.mode.name()));
    }

    /// Kinds of problems, waits, actions, events and faults that never occurred.
    pub fn never(&self) -> Vec<&'static str> {
        self.census.never()
    }

    /// The report, line by line.
    pub fn lines(&self) -> Vec<String> {
        let hours = self.simulated as f64 / 3.6e9;
        let mut lines = vec![format!(
            "worlds {}, simulated hours {hours:.1}, events {}, writes acknowledged {} \
             (accounted for as lost {}), faults {}",
            self.worlds,
            self.events,
            self.acked,
            self.forgiven,
            self.census.faults_total()
        )];
        lines.extend(self.census.lines());
        lines
    }
}

/// Runs `count` worlds from seed `from`, in each of `modes`, on `threads` threads.
pub fn worlds(from: u64, count: u64, modes: &[Mode], bug: Option<Bug>, threads: usize) -> Sum {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut mine = Sum::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let mode = modes[(index % modes.len() as u64) as usize];
                    note(&mut mine, crate::world(from + index, mode, bug, false));
                }
                if let Ok(mut total) = total.lock() {
                    total.add(&mine);
                }
            });
        }
    });
    total.into_inner().unwrap_or_default()
}

fn note(sum: &mut Sum, ending: crate::verdict::Ending) {
    sum.worlds += 1;
    sum.simulated += ending.simulated;
    sum.events += ending.events;
    sum.acked += ending.acked;
    sum.forgiven += ending.forgiven;
    sum.census.add(&ending.census);
    if let Some(violation) = ending.violation {
        sum.broken.push(Broken { seed: ending.seed, mode: ending.mode, violation });
    }
}
