//! The clocks: boot time for judgments, wall time for people.
//!
//! Invariant: no judgment uses the wall clock, which an operator or NTP may step.
//!
//! Not here: what the times are compared with (`tanist_core::model::Limits`).

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tanist_core::model::Instant;

/// Now, on this machine's boot-time clock; it goes on while the machine sleeps.
pub fn boot_time() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    Instant::from_micros(seconds * 1_000_000 + nanos / 1000)
}

/// Now, in milliseconds since 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
