//! Random programs of two clients, by a seed.
//!
//! The first client does everything that a client can do; the second one mostly changes the first
//! one's keys and publishes on its channels. Only one of them is asked at a time, or both wait for
//! each other, so that nothing depends on who is faster.
//!
//! Invariant: a seed and a number say everything about a program.
//!
//! Not here: who is asked (`differential.rs`); the commands (`words`).

#![allow(unreachable_pub, reason = "the programs are a module of one test")]

mod words;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_resp::Command;

/// How the replies to a piece of a program end.
#[derive(Debug, Clone)]
pub enum End {
    /// With a frame that has these bytes.
    Mark(String),
    /// After so many frames.
    Count(usize),
    /// With the connection.
    Close,
}

/// What one client sends at once.
#[derive(Debug, Clone)]
pub struct Burst {
    pub who: usize,
    pub raw: Vec<u8>,
    /// Where the writes end.
    pub cuts: Vec<usize>,
    pub end: End,
    /// The next one is sent before the replies to this one are read.
    pub waits: bool,
    /// For whoever has to find out what went wrong.
    pub lines: Vec<String>,
}

/// What is known of a connection.
#[derive(Debug, Default, Clone)]
struct Known {
    multi: bool,
    resp3: bool,
    subscribed: bool,
    tracking: bool,
    /// An engine remembers what a connection has read even if it asks again.
    tracked: bool,
}

impl Known {
    fn is_limited(&self) -> bool {
        self.subscribed && !self.resp3
    }
}

/// What makes programs of one seed.
pub struct Author {
    lots: StdRng,
    /// What all names begin with.
    prefix: String,
    /// Requests that ask for copies are left out.
    replicated: bool,
    valkey: bool,
    known: [Known; 2],
    stream: u64,
    marks: u64,
    pub commands: usize,
}

const CHANNELS: usize = 3;

impl Author {
    pub fn new(seed: u64, replicated: bool, valkey: bool) -> Self {
        Self {
            lots: StdRng::seed_from_u64(seed),
            prefix: format!("p{seed}"),
            replicated,
            valkey,
            known: Default::default(),
            stream: 0,
            marks: 0,
            commands: 0,
        }
    }

    /// A whole program.
    pub fn program(&mut self) -> Vec<Burst> {
        let mut bursts = Vec::new();
        for _ in 0..self.lots.random_range(4..24) {
            match self.lots.random_range(0..12) {
                0..8 => bursts.push(self.burst(0)),
                8..11 => bursts.push(self.burst(1)),
                _ => self.wake(&mut bursts),
            }
        }
        bursts.push(self.farewell());
        bursts
    }

    fn burst(&mut self, who: usize) -> Burst {
        let mut burst = Draft::default();
        let depth = match self.lots.random_range(0..20) {
            0..8 => self.lots.random_range(1..4),
            8..16 => self.lots.random_range(4..30),
            16..19 => self.lots.random_range(30..150),
            _ => self.lots.random_range(400..600),
        };
        let quiet = self.lots.random_bool(0.03) && !self.known[who].multi;
        if quiet && !self.known[who].is_limited() {
            self.quiet(&mut burst);
        } else {
            while burst.lines.len() < depth {
                self.next(who, &mut burst);
            }
        }
        self.finish(who, burst)
    }

    /// One or a few commands.
    fn next(&mut self, who: usize, burst: &mut Draft) {
        let known = &self.known[who];
        let (multi, limited) = (known.multi, known.is_limited());
        match self.lots.random_range(0..1000) {
            0..30 if !limited => self.transaction(who, burst),
            30..40 if multi => self.transaction(who, burst),
            40..60 if who == 0 => self.channels(who, burst),
            60..75 if !limited => self.greet(who, burst),
            // It may be answered before the engine has said what it still had to say.
            75..80 if !self.known[who].tracking => {
                burst.words(&["RESET"]);
                burst.loose = true;
                let tracked = self.known[who].tracked;
                self.known[who] = Known { tracked, ..Known::default() };
            }
            80..130 => self.template(who, words::CONNECTION, burst),
            130..160 => self.template(who, words::WRONG, burst),
            160..166 if !multi => self.template(who, words::WAITING, burst),
            166..170 if multi => self.template(who, words::WAITING, burst),
            170..200 => self.script(burst),
            200..204 if !multi => self.function(burst),
            204..208 if !multi && !limited => {
                burst.words(&["CLIENT", "REPLY", "SKIP"]);
                burst.frames -= 1;
                self.template(who, words::DATA, burst);
                burst.frames -= 1;
            }
            208..211 => self.big(burst),
            211..225 => self.inline(burst),
            225..229 if !multi && who == 0 => self.track(who, burst),
            229..232 if !multi && !limited => burst.words(&["CLIENT", "NO-EVICT", "ON"]),
            _ => self.template(who, words::DATA, burst),
        }
    }

