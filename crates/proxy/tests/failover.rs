//! What a client sees when the primary changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::time::{Duration, Instant};

use kit::{Binary, Conn, World};
use tanist_core::model::{Durability, Epoch, Route, ShardKey};
use tanist_link::wire::ToProxy;
use tanist_proxy::ProxyLimits;
use tokio::task::JoinSet;

/// What one client's INCRs came to.
#[derive(Debug, Default)]
struct Tally {
    counted: u64,
    uncertain: u64,
}

/// Increments a key of its own in pipelines of `depth` until told to stop.
async fn increment(
    mut client: Conn,
    key: String,
    depth: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Tally {
    let mut tally = Tally::default();
    let line = format!("INCR {key}");
    let lines = vec![line.as_str(); depth];
    while !*stop.borrow() {
        client.send(&lines).await;
        for _ in 0..depth {
            let reply = client.text().await;
            if reply.starts_with(':') {
                tally.counted += 1;
            } else {
                assert!(
                    reply.starts_with("-UNCERTAIN write outcome unknown (epoch 1->"),
                    "{reply}"
                );
                tally.uncertain += 1;
            }
        }
    }
    tally
}

async fn kill_under_load(binary: Binary) {
    let mut world = World::with(2, Durability::Async, binary, ProxyLimits::default()).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for number in 0..20_usize {
        let client = world.primary().await;
        let (key, depth) = (format!("k{number}"), 1 + number % 7);
        let stopped = stopped.clone();
        clients.spawn(async move { (key.clone(), increment(client, key, depth, stopped).await) });
    }
    kit::moment(200).await;
    // The replica has everything that the primary has ever answered: it is asked to stop at once
    // with the primary's death, and what was in flight is what is uncertain.
    world.engine_mut("n1").kill();
    world.vacate();
    kit::moment(150).await;
    world.promote("n2", &[]).await;
    world.until("the new primary serves", |beat| beat.released == Some(Epoch(2))).await;
    kit::moment(200).await;
    assert_eq!(world.beat().clients, 20);
    stop.send(true).unwrap();
    let mut uncertain = 0;
    let mut total = 0;
    let mut client = world.primary().await;
    while let Some(done) = clients.join_next().await {
        let (key, tally) = done.unwrap();
        let value = client.value(&format!("GET {key}")).await.as_int().unwrap();
        let value = u64::try_from(value).unwrap();
        // In an `async` group an answered write may be lost, but none may be counted twice.
        assert!(value <= tally.counted + tally.uncertain, "{key}: {value} {tally:?}");
        assert!(value > 0, "{key}");
        uncertain += tally.uncertain;
        total += tally.counted;
    }
    assert!(total > 0, "{total}");
    world.until("every -UNCERTAIN is counted", |beat| beat.uncertain == uncertain).await;
}

#[tokio::test]
async fn a_killed_primary_breaks_no_connection_and_executes_nothing_twice() {
    kill_under_load(Binary::Redis).await;
}

#[tokio::test]
async fn valkey_is_no_different() {
    kill_under_load(Binary::Valkey).await;
}

#[tokio::test]
async fn while_nobody_is_primary_requests_wait_and_then_run_in_order() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SELECT 3").await, "+OK");
    assert_eq!(client.call("CLIENT SETNAME app").await, "+OK");
    world.vacate();
    world.until("it holds", |beat| beat.rev.0 == 2).await;
    client.send(&["SET a 1", "APPEND a 2", "GET a", "CLIENT GETNAME"]).await;
    client.send(&["APPEND a 3", "GET a"]).await;
    world.until("something is held", |beat| beat.held > 0).await;
    assert!(client.is_silent(100).await);
    world.promote("n2", &[]).await;
    for expected in ["+OK", ":2", "$2 12", "$3 app", ":3", "$3 123"] {
        assert_eq!(client.text().await, expected);
    }
    let keyspace = world.engine("n2").info().await;
    assert!(keyspace.get("db3").is_some() && keyspace.get("db0").is_none());
}

#[tokio::test]
async fn a_planned_switchover_shows_no_client_an_error() {
    for binary in [Binary::Redis, Binary::Valkey] {
        planned(binary).await;
    }
}

