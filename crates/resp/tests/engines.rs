//! The built-in knowledge against both live engines.

mod engine;

use std::time::Duration;

use engine::{Engine, PROGRAMS};
use tanist_resp::{Command, CommandTable, Connection, Flags, Info, Value, Version, slot};

const DEADLINE: Duration = Duration::from_secs(10);

async fn connect(engine: &Engine, version: Version) -> Connection {
    let mut connection =
        Connection::connect(engine.address(), DEADLINE).await.expect("a connection");
    if version == Version::Resp3 {
        let hello = Command::new("HELLO").arg("3");
        let hello = connection.call(&hello, DEADLINE).await.expect("an answer to HELLO");
        assert_eq!(hello.get("proto").and_then(Value::as_int), Some(3));
    }
    connection
}

#[tokio::test]
async fn the_built_in_table_knows_every_command_of_both_engines() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        let mut connection = connect(&engine, Version::Resp2).await;
        let count = connection.call(&Command::new("COMMAND").arg("COUNT"), DEADLINE).await.unwrap();
        let reply = connection.call(&Command::new("COMMAND"), DEADLINE).await.unwrap();
        let live = CommandTable::from_reply(&reply);
        let commands = live.iter().filter(|entry| !entry.name().contains('|')).count();
        assert_eq!(i64::try_from(commands).ok(), count.as_int(), "{program}");
        let mut wrong = Vec::new();
        for entry in live.iter() {
            let builtin = CommandTable::builtin().lookup(entry.name().as_bytes());
            let agrees = builtin.is_some_and(|builtin| {
                [Flags::WRITE, Flags::READONLY]
                    .iter()
                    .all(|flag| builtin.flags.contains(*flag) == entry.flags.contains(*flag))
            });
            if !agrees {
                wrong.push(format!("{entry:?}"));
            }
        }
        assert!(wrong.is_empty(), "{program}: missing or different: {wrong:#?}");
    }
}

#[tokio::test]
async fn both_protocol_versions_give_the_same_table() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        let mut tables = Vec::new();
        for version in [Version::Resp2, Version::Resp3] {
            let mut connection = connect(&engine, version).await;
            let reply = connection.call(&Command::new("COMMAND"), DEADLINE).await.unwrap();
            tables.push(CommandTable::from_reply(&reply).to_text());
        }
        assert!(tables[0].lines().count() > 300);
        assert_eq!(tables[0], tables[1], "{program}");
    }
}

#[tokio::test]
async fn slots_are_those_of_the_engine() {
    let keys: Vec<Vec<u8>> = ["", "foo", "{a}b", "a{}b", "a{{x}}b", "{", "}{", "{}", "a{b}{c}"]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .chain((0..=255).map(|byte| vec![byte, b'{', byte, b'}']))
        .collect();
    let asks: Vec<Command> =
        keys.iter().map(|key| Command::new("CLUSTER").arg("KEYSLOT").arg(key)).collect();
    for program in PROGRAMS {
        let engine = Engine::start(program, &["--cluster-enabled", "yes"]);
        let mut connection = connect(&engine, Version::Resp2).await;
        let answers = connection.pipeline(&asks, DEADLINE).await.unwrap();
        for (key, answer) in keys.iter().zip(answers) {
            let ours = i64::from(slot::slot(key));
            assert_eq!(answer.as_int(), Some(ours), "{program}: {}", key.escape_ascii());
        }
    }
}