    fn transaction(&mut self, who: usize, burst: &mut Draft) {
        let known = self.known[who].clone();
        if known.multi {
            match self.lots.random_range(0..10) {
                0 => burst.words(&["MULTI"]),
                1 => {
                    let key = self.key('K');
                    burst.words(&["WATCH", &key]);
                }
                2 => {
                    burst.words(&["DISCARD"]);
                    self.known[who].multi = false;
                }
                _ => {
                    burst.words(&["EXEC"]);
                    self.known[who].multi = false;
                }
            }
            return;
        }
        match self.lots.random_range(0..10) {
            0..2 => {
                let keys = [self.key('K'), self.key('K')];
                burst.words(&["WATCH", &keys[0], &keys[1]]);
            }
            2 => burst.words(&["UNWATCH"]),
            3..5 => {
                burst.words(&["MULTI"]);
                self.known[who].multi = true;
            }
            _ => {
                burst.words(&["MULTI"]);
                for _ in 0..self.lots.random_range(0..12) {
                    let list = match self.lots.random_range(0..20) {
                        0 => words::CONNECTION,
                        1 => words::WRONG,
                        2 => words::WAITING,
                        _ => words::DATA,
                    };
                    self.known[who].multi = true;
                    self.template(who, list, burst);
                    if !self.known[who].multi {
                        return;
                    }
                }
                burst.words(&["EXEC"]);
                self.known[who].multi = false;
            }
        }
    }

    fn channel(&mut self) -> String {
        format!("{}:c{}", self.prefix, self.lots.random_range(0..CHANNELS))
    }

    fn channels(&mut self, who: usize, burst: &mut Draft) {
        // Within a transaction it is one answer for the engine, and several for the client.
        if self.known[who].multi {
            return self.template(who, words::DATA, burst);
        }
        burst.loose = true;
        let (one, two) = (self.channel(), self.channel());
        let pattern = format!("{}:*", self.prefix);
        if self.known[who].subscribed && self.lots.random_bool(0.5) {
            let all: Vec<String> =
                (0..CHANNELS).map(|number| format!("{}:c{number}", self.prefix)).collect();
            let of = |word: &str| {
                let words = std::iter::once(word.to_owned()).chain(all.iter().cloned());
                words.collect::<Vec<_>>()
            };
            burst.owned(&of("UNSUBSCRIBE"));
            burst.owned(&of("SUNSUBSCRIBE"));
            burst.words(&["PUNSUBSCRIBE", &pattern]);
            self.known[who].subscribed = false;
            return;
        }
        match self.lots.random_range(0..8) {
            0..4 => burst.words(&["SUBSCRIBE", &one, &two]),
            4 => burst.words(&["PSUBSCRIBE", &pattern]),
            5 => burst.words(&["SSUBSCRIBE", &one]),
            6 => return burst.words(&["UNSUBSCRIBE", &one]),
            _ if self.known[who].subscribed => return burst.words(&["PUNSUBSCRIBE", "none"]),
            _ => return burst.words(&["UNSUBSCRIBE"]),
        }
        self.known[who].subscribed = true;
    }

    fn greet(&mut self, who: usize, burst: &mut Draft) {
        // What it is told of its keys could not be written in the other version.
        if self.known[who].tracking || self.known[who].multi {
            return burst.words(&["PING", "greeted"]);
        }
        let resp3 = self.lots.random_bool(0.5);
        let version = if resp3 { "3" } else { "2" };
        match self.lots.random_range(0..5) {
            0 => return burst.words(&["HELLO"]),
            1 => burst.words(&["HELLO", version, "SETNAME", "greeted"]),
            2 => burst.words(&["HELLO", version, "AUTH", "default", "x"]),
            // Valkey 8.0 does not answer it at all.
            3 if !self.valkey => return burst.words(&["HELLO", version, "AUTH", "nobody", "x"]),
            _ => burst.words(&["HELLO", version]),
        }
        self.known[who].resp3 = resp3;
    }

    fn track(&mut self, who: usize, burst: &mut Draft) {
        burst.loose = true;
        let known = &mut self.known[who];
        if known.tracking {
            known.tracking = false;
            burst.words(&["CLIENT", "TRACKING", "OFF"]);
        } else if known.resp3 && !known.tracked {
            known.tracking = true;
            known.tracked = true;
            // With BCAST the engine says it when it has nothing else to do.
            burst.words(&["CLIENT", "TRACKING", "ON"]);
        }
    }

