//! What was seen: reports of agents and proxies, with the time from which they may be trusted.
//!
//! An observation says nothing about now, only about then; whoever judges asks how old it is.
//! `sampled_after` is a lower bound on when a sample was taken, on the observer's own clock: the
//! agent echoes the last number that the controller sent it, and the controller knows when that was.
//!
//! Invariant: an observation is never stored and never decides anything by itself.
//!
//! Not here: what follows from it (`crate::decide::diagnose`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Calm, EndpointPlan, Epoch, HostId, Instant, NodeId, Offset, ProxyId, Region, ReplId, RequestId,
    Rev, RunId, ShardKey, Zone,
};

/// Whether a node's process exists, as its supervisor knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// Nobody has looked yet.
    Unknown,
    /// No process of the node exists on its host.
    Absent,
    /// It could not be started; why, in words for the operator.
    Failed(String),
    /// A process exists; its run id once the engine has said it.
    Running(Option<RunId>),
}

/// Where the data of an engine came from when its process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The process started without data.
    Empty,
    /// It loaded what its node's disk held after an orderly stop of a run that was complete. A run
    /// that had loaded a crash's leftovers, and was neither promoted nor given a full copy since,
    /// leaves [`Self::Crash`] behind however orderly it stops: nothing became better by that.
    CleanStop,
    /// It loaded what its node's disk held after a crash: the last second may be missing.
    Crash,
}

/// Why an engine has not answered for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stall {
    /// It answers.
    None,
    /// Its process is stopped (state T).
    Stopped,
    /// It sleeps or waits for a device and makes no progress (state S or D).
    Stalled,
    /// It uses a processor: one long command, most likely.
    Busy,
    /// It could run but gets no processor.
    Starved,
}

/// What the engine's answer to the probe's write said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It takes writes.
    Writable,
    /// It is a replica and refuses writes, as it should.
    ReadOnly,
    /// It is loading its data.
    Loading,
    /// It refuses writes: a snapshot or the append-only file failed (MISCONF).
    Misconf,
    /// It refuses writes: too few replicas (NOREPLICAS).
    NoReplicas,
    /// It refuses writes: out of memory (OOM).
    OutOfMemory,
    /// It runs a script that does not end (BUSY).
    BusyScript,
    /// It answered something else.
    Odd,
}

/// One attachment as the primary's ROLE shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSeen {
    /// The tag's wire form, announced as the replica's address.
    pub tag: String,
    /// Its link is up, and it has received something by it since its first copy.
    pub online: bool,
    /// The offset that it acknowledged.
    pub acked: Offset,
    /// How long the primary has been ahead of it.
    pub behind: Duration,
}

/// The engine's role as it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleSeen {
    /// It takes writes.
    Primary {
        /// Every attachment that it lets in, online or not.
        replicas: Vec<ReplicaSeen>,
    },
    /// It follows somebody, or a fence.
    Replica {
        /// Its link to whom it follows is up.
        link_up: bool,
        /// It is receiving a full copy.
        syncing: bool,
        /// Whom it follows; `None` for the fence.
        of: Option<SocketAddr>,
    },
}

/// What an engine said to the last probe that it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSeen {
    /// Its process.
    pub run: RunId,
    /// Its role.
    pub role: RoleSeen,
    /// Its history.
    pub replid: ReplId,
    /// Its position in that history.
    pub offset: Offset,
    /// Whether it takes writes, or why not.
    pub health: Health,
    /// Memory that its data uses, in bytes.
    pub memory_bytes: u64,
    /// Its `maxmemory`, in bytes, once it was asked.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Why it could not start the child process that copies its data, when it last tried.
    #[serde(default)]
    pub fork_error: Option<String>,
}

/// A member's state after it stopped taking part in the old epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fenced {
    /// Its process does not exist.
    Dead,
    /// It follows the fence; this is all that it will ever have of the old epoch.
    Frozen {
        /// Its process.
        run: RunId,
        /// Its history.
        replid: ReplId,
        /// The history that it continued, and the offset from which it left it.
        before: Option<(ReplId, Offset)>,
        /// Its position.
        offset: Offset,
        /// What its process started with.
        origin: Origin,
    },
    /// It is frozen or dead to the old epoch, but what it holds cannot be compared: it was loading
    /// or receiving a full copy, or does not answer.
    Unusable {
        /// Its process, if it told.
        run: Option<RunId>,
    },
}

