//! What an agent has said in one conversation, and what of a report need not be said again.
//!
//! A host with many nodes reports many times a second, and hardly ever is anything new. Where the
//! server says that it remembers, a report has only what it does not know: whatever changed, everything
//! about a node for as long as something may be going on there, and otherwise its numbers now and then.
//!
//! Until the server has said anything, it is told everything once: one that has too much to do to say a
//! word is not helped by hearing more.
//!
//! Invariant: what is left out is exactly as it was said last, but for numbers that only grow; and
//! their age is never hidden, because a node's `echo` is said with them.
//!
//! Not here: what is reported (`crate::board`), how the server puts it together (`tanist-controller`).

use std::collections::BTreeMap;
use std::time::Duration;

use tanist_core::model::{NodeId, NodeReport};
use tanist_link::wire::{HostReport, NodeEntry};
use tokio::time::Instant;

/// The longest time between two reports, whether or not there is anything to say.
const SIGN_OF_LIFE: Duration = Duration::from_millis(80);
/// For how long after a change everything is said about a node at once: somebody may be waiting for its
/// next numbers.
const EVENTFUL: Duration = Duration::from_secs(2);
/// How old numbers may become that nobody waits for.
const NUMBERS: Duration = Duration::from_secs(1);

/// What was said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The server remembers it.
    remembered: bool,
    /// Everything was said, whether or not anybody hears it.
    spoke: bool,
    /// Something was heard.
    heard: bool,
    /// Nothing, until there was a report with every node.
    nodes: Option<BTreeMap<NodeId, Told>>,
    at: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    entry: NodeEntry,
    at: Instant,
    /// When anything but numbers was new.
    changed: Option<Instant>,
}

impl Said {
    /// From now on the server remembers what it is told.
    pub(crate) fn remember(&mut self) {
        self.remembered = true;
        self.heard = true;
    }

    /// The server has said something.
    pub(crate) fn heard(&mut self) {
        self.heard = true;
    }

    /// What is to be said of a report, if anything is.
    pub(crate) fn news(&mut self, report: HostReport, now: Instant) -> Option<HostReport> {
        if !self.remembered {
            let first = !std::mem::replace(&mut self.spoke, true);
            return (first || self.heard).then_some(report);
        }
        let Some(known) = &mut self.nodes else { return Some(self.whole(report, now)) };
        let there = report.nodes.iter().filter(|entry| known.contains_key(&entry.node));
        let went = |entry: &NodeEntry| {
            !entry.report.is_there()
                && known.get(&entry.node).is_some_and(|told| told.entry.report.is_there())
        };
        if there.count() < known.len() || report.nodes.iter().any(went) {
            return Some(self.whole(report, now));
        }
        let HostReport { host, echo, nodes, .. } = report;
        let nodes = nodes.into_iter().filter_map(|entry| match known.get_mut(&entry.node) {
            Some(told) => told.news(entry, now),
            None => {
                let told = Told { entry: entry.clone(), at: now, changed: Some(now) };
                known.insert(entry.node.clone(), told);
                Some(entry)
            }
        });
        let nodes: Vec<NodeEntry> = nodes.collect();
        let silent = self.at.is_none_or(|at| now - at >= SIGN_OF_LIFE);
        if nodes.is_empty() && !silent {
            return None;
        }
        self.at = Some(now);
        Some(HostReport { host, echo, nodes, part: true })
    }

    /// Says everything, and remembers only that.
    fn whole(&mut self, report: HostReport, now: Instant) -> HostReport {
        let mut before = self.nodes.take().unwrap_or_default();
        let told = |entry: &NodeEntry| {
            let known = before.remove(&entry.node);
            let changed = known.map_or(Some(now), |known| {
                let same = known.entry.report.essence() == entry.report.essence();
                if same { known.changed } else { Some(now) }
            });
            (entry.node.clone(), Told { entry: entry.clone(), at: now, changed })
        };
        self.nodes = Some(report.nodes.iter().map(told).collect());
        self.at = Some(now);
        report
    }
}

