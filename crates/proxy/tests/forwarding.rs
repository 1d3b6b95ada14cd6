//! What a client sees while nothing goes wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use kit::{Binary, Conn, World};
use tanist_core::model::{Durability, NodeId};
use tanist_link::wire::ProxyShard;
use tanist_proxy::ProxyLimits;

#[tokio::test]
async fn pipelined_replies_come_in_the_order_of_the_requests() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    let mut lines = Vec::new();
    for number in 0..500 {
        lines.push(format!("SET k{number} {number}"));
        lines.push(format!("GET k{number}"));
        lines.push("AUTH nobody x".to_owned());
        lines.push("REPLICAOF NO ONE".to_owned());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    client.send(&lines).await;
    for number in 0..500 {
        assert_eq!(client.text().await, "+OK");
        let text = number.to_string();
        assert_eq!(client.text().await, format!("${} {text}", text.len()));
        assert!(client.text().await.starts_with("-WRONGPASS"));
        assert!(client.text().await.starts_with("-NOPERM"));
    }
}

#[tokio::test]
async fn a_client_is_the_default_user_of_an_engine_without_a_password() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(1, Durability::Async, binary, ProxyLimits::default()).await;
        let mut client = world.primary().await;
        assert_eq!(client.call("AUTH default anything").await, "+OK");
        assert_eq!(client.call("ACL WHOAMI").await, "$7 default");
        assert!(client.call("AUTH x").await.starts_with("-ERR AUTH <password> called without any"));
        let hello = client.call("HELLO 3 AUTH default x SETNAME app").await;
        assert!(hello.starts_with("%7 $6 server "), "{hello}");
        assert_eq!(client.call("CLIENT GETNAME").await, "$3 app");
        assert_eq!(client.call("GET nothing").await, "_");
        assert!(client.call("HELLO 3 AUTH tanist secret").await.starts_with("-WRONGPASS"));
        assert_eq!(client.call("HELLO 9").await, "-NOPROTO unsupported protocol version");
        assert_eq!(client.call("SELECT 4").await, "+OK");
        assert_eq!(client.call("SET a 1").await, "+OK");
        assert_eq!(client.call("RESET").await, "+RESET");
        assert_eq!(client.call("GET a").await, "$-1");
        assert_eq!(client.call("CLIENT GETNAME").await, "$-1");
        client.send(&["PING", "QUIT", "PING"]).await;
        assert_eq!(client.rest().await, b"+PONG\r\n+OK\r\n");
    }
}

#[tokio::test]
async fn identity_within_a_transaction_is_the_clients() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    client
        .send(&[
            "MULTI",
            "ACL WHOAMI",
            "AUTH default x",
            "AUTH tanist secret",
            "SELECT 2",
            "SET a 1",
            "EXEC",
            "GET a",
        ])
        .await;
    assert_eq!(client.text().await, "+OK");
    for _ in 0..5 {
        assert_eq!(client.text().await, "+QUEUED");
    }
    let exec = client.text().await;
    assert_eq!(
        exec,
        "*5 $7 default +OK -WRONGPASS invalid username-password pair or user is disabled. +OK +OK"
    );
    assert_eq!(client.text().await, "$1 1");
}