async fn planned(binary: Binary) {
    let mut world = World::with(2, Durability::Async, binary, ProxyLimits::default()).await;
    let mut popper = world.primary().await;
    let mut streamer = world.primary().await;
    let mut subscriber = world.primary().await;
    let mut open = world.primary().await;
    let mut monitor = world.primary().await;
    popper.send(&["BLPOP jobs 30"]).await;
    streamer.send(&["XREAD BLOCK 30000 STREAMS s $"]).await;
    subscriber.send(&["SUBSCRIBE news"]).await;
    assert_eq!(subscriber.text().await, "*3 $9 subscribe $4 news :1");
    assert_eq!(monitor.call("MONITOR").await, "+OK");
    for line in ["MULTI", "SET m 1"] {
        open.call(line).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for number in 0..12_usize {
        let mut client = world.primary().await;
        let stopped = stopped.clone();
        clients.spawn(async move {
            let mut rounds = 0_i64;
            while !*stopped.borrow() {
                let key = format!("k{number}");
                let incr = format!("INCR {key}");
                let get = format!("GET {key}");
                client.send(&["MULTI", &incr, "EXEC", &get]).await;
                assert_eq!(client.text().await, "+OK");
                assert_eq!(client.text().await, "+QUEUED");
                rounds += 1;
                assert_eq!(client.text().await, format!("*1 :{rounds}"));
                let text = rounds.to_string();
                assert_eq!(client.text().await, format!("${} {text}", text.len()));
            }
            rounds
        });
    }
    kit::moment(100).await;
    world.switch_over("n1", "n2").await;
    world.until("the new primary serves", |beat| beat.released == Some(Epoch(2))).await;
    kit::moment(100).await;
    stop.send(true).unwrap();
    while let Some(rounds) = clients.join_next().await {
        assert!(rounds.unwrap() > 0);
    }
    assert_eq!(open.call("EXEC").await, "*1 +OK");
    assert_eq!(open.call("LPUSH jobs job").await, ":1");
    assert_eq!(popper.text().await, "*2 $4 jobs $3 job");
    open.call("XADD s * a 1").await;
    assert!(streamer.text().await.starts_with("*1 *2 $1 s "));
    while open.call("PUBLISH news hello").await != ":1" {
        kit::moment(5).await;
    }
    assert_eq!(subscriber.text().await, "*3 $7 message $4 news $5 hello");
    loop {
        if monitor.text().await.contains("\"PUBLISH\" \"news\"") {
            break;
        }
    }
    assert_eq!(world.beat().uncertain, 0);
}

#[tokio::test]
async fn a_hold_that_is_taken_back_releases_everything() {
    let mut world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.hold(Some(7));
    world.until("it drains", |beat| beat.drained.is_some_and(|request| request.0 == 7)).await;
    client.send(&["INCR a", "GET a"]).await;
    assert!(client.is_silent(100).await);
    world.hold(None);
    assert_eq!(client.text().await, ":2");
    assert_eq!(client.text().await, "$1 2");
    world.until("nothing is drained", |beat| beat.drained.is_none() && beat.held == 0).await;
}

#[tokio::test]
async fn parked_requests_do_not_keep_a_shard_from_draining() {
    let mut world = World::new(1, Durability::Async).await;
    let mut parked = world.primary().await;
    let mut slow = world.primary().await;
    parked.send(&["BLPOP q 0", "SET after 1"]).await;
    slow.send_raw(
        b"EVAL \"local t=redis.call('TIME'); repeat local n=redis.call('TIME') \
          until n[1]*1000000+n[2]-t[1]*1000000-t[2]>300000 return 1\" 0\r\n",
    )
    .await;
    kit::moment(50).await;
    let begun = Instant::now();
    world.hold(Some(1));
    world.until("it drains", |beat| beat.drained.is_some()).await;
    assert!(begun.elapsed() > Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!(slow.text().await, ":1");
}

#[tokio::test]
async fn what_is_held_for_ten_seconds_is_answered_not_executed() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    let mut early = world.primary().await;
    assert_eq!(early.call("MULTI").await, "+OK");
    assert_eq!(early.call("SET t 1").await, "+QUEUED");
    world.vacate();
    world.until("it holds", |beat| beat.rev.0 == 2).await;
    let begun = Instant::now();
    client.send(&["SET a 1", "MULTI", "SET b 1", "EXEC", "GET a"]).await;
    early.send(&["EXEC"]).await;
    for _ in 0..5 {
        let reply = client.text().await;
        assert_eq!(reply, "-TRYAGAIN primary unavailable, request not executed");
    }
    assert!((10..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(early.text().await.starts_with("-TRYAGAIN"));
    world.promote("n2", &[]).await;
    assert_eq!(client.call("EXISTS a b").await, ":0");
    assert_eq!(early.call("EXISTS t").await, ":0");
    assert_eq!(early.call("SET t 2").await, "+OK");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_unsent_requests_along() {
    let mut world = World::new(2, Durability::Async).await;
    let mut staying = world.primary().await;
    let mut leaving = world.primary().await;
    assert_eq!(leaving.call("PING").await, "+PONG");
    world.vacate();
    world.until("it holds", |beat| beat.rev.0 == 2).await;
    leaving.send(&["SET zombie 1"]).await;
    staying.send(&["SET alive 1"]).await;
    world.until("both are held", |beat| beat.held == 2).await;
    drop(leaving);
    world.until("one has left", |beat| beat.clients == 1 && beat.held == 1).await;
    world.promote("n2", &[]).await;
    assert_eq!(staying.text().await, "+OK");
    assert_eq!(staying.call("EXISTS zombie alive").await, ":1");
}

#[tokio::test]
async fn a_request_in_flight_when_the_primary_dies_meets_its_fate() {
    let mut world = World::new(2, Durability::Async).await;
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    let mut write = world.primary().await;
    let mut read = world.primary().await;
    let mut mixed = world.primary().await;
    let mut multi = world.primary().await;
    for client in [&mut write, &mut read, &mut mixed, &mut multi] {
        assert_eq!(client.call("PING").await, "+PONG");
    }
    // From now on it has a connection of its own.
    for (line, expected) in [("MULTI", "+OK"), ("EXEC", "*0")] {
        assert_eq!(multi.call(line).await, expected);
    }
    world.engine("n1").signal("-STOP");
    write.send(&["SET w 1"]).await;
    read.send(&["GET w"]).await;
    mixed.send(&["GET w", "SET w 2", "PING"]).await;
    multi.send(&["MULTI", "SET w 3", "EXEC", "PING"]).await;
    kit::moment(100).await;
    world.vacate();
    let unknown = "-UNCERTAIN write outcome unknown (epoch 1->2), not retried";
    assert_eq!(write.text().await, unknown);
    world.engine_mut("n1").kill();
    world.promote("n2", &[]).await;
    assert_eq!(read.text().await, "$-1");
    for expected in ["$-1", unknown, "+PONG"] {
        assert_eq!(mixed.text().await, expected);
    }
    for expected in ["+OK", "+QUEUED", unknown, "+PONG"] {
        assert_eq!(multi.text().await, expected);
    }
    assert_eq!(read.call("EXISTS w").await, ":0");
    world.until("they are counted", |beat| beat.uncertain == 3).await;
}

#[tokio::test]
async fn an_engine_that_dies_unannounced_is_tried_again() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    let mut parked = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    parked.send(&["BLPOP q 0"]).await;
    world.until("it is connected", |beat| beat.clients == 2).await;
    kit::moment(50).await;
    world.engine_mut("n1").kill();
    assert_eq!(parked.text().await, "-UNCERTAIN write outcome unknown (epoch 1->?), not retried");
    client.send(&["GET a"]).await;
    assert!(client.is_silent(100).await);
    world.vacate();
    world.promote("n2", &[]).await;
    assert_eq!(client.text().await, "$1 1");
}

#[tokio::test]
async fn a_connection_that_the_engine_killed_is_opened_again() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    client.call("HELLO 3").await;
    client.call("CLIENT TRACKING ON").await;
    client.call("SELECT 5").await;
    client.call("SUBSCRIBE c").await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n1").admin(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(client.text().await, ">2 $10 invalidate _");
    assert_eq!(client.call("GET a").await, "$1 1");
    world.engine("n1").admin(&["PUBLISH", "c", "x"]).await;
    assert_eq!(client.text().await, ">3 $7 message $1 c $1 x");
}

#[tokio::test]
async fn a_demoted_primary_is_invisible() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    let mut multi = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    assert_eq!(multi.call("MULTI").await, "+OK");
    assert_eq!(multi.call("INCR a").await, "+QUEUED");
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    // The fence comes before the route.
    world.engine("n1").admin(&["REPLICAOF", "127.0.0.1", "1"]).await;
    client.send(&["INCR a", "GET a"]).await;
    multi.send(&["EXEC", "GET a"]).await;
    assert!(client.is_silent(100).await);
    world.vacate();
    world.promote("n2", &[]).await;
    let mut values = vec![client.text().await, multi.text().await];
    values.sort();
    assert!(values == ["*1 :2", ":3"] || values == ["*1 :3", ":2"], "{values:?}");
    assert_eq!(world.beat().uncertain, 0);
}

#[tokio::test]
async fn a_watched_key_counts_as_changed_when_the_primary_has() {
    let mut world = World::new(2, Durability::Async).await;
    let mut two = world.primary().await;
    let mut three = world.primary().await;
    three.call("HELLO 3").await;
    let mut free = world.primary().await;
    for client in [&mut two, &mut three, &mut free] {
        assert_eq!(client.call("WATCH k").await, "+OK");
    }
    assert_eq!(two.call("MULTI").await, "+OK");
    assert_eq!(two.call("SET k 1").await, "+QUEUED");
    world.switch_over("n1", "n2").await;
    assert_eq!(two.call("SET k 2").await, "+QUEUED");
    assert_eq!(two.call("EXEC").await, "*-1");
    three.send(&["MULTI", "SET k 3", "EXEC"]).await;
    assert_eq!(
        [three.text().await, three.text().await, three.text().await],
        ["+OK", "+QUEUED", "_"]
    );
    assert_eq!(free.call("UNWATCH").await, "+OK");
    free.send(&["MULTI", "SET k 4", "EXEC"]).await;
    assert_eq!(
        [free.text().await, free.text().await, free.text().await],
        ["+OK", "+QUEUED", "*1 +OK"]
    );
    // Once told, a client may go on.
    two.send(&["WATCH k", "MULTI", "INCR k", "EXEC"]).await;
    for expected in ["+OK", "+OK", "+QUEUED", "*1 :5"] {
        assert_eq!(two.text().await, expected);
    }
}

#[tokio::test]
async fn a_transaction_too_large_to_keep_is_aborted() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("MULTI").await, "+OK");
    let value = "v".repeat(70 << 10);
    assert_eq!(client.call(&format!("SET a {value}")).await, "+QUEUED");
    world.switch_over("n1", "n2").await;
    assert_eq!(client.call("SET b 1").await, "+QUEUED");
    assert_eq!(
        client.call("EXEC").await,
        "-EXECABORT Transaction discarded because the primary changed"
    );
    assert_eq!(client.call("EXISTS a b").await, ":0");
}

