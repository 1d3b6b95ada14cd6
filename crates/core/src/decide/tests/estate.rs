//! A small installation: hosts, groups and everything seen of them, in which what was decided comes
//! true at the next look.
//!
//! Invariant: every commit is a legal one; of all shards one relocation is at work; nobody who is in
//! sync is let go unless as many nodes as were asked for are.
//!
//! Not here: the claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::super::rebalance::{Outlook, rebalance};
use super::super::spread::{Loads, Spread};
use super::super::{Commit, Plan, decide, off_host};
use super::world::{frozen, spec, topology};
use crate::model::{
    Applied, EngineSeen, EventKind, FenceAnswer, GroupSpec, Health, HostId, HostSeen, Instant,
    Limits, Member, MoveKind, MoveRequest, NodeId, NodeReport, NodeSeen, Observations, Offset,
    Primaryship, Process, ReplicaSeen, RoleSeen, Run, ShardTopology, Stall, Tag, Wait,
};

#[derive(Debug)]
pub(super) struct Estate {
    pub(super) hosts: BTreeMap<HostId, HostSeen>,
    pub(super) groups: Vec<(GroupSpec, ShardTopology)>,
    pub(super) seen: Observations,
    pub(super) limits: Limits,
    pub(super) now: Instant,
    /// Hosts that were heard at the last look.
    heard: BTreeSet<HostId>,
    /// Hosts of which nothing is heard.
    pub(super) silent: BTreeSet<HostId>,
    /// Nodes whose process is gone, or cannot start.
    pub(super) down: BTreeMap<NodeId, Process>,
    /// What happened.
    pub(super) events: Vec<EventKind>,
    /// Nodes that never catch up.
    pub(super) slow: BTreeSet<NodeId>,
}

/// When it begins.
const START: Instant = Instant::from_millis(1_000_000);

fn id_of(node: &NodeId) -> Run {
    Run { node: node.clone(), id: format!("run-{node}").as_str().into() }
}

pub(super) fn zoned(number: usize, zone: usize) -> (HostId, HostSeen) {
    let seen = HostSeen {
        region: "us-east-1".into(),
        zone: format!("zone-{zone}").as_str().into(),
        address: Ipv4Addr::new(127, 80, 0, number as u8),
        at: START,
        since: Instant::ZERO,
        draining: false,
        memory_bytes: 1 << 30,
    };
    (HostId::new(format!("h{number}")), seen)
}

impl Estate {
    /// Hosts with these numbers and zones, quiet for long, and nothing on them.
    pub(super) fn of(hosts: &[(usize, usize)]) -> Self {
        let hosts = hosts.iter().map(|(number, zone)| zoned(*number, *zone)).collect();
        let mut estate = Self {
            hosts,
            groups: Vec::new(),
            seen: Observations::default(),
            limits: Limits::DEFAULT,
            now: START,
            heard: BTreeSet::new(),
            silent: BTreeSet::new(),
            down: BTreeMap::new(),
            events: Vec::new(),
            slow: BTreeSet::new(),
        };
        estate.look_around();
        estate
    }

    /// A group whose nodes, the primary first, are on these hosts and in sync.
    pub(super) fn group(&mut self, name: &str, memory_bytes: u64, on: &[usize]) {
        let replicas = on.len() as u8 - 1;
        let asked = GroupSpec { name: name.into(), replicas, memory_bytes, ..spec() };
        let mut shard = topology();
        shard.group = name.into();
        shard.lanes.clear();
        shard.members.clear();
        shard.in_sync.clear();
        let place = self.groups.len() * 16;
        for (ordinal, host) in on.iter().enumerate() {
            let node = asked.node_id(&shard.shard, ordinal + 1);
            let host = HostId::new(format!("h{host}"));
            let port = 31_000 + (place + ordinal) as u16;
            let tag = Tag { run: id_of(&node), seq: ordinal as u64 };
            let member = Member {
                zone: self.hosts[&host].zone.clone(),
                address: SocketAddr::from((self.hosts[&host].address, port)),
                endpoint: Ipv4Addr::new(127, 90, place as u8, ordinal as u8),
                host,
                attach: (ordinal > 0).then(|| tag.clone()),
                leaving: false,
            };
            shard.members.insert(node.clone(), member);
            if ordinal == 0 {
                shard.primaryship = Primaryship::Serving(id_of(&node));
            } else {
                shard.in_sync.insert(tag);
            }
        }
        shard.next_seq = 100;
        self.groups.push((asked, shard));
        self.look_around();
    }

