//! A machine that has too much to do must not look like a failure.
//!
//! Invariant: the load runs all the time; a failover that should not be is counted, not excused.
//!
//! Not here: real failures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tanist_bench::{Row, setting};
use tanist_lab::Installation;
use tanist_resp::{Command, Connection, Value};
use tokio::task::JoinSet;

/// Busy loops beside everything else.
const LOOPS: usize = 8;
/// Keys for `KEYS *`.
const KEYS: usize = 1_000_000;
/// Connections that write, and how long each waits between two writes: 5,000 writes a second, if
/// the machine had the time for them.
const WRITERS: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);
/// Between two times `KEYS *`.
const SCAN_EVERY: Duration = Duration::from_secs(20);
/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Busy loops that end when this is dropped.
struct Loops(Arc<AtomicBool>);

impl Loops {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..LOOPS {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n = std::hint::black_box(n.wrapping_add(1));
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Busy loops, writes, `KEYS *` over a million keys and one BGSAVE, for ten minutes.
pub(crate) fn busy() -> Row {
    let installation = Installation::start();
    installation.tanist(&["create", "bench", "--memory", "1gb"]).ok();
    let epoch = installation.shard("bench").epoch;
    let length = Duration::from_secs(setting("TANIST_BENCH_BUSY_SECONDS", 600));
    let endpoint = installation.group("bench").primary_endpoint;
    let address = SocketAddr::from((endpoint.address, endpoint.port));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    let (writes, scans, slowest) = runtime.block_on(async {
        let mut client = connect(address).await;
        fill(&mut client).await;
        let _loops = Loops::start();
        let writes = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for n in 0..WRITERS {
            writers.spawn(write(address, n, Arc::clone(&writes)));
        }
        let (scans, slowest) = scan(&mut client, &installation, length).await;
        // A writer that ended has failed an assertion.
        assert!(writers.try_join_next().is_none(), "a write failed");
        (writes.load(Ordering::Relaxed), scans, slowest)
    });
    let failovers = installation.shard("bench").epoch.0 - epoch.0;
    Row {
        what: format!(
            "{} s with {LOOPS} busy loops, writes, {scans} times KEYS * over {KEYS} keys, 1 BGSAVE",
            length.as_secs()
        ),
        measured: format!(
            "{failovers} failovers; {writes} writes and 0 errors; slowest KEYS {:.1} s",
            slowest.as_secs_f64()
        ),
        target: "0 failovers",
    }
}

async fn connect(address: SocketAddr) -> Connection {
    let connection = Connection::connect(address, PATIENCE).await;
    connection.unwrap_or_else(|err| panic!("connecting to {address}: {err}"))
}

async fn fill(client: &mut Connection) {
    for batch in 0..KEYS / 1000 {
        let keys = (0..1000).map(|n| format!("k:{}", batch * 1000 + n));
        let mset = keys.fold(Command::new("MSET"), |command, key| command.arg(key).arg("v"));
        let reply = client.call(&mset, PATIENCE).await;
        assert!(reply.as_ref().is_ok_and(Value::is_ok), "{reply:?}");
    }
}

async fn write(address: SocketAddr, n: usize, writes: Arc<AtomicU64>) {
    let mut client = connect(address).await;
    let set = Command::new("SET").arg(format!("busy:{n}")).arg("v");
    loop {
        let reply = client.call(&set, PATIENCE).await;
        assert!(reply.as_ref().is_ok_and(Value::is_ok), "{reply:?}");
        writes.fetch_add(1, Ordering::Relaxed);
        // waits: the pace of the load.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Scans until the time is over, and lets the primary take one snapshot half-way.
async fn scan(
    client: &mut Connection,
    installation: &Installation,
    length: Duration,
) -> (u64, Duration) {
    let (mut scans, mut slowest) = (0, Duration::ZERO);
    let started = Instant::now();
    let mut saved = false;
    while started.elapsed() < length {
        let asked = Instant::now();
        let reply = client.call(&Command::new("KEYS").arg("*"), PATIENCE).await;
        let found = reply.as_ref().ok().and_then(|value| value.as_array()).map_or(0, <[_]>::len);
        assert!(found >= KEYS, "{found} keys");
        slowest = slowest.max(asked.elapsed());
        scans += 1;
        if !saved && started.elapsed() >= length / 2 {
            saved = true;
            let mut engine = installation.engine(&installation.primary("bench")).await;
            let reply = engine.call(&Command::new("BGSAVE"), PATIENCE).await;
            assert!(reply.is_ok_and(|value| value.as_error().is_none()), "BGSAVE was refused");
        }
        // waits: the pace of the load.
        tokio::time::sleep(SCAN_EVERY.min(length.saturating_sub(started.elapsed()))).await;
    }
    assert!(saved, "no BGSAVE within {length:?}");
    (scans, slowest)
}
