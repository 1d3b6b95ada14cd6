//! The check: every state of small worlds around the head that ships, so that what the promises say
//! is not believed but enumerated.
//!
//! The functions of `tanist-core` run as they are; around them is a world in which every message and
//! every step may be late for ever, overtaken or repeated, and every clock may say anything.
//!
//! Invariant: a promise that a configuration can break is found broken, with the fewest steps.
//!
//! Not here: long lives, many faults and time that passes (`tanist-sim`); real engines (`tests`).

mod config;
mod decision;
mod engine;
mod hands;
mod head;
mod intern;
mod judge;
mod lanes;
mod nouns;
mod search;
mod state;
mod step;
mod story;
mod world;

pub use config::{Configuration, Tooth};
pub use search::{Found, Trace, exhaust, walk};
pub use state::Budget;
pub use step::Fault;
