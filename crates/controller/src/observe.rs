//! From messages to observations.
//!
//! Only what was said and when it was heard; a report replaces the one before, or only what it says of
//! it, and how fresh its samples are is known from the number that it echoes.
//!
//! Invariant: an observation is never made up: no report, no entry. Of a host that a person has declared
//! dead that word is the report.
//!
//! Not here: judgments (`tanist_core::decide`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tanist_core::model::{
    Calm, Cause, FenceAnswer, Fenced, HostId, HostSeen, Instant, NodeId, NodeReport, NodeSeen,
    Observations, Process, ProxyId, Region, Rev, ShardKey, ShardTopology, Taken, Wait,
};
use tanist_link::wire::{HostReport, ProxyShard};

use crate::archive::Archive;
use crate::{ControllerConfig, HostConfig};

/// Echo numbers that are remembered: several seconds of them.
const ECHOES: usize = 256;

/// An agent that has spoken within this time needs nobody to speak for it.
pub(crate) const RECENT: Duration = Duration::from_millis(150);

/// What the controller has seen, and what it needs to date it.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) seen: Observations,
    pub(crate) pids: BTreeMap<NodeId, u32>,
    /// What each proxy says about each shard.
    pub(crate) proxies: BTreeMap<ShardKey, BTreeMap<ProxyId, ProxyShard>>,
    /// The nodes of which anything is known on each host.
    pub(crate) at_host: BTreeMap<HostId, BTreeSet<NodeId>>,
    /// The shards of which there is anything on each host, and the newest revision that it has
    /// acted by.
    pub(crate) there: BTreeMap<HostId, BTreeMap<ShardKey, Rev>>,
    /// The shard of each node that is placed.
    pub(crate) shard_of: BTreeMap<NodeId, ShardKey>,
    /// Hosts that have reported since this controller leads.
    heard: BTreeSet<HostId>,
    /// Hosts that a person has declared dead: nothing runs there, and nobody listens to them.
    pub(crate) dead: BTreeSet<HostId>,
    /// When each host's agent spoke last, or its proxy spoke for it first.
    pub(crate) spoke: BTreeMap<HostId, Instant>,
    ticks: u64,
    /// After how much silence a host that speaks has come back.
    pub(crate) patience: Duration,
    /// Why a node that could be placed better stays where it is for now.
    pub(crate) later: Option<(ShardKey, Wait)>,
    echo: u64,
    echoes: VecDeque<(u64, Instant)>,
}

/// What a message changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Shards that have to be looked at before anything else happens: somebody has asked for something.
    pub(crate) shards: BTreeSet<ShardKey>,
    /// Shards of which something new was said.
    pub(crate) news: BTreeSet<ShardKey>,
    /// Shards of which was said again what is known: only when it was said is new, and numbers that
    /// matter to whoever waits for them.
    pub(crate) said_again: BTreeSet<ShardKey>,
    /// Something was left out that is not known any more: everything has to be said again.
    pub(crate) forgotten: bool,
}

impl Touched {
    /// Takes another message's changes in.
    pub(crate) fn add(&mut self, other: Self) {
        self.shards.extend(other.shards);
        self.news.extend(other.news);
        self.said_again.extend(other.said_again);
        self.forgotten |= other.forgotten;
    }
}

impl Observer {
    /// One that has heard nothing. Numbers are given out from `first_echo` on, so that none means
    /// what one of an earlier controller meant.
    pub(crate) fn new(config: &ControllerConfig, first_echo: u64, now: Instant) -> Self {
        let taken = Taken { plan: config.endpoints, ..Taken::default() };
        let mut observer = Self {
            seen: Observations {
                taken,
                began: now,
                calm: Calm::beginning(now),
                ..Observations::default()
            },
            pids: BTreeMap::new(),
            proxies: BTreeMap::new(),
            at_host: BTreeMap::new(),
            there: BTreeMap::new(),
            shard_of: BTreeMap::new(),
            heard: BTreeSet::new(),
            spoke: BTreeMap::new(),
            dead: BTreeSet::new(),
            ticks: 0,
            patience: config.limits.host,
            later: None,
            echo: first_echo,
            echoes: VecDeque::new(),
        };
        for host in &config.hosts {
            observer.place(host, &config.region, now);
        }
        observer
    }

    /// Takes a host in, or what has changed of it.
    pub(crate) fn place(&mut self, host: &HostConfig, region: &Region, now: Instant) {
        let known = self.seen.hosts.get(&host.host);
        let seen = HostSeen {
            region: region.clone(),
            zone: host.zone.clone(),
            address: host.address,
            at: known.map_or(now, |seen| seen.at),
            since: known.map_or(now, |seen| seen.since),
            draining: false,
            memory_bytes: host.memory_bytes,
        };
        self.seen.hosts.insert(host.host.clone(), seen);
    }

