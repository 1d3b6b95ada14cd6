//! Tags: what they may be.
//!
//! Invariant: no resource has more than [`MOST`].
//!
//! Not here: whose tags they are (`super::tagging`).

use std::collections::BTreeMap;

use super::refusal::{Refusal, bad_value, refuse};
use crate::value::Structure;

/// Most tags of a resource.
pub(super) const MOST: usize = 50;
/// Most characters of a key.
const MAX_KEY: usize = 128;
/// Most characters of a value.
const MAX_VALUE: usize = 256;

/// Tags: keys and values.
pub(super) type Tags = BTreeMap<String, String>;

/// The tags that a request names.
pub(super) fn given(input: &Structure) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    for tag in input.structures("Tags") {
        let (key, value) = (tag.text("Key").unwrap_or(""), tag.text("Value").unwrap_or(""));
        check(key, value)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(bad_value(format_args!("The tag key {key} is there more than once.")));
        }
    }
    check_number(&tags)?;
    Ok(tags)
}

/// Tags that a resource has, and more.
pub(super) fn merged(mut tags: Tags, more: Tags) -> Result<Tags, Refusal> {
    tags.extend(more);
    check_number(&tags)?;
    Ok(tags)
}

fn check_number(tags: &Tags) -> Result<(), Refusal> {
    if tags.len() <= MOST {
        return Ok(());
    }
    let message = format_args!("A resource can have {MOST} tags at most.");
    Err(refuse("TagQuotaPerResourceExceeded", message))
}

fn check(key: &str, value: &str) -> Result<(), Refusal> {
    let length = key.chars().count();
    if length == 0 || length > MAX_KEY {
        let message = format_args!("A tag's key must have 1 to {MAX_KEY} characters.");
        return Err(bad_value(message));
    }
    if value.chars().count() > MAX_VALUE {
        return Err(bad_value(format_args!(
            "The value of the tag {key} must have {MAX_VALUE} characters at most."
        )));
    }
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        let message = format_args!("The tag key {key} is reserved: it begins with aws:.");
        return Err(bad_value(message));
    }
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    if key.chars().chain(value.chars()).all(allowed) {
        return Ok(());
    }
    Err(bad_value(format_args!(
        "The tag {key} has characters other than letters, digits, spaces and _ . : / = + - @"
    )))
}

/// Tags as a `TagList`.
pub(super) fn list(tags: &Tags) -> Structure {
    let tags = tags.iter().map(|(key, value)| Structure::new().set("Key", key).set("Value", value));
    Structure::new().list("TagList", tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(tags: &[(&str, &str)]) -> Structure {
        let tags =
            tags.iter().map(|(key, value)| Structure::new().set("Key", *key).set("Value", *value));
        Structure::new().list("Tags", tags)
    }

    #[test]
    fn good_tags_are_taken_and_bad_ones_are_named() {
        let tags = given(&input(&[("Name", "my redis"), ("ünï", ""), ("a/b", "x@y")])).unwrap();
        assert_eq!(tags.len(), 3);
        let long = "x".repeat(129);
        for bad in [("", "v"), ("aws:k", "v"), ("AWS:k", "v"), ("k", "<"), (long.as_str(), "v")] {
            assert_eq!(given(&input(&[bad])).unwrap_err().code, "InvalidParameterValue", "{bad:?}");
        }
        assert!(given(&input(&[("k", "1"), ("k", "2")])).is_err());
        assert!(given(&input(&[("k", &"x".repeat(257))])).is_err());
    }

    #[test]
    fn fifty_tags_are_the_most() {
        let many: Vec<(String, String)> = (0..51).map(|n| (n.to_string(), String::new())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let tags = given(&input(&many[..50])).unwrap();
        assert_eq!(given(&input(&many)).unwrap_err().code, "TagQuotaPerResourceExceeded");
        let one = given(&input(&[("other", "")])).unwrap();
        assert!(merged(tags.clone(), one).is_err());
        assert_eq!(merged(tags.clone(), tags).unwrap().len(), 50);
    }
}
