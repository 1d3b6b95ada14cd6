//! skeleton
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tanist_core::model::{HostId, Limits};
use tanist_link::Secret;
use tanist_link::wire::{FromAgent, ToAgent};
use tokio::sync::mpsc;
use crate::AgentError;

/// The engines' binaries.
#[derive(Debug, Clone)]
pub struct Engines {
    /// `redis-server`, 7.0 or later.
    pub redis: PathBuf,
    /// `valkey-server`, 8.0 or later.
    pub valkey: PathBuf,
}

/// What an agent works by.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The host that it is the hands of.
    pub host: HostId,
    /// Where its engines listen.
    pub address: Ipv4Addr,
    /// The host's own directory.
    pub dir: PathBuf,
    /// The installation's secret, from which every password follows.
    pub secret: Secret,
    /// The supervisor's socket.
    pub supervisor: PathBuf,
    /// The engines' binaries.
    pub engines: Engines,
    /// Deadlines.
    pub limits: Limits,
    /// Time between two probes of an engine; 50 ms unless tuned.
    pub probe_every: Duration,
}

/// Works until `inbox` is closed or everything was stopped.
///
/// # Errors
/// [`AgentError`].
pub async fn run(
    _config: AgentConfig,
    mut inbox: mpsc::Receiver<ToAgent>,
    _outbox: mpsc::Sender<FromAgent>,
) -> Result<(), AgentError> {
    while inbox.recv().await.is_some() {}
    Ok(())
}
