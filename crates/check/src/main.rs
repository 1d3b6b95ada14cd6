//! `tanist-check`: search small worlds, prove that planted bugs are found, tell how they break.
//!
//! Invariant: the exit code is 0 only if every search asked for was complete, no promise broke and
//! every planted bug was found.
//!
//! Not here: the worlds and the searches (the library).

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tanist_check::{Configuration, Found, Tooth, exhaust, walk};

#[derive(Parser)]
#[command(about = "An exhaustive check of small worlds around Tanist's head")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the configurations and the planted bugs.
    List,
    /// Meet every state of these configurations, or of all standard ones.
    Exhaustive {
        #[arg(value_parser = configuration)]
        names: Vec<Configuration>,
        /// Give up beyond so many states (up to 40 bytes each, beside two whole levels).
        #[arg(long, default_value_t = 60_000_000)]
        limit: u64,
        /// Say how often each kind of step was taken.
        #[arg(long)]
        census: bool,
    },
    /// Plant each of these bugs, or all, in the configuration that finds it.
    Teeth {
        #[arg(value_parser = tooth)]
        names: Vec<Tooth>,
    },
    /// Tell the shortest story of a planted bug.
    Trace {
        /// The configuration.
        #[arg(value_parser = configuration)]
        name: Configuration,
        /// The planted bug.
        #[arg(value_parser = tooth)]
        tooth: Tooth,
    },
    /// Take random steps in a configuration that is too large to be met as a whole.
    Walk {
        /// What chance begins with.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Steps in sum.
        #[arg(long, default_value_t = 200_000)]
        steps: u64,
        /// Steps from one beginning at most.
        #[arg(long, default_value_t = 400)]
        length: u32,
        /// Where.
        #[arg(long, value_parser = configuration, default_value = "large")]
        configuration: Configuration,
        /// What is planted.
        #[arg(long, value_parser = tooth)]
        tooth: Option<Tooth>,
    },
}

fn configuration(name: &str) -> Result<Configuration, String> {
    Configuration::named(name).ok_or_else(|| {
        let names: Vec<&str> = Configuration::ALL.iter().map(|c| c.name).collect();
        format!("the configurations are: {}", names.join(", "))
    })
}