    /// Commands without replies.
    fn quiet(&mut self, burst: &mut Draft) {
        burst.words(&["CLIENT", "REPLY", "OFF"]);
        for _ in 0..self.lots.random_range(1..20) {
            let line = words::DATA[self.lots.random_range(0..words::DATA.len())];
            let args = self.fill(line);
            burst.args(&args);
        }
        burst.words(&["CLIENT", "REPLY", "ON"]);
        // What nobody was told is looked at.
        for (kind, look) in [("s", "STRLEN"), ("l", "LLEN"), ("t", "SMEMBERS"), ("h", "HGETALL")] {
            for number in 0..3 {
                burst.words(&[look, &format!("{}:{kind}{number}", self.prefix)]);
            }
        }
    }

    fn template(&mut self, who: usize, list: &[&str], burst: &mut Draft) {
        let line = list[self.lots.random_range(0..list.len())];
        let known = &mut self.known[who];
        match line {
            // Redis 7.0 writes its own message into the middle of EXEC's answer.
            "PUBLISH $C $U" | "SPUBLISH $C $U" if known.multi && known.subscribed => return,
            "AUTH nobody nothing" if self.valkey => return,
            "WAIT 0 0" if self.replicated => return,
            "READONLY" | "ASKING" | "CLUSTER NODES" if known.multi => return,
            "EXEC" | "EXEC now" | "DISCARD" if !known.is_limited() => {
                known.multi = false;
            }
            _ => {}
        }
        let args = self.fill(line);
        burst.args(&args);
    }

    fn script(&mut self, burst: &mut Draft) {
        let script = words::SCRIPTS[self.lots.random_range(0..words::SCRIPTS.len())];
        let name = if self.lots.random_bool(0.1) { "EVAL_RO" } else { "EVAL" };
        let (key, value) = (self.key('K'), self.value());
        burst.args(&[name.into(), script.into(), "1".into(), key.into(), value]);
    }

    fn function(&mut self, burst: &mut Draft) {
        let name = &self.prefix;
        let code = format!(
            "#!lua name={name}\nredis.register_function('{name}', \
             function(keys, args) return redis.call('SET', keys[1], args[1]) end)"
        );
        burst.words(&["FUNCTION", "LOAD", "REPLACE", &code]);
    }

    fn big(&mut self, burst: &mut Draft) {
        let key = format!("{}:large{}", self.prefix, self.lots.random_range(0..2));
        let size = match self.lots.random_range(0..4) {
            0 => self.lots.random_range(1..3 << 20),
            // Around the size from which on a request has a connection of its own.
            _ => (64 << 10) + self.lots.random_range(0..200) - 150,
        };
        let byte = self.lots.random_range(b'a'..=b'z');
        burst.args(&[b"SET".to_vec(), key.clone().into(), vec![byte; size]]);
        match self.lots.random_range(0..3) {
            0 => burst.words(&["GETRANGE", &key, "-200000", "-1"]),
            1 => burst.words(&["STRLEN", &key]),
            _ => {}
        }
        burst.words(&["GET", &key]);
        if self.lots.random_bool(0.7) {
            burst.words(&["DEL", &key]);
        }
    }

    fn inline(&mut self, burst: &mut Draft) {
        let line = words::INLINE[self.lots.random_range(0..words::INLINE.len())];
        let key = self.key('s');
        let line = line.replace("$s", &key);
        if line.is_empty() {
            burst.frames -= 1;
        }
        let end = if self.lots.random_bool(0.5) { "\r\n" } else { "\n" };
        burst.raw.extend_from_slice(line.as_bytes());
        burst.raw.extend_from_slice(end.as_bytes());
        burst.note(line);
    }

    /// The first client waits for what the second one brings.
    fn wake(&mut self, bursts: &mut Vec<Burst>) {
        if self.known.iter().any(|known| known.multi || known.is_limited()) {
            return;
        }
        // In the same database.
        for who in 0..2 {
            let mut burst = Draft::default();
            burst.words(&["SELECT", "4"]);
            bursts.push(self.finish(who, burst));
        }
        let key = format!("{}:w{}", self.prefix, self.lots.random_range(0..2));
        let mut waiting = Draft::default();
        waiting.words(&["BLPOP", &key, "5"]);
        let before = self.lots.random_range(0..3);
        for _ in 0..before {
            waiting.words(&["EXISTS", "nothing"]);
        }
        let mut burst = self.finish(0, waiting);
        burst.waits = true;
        bursts.push(burst);
        let mut bringing = Draft::default();
        bringing.words(&["RPUSH", &key, "for you"]);
        bursts.push(self.finish(1, bringing));
    }

