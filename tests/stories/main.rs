//! Every story, on redis and on valkey.
//!
//! Invariant: a story asserts what a user would notice, never how long it took.
//!
//! Not here: figures (`benches/`).

/// Tells each story on redis and on valkey.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod redis { $(#[test] fn $name() { super::$name("redis"); })* }
        mod valkey { $(#[test] fn $name() { super::$name("valkey"); })* }
    };
}
use on_both_engines;

mod aws;
mod bad_start;
mod documents;
mod doors;
mod down;
mod drills;
mod encryption;
mod faults;
mod fleet;
mod fleet_ends;
mod fleet_etcd;
mod hosts;
mod linear;
mod login;
mod loss;
mod machine;
mod migrate;
mod persistence;
mod rebalance;
mod recovery;
mod refusals;
mod renewal;
mod scale;
mod sentinel;
mod troubles;
mod truth;
mod word;

use tanist_lab::Installation;
use tanist_resp::{Command, Connection, Value};

/// An installation with a group `web` of three nodes.
fn web(engine: &str, args: &[&str]) -> Installation {
    let installation = Installation::start();
    let mut all = vec!["--engine", engine];
    all.extend(args);
    installation.create("web", &all);
    installation
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|err| panic!("a runtime: {err}"))
}

async fn call(connection: &mut Connection, words: &[&str]) -> Value {
    let command = words[1..].iter().fold(Command::new(words[0]), |command, word| command.arg(word));
    let deadline = std::time::Duration::from_secs(20);
    connection.call(&command, deadline).await.unwrap_or_else(|err| panic!("{words:?}: {err}"))
}

async fn text(connection: &mut Connection, words: &[&str]) -> String {
    let value = call(connection, words).await;
    value.as_str().unwrap_or_else(|| panic!("{words:?}: {value:?}")).to_owned()
}
