//! RSA keys: whole numbers with thousands of bits, and primes among them.
//!
//! A key is made a few times in an installation's life and used elsewhere, so this is plain
//! arithmetic from the textbook: it is neither fast nor hardened against a neighbour with a stop
//! watch, and nothing here signs or decrypts.
//!
//! Invariant: both primes have the same length and their product has exactly the bits asked for.
//!
//! Not here: how a key is written (`super::encode`).

use rand::{CryptoRng, RngExt};

/// The public exponent of every key.
pub(super) const EXPONENT: u64 = 65_537;

/// Rounds of the primality test. For random numbers of these lengths the chance of an error is far
/// below 2^-100 (Damgård, Landrock and Pomerance 1993).
const ROUNDS: u32 = 24;

/// A whole number: 64 bits a limb, the least first, without zero limbs at the end.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Number(Vec<u64>);

/// The parts of a key as its file has them.
pub(super) struct Key {
    pub(super) modulus: Number,
    pub(super) private: Number,
    pub(super) primes: [Number; 2],
    pub(super) exponents: [Number; 2],
    pub(super) coefficient: Number,
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
const fn low(wide: u128) -> u64 {
    wide as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half fits")]
const fn high(wide: u128) -> u64 {
    (wide >> 64) as u64
}

impl Number {
    fn new(mut limbs: Vec<u64>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self(limbs)
    }

    /// Its bytes, the greatest first, without zeros before.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let all: Vec<u8> = self.0.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        let zeros = all.iter().take_while(|byte| **byte == 0).count();
        all[zeros..].to_vec()
    }

    fn bit(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|limb| limb >> (at % 64) & 1 == 1)
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |last| self.0.len() * 64 - last.leading_zeros() as usize)
    }

    fn is_at_least(&self, other: &Self) -> bool {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_ge()
    }

    /// `self - other`, which must not be below zero.
    fn less(&self, other: &Self) -> Self {
        let mut borrow = false;
        let limbs = self.0.iter().enumerate().map(|(at, limb)| {
            let (one, first) = limb.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (two, second) = one.overflowing_sub(u64::from(borrow));
            borrow = first || second;
            two
        });
        Self::new(limbs.collect())
    }

    fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0; self.0.len() + other.0.len()];
        for (at, one) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (by, two) in other.0.iter().enumerate() {
                let wide = u128::from(*one) * u128::from(*two)
                    + u128::from(limbs[at + by])
                    + u128::from(carry);
                limbs[at + by] = low(wide);
                carry = high(wide);
            }
            limbs[at + other.0.len()] = carry;
        }
        Self::new(limbs)
    }

    /// `self * factor + more`.
    fn times_small(&self, factor: u64, more: u64) -> Self {
        let mut carry = more;
        let mut limbs: Vec<u64> = Vec::with_capacity(self.0.len() + 1);
        for limb in &self.0 {
            let wide = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            limbs.push(low(wide));
            carry = high(wide);
        }
        limbs.push(carry);
        Self::new(limbs)
    }

    /// Quotient and remainder.
    fn by_small(&self, divisor: u64) -> (Self, u64) {
        let mut rest = 0;
        let mut limbs = vec![0; self.0.len()];
        for (limb, quotient) in self.0.iter().zip(limbs.iter_mut()).rev() {
            let wide = u128::from(rest) << 64 | u128::from(*limb);
            *quotient = low(wide / u128::from(divisor));
            rest = low(wide % u128::from(divisor));
        }
        (Self::new(limbs), rest)
    }

    /// The inverse of [`EXPONENT`] modulo `self`, which must have none of its factors.
    fn exponent_inverse(&self) -> Self {
        // The least k for which 1 + k * self is a multiple of the exponent.
        let step = self.by_small(EXPONENT).1;
        let mut sum = 1;
        let mut k = 0;
        while sum % EXPONENT != 0 {
            sum = (sum + step) % EXPONENT;
            k += 1;
        }
        self.times_small(k, 1).by_small(EXPONENT).0
    }
}

/// Arithmetic modulo an odd number, in Montgomery's form.
struct Modulus {
    number: Number,
    /// `-1 / number` modulo 2^64.
    inverse: u64,
    /// 2^(64 * limbs), in the form: one.
    one: Vec<u64>,
}

