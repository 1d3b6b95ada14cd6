//! A second connection that makes a primary talk to its replicas while a proof takes too long.
//!
//! An acknowledgement can be late for no reason of the replica's. On a link that was resumed (a
//! partial resync) engines leave Nagle's algorithm on, so that one that follows another closely stays
//! in the replica's kernel until the primary's has confirmed the first, and that waits 40 ms for
//! something to send along. A replica sends one unasked each second, so under load this happens
//! again and again. Whatever the primary says to its replicas ends it.
//!
//! A connection that sleeps in WAIT cannot be used for that, and another WAIT would make things
//! worse: it asks for one more acknowledgement, which is the next that others wait for. What is said
//! is a message on a shard channel: it goes to the replicas, changes no data, calls for no answer,
//! and reaches nobody but who subscribes to this very name.
//!
//! Invariant: it changes no data and proves nothing; without it everything works, later.
//!
//! Not here: when a proof is slow (`crate::proof`).

use std::rc::Rc;
use std::time::Duration;

use tanist_link::wire::BELL_CHANNEL;
use tanist_resp::{Command, Connection};
use tokio::sync::Notify;

use crate::shard::{EndpointKind, Lane, Shard};

/// How long the engine may take to answer. It may hang, and the next primary be the one to ring at.
const LIMIT: Duration = Duration::from_millis(250);

/// What slow proofs pull at.
#[derive(Debug, Default)]
pub(crate) struct Bell(Notify);

impl Bell {
    /// A proof is slow.
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// Answers the bell for as long as the shard exists.
pub(crate) async fn tend(shard: Rc<Shard>) {
    let mut open: Option<(Lane, Connection)> = None;
    while !shard.gone.get() {
        shard.bell.0.notified().await;
        let Some(lane) = shard.goal(&EndpointKind::Primary, None) else {
            open = None;
            continue;
        };
        let known = open.take().filter(|(known, _)| *known == lane);
        let Some(mut engine) = (match known {
            Some((_, engine)) => Some(engine),
            None => connect(&shard, &lane).await,
        }) else {
            continue;
        };
        if engine.call(&word(), LIMIT).await.is_ok() {
            open = Some((lane, engine));
        }
    }
}

async fn connect(shard: &Shard, lane: &Lane) -> Option<Connection> {
    let mut engine = Connection::connect(lane.address, LIMIT).await.ok()?;
    engine.call(&shard.credentials(lane, None), LIMIT).await.ok()?.is_ok().then_some(engine)
}

/// Something for the replicas to hear. Behind a read it makes a proof mean that they still followed
/// this primary when the read was answered: without it, a primary that nobody follows any more would
/// prove what it says by what they heard before.
pub(crate) fn word() -> Command {
    Command::new("SPUBLISH").arg(BELL_CHANNEL).arg("")
}