#[tokio::test]
async fn a_waiting_client_waits_no_longer_than_it_asked_for() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    let begun = Instant::now();
    client.send(&["BLPOP q 3"]).await;
    kit::moment(2000).await;
    world.switch_over("n1", "n2").await;
    assert_eq!(client.text().await, "*-1");
    let took = begun.elapsed().as_millis();
    assert!((2900..4900).contains(&took), "{took}");
}

#[tokio::test]
async fn readers_move_on_when_their_replica_dies() {
    let mut world = World::new(3, Durability::Async).await;
    let mut writer = world.primary().await;
    assert_eq!(writer.call("SET a 1").await, "+OK");
    let offset = world.engine("n1").offset().await;
    for name in ["n2", "n3"] {
        world.engine(name).until_offset(offset).await;
    }
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = world.reader().await;
        assert_eq!(reader.call("GET a").await, "$1 1");
        readers.push(reader);
    }
    let load = |name: &'static str| {
        let engine = world.engine(name);
        async { engine.info().await.get_u64("connected_clients").unwrap() }
    };
    assert_eq!(load("n2").await, load("n3").await);
    let mut reader = readers.pop().unwrap();
    assert_eq!(
        reader.call("SET a 2").await,
        "-READONLY You can't write against a read only replica."
    );
    reader.send_raw(b"EVAL \"return redis.call('SET',KEYS[1],'v')\" 1 k\r\n").await;
    assert!(reader.text().await.starts_with("-READONLY "));
    let mut subscriber = world.primary().await;
    subscriber.call("SUBSCRIBE c").await;
    assert_eq!(reader.call("PUBLISH c hello").await, ":1");
    assert_eq!(subscriber.text().await, "*3 $7 message $1 c $5 hello");
    world.engine("n2").signal("-STOP");
    for reader in &mut readers {
        reader.send(&["GET a", "GET a"]).await;
    }
    world.engine_mut("n2").kill();
    for reader in &mut readers {
        assert_eq!(reader.text().await, "$1 1");
        assert_eq!(reader.text().await, "$1 1");
    }
    // Without any replica the primary serves reads.
    world.engine_mut("n3").kill();
    for reader in &mut readers {
        assert_eq!(reader.call("GET a").await, "$1 1");
    }
}

