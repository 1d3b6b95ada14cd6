//! The session's claims: one client, one made-up engine, no socket.
//!
//! Invariant: every request is answered once and in order, whatever happens to its lane.
//!
//! Not here: real engines (`tests/`).

mod exhaustive;
mod format;
mod login;
mod model;
mod random;
mod shortcut;
mod stock;

use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{Durability, RouteState};
use tanist_resp::{Command, Limits, RequestFramer};

use super::*;
use crate::out::MAX_SLICES;
use crate::shard::tests::{identity, route, serving, shard};

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// A session whose sockets are buffers.
struct Rig {
    shard: Shard,
    session: Session,
    now: Instant,
    /// What the engine has received.
    engine: BytesMut,
    client: BytesMut,
}

impl Rig {
    fn new(kind: EndpointKind) -> Self {
        let shard = shard();
        let endpoint = Rc::new(Endpoint::new(kind, address()));
        let card = Rc::new(Card::new(1, address(), Instant::now()));
        let session =
            Session::new(endpoint, ProxyLimits { lanes: 0, ..ProxyLimits::default() }, card);
        Self {
            shard,
            session,
            now: Instant::now(),
            engine: BytesMut::new(),
            client: BytesMut::new(),
        }
    }

    /// A primary endpoint in epoch 1, connected.
    fn ready(durability: Durability, required: &[&str]) -> Self {
        let mut rig = Self::new(EndpointKind::Primary);
        rig.route(durability, 1, 1, serving("n1", required, None));
        rig.ask(&["PING"]);
        rig.connect();
        rig.reply("+PONG\r\n");
        assert_eq!(rig.engine_got(), ["PING"]);
        assert_eq!(rig.client_got(), "+PONG\r\n");
        rig
    }

    fn route(&mut self, durability: Durability, rev: u64, epoch: u64, state: RouteState) {
        let mut route = route(rev, epoch, state);
        route.durability = durability;
        assert!(self.shard.learn(route));
        self.advance();
    }

    fn advance(&mut self) {
        self.session.advance(&self.shard, self.now);
        take(&mut self.session.client_out, usize::MAX, &mut self.client);
    }

    fn ask(&mut self, lines: &[&str]) {
        for line in lines {
            let mut words = line.split(' ');
            let command = Command::new(words.next().unwrap()).args(words);
            command.encode_into(&mut self.session.client_in);
        }
        self.advance();
    }

    /// Connects the upstream and lets the engine accept everything.
    fn connect(&mut self) {
        assert_eq!(self.session.link.phase, Phase::Connecting);
        self.engine.clear();
        self.session.connected(&self.shard);
        self.write(usize::MAX);
        let steps = self.engine_got().len();
        for _ in 0..steps {
            self.session.link.input.extend_from_slice(b"+OK\r\n");
        }
        self.advance();
        self.write(usize::MAX);
    }

    /// The socket takes so many bytes.
    fn write(&mut self, bytes: usize) {
        take(&mut self.session.link.out, bytes, &mut self.engine);
    }

    fn reply(&mut self, raw: &str) {
        self.session.link.input.extend_from_slice(raw.as_bytes());
        self.advance();
        self.write(usize::MAX);
    }

    /// Everything is handed over to the next image, by way of what is written down.
    fn renew(&mut self) {
        let shard = serde_json::to_string(&self.shard.estate()).unwrap();
        let session =
            serde_json::to_string(&self.session.estate(crate::octets::Clock(self.now))).unwrap();
        self.shard = Shard::restore(serde_json::from_str(&shard).unwrap(), identity());
        let endpoint = Rc::new(Endpoint::new(self.session.endpoint.kind.clone(), address()));
        let card = Rc::new(Card::new(1, address(), self.now));
        let (estate, limits) =
            (serde_json::from_str(&session).unwrap(), self.session.limits.clone());
        self.session =
            Session::restore(estate, endpoint, limits, card, &self.shard, self.now).unwrap();
        assert_eq!(
            serde_json::to_string(&self.session.estate(crate::octets::Clock(self.now))).unwrap(),
            session,
            "nothing is forgotten"
        );
    }

    fn lose(&mut self) {
        self.session.upstream_lost(&self.shard, self.now);
        self.engine.clear();
        self.advance();
    }

