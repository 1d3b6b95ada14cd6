//! Who is connected, and who is to leave: `CLIENT` at an endpoint beside `CLIENT` at an engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use kit::{Binary, Conn, Engine, World};
use tanist_core::model::Durability;
use tanist_proxy::ProxyLimits;

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let value = |field: &'a str| field.strip_prefix(name)?.strip_prefix('=');
    line.split([' ', '\n']).find_map(value).unwrap_or_else(|| panic!("{name} in {line}"))
}

fn names(line: &str) -> Vec<String> {
    let fields = line.trim().split(' ').filter_map(|field| field.split_once('='));
    fields.map(|(name, _)| name.to_owned()).collect()
}

async fn world(binary: Binary) -> World {
    World::with(1, Durability::Async, binary, ProxyLimits::default()).await
}

#[tokio::test]
async fn a_list_shows_the_endpoints_clients_as_the_engine_would() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let (mut one, mut two) = (world.primary().await, world.primary().await);
        one.call("CLIENT SETNAME first").await;
        one.call("SELECT 3").await;
        two.call("HELLO 3").await;
        two.call("SUBSCRIBE news").await;
        let listed = one.value("CLIENT LIST").await;
        let lines: Vec<&str> = listed.as_str().unwrap().lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let id = one.call("CLIENT ID").await;
        assert_eq!(format!(":{}", field(lines[0], "id")), id);
        assert_eq!(field(lines[0], "name"), "first");
        assert_eq!(field(lines[0], "db"), "3");
        assert_eq!(field(lines[0], "cmd"), "client|list");
        assert_eq!((field(lines[1], "flags"), field(lines[1], "sub")), ("P", "1"));
        assert_eq!(field(lines[1], "resp"), "3");
        let info = one.value("CLIENT INFO").await;
        assert_eq!(field(info.as_str().unwrap(), "id"), field(lines[0], "id"));
        let by_id = one.value(&format!("CLIENT LIST ID {}", field(lines[1], "id"))).await;
        assert_eq!(by_id.as_str().unwrap().lines().count(), 1);
        let subscribed = one.value("CLIENT LIST TYPE pubsub").await;
        assert_eq!(field(subscribed.as_str().unwrap(), "id"), field(lines[1], "id"));
        // Whoever reads the engine's lines finds the same fields here, in the same order.
        let theirs = world.engine("n1").admin(&["CLIENT", "INFO"]).await;
        let ours = names(lines[0]);
        let mut rest = ours.iter();
        for name in names(theirs.as_str().unwrap()) {
            let known = ["tot-net-in", "tot-net-out", "tot-cmds", "io-thread", "capa"];
            let found = rest.any(|our| *our == name);
            assert!(found || known.contains(&name.as_str()), "{name} of {binary:?}: {ours:?}");
        }
    }
}

#[tokio::test]
async fn a_killed_client_leaves_and_the_proxys_own_connections_stay() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let (mut one, mut two) = (world.primary().await, world.primary().await);
        let mut three = world.primary().await;
        let id = two.call("CLIENT ID").await;
        let id = id.trim_start_matches(':').to_owned();
        three.call("SUBSCRIBE news").await;
        assert_eq!(one.call("SET a 1").await, "+OK");
        assert_eq!(one.call(&format!("CLIENT KILL ID {id}")).await, ":1");
        assert_eq!(two.next().await, None);
        assert_eq!(one.call(&format!("CLIENT KILL ID {id}")).await, ":0");
        assert_eq!(one.call("CLIENT KILL TYPE pubsub").await, ":1");
        assert_eq!(three.next().await, None);
        assert_eq!(one.call("CLIENT KILL TYPE master").await, ":0");
        assert_eq!(one.call("CLIENT KILL 127.0.0.1:1").await, "-ERR No such client");
        let mut four = world.primary().await;
        four.call("PING").await;
        assert_eq!(one.call("CLIENT KILL TYPE normal").await, ":1", "not oneself");
        assert_eq!(four.next().await, None);
        assert_eq!(one.call("GET a").await, "$1 1");
        assert_eq!(one.call("CLIENT KILL TYPE normal SKIPME no").await, ":1");
        assert_eq!(one.next().await, None, "the answer first, then the end");
    }
}

