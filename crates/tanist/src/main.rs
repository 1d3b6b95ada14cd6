//! The binary: one command line for every role and every question.
//!
//! It wires the roles together and talks to people; what it knows how to do is done elsewhere.
//!
//! Invariant: the exit code says what happened (0 done, 1 failed, 2 usage, 3 degraded, 4 unreachable,
//! 5 refused for safety), and an error says what happened, why, and what to do now.
//!
//! Not here: decisions, hands, the data path.

mod bundle;
mod cli;
mod commands;
mod config;
mod dev;
mod dial;
mod doors;
mod drill;
mod engines;
mod failure;
mod fleet;
mod front;
mod hands;
mod house;
mod layout;
mod live;
mod machine;
mod metrics;
mod moved;
mod output;
mod placement;
mod program;
mod roles;
mod sentinel;
mod spawn;
mod store_file;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.output, cli.no_color);
    match commands::run(cli, &output) {
        Ok(code) => code.into(),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// As asked.
    Well,
    /// It answered, and what it says is not good.
    Degraded,
    /// What it was to show did not hold.
    Failed,
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        match done {
            Done::Well => Self::SUCCESS,
            Done::Failed => Self::from(1),
            Done::Degraded => Self::from(3),
        }
    }
}

type Outcome = Result<Done, Failure>;