#[tokio::test]
async fn a_proxy_needs_no_controller_to_go_on() {
    let mut world = World::new(2, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.stop_controller().await;
    assert_eq!(client.call("INCR a").await, ":2");
    let mut another = world.primary().await;
    assert_eq!(another.call("INCR a").await, ":3");
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    world.start_controller().await;
    world.switch_over("n1", "n2").await;
    assert_eq!(client.call("INCR a").await, ":4");
}

#[tokio::test]
async fn an_address_in_use_is_reported_and_taken_when_it_is_free() {
    let mut world = World::new(1, Durability::Async).await;
    let port = kit::free_port(world.route.endpoints.reader);
    let taken = std::net::TcpListener::bind((world.route.endpoints.reader, port)).unwrap();
    world.route.endpoints.port = port;
    world.route.rev = world.route.rev.next();
    world.publish();
    let mut client = world.primary().await;
    assert_eq!(client.call("PING").await, "+PONG");
    let address = taken.local_addr().unwrap().to_string();
    world.until("it works by the route", |beat| beat.rev.0 == 2).await;
    assert_eq!(world.failures(), [address]);
    drop(taken);
    let mut reader = world.reader().await;
    assert_eq!(reader.call("PING").await, "+PONG");
}

#[tokio::test]
async fn a_shard_that_is_gone_closes_its_endpoints() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("PING").await, "+PONG");
    world.order(ToProxy::Gone(world.key()));
    assert_eq!(client.rest().await, b"");
    while tokio::net::TcpStream::connect(world.primary_address()).await.is_ok() {
        kit::moment(5).await;
    }
}

