//! Stories against real engines, told through the command line and the endpoints.
//!
//! Invariant: each test is named as a claim and starts everything that it needs.
//!
//! Not here: the kit that they use (`tanist-lab`).
