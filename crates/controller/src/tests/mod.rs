//! The loop with a real store, and hosts that say what they are told to.
//!
//! Invariant: every test begins with a group of three that is whole, and waits for what the loop
//! itself tells: an event, or a tick's number.
//!
//! Not here: the rules (`tanist_core::decide`), engines and real agents (`tests/`).

mod archive;
mod confirm;
mod copies;
mod encryption;
mod fleet;
mod late;
mod many;
mod names;
mod patience;
mod places;
pub(crate) mod rig;
mod shards;
mod stale;
mod unknown;
