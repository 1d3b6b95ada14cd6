//! What an acknowledged write means in a `sync` group.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::time::Instant;

use kit::{Binary, World};
use tanist_core::model::{Durability, Epoch};
use tanist_proxy::ProxyLimits;

const TWO: &str = "n2.00000000.1";

#[tokio::test]
async fn an_acknowledged_write_is_on_every_required_member() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(3, Durability::Sync, binary, ProxyLimits::default()).await;
        let mut client = world.primary().await;
        for number in 1..=50 {
            client.send(&["INCR a", "GET a", "PING"]).await;
            assert_eq!(client.text().await, format!(":{number}"));
            let offset = world.engine("n1").offset().await;
            for name in ["n2", "n3"] {
                let has = world.engine(name).info().await.get_u64("slave_repl_offset").unwrap();
                // The reply was a proof: nothing has to be waited for. (Pings of the primary's
                // own may have moved its offset since.)
                assert!(has + 100 >= offset, "{name} {has} {offset}");
            }
            client.text().await;
            client.text().await;
        }
        for name in ["n2", "n3"] {
            let mut node = world.node(name).await;
            assert_eq!(node.call("GET a").await, "$2 50");
        }
    }
}

#[tokio::test]
async fn a_reply_waits_for_a_stopped_member_until_the_set_shrinks() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let mut world = World::with(3, Durability::Sync, binary, ProxyLimits::default()).await;
        let mut client = world.primary().await;
        let mut other = world.primary().await;
        assert_eq!(client.call("SET a 1").await, "+OK");
        world.engine("n3").signal("-STOP");
        client.send(&["GET a", "SET a 2", "GET a"]).await;
        // What precedes the write is not withheld.
        assert_eq!(client.text().await, "$1 1");
        assert!(client.is_silent(400).await);
        assert_eq!(other.call("GET a").await, "$1 2");
        world.route.rev = world.route.rev.next();
        world.serve("n1", &[TWO]);
        assert_eq!(client.text().await, "+OK");
        assert_eq!(client.text().await, "$1 2");
        assert_eq!(client.call("INCR a").await, ":3");
        world.engine("n3").signal("-CONT");
    }
}

#[tokio::test]
async fn another_replica_does_not_stand_in_for_a_member() {
    let mut world = World::new(3, Durability::Sync).await;
    let mut client = world.primary().await;
    world.route.rev = world.route.rev.next();
    world.serve("n1", &[TWO]);
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").signal("-STOP");
    // WAIT 1 is satisfied by n3, which nobody asked for.
    client.send(&["SET a 2"]).await;
    assert!(client.is_silent(500).await);
    world.engine("n2").signal("-CONT");
    assert_eq!(client.text().await, "+OK");
}

#[tokio::test]
async fn a_served_pop_is_proven_as_well() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(2, Durability::Sync, binary, ProxyLimits::default()).await;
        let mut popper = world.primary().await;
        let mut pusher = world.primary().await;
        popper.send(&["BLPOP q 0"]).await;
        kit::moment(50).await;
        world.engine("n2").signal("-STOP");
        pusher.send(&["RPUSH q a"]).await;
        assert!(popper.is_silent(300).await && pusher.is_silent(50).await);
        world.engine("n2").signal("-CONT");
        assert_eq!(popper.text().await, "*2 $1 q $1 a");
        assert_eq!(pusher.text().await, ":1");
        let mut node = world.node("n2").await;
        assert_eq!(node.call("EXISTS q").await, ":0");
    }
}

