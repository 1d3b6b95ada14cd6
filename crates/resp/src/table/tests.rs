//! The command table, and what a request does to the data.
//!
//! Invariant: every expectation is an engine's own behaviour or a deviation that is named.
//!
//! Not here: comparisons with live engines (`tests/`).

use super::*;
use crate::command::Command;

fn effect(line: &str) -> Effect {
    let mut words = line.split(' ');
    let command = Command::new(words.next().unwrap_or_default()).args(words);
    CommandTable::builtin().effect(&command.to_request())
}

#[test]
fn every_line_of_the_built_in_table_is_read_and_found_again() {
    let table = CommandTable::builtin();
    assert_eq!(table.len(), BUILTIN.lines().count());
    assert_eq!(table.to_text(), BUILTIN);
    for entry in table.iter() {
        let upper = entry.name().to_ascii_uppercase();
        assert_eq!(table.lookup(upper.as_bytes()), Some(entry));
        if let Some((container, sub)) = upper.split_once('|') {
            assert_eq!(table.lookup_sub(container.as_bytes(), sub.as_bytes()), Some(entry));
            assert!(table.lookup(container.as_bytes()).is_some_and(CommandInfo::is_container));
        }
    }
}

#[test]
fn a_lookup_ignores_case_and_nothing_else() {
    let table = CommandTable::builtin();
    let get = table.lookup(b"gEt").unwrap();
    assert_eq!((get.name(), get.arity, get.first_key, get.last_key, get.step), ("get", 2, 1, 1, 1));
    assert!(get.flags.contains(Flags::READONLY | Flags::FAST));
    assert!(get.accepts(2) && !get.accepts(3));
    assert!(table.lookup(b"mget").is_some_and(|mget| mget.accepts(9) && !mget.accepts(1)));
    for name in [&b""[..], b"GET ", b"GE", b"GET\0", b"\xff", &[b'a'; 1000]] {
        assert_eq!(table.lookup(name), None, "{}", name.escape_ascii());
    }
    assert_eq!(table.lookup_sub(b"CONFIG", b"NOPE"), None);
    assert_eq!(table.lookup_sub(b"", b""), None);
}

#[test]
fn scripts_publishing_and_administration_are_writes() {
    for line in [
        "EVAL s 0",
        "EVALSHA s 0",
        "FCALL f 0",
        "EXEC",
        "PUBLISH a b",
        "SPUBLISH a b",
        "SCRIPT LOAD s",
        "FUNCTION LIST",
        "XGROUP CREATE k g 0",
        "CONFIG SET a b",
        "config get *",
        "SET k v",
        "GETDEL k",
        "SORT k",
        "FLUSHALL",
        "MIGRATE h 1 k 0 1",
        "SWAPDB 0 1",
        "CLUSTER FAILOVER",
        "ACL SETUSER a",
        "LATENCY RESET",
        "SLOWLOG RESET",
        "MEMORY PURGE",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "DEBUG SLEEP 1",
        "SAVE",
        "XREADGROUP GROUP g c STREAMS k >",
    ] {
        assert_eq!(effect(line), Effect::Write, "{line}");
    }
}

#[test]
fn what_is_not_known_is_a_write() {
    for line in [
        "",
        "NOSUCH k",
        "CLUSTER",
        "CLUSTER NOSUCH",
        "XINFO",
        "OBJECT NOSUCH k",
        "config|get a",
        "XINFO|STREAM k",
    ] {
        assert_eq!(effect(line), Effect::Write, "{line}");
    }
    assert!(CommandTable::from_reply(&Value::Null).is_empty());
    let request = Command::new("GET").arg("k").to_request();
    assert_eq!(CommandTable::from_reply(&Value::Null).effect(&request), Effect::Write);
}

#[test]
fn reads_are_reads() {
    for line in [
        "GET k",
        "mget a b",
        "EVAL_RO s 0",
        "EVALSHA_RO s 0",
        "FCALL_RO f 0",
        "SORT_RO k",
        "XINFO STREAM k",
        "OBJECT ENCODING k",
        "MEMORY USAGE k",
        "PING",
        "INFO",
        "ROLE",
        "TIME",
        "CLUSTER SLOTS",
        "cluster nodes",
        "COMMAND",
        "COMMAND DOCS",
        "PUBSUB CHANNELS",
        "DBSIZE",
        "SLOWLOG GET",
        "XREAD STREAMS k 0",
        "ACL WHOAMI",
        "LATENCY LATEST",
    ] {
        assert_eq!(effect(line), Effect::Read, "{line}");
    }
}

