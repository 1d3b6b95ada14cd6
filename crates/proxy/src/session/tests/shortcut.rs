//! The shortcut and the long way are the same to everybody: two clients of two equal shards do and meet
//! the same, and one of them never takes the shortcut.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tanist_core::gate::HOLD_LIMIT;
use tanist_resp::Request;

use super::*;
use crate::octets::Clock;
use crate::trunk::Trunk;
use crate::trunk::tests::{begin, come, flush, sent_raw};

const TAG: &str = "n2.r.1";

/// What clients ask: mostly what is ordinary.
const LINES: [&str; 31] = [
    "GET a",
    "SET a 1",
    "GET b",
    "INCR n",
    "GET wrong",
    "GET refused",
    "SET refused 1",
    "GET heavy",
    "GET huge",
    "PING",
    "ECHO x",
    "NOSUCH a",
    "GET a b",
    "OBJECT ENCODING a",
    "EVAL s 0",
    "INFO",
    "PUBLISH c m",
    "SELECT 1",
    "SELECT 0",
    "CLIENT SETNAME app",
    "CLIENT ID",
    "CLIENT REPLY SKIP",
    "CLIENT REPLY OFF",
    "CLIENT REPLY ON",
    "CLIENT PAUSE 100 WRITE",
    "MULTI",
    "EXEC",
    "BLPOP q 0",
    "SHUTDOWN",
    "HELLO 3",
    "RESET",
];

#[derive(Debug, Clone)]
enum Event {
    /// These lines come in one read.
    Ask(Vec<usize>),
    /// A part of a request comes.
    Begin,
    /// A large value is written.
    Heavy,
    /// Engines serve what was sent, and so many replies of each arrive.
    Serve(usize),
    /// Every shared connection ends.
    Break,
    NewEpoch,
    Hold(bool),
    Starve(bool),
    Quiet(bool),
    /// So many milliseconds pass.
    Pass(u64),
    /// The client reads nothing.
    Stall(bool),
    Leave,
}

struct Side {
    long: bool,
    rig: Rig,
    durability: Durability,
    at: (u64, u64),
    hold: Option<u64>,
    writable: bool,
    stalled: bool,
    /// What each shared connection's engine has yet to answer, by when it was first seen.
    owed: Vec<(Rc<Trunk>, Vec<String>)>,
}

/// What an engine answers.
fn answer(request: &Request, serial: &mut u64) -> String {
    let words: Vec<_> = request.args().map(String::from_utf8_lossy).collect();
    *serial += 1;
    match (words[0].to_ascii_uppercase().as_str(), words.get(1).map_or("", |word| word)) {
        (_, "wrong") => "-WRONGTYPE Operation against a key\r\n".to_owned(),
        (_, "refused") => "-READONLY You can't write against a read only replica.\r\n".to_owned(),
        (_, "heavy") => format!("$4096\r\n{}\r\n", "x".repeat(4096)),
        (_, "huge") => format!("$70000\r\n{}\r\n", "x".repeat(70_000)),
        ("HELLO", _) => "*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_owned(),
        ("ROLE", _) => format!(
            "*3\r\n$6\r\nmaster\r\n:9\r\n*1\r\n*3\r\n${}\r\n{TAG}\r\n$1\r\n0\r\n$1\r\n9\r\n",
            TAG.len()
        ),
        ("WAIT" | "PUBLISH" | "SPUBLISH", _) => ":1\r\n".to_owned(),
        ("NOSUCH", _) => "-ERR unknown command\r\n".to_owned(),
        ("GET" | "ECHO", _) => format!("+{serial}\r\n"),
        _ => "+OK\r\n".to_owned(),
    }
}

impl Side {
    fn new(long: bool, kind: &EndpointKind, durability: Durability) -> Self {
        let mut rig = Rig::new(kind.clone());
        rig.session.limits = ProxyLimits { lanes: 2, ..ProxyLimits::default() };
        let who = rig.shard.stranger();
        rig.session.turn_into(who, &rig.shard);
        let mut side = Self {
            long,
            rig,
            durability,
            at: (0, 1),
            hold: None,
            writable: true,
            stalled: false,
            owed: Vec::new(),
        };
        side.serve_route();
        side
    }

