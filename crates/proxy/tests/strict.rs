//! Strict reads: what is read is acknowledged, and never older than what was acknowledged before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use kit::{Binary, World};
use tanist_core::model::{Durability, Reads};
use tanist_proxy::ProxyLimits;

const TWO: &str = "n2.00000000.1";

/// A group of so many nodes whose reads are strict.
async fn strict(nodes: usize, binary: Binary, limits: ProxyLimits) -> World {
    let mut world = World::with(nodes, Durability::Sync, binary, limits).await;
    world.route.reads = Reads { strict: true, ..Reads::default() };
    world.publish();
    world.obeyed().await;
    world
}

#[tokio::test]
async fn nobody_is_shown_a_write_that_not_everybody_has() {
    for binary in [Binary::Redis, Binary::Valkey] {
        for lanes in [2, 0] {
            let limits = ProxyLimits { lanes, ..ProxyLimits::default() };
            let world = strict(2, binary, limits).await;
            let (mut one, mut two) = (world.primary().await, world.primary().await);
            assert_eq!(one.call("SET a 1").await, "+OK");
            assert_eq!(two.call("GET a").await, "$1 1");
            world.engine("n2").signal("-STOP");
            one.send(&["SET a 2"]).await;
            two.send(&["GET a"]).await;
            assert!(one.is_silent(200).await);
            assert!(two.is_silent(200).await, "it would show what is not acknowledged");
            world.engine("n2").signal("-CONT");
            assert_eq!(one.text().await, "+OK");
            assert_eq!(two.text().await, "$1 2");
        }
    }
}

#[tokio::test]
async fn a_primary_that_nobody_follows_any_more_answers_no_read() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = strict(2, binary, ProxyLimits::default()).await;
        let mut client = world.primary().await;
        assert_eq!(client.call("SET a 1").await, "+OK");
        // It has everything and has said so; from now on it hears nothing.
        world.engine("n2").signal("-STOP");
        client.send(&["GET a"]).await;
        assert!(client.is_silent(300).await, "another may be primary by now");
        client.send(&["SET a 2 NX"]).await;
        assert!(client.is_silent(100).await, "this reads as well");
        world.engine("n2").signal("-CONT");
        assert_eq!(client.text().await, "$1 1");
        assert_eq!(client.text().await, "$-1");
    }
}

#[tokio::test]
async fn transactions_and_waiting_reads_are_strict_as_well() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = strict(2, binary, ProxyLimits::default()).await;
        let (mut one, mut two) = (world.primary().await, world.primary().await);
        assert_eq!(one.call("SET a 1").await, "+OK");
        two.send(&["XREAD BLOCK 0 STREAMS s $"]).await;
        assert!(two.is_silent(50).await);
        world.engine("n2").signal("-STOP");
        one.send(&["MULTI", "GET a", "EXEC"]).await;
        assert_eq!(one.text().await, "+OK");
        assert_eq!(one.text().await, "+QUEUED");
        assert!(one.is_silent(200).await);
        let mut three = world.primary().await;
        three.send(&["XADD s 1-1 f v"]).await;
        assert!(two.is_silent(200).await, "the entry is not acknowledged");
        world.engine("n2").signal("-CONT");
        assert_eq!(one.text().await, "*1 $1 1");
        assert_eq!(three.text().await, "$3 1-1");
        assert!(two.text().await.contains("1-1"));
    }
}

#[tokio::test]
async fn a_read_that_cannot_be_proven_is_refused_and_not_answered() {
    let world = strict(2, Binary::Redis, ProxyLimits::default()).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").signal("-STOP");
    assert!(client.call("GET a").await.starts_with("-TRYAGAIN "));
    world.engine("n2").signal("-CONT");
    assert_eq!(client.call("GET a").await, "$1 1");
}

#[tokio::test]
async fn strictness_is_for_the_asking_and_ends_at_once() {
    let mut world = strict(2, Binary::Redis, ProxyLimits::default()).await;
    let mut client = world.primary().await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    world.engine("n2").signal("-STOP");
    world.route.reads = Reads::default();
    world.publish();
    world.obeyed().await;
    assert_eq!(client.call("GET a").await, "$1 1");
    world.engine("n2").signal("-CONT");
    world.serve("n1", &[TWO]);
}
