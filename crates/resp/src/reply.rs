//! Finds the replies in what an engine sends, in RESP2 and RESP3.
//!
//! The proxy forwards replies without reading them, so this finds only where one ends, what kind
//! it is and, for an error, its code. It goes on where it stopped, keeps a list of open aggregates
//! instead of recursing, and copies nothing.
//!
//! Invariant: how a byte stream is cut into reads never changes the replies or the error that come
//! out of it; memory is bounded by [`ReplyLimits`], whatever a count or length claims.
//!
//! Not here: the content of a reply ([`crate::value`]); the requests ([`crate::request`]).

mod parts;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

pub use parts::Piece;

use crate::scan;
use crate::value::Value;

/// The shortest element on the wire is `_` with its CRLF, so a count tells a least size.
const MIN_ELEMENT_BYTES: usize = 3;
/// Longest line that holds only a number or a flag: type byte and a signed 64-bit decimal.
const MAX_NUMBER_LINE: usize = 32;

/// What one reply may be at most.
#[derive(Clone, Debug)]
pub struct ReplyLimits {
    /// Largest whole reply in bytes, attributes included.
    pub max_reply_bytes: usize,
    /// Most aggregates inside one another; at most [`ReplyLimits::MAX_DEPTH`] is used.
    pub max_depth: usize,
}

impl ReplyLimits {
    /// The deepest nesting that is ever accepted; engines use a handful.
    pub const MAX_DEPTH: usize = 128;
}

impl Default for ReplyLimits {
    /// 1 GiB, which is twice the largest value that an engine stores by default.
    fn default() -> Self {
        Self { max_reply_bytes: 1 << 30, max_depth: Self::MAX_DEPTH }
    }
}

/// Why an engine's bytes are not a reply. The connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An element begins with a byte that names no type.
    #[error("unknown reply type '{}'", char::from(*.0).escape_default())]
    UnknownType(u8),
    /// A length or count is not a number that its type allows; streamed types end up here too.
    #[error("invalid length in a reply of type '{}'", char::from(*.0))]
    InvalidLength(u8),
    /// A null, boolean, number or verbatim string has the wrong content.
    #[error("invalid content in a reply of type '{}'", char::from(*.0))]
    InvalidContent(u8),
    /// A bulk payload is not followed by CRLF.
    #[error("a bulk reply does not end with crlf")]
    InvalidTerminator,
    /// More aggregates inside one another than the limit.
    #[error("a reply is nested deeper than {0} levels")]
    TooDeep(usize),
    /// The reply is, or says that it will be, larger than the limit.
    #[error("a reply is larger than {0} bytes")]
    TooLarge(usize),
    /// A reply that was to be decoded into a tree has more elements than the limit.
    #[error("a reply has more than {0} elements")]
    TooManyElements(usize),
    /// A complete reply was expected, and the bytes stop before its end or go on after it.
    #[error("the bytes are not exactly one reply")]
    NotOneReply,
}

/// What a reply is, from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `+`
    Simple,
    /// `-`
    Error,
    /// `:`
    Integer,
    /// `$`
    Bulk,
    /// `*`
    Array,
    /// `_`, and RESP2's `$-1` and `*-1`
    Null,
    /// `,`
    Double,
    /// `#`
    Boolean,
    /// `!`
    BulkError,
    /// `=`
    Verbatim,
    /// `(`
    BigNumber,
    /// `%`
    Map,
    /// `~`
    Set,
    /// `>`
    Push,
}

/// One whole reply. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    raw: Bytes,
    /// Where the reply begins after its attributes.
    body: usize,
    kind: Kind,
}

impl Reply {
    /// The bytes as they came, attributes included.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The bytes, without a further reference to them.
    #[must_use]
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// What the reply is; attributes before it do not count.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is an error, in either form.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.kind, Kind::Error | Kind::BulkError)
    }

    /// Whether it is a push, which answers no request.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.kind == Kind::Push
    }

    /// The text of an error without type byte and CRLF; `None` when it is not one.
    #[must_use]
    pub fn error_text(&self) -> Option<&[u8]> {
        let body = self.raw.get(self.body..)?;
        let text = match self.kind {
            Kind::Error => body.get(1..)?,
            Kind::BulkError => body.get(scan::crlf(body, 0)? + 2..)?,
            _ => return None,
        };
        text.strip_suffix(b"\r\n")
    }

    /// The first word of an error, such as `READONLY`; `None` when it is not an error, and empty
    /// when that word is not UTF-8.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        let word = self.error_text()?.split(|byte| *byte == b' ').next()?;
        Some(std::str::from_utf8(word).unwrap_or_default())
    }

    /// Decodes the content.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn value(&self) -> Result<Value, FrameError> {
        Value::decode(&self.raw)
    }
}

/// A whole reply that was found and not taken.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    size: usize,
    body: usize,
    kind: Kind,
}

