//! go-redis, Jedis and Lettuce, by what they were recorded to say: none of them can be installed from
//! the registries that the tests use.
//!
//! Each was run once against Tanist and against Redis' own Sentinel, through a failover; the files in
//! `recorded/` hold the bytes that it sent and what it read of the answers.
//!
//! Invariant: the bytes are sent to real endpoints of a real installation, and the primary moves where
//! it did when they were recorded.
//!
//! Not here: the clients that are run themselves (`super::sentinel`), the commands of each alone
//! (`tanist-discovery`).

mod replay;
mod script;

use replay::Replay;

#[test]
fn go_redis_keeps_its_connection() {
    repeats(include_str!("recorded/go_redis_endpoint.txt"), "endpoint");
}

#[test]
fn go_redis_follows_from_node_to_node() {
    repeats(include_str!("recorded/go_redis_nodes.txt"), "nodes");
}

#[test]
fn go_redis_with_a_token_hears_of_what_moves() {
    repeats(include_str!("recorded/go_redis_token.txt"), "endpoint");
}

#[test]
fn jedis_keeps_its_connection() {
    repeats(include_str!("recorded/jedis_endpoint.txt"), "endpoint");
}

#[test]
fn jedis_follows_from_node_to_node() {
    repeats(include_str!("recorded/jedis_nodes.txt"), "nodes");
}

#[test]
fn jedis_with_a_token_follows_in_resp3() {
    repeats(include_str!("recorded/jedis_token.txt"), "nodes");
}

#[test]
fn lettuce_keeps_its_connection_and_hears_of_what_moves() {
    repeats(include_str!("recorded/lettuce_endpoint.txt"), "endpoint");
}

#[test]
fn lettuce_follows_from_node_to_node() {
    repeats(include_str!("recorded/lettuce_nodes.txt"), "nodes");
}

#[test]
fn lettuce_finds_replicas_and_follows() {
    repeats(include_str!("recorded/lettuce_replicas.txt"), "nodes");
}

#[test]
fn lettuce_with_a_token_hears_of_what_moves() {
    repeats(include_str!("recorded/lettuce_token.txt"), "endpoint");
}

/// The token that the clients had when they were recorded.
const TOKEN: &str = "a-token-of-the-test-7";

#[allow(clippy::print_stdout, reason = "the failing step is the last line of the test's output")]
fn repeats(text: &str, advertise: &str) {
    let installation = super::sentinel::installation(advertise);
    if text.contains(TOKEN) {
        let file = installation.dir().join("token");
        std::fs::write(&file, TOKEN).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        installation.tanist(&["token", "set", "web", "--file", &file.display().to_string()]).ok();
    }
    let sentinel = super::sentinel::runtime().block_on(installation.sentinel());
    let mut replay = Replay::of(&installation, sentinel, advertise == "nodes");
    for (line, name, step) in script::steps(text) {
        println!("{line}");
        replay.step(name, &step);
    }
}
