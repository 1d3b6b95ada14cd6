//! Many worlds: seeds spread over threads, results put together in the order of seeds.
//!
//! Invariant: what a run reports does not depend on the number of threads.
//!
//! Not here: a single world (`crate::verdict`).

use std::collections::BTreeMap;
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
    /// The longest time without an acknowledgement after a world's last fault had begun, in
    /// microseconds, and the world's seed.
    pub pause: (u64, u64),
    /// Worlds by the seconds of that time, as far as they had to serve.
    pub pauses: BTreeMap<u64, u64>,
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
        self.pause = self.pause.max(other.pause);
        for (seconds, worlds) in &other.pauses {
            *self.pauses.entry(*seconds).or_default() += worlds;
        }
        self.census.add(&other.census);
        self.broken.extend(other.broken.iter().cloned());
        self.broken.sort_by_key(|broken| (broken.seed, broken.mode.name()));
    }

    /// Faults that happened.
    pub fn faults(&self) -> u64 {
        self.census.faults_total()
    }

    /// Kinds of problems, waits, actions, events and faults that never occurred.
    pub fn never(&self) -> Vec<&'static str> {
        self.census.never()
    }

    fn pauses_line(&self) -> String {
        let worlds: u64 = self.pauses.values().sum();
        let within = |seconds: u64| -> u64 { self.pauses.range(..seconds).map(|(_, n)| n).sum() };
        let shares: Vec<String> =
            [1, 2, 5, 10, 20].map(|s| format!("{} within {s} s", within(s))).into();
        let (longest, seed) = (self.pause.0 as f64 / 1e6, self.pause.1);
        format!(
            "writes came back in each of {worlds} worlds that had to serve: {}; longest pause \
             {longest:.1} s (seed {seed})",
            shares.join(", ")
        )
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
        lines.push(self.pauses_line());
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
    if ending.pause > 0 {
        sum.pause = sum.pause.max((ending.pause, ending.seed));
        *sum.pauses.entry(ending.pause / 1_000_000).or_default() += 1;
    }
    sum.census.add(&ending.census);
    if let Some(violation) = ending.violation {
        sum.broken.push(Broken { seed: ending.seed, mode: ending.mode, violation });
    }
}
