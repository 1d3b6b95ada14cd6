//! What an agent will report: one entry per node, written by whoever learns something, read by the
//! reporter.
//!
//! Changes that somebody waits for (a process's end, an answer to a fence, a role) wake the reporter
//! at once; numbers that only grow are collected for a moment, so that the probes of many nodes
//! make one report.
//!
//! Invariant: a report is a snapshot; its `echo` was heard before its oldest sample was begun.
//!
//! Not here: how things are found out (`crate::node`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tanist_core::model::{
    EngineSeen, HostId, NodeId, NodeReport, Offset, Process, Rev, RoleSeen, RunId, ShardKey, Stall,
    Tag,
};
use tanist_link::wire::{FromAgent, HostReport, NodeEntry, ProcessKey};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

/// Notes that wait for a controller that does not listen; older ones are dropped.
const NOTES: usize = 256;
/// How long numbers are collected before they are reported.
const COLLECT: Duration = Duration::from_millis(3);

/// Everything that will be reported.
pub(crate) struct Board {
    host: HostId,
    state: Mutex<State>,
    urgent: Notify,
    calm: Notify,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Posted>,
    notes: VecDeque<FromAgent>,
    /// The last number that the controller said.
    heard: u64,
}

struct Posted {
    entry: NodeEntry,
    /// The number heard before the sample in `entry` was begun; `None` without a process.
    sampled: Option<u64>,
    /// The process that the entry speaks of.
    process: Option<ProcessKey>,
    /// Attachments that the engine lets in as a primary, and since when.
    admitted: BTreeMap<String, Instant>,
    /// The process was seen as primary or linked to one: its data is no crash's leftovers any more.
    settled: bool,
}

impl Board {
    pub(crate) fn new(host: HostId) -> Self {
        let state = Mutex::new(State::default());
        Self { host, state, urgent: Notify::new(), calm: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete in itself, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to report about a node.
    pub(crate) fn open(&self, key: &ShardKey, node: &NodeId, rev: Rev, data: bool) {
        let report = NodeReport {
            rev,
            process: Process::Unknown,
            engine: None,
            silent: Duration::ZERO,
            stall: Stall::None,
            fence: None,
            applied: None,
            data,
        };
        let entry = NodeEntry {
            group: key.group.clone(),
            shard: key.shard.clone(),
            node: node.clone(),
            pid: None,
            report,
        };
        let admitted = BTreeMap::new();
        let posted = Posted { entry, sampled: None, process: None, admitted, settled: false };
        self.state().nodes.entry(node.clone()).or_insert(posted);
        self.urgent.notify_one();
    }

    /// Changes what is reported about a node; reported at once if anything is different.
    pub(crate) fn change(&self, node: &NodeId, change: impl FnOnce(&mut NodeReport)) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        let before = posted.entry.report.clone();
        change(&mut posted.entry.report);
        if posted.entry.report != before {
            self.urgent.notify_one();
        }
    }

    /// Notes that the node's process exists, or does not.
    pub(crate) fn process(&self, node: &NodeId, process: Option<ProcessKey>, then: Process) {
        let mut state = self.state();
        let heard = state.heard;
        let Some(posted) = state.nodes.get_mut(node) else { return };
        if posted.process != process || process.is_none() {
            posted.admitted.clear();
            posted.settled = false;
            let report = &mut posted.entry.report;
            report.engine = None;
            report.applied = None;
            report.silent = Duration::ZERO;
            report.stall = Stall::None;
            report.process = then;
            posted.sampled = process.map(|_| heard);
        }
        posted.process = process;
        posted.entry.pid = process.map(|process| process.pid);
        self.urgent.notify_one();
    }

    /// Notes the run id of a process, unless that process is gone already.
    pub(crate) fn learn(&self, node: &NodeId, process: ProcessKey, run: &RunId) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        let known = posted.entry.report.run() == Some(run);
        if posted.process == Some(process) && !known {
            posted.entry.report.process = Process::Running(Some(run.clone()));
            self.urgent.notify_one();
        }
    }

