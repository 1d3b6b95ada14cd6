//! `[placement]`: when nodes are placed elsewhere, of hosts that are lost and of those that came back.
//!
//! Invariant: what is not said is what Tanist ships with.
//!
//! Not here: where nodes are placed (`tanist-core`).

use std::time::Duration;

use serde::Deserialize;
use tanist_core::model::Limits;

/// The longest time that can be said, in seconds: a day.
const LONGEST: u64 = 86_400;

/// The section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlacementFile {
    /// How long a host may be silent before its nodes are placed on others.
    replace_after: Seconds,
    /// Whether nodes are relocated when a better place is there.
    rebalance: bool,
    /// How long it has to be quiet before.
    rebalance_after: Seconds,
}

/// A time in whole seconds, from one to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
struct Seconds(u64);

impl TryFrom<u64> for Seconds {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        if (1..=LONGEST).contains(&seconds) {
            return Ok(Self(seconds));
        }
        Err(format!("{seconds} is not a number of seconds from 1 to {LONGEST}"))
    }
}

impl Default for PlacementFile {
    fn default() -> Self {
        Self {
            replace_after: Seconds(Limits::DEFAULT.replace.as_secs()),
            rebalance: true,
            rebalance_after: Seconds(Limits::DEFAULT.calm.as_secs()),
        }
    }
}

impl PlacementFile {
    /// Tanist's limits with what the file says.
    pub(crate) fn limits(self) -> Limits {
        let calm = Duration::from_secs(self.rebalance_after.0);
        Limits {
            replace: Duration::from_secs(self.replace_after.0),
            calm: if self.rebalance { calm } else { Limits::NEVER },
            ..Limits::DEFAULT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_what_it_ships_with() {
        let of = |text: &str| toml::from_str::<PlacementFile>(text);
        assert_eq!(of("").unwrap().limits(), Limits::DEFAULT);
        let limits = of("replace_after = 5\nrebalance_after = 2\n").unwrap().limits();
        assert_eq!((limits.replace.as_secs(), limits.calm.as_secs()), (5, 2));
        assert_eq!(of("rebalance = false").unwrap().limits().calm, Limits::NEVER);
        for bad in ["replace_after = 0", "rebalance_after = 86401", "rebalance = 1", "other = 1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
