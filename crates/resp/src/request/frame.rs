//! One whole request, as a piece of the connection's buffer.
//!
//! Arguments are found when they are asked for, because most requests are forwarded after a look
//! at the name and at most one key.
//!
//! Invariant: the bytes are one well-formed multibulk frame with at least one argument; only the
//! framer and [`crate::Command`] make one.
//!
//! Not here: finding the frame's end ([`super::RequestFramer`]).

use std::fmt;

use bytes::Bytes;

/// One request. Cheap to clone: the bytes are shared.
///
/// A small request keeps the whole read buffer alive that it was cut from, so do not keep one for
/// long, or keep it [detached](Self::detached). Read arguments through [`Self::args`] and
/// [`Self::arg`] and forward [`Self::raw`]; code that does so stays right when a later version hands
/// out a very large request in parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    raw: Bytes,
    argc: usize,
    /// Start of the first argument's header.
    first: usize,
}

impl Request {
    pub(crate) fn new(raw: Bytes, argc: usize, first: usize) -> Self {
        Self { raw, argc, first }
    }

    /// The frame as it goes to an engine.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The same in memory of its own, for who has to keep it for long.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { raw: Bytes::copy_from_slice(&self.raw), ..self }
    }

    /// The frame, without a further reference to it.
    #[must_use]
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// The number of arguments, the name included; at least 1.
    #[must_use]
    pub fn argc(&self) -> usize {
        self.argc
    }

    /// The arguments in order; the first one is the name.
    #[inline]
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        Args { rest: self.raw.get(self.first..).unwrap_or_default(), left: self.argc }
    }

    /// The command's name as the client wrote it (any case, any bytes, possibly empty).
    #[inline]
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.args().next().unwrap_or_default()
    }

    /// Whether the command has this name, in any case.
    #[inline]
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }

    /// Argument number `index`; 0 is the name. Takes time in proportion to `index`.
    #[inline]
    #[must_use]
    pub fn arg(&self, index: usize) -> Option<&[u8]> {
        self.args().nth(index)
    }

    /// Argument number `index` as a shared piece of the frame.
    #[must_use]
    pub fn arg_bytes(&self, index: usize) -> Option<Bytes> {
        self.arg(index).map(|arg| self.raw.slice_ref(arg))
    }
}

impl fmt::Debug for Request {
    /// Leaves the arguments out: they hold passwords and users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("name", &self.name().escape_ascii().to_string())
            .field("argc", &self.argc)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The arguments of one request.
#[derive(Clone)]
pub struct Args<'a> {
    /// Begins with the next argument's header.
    rest: &'a [u8],
    left: usize,
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let mut len: usize = 0;
        let mut at = 1;
        loop {
            let byte = *self.rest.get(at)?;
            at += 1;
            if byte == b'\r' {
                break;
            }
            len = len * 10 + usize::from(byte.wrapping_sub(b'0'));
        }
        let start = at + 1;
        let arg = self.rest.get(start..start + len)?;
        self.rest = self.rest.get(start + len + 2..)?;
        self.left -= 1;
        Some(arg)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Args<'_> {}
