//! Clients that share connections to engines notice nothing of each other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::collections::VecDeque;

use kit::{Binary, Conn, World};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_core::model::Durability;
use tanist_proxy::ProxyLimits;
use tanist_resp::Value;

/// How many connections an engine has, the asking one included.
async fn connections(world: &World) -> u64 {
    world.engine("n1").info().await.get_u64("connected_clients").unwrap()
}

#[tokio::test]
async fn many_clients_are_few_connections_and_own_ones_come_and_go() {
    let world = World::new(1, Durability::Async).await;
    let before = connections(&world).await;
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = world.primary().await;
        assert_eq!(client.call("HELLO 2").await.chars().next(), Some('*'));
        assert_eq!(client.call(&format!("CLIENT SETNAME c{number}")).await, "+OK");
        assert_eq!(client.call(&format!("SET k{number} {number}")).await, "+OK");
        clients.push(client);
    }
    let shared = connections(&world).await;
    assert!(shared <= before + 2, "{before} {shared}");
    for (line, expected) in [("MULTI", "+OK"), ("GET k0", "+QUEUED"), ("EXEC", "*1 $1 0")] {
        assert_eq!(clients[0].call(line).await, expected);
    }
    assert_eq!(connections(&world).await, shared + 1);
    world
        .engine("n1")
        .until("it is not needed any more", |info| {
            info.get_u64("connected_clients") == Some(shared)
        })
        .await;
    assert_eq!(clients[0].call("CLIENT GETNAME").await, "$2 c0");
}

/// Sends random bursts of requests whose replies say whose they are, and checks every reply.
async fn chatter(mut client: Conn, number: usize, seed: u64, leaves: bool) {
    let mut lots = StdRng::seed_from_u64(seed);
    let version = if lots.random_bool(0.5) { 3 } else { 2 };
    client.call(&format!("HELLO {version}")).await;
    let db = lots.random_range(0..3);
    assert_eq!(client.call(&format!("SELECT {db}")).await, "+OK");
    let mut serial = 0_u64;
    for _ in 0..40 {
        let (mut lines, mut expected) = (Vec::new(), VecDeque::new());
        for _ in 0..lots.random_range(1..30) {
            serial += 1;
            let mine = format!("{number}-{serial}-{}", "x".repeat(lots.random_range(0..3_000)));
            match lots.random_range(0..5) {
                0 => {
                    lines.push(format!("SET k{number} {mine}"));
                    lines.push(format!("GET k{number}"));
                    expected.push_back("+OK".to_owned());
                    expected.push_back(format!("${} {mine}", mine.len()));
                }
                1 => {
                    lines.push("NOSUCHCOMMAND".to_owned());
                    expected.push_back("-ERR unknown command".to_owned());
                }
                2 => {
                    lines.extend(["MULTI".to_owned(), format!("ECHO {mine}"), "EXEC".to_owned()]);
                    expected.extend(["+OK".to_owned(), "+QUEUED".to_owned()]);
                    expected.push_back(format!("*1 ${} {mine}", mine.len()));
                }
                _ => {
                    lines.push(format!("ECHO {mine}"));
                    expected.push_back(format!("${} {mine}", mine.len()));
                }
            }
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        client.send(&lines).await;
        if leaves && lots.random_bool(0.2) {
            return;
        }
        for expected in expected {
            let got = client.text().await;
            assert!(got.starts_with(&expected), "client {number}: {got} and not {expected}");
        }
    }
}

async fn nobody_gets_anothers_reply(durability: Durability, binary: Binary) {
    let world = World::with(2, durability, binary, ProxyLimits::default()).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..40 {
        all.spawn(chatter(world.primary().await, number, 7_000 + number as u64, number % 4 == 0));
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    assert_eq!(world.primary().await.call("PING").await, "+PONG");
}

#[tokio::test]
async fn replies_never_cross() {
    nobody_gets_anothers_reply(Durability::Async, Binary::Redis).await;
    nobody_gets_anothers_reply(Durability::Async, Binary::Valkey).await;
}

#[tokio::test]
async fn replies_never_cross_while_writes_are_proven() {
    nobody_gets_anothers_reply(Durability::Sync, Binary::Redis).await;
    nobody_gets_anothers_reply(Durability::Sync, Binary::Valkey).await;
}

#[tokio::test]
async fn one_question_proves_the_writes_of_many() {
    const CLIENTS: usize = 50;
    let world = World::new(2, Durability::Sync).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(world.primary().await);
    }
    let asked = async || {
        let stats = world.engine("n1").admin(&["INFO", "commandstats"]).await;
        let stats = tanist_resp::Info::parse(stats.as_str().unwrap());
        let calls = stats.parts("cmdstat_role").find(|(name, _)| *name == "calls");
        calls.map_or(0, |(_, calls)| calls.parse::<usize>().unwrap())
    };
    let before = asked().await;
    for round in 0..10 {
        for client in &mut clients {
            client.send(&[&format!("SET k {round}")]).await;
        }
        for client in &mut clients {
            assert_eq!(client.text().await, "+OK");
        }
    }
    let roles = asked().await - before;
    assert!(roles < CLIENTS * 10, "{roles} questions for {} writes", CLIENTS * 10);
}

#[tokio::test]
async fn waiting_for_copies_counts_what_was_written_before() {
    let world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    assert_eq!(client.call("WAIT 1 5000").await, ":1");
    world.engine("n2").signal("-STOP");
    let mut other = world.primary().await;
    assert_eq!(other.call("SET a 2").await, "+OK");
    assert_eq!(other.call("WAIT 1 100").await, ":0", "nobody has it");
    world.engine("n2").signal("-CONT");
    assert_eq!(other.call("WAIT 1 5000").await, ":1");
}

#[tokio::test]
async fn what_concerns_the_connection_is_answered_as_the_engine_does() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(1, Durability::Async, binary, ProxyLimits::default()).await;
        // A client with a connection of its own is answered by the engine itself.
        let (mut own, mut shared) = (world.primary().await, world.primary().await);
        own.call("CLIENT NO-EVICT ON").await;
        assert_eq!(shared.call("PING").await, "+PONG");
        for line in [
            "SELECT 3",
            "SELECT 15",
            "SELECT 16",
            "SELECT -1",
            "SELECT x",
            "SELECT 01",
            "SELECT",
            "CLIENT GETNAME",
            "CLIENT SETNAME a b",
            "CLIENT SETNAME app",
            "CLIENT GETNAME",
            "CLIENT SETINFO lib-name x",
            "CLIENT MAINT_NOTIFICATIONS ON",
            "CLIENT NOSUCH",
            "CLIENT GETNAME extra",
            "HELLO 4",
            "HELLO 2 AUTH default x SETNAME other",
            "CLIENT GETNAME",
            "HELLO 3 NOSUCH",
            "HELLO x",
        ] {
            let (expected, got) = (own.call(line).await, shared.call(line).await);
            let same = match (expected.split_once(" id "), got.split_once(" id ")) {
                _ if line.starts_with("HELLO 2") => {
                    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
                    let (expected, got) = (words(&expected), words(&got));
                    expected.len() == got.len()
                        && expected.iter().zip(&got).filter(|(a, b)| a != b).count() <= 1
                }
                _ => expected == got,
            };
            assert!(same, "{line}: {got} and not {expected}");
        }
        let facts = |value: Value| {
            let pairs = value.pairs().filter(|(key, _)| key.as_str() != Some("id"));
            pairs.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        let (expected, got) = (own.value("HELLO 3").await, shared.value("HELLO 3").await);
        assert!(!facts(expected.clone()).is_empty());
        assert_eq!(facts(expected), facts(got));
        assert_eq!(shared.call("RESET").await, "+RESET");
        assert_eq!(
            shared.call("CLIENT GETNAME").await,
            "$-1",
            "version, name and database are gone"
        );
    }
}

