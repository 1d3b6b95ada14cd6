//! One installation on several hosts.
//!
//! A host is of the fleet by what it was given when it joined: a certificate for a key that has never
//! left it, and the installation's secret. Everything else is in one file, which is the same on every
//! host.
//!
//! Invariant: nothing here decides anything about groups.
//!
//! Not here: who leads and what is done (`tanist-controller`), certificates (`tanist-tls`).

mod admission;
pub(crate) mod agent;
pub(crate) mod etcd;
pub(crate) mod join;
pub(crate) mod member;
pub(crate) mod plan;
pub(crate) mod server;

pub(crate) use member::Member;
