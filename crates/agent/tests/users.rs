//! Lanes of clients' users: what an engine lets each of them do.
//!
//! Invariant: the engine is the judge.
//!
//! Not here: which user a client is (`tanist-proxy`).

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::*;
use tanist_core::model::accounts::mark;
use tanist_core::model::*;
use tanist_link::wire::{BELL_CHANNEL, own_lane_label, own_lane_user};

with_both_engines!(
    a_users_lane_may_what_its_rules_say_and_never_what_is_fenced,
    rules_that_the_engine_does_not_take_let_nobody_do_anything,
);

fn users(all: &[(&str, &[&str])]) -> LaneUsers {
    let words = |set: &&str| set.split(' ').map(str::to_owned).collect();
    let of = |(name, sets): &(&str, &[&str])| {
        ((*name).to_owned(), Rules(sets.iter().map(words).collect()))
    };
    all.iter().map(of).collect()
}

fn lane(epoch: u64, user: &str) -> (String, String) {
    let (epoch, proxy) = (Epoch(epoch), ProxyId::new("proxy-1"));
    let label = own_lane_label(&"web".into(), &"0001".into(), epoch, &proxy, user);
    (own_lane_user(epoch, &proxy, user), secret().password(&label))
}

async fn open(host: &Host, epoch: u64, user: &str) -> Option<Engine> {
    let (name, password) = lane(epoch, user);
    Engine::open(host.address(), &name, &password).await
}

async fn a_users_lane_may_what_its_rules_say_and_never_what_is_fenced(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let first = users(&[
        ("app", &["~app:* +@read"]),
        ("all", &["~* &* +@all", "~* &* +@all +config +acl +replicaof"]),
        ("some", &["~x +config|get +acl|whoami +cluster", "+acl|setuser +shutdown"]),
    ]);
    host.order_with("web-001", 2, 1, promote(&run, &[], &["proxy-1"]), first.clone()).await;
    assert_eq!(host.applied("web-001", 2).await.users, mark(&first));
    let mut app = open(&host, 1, "app").await.unwrap();
    assert_eq!(app.call(&["GET", "app:1"]).await, tanist_resp::Value::Null);
    for refused in
        [&["SET", "app:1", "x"][..], &["GET", "other"], &["PING"], &["SPUBLISH", "c", ""]]
    {
        assert_eq!(app.call(refused).await.error_code(), Some("NOPERM"), "{refused:?}");
    }
    // What the proxy asks on its behalf is answered.
    assert_eq!(app.call(&["ROLE"]).await.as_error(), None);
    assert_eq!(app.call(&["WAIT", "0", "0"]).await.as_int(), Some(0));
    assert_eq!(app.call(&["SPUBLISH", BELL_CHANNEL, ""]).await.as_int(), Some(0));
    for user in ["all", "some"] {
        let mut lane = open(&host, 1, user).await.unwrap();
        for fenced in [
            &["REPLICAOF", "NO", "ONE"][..],
            &["SHUTDOWN", "NOSAVE"],
            &["CONFIG", "GET", "masterauth"],
            &["ACL", "SETUSER", "x"],
            &["ACL", "LIST"],
            &["CLIENT", "PAUSE", "1"],
            &["MODULE", "LIST"],
            &["PSYNC", "?", "-1"],
            &["CLUSTER", "RESET"],
            &["SAVE"],
        ] {
            let answer = lane.call(fenced).await;
            assert_eq!(answer.error_code(), Some("NOPERM"), "{user} {fenced:?}: {answer:?}");
        }
        assert!(lane.call(&["ACL", "WHOAMI"]).await.as_str().is_some(), "{user}");
        assert_eq!(lane.call(&["CLUSTER", "INFO"]).await.error_code(), Some("ERR"), "{user}");
    }
    // Its rules change under a living connection, another one goes with its connections.
    let mut all = open(&host, 1, "all").await.unwrap();
    let next = users(&[("app", &["~app:* +@read +set"])]);
    let admit = Action::Admit {
        run: run.clone(),
        replicas: [].into(),
        lanes: proxies(&["proxy-1"]),
        stand_ins: None,
    };
    host.order_with("web-001", 2, 1, admit, next.clone()).await;
    let changed = |report: &NodeReport| {
        report.applied.as_ref().is_some_and(|applied| applied.users == mark(&next)).then_some(())
    };
    host.node("web-001", "the next users", changed).await;
    assert!(app.call(&["SET", "app:1", "x"]).await.is_ok());
    assert!(all.ends().await, "its user is gone");
    // The epoch's end ends them all.
    host.fence("web-001", 4, 2, true).await;
    assert!(app.ends().await);
    assert!(open(&host, 1, "app").await.is_none());
    end(&[&host]).await;
}

async fn rules_that_the_engine_does_not_take_let_nobody_do_anything(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let odd = users(&[("good", &["~* +get"]), ("odd", &["~* +get +nosuchcommand"])]);
    host.order_with("web-001", 2, 1, promote(&run, &[], &["proxy-1"]), odd).await;
    assert!(host.applied("web-001", 2).await.primary, "nobody waits for it");
    let text = host.note("UserRulesRefused").await;
    assert!(text.contains("odd") && !text.contains('#'), "{text}");
    let mut lane = open(&host, 1, "odd").await.unwrap();
    assert_eq!(lane.call(&["GET", "k"]).await.error_code(), Some("NOPERM"));
    let mut lane = open(&host, 1, "good").await.unwrap();
    assert_eq!(lane.call(&["GET", "k"]).await, tanist_resp::Value::Null);
    end(&[&host]).await;
}