/// An agent's answer to a fence order, given after it wrote `rev` to its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceAnswer {
    /// The revision of the order: an answer holds for that vacancy alone.
    pub rev: Rev,
    /// What the member is now.
    pub state: Fenced,
}

/// The last order that an agent has made true for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its revision.
    pub rev: Rev,
    /// Its epoch.
    pub epoch: Epoch,
    /// The run that it was applied to.
    pub run: RunId,
    /// It made the run primary (true) or a replica by attachment `seq` (false).
    pub primary: bool,
    /// The attachments that the primary lets in, or the one that the replica uses.
    pub seqs: BTreeSet<u64>,
    /// The proxies that have a lane user.
    pub lanes: BTreeSet<ProxyId>,
    /// The attachments that together may confirm the primary's lease when no controller does.
    #[serde(default)]
    pub stand_ins: BTreeSet<u64>,
    /// Which users have lanes of their own beside (`accounts::mark`).
    #[serde(default)]
    pub users: u64,
}

/// Whether a replica confirms its primary's lease, which it does while its agent hears no controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// It does, or may.
    pub on: bool,
    /// Grows whenever it begins to; larger after every start of the agent.
    pub turn: u64,
}

/// What an agent reports about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The highest revision that the agent has accepted for the node's shard.
    pub rev: Rev,
    /// Whether its process exists.
    pub process: Process,
    /// The last answered probe of that process. If it is from before `applied` was made true, the
    /// node's `sampled_after` is the distant past: what is said of positions has to be newer than
    /// what `applied` says of users.
    pub engine: Option<EngineSeen>,
    /// How long it has not answered.
    pub silent: Duration,
    /// Why.
    pub stall: Stall,
    /// The last answer to a fence order.
    pub fence: Option<FenceAnswer>,
    /// The last order made true; shared, because it names every proxy and hardly ever changes.
    pub applied: Option<Arc<Applied>>,
    /// The node's data directory exists (it may have to be removed).
    pub data: bool,
    /// Whether it confirms its primary's lease. An agent of the release before does not say so.
    #[serde(default)]
    pub standing: Option<Standing>,
}

/// A replica that is behind for longer may soon have to be let go.
const UNEASY_BEHIND: Duration = Duration::from_millis(200);

impl NodeReport {
    /// The report without the numbers that change at every probe.
    #[must_use]
    pub fn essence(&self) -> Self {
        let mut report = self.clone();
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

    /// Whether something may soon follow from those numbers, although nobody waits for any.
    pub fn is_uneasy(&self) -> bool {
        let role = self.engine.as_ref().map(|engine| &engine.role);
        let slow = match role {
            Some(RoleSeen::Primary { replicas }) => {
                replicas.iter().any(|replica| replica.behind > UNEASY_BEHIND)
            }
            Some(RoleSeen::Replica { .. }) | None => false,
        };
        slow || !self.silent.is_zero()
    }

    /// Whether anything of the node exists: a process, or data.
    pub fn is_there(&self) -> bool {
        self.data || self.process != Process::Absent
    }
}

/// A node as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// The host that reported it.
    pub host: HostId,
    /// When the report arrived.
    pub at: Instant,
    /// The sample was taken after this.
    pub sampled_after: Instant,
    /// When the fence answer in the report was heard first; of no meaning without one.
    pub fenced_at: Instant,
    /// Since when it is known that the node has confirmed nobody's lease.
    pub withheld_since: Option<Instant>,
    /// What was reported.
    pub report: NodeReport,
}

impl NodeSeen {
    /// What is known of it when a report arrives at `at`.
    pub fn new(host: HostId, at: Instant, sampled_after: Instant, report: NodeReport) -> Self {
        let withheld_since = report.standing.filter(|standing| !standing.on).map(|_| at);
        Self { host, at, sampled_after, fenced_at: at, withheld_since, report }
    }

    /// The same, after what was known `before`.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let answered = self.report.fence == before.report.fence;
        let withheld = self.report.standing == before.report.standing;
        Self {
            fenced_at: if answered { before.fenced_at } else { self.fenced_at },
            withheld_since: if withheld { before.withheld_since } else { self.withheld_since },
            ..self
        }
    }
}

