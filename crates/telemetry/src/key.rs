//! The name of a series: which metric, of what.
//!
//! Two names with the same dimensions in another order are one name. Parts are shared, so that a
//! name is cheap to make for every sample.
//!
//! Invariant: a key's dimensions are sorted by their names.
//!
//! Not here: which names mean something.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A part of a name.
pub type Name = Cow<'static, str>;

/// What a series is of: names and values, in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dimensions(Arc<[(Name, Name)]>);

impl Dimensions {
    /// From names and values in any order.
    pub fn new<N: Into<Name>, V: Into<Name>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Name, Name)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.sort();
        Self(pairs.into())
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The name of a series. Ordered by region, then namespace, then metric, then dimensions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The region that it is seen in.
    pub region: Arc<str>,
    /// The namespace, such as `AWS/ElastiCache`.
    pub namespace: Name,
    /// The metric, such as `EngineCPUUtilization`.
    pub metric: Name,
    /// What it is of.
    pub dimensions: Dimensions,
}

impl Key {
    /// A name.
    pub fn new(
        region: &Arc<str>,
        namespace: impl Into<Name>,
        metric: impl Into<Name>,
        dimensions: &Dimensions,
    ) -> Self {
        let (region, dimensions) = (Arc::clone(region), dimensions.clone());
        Self { region, namespace: namespace.into(), metric: metric.into(), dimensions }
    }

    /// About the memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let pairs = self.dimensions.iter().map(|(name, value)| name.len() + value.len());
        let pairs: usize = pairs.sum::<usize>() + self.dimensions.len() * size_of::<(Name, Name)>();
        size_of::<Self>() + self.region.len() + self.namespace.len() + self.metric.len() + pairs
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.namespace, self.metric)?;
        self.dimensions.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_dimensions_does_not_matter() {
        let region: Arc<str> = "here".into();
        let one = Dimensions::new([("b", "2"), ("a", "1")]);
        let other = Dimensions::new([("a", "1"), ("b", "2")]);
        let key = Key::new(&region, "N", "M", &one);
        assert_eq!(key, Key::new(&region, "N", "M", &other));
        assert_eq!(key.to_string(), "N M a=1 b=2");
    }
}
