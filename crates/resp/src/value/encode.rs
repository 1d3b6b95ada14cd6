//! Encodes the replies that Tanist gives itself.
//!
//! The shape depends on the version that the client asked for with HELLO, so the version is part
//! of the encoder and callers say only what they mean.
//!
//! Invariant: what is written is well-formed whatever the text: CR and LF become blanks in
//! simple strings and errors, as in the engine.
//!
//! Not here: requests ([`crate::command`]).

use bytes::{BufMut, BytesMut};

use super::Value;
use crate::scan::{put_bulk, put_decimal, put_header};

/// The protocol version of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Appends replies to a buffer in one protocol version.
///
/// The methods named after aggregates append the header only; the elements follow by further
/// calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder {
    version: Version,
}

impl Encoder {
    /// An encoder for one version.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self { version }
    }

    /// The version that it encodes for.
    #[must_use]
    pub fn version(self) -> Version {
        self.version
    }

    fn is_resp3(self) -> bool {
        self.version == Version::Resp3
    }

    /// A status such as `OK`.
    pub fn simple(self, out: &mut BytesMut, text: impl AsRef<[u8]>) {
        put_line(out, b'+', text.as_ref());
    }

    /// An error; `text` begins with its code, such as `ERR`.
    pub fn error(self, out: &mut BytesMut, text: impl AsRef<[u8]>) {
        put_line(out, b'-', text.as_ref());
    }

    /// An integer.
    pub fn integer(self, out: &mut BytesMut, value: i64) {
        out.put_u8(b':');
        put_signed(out, value);
        out.put_slice(b"\r\n");
    }

    /// A string of any bytes.
    pub fn bulk(self, out: &mut BytesMut, payload: impl AsRef<[u8]>) {
        put_bulk(out, payload.as_ref());
    }

    /// A text of the kind that its three letters name (RESP2: a string).
    pub fn verbatim(self, out: &mut BytesMut, kind: [u8; 3], payload: impl AsRef<[u8]>) {
        if !self.is_resp3() {
            return self.bulk(out, payload);
        }
        let payload = payload.as_ref();
        put_header(out, b'=', payload.len() + 4);
        out.put_slice(&kind);
        out.put_u8(b':');
        out.put_slice(payload);
        out.put_slice(b"\r\n");
    }

    /// No value (RESP2: a null bulk string).
    pub fn null(self, out: &mut BytesMut) {
        out.put_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No list (RESP2: a null array, which is what an aborted EXEC or a timed-out BLPOP gives).
    pub fn null_array(self, out: &mut BytesMut) {
        out.put_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `len` elements.
    pub fn array(self, out: &mut BytesMut, len: usize) {
        put_header(out, b'*', len);
    }

    /// The header of a map of `len` pairs (RESP2: an array of keys and values).
    pub fn map(self, out: &mut BytesMut, len: usize) {
        if self.is_resp3() {
            put_header(out, b'%', len);
        } else {
            put_header(out, b'*', len.saturating_mul(2));
        }
    }

    /// The header of a set of `len` elements (RESP2: an array).
    pub fn set(self, out: &mut BytesMut, len: usize) {
        put_header(out, if self.is_resp3() { b'~' } else { b'*' }, len);
    }

    /// The header of a push of `len` elements (RESP2: an array).
    pub fn push(self, out: &mut BytesMut, len: usize) {
        put_header(out, if self.is_resp3() { b'>' } else { b'*' }, len);
    }

    /// True or false (RESP2: 1 or 0).
    pub fn boolean(self, out: &mut BytesMut, value: bool) {
        out.put_slice(match (self.version, value) {
            (Version::Resp3, true) => b"#t\r\n",
            (Version::Resp3, false) => b"#f\r\n",
            (Version::Resp2, true) => b":1\r\n",
            (Version::Resp2, false) => b":0\r\n",
        });
    }

    /// A floating point number (RESP2: a bulk string).
    pub fn double(self, out: &mut BytesMut, value: f64) {
        let text = if value.is_nan() {
            "nan".to_owned()
        } else if value.is_infinite() || (1e-5..1e17).contains(&value.abs()) || value == 0.0 {
            value.to_string()
        } else {
            format!("{value:e}")
        };
        if self.is_resp3() {
            put_line(out, b',', text.as_bytes());
        } else {
            put_bulk(out, text.as_bytes());
        }
    }

    /// A whole tree. In RESP2 it takes the shapes named at the other methods.
    pub fn value(self, out: &mut BytesMut, value: &Value) {
        match value {
            Value::Simple(text) => self.simple(out, text),
            Value::Error(text) => self.error(out, text),
            Value::Integer(value) => self.integer(out, *value),
            Value::Bulk(payload) => self.bulk(out, payload),
            Value::Null => self.null(out),
            Value::Double(value) => self.double(out, *value),
            Value::Boolean(value) => self.boolean(out, *value),
            Value::BigNumber(digits) if self.is_resp3() => put_line(out, b'(', digits),
            Value::BigNumber(digits) => self.bulk(out, digits),
            Value::Verbatim { format, text } if self.is_resp3() => {
                put_header(out, b'=', text.len().saturating_add(4));
                out.put_slice(format);
                out.put_u8(b':');
                out.put_slice(text);
                out.put_slice(b"\r\n");
            }
            Value::Verbatim { text, .. } => self.bulk(out, text),
            Value::Array(items) => {
                self.array(out, items.len());
                self.all(out, items);
            }
            Value::Set(items) => {
                self.set(out, items.len());
                self.all(out, items);
            }
            Value::Push(items) => {
                self.push(out, items.len());
                self.all(out, items);
            }
            Value::Map(pairs) => {
                self.map(out, pairs.len());
                for (key, value) in pairs {
                    self.value(out, key);
                    self.value(out, value);
                }
            }
        }
    }

    fn all(self, out: &mut BytesMut, items: &[Value]) {
        for item in items {
            self.value(out, item);
        }
    }
}

fn put_line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.reserve(text.len() + 3);
    out.put_u8(kind);
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        out.put_slice(&rest[..at]);
        out.put_u8(b' ');
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_slice(b"\r\n");
}

fn put_signed(out: &mut BytesMut, value: i64) {
    if value < 0 {
        out.put_u8(b'-');
    }
    put_decimal(out, value.unsigned_abs());
}
