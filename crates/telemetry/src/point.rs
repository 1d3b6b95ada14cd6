//! An aggregate of samples.
//!
//! Invariant: every part of a point that is kept is finite.
//!
//! Not here: over which time ([`crate::chunk`]).

/// What is known of the samples of one span of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// How many there were; a client's own aggregates may count in fractions.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Point {
    /// One sample.
    #[must_use]
    pub const fn of(value: f64) -> Self {
        Self { count: 1.0, sum: value, min: value, max: value }
    }

    /// The same sample many times.
    #[must_use]
    pub fn times(value: f64, count: f64) -> Self {
        Self { count, sum: bounded(value * count), min: value, max: value }
    }

    /// Takes in other samples.
    pub fn merge(&mut self, other: &Self) {
        self.count = bounded(self.count + other.count);
        self.sum = bounded(self.sum + other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Their mean; zero if there were none.
    #[must_use]
    pub fn average(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }

    /// Whether it can be kept.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        [self.count, self.sum, self.min, self.max].into_iter().all(f64::is_finite)
    }

    /// The value, if this is one sample.
    pub(crate) fn single(&self) -> Option<f64> {
        (*self == Self::of(self.sum)).then_some(self.sum)
    }
}

/// Sums of huge numbers stay numbers.
fn bounded(number: f64) -> f64 {
    number.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up() {
        let mut point = Point::of(2.0);
        point.merge(&Point::times(5.0, 3.0));
        assert_eq!(point, Point { count: 4.0, sum: 17.0, min: 2.0, max: 5.0 });
        assert_eq!(point.average(), 4.25);
        assert_eq!((Point::of(2.0).single(), point.single()), (Some(2.0), None));
    }

    #[test]
    fn huge_samples_do_not_become_infinite() {
        let mut point = Point::times(f64::MAX, 3.0);
        point.merge(&Point::of(f64::MAX));
        assert!(point.is_finite());
        assert!(!Point::of(f64::NAN).is_finite());
    }
}
