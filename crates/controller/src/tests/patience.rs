//! Requests that wait: dropped when they grow old, unless a decision serves them already.
//!
//! Invariant: in every test nobody is primary and nobody can become it, so nothing is carried out.
//!
//! Not here: how old is too old (`tanist_core::decide`).

use std::time::Duration;

use tanist_core::model::{
    Cause, Epoch, GroupSpec, Limits, MoveKind, MoveRequest, Primaryship, RequestId, Rev,
    ShardTopology, Vacancy,
};

use super::rig::{Rig, node, run, spec, topology};

/// How long a request may wait here: two ticks.
const PATIENCE: Duration = Duration::from_millis(100);

/// A person asks for a node of a shard that has no primary; nobody answers.
async fn vacant(served: bool) -> Rig {
    let (id, kind, to) = (RequestId(1), MoveKind::Failover, Some(node(2)));
    let request = MoveRequest { id, kind, to, accept_loss: true, beyond: None };
    let asked = GroupSpec { requests: [("0001".into(), request)].into(), ..spec() };
    let vacancy = Vacancy {
        prev: Some(run(1)),
        cause: Cause::PrimaryDown,
        request: served.then_some(id),
        heir: None,
    };
    let primaryship = Primaryship::Vacant(vacancy);
    let decided = ShardTopology { rev: Rev(11), epoch: Epoch(4), primaryship, ..topology() };
    Rig::new(Limits { request: PATIENCE, ..Limits::DEFAULT }, asked, decided).await
}

#[tokio::test]
async fn a_request_that_waits_for_too_long_in_a_vacancy_is_dropped_and_that_is_said() {
    let mut rig = vacant(false).await;
    let before = rig.held().await.1;
    let events = rig.event("RequestDropped").await;
    let dropped = events.last().unwrap();
    assert_eq!(dropped.group, Some("web".into()));
    assert!(dropped.text.contains("may hold acknowledged writes"), "it says why: {}", dropped.text);
    let (asked, decided) = rig.held().await;
    assert!(asked.requests.is_empty(), "nobody is surprised by it later");
    assert_eq!(decided, before, "the vacancy goes on without it");
}

#[tokio::test]
async fn a_request_that_the_vacancy_serves_is_beyond_recall() {
    let mut rig = vacant(true).await;
    rig.ticks(6).await;
    assert_eq!(rig.held().await.0.requests.len(), 1);
}
