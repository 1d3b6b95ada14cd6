//! Names, and the way between the model's numbers and core's nouns.
//!
//! Invariant: a name leads back to its number, and both sides agree on every name.
//!
//! Not here: what the nouns decide (`tanist_core::decide`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::{
    Access, Action, Applied, Cause, DataOnStart, Durability, EngineKind, EngineSeen, Epoch,
    FenceAnswer, Fenced, GroupEndpoints, GroupName, GroupSpec, Health, HostId, Lineage, Member,
    MoveKind, MoveRequest, NodeId, NodeReport, Offset, Order, Origin, Primaryship, Process,
    ProxyId, Reads, Region, ReplId, ReplicaSeen, RequestId, Rev, RoleSeen, Route, RouteState, Run,
    RunId, ShardId, ShardKey, ShardTopology, SlotRange, Stall, Tag, Zone,
};

use crate::config::Wish;
use crate::state::{Answer, Done, NODES, PROXIES, Probe, ProbeRole, Replid, Report};

/// Offset at which every node begins.
pub(crate) const BASE: u8 = 10;
/// Revision at which the world begins.
pub(crate) const FIRST_REV: u8 = 5;

pub(crate) fn node_id(node: u8) -> NodeId {
    NodeId::new(format!("web-{:03}", node + 1))
}

/// The node of that name.
pub(crate) fn node_of(id: &NodeId) -> u8 {
    digit(id.as_str()).saturating_sub(1)
}

fn digit(text: &str) -> u8 {
    text.bytes().last().map_or(0, |byte| byte.saturating_sub(b'0'))
}

pub(crate) fn host_id(node: u8) -> HostId {
    HostId::new(format!("host-{}", node + 1))
}

pub(crate) fn zone(node: u8) -> Zone {
    Zone::new(format!("zone-{}", node + 1))
}

pub(crate) fn proxy_id(proxy: u8) -> ProxyId {
    ProxyId::new(format!("proxy-{proxy}"))
}

/// Eight characters, because a tag's wire form keeps that many.
pub(crate) fn run_id(node: u8, run: u8) -> RunId {
    RunId::new(format!("run{}-{run:03}", node + 1))
}

pub(crate) fn run_of(id: &RunId) -> u8 {
    id.as_str().get(5..).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

pub(crate) fn run(node: u8, number: u8) -> Run {
    Run { node: node_id(node), id: run_id(node, number) }
}

/// The replication id that a process starts with.
pub(crate) fn fresh_replid(node: u8, run: u8) -> Replid {
    1 + node * 16 + run
}

/// The replication id that a process takes when it is promoted in an epoch.
pub(crate) fn promoted_replid(node: u8, epoch: u8) -> Replid {
    128 + node * 16 + epoch
}

/// The replication id from before the beginning.
pub(crate) const ANCIENT: Replid = 0;

pub(crate) fn replid_name(replid: Replid) -> ReplId {
    ReplId::new(format!("{replid:03}"))
}

pub(crate) fn address(node: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, node + 1), 31_000))
}

pub(crate) fn key() -> ShardKey {
    ShardKey { group: GroupName::new("web"), shard: ShardId::new("0001") }
}

/// An attachment in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct Attachment {
    pub(crate) node: u8,
    pub(crate) run: u8,
    pub(crate) seq: u8,
}

impl Attachment {
    pub(crate) fn of(tag: &Tag) -> Self {
        let seq = u8::try_from(tag.seq).unwrap_or(u8::MAX);
        Self { node: node_of(&tag.run.node), run: run_of(&tag.run.id), seq }
    }

    /// The attachment of that wire form.
    pub(crate) fn parse(wire: &str) -> Option<Self> {
        let mut parts = wire.split('.');
        let (node, run, seq) = (parts.next()?, parts.next()?, parts.next()?);
        let (node, run) = (node_of(&NodeId::new(node)), run_of(&RunId::new(run)));
        Some(Self { node, run, seq: seq.parse().ok()? })
    }

