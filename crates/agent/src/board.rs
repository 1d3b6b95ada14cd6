//! What an agent will report: one entry per node, written by whoever learns something, read by the
//! reporter.
//!
//! Changes that somebody waits for (a process's end, an answer to a fence, a role) wake the reporter
//! at once; numbers that only grow are collected for a moment, so that the probes of many nodes
//! make one report.
//!
//! Invariant: a report is a snapshot; a node's `echo` was heard before its sample was begun, and no
//! sample counts as fresh that was begun before `applied` became what the report says.
//!
//! Not here: how things are found out (`crate::node`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tanist_core::guard::stands_in;
use tanist_core::model::{
    EngineSeen, Health, HostId, NodeId, NodeReport, Process, Rev, RoleSeen, Run, RunId, ShardKey,
    Stall, Standing, Tag,
};
use tanist_link::wire::{FromAgent, HostReport, NodeEntry, ProcessKey, Vitals};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::boot_time;

/// Notes that wait for a controller that does not listen; older ones are dropped.
const NOTES: usize = 256;
/// What is measured of nodes is said so many times a second at most: of up to as many nodes once a second
/// each, of more each less often.
const VITALS_A_SECOND: u32 = 16;
/// How long numbers are collected before they are reported.
const COLLECT: Duration = Duration::from_millis(3);

/// Everything that will be reported.
pub(crate) struct Board {
    host: HostId,
    /// Replicas give their word for their primaries' leases, from this number on; no number twice, by
    /// this agent or another.
    words: Option<u64>,
    state: Mutex<State>,
    urgent: Notify,
    calm: Notify,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Posted>,
    notes: VecDeque<FromAgent>,
    /// What was measured of each node and is not said yet; the newest only.
    vitals: BTreeMap<NodeId, Box<Vitals>>,
    /// When that was said last of each node, while there are so many that it is not said each time.
    vitals_said: BTreeMap<NodeId, Instant>,
    /// The last number that the controller said.
    heard: u64,
    /// When it said a new one: it is certain then to lead.
    heard_at: Option<Instant>,
}

struct Posted {
    entry: NodeEntry,
    /// The number heard before the sample in `entry` was begun; `None` without a process.
    sampled: Option<u64>,
    /// How often `applied` has changed.
    changes: u64,
    /// The process that the entry speaks of.
    process: Option<ProcessKey>,
    /// Attachments that the engine lets in as a primary, and since when.
    admitted: BTreeMap<String, Instant>,
    /// The process was seen as primary or linked to one: its data is no crash's leftovers any more.
    settled: bool,
    /// The number of the word that was given last.
    turn: u64,
}

impl State {
    /// Takes what was measured and is to be said now.
    fn vitals_due(&mut self, now: Instant) -> impl Iterator<Item = Box<Vitals>> + use<> {
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if nodes <= VITALS_A_SECOND {
            self.vitals_said.clear();
            return std::mem::take(&mut self.vitals).into_values();
        }
        let pause = Duration::from_secs(1) * nodes / VITALS_A_SECOND;
        self.vitals_said.retain(|_, at| now - *at < pause);
        let wait = |node: &NodeId| self.vitals_said.contains_key(node);
        let (later, due): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.vitals).into_iter().partition(|(node, _)| wait(node));
        self.vitals = later;
        self.vitals_said.extend(due.keys().map(|node| (node.clone(), now)));
        due.into_values()
    }
}

/// When a probe was begun, in what the board knew then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    heard: u64,
    changes: u64,
}