#[test]
fn only_what_can_block_is_blocking() {
    for (line, expected) in [
        ("XREAD BLOCK 0 STREAMS k $", Effect::BlockingRead),
        ("XREAD COUNT 5 block 100 STREAMS k $", Effect::BlockingRead),
        ("XREAD COUNT 5 STREAMS block 0", Effect::Read),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS k >", Effect::BlockingWrite),
        ("XREADGROUP GROUP block block STREAMS k >", Effect::Write),
        ("XREADGROUP GROUP block c COUNT 1 NOACK BLOCK 5 STREAMS k >", Effect::BlockingWrite),
        ("BLPOP k 0", Effect::BlockingWrite),
        ("BLMPOP 0 1 k LEFT", Effect::BlockingWrite),
        ("BZPOPMIN k 0", Effect::BlockingWrite),
        ("LPOP k", Effect::Write),
        ("WAIT 1 0", Effect::Wait),
        ("WAITAOF 1 0 0", Effect::Wait),
    ] {
        let effect = effect(line);
        assert_eq!(effect, expected, "{line}");
        let blocking = !matches!(expected, Effect::Read | Effect::Write);
        assert_eq!(effect.is_blocking(), blocking, "{line}");
    }
}

#[test]
fn connection_state_and_subscriptions_are_told_apart() {
    for line in [
        "HELLO 3",
        "AUTH p",
        "SELECT 1",
        "CLIENT SETNAME a",
        "client tracking on",
        "MULTI",
        "DISCARD",
        "WATCH k",
        "UNWATCH",
        "RESET",
        "QUIT",
        "READONLY",
        "ASKING",
    ] {
        assert_eq!(effect(line), Effect::Connection, "{line}");
    }
    for line in ["SUBSCRIBE a", "psubscribe a", "SSUBSCRIBE a", "UNSUBSCRIBE", "MONITOR"] {
        assert_eq!(effect(line), Effect::Subscription, "{line}");
    }
}

#[test]
fn classify_names_the_subcommand() {
    let table = CommandTable::builtin();
    let name = |command: Command| {
        table.classify(&command.to_request()).0.map(|entry| entry.name().to_owned())
    };
    assert_eq!(name(Command::new("Config").arg("Get")).as_deref(), Some("config|get"));
    assert_eq!(name(Command::new("CONFIG").arg("x")).as_deref(), Some("config"));
    assert_eq!(name(Command::new("GET").arg("k")).as_deref(), Some("get"));
    assert_eq!(name(Command::new("NOPE")), None);
}

#[test]
fn no_read_is_flagged_as_a_write_by_the_engine() {
    for entry in CommandTable::builtin().iter() {
        let effect = match entry.rule {
            Rule::Fixed(effect) | Rule::Stream(effect) => effect,
            Rule::Unknown => Effect::Write,
        };
        if entry.flags.contains(Flags::WRITE) {
            assert!(effect.is_write(), "{}", entry.name());
        }
        if entry.flags.contains(Flags::READONLY) {
            assert!(effect.is_read(), "{}", entry.name());
        }
    }
}

#[test]
fn a_live_answer_with_odd_entries_keeps_the_good_ones() {
    let entry = |name: &str, flag: &str| {
        Value::Array(vec![
            Value::Bulk(name.to_owned().into()),
            Value::Integer(-2),
            Value::Set(vec![Value::Simple(flag.to_owned().into())]),
            Value::Integer(1),
            Value::Integer(1),
            Value::Integer(1),
        ])
    };
    let reply = Value::Array(vec![
        Value::Null,
        entry("FT.SEARCH", "readonly"),
        Value::Array(vec![Value::Integer(1)]),
        entry("ft.search", "write"),
        entry("", "write"),
        entry("MOD.WAIT", "blocking"),
    ]);
    let table = CommandTable::from_reply(&reply);
    assert_eq!(table.len(), 2);
    let request = Command::new("Ft.Search").arg("k").to_request();
    assert_eq!(table.effect(&request), Effect::Read);
    assert_eq!(table.effect(&Command::new("mod.wait").to_request()), Effect::BlockingWrite);
}
