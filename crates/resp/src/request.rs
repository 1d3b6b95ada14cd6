//! Finds the requests in what a client sends.
//!
//! It does no input or output and copies nothing: a request is a reference-counted piece of the
//! buffer that the bytes were read into. Each call goes on where the last one stopped, so a large
//! value that arrives in small reads is looked at once. Limits and error texts are the engine's
//! own, with two deviations: at most 1 048 576 arguments, and CRLF where the engine would take
//! any two bytes.
//!
//! Invariant: how a byte stream is cut into reads never changes the requests or the error that
//! come out of it; [`Request::raw`] is always one well-formed multibulk frame.
//!
//! Not here: what a command does ([`crate::table`]); the answers ([`crate::reply`]).

mod frame;
mod inline;
mod parts;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};

pub use frame::{Args, Request};
pub use parts::Part;

use crate::scan;

/// What one request may be at most. `Default` gives the engine's own limits for a client that
/// has authenticated.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most arguments of one request, the name included.
    pub max_args: usize,
    /// Longest single argument in bytes (the engine's `proto-max-bulk-len`).
    pub max_bulk_bytes: usize,
    /// Longest inline command, and longest header line, in bytes.
    pub inline_bytes: usize,
    /// Largest whole request in bytes (the engine's `client-query-buffer-limit`).
    pub max_request_bytes: usize,
    /// Whether the client has yet to authenticate; then the two limits below hold as well.
    pub unauthenticated: bool,
    /// Most arguments before authentication.
    pub unauthenticated_args: usize,
    /// Longest single argument before authentication, in bytes.
    pub unauthenticated_bulk_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_args: 1_048_576,
            max_bulk_bytes: 512 << 20,
            inline_bytes: 64 << 10,
            max_request_bytes: 1 << 30,
            unauthenticated: false,
            unauthenticated_args: 10,
            unauthenticated_bulk_bytes: 16 << 10,
        }
    }
}

/// Why a client's bytes are not a request. The connection is of no use afterwards: send
/// [`ProtocolError::reply`], if there is one, and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number after `*` is not one, or is too large.
    #[error("invalid multibulk length")]
    InvalidMultibulkLength,
    /// More arguments than a client may send before it authenticates.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The number after `$` is not one, is negative, or is too large.
    #[error("invalid bulk length")]
    InvalidBulkLength,
    /// A longer argument than a client may send before it authenticates.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument does not begin with `$`, but with this byte.
    #[error("expected '$', got '{}'", char::from(*.0).escape_default())]
    ExpectedBulk(u8),
    /// An argument is not followed by CRLF.
    #[error("invalid bulk terminator")]
    InvalidBulkTerminator,
    /// An inline command is longer than [`Limits::inline_bytes`].
    #[error("too big inline request")]
    TooBigInlineRequest,
    /// The line that begins with `*` is longer than [`Limits::inline_bytes`].
    #[error("too big mbulk count string")]
    TooBigMultibulkCount,
    /// The line that should begin with `$` is longer than [`Limits::inline_bytes`].
    #[error("too big bulk count string")]
    TooBigBulkCount,
    /// An inline command has an open quote, or text directly after a closing one.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The command is `POST` or `Host:`, so a browser was made to talk to this port.
    #[error("an http request was sent to a redis port")]
    CrossProtocol,
    /// The whole request is larger than [`Limits::max_request_bytes`].
    #[error("request is larger than the limit")]
    RequestTooBig,
}

impl ProtocolError {
    /// The exact bytes to send before closing, CRLF included; `None` to close without a word, as
    /// the engine does for [`Self::CrossProtocol`] and [`Self::RequestTooBig`].
    #[must_use]
    pub fn reply(&self) -> Option<Bytes> {
        let text: &'static [u8] = match self {
            Self::InvalidMultibulkLength => b"-ERR Protocol error: invalid multibulk length\r\n",
            Self::UnauthenticatedMultibulkLength => {
                b"-ERR Protocol error: unauthenticated multibulk length\r\n"
            }
            Self::InvalidBulkLength => b"-ERR Protocol error: invalid bulk length\r\n",
            Self::UnauthenticatedBulkLength => {
                b"-ERR Protocol error: unauthenticated bulk length\r\n"
            }
            Self::InvalidBulkTerminator => b"-ERR Protocol error: invalid bulk terminator\r\n",
            Self::TooBigInlineRequest => b"-ERR Protocol error: too big inline request\r\n",
            Self::TooBigMultibulkCount => b"-ERR Protocol error: too big mbulk count string\r\n",
            Self::TooBigBulkCount => b"-ERR Protocol error: too big bulk count string\r\n",
            Self::UnbalancedQuotes => b"-ERR Protocol error: unbalanced quotes in request\r\n",
            Self::ExpectedBulk(got) => return Some(expected_bulk(*got)),
            Self::CrossProtocol | Self::RequestTooBig => return None,
        };
        Some(Bytes::from_static(text))
    }
}

