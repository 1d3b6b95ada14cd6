//! Measures what a commit costs: compare-and-set commits one after the other, and a plain
//! `fdatasync` of the same size on the same file system for comparison.
//!
//! A commit is on the critical path of a failover, whose budget is a few milliseconds.
//!
//! Usage: `cargo run --release -p tanist-store --example commit_latency [directory [value bytes]]`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tanist_store::{Options, Revision, SqliteStore, Store, Txn};

const COMMITS: usize = 1000;
const WRITERS: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let home = PathBuf::from(args.next().unwrap_or_else(|| ".".to_owned()));
    let bytes: usize = args.next().map_or(Ok(4096), |text| text.parse())?;
    let dir = home.join(format!("commit-latency-{}", std::process::id()));
    let store = SqliteStore::open(&dir, Options::default()).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{COMMITS} commits each, values of {bytes} bytes")?;
    writeln!(out, "{}", line("fdatasync alone", plain_syncs(&dir, 3 * bytes + 8192)?))?;
    writeln!(out, "{}", line("one writer, first 1000", commits(&store, "a", bytes).await?))?;
    writeln!(out, "{}", line("one writer, next 1000", commits(&store, "b", bytes).await?))?;
    let began = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                commits(&store, &format!("w/{n}"), bytes).await.map_err(|e| e.to_string())
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    writeln!(out, "{}", line("16 writers at once", all))?;
    writeln!(out, "16 writers: {rate:.0} commits per second")?;
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn commits(
    store: &SqliteStore,
    key: &str,
    bytes: usize,
) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let mut seen = Revision::ABSENT;
    let mut times = Vec::with_capacity(COMMITS);
    for n in 0..COMMITS {
        let value = vec![(n % 256) as u8; bytes];
        let began = Instant::now();
        let outcome = store.txn(Txn::new().when_unchanged(key, seen).put(key, value)).await?;
        times.push(began.elapsed());
        if !outcome.committed {
            return Err("a compare failed that had to hold".into());
        }
        seen = outcome.revision;
    }
    Ok(times)
}

fn plain_syncs(dir: &Path, bytes: usize) -> std::io::Result<Vec<Duration>> {
    let path = dir.join("plain");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).open(&path)?;
    let block = vec![7; bytes];
    let mut times = Vec::with_capacity(COMMITS);
    for n in 0..COMMITS {
        let began = Instant::now();
        file.write_all_at(&block, ((n % 100) * bytes) as u64)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(times)
}

fn line(name: &str, mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len() - 1)).copied().unwrap_or_default()
    };
    let (median, p99, max) = (at(0.5), at(0.99), at(1.0));
    format!("{name:<24} median {median:>10.1?}   p99 {p99:>10.1?}   max {max:>10.1?}")
}
