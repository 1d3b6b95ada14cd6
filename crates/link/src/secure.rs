//! Offering a role's routes to a fleet.
//!
//! Everybody who shows a certificate is known by it; who shows none is nobody, and only the route by
//! which hosts join is for nobody. Which that is, the routes say themselves: each request carries who
//! sent it ([`Peer`]).
//!
//! Invariant: a connection that is not encrypted, or does not say who it is within
//! [`HANDSHAKE_LIMIT`], ends; there are never more than [`MOST`] at once.
//!
//! Not here: certificates (`tanist-tls`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::LinkError;
use crate::client::ALIVE;
use crate::identity::Peer;
use crate::server::ACCEPT_PAUSE;

/// How long who connects may take to say who it is.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Most connections at once. A host has a handful.
const MOST: usize = 4096;
/// Most requests at once on one of them.
const MOST_STREAMS: u32 = 64;

/// An address on which a role can be reached by a fleet.
#[derive(Debug)]
pub struct SecureListener {
    socket: TcpListener,
    address: SocketAddr,
    config: watch::Receiver<Arc<ServerConfig>>,
}

impl SecureListener {
    /// Offers `address`, showing what `config` holds at that moment.
    ///
    /// # Errors
    /// [`LinkError::Listen`].
    pub async fn bind(
        address: SocketAddr,
        config: watch::Receiver<Arc<ServerConfig>>,
    ) -> Result<Self, LinkError> {
        let listen = |source| LinkError::Listen { peer: address.to_string(), source };
        let socket = TcpListener::bind(address).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        Ok(Self { socket, address, config })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves `routes` by HTTP/2 until the task is dropped; every request has a [`Peer`] as an extension.
pub async fn serve_secure(listener: SecureListener, routes: Router) {
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.socket.accept().await {
            Ok((socket, from)) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&listener.config.borrow()));
                tokio::spawn(attend(socket, from, acceptor, routes.clone(), permit));
            }
            Err(err) => {
                debug!(err = &err as &dyn std::error::Error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn attend(
    socket: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    routes: Router,
    _permit: OwnedSemaphorePermit,
) {
    // One that cannot be told this is slower, not wrong.
    let _ = socket.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return debug!(%from, err = &err as &dyn std::error::Error, "a stranger"),
        Err(_) => return debug!(%from, "somebody says nothing"),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let certificate = shown.and_then(|chain| chain.first()).cloned();
    let peer = Peer::new(from, certificate.map(|certificate| certificate.into_owned()));
    let service = TowerToHyperService::new(routes.layer(Extension(peer)));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE.0)
        .keep_alive_timeout(ALIVE.1)
        .max_concurrent_streams(MOST_STREAMS);
    if let Err(err) = builder.serve_connection(TokioIo::new(stream), service).await {
        debug!(%from, err = &err as &dyn std::error::Error, "a link connection ended");
    }
}
