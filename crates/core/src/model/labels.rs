//! Labels of a host: what its owner calls it by. They say nothing about where nodes are placed.
//!
//! The syntax is Kubernetes', because whoever writes labels writes them there as well.
//!
//! Invariant: there are at most 32, and each is well formed.
//!
//! Not here: what else is known of a host (`super::host`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Labels that a host may have.
const MOST: usize = 32;
/// The longest name and value, in bytes.
const LONGEST: usize = 63;
/// The longest prefix of a name, in bytes.
const LONGEST_PREFIX: usize = 253;

/// Why labels cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The name is not well formed.
    #[error(
        "{0:?} cannot be a label's name: up to 63 letters, digits, '-', '_' and '.', with a letter or digit at \
         both ends, perhaps after a domain and '/'"
    )]
    Name(String),
    /// The value is not well formed.
    #[error(
        "{0:?} cannot be a label's value: up to 63 letters, digits, '-', '_' and '.', with a letter or digit at \
         both ends, or nothing"
    )]
    Value(String),
    /// A name is to be set and removed.
    #[error("{0} is to be set and to be removed")]
    Both(String),
    /// There would be too many.
    #[error("the host would have {0} labels, and {MOST} is the most")]
    TooMany(usize),
}

/// A host's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every name with its value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// These labels with some set and some removed; one that is to be removed need not be there.
    ///
    /// # Errors
    /// [`LabelError`] if a name or value is not well formed, or there would be too many.
    pub fn changed(
        &self,
        set: &BTreeMap<String, String>,
        remove: &BTreeSet<String>,
    ) -> Result<Self, LabelError> {
        let mut labels = self.0.clone();
        for name in remove {
            if set.contains_key(name) {
                return Err(LabelError::Both(name.clone()));
            }
            labels.remove(name);
        }
        for (name, value) in set {
            if !is_name(name) {
                return Err(LabelError::Name(name.clone()));
            }
            if !value.is_empty() && !is_word(value) {
                return Err(LabelError::Value(value.clone()));
            }
            labels.insert(name.clone(), value.clone());
        }
        if labels.len() > MOST {
            return Err(LabelError::TooMany(labels.len()));
        }
        Ok(Self(labels))
    }
}

fn is_name(name: &str) -> bool {
    match name.split_once('/') {
        Some((prefix, rest)) => is_domain(prefix) && is_word(rest),
        None => is_word(name),
    }
}

fn is_word(word: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    word.len() <= LONGEST
        && ends(word.bytes().next())
        && ends(word.bytes().next_back())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn is_domain(prefix: &str) -> bool {
    let label = |label: &str| {
        is_word(label)
            && label
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &Labels, pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        labels.changed(&pairs.collect(), &BTreeSet::new())
    }

    #[test]
    fn what_is_set_is_there_until_it_is_removed() {
        let labels = set(&Labels::default(), &[("rack", "r7"), ("example.com/owner", "")]).unwrap();
        let all: Vec<_> = labels.iter().collect();
        assert_eq!(all, [("example.com/owner", ""), ("rack", "r7")]);
        let labels = set(&labels, &[("rack", "r8")]).unwrap();
        let gone = BTreeSet::from(["rack".to_owned(), "never".to_owned()]);
        let left = labels.changed(&BTreeMap::new(), &gone).unwrap();
        assert_eq!(left.iter().collect::<Vec<_>>(), [("example.com/owner", "")]);
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let none = Labels::default();
        let long = "a".repeat(64);
        for name in ["", "-a", "a-", "a b", "a/b/c", "/a", "UPPER.com/a", "a..b/c", "é", &long] {
            assert_eq!(set(&none, &[(name, "v")]), Err(LabelError::Name(name.to_owned())));
        }
        for value in ["-", "a b", "a=b", ".a", &long] {
            assert_eq!(set(&none, &[("a", value)]), Err(LabelError::Value(value.to_owned())));
        }
        let both = none.changed(
            &BTreeMap::from([("a".to_owned(), String::new())]),
            &BTreeSet::from(["a".to_owned()]),
        );
        assert_eq!(both, Err(LabelError::Both("a".to_owned())));
    }

    #[test]
    fn there_are_at_most_so_many() {
        let mut labels = Labels::default();
        for number in 0..MOST {
            labels = set(&labels, &[(&format!("l{number}"), "v")]).unwrap();
        }
        assert_eq!(set(&labels, &[("one-more", "v")]), Err(LabelError::TooMany(MOST + 1)));
        assert!(set(&labels, &[("l0", "w")]).is_ok());
    }
}
