//! The channel between roles: JSON over HTTP on a unix socket.
//!
//! HTTP, because the same listener then serves the CLI, a person with curl and the other roles, old
//! and new releases side by side. Requests are plain JSON; conversations (agent with supervisor,
//! proxy with controller) are one HTTP/2 request whose two bodies are streams of JSON lines.
//!
//! Invariant: a message that a peer does not understand ends that conversation with an error and
//! nothing else; every message and every queue has a limit.
//!
//! Not here: what the messages mean (`tanist-controller`, `tanist-agent`, `tanist-proxy`).

pub mod api;
pub mod wire;

mod client;
mod duplex;
mod error;
mod secret;
mod server;

pub use client::Client;
pub use duplex::{Duplex, Receiver, Sender, accept};
pub use error::LinkError;
pub use secret::{Secret, SecretError, hash_of, is_one_of};
pub use server::{Listener, serve};
