//! What the roles say to each other.
//!
//! Unknown fields are ignored and new ones have defaults, so that roles of neighbouring releases
//! understand each other; an unknown variant ends the conversation, except that a controller passes
//! over messages of an agent that it does not know.
//!
//! Invariant: no message carries a password; whoever needs one derives it ([`crate::Secret`]) from
//! the labels named here. The one secret that is sent is the key of a group's certificate, to proxies
//! alone.
//!
//! Not here: orders and routes themselves (`tanist_core::model`).

mod certificate;
mod keep;
mod lease;
mod meters;
mod vitals;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tanist_core::model::{
    DEFAULT_USER, Epoch, GroupName, HostId, NodeId, NodeReport, Order, ProxyId, RequestId, Rev,
    Route, ShardId, ShardKey, Tag, Zone,
};

use crate::api::Fault;

pub use certificate::{Certificate, PrivateKey};
pub use keep::{Keep, KeptShard, Recalled};
pub use lease::{
    AskLeases, AskedFor, LEAD_ROUTE, LEASE_ROUTE, LEAVE_ROUTE, Lead, Leading, Leased, Leave,
    STAND_IN_USERS, stand_in_label, stand_in_user,
};
pub use meters::{Meters, ShardMeters, Slow, TIMES, Times, longest, place};
pub use vitals::{HostCpu, Totals, Vitals};

/// The user by which agents administer engines.
pub const ADMIN_USER: &str = "tanist";

/// The label of the agent's password at a node's engine.
pub fn admin_label(node: &NodeId) -> String {
    format!("admin/{node}")
}

/// The user by which a proxy uses an engine during an epoch.
pub fn lane_user(epoch: Epoch, proxy: &ProxyId) -> String {
    format!("lane-{epoch}-{proxy}")
}

/// The label of that user's password.
pub fn lane_label(group: &GroupName, shard: &ShardId, epoch: Epoch, proxy: &ProxyId) -> String {
    format!("lane/{group}/{shard}/{epoch}/{proxy}")
}

/// The user by which a proxy uses an engine during an epoch on behalf of a client's user.
pub fn own_lane_user(epoch: Epoch, proxy: &ProxyId, user: &str) -> String {
    format!("{}:{user}", lane_user(epoch, proxy))
}

/// The label of that user's password.
pub fn own_lane_label(
    group: &GroupName,
    shard: &ShardId,
    epoch: Epoch,
    proxy: &ProxyId,
    user: &str,
) -> String {
    format!("{}/{user}", lane_label(group, shard, epoch, proxy))
}

/// The client's user on whose behalf a lane's user is there; `None` if the name is no lane's.
pub fn lane_owner(name: &str) -> Option<&str> {
    let (epoch, rest) = name.strip_prefix("lane-")?.split_once('-')?;
    if epoch.is_empty() || !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // No proxy's name has a colon.
    Some(rest.split_once(':').map_or(DEFAULT_USER, |(_, user)| user))
}

/// The shard channel on which proxies make a primary talk to its replicas. Nobody listens there, and
/// every lane may use it, whatever its user may do.
pub const BELL_CHANNEL: &str = "__tanist:bell__";

/// The user by which the installation's own programs are a group's `default` user, whatever its
/// tokens and users are. Nobody else can know its password.
pub const HOUSE_USER: &str = "tanist-house";

/// The label of that user's password.
pub fn house_label(group: &GroupName) -> String {
    format!("house/{group}")
}

/// The user by which an attachment authenticates at the primary: its wire form.
pub fn replica_user(tag: &Tag) -> String {
    tag.to_string()
}

/// The label of that user's password.
pub fn replica_label(group: &GroupName, shard: &ShardId, tag: &Tag) -> String {
    format!("replica/{group}/{shard}/{tag}")
}

/// From a proxy to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromProxy {
    /// The first message.
    Hello {
        /// Who it is; stable across restarts.
        proxy: ProxyId,
        /// Its process.
        pid: u32,
        /// It understands certificates.
        #[serde(default)]
        certificates: bool,
        /// What tells its program from another, if it can become another one.
        #[serde(default)]
        build: Option<String>,
        /// It has become what it is just now.
        #[serde(default)]
        renewed: Option<Renewed>,
        /// It can leave out what it has said before.
        #[serde(default)]
        parts: bool,
    },
    /// What it works by: on every change at once, and every 200 ms.
    Beat {
        /// Every shard that it has a route for, but for those left out of a `part`.
        shards: Vec<ProxyShard>,
        /// Of a shard that is left out what was said last in this conversation still holds; numbers
        /// that nothing is decided by may be a second old.
        #[serde(default)]
        part: bool,
    },
    /// An endpoint could not be offered.
    EndpointFailed {
        /// The shard.
        key: ShardKey,
        /// The address and port.
        address: String,
        /// Why, in words.
        reason: String,
    },
    /// Everything that was said before this number is obeyed.
    Echo(u64),
    /// What was asked with this number.
    Measured {
        /// The number.
        number: u64,
        /// What was measured; a shard that the proxy does not know is left out.
        shards: Vec<ShardMeters>,
    },
    /// It could not become what it was asked to become with this number, and goes on as it was.
    NotRenewed {
        /// The number.
        number: u64,
        /// Why, in words.
        reason: String,
    },
}

