//! Answers byte by byte, in both versions of the protocol.
//!
//! Invariant: what is expected here was read from a Sentinel of redis 7.0.15, unless it says so.
//!
//! Not here: names and order of fields (`super::real`).

use tanist_tls::DoorError;

use super::super::rig::{group, with_role};
use super::super::settings::{Password, Settings};
use super::super::{Advertise, Limits, Sentinel, SentinelConfig, SentinelError};
use super::wire::{Controller, Wire};

async fn web() -> Wire {
    Controller::with(&[group("web", 3, Some(1))]).await.asked_by_a_client().await
}

#[tokio::test]
async fn answers_are_flat_in_the_old_protocol_and_maps_in_the_new_one() {
    let mut client = web().await;
    let hello = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n";
    let mode = "$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nmodules\r\n*0\r\n";
    client.say(&["HELLO", "2"]).await;
    client.hears(&format!("*12\r\n{hello}:2\r\n{mode}")).await;
    client.say(&["sentinel", "get-master-addr-by-name", "none"]).await;
    client.hears("*-1\r\n").await;
    client.say(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "web"]).await;
    client.hears("*2\r\n$10\r\n127.80.1.1\r\n$4\r\n6379\r\n").await;
    client.say(&["SENTINEL", "MASTERS"]).await;
    client.hears("*1\r\n*40\r\n$4\r\nname\r\n$3\r\nweb\r\n").await;
    let mut client = web().await;
    client.say(&["HELLO", "3"]).await;
    client.hears(&format!("%6\r\n{hello}:3\r\n{mode}")).await;
    client.say(&["SENTINEL", "get-master-addr-by-name", "none"]).await;
    client.hears("_\r\n").await;
    client.say(&["SENTINEL", "master", "web"]).await;
    client.hears("%20\r\n$4\r\nname\r\n$3\r\nweb\r\n").await;
}

