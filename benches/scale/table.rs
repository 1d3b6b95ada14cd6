//! What was measured, for people and for programs.
//!
//! Not here: measuring (`super::phases`).

use std::time::Duration;

use serde_json::{Value, json};
use tanist_bench::Row;
use tanist_core::model::Durability;

use super::options::Options;
use super::watch::Trial;

/// Silence after which a host counts as lost.
const HOST_LIMIT: Duration = Duration::from_millis(500);

/// One phase.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    pub(crate) seconds: f64,
    /// Processors in use, on average: by the server, by all of etcd, by the benchmark itself.
    pub(crate) cores: f64,
    pub(crate) etcd_cores: f64,
    pub(crate) own_cores: f64,
    /// The server's memory in RAM at the end, and at most until then, in bytes.
    pub(crate) resident: u64,
    pub(crate) most: u64,
    /// How much was said in it.
    pub(crate) counts: Vec<(&'static str, u64)>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) groups: usize,
    /// From the first request until all had been answered, and until all groups were whole.
    pub(crate) created: Duration,
    pub(crate) whole: Duration,
    pub(crate) available: usize,
    pub(crate) creating: Phase,
    pub(crate) quiet: Phase,
    pub(crate) failing: Phase,
    pub(crate) failures: Vec<Trial>,
    /// Failures that were not made, because no group was well.
    pub(crate) skipped: usize,
    pub(crate) losing: Phase,
    pub(crate) lost: Vec<Trial>,
    pub(crate) restarted: Option<Restarted>,
    pub(crate) again: Duration,
    pub(crate) available_again: usize,
    pub(crate) most: u64,
    pub(crate) totals: Vec<(&'static str, u64)>,
}

/// What followed from killing the server and starting it again, counted from the killing.
#[derive(Debug)]
pub(crate) struct Restarted {
    /// Until it led.
    pub(crate) leads: Duration,
    /// Until every agent and every proxy had called; nothing if some had not.
    pub(crate) talk: Option<Duration>,
    /// Until all groups were available, and how many were.
    pub(crate) settled: Duration,
    pub(crate) available: usize,
    /// Groups that have had another primary, or none.
    pub(crate) moved: usize,
}

impl Restarted {
    fn row(&self) -> Row {
        let Self { leads, settled, available, moved, .. } = self;
        let talk = self.talk.map_or("NEVER".to_owned(), |talk| format!("after {talk:.1?}"));
        Row {
            what: "the server killed and started again".to_owned(),
            measured: format!(
                "leads after {leads:.1?}, all talk {talk}, {available} available after \
                 {settled:.1?}; {moved} groups failed over"
            ),
            target: "0 groups",
        }
    }

    fn json(&self) -> Value {
        json!({
            "leads_s": self.leads.as_secs_f64(),
            "talk_s": self.talk.map(|talk| talk.as_secs_f64()),
            "settled_s": self.settled.as_secs_f64(),
            "available": self.available,
            "moved": self.moved,
        })
    }
}

impl Phase {
    fn rate(&self, name: &str) -> f64 {
        let count = self.counts.iter().find(|(known, _)| *known == name);
        count.map_or(0.0, |(_, count)| *count as f64) / self.seconds.max(0.001)
    }

    /// Who used how much.
    pub(crate) fn used(&self) -> String {
        let Self { cores, etcd_cores, own_cores, seconds, .. } = self;
        format!(
            "server {cores:.2}, etcd {etcd_cores:.2}, benchmark {own_cores:.2} ({seconds:.0} s)"
        )
    }

    fn row(&self, what: &str, target: &'static str) -> Row {
        Row { what: format!("{what}: processors in use"), measured: self.used(), target }
    }

    fn memory(&self, what: &str, target: &'static str) -> Row {
        let mib = |bytes: u64| bytes >> 20;
        let measured = format!("{} MiB, at most {} MiB", mib(self.resident), mib(self.most));
        Row { what: format!("{what}: memory of the server"), measured, target }
    }

    fn said(&self, what: &str) -> Row {
        let names = [
            "reports",
            "nodes_in_reports",
            "beats",
            "shards_in_beats",
            "vitals",
            "lease_questions",
            "orders",
            "routes",
        ];
        let words = names.map(|name| format!("{} {:.0}", name.replace('_', " "), self.rate(name)));
        Row { what: format!("{what}: said in a second"), measured: words.join(", "), target: "" }
    }

    fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "cores": self.cores,
            "etcd_cores": self.etcd_cores,
            "benchmark_cores": self.own_cores,
            "rss_bytes": self.resident,
            "rss_most_bytes": self.most,
            "said": said(&self.counts),
        })
    }
}