impl Modulus {
    fn new(number: Number) -> Self {
        // Newton: each step doubles the bits that are right, from the first three.
        let mut inverse = number.0[0];
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(number.0[0].wrapping_mul(inverse)));
        }
        let limbs = number.0.len();
        let mut one = Number::new(vec![1]);
        for _ in 0..64 * limbs {
            one = one.times_small(2, 0);
            if one.is_at_least(&number) {
                one = one.less(&number);
            }
        }
        let mut one = one.0;
        one.resize(limbs, 0);
        Self { number, inverse: inverse.wrapping_neg(), one }
    }

    /// `a * b / 2^(64 * limbs)`.
    fn multiply(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let limbs = self.number.0.len();
        let mut sum = vec![0_u64; limbs + 2];
        let add = |sum: &mut [u64], factor: u64, row: &[u64]| {
            let mut carry = 0;
            for (at, limb) in row.iter().enumerate() {
                let wide = u128::from(factor) * u128::from(*limb)
                    + u128::from(sum[at])
                    + u128::from(carry);
                sum[at] = low(wide);
                carry = high(wide);
            }
            let (first, over) = sum[limbs].overflowing_add(carry);
            sum[limbs] = first;
            sum[limbs + 1] += u64::from(over);
        };
        for factor in a {
            add(&mut sum, *factor, b);
            let cancel = sum[0].wrapping_mul(self.inverse);
            add(&mut sum, cancel, &self.number.0);
            sum.rotate_left(1);
            sum[limbs + 1] = 0;
        }
        let mut result = Number::new(sum);
        if result.is_at_least(&self.number) {
            result = result.less(&self.number);
        }
        result.0.resize(limbs, 0);
        result.0
    }

    fn power(&self, base: &[u64], exponent: &Number) -> Vec<u64> {
        let mut result = self.one.clone();
        for at in (0..exponent.bits()).rev() {
            result = self.multiply(&result, &result);
            if exponent.bit(at) {
                result = self.multiply(&result, base);
            }
        }
        result
    }

    /// Brings a number below the modulus into the form.
    fn enter(&self, number: &Number) -> Vec<u64> {
        // Doubling adds one factor of the form at a time: 2^(64 * limbs) in all.
        let mut result = number.clone();
        for _ in 0..64 * self.number.0.len() {
            result = result.times_small(2, 0);
            if result.is_at_least(&self.number) {
                result = result.less(&self.number);
            }
        }
        result.0.resize(self.number.0.len(), 0);
        result.0
    }

    fn leave(&self, number: &[u64]) -> Number {
        let mut one = vec![0; self.number.0.len()];
        one[0] = 1;
        Number::new(self.multiply(number, &one))
    }
}

