//! Long lists in pages.
//!
//! A marker names the last thing that was shown, not its place, so that a page neither repeats nor
//! leaves out what stayed while other things came and went.
//!
//! Invariant: a marker that this service did not make for this operation is refused.
//!
//! Not here: what the things look like.

use super::refusal::{Refusal, bad_value};
use crate::value::Structure;

/// Fewest and most things of a page.
const LIMITS: std::ops::RangeInclusive<i64> = 20..=100;

/// The page that `input` asks for, and the marker of the next one if there is one.
///
/// `items` have their keys in the order in which they are shown; keys are unique.
pub(super) fn page<T>(
    operation: &str,
    input: &Structure,
    items: impl IntoIterator<Item = (String, T)>,
) -> Result<(Vec<T>, Option<String>), Refusal> {
    let limit = input.integer("MaxRecords").unwrap_or(*LIMITS.end());
    if !LIMITS.contains(&limit) {
        let (least, most) = (LIMITS.start(), LIMITS.end());
        return Err(bad_value(format_args!(
            "Invalid value {limit} for MaxRecords. Must be between {least} and {most}"
        )));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = match input.text("Marker").filter(|marker| !marker.is_empty()) {
        Some(marker) => Some(read(operation, marker)?),
        None => None,
    };
    let mut items = items
        .into_iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
        .peekable();
    let mut shown = Vec::new();
    let mut last = String::new();
    while shown.len() < limit
        && let Some((key, item)) = items.next()
    {
        shown.push(item);
        last = key;
    }
    let more = items.peek().is_some();
    Ok((shown, more.then(|| hex::encode(format!("{operation}/{last}")))))
}

fn read(operation: &str, marker: &str) -> Result<String, Refusal> {
    let bytes = hex::decode(marker).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.as_deref().and_then(|text| text.strip_prefix(operation)?.strip_prefix('/'));
    let foreign = || bad_value(format_args!("The marker {marker} is invalid."));
    key.map(str::to_owned).ok_or_else(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: std::ops::Range<u32>) -> Vec<(String, u32)> {
        of.map(|n| (format!("{n:03}"), n)).collect()
    }

    fn input(limit: u8, marker: Option<&str>) -> Structure {
        Structure::new().set("MaxRecords", limit).maybe("Marker", marker)
    }

    #[test]
    fn pages_follow_each_other_although_things_come_and_go() {
        let (first, marker) = page("Describe", &input(20, None), names(0..50)).unwrap();
        assert_eq!(first, (0..20).collect::<Vec<_>>());
        // What was shown last is gone, and something else has come before it.
        let mut now = names(0..50);
        now.retain(|(_, n)| *n != 19);
        now.insert(0, ("000a".to_owned(), 99));
        let (second, marker) = page("Describe", &input(20, marker.as_deref()), now).unwrap();
        assert_eq!(second, (20..40).collect::<Vec<_>>());
        let (last, marker) = page("Describe", &input(20, marker.as_deref()), names(0..50)).unwrap();
        assert_eq!(last, (40..50).collect::<Vec<_>>());
        assert_eq!(marker, None);
    }

    #[test]
    fn a_page_that_is_just_full_has_no_marker() {
        let (shown, marker) = page("Describe", &input(20, None), names(0..20)).unwrap();
        assert_eq!((shown.len(), marker), (20, None));
    }

    #[test]
    fn limits_are_between_20_and_100_and_100_is_the_default() {
        for bad in [0, 19, 101] {
            let refusal = page("Describe", &input(bad, None), names(0..1)).unwrap_err();
            assert_eq!(refusal.code, "InvalidParameterValue");
        }
        let (shown, marker) = page("Describe", &Structure::new(), names(0..101)).unwrap();
        assert_eq!(shown.len(), 100);
        assert!(marker.is_some());
    }

    #[test]
    fn a_foreign_marker_is_refused() {
        let (_, marker) = page("Describe", &input(20, None), names(0..50)).unwrap();
        let marker = marker.unwrap();
        for foreign in ["x", "00ff", "zz", "777562", &marker[2..]] {
            let refusal = page("Describe", &input(20, Some(foreign)), names(0..50)).unwrap_err();
            assert_eq!(refusal.code, "InvalidParameterValue", "{foreign}");
        }
        assert!(page("DescribeOthers", &input(20, Some(&marker)), names(0..50)).is_err());
    }
}
