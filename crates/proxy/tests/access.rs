//! Who may connect, and what becomes of those who may no longer.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod kit;

use kit::{Conn, World, outer_address};
use tanist_core::model::{Access, Durability};

impl World {
    /// Sets the rule; it holds when this returns.
    async fn admit(&mut self, sources: &[String], loopback: bool) {
        self.route.access = only(sources, loopback);
        self.route.rev = self.route.rev.next();
        self.publish();
        self.obeyed().await;
    }
}

fn only(sources: &[String], loopback: bool) -> Access {
    let sources = sources.iter().map(|source| source.parse().unwrap()).collect();
    Access::Only { sources, loopback }
}

#[tokio::test]
async fn a_revoked_rule_ends_connections_and_turns_new_ones_away() {
    let mut world = World::new(1, Durability::Async).await;
    world.admit(&[], true).await;
    let mut open = world.primary().await;
    assert_eq!(open.call("SET a 1").await, "+OK");
    let mut node = world.node("n1").await;
    assert_eq!(node.call("GET a").await, "$1 1");
    world.admit(&["10.0.0.0/16".to_owned()], false).await;
    assert_eq!((open.rest().await, node.rest().await), (Vec::new(), Vec::new()));
    let mut refused = world.primary().await;
    assert_eq!(refused.rest().await, b"", "closed without a word");
    let beat = world.until("it is counted", |beat| beat.turned_away >= 1).await;
    assert!(beat.last_turned_away.unwrap().is_loopback());
    assert_eq!(beat.clients, 0);
    world.admit(&[], true).await;
    let mut again = world.primary().await;
    assert_eq!(again.call("GET a").await, "$1 1");
}

#[tokio::test]
async fn a_rule_holds_even_if_it_comes_with_a_route_that_is_not_news() {
    let mut world = World::new(1, Durability::Async).await;
    let mut open = world.primary().await;
    assert_eq!(open.call("PING").await, "+PONG");
    // What a controller says that has just started and does not know who serves.
    world.route.state = tanist_core::model::RouteState::Vacant;
    world.route.access = only(&[], false);
    world.publish();
    world.obeyed().await;
    assert_eq!(world.primary().await.rest().await, b"", "it held before this one came");
    assert_eq!(open.rest().await, b"");
}

#[tokio::test]
async fn clients_from_elsewhere_are_judged_by_their_address() {
    let Some(outer) = outer_address() else {
        return tanist_lab::skip("this machine has no address but loopback");
    };
    let mut world = World::new(2, Durability::Async).await;
    world.admit(&[format!("{outer}/32")], false).await;
    let mut subscriber = Conn::open_from(outer, world.primary_address()).await;
    subscriber.call("SUBSCRIBE c").await;
    let reader = (world.route.endpoints.reader, world.route.endpoints.port);
    let mut reader = Conn::open_from(outer, reader.into()).await;
    // The proxy asks the primary on the client's behalf, from an address of this machine.
    assert_eq!(reader.call("PUBLISH c hello").await, ":1");
    assert_eq!(subscriber.text().await, "*3 $7 message $1 c $5 hello");
    let mut inner = world.primary().await;
    assert_eq!(inner.rest().await, b"");
    world.admit(&["203.0.113.0/24".to_owned()], true).await;
    assert_eq!(subscriber.rest().await, b"");
}
