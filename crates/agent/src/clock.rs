//! The clock by which leases and measurements are counted: it goes on while the machine sleeps.
//!
//! Not here: other clocks; deadlines within one process use tokio's.

use rustix::time::{ClockId, clock_gettime};
use tanist_core::model::Instant;

/// Now, since the machine was booted.
pub(crate) fn boot_time() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    Instant::from_micros(secs.unwrap_or(0) * 1_000_000 + nanos.unwrap_or(0) / 1000)
}