#[tokio::test]
async fn a_client_that_waits_is_unblocked_by_its_number() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let (mut one, mut two) = (world.primary().await, world.primary().await);
        let id = two.call("CLIENT ID").await.trim_start_matches(':').to_owned();
        assert_eq!(one.call(&format!("CLIENT UNBLOCK {id}")).await, ":0", "it waits for nothing");
        for (reason, answer) in
            [("TIMEOUT", "*-1"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")]
        {
            two.send(&["BLPOP q 0"]).await;
            let asked = format!("CLIENT UNBLOCK {id} {reason}");
            while one.call(&asked).await != ":1" {}
            assert_eq!(two.text().await, answer);
        }
        assert_eq!(two.call("PING").await, "+PONG");
        let wrong = "-ERR value is not an integer or out of range";
        assert_eq!(one.call("CLIENT UNBLOCK x").await, wrong);
    }
}

#[tokio::test]
async fn in_a_transaction_nobody_reaches_the_proxys_connections() {
    let world = world(Binary::Redis).await;
    let mut one = world.primary().await;
    let id = one.call("CLIENT ID").await;
    one.send(&["MULTI", "CLIENT ID", "CLIENT GETREDIR", "EXEC"]).await;
    assert_eq!(one.text().await, "+OK");
    assert_eq!(one.text().await, "+QUEUED");
    assert_eq!(one.text().await, "+QUEUED");
    assert_eq!(one.text().await, format!("*2 {id} :-1"));
    let mut two = world.primary().await;
    let other = two.call("CLIENT ID").await.trim_start_matches(':').to_owned();
    one.call("MULTI").await;
    assert_eq!(one.call(&format!("CLIENT KILL ID {other}")).await, "+QUEUED");
    assert_eq!(two.call("PING").await, "+PONG", "not yet");
    assert_eq!(one.call("EXEC").await, "*1 :1");
    assert_eq!(two.next().await, None);
    one.send(&["MULTI", "CLIENT KILL ID 3", "SET a 1", "EXEC"]).await;
    assert_eq!(one.text().await, "+OK");
    assert_eq!(one.text().await, "+QUEUED");
    assert_eq!(one.text().await, "+QUEUED");
    assert_eq!(one.text().await, "*2 :0 +OK", "the engine's third connection is the proxy's");
}

#[tokio::test]
async fn what_a_cache_has_to_forget_goes_to_the_client_that_was_named() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let (mut data, mut heard) = (world.primary().await, world.primary().await);
        let id = heard.call("CLIENT ID").await.trim_start_matches(':').to_owned();
        heard.call("SUBSCRIBE __redis__:invalidate").await;
        let missing = "-ERR The client ID you want redirect to does not exist";
        assert_eq!(data.call("CLIENT TRACKING ON REDIRECT 999999").await, missing);
        assert_eq!(data.call(&format!("CLIENT TRACKING ON REDIRECT {id}")).await, "+OK");
        assert_eq!(data.call("CLIENT GETREDIR").await, format!(":{id}"));
        data.call("GET k").await;
        let mut other = world.primary().await;
        assert_eq!(other.call("SET k 1").await, "+OK");
        assert_eq!(heard.text().await, "*3 $7 message $20 __redis__:invalidate *1 $1 k");
    }
}

/// What comes for these lines within a moment, one by one.
async fn said(conn: &mut Conn, lines: &[&str]) -> Vec<String> {
    conn.send(lines).await;
    let mut said = Vec::new();
    while let Ok(Some(frame)) =
        tokio::time::timeout(std::time::Duration::from_millis(120), conn.next()).await
    {
        said.push(String::from_utf8_lossy(&frame).into_owned());
    }
    said
}

