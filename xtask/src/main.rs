//! The project's own tool: `cargo xtask tidy`, `ci`, `models` and `etcd`.
//!
//! The architecture is a set of rules that no compiler checks: which crate may use which, how long
//! a function may be, who may start a process. Rules that nobody checks do not survive, so they are
//! a program here, and `ci` runs it together with everything else a change has to pass.
//!
//! Invariant: a check reads the repository and never changes it; only `models` and `etcd` write.
//! Not here: what the checks forbid and why (`rows`, `manifest`, `sizes`, `words`, `speech`, `docs`).

mod approved;
mod ci;
mod docs;
mod etcd;
mod manifest;
mod models;
mod repo;
mod rows;
mod scan;
mod sizes;
mod speech;
mod tidy;
mod words;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  tidy   check the rules of the architecture; one line for each violation
  ci     everything CI runs, in its order: fmt, clippy, tidy, tests
  models [--check]
         take the service models of crates/aws from botocore, or say whether they still agree
  etcd [--check]
         make the client of crates/store from etcd's definitions, or say whether they still agree
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy::run(),
        ["ci"] => ci::run(),
        ["models"] => models::run(false),
        ["models", "--check"] => models::run(true),
        ["etcd"] => etcd::run(false),
        ["etcd", "--check"] => etcd::run(true),
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            ExitCode::SUCCESS
        }
        _ => {
            say(USAGE);
            ExitCode::from(2)
        }
    }
}

/// Writes to standard output; a closed pipe (`cargo xtask tidy | head`) is not an error of ours.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed_pipe = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