impl Found {
    /// Its size in bytes, attributes included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the reply is; attributes before it do not count.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The reply, of which these are the bytes.
    #[must_use]
    pub fn reply(self, raw: Bytes) -> Reply {
        Reply { raw, body: self.body, kind: self.kind }
    }
}

/// The incremental framer of one engine connection.
///
/// Between two calls bytes may only be appended to the buffer. After an error every further call
/// gives the same error.
#[derive(Debug)]
pub struct ReplyFramer {
    max_bytes: usize,
    max_depth: usize,
    /// Start of the next header; everything before it is checked.
    pos: usize,
    /// Where to go on looking for a line's end.
    scanned: usize,
    /// Bytes of the reply that were given away as parts.
    given: usize,
    /// Where the payload under way ends, its CRLF included.
    payload_end: Option<usize>,
    /// How many elements each open aggregate still lacks, the outermost first.
    open: Vec<usize>,
    /// Start and kind of the reply itself, once its header is read.
    body: Option<(usize, Kind)>,
    failed: Option<FrameError>,
}

impl Default for ReplyFramer {
    fn default() -> Self {
        Self::new(&ReplyLimits::default())
    }
}

impl ReplyFramer {
    /// A framer for a new connection.
    #[must_use]
    pub fn new(limits: &ReplyLimits) -> Self {
        Self {
            max_bytes: limits.max_reply_bytes,
            max_depth: limits.max_depth.min(ReplyLimits::MAX_DEPTH),
            pos: 0,
            scanned: 0,
            given: 0,
            payload_end: None,
            open: Vec::new(),
            body: None,
            failed: None,
        }
    }

    /// How many more bytes the reply under way needs at least, given that `buffered` bytes of it
    /// are in the buffer; 0 when that is not known. A hint for reserving room.
    #[must_use]
    pub fn wanted(&self, buffered: usize) -> usize {
        self.payload_end.map_or(0, |end| end.saturating_sub(buffered))
    }

    /// The next whole reply, taken off the front of `input`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a reply; see [`FrameError`].
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, FrameError> {
        let found = self.look(input)?;
        Ok(found.map(|found| found.reply(input.split_to(found.size).freeze())))
    }