    /// The whole requests that the engine has received since it was last asked.
    fn engine_got(&mut self) -> Vec<String> {
        let mut framer = RequestFramer::new(Limits::default());
        let mut got = Vec::new();
        while let Some(request) = framer.next(&mut self.engine).unwrap() {
            let words: Vec<_> = request.args().map(String::from_utf8_lossy).collect();
            got.push(words.join(" "));
        }
        got
    }

    fn client_got(&mut self) -> String {
        String::from_utf8_lossy(&self.client.split()).into_owned()
    }
}

fn take(from: &mut OutQueue, limit: usize, into: &mut BytesMut) {
    let mut left = limit;
    while !from.is_empty() && left > 0 {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = from.slices(&mut slices);
        let mut taken = 0;
        for slice in &slices[..count] {
            let part = slice.len().min(left);
            into.extend_from_slice(&slice[..part]);
            left -= part;
            taken += part;
        }
        from.consume(taken);
    }
}

const ROLE_10_9: &str =
    "*3\r\n$6\r\nmaster\r\n:10\r\n*1\r\n*3\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\n9\r\n";
const ROLE_11_10: &str =
    "*3\r\n$6\r\nmaster\r\n:11\r\n*1\r\n*3\r\n$1\r\na\r\n$1\r\n0\r\n$2\r\n10\r\n";

#[test]
fn a_request_without_its_last_byte_is_replayed() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["SET a 1", "SET b 2"]);
    let all = rig.session.link.out.len();
    rig.write(all - 1);
    rig.lose();
    assert_eq!(rig.client_got(), "-UNCERTAIN write outcome unknown (epoch 1->?), not retried\r\n");
    rig.connect();
    assert_eq!(rig.engine_got(), ["SET b 2"]);
}

#[test]
fn what_was_answered_stays_in_its_place_among_what_is_replayed() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["GET a", "SET a 1", "AUTH x", "GET b", "SHUTDOWN"]);
    rig.write(usize::MAX);
    rig.lose();
    assert_eq!(rig.client_got(), "");
    rig.connect();
    assert_eq!(rig.engine_got(), ["GET a", "GET b"]);
    rig.reply("$1\r\n1\r\n");
    let got = rig.client_got();
    assert!(got.starts_with("$1\r\n1\r\n-UNCERTAIN ") && got.contains("-ERR AUTH "), "{got}");
    rig.reply("$-1\r\n");
    assert!(rig.client_got().starts_with("$-1\r\n-NOPERM "));
}

#[test]
fn bytes_of_an_epoch_that_is_over_never_leave() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["GET a", "INCR a"]);
    rig.write(usize::MAX);
    rig.session.link.input.extend_from_slice(b"$3\r\nold\r\n:7\r\n");
    rig.route(Durability::Async, 2, 2, RouteState::Vacant);
    assert_eq!(rig.client_got(), "");
    rig.route(Durability::Async, 3, 2, serving("n2", &[], None));
    rig.connect();
    rig.reply("$3\r\nnew\r\n");
    assert_eq!(
        rig.client_got(),
        "$3\r\nnew\r\n-UNCERTAIN write outcome unknown (epoch 1->2), not retried\r\n"
    );
}

#[test]
fn a_batch_is_withheld_until_it_is_proven() {
    let mut rig = Rig::ready(Durability::Sync, &["a"]);
    rig.ask(&["GET x", "SET a 1", "GET a"]);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["GET x", "SET a 1", "GET a", "ROLE", "WAIT 1 100", "ROLE"]);
    rig.ask(&["SET a 2"]);
    rig.write(usize::MAX);
    assert!(rig.engine_got().is_empty());
    rig.reply("$1\r\nx\r\n+OK\r\n$1\r\n1\r\n");
    assert_eq!(rig.client_got(), "$1\r\nx\r\n");
    rig.reply(ROLE_10_9);
    rig.reply(":1\r\n");
    rig.reply(ROLE_10_9);
    assert_eq!(rig.client_got(), "");
    // WAIT was satisfied without the member, so it is only a timer now.
    assert_eq!(rig.engine_got(), ["WAIT 2 1", "ROLE"]);
    rig.reply(":1\r\n");
    rig.reply(ROLE_11_10);
    assert_eq!(rig.client_got(), "+OK\r\n$1\r\n1\r\n");
    assert_eq!(rig.engine_got(), ["SET a 2", "ROLE", "WAIT 1 100", "ROLE"]);
}