#[tokio::test]
async fn info_of_a_live_pair_shows_the_replica() {
    for program in PROGRAMS {
        let primary = Engine::start(program, &["--repl-diskless-sync-delay", "0"]);
        let port = primary.address().port().to_string();
        let replica = Engine::start(program, &["--replicaof", "127.0.0.1", &port]);
        let mut connection = connect(&primary, Version::Resp3).await;
        // The first WAIT returns when the replica is attached, the second when it has the write.
        let set = Command::new("SET").arg("k").arg("v");
        let wait = Command::new("WAIT").int(1).int(10_000);
        let commands =
            [set.clone(), wait.clone(), set, wait, Command::new("INFO").arg("replication")];
        let values = connection.pipeline(&commands, DEADLINE + DEADLINE).await.unwrap();
        assert_eq!(values[3].as_int(), Some(1), "{program}");
        let info = Info::parse(values[4].as_str().unwrap());
        assert_eq!(info.get("role"), Some("master"));
        assert_eq!(info.get("master_replid").map(str::len), Some(40));
        let offset = info.get_u64("master_repl_offset").unwrap();
        let replicas = info.replicas();
        assert_eq!(replicas.len(), 1, "{program}: {info:?}");
        assert_eq!(replicas[0].port, replica.address().port());
        assert_eq!(replicas[0].state, "online");
        assert!(offset > 0 && replicas[0].offset <= offset, "{program}: {info:?}");
    }
}

#[tokio::test]
async fn every_type_of_resp3_comes_through_a_live_engine() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &["--enable-debug-command", "yes"]);
        let mut connection = connect(&engine, Version::Resp3).await;
        for (kind, expected) in [
            ("string", Value::Bulk("Hello World".into())),
            ("integer", Value::Integer(12345)),
            ("double", Value::Double("3.141".parse().unwrap())),
            ("null", Value::Null),
            ("array", Value::Array(vec![0.into_value(), 1.into_value(), 2.into_value()])),
            ("set", Value::Set(vec![0.into_value(), 1.into_value(), 2.into_value()])),
            ("attrib", Value::Bulk("Some real reply following the attribute".into())),
            ("true", Value::Boolean(true)),
            ("false", Value::Boolean(false)),
            ("bignum", Value::BigNumber("1234567999999999999999999999999999999".into())),
            (
                "verbatim",
                Value::Verbatim { format: *b"txt", text: "This is a verbatim\nstring".into() },
            ),
        ] {
            let command = Command::new("DEBUG").arg("PROTOCOL").arg(kind);
            let value = connection.call(&command, DEADLINE).await.unwrap();
            assert_eq!(value, expected, "{program}: {kind}");
        }
        let map = Command::new("DEBUG").arg("PROTOCOL").arg("map");
        let map = connection.call(&map, DEADLINE).await.unwrap();
        assert!(matches!(map, Value::Map(ref pairs) if pairs.len() == 3), "{program}: {map:?}");
        // The push comes in front of the reply and must not be taken for it.
        let push = Command::new("DEBUG").arg("PROTOCOL").arg("push");
        let commands = [push, Command::new("PING")];
        let values = connection.pipeline(&commands, DEADLINE).await.unwrap();
        assert_eq!(values[1], Value::Simple("PONG".into()), "{program}: {values:?}");
    }
}

/// Shorthand for the numbers that DEBUG PROTOCOL answers.
trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::Integer(self)
    }
}

#[tokio::test]
async fn an_engine_error_is_an_answer() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        let mut connection = connect(&engine, Version::Resp2).await;
        let commands =
            [Command::new("NOPE"), Command::new("GET"), Command::new("SET").arg("k").arg("v")];
        let values = connection.pipeline(&commands, DEADLINE).await.unwrap();
        assert_eq!(values[0].error_code(), Some("ERR"));
        assert!(values[1].as_error().is_some_and(|text| text.contains("wrong number")));
        assert!(values[2].is_ok());
        let value = connection.call(&Command::new("GET").arg("none"), DEADLINE).await.unwrap();
        assert!(value.is_null());
        assert!(!connection.is_broken());
        assert!(connection.pipeline(&[], DEADLINE).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_large_value_comes_back_whole() {
    let engine = Engine::start("redis-server", &[]);
    let mut connection = connect(&engine, Version::Resp2).await;
    let payload = vec![b'\r'; 8 << 20];
    let set = Command::new("SET").arg("k").arg(&payload);
    assert!(connection.call(&set, DEADLINE).await.unwrap().is_ok());
    let value = connection.call(&Command::new("GET").arg("k"), DEADLINE).await.unwrap();
    assert!(value.as_bytes().is_some_and(|bytes| bytes == &payload));
}
