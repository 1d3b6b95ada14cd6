//! What a release has written down is understood by those that follow it.
//!
//! When the format changes, a file is added and the one before stays for as long as it is read.
//!
//! Not here: that what is written is read again (every other test that upgrades).

use super::*;

/// What the release with this format has written of a client with something of everything.
const FORMAT_1: &str = include_str!("format_1.json");

/// A client with something of everything: a transaction, half a request, answers, settings.
fn busy() -> Rig {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["HELLO 3 SETNAME app", "SELECT 2", "CLIENT SETINFO lib-name x", "SUBSCRIBE a b"]);
    rig.write(usize::MAX);
    rig.reply("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n");
    rig.reply("+OK\r\n");
    rig.reply("+OK\r\n");
    rig.reply(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    rig.reply(">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
    rig.ask(&["WATCH k", "MULTI", "INCR n", "AUTH x"]);
    rig.write(usize::MAX);
    rig.reply("+OK\r\n");
    rig.reply("+OK\r\n");
    rig.reply("+QUEUED\r\n");
    rig.session.client_in.extend_from_slice(b"*1\r\n$4\r\nEX");
    rig.client_got();
    rig
}

#[test]
fn what_format_1_says_is_understood() {
    let mut rig = busy();
    let estate = serde_json::from_str(FORMAT_1).unwrap();
    let (endpoint, card) = (
        Rc::new(Endpoint::new(EndpointKind::Primary, address())),
        Rc::new(Card::new(1, address(), rig.now)),
    );
    let limits = rig.session.limits.clone();
    rig.session = Session::restore(estate, endpoint, limits, card, &rig.shard, rig.now).unwrap();
    rig.engine.clear();
    rig.session.client_in.extend_from_slice(b"EC\r\n");
    rig.advance();
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["EXEC"], "it is one connection in one transaction");
    rig.reply("+QUEUED\r\n");
    rig.reply(">3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\nhi\r\n");
    rig.reply("*2\r\n:1\r\n+PONG\r\n");
    let got = rig.client_got();
    assert!(got.starts_with("+QUEUED\r\n>3\r\n$7\r\nmessage\r\n"), "{got}");
    assert!(got.ends_with("*2\r\n:1\r\n-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"), "{got}");
    // After a failover it becomes again what it was.
    rig.lose();
    rig.connect();
    let facts = rig.session.state.facts();
    assert_eq!((facts.db, facts.name, facts.channels), (2, "app".into(), [2, 0, 0]));
    assert_eq!(facts.library[0], "x");
}