    /// Memory of the host that has most, in bytes.
    pub(crate) fn largest_host(&self) -> u64 {
        self.seen.hosts.values().map(|host| host.memory_bytes).max().unwrap_or(0)
    }

    /// The next number to send to every agent.
    pub(crate) fn next_echo(&mut self, now: Instant) -> u64 {
        self.echo += 1;
        if self.echoes.len() == ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back((self.echo, now));
        self.echo
    }

    /// The number that was sent last.
    pub(crate) fn last_echo(&self) -> u64 {
        self.echo
    }

    /// The number of the tick that begins.
    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// When a number was sent; the distant past for one that is forgotten.
    fn echoed_at(&self, echo: u64) -> Instant {
        let found = self.echoes.iter().rev().find(|(number, _)| *number == echo);
        found.map_or(Instant::ZERO, |(_, at)| *at)
    }

    pub(crate) fn report(&mut self, report: HostReport, now: Instant) -> Touched {
        let mut touched = Touched::default();
        self.hear(&report.host, now);
        self.spoke.insert(report.host.clone(), now);
        self.heard.insert(report.host.clone());
        let mut present = BTreeSet::new();
        let before = self.there.remove(&report.host).filter(|_| report.part);
        let mut there = before.unwrap_or_default();
        for mut entry in report.nodes {
            if entry.same {
                let known = self.seen.node(&entry.node, &report.host);
                let Some(applied) = known.and_then(|known| known.report.applied.clone()) else {
                    // Half of what is true is worse than what is out of date.
                    touched.forgotten = true;
                    continue;
                };
                entry.report.applied = Some(applied);
            }
            if !report.part {
                present.insert(entry.node.clone());
            }
            match entry.pid {
                Some(pid) => self.pids.insert(entry.node.clone(), pid),
                None => self.pids.remove(&entry.node),
            };
            let key = ShardKey { group: entry.group, shard: entry.shard };
            if entry.report.is_there() {
                let newest = there.entry(key.clone()).or_default();
                *newest = entry.report.rev.max(*newest);
            }
            let known = self.seen.node(&entry.node, &report.host);
            if known.is_some_and(|known| is_the_same(&known.report, &entry.report)) {
                touched.said_again.insert(key);
            } else {
                touched.news.insert(key);
            }
            let host = report.host.clone();
            // An agent of the release before says only what holds for all of its nodes.
            let sampled_after = self.echoed_at(entry.echo.max(report.echo));
            let seen = NodeSeen::new(host, now, sampled_after, entry.report);
            self.put(entry.node, seen);
        }
        self.there.insert(report.host.clone(), there);
        if report.part {
            return touched;
        }
        // A node that its host does not mention does not exist there.
        for node in self.at_host.get(&report.host).into_iter().flatten() {
            let reports = self.seen.nodes.get_mut(node).filter(|_| !present.contains(node));
            for seen in reports.into_iter().flatten().filter(|seen| seen.host == report.host) {
                seen.at = now;
                seen.report = nothing(&seen.report);
            }
        }
        touched
    }

    /// A host's agent has said something.
    pub(crate) fn hear(&mut self, host: &HostId, now: Instant) {
        if let Some(seen) = self.seen.hosts.get_mut(host) {
            seen.hear(now, self.patience);
        }
    }

    fn put(&mut self, node: NodeId, seen: NodeSeen) {
        self.at_host.entry(seen.host.clone()).or_default().insert(node.clone());
        let reports = self.seen.nodes.entry(node).or_default();
        match reports.iter_mut().find(|known| known.host == seen.host) {
            Some(known) => *known = seen.after(known),
            None => reports.push(seen),
        }
    }

    /// What was decided has been committed.
    pub(crate) fn committed(&mut self, before: &ShardTopology, next: &ShardTopology, now: Instant) {
        let key = next.key();
        let vacated = before.primary().is_some() && next.primary().is_none();
        if vacated && next.vacancy().is_some_and(|vacancy| vacancy.cause == Cause::HostLost) {
            self.seen.last_failover.insert(key.clone(), now);
        }
        self.seen.rev_since.insert(key, (next.rev, now));
        self.seen.calm.note(Some(before), next, now);
    }

