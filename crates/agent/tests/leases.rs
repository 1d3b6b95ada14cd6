//! Leases: a primary of an `async` group takes writes by somebody's word only, and stops without it.
//!
//! The controller is a server of the test's own that grants what it is told to; engines and the
//! supervisor are real. Real controllers and several hosts are in the stories.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use common::*;
use tanist_core::model::*;
use tanist_link::wire::{AskLeases, LEASE_ROUTE, Leased, ToAgent, stand_in_label, stand_in_user};
use tanist_link::{Listener, serve};
use tempfile::TempDir;

with_both_engines!(
    a_primary_begins_with_its_first_lease_and_stops_with_the_last,
    a_primary_that_does_not_answer_at_its_leases_end_is_killed,
    a_primary_that_has_stopped_is_not_killed_for_being_slow,
    a_supervisor_that_was_killed_guards_on,
    a_replica_gives_its_word_while_no_controller_is_heard,
);

/// Whoever grants leases.
struct Leader {
    dir: TempDir,
    grants: Arc<AtomicBool>,
}

impl Leader {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&dir.path().join("leader")).await.unwrap();
        let grants = Arc::new(AtomicBool::new(false));
        let granting = Arc::clone(&grants);
        let lease = move |Json(asked): Json<AskLeases>| {
            let primaries = match granting.load(Ordering::Acquire) {
                true => asked.primaries,
                false => Vec::new(),
            };
            async move { Json(Leased { primaries }) }
        };
        tokio::spawn(serve(listener, Router::new().route(LEASE_ROUTE, post(lease))));
        Self { dir, grants }
    }

    fn grants(&self, grants: bool) {
        self.grants.store(grants, Ordering::Release);
    }

    async fn supervisor(&self) -> Supervisor {
        Supervisor::start_with(&[self.dir.path().join("leader")]).await
    }
}

fn host(supervisor: &Supervisor, name: &str, engine: EngineKind) -> Host {
    let config = Host::config(supervisor, name);
    Host::with(tanist_agent::AgentConfig { leases: true, ..config }, engine)
}

/// Somebody who never gives a word: nobody listens there.
fn nobody() -> StandIn {
    let run = RunId::new("0123456789");
    StandIn { tag: tag("web-009", &run, 9), address: "127.0.0.1:1".parse().unwrap() }
}

fn leading(run: &RunId, replicas: &[&Tag], stand_ins: &[StandIn]) -> Action {
    Action::Promote {
        run: run.clone(),
        replicas: replicas.iter().map(|tag| (*tag).clone()).collect(),
        lanes: [].into(),
        stand_ins: Some(stand_ins.iter().cloned().collect()),
    }
}

async fn role(engine: &mut Engine) -> String {
    let role = engine.call(&["ROLE"]).await;
    role.as_array().unwrap()[0].as_str().unwrap().to_owned()
}

