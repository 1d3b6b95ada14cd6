//! The simulation that doubts everything: seeded worlds around core's own functions.
//!
//! Engines, hosts, a store, controllers, proxies and clients exist only as state machines of one
//! event queue with virtual time; what thinks in them (`decide`, `converge`, `route`, the guard, the
//! lease, the gate, the ledger) is core as it ships. Faults are drawn from a seed, and a judge that
//! sees everything says what must never be. The same seed is the same world.
//!
//! Invariant: a world reads no clock and no environment; it is a function of (seed, mode, bug).
//!
//! Not here: real engines and networks (`tanist-lab` and `tests/`).

mod bugs;
mod census;
mod client;
mod config;
mod controller;
mod copies;
mod dice;
mod engine;
mod faults;
mod genesis;
mod hands;
mod history;
mod host;
mod judge;
mod listen;
pub mod many;
mod mischief;
pub mod mutants;
mod net;
mod people;
mod probe;
mod proxy;
mod replication;
pub mod scenario;
mod stand_in;
mod steps;
mod store;
mod verdict;
mod world;

pub use bugs::Bug;
pub use census::Census;
pub use config::Mode;
pub use judge::Violation;
pub use verdict::Ending;

/// Runs the world of a seed to its end.
pub fn world(seed: u64, mode: Mode, bug: Option<Bug>, tell: bool) -> Ending {
    verdict::run(config::Config::new(seed, mode, bug), tell)
}
