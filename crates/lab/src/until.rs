//! Waiting for something that the command line shows.
//!
//! Not here: what is looked at.

use std::time::{Duration, Instant};

/// How often a waiting test looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
///
/// # Panics
/// If it does not within `patience`, with what `says` tells then.
pub(crate) fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
    says: impl Fn() -> String,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() <= patience, "waited in vain until {what}\n{}", says());
        // waits: the command line that a test drives Tanist by has no events.
        std::thread::sleep(LOOK_EVERY);
    }
}
