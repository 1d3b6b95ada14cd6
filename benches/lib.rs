//! Figures, measured beside peers in the same run on the same machine.
//!
//! Invariant: nothing here fails because a machine is slow; it prints what it measured.
//!
//! Not here: claims that must hold (`tests/`).

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What came out.
    pub measured: String,
    /// What it should be.
    pub target: &'static str,
}

/// The parts that the command line names; all of `default` if it names none.
pub fn parts(default: &[&str]) -> Vec<String> {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let named: Vec<String> = words.collect();
    if named.is_empty() { default.iter().map(|part| (*part).to_owned()).collect() } else { named }
}

/// Prints all rows.
pub fn print(rows: &[Row]) {
    println!("\n| what | measured | target |\n|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} |", row.what, row.measured, row.target);
    }
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Minimum, median and maximum, in milliseconds.
pub fn spread(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    let at = |index: usize| micros.get(index).copied().unwrap_or(0) as f64 / 1000.0;
    let last = micros.len().saturating_sub(1);
    format!(
        "{} runs: min {:.1}, median {:.1}, max {:.1} ms",
        micros.len(),
        at(0),
        at(micros.len() / 2),
        at(last)
    )
}

/// The middle, the 99th of 100 and the slowest, in milliseconds.
pub fn percentiles(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    let last = micros.len().saturating_sub(1);
    let at = |percent: usize| {
        let index = (micros.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        micros.get(index).copied().unwrap_or(0) as f64 / 1000.0
    };
    format!("p50 {:.1}, p99 {:.1}, max {:.1} ms", at(50), at(99), at(100))
}
