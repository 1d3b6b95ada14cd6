//! Why a process does not answer: what the kernel says that it does meanwhile.
//!
//! Invariant: a process that used or waited for a processor since the last look is never called
//! stalled.
//!
//! Not here: for how long that is tolerated (`tanist_core::decide`).

use procfs::process::Process;
use tanist_core::model::Stall;

/// Processor time in one interval above which a process counts as working, as a share.
const WORKS: f64 = 0.02;
/// Time in the run queue in one interval above which a process counts as starved, as a share.
const STARVES: f64 = 0.2;

/// One look at a process's main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    state: char,
    /// Nanoseconds on a processor.
    ran: u64,
    /// Nanoseconds runnable without one.
    waited: u64,
}

impl Look {
    /// Looks at the process with this number; `None` if it is gone.
    pub(super) fn at(pid: u32) -> Option<Self> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let state = process.stat().ok()?.state;
        // Not every kernel keeps it; the state alone then decides.
        let (ran, waited) =
            process.schedstat().map_or((0, 0), |stat| (stat.sum_exec_runtime, stat.run_delay));
        Some(Self { state, ran, waited })
    }

    /// What the process did since `before`, `nanos` nanoseconds ago.
    pub(super) fn since(self, before: Self, nanos: u64) -> Stall {
        let share = |now: u64, then: u64| {
            // Far below 2^53 within any interval.
            now.saturating_sub(then) as f64 / nanos.max(1) as f64
        };
        let works = share(self.ran, before.ran) > WORKS;
        match self.state {
            'T' | 't' => Stall::Stopped,
            'R' if works || self.ran == 0 => Stall::Busy,
            'R' => Stall::Starved,
            _ if works => Stall::Busy,
            _ if share(self.waited, before.waited) > STARVES => Stall::Starved,
            _ => Stall::Stalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(state: char, ran: u64, waited: u64) -> Look {
        Look { state, ran, waited }
    }

    #[test]
    fn working_and_waiting_processes_are_told_from_hung_ones() {
        let before = look('S', 1_000_000, 1_000_000);
        let judge = |after: Look| after.since(before, 50_000_000);
        assert_eq!(judge(look('T', 1_000_000, 1_000_000)), Stall::Stopped);
        assert_eq!(judge(look('S', 1_000_000, 1_000_000)), Stall::Stalled);
        assert_eq!(judge(look('D', 1_100_000, 1_000_000)), Stall::Stalled);
        assert_eq!(judge(look('D', 9_000_000, 1_000_000)), Stall::Busy);
        assert_eq!(judge(look('R', 9_000_000, 1_000_000)), Stall::Busy);
        assert_eq!(judge(look('R', 1_000_000, 1_000_000)), Stall::Starved);
        assert_eq!(judge(look('S', 1_000_000, 40_000_000)), Stall::Starved);
    }

    #[test]
    fn this_very_process_is_seen_to_work() {
        let before = Look::at(std::process::id()).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 50 {}
        assert!(Look::at(std::process::id()).unwrap().state != 'T');
        assert!(before.state != 'Z');
    }
}
