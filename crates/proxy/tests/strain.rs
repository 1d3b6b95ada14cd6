//! Clients that strain what they share harm nobody but themselves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::time::{Duration, Instant};

use kit::{Binary, World};
use tanist_core::model::{Durability, Epoch};
use tanist_proxy::ProxyLimits;
use tanist_resp::Command;

/// Bytes of memory that this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn replies_that_nobody_reads_take_little_memory_and_stop_nobody() {
    let world = World::new(1, Durability::Async).await;
    let mut other = world.primary().await;
    let mut unread = world.primary().await;
    let value = "v".repeat(100_000);
    assert_eq!(other.call(&format!("SET large {value}")).await, "+OK");
    // Whoever has had small replies so far is expected to go on so.
    unread.send(&["PING"; 500]).await;
    for _ in 0..500 {
        assert_eq!(unread.text().await, "+PONG");
    }
    let before = resident();
    let asked = Command::new("GET").arg("large").encode().repeat((5 << 20) / 24);
    // The replies to all that is in flight come at once.
    world.engine("n1").signal("-STOP");
    let asking = tokio::spawn(async move {
        // It never ends, since nobody reads the replies.
        unread.send_raw(&asked).await;
    });
    kit::moment(300).await;
    world.engine("n1").signal("-CONT");
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(other.call("PING").await, "+PONG");
        longest = longest.max(asked.elapsed());
        most = most.max(resident().saturating_sub(before));
    }
    asking.abort();
    assert!(most < 64 << 20, "{} MiB", most >> 20);
    let engine = world.engine("n1").info().await.get_u64("used_memory_peak").unwrap();
    assert!(engine < 64 << 20, "{} MiB in the engine", engine >> 20);
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[tokio::test]
async fn a_scripts_error_of_two_lines_is_nobody_elses_reply() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(1, Durability::Async, binary, ProxyLimits::default()).await;
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(world.primary().await);
        }
        let mut hostile = world.primary().await;
        assert_eq!(hostile.call("PING").await, "+PONG");
        let script = "error({err='CODE\\r\\n+stolen'})";
        let raw = Command::new("EVAL").arg(script).arg("0").encode();
        let list = Command::new("FUNCTION").arg("LIST").arg("x\r\n+STOLEN").encode();
        for round in 0..50 {
            hostile.send_raw(&raw).await;
            hostile.send_raw(&list).await;
            for (number, other) in others.iter_mut().enumerate() {
                let text = format!("{round}-{number}");
                let got = other.call(&format!("ECHO {text}")).await;
                assert_eq!(got, format!("${} {text}", text.len()), "{binary:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_script_that_does_not_end_can_be_killed() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let limits = ProxyLimits { lanes: 1, ..ProxyLimits::default() };
        let world = World::with(1, Durability::Async, binary, limits).await;
        world.engine("n1").admin(&["CONFIG", "SET", "lua-time-limit", "50"]).await;
        let (mut endless, mut killer) = (world.primary().await, world.primary().await);
        for client in [&mut endless, &mut killer] {
            assert_eq!(client.call("PING").await, "+PONG");
        }
        endless.send_raw(b"EVAL \"while true do end\" 0\r\n").await;
        // Until the script runs, and has run for too long, there is nothing to kill.
        while killer.call("SCRIPT KILL").await != "+OK" {
            kit::moment(10).await;
        }
        assert!(endless.text().await.contains("Script killed by user"));
        assert_eq!(killer.call("PING").await, "+PONG");
    }
}

#[tokio::test]
async fn scripts_are_not_debugged() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    assert!(client.call("SCRIPT DEBUG YES").await.starts_with("-NOPERM "));
    assert_eq!(client.call("PING").await, "+PONG");
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_proven_answers() {
    let world = World::new(2, Durability::Sync).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").signal("-STOP");
    client.send(&["SET a 2", "INCR a"]).await;
    client.finish().await;
    assert!(client.is_silent(200).await);
    world.engine("n2").signal("-CONT");
    assert_eq!(client.rest().await, b"+OK\r\n:3\r\n");
}

#[tokio::test]
async fn waiting_for_copies_is_seen_by_nobody() {
    let world = World::new(1, Durability::Async).await;
    let (mut client, mut listener) = (world.primary().await, world.primary().await);
    listener.send(&["PSUBSCRIBE *"]).await;
    listener.text().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    client.send(&["MULTI", "WAIT 0 0", "EXEC"]).await;
    for expected in ["+OK", "+QUEUED", "*1 :0"] {
        assert_eq!(client.text().await, expected);
    }
    assert_eq!(client.call("WAIT 0 0").await, ":0");
    assert!(listener.is_silent(100).await);
}

#[tokio::test]
async fn subscribers_who_write_do_not_stop_the_shard() {
    let world = World::new(2, Durability::Sync).await;
    let (mut subscriber, mut other) = (world.primary().await, world.primary().await);
    for _ in 0..20 {
        subscriber.send(&["SUBSCRIBE c", "SET a 1", "EVAL x 0", "UNSUBSCRIBE c"]).await;
        assert_eq!(subscriber.text().await, "*3 $9 subscribe $1 c :1");
        for _ in 0..2 {
            let refused = subscriber.text().await;
            assert!(refused.starts_with("-ERR Can't execute"), "{refused}");
        }
        assert_eq!(subscriber.text().await, "*3 $11 unsubscribe $1 c :0");
        assert_eq!(other.call("SET b 1").await, "+OK");
    }
    assert_eq!(world.beat().uncertain, 0);
}

#[tokio::test]
async fn an_aborted_transaction_is_aborted_whatever_was_in_it() {
    let world = World::new(1, Durability::Async).await;
    let (mut client, mut other) = (world.primary().await, world.primary().await);
    assert_eq!(client.call("WATCH k").await, "+OK");
    assert_eq!(other.call("SET k 1").await, "+OK");
    client.send(&["MULTI", "CLIENT SETNAME x", "INCR k", "EXEC"]).await;
    for expected in ["+OK", "+QUEUED", "+QUEUED", "*-1"] {
        assert_eq!(client.text().await, expected);
    }
    // What went wrong with one transaction is not held against the next.
    client.send(&["MULTI", "GET", "INCR k", "EXEC", "MULTI", "INCR k", "EXEC"]).await;
    for expected in ["+OK", "-ERR wrong", "+QUEUED", "-EXECABORT", "+OK", "+QUEUED", "*1 :2"] {
        let got = client.text().await;
        assert!(got.starts_with(expected), "{got} and not {expected}");
    }
}

#[tokio::test]
async fn a_shared_connection_that_is_killed_disconnects_nobody() {
    let world = World::new(1, Durability::Async).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = world.primary().await;
        assert_eq!(client.call(&format!("SET k{number} {number}")).await, "+OK");
        clients.push(client);
    }
    for _ in 0..10 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&[&format!("GET k{number}"), &format!("INCR c{number}")]).await;
        }
        world.engine("n1").admin(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        for (number, client) in clients.iter_mut().enumerate() {
            let text = number.to_string();
            assert_eq!(client.text().await, format!("${} {text}", text.len()));
            let reply = client.text().await;
            assert!(reply.starts_with(':') || reply.starts_with("-UNCERTAIN "), "{reply}");
        }
    }
}