#[tokio::test]
async fn a_shard_that_the_controller_does_not_name_closes_its_endpoints() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("PING").await, "+PONG");
    let other = ShardKey { group: "other".into(), shard: "0001".into() };
    world.order(ToProxy::Known(vec![other.clone(), world.key()]));
    assert_eq!(client.call("PING").await, "+PONG");
    // One that exists, but has no route yet, is not opened.
    world.order(ToProxy::Known(vec![other]));
    assert_eq!(client.rest().await, b"");
    while tokio::net::TcpStream::connect(world.primary_address()).await.is_ok() {
        kit::moment(5).await;
    }
}

#[tokio::test]
async fn a_new_shard_takes_over_the_addresses_of_one_whose_end_was_missed() {
    for group in ["a-new-one", "x-new-one"] {
        let world = World::new(1, Durability::Async).await;
        let mut client = world.primary().await;
        assert_eq!(client.call("PING").await, "+PONG");
        let route = Route { group: group.into(), ..world.route.clone() };
        let key = ShardKey { group: route.group.clone(), shard: route.shard.clone() };
        world.order(ToProxy::Route(Box::new(route)));
        world.order(ToProxy::Known(vec![key.clone()]));
        assert_eq!(client.rest().await, b"");
        world.until("it works by the new route", |beat| beat.key == key).await;
        let _client = world.primary().await;
        world.until("the new shard has the client", |beat| beat.clients == 1).await;
        assert_eq!(world.failures(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn clients_that_ask_for_notices_hear_of_a_failover() {
    let mut world = World::new(2, Durability::Async).await;
    let (mut asks, mut silent) = (world.primary().await, world.primary().await);
    assert_eq!(asks.call("CLIENT MAINT_NOTIFICATIONS ON").await.chars().next(), Some('-'), "RESP2");
    for client in [&mut asks, &mut silent] {
        client.call("HELLO 3").await;
    }
    let on = "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip";
    assert_eq!(asks.call(on).await, "+OK");
    world.hold(Some(1));
    assert_eq!(asks.text().await, ">4 $9 MIGRATING :1 :10 $4 0001", "somebody has asked for it");
    asks.send(&["GET a"]).await;
    world.hold(None);
    assert_eq!(asks.text().await, ">3 $8 MIGRATED :2 $4 0001");
    assert_eq!(asks.text().await, "_");
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    world.vacate();
    assert_eq!(asks.text().await, ">4 $12 FAILING_OVER :3 :10 $4 0001");
    world.promote("n2", &[]).await;
    assert_eq!(asks.text().await, ">3 $11 FAILED_OVER :4 $4 0001");
    assert_eq!(asks.call("CLIENT MAINT_NOTIFICATIONS OFF").await, "+OK");
    assert_eq!(silent.call("GET a").await, "_", "nobody else hears anything");
    world.hold(Some(2));
    world.obeyed().await;
    world.hold(None);
    assert_eq!(asks.call("GET a").await, "_");
}
