//! The local API: what the CLI and the console ask, and what they are answered.
//!
//! JSON over the link's HTTP, under `/v1`. Described for people in `docs/local-api.md`.
//!
//! Invariant: a field keeps its meaning within `/v1`; what is computed (status words) is computed
//! here and nowhere stored.
//!
//! Not here: the handlers (`tanist-controller`), the AWS dialects.

mod certificate;
mod hosts;
mod keys;
mod rebuild;
mod renewal;
mod sentinel;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use tanist_core::model::{
    Access, Cause, ClientCertificates, Durability, EngineKind, Epoch, GroupName, HostId, Instant,
    NodeId, Offset, PasswordHash, Problem, ProxyId, Reads, RequestId, Rev, Severity, ShardId,
    Transit, TransitMode, Wait, Zone,
};

pub use certificate::CertificateStatus;
pub use hosts::{
    AuthorityPair, DrainHost, HostStatus, Invitation, JoinFleet, LabelHost, MemberCertificate,
    Place, RelocationStatus, RemoveHost, RenewMember, ServerAddress, ServerHere, ServerStatus,
    Welcome,
};
pub use keys::{AccessKey, AwsEndpoint, CreateKey, KeyStatus};
pub use rebuild::{LostNode, LostShard, Rebuild, RebuildProposal, Rebuilt};
pub use renewal::{ProxyRenewal, ProxyRenewals, RenewProxies};
pub use sentinel::SentinelEndpoint;
pub use users::{
    CreateUser, CreateUserGroup, LoginStatus, ModifyUser, ModifyUserGroup, TokenChange,
    UserGroupStatus, UserStatus,
};

/// The largest request, in bytes. Most of it is what a surface remembers of a group; less than the
/// largest value of a store, where it is kept with the rest of the group.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// An error as an answer: what happened, why, and what to do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A stable code: `T4xx` the request, `T2xx` refused for safety, `T5xx` Tanist's side.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do now.
    pub remedy: String,
}

impl ApiError {
    /// An error with its code, message and remedy.
    pub fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for ApiError {}

/// `POST /v1/groups`: create a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// Its name.
    pub name: String,
    /// The engine.
    pub engine: EngineKind,
    /// Replicas beside the primary, 0 to 5.
    pub replicas: u8,
    /// Zones to use; empty for all.
    #[serde(default)]
    pub zones: Vec<String>,
    /// What an acknowledged write means; `sync` with replicas and automatic failover if left out.
    #[serde(default)]
    pub durability: Option<Durability>,
    /// Replicas that must be in sync for writes: 0 or 1.
    #[serde(default)]
    pub min_in_sync: u8,
    /// Replace a lost primary without a person.
    #[serde(default = "yes")]
    pub automatic_failover: bool,
    /// The engines' memory limit, in bytes; 0 for the default.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The zone of each node in order; Tanist chooses those that are not named.
    #[serde(default)]
    pub node_zones: Vec<String>,
    /// On a fleet: the hosts that have its endpoints; empty for all.
    #[serde(default)]
    pub endpoint_hosts: BTreeSet<HostId>,
    /// Who may connect.
    #[serde(default)]
    pub access: Access,
    /// The SHA-256 of the token of the `default` user: none or one.
    #[serde(default)]
    pub tokens: Vec<PasswordHash>,
    /// The user groups whose users there are: none or one.
    #[serde(default)]
    pub user_groups: BTreeSet<String>,
    /// How bytes travel between clients and endpoints.
    #[serde(default)]
    pub transit: Transit,
    /// What its reads promise.
    #[serde(default)]
    pub reads: Reads,
    /// What the surface remembers, by its name (see `GroupSpec`).
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// `POST /v1/groups/{group}/modify`: changes what is named and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyGroup {
    /// The revision that the caller has read; T417 if the group has changed since.
    #[serde(default)]
    pub expect: Option<u64>,
    /// Replicas beside the primary, 0 to 5.
    #[serde(default)]
    pub replicas: Option<u8>,
    /// Replicas to remove, if their number falls; others are chosen if these are too few.
    #[serde(default)]
    pub remove: Vec<NodeId>,
    /// The zones of nodes that are added, in their order.
    #[serde(default)]
    pub node_zones: Vec<String>,
    /// Replace a lost primary without a person.
    #[serde(default)]
    pub automatic_failover: Option<bool>,
    /// The engines' memory limit, in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// On a fleet: the hosts that have its endpoints; empty for all.
    #[serde(default)]
    pub endpoint_hosts: Option<BTreeSet<HostId>>,
    /// Who may connect.
    #[serde(default)]
    pub access: Option<Access>,
    /// A change of the `default` user's tokens.
    #[serde(default)]
    pub token: Option<TokenChange>,
    /// The user groups whose users there are: none or one.
    #[serde(default)]
    pub user_groups: Option<BTreeSet<String>>,
    /// Whether connections are encrypted.
    #[serde(default)]
    pub transit_mode: Option<TransitMode>,
    /// Whether clients show certificates.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
    /// What its reads promise.
    #[serde(default)]
    pub reads: Option<Reads>,
    /// What the surface remembers, by its name; `None` forgets it.
    #[serde(default)]
    pub attributes: BTreeMap<String, Option<String>>,
}

