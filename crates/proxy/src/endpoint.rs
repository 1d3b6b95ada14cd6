//! The addresses that clients dial.
//!
//! Routes say which there should be; this makes it so. An address that cannot be bound is tried
//! again, because it may be a predecessor's that is just ending.
//!
//! Invariant: at most `max_clients` clients in all; one more is told so and closed.
//!
//! Not here: what a client may do (`crate::session`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tanist_core::model::ShardKey;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::client;
use crate::session::Endpoint;
use crate::shard::{EndpointKind, Identity, Shard};
use crate::text;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Idle time after which a client's host is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why an endpoint is not offered.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) key: ShardKey,
    pub(crate) address: SocketAddr,
    pub(crate) reason: String,
}

#[derive(Debug)]
struct Offered {
    key: ShardKey,
    endpoint: Rc<Endpoint>,
    shard: Rc<Shard>,
    acceptor: JoinHandle<()>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.endpoint.closed.set(true);
        self.shard.changed();
    }
}

/// Every endpoint of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    offered: RefCell<BTreeMap<SocketAddr, Offered>>,
}

impl Endpoints {
    /// Offers what the routes of `shards` name and nothing else; what could not be offered.
    pub(crate) fn reconcile(&self, shards: &BTreeMap<ShardKey, Rc<Shard>>) -> Vec<Failed> {
        let mut wanted = BTreeMap::new();
        for shard in shards.values() {
            for (address, kind) in addresses(shard) {
                wanted.entry(address).or_insert((kind, shard));
            }
        }
        let mut offered = self.offered.borrow_mut();
        offered.retain(|address, offered| {
            wanted.get(address).is_some_and(|(kind, shard)| {
                *kind == offered.endpoint.kind && shard.key == offered.key
            })
        });
        let mut failed = Vec::new();
        for (address, (kind, shard)) in wanted {
            if offered.contains_key(&address) {
                continue;
            }
            match offer(address, kind, shard) {
                Ok(endpoint) => {
                    offered.insert(address, endpoint);
                }
                Err(error) => failed.push(Failed {
                    key: shard.key.clone(),
                    address,
                    reason: error.to_string(),
                }),
            }
        }
        failed
    }
}

fn addresses(shard: &Shard) -> Vec<(SocketAddr, EndpointKind)> {
    let Some(route) = shard.route() else { return Vec::new() };
    let port = route.endpoints.port;
    let at = |ip| SocketAddr::new(IpAddr::V4(ip), port);
    let mut all = vec![
        (at(route.endpoints.primary), EndpointKind::Primary),
        (at(route.endpoints.reader), EndpointKind::Reader),
    ];
    let nodes = route.nodes.iter();
    all.extend(nodes.map(|node| (at(node.endpoint), EndpointKind::Node(node.node.clone()))));
    all
}

fn offer(address: SocketAddr, kind: EndpointKind, shard: &Rc<Shard>) -> io::Result<Offered> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let endpoint = Rc::new(Endpoint::new(kind, address));
    let acceptor = spawn_local(accept(listener, Rc::clone(&endpoint), Rc::clone(shard)));
    Ok(Offered { key: shard.key.clone(), endpoint, shard: Rc::clone(shard), acceptor })
}

async fn accept(listener: TcpListener, endpoint: Rc<Endpoint>, shard: Rc<Shard>) {
    let identity = Rc::clone(&shard.identity);
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                debug!(address = %endpoint.address, %error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = Seat::take(&identity) else {
            refuse(&socket, &endpoint);
            continue;
        };
        if let Err(error) = prepare(&socket) {
            debug!(address = %endpoint.address, %error, "preparing a client's socket");
            continue;
        }
        let (endpoint, shard) = (Rc::clone(&endpoint), Rc::clone(&shard));
        spawn_local(async move {
            let _seat = seat;
            client::serve(socket, endpoint, shard).await;
        });
    }
}

fn refuse(socket: &TcpStream, endpoint: &Endpoint) {
    warn!(address = %endpoint.address, "a client was refused: too many are connected");
    // A fresh socket takes a line at once; if not, closing says enough.
    let _ = SockRef::from(socket).send(text::MAX_CLIENTS);
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// One of the places for clients.
struct Seat(Rc<Identity>);

impl Seat {
    fn take(identity: &Rc<Identity>) -> Option<Self> {
        let taken = identity.clients.get();
        (taken < identity.limits.max_clients).then(|| {
            identity.clients.set(taken + 1);
            Self(Rc::clone(identity))
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get().saturating_sub(1));
    }
}
