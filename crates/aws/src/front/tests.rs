//! The front door as clients meet it: bytes in, bytes out, over loopback, with a real store.

mod http;
mod kit;
mod limits;
mod permissions;
mod refusals;
mod unsigned;
