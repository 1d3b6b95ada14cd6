//! Whether a host is there, as a question of time: for how long somebody else's word stands for the
//! word of its agent.
//!
//! Invariant: no word but the agent's own counts for longer than [`VOUCHED`].
//!
//! Not here: after how long of silence a host counts as lost (`crate::decide`).

use std::time::Duration;

use crate::model::Instant;

/// For how long a host's proxy, or the leading server on it, is proof of its host without the agent.
const VOUCHED: Duration = Duration::from_secs(5);
/// How long agents may take to find a new leader before their silence counts: they notice that the one
/// before is gone as early as the new one does, and try every 100 ms at least.
const FIND_LEADER: Duration = Duration::from_millis(200);

/// When a host counts as heard that has not spoken to a leader that begins at `now`.
pub fn unheard(now: Instant) -> Instant {
    now + FIND_LEADER
}

/// When a host counts as heard last: it was at `heard`, its agent spoke at `spoke`, and something else
/// that is on it speaks at `now`.
///
/// An agent that is just starting again is worth that while, unless requests wait for a primary that may
/// be on the host: then its engine may be gone as well.
pub fn vouched(heard: Instant, spoke: Instant, waited_for: bool, now: Instant) -> Instant {
    if waited_for { heard } else { heard.max(now.min(spoke + VOUCHED)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_proxy_stands_for_its_agent_for_a_while_unless_somebody_waits() {
        let at = Instant::from_millis;
        assert_eq!(vouched(at(1_000), at(1_000), false, at(4_000)), at(4_000));
        assert_eq!(vouched(at(4_000), at(1_000), false, at(9_000)), at(6_000), "not for ever");
        assert_eq!(vouched(at(9_500), at(9_500), true, at(9_700)), at(9_500));
        assert!(unheard(at(0)) > at(0));
    }
}
