//! What carries the words between the members of a cluster, and can stop doing so.
//!
//! Members tell each other addresses of relays instead of their own. Each request says which member
//! it comes from (`X-Server-From`), so that one member can be cut off in both directions, while its
//! clients still reach it. No privileges are needed for that.
//!
//! Invariant: nothing passes to or from a member that is cut off, also on connections from before.
//!
//! Not here: what members say.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most bytes of a request's head.
const HEAD: usize = 16 << 10;

/// Members that are cut off: their own addresses, and their ids as etcd writes them.
type Cut = BTreeSet<(SocketAddr, String)>;

/// The relays of a cluster; they end with it.
pub(super) struct Relays {
    cut: watch::Sender<Cut>,
    tasks: JoinSet<()>,
}

impl Relays {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { cut: watch::Sender::new(Cut::new()), tasks: JoinSet::new() }
    }

    /// Relays what comes to `from` to a member that listens at `to`.
    pub(super) async fn add(&mut self, from: SocketAddr, to: SocketAddr) {
        let listener = TcpListener::bind(from).await.expect("an address for a relay");
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, to, cut.subscribe()));
                while connections.try_join_next().is_some() {}
            }
        });
    }

    /// Cuts a member off.
    pub(super) fn cut(&self, at: SocketAddr, id: String) {
        self.cut.send_modify(|cut| {
            cut.insert((at, id));
        });
    }

    /// Lets a member in again.
    pub(super) fn join(&self, at: SocketAddr) {
        self.cut.send_modify(|cut| cut.retain(|(member, _)| *member != at));
    }
}

/// Carries one connection. A failure of either side is the end of it, as on a network.
async fn carry(mut stream: TcpStream, to: SocketAddr, mut cut: watch::Receiver<Cut>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|part| part == b"\r\n\r\n") {
        if head.len() > HEAD || !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let from = sender(&String::from_utf8_lossy(&head));
    let is_cut = |cut: &Cut| cut.iter().any(|(at, id)| *at == to || Some(id) == from.as_ref());
    if is_cut(&cut.borrow_and_update()) {
        return;
    }
    let Ok(mut member) = TcpStream::connect(to).await else { return };
    if member.write_all(&head).await.is_err() {
        return;
    }
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut member) => {}
        _ = cut.wait_for(is_cut) => {}
    }
}

/// The id of the member that a request comes from.
fn sender(head: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let found = fields.find(|(name, _)| name.eq_ignore_ascii_case("x-server-from"));
    found.map(|(_, id)| id.trim().to_owned())
}
