//! A controller that comes late: what it could not hear meanwhile is nobody's silence.
//!
//! Invariant: in every test the delay is longer than a host may be silent.
//!
//! Not here: how a delay is forgiven in itself (`crate::observe`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tanist_core::model::{Limits, MoveKind, NodeReport, Process};
use tanist_link::api::{ApiError, MoveAccepted, MovePrimary};
use tokio::sync::oneshot;

use super::rig::{Rig, config, key, node, said, spec, store, tag, topology, well};
use crate::clock::boot_time;
use crate::inputs::Call;
use crate::leadership::Claim;
use crate::observe::Touched;
use crate::reconciler::lead;

/// Nothing runs for so long: neither the controller nor a host.
const DELAY: Duration = Duration::from_millis(1_500);

/// Keeps the one thread that the loop and the test share.
fn stand_still() {
    // waits: the standing still is what is tested; nothing could tell its end.
    std::thread::sleep(DELAY);
}

async fn whole() -> Rig {
    assert!(DELAY > Limits::DEFAULT.host * 2);
    let mut rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    for n in 1..=3 {
        rig.report(n, well(n)).await;
    }
    rig
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_stood_still_takes_nobody_for_lost() {
    let mut rig = whole().await;
    stand_still();
    // It looks at everything before any host speaks again.
    rig.ticks(3).await;
    for n in 1..=3 {
        rig.report(n, well(n)).await;
    }
    rig.ticks(2).await;
    assert_eq!(rig.held().await.1, topology(), "nothing was decided");
}

#[tokio::test(flavor = "current_thread")]
async fn a_commit_that_took_long_makes_nobody_look_lost() {
    let mut rig = whole().await;
    rig.report(3, NodeReport { process: Process::Absent, engine: None, ..well(3) }).await;
    // The report was taken in, and what follows from it is being committed.
    stand_still();
    let events = rig.event("ReplicaOutOfSync").await;
    rig.ticks(3).await;
    let (_, shard) = rig.held().await;
    assert_eq!(shard.in_sync, BTreeSet::from([tag(2)]), "{events:?}");
    assert_eq!((shard.epoch, shard.primary()), (topology().epoch, topology().primary()));
}

#[tokio::test]
async fn a_request_right_after_a_long_commit_is_not_refused_for_want_of_news() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, spec(), topology()).await;
    let claim = Claim::alone(&store).await.unwrap();
    let (mut controller, _handle, _inputs) =
        lead(config(Limits::DEFAULT), store, claim, BTreeMap::new(), Default::default())
            .await
            .unwrap();
    // Everything was heard until then; the commit that followed has only just ended.
    let heard = boot_time() - DELAY;
    for n in 1..=3 {
        controller.observer.report(said(n, well(n)), heard);
    }
    controller.heard_until = heard;
    let asked = MovePrimary { shard: None, to: Some(node(2)), accept_loss: false };
    let (reply, answer) = oneshot::channel::<Result<MoveAccepted, ApiError>>();
    let (name, kind) = (key().group, MoveKind::Failover);
    let call = Call::Move { name, kind, asked, reply };
    controller.answer(call, &mut Touched::default()).await.unwrap();
    let answer = answer.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
}
