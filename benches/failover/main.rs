//! `cargo bench -p tanist-bench --bench failover [-- PART ...]`: how long clients are without a primary.
//!
//! Parts: `kill`, `kill-1gb`, `freeze`, `switchover`, `create`, `idle`, `busy`, `sentinel`, `crowd`;
//! all but `kill-1gb`, `busy` and `crowd` if none is named. `TANIST_BENCH_RUNS` (30) is the number of faults of each
//! kind, `TANIST_BENCH_BUSY_SECONDS` (600) the length of `busy`.
//!
//! Invariant: every printed figure was measured in this run, with its target and its peer beside it.
//!
//! Not here: verdicts; a reader compares the columns.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod busy;
mod crowd;
mod idle;
mod sentinel;
mod tanist;

use tanist_bench::{parts, print};

fn main() {
    let mut rows = Vec::new();
    for part in parts(&["create", "idle", "kill", "freeze", "switchover", "sentinel"]) {
        println!("# {part}");
        match part.as_str() {
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
            "crowd" => rows.extend(crowd::crowd()),
            other => println!("there is no part {other:?}"),
        }
    }
    print(&rows);
}