/// A proxy that has become another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The number with which it was asked to, if a controller did.
    #[serde(default)]
    pub number: Option<u64>,
    /// Connections of clients that go on.
    pub kept: u64,
    /// Those that could not go on and have ended: encrypted ones, and those in the middle of something
    /// large.
    pub ended: u64,
    /// How long clients had to wait, in milliseconds.
    pub millis: u64,
}

/// A proxy's state for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyShard {
    /// The shard.
    pub key: ShardKey,
    /// The revision of the route that it works by: every release from now on obeys it.
    pub rev: Rev,
    /// The request for which nothing of any client is in flight.
    pub drained: Option<RequestId>,
    /// The highest epoch whose primary has answered a client's request.
    pub released: Option<Epoch>,
    /// Requests that it holds now.
    pub held: u64,
    /// Clients connected now.
    pub clients: u64,
    /// Writes that it answered with `-UNCERTAIN`, since it started.
    pub uncertain: u64,
    /// Clients that it turned away since it started, because the group does not admit them.
    #[serde(default)]
    pub turned_away: u64,
    /// The address of the latest of them.
    #[serde(default)]
    pub last_turned_away: Option<IpAddr>,
    /// The nodes that its clients are served by.
    #[serde(default)]
    pub nodes: BTreeMap<NodeId, NodeClients>,
}

/// A proxy's clients at one node. Clients that have not asked for anything yet are nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeClients {
    /// Served by it now.
    pub now: u64,
    /// Ever begun to be served by it; a client that moves is counted again.
    pub ever: u64,
}

/// From the controller to a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToProxy {
    /// Work by this route, if it is not older than the known one.
    Route(Box<Route>),
    /// Show this to a group's clients from now on. Said before the group's routes, and only to a
    /// proxy that says that it understands it.
    Certificate(Box<Certificate>),
    /// The shard does not exist any more: close its endpoints.
    Gone(ShardKey),
    /// These are all shards that exist, whether or not their routes are known yet: any other is
    /// gone. Said on every connection, because a `Gone` may have been missed.
    Known(Vec<ShardKey>),
    /// Say this number once everything that was said before it is obeyed.
    Echo(u64),
    /// Leave out of beats what has been said in this conversation. Said only to a proxy that says that
    /// it can.
    Parts,
    /// Say what was measured at the endpoints of these shards, with this number.
    Measure {
        /// The number.
        number: u64,
        /// The shards.
        shards: Vec<ShardKey>,
    },
    /// Become this program and keep everything that can be kept. Said only to a proxy that says what
    /// build it is.
    Renew {
        /// The number.
        number: u64,
        /// Its absolute path.
        program: PathBuf,
    },
    /// End: close every endpoint and exit.
    Exit,
}

/// From the controller to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToAgent {
    /// Make this true.
    Order(Box<Order>),
    /// Say this number in every report whose samples were all taken after hearing it.
    Echo(u64),
    /// Do this to a node's process (drills).
    Inject {
        /// The node.
        node: NodeId,
        /// What.
        fault: Fault,
    },
    /// Stop every engine of the host in order (each saves and says what it had), then end.
    StopAll,
    /// Keep this on the disk in place of what is kept of the shard, if it is not older. Said only to
    /// an agent that says that it keeps such things.
    Keep(Box<Keep>),
    /// Keep nothing of the shard any more, unless it is newer than this revision. As `Keep`.
    LetGo {
        /// The shard.
        key: ShardKey,
        /// Its last revision.
        rev: Rev,
    },
    /// Say everything that is kept, with this number. As `Keep`.
    Recall(u64),
    /// Leave out of reports what has been said in this conversation. Said only to an agent that says
    /// that it can.
    Parts,
}