    /// As [`Self::next`], but leaves the reply where it is: at the beginning of `input`. What is given
    /// next begins there, to find the same again, or behind it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn look(&mut self, input: &[u8]) -> Result<Option<Found>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.scan(input) {
            Ok(Some((body, kind))) => {
                let size = self.pos;
                self.pos = 0;
                self.scanned = 0;
                self.given = 0;
                self.body = None;
                Ok(Some(Found { size, body, kind }))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Moves `pos` to the end of the reply; `None` when more bytes are needed.
    fn scan(&mut self, input: &[u8]) -> Result<Option<(usize, Kind)>, FrameError> {
        loop {
            if let Some(end) = self.payload_end {
                let Some(terminator) = input.get(end - 2..end) else { return Ok(None) };
                if terminator != b"\r\n" {
                    return Err(FrameError::InvalidTerminator);
                }
                self.payload_end = None;
                self.pos = end;
            } else if !self.element(input)? {
                return Ok(None);
            }
            if self.payload_end.is_some() {
                continue;
            }
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
            if self.open.is_empty() && self.body.is_some() {
                return Ok(self.body);
            }
        }
    }

    /// Reads one element's header, or the whole of an element that is one line. `false` means
    /// more bytes are needed.
    fn element(&mut self, input: &[u8]) -> Result<bool, FrameError> {
        let Some(&first) = input.get(self.pos) else { return Ok(false) };
        let start = self.pos;
        let (kind, shape) = shape_of(first)?;
        if !matches!(shape, Shape::Line | Shape::Number)
            && let Some((count, size)) = scan::short_header(&input[start..])
        {
            return self.sized(start, size, first, kind, shape, Some(count));
        }
        let Some(end) = self.line_end(input, first, shape)? else { return Ok(false) };
        let size = end + 2 - start;
        let line = &input[start + 1..end];
        match shape {
            Shape::Line => self.occupy(start, kind),
            Shape::Number => {
                check_scalar(first, line)?;
                self.occupy(start, kind);
            }
            Shape::Payload | Shape::Aggregate(_) => {
                let count = match scan::integer(line) {
                    Some(-1) if matches!(first, b'$' | b'*') => None,
                    Some(count) => {
                        Some(usize::try_from(count).map_err(|_| FrameError::InvalidLength(first))?)
                    }
                    None => return Err(FrameError::InvalidLength(first)),
                };
                return self.sized(start, size, first, kind, shape, count);
            }
        }
        self.advance(size)?;
        Ok(true)
    }

    /// Goes past the header of a payload or an aggregate; a count of `None` is RESP2's null.
    fn sized(
        &mut self,
        start: usize,
        size: usize,
        first: u8,
        kind: Option<Kind>,
        shape: Shape,
        count: Option<usize>,
    ) -> Result<bool, FrameError> {
        self.advance(size)?;
        let Some(count) = count else {
            self.occupy(start, Some(Kind::Null));
            return Ok(true);
        };
        self.occupy(start, kind);
        let too_large = FrameError::TooLarge(self.max_bytes);
        if let Shape::Aggregate(per_entry) = shape {
            let elements = count.checked_mul(per_entry).ok_or(too_large)?;
            let least = elements.checked_mul(MIN_ELEMENT_BYTES).ok_or(too_large)?;
            if least > self.max_bytes - self.given - self.pos {
                return Err(too_large);
            }
            if elements > 0 {
                if self.open.len() >= self.max_depth {
                    return Err(FrameError::TooDeep(self.max_depth));
                }
                self.open.push(elements);
            }
        } else {
            if first == b'=' && count < 4 {
                return Err(FrameError::InvalidLength(first));
            }
            let end = self.pos.checked_add(count).and_then(|end| end.checked_add(2));
            let most = self.max_bytes - self.given;
            self.payload_end = Some(end.filter(|end| *end <= most).ok_or(too_large)?);
        }
        Ok(true)
    }

    /// Counts one element against the aggregate around it; an attribute (`None`) is not one.
    fn occupy(&mut self, start: usize, kind: Option<Kind>) {
        let Some(kind) = kind else { return };
        match self.open.last_mut() {
            // Finished levels are closed at once, so an open one always lacks something.
            Some(lacking) => *lacking = lacking.saturating_sub(1),
            None => self.body = Some((start, kind)),
        }
    }

    fn advance(&mut self, size: usize) -> Result<(), FrameError> {
        self.pos += size;
        self.scanned = self.pos;
        if self.given + self.pos > self.max_bytes {
            return Err(FrameError::TooLarge(self.max_bytes));
        }
        Ok(())
    }

    /// Where the line that begins at `pos` has its CRLF.
    fn line_end(
        &mut self,
        input: &[u8],
        first: u8,
        shape: Shape,
    ) -> Result<Option<usize>, FrameError> {
        let (limit, error) = match shape {
            Shape::Line => {
                (self.max_bytes.saturating_sub(self.given), FrameError::TooLarge(self.max_bytes))
            }
            Shape::Number => (self.pos + MAX_NUMBER_LINE, FrameError::InvalidContent(first)),
            _ => (self.pos + MAX_NUMBER_LINE, FrameError::InvalidLength(first)),
        };
        // No further than the limit, so that the outcome does not depend on what else has arrived.
        let window = input.get(..limit.min(input.len())).unwrap_or_default();
        if let Some(end) = scan::crlf(window, self.scanned.max(self.pos)) {
            return Ok(Some(end));
        }
        if input.len() >= limit {
            return Err(error);
        }
        // The last byte may be the first half of a CRLF.
        self.scanned = input.len().saturating_sub(1).max(self.pos);
        Ok(None)
    }
}

/// How an element goes on after its type byte.
#[derive(Clone, Copy)]
enum Shape {
    /// Text up to the line's end.
    Line,
    /// A number or a flag up to the line's end.
    Number,
    /// A length and as many bytes.
    Payload,
    /// A count and, per entry, so many elements.
    Aggregate(usize),
}

/// `None` as the kind marks an attribute, which belongs to the reply that follows it.
#[inline]
fn shape_of(first: u8) -> Result<(Option<Kind>, Shape), FrameError> {
    let (kind, shape) = match first {
        b'+' => (Kind::Simple, Shape::Line),
        b'-' => (Kind::Error, Shape::Line),
        b':' => (Kind::Integer, Shape::Number),
        b'$' => (Kind::Bulk, Shape::Payload),
        b'*' => (Kind::Array, Shape::Aggregate(1)),
        b'_' => (Kind::Null, Shape::Number),
        b',' => (Kind::Double, Shape::Line),
        b'#' => (Kind::Boolean, Shape::Number),
        b'!' => (Kind::BulkError, Shape::Payload),
        b'=' => (Kind::Verbatim, Shape::Payload),
        b'(' => (Kind::BigNumber, Shape::Line),
        b'%' => (Kind::Map, Shape::Aggregate(2)),
        b'~' => (Kind::Set, Shape::Aggregate(1)),
        b'>' => (Kind::Push, Shape::Aggregate(1)),
        b'|' => return Ok((None, Shape::Aggregate(2))),
        other => return Err(FrameError::UnknownType(other)),
    };
    Ok((Some(kind), shape))
}

fn check_scalar(first: u8, line: &[u8]) -> Result<(), FrameError> {
    let valid = match first {
        b'_' => line.is_empty(),
        b'#' => matches!(line, b"t" | b"f"),
        _ => scan::integer(line).is_some(),
    };
    if valid { Ok(()) } else { Err(FrameError::InvalidContent(first)) }
}
