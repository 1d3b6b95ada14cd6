//! The endpoint on the wire, with a controller that says what a test wants.
//!
//! Invariant: a test talks to the endpoint by TCP alone, as clients do.
//!
//! Not here: real installations and real clients (`tests/` of the repository).

mod clients;
mod limits;
mod real;
mod shapes;
mod wire;
