//! The servers of a fleet, as those see them who dial.
//!
//! One of them leads and does what is asked; the others say that they do not. Whoever answered last
//! is tried first, so that a fleet in peace costs nobody a second try.
//!
//! Invariant: a server is who its certificate says, under the authority that the dialler trusts; each
//! try ends within [`DIAL_LIMIT`].
//!
//! Not here: who leads (`tanist-controller`), certificates (`tanist-tls`).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tanist_core::model::HostId;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::LinkError;
use crate::identity::server_name;

/// How long it may take to reach one server and to know it.
const DIAL_LIMIT: Duration = Duration::from_secs(1);

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The host that it is on.
    pub host: HostId,
    /// Where it listens.
    pub address: SocketAddr,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host, self.address)
    }
}

/// All servers.
#[derive(Debug)]
pub struct Servers {
    all: Vec<Server>,
    /// How to dial; it changes when a certificate takes another's place.
    config: watch::Receiver<Arc<ClientConfig>>,
    /// Who is tried first.
    first: AtomicUsize,
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.all.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{server}")?;
        }
        Ok(())
    }
}

impl Servers {
    /// These servers, dialled with what `config` holds at that moment.
    pub fn new(all: Vec<Server>, config: watch::Receiver<Arc<ClientConfig>>) -> Self {
        Self { all, config, first: AtomicUsize::new(0) }
    }

    /// The order in which they are tried.
    pub(crate) fn in_order(&self) -> impl ExactSizeIterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.all.len());
        (0..count).map(move |step| (first + step) % count)
    }

    /// It has done what was asked.
    pub(crate) fn prefer(&self, index: usize) {
        self.first.store(index, Ordering::Relaxed);
    }

    /// It has failed in the middle of something.
    pub(crate) fn avoid(&self, index: usize) {
        self.first.store(index + 1, Ordering::Relaxed);
    }

    /// Whoever is tried first now is tried last.
    pub(crate) fn pass_over(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// Reaches a server; its name, and the way to it.
    pub(crate) async fn dial(
        &self,
        index: usize,
    ) -> Result<(Arc<str>, TlsStream<TcpStream>), LinkError> {
        let Some(server) = self.all.get(index) else { return Err(LinkError::Closed) };
        let config = Arc::clone(&self.config.borrow());
        let dialled = timeout(DIAL_LIMIT, shake_hands(server, config)).await;
        let stream = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let peer: Arc<str> = Arc::from(server.to_string());
        let failed = |source| LinkError::Connect { peer: peer.to_string(), source };
        Ok((Arc::clone(&peer), stream.map_err(failed)?))
    }
}

async fn shake_hands(
    server: &Server,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(server_name(&server.host)).map_err(io::Error::other)?;
    let socket = TcpStream::connect(server.address).await?;
    socket.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, socket).await
}