    /// How a program ends.
    fn farewell(&mut self) -> Burst {
        let mut burst = Draft::default();
        match self.lots.random_range(0..6) {
            0 => burst.words(&["QUIT"]),
            1 => burst.raw.extend_from_slice(b"*x\r\n"),
            2 => burst.raw.extend_from_slice(b"*1\r\n+PING\r\n"),
            3 => burst.raw.extend_from_slice(b"*1\r\n$x\r\n"),
            4 => burst.raw.extend_from_slice(b"SET \"unbalanced\r\n"),
            _ => burst.words(&["QUIT", "now"]),
        }
        if burst.lines.is_empty() {
            burst.note("no request".to_owned());
        }
        self.commands += burst.lines.len();
        Burst {
            who: 0,
            cuts: Vec::new(),
            raw: burst.raw,
            end: End::Close,
            waits: false,
            lines: burst.lines,
        }
    }

    fn finish(&mut self, who: usize, mut burst: Draft) -> Burst {
        let known = &mut self.known[who];
        if known.multi && (burst.loose || known.subscribed || known.tracking) {
            // Messages come in between, so that frames could not be counted.
            burst.words(&["EXEC"]);
            known.multi = false;
        }
        let end = if known.multi {
            End::Count(usize::try_from(burst.frames).unwrap_or(0))
        } else {
            self.marks += 1;
            let mark = format!("~{}~", self.marks);
            burst.words(&["PING", &mark]);
            End::Mark(mark)
        };
        self.commands += burst.lines.len();
        let mut cuts = Vec::new();
        if self.lots.random_bool(0.2) {
            cuts.extend((0..3).map(|_| self.lots.random_range(0..=burst.raw.len())));
            cuts.sort_unstable();
        }
        Burst { who, raw: burst.raw, cuts, end, waits: false, lines: burst.lines }
    }

    fn key(&mut self, kind: char) -> String {
        const KINDS: [char; 9] = ['s', 'l', 't', 'h', 'z', 'x', 'b', 'p', 'g'];
        let any = kind == 'K' || self.lots.random_bool(0.03);
        let kind = if any { KINDS[self.lots.random_range(0..KINDS.len())] } else { kind };
        format!("{}:{kind}{}", self.prefix, self.lots.random_range(0..3))
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.lots.random_range(0..10) {
            0 => 0,
            1..8 => self.lots.random_range(1..40),
            8 => self.lots.random_range(40..1_000),
            _ => self.lots.random_range(1_000..6_000),
        };
        (0..len).map(|_| b"\r\n\0 +:$*-ab\xff"[self.lots.random_range(0..12)]).collect()
    }

    fn fill(&mut self, line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| self.word(word)).collect()
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        let Some((before, kind)) = word.split_once('$') else { return word.into() };
        let Some(kind) = kind.chars().next() else { return word.into() };
        let text = match kind {
            'V' => return self.value(),
            'U' => format!("u{}", self.lots.random_range(0..6)),
            'M' => self.lots.random_range(0..40).to_string(),
            'N' => self.lots.random_range(-4..12).to_string(),
            'F' => format!("{}.5", self.lots.random_range(-4..12)),
            'W' => format!("f{}", self.lots.random_range(0..12)),
            'C' => self.channel(),
            'L' => self.prefix.clone(),
            'I' => {
                self.stream += u64::from(self.lots.random_bool(0.8));
                format!("{}-1", self.stream)
            }
            kind => self.key(kind),
        };
        format!("{before}{text}").into()
    }
}

/// A burst that is being written.
#[derive(Default)]
struct Draft {
    raw: Vec<u8>,
    lines: Vec<String>,
    /// Frames that answer it, as long as each command has one.
    frames: i64,
    /// Not each has.
    loose: bool,
}

impl Draft {
    fn note(&mut self, line: String) {
        self.frames += 1;
        self.lines.push(line);
    }

    fn words(&mut self, words: &[&str]) {
        let args: Vec<Vec<u8>> = words.iter().map(|word| (*word).into()).collect();
        self.args(&args);
    }

    fn owned(&mut self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.words(&words);
    }

    fn args(&mut self, args: &[Vec<u8>]) {
        let mut command = Command::new(&args[0][..]);
        for arg in &args[1..] {
            command = command.arg(&arg[..]);
        }
        self.raw.extend_from_slice(&command.encode());
        let words = args.iter().map(|arg| {
            let text = arg.escape_ascii().to_string();
            if text.len() > 90 { format!("{}... ({} bytes)", &text[..60], arg.len()) } else { text }
        });
        self.note(words.collect::<Vec<_>>().join(" "));
    }
}
