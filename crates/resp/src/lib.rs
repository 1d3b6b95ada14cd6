//! RESP2 and RESP3, and all that Tanist knows about the engines' wire format.
//!
//! One crate owns these bytes, so that the proxy, the agents and the Sentinel endpoint cannot
//! disagree on where a frame ends, on which command writes, or on the text of an error. Nothing
//! here does input or output except [`connection`], which the cargo feature `tokio` adds.
//!
//! Invariant: no input makes this crate panic, recurse without a limit, or allocate more than a
//! stated limit; a frame once handed out is whole and well-formed.
//!
//! Not here: routing, holding and replay (the `proxy` crate); roles and epochs (`core`).

pub mod command;
#[cfg(feature = "tokio")]
pub mod connection;
pub mod info;
pub mod reply;
pub mod request;
mod scan;
pub mod slot;
pub mod table;
pub mod value;

pub use command::Command;
#[cfg(feature = "tokio")]
pub use connection::{Connection, ConnectionError};
pub use info::Info;
pub use reply::{Found, FrameError, Kind, Piece, Reply, ReplyFramer, ReplyLimits};
pub use request::{Limits, Part, ProtocolError, Request, RequestFramer};
pub use table::{CommandInfo, CommandTable, Effect, Flags};
pub use value::{Encoder, Value, Version};
