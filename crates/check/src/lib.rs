//! The check: every state of small worlds around the head that ships, so that what the promises say
//! is not believed but enumerated.
//!
//! `decide`, `converge`, `orphans`, `route`, `guard`, `gate` and `proven` of `tanist-core` run as
//! they are; around them is a world of one `sync` shard with three nodes, one or two proxies and one
//! or two controllers, in which every message and every step may be late for ever, overtaken or
//! repeated, and every clock may say anything.
//!
//! What "every" means, and what it does not:
//! - *Bounded* are the writes, crashes, starts, failovers, changes of the in-sync set, cuts of
//!   proxies, lost places in the stream and new leaders, together and by configuration
//!   ([`Configuration`]). No configuration has all of them at once; pairs and triples of faults are
//!   met, longer lives only by [`walk`], which proves nothing.
//! - *Not bounded* are order, delay, loss and repetition within these. A report may be late, but a
//!   controller never acts on an older report of a node than the last one it acted on, as echo
//!   numbers ensure.
//! - *Wider than reality*: hosts are lost, processes hang and proxies fall silent whenever a clock
//!   says so; proxies say that they are drained although they are not; an operator changes their mind.
//! - *Coarser than reality*: an order is carried out as one step, a write is one unit of offset, and
//!   partial resynchronization is decided by replication ids and offsets as the engines do. A report
//!   about a process that has died shows nothing of what its engine said last, and no primary is
//!   fenced and let go on within an epoch.
//! - *Left out*: `async` groups and leases, cluster mode, changes of membership and placement,
//!   accepted losses, clean stops, reads, and whatever only time can show: nothing here says that
//!   anything ever happens, only that nothing wrong does.
//! - States that differ only in what can never matter again are one state, and some steps are taken
//!   at once because waiting could only hide a fault. The configurations named `plain` search
//!   without these short cuts, to hold them against.
//!
//! Promises that are judged at every commit, promotion and acknowledgement: an acknowledged write is
//! in the history of whoever is chosen and of every later epoch's primary (which is also why two
//! primaries never both acknowledge); each member of the in-sync set that could answer a freeze holds
//! every acknowledged write; only a run that a second commit named is primary; revision and epoch
//! grow as they must; a disk is chosen only if every memory that could hold more is gone.
//!
//! Invariant: a promise that a configuration can break is found broken, with the fewest steps.
//!
//! Not here: long lives, many faults and time that passes (`tanist-sim`); real engines (`tests`).

mod config;
mod decision;
mod dice;
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

pub use config::{Configuration, Tooth, Wish};
pub use search::{Found, Trace, exhaust, walk};
pub use state::Budget;
pub use step::Fault;
