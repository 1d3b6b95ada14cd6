//! What happened, in the service's own words.
//!
//! The controller's events say what was decided; the service's say what it meant for a replication
//! group and its cache clusters. Clients look for its very sentences, as the reference of
//! `TestFailover` lists them.
//!
//! Invariant: each sentence follows from an event of the controller and has its time; the same
//! events always give the same sentences.
//!
//! Not here: which of them a client wants to see (`super::events`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_link::api::EventRecord;

use super::scene::NODE_GROUP;

/// The only node of a cache cluster.
const CACHE_NODE: &str = "0001";

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A cache cluster.
    Cluster,
    /// A replication group.
    Group,
}

impl Source {
    /// The service's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cache-cluster",
            Self::Group => "replication-group",
        }
    }
}

/// A sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// The controller's event, and the sentence's place among those that follow from it.
    pub(super) id: (u64, usize),
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    /// What it is about.
    pub(super) source: Source,
    /// Its name.
    pub(super) name: String,
    /// The sentence.
    pub(super) text: String,
}

/// A failover that has begun.
#[derive(Debug)]
struct Vacancy {
    primary: String,
    /// Somebody asked for it.
    planned: bool,
}

/// What is known of one group while its events are told.
#[derive(Debug, Default)]
struct Plot {
    /// The group is new, and has no primary yet.
    founding: bool,
    /// Its beginning was seen, so that a node that is not known is new.
    from_the_beginning: bool,
    members: BTreeSet<String>,
    /// Zones of nodes that were placed one by one.
    zones: BTreeMap<String, String>,
    vacancy: Option<Vacancy>,
    /// Nodes that are out of service, and whether that was told.
    recovering: BTreeMap<String, bool>,
}

/// The sentences of the controller's events, oldest first. `zone` knows where nodes are now.
pub(super) fn tell(events: &[EventRecord], zone: impl Fn(&str) -> Option<String>) -> Vec<Sentence> {
    let mut plots: BTreeMap<&str, Plot> = BTreeMap::new();
    let mut told = Vec::new();
    for event in events {
        let Some(group) = &event.group else { continue };
        let plot = plots.entry(group.as_str()).or_default();
        let mut teller = Teller { event, group: group.as_str(), told: &mut told, place: 0 };
        plot.next(&mut teller, &zone);
    }
    told
}

struct Teller<'a> {
    event: &'a EventRecord,
    group: &'a str,
    told: &'a mut Vec<Sentence>,
    place: usize,
}

impl Teller<'_> {
    fn say(&mut self, source: Source, name: &str, text: String) {
        let (id, at_ms) = ((self.event.id, self.place), self.event.at_ms);
        self.place += 1;
        self.told.push(Sentence { id, at_ms, source, name: name.to_owned(), text });
    }

    fn of_group(&mut self, text: String) {
        let group = self.group.to_owned();
        self.say(Source::Group, &group, text);
    }

    fn of_cluster(&mut self, name: &str, text: String) {
        self.say(Source::Cluster, name, text);
    }
}

impl Plot {
    fn next(&mut self, teller: &mut Teller<'_>, zone: &impl Fn(&str) -> Option<String>) {
        let event = teller.event;
        let node = event.node.as_ref().map(|node| node.as_str().to_owned());
        match (event.name.as_str(), node) {
            ("GroupCreated", _) => {
                *self = Self { founding: true, from_the_beginning: true, ..Self::default() };
            }
            ("NodePlaced", Some(node)) => self.placed(teller, node),
            ("PrimaryVacated", Some(primary)) => self.vacated(teller, primary),
            ("PrimaryChosen" | "RecoveredFromDisk", Some(node)) => self.chosen(teller, &node, zone),
            ("ReplicaAttached", Some(node)) => self.recovering(teller, &node),
            ("ReplicaInSync", Some(node)) => {
                self.joined(teller, &node, zone);
                self.recovered(teller, &node);
            }
            ("ReplicaOutOfSync", Some(node)) => self.out_of_sync(teller, node),
            ("RequestDropped", _) => dropped(teller),
            ("GroupDeleted", _) => self.deleted(teller),
            _ => {}
        }
    }

    fn placed(&mut self, teller: &mut Teller<'_>, node: String) {
        let zone = teller.event.text.rsplit(' ').next().unwrap_or_default().to_owned();
        self.zones.insert(node.clone(), zone);
        if self.members.contains(&node) {
            self.recovering.entry(node.clone()).or_insert(false);
            self.recovering(teller, &node);
        }
    }

