//! A session against a small engine, and what has to be true of it in the end.
//!
//! Invariant: the client's account and the engine's data are kept apart, and compared once.
//!
//! Not here: which events happen (`super::random`, `super::exhaustive`).

use proptest::prelude::*;
use tanist_core::gate::HOLD_LIMIT;
use tanist_resp::{Limits, ReplyFramer, RequestFramer};

use super::*;

const READONLY: &str = "READONLY You can't write against a read only replica.";

/// What all engines of the shard have in common.
#[derive(Debug, Default)]
struct Data {
    /// INCRs executed and not lost.
    count: u64,
    /// How many of them the replica has.
    copied: u64,
    /// The primary has been fenced.
    fenced: bool,
}

/// One connection to an engine that knows a handful of commands.
#[derive(Debug, Default)]
struct Engine {
    input: BytesMut,
    accepted: bool,
    /// Commands queued since MULTI, and whether one was refused.
    queued: Option<(u64, bool)>,
}

impl Engine {
    fn serve(&mut self, data: &mut Data, out: &mut Vec<u8>) {
        let mut framer = RequestFramer::new(Limits::default());
        while let Some(request) = framer.next(&mut self.input).unwrap() {
            let words: Vec<String> =
                request.args().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            let reply = self.execute(&words, data);
            out.extend_from_slice(reply.as_bytes());
        }
    }

    fn execute(&mut self, words: &[String], data: &mut Data) -> String {
        assert!(self.accepted || words[0] == "AUTH");
        match (words[0].as_str(), &mut self.queued) {
            ("AUTH", None) => {
                self.accepted = true;
                "+OK\r\n".to_owned()
            }
            ("CLIENT", None) => ":7\r\n".to_owned(),
            ("MULTI", None) => {
                self.queued = Some((0, false));
                "+OK\r\n".to_owned()
            }
            ("INCR", Some((_, refused))) if data.fenced => {
                *refused = true;
                format!("-{READONLY}\r\n")
            }
            ("INCR", Some((count, _))) => {
                *count += 1;
                "+QUEUED\r\n".to_owned()
            }
            ("DISCARD", queued) => {
                *queued = None;
                "+OK\r\n".to_owned()
            }
            ("EXEC", queued) => self::exec(queued, data),
            ("INCR", None) if data.fenced => format!("-{READONLY}\r\n"),
            ("INCR", None) => {
                data.count += 1;
                format!(":{}\r\n", data.count)
            }
            ("ECHO", None) => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
            ("SPUBLISH", None) => ":0\r\n".to_owned(),
            ("WAIT", None) => ":1\r\n".to_owned(),
            ("ROLE", None) if data.fenced => {
                "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$7\r\nconnect\r\n:-1\r\n".to_owned()
            }
            ("ROLE", None) => {
                let copied = data.copied.to_string();
                format!(
                    "*3\r\n$6\r\nmaster\r\n:{}\r\n*1\r\n*3\r\n$1\r\na\r\n$1\r\n0\r\n${}\r\n{copied}\r\n",
                    data.count,
                    copied.len()
                )
            }
            (other, queued) => panic!("{other} {queued:?}"),
        }
    }
}

fn exec(queued: &mut Option<(u64, bool)>, data: &mut Data) -> String {
    // MULTI was held for too long and refused.
    let Some((count, refused)) = queued.take() else {
        return "-ERR EXEC without MULTI\r\n".to_owned();
    };
    if refused {
        return "-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned();
    }
    if data.fenced {
        return format!("-EXECABORT Transaction discarded because of: {READONLY}\r\n");
    }
    let mut reply = format!("*{count}\r\n");
    for _ in 0..count {
        data.count += 1;
        reply += &format!(":{}\r\n", data.count);
    }
    reply
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// So many rounds of ECHO and INCR.
    Ask(u8),
    /// ECHO, MULTI and INCR; EXEC comes with the next request.
    Transaction,
    /// The upstream's socket takes so many bytes, and the engine serves them.
    Write(usize),
    /// So many bytes of the engine's replies arrive.
    Read(usize),
    /// The replica catches up.
    Copy,
    Break,
    Fence,
    /// A new primary, which has what the replica had and perhaps more.
    NewEpoch,
    Hold,
    Release,
    /// More time passes than a request may be held.
    Pass,
    /// The proxy is upgraded, if the session can be handed over.
    Renew,
}

