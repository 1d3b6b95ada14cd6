//! The nouns: every word of the glossary as a type, shared by all roles.
//!
//! Three kinds of state that never mix: [`GroupSpec`] (asked), [`ShardTopology`] (decided) and
//! [`Observations`] (seen). Stored and sent types are plain data with serde; stored ones are wrapped
//! in [`stored::Stored`], which carries a format version.
//!
//! Invariant: a noun never decides; it only answers questions about itself.
//!
//! Not here: what follows from the nouns (`crate::decide`).

mod access;
pub mod accounts;
mod endpoint;
mod event;
mod host;
mod ids;
mod labels;
mod limits;
mod observation;
mod order;
mod problem;
mod reads;
mod relocation;
mod route;
mod spec;
pub mod stored;
mod time;
mod topology;
mod transit;

pub use access::Access;
pub use accounts::{
    Account, Accounts, DEFAULT_USER, LaneUsers, Login, NotAHash, PasswordHash, Rules, User,
    UserGroup,
};
pub use endpoint::{EndpointPlan, GroupEndpoints, Listen, is_near};
pub use event::{Cause, Event, EventKind, Severity};
pub use host::{HostFacts, HostSpec, Invited};
pub use ids::{
    Epoch, GroupName, HostId, IdError, NodeId, Offset, ProxyId, Region, ReplId, RequestId, Rev,
    RunId, ShardId, ShardKey, Term, Zone,
};
pub use labels::{LabelError, Labels};
pub use limits::Limits;
pub use observation::{
    Applied, EngineSeen, FenceAnswer, Fenced, Health, HostSeen, NodeReport, NodeSeen, Observations,
    Origin, Process, ProxySeen, ReplicaSeen, RoleSeen, Stall, Standing, Taken,
};
pub use order::{Action, DataOnStart, Order, StandIn};
pub use problem::{Problem, ProblemKind, Wait, WaitKind};
pub use reads::{MAX_LAG_MILLIS, ReaderFallback, Reads};
pub use relocation::{Calm, Imbalance, Relocation};
pub use route::{NodeRoute, Route, RouteState};
pub use spec::{Durability, EngineKind, GroupSpec, MoveKind, MoveRequest};
pub use time::Instant;
pub use topology::{
    GAP, Lineage, Member, Primaryship, Run, ShardTopology, SlotRange, Tag, Vacancy,
};
pub use transit::{ClientCertificates, Transit, TransitMode};