    pub(crate) fn tag(self) -> Tag {
        Tag { run: run(self.node, self.run), seq: u64::from(self.seq) }
    }
}

/// A topology with what the model asks of it, ready.
pub(crate) struct Decided {
    pub(crate) topology: ShardTopology,
    pub(crate) rev: u8,
    pub(crate) epoch: u8,
    pub(crate) primary: Option<(u8, u8)>,
    pub(crate) in_sync: Vec<Attachment>,
    /// Members of S and the pending attachment.
    pub(crate) required: Vec<Attachment>,
    pub(crate) pending: bool,
    /// Members of S and the old primary, a bit for each node.
    pub(crate) candidates: u8,
    /// Every attachment, by node.
    pub(crate) attached: [Option<Attachment>; NODES],
}

impl Decided {
    pub(crate) fn new(mut topology: ShardTopology) -> Self {
        if let Primaryship::Vacant(vacancy) = &mut topology.primaryship
            && !vacancy.cause.is_planned()
        {
            // Which accident it was changes nothing that follows.
            vacancy.cause = Cause::HostLost;
        }
        let mut attached = [None; NODES];
        for (node, member) in &topology.members {
            attached[usize::from(node_of(node))] = member.attach.as_ref().map(Attachment::of);
        }
        Self {
            rev: low(topology.rev.0),
            epoch: low(topology.epoch.0),
            primary: topology.primary().map(|run| (node_of(&run.node), run_of(&run.id))),
            in_sync: topology.in_sync.iter().map(Attachment::of).collect(),
            required: topology.required().iter().map(Attachment::of).collect(),
            pending: topology.pending.is_some(),
            candidates: topology
                .in_sync
                .iter()
                .map(|tag| &tag.run.node)
                .chain(topology.vacancy().and_then(|vacancy| Some(&vacancy.prev.as_ref()?.node)))
                .fold(0, |bits, node| bits | (1 << node_of(node))),
            attached,
            topology,
        }
    }
}

