//! Check sums of stored rows.
//!
//! SQLite has none of its own: a flipped bit inside a value passes its integrity check. A 64-bit
//! sum beside each row, and the total of all sums in one place, turn that into a refusal. This
//! guards against accidents, not against an attacker; hence no cryptographic hash.
//!
//! Invariant: two rows that differ in exactly one 8-byte word never have the same sum (each step
//! is a bijection in the word and in the state).
//!
//! Not here: which fields make a row (`rows`), and when they are compared (`check`).

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sum in the making.
pub(super) struct Sum(u64);

impl Sum {
    /// Starts a sum; `kind` keeps rows of different tables apart.
    pub(super) const fn new(kind: u64) -> Self {
        Self(kind).word(PRIME)
    }

    const fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(PRIME);
        Self(mixed ^ (mixed >> 29))
    }

    /// Adds a number.
    pub(super) const fn num(self, number: u64) -> Self {
        self.word(number)
    }

    /// Adds bytes and their length.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(self, |sum, word| sum.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum.word(u64::from_le_bytes(last)).word(bytes.len() as u64)
    }

    /// The sum. Mixed once more, so that totals of sums do not cancel out.
    pub(super) const fn finish(self) -> u64 {
        self.word(PRIME).word(PRIME).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_changes_the_sum() {
        let bytes: Vec<u8> = (0..67).collect();
        let whole = Sum::new(1).num(7).bytes(&bytes).finish();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Sum::new(1).num(7).bytes(&flipped).finish(), whole, "bit {bit}");
        }
    }

    #[test]
    fn a_byte_moved_from_one_field_to_the_next_changes_the_sum() {
        let one = Sum::new(1).bytes(b"ab").bytes(b"c").finish();
        let other = Sum::new(1).bytes(b"a").bytes(b"bc").finish();
        assert_ne!(one, other);
        assert_ne!(Sum::new(1).bytes(b"").finish(), Sum::new(1).bytes(b"\0").finish());
    }
}
