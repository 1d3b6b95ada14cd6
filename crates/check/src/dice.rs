//! Chance for walks.
//!
//! Invariant: what is drawn follows from the seed alone.
//!
//! Not here: what is done with it (`crate::search`, `crate::head`).

/// Numbers that look random and follow from a seed (splitmix64).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let product = u128::from(mixed) * limit as u128;
        (product >> 64) as usize
    }

    /// At most `count` of these, besides the last one, in the order in which they are drawn.
    pub(crate) fn some_of<T: Copy>(&mut self, all: &[T], count: usize) -> Vec<T> {
        let Some((last, rest)) = all.split_last() else { return Vec::new() };
        if rest.len() <= count {
            return all.to_vec();
        }
        let drawn = (0..count).map(|_| rest[self.below(rest.len())]);
        drawn.chain([*last]).collect()
    }
}
