//! The hands on a host: they start, watch, fence, promote and stop engines, and report what they see.
//!
//! Two roles. The supervisor ([`supervise`]) is small and lives long: it alone has the processes, so
//! that restarting anything else restarts no engine. The agent ([`run`]) talks to the engines and to
//! the controller. Neither decides anything: orders come from decided topologies, and the guard of
//! each shard refuses those that are older than what the host has on its disk.
//!
//! Invariant: only this crate starts or signals engines, and no engine gets a role except by an
//! order that the guard admitted.
//!
//! Not here: decisions (`tanist_core::decide`), clients' traffic (`tanist-proxy`).

mod acl;
mod agent;
mod board;
mod clock;
mod conf;
mod conversation;
mod error;
mod guards;
mod inbox;
mod keeping;
mod layout;
pub mod logs;
mod node;
mod record;
mod said;
mod supervisor;
mod supervisor_link;
mod versions;

pub use agent::{AgentConfig, Ended, Engines, run};
pub use conversation::converse;
pub use error::{AgentError, SuperviseError};
pub use inbox::Inbox;
pub use supervisor::{LeaseConfig, SupervisorConfig, exec_engine, supervise};
pub use versions::engine_version;