    /// Makes sure that a node on a host that knows nothing of it is seen as absent there; a host that
    /// has not reported yet may know anything.
    pub(crate) fn expect(&mut self, node: &NodeId, host: &HostId, rev: Rev, now: Instant) {
        if self.dead.contains(host) {
            // On the word of whoever removed the host.
            let fence = Some(FenceAnswer { rev, state: Fenced::Dead });
            let report = NodeReport { rev, fence, ..absent() };
            let seen = NodeSeen::new(host.clone(), now, now, report);
            return self.put(node.clone(), seen);
        }
        let known = self.seen.node(node, host).is_some();
        if !known && self.heard.contains(host) {
            let report = absent();
            self.put(node.clone(), NodeSeen::new(host.clone(), now, Instant::ZERO, report));
        }
    }

    /// Time in which the controller itself did not listen is nobody's silence: whatever was said
    /// last counts as said that much later.
    pub(crate) fn excuse(&mut self, missed: Duration, now: Instant) {
        let later = |at: Instant| now.min(at + missed);
        for host in self.seen.hosts.values_mut() {
            host.at = later(host.at);
        }
        self.seen.heard.values_mut().for_each(|at| *at = later(*at));
        for proxy in self.seen.proxies.values_mut().flat_map(BTreeMap::values_mut) {
            proxy.left = proxy.left.map(later);
        }
    }

    /// Forgets a shard that does not exist any more.
    pub(crate) fn forget<'a>(&mut self, key: &ShardKey, nodes: impl Iterator<Item = &'a NodeId>) {
        for node in nodes {
            self.seen.nodes.remove(node);
            self.pids.remove(node);
            for nodes in self.at_host.values_mut() {
                nodes.remove(node);
            }
        }
        self.seen.proxies.remove(key);
        self.proxies.remove(key);
        self.seen.rev_since.remove(key);
        self.seen.granted.remove(key);
        self.seen.holds.remove(key);
        self.seen.last_failover.remove(key);
        self.seen.calm.forget(key);
    }

    /// The shard that a node is placed in.
    pub(crate) fn shard_of(&self, node: &NodeId) -> Option<&ShardKey> {
        self.shard_of.get(node)
    }

    /// Recounts what is in use, after a topology has changed.
    pub(crate) fn recount(&mut self, archive: &Archive) {
        let mut taken = Taken { plan: self.seen.taken.plan, ..Taken::default() };
        let mut promised: BTreeMap<HostId, u64> = BTreeMap::new();
        self.shard_of.clear();
        for held in archive.specs.values() {
            taken.endpoints.insert(held.body.endpoints.primary);
            taken.endpoints.insert(held.body.endpoints.reader);
        }
        for held in archive.topologies.values() {
            let spec = archive.specs.get(&held.body.group);
            let memory = spec.map_or(0, |spec| spec.body.memory_bytes);
            for (node, member) in &held.body.members {
                self.shard_of.insert(node.clone(), held.body.key());
                taken.engines.insert(member.address);
                taken.endpoints.insert(member.endpoint);
                *promised.entry(member.host.clone()).or_default() += memory;
            }
        }
        self.seen.taken = taken;
        self.seen.promised_bytes = promised;
    }
}

/// Whether nothing can follow from a report that did not follow from the one before, unless somebody
/// waits for its numbers.
fn is_the_same(before: &NodeReport, now: &NodeReport) -> bool {
    before == now || (!before.is_uneasy() && !now.is_uneasy() && before.essence() == now.essence())
}

fn absent() -> NodeReport {
    use tanist_core::model::Stall;
    NodeReport {
        rev: Rev(0),
        process: Process::Absent,
        engine: None,
        silent: std::time::Duration::ZERO,
        stall: Stall::None,
        fence: None,
        applied: None,
        data: false,
        standing: None,
    }
}