    /// Everything is seen as it is.
    pub(super) fn look_around(&mut self) {
        let calm = std::mem::take(&mut self.seen.calm);
        let rev_since = std::mem::take(&mut self.seen.rev_since);
        let mut seen = Observations { calm, rev_since, ..Observations::default() };
        for (id, host) in self.hosts.iter_mut().filter(|(id, _)| !self.silent.contains(*id)) {
            // Who was heard at the last look has been heard ever since.
            let patience = if self.heard.contains(id) { Duration::MAX } else { self.limits.host };
            host.hear(self.now, patience);
        }
        self.heard = self.hosts.keys().filter(|id| !self.silent.contains(*id)).cloned().collect();
        seen.hosts = self.hosts.clone();
        for (asked, shard) in &self.groups {
            let since = seen.rev_since.entry(shard.key()).or_insert((shard.rev, self.now));
            if since.0 != shard.rev {
                *since = (shard.rev, self.now);
            }
            for (node, member) in &shard.members {
                let promised = seen.promised_bytes.entry(member.host.clone()).or_default();
                *promised += asked.memory_bytes;
                seen.taken.engines.insert(member.address);
                seen.taken.endpoints.insert(member.endpoint);
                let said = NodeSeen::new(
                    member.host.clone(),
                    self.now,
                    self.now,
                    self.report(shard, node, member),
                );
                seen.nodes.insert(node.clone(), vec![said]);
            }
        }
        self.seen = seen;
    }

    fn report(&self, shard: &ShardTopology, node: &NodeId, member: &Member) -> NodeReport {
        let run = id_of(node);
        let primary = shard.primary() == Some(&run);
        let attached = |tag: &Tag| ReplicaSeen {
            tag: tag.to_string(),
            online: !self.slow.contains(&tag.run.node),
            acked: Offset(100),
            behind: Duration::ZERO,
        };
        let role = if primary {
            RoleSeen::Primary { replicas: shard.attachments().iter().map(attached).collect() }
        } else {
            RoleSeen::Replica { link_up: true, syncing: false, of: None }
        };
        let own = || member.attach.iter().map(|tag| tag.seq).collect();
        let all = || shard.attachments().iter().map(|tag| tag.seq).collect();
        let applied = Applied {
            rev: shard.rev,
            epoch: shard.epoch,
            run: run.id.clone(),
            primary,
            seqs: if primary { all() } else { own() },
            lanes: BTreeSet::new(),
            users: 0,
            stand_ins: BTreeSet::new(),
        };
        let engine = EngineSeen {
            run: run.id.clone(),
            role,
            replid: "now".into(),
            offset: Offset(100),
            health: if primary { Health::Writable } else { Health::ReadOnly },
            memory_bytes: 0,
            memory_limit: None,
            fork_error: None,
        };
        let answer = || FenceAnswer { rev: shard.rev, state: frozen(run.id.as_str(), "now", 100) };
        let up = !member.leaving && !self.down.contains_key(node);
        let absent = || self.down.get(node).cloned().unwrap_or(Process::Absent);
        NodeReport {
            rev: shard.rev,
            process: if up { Process::Running(Some(run.id.clone())) } else { absent() },
            engine: up.then_some(engine),
            silent: Duration::ZERO,
            stall: Stall::None,
            fence: (up && shard.primary().is_none()).then(answer),
            applied: up.then(|| Arc::new(applied)),
            data: !member.leaving,
            standing: None,
        }
    }

