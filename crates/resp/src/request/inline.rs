//! Inline commands: a line of words, as people type it into telnet.
//!
//! The quoting rules are the engine's (`sdssplitargs`), since health checks and old scripts rely
//! on them: inside `"` the escapes `\xHH \n \r \t \b \a`, inside `'` only `\'`, and a closing quote
//! must be followed by a blank or the line's end.
//!
//! Invariant: what comes out is a well-formed multibulk frame with the words that the engine
//! would have seen.
//!
//! Not here: finding the line's end and its length limit ([`super::RequestFramer`]).

use bytes::{BufMut, BytesMut};

use super::{ProtocolError, Request};
use crate::scan;

/// What one line turned out to be.
pub(super) enum Line {
    /// Its end has not arrived.
    Incomplete,
    /// It has no words, and is skipped.
    Empty,
    /// A command, re-encoded.
    Request(Request),
}

/// Re-encodes one line, given without its line end and without NUL.
pub(super) fn parse(line: &[u8]) -> Result<Line, ProtocolError> {
    let mut words = Words { rest: line };
    let mut word = Vec::new();
    let mut body = BytesMut::with_capacity(line.len() + 32);
    let mut argc = 0;
    while words.next(&mut word)? {
        scan::put_bulk(&mut body, &word);
        argc += 1;
    }
    if argc == 0 {
        return Ok(Line::Empty);
    }
    let mut raw = BytesMut::with_capacity(body.len() + 16);
    scan::put_header(&mut raw, b'*', argc);
    let first = raw.len();
    raw.put_slice(&body);
    Ok(Line::Request(Request::new(raw.freeze(), argc, first)))
}

struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    /// Puts the next word into `word`; `false` at the line's end.
    fn next(&mut self, word: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        word.clear();
        while let [first, rest @ ..] = self.rest
            && is_space(*first)
        {
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return Ok(false);
        }
        while let [first, rest @ ..] = self.rest {
            self.rest = rest;
            match first {
                // Form feed and vertical tab separate nothing here, though they are skipped above.
                b' ' | b'\n' | b'\r' | b'\t' => break,
                b'"' => return self.double_quoted(word).map(|()| true),
                b'\'' => return self.single_quoted(word).map(|()| true),
                other => word.push(*other),
            }
        }
        Ok(true)
    }

    fn double_quoted(&mut self, word: &mut Vec<u8>) -> Result<(), ProtocolError> {
        loop {
            match self.rest {
                [b'\\', b'x', high, low, rest @ ..]
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    word.push(hex(*high) << 4 | hex(*low));
                    self.rest = rest;
                }
                [b'\\', escaped, rest @ ..] => {
                    word.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'a' => 0x07,
                        other => *other,
                    });
                    self.rest = rest;
                }
                [b'"', rest @ ..] => return self.after_quote(rest),
                [byte, rest @ ..] => {
                    word.push(*byte);
                    self.rest = rest;
                }
                [] => return Err(ProtocolError::UnbalancedQuotes),
            }
        }
    }

    fn single_quoted(&mut self, word: &mut Vec<u8>) -> Result<(), ProtocolError> {
        loop {
            match self.rest {
                [b'\\', b'\'', rest @ ..] => {
                    word.push(b'\'');
                    self.rest = rest;
                }
                [b'\'', rest @ ..] => return self.after_quote(rest),
                [byte, rest @ ..] => {
                    word.push(*byte);
                    self.rest = rest;
                }
                [] => return Err(ProtocolError::UnbalancedQuotes),
            }
        }
    }
}

impl<'a> Words<'a> {
    fn after_quote(&mut self, rest: &'a [u8]) -> Result<(), ProtocolError> {
        self.rest = rest;
        match rest.first() {
            Some(byte) if !is_space(*byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok(()),
        }
    }
}

/// C's `isspace` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A') + 10,
    }
}
