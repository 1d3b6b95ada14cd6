//! Figures, measured beside peers in the same run on the same machine.
//!
//! Invariant: nothing here fails because a machine is slow; it prints what it measured.
//!
//! Not here: claims that must hold (`tests/`).