#[test]
fn a_batch_ends_before_what_could_not_be_asked_about() {
    for next in ["MULTI", "BLPOP q 0", "SUBSCRIBE c", "SELECT 1", "XREAD BLOCK 0 STREAMS s $"] {
        let mut rig = Rig::ready(Durability::Sync, &["a"]);
        rig.ask(&["SET a 1", next]);
        rig.write(usize::MAX);
        assert_eq!(rig.engine_got(), ["SET a 1", "ROLE", "WAIT 1 100", "ROLE"], "{next}");
        rig.reply("+OK\r\n");
        rig.reply(ROLE_11_10.replace(":11", ":10").as_str());
        assert_eq!(rig.client_got(), "+OK\r\n", "{next}");
        assert_eq!(rig.engine_got().first().map(String::as_str), Some(next));
    }
}

#[test]
fn a_member_that_joins_has_to_have_what_is_in_flight() {
    let mut rig = Rig::ready(Durability::Sync, &[]);
    rig.ask(&["SET a 1"]);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["SET a 1"]);
    rig.route(Durability::Sync, 2, 1, serving("n1", &["a"], None));
    rig.reply("+OK\r\n");
    assert_eq!(rig.client_got(), "");
    assert_eq!(rig.engine_got(), ["ROLE", "WAIT 1 100", "ROLE"]);
    rig.reply(ROLE_10_9);
    assert_eq!(rig.client_got(), "");
    rig.route(Durability::Sync, 3, 1, serving("n1", &[], None));
    assert_eq!(rig.client_got(), "+OK\r\n");
}

#[test]
fn an_unproven_batch_of_a_lost_lane_meets_its_fate() {
    let mut rig = Rig::ready(Durability::Sync, &["a"]);
    rig.ask(&["SET a 1", "GET a", "LPUSH a x", "SELECT 2"]);
    rig.write(usize::MAX);
    rig.reply("+OK\r\n$1\r\n1\r\n-WRONGTYPE no\r\n");
    assert_eq!(rig.client_got(), "");
    rig.lose();
    assert!(rig.client_got().starts_with("-UNCERTAIN "));
    rig.connect();
    // The read may have seen what is not proven; SELECT did not leave with the batch.
    assert_eq!(rig.engine_got(), ["GET a", "SELECT 2"]);
    rig.reply("$-1\r\n");
    assert_eq!(rig.client_got(), "$-1\r\n-WRONGTYPE no\r\n");
}

#[test]
fn a_refusal_by_role_and_what_follows_it_is_asked_again() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["SET a 1", "GET a", "INCR n"]);
    rig.write(usize::MAX);
    rig.reply("-READONLY You can't write against a read only replica.\r\n$3\r\nold\r\n");
    rig.reply("-READONLY You can't write against a read only replica.\r\n");
    assert_eq!(rig.client_got(), "");
    assert_eq!(rig.session.link.phase, Phase::Down);
    rig.route(Durability::Async, 2, 2, serving("n2", &[], None));
    rig.connect();
    assert_eq!(rig.engine_got(), ["SET a 1", "GET a", "INCR n"]);
    rig.reply("+OK\r\n$1\r\n1\r\n:1\r\n");
    assert_eq!(rig.client_got(), "+OK\r\n$1\r\n1\r\n:1\r\n");
}

#[test]
fn a_script_cannot_ask_for_its_own_repetition() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["EVAL s 0"]);
    rig.write(usize::MAX);
    rig.reply("-READONLY made up\r\n");
    assert_eq!(rig.client_got(), "-READONLY made up\r\n");
}