fn yes() -> bool {
    true
}

/// `GET /v1/groups/{group}/endpoints`: what was measured there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsStatus {
    /// Every endpoint of the group, with the numbers of all proxies that offer it.
    pub endpoints: Vec<crate::wire::Meters>,
    /// Proxies that have not answered: their numbers are missing.
    pub silent: Vec<ProxyId>,
}

/// `POST /v1/groups/{group}/failover` and `.../switchover`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovePrimary {
    /// Which shard; the only one if left out.
    #[serde(default)]
    pub shard: Option<ShardId>,
    /// The heir; the best one if left out.
    #[serde(default)]
    pub to: Option<NodeId>,
    /// Go on although acknowledged writes may be lost (failover only).
    #[serde(default)]
    pub accept_loss: bool,
}

/// The answer: the request to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveAccepted {
    /// Which shard.
    pub shard: ShardId,
    /// Done when the shard's `request_done` reaches it.
    pub request: RequestId,
}

/// `POST /v1/groups/{group}/nodes/{node}/fault`: what drills do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The release.
    pub version: String,
    /// The region.
    pub region: String,
    /// Hosts.
    pub hosts: Vec<HostStatus>,
    /// Groups.
    pub groups: Vec<GroupStatus>,
    /// Proxies.
    pub proxies: Vec<ProxyStatus>,
    /// Things that concern the whole installation, such as what `sync` promises on one machine.
    pub notes: Vec<String>,
    /// A fleet's servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerStatus>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Its id.
    pub proxy: String,
    /// Its process.
    pub pid: u32,
    /// It is connected to the controller.
    pub up: bool,
    /// Clients connected to its endpoints.
    pub clients: u64,
}

/// An address that clients dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The name, if it resolves on this host to the address; otherwise the address.
    pub host: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Further addresses, with the same port, at which it is: those of a fleet's other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Ipv4Addr>,
}

impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// `GET /v1/names`: a name that should lead to an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointName {
    /// The name.
    pub name: String,
    /// The address.
    pub address: Ipv4Addr,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: GroupName,
    /// `creating`, `available`, `modifying`, `degraded`, `unavailable` or `deleting`.
    pub status: String,
    /// Its engine.
    pub engine: EngineKind,
    /// What an acknowledged write means.
    pub durability: Durability,
    /// Memory limit of each node, in bytes.
    pub memory_bytes: u64,
    /// Grows with every change of what was asked.
    pub revision: u64,
    /// Replicas that each shard should have.
    pub replicas: u8,
    /// Whether a lost primary is replaced without a person.
    pub automatic_failover: bool,
    /// Zones to use; empty for all.
    pub zones: Vec<Zone>,
    /// On a fleet: the hosts that were chosen for its endpoints; empty for all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub endpoint_hosts: BTreeSet<HostId>,
    /// Who may connect.
    pub access: Access,
    /// How clients say who they are.
    #[serde(default)]
    pub login: LoginStatus,
    /// How bytes travel between clients and endpoints.
    #[serde(default)]
    pub transit: Transit,
    /// What the endpoints show of themselves; nothing while they speak no TLS.
    #[serde(default)]
    pub certificate: Option<CertificateStatus>,
    /// What its reads promise.
    #[serde(default)]
    pub reads: Reads,
    /// What the surface remembers, by its name.
    pub attributes: BTreeMap<String, String>,
    /// The primary endpoint.
    pub primary_endpoint: EndpointStatus,
    /// The reader endpoint.
    pub reader_endpoint: EndpointStatus,
    /// Its shards.
    pub shards: Vec<ShardStatus>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Its id.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its topology's revision.
    pub rev: Rev,
    /// The primary, once it is promoted.
    pub primary: Option<NodeId>,
    /// The highest operator's request that was carried out.
    pub request_done: RequestId,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// A node that another one is taking the place of.
    #[serde(default)]
    pub relocation: Option<RelocationStatus>,
    /// The highest epoch whose primary has answered a client.
    pub released: Option<Epoch>,
    /// Requests held by the proxies now.
    pub held: u64,
    /// Clients that the proxies turned away because the group does not admit them.
    #[serde(default)]
    pub turned_away: u64,
    /// The address of one of the latest of them.
    #[serde(default)]
    pub last_turned_away: Option<IpAddr>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Where it is placed.
    pub host: HostId,
    /// That host's zone.
    pub zone: Zone,
    /// Why it is placed there, in a few words.
    #[serde(default)]
    pub placed: String,
    /// Its node endpoint.
    pub endpoint: EndpointStatus,
    /// `primary`, `replica`, `syncing`, `starting`, `frozen`, `silent`, `down` or `leaving`.
    pub role: String,
    /// It has every acknowledged write.
    pub in_sync: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Its position.
    pub offset: Option<Offset>,
    /// Bytes behind the primary.
    pub lag_bytes: Option<u64>,
    /// For how long the primary has been ahead of it, in milliseconds.
    #[serde(default)]
    pub lag_ms: Option<u64>,
    /// Memory that its data uses, in bytes.
    pub memory_bytes: Option<u64>,
    /// Its limit on that, as the engine says, in bytes.
    #[serde(default)]
    pub memory_limit: Option<u64>,
}

/// `GET /v1/events` and the stream `GET /v1/events/follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Grows with every event.
    pub id: u64,
    /// Wall-clock time, in milliseconds since 1970.
    pub at_ms: u64,
    /// The group that it concerns.
    pub group: Option<GroupName>,
    /// The node that it concerns.
    pub node: Option<NodeId>,
    /// The epoch in which it happened.
    pub epoch: Option<Epoch>,
    /// The event's name, one word.
    pub name: String,
    /// How much it matters.
    pub severity: Severity,
    /// It as a sentence.
    pub text: String,
}

/// A step of a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The problem was seen, or the request taken up.
    Detected,
    /// The vacancy was committed.
    Vacated,
    /// The old primary is fenced, or nobody needs it to be.
    Fenced,
    /// The heir was committed.
    Chosen,
    /// The heir confirmed its promotion.
    Promoted,
    /// A proxy released a client's request to the heir.
    Released,
    /// The shard has all its replicas in sync again.
    Replaced,
}

/// `GET /v1/groups/{group}/history`: one failover or switchover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverRecord {
    /// The group.
    pub group: GroupName,
    /// The shard.
    pub shard: ShardId,
    /// The epoch that it began.
    pub epoch: Epoch,
    /// Why.
    pub cause: Cause,
    /// The primary before.
    pub from: Option<NodeId>,
    /// The primary after.
    pub to: Option<NodeId>,
    /// Wall-clock time of the detection, in milliseconds since 1970.
    pub at_ms: u64,
    /// The detection on the controller's boot-time clock, for those who share it.
    pub detected: Instant,
    /// Steps and their times since the detection, in microseconds.
    pub steps: Vec<(Step, u64)>,
}