    /// Notes a probe of `process` that was begun when `heard` was the last number heard.
    pub(crate) fn sample(
        &self,
        node: &NodeId,
        process: ProcessKey,
        heard: Option<u64>,
        change: impl FnOnce(&mut NodeReport),
    ) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        if posted.process != Some(process) {
            return;
        }
        let before = essence(&posted.entry.report);
        change(&mut posted.entry.report);
        posted.sampled = heard.or(posted.sampled);
        posted.settled |= posted.entry.report.engine().is_some_and(settled);
        if essence(&posted.entry.report) == before {
            self.calm.notify_one();
        } else {
            self.urgent.notify_one();
        }
    }

    /// Sets which attachments the engine lets in; known ones keep their age.
    pub(crate) fn admit<'a>(&self, node: &NodeId, tags: impl Iterator<Item = &'a Tag>) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        let now = Instant::now();
        let since = |name: &String| posted.admitted.get(name).copied().unwrap_or(now);
        let admitted = tags.map(Tag::to_string).map(|name| (name.clone(), since(&name))).collect();
        posted.admitted = admitted;
    }

    /// As [`Board::admit`], by the attachments' wire forms.
    pub(crate) fn admit_names(&self, node: &NodeId, names: impl Iterator<Item = String>) {
        let now = Instant::now();
        if let Some(posted) = self.state().nodes.get_mut(node) {
            posted.admitted = names.map(|name| (name, now)).collect();
        }
    }

    /// Which attachments the engine lets in, and since when.
    pub(crate) fn admitted(&self, node: &NodeId) -> BTreeMap<String, Instant> {
        self.state().nodes.get(node).map(|posted| posted.admitted.clone()).unwrap_or_default()
    }

    /// What is reported about a node now.
    pub(crate) fn report(&self, node: &NodeId) -> Option<NodeReport> {
        self.state().nodes.get(node).map(|posted| posted.entry.report.clone())
    }

    /// Whether the node's process was seen as primary or, with a complete copy, as a replica of one.
    pub(crate) fn is_settled(&self, node: &NodeId) -> bool {
        self.state().nodes.get(node).is_some_and(|posted| posted.settled)
    }

    /// Remembers a number of the controller.
    pub(crate) fn hear(&self, number: u64) {
        let mut state = self.state();
        state.heard = state.heard.max(number);
    }

    /// The last number of the controller.
    pub(crate) fn heard(&self) -> u64 {
        self.state().heard
    }

    /// Tells people something.
    pub(crate) fn note(&self, node: Option<&NodeId>, name: &str, text: impl Into<String>) {
        let text = text.into();
        let of = node.map_or("-", NodeId::as_str);
        info!(node = of, name, text, "note");
        let mut state = self.state();
        if state.notes.len() == NOTES {
            warn!("nobody reads the notes: the oldest is dropped");
            state.notes.pop_front();
        }
        let host = self.host.clone();
        let (node, name) = (node.cloned(), name.to_owned());
        state.notes.push_back(FromAgent::Note { host, node, name, text });
        self.urgent.notify_one();
    }

    fn take(&self) -> Vec<FromAgent> {
        let mut state = self.state();
        let mut messages: Vec<FromAgent> = state.notes.drain(..).collect();
        let echo = state.nodes.values().filter_map(|posted| posted.sampled).min();
        messages.push(FromAgent::Report(HostReport {
            host: self.host.clone(),
            echo: echo.unwrap_or(state.heard),
            nodes: state.nodes.values().map(|posted| posted.entry.clone()).collect(),
        }));
        messages
    }

    /// Sends everything that is not reported yet, once.
    pub(crate) async fn flush(&self, outbox: &mpsc::Sender<FromAgent>) {
        for message in self.take() {
            if outbox.send(message).await.is_err() {
                return;
            }
        }
    }

    /// Sends reports until nobody receives them: when something changed, and at least `every`.
    pub(crate) async fn report_to(&self, outbox: &mpsc::Sender<FromAgent>, every: Duration) {
        loop {
            tokio::select! {
                biased;
                () = self.urgent.notified() => {}
                () = self.calm.notified() => {
                    // An urgent change ends the collecting.
                    let _ = tokio::time::timeout(COLLECT, self.urgent.notified()).await;
                }
                // waits: an unchanged state is reported once in a while.
                () = tokio::time::sleep(every) => {}
            }
            for message in self.take() {
                if outbox.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn settled(engine: &EngineSeen) -> bool {
    match &engine.role {
        RoleSeen::Primary { .. } => true,
        RoleSeen::Replica { link_up, syncing, of } => *link_up && !syncing && of.is_some(),
    }
}

/// The report without the numbers that change at every probe.
fn essence(report: &NodeReport) -> NodeReport {
    let mut report = report.clone();
    report.silent = Duration::ZERO;
    if let Some(engine) = &mut report.engine {
        engine.offset = Offset(0);
        engine.memory_bytes = 0;
        if let RoleSeen::Primary { replicas } = &mut engine.role {
            for replica in replicas {
                replica.acked = Offset(0);
                replica.behind = Duration::ZERO;
            }
        }
    }
    report
}
