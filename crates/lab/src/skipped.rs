//! Tests that this system does not allow.
//!
//! Invariant: nobody takes a skipped test for one that passed: it is said where the test runs, and
//! once more at the end of all tests.
//!
//! Not here: tools that `scripts/install.sh` installs; without those a test fails.

use std::io::Write;

/// Names a file to which skipped tests are appended, a line each.
pub const SKIPPED: &str = "TANIST_SKIPPED";

/// Says that the test that runs now does nothing because of `why`.
#[allow(clippy::print_stderr, reason = "it is the test's own output")]
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {why}");
    eprintln!("{line}");
    let Some(path) = std::env::var_os(SKIPPED) else { return };
    let file = std::fs::File::options().append(true).create(true).open(path);
    if let Err(err) = file.and_then(|mut file| writeln!(file, "{line}")) {
        eprintln!("it cannot be noted in {SKIPPED}: {err}");
    }
}