#[tokio::test]
async fn every_denied_command_is_answered_and_nothing_else_happens() {
    let world = World::new(1, Durability::Async).await;
    let denied = [
        ("SYNC", "sync"),
        ("PSYNC ? -1", "psync"),
        ("REPLICAOF NO ONE", "replicaof"),
        ("slaveof no one", "slaveof"),
        ("FAILOVER", "failover"),
        ("SHUTDOWN NOSAVE", "shutdown"),
        ("DEBUG SEGFAULT", "debug"),
        ("MODULE LIST", "module|list"),
        ("MODULE LOAD x", "module|load"),
        ("CONFIG GET *", "config|get"),
        ("CONFIG SET maxmemory 1", "config|set"),
        ("CONFIG REWRITE", "config|rewrite"),
        ("SAVE", "save"),
        ("BGSAVE", "bgsave"),
        ("BGREWRITEAOF", "bgrewriteaof"),
        ("MIGRATE h 1 k 0 1", "migrate"),
        ("ACL SETUSER default on", "acl|setuser"),
        ("ACL DELUSER tanist", "acl|deluser"),
        ("ACL LOAD", "acl|load"),
        ("ACL SAVE", "acl|save"),
        ("ACL LIST", "acl|list"),
        ("ACL GETUSER tanist", "acl|getuser"),
        ("ACL USERS", "acl|users"),
        ("ACL LOG", "acl|log"),
        ("CLUSTER FAILOVER", "cluster|failover"),
        ("CLUSTER RESET", "cluster|reset"),
        ("CLUSTER SETSLOT 1 STABLE", "cluster|setslot"),
        ("REPLCONF listening-port 1", "replconf"),
    ];
    let mut client = world.primary().await;
    let text = |name| format!("-NOPERM this user has no permissions to run the '{name}' command");
    for (line, name) in denied {
        assert_eq!(client.call(line).await, text(name), "{line}");
        assert_eq!(client.call("MULTI").await, "+OK");
        assert_eq!(client.call(line).await, text(name), "{line} in a transaction");
        assert_eq!(
            client.call("EXEC").await,
            "-EXECABORT Transaction discarded because of previous errors.",
            "{line}"
        );
    }
    for (line, expected) in [
        ("CONFIG", "-ERR wrong number of arguments for 'config' command"),
        ("REPLICAOF", "-ERR wrong number of arguments for 'replicaof' command"),
        ("CONFIG NOPE", "-ERR unknown subcommand 'NOPE'. Try CONFIG HELP."),
        ("NOSUCH a", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' "),
        ("CLIENT KILL ID 999999", ":0"),
        ("CLIENT KILL TYPE master", ":0"),
        ("CLIENT KILL TYPE replica", ":0"),
        ("CLIENT KILL USER tanist", "-ERR No such user 'tanist'"),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
    ] {
        assert_eq!(client.call(line).await.trim_end(), expected.trim_end(), "{line}");
    }
    client.send_raw(b"replicaof no one\r\n").await;
    assert_eq!(client.text().await, text("replicaof"));
}

#[tokio::test]
async fn a_script_cannot_do_what_is_denied() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    client.send_raw(b"EVAL \"return redis.call('CONFIG','GET','*')\" 0\r\n").await;
    let answer = client.text().await;
    assert!(answer.starts_with("-ERR ") || answer.starts_with("-NOPERM"), "{answer}");
    client.send_raw(b"EVAL \"return redis.call('SET',KEYS[1],'v')\" 1 k\r\n").await;
    assert_eq!(client.text().await, "+OK");
}

#[tokio::test]
async fn info_and_role_name_endpoints_only() {
    for binary in [Binary::Redis, Binary::Valkey] {
        let world = World::with(2, Durability::Async, binary, ProxyLimits::default()).await;
        let port = world.route.endpoints.port;
        let (one, two) = (world.node_address("n1").ip(), world.node_address("n2").ip());
        let engines: Vec<String> =
            world.engines.iter().map(|engine| engine.address.port().to_string()).collect();
        let mut client = world.primary().await;
        let info = client.call("INFO replication").await;
        assert!(info.contains(&format!("slave0:ip={two},port={port},state=online")), "{info}");
        let role = client.call("ROLE").await;
        assert!(role.contains(&two.to_string()) && role.contains(&port.to_string()), "{role}");
        client.send(&["MULTI", "SET a b", "INFO replication", "ROLE", "EXEC"]).await;
        for _ in 0..4 {
            client.text().await;
        }
        let exec = client.text().await;
        assert!(exec.starts_with("*3 +OK $"), "{exec}");
        assert_eq!(exec.matches(&two.to_string()).count(), 2, "{exec}");
        let mut replica = world.node("n2").await;
        replica.call("HELLO 3").await;
        let info = replica.call("INFO replication").await;
        assert!(info.starts_with('='), "{info}");
        assert!(info.contains(&format!("master_host:{one} master_port:{port} ")), "{info}");
        let role = replica.call("ROLE").await;
        assert!(
            role.starts_with(&format!("*5 $5 slave ${} {one} :{port} ", one.to_string().len()))
        );
        for text in [info, role, exec] {
            for engine in &engines {
                assert!(!text.contains(engine), "{text}");
            }
            assert!(!text.contains(".00000000."), "{text}");
        }
        // Everything else is as the engine says it.
        let direct = world.engine("n1").admin(&["INFO", "commandstats"]).await;
        assert!(direct.as_str().unwrap().starts_with("# Commandstats"));
        assert_eq!(client.call("INFO nosuch").await, "$0");
    }
}