#[test]
fn a_parked_request_hears_its_engine_out_after_the_epoch() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["BLPOP q 0", "GET a"]);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["BLPOP q 0"]);
    rig.route(Durability::Async, 2, 2, RouteState::Vacant);
    assert!(matches!(rig.session.link.phase, Phase::Draining { .. }));
    rig.reply("-UNBLOCKED force unblock from blocking operation, instance state changed\r\n");
    assert_eq!(rig.client_got(), "");
    rig.route(Durability::Async, 3, 2, serving("n2", &[], None));
    rig.connect();
    assert_eq!(rig.engine_got(), ["BLPOP q 0"]);
    // A pop that was served in an epoch that is over may be lost with it.
    rig.route(Durability::Async, 4, 3, RouteState::Vacant);
    rig.reply("*2\r\n$1\r\nq\r\n$1\r\nx\r\n");
    assert_eq!(rig.client_got(), "-UNCERTAIN write outcome unknown (epoch 2->3), not retried\r\n");
}

#[test]
fn an_engine_that_says_nothing_more_is_given_up() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["BLPOP q 0"]);
    rig.write(usize::MAX);
    rig.route(Durability::Async, 2, 2, RouteState::Vacant);
    rig.now += HOLD_LIMIT;
    rig.advance();
    assert!(rig.client_got().starts_with("-UNCERTAIN "));
}

#[test]
fn an_open_transaction_is_queued_again() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["MULTI", "SET a 1"]);
    rig.write(usize::MAX);
    rig.reply("+OK\r\n+QUEUED\r\n");
    rig.ask(&["INCR b", "EXEC"]);
    let all = rig.session.link.out.len();
    rig.write(all - 1);
    rig.client_got();
    rig.lose();
    rig.session.connected(&rig.shard);
    rig.write(usize::MAX);
    let got = rig.engine_got();
    assert!(got[0].starts_with("AUTH lane-1-p1 "));
    assert_eq!(got[1..], ["CLIENT ID", "MULTI", "SET a 1"]);
    rig.reply("+OK\r\n:7\r\n+OK\r\n+QUEUED\r\n");
    assert_eq!(rig.engine_got(), ["INCR b", "EXEC"]);
    assert_eq!(rig.client_got(), "");
    rig.reply("+QUEUED\r\n*2\r\n+OK\r\n:1\r\n");
    assert_eq!(rig.client_got(), "+QUEUED\r\n*2\r\n+OK\r\n:1\r\n");
}

#[test]
fn a_refused_exec_is_queued_again() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["MULTI", "SET a 1"]);
    rig.write(usize::MAX);
    rig.reply("+OK\r\n+QUEUED\r\n");
    rig.ask(&["EXEC"]);
    rig.write(usize::MAX);
    rig.engine_got();
    rig.client_got();
    rig.reply("-EXECABORT Transaction discarded because of: READONLY You can't write\r\n");
    assert_eq!(rig.client_got(), "");
    rig.route(Durability::Async, 2, 2, serving("n2", &[], None));
    rig.session.connected(&rig.shard);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got()[1..], ["CLIENT ID", "MULTI", "SET a 1"]);
    rig.reply("+OK\r\n:7\r\n+OK\r\n+QUEUED\r\n");
    assert_eq!(rig.engine_got(), ["EXEC"]);
    rig.reply("*1\r\n+OK\r\n");
    assert_eq!(rig.client_got(), "*1\r\n+OK\r\n");
}

#[test]
fn a_lost_wait_confirms_nothing() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["WAIT 1 0"]);
    rig.write(usize::MAX);
    rig.lose();
    assert_eq!(rig.client_got(), ":0\r\n");
}

#[test]
fn messages_are_told_from_replies() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["SUBSCRIBE a", "PING", "RESET"]);
    rig.write(usize::MAX);
    rig.reply("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    rig.reply("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    let got = rig.client_got();
    assert!(got.ends_with("m\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n+RESET\r\n"), "{got}");
}

#[test]
fn a_client_who_does_not_read_is_not_read() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    for _ in 0..2000 {
        rig.ask(&["GET big"]);
    }
    let forwarded = rig.session.slots.len();
    assert!(forwarded <= 300, "{forwarded}");
    rig.write(usize::MAX);
    rig.engine_got();
    let big = format!("${}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    rig.session.link.input.extend_from_slice(big.as_bytes());
    rig.session.link.input.extend_from_slice(big.as_bytes());
    // Nothing takes what goes to the client.
    rig.session.advance(&rig.shard, rig.now);
    assert!(!rig.session.wants_upstream() && !rig.session.wants_client());
    assert!(rig.session.slots.len() < forwarded);
    rig.advance();
    assert!(rig.session.wants_upstream() && rig.session.wants_client());
}