/// The model's numbers are small.
pub(crate) fn low(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// The number of the only request.
pub(crate) const REQUEST: RequestId = RequestId(1);

pub(crate) fn spec(wish: Option<Wish>) -> GroupSpec {
    let shard = ShardId::new("0001");
    let request = |wish: Wish| {
        let (kind, to) = match wish {
            Wish::Failover => (MoveKind::Failover, None),
            Wish::Switchover => (MoveKind::Switchover, None),
            Wish::SwitchoverTo(node) => (MoveKind::Switchover, Some(node_id(node))),
        };
        (shard.clone(), MoveRequest { id: REQUEST, kind, to, accept_loss: false, beyond: None })
    };
    let requests = wish.map(request).into_iter().collect();
    GroupSpec {
        name: GroupName::new("web"),
        region: Region::new("here"),
        engine: EngineKind::Redis,
        shards: BTreeMap::from([(shard, vec![SlotRange::ALL])]),
        replicas: 2,
        zones: Vec::new(),
        automatic_failover: true,
        durability: Durability::Sync,
        min_in_sync: 0,
        memory_bytes: 1,
        endpoints: GroupEndpoints {
            primary: Ipv4Addr::new(127, 80, 0, 1),
            reader: Ipv4Addr::new(127, 80, 0, 2),
            port: 6379,
            ports_from: None,
        },
        requests,
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

/// The first node is primary, the others are attached; `in_sync` of them are in sync.
pub(crate) fn first_topology(in_sync: u8, proxies: u8) -> ShardTopology {
    let member = |node: u8| Member {
        host: host_id(node),
        zone: zone(node),
        address: address(node),
        endpoint: Ipv4Addr::new(127, 80, 1, node + 1),
        attach: (node > 0).then(|| Attachment { node, run: 0, seq: node }.tag()),
        leaving: false,
    };
    let lineage = Lineage {
        base: Some((replid_name(ANCIENT), Offset(u64::from(BASE)))),
        replid: Some(replid_name(promoted_replid(0, 1))),
    };
    ShardTopology {
        group: GroupName::new("web"),
        shard: ShardId::new("0001"),
        rev: Rev(u64::from(FIRST_REV)),
        epoch: Epoch(1),
        durability: Durability::Sync,
        slots: vec![SlotRange::ALL],
        primaryship: Primaryship::Serving(run(0, 0)),
        in_sync: (1..=in_sync).map(|node| Attachment { node, run: 0, seq: node }.tag()).collect(),
        pending: None,
        lineage,
        members: (0..NODES as u8).map(|node| (node_id(node), member(node))).collect(),
        lanes: (0..proxies).map(proxy_id).collect(),
        next_seq: 3,
        request_done: RequestId(0),
        relocation: None,
    }
}

/// A route with what the model asks of it, ready.
pub(crate) struct Published {
    pub(crate) route: Route,
    pub(crate) rev: u8,
    pub(crate) epoch: u8,
    /// Whom an acknowledgement needs; `None`: nobody is primary.
    pub(crate) required: Option<Vec<Attachment>>,
}

impl Published {
    pub(crate) fn new(route: Route) -> Self {
        let required = match &route.state {
            RouteState::Vacant => None,
            RouteState::Serving { required, .. } => Some(attachments(required)),
        };
        Self { rev: low(route.rev.0), epoch: low(route.epoch.0), required, route }
    }
}

/// The attachments of these wire forms.
pub(crate) fn attachments(wires: &BTreeSet<String>) -> Vec<Attachment> {
    wires.iter().filter_map(|wire| Attachment::parse(wire)).collect()
}

/// What an order asks, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Start { load: bool },
    Fence { was_primary: bool },
    Lead { run: u8, users: u32, lanes: u8, promote: bool },
    Follow { run: u8, seq: u8, of: u8, lanes: u8 },
    Other,
}

/// An order with what the model asks of it, ready.
pub(crate) struct Asked {
    pub(crate) node: u8,
    pub(crate) rev: u8,
    pub(crate) epoch: u8,
    pub(crate) act: Act,
}

impl Asked {
    pub(crate) fn new(order: &Order) -> Self {
        let act = match &order.action {
            Action::Start { data, .. } => Act::Start { load: *data == DataOnStart::Load },
            Action::Fence { was_primary, .. } => Act::Fence { was_primary: *was_primary },
            Action::Promote { run, replicas, lanes, .. } => lead(run, replicas, lanes, true),
            Action::Admit { run, replicas, lanes, .. } => lead(run, replicas, lanes, false),
            Action::Follow { tag, primary, lanes, .. } => {
                let Attachment { run, seq, .. } = Attachment::of(tag);
                let of = (0..NODES as u8).find(|node| address(*node) == *primary).unwrap_or(0);
                Act::Follow { run, seq, of, lanes: lane_bits(lanes) }
            }
            Action::Configure { .. } | Action::Remove => Act::Other,
        };
        Self { node: node_of(&order.node), rev: low(order.rev.0), epoch: low(order.epoch.0), act }
    }
}

fn lead(run: &RunId, replicas: &BTreeSet<Tag>, lanes: &BTreeSet<ProxyId>, promote: bool) -> Act {
    let users = replicas.iter().fold(0, |bits, tag| bits | (1 << (tag.seq % 32)));
    Act::Lead { run: run_of(run), users, lanes: lane_bits(lanes), promote }
}

fn lane_bits(lanes: &BTreeSet<ProxyId>) -> u8 {
    lanes.iter().fold(0, |bits, proxy| bits | (1 << digit(proxy.as_str())))
}

/// A report as an agent would send it. `attached` tells the wire forms of attachments.
pub(crate) fn node_report(
    node: u8,
    report: &Report,
    attached: &[Option<Attachment>; NODES],
) -> NodeReport {
    let process = match report.run {
        Some(number) => Process::Running(Some(run_id(node, number))),
        None => Process::Absent,
    };
    let own = report.run.unwrap_or(0);
    NodeReport {
        // A controller that hears of more than it knows does less: here nobody hears of it.
        rev: Rev(0),
        process,
        engine: report.probe.map(|probe| engine(node, own, &probe, attached)),
        silent: Duration::ZERO,
        stall: Stall::None,
        fence: report.answer.map(|(rev, answer)| fence_answer(node, rev, answer)),
        applied: report.done.map(|done| Arc::new(applied(node, own, &done))),
        data: false,
        standing: None,
    }
}

fn engine(node: u8, own: u8, probe: &Probe, attached: &[Option<Attachment>; NODES]) -> EngineSeen {
    let (role, health) = match probe.role {
        ProbeRole::Primary { online } => {
            let online = attached.iter().flatten().filter(|at| online & (1 << at.seq) != 0);
            let seen = |attachment: &Attachment| ReplicaSeen {
                tag: attachment.tag().to_string(),
                online: true,
                acked: Offset(0),
                behind: Duration::ZERO,
            };
            (RoleSeen::Primary { replicas: online.map(seen).collect() }, Health::Writable)
        }
        ProbeRole::Replica { up, copying } => {
            let role = RoleSeen::Replica { link_up: up, syncing: copying, of: None };
            (role, if copying { Health::Loading } else { Health::ReadOnly })
        }
    };
    EngineSeen {
        run: run_id(node, own),
        role,
        replid: replid_name(probe.replid),
        offset: Offset(u64::from(probe.offset)),
        health,
        memory_bytes: 0,
        memory_limit: None,
        fork_error: None,
    }
}

fn fence_answer(node: u8, rev: u8, answer: Answer) -> FenceAnswer {
    let state = match answer {
        Answer::Dead => Fenced::Dead,
        Answer::Frozen { run, replid, before, offset, loaded } => Fenced::Frozen {
            run: run_id(node, run),
            replid: replid_name(replid),
            before: before.map(|(id, from)| (replid_name(id), Offset(u64::from(from)))),
            offset: Offset(u64::from(offset)),
            origin: if loaded { Origin::Crash } else { Origin::Empty },
        },
        Answer::Unusable { run } => Fenced::Unusable { run: Some(run_id(node, run)) },
    };
    FenceAnswer { rev: Rev(u64::from(rev)), state }
}

fn applied(node: u8, own: u8, done: &Done) -> Applied {
    Applied {
        rev: Rev(0),
        epoch: Epoch(u64::from(done.epoch)),
        run: run_id(node, own),
        primary: done.primary,
        seqs: (0..32).filter(|seq| done.seqs & (1 << seq) != 0).collect(),
        lanes: (0..PROXIES as u8).filter(|p| done.lanes & (1 << p) != 0).map(proxy_id).collect(),
        users: 0,
        stand_ins: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_numbers() {
        for node in 0..NODES as u8 {
            assert_eq!(node_of(&node_id(node)), node);
            for number in 0..16 {
                assert_eq!(run_of(&run_id(node, number)), number);
                assert_eq!(run_id(node, number).as_str().len(), 8);
            }
        }
        let attachment = Attachment { node: 2, run: 3, seq: 9 };
        assert_eq!(Attachment::of(&attachment.tag()), attachment);
        assert_eq!(Attachment::parse(&attachment.tag().to_string()), Some(attachment));
    }

    #[test]
    fn replication_ids_of_different_beginnings_differ() {
        let mut all = BTreeSet::from([ANCIENT]);
        for node in 0..NODES as u8 {
            for number in 0..15 {
                assert!(all.insert(fresh_replid(node, number)));
                assert!(all.insert(promoted_replid(node, number)));
            }
        }
    }

    #[test]
    fn the_first_topology_is_sound() {
        for in_sync in 0..=2 {
            assert_eq!(first_topology(in_sync, 2).check(), Vec::<String>::new());
        }
    }
}