#[tokio::test]
async fn a_node_endpoint_leads_to_its_node_whatever_its_role() {
    let world = World::new(2, Durability::Async).await;
    let mut one = world.node("n1").await;
    assert_eq!(one.call("SET a 1").await, "+OK");
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    let mut two = world.node("n2").await;
    assert_eq!(two.call("GET a").await, "$1 1");
    assert_eq!(two.call("SET a 2").await, "-READONLY You can't write against a read only replica.");
}

#[tokio::test]
async fn a_node_that_is_primary_no_more_disconnects_who_came_to_its_primary() {
    let mut world = World::new(2, Durability::Async).await;
    let (mut writer, mut subscriber) = (world.node("n1").await, world.node("n1").await);
    let (mut replica, mut client) = (world.node("n2").await, world.primary().await);
    assert_eq!(writer.call("SET a 1").await, "+OK");
    subscriber.call("SUBSCRIBE news").await;
    assert_eq!(client.call("PING").await, "+PONG");
    assert_eq!(replica.call("PING").await, "+PONG");
    world.hold(Some(1));
    world.obeyed().await;
    assert!(writer.is_silent(50).await, "nobody else is primary yet");
    world.hold(None);
    world.switch_over("n1", "n2").await;
    assert_eq!(writer.rest().await, b"");
    assert_eq!(subscriber.rest().await, b"");
    assert_eq!(client.call("GET a").await, "$1 1", "the primary endpoint leads its clients on");
    assert_eq!(replica.call("SET a 2").await, "+OK", "it came to a replica");
}

#[tokio::test]
async fn a_writer_that_comes_to_a_former_primary_too_late_is_disconnected() {
    let mut world = World::new(3, Durability::Async).await;
    world.switch_over("n1", "n2").await;
    let epoch = world.route.epoch;
    for name in ["n1", "n3"] {
        world.engine(name).lane(epoch).await;
    }
    world.route.rev = world.route.rev.next();
    for node in &mut world.route.nodes {
        node.lane = Some(epoch);
    }
    world.publish();
    world.obeyed().await;
    let refusal = "-READONLY You can't write against a read only replica.";
    let (mut writer, mut other) = (world.node("n1").await, world.node("n3").await);
    assert_eq!(writer.call("PING").await, "+PONG", "it may have come to read");
    assert_eq!(writer.call("SET a 1").await, refusal);
    assert_eq!(writer.rest().await, b"");
    for _ in 0..2 {
        assert_eq!(other.call("SET a 1").await, refusal, "this one has not been primary");
    }
}

#[tokio::test]
async fn clients_are_counted_at_the_node_that_serves_them() {
    let world = World::new(2, Durability::Async).await;
    let mut writers = [world.primary().await, world.primary().await];
    let mut reader = world.reader().await;
    for client in writers.iter_mut().chain([&mut reader]) {
        assert_eq!(client.call("PING").await, "+PONG");
    }
    let at = |beat: &ProxyShard, node: &str| {
        beat.nodes.get(&NodeId::new(node)).map_or((0, 0), |clients| (clients.now, clients.ever))
    };
    world
        .until("three are served", |beat| (at(beat, "n1"), at(beat, "n2")) == ((2, 2), (1, 1)))
        .await;
    drop(writers);
    world.until("two have left", |beat| (at(beat, "n1"), at(beat, "n2")) == ((0, 2), (1, 1))).await;
}