#[tokio::test]
async fn a_transaction_is_one_write() {
    let world = World::new(2, Durability::Sync).await;
    let mut client = world.primary().await;
    world.engine("n2").signal("-STOP");
    client.send(&["MULTI", "SET a 1", "INCR a"]).await;
    for expected in ["+OK", "+QUEUED", "+QUEUED"] {
        assert_eq!(client.text().await, expected);
    }
    client.send(&["EXEC", "PING"]).await;
    assert!(client.is_silent(300).await);
    world.engine("n2").signal("-CONT");
    assert_eq!(client.text().await, "*2 +OK :2");
    assert_eq!(client.text().await, "+PONG");
    client.send(&["SET a 1", "MULTI", "INCR a", "EXEC", "SUBSCRIBE c"]).await;
    for expected in ["+OK", "+OK", "+QUEUED", "*1 :2", "*3 $9 subscribe $1 c :1"] {
        assert_eq!(client.text().await, expected);
    }
}

#[tokio::test]
async fn what_is_not_proven_when_the_epoch_ends_is_uncertain() {
    let mut world = World::new(2, Durability::Sync).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").signal("-STOP");
    client.send(&["SET a 2", "GET a", "LPUSH a x"]).await;
    assert!(client.is_silent(200).await);
    world.vacate();
    let unknown = "-UNCERTAIN write outcome unknown (epoch 1->2), not retried";
    assert_eq!(client.text().await, unknown);
    world.engine("n2").signal("-CONT");
    world.engine_mut("n1").kill();
    world.promote("n2", &[]).await;
    // The read is asked of the new primary; the refusal changed nothing and is just told.
    let value = client.text().await;
    assert!(value == "$1 1" || value == "$1 2", "{value}");
    assert!(client.text().await.starts_with("-WRONGTYPE"));
    assert_eq!(client.call("SET a 3").await, "+OK");
    world.until("released in the new epoch", |beat| beat.released == Some(Epoch(2))).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_primary() {
    let mut world = World::new(2, Durability::Sync).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..16 {
        let mut client = world.primary().await;
        let stopped = stopped.clone();
        clients.spawn(async move {
            let (mut counted, mut uncertain) = (0, 0);
            let line = format!("INCR k{number}");
            while !*stopped.borrow() {
                client.send(&[&line, &line, &line]).await;
                for _ in 0..3 {
                    let reply = client.text().await;
                    if reply.starts_with(':') {
                        counted += 1;
                    } else {
                        assert!(reply.starts_with("-UNCERTAIN "), "{reply}");
                        uncertain += 1;
                    }
                }
            }
            (number, counted, uncertain)
        });
    }
    kit::moment(200).await;
    world.engine_mut("n1").kill();
    world.vacate();
    world.promote("n2", &[]).await;
    world.until("the new primary serves", |beat| beat.released == Some(Epoch(2))).await;
    stop.send(true).unwrap();
    let mut client = world.primary().await;
    let mut total = 0;
    while let Some(done) = clients.join_next().await {
        let (number, counted, uncertain) = done.unwrap();
        let value = client.value(&format!("GET k{number}")).await.as_int().unwrap();
        assert!(counted <= value && value <= counted + uncertain, "{counted} {value} {uncertain}");
        total += counted;
    }
    assert!(total > 0, "{total}");
}

#[tokio::test]
async fn what_cannot_be_proven_in_ten_seconds_is_uncertain() {
    let world = World::new(2, Durability::Sync).await;
    let mut client = world.primary().await;
    world.engine("n2").signal("-STOP");
    let begun = Instant::now();
    client.send(&["SET a 1"]).await;
    assert_eq!(client.text().await, "-UNCERTAIN write outcome unknown (epoch 1->?), not retried");
    assert!((10..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    world.engine("n2").signal("-CONT");
    assert_eq!(client.call("SET a 2").await, "+OK");
    assert_eq!(client.call("GET a").await, "$1 2");
}

#[tokio::test]
async fn with_too_few_members_writes_are_refused_and_reads_are_not() {
    let mut world = World::new(2, Durability::Sync).await;
    let mut client = world.primary().await;
    let mut open = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    for line in ["MULTI", "SET a 2"] {
        open.call(line).await;
    }
    world.set_writable(false);
    world.until("it knows", |beat| beat.rev.0 == 2).await;
    let refused = "-NOREPLICAS Not enough good replicas to write.";
    assert_eq!(client.call("SET a 2").await, refused);
    assert_eq!(client.call("GET a").await, "$1 1");
    assert_eq!(client.call("MULTI").await, "+OK");
    assert_eq!(client.call("SET a 2").await, refused);
    assert!(client.call("EXEC").await.starts_with("-EXECABORT"));
    assert!(open.call("EXEC").await.starts_with("-EXECABORT Transaction discarded because of: NO"));
    world.set_writable(true);
    world.until("it knows", |beat| beat.rev.0 == 3).await;
    assert_eq!(client.call("INCR a").await, ":2");
}

#[tokio::test]
async fn draining_includes_the_proof() {
    let mut world = World::new(3, Durability::Sync).await;
    let mut client = world.primary().await;
    world.engine("n3").signal("-STOP");
    client.send(&["SET a 1"]).await;
    assert!(client.is_silent(100).await);
    world.hold(Some(1));
    world.until("it knows", |beat| beat.rev.0 == 1).await;
    assert!(client.is_silent(300).await);
    assert_eq!(world.beat().drained, None);
    world.engine("n3").signal("-CONT");
    assert_eq!(client.text().await, "+OK");
    world.until("it drains", |beat| beat.drained.is_some()).await;
}

#[tokio::test]
async fn a_transaction_that_subscribes_is_proven_and_keeps_its_connection() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(2, Durability::Sync, binary, ProxyLimits::default()).await;
        let (mut client, mut other) = (world.primary().await, world.primary().await);
        client.send(&["MULTI", "SUBSCRIBE c", "INCR n", "EXEC"]).await;
        for expected in ["+OK", "+QUEUED", "+QUEUED", "*2 *3 $9 subscribe $1 c :1 :1"] {
            assert_eq!(client.text().await, expected);
        }
        // The connection is the same: nothing that was said meanwhile is missing.
        assert_eq!(other.call("PUBLISH c hello").await, ":1");
        assert_eq!(client.text().await, "*3 $7 message $1 c $5 hello");
        assert_eq!(client.call("UNSUBSCRIBE c").await, "*3 $11 unsubscribe $1 c :0");
        assert_eq!(client.call("GET n").await, "$1 1");
        // It waits for whoever has to have it, as every write does.
        world.engine("n2").signal("-STOP");
        client.send(&["MULTI", "SUBSCRIBE c", "INCR n", "EXEC"]).await;
        for expected in ["+OK", "+QUEUED", "+QUEUED"] {
            assert_eq!(client.text().await, expected);
        }
        assert!(client.is_silent(200).await);
        world.engine("n2").signal("-CONT");
        assert_eq!(client.text().await, "*2 *3 $9 subscribe $1 c :1 :2");
        assert_eq!(world.beat().uncertain, 0);
    }
}

#[tokio::test]
async fn waiting_within_a_transaction_counts_no_copy_that_there_is_not() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(2, Durability::Async, binary, ProxyLimits::default()).await;
        let mut client = world.primary().await;
        assert_eq!(client.call("SET a 1").await, "+OK");
        world.engine("n2").signal("-STOP");
        assert_eq!(client.call("SET a 2").await, "+OK");
        client.send(&["MULTI", "WAIT 1 0", "EXEC"]).await;
        for expected in ["+OK", "+QUEUED", "*1 :0"] {
            assert_eq!(client.text().await, expected, "{binary:?}");
        }
        // What a transaction has written counts when its connection is given back, too.
        client.send(&["MULTI", "SET a 3", "EXEC"]).await;
        for expected in ["+OK", "+QUEUED", "*1 +OK"] {
            assert_eq!(client.text().await, expected);
        }
        kit::moment(1300).await;
        assert_eq!(client.call("GET a").await, "$1 3");
        kit::moment(100).await;
        assert_eq!(client.call("WAIT 1 50").await, ":0", "{binary:?}");
        world.engine("n2").signal("-CONT");
        assert_eq!(client.call("WAIT 1 5000").await, ":1", "{binary:?}");
    }
}
