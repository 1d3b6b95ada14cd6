//! An endpoint for the test suites of engines and of client libraries.
//!
//! Such a suite begins with `CONFIG SET`, `DEBUG` or `ACL SETUSER`, which an endpoint denies: they are
//! Tanist's business. Here they reach the engine. It is an example, built from the tests' kit, and no
//! switch of the program that people install: what cannot be switched on cannot be by mistake.
//!
//! ```sh
//! cargo run -p tanist-proxy --example pass_through -- [redis|valkey] [async|sync]
//! ```
//!
//! It prints the address of an endpoint and of an engine without one, to compare with, and ends with its
//! input.
//!
//! Not here: failovers; the endpoint has a proxy and engines of its own, and no controller.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is for people who test")]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::io::Read;

use kit::{Binary, Engine, World};
use tanist_core::model::Durability;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let binary = if has("valkey") { Binary::Valkey } else { Binary::Redis };
    let (nodes, durability) =
        if has("sync") { (2, Durability::Sync) } else { (1, Durability::Async) };
    let world = World::pass_through(nodes, durability, binary).await;
    let bare = Engine::start(binary, "bare").await;
    bare.admin(&["ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all"]).await;
    println!("endpoint {}", world.primary_address());
    println!("engine {}", bare.address);
    println!("anybody on this machine may administer both; close the input to end them");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    // An error is an end as well.
    let _ = ended.await;
}
