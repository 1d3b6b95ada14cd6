//! Offering a role's routes on a unix socket.
//!
//! The socket file is the role's address and its lock on it: it is 0600 in a 0700 directory, so only
//! its owner can connect, and a socket that answers is not taken over.
//!
//! Invariant: a request that fails never ends the server.
//!
//! Not here: which routes there are.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tracing::debug;

use crate::LinkError;

/// How long a client may take to send a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again when the process is out of descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket on which a role can be reached.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Offers `path`; a socket file that nobody answers on is replaced.
    ///
    /// # Errors
    /// [`LinkError::Listen`], with `AddrInUse` if somebody answers on it.
    pub async fn bind(path: &Path) -> Result<Self, LinkError> {
        let listen = |source| LinkError::Listen { peer: path.display().to_string(), source };
        if UnixStream::connect(path).await.is_ok() {
            return Err(listen(io::Error::from(io::ErrorKind::AddrInUse)));
        }
        match tokio::fs::remove_file(path).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(listen(source)),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixListener::bind(path).map_err(listen)?;
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        tokio::fs::set_permissions(path, owner_only).await.map_err(listen)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Serves `routes` until the task is dropped; HTTP/1.1 and HTTP/2 with prior knowledge.
pub async fn serve(listener: Listener, routes: Router) {
    loop {
        let stream = match listener.socket.accept().await {
            Ok((stream, _)) => stream,
            Err(err) => {
                debug!(err = &err as &dyn std::error::Error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
            builder.http2().timer(TokioTimer::new());
            if let Err(err) = builder.serve_connection(TokioIo::new(stream), service).await {
                debug!(err = err.as_ref() as &dyn std::error::Error, "a link connection ended");
            }
        });
    }
}
