//! When something was put up with for long enough.
//!
//! Invariant: each limit is met exactly.
//!
//! Not here: what is done then.

use std::time::Duration;

use super::super::{move_due, request_expired};
use super::world::World;
use crate::model::{Cause, Instant, Limits, Primaryship, RequestId};

const LIMITS: Limits = Limits::DEFAULT;

#[test]
fn a_primary_is_moved_after_a_while_and_not_again_soon() {
    let at = Instant::from_millis;
    let since = at(1_000_000);
    let due = |last, ms| move_due(since, last, &LIMITS, since + Duration::from_millis(ms));
    assert!(!due(None, 1_999));
    assert!(due(None, 2_000));
    let moved = since - (LIMITS.flap - Duration::from_secs(5));
    assert!(!due(Some(moved), 4_999), "the last move was less than a minute ago");
    assert!(due(Some(moved), 5_000));
}

#[test]
fn a_request_expires_unless_a_vacancy_serves_it() {
    let mut world = World::vacant(Cause::Failover);
    let expired = |world: &World, waited| {
        request_expired(&world.decided, RequestId(1), world.now, &LIMITS, world.now + waited)
    };
    let late = LIMITS.request + Duration::from_millis(1);
    assert!(!expired(&world, LIMITS.request));
    assert!(expired(&world, late), "the vacancy serves nobody's request");
    let Primaryship::Vacant(vacancy) = &mut world.decided.primaryship else { panic!() };
    vacancy.request = Some(RequestId(1));
    assert!(!expired(&world, late));
}
