//! Large replies, piece by piece.
//!
//! A value of half a gigabyte has to pass through without being held, so what has come of a large reply
//! can be taken before its end. Where the end is, and whether it is well-formed, is found as for every
//! other reply.
//!
//! Invariant: the parts and the rest behind them, put together, are the reply as it came; a part ends
//! anywhere but in the CRLF behind a payload.
//!
//! Not here: who may be given a part ([`super::Reply`] answers questions about whole replies only).

use bytes::{Bytes, BytesMut};

use super::{FrameError, Kind, Reply, ReplyFramer};

/// Less than this is not worth a piece of its own, in bytes.
const LEAST: usize = 16 << 10;

/// A reply, or a part of one that is large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The whole of it, or what is left of it behind parts.
    Whole(Reply),
    /// More of it follows.
    Part(Bytes),
}

impl ReplyFramer {
    /// As [`Self::next`], but of a reply that has at least `hold` bytes what has come is given away.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_piece(
        &mut self,
        input: &mut BytesMut,
        hold: usize,
    ) -> Result<Option<Piece>, FrameError> {
        if let Some(reply) = self.next(input)? {
            return Ok(Some(Piece::Whole(reply)));
        }
        Ok(self.part(input, hold).map(Piece::Part))
    }

    /// Whether parts of the reply under way were given away, so that what follows is its rest.
    #[must_use]
    pub fn has_given(&self) -> bool {
        self.given > 0
    }

    fn part(&mut self, input: &mut BytesMut, hold: usize) -> Option<Bytes> {
        let (_, kind) = self.body?;
        // Lines are looked at as a whole, and so is what answers no request.
        let splits =
            matches!(kind, Kind::Bulk | Kind::Verbatim | Kind::Array | Kind::Map | Kind::Set);
        let large = self.given > 0 || self.payload_end.unwrap_or(self.pos) >= hold;
        let checked = match self.payload_end {
            Some(end) => (end - 2).min(input.len()),
            None => self.pos,
        };
        if !splits || !large || checked < LEAST {
            return None;
        }
        let part = input.split_to(checked).freeze();
        self.given += checked;
        self.pos = self.pos.saturating_sub(checked);
        self.scanned = self.scanned.saturating_sub(checked);
        self.payload_end = self.payload_end.map(|end| end - checked);
        self.body = Some((0, kind));
        Some(part)
    }
}

impl Reply {
    /// This rest of a reply behind its parts.
    #[must_use]
    pub fn behind(self, mut parts: BytesMut) -> Self {
        parts.extend_from_slice(&self.raw);
        Self { raw: parts.freeze(), body: 0, kind: self.kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: usize = 40 << 10;

    /// The pieces of what comes in reads of this size.
    fn pieces(raw: &[u8], read: usize) -> Vec<Piece> {
        let (mut framer, mut input) = (ReplyFramer::default(), BytesMut::new());
        let mut pieces = Vec::new();
        for part in raw.chunks(read) {
            input.extend_from_slice(part);
            while let Some(piece) = framer.next_piece(&mut input, HOLD).unwrap() {
                pieces.push(piece);
            }
        }
        assert!(input.is_empty());
        pieces
    }

    #[test]
    fn parts_and_the_rest_are_the_reply_whatever_is_read_at_once() {
        let text = "x\r\n".repeat(30_000);
        let bulk = format!("${}\r\n{text}\r\n", text.len());
        let map = format!("%2\r\n+a\r\n{bulk}:1\r\n*1\r\n{bulk}");
        let many = format!("*20000\r\n{}", ":1234\r\n".repeat(20_000));
        for raw in [bulk.clone(), map, many, format!("~3\r\n{bulk}_\r\n{bulk}")] {
            for read in [1, 7, 4096, 20_000, 100_000] {
                let twice = [raw.as_bytes(), b"+OK\r\n", raw.as_bytes()].concat();
                let pieces = pieces(&twice, read);
                let mut together = Vec::new();
                let mut wholes = 0;
                for piece in &pieces {
                    match piece {
                        Piece::Whole(reply) => {
                            wholes += 1;
                            together.extend_from_slice(reply.raw());
                        }
                        Piece::Part(part) => together.extend_from_slice(part),
                    }
                }
                assert_eq!((wholes, together == twice), (3, true), "{read}");
                let large = raw.len() > read.max(HOLD) * 2;
                assert!(!large || pieces.len() > 3, "{read} {}", pieces.len());
            }
        }
    }

    #[test]
    fn what_is_small_an_error_or_a_push_stays_whole() {
        let text = "x".repeat(60_000);
        let small = format!("${}\r\n{}\r\n", 100, "x".repeat(100));
        for raw in [small, format!("-ERR {text}\r\n"), format!(">1\r\n$60000\r\n{text}\r\n")] {
            assert!(matches!(pieces(raw.as_bytes(), 20_000)[..], [Piece::Whole(_)]));
        }
    }

    #[test]
    fn a_reply_in_parts_has_the_same_limits() {
        let limits = super::super::ReplyLimits { max_reply_bytes: 100_000, max_depth: 8 };
        let mut framer = ReplyFramer::new(&limits);
        let mut input = BytesMut::from(&b"*3\r\n$60000\r\n"[..]);
        input.extend_from_slice(&[b'x'; 60_000]);
        assert!(matches!(framer.next_piece(&mut input, HOLD), Ok(Some(Piece::Part(_)))));
        input.extend_from_slice(b"\r\n$60000\r\n");
        assert_eq!(framer.next_piece(&mut input, HOLD), Err(FrameError::TooLarge(100_000)));
        let mut wrong = ReplyFramer::default();
        let mut input = BytesMut::from(&b"$60000\r\n"[..]);
        input.extend_from_slice(&[b'x'; 60_000]);
        assert!(matches!(wrong.next_piece(&mut input, HOLD), Ok(Some(Piece::Part(_)))));
        input.extend_from_slice(b"xx");
        assert_eq!(wrong.next_piece(&mut input, HOLD), Err(FrameError::InvalidTerminator));
    }
}