fn small_primes() -> impl Iterator<Item = u64> {
    (3..2000)
        .step_by(2)
        .filter(|n| (3..).step_by(2).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

/// Miller and Rabin's test with random bases.
fn is_prime(number: &Number, small: &[u64], lots: &mut impl CryptoRng) -> bool {
    if small.iter().any(|prime| number.by_small(*prime).1 == 0) {
        return false;
    }
    let before = number.less(&Number::new(vec![1]));
    let twos = (0..before.bits()).take_while(|at| !before.bit(*at)).count();
    let mut odd = before.clone();
    for _ in 0..twos {
        odd = odd.by_small(2).0;
    }
    let modulus = Modulus::new(number.clone());
    let mut minus_one = number.less(&Number::new(modulus.one.clone())).0;
    minus_one.resize(number.0.len(), 0);
    (0..ROUNDS).all(|_| {
        // Below the modulus, because its top limb has its top bit set. It is a random base in the
        // form too: the form is a bijection.
        let mut base: Vec<u64> = number.0.iter().map(|_| lots.random()).collect();
        if let Some(top) = base.last_mut() {
            *top >>= 1;
        }
        let mut value = modulus.power(&base, &odd);
        if value == modulus.one || value == minus_one {
            return true;
        }
        (1..twos).any(|_| {
            value = modulus.multiply(&value, &value);
            value == minus_one
        })
    })
}

/// A random prime of so many limbs whose two highest bits are set, so that the product of two has
/// all its bits, and which is not one more than a multiple of the exponent.
fn prime(limbs: usize, small: &[u64], lots: &mut impl CryptoRng) -> Number {
    loop {
        let mut candidate: Vec<u64> = (0..limbs).map(|_| lots.random()).collect();
        candidate[0] |= 1;
        if let Some(top) = candidate.last_mut() {
            *top |= 3 << 62;
        }
        let candidate = Number(candidate);
        if candidate.by_small(EXPONENT).1 > 1 && is_prime(&candidate, small, lots) {
            return candidate;
        }
    }
}

impl Key {
    /// Draws a key whose modulus has so many bits, a multiple of 128.
    pub(super) fn draw(bits: u32, lots: &mut impl CryptoRng) -> Self {
        let limbs = (bits as usize / 128).max(1);
        let small: Vec<u64> = small_primes().collect();
        let (mut p, mut q) = (prime(limbs, &small, lots), prime(limbs, &small, lots));
        while p == q {
            q = prime(limbs, &small, lots);
        }
        if !p.is_at_least(&q) {
            std::mem::swap(&mut p, &mut q);
        }
        let one = Number::new(vec![1]);
        let (p_less, q_less) = (p.less(&one), q.less(&one));
        let private = p_less.times(&q_less).exponent_inverse();
        let exponents = [p_less.exponent_inverse(), q_less.exponent_inverse()];
        // Fermat: q^(p - 2) is q's inverse modulo the prime p.
        let field = Modulus::new(p.clone());
        let power = field.power(&field.enter(&q), &p.less(&Number::new(vec![2])));
        let coefficient = field.leave(&power);
        Self { modulus: p.times(&q), private, primes: [p, q], exponents, coefficient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u128) -> Number {
        Number::new(vec![low(value), high(value)])
    }

    /// Modulo by plain subtraction of shifted moduli: slow, and another way than Montgomery's.
    fn rest(number: &Number, modulus: &Number) -> Number {
        let mut rest = Number::new(Vec::new());
        for at in (0..number.bits()).rev() {
            rest = rest.times_small(2, u64::from(number.bit(at)));
            if rest.is_at_least(modulus) {
                rest = rest.less(modulus);
            }
        }
        rest
    }

    #[test]
    fn primes_are_told_from_others() {
        let small: Vec<u64> = small_primes().collect();
        assert_eq!((small.len(), small[0], small[301]), (302, 3, 1999));
        let mut lots = rand::rng();
        // Largest primes below powers of two, and numbers beside them.
        let primes = [u128::MAX - 158, u128::MAX - 172, u128::from(u64::MAX) - 58];
        assert!(primes.iter().all(|prime| is_prime(&number(*prime), &small, &mut lots)));
        let product = u128::from(u64::MAX - 58) * u128::from(u64::MAX - 82);
        let others = [u128::MAX - 160, u128::MAX, product];
        assert!(!others.iter().any(|other| is_prime(&number(*other), &small, &mut lots)));
    }

    #[test]
    fn a_key_fits_together() {
        for bits in [256, 512, 1024] {
            let key = Key::draw(bits, &mut rand::rng());
            assert_eq!(key.modulus.bits(), bits as usize);
            let one = number(1);
            for (prime, exponent) in key.primes.iter().zip(&key.exponents) {
                let order = prime.less(&one);
                let undone = |d: &Number| rest(&d.times_small(EXPONENT, 0), &order) == one;
                assert!(undone(exponent) && undone(&key.private));
            }
            let [p, q] = &key.primes;
            assert!(rest(&q.times(&key.coefficient), p) == one);
            let modulus = Modulus::new(key.modulus.clone());
            let message = number(0x1234_5678_9abc_def0_1122_3344);
            let secret = modulus.power(&modulus.enter(&message), &number(EXPONENT.into()));
            assert!(modulus.leave(&modulus.power(&secret, &key.private)) == message);
        }
    }

    #[test]
    fn bytes_have_no_zeros_before() {
        assert_eq!(number(0x01_0203).bytes(), [1, 2, 3]);
        assert_eq!(number(1 << 64).bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
