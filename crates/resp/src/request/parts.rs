//! Large requests, part by part.
//!
//! What has come of a large request can be forwarded before its end. It is checked as every other
//! request is; who forwards it knows the command's name and the number of its arguments, and the first
//! of them.
//!
//! Invariant: the parts, put together, are one well-formed multibulk frame, or an error comes in the
//! last one's place.
//!
//! Not here: what may be forwarded so (an engine executes a request when it has the whole of it).

use bytes::{Bytes, BytesMut};

use super::{ProtocolError, Request, RequestFramer};

/// How much of a request is looked at before it is whole, in bytes.
const LOOK: usize = 512;

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The bytes.
    pub bytes: Bytes,
    /// The request ends with them.
    pub last: bool,
}

impl RequestFramer {
    /// Whether the request under way has at least `hold` bytes.
    #[must_use]
    pub fn is_large(&self, hold: usize) -> bool {
        self.argc > 0 && self.pos + self.bulk.unwrap_or(0) >= hold
    }

    /// What stands for the request under way, of which `input` has the beginning: its name, the number
    /// of its arguments, and those that are there and short. Its frame is not whole.
    #[must_use]
    pub fn beginning(&self, input: &[u8]) -> Request {
        let there = input.get(..self.pos.min(LOOK).min(input.len())).unwrap_or_default();
        Request::new(Bytes::copy_from_slice(there), self.argc, self.first)
    }

    /// What has come of the request under way, taken off the front of `input`; `None` when more bytes
    /// are needed. From the first call on until the last part, [`Self::next`] must not be called.
    ///
    /// # Errors
    /// The bytes are not a request; what was taken before is the beginning of none.
    pub fn next_part(&mut self, input: &mut BytesMut) -> Result<Option<Part>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let last = self.arguments(input).inspect_err(|error| self.failed = Some(*error))?;
        let checked = match self.bulk {
            Some(len) => (self.pos + len).min(input.len()),
            None => self.pos,
        };
        if checked == 0 {
            return Ok(None);
        }
        let bytes = input.split_to(checked).freeze();
        if last {
            self.reset();
            return Ok(Some(Part { bytes, last }));
        }
        self.bulk = self.bulk.map(|len| len - (checked - self.pos));
        self.passed += checked;
        self.pos = 0;
        Ok(Some(Part { bytes, last }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    /// Puts together what comes in reads of this size, after as many bytes as make it large.
    fn together(raw: &[u8], read: usize) -> Result<Vec<u8>, ProtocolError> {
        let (mut framer, mut input) = (RequestFramer::new(Limits::default()), BytesMut::new());
        let (mut out, mut begun, mut ended) = (Vec::new(), false, false);
        for part in raw.chunks(read) {
            input.extend_from_slice(part);
            if !begun {
                assert!(framer.next(&mut input)?.is_none(), "it is not whole");
                begun = framer.is_large(1000);
                if begun {
                    let beginning = framer.beginning(&input);
                    assert_eq!((beginning.name(), beginning.argc()), (&b"SET"[..], 5));
                    assert_eq!(beginning.arg(1), Some(&b"key"[..]));
                    assert_eq!((beginning.arg(2), beginning.args().count()), (None, 2));
                }
            }
            while begun && !ended {
                let Some(part) = framer.next_part(&mut input)? else { break };
                out.extend_from_slice(&part.bytes);
                ended = part.last;
            }
        }
        assert!(ended);
        assert_eq!(framer.next(&mut input)?.unwrap().name(), b"PING");
        Ok(out)
    }

    #[test]
    fn the_parts_are_the_request_whatever_is_read_at_once() {
        let value = "\r\n$3\r\n".repeat(900);
        let head = "*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n";
        let raw = format!("{head}${}\r\n{value}\r\n$2\r\nEX\r\n$3\r\n100\r\n", value.len());
        let both = format!("{raw}PING\r\n");
        for read in [1, 2, 3, 50, 1024, 4000] {
            assert_eq!(together(both.as_bytes(), read).unwrap(), raw.as_bytes(), "{read}");
        }
    }

    #[test]
    fn what_is_wrong_behind_the_beginning_is_found() {
        let value = "x".repeat(2000);
        let head = format!("*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$2000\r\n{value}");
        for (rest, error) in [
            ("xx", ProtocolError::InvalidBulkTerminator),
            ("\r\n+2\r\n", ProtocolError::ExpectedBulk(b'+')),
            ("\r\n$-1\r\n", ProtocolError::InvalidBulkLength),
        ] {
            for read in [1, 1500] {
                let raw = format!("{head}{rest}");
                assert_eq!(together(raw.as_bytes(), read), Err(error), "{rest:?}");
            }
        }
        let limits = Limits { max_request_bytes: 3000, ..Limits::default() };
        let mut framer = RequestFramer::new(limits);
        let mut input = BytesMut::from(head.as_bytes());
        assert_eq!(framer.next(&mut input), Ok(None));
        assert!(framer.next_part(&mut input).unwrap().is_some());
        input.extend_from_slice(b"\r\n$2000\r\n");
        assert_eq!(framer.next_part(&mut input), Err(ProtocolError::RequestTooBig));
    }
}
