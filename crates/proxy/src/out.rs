//! Bytes that wait to be written to one socket.
//!
//! Small pieces are copied together, so that a pipeline leaves in one segment; large ones stay
//! shared and go out by a vectored write, since copying them costs more than the extra vector.
//!
//! Invariant: `pushed() - len()` bytes, and not one more, have been accepted by the socket.
//!
//! Not here: how many bytes may wait (the session stops reading the other side).

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// From this size on a piece is shared rather than copied, in bytes.
const SHARE: usize = 2048;
/// Most pieces of one write.
pub(crate) const MAX_SLICES: usize = 32;
/// An empty buffer larger than this is given back, in bytes.
pub(crate) const KEEP: usize = 4096;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
    pushed: u64,
}

impl OutQueue {
    /// A queue of these bytes, the last of which ends at a position.
    pub(crate) fn at(bytes: Bytes, pushed: u64) -> Self {
        let len = bytes.len();
        let pushed = pushed.max(len as u64);
        let chunks = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) };
        Self { chunks, tail: BytesMut::new(), len, pushed }
    }

    /// A copy of all bytes that wait.
    pub(crate) fn copied(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all.extend_from_slice(&self.tail);
        all.freeze()
    }

    /// Appends a piece.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE {
            self.put(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.count(bytes.len());
        self.chunks.push_back(bytes);
    }

    /// Appends a piece that its owner keeps.
    pub(crate) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE {
            self.put(bytes);
        } else {
            self.push(bytes.clone());
        }
    }

    /// Appends a copy.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.count(bytes.len());
    }

    fn count(&mut self, bytes: usize) {
        self.len += bytes;
        self.pushed += bytes as u64;
    }

    /// The buffer that small pieces are copied into; to be taken or exchanged only when nothing waits.
    pub(crate) fn tail(&mut self) -> Option<&mut BytesMut> {
        self.is_empty().then_some(&mut self.tail)
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes ever appended: the position behind the last one.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Bytes ever accepted by the socket.
    pub(crate) fn written(&self) -> u64 {
        self.pushed - self.len as u64
    }

    /// The first pieces, for a vectored write; how many there are.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let tail = std::iter::once(&self.tail[..]).filter(|tail| !tail.is_empty());
        let pieces = self.chunks.iter().map(|chunk| &chunk[..]).chain(tail);
        let mut count = 0;
        for (place, piece) in into.iter_mut().zip(pieces) {
            *place = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// The socket has accepted this many bytes.
    pub(crate) fn consume(&mut self, mut bytes: usize) {
        self.len = self.len.saturating_sub(bytes);
        while let Some(first) = self.chunks.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                return;
            }
            bytes -= first.len();
            self.chunks.pop_front();
        }
        self.tail.advance(bytes.min(self.tail.len()));
        if self.tail.is_empty() && self.tail.capacity() > KEEP {
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &OutQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = queue.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn pieces_leave_in_order_whatever_their_size() {
        let mut queue = OutQueue::default();
        queue.put(b"ab");
        queue.push(Bytes::from(vec![b'x'; SHARE]));
        queue.push(Bytes::from_static(b"cd"));
        assert_eq!(queue.len(), SHARE + 4);
        queue.consume(1);
        assert_eq!(all(&queue)[0], b'b');
        queue.consume(SHARE + 1);
        assert_eq!(all(&queue), b"cd");
        assert_eq!((queue.pushed(), queue.written()), (SHARE as u64 + 4, SHARE as u64 + 2));
        let mut again = OutQueue::at(queue.copied(), queue.pushed());
        assert_eq!(
            (again.pushed(), again.written(), all(&again)),
            (SHARE as u64 + 4, SHARE as u64 + 2, b"cd".to_vec())
        );
        again.put(b"e");
        assert_eq!((again.copied(), again.len()), (Bytes::from_static(b"cde"), 3));
        queue.consume(2);
        assert!(queue.is_empty() && all(&queue).is_empty());
    }
}
