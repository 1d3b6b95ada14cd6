//! The small world that the claims change: a healthy shard, and everything seen of it.
//!
//! Invariant: left alone, it needs no decision and no order.
//!
//! Not here: the claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use crate::model::{
    Access, Action, Applied, Cause, Durability, EngineKind, Epoch, FenceAnswer, Fenced,
    GroupEndpoints, Health, HostId, HostSeen, Lineage, MoveKind, MoveRequest, NodeReport, Offset,
    Order, Origin, Process, ProxyId, ProxySeen, Reads, ReplicaSeen, RequestId, Rev, RoleSeen,
    SlotRange, Stall, Standing, Term, Vacancy,
};

/// A healthy group of three on three hosts, and everything seen of it.
pub(super) struct World {
    pub(super) asked: GroupSpec,
    pub(super) decided: ShardTopology,
    pub(super) seen: Observations,
    pub(super) now: Instant,
}

pub(super) fn node(n: usize) -> NodeId {
    NodeId::new(format!("web-00{n}"))
}

pub(super) fn run(n: usize) -> Run {
    Run { node: node(n), id: format!("run-{n}").as_str().into() }
}

pub(super) fn tag(n: usize) -> Tag {
    Tag { run: run(n), seq: n as u64 }
}

pub(super) fn host(n: usize) -> HostId {
    HostId::new(format!("h{n}"))
}

pub(super) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([127, 80, 0, n as u8], 31_000))
}

pub(super) fn proxy() -> ProxyId {
    ProxyId::new("proxy-1")
}

pub(super) fn spec() -> GroupSpec {
    GroupSpec {
        name: "web".into(),
        region: "us-east-1".into(),
        engine: EngineKind::Redis,
        shards: BTreeMap::from([("0001".into(), vec![SlotRange::ALL])]),
        replicas: 2,
        zones: Vec::new(),
        automatic_failover: true,
        durability: Durability::Sync,
        min_in_sync: 0,
        memory_bytes: 1 << 26,
        endpoints: GroupEndpoints {
            primary: Ipv4Addr::new(127, 80, 1, 1),
            reader: Ipv4Addr::new(127, 80, 1, 2),
            port: 6379,
            ports_from: None,
        },
        requests: BTreeMap::new(),
        access: Access::Everyone,
        login: Default::default(),
        accounts: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        zone_of: BTreeMap::new(),
        unwanted: BTreeSet::new(),
        endpoint_hosts: BTreeSet::new(),
        attributes: BTreeMap::new(),
        deleting: false,
    }
}

pub(super) fn topology() -> ShardTopology {
    let member = |n: usize| Member {
        host: host(n),
        zone: format!("zone-{n}").as_str().into(),
        address: address(n),
        endpoint: Ipv4Addr::new(127, 80, 1, 2 + n as u8),
        attach: (n > 1).then(|| tag(n)),
        leaving: false,
    };
    ShardTopology {
        group: "web".into(),
        shard: "0001".into(),
        rev: Rev(10),
        epoch: Epoch(3),
        durability: Durability::Sync,
        slots: vec![SlotRange::ALL],
        primaryship: Primaryship::Serving(run(1)),
        in_sync: BTreeSet::from([tag(2), tag(3)]),
        pending: None,
        lineage: Lineage { base: Some(("old".into(), Offset(50))), replid: Some("now".into()) },
        members: (1..=3).map(|n| (node(n), member(n))).collect(),
        lanes: BTreeSet::from([proxy()]),
        next_seq: 4,
        request_done: RequestId(0),
        relocation: None,
    }
}

pub(super) fn report(n: usize) -> NodeReport {
    let seen = |n: usize| ReplicaSeen {
        tag: tag(n).to_string(),
        online: true,
        acked: Offset(100),
        behind: Duration::ZERO,
    };
    let role = match n {
        1 => RoleSeen::Primary { replicas: vec![seen(2), seen(3)] },
        _ => RoleSeen::Replica { link_up: true, syncing: false, of: Some(address(1)) },
    };
    NodeReport {
        rev: Rev(10),
        process: Process::Running(Some(run(n).id)),
        engine: Some(EngineSeen {
            run: run(n).id,
            role,
            replid: "now".into(),
            offset: Offset(100),
            health: if n == 1 { Health::Writable } else { Health::ReadOnly },
            memory_bytes: 0,
            memory_limit: None,
            fork_error: None,
        }),
        silent: Duration::ZERO,
        stall: Stall::None,
        fence: None,
        applied: Some(Arc::new(Applied {
            rev: Rev(10),
            epoch: Epoch(3),
            run: run(n).id,
            primary: n == 1,
            seqs: if n == 1 { BTreeSet::from([2, 3]) } else { BTreeSet::from([n as u64]) },
            lanes: BTreeSet::from([proxy()]),
            users: 0,
            stand_ins: BTreeSet::new(),
        })),
        data: true,
        standing: Some(Standing { on: false, turn: 1 }),
    }
}

