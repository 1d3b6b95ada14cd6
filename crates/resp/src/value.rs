//! A reply's content as a tree, for those who ask an engine about itself.
//!
//! RESP2 and RESP3 give the same answer in different shapes (a map is a flat array in RESP2), so
//! the accessors accept both, and callers need not know which version the connection speaks.
//!
//! Invariant: decoding needs memory in proportion to a bounded number of elements, and its
//! recursion is bounded by [`ReplyLimits::MAX_DEPTH`].
//!
//! Not here: finding a reply's end in a stream ([`crate::reply`]).

mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use encode::{Encoder, Version};

use crate::reply::{FrameError, ReplyLimits};
use crate::scan;

/// Most elements of one decoded reply, at every level together.
pub const MAX_ELEMENTS: usize = 1_048_576;

/// A decoded reply. Attributes are left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A status, such as `OK`.
    Simple(Bytes),
    /// An error, with its code and without its type byte; both forms.
    Error(Bytes),
    /// A signed integer.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Bytes),
    /// An ordered list.
    Array(Vec<Value>),
    /// No value, in any of its three forms.
    Null,
    /// A floating point number, infinities and NaN included.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// An integer of any size, in decimal.
    BigNumber(Bytes),
    /// A text with a three-byte format such as `txt`.
    Verbatim {
        /// The format.
        format: [u8; 3],
        /// The text after `format:`.
        text: Bytes,
    },
    /// Pairs in the order in which they came.
    Map(Vec<(Value, Value)>),
    /// A list without an order.
    Set(Vec<Value>),
    /// A message that answers no request.
    Push(Vec<Value>),
}

impl Value {
    /// Decodes exactly one reply; strings are shared pieces of `raw`.
    ///
    /// # Errors
    /// `raw` is not exactly one well-formed reply, or has more than [`MAX_ELEMENTS`] elements.
    pub fn decode(raw: &Bytes) -> Result<Self, FrameError> {
        let mut decoder = Decoder { raw, pos: 0, left: MAX_ELEMENTS };
        let value = decoder.element(0)?;
        if decoder.pos == raw.len() { Ok(value) } else { Err(FrameError::NotOneReply) }
    }