    /// What is decided about one group now.
    pub(super) fn plan(&self, group: usize) -> Plan {
        let (asked, shard) = &self.groups[group];
        decide(asked, shard, &self.seen, &self.limits, self.now)
    }

    pub(super) fn outlook(&self) -> Outlook {
        let shards: Vec<_> = self.groups.iter().map(|(asked, shard)| (asked, shard)).collect();
        rebalance(&shards, &self.seen, &self.limits, self.now)
    }

    /// Why nothing is begun, if something could be.
    pub(super) fn later(&self) -> Option<Wait> {
        match self.outlook() {
            Outlook::Later(_, wait) => Some(wait),
            Outlook::Settled | Outlook::Now(..) => None,
        }
    }

    fn commit(&mut self, group: usize, commit: Commit) {
        let (asked, shard) = &mut self.groups[group];
        let before = std::mem::replace(shard, commit.next);
        assert_eq!(shard.check_after(&before), Vec::<String>::new());
        let counts = |shard: &ShardTopology| shard.in_sync.len() + 1;
        let wanted = asked.nodes_per_shard();
        let left = shard.members.iter().filter(|(node, member)| {
            member.leaving && before.members.get(*node).is_some_and(|before| !before.leaving)
        });
        for (node, _) in left {
            let counted = before.in_sync.iter().any(|tag| tag.run.node == *node);
            assert!(!counted || counts(shard) >= wanted, "{node} was let go: {shard:?}");
        }
        assert!(shard.members.len() <= wanted + 1, "{shard:?}");
        self.seen.calm.note(Some(&before), shard, self.now);
        self.events.extend(commit.events.into_iter().map(|event| event.kind));
        let at_work = self.groups.iter().filter(|(_, shard)| shard.relocation.is_some()).count();
        assert!(at_work <= 1, "{:?}", self.events);
        self.look_around();
    }

    pub(super) fn second(&mut self) {
        self.pass(1, 1);
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(seconds, 1);
    }

    /// Time passes; every `step` seconds whatever is due is done.
    pub(super) fn pass(&mut self, seconds: u64, step: u64) {
        (0..seconds.div_ceil(step)).for_each(|_| self.step(Duration::from_secs(step)));
    }

    fn step(&mut self, span: Duration) {
        self.now = self.now + span;
        self.look_around();
        for group in 0..self.groups.len() {
            while let Some(commit) = self.plan(group).commit {
                self.commit(group, commit);
            }
            let (asked, shard) = &self.groups[group];
            if let Some(heir) = off_host(asked, shard, &self.seen, &self.limits, self.now) {
                let id = shard.request_done.next();
                let (kind, to) = (MoveKind::Switchover, Some(heir));
                let request = MoveRequest { id, kind, to, accept_loss: false, beyond: None };
                let key = shard.shard.clone();
                self.groups[group].0.requests.insert(key, request);
            }
        }
        if let Outlook::Now(key, commit) = self.outlook() {
            let group = self.groups.iter().position(|(_, shard)| shard.key() == key);
            self.commit(group.unwrap(), *commit);
        }
    }

    /// The hosts of a group's nodes, in order.
    pub(super) fn hosts_of(&self, group: usize) -> Vec<&str> {
        let mut hosts: Vec<&str> =
            self.groups[group].1.members.values().map(|member| member.host.as_str()).collect();
        hosts.sort_unstable();
        hosts
    }

    /// What moves have to make smaller.
    pub(super) fn cost(&self) -> (usize, usize, Vec<u64>) {
        let shards = || self.groups.iter().map(|(asked, shard)| (asked, shard));
        let spread = |shard: &ShardTopology| Spread::of(shard.members.values());
        let zones = shards().map(|(_, shard)| spread(shard).in_zones).sum();
        let hosts = shards().map(|(_, shard)| spread(shard).on_hosts).sum();
        (zones, hosts, Loads::of(shards(), &self.seen).sorted())
    }

    pub(super) fn begun(&self) -> usize {
        let begun = |event: &&EventKind| matches!(event, EventKind::RelocationBegun { .. });
        self.events.iter().filter(begun).count()
    }
}
