//! The mutation gate: every fence that is removed must be missed by some seed.
//!
//! A simulation that finds nothing proves nothing by itself. Each planted bug is given worlds until
//! one breaks a promise; a bug that stays free means that the worlds are too kind, or that a check
//! is missing.
//!
//! Invariant: a bug is caught by an invariant of the worlds, never by the switch that plants it.
//!
//! Not here: what the bugs do (`crate::mischief` and the hands).

use crate::bugs::Bug;
use crate::config::Mode;
use crate::many::{Broken, worlds};

/// Worlds that are run before the next look at what was caught.
const CHUNK: u64 = 64;

/// Runs worlds with the bug until one catches it; `None` if none of `count` does.
pub fn catch(bug: Bug, count: u64, threads: usize) -> Option<Broken> {
    let starts = (0..count).step_by(CHUNK as usize);
    starts.map(|start| start + 1).find_map(|from| {
        let sum = worlds(from, CHUNK.min(count), &[Mode::Safety], Some(bug), threads);
        sum.broken.into_iter().next()
    })
}

/// The table's heading.
pub fn heading() -> String {
    format!(
        "{:<20}{:<80}{:>6}  {:<9}{}",
        "bug", "what is planted", "seed", "invariant", " what was seen"
    )
}

/// The result as a line: the bug, what it does, the seed that caught it, and the broken promise.
pub fn line(bug: Bug, caught: Option<&Broken>) -> String {
    match caught {
        Some(Broken { seed, violation, .. }) => {
            let (name, planted) = (bug.name(), bug.sentence());
            let (invariant, detail) = (violation.invariant, &violation.detail);
            format!("{name:<20}{planted:<80}{seed:>6}  {invariant:<9} {detail}")
        }
        None => format!("{:<20}{:<80}NOT CAUGHT", bug.name(), bug.sentence()),
    }
}