    /// The bytes of a simple, bulk or verbatim string, or of a big number.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(text)
            | Self::Bulk(text)
            | Self::BigNumber(text)
            | Self::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// As [`Self::as_bytes`], when they are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer, or a string that holds one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            other => scan::integer(other.as_bytes()?),
        }
    }

    /// A floating point number, an integer, or a string that holds one of them.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(*value),
            // Integers of an engine's answers that are read as f64 are far below 2^53.
            Self::Integer(value) => Some(*value as f64),
            other => other.as_str()?.parse().ok(),
        }
    }

    /// A boolean, or RESP2's 0 and 1.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Integer(0) => Some(false),
            Self::Integer(1) => Some(true),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The value of `key` in a map, or in RESP2's flat array of keys and values.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.pairs().find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))
    }

    /// The pairs of a map, or of RESP2's flat array; none for anything else.
    pub fn pairs(&self) -> impl Iterator<Item = (&Self, &Self)> {
        let (map, flat): (&[(Self, Self)], &[Self]) = match self {
            Self::Map(pairs) => (pairs, &[]),
            Self::Array(items) => (&[], items),
            _ => (&[], &[]),
        };
        let flat = flat.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
        map.iter().map(|(key, value)| (key, value)).chain(flat)
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is the status `OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == "OK")
    }

    /// The text of an error, with what is not UTF-8 replaced.
    #[must_use]
    pub fn as_error(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Error(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    /// The first word of an error, such as `READONLY`; empty when it is not UTF-8.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Self::Error(text) => {
                let word = text.split(|byte| *byte == b' ').next()?;
                Some(std::str::from_utf8(word).unwrap_or_default())
            }
            _ => None,
        }
    }
}

struct Decoder<'a> {
    raw: &'a Bytes,
    pos: usize,
    /// How many more elements may be decoded.
    left: usize,
}

impl Decoder<'_> {
    fn element(&mut self, depth: usize) -> Result<Value, FrameError> {
        loop {
            let kind = *self.raw.get(self.pos).ok_or(FrameError::NotOneReply)?;
            let end = scan::crlf(self.raw, self.pos).ok_or(FrameError::NotOneReply)?;
            if end == self.pos {
                // A line without a type: its end is where the type should be.
                return Err(FrameError::UnknownType(kind));
            }
            let line = self.raw.slice(self.pos + 1..end);
            self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
            self.pos = end + 2;
            if kind != b'|' {
                return self.body(kind, line, depth);
            }
            let entries = length(kind, &line)?;
            self.pairs(entries, depth)?;
        }
    }

    fn body(&mut self, kind: u8, line: Bytes, depth: usize) -> Result<Value, FrameError> {
        let invalid = FrameError::InvalidContent(kind);
        Ok(match kind {
            b'+' => Value::Simple(line),
            b'-' => Value::Error(line),
            b'(' => Value::BigNumber(line),
            b':' => Value::Integer(scan::integer(&line).ok_or(invalid)?),
            b',' => Value::Double(double(&line).ok_or(invalid)?),
            b'#' if line == "t" => Value::Boolean(true),
            b'#' if line == "f" => Value::Boolean(false),
            b'_' if line.is_empty() => Value::Null,
            b'#' | b'_' => return Err(invalid),
            b'$' | b'*' if line == "-1" => Value::Null,
            b'$' => Value::Bulk(self.payload(length(kind, &line)?)?),
            b'!' => Value::Error(self.payload(length(kind, &line)?)?),
            b'=' => {
                let payload = self.payload(length(kind, &line)?)?;
                match payload[..] {
                    [a, b, c, b':', ..] => {
                        Value::Verbatim { format: [a, b, c], text: payload.slice(4..) }
                    }
                    _ => return Err(invalid),
                }
            }
            b'*' => Value::Array(self.items(length(kind, &line)?, depth)?),
            b'~' => Value::Set(self.items(length(kind, &line)?, depth)?),
            b'>' => Value::Push(self.items(length(kind, &line)?, depth)?),
            b'%' => Value::Map(self.pairs(length(kind, &line)?, depth)?),
            other => return Err(FrameError::UnknownType(other)),
        })
    }

    fn payload(&mut self, len: usize) -> Result<Bytes, FrameError> {
        let end = self.pos.checked_add(len).ok_or(FrameError::NotOneReply)?;
        let terminator = end.checked_add(2).and_then(|after| self.raw.get(end..after));
        match terminator {
            Some(b"\r\n") => {}
            Some(_) => return Err(FrameError::InvalidTerminator),
            None => return Err(FrameError::NotOneReply),
        }
        let payload = self.raw.slice(self.pos..end);
        self.pos = end + 2;
        Ok(payload)
    }

    fn items(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, FrameError> {
        let depth = deeper(depth)?;
        let mut items = Vec::with_capacity(self.room_for(count)?);
        for _ in 0..count {
            items.push(self.element(depth)?);
        }
        Ok(items)
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>, FrameError> {
        let depth = deeper(depth)?;
        let mut pairs = Vec::with_capacity(self.room_for(count)?);
        for _ in 0..count {
            pairs.push((self.element(depth)?, self.element(depth)?));
        }
        Ok(pairs)
    }

    /// Refuses a count that the rest of the bytes or of the allowance cannot hold.
    fn room_for(&self, count: usize) -> Result<usize, FrameError> {
        if count > self.left {
            return Err(too_many());
        }
        if count > self.raw.len() - self.pos {
            return Err(FrameError::NotOneReply);
        }
        Ok(count)
    }
}

fn too_many() -> FrameError {
    FrameError::TooManyElements(MAX_ELEMENTS)
}

fn deeper(depth: usize) -> Result<usize, FrameError> {
    if depth >= ReplyLimits::MAX_DEPTH {
        return Err(FrameError::TooDeep(ReplyLimits::MAX_DEPTH));
    }
    Ok(depth + 1)
}

fn length(kind: u8, line: &[u8]) -> Result<usize, FrameError> {
    scan::integer(line)
        .and_then(|len| usize::try_from(len).ok())
        .ok_or(FrameError::InvalidLength(kind))
}

fn double(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}