/// What the client expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Echo(u64),
    Incr,
    Multi,
    Queued,
    Exec,
}

pub(super) struct World {
    rig: Rig,
    durability: Durability,
    engine: Engine,
    data: Data,
    /// Replies on their way.
    wire: Vec<u8>,
    serial: u64,
    rev: u64,
    epoch: u64,
    hold: Option<u64>,
    asked: Vec<Asked>,
    in_multi: bool,
    /// Something may have been held for too long.
    passed: bool,
}

impl World {
    pub(super) fn new(durability: Durability) -> Self {
        let mut world = Self {
            rig: Rig::new(EndpointKind::Primary),
            durability,
            engine: Engine::default(),
            data: Data::default(),
            wire: Vec::new(),
            serial: 0,
            rev: 1,
            epoch: 1,
            hold: None,
            asked: Vec::new(),
            in_multi: false,
            passed: false,
        };
        world.serve();
        world.settle();
        world
    }

    fn settle(&mut self) {
        for lane in self.rig.shard.take_broken() {
            // A probe finds out whether it is still refused.
            if !self.data.fenced {
                self.rig.shard.mark_up(&lane);
            }
        }
        self.rig.advance();
        if self.rig.session.link.serial != self.serial {
            self.serial = self.rig.session.link.serial;
            self.engine = Engine::default();
            self.wire.clear();
        }
        if self.rig.session.link.phase == Phase::Connecting {
            self.rig.session.connected(&self.rig.shard);
        }
    }

    fn ask(&mut self, line: &str, asked: Asked) {
        self.asked.push(asked);
        self.rig.ask(&[line]);
    }

    fn end_transaction(&mut self) {
        if std::mem::take(&mut self.in_multi) {
            self.ask("EXEC", Asked::Exec);
        }
    }

    pub(super) fn step(&mut self, event: &Event) {
        match event {
            Event::Ask(count) => {
                self.end_transaction();
                for _ in 0..*count {
                    let number = self.asked.len() as u64;
                    self.ask(&format!("ECHO {number}"), Asked::Echo(number));
                    self.ask("INCR n", Asked::Incr);
                }
            }
            Event::Transaction => {
                self.end_transaction();
                self.ask("MULTI", Asked::Multi);
                self.ask("INCR n", Asked::Queued);
                self.in_multi = true;
            }
            Event::Write(bytes) if self.rig.session.link.may_write() => {
                take(&mut self.rig.session.link.out, *bytes, &mut self.engine.input);
                self.engine.serve(&mut self.data, &mut self.wire);
            }
            Event::Write(_) => {}
            Event::Read(bytes) => {
                let part = (*bytes).min(self.wire.len());
                let arrived: Vec<u8> = self.wire.drain(..part).collect();
                if self.rig.session.link.is_connected() {
                    self.rig.session.link.input.extend_from_slice(&arrived);
                }
            }
            Event::Copy => self.data.copied = self.data.count,
            Event::Break => {
                if self.rig.session.link.is_connected() {
                    self.rig.session.upstream_lost(&self.rig.shard, self.rig.now);
                }
            }
            Event::Fence => self.data.fenced = true,
            Event::NewEpoch => {
                // What only the old primary had is lost with it, if that was promised to nobody.
                if self.durability == Durability::Sync {
                    self.data.count = self.data.copied;
                }
                self.data.fenced = false;
                self.rev += 1;
                self.epoch += 1;
                self.hold = None;
                self.serve();
            }
            Event::Hold => {
                self.hold = Some(1);
                self.serve();
            }
            Event::Release => {
                self.hold = None;
                self.serve();
            }
            Event::Pass => {
                self.passed = true;
                self.rig.now += HOLD_LIMIT + Duration::from_millis(1);
            }
            Event::Renew => self.renew(),
        }
        self.settle();
    }

    fn renew(&mut self) {
        self.rig.session.quiet = true;
        self.rig.advance();
        if !self.rig.session.is_settled() {
            self.rig.session.quiet = false;
            return;
        }
        self.rig.renew();
        if self.rig.session.link.phase == Phase::Down {
            // The engine's side of one that was still being opened.
            self.engine = Engine::default();
            self.wire.clear();
        }
        self.serial = self.rig.session.link.serial;
    }

