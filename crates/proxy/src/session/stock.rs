//! What clients have while they work, and give back when they have nothing to do.
//!
//! Most clients are idle at any moment. Queues that all of them keep would be memory that ten thousand
//! pay for and a handful use; those that go from hand to hand are warm in the processor's caches as
//! well. So is the block that requests are read into: the requests of many clients lie side by side in
//! it, instead of each at the beginning of a buffer of its own.
//!
//! Invariant: what is lent is empty; what is kept here is bounded, in number and in size.
//!
//! Not here: when a client is idle (`crate::client`).

use std::collections::VecDeque;
use std::fmt;

use bytes::BytesMut;

use super::Session;
use super::flight::{Item, Slot};
use super::shortcut::Brief;
use crate::out;

/// Most queues of each kind that wait to be lent.
const KEPT: usize = 1024;
/// Most places of a queue that is kept: one that has been longer gives its memory back.
const LENGTH: usize = 64;
/// Size of the block that is read into, in bytes.
const BLOCK: usize = 64 << 10;
/// The beginning of a request that is kept in the block it was read into, in bytes.
const SMALL: usize = 1 << 10;

/// Queues and room that nobody uses at the moment.
#[derive(Default)]
pub(crate) struct Stock {
    queues: Vec<VecDeque<Item>>,
    slots: Vec<VecDeque<Slot>>,
    flying: Vec<VecDeque<Brief>>,
    tails: Vec<BytesMut>,
    block: BytesMut,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stock")
    }
}

impl Stock {
    /// Room for at least so many bytes, to read into: what is read is split off.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut BytesMut {
        if self.block.capacity() - self.block.len() < bytes {
            self.block.reserve(bytes.max(BLOCK));
        }
        &mut self.block
    }
}

fn put_back<T>(kept: &mut Vec<VecDeque<T>>, queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > 0 {
        let queue = std::mem::take(queue);
        if kept.len() < KEPT && queue.capacity() <= LENGTH {
            kept.push(queue);
        }
    }
}

fn lend<T>(kept: &mut Vec<VecDeque<T>>, queue: &mut VecDeque<T>) {
    if queue.capacity() == 0
        && let Some(lent) = kept.pop()
    {
        *queue = lent;
    }
}

impl Session {
    /// Takes what is needed for work, if there is some.
    pub(crate) fn borrow_from(&mut self, stock: &mut Stock) {
        if !self.client_in.is_empty() {
            if self.expects_shortcut() {
                lend(&mut stock.flying, &mut self.shortcut.flying);
            } else {
                lend(&mut stock.queues, &mut self.queue);
                lend(&mut stock.slots, &mut self.slots);
            }
            if let Some(tail) = self.client_out.tail().filter(|tail| tail.capacity() == 0)
                && let Some(lent) = stock.tails.pop()
            {
                *tail = lent;
            }
        }
    }

    /// Gives back what is not used.
    pub(crate) fn give_back(&mut self, stock: &mut Stock) {
        put_back(&mut stock.queues, &mut self.queue);
        put_back(&mut stock.slots, &mut self.slots);
        put_back(&mut stock.flying, &mut self.shortcut.flying);
        if let Some(tail) = self.client_out.tail().filter(|tail| tail.capacity() > 0) {
            let tail = std::mem::take(tail);
            if stock.tails.len() < KEPT && tail.capacity() <= out::KEEP {
                stock.tails.push(tail);
            }
        }
        if self.link.input.is_empty() && self.link.input.capacity() > 0 {
            self.link.input = BytesMut::new();
        }
        if self.client_in.len() <= SMALL {
            // The beginning of a request may wait for long: it must not keep a whole block.
            self.client_in = BytesMut::from(&self.client_in[..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn requests_of_many_lie_in_one_block_and_an_old_one_does_not_keep_it_from_others() {
        let mut stock = Stock::default();
        let mut read = |bytes: &[u8]| -> Bytes {
            let room = stock.room(16 << 10);
            assert!(room.capacity() - room.len() >= 16 << 10);
            room.extend_from_slice(bytes);
            room.split().freeze()
        };
        let (one, two) = (read(b"one"), read(b"two"));
        assert_eq!(one.as_ptr() as usize + 3, two.as_ptr() as usize, "side by side");
        for _ in 0..100 {
            read(&[b'x'; 4 << 10]);
        }
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"two"[..]));
    }
}