#[tokio::test]
async fn a_pause_holds_one_endpoint_and_never_reaches_the_engine() {
    let world = World::new(1, Durability::Async).await;
    let mut admin = world.primary().await;
    let mut client = world.primary().await;
    let mut node = world.node("n1").await;
    assert_eq!(client.call("SET a 1").await, "+OK");
    assert_eq!(admin.call("CLIENT PAUSE 60000 WRITE").await, "+OK");
    assert_eq!(client.call("GET a").await, "$1 1");
    client.send(&["SET a 2", "GET a"]).await;
    assert!(client.is_silent(100).await);
    assert_eq!(node.call("SET b 1").await, "+OK");
    assert_eq!(admin.call("CLIENT UNPAUSE").await, "+OK");
    assert_eq!(client.text().await, "+OK");
    assert_eq!(client.text().await, "$1 2");
    assert_eq!(admin.call("CLIENT PAUSE 50").await, "+OK");
    assert_eq!(admin.call("PING").await, "+PONG");
}

#[tokio::test]
async fn replies_can_be_turned_off() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    client
        .send(&[
            "CLIENT REPLY OFF",
            "SET a 1",
            "REPLICAOF NO ONE",
            "CLIENT REPLY ON",
            "CLIENT REPLY SKIP",
            "SET a 2",
            "GET a",
        ])
        .await;
    assert_eq!(client.text().await, "+OK");
    assert_eq!(client.text().await, "$1 2");
}

#[tokio::test]
async fn subscriptions_and_monitors_work_in_both_versions() {
    let world = World::new(1, Durability::Async).await;
    let mut publisher = world.primary().await;
    let mut old = world.primary().await;
    old.send(&["SUBSCRIBE a b", "PING"]).await;
    assert_eq!(old.text().await, "*3 $9 subscribe $1 a :1");
    assert_eq!(old.text().await, "*3 $9 subscribe $1 b :2");
    assert_eq!(old.text().await, "*2 $4 pong $0");
    assert!(old.call("GET x").await.starts_with("-ERR Can't execute 'get'"));
    let mut new = world.primary().await;
    new.call("HELLO 3").await;
    new.send(&["SUBSCRIBE a", "SET x 1", "GET x"]).await;
    assert_eq!(new.text().await, ">3 $9 subscribe $1 a :1");
    assert_eq!(new.text().await, "+OK");
    assert_eq!(new.text().await, "$1 1");
    assert_eq!(publisher.call("PUBLISH a hello").await, ":2");
    assert_eq!(old.text().await, "*3 $7 message $1 a $5 hello");
    assert_eq!(new.text().await, ">3 $7 message $1 a $5 hello");
    old.send(&["UNSUBSCRIBE", "GET x"]).await;
    old.text().await;
    assert!(old.text().await.ends_with(":0"));
    assert_eq!(old.text().await, "$1 1");
    let mut monitor = world.primary().await;
    assert_eq!(monitor.call("MONITOR").await, "+OK");
    publisher.call("GET y").await;
    let line = monitor.text().await;
    assert!(line.ends_with("\"GET\" \"y\""), "{line}");
    monitor.send(&["PING"]).await;
    let (first, second) = (monitor.text().await, monitor.text().await);
    assert!(first == "+PONG" || second == "+PONG", "{first} {second}");
}