#[tokio::test]
async fn a_reply_that_the_engine_does_not_keep_ends_only_its_clients_connection() {
    let limits = ProxyLimits { lanes: 1, ..ProxyLimits::default() };
    let world = World::with(1, Durability::Async, Binary::Redis, limits).await;
    let mut other = world.primary().await;
    let mut greedy = world.primary().await;
    assert_eq!(greedy.call(&format!("SET large {}", "v".repeat(9 << 20))).await, "+OK");
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"];
    world.engine("n1").admin(&limit).await;
    kit::moment(1100).await;
    greedy.send(&["GET large"]).await;
    // From its second attempt on it is alone.
    kit::moment(300).await;
    for number in 1..=300 {
        assert_eq!(other.call("INCR n").await, format!(":{number}"));
    }
    assert_eq!(world.beat().uncertain, 0);
}

#[tokio::test]
async fn thousands_of_idle_clients_stay_connected() {
    const CLIENTS: usize = 2000;
    let mut world = World::new(2, Durability::Async).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = world.primary().await;
        client.send(&["PING"]).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.text().await, "+PONG");
    }
    world.engine_mut("n1").kill();
    world.vacate();
    world.promote("n2", &[]).await;
    let begun = Instant::now();
    for client in &mut clients {
        client.send(&["INCR n"]).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for client in &mut clients {
        assert!(seen.insert(client.text().await));
    }
    assert_eq!(seen.len(), CLIENTS);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    world.until("the new primary serves", |beat| beat.released == Some(Epoch(2))).await;
    assert_eq!(world.beat().clients, CLIENTS as u64);
    let connected = world.engine("n2").info().await.get_u64("connected_clients").unwrap();
    assert!(connected < 20, "{connected}");
}

#[tokio::test]
async fn a_huge_transaction_passes_whole() {
    let world = World::new(1, Durability::Async).await;
    let (mut client, mut other) = (world.primary().await, world.primary().await);
    let mut raw = Command::new("MULTI").encode().to_vec();
    raw.extend(Command::new("INCR").arg("n").encode().repeat(50_000));
    raw.extend_from_slice(&Command::new("EXEC").encode());
    let mut frames = 0;
    let pieces = [&raw[..]];
    let exchange = client.exchange(&pieces, |_| {
        frames += 1;
        frames == 50_002
    });
    let (replies, pong) = tokio::join!(exchange, other.call("PING"));
    assert_eq!(pong, "+PONG");
    assert!(replies.last().unwrap().starts_with(b"*50000\r\n:1\r\n"));
    assert!(replies.last().unwrap().ends_with(b":50000\r\n"));
}

#[tokio::test]
async fn a_script_that_claims_to_be_refused_is_not_repeated_for_ever() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(1, Durability::Async, binary, ProxyLimits::default()).await;
        let (mut liar, mut other) = (world.primary().await, world.primary().await);
        let script = "redis.call('INCR','runs') return \
                      redis.error_reply(\"READONLY You can't write against a read only replica.\")";
        liar.send_raw(&Command::new("EVAL").arg(script).arg("0").encode()).await;
        assert!(liar.text().await.starts_with("-READONLY"), "its own words, in the end");
        assert_eq!(other.call("GET runs").await, "$1 3");
        assert_eq!(liar.call("PING").await, "+PONG");
    }
}
