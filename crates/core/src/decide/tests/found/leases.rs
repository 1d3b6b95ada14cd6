//! Claims about `async` groups whose primary may go on where nobody hears it.
//!
//! Not here: the world that they change (`super`).

use super::*;

#[test]
fn an_async_heir_waits_for_the_old_primarys_lease() {
    let mut world = World::new();
    world.make_async();
    world.vacate(Cause::HostLost);
    world.lose_host(1);
    world.answer(2, frozen(2, 90));
    world.answer(3, frozen(3, 80));
    world.seen.granted.insert(world.decided.key(), ms(NOW - 800));
    world.node_seen(3).withheld_since = Some(ms(NOW - 799));
    assert!(world.waits_for(WaitKind::Lease), "it may go on by the word of both");
    world.node_seen(3).withheld_since = Some(ms(NOW - 800));
    assert_eq!(*chosen(&world.commit()), run(2), "one who has not given it is enough");
    world.seen.granted.insert(world.decided.key(), ms(NOW - 799));
    assert!(world.waits_for(WaitKind::Lease), "this controller has granted it");
    world.seen.granted.clear();
    world.seen.began = ms(NOW - 799);
    assert!(world.waits_for(WaitKind::Lease), "the one before may have");
}

#[test]
fn whoever_has_not_stood_in_for_a_lease_need_not_be_waited_for() {
    let mut world = World::new();
    world.make_async();
    world.vacate(Cause::HostLost);
    world.lose_host(1);
    world.node_seen(2).withheld_since = Some(ms(NOW - 5000));
    world.known_since(NOW - 500);
    world.answer(3, frozen(3, 95));
    assert!(world.waits_for(WaitKind::Lease), "it is not frozen yet");
    world.answer(2, frozen(2, 90));
    assert_eq!(*chosen(&world.commit()), run(3));
    world.decided.in_sync.retain(|tag| tag.run.node == node(3));
    assert!(world.waits_for(WaitKind::Lease), "its word was not needed");
}

#[test]
fn a_lease_is_over_only_by_those_whose_word_it_needs() {
    let mut world = World::new();
    world.make_async();
    world.decided.in_sync.retain(|tag| tag.run.node == node(2));
    world.vacate(Cause::HostLost);
    world.lose_host(1);
    world.node_seen(3).withheld_since = Some(ms(NOW - 5000));
    world.answer(2, frozen(2, 80));
    world.answer(3, frozen(3, 90));
    assert!(world.waits_for(WaitKind::Lease));
    world.node_seen(2).withheld_since = Some(ms(NOW - 5000));
    assert_eq!(*chosen(&world.commit()), run(3), "whoever has most");
}

#[test]
fn whoever_accepts_a_loss_does_not_get_two_primaries() {
    let mut world = World::new();
    world.make_async();
    world.vacate(Cause::HostLost);
    world.lose_host(1);
    world.answer(3, frozen(3, 10));
    world.ask(MoveKind::Failover, Some(3));
    assert!(world.waits_for(WaitKind::Lease));
    world.node_seen(3).withheld_since = Some(ms(NOW - 800));
    assert_eq!(*chosen(&world.commit()), run(3));
}
