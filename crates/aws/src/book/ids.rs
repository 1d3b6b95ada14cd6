//! Names for new things, drawn by lot.
//!
//! Invariant: an id is drawn from 68 bits, so nobody looks whether it is taken.
//!
//! Not here: names that people choose.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Draws ids.
#[derive(Debug)]
pub(crate) struct Ids {
    lots: StdRng,
}

impl Ids {
    /// From the machine's own randomness.
    pub(crate) fn new() -> Self {
        Self { lots: StdRng::from_rng(&mut rand::rng()) }
    }

    /// The same ids for the same number: for tests.
    #[cfg(test)]
    pub(crate) fn seeded(number: u64) -> Self {
        Self { lots: StdRng::seed_from_u64(number) }
    }

    /// A new id such as `vpc-0a1b2c3d4e5f67890`: after AWS's habit the first of its 17 digits is 0.
    pub(crate) fn draw(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.lots.random::<u64>())
    }

    /// Some bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.lots.random()
    }

    /// A MAC address that no maker of hardware has.
    pub(crate) fn mac(&mut self) -> String {
        let bytes: [u8; 5] = self.bytes();
        let mut mac = "02".to_owned();
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(mac, ":{byte:02x}");
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_seventeen_digits() {
        let mut ids = Ids::new();
        let (one, other) = (ids.draw("vpc"), ids.draw("vpc"));
        assert_ne!(one, other);
        let digits = one.strip_prefix("vpc-").unwrap();
        assert_eq!(digits.len(), 17);
        assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(ids.mac().len(), 17);
        assert_eq!(Ids::seeded(7).draw("sg"), Ids::seeded(7).draw("sg"));
    }
}