async fn a_primary_begins_with_its_first_lease_and_stops_with_the_last(engine: EngineKind) {
    let leader = Leader::start().await;
    let supervisor = leader.supervisor().await;
    let host = host(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let lead = leading(&run, &[], &[nobody()]);
    host.order("web-001", 2, 1, lead.clone()).await;
    let mut at = host.engine("web-001").await;
    // waits: longer than for a first lease, and than one lasts; that nothing happens has no event.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(role(&mut at).await, "slave", "nobody has granted a lease");
    assert!(alive(host.pid("web-001")), "and it is not killed for that");
    leader.grants(true);
    host.order("web-001", 3, 1, lead.clone()).await;
    let applied = host.applied("web-001", 3).await;
    assert_eq!(applied.stand_ins, [9].into());
    assert!(at.call(&["SET", "k", "v"]).await.is_ok());
    leader.grants(false);
    host.note("LeaseEnded").await;
    assert_eq!(role(&mut at).await, "slave");
    assert_eq!(at.call(&["SET", "k", "w"]).await.error_code(), Some("READONLY"));
    host.node("web-001", "not primary any more", |r| r.applied.is_none().then_some(())).await;
    leader.grants(true);
    host.order("web-001", 3, 1, lead).await;
    host.applied("web-001", 3).await;
    assert!(at.call(&["SET", "k", "x"]).await.is_ok(), "it was let go on, by the same order");
    end(&[&host]).await;
}

async fn a_primary_that_does_not_answer_at_its_leases_end_is_killed(engine: EngineKind) {
    let leader = Leader::start().await;
    let supervisor = leader.supervisor().await;
    let host = host(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    leader.grants(true);
    host.order("web-001", 2, 1, leading(&run, &[], &[nobody()])).await;
    host.applied("web-001", 2).await;
    let pid = host.pid("web-001");
    signal(pid, "STOP");
    leader.grants(false);
    host.node("web-001", "its end", |report| (report.process == Process::Absent).then_some(()))
        .await;
    assert!(!alive(pid));
    end(&[&host]).await;
}

/// It may have the newest data there is.
async fn a_primary_that_has_stopped_is_not_killed_for_being_slow(engine: EngineKind) {
    let leader = Leader::start().await;
    let supervisor = leader.supervisor().await;
    let host = host(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let lead = leading(&run, &[], &[nobody()]);
    leader.grants(true);
    host.order("web-001", 2, 1, lead.clone()).await;
    host.applied("web-001", 2).await;
    leader.grants(false);
    host.note("LeaseEnded").await;
    let pid = host.pid("web-001");
    signal(pid, "STOP");
    // waits: longer than anybody has to confirm that it stops; that nothing happens has no event.
    tokio::time::sleep(Duration::from_millis(400)).await;
    signal(pid, "CONT");
    leader.grants(true);
    host.order("web-001", 2, 1, lead).await;
    host.applied("web-001", 2).await;
    assert_eq!(host.pid("web-001"), pid, "the same process goes on");
    end(&[&host]).await;
}

async fn a_supervisor_that_was_killed_guards_on(engine: EngineKind) {
    let leader = Leader::start().await;
    let mut supervisor = leader.supervisor().await;
    let host = host(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    leader.grants(true);
    host.order("web-001", 2, 1, leading(&run, &[], &[nobody()])).await;
    host.applied("web-001", 2).await;
    let mut at = host.engine("web-001").await;
    supervisor.kill();
    supervisor.restart_dead().await;
    // waits: longer than a lease; that nothing happens has no event.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(at.call(&["SET", "k", "v"]).await.is_ok(), "its lease is renewed");
    supervisor.kill();
    leader.grants(false);
    supervisor.restart_dead().await;
    host.note("LeaseEnded").await;
    assert_eq!(at.call(&["SET", "k", "w"]).await.error_code(), Some("READONLY"));
    end(&[&host]).await;
}

async fn a_replica_gives_its_word_while_no_controller_is_heard(engine: EngineKind) {
    let leader = Leader::start().await;
    let supervisor = leader.supervisor().await;
    let (one, two) = (host(&supervisor, "host-1", engine), host(&supervisor, "host-2", engine));
    let first = one.up("web-001", 1, 1, DataOnStart::Load).await;
    let second = two.up("web-002", 1, 1, DataOnStart::Load).await;
    let tag = tag("web-002", &second, 7);
    let stand_in = StandIn { tag: tag.clone(), address: two.address() };
    leader.grants(true);
    one.order("web-001", 2, 1, leading(&first, &[&tag], std::slice::from_ref(&stand_in))).await;
    one.applied("web-001", 2).await;
    two.order("web-002", 2, 1, follow(&tag, one.address(), None)).await;
    two.node("web-002", "a link", linked).await;
    let gives = |on: bool| move |r: &NodeReport| r.standing.filter(|s| s.on == on).map(|s| s.turn);
    let turn = two.node("web-002", "its word", gives(true)).await;
    leader.grants(false);
    let mut at = one.engine("web-001").await;
    // waits: longer than a lease; that nothing happens has no event.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(at.call(&["SET", "k", "v"]).await.is_ok(), "by its replica's word");
    // Who may ask can do nothing else.
    let user = stand_in_user(&tag);
    let label = stand_in_label(&"web".into(), &"0001".into(), &user);
    let mut asks = Engine::open(two.address(), &user, &secret().password(&label)).await.unwrap();
    assert_eq!(asks.call(&["GET", "k"]).await.error_code(), Some("NOPERM"));
    // A controller is heard, for as long as its numbers grow.
    let hears = async {
        for number in 1_u64.. {
            two.send(ToAgent::Echo(number)).await;
            // waits: as long as a controller does between two.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = hears => {}
        _ = one.note("LeaseEnded") => {}
    }
    two.node("web-002", "no word", gives(false)).await;
    assert!(asks.ends().await, "whoever had it has it no more");
    let again = two.node("web-002", "its word again", gives(true)).await;
    assert!(again > turn, "it can be told from the one before");
    end(&[&one, &two]).await;
}