fn nothing(before: &NodeReport) -> NodeReport {
    // What the agent answered to a fence stays answered; the process and its data are gone.
    NodeReport { rev: before.rev, fence: before.fence.clone(), ..absent() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tests::rig::{said, well};

    pub(crate) fn observer(now: Instant) -> Observer {
        let mut observer = Observer {
            seen: Observations::default(),
            pids: BTreeMap::new(),
            proxies: BTreeMap::new(),
            at_host: BTreeMap::new(),
            there: BTreeMap::new(),
            shard_of: BTreeMap::new(),
            heard: BTreeSet::new(),
            spoke: BTreeMap::new(),
            dead: BTreeSet::new(),
            ticks: 0,
            patience: Duration::from_millis(500),
            later: None,
            echo: 0,
            echoes: VecDeque::new(),
        };
        let host = HostSeen {
            region: "here".into(),
            zone: "a".into(),
            address: std::net::Ipv4Addr::LOCALHOST,
            at: now,
            since: now,
            draining: false,
            memory_bytes: 0,
        };
        observer.seen.hosts.insert("h1".into(), host);
        observer
    }

    pub(crate) fn report(nodes: Vec<tanist_link::wire::NodeEntry>) -> HostReport {
        HostReport { host: "h1".into(), echo: 0, nodes, part: false }
    }

    #[test]
    fn a_node_counts_as_absent_only_after_its_host_has_reported_without_it() {
        let (node, host) = (NodeId::new("web-001"), HostId::new("h1"));
        let now = Instant::from_millis(1_000);
        let mut observer = observer(now);
        observer.expect(&node, &host, Rev(1), now);
        assert!(observer.seen.node(&node, &host).is_none(), "nobody has said so");
        observer.report(report(Vec::new()), now);
        observer.expect(&node, &host, Rev(1), now);
        assert!(observer.seen.node(&node, &host).is_some());
    }

    #[test]
    fn a_node_is_as_fresh_as_its_own_number_whatever_its_neighbours_are() {
        let at = Instant::from_millis;
        let mut observer = observer(at(0));
        let numbers = [at(1_000), at(2_000)].map(|now| observer.next_echo(now));
        let entry = |node: &str, echo| tanist_link::wire::NodeEntry {
            group: "web".into(),
            shard: "0001".into(),
            node: node.into(),
            pid: None,
            echo,
            same: false,
            report: absent(),
        };
        let nodes = vec![entry("web-001", numbers[0]), entry("web-002", numbers[1])];
        let report = HostReport { host: "h1".into(), echo: numbers[0], nodes, part: false };
        observer.report(report, at(2_100));
        let after = |node: &str| {
            let seen = observer.seen.node(&node.into(), &"h1".into());
            seen.map(|seen| seen.sampled_after)
        };
        assert_eq!([after("web-001"), after("web-002")], [Some(at(1_000)), Some(at(2_000))]);
    }

    #[test]
    fn what_a_part_leaves_out_is_as_it_was_and_as_old_as_it_was() {
        let at = Instant::from_millis;
        let mut observer = observer(at(0));
        let number = observer.next_echo(at(1_000));
        let entry = |node: &str, rev| tanist_link::wire::NodeEntry {
            group: "web".into(),
            shard: "0001".into(),
            node: node.into(),
            pid: Some(7),
            echo: number,
            same: false,
            report: NodeReport { rev: Rev(rev), data: true, ..absent() },
        };
        let host = HostId::new("h1");
        observer.report(report(vec![entry("web-001", 1), entry("web-002", 1)]), at(1_100));
        let part = HostReport { part: true, ..report(vec![entry("web-002", 2)]) };
        let touched = observer.report(part, at(2_000));
        let seen = |node: &str| observer.seen.node(&node.into(), &host).unwrap();
        assert_eq!((seen("web-001").report.rev, seen("web-001").report.data), (Rev(1), true));
        assert_eq!(seen("web-001").sampled_after, at(1_000));
        assert_eq!(seen("web-002").report.rev, Rev(2));
        assert_eq!(observer.there[&host].values().collect::<Vec<_>>(), [&Rev(2)]);
        assert_eq!(observer.seen.hosts[&host].at, at(2_000));
        assert_eq!(touched.news.len(), 1);
        observer.report(report(vec![entry("web-002", 2)]), at(2_100));
        assert!(!observer.seen.node(&"web-001".into(), &host).unwrap().report.data, "a whole one");
    }

    #[test]
    fn what_a_node_leaves_out_is_known_or_everything_has_to_be_said_again() {
        let mut observer = observer(Instant::from_millis(0));
        let entry = |node: usize, same| {
            let mut entry = said(node, well(node)).nodes.remove(0);
            entry.same = same;
            entry.report.applied.take_if(|_| same);
            entry
        };
        observer.report(report(vec![entry(1, false)]), Instant::from_millis(1));
        let part = |node| HostReport { part: true, ..report(vec![entry(node, true)]) };
        assert!(!observer.report(part(1), Instant::from_millis(2)).forgotten);
        let seen = observer.seen.node(&entry(1, true).node, &"h1".into()).unwrap();
        assert_eq!(seen.report, well(1));
        assert!(observer.report(part(2), Instant::from_millis(3)).forgotten);
        assert!(observer.seen.node(&entry(2, true).node, &"h1".into()).is_none());
    }

    #[test]
    fn time_in_which_nobody_listened_is_nobodys_silence() {
        let at = Instant::from_millis;
        let mut observer = observer(at(1_000));
        observer.excuse(Duration::from_millis(700), at(1_750));
        let heard = |observer: &Observer| observer.seen.hosts[&HostId::new("h1")].at;
        assert_eq!(heard(&observer), at(1_700));
        observer.excuse(Duration::from_millis(700), at(1_800));
        assert_eq!(heard(&observer), at(1_800), "not later than now");
    }
}
