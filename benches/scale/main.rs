//! `cargo bench -p tanist-bench --bench scale [-- OPTION ...]`: one leading server with very many groups.
//!
//! Real are the server, etcd, the link between hosts and the API. Simulated are the hosts: what the agent,
//! the supervisor and the proxy of each would say, without engines and without clients.
//!
//! `--groups N` (2000), half of them `sync`; `--hosts N` (40) in three zones; `--replicas N` (2);
//! `--loaded PERCENT` (10) of the groups have clients that write; `--quiet SECONDS` (60) in which nothing
//! happens; `--failures N` (300), one every `--every MILLIS` (200); `--building N` (8): while so many
//! groups have not all replicas in sync yet, no more are created; `--etcd 1|3` (1) members; `--json` for a
//! line of JSON after the table; `--keep` to keep what the server has said. The server is the program
//! of the same build: `cargo build --release -p tanist` first.
//!
//! Invariant: every printed figure was measured in this run; what did not happen is said, not left out.
//!
//! Not here: what real engines and proxies add (`failover`, `endpoint`).

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]
#![expect(clippy::print_stderr, reason = "progress is no result")]

mod engines;
mod fleet;
mod host;
mod leases;
mod node;
mod options;
mod phases;
mod process;
mod proxy;
mod said;
mod shared;
mod table;
mod watch;

use tokio::signal::unix::{SignalKind, signal};

use self::options::Options;
use self::phases::Bench;

fn main() {
    let options = Options::read();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    runtime.block_on(async {
        let asked = signal(SignalKind::terminate());
        let mut asked = asked.unwrap_or_else(|err| panic!("listening for a signal: {err}"));
        let measured = tokio::select! {
            measured = Box::pin(measure(&options)) => measured,
            // What was started ends with what is dropped here.
            _ = asked.recv() => return eprintln!("asked to end"),
            _ = tokio::signal::ctrl_c() => return eprintln!("asked to end"),
        };
        table::print(&options, &measured);
    });
}

async fn measure(options: &Options) -> table::Measured {
    let mut bench = Bench::begin(options).await;
    bench.create().await;
    bench.quiet().await;
    bench.failures().await;
    bench.lose_host().await;
    bench.restart().await;
    bench.end().await
}
