//! What a drill found, for people and for programs.
//!
//! Invariant: every number in it was measured in this run; a fault whose timeline is incomplete says
//! so.
//!
//! Not here: measuring (`super::load`, `tanist_core::ledger`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tanist_core::ledger::{Ledger, Verdict};
use tanist_link::Client;
use tanist_link::api::{FailoverRecord, Step};

use super::faults::{FaultKind, FaultRun};
use super::load::Counters;
use crate::failure::Failure;
use crate::output::{Output, Paint};

/// One fault and what clients noticed of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FaultReport {
    #[serde(flatten)]
    run: FaultRun,
    /// The steps, in microseconds since the fault.
    steps: Vec<(Step, i64)>,
    heir: Option<String>,
    /// The longest time without an acknowledged write, in microseconds.
    longest_gap_us: u64,
    /// The slowest acknowledged write, in microseconds.
    slowest_us: u64,
    /// Errors that clients were answered with.
    errors: u64,
    passed: bool,
}

/// A whole drill.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    group: String,
    faults: Vec<FaultReport>,
    verdict: Verdict,
    reads: u64,
    wrong_reads: u64,
    reader_reads: u64,
    reader_errors: u64,
    limit_ms: u64,
    pub(crate) passed: bool,
}

impl Report {
    /// Puts the report together.
    pub(crate) async fn new(
        client: &Client,
        group: &str,
        runs: Vec<FaultRun>,
        ledger: &Ledger,
        found: &BTreeMap<u64, u64>,
        counters: &Counters,
        limit_ms: u64,
    ) -> Result<Self, Failure> {
        let records: Vec<FailoverRecord> =
            client.get(&format!("/v1/groups/{group}/history")).await?;
        let faults: Vec<FaultReport> = runs
            .into_iter()
            .map(|run| {
                let record = records.iter().find(|record| record.epoch == run.epoch);
                FaultReport::new(run, record, ledger, limit_ms)
            })
            .collect();
        let verdict = ledger.judge(found);
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let wrong_reads = read(&counters.wrong_reads);
        let reader_errors = read(&counters.reader_errors);
        let clean = verdict.lost == 0
            && verdict.phantoms == 0
            && verdict.failed == 0
            && verdict.disconnects == 0
            && verdict.unanswered == 0
            && wrong_reads == 0
            && reader_errors == 0;
        Ok(Self {
            group: group.to_owned(),
            passed: clean && faults.iter().all(|fault| fault.passed),
            faults,
            verdict,
            reads: read(&counters.reads),
            wrong_reads,
            reader_reads: read(&counters.reader_reads),
            reader_errors,
            limit_ms,
        })
    }

    /// Writes it where drills are kept.
    pub(crate) fn save(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let failed = |err: &dyn std::error::Error| {
            Failure::caused("T657", err, "free disk space; the report was not saved")
        };
        let name = format!("{}-{}.json", self.group, tanist_controller::wall_ms());
        let path = dir.join(name);
        let text = serde_json::to_vec_pretty(self).map_err(|err| failed(&err))?;
        std::fs::create_dir_all(dir).map_err(|err| failed(&err))?;
        std::fs::write(&path, text).map_err(|err| failed(&err))?;
        Ok(path)
    }

    /// Shows it.
    pub(crate) fn print(&self, out: &Output) {
        for fault in &self.faults {
            fault.print(out);
        }
        let v = &self.verdict;
        out.line("");
        out.line(format!(
            "clients   disconnects {}   errors {}   uncertain {}   unanswered {}",
            v.disconnects, v.failed, v.uncertain, v.unanswered
        ));
        out.line(format!(
            "reads     {} of own writes, {} wrong   {} through the reader endpoint, {} failed",
            self.reads, self.wrong_reads, self.reader_reads, self.reader_errors
        ));
        out.line(format!("slowest   {}", ms(micros(v.slowest))));
        out.line(format!(
            "RPO       {} acknowledged writes lost of {} (each one read back)",
            v.lost, v.acked
        ));
        let (paint, word) = if self.passed { (Paint::Good, "PASS") } else { (Paint::Bad, "FAIL") };
        let word = out.paint(paint, word);
        out.line(format!(
            "{word}      (limits: no loss, no disconnect, no error but -UNCERTAIN on a crash, gap {} ms)",
            self.limit_ms
        ));
    }
}

impl FaultReport {
    fn new(run: FaultRun, record: Option<&FailoverRecord>, ledger: &Ledger, limit_ms: u64) -> Self {
        let gap = ledger.gap_within(run.from, run.to);
        let errors = ledger.errors_within(run.from, run.to);
        let planned = run.kind == FaultKind::Switchover;
        let moved = record.is_some_and(|record| record.to.is_some() && record.to != record.from);
        let passed =
            moved && gap.length <= Duration::from_millis(limit_ms) && (!planned || errors == 0);
        let steps = record.map(|record| {
            let offset = signed(record.detected.as_micros()) - signed(run.from.as_micros());
            record.steps.iter().map(|(step, at)| (*step, offset + signed(*at))).collect()
        });
        Self {
            steps: steps.unwrap_or_default(),
            heir: record.and_then(|record| record.to.as_ref()).map(ToString::to_string),
            longest_gap_us: micros(gap.length),
            slowest_us: micros(ledger.slowest_within(run.from, run.to)),
            errors,
            passed,
            run,
        }
    }

    fn print(&self, out: &Output) {
        let title = format!("{} ({}) {}", self.run.node, self.run.zone, self.run.kind.done());
        out.line("");
        out.line(out.paint(Paint::Bold, &title));
        let heir = self.heir.as_deref().unwrap_or("nobody");
        for (step, at) in &self.steps {
            let words = match step {
                Step::Detected => "detected".to_owned(),
                Step::Vacated => format!("epoch {} begun: nobody is primary", self.run.epoch),
                Step::Fenced => format!("fenced: {} cannot acknowledge anything", self.run.node),
                Step::Chosen => format!("chosen: {heir} has every acknowledged write"),
                Step::Promoted => format!("promoted: {heir}"),
                Step::Released => "released: held requests are served".to_owned(),
                Step::Replaced => "replaced: every replica is in sync again".to_owned(),
            };
            out.line(format!("  T+{:>9}  {words}", ms(u64::try_from(*at).unwrap_or(0))));
        }
        out.line(format!(
            "  RTO {} (longest gap between acknowledged writes)   slowest request {}   errors {}",
            ms(self.longest_gap_us),
            ms(self.slowest_us),
            self.errors
        ));
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds with one decimal.
fn ms(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}
