//! Users that have lanes of their own: told to engines that are well, and to proxies.
//!
//! Invariant: as in `super`.
//!
//! Not here: which engine user that is (`tanist-agent`).

use std::sync::Arc;

use super::world::{World, node};
use super::*;
use crate::model::accounts::mark;
use crate::model::{Accounts, Action, PasswordHash, RouteState, Rules};

/// A world in which `app` may read.
fn with_user() -> World {
    let mut world = World::healthy();
    let mut app = world.asked.accounts.0["default"].clone();
    app.rules = Rules(vec![vec!["~app:*".to_owned(), "+@read".to_owned()]]);
    world.asked.accounts.0.insert("app".to_owned(), app);
    world
}

fn apply(world: &mut World, n: usize) {
    let users = mark(&world.asked.accounts.lanes());
    world.report(n).applied.as_mut().map(Arc::make_mut).unwrap().users = users;
}

#[test]
fn a_user_is_told_to_the_primary_and_to_every_replica_until_they_have_it() {
    let mut world = with_user();
    assert!(matches!(world.action(1), Some(Action::Admit { .. })), "{:?}", world.action(1));
    for n in [2, 3] {
        assert!(matches!(world.action(n), Some(Action::Follow { .. })), "{:?}", world.action(n));
    }
    assert!(world.orders().iter().all(|order| order.users == world.asked.accounts.lanes()));
    assert_eq!(world.plan(), Plan::default(), "nothing has to be decided for it");
    for n in 1..=3 {
        apply(&mut world, n);
        assert_eq!(world.action(n), None);
    }
    world.asked.accounts = Accounts::default();
    assert!(matches!(world.action(1), Some(Action::Admit { .. })), "it is told to go as well");
}

#[test]
fn a_token_concerns_no_engine() {
    let mut world = World::healthy();
    let token = PasswordHash::parse(&"0".repeat(64)).unwrap();
    world.asked.accounts = Accounts::with_tokens(&[token]);
    assert_eq!(world.orders(), Vec::new());
}

#[test]
fn a_route_says_who_clients_are_and_which_nodes_know_them() {
    let mut world = with_user();
    apply(&mut world, 1);
    let plan = Plan::default();
    let (asked, decided) = (&world.asked, &world.decided);
    let route = route(asked, decided, &world.seen, &Limits::DEFAULT, &plan, world.now);
    assert!(matches!(route.state, RouteState::Serving { .. }));
    assert_eq!(route.accounts, world.asked.accounts);
    let users = |n: usize| route.nodes.iter().find(|known| known.node == node(n)).unwrap().users;
    assert_eq!(users(1), Some(mark(&world.asked.accounts.lanes())));
    assert_eq!(users(2), Some(0));
}
