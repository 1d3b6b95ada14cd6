//! `cargo bench -p tanist-bench --bench failover [-- PART ...]`: how long clients are without a primary.
//!
//! Parts: `kill`, `kill-1gb`, `freeze`, `switchover`, `create`, `idle`, `busy`, `sentinel`; all but
//! `kill-1gb` and `busy` if none is named. `TANIST_BENCH_RUNS` (30) is the number of faults of each
//! kind, `TANIST_BENCH_BUSY_SECONDS` (600) the length of `busy`.
//!
//! Invariant: every printed figure was measured in this run, with its target and its peer beside it.
//!
//! Not here: verdicts; a reader compares the columns.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod busy;
mod idle;
mod sentinel;
mod tanist;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) target: &'static str,
}

fn main() {
    let named: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let all = ["create", "idle", "kill", "freeze", "switchover", "sentinel"];
    let parts: Vec<&str> =
        if named.is_empty() { all.to_vec() } else { named.iter().map(String::as_str).collect() };
    let mut rows = Vec::new();
    for part in parts {
        println!("# {part}");
        match part {
            "create" => rows.push(idle::create()),
            "idle" => rows.extend(idle::idle()),
            "kill" => rows.extend(tanist::faults("--kill", 100, "median <= 20 ms, max <= 250 ms")),
            "kill-1gb" => rows.extend(tanist::faults("--kill", 1000, "max <= 400 ms")),
            "freeze" => rows.extend(tanist::faults("--freeze", 100, "max <= 400 ms")),
            "switchover" => {
                rows.extend(tanist::faults("--switchover", 100, "max <= 100 ms, 0 errors"));
            }
            "sentinel" => rows.extend(sentinel::faults()),
            "busy" => rows.push(busy::busy()),
            other => println!("there is no part {other:?}"),
        }
    }
    println!("\n| what | measured | target |\n|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} |", row.what, row.measured, row.target);
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Minimum, median and maximum, in milliseconds.
pub(crate) fn spread(mut micros: Vec<u64>) -> String {
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
