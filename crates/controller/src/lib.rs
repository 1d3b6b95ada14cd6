//! The loop: observe, decide, commit, converge, publish.
//!
//! One task owns everything that the controller knows and takes in everything that happens as
//! messages, so that there is nothing to lock and nothing to race. A wake carries no instruction:
//! whatever arrived, the same look at the same state decides what is next.
//!
//! Invariant: nothing is ordered or published that is not committed to the store first.
//!
//! Not here: the decisions (`tanist-core`), the hands (`tanist-agent`, `tanist-proxy`).

mod admission;
mod agents;
mod aliases;
mod api;
mod archive;
mod attention;
mod backup;
mod balance;
mod beats;
mod calls;
mod certificates;
mod clock;
mod clocks;
mod confirm;
mod create;
mod error;
mod forgetting;
mod handle;
mod hosts;
mod inputs;
mod keeping;
mod keys;
mod labels;
mod leadership;
mod leases;
mod looks;
mod meters;
mod modify;
mod names;
mod observe;
mod outside;
mod places;
mod proxies;
mod reads;
mod rebuild;
mod recall;
mod reconciler;
mod renewals;
mod requests;
mod restore;
mod servers;
mod stale;
mod status;
mod stopping;
mod surveys;
mod timeline;
mod turns;
mod unknown;
mod user_calls;
mod users;
mod vitals;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::{EndpointPlan, HostId, Limits, Region, Zone};
use tanist_link::wire::{FromAgent, ToAgent};
use tanist_store::AnyStore;
use tanist_telemetry::Series;
use tokio::sync::{mpsc, watch};

pub use admission::{Admission, Guest, removed_hosts};
pub use aliases::{Aliases, BadAlias};
pub use api::{guarded, routes};
pub use clock::{boot_time, wall_ms};
pub use error::ControllerError;
pub use handle::Handle;
pub use leadership::{Candidate, Claim, Leader, Reign};
pub use names::{HostsFile, Names};
pub use outside::{Certifier, Outside};
pub use reconciler::run;
pub use renewals::Program;
pub use restore::{RestoreError, Restored, restore};
pub use servers::Roster;
pub use turns::{Turns, doors};

/// A host that the controller may use.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Its id.
    pub host: HostId,
    /// Its zone.
    pub zone: Zone,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// Memory that its engines may use together, in bytes.
    pub memory_bytes: u64,
}

/// What a controller works with.
#[derive(Debug)]
pub struct ControllerConfig {
    /// Its region.
    pub region: Region,
    /// The hosts.
    pub hosts: Vec<HostConfig>,
    /// Deadlines.
    pub limits: Limits,
    /// How endpoints are given out.
    pub endpoints: EndpointPlan,
    /// Addresses at which a fleet's endpoints are too, wherever something else moves them.
    pub floating: Vec<Ipv4Addr>,
    /// The port of every endpoint that has an address of its own.
    pub port: u16,
    /// The memory limit of a node whose creator named none, in bytes.
    pub default_memory_bytes: u64,
    /// How long all engines may take to write everything and end when they are asked to.
    pub stopping: Duration,
    /// Names of endpoints.
    pub names: Names,
    /// Who makes certificates.
    pub certifier: Certifier,
    /// What its owner may change while it runs.
    pub outside: watch::Receiver<Arc<Outside>>,
    /// The program that it is part of, which proxies are to be as well.
    pub program: Option<Program>,
    /// The fleet's servers; none on one host.
    pub servers: Option<Roster>,
    /// Who lets hosts into the fleet; nobody does on one host.
    pub admission: Option<Arc<dyn Admission>>,
    /// Things that concern the whole installation, shown by `status`.
    pub notes: Vec<String>,
}

/// The channels between a controller and its agents.
#[derive(Debug)]
pub struct Agents {
    /// To each host's agent.
    pub outboxes: BTreeMap<HostId, mpsc::Sender<ToAgent>>,
    /// From all of them.
    pub inbox: mpsc::Receiver<FromAgent>,
}

/// Everything that a controller is given at its start.
#[derive(Debug)]
pub struct Parts {
    /// What it works with.
    pub config: ControllerConfig,
    /// Its memory.
    pub store: AnyStore,
    /// Its hands.
    pub agents: Agents,
    /// Where it records what they measure.
    pub metrics: Arc<Series>,
    /// The leadership that it has claimed; `None` if no other process can have the store open.
    pub claim: Option<Claim>,
}
