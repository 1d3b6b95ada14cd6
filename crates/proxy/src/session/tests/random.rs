//! Any order of reads, writes, losses and routes.

use proptest::prelude::*;

use super::model::{Event, World};
use super::*;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (1..6_u8).prop_map(Event::Ask),
        3 => Just(Event::Transaction),
        8 => (1..200_usize).prop_map(Event::Write),
        8 => (1..90_usize).prop_map(Event::Read),
        3 => Just(Event::Copy),
        1 => Just(Event::Break),
        1 => Just(Event::Fence),
        1 => Just(Event::NewEpoch),
        1 => Just(Event::Hold),
        1 => Just(Event::Release),
        2 => Just(Event::Renew),
    ];
    proptest::collection::vec(event, 1..150)
}

fn check(durability: Durability, events: &[Event]) -> Result<(), TestCaseError> {
    let mut world = World::new(durability);
    for event in events {
        world.step(event);
    }
    world.ends_well()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_in_order_and_executed_at_most_once(events in events()) {
        check(Durability::Async, &events)?;
    }

    #[test]
    fn no_acknowledged_write_is_lost_with_a_primary(events in events()) {
        check(Durability::Sync, &events)?;
    }
}
