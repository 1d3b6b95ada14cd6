//! Trying broken lanes until they work again.
//!
//! When an engine dies, every client finds out at once; a single probe per lane then asks on behalf
//! of all of them, so that ten thousand clients do not knock twenty times a second.
//!
//! Invariant: a lane that is down is probed until it works or its epoch is over.
//!
//! Not here: who is primary; a probe only finds out whether the named one answers as such.

use std::rc::Rc;
use std::time::Duration;

use tanist_resp::{Command, Connection, Value};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::shard::{Lane, Shard};

/// Time between two tries, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How long an engine may take to answer.
const LIMIT: Duration = Duration::from_millis(500);

/// Probes a shard's broken lanes for as long as the shard exists.
pub(crate) async fn heal(shard: Rc<Shard>) {
    while !shard.gone.get() {
        shard.broken.notified().await;
        for lane in shard.take_broken() {
            spawn_local(probe(Rc::clone(&shard), lane));
        }
    }
}

async fn probe(shard: Rc<Shard>, lane: Lane) {
    let mut pause = PAUSE.0;
    while shard.is_down(&lane) && shard.is_valid(&lane) && !shard.gone.get() {
        // waits: an engine says nothing when it begins to listen. The client that found the lane
        // broken has just tried.
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        if works(&shard, &lane).await.is_some() {
            break;
        }
    }
    shard.mark_up(&lane);
}

/// Whether the engine lets us in, has its data and the right role.
async fn works(shard: &Shard, lane: &Lane) -> Option<()> {
    let mut engine = Connection::connect(lane.address, LIMIT).await.ok()?;
    let questions = [shard.credentials(lane, None), Command::new("PING"), Command::new("ROLE")];
    let answers = engine.pipeline(&questions, LIMIT).await.ok()?;
    if answers.iter().any(|answer| matches!(answer, Value::Error(_))) {
        return None;
    }
    let role = answers.last()?.as_array()?.first()?.as_str()?.to_owned();
    (!lane.primary || role == "master").then_some(())
}