/// From an agent to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FromAgent {
    /// The first message of a conversation over the network.
    Hello(AgentHello),
    /// Everything about every node on the host; sent when something changed and at every probe.
    Report(HostReport),
    /// Something that a person should know (a tail set aside, an engine's end, a failed start).
    Note {
        /// The host.
        host: HostId,
        /// The node that it concerns.
        node: Option<NodeId>,
        /// A stable word for it, such as `DivergentTailSaved`.
        name: String,
        /// In words.
        text: String,
    },
    /// Every engine of the host has ended, as asked by `StopAll`.
    Stopped {
        /// The host.
        host: HostId,
    },
    /// What the host's wall clock shows; about once a second. Nothing is decided by it.
    Clock {
        /// The host.
        host: HostId,
        /// Milliseconds since 1970.
        wall_ms: u64,
    },
    /// What was measured of one engine; about once a second.
    Vitals(Box<Vitals>),
    /// What it keeps of one shard, or that it has said all.
    Recalled(Box<Recalled>),
    /// Something that an agent of a later release says.
    #[serde(skip)]
    Unknown,
}

impl FromAgent {
    /// The host that it is about, if it is about one.
    pub fn host(&self) -> Option<&HostId> {
        match self {
            Self::Report(report) => Some(&report.host),
            Self::Note { host, .. } | Self::Stopped { host } | Self::Clock { host, .. } => {
                Some(host)
            }
            Self::Vitals(vitals) => Some(&vitals.host),
            Self::Recalled(recalled) => Some(&recalled.host),
            Self::Hello(_) | Self::Unknown => None,
        }
    }
}

/// Who an agent is the hands of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// The host.
    pub host: HostId,
    /// Its zone.
    pub zone: Zone,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// Memory that its engines may use together, in bytes.
    pub memory_bytes: u64,
    /// It keeps what is needed to rebuild its shards.
    #[serde(default)]
    pub keeps: bool,
    /// It can leave out what it has said before.
    #[serde(default)]
    pub parts: bool,
}

/// What an agent knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The host.
    pub host: HostId,
    /// The last number heard before the oldest sample in this report was taken: no node's own is
    /// lower.
    pub echo: u64,
    /// Its nodes, but for those left out of a `part`.
    pub nodes: Vec<NodeEntry>,
    /// Of a node that is left out what was said last in this conversation still holds, as old as it was;
    /// numbers that only grow may be a second behind. One that exists no more ends the leaving out:
    /// then every node is in.
    #[serde(default)]
    pub part: bool,
}

/// One node in a host's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The group that it belongs to.
    pub group: GroupName,
    /// The shard.
    pub shard: ShardId,
    /// The node.
    pub node: NodeId,
    /// Its process's number, for people and drills.
    pub pid: Option<u32>,
    /// The last number heard before its sample was taken; 0 while the sample is older than what was
    /// last made true.
    #[serde(default)]
    pub echo: u64,
    /// The report leaves out what was last made true: it is as it was said before. Only in a part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub same: bool,
    /// What is reported.
    pub report: NodeReport,
}

/// A process, named so that its number's next owner is never mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

/// From an agent to its host's supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToSupervisor {
    /// Start an engine; answered by `Running` or `NotStarted`.
    Start {
        /// The node.
        node: NodeId,
        /// The engine's binary.
        program: PathBuf,
        /// Its configuration file, the only argument.
        config: PathBuf,
        /// Where it runs.
        dir: PathBuf,
    },
    /// Send a signal; a process that has gone meanwhile is not an error.
    Signal {
        /// The node.
        node: NodeId,
        /// The process that is meant; no other gets the signal.
        process: ProcessKey,
        /// Which.
        signal: Signal,
    },
    /// Bind a port of this address without listening on it, for as long as the supervisor lives;
    /// answered by `FenceBound`.
    BindFence {
        /// The host's address.
        address: Ipv4Addr,
    },
    /// End; engines live on.
    Exit,
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGTERM: the engine saves and exits.
    Terminate,
    /// SIGSTOP (drills).
    Stop,
    /// SIGCONT (drills).
    Continue,
}

/// From a supervisor to an agent. On connecting, it first says `Running` for every process that it
/// has and `FenceBound` for every port, then `Listed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromSupervisor {
    /// The node's process exists.
    Running {
        /// The node.
        node: NodeId,
        /// Its process.
        process: ProcessKey,
    },
    /// Everything that existed on connecting has been said.
    Listed,
    /// The node's process could not be started.
    NotStarted {
        /// The node.
        node: NodeId,
        /// Why, in words for the operator.
        reason: String,
    },
    /// The node's process has ended.
    Exited {
        /// The node.
        node: NodeId,
        /// The process.
        process: ProcessKey,
        /// How, in words, if known.
        status: String,
    },
    /// The port is bound.
    FenceBound {
        /// The host's address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// The node was made read-only, or was killed: its lease has ended. Told only to agents that have
    /// asked for one.
    LeaseEnded {
        /// The node.
        node: NodeId,
    },
    /// The port could not be bound.
    FenceFailed {
        /// The host's address.
        address: Ipv4Addr,
        /// Why, in words.
        reason: String,
    },
}