fn said(counts: &[(&'static str, u64)]) -> Value {
    Value::Object(counts.iter().map(|(name, n)| ((*name).to_owned(), Value::from(*n))).collect())
}

/// Times of those trials that have one, in microseconds.
fn micros(trials: &[Trial], of: impl Fn(&Trial) -> Option<Duration>) -> Vec<u64> {
    let times = trials.iter().filter_map(of);
    times.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).collect()
}

fn quantiles(mut micros: Vec<u64>) -> Value {
    micros.sort_unstable();
    let last = micros.len().saturating_sub(1);
    let at = |percent: usize| {
        let index = (micros.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        micros.get(index).copied()
    };
    json!({ "count": micros.len(), "p50_us": at(50), "p99_us": at(99), "max_us": at(100) })
}

/// Who had no answer.
fn never(trials: &[Trial]) -> String {
    let never = trials.iter().filter(|trial| trial.promoted.is_none()).count();
    if never == 0 { String::new() } else { format!(" ({never} of {} NEVER)", trials.len()) }
}

fn over_limit(trial: &Trial) -> Option<Duration> {
    trial.promoted.map(|time| time.saturating_sub(HOST_LIMIT))
}

fn of(trials: &[Trial], durability: Durability) -> Vec<Trial> {
    trials.iter().filter(|trial| trial.durability == durability).cloned().collect()
}

/// A table, and a line of JSON if it was asked for.
pub(crate) fn print(options: &Options, measured: &Measured) {
    let mut rows = vec![
        Row {
            what: format!("{} groups created, all answered", measured.groups),
            measured: format!("{:.1} s", measured.created.as_secs_f64()),
            target: "",
        },
        Row {
            what: "all replicas of all in sync".to_owned(),
            measured: format!(
                "{:.1} s, {} available",
                measured.whole.as_secs_f64(),
                measured.available
            ),
            target: "all",
        },
        measured.creating.row("creating", ""),
        measured.quiet.row("quiet", "server <= 0.5"),
        measured.quiet.memory("quiet", "<= 500 MiB"),
        measured.quiet.said("quiet"),
    ];
    rows.extend(failures(measured));
    rows.extend(measured.restarted.as_ref().map(Restarted::row));
    rows.push(Row {
        what: "well again afterwards".to_owned(),
        measured: format!(
            "{} of {} available after {:.1} s",
            measured.available_again,
            measured.groups,
            measured.again.as_secs_f64()
        ),
        target: "all",
    });
    let total = |name: &str| {
        let found = measured.totals.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, count)| *count)
    };
    rows.push(Row {
        what: "leases that ended although the primary was well".to_owned(),
        measured: format!(
            "{} ({} went on by stand-ins; {} of {} questions not answered in time)",
            total("leases_ended"),
            total("leases_by_stand_ins"),
            total("lease_questions_unanswered"),
            total("lease_questions")
        ),
        target: "0",
    });
    rows.push(Row {
        what: "conversations".to_owned(),
        measured: format!(
            "{}, {} of them in parts, {} ended because the leader was silent",
            total("conversations"),
            total("conversations_in_parts"),
            total("conversations_silent")
        ),
        target: "",
    });
    tanist_bench::print(&rows);
    if options.json {
        println!("{}", document(options, measured));
    }
}

fn failures(measured: &Measured) -> Vec<Row> {
    let mut rows = Vec::new();
    if !measured.failures.is_empty() {
        let trials = &measured.failures;
        let percentiles = |of: fn(&Trial) -> Option<Duration>| {
            format!("{}{}", tanist_bench::percentiles(micros(trials, of)), never(trials))
        };
        rows.push(Row {
            what: format!("{} primaries ended: decided after", trials.len()),
            measured: percentiles(|trial| trial.decided),
            target: "p99 <= 100 ms",
        });
        rows.push(Row {
            what: "another told to lead after".to_owned(),
            measured: percentiles(|trial| trial.promoted),
            target: "",
        });
        rows.push(measured.failing.row("failures", ""));
        rows.push(measured.failing.memory("failures", "<= 500 MiB"));
        rows.push(measured.failing.said("failures"));
    }
    for durability in [Durability::Sync, Durability::Async] {
        let lost = of(&measured.lost, durability);
        if !lost.is_empty() {
            let name = durability.to_string();
            rows.push(Row {
                what: format!("a host lost, {} {name} primaries: after 500 ms", lost.len()),
                measured: format!(
                    "{}{}",
                    tanist_bench::percentiles(micros(&lost, over_limit)),
                    never(&lost)
                ),
                target: "",
            });
        }
    }
    if !measured.lost.is_empty() {
        rows.push(measured.losing.row("a host lost", ""));
    }
    rows
}

fn document(options: &Options, measured: &Measured) -> Value {
    let trials = |trials: &[Trial]| {
        let never = trials.iter().filter(|trial| trial.promoted.is_none()).count();
        json!({
            "decided": quantiles(micros(trials, |trial| trial.decided)),
            "promoted": quantiles(micros(trials, |trial| trial.promoted)),
            "never": never,
        })
    };
    json!({
        "groups": measured.groups,
        "hosts": options.hosts,
        "replicas": options.replicas,
        "loaded_percent": options.loaded,
        "etcd_members": options.etcd,
        "created_s": measured.created.as_secs_f64(),
        "whole_s": measured.whole.as_secs_f64(),
        "available": measured.available,
        "creating": measured.creating.json(),
        "quiet": measured.quiet.json(),
        "failures": { "times": trials(&measured.failures), "skipped": measured.skipped,
            "phase": measured.failing.json() },
        "host_lost": {
            "sync": trials(&of(&measured.lost, Durability::Sync)),
            "async": trials(&of(&measured.lost, Durability::Async)),
            "phase": measured.losing.json(),
        },
        "restarted": measured.restarted.as_ref().map(Restarted::json),
        "available_again": measured.available_again,
        "again_s": measured.again.as_secs_f64(),
        "rss_most_bytes": measured.most,
        "said": said(&measured.totals),
    })
}
