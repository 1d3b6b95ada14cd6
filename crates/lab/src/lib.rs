//! The test kit: real installations with real engines, and ways to break them.
//!
//! A test gets an installation of its own, in its own directory and its own loopback network, driven
//! through the same command line as a person's. Whatever a test starts ends with it.
//!
//! Invariant: nothing here fakes an engine, a store or a client; a tool that is missing fails the
//! test by name, and what the system does not allow is skipped aloud.
//!
//! Not here: the claims (`tests/`).

pub mod crowd;
pub mod etcd;
mod fleet;
mod installation;
mod members;
pub mod netns;
mod network;
mod processes;
mod skipped;
mod surface;
mod until;

pub use fleet::Fleet;
pub use installation::{Installation, Ran, binary};
pub use members::Members;
pub use network::Network;
pub use processes::{alive, engines_of, kill, signal};
pub use skipped::{SKIPPED, skip};
pub use surface::texts;
