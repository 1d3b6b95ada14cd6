//! `cargo bench -p tanist-bench --bench endpoint [-- PART ...]`: what the way through an endpoint costs.
//!
//! Parts: `hop` (beside HAProxy, nutcracker and a direct connection), `sync` (what waiting for copies
//! costs), `memory` (idle clients, and clients that do not read), `tls` (encrypted, beside HAProxy). `TANIST_BENCH_ROUNDS` (7) is the
//! number of rounds, `TANIST_BENCH_REQUESTS` (100000) that of the requests of each measurement.
//!
//! Processor time is the headline: it is the same on a busy machine. Each hop has one thread on the
//! second processor; the load and the engine are on the first.
//!
//! Invariant: whatever is compared was measured by turns in the same run.
//!
//! Not here: failovers (`failover/`).

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod hop;
mod load;
mod memory;
mod peers;
mod sealed;
mod sync;

use tanist_bench::{parts, print};

fn main() {
    let mut rows = Vec::new();
    for part in parts(&["hop", "sync", "memory", "tls"]) {
        println!("# {part}");
        match part.as_str() {
            "hop" => rows.extend(hop::hop()),
            "sync" => rows.extend(sync::sync()),
            "memory" => rows.extend(memory::memory()),
            "tls" => rows.extend(sealed::sealed()),
            other => println!("there is no part {other:?}"),
        }
    }
    print(&rows);
}