#[tokio::test]
async fn who_wants_no_replies_hears_what_the_engine_would_say() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let bare = Engine::start(binary, "bare").await;
        bare.admin(&["ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all"]).await;
        let programs: &[&[&[&str]]] = &[
            // A subscriber of RESP2 may not say so, whatever it said before.
            &[&["SUBSCRIBE c"], &["CLIENT REPLY OFF"], &["PING"], &["CLIENT REPLY SKIP", "PING"]],
            &[&["SUBSCRIBE c", "CLIENT REPLY OFF", "PING", "UNSUBSCRIBE c", "PING x"]],
            &[
                &["CLIENT REPLY OFF", "SUBSCRIBE c d", "CLIENT REPLY ON", "PING"],
                &["SUBSCRIBE", "UNSUBSCRIBE c d", "CLIENT REPLY ON", "PING"],
            ],
            &[&["CLIENT REPLY SKIP", "SUBSCRIBE c", "PING", "CLIENT REPLY OFF"]],
            &[&["SUBSCRIBE c", "RESET", "CLIENT REPLY OFF", "PING", "CLIENT REPLY ON"]],
            &[&["CLIENT REPLY OFF", "MULTI", "SUBSCRIBE c d", "GET a", "EXEC", "PING"]],
            &[&["CLIENT REPLY OFF", "MULTI", "GET a", "EXEC", "CLIENT REPLY ON"]],
            &[&["CLIENT REPLY OFF", "RESET", "PING"], &["CLIENT REPLY SKIP", "RESET", "PING"]],
            &[&["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING", "PING x"]],
            &[&["CLIENT REPLY SKIP", "CLIENT REPLY nope", "PING", "CLIENT REPLY nope"]],
            &[&["CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING"], &["CLIENT REPLY OFF", "QUIT"]],
        ];
        for program in programs {
            let (mut here, mut there) = (world.primary().await, Conn::open(bare.address).await);
            for lines in *program {
                let (here, there) = tokio::join!(said(&mut here, lines), said(&mut there, lines));
                assert_eq!(here, there, "{binary:?}: {lines:?}");
            }
        }
        // Nor what is wrong with its last request. (The engine leaves such a connection open.)
        for (before, said) in [
            ("CLIENT REPLY OFF", ""),
            ("PING", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
        ] {
            let mut conn = world.primary().await;
            conn.send(&[before]).await;
            conn.send_raw(b"*x\r\n").await;
            assert_eq!(conn.rest().await, said.as_bytes());
        }
    }
}

#[tokio::test]
async fn where_a_cache_is_redirected_to_is_told_by_the_endpoints_number() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = world(binary).await;
        let (mut data, mut heard) = (world.primary().await, world.primary().await);
        for _ in 0..5 {
            world.primary().await.call("PING").await;
        }
        let id = heard.call("CLIENT ID").await.trim_start_matches(':').to_owned();
        heard.call("SUBSCRIBE __redis__:invalidate").await;
        let told = |id: &str| format!("redirect :{id} ");
        assert!(data.call("CLIENT TRACKINGINFO").await.contains(&told("-1")));
        // To oneself, on a connection that is made for it.
        let mut alone = world.primary().await;
        let own = alone.call("CLIENT ID").await.trim_start_matches(':').to_owned();
        assert_eq!(alone.call(&format!("CLIENT TRACKING ON REDIRECT {own}")).await, "+OK");
        assert_eq!(data.call(&format!("CLIENT TRACKING ON REDIRECT {id}")).await, "+OK");
        let info = data.call("CLIENT TRACKINGINFO").await;
        assert!(info.contains(&told(&id)), "{info} and not {id}");
        data.send(&["MULTI", "CLIENT TRACKINGINFO", "EXEC"]).await;
        assert_eq!(data.text().await, "+OK");
        assert_eq!(data.text().await, "+QUEUED");
        assert!(data.text().await.contains(&told(&id)));
        assert_eq!(data.call("CLIENT TRACKING OFF").await, "+OK");
        assert_eq!(data.call("CLIENT TRACKING ON").await, "+OK");
        assert!(data.call("CLIENT TRACKINGINFO").await.contains(&told("0")));
    }
}