/// The byte goes out as it came in; only line ends become a blank, as in every engine error.
fn expected_bulk(got: u8) -> Bytes {
    let shown = if matches!(got, b'\r' | b'\n') { b' ' } else { got };
    let mut text = b"-ERR Protocol error: expected '$', got '".to_vec();
    text.extend_from_slice(&[shown, b'\'', b'\r', b'\n']);
    text.into()
}

/// The incremental framer of one client connection.
///
/// Between two calls bytes may only be appended to the buffer. After an error every further call
/// gives the same error. Call [`Self::set_authenticated`] before the next [`Self::next`], since a
/// request that is framed too early is judged by the old limits.
#[derive(Debug)]
pub struct RequestFramer {
    limits: Limits,
    /// Arguments of the request under way; zero between two requests.
    argc: usize,
    /// Arguments not yet seen.
    remaining: usize,
    /// Start of the first argument's header.
    first: usize,
    /// Everything before this offset is checked.
    pos: usize,
    /// Bytes after `pos` that are known to hold no line end.
    scanned: usize,
    /// Bytes of the request that were taken as parts.
    passed: usize,
    /// Length of the argument that begins at `pos`, once its header is read.
    bulk: Option<usize>,
    failed: Option<ProtocolError>,
}

impl RequestFramer {
    /// A framer for a new connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            argc: 0,
            remaining: 0,
            first: 0,
            pos: 0,
            scanned: 0,
            passed: 0,
            bulk: None,
            failed: None,
        }
    }

    /// Says whether the client is authenticated from the next request on.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.limits.unauthenticated = !authenticated;
    }

    /// How many more bytes the request under way needs at least, given that `buffered` bytes of
    /// it are in the buffer; 0 when that is not known yet. A hint for reserving room: the client
    /// chose the number, so put a limit on it.
    #[must_use]
    pub fn wanted(&self, buffered: usize) -> usize {
        self.bulk.map_or(0, |len| (self.pos + len + 2).saturating_sub(buffered))
    }

    /// The next whole request, taken off the front of `input`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a request; see [`ProtocolError`].
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.step(input);
        if let Err(error) = outcome {
            self.failed = Some(error);
        }
        outcome
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        loop {
            if self.argc == 0 {
                match input.first() {
                    None => return Ok(None),
                    Some(b'*') => {}
                    Some(_) => match self.inline(input)? {
                        inline::Line::Incomplete => return Ok(None),
                        inline::Line::Empty => continue,
                        inline::Line::Request(request) => return vetted(request),
                    },
                }
                if !self.multibulk_header(input)? {
                    return Ok(None);
                }
                if self.argc == 0 {
                    input.advance(self.pos);
                    self.reset();
                    continue;
                }
            }
            if !self.arguments(input)? {
                return Ok(None);
            }
            let raw = input.split_to(self.pos).freeze();
            let request = Request::new(raw, self.argc, self.first);
            self.reset();
            return vetted(request);
        }
    }

    fn reset(&mut self) {
        self.argc = 0;
        self.remaining = 0;
        self.pos = 0;
        self.scanned = 0;
        self.passed = 0;
        self.bulk = None;
    }

    /// Reads `*N`; leaves `argc` at zero for an empty frame. `false` means more bytes are needed.
    fn multibulk_header(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let count = if let Some((count, size)) = scan::short_header(input) {
            self.pos = size;
            count
        } else {
            let Some(end) = self.header_line(input, ProtocolError::TooBigMultibulkCount)? else {
                return Ok(false);
            };
            if input[end + 1] != b'\n' {
                return Err(ProtocolError::InvalidMultibulkLength);
            }
            let Some(count) = scan::integer(&input[1..end]) else {
                return Err(ProtocolError::InvalidMultibulkLength);
            };
            self.pos = end + 2;
            // A negative count is an empty frame, as `*0` is.
            usize::try_from(count.max(0)).unwrap_or(usize::MAX)
        };
        if count > self.limits.max_args {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if self.limits.unauthenticated && count > self.limits.unauthenticated_args {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.scanned = 0;
        self.first = self.pos;
        self.argc = count;
        self.remaining = count;
        Ok(true)
    }

    /// Reads what is there of the arguments. `false` means more bytes are needed.
    fn arguments(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        while self.remaining > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_header(input)? {
                    Some(len) => len,
                    None => return Ok(false),
                },
            };
            let end = self.pos + len;
            let Some(terminator) = input.get(end..end + 2) else {
                self.bulk = Some(len);
                return Ok(false);
            };
            if terminator != b"\r\n" {
                return Err(ProtocolError::InvalidBulkTerminator);
            }
            self.bulk = None;
            self.pos = end + 2;
            self.remaining -= 1;
        }
        Ok(true)
    }

    /// Reads `$N`; `None` when more bytes are needed.
    #[inline]
    fn bulk_header(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let line = input.get(self.pos..).unwrap_or_default();
        let len = match scan::short_header(line) {
            Some((len, size)) if line[0] == b'$' => {
                self.pos += size;
                len
            }
            _ => match self.long_bulk_header(input)? {
                Some(len) => len,
                None => return Ok(None),
            },
        };
        self.scanned = 0;
        if len > self.limits.max_bulk_bytes {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if self.limits.unauthenticated && len > self.limits.unauthenticated_bulk_bytes {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        if (self.passed + self.pos).saturating_add(len) > self.limits.max_request_bytes {
            return Err(ProtocolError::RequestTooBig);
        }
        Ok(Some(len))
    }

    #[cold]
    fn long_bulk_header(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.header_line(input, ProtocolError::TooBigBulkCount)? else {
            return Ok(None);
        };
        let got = input[self.pos];
        if got != b'$' {
            return Err(ProtocolError::ExpectedBulk(got));
        }
        if input[end + 1] != b'\n' {
            return Err(ProtocolError::InvalidBulkLength);
        }
        // `end` is after `pos`, because the byte at `pos` is not the line end.
        let len = scan::integer(&input[self.pos + 1..end])
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(ProtocolError::InvalidBulkLength)?;
        self.pos = end + 2;
        Ok(Some(len))
    }

    /// The offset of the carriage return that ends the line at `pos`, when the byte after it is
    /// there as well. Like the engine's `strchr`, it never looks past a NUL: such a line goes on
    /// until it is too long.
    fn header_line(
        &mut self,
        input: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line = input.get(self.pos..).unwrap_or_default();
        match self.line_end(line, b'\r', too_long)? {
            Some(end) if end + 1 < line.len() => Ok(Some(self.pos + end)),
            _ => Ok(None),
        }
    }

    /// Where `stop` is in `line`, from which the first `scanned` bytes are known not to hold it.
    fn line_end(
        &mut self,
        line: &[u8],
        stop: u8,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let fresh = line.get(self.scanned..).unwrap_or_default();
        let found = fresh.iter().position(|byte| *byte == stop || *byte == 0);
        let length = match found {
            Some(offset) => self.scanned + offset,
            None => line.len(),
        };
        self.scanned = length;
        match line.get(length) {
            Some(byte) if *byte == stop => {
                if length > self.limits.inline_bytes {
                    return Err(too_long);
                }
                Ok(Some(length))
            }
            _ if line.len() > self.limits.inline_bytes => Err(too_long),
            _ => Ok(None),
        }
    }

    /// Reads one inline command and re-encodes it, so that nobody downstream needs to know of
    /// this form.
    fn inline(&mut self, input: &mut BytesMut) -> Result<inline::Line, ProtocolError> {
        let Some(end) = self.line_end(input, b'\n', ProtocolError::TooBigInlineRequest)? else {
            return Ok(inline::Line::Incomplete);
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let parsed = inline::parse(line)?;
        input.advance(end + 1);
        self.reset();
        Ok(parsed)
    }
}

/// Refuses what a web page can make a browser send; the engine does so for any user.
#[inline]
fn vetted(request: Request) -> Result<Option<Request>, ProtocolError> {
    let name = request.name();
    if let Some(b'p' | b'P' | b'h' | b'H') = name.first() {
        // The engine compares C strings, so a NUL ends the name.
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = &name[..end];
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            return Err(ProtocolError::CrossProtocol);
        }
    }
    Ok(Some(request))
}
