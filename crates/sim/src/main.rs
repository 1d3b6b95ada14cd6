//! `tanist-sim`: run worlds, catch planted bugs, tell scenarios.
//!
//! Invariant: the exit code is 0 only if every promise held and everything that was built occurred.
//!
//! Not here: the worlds (the library).

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tanist_sim::{Bug, Mode, many, mutants};

#[derive(Parser)]
#[command(about = "Simulated worlds around Tanist's head")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum Modes {
    Safety,
    Liveness,
    Both,
}

#[derive(Subcommand)]
enum Command {
    /// Run many worlds, or one of them with its story.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 20_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// What the worlds have to show; both by turns.
        #[arg(long, value_enum, default_value_t = Modes::Both)]
        mode: Modes,
        /// One seed only.
        #[arg(long)]
        seed: Option<u64>,
        /// Tell its story.
        #[arg(long)]
        trace: bool,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Tell a scenario.
    Scenario {
        /// The script.
        file: PathBuf,
    },
    /// Plant each bug until a seed catches it.
    Mutants {
        /// Only the bug of this name.
        #[arg(long)]
        only: Option<String>,
        /// Worlds for each bug.
        #[arg(long, default_value_t = 6000)]
        worlds: u64,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    match run(arguments.command, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tanist-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn modes(mode: Modes) -> Vec<Mode> {
    match mode {
        Modes::Safety => vec![Mode::Safety],
        Modes::Liveness => vec![Mode::Liveness],
        Modes::Both => vec![Mode::Safety, Mode::Liveness],
    }
}

fn run(command: Command, out: &mut impl Write) -> io::Result<bool> {
    match command {
        Command::Run { seed: Some(seed), mode, trace, .. } => {
            let mut fine = true;
            for mode in modes(mode) {
                let ending = tanist_sim::world(seed, mode, None, trace);
                for line in &ending.told {
                    writeln!(out, "{line}")?;
                }
                let (acked, hash) = (ending.acked, ending.hash);
                writeln!(out, "seed {seed} {}: acked {acked}, trace {hash:016x}", mode.name())?;
                if let Some(violation) = &ending.violation {
                    writeln!(out, "VIOLATION {}: {}", violation.invariant, violation.detail)?;
                    fine = false;
                }
            }
            Ok(fine)
        }
        Command::Run { seeds, from, mode, threads, .. } => {
            let sum = many::worlds(from, seeds, &modes(mode), None, threads);
            for line in sum.lines() {
                writeln!(out, "{line}")?;
            }
            for broken in sum.broken.iter().take(50) {
                let (seed, mode, v) = (broken.seed, broken.mode.name(), &broken.violation);
                let at = v.at as f64 / 1e6;
                writeln!(out, "{seed} {mode} {}: {} (at {at:.3} s)", v.invariant, v.detail)?;
            }
            let never = sum.never();
            if !never.is_empty() {
                writeln!(out, "never occurred: {}", never.join(", "))?;
            }
            writeln!(out, "violations {}", sum.broken.len())?;
            Ok(sum.broken.is_empty() && never.is_empty())
        }
        Command::Scenario { file } => {
            let script = std::fs::read_to_string(file)?;
            let story = tanist_sim::scenario::tell(&script).map_err(io::Error::other)?;
            for line in &story.lines {
                writeln!(out, "{line}")?;
            }
            Ok(story.fine)
        }
        Command::Mutants { only, worlds, threads } => {
            let mut free = 0;
            writeln!(out, "{}", mutants::heading())?;
            let named = |bug: &&Bug| only.as_ref().is_none_or(|name| name == bug.name());
            for bug in Bug::ALL.iter().filter(named) {
                let caught = mutants::catch(*bug, worlds, threads);
                writeln!(out, "{}", mutants::line(*bug, caught.as_ref()))?;
                free += u32::from(caught.is_none());
            }
            writeln!(out, "not caught: {free}")?;
            Ok(free == 0)
        }
    }
}
