//! What all simulated hosts share: the engines, what was seen of groups, and counts of what was said.
//!
//! Not here: anything that waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tanist_core::model::GroupName;

use super::engines::Engines;
use super::options::Options;
use super::watch::Watch;

/// What a group's name begins with.
const PREFIX: &str = "scale-";

/// How much was said; numbers only grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Agents' reports, and the nodes in them.
    pub(crate) reports: AtomicU64,
    pub(crate) nodes: AtomicU64,
    /// Proxies' beats, and the shards in them.
    pub(crate) beats: AtomicU64,
    pub(crate) shards: AtomicU64,
    pub(crate) vitals: AtomicU64,
    /// Orders and routes that were heard.
    pub(crate) orders: AtomicU64,
    pub(crate) routes: AtomicU64,
    /// Requests for leases, and those that were not answered in time.
    pub(crate) questions: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    /// Leases that went on by the replicas' words, and those that ended although the primary was well.
    pub(crate) stood_in: AtomicU64,
    pub(crate) leases_ended: AtomicU64,
    /// Conversations that were begun.
    pub(crate) calls: AtomicU64,
    /// Of these, those that the server let its peer remember in.
    pub(crate) in_parts: AtomicU64,
    /// Those that ended because the leader was silent.
    pub(crate) silences: AtomicU64,
}

impl Counts {
    /// All of them, by their names.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            ("reports", of(&self.reports)),
            ("nodes_in_reports", of(&self.nodes)),
            ("beats", of(&self.beats)),
            ("shards_in_beats", of(&self.shards)),
            ("vitals", of(&self.vitals)),
            ("orders", of(&self.orders)),
            ("routes", of(&self.routes)),
            ("lease_questions", of(&self.questions)),
            ("lease_questions_unanswered", of(&self.unanswered)),
            ("leases_by_stand_ins", of(&self.stood_in)),
            ("leases_ended", of(&self.leases_ended)),
            ("conversations", of(&self.calls)),
            ("conversations_in_parts", of(&self.in_parts)),
            ("conversations_silent", of(&self.silences)),
        ]
    }
}

/// What all hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) began: Instant,
    pub(crate) watch: Watch,
    pub(crate) counts: Counts,
    loaded: usize,
    engines: Mutex<Engines>,
}

impl Shared {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            began: Instant::now(),
            watch: Watch::new(usize::from(options.replicas)),
            counts: Counts::default(),
            loaded: options.loaded,
            engines: Mutex::new(Engines::new(options.hosts)),
        }
    }

    pub(crate) fn engines(&self) -> MutexGuard<'_, Engines> {
        // Every change is complete in itself.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients write to a group.
    pub(crate) fn is_loaded(&self, group: &GroupName) -> bool {
        let number = group.as_str().strip_prefix(PREFIX).and_then(|text| text.parse().ok());
        number.is_some_and(|number: usize| number % 100 < self.loaded)
    }
}

/// The name of the group with this number.
pub(crate) fn group_name(number: usize) -> String {
    format!("{PREFIX}{number:05}")
}