    fn serve_route(&mut self) {
        self.at.0 += 1;
        let mut route = route(self.at.0, self.at.1, serving("n1", &[TAG], self.hold));
        route.durability = self.durability;
        // There is one reader to choose.
        route.nodes.truncate(2);
        if let RouteState::Serving { writable, .. } = &mut route.state {
            *writable = self.writable;
        }
        self.rig.shard.learn(route);
    }

    fn advance(&mut self) {
        if self.long {
            self.rig.session.unfold();
        }
        let (shard, now) = (&self.rig.shard, self.rig.now);
        self.rig.session.advance(shard, now);
        let all = if self.stalled { 0 } else { usize::MAX };
        take(&mut self.rig.session.client_out, all, &mut self.rig.client);
        if self.rig.session.link.phase == Phase::Connecting {
            self.rig.session.connected(shard);
        }
    }

    /// What was sent to engines is answered, and so many answers of each arrive.
    fn serve(&mut self, count: usize) {
        let (shard, now) = (&self.rig.shard, self.rig.now);
        for trunk in shard.trunks.all() {
            if !self.owed.iter().any(|(known, _)| Rc::ptr_eq(known, &trunk)) {
                begin(&trunk, shard);
                self.owed.push((Rc::clone(&trunk), Vec::new()));
            }
        }
        let mut serial = self.at.0 * 1000;
        for (trunk, owed) in &mut self.owed {
            flush(trunk, shard, now);
            let mut raw = BytesMut::from(&sent_raw(trunk)[..]);
            let mut framer = RequestFramer::new(Limits::default());
            while let Some(request) = framer.next(&mut raw).unwrap() {
                owed.push(answer(&request, &mut serial));
            }
            let arrived: String = owed.drain(..count.min(owed.len())).collect();
            if come(trunk, shard, &arrived).is_err() || !shard.is_valid(&trunk.key.lane) {
                trunk.end();
            }
        }
        self.owed.retain(|(trunk, _)| {
            let over = trunk.phase() == crate::trunk::Phase::Over;
            if over {
                shard.trunks.forget(trunk);
            }
            !over
        });
        for lane in shard.take_broken() {
            shard.mark_up(&lane);
        }
        self.rig.write(usize::MAX);
        let mut framer = RequestFramer::new(Limits::default());
        while let Some(request) = framer.next(&mut self.rig.engine).unwrap() {
            let said = answer(&request, &mut serial);
            self.rig.session.link.input.extend_from_slice(said.as_bytes());
        }
    }

    fn ask(&mut self, line: &str) {
        let mut words = line.split(' ');
        let command = Command::new(words.next().unwrap()).args(words);
        command.encode_into(&mut self.rig.session.client_in);
    }

    fn step(&mut self, event: &Event) {
        let reads = self.rig.session.wants_client();
        match event {
            Event::Ask(_) | Event::Begin | Event::Heavy if !reads => {}
            Event::Ask(lines) => lines.iter().for_each(|line| self.ask(LINES[*line])),
            Event::Begin => self.ask("SET part xyz"),
            Event::Heavy => self.ask(&format!("SET heavy {}", "x".repeat(5000))),
            Event::Serve(count) => self.serve(*count),
            Event::Break => {
                for trunk in self.rig.shard.trunks.all() {
                    trunk.end();
                    self.rig.shard.trunks.forget(&trunk);
                }
                self.owed.clear();
            }
            Event::NewEpoch => {
                self.at.1 += 1;
                self.serve_route();
            }
            Event::Hold(hold) => {
                self.hold = hold.then_some(1);
                self.serve_route();
            }
            Event::Starve(starve) => {
                self.writable = !starve;
                self.serve_route();
            }
            Event::Quiet(quiet) => self.rig.session.quiet = *quiet,
            Event::Pass(millis) => self.rig.now += Duration::from_millis(*millis),
            Event::Stall(stalled) => self.stalled = *stalled,
            Event::Leave => self.rig.session.client_eof(),
        }
        if let (Event::Begin, true) = (event, reads) {
            // The rest comes with the next one.
            let all = self.rig.session.client_in.len();
            let rest = self.rig.session.client_in.split_off(all - 3);
            self.advance();
            self.rig.session.client_in.unsplit(rest);
        }
        self.advance();
    }

