//! Every order of a few events: what holding and draining a client has to keep.
//!
//! The four properties are those of Vitess's buffer, whose model found a lost wake-up and a leaked slot:
//! places are given back, the limits hold, every request is answered, and none overtakes another.
//! `TANIST_DEPTH` is the length of the sequences (without it, 5).

use super::model::{Event, World};
use super::*;

const EVENTS: [Event; 12] = [
    Event::Ask(1),
    Event::Transaction,
    Event::Write(usize::MAX),
    Event::Write(45),
    Event::Read(usize::MAX),
    Event::Copy,
    Event::Break,
    Event::Fence,
    Event::NewEpoch,
    Event::Hold,
    Event::Pass,
    Event::Renew,
];

/// Tries every continuation of a sequence; how many sequences there are.
fn search(durability: Durability, events: &mut Vec<Event>, depth: usize) -> u64 {
    let mut world = World::new(durability);
    for event in &*events {
        world.step(event);
        assert!(world.is_within_bounds(), "{events:?}");
    }
    let mut count = 1;
    if depth > 0 {
        let next: Vec<Event> = EVENTS.into_iter().filter(|event| world.concerns(event)).collect();
        for event in next {
            events.push(event);
            count += search(durability, events, depth - 1);
            events.pop();
        }
    }
    if let Err(error) = world.ends_well() {
        panic!("{events:?}: {error}");
    }
    count
}

fn all(durability: Durability) {
    let depth = std::env::var("TANIST_DEPTH").map_or(5, |depth| depth.parse().unwrap());
    let count = search(durability, &mut Vec::new(), depth);
    assert!(count > 1000, "{count}");
}

#[test]
fn every_order_of_events_ends_well_without_proofs() {
    all(Durability::Async);
}

#[test]
fn every_order_of_events_ends_well_with_proofs() {
    all(Durability::Sync);
}
