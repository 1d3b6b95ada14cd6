//! What an installation costs when nobody uses it, and how long a group takes to be there.
//!
//! Invariant: only Tanist's own processes are counted, never the engines.
//!
//! Not here: load (`super::tanist`).

use std::time::{Duration, Instant};

use tanist_bench::{Row, setting, spread};
use tanist_lab::Installation;

/// Clock ticks a second in `/proc/PID/stat`.
const TICKS: u64 = 100;
/// How long idleness is watched.
const WATCH: Duration = Duration::from_secs(20);

/// Groups of three, created and deleted: time until every replica is in sync.
pub(crate) fn create() -> Row {
    let installation = Installation::start();
    let times = (0..setting("TANIST_BENCH_RUNS", 30)).map(|_| {
        let started = Instant::now();
        installation.tanist(&["create", "bench"]).ok();
        let took = started.elapsed();
        installation.tanist(&["delete", "bench", "--yes"]).ok();
        u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
    });
    Row {
        what: "group of three created until available".to_owned(),
        measured: spread(times.collect()),
        target: "<= 3 s",
    }
}

/// CPU and memory of Tanist's own processes beside one idle group.
pub(crate) fn idle() -> Vec<Row> {
    let installation = Installation::start();
    installation.tanist(&["create", "bench"]).ok();
    let own = installation.own_processes();
    let before: u64 = own.iter().map(|pid| ticks(*pid)).sum();
    // waits: a stretch of idleness is what is measured.
    std::thread::sleep(WATCH);
    let used: u64 = own.iter().map(|pid| ticks(*pid)).sum::<u64>() - before;
    let share = used as f64 / (WATCH.as_secs() * TICKS) as f64 * 100.0;
    let rss: u64 = own.iter().map(|pid| resident(*pid)).sum();
    vec![
        Row {
            what: format!("one idle group: CPU of Tanist's {} processes", own.len()),
            measured: format!("{share:.1} % of a core over {WATCH:?}"),
            target: "< 4 %",
        },
        Row {
            what: "the same: resident memory together".to_owned(),
            measured: format!("{} MiB", rss >> 10),
            target: "< 100 MiB",
        },
    ]
}

/// User and system time.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum()
}

/// Resident memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
