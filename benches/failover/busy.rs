//! A machine that has too much to do must not look like a failure.
//!
//! Invariant: the load runs all the time; a failover that should not be is counted, not excused.
//!
//! Not here: real failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tanist_lab::Installation;
use tanist_resp::Command;

use crate::{Row, setting};

/// Busy loops beside everything else.
const LOOPS: usize = 8;
/// Keys for `KEYS *`.
const KEYS: usize = 1_000_000;

/// Busy loops, writes, `KEYS *` over a million keys and a full copy, for ten minutes.
pub(crate) fn busy() -> Row {
    let installation = Installation::start();
    installation.tanist(&["create", "bench", "--memory", "1gb"]).ok();
    let epoch = installation.shard("bench").epoch;
    let stop = Arc::new(AtomicBool::new(false));
    let length = Duration::from_secs(setting("TANIST_BENCH_BUSY_SECONDS", 600));
    let endpoint = installation.group("bench").primary_endpoint;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    let loops: Vec<_> = (0..LOOPS)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n = std::hint::black_box(n.wrapping_add(1));
                }
            })
        })
        .collect();
    let (writes, scans, slowest) = runtime.block_on(async {
        let mut connection = installation.connect(&endpoint).await;
        let patience = Duration::from_secs(60);
        for batch in 0..KEYS / 1000 {
            let keys = (0..1000).map(|n| format!("k:{}", batch * 1000 + n));
            let mset = keys.fold(Command::new("MSET"), |command, key| command.arg(key).arg("v"));
            let reply = connection.call(&mset, patience).await;
            assert!(reply.as_ref().is_ok_and(tanist_resp::Value::is_ok), "{reply:?}");
        }
        let (mut writes, mut scans, mut slowest) = (0u64, 0u64, Duration::ZERO);
        let started = Instant::now();
        let mut next_scan = Instant::now();
        while started.elapsed() < length {
            if Instant::now() >= next_scan {
                let asked = Instant::now();
                let reply = connection.call(&Command::new("KEYS").arg("*"), patience).await;
                assert!(reply.is_ok(), "{reply:?}");
                slowest = slowest.max(asked.elapsed());
                scans += 1;
                next_scan = Instant::now() + Duration::from_secs(20);
            }
            let set = Command::new("SET").arg("busy").arg("v");
            let reply = connection.call(&set, patience).await;
            assert!(reply.as_ref().is_ok_and(tanist_resp::Value::is_ok), "{reply:?}");
            writes += 1;
        }
        (writes, scans, slowest)
    });
    stop.store(true, Ordering::Relaxed);
    for thread in loops {
        thread.join().unwrap_or_else(|_| panic!("a busy loop"));
    }
    let failovers = installation.shard("bench").epoch.0 - epoch.0;
    Row {
        what: format!(
            "{length:?} with {LOOPS} busy loops and {scans} times KEYS * over {KEYS} keys"
        ),
        measured: format!("{failovers} failovers; {writes} writes, slowest KEYS {slowest:?}"),
        target: "0 failovers",
    }
}