fn tooth(name: &str) -> Result<Tooth, String> {
    Tooth::parse(name).ok_or_else(|| {
        let all = Tooth::ALL.into_iter().chain(Tooth::REDUNDANT);
        let names: Vec<&str> = all.map(Tooth::name).collect();
        format!("the planted bugs are: {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tanist-check: writing the results: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, out: &mut impl Write) -> io::Result<bool> {
    match command {
        Command::List => list(out),
        Command::Exhaustive { names, limit, census } => exhaustive(&names, limit, census, out),
        Command::Teeth { names } => teeth(&names, out),
        Command::Trace { name, tooth } => trace(name, tooth, out),
        Command::Walk { seed, steps, length, configuration, tooth } => {
            let configuration = Configuration { tooth, ..configuration };
            let found = walk(configuration, seed, steps, length);
            let (taken, took) = (found.states, found.took.as_secs_f64());
            writeln!(
                out,
                "seed {seed}: {taken} steps, the longest way {}, {took:.1} s",
                found.depth
            )?;
            tell_census(&found.census, out)?;
            Ok(!tell_story(&found, out)?)
        }
    }
}

fn list(out: &mut impl Write) -> io::Result<bool> {
    writeln!(out, "configurations (* unless names are given):")?;
    for Configuration { name, purpose, standard, .. } in Configuration::ALL {
        writeln!(out, "{} {name:10} {purpose}", if *standard { '*' } else { ' ' })?;
    }
    writeln!(out, "planted bugs and where they are found:")?;
    for tooth in Tooth::ALL {
        writeln!(out, "  {:24} {}", tooth.name(), tooth.configuration().name)?;
    }
    Ok(true)
}

fn exhaustive(
    names: &[Configuration],
    limit: u64,
    census: bool,
    out: &mut impl Write,
) -> io::Result<bool> {
    let standard = Configuration::ALL.iter().copied().filter(|c| c.standard);
    let wanted: Vec<Configuration> =
        if names.is_empty() { standard.collect() } else { names.to_vec() };
    let mut all_well = true;
    let mut total = Total::default();
    writeln!(out, "{HEADING}")?;
    for configuration in wanted {
        let found = exhaust(configuration, limit);
        tell_found(configuration.name, &found, out)?;
        if census {
            tell_census(&found.census, out)?;
        }
        let broken = tell_story(&found, out)?;
        out.flush()?;
        all_well &= found.complete && !broken;
        total.add(&found);
    }
    if names.is_empty() {
        all_well &= total.tell(out)?;
    }
    Ok(all_well)
}

const HEADING: &str = "configuration     states  transitions  depth  seconds  complete";

fn tell_found(name: &str, found: &Found, out: &mut impl Write) -> io::Result<()> {
    let Found { states, transitions, depth, .. } = found;
    let (seconds, complete) = (found.took.as_secs_f64(), if found.complete { "yes" } else { "NO" });
    writeln!(out, "{name:13} {states:>10} {transitions:>12} {depth:>6} {seconds:>8.1}  {complete}")
}

/// All searches of one run.
#[derive(Default)]
struct Total {
    states: u64,
    transitions: u64,
    seconds: f64,
    census: Vec<(&'static str, u64)>,
}

impl Total {
    fn add(&mut self, found: &Found) {
        self.states += found.states;
        self.transitions += found.transitions;
        self.seconds += found.took.as_secs_f64();
        if self.census.is_empty() {
            self.census.clone_from(&found.census);
        } else {
            let both = self.census.iter_mut().zip(&found.census);
            both.for_each(|((_, sum), (_, more))| *sum += more);
        }
    }

    /// Tells the sums; returns whether everything that can happen did.
    fn tell(&self, out: &mut impl Write) -> io::Result<bool> {
        let Self { states, transitions, seconds, census } = self;
        writeln!(out, "{:13} {states:>10} {transitions:>12} {:>6} {seconds:>8.1}", "sum", "")?;
        tell_census(census, out)?;
        let never: Vec<&str> = census
            .iter()
            .filter(|(kind, count)| *count == 0 && *kind != ONLY_PLANTED)
            .map(|(kind, _)| *kind)
            .collect();
        if !never.is_empty() {
            writeln!(out, "NEVER HAPPENED: {}", never.join(", "))?;
        }
        Ok(never.is_empty())
    }
}

/// Whoever leads has read the store last; another revision can only come from one that does not.
const ONLY_PLANTED: &str = "reread";

fn teeth(names: &[Tooth], out: &mut impl Write) -> io::Result<bool> {
    let wanted = if names.is_empty() { &Tooth::ALL[..] } else { names };
    let mut missed = 0;
    for tooth in wanted {
        let configuration = tooth.configuration();
        let found = exhaust(configuration, u64::MAX);
        let (name, place) = (tooth.name(), configuration.name);
        let (states, seconds) = (found.states, found.took.as_secs_f64());
        let verdict = match &found.trace {
            Some(trace) => {
                format!("{:2} steps to break  {}", trace.steps.len(), trace.fault.promise)
            }
            None => "BITES NOTHING".to_owned(),
        };
        missed += u32::from(found.trace.is_none());
        writeln!(out, "{name:24} in {place:10} {states:>9} states {seconds:>6.1} s  {verdict}")?;
        out.flush()?;
    }
    writeln!(out, "{} planted, {missed} not found", wanted.len())?;
    Ok(missed == 0)
}

fn trace(name: Configuration, tooth: Tooth, out: &mut impl Write) -> io::Result<bool> {
    let found = exhaust(Configuration { tooth: Some(tooth), ..name }, u64::MAX);
    let broken = tell_story(&found, out)?;
    if !broken {
        writeln!(out, "{} breaks nothing in {}", tooth.name(), name.name)?;
    }
    Ok(broken)
}

fn tell_census(census: &[(&str, u64)], out: &mut impl Write) -> io::Result<()> {
    let kinds: Vec<String> = census.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    writeln!(out, "  {}", kinds.join(", "))
}

/// Tells how a promise broke; returns whether one did.
fn tell_story(found: &Found, out: &mut impl Write) -> io::Result<bool> {
    let Some(trace) = &found.trace else { return Ok(false) };
    writeln!(out, "{trace}")?;
    Ok(true)
}
