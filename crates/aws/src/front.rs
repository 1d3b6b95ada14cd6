//! HTTP: requests in, answers out.
//!
//! Invariant: none yet.
//!
//! Not here: operations.