/// A host as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSeen {
    /// Its region.
    pub region: Region,
    /// Its zone.
    pub zone: Zone,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// When its agent was last heard.
    pub at: Instant,
    /// Since when it has been heard without a break.
    pub since: Instant,
    /// No new nodes, and those that it has are to leave.
    pub draining: bool,
    /// Memory that its nodes may use, in bytes.
    pub memory_bytes: u64,
}

/// A proxy as the controller knows it, for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySeen {
    /// The route that it works by, and when the controller first heard so.
    pub route: Option<(Rev, Instant)>,
    /// The request for which nothing of its clients is in flight any more.
    pub drained: Option<RequestId>,
    /// Since when it says nothing of the shard, although it speaks.
    pub left: Option<Instant>,
}

/// Addresses that are in use or promised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// How endpoints are given out.
    pub plan: EndpointPlan,
    /// Engine addresses.
    pub engines: BTreeSet<SocketAddr>,
    /// Endpoint addresses.
    pub endpoints: BTreeSet<Ipv4Addr>,
}

/// Everything that the controller has seen about one region.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observations {
    /// Hosts by id.
    pub hosts: BTreeMap<HostId, HostSeen>,
    /// Nodes by id; more than one report while a node that was placed elsewhere still exists on the
    /// host that it left.
    pub nodes: BTreeMap<NodeId, Vec<NodeSeen>>,
    /// What each proxy says about each shard.
    pub proxies: BTreeMap<ShardKey, BTreeMap<ProxyId, ProxySeen>>,
    /// When each proxy was last heard, whatever it said.
    pub heard: BTreeMap<ProxyId, Instant>,
    /// When the controller first saw the current revision of each shard, and at the earliest when it
    /// began to lead.
    pub rev_since: BTreeMap<ShardKey, (Rev, Instant)>,
    /// When the controller began to lead: until then the one before may have granted leases.
    pub began: Instant,
    /// When it last granted one for each shard.
    pub granted: BTreeMap<ShardKey, Instant>,
    /// Since when the proxies of a shard are asked to hold, and for which request.
    pub holds: BTreeMap<ShardKey, (RequestId, Instant)>,
    /// The last failover of each shard that mere silence has caused.
    pub last_failover: BTreeMap<ShardKey, Instant>,
    /// What keeps nodes where they are for now.
    pub calm: Calm,
    /// Memory already promised on each host, in bytes.
    pub promised_bytes: BTreeMap<HostId, u64>,
    /// Addresses in use.
    pub taken: Taken,
}

impl HostSeen {
    /// It was heard at `at`, or somebody was that may speak for it; after more than `patience` of
    /// silence that is a new beginning.
    pub fn hear(&mut self, at: Instant, patience: Duration) {
        if at.since(self.at) > patience {
            self.since = at;
        }
        self.at = at;
    }
}

impl Observations {
    /// Takes in what a proxy says about a shard.
    pub fn hear_proxy(&mut self, proxy: &ProxyId, key: &ShardKey, said: ProxySeen, at: Instant) {
        self.heard.insert(proxy.clone(), at);
        self.proxies.entry(key.clone()).or_default().insert(proxy.clone(), said);
    }

    /// Whether what a proxy has said about a shard is older than `limit`.
    pub fn is_old(&self, proxy: &ProxyId, said: &ProxySeen, now: Instant, limit: Duration) -> bool {
        let at = said.left.or_else(|| self.heard.get(proxy).copied());
        at.is_none_or(|at| now.since(at) > limit)
    }

    /// The node's report, if there is one and it comes from the host that the node is placed on.
    pub fn node(&self, node: &NodeId, host: &HostId) -> Option<&NodeSeen> {
        self.nodes.get(node)?.iter().find(|seen| seen.host == *host)
    }
}

impl NodeReport {
    /// The run id of the node's process, if one exists and has said it.
    pub fn run(&self) -> Option<&RunId> {
        match &self.process {
            Process::Running(run) => run.as_ref(),
            Process::Unknown | Process::Absent | Process::Failed(_) => None,
        }
    }

    /// The last probe's answer, if it is of the process that runs now.
    pub fn engine(&self) -> Option<&EngineSeen> {
        self.engine.as_ref().filter(|engine| self.run() == Some(&engine.run))
    }
}
