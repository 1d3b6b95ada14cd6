//! The peer: one primary, two replicas and three Sentinels with `down-after-milliseconds 1000`, and
//! clients that ask a Sentinel for the primary whenever something fails.
//!
//! Invariant: the same engine binary, the same machine, the same kind of fault and judge as ours.
//!
//! Not here: our own figures (`super::tanist`).

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use tanist_bench::{Row, setting, spread};
use tanist_resp::{Command, Connection};

const FIRST_PORT: u16 = 27_100;
const DOWN_AFTER_MS: u64 = 1000;
/// Between two writes of the one client.
const EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(30);

struct Peer {
    _dir: tempfile::TempDir,
    engines: Vec<Child>,
    sentinels: Vec<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in self.engines.iter_mut().chain(&mut self.sentinels) {
            // It may have been killed already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn start(dir: &Path, args: &[String]) -> Child {
    let child = Process::new("redis-server")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.unwrap_or_else(|err| panic!("redis-server {args:?}: {err}"))
}

impl Peer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
        let mut engines = Vec::new();
        for n in 0..3u16 {
            let own = dir.path().join(format!("engine-{n}"));
            std::fs::create_dir(&own).unwrap_or_else(|err| panic!("{err}"));
            let port = (FIRST_PORT + n).to_string();
            let mut args: Vec<String> = [
                "--port",
                &port,
                "--appendonly",
                "yes",
                "--save",
                "",
                "--repl-diskless-sync-delay",
                "0",
            ]
            .map(str::to_owned)
            .to_vec();
            if n > 0 {
                args.extend(["--replicaof".to_owned(), format!("127.0.0.1 {FIRST_PORT}")]);
            }
            engines.push(start(&own, &args));
        }
        let mut sentinels = Vec::new();
        for n in 0..3u16 {
            let conf = dir.path().join(format!("sentinel-{n}.conf"));
            let text = format!(
                "port {}\nsentinel monitor bench 127.0.0.1 {FIRST_PORT} 2\n\
                 sentinel down-after-milliseconds bench {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout bench 5000\n",
                FIRST_PORT + 10 + n
            );
            std::fs::write(&conf, text).unwrap_or_else(|err| panic!("{err}"));
            let args = [conf.display().to_string(), "--sentinel".to_owned()];
            sentinels.push(start(dir.path(), &args));
        }
        Self { _dir: dir, engines, sentinels }
    }
}

async fn primary() -> Option<SocketAddr> {
    let mut sentinel =
        Connection::connect(address(FIRST_PORT + 10), Duration::from_millis(200)).await.ok()?;
    let ask = Command::new("SENTINEL").arg("get-master-addr-by-name").arg("bench");
    let reply = sentinel.call(&ask, Duration::from_millis(200)).await.ok()?;
    let port = reply.as_array()?.get(1)?.as_str()?.parse().ok()?;
    Some(address(port))
}

/// Writes until the deadline; the longest time without an acknowledged write, and errors seen.
async fn write_for(length: Duration) -> (Duration, u64) {
    let started = Instant::now();
    let (mut last, mut gap, mut errors) = (Instant::now(), Duration::ZERO, 0);
    let mut connection = None;
    while started.elapsed() < length {
        if connection.is_none()
            && let Some(address) = primary().await
        {
            connection = Connection::connect(address, Duration::from_millis(200)).await.ok();
        }
        let set = Command::new("SET").arg("k").arg("v");
        let written = match &mut connection {
            Some(open) => open.call(&set, Duration::from_secs(1)).await.is_ok_and(|r| r.is_ok()),
            None => false,
        };
        if written {
            gap = gap.max(last.elapsed());
            last = Instant::now();
        } else {
            errors += 1;
            connection = None;
        }
        // waits: the client's own pace.
        tokio::time::sleep(EVERY).await;
    }
    (gap.max(last.elapsed()), errors)
}

/// Kills the primary of fresh Sentinel set-ups.
pub(crate) fn faults() -> Vec<Row> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    let (mut gaps, mut seen) = (Vec::new(), 0);
    for run in 1..=setting("TANIST_BENCH_RUNS", 30).min(10) {
        let mut peer = Peer::start();
        let (gap, errors) = runtime.block_on(async {
            ready().await;
            let writer = tokio::spawn(write_for(Duration::from_secs(8)));
            // waits: a stretch of undisturbed load comes first.
            tokio::time::sleep(Duration::from_secs(2)).await;
            peer.engines[0].kill().unwrap_or_else(|err| panic!("killing: {err}"));
            writer.await.unwrap_or_else(|err| panic!("the writer: {err}"))
        });
        println!("  run {run}: gap {:.1} ms, {errors} errors", gap.as_secs_f64() * 1000.0);
        gaps.push(u64::try_from(gap.as_micros()).unwrap_or(u64::MAX));
        seen += errors;
    }
    vec![Row {
        what: format!("Sentinel, down-after {DOWN_AFTER_MS} ms, kill: longest write gap"),
        measured: format!("{}; {seen} client errors", spread(gaps)),
        target: "(peer)",
    }]
}

/// Waits until every Sentinel knows two replicas and two other Sentinels.
async fn ready() {
    let started = Instant::now();
    loop {
        let mut good = 0;
        for n in 0..3u16 {
            good += u8::from(knows_all(address(FIRST_PORT + 10 + n)).await.unwrap_or(false));
        }
        if good == 3 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the Sentinels do not find each other");
        // waits: Sentinel announces nothing before somebody subscribes to it.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn knows_all(sentinel: SocketAddr) -> Option<bool> {
    let mut connection = Connection::connect(sentinel, Duration::from_millis(200)).await.ok()?;
    let ask = Command::new("SENTINEL").arg("master").arg("bench");
    let reply = connection.call(&ask, Duration::from_millis(200)).await.ok()?;
    let of = |key: &str| reply.get(key).and_then(|value| value.as_str()?.parse::<u8>().ok());
    Some(of("num-slaves")? == 2 && of("num-other-sentinels")? == 2)
}