#[tokio::test]
async fn databases_and_versions_are_kept_apart() {
    let world = World::new(1, Durability::Async).await;
    let mut clients = Vec::new();
    for db in 0..16 {
        let mut client = world.primary().await;
        assert_eq!(client.call(&format!("SELECT {db}")).await, "+OK");
        assert_eq!(client.call(&format!("SET where {db}")).await, "+OK");
        clients.push(client);
    }
    for (db, client) in clients.iter_mut().enumerate() {
        let text = db.to_string();
        assert_eq!(client.call("GET where").await, format!("${} {text}", text.len()));
        client.call("HELLO 3").await;
        assert_eq!(client.call("HGETALL none").await, "%0");
        assert_eq!(client.call("GET where").await, format!("${} {text}", text.len()));
    }
}

#[tokio::test]
async fn what_concerns_the_connection_may_stand_in_a_pipeline() {
    for durability in [Durability::Async, Durability::Sync] {
        let world = World::new(2, durability).await;
        let mut client = world.primary().await;
        let lines = ["SELECT 1", "SET a 1", "GET a", "SELECT 2", "GET a", "HELLO 3", "GET a"];
        client.send(&lines).await;
        for expected in ["+OK", "+OK", "$1 1", "+OK", "$-1", "%7", "_"] {
            let got = client.text().await;
            assert!(got.starts_with(expected), "{got} and not {expected}");
        }
        client.send(&["SET b 1", "RESET", "CLIENT GETNAME", "EXISTS b", "SELECT 2"]).await;
        client.send(&["SET c 1", "HELLO 2", "SELECT 0", "GET c", "SELECT 2", "GET c"]).await;
        let expected = ["+OK", "+RESET", "$-1", ":0", "+OK", "+OK", "*14", "+OK", "$-1"];
        for expected in expected.into_iter().chain(["+OK", "$1 1"]) {
            let got = client.text().await;
            assert!(got.starts_with(expected), "{got} and not {expected}");
        }
    }
}
