//! Whether the engine can start the child process that copies its data.
//!
//! An engine forks for a full copy, a snapshot and a rewrite of its append-only file. No command
//! tells that a fork for a copy failed: only the log does, once a second for as long as a replica
//! waits.
//!
//! Invariant: a failure is forgotten when a later fork succeeded or none failed for a while.
//!
//! Not here: why a fork can fail, and what to do (`tanist_core::decide::RULES`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// How every line about a failed fork goes on after what was to be done.
const FAILED: &str = ": fork: ";
/// Bytes of the log that are read at a time; what lies before them is skipped.
const MOST: u64 = 16 << 10;
/// How long a failure is believed without a new one; a waiting replica asks again every second.
const BELIEVED: Duration = Duration::from_secs(10);

/// What the log of an engine says about its forks.
#[derive(Debug)]
pub(super) struct Forks {
    log: PathBuf,
    /// How far the log was read.
    read: u64,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    why: String,
    at: Instant,
    /// Forks that had succeeded by then.
    forks: u64,
}

impl Forks {
    /// Begins at the end of what the log says now.
    pub(super) fn of(log: PathBuf) -> Self {
        let read = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        Self { log, read, failed: None }
    }

    /// Reads what is new; `forks` have succeeded since the engine started.
    pub(super) fn look(&mut self, forks: u64, now: Instant) {
        match self.news() {
            Ok(news) => {
                if let Some(why) = failure(&news) {
                    self.failed = Some(Failed { why, at: now, forks });
                }
            }
            // A log that cannot be read tells nothing; the engine itself is asked for all else.
            Err(err) => {
                tracing::debug!(log = %self.log.display(), err = &err as &dyn std::error::Error,
                    "reading an engine's log");
            }
        }
        let over =
            |failed: &Failed| forks > failed.forks || now.duration_since(failed.at) > BELIEVED;
        self.failed.take_if(|failed| over(failed));
    }

    /// Why the last fork failed, as the system said it.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_ref().map(|failed| failed.why.as_str())
    }

    fn news(&mut self) -> io::Result<String> {
        let file = File::open(&self.log)?;
        let length = file.metadata()?.len();
        if length < self.read {
            // Another file took its place.
            self.read = 0;
        }
        let from = self.read.max(length.saturating_sub(MOST));
        let mut news = vec![0; usize::try_from(length - from).unwrap_or(0)];
        file.read_exact_at(&mut news, from)?;
        self.read = length;
        Ok(String::from_utf8_lossy(&news).into_owned())
    }
}

fn failure(news: &str) -> Option<String> {
    let line = news.lines().rev().find(|line| line.contains(FAILED))?;
    line.split_once(FAILED).map(|(_, why)| why.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_failed_fork_is_known_until_one_succeeds_or_none_fails_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.log");
        let mut log = File::create(&path).unwrap();
        let line = "9:S 21 Nov 2026 03:00:00.000 # Can't save in background: fork: Cannot allocate \
                    memory\n";
        log.write_all(line.as_bytes()).unwrap();
        let mut forks = Forks::of(path.clone());
        let now = Instant::now();
        forks.look(3, now);
        assert_eq!(forks.failed(), None, "it was said before this engine started");
        log.write_all(line.as_bytes()).unwrap();
        forks.look(3, now);
        assert_eq!(forks.failed(), Some("Cannot allocate memory"));
        forks.look(4, now);
        assert_eq!(forks.failed(), None);
        log.write_all(&vec![b'x'; 100_000]).unwrap();
        log.write_all(line.as_bytes()).unwrap();
        forks.look(4, now);
        assert!(forks.failed().is_some());
        let later = now + BELIEVED + Duration::from_millis(1);
        forks.look(4, later);
        assert_eq!(forks.failed(), None);
        std::fs::write(&path, line).unwrap();
        forks.look(4, now);
        assert!(forks.failed().is_some(), "a new log is read from its beginning");
        std::fs::remove_file(&path).unwrap();
        forks.look(4, now);
        assert!(forks.failed().is_some());
    }
}
