//! Connections: accepted, counted and turned away when there are too many.
//!
//! Invariant: one connection is one task; at most `Limits::connections` of them exist, and none
//! outlives the loop.
//!
//! Not here: what a connection may say (`super::session`).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tanist_tls::{Door, Entrance, NotAdmitted};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::Shared;
use super::session::{Ended, Session, refuse_plain};

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The engine's own words.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// Serves until it is dropped.
pub(super) async fn serve(shared: &Arc<Shared>, open: Vec<Door>) {
    let mut doors = JoinSet::new();
    for one in open {
        doors.spawn(door(Arc::clone(shared), one));
    }
    while let Some(ended) = doors.join_next().await {
        note(ended);
    }
}

async fn door(shared: Arc<Shared>, Door { listener, entrance }: Door) {
    // Nobody is told that there is nothing, only because it is not known yet.
    shared.seen().await;
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = sessions.join_next() => {
                note(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&shared.room).try_acquire_owned() {
                Ok(room) => {
                    let (shared, entrance) = (Arc::clone(&shared), entrance.clone());
                    sessions.spawn(Box::pin(session(shared, entrance, stream, room)));
                }
                Err(_) => turn_away(&stream),
            },
            Err(err) => {
                debug!(err = &err as &dyn Error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whoever is one too many hears why, if its socket takes it at once, as a new one does.
fn turn_away(stream: &TcpStream) {
    if let Err(err) = stream.try_write(FULL) {
        debug!(err = &err as &dyn Error, "turning a client away");
    }
}

async fn session(
    shared: Arc<Shared>,
    entrance: Entrance,
    stream: TcpStream,
    room: OwnedSemaphorePermit,
) {
    // Answers are written whole; waiting for more of them would only add to each.
    if let Err(err) = stream.set_nodelay(true) {
        debug!(err = &err as &dyn Error, "a connection without TCP_NODELAY");
    }
    let dialled = stream.local_addr().ok();
    let ended = match entrance.admit(stream).await {
        Ok(stream) => Session::new(shared, dialled).run(stream).await,
        Err(NotAdmitted::Plain(stream)) => refuse_plain(stream).await,
        Err(err) => Ended::Stranger(err),
    };
    debug!(err = &ended as &dyn Error, "a session has ended");
    drop(room);
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended {
        error!(err = &err as &dyn Error, "a connection's task failed");
    }
}
