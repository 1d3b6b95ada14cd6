//! The installation's measurements: read at the start, written every few minutes and at the end.
//!
//! Invariant: only the process that has the store open reads or writes the file; nothing about
//! measurements ever keeps an installation from starting or ending.
//!
//! Not here: the file's format (`tanist-telemetry`), what is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tanist_telemetry::{Limits, Loaded, Series};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// What a crash may lose of the past.
const EVERY: Duration = Duration::from_secs(300);

/// The series and their file.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) series: Arc<Series>,
    /// What was wrong with the file, for people.
    pub(crate) trouble: Option<String>,
    path: PathBuf,
}

impl Metrics {
    /// Reads the file; one that cannot be read is set aside, and the series begin anew.
    pub(crate) async fn open(path: PathBuf) -> Self {
        let file = path.clone();
        let (series, trouble) =
            match spawn_blocking(move || Series::load(&file, Limits::default(), now())).await {
                Ok((series, loaded)) => (series, trouble(loaded)),
                Err(err) => (Series::default(), Some(unread(&err))),
            };
        if let Some(trouble) = &trouble {
            warn!("{trouble}");
        }
        Self { series: Arc::new(series), trouble, path }
    }

    /// Writes the file every few minutes, for as long as the process lives.
    pub(crate) fn keep(&self) {
        let kept = self.clone();
        tokio::spawn(async move {
            let mut beat = interval(EVERY);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first comes at once.
            beat.tick().await;
            loop {
                beat.tick().await;
                kept.series.tidy(now());
                kept.save().await;
            }
        });
    }

    /// Writes the file.
    pub(crate) async fn save(&self) {
        let (series, path) = (Arc::clone(&self.series), self.path.clone());
        match spawn_blocking(move || series.save(&path)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                let why = std::error::Error::source(&err).map(ToString::to_string);
                warn!(why, "{err}; they are written again in a few minutes");
            }
            Err(err) => warn!(%err, "writing the measurements"),
        }
    }
}

fn trouble(loaded: Loaded) -> Option<String> {
    match loaded {
        Loaded::Nothing => None,
        Loaded::Read(series) => {
            info!(series, "measurements were read");
            None
        }
        Loaded::SetAside { to, reason } => {
            let place = match to {
                Some(to) => format!("set aside as {}", to.display()),
                None => "left where it is".to_owned(),
            };
            Some(format!("earlier measurements could not be read ({reason}); the file is {place}"))
        }
    }
}

fn unread(err: &JoinError) -> String {
    format!("earlier measurements could not be read: {err}")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanist_telemetry::{Dimensions, Key, Point, Resolution, Sample, Unit};

    #[tokio::test]
    async fn measurements_outlive_the_process_and_damage_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let first = Metrics::open(path.clone()).await;
        assert_eq!(first.trouble, None);
        let name = Key::new(&"here".into(), "N", "M", &Dimensions::default());
        let (unit, resolution) = (Unit::None, Resolution::Second);
        let sample = Sample { at: now(), point: Point::of(1.0), unit, resolution };
        first.series.record(&name, &sample, now()).unwrap();
        first.save().await;
        let second = Metrics::open(path.clone()).await;
        assert_eq!((second.trouble, second.series.usage().series), (None, 1));
        std::fs::write(&path, b"x").unwrap();
        let third = Metrics::open(path).await;
        assert!(third.trouble.unwrap().contains("metrics.damaged"));
        assert_eq!(third.series.usage().series, 0);
    }
}
