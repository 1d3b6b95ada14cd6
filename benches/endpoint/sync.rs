//! What it costs that a write is acknowledged only when every in-sync replica has it.
//!
//! Invariant: both groups have the same replicas; they differ in what an acknowledgement means.
//!
//! Not here: whether it holds (`tests/`).

use std::net::SocketAddr;

use tanist_bench::{Row, setting};
use tanist_lab::Installation;

use super::load::{Shape, median, run};

/// The part `sync`.
pub(crate) fn sync() -> Vec<Row> {
    let installation = Installation::start();
    let groups = ["async", "sync"].map(|durability| {
        let group =
            installation.create(durability, &["--replicas", "1", "--durability", durability]);
        let endpoint = group.primary_endpoint;
        SocketAddr::from((endpoint.address, endpoint.port))
    });
    let (rounds, requests) =
        (setting("TANIST_BENCH_ROUNDS", 7), setting("TANIST_BENCH_REQUESTS", 100_000));
    let mut rows = Vec::new();
    for (connections, target) in [(50, ">= 0.85"), (500, ">= 0.95")] {
        let shape = Shape { command: "set", connections, pipeline: 1, bytes: 64 };
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for index in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let measured = run(groups[index], shape, requests, 0, 0);
                if round > 0 {
                    rates[index].push(measured.rate);
                }
            }
        }
        let [plain, proven] = rates.map(median);
        rows.push(Row {
            what: format!("writes/s, {connections} connections, `sync` to `async`"),
            measured: format!("{:.2} ({proven:.0} to {plain:.0})", proven / plain),
            target,
        });
    }
    rows
}