#[tokio::test]
async fn a_subscription_within_a_transaction_keeps_replies_in_step() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    client.send(&["MULTI", "SUBSCRIBE c d", "PING", "EXEC", "PING"]).await;
    for _ in 0..3 {
        client.text().await;
    }
    assert_eq!(client.text().await, "*2 *3 $9 subscribe $1 c :1 *3 $9 subscribe $1 d :2");
    assert!(client.text().await.contains("pong"));
    assert_eq!(client.text().await, "*2 $4 pong $0");
}

#[tokio::test]
async fn bad_input_gets_the_engines_words_and_an_end() {
    let world = World::new(1, Durability::Async).await;
    let long = "1".repeat(70 << 10);
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (b"*2147483648\r\n".to_vec(), "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*abc\r\n".to_vec(), "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$-1\r\n".to_vec(), "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$4x\r\n".to_vec(), "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n+PING\r\n".to_vec(), "-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"*1\r\n$4\r\nPINGXX".to_vec(), "-ERR Protocol error: invalid bulk terminator\r\n"),
        (b"GET \"a\r\n".to_vec(), "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (format!("*{long}").into_bytes(), "-ERR Protocol error: too big mbulk count string\r\n"),
        (
            format!("*1\r\n${long}").into_bytes(),
            "-ERR Protocol error: too big bulk count string\r\n",
        ),
        (b"POST / HTTP/1.1\r\n".to_vec(), ""),
        (
            b"PING\r\n*abc\r\n".to_vec(),
            "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n",
        ),
    ];
    for (input, expected) in rows {
        let mut client = world.primary().await;
        client.send_raw(&input).await;
        let shown = input.escape_ascii().to_string();
        let got = client.rest().await;
        assert_eq!(String::from_utf8_lossy(&got), expected, "{}", &shown[..shown.len().min(40)]);
    }
    let mut client = world.primary().await;
    client.send_raw(b"*-1\r\n*0\r\nPING\n").await;
    assert_eq!(client.text().await, "+PONG");
    for byte in b"*1\r\n$4\r\nPING\r\n" {
        client.send_raw(&[*byte]).await;
    }
    assert_eq!(client.text().await, "+PONG");
    client.send_raw(b"\xff\xfe\x80\r\n").await;
    assert!(client.next().await.unwrap().starts_with(b"-ERR unknown command '\xff\xfe\x80'"));
}

#[tokio::test]
async fn half_a_frame_ends_after_ten_seconds() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    let begun = std::time::Instant::now();
    client.send_raw(b"*1\r\n$4\r\nPI").await;
    assert_eq!(client.rest().await, b"");
    assert!((9..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn large_values_and_deep_pipelines_pass_whole() {
    let world = World::new(1, Durability::Async).await;
    let mut client = world.primary().await;
    let value = "v".repeat(3 << 20);
    assert_eq!(client.call(&format!("SET big {value}")).await, "+OK");
    let lines = vec!["GET big"; 20];
    client.send(&lines).await;
    for _ in 0..20 {
        let reply = client.next().await.unwrap();
        assert!(reply.len() > 3 << 20 && reply.ends_with(b"vv\r\n"));
    }
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let limits = ProxyLimits { max_clients: 2, ..ProxyLimits::default() };
    let world = World::with(1, Durability::Async, Binary::Redis, limits).await;
    let mut one = world.primary().await;
    let mut two = world.node("n1").await;
    assert_eq!((one.call("PING").await, two.call("PING").await), ("+PONG".into(), "+PONG".into()));
    let mut three = world.primary().await;
    assert_eq!(three.rest().await, b"-ERR max number of clients reached\r\n");
    drop(two);
    world.until("a seat is free", |beat| beat.clients == 1).await;
    let mut four = world.primary().await;
    assert_eq!(four.call("PING").await, "+PONG");
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answers() {
    let world = World::new(1, Durability::Async).await;
    let mut client = Conn::open(world.primary_address()).await;
    client.send(&["SET a 1", "GET a"]).await;
    client.finish().await;
    assert_eq!(client.rest().await, b"+OK\r\n$1\r\n1\r\n");
}