    /// Everything that anybody could notice.
    fn seen(&mut self) -> BTreeMap<&'static str, String> {
        let clock = Clock(self.rig.now);
        let client = self.rig.client_got();
        let session = &self.rig.session;
        let meter = &session.endpoint.meter;
        let trunks = self.rig.shard.trunks.all();
        let trunks = trunks.iter().map(|trunk| (trunk.key.clone(), trunk.seats(), trunk.owed()));
        let numbers = [&meter.held, &meter.replayed, &meter.uncertain, &meter.pinned];
        let settled = (session.is_settled(), session.is_idle(), session.is_between_requests());
        BTreeMap::from([
            ("client", client),
            ("session", serde_json::to_string(&session.estate(clock)).unwrap()),
            ("settled", format!("{settled:?}")),
            ("reads", format!("{:?}", (session.wants_client(), session.wants_shared()))),
            ("load", format!("{:?}", (session.load, session.stop, session.closing))),
            ("deadline", format!("{:?}", session.deadline().map(|until| until - self.rig.now))),
            ("card", session.card.line(address(), self.rig.now)),
            ("shard", format!("{:?}", self.rig.shard.report())),
            ("meter", format!("{numbers:?} {}", meter.times().count())),
            ("trunks", format!("{:?}", trunks.collect::<Vec<_>>())),
        ])
    }
}

fn both(kind: &EndpointKind, durability: Durability) -> [Side; 2] {
    [false, true].map(|long| Side::new(long, kind, durability))
}

