//! The pure head of Tanist: what was asked, decided and seen goes in, the next decision comes out.
//!
//! Everything that chooses lives here, because only code without effects can be run through
//! thousands of simulated worlds and model-checked exactly as it ships. Hands elsewhere (agents,
//! proxies, the store) carry decisions out and report what they saw.
//!
//! Invariant: no I/O, no clock, no randomness, no async; the same inputs give the same outputs on
//! every machine. Time is told ([`model::Instant`]).
//!
//! Not here: RESP bytes (`tanist-resp`), persistence (`tanist-store`), processes (`tanist-agent`),
//! sockets (`tanist-proxy`), the loop that calls [`decide::decide`] (`tanist-controller`).

pub mod acl;
pub mod model;
pub mod presence;

pub mod decide;

pub mod gate;
pub mod guard;
pub mod lag;
pub mod leading;
pub mod ledger;
pub mod quorum;
pub mod rebuild;
