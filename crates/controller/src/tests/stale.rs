//! A store that was put back from an older copy, as the loop and the API show it.
//!
//! Invariant: every test begins with a host that was told more than the store has.
//!
//! Not here: what follows from that (`tanist_core::decide`), and real engines (`tests/`).

use tanist_core::model::{Cause, GAP, Limits, MoveKind, NodeReport, Process, Rev};
use tanist_link::api::{ApiError, MoveAccepted, MovePrimary};

use super::rig::{Rig, key, node, spec, topology, well};
use crate::inputs::{Call, Reply};

/// The host of web-003 was told of revision 14; the store has 10.
async fn behind() -> Rig {
    let mut rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    rig.report(3, NodeReport { rev: Rev(14), ..well(3) }).await;
    rig
}

fn moves(n: usize, accept_loss: bool, reply: Reply<MoveAccepted>) -> Call {
    let asked = MovePrimary { shard: None, to: Some(node(n)), accept_loss };
    Call::Move { name: key().group, kind: MoveKind::Failover, asked, reply }
}

fn code<T>(answer: Result<T, ApiError>) -> Option<String> {
    answer.err().map(|err| err.code)
}

#[tokio::test]
async fn it_is_said_once_and_nothing_is_done() {
    let mut rig = behind().await;
    let said = rig.event("StoreBehind").await;
    let text = &said.last().unwrap().text;
    assert!(text.contains("(revision 10 after 14)") && text.contains("--accept-loss"), "{text}");
    // That would call for a decision.
    let gone = NodeReport { process: Process::Absent, ..well(2) };
    rig.report(2, gone).await;
    rig.ticks(3).await;
    assert_eq!(rig.pending_events(), Vec::<String>::new());
    assert_eq!(rig.held().await.1, topology());
    let group = rig.ask(|reply| Call::Group { name: key().group, reply }).await.unwrap();
    assert_eq!(group.status, "unavailable");
}

#[tokio::test]
async fn a_person_may_name_any_node_and_has_to_accept_the_loss() {
    let mut rig = behind().await;
    rig.event("StoreBehind").await;
    let delete = rig.ask(|reply| Call::Delete { name: key().group, reply }).await;
    assert_eq!(code(delete).as_deref(), Some("T415"), "what is deleted may be another group");
    assert_eq!(code(rig.ask(|reply| moves(2, false, reply)).await).as_deref(), Some("T204"));
    // That it was primary when the copy was made does not mean that it is.
    assert_eq!(code(rig.ask(|reply| moves(1, true, reply)).await), None);
    rig.event("PrimaryVacated").await;
    let (asked, shard) = rig.held().await;
    assert_eq!(asked.requests[&key().shard].beyond, Some(Rev(14)), "it says what it forgives");
    assert_eq!(shard.rev, Rev(14 + GAP));
    let vacancy = shard.vacancy().unwrap();
    assert_eq!((vacancy.cause, &vacancy.heir), (Cause::StoreBehind, &Some(node(1))));
}

#[tokio::test]
async fn a_shard_that_knows_everything_again_is_as_any_other() {
    let mut rig = behind().await;
    rig.event("StoreBehind").await;
    assert_eq!(code(rig.ask(|reply| moves(3, true, reply)).await), None);
    rig.event("PrimaryVacated").await;
    let delete = rig.ask(|reply| Call::Delete { name: key().group, reply }).await;
    assert_eq!(code(delete), None);
    rig.event("GroupDeleted").await;
}
