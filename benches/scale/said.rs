//! What a host has said in one conversation, and what of it need not be said again.
//!
//! It follows what agents and proxies do where the server says that it remembers; there they compare
//! whole reports, here every node carries the number of its changes.
//!
//! Invariant: until the server says that it remembers, everything is said at every report, but only once
//! before it has said anything.
//!
//! Not here: what is said (`super::node`, `super::proxy`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tanist_core::model::Applied;

use super::node::Node;

/// The longest time between two reports, whether or not there is anything to say.
const SIGN_OF_LIFE: Duration = Duration::from_millis(80);
/// For how long after a change everything is said about a node at once.
const EVENTFUL: Duration = Duration::from_secs(2);
/// How old numbers may become that nobody waits for.
const NUMBERS: Duration = Duration::from_secs(1);

/// What an agent has said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The server remembers it.
    remembered: bool,
    /// Everything was said, whether or not anybody hears it.
    spoke: bool,
    /// Something was heard.
    heard: bool,
    /// Nodes in their order, once all were said.
    nodes: Option<Vec<Told>>,
    at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Told {
    version: u64,
    applied: Option<Arc<Applied>>,
    at: Instant,
    changed: Instant,
    there: bool,
}

impl Told {
    fn of(node: &Node, now: Instant) -> Self {
        let report = &node.entry.report;
        let (applied, there) = (report.applied.clone(), report.is_there());
        Self { version: node.version, applied, at: now, changed: now, there }
    }
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    Nothing,
    /// Every node.
    All,
    /// These nodes, each with whether what was last made true is left out.
    Some(Vec<(usize, bool)>),
}

impl Said {
    /// From now on the server remembers what it is told.
    pub(crate) fn remember(&mut self) {
        self.remembered = true;
        self.nodes = None;
    }

    /// The server has said something.
    pub(crate) fn heard(&mut self) {
        self.heard = true;
    }

    /// What is to be said, which counts as said. Between two probes only changes are.
    pub(crate) fn news(&mut self, nodes: &[Node], probed: bool, now: Instant) -> News {
        if !self.remembered {
            let first = !std::mem::replace(&mut self.spoke, true);
            return if first || self.heard { News::All } else { News::Nothing };
        }
        let went = |told: &Vec<Told>| {
            told.iter().zip(nodes).any(|(told, node)| told.there && !node.entry.report.is_there())
        };
        let Some(told) = self.nodes.as_mut().filter(|told| !went(told)) else {
            self.whole(nodes, now);
            return News::All;
        };
        let mut due = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            match told.get_mut(number) {
                None => {
                    told.push(Told::of(node, now));
                    due.push((number, false));
                }
                Some(told) => {
                    let before = told.applied.clone();
                    if told.is_due(node, probed, now) {
                        due.push((number, before.is_some() && before == told.applied));
                    }
                }
            }
        }
        let silent = self.at.is_none_or(|at| now - at >= SIGN_OF_LIFE);
        if due.is_empty() && !(probed && silent) {
            return News::Nothing;
        }
        self.at = Some(now);
        News::Some(due)
    }

    /// Everything is said.
    fn whole(&mut self, nodes: &[Node], now: Instant) {
        let before = self.nodes.take().unwrap_or_default();
        let told = |(number, node): (usize, &Node)| {
            let known = before.get(number).filter(|known| known.version == node.version);
            let changed = known.map_or(now, |known| known.changed);
            Told { changed, ..Told::of(node, now) }
        };
        self.nodes = Some(nodes.iter().enumerate().map(told).collect());
        self.at = Some(now);
    }
}

impl Told {
    /// Whether a node is to be said now; if so, it counts as said.
    fn is_due(&mut self, node: &Node, probed: bool, now: Instant) -> bool {
        let changed = self.version != node.version;
        if changed {
            self.changed = now;
        }
        let waited_for = || {
            now - self.changed < EVENTFUL
                || now - self.at >= NUMBERS
                || node.entry.report.is_uneasy()
        };
        let due = changed || (probed && waited_for());
        if due {
            self.version = node.version;
            self.applied = node.entry.report.applied.clone();
            self.at = now;
            self.there = node.entry.report.is_there();
        }
        due
    }
}
