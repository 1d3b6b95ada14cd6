//! What each client library says to a Sentinel, and what it needs to hear.
//!
//! Recorded from the libraries, or read in them where no such program is run by the tests: go-redis,
//! Jedis and Lettuce.
//!
//! Invariant: each line is sent as the library sends it, and the answer has what the library reads.
//!
//! Not here: those that are run against a real failover (the repository's `tests/clients`).

use tanist_core::model::Severity;
use tanist_resp::Value;

use super::super::rig::{event, group, with_role};
use super::wire::{Controller, Wire};

/// What a library reads of an answer.
enum Reads {
    /// That there is no error.
    Well,
    /// That there is one, and it goes on.
    Refused,
    /// Address and port.
    Address,
    /// Pairs of a map with these among them.
    Map(&'static [(&'static str, &'static str)]),
    /// A list of so many maps, the first of which has these.
    Maps(usize, &'static [(&'static str, &'static str)]),
    /// A confirmation for each.
    Subscribed(&'static [&'static str]),
}
use Reads::{Address, Map, Maps, Refused, Subscribed, Well};

type Line = (&'static [&'static str], Reads);

const PRIMARY: &[(&str, &str)] = &[
    ("name", "web"),
    ("ip", "127.80.1.1"),
    ("port", "6379"),
    ("flags", "master"),
    ("num-other-sentinels", "1"),
];
const REPLICA: &[(&str, &str)] =
    &[("ip", "127.80.1.12"), ("port", "6379"), ("flags", "slave"), ("master-link-status", "ok")];
const OTHER: &[(&str, &str)] = &[("ip", "127.80.0.253"), ("port", "26379"), ("flags", "sentinel")];

fn redis_py() -> Vec<Line> {
    vec![
        (&["HELLO", "3"], Map(&[("mode", "sentinel")])),
        (&["CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip"], Refused),
        (&["CLIENT", "SETINFO", "LIB-NAME", "redis-py"], Well),
        (&["CLIENT", "SETINFO", "LIB-VER", "8.1.0"], Well),
        (&["SENTINEL", "MASTERS"], Maps(1, PRIMARY)),
        (&["SENTINEL", "SLAVES", "web"], Maps(2, REPLICA)),
    ]
}

fn ioredis() -> Vec<Line> {
    vec![
        (&["client", "SETINFO", "LIB-NAME", "ioredis"], Well),
        (&["sentinel", "get-master-addr-by-name", "web"], Address),
        (&["sentinel", "sentinels", "web"], Maps(1, OTHER)),
        (&["sentinel", "slaves", "web"], Maps(2, REPLICA)),
        (&["subscribe", "+switch-master"], Subscribed(&["+switch-master"])),
    ]
}

fn node_redis() -> Vec<Line> {
    vec![
        (&["HELLO", "3"], Map(&[("mode", "sentinel")])),
        (&["CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip"], Refused),
        (&["CLIENT", "SETINFO", "LIB-NAME", "node-redis"], Well),
        (&["SENTINEL", "SENTINELS", "web"], Maps(1, OTHER)),
        (&["SENTINEL", "MASTER", "web"], Map(PRIMARY)),
        (&["SENTINEL", "REPLICAS", "web"], Maps(2, REPLICA)),
        (
            &["PSUBSCRIBE", "switch-master", "[-+]sdown", "+slave", "+sentinel", "[-+]odown"],
            Subscribed(&["switch-master", "[-+]sdown", "+slave", "+sentinel", "[-+]odown"]),
        ),
    ]
}

fn go_redis() -> Vec<Line> {
    vec![
        (&["hello", "3"], Map(&[("mode", "sentinel")])),
        (&["client", "setinfo", "LIB-NAME", "go-redis(,go1.24)"], Well),
        (&["client", "setinfo", "LIB-VER", "9.17.0"], Well),
        (&["sentinel", "get-master-addr-by-name", "web"], Address),
        (&["sentinel", "sentinels", "web"], Maps(1, OTHER)),
        (&["sentinel", "replicas", "web"], Maps(2, REPLICA)),
        (
            &["subscribe", "+switch-master", "+replica-reconf-done"],
            Subscribed(&["+switch-master", "+replica-reconf-done"]),
        ),
    ]
}

fn jedis() -> Vec<Line> {
    vec![
        (&["CLIENT", "SETINFO", "LIB-NAME", "jedis"], Well),
        (&["CLIENT", "SETINFO", "LIB-VER", "7.0.0"], Well),
        (&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "web"], Address),
        (&["SUBSCRIBE", "+switch-master"], Subscribed(&["+switch-master"])),
    ]
}

