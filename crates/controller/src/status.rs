//! What there is, for people and programs: computed from the three states at the moment of asking.
//!
//! Invariant: every node that is shown as running is a process that its agent reported.
//!
//! Not here: how it is printed (`tanist`).

use tanist_core::decide::{Plan, placed_because};
use tanist_core::model::{
    Cause, EngineSeen, Epoch, Instant, Member, NodeId, NodeReport, ProblemKind, Process, RoleSeen,
    Severity, ShardTopology, Stall, Tag,
};
use tanist_link::api::{
    EndpointStatus, GroupStatus, NodeStatus, ProxyStatus, ServerStatus, ShardStatus, Status,
};

use crate::balance;
use crate::names::Listed;
use crate::proxies::Session;
use crate::reconciler::Controller;

impl Controller {
    /// What there is, with what is shown of every group.
    pub(crate) fn status(&self, groups: Vec<GroupStatus>, now: Instant) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.config.region.to_string(),
            hosts: self.host_status(now),
            groups,
            proxies: self.proxy_status(),
            notes: self.notes(),
            servers: self.server_status(now),
        }
    }

    fn server_status(&self, now: Instant) -> Vec<ServerStatus> {
        let roster = self.config.servers.as_ref();
        roster.map(|roster| self.servers.status(roster, &self.clocks, now)).unwrap_or_default()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.config.notes.clone();
        let outside = self.config.outside.borrow();
        let trouble = outside.trouble.iter();
        notes.extend(trouble.map(|why| format!("a change of the file is not taken: {why}")));
        notes.extend(self.note_of_unknown());
        notes
    }

    fn proxy_status(&self) -> Vec<ProxyStatus> {
        let all = self.observer.clients();
        let of = |(proxy, session): (&tanist_core::model::ProxyId, &crate::proxies::Session)| {
            let clients = all.get(proxy).copied().unwrap_or(0);
            ProxyStatus { proxy: proxy.to_string(), pid: session.pid, up: session.up, clients }
        };
        self.proxies.iter().map(of).collect()
    }

    pub(crate) fn group_status(
        &self,
        name: &tanist_core::model::GroupName,
        listed: &Listed,
    ) -> Option<GroupStatus> {
        let held = self.archive.specs.get(name)?;
        let spec = &held.body;
        let names = &self.config.names;
        let endpoints = &spec.endpoints;
        let topologies = || self.archive.shards_of(name);
        let shards = topologies().map(|shard| self.shard_status(spec, shard, listed)).collect();
        let word = topologies().map(|shard| self.word(spec, shard)).max();
        let word = word.unwrap_or(Word::Available);
        let word = if spec.deleting { Word::Deleting } else { word };
        let shown = |name, endpoint| {
            let places = self.places(spec, endpoint);
            names.endpoint(listed, name, &places, endpoints.port_of(endpoint))
        };
        let primary = shown(names.primary(spec), endpoints.primary);
        let reader = shown(names.reader(spec), endpoints.reader);
        Some(GroupStatus {
            name: name.clone(),
            status: word.text().to_owned(),
            engine: spec.engine,
            durability: spec.durability,
            memory_bytes: spec.memory_bytes,
            revision: held.revision.0,
            replicas: spec.replicas,
            automatic_failover: spec.automatic_failover,
            zones: spec.zones.clone(),
            endpoint_hosts: spec.endpoint_hosts.clone(),
            access: spec.access.clone(),
            login: crate::users::login_status(spec),
            transit: spec.transit,
            certificate: self.certificates.status(name),
            reads: spec.reads,
            attributes: spec.attributes.clone(),
            primary_endpoint: primary,
            reader_endpoint: reader,
            shards,
        })
    }

    fn word(&self, spec: &tanist_core::model::GroupSpec, shard: &ShardTopology) -> Word {
        let plan = self.plans.get(&shard.key());
        let forgotten = |plan: &Plan| {
            plan.problems.iter().any(|problem| problem.kind == ProblemKind::StoreBehind)
        };
        if plan.is_some_and(forgotten) {
            return Word::Unavailable;
        }
        if let Some(vacancy) = shard.vacancy() {
            return match vacancy.cause {
                Cause::Created => Word::Creating,
                Cause::Deleted => Word::Deleting,
                Cause::PrimaryDown
                | Cause::PrimarySilent
                | Cause::HostLost
                | Cause::Failover
                | Cause::Switchover
                | Cause::StoreBehind
                | Cause::Rebuilt => Word::Unavailable,
            };
        }
        let whole = self.is_promoted(shard) && shard.in_sync.len() >= usize::from(spec.replicas);
        // One that has had another primary was there before, whoever remembers it.
        let is_first = shard.epoch <= Epoch(1);
        let first = is_first && !whole && !self.was_whole.contains(&shard.key());
        let serious = |plan: &Plan| {
            plan.problems.iter().any(|problem| problem.kind.severity() == Severity::Error)
        };
        let asked = spec.requests.get(&shard.shard).is_some_and(|r| r.id > shard.request_done);
        let staying = shard.members.values().filter(|member| !member.leaving).count();
        // While a node is relocated, there is one more, and nobody has to wait for anything.
        let resizing = shard.relocation.is_none()
            && (staying != spec.nodes_per_shard() || staying != shard.members.len());
        if plan.is_some_and(serious) {
            Word::Unavailable
        } else if first {
            Word::Creating
        } else if asked || resizing {
            Word::Modifying
        } else if whole {
            Word::Available
        } else {
            Word::Degraded
        }
    }

    fn shard_status(
        &self,
        spec: &tanist_core::model::GroupSpec,
        shard: &ShardTopology,
        listed: &Listed,
    ) -> ShardStatus {
        let key = shard.key();
        let plan = self.plans.get(&key);
        let is_up = |proxy| self.proxies.get(proxy).is_some_and(|session: &Session| session.up);
        let said = || {
            let said = self.observer.said(&key).filter(|(proxy, _)| is_up(*proxy));
            said.map(|(_, shard)| shard)
        };
        let leader = shard.primary().and_then(|run| self.engine(shard, &run.node));
        let waits = plan.iter().flat_map(|plan| plan.waits.iter().cloned());
        let nodes = shard.members.iter().map(|(node, member)| {
            let name = self.config.names.node(spec, node);
            let port = spec.endpoints.port_of(member.endpoint);
            let places = self.places(spec, member.endpoint);
            let endpoint = self.config.names.endpoint(listed, name, &places, port);
            self.node_status(shard, node, member, endpoint, leader)
        });
        ShardStatus {
            shard: shard.shard.clone(),
            epoch: shard.epoch,
            rev: shard.rev,
            primary: shard
                .primary()
                .filter(|_| self.is_promoted(shard))
                .map(|run| run.node.clone()),
            request_done: shard.request_done,
            nodes: nodes.collect(),
            problems: plan.map(|plan| plan.problems.clone()).unwrap_or_default(),
            waits: waits.chain(self.waits_for_calm(shard)).collect(),
            relocation: balance::shown(shard),
            released: said().filter_map(|shard| shard.released).max(),
            held: said().map(|shard| shard.held).sum(),
            turned_away: said().map(|shard| shard.turned_away).sum(),
            last_turned_away: said().filter_map(|shard| shard.last_turned_away).next(),
        }
    }

    fn node_status(
        &self,
        shard: &ShardTopology,
        node: &NodeId,
        member: &Member,
        endpoint: EndpointStatus,
        leader: Option<&EngineSeen>,
    ) -> NodeStatus {
        let report = self.observer.seen.node(node, &member.host).map(|seen| &seen.report);
        let engine = report.and_then(NodeReport::engine);
        let is_primary = shard.primary().is_some_and(|run| run.node == *node);
        let in_sync = member.attach.as_ref().is_some_and(|tag| shard.in_sync.contains(tag));
        let lag_bytes = leader
            .filter(|_| !is_primary)
            .zip(engine)
            .map(|(leader, engine)| leader.offset.0.saturating_sub(engine.offset.0));
        NodeStatus {
            node: node.clone(),
            host: member.host.clone(),
            zone: member.zone.clone(),
            placed: placed_because(shard, node),
            endpoint,
            role: self.role(shard, member, report, is_primary).to_owned(),
            in_sync: in_sync || (is_primary && self.is_promoted(shard)),
            pid: self.observer.pids.get(node).copied(),
            offset: engine.map(|engine| engine.offset),
            lag_bytes,
            lag_ms: leader.zip(member.attach.as_ref()).and_then(|(leader, tag)| lag(leader, tag)),
            memory_bytes: engine.map(|engine| engine.memory_bytes),
            memory_limit: engine.and_then(|engine| engine.memory_limit),
        }
    }

    fn role(
        &self,
        shard: &ShardTopology,
        member: &Member,
        report: Option<&NodeReport>,
        is_primary: bool,
    ) -> &'static str {
        let Some(report) = report else { return "unknown" };
        if member.leaving {
            return "leaving";
        }
        match &report.process {
            Process::Unknown => return "unknown",
            Process::Absent | Process::Failed(_) => return "down",
            Process::Running(None) => return "starting",
            Process::Running(Some(_)) => {}
        }
        if report.stall != Stall::None && report.silent >= self.config.limits.stopped {
            return "silent";
        }
        match report.engine().map(|engine| &engine.role) {
            // What its agent confirmed is newer than what the last probe saw.
            _ if is_primary && self.is_promoted(shard) => "primary",
            None => "starting",
            Some(RoleSeen::Replica { syncing: true, .. }) => "syncing",
            Some(RoleSeen::Replica { link_up: true, .. }) => "replica",
            Some(RoleSeen::Primary { .. } | RoleSeen::Replica { .. }) => "frozen",
        }
    }

    fn engine(&self, shard: &ShardTopology, node: &NodeId) -> Option<&EngineSeen> {
        let member = shard.members.get(node)?;
        self.observer.seen.node(node, &member.host)?.report.engine()
    }

    /// The recorded primary's agent has confirmed the promotion of this epoch.
    pub(crate) fn is_promoted(&self, shard: &ShardTopology) -> bool {
        let Some(run) = shard.primary() else { return false };
        let Some(member) = shard.members.get(&run.node) else { return false };
        let seen = self.observer.seen.node(&run.node, &member.host);
        seen.and_then(|seen| seen.report.applied.as_ref()).is_some_and(|applied| {
            applied.primary && applied.epoch == shard.epoch && applied.run == run.id
        })
    }
}

/// For how long the primary has been ahead of an attachment, in milliseconds.
fn lag(leader: &EngineSeen, tag: &Tag) -> Option<u64> {
    let RoleSeen::Primary { replicas } = &leader.role else { return None };
    let wire = tag.to_string();
    let seen = replicas.iter().find(|replica| replica.tag == wire)?;
    u64::try_from(seen.behind.as_millis()).ok()
}

/// A group's status in one word; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Available,
    Degraded,
    Modifying,
    Creating,
    Unavailable,
    Deleting,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Degraded => "degraded",
            Self::Modifying => "modifying",
            Self::Creating => "creating",
            Self::Unavailable => "unavailable",
            Self::Deleting => "deleting",
        }
    }
}
