//! Drills on an installation of our own: 50 connections, 5,000 writes a second.
//!
//! Invariant: the figures are those of `tanist drill -o json`.
//!
//! Not here: peers (`super::sentinel`).

use std::time::Duration;

use serde_json::Value;
use tanist_bench::{Row, setting, spread};
use tanist_lab::Installation;
use tanist_resp::Command;

/// Bytes of each value that fills the group.
const VALUE: usize = 1000;
/// Values per request.
const BATCH: usize = 500;

/// Runs faults of one kind against a group that holds `megabytes` of data.
pub(crate) fn faults(flag: &str, megabytes: usize, target: &'static str) -> Vec<Row> {
    let installation = Installation::start();
    let memory = format!("{}mb", megabytes * 2 + 400);
    let create = installation.tanist(&["create", "bench", "--memory", &memory]);
    println!("{}", create.ok());
    fill(&installation, megabytes);
    installation.available("bench");
    let runs = setting("TANIST_BENCH_RUNS", 30);
    let (gaps, totals) = faults_of(&installation, flag, runs);
    let what = flag.trim_start_matches("--");
    vec![
        Row {
            what: format!("{what}, {megabytes} MB: longest write gap"),
            measured: spread(gaps),
            target,
        },
        Row {
            what: format!("{what}, {megabytes} MB: what clients saw"),
            measured: totals.to_string(),
            target: "0 lost, 0 disconnects, 0 errors",
        },
    ]
}

/// Runs so many drills of one kind; the gaps, in microseconds, and what clients saw.
pub(crate) fn faults_of(installation: &Installation, flag: &str, runs: u64) -> (Vec<u64>, Totals) {
    let mut gaps = Vec::new();
    let mut totals = Totals::default();
    for run in 1..=runs {
        let drill = ["drill", "bench", flag, "--load", "5000", "--connections", "50", "-o", "json"];
        let ran = installation.tanist(&drill);
        let report: Value = match serde_json::from_str(&ran.out) {
            Ok(report) => report,
            Err(err) => {
                println!("run {run} failed: {err}\n{}\n{}", ran.out, ran.err);
                break;
            }
        };
        let gap = report["faults"][0]["longest_gap_us"].as_u64().unwrap_or(0);
        println!("  run {run}: gap {:.1} ms", gap as f64 / 1000.0);
        gaps.push(gap);
        totals.add(&report);
    }
    (gaps, totals)
}

/// What clients saw, over all runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    acked: u64,
    lost: u64,
    disconnects: u64,
    failed: u64,
    uncertain: u64,
}

impl Totals {
    fn add(&mut self, report: &Value) {
        let of = |name: &str| report["verdict"][name].as_u64().unwrap_or(0);
        self.acked += of("acked");
        self.lost += of("lost");
        self.disconnects += of("disconnects");
        self.failed += of("failed") + of("unanswered");
        self.uncertain += of("uncertain");
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} lost of {} acknowledged, {} disconnects, {} errors, {} uncertain",
            self.lost, self.acked, self.disconnects, self.failed, self.uncertain
        )
    }
}

fn fill(installation: &Installation, megabytes: usize) {
    let endpoint = installation.group("bench").primary_endpoint;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    let value = "x".repeat(VALUE);
    runtime.block_on(async {
        let mut connection = installation.connect(&endpoint).await;
        let batches = megabytes * 1_000_000 / VALUE / BATCH;
        for batch in 0..batches {
            let keys = (0..BATCH).map(|n| format!("fill:{}", batch * BATCH + n));
            let mset = keys.fold(Command::new("MSET"), |command, key| command.arg(key).arg(&value));
            let reply = connection.call(&mset, Duration::from_secs(30)).await;
            assert!(reply.as_ref().is_ok_and(tanist_resp::Value::is_ok), "{reply:?}");
        }
    });
}