fn lettuce() -> Vec<Line> {
    vec![
        (&["HELLO", "3"], Map(&[("mode", "sentinel")])),
        (&["CLIENT", "SETINFO", "lib-name", "Lettuce"], Well),
        (&["CLIENT", "SETINFO", "lib-ver", "7.0.0"], Well),
        (&["PING"], Well),
        (&["SENTINEL", "get-master-addr-by-name", "web"], Address),
        (&["SENTINEL", "MASTER", "web"], Map(PRIMARY)),
        (&["SENTINEL", "REPLICAS", "web"], Maps(2, REPLICA)),
        (&["PSUBSCRIBE", "*"], Subscribed(&["*"])),
    ]
}

fn redis_rs() -> Vec<Line> {
    vec![
        (&["CLIENT", "SETINFO", "LIB-NAME", "redis-rs"], Well),
        (&["CLIENT", "SETINFO", "LIB-VER", "1.0.0"], Well),
        (&["SENTINEL", "MASTERS"], Maps(1, PRIMARY)),
        (&["SENTINEL", "SLAVES", "web"], Maps(2, REPLICA)),
    ]
}

fn has(map: &Value, pairs: &[(&str, &str)]) -> bool {
    pairs.iter().all(|(name, value)| map.get(name).and_then(Value::as_str) == Some(value))
}

async fn reads(client: &mut Wire, library: &str, words: &[&str], reads: &Reads) {
    client.say(words).await;
    if let Subscribed(names) = reads {
        for (at, name) in names.iter().enumerate() {
            let confirmed = client.next().await;
            let parts = confirmed.as_array().unwrap();
            assert_eq!(parts[1].as_str(), Some(*name), "{library}");
            assert_eq!(parts[2].as_int(), i64::try_from(at + 1).ok(), "{library}");
        }
        return;
    }
    let answer = client.next().await;
    let is_read = match reads {
        Well => answer.as_error().is_none(),
        Refused => answer.error_code() == Some("ERR"),
        Address => {
            let parts = answer.as_array().unwrap_or_default();
            let texts: Vec<_> = parts.iter().map(Value::as_str).collect();
            texts == [Some("127.80.1.1"), Some("6379")]
        }
        Map(pairs) => has(&answer, pairs),
        Maps(count, pairs) => {
            let maps = answer.as_array().unwrap_or_default();
            maps.len() == *count && has(&maps[0], pairs)
        }
        Subscribed(_) => false,
    };
    assert!(is_read, "{library}: {words:?}: {answer:?}");
}

/// The message of a channel, as the library sees it.
async fn hears(client: &mut Wire, library: &str, channel: &str) -> String {
    loop {
        let message = client.next().await;
        let parts: Vec<&str> =
            message.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        match parts.as_slice() {
            ["message", of, payload] | ["pmessage", _, of, payload] if *of == channel => {
                return (*payload).to_owned();
            }
            ["message" | "pmessage", ..] => {}
            other => panic!("{library}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn every_library_finds_the_primary_and_hears_of_a_failover() {
    let switched_to = "web 127.80.1.1 6379 127.80.1.1 6379";
    let former = "slave 127.80.1.11:6379 127.80.1.11 6379 @ web 127.80.1.1 6379";
    for (library, lines, waits_for) in [
        ("redis-py", redis_py(), None),
        ("ioredis", ioredis(), Some(("+switch-master", switched_to))),
        ("node-redis", node_redis(), Some(("-sdown", former))),
        ("go-redis", go_redis(), Some(("+switch-master", switched_to))),
        ("Jedis", jedis(), Some(("+switch-master", switched_to))),
        ("Lettuce", lettuce(), Some(("+elected-leader", "master web 127.80.1.1 6379"))),
        ("redis-rs", redis_rs(), None),
    ] {
        let controller = Controller::with(&[group("web", 7, Some(1))]).await;
        let mut client = controller.asked_by_a_client().await;
        for (words, expected) in &lines {
            reads(&mut client, library, words, expected).await;
        }
        controller.says(&[with_role(group("web", 8, Some(2)), 1, "down")]);
        controller.happens(event("PrimaryVacated", 1, 8, Severity::Warning));
        controller.happens(event("PrimaryChosen", 2, 8, Severity::Info));
        if let Some((channel, payload)) = waits_for {
            let switched = if library == "node-redis" { "+slave" } else { channel };
            let heard = hears(&mut client, library, switched).await;
            if library == "node-redis" {
                // The former primary comes back.
                controller.says(&[group("web", 8, Some(2))]);
                controller.happens(event("ReplicaAttached", 1, 8, Severity::Info));
                assert_eq!(hears(&mut client, library, channel).await, payload, "{library}");
            } else {
                assert_eq!(heard, payload, "{library}");
            }
        }
    }
}
