//! The channel between roles: JSON over HTTP, on a unix socket or over mutual TLS.
//!
//! HTTP, because the same listener then serves the CLI, a person with curl and the other roles, old
//! and new releases side by side. Within a host the socket's owner may do everything; between hosts
//! both ends prove who they are, and each request carries who sent it. Requests are plain JSON; conversations (agent with supervisor,
//! proxy with controller) are one HTTP/2 request whose two bodies are streams of JSON lines.
//!
//! Invariant: a message that a peer does not understand ends that conversation with an error and
//! nothing else; every message and every queue has a limit.
//!
//! Not here: what the messages mean (`tanist-controller`, `tanist-agent`, `tanist-proxy`).

pub mod api;
pub mod backup;
pub mod wire;

mod client;
mod duplex;
mod error;
mod fleet;
mod identity;
mod kept;
mod patience;
mod secret;
mod secure;
mod server;

pub use client::{Answered, Client};
pub use duplex::{Duplex, Encoded, Receiver, Sender, accept};
pub use error::LinkError;
pub use fleet::{Server, Servers};
pub use identity::{ADMIN_NAME, Peer, host_name, host_of, proxy_of, server_name};
pub use patience::Patience;
pub use secret::{Secret, SecretError, hash_of, is_one_of};
pub use secure::{SecureListener, serve_secure};
pub use server::{Listener, serve};