#[test]
fn while_holding_nothing_is_forwarded_and_the_client_is_not_read() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["GET a"]);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["GET a"]);
    rig.route(Durability::Async, 1, 1, serving("n1", &[], Some(5)));
    rig.ask(&["GET b"]);
    rig.write(usize::MAX);
    assert!(rig.engine_got().is_empty() && !rig.session.wants_client());
    assert_eq!((rig.shard.report().drained, rig.shard.report().held), (None, 1));
    rig.reply("$-1\r\n");
    assert_eq!(rig.client_got(), "$-1\r\n");
    assert!(rig.shard.report().drained.is_some());
    rig.route(Durability::Async, 1, 1, serving("n1", &[], None));
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["GET b"]);
    assert!(rig.session.wants_client());
}

#[test]
fn a_move_that_is_seen_when_it_is_over_is_told_from_its_beginning() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.session.state.version = tanist_resp::Version::Resp3;
    rig.ask(&["CLIENT MAINT_NOTIFICATIONS ON"]);
    assert_eq!(rig.client_got(), "+OK\r\n");
    let begins =
        |number| format!(">4\r\n$12\r\nFAILING_OVER\r\n:{number}\r\n:10\r\n$4\r\n0001\r\n");
    let ends = |number| format!(">3\r\n$11\r\nFAILED_OVER\r\n:{number}\r\n$4\r\n0001\r\n");
    assert!(rig.shard.learn(route(2, 2, RouteState::Vacant)));
    rig.route(Durability::Async, 3, 2, serving("n2", &[], None));
    assert_eq!(rig.client_got(), begins(1) + &ends(2));
    rig.route(Durability::Async, 4, 3, RouteState::Vacant);
    assert_eq!(rig.client_got(), begins(3));
    assert!(rig.shard.learn(route(5, 3, serving("n1", &[], None))));
    rig.route(Durability::Async, 6, 4, RouteState::Vacant);
    assert_eq!(rig.client_got(), ends(4) + &begins(5));
}

#[test]
fn what_is_held_too_long_is_refused_with_the_transaction_around_it() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["MULTI", "SET a 1"]);
    rig.write(usize::MAX);
    rig.reply("+OK\r\n+QUEUED\r\n");
    rig.engine_got();
    rig.client_got();
    rig.route(Durability::Async, 1, 1, serving("n1", &[], Some(5)));
    rig.ask(&["SET b 1", "EXEC"]);
    rig.now += HOLD_LIMIT;
    rig.advance();
    assert_eq!(rig.client_got().matches("-TRYAGAIN ").count(), 2);
    rig.route(Durability::Async, 1, 1, serving("n1", &[], None));
    rig.ask(&["SET c 1"]);
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["DISCARD", "SET c 1"]);
    rig.reply("+OK\r\n+OK\r\n");
    assert_eq!(rig.client_got(), "+OK\r\n");
    assert!(!rig.session.transaction.is_open());
}

#[test]
fn requests_beyond_the_limit_stay_in_the_kernel() {
    let mut rig = Rig::new(EndpointKind::Primary);
    let value = format!("SET a {}", "v".repeat(100 << 10));
    for _ in 0..20 {
        rig.ask(&[&value]);
    }
    assert!(rig.session.load <= (1 << 20) + (101 << 10));
    assert!(!rig.session.wants_client());
}

#[test]
fn a_client_who_has_left_is_over_when_it_is_answered() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["SET a 1"]);
    rig.session.client_eof();
    rig.advance();
    assert!(!rig.session.is_closed());
    rig.reply("+OK\r\n");
    assert!(rig.session.is_closed());
    assert_eq!(rig.client_got(), "+OK\r\n");
}

#[test]
fn a_pause_has_an_end() {
    let mut rig = Rig::ready(Durability::Async, &[]);
    rig.ask(&["CLIENT PAUSE 1000", "GET a"]);
    assert_eq!(rig.client_got(), "+OK\r\n");
    assert_eq!(rig.session.deadline(), Some(rig.now + Duration::from_secs(1)));
    rig.now += Duration::from_secs(1);
    rig.advance();
    rig.write(usize::MAX);
    assert_eq!(rig.engine_got(), ["GET a"]);
}