    fn vacated(&mut self, teller: &mut Teller<'_>, primary: String) {
        let text = &teller.event.text;
        let failover = text.ends_with(": failover requested");
        let planned = failover || text.ends_with(": switchover requested");
        if failover {
            teller.of_group(format!("Test Failover API called for node group {NODE_GROUP}"));
        }
        self.members.insert(primary.clone());
        // A vacancy that was not filled before the next one is the first one still.
        self.vacancy.get_or_insert(Vacancy { primary, planned });
    }

    fn chosen(
        &mut self,
        teller: &mut Teller<'_>,
        node: &str,
        zone: &impl Fn(&str) -> Option<String>,
    ) {
        if self.founding {
            self.founding = false;
            self.vacancy = None;
            self.joined(teller, node, zone);
            return teller.of_group(format!("Replication group {} created", teller.group));
        }
        self.members.insert(node.to_owned());
        let Some(Vacancy { primary, planned }) = self.vacancy.take() else { return };
        if primary == node {
            // It is primary once more: after a crash it had to be started again.
            if !planned {
                self.recovering.entry(primary).or_insert(false);
                self.recovered(teller, node);
            }
            return;
        }
        let text = format!("Failover from primary node {primary} to replica node {node} completed");
        teller.of_cluster(&primary, text.clone());
        teller.of_group(text);
        // Whatever was wrong with the heir does not matter any more.
        self.recovering.remove(node);
        self.recovering.entry(primary.clone()).or_insert(false);
        // One that was well follows its heir from the first byte: nothing else is told of it.
        if in_sync(&teller.event.text).any(|other| other == primary) {
            self.recovered(teller, &primary);
        }
    }

    fn joined(
        &mut self,
        teller: &mut Teller<'_>,
        node: &str,
        zone: &impl Fn(&str) -> Option<String>,
    ) {
        let known = !self.members.insert(node.to_owned());
        let placed = self.zones.get(node).cloned();
        if known || (placed.is_none() && !self.from_the_beginning) {
            return;
        }
        teller.of_cluster(node, "Cache cluster created".to_owned());
        if let Some(zone) = placed.or_else(|| zone(node)) {
            let text = format!("Added cache node {CACHE_NODE} in availability zone {zone}");
            teller.of_cluster(node, text);
        }
    }

    fn out_of_sync(&mut self, teller: &mut Teller<'_>, node: String) {
        if teller.event.text.ends_with("it was asked to leave") {
            self.members.remove(&node);
            self.zones.remove(&node);
            self.recovering.remove(&node);
            return teller.of_cluster(&node, "Cache cluster deleted".to_owned());
        }
        self.members.insert(node.clone());
        self.recovering.entry(node).or_insert(false);
    }

    fn recovering(&mut self, teller: &mut Teller<'_>, node: &str) {
        if let Some(told) = self.recovering.get_mut(node).filter(|told| !**told) {
            *told = true;
            teller.of_cluster(node, format!("Recovering cache nodes {CACHE_NODE}"));
        }
    }

    fn recovered(&mut self, teller: &mut Teller<'_>, node: &str) {
        self.recovering(teller, node);
        if self.recovering.remove(node).is_some() {
            teller.of_cluster(node, format!("Finished recovery for cache nodes {CACHE_NODE}"));
        }
    }

    fn deleted(&mut self, teller: &mut Teller<'_>) {
        for node in std::mem::take(&mut self.members) {
            teller.of_cluster(&node, "Cache cluster deleted".to_owned());
        }
        teller.of_group(format!("Replication group {} deleted", teller.group));
        *self = Self::default();
    }
}

/// A failover or a promotion was accepted, and then could not be carried out in time.
fn dropped(teller: &mut Teller<'_>) {
    let why = teller.event.text.split_once(": ").map_or("", |(_, why)| why);
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    teller.of_group(format!("Failover of node group {NODE_GROUP} was given up{why}"));
}

/// The nodes that have all that the primary has, which an event says was chosen.
fn in_sync(text: &str) -> impl Iterator<Item = &str> {
    let list = text.rsplit_once("in sync with it: ").map_or("", |(_, list)| list);
    list.split(", ")
}

#[cfg(test)]
mod tests;
