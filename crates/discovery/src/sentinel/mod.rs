//! The Sentinel endpoint: leads Sentinel-aware clients to Tanist's endpoints.
//!
//! Clients that know Sentinel ask it who is primary, subscribe to its news, and sometimes ask it for a
//! failover. This speaks its protocol and gives them the group's primary endpoint, so that they keep
//! their connection when somebody else becomes primary; whoever wants to see nodes move can have the
//! node endpoints instead.
//!
//! Invariant: beyond loopback every client gives the password, and connections are encrypted unless a private
//! network was said to do; whatever a client sends, it gets an answer or its connection is ended, and
//! [`Sentinel::serve`] goes on. Nobody is answered before the first status is known.
//!
//! Not here: who is primary (the controller says), failovers themselves (it is asked for them).

mod accept;
mod asked;
mod desk;
mod fields;
mod glob;
mod info;
mod known;
mod notice;
#[cfg(test)]
mod rig;
mod session;
mod settings;
mod story;
mod subscriptions;
mod texts;
mod view;
mod watcher;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tanist_link::Client;
use tanist_tls::{Door, DoorError};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use notice::Notice;
pub use settings::{Advertise, Aliases, BadSetting, Password, Settings};
use view::View;
use watcher::Refresh;

/// Clients that may wait for a fresh status at the same time.
const REFRESHES: usize = 1024;

/// What one client, and all together, may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at the same time.
    connections: usize,
    /// Bytes of one request.
    request_bytes: usize,
    /// How long a request may be incomplete, and a client take no byte of what it is sent.
    patience: Duration,
    /// Bytes that wait to be sent before no further request of the client is read.
    output_bytes: usize,
    /// News that a subscriber may lag behind; one that lags further is dropped.
    news: usize,
}

impl Limits {
    const DEFAULT: Self = Self {
        connections: 1000,
        request_bytes: 64 << 10,
        patience: Duration::from_secs(10),
        output_bytes: 64 << 10,
        news: 8192,
    };
}

/// What a Sentinel endpoint needs.
#[derive(Debug)]
pub struct SentinelConfig {
    /// The controller's local API.
    pub controller: Client,
    /// The store's installation id, from which the Sentinel's own id follows.
    pub installation: String,
    /// Where it is, if there are others that know it by that.
    pub own: Option<SocketAddr>,
    /// Other Sentinel endpoints of the same installation.
    pub others: Vec<SocketAddr>,
    /// What can be set.
    pub settings: Settings,
}

/// Why the endpoint is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SentinelError {
    /// The door must not be opened.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// The Sentinel endpoint.
#[derive(Debug)]
pub struct Sentinel {
    shared: Arc<Shared>,
    refreshes: mpsc::Receiver<Refresh>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    controller: Client,
    settings: Settings,
    limits: Limits,
    /// The Sentinel's own id.
    id: String,
    /// The other Sentinels, by their ids.
    others: Vec<(String, SocketAddr)>,
    started: Instant,
    seen: watch::Sender<Option<Seen>>,
    news: broadcast::Sender<Arc<Notice>>,
    refresh: mpsc::Sender<Refresh>,
    room: Arc<Semaphore>,
    connected: AtomicU64,
}

/// The latest look at the controller's status.
#[derive(Debug, Clone)]
struct Seen {
    view: Arc<View>,
    /// When it was true.
    at: Instant,
    /// Whether the controller answers.
    answers: bool,
}

impl Sentinel {
    /// An endpoint that knows nothing yet.
    #[must_use]
    pub fn new(config: SentinelConfig) -> Self {
        Self::with(config, Limits::DEFAULT)
    }

    fn with(config: SentinelConfig, limits: Limits) -> Self {
        let SentinelConfig { controller, installation, own, others, settings } = config;
        let (refresh, refreshes) = mpsc::channel(REFRESHES);
        let id = |address: SocketAddr| hex_id(&[&installation, &address.to_string()]);
        let other = |address: SocketAddr| (id(address), address);
        let shared = Shared {
            controller,
            settings,
            limits,
            id: own.map_or_else(|| hex_id(&[&installation, "sentinel"]), id),
            others: others.into_iter().map(other).collect(),
            started: Instant::now(),
            seen: watch::Sender::new(None),
            news: broadcast::Sender::new(limits.news),
            refresh,
            room: Arc::new(Semaphore::new(limits.connections)),
            connected: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), refreshes }
    }

    /// Serves clients at these doors, and keeps what they are told current, until the future is
    /// dropped; then their connections end too.
    ///
    /// # Errors
    /// [`SentinelError`], before anything is accepted.
    pub async fn serve(self, doors: Vec<impl Into<Door>>) -> Result<(), SentinelError> {
        let doors: Vec<Door> = doors.into_iter().map(Into::into).collect();
        for door in &doors {
            let address = door.checked(self.shared.settings.password.is_some())?;
            info!(%address, id = self.shared.id, "the Sentinel endpoint is open");
        }
        let Self { shared, refreshes } = self;
        let accepting = accept::serve(&shared, doors);
        tokio::join!(watcher::follow(&shared, refreshes), accepting);
        Ok(())
    }
}

/// Forty hexadecimal digits, as ids of Sentinels and runs have, that are always the same for the same
/// parts.
fn hex_id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..20])
}