impl Board {
    pub(crate) fn new(host: HostId, words: bool) -> Self {
        let state = State { heard_at: Some(Instant::now()), ..State::default() };
        let words = words.then(|| boot_time().as_micros());
        Self { host, words, state: Mutex::new(state), urgent: Notify::new(), calm: Notify::new() }
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
            standing: None,
        };
        let entry = NodeEntry {
            group: key.group.clone(),
            shard: key.shard.clone(),
            node: node.clone(),
            pid: None,
            echo: 0,
            same: false,
            report,
        };
        let posted = Posted {
            entry,
            sampled: None,
            changes: 0,
            process: None,
            admitted: BTreeMap::new(),
            settled: false,
            turn: self.words.unwrap_or(0),
        };
        self.state().nodes.entry(node.clone()).or_insert(posted);
        self.urgent.notify_one();
    }

    /// Changes what is reported about a node; reported at once if anything is different.
    pub(crate) fn change(&self, node: &NodeId, change: impl FnOnce(&mut NodeReport)) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        let before = posted.entry.report.clone();
        change(&mut posted.entry.report);
        if posted.entry.report.applied != before.applied {
            posted.changes += 1;
            // Older than every number: what the sample says of positions is not known to be newer
            // than what is now true of users. The sample itself stays, for all else it says.
            posted.sampled = posted.sampled.map(|_| 0);
        }
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
            // What an agent before may have let it say is not taken back yet.
            posted.turn += 1;
            let on = Standing { on: true, turn: posted.turn };
            report.standing = self.words.and(process).map(|_| on);
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

    /// To be called before a probe asks.
    pub(crate) fn begin(&self, node: &NodeId) -> Begun {
        let state = self.state();
        let changes = state.nodes.get(node).map_or(0, |posted| posted.changes);
        Begun { heard: state.heard, changes }
    }

    /// Notes what a probe of `process` found. Positions read before `applied` last changed are not
    /// taken: only that the engine answers.
    pub(crate) fn sample(
        &self,
        node: &NodeId,
        process: ProcessKey,
        begun: Begun,
        engine: EngineSeen,
    ) {
        self.probed(node, process, |posted| {
            let report = &mut posted.entry.report;
            report.process = Process::Running(Some(engine.run.clone()));
            report.silent = Duration::ZERO;
            report.stall = Stall::None;
            if posted.changes == begun.changes {
                posted.settled |= settled(&engine);
                report.engine = Some(engine);
                posted.sampled = Some(begun.heard);
            }
        });
    }

    /// Notes for how long an engine has not answered, and why.
    pub(crate) fn silence(
        &self,
        node: &NodeId,
        process: ProcessKey,
        silent: Duration,
        stall: Stall,
    ) {
        self.probed(node, process, |posted| {
            posted.entry.report.silent = silent;
            posted.entry.report.stall = stall;
        });
    }

    /// Notes that an engine answers nothing but that a script runs: what was read last stays, as old
    /// as it is.
    pub(crate) fn busy(&self, node: &NodeId, process: ProcessKey) {
        self.probed(node, process, |posted| {
            let report = &mut posted.entry.report;
            report.silent = Duration::ZERO;
            report.stall = Stall::None;
            if let Some(engine) = &mut report.engine {
                engine.health = Health::BusyScript;
            }
        });
    }

    fn probed(&self, node: &NodeId, process: ProcessKey, change: impl FnOnce(&mut Posted)) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        if posted.process != Some(process) {
            return;
        }
        let before = posted.entry.report.essence();
        change(posted);
        if posted.entry.report.essence() == before {
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

    /// Remembers a number of the controller. One that is not certain to lead says an old one again.
    pub(crate) fn hear(&self, number: u64) {
        let mut state = self.state();
        // Not only a greater one: who leads by another store than the one before begins lower, and within
        // one conversation numbers only grow.
        if number != state.heard {
            state.heard = number;
            state.heard_at = Some(Instant::now());
        }
    }

    /// The attachment whose word the node's process is to give now, if it is to give any.
    pub(crate) fn word_due(&self, node: &NodeId, run: &RunId) -> Option<Tag> {
        let state = self.state();
        let unheard = state.heard_at.is_none_or(|at| stands_in(at.elapsed()));
        let applied = state.nodes.get(node)?.entry.report.applied.as_ref()?;
        let follows = unheard && !applied.primary && applied.run == *run;
        let seq = applied.seqs.first().filter(|_| follows)?;
        Some(Tag { run: Run { node: node.clone(), id: run.clone() }, seq: *seq })
    }

    /// Notes whether the node's word can be had.
    pub(crate) fn stand(&self, node: &NodeId, on: bool) {
        let mut state = self.state();
        let Some(posted) = state.nodes.get_mut(node) else { return };
        if posted.entry.report.standing.is_none_or(|standing| standing.on != on) {
            posted.turn += u64::from(on);
            posted.entry.report.standing = Some(Standing { on, turn: posted.turn });
            self.urgent.notify_one();
        }
    }

    /// The shard that the node is placed in.
    pub(crate) fn shard(&self, node: &NodeId) -> Option<ShardKey> {
        let state = self.state();
        let entry = &state.nodes.get(node)?.entry;
        Some(ShardKey { group: entry.group.clone(), shard: entry.shard.clone() })
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

    /// Has something measured said with the next report.
    pub(crate) fn measured(&self, vitals: Box<Vitals>) {
        self.state().vitals.insert(vitals.node.clone(), vitals);
    }

    fn take(&self) -> Vec<FromAgent> {
        let mut state = self.state();
        let mut messages: Vec<FromAgent> = state.notes.drain(..).collect();
        messages.extend(state.vitals_due(Instant::now()).map(FromAgent::Vitals));
        let entry = |posted: &Posted| {
            let echo = posted.sampled.unwrap_or(state.heard);
            NodeEntry { echo, ..posted.entry.clone() }
        };
        let nodes: Vec<NodeEntry> = state.nodes.values().map(entry).collect();
        let echo = nodes.iter().map(|entry| entry.echo).min().unwrap_or(state.heard);
        let host = self.host.clone();
        messages.push(FromAgent::Report(HostReport { host, echo, nodes, part: false }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tanist_core::model::{Applied, Epoch, Offset, ReplId};

    const PROCESS: ProcessKey = ProcessKey { pid: 7, started: 1 };

    fn node(n: u8) -> NodeId {
        NodeId::new(format!("web-{n:03}"))
    }

    fn board(nodes: &[NodeId]) -> Board {
        let board = Board::new("h1".into(), false);
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        for node in nodes {
            board.open(&key, node, Rev(1), true);
            board.process(node, Some(PROCESS), Process::Running(None));
        }
        board
    }

    fn engine(offset: u64) -> EngineSeen {
        EngineSeen {
            run: RunId::new("r"),
            role: RoleSeen::Primary { replicas: Vec::new() },
            replid: ReplId::new("aa"),
            offset: Offset(offset),
            health: Health::Writable,
            memory_bytes: 0,
            memory_limit: None,
            fork_error: None,
        }
    }

    fn apply(board: &Board, rev: u64) {
        let applied = Applied {
            rev: Rev(rev),
            epoch: Epoch(1),
            run: RunId::new("r"),
            primary: true,
            seqs: BTreeSet::new(),
            lanes: BTreeSet::new(),
            users: 0,
            stand_ins: BTreeSet::new(),
        };
        board.change(&node(1), |report| report.applied = Some(std::sync::Arc::new(applied)));
    }

    fn reported(board: &Board) -> HostReport {
        match board.take().pop() {
            Some(FromAgent::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// The first node's number, and its engine's offset.
    fn first(board: &Board) -> (u64, Option<Offset>) {
        let entry = reported(board).nodes.swap_remove(0);
        (entry.echo, entry.report.engine().map(|engine| engine.offset))
    }

    #[test]
    fn a_reading_begun_before_an_order_was_made_true_is_neither_taken_nor_fresh() {
        let board = board(&[node(1)]);
        board.hear(5);
        let begun = board.begin(&node(1));
        board.sample(&node(1), PROCESS, begun, engine(100));
        assert_eq!(first(&board), (5, Some(Offset(100))));
        let under_way = board.begin(&node(1));
        apply(&board, 2);
        assert_eq!(first(&board), (0, Some(Offset(100))), "still shown, but not as fresh");
        board.hear(6);
        board.sample(&node(1), PROCESS, under_way, engine(200));
        assert_eq!(first(&board), (0, Some(Offset(100))));
        let begun = board.begin(&node(1));
        // The same once more changes nothing.
        apply(&board, 2);
        board.sample(&node(1), PROCESS, begun, engine(300));
        assert_eq!(first(&board), (6, Some(Offset(300))));
    }

    #[test]
    fn a_reading_that_is_not_taken_still_ends_a_silence() {
        let board = board(&[node(1)]);
        let begun = board.begin(&node(1));
        board.silence(&node(1), PROCESS, Duration::from_secs(3), Stall::Busy);
        apply(&board, 2);
        board.sample(&node(1), PROCESS, begun, engine(100));
        let report = board.report(&node(1)).unwrap();
        assert_eq!((report.silent, report.stall), (Duration::ZERO, Stall::None));
        assert_eq!(report.run(), Some(&RunId::new("r")));
    }

    #[test]
    fn of_many_nodes_each_is_measured_less_often() {
        let vitals = |node: NodeId| {
            Box::new(Vitals {
                host: "h1".into(),
                node,
                run: RunId::new("r"),
                at_us: 1,
                main_cpu_us: 0,
                process_cpu_us: 0,
                host_cpu: None,
                host_free_bytes: None,
                swap_bytes: None,
                resident_bytes: 0,
                used_bytes: 0,
                limit_bytes: 0,
                items: 0,
                totals: Default::default(),
            })
        };
        let mut began = Instant::now();
        for (nodes, expected) in [(VITALS_A_SECOND, 40), (VITALS_A_SECOND * 4, 10)] {
            let nodes: Vec<NodeId> =
                (0..nodes).map(|n| NodeId::new(format!("web-{n:03}"))).collect();
            let mut state = std::mem::take(&mut *board(&nodes).state());
            let mut said: BTreeMap<NodeId, u32> = BTreeMap::new();
            for _ in 0..40 {
                began += Duration::from_secs(1);
                for node in &nodes {
                    state.vitals.insert(node.clone(), vitals(node.clone()));
                }
                state.vitals_due(began).for_each(|one| *said.entry(one.node).or_default() += 1);
            }
            assert!(said.len() == nodes.len() && said.values().all(|times| *times == expected));
        }
    }

    #[test]
    fn every_node_has_its_own_number_and_the_host_the_lowest() {
        let nodes = [node(1), node(2)];
        let board = board(&nodes);
        for number in [5, 9] {
            board.hear(number);
            let begun = board.begin(&node(2));
            board.sample(&node(2), PROCESS, begun, engine(100));
            if number == 5 {
                let begun = board.begin(&node(1));
                board.sample(&node(1), PROCESS, begun, engine(100));
            }
        }
        board.silence(&node(1), PROCESS, Duration::from_secs(3), Stall::Stopped);
        let report = reported(&board);
        assert_eq!(report.nodes.iter().map(|entry| entry.echo).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(report.echo, 5);
        board.process(&node(1), None, Process::Absent);
        assert_eq!(reported(&board).echo, 9, "that there is no process is no old sample");
    }
}
