//! Tanist's memory of decisions: one trait with etcd's semantics, and the backends behind it.
//!
//! A failover is two compare-and-set commits; what those need is one global revision, transactions
//! that are durable when they are answered, watches without gaps, and leases. On one host an
//! embedded SQLite gives that, on a fleet etcd does; both pass one suite (`conformance`).
//!
//! Invariant: an acknowledged transaction is durable, whole, and never goes back; revisions only
//! grow, also after a copy is restored.
//!
//! Not here: what the stored bytes mean (`tanist-core`), and who may write them (`controller`).

mod error;
mod etcd;
mod model;
pub mod moving;
mod sqlite;
mod store;
mod watch;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use error::{Cause, StoreError};
pub use etcd::{
    EndpointStatus, EtcdConfig, EtcdIdentity, EtcdMember, EtcdStatus, EtcdStore, EtcdTimeouts,
    EtcdTls, MemberStatus,
};
pub use model::{
    Compare, Event, EventBatch, KeyValue, Lease, LeaseId, MAX_KEY_BYTES, MAX_LEASE_TTL,
    MAX_RANGE_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, MIN_LEASE_TTL, Op, Revision, Txn,
    TxnOutcome, check_key, check_prefix, prefix_end, whole_seconds,
};
pub use sqlite::{Options, Restored, SqliteStore, Status};
pub use store::{AnyStore, Store};
pub use watch::Watch;