/// Lets both meet the same; whether the shortcut was taken.
fn compare(kind: &EndpointKind, durability: Durability, events: &[Event]) -> bool {
    let mut sides = both(kind, durability);
    let mut taken = false;
    for (index, event) in events.iter().enumerate() {
        for side in &mut sides {
            side.step(event);
        }
        taken |= !sides[0].rig.session.shortcut.flying.is_empty();
        assert!(sides[1].rig.session.shortcut.flying.is_empty());
        let [short, long] = &mut sides;
        assert_eq!(short.seen(), long.seen(), "{:?}", &events[..=index]);
    }
    taken
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ordinary = proptest::collection::vec(0..12_usize, 1..6);
    let unusual = proptest::collection::vec(0..LINES.len(), 1..5);
    let event = prop_oneof![
        24 => ordinary.prop_map(Event::Ask),
        6 => unusual.prop_map(Event::Ask),
        2 => Just(Event::Begin),
        3 => Just(Event::Heavy),
        30 => (0..9_usize).prop_map(Event::Serve),
        2 => Just(Event::Break),
        2 => Just(Event::NewEpoch),
        2 => any::<bool>().prop_map(Event::Hold),
        1 => any::<bool>().prop_map(Event::Starve),
        2 => any::<bool>().prop_map(Event::Quiet),
        3 => (1..1500_u64).prop_map(Event::Pass),
        1 => Just(Event::Pass(u64::try_from(HOLD_LIMIT.as_millis()).unwrap() + 1)),
        2 => any::<bool>().prop_map(Event::Stall),
    ];
    proptest::collection::vec(event, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nobody_can_tell_which_way_a_request_went(events in events()) {
        compare(&EndpointKind::Primary, Durability::Async, &events);
    }

    #[test]
    fn nor_where_writes_are_proven(events in events()) {
        compare(&EndpointKind::Primary, Durability::Sync, &events);
    }

    #[test]
    fn nor_at_a_replica(events in events()) {
        compare(&EndpointKind::Reader, Durability::Async, &events);
        compare(&EndpointKind::Node("n1".into()), Durability::Async, &events);
    }
}

/// Words of what is asked, by what they are.
fn ask(lines: &[&str]) -> Event {
    let number = |line: &&str| LINES.iter().position(|known| known == line).unwrap();
    Event::Ask(lines.iter().map(number).collect())
}

/// A client whose shared connection serves, and that has asked for something in brief.
fn flying(lines: &[&str]) -> Side {
    let [mut side, _] = both(&EndpointKind::Primary, Durability::Async);
    for event in [ask(&["PING"]), Event::Serve(9), Event::Serve(9)] {
        side.step(&event);
    }
    assert_eq!(side.rig.client_got(), "+OK\r\n");
    side.step(&ask(lines));
    assert_eq!(side.rig.session.shortcut.flying.len(), lines.len());
    side
}

#[test]
fn what_is_ordinary_takes_the_shortcut() {
    let events = [
        ask(&["PING"]),
        Event::Serve(9),
        Event::Serve(9),
        ask(&["GET a", "SET a 1"]),
        Event::Serve(1),
        ask(&["GET b"]),
        Event::Serve(9),
        Event::Leave,
    ];
    assert!(compare(&EndpointKind::Primary, Durability::Async, &events));
    assert!(compare(&EndpointKind::Node("n2".into()), Durability::Async, &events));
}

#[test]
fn what_was_lost_on_the_shortcut_meets_its_fate_in_its_place() {
    let mut side = flying(&["GET a", "SET a 1", "GET b"]);
    // The engine has seen it all.
    side.serve(0);
    side.step(&Event::Break);
    side.step(&Event::Serve(9));
    side.step(&Event::Serve(1));
    let got = side.rig.client_got();
    assert!(got.starts_with('+') && got.contains("\r\n-UNCERTAIN "), "{got}");
    side.step(&Event::Serve(1));
    assert!(side.rig.client_got().starts_with('+'));
}

#[test]
fn replies_of_an_epoch_that_is_over_do_not_take_the_shortcut() {
    let mut side = flying(&["GET a", "SET a 1"]);
    side.serve(9);
    side.step(&Event::NewEpoch);
    assert_eq!(side.rig.client_got(), "");
    assert_eq!(side.rig.session.queue.len(), 2, "one to ask again, and one that nobody knows of");
}

#[test]
fn an_error_leaves_in_its_place_and_the_shortcut_opens_again() {
    let mut side = flying(&["GET a", "GET wrong", "INCR n"]);
    side.step(&Event::Serve(9));
    let got = side.rig.client_got();
    assert!(got.starts_with('+') && got.ends_with("key\r\n+OK\r\n"), "{got}");
    side.step(&ask(&["GET b"]));
    assert_eq!((side.rig.session.shortcut.flying.len(), side.rig.session.slots.len()), (1, 0));
}

#[test]
fn a_client_is_not_handed_over_while_anything_flies() {
    let mut side = flying(&["GET a"]);
    assert!(!side.rig.session.is_settled() && !side.rig.session.is_idle());
    side.rig.session.quiet = true;
    side.step(&Event::Serve(1));
    assert!(side.rig.session.is_settled());
}

/// What was held, and refused while the client was to be handed over, leaves no trace of that.
#[test]
fn the_shortcut_opens_when_nothing_is_said_to_be_held() {
    let events = [
        ask(&["GET a"]),
        Event::Quiet(true),
        Event::Pass(u64::try_from(HOLD_LIMIT.as_millis()).unwrap() + 1),
        Event::Serve(9),
        Event::Quiet(false),
        ask(&["GET a"]),
    ];
    compare(&EndpointKind::Primary, Durability::Async, &events);
}

#[test]
fn what_has_left_is_told_whatever_comes_behind_it() {
    let events = [
        // Nothing has left before: this is refused, being held too long.
        ask(&["GET a"]),
        Event::Pass(u64::try_from(HOLD_LIMIT.as_millis()).unwrap() + 1),
        Event::Serve(2),
        ask(&["GET a", "GET refused"]),
        Event::Serve(2),
    ];
    assert!(compare(&EndpointKind::Primary, Durability::Async, &events));
}
