//! Interning: every part of a state is stored once, so that a state is a handful of numbers.
//!
//! Most transitions change one or two parts of the world, and the same part occurs in very many
//! worlds; comparing and storing numbers instead of parts is what makes millions of states fit.
//!
//! Invariant: within one table equal values have equal numbers and numbers are handed out in order
//! of first use, so a run is repeatable.
//!
//! Not here: what the parts mean (`crate::state`).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A map with the hasher below.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// Multiply and rotate: inputs are our own numbers, nobody chooses them to collide.
#[derive(Default, Clone)]
pub(crate) struct FastHasher(u64);

impl FastHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits, multiplication mixes upwards.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add(chunk.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            self.add(rest.iter().fold(1, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.add(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
}

/// A hasher that hands a fingerprint through: it is mixed already.
#[derive(Default, Clone)]
pub(crate) struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |word, byte| (word << 8) | u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Fingerprints, each with something about it.
pub(crate) type Fingerprints<V> = HashMap<u64, V, BuildHasherDefault<Through>>;

/// Values of one kind and their numbers.
pub(crate) struct Table<T> {
    numbers: FastMap<T, u32>,
    values: Vec<T>,
}

impl<T: Hash + Eq + Clone> Table<T> {
    pub(crate) fn new() -> Self {
        Self { numbers: FastMap::default(), values: Vec::new() }
    }

    /// The value's number.
    pub(crate) fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// The value of a number that this table handed out.
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// As [`Table`], for values that can only be printed: equal texts are equal values.
pub(crate) struct Printed<T> {
    numbers: FastMap<String, u32>,
    values: Vec<T>,
}

impl<T> Printed<T> {
    pub(crate) fn new() -> Self {
        Self { numbers: FastMap::default(), values: Vec::new() }
    }

    /// The number of the value whose text is `text`; it is made on first use.
    pub(crate) fn number(&mut self, text: String, make: impl FnOnce() -> T) -> u32 {
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(make());
        self.numbers.insert(text, number);
        number
    }

    /// The value of a number that this table handed out.
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// A fingerprint of words: two multiplications per word, each folded.
pub(crate) fn fingerprint(words: impl Iterator<Item = u64>) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for word in words {
        let product = u128::from(word ^ hash) * 0xa076_1d64_78bd_642f_u128;
        hash = (product as u64) ^ ((product >> 64) as u64) ^ 0xe703_7ed1_a0b4_28db;
    }
    let product = u128::from(hash ^ 0x8ebc_6af0_9c88_c6e3) * 0x5899_65cc_7537_4cc3_u128;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_keep_it() {
        let mut table = Table::new();
        assert_eq!((table.number("a"), table.number("b"), table.number("a")), (0, 1, 0));
        assert_eq!((*table.get(1), table.len()), ("b", 2));
    }

    #[test]
    fn fingerprints_of_near_states_differ_everywhere() {
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..300_u64 {
            for b in 0..300_u64 {
                assert!(seen.insert(fingerprint([a, b, 7].into_iter())));
            }
        }
    }
}