    fn serve(&mut self) {
        let mut route = route(self.rev, self.epoch, serving("n1", &["a"], self.hold));
        route.durability = self.durability;
        self.rig.shard.learn(route);
    }

    pub(super) fn finish(&mut self) {
        self.end_transaction();
        if self.data.fenced {
            self.step(&Event::NewEpoch);
        }
        self.step(&Event::Release);
        let mut rounds = 0;
        while rounds < 2 || !self.rig.session.slots.is_empty() || !self.rig.session.queue.is_empty()
        {
            rounds += 1;
            assert!(rounds < 5000, "it never ends");
            self.step(&Event::Write(usize::MAX));
            self.step(&Event::Copy);
            self.step(&Event::Read(usize::MAX));
        }
    }

    /// Checks every reply; how many INCRs are known to be counted, and how many may be.
    fn judge(&mut self) -> Result<(u64, u64), TestCaseError> {
        let mut framer = ReplyFramer::default();
        let (mut counted, mut uncertain, mut last) = (0, 0, 0);
        for asked in &self.asked {
            let Some(reply) = framer.next(&mut self.rig.client).unwrap() else {
                return Err(TestCaseError::fail(format!("no reply to {asked:?}")));
            };
            let unknown = reply.error_code() == Some("UNCERTAIN");
            if matches!(reply.error_code(), Some("TRYAGAIN" | "EXECABORT" | "ERR")) {
                prop_assert!(self.passed, "nothing was held for too long");
                continue;
            }
            let text = String::from_utf8_lossy(reply.raw()).into_owned();
            match asked {
                Asked::Echo(number) => {
                    let number = number.to_string();
                    prop_assert_eq!(text, format!("${}\r\n{number}\r\n", number.len()));
                }
                Asked::Multi => prop_assert_eq!(text, "+OK\r\n"),
                Asked::Queued => prop_assert_eq!(text, "+QUEUED\r\n"),
                Asked::Incr | Asked::Exec if unknown => uncertain += 1,
                Asked::Incr | Asked::Exec => {
                    let value = reply.value().unwrap();
                    let value = match value.as_array() {
                        Some(elements) => elements[0].as_int(),
                        None => value.as_int(),
                    };
                    prop_assert!(value.is_some_and(|value| value > last), "{}", text);
                    last = value.unwrap_or_default();
                    counted += 1;
                }
            }
        }
        prop_assert!(self.rig.client.is_empty());
        Ok((counted, uncertain))
    }

    /// Lets everything come to its end, and looks whether all of it adds up.
    pub(super) fn ends_well(mut self) -> Result<(), TestCaseError> {
        let world = &mut self;
        world.finish();
        let (counted, uncertain) = world.judge()?;
        let count = world.data.count;
        prop_assert!(counted <= count, "{counted} acknowledged, {count} kept");
        prop_assert!(count <= counted + uncertain, "{counted}+{uncertain} told, {count} executed");
        let report = world.rig.shard.report();
        prop_assert_eq!((report.uncertain, report.held), (uncertain, 0));
        prop_assert_eq!(world.rig.session.load, 0);
        prop_assert_eq!(world.rig.session.withheld, 0);
        prop_assert_eq!(world.rig.shard.counters.busy.get(), 0);
        Ok(())
    }

    /// Whether an event would change anything.
    pub(super) fn concerns(&self, event: &Event) -> bool {
        let link = &self.rig.session.link;
        match event {
            Event::Ask(_) | Event::NewEpoch | Event::Pass | Event::Renew => true,
            Event::Transaction => !self.in_multi,
            Event::Write(_) => link.may_write() && !link.out.is_empty(),
            Event::Read(_) => link.is_connected() && !self.wire.is_empty(),
            Event::Copy => self.data.copied != self.data.count,
            Event::Break => link.is_connected(),
            Event::Fence => !self.data.fenced,
            Event::Hold => self.hold.is_none(),
            Event::Release => self.hold.is_some(),
        }
    }

    /// What holds at every moment: no more is in flight, queued or counted than there is.
    pub(super) fn is_within_bounds(&self) -> bool {
        let session = &self.rig.session;
        let flying = session.slots.len() - session.cursor.min(session.slots.len());
        let held = self.rig.shard.counters.held.get();
        flying <= super::super::WINDOW.1
            && held <= session.queue.len() as u64
            && session.load <= session.limits.pending_bytes
            && (held == 0 || session.held_since.is_some())
    }
}
