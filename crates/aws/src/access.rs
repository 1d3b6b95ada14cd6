//! Who may connect to a group, from security groups and instances.
//!
//! Invariant: none yet.
//!
//! Not here: turning clients away.
