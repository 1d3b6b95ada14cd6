//! What was measured, over time.
//!
//! Invariant: none yet.
//!
//! Not here: who measures.

/// Every series.
#[derive(Debug, Default)]
pub struct Series {}
