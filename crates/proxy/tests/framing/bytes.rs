//! Random bytes that are nearly requests, by a seed.
//!
//! A program of valid requests is written first, and then damaged where the structure is: lengths,
//! line ends, quotes, counts. The commands change nothing and answer by what was sent alone.
//!
//! Invariant: a seed says everything about a program.
//!
//! Not here: who is asked (`framing.rs`).

#![allow(unreachable_pub, reason = "it is a module of one test")]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Words of commands that change nothing, and of none.
const NAMES: &[&str] =
    &["PING", "ECHO", "ping", "EXISTS", "STRLEN", "TYPE", "FOO", "GETRANGE", "OBJECT", "", "EVAL"];
const ARGS: &[&[u8]] = &[
    b"",
    b"a",
    b"x y",
    b"'",
    b"\"",
    b"\\x41",
    b"\r\n",
    b"$1\r\n",
    b"\0",
    b"\xff\xfe",
    b"0",
    b"-1",
    b"return {1,{2,{err='a b'}},false,'x'}",
    b"return {err='My Err'}",
    b"HELP",
    b"nothing",
];
/// What stands in place of a number.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "-0",
    "00",
    "01",
    "+1",
    "1 ",
    " 1",
    "",
    "x",
    "1x",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "99999999999999999999",
    "536870912",
    "536870913",
    "1048576",
    "1048577",
    "1\0",
    "0x1",
    "1e3",
    "-2147483649",
    "67108864",
];
/// What stands in place of a line end.
const ENDS: &[&str] = &["\n", "\r", "\r\r\n", "", "\n\r", "\0\r\n", " \r\n", "\rX", "\r\n\r\n"];

struct Author {
    lots: StdRng,
    out: Vec<u8>,
    /// Something is written wrong on purpose about as often as this, of a thousand.
    wrong: u32,
}

impl Author {
    fn chance(&mut self, of_thousand: u32) -> bool {
        self.lots.random_range(0..1000) < of_thousand
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.lots.random_range(0..of.len())]
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn end(&mut self) {
        let wrong = self.wrong;
        let end = if self.chance(wrong) { self.one(ENDS) } else { "\r\n" };
        self.put(end);
    }

    fn header(&mut self, kind: char, number: usize) {
        let wrong = self.wrong;
        let kind = if self.chance(wrong / 2) {
            self.one(&["$", "*", "+", ":", "\0", ""])
        } else {
            if kind == '$' { "$" } else { "*" }
        };
        self.put(kind);
        let text = match self.lots.random_range(0..1000) {
            lot if lot < wrong / 2 => self.one(NUMBERS).to_owned(),
            lot if lot < wrong => {
                (number + self.lots.random_range(0..3)).saturating_sub(1).to_string()
            }
            _ => number.to_string(),
        };
        self.put(&text);
        self.end();
    }

    fn word(&mut self) -> Vec<u8> {
        match self.lots.random_range(0..10) {
            0 => (0..self.lots.random_range(0..300))
                .map(|_| b"\r\n\0 $*'\"a\\"[self.lots.random_range(0..10)])
                .collect(),
            1 => vec![b'a'; self.lots.random_range(0..70_000)],
            _ => self.one(ARGS).to_vec(),
        }
    }

    fn multibulk(&mut self) {
        let argc = self.lots.random_range(0..5);
        self.header('*', argc);
        for index in 0..argc {
            let word = if index == 0 { self.one(NAMES).as_bytes().to_vec() } else { self.word() };
            self.header('$', word.len());
            self.out.extend_from_slice(&word);
            self.end();
        }
    }

    fn inline(&mut self) {
        let name = self.one(NAMES);
        self.put(name);
        for _ in 0..self.lots.random_range(0..4) {
            let blank = self.one(&[" ", "  ", "\t", "\x0b", "\x0c", ""]);
            self.put(blank);
            let quote = self.one(&["", "", "\"", "'"]);
            self.put(quote);
            let mut word = self.word();
            word.truncate(400);
            self.out.extend(word);
            let wrong = self.wrong;
            let closing = if self.chance(wrong) { "" } else { quote };
            self.put(closing);
        }
        let end = if self.chance(300) { "\n" } else { "\r\n" };
        self.put(end);
    }

    /// Changes bytes wherever they are.
    fn scratch(&mut self) {
        for _ in 0..self.lots.random_range(1..4) {
            if self.out.is_empty() {
                return;
            }
            let at = self.lots.random_range(0..self.out.len());
            match self.lots.random_range(0..4) {
                0 => drop(self.out.remove(at)),
                1 => self.out.insert(at, b"\r\n$*0\0'\" -"[self.lots.random_range(0..10)]),
                2 => self.out[at] = self.lots.random_range(0..=255),
                _ => self.out.truncate(at),
            }
        }
    }
}

/// The program of a seed, in the pieces in which it is sent.
pub fn program(seed: u64) -> Vec<Vec<u8>> {
    let mut author = Author { lots: StdRng::seed_from_u64(seed), out: Vec::new(), wrong: 0 };
    author.wrong = [0, 20, 100, 300][author.lots.random_range(0..4)];
    for _ in 0..author.lots.random_range(1..8) {
        if author.chance(600) { author.multibulk() } else { author.inline() }
    }
    if author.chance(300) {
        author.scratch();
    }
    // Whoever still listens answers it.
    author.put("\r\nPING ~end~\r\n");
    let mut pieces = Vec::new();
    let mut rest = author.out.as_slice();
    for _ in 0..author.lots.random_range(0..4) {
        let (piece, more) = rest.split_at(author.lots.random_range(0..=rest.len().min(200)));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces.push(rest.to_vec());
    pieces
}
