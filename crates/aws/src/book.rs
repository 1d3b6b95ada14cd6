//! A region's records, changed in transactions.
//!
//! Invariant: none yet.
//!
//! Not here: replication groups.

/// The records of every region.
#[derive(Debug, Clone)]
pub struct Book {}