#[tokio::test]
async fn simple_questions_have_the_engines_answers() {
    let mut client = web().await;
    for (words, expected) in [
        (&["PING"][..], "+PONG\r\n"),
        (&["PING", "hi"], "$2\r\nhi\r\n"),
        (&["PING", "a", "b"], "-ERR wrong number of arguments for 'ping' command\r\n"),
        (&["ROLE"], "*2\r\n$8\r\nsentinel\r\n*1\r\n$3\r\nweb\r\n"),
        (&["CLIENT", "GETNAME"], "$-1\r\n"),
        (&["CLIENT", "SETNAME", "me"], "+OK\r\n"),
        (&["CLIENT", "GETNAME"], "$2\r\nme\r\n"),
        (
            &["CLIENT", "SETNAME", "a b"],
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        (&["CLIENT", "ID"], ":1\r\n"),
        // Not known to 7.0; as in 7.2.
        (&["CLIENT", "SETINFO", "LIB-NAME", "x"], "+OK\r\n"),
        (&["CLIENT", "SETINFO", "lib-x", "x"], "-ERR Unrecognized option 'lib-x'\r\n"),
        (
            &["CLIENT", "MAINT_NOTIFICATIONS", "ON"],
            "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n",
        ),
        (&["GET", "a"], "-ERR unknown command 'GET', with args beginning with: 'a' \r\n"),
        (&["HELLO", "4"], "-NOPROTO unsupported protocol version\r\n"),
        (&["HELLO", "x"], "-ERR Protocol version is not an integer or out of range\r\n"),
        (&["HELLO", "3", "FOO"], "-ERR Syntax error in HELLO option 'FOO'\r\n"),
        (&["HELLO", "3", "AUTH", "a"], "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        (&["AUTH", "default", "x"], "+OK\r\n"),
        (&["AUTH", "a", "b"], "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        (&["AUTH", "a", "b", "c"], "-ERR syntax error\r\n"),
        (
            &["PUBLISH", "a", "b"],
            "-ERR Only HELLO messages are accepted by Sentinel instances.\r\n",
        ),
        (&["COMMAND", "COUNT"], ":15\r\n"),
        (&["COMMAND", "DOCS"], "*0\r\n"),
        // Not known to 7.0; as in other engines.
        (&["RESET"], "+RESET\r\n"),
        (&["CLIENT", "GETNAME"], "$-1\r\n"),
    ] {
        client.say(words).await;
        client.hears(expected).await;
    }
    client.say(&["QUIT"]).await;
    client.hears("+OK\r\n").await;
    client.hears_the_end().await;
}

#[tokio::test]
async fn what_sentinel_is_asked_has_its_answers() {
    let mut client = web().await;
    for (words, expected) in [
        (&["master", "none"][..], "-ERR No such master with that name\r\n"),
        (&["replicas", "none"], "-ERR No such master with that name\r\n"),
        (&["slaves", "none"], "-ERR No such master with that name\r\n"),
        (&["sentinels", "none"], "-ERR No such master with that name\r\n"),
        (&["failover", "none"], "-ERR No such master with that name\r\n"),
        (&["ckquorum", "none"], "-ERR No such master with that name\r\n"),
        (&["set", "none", "quorum", "2"], "-ERR No such master with that name\r\n"),
        (&["remove", "none"], "-ERR No such master with that name\r\n"),
        (&["info-cache", "none"], "*0\r\n"),
        (&["pending-scripts"], "*0\r\n"),
        (&["reset", "none"], ":0\r\n"),
        (&["reset", "w*"], ":1\r\n"),
        (
            &["ckquorum", "web"],
            "+OK 2 usable Sentinels. Quorum and failover authorization can be reached\r\n",
        ),
        (&["config", "get", "resolve-*"], "*2\r\n$17\r\nresolve-hostnames\r\n$2\r\nno\r\n"),
        (&["config", "get", "NONO"], "*0\r\n"),
        (
            &["config", "foo"],
            "-ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.\r\n",
        ),
        (
            &["is-master-down-by-addr", "127.80.1.1", "6379", "0", "*"],
            "*3\r\n:0\r\n$1\r\n*\r\n:0\r\n",
        ),
        (
            &["is-master-down-by-addr", "127.80.1.1", "x", "0", "*"],
            "-ERR value is not an integer or out of range\r\n",
        ),
    ] {
        client.say(&[&["SENTINEL"], words].concat()).await;
        client.hears(expected).await;
    }
    let id = client.text(&["SENTINEL", "myid"]).await;
    assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let help = client.ask(&["SENTINEL", "help"]).await;
    assert_eq!(help.as_array().unwrap()[1].as_str(), Some("CKQUORUM <master-name>"));
}

#[tokio::test]
async fn what_tanist_does_by_other_means_is_refused_with_the_command_that_does_it() {
    let mut client = web().await;
    for (words, command) in [
        (&["monitor", "x", "127.0.0.1", "6379", "1"][..], "tanist create"),
        (&["remove", "web"], "tanist delete"),
        (&["set", "web", "quorum", "2"], "tanist scale"),
        (&["flushconfig"], "tanist status"),
        (&["simulate-failure", "crash-after-election"], "tanist drill"),
        (&["config", "set", "announce-ip", "1.2.3.4"], "tanist dev --config"),
    ] {
        let said = client.text(&[&["SENTINEL"], words].concat()).await;
        assert!(said.starts_with("ERR ") && said.contains(command), "{words:?}: {said}");
    }
}

#[tokio::test]
async fn info_has_sentinels_own_lines() {
    let mut client = web().await;
    let sentinel = "# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\n\
         sentinel_tilt_since_seconds:-1\r\nsentinel_running_scripts:0\r\n\
         sentinel_scripts_queue_length:0\r\nsentinel_simulate_failure_flags:0\r\n\
         master0:name=web,status=ok,address=127.80.1.1:6379,slaves=2,sentinels=2\r\n";
    assert_eq!(client.text(&["INFO", "sentinel"]).await, sentinel);
    assert_eq!(client.text(&["INFO", "nothing"]).await, "");
    let all = client.text(&["INFO"]).await;
    assert!(all.starts_with("# Server\r\nredis_version:7.0.15\r\n") && all.ends_with(sentinel));
    let cached = client.ask(&["SENTINEL", "info-cache", "web"]).await;
    let of = cached.as_array().unwrap();
    assert_eq!((of[0].as_str(), of[1].as_array().unwrap().len()), (Some("web"), 3));
}

#[tokio::test]
async fn subscriptions_are_confirmed_and_bind_as_in_an_engine() {
    let mut client = web().await;
    client.say(&["SUBSCRIBE", "+a", "+b"]).await;
    client.hears("*3\r\n$9\r\nsubscribe\r\n$2\r\n+a\r\n:1\r\n").await;
    client.hears("*3\r\n$9\r\nsubscribe\r\n$2\r\n+b\r\n:2\r\n").await;
    for (words, expected) in [
        (&["PSUBSCRIBE", "x*"][..], "*3\r\n$10\r\npsubscribe\r\n$2\r\nx*\r\n:3\r\n"),
        (&["PING"], "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        (
            &["SENTINEL", "myid"],
            "-ERR Can't execute 'sentinel|myid': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / \
             QUIT / RESET are allowed in this context\r\n",
        ),
        (&["UNSUBSCRIBE", "+a"], "*3\r\n$11\r\nunsubscribe\r\n$2\r\n+a\r\n:2\r\n"),
        (&["UNSUBSCRIBE"], "*3\r\n$11\r\nunsubscribe\r\n$2\r\n+b\r\n:1\r\n"),
        (&["PUNSUBSCRIBE"], "*3\r\n$12\r\npunsubscribe\r\n$2\r\nx*\r\n:0\r\n"),
        (&["UNSUBSCRIBE"], "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"),
    ] {
        client.say(words).await;
        client.hears(expected).await;
    }
    client.ask(&["HELLO", "3"]).await;
    client.say(&["SUBSCRIBE", "+a"]).await;
    client.hears(">3\r\n$9\r\nsubscribe\r\n$2\r\n+a\r\n:1\r\n").await;
    client.say(&["PING"]).await;
    client.hears("+PONG\r\n").await;
    client.say(&["UNSUBSCRIBE", "+a"]).await;
    client.hears(">3\r\n$11\r\nunsubscribe\r\n$2\r\n+a\r\n:0\r\n").await;
    client.say(&["PUNSUBSCRIBE"]).await;
    client.hears(">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n").await;
}

#[tokio::test]
async fn a_failover_is_asked_of_the_controller_and_refused_in_sentinels_words() {
    let controller = Controller::with(&[group("web", 3, Some(1))]).await;
    let mut client = controller.asked_by_a_client().await;
    assert_eq!(client.text(&["SENTINEL", "FAILOVER", "web"]).await, "OK");
    assert_eq!(*controller.asked.lock().unwrap(), ["web"]);
    for (code, expected) in [
        ("T410", "ERR No such master with that name"),
        ("T412", "INPROG Failover already in progress"),
        ("T204", "NOGOODSLAVE No suitable replica to promote"),
        ("T415", "ERR why (T415); what now"),
    ] {
        controller.refuses(code);
        assert_eq!(client.text(&["SENTINEL", "FAILOVER", "web"]).await, expected);
    }
    let lonely = with_role(with_role(group("b", 1, Some(1)), 2, "down"), 3, "syncing");
    let controller = Controller::with(&[group("a", 1, None), lonely]).await;
    let mut client = controller.asked_by_a_client().await;
    let said = client.text(&["SENTINEL", "FAILOVER", "a"]).await;
    assert_eq!(said, "INPROG Failover already in progress");
    let said = client.text(&["SENTINEL", "FAILOVER", "b"]).await;
    assert_eq!(said, "NOGOODSLAVE No suitable replica to promote");
    assert!(controller.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_group_that_has_just_been_made_is_found_at_once() {
    let controller = Controller::with(&[]).await;
    let mut client = controller.asked_by_a_client().await;
    assert!(client.ask(&["SENTINEL", "get-master-addr-by-name", "web"]).await.is_null());
    controller.says(&[group("web", 1, Some(1))]);
    let found = client.ask(&["SENTINEL", "get-master-addr-by-name", "web"]).await;
    assert_eq!(found.as_array().unwrap()[0].as_str(), Some("127.80.1.1"));
}

#[tokio::test]
async fn with_a_password_nobody_is_answered_without_it() {
    let controller = Controller::with(&[group("web", 1, Some(1))]).await;
    let password = Some(Password::try_from("s3cret".to_owned()).unwrap());
    let settings = Settings { password, ..Settings::default() };
    let address = controller.served(settings, Limits::DEFAULT).await;
    let mut client = Wire::connect(address).await;
    let none = "NOAUTH Authentication required.";
    assert_eq!(client.text(&["SENTINEL", "masters"]).await, none);
    assert_eq!(client.text(&["PING"]).await, none);
    assert!(client.text(&["HELLO", "3"]).await.starts_with("NOAUTH HELLO must be called"));
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(client.text(&["AUTH", "other"]).await, wrong);
    assert_eq!(client.text(&["AUTH", "admin", "s3cret"]).await, wrong);
    assert_eq!(client.text(&["AUTH", "s3cret"]).await, "OK");
    assert_eq!(client.text(&["PING"]).await, "PONG");
    assert_eq!(client.text(&["RESET"]).await, "RESET");
    assert_eq!(client.text(&["PING"]).await, none);
    let hello = client.ask(&["HELLO", "3", "AUTH", "default", "s3cret", "SETNAME", "me"]).await;
    assert_eq!(hello.get("mode").unwrap().as_str(), Some("sentinel"));
    assert_eq!(client.text(&["CLIENT", "GETNAME"]).await, "me");
}

#[tokio::test]
async fn nodes_are_named_by_a_look_of_that_moment() {
    let controller = Controller::with(&[group("web", 7, Some(1))]).await;
    let settings = Settings { advertise: Advertise::Nodes, ..Settings::default() };
    let mut client = Wire::connect(controller.served(settings, Limits::DEFAULT).await).await;
    for (epoch, primary) in [(7, 1), (8, 2), (9, 3), (10, 1)] {
        // No event says so: a client may ask before one comes.
        controller.says(&[group("web", epoch, Some(primary))]);
        let address = client.ask(&["SENTINEL", "get-master-addr-by-name", "web"]).await;
        let ip = format!("127.80.1.{}", 10 + primary);
        assert_eq!(address.as_array().unwrap()[0].as_str(), Some(ip.as_str()));
        let all = client.ask(&["SENTINEL", "MASTERS"]).await;
        let told = all.as_array().unwrap()[0].get("ip").and_then(|ip| ip.as_str());
        assert_eq!(told, Some(ip.as_str()));
    }
}

#[tokio::test]
async fn addresses_that_others_can_reach_are_not_served_in_plain_text_or_without_a_password() {
    let refused = async |settings: Settings| {
        let config = SentinelConfig {
            controller: tanist_link::Client::new("/nowhere"),
            installation: String::new(),
            own: None,
            others: Vec::new(),
            settings,
        };
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        Sentinel::new(config).serve(vec![listener]).await.unwrap_err()
    };
    let open = refused(Settings::default()).await;
    assert!(matches!(open, SentinelError::Door(DoorError::NobodyKnown(_))), "{open}");
    let settings: Settings = toml::from_str("password = \"p\"").unwrap();
    let plain = refused(settings).await;
    assert!(matches!(plain, SentinelError::Door(DoorError::NotEncrypted(_))), "{plain}");
}