impl World {
    pub(super) fn healthy() -> Self {
        let now = Instant::from_millis(100_000);
        let mut seen = Observations::default();
        for n in 1..=3 {
            let zone = format!("zone-{n}");
            seen.hosts.insert(
                host(n),
                HostSeen {
                    region: "us-east-1".into(),
                    zone: zone.as_str().into(),
                    address: Ipv4Addr::new(127, 80, 0, n as u8),
                    at: now,
                    since: Instant::ZERO,
                    draining: false,
                    memory_bytes: 1 << 30,
                },
            );
            let said = NodeSeen::new(host(n), now, now, report(n));
            seen.nodes.insert(node(n), vec![said]);
        }
        let decided = topology();
        let proxied = ProxySeen { route: Some((Rev(10), now)), ..ProxySeen::default() };
        seen.hear_proxy(&proxy(), &decided.key(), proxied, now);
        seen.rev_since.insert(decided.key(), (decided.rev, now));
        Self { asked: spec(), decided, seen, now }
    }

    /// Nobody is primary since a moment ago, and nobody has answered the fence yet.
    pub(super) fn vacant(cause: Cause) -> Self {
        let mut world = Self::healthy();
        world.decided.rev = Rev(11);
        world.decided.epoch = Epoch(4);
        let vacancy = Vacancy { prev: Some(run(1)), cause, request: None, heir: None };
        world.decided.primaryship = Primaryship::Vacant(vacancy);
        world.seen.rev_since.insert(world.decided.key(), (Rev(11), world.now));
        world
    }

    pub(super) fn report(&mut self, n: usize) -> &mut NodeReport {
        &mut self.seen.nodes.get_mut(&node(n)).unwrap()[0].report
    }

    pub(super) fn dies(&mut self, n: usize) {
        let report = self.report(n);
        report.process = Process::Absent;
        report.engine = None;
    }

    pub(super) fn answers(&mut self, n: usize, state: Fenced) {
        let rev = self.decided.rev;
        self.report(n).fence = Some(FenceAnswer { rev, state });
    }

    pub(super) fn frozen(&mut self, n: usize, offset: u64) {
        self.answers(n, frozen(run(n).id.as_str(), "now", offset));
    }

    pub(super) fn later(&mut self, span: Duration) {
        self.now = self.now + span;
        for host in self.seen.hosts.values_mut() {
            host.at = self.now;
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let plan = decide(&self.asked, &self.decided, &self.seen, &Limits::DEFAULT, self.now);
        if let Some(commit) = &plan.commit {
            assert_eq!(commit.next.check_after(&self.decided), Vec::<String>::new());
        }
        plan
    }

    pub(super) fn next(&self) -> ShardTopology {
        let plan = self.plan();
        plan.commit.unwrap_or_else(|| panic!("nothing decided: {:?}", plan.waits)).next
    }

    pub(super) fn waits_for(&self) -> Vec<WaitKind> {
        let plan = self.plan();
        assert_eq!(plan.commit, None);
        plan.waits.iter().map(|wait| wait.kind).collect()
    }

    pub(super) fn orders(&self) -> Vec<Order> {
        let (asked, decided, limits) = (&self.asked, &self.decided, &Limits::DEFAULT);
        let orders = converge(asked, decided, &self.seen, limits, Term(1), self.now);
        orders.into_iter().map(|(_, order)| order).collect()
    }

    pub(super) fn action(&self, n: usize) -> Option<Action> {
        self.orders().into_iter().find(|order| order.node == node(n)).map(|order| order.action)
    }

    pub(super) fn asks(&mut self, kind: MoveKind, to: Option<usize>, accept_loss: bool) {
        let (id, to, beyond) = (RequestId(1), to.map(node), None);
        let request = MoveRequest { id, kind, to, accept_loss, beyond };
        self.asked.requests.insert("0001".into(), request);
    }
}

pub(super) fn frozen(id: &str, replid: &str, offset: u64) -> Fenced {
    Fenced::Frozen {
        run: id.into(),
        replid: replid.into(),
        before: None,
        offset: Offset(offset),
        origin: Origin::Empty,
    }
}
