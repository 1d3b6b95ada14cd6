//! What a group promises about reads.
//!
//! Invariant: the default promises what an engine with replicas promises, and costs nothing.
//!
//! Not here: where a read goes (the proxy), which replica is fit to answer one (`crate::decide`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the reader endpoint leads while no replica is fit to be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderFallback {
    /// To the primary.
    #[default]
    Primary,
    /// Nowhere: reads wait for a replica as writes wait for a primary.
    Wait,
}

/// What a group promises about reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reads {
    /// Reads through the primary endpoint show only what every in-sync member has, and never less
    /// than was acknowledged to anybody before; each waits for a proof, as a write does. It means
    /// something in groups that are `sync`.
    pub strict: bool,
    /// A replica that has been behind its primary for longer is not read from, in milliseconds.
    pub max_lag_millis: u32,
    /// What the reader endpoint does without a replica that is fit.
    pub fallback: ReaderFallback,
}

/// The longest that a replica may be told to lag, in milliseconds: an hour.
pub const MAX_LAG_MILLIS: u32 = 3_600_000;

impl Default for Reads {
    fn default() -> Self {
        Self { strict: false, max_lag_millis: 1000, fallback: ReaderFallback::Primary }
    }
}

impl Reads {
    /// How long a replica may be behind and still be read from.
    pub fn max_lag(&self) -> Duration {
        Duration::from_millis(u64::from(self.max_lag_millis))
    }
}
