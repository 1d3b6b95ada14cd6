//! Who a caller is and what it may do.
//!
//! Invariant: none yet.
//!
//! Not here: signatures (`crate::sigv4`).
