//! Load by `redis-benchmark`, and the processor time that it costs others.
//!
//! Invariant: the load runs on the first processor.
//!
//! Not here: whom it is sent to (`super::peers`).

use std::net::SocketAddr;
use std::process::Command;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) command: &'static str,
    pub(crate) connections: u32,
    pub(crate) pipeline: u32,
    pub(crate) bytes: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Processor seconds per million requests: of the hop, and of the engine.
    pub(crate) hop: f64,
    pub(crate) engine: f64,
}

/// Puts every thread of a process on a processor.
pub(crate) fn pin(pid: u32, processor: u32) {
    let pinned = Command::new("taskset")
        .args(["-apc", &processor.to_string(), &pid.to_string()])
        .output()
        .unwrap_or_else(|err| panic!("taskset: {err}"));
    assert!(pinned.status.success(), "taskset: {pinned:?}");
}

/// Processor time of all threads so far, in nanoseconds.
pub(crate) fn spent(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}

/// Sends a load; `hop` and `engine` are processes, 0 for none.
pub(crate) fn run(to: SocketAddr, shape: Shape, requests: u64, hop: u32, engine: u32) -> Measured {
    run_with(&[], to, shape, requests, hop, engine)
}

/// The same, with more arguments for `redis-benchmark`.
pub(crate) fn run_with(
    with: &[&str],
    to: SocketAddr,
    shape: Shape,
    requests: u64,
    hop: u32,
    engine: u32,
) -> Measured {
    let requests = requests * u64::from(shape.pipeline.min(8));
    let before = [spent(hop), spent(engine)];
    let ran = Command::new("taskset")
        .args(["-c", "0", "redis-benchmark", "--csv", "-h", &to.ip().to_string()])
        .args(["-p", &to.port().to_string(), "-t", shape.command])
        .args(["-c", &shape.connections.to_string(), "-P", &shape.pipeline.to_string()])
        .args(with)
        .args(["-d", &shape.bytes.to_string(), "-n", &requests.to_string()])
        .output()
        .unwrap_or_else(|err| panic!("redis-benchmark: {err}"));
    let after = [spent(hop), spent(engine)];
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> =
        line.split(',').filter_map(|word| word.trim_matches('"').parse().ok()).collect();
    // rate, then average, least, p50, p95, p99 and most.
    let [rate, _, _, p50, _, p99, _] = numbers[..] else {
        panic!("redis-benchmark said: {text}{}", String::from_utf8_lossy(&ran.stderr));
    };
    let each = |index: usize| {
        (after[index].saturating_sub(before[index])) as f64 / requests as f64 / 1_000.0
    };
    Measured { rate, p50, p99, hop: each(0), engine: each(1) }
}

/// The middle of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The geometric mean.
pub(crate) fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = numbers
        .into_iter()
        .fold((0.0, 0.0), |(sum, count), number| (sum + f64::ln(number), count + 1.0));
    f64::exp(sum / count)
}
