//! `cargo bench -p tanist-bench --bench front [-- PART ...]`: how fast the AWS endpoint answers.
//!
//! Parts: `describe`, `mutate`, `testfailover`; all if none is named. `TANIST_BENCH_GROUPS` (200) is
//! the number of groups of `describe` and `TANIST_BENCH_CALLS` (2000) that of its calls of each kind,
//! `TANIST_BENCH_CALLERS` (100) and `TANIST_BENCH_CHANGES` (10) the callers of `mutate` and the
//! changes of each, `TANIST_BENCH_RUNS` (10) the number of failovers of each kind.
//!
//! Invariant: every call is signed, over HTTP, to a running installation with real engines.
//!
//! Not here: failovers after faults (`failover/`).

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod describe;
mod load;
mod mutate;
mod testfailover;

use tanist_bench::{parts, print};
use tokio::runtime::Runtime;

fn main() {
    let mut rows = Vec::new();
    for part in parts(&["describe", "mutate", "testfailover"]) {
        println!("# {part}");
        match part.as_str() {
            "describe" => rows.extend(describe::describe()),
            "mutate" => rows.extend(mutate::mutate()),
            "testfailover" => rows.extend(testfailover::testfailover()),
            other => println!("there is no part {other:?}"),
        }
    }
    print(&rows);
}

fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.unwrap_or_else(|err| panic!("a runtime: {err}"))
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