impl Told {
    /// What is to be said now of a node, which then counts as said.
    fn news(&mut self, entry: NodeEntry, now: Instant) -> Option<NodeEntry> {
        if self.entry == entry {
            return None;
        }
        let known = (&self.entry.pid, self.entry.report.essence());
        if known != (&entry.pid, entry.report.essence()) {
            self.changed = Some(now);
        }
        let eventful = self.changed.is_some_and(|at| now - at < EVENTFUL);
        if !eventful && now - self.at < NUMBERS && !entry.report.is_uneasy() {
            return None;
        }
        let before = std::mem::replace(&mut self.entry, entry.clone());
        self.at = now;
        let same = entry.report.applied.is_some() && entry.report.applied == before.report.applied;
        if !same {
            return Some(entry);
        }
        let report = NodeReport { applied: None, ..entry.report };
        Some(NodeEntry { same, report, ..entry })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use tanist_core::model::{
        Applied, EngineSeen, Epoch, Health, Offset, Process, ReplId, Rev, RoleSeen, RunId, Stall,
    };

    use super::*;

    fn entry(node: &str, echo: u64, offset: u64) -> NodeEntry {
        let engine = EngineSeen {
            run: RunId::new("r"),
            role: RoleSeen::Primary { replicas: Vec::new() },
            replid: ReplId::new("aa"),
            offset: Offset(offset),
            health: Health::Writable,
            memory_bytes: 0,
            memory_limit: None,
            fork_error: None,
        };
        let report = NodeReport {
            rev: Rev(1),
            process: Process::Running(Some(RunId::new("r"))),
            engine: Some(engine),
            silent: Duration::ZERO,
            stall: Stall::None,
            fence: None,
            applied: None,
            data: true,
            standing: None,
        };
        NodeEntry {
            group: "web".into(),
            shard: "0001".into(),
            node: node.into(),
            pid: Some(7),
            echo,
            same: false,
            report,
        }
    }

    fn report(nodes: Vec<NodeEntry>) -> HostReport {
        HostReport { host: "h1".into(), echo: 1, nodes, part: false }
    }

    /// Two nodes, and the time at which all is quiet about them.
    fn quiet() -> (Said, Instant) {
        let mut said = Said::default();
        said.remember();
        let began = Instant::now();
        let whole = said.news(report(vec![entry("a", 1, 5), entry("b", 1, 5)]), began).unwrap();
        assert!(!whole.part && whole.nodes.len() == 2);
        let quiet = began + EVENTFUL;
        let again = said.news(report(vec![entry("a", 2, 5), entry("b", 2, 5)]), quiet).unwrap();
        assert!(again.part && again.nodes.len() == 2, "their age was due");
        (said, quiet)
    }

    fn names(news: Option<HostReport>) -> Vec<String> {
        let news = news.expect("something is said");
        assert!(news.part);
        news.nodes.iter().map(|entry| entry.node.to_string()).collect()
    }

    #[test]
    fn who_does_not_remember_is_told_everything() {
        let mut said = Said::default();
        let now = Instant::now();
        let mut news = || said.news(report(vec![entry("a", 1, 5)]), now);
        assert!(news().is_some());
        assert_eq!(news(), None, "nobody has said a word");
        said.heard();
        for _ in 0..2 {
            let news = said.news(report(vec![entry("a", 1, 5)]), now).unwrap();
            assert!(!news.part && news.nodes.len() == 1);
        }
    }

    #[test]
    fn what_is_known_is_left_out_and_a_sign_of_life_remains() {
        let (mut said, quiet) = quiet();
        let same = || report(vec![entry("a", 3, 6), entry("b", 3, 6)]);
        assert_eq!(said.news(same(), quiet + SIGN_OF_LIFE / 2), None);
        assert!(names(said.news(same(), quiet + SIGN_OF_LIFE)).is_empty());
        assert_eq!(names(said.news(same(), quiet + NUMBERS)), ["a", "b"], "numbers are due");
    }

    #[test]
    fn a_change_is_said_at_once_and_what_follows_too() {
        let (mut said, quiet) = quiet();
        let soon = quiet + Duration::from_millis(1);
        let mut changed = entry("a", 3, 5);
        changed.report.rev = Rev(2);
        let now = |a: &NodeEntry, echo| {
            report(vec![NodeEntry { echo, ..a.clone() }, entry("b", echo, 5)])
        };
        assert_eq!(names(said.news(now(&changed, 3), soon)), ["a"]);
        assert_eq!(names(said.news(now(&changed, 4), soon)), ["a"], "its age is waited for");
        assert_eq!(said.news(now(&changed, 4), soon), None, "nothing at all is new");
    }

    #[test]
    fn what_was_last_made_true_is_said_once() {
        let (mut said, quiet) = quiet();
        let with = |echo, rev| {
            let applied = Applied {
                rev: Rev(rev),
                epoch: Epoch(1),
                run: RunId::new("r"),
                primary: true,
                seqs: BTreeSet::new(),
                lanes: BTreeSet::from(["proxy-h1".into()]),
                users: 0,
                stand_ins: BTreeSet::new(),
            };
            let mut a = entry("a", echo, 5);
            a.report.applied = Some(Arc::new(applied));
            report(vec![a, entry("b", echo, 5)])
        };
        let mut next = |echo, rev, after: u32| {
            let news = said.news(with(echo, rev), quiet + NUMBERS * after).unwrap();
            let a = news.nodes.into_iter().find(|entry| entry.node.as_str() == "a").unwrap();
            (a.same, a.report.applied.map(|applied| applied.rev))
        };
        assert_eq!(next(3, 1, 1), (false, Some(Rev(1))));
        assert_eq!(next(4, 1, 2), (true, None));
        assert_eq!(next(5, 2, 3), (false, Some(Rev(2))));
        assert_eq!(next(6, 2, 4), (true, None));
    }

    #[test]
    fn silence_and_a_replica_that_is_behind_are_said_at_every_report() {
        let (mut said, quiet) = quiet();
        let mut silent = entry("a", 2, 5);
        for millis in [50, 100] {
            silent.report.silent = Duration::from_millis(millis);
            let news = said.news(report(vec![silent.clone(), entry("b", 2, 5)]), quiet);
            assert_eq!(names(news), ["a"]);
        }
    }

    #[test]
    fn a_node_that_is_gone_is_told_by_saying_all_the_others() {
        let (mut said, quiet) = quiet();
        let news = said.news(report(vec![entry("a", 3, 5)]), quiet).unwrap();
        assert!(!news.part && news.nodes.len() == 1);
        let mut gone = entry("a", 3, 5);
        gone.report.data = false;
        gone.report.process = Process::Absent;
        let news = said.news(report(vec![gone, entry("c", 3, 5)]), quiet).unwrap();
        assert!(!news.part && news.nodes.len() == 2);
    }
}
