//! Patterns as engines match them: `*`, `?`, `[a-c]`, `[^x]` and `\`.
//!
//! Invariant: matching takes at most time in proportion to the pattern's length times the text's,
//! whatever the pattern, because clients choose it.
//!
//! Not here: who subscribes to what (`super::subscriptions`).

/// Whether all of `text` matches `pattern`, byte by byte.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where the latest `*` stands, and how far it has been stretched: no earlier one need be tried
    // again, since it could only take what the latest one can take as well.
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, here));
            at += 1;
        } else if let Some(length) = one(&pattern[at..], text[here]) {
            at += length;
            here += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, here) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first part, if it matches this byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => {
            let (is_in, length) = in_set(set, byte);
            is_in.then_some(1 + length)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [plain, ..] => (*plain == byte).then_some(1),
    }
}

/// Whether the byte is in the set, and the length of the set with its end; as in engines, a set
/// without an end reaches to the pattern's.
fn in_set(set: &[u8], byte: u8) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &set[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                found |= *plain == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_engines() {
        for (pattern, text, expected) in [
            ("*", "+switch-master", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("[-+]sdown", "+sdown", true),
            ("[-+]sdown", "-sdown", true),
            ("[-+]sdown", "xsdown", false),
            ("[-+]odown", "+sdown", false),
            ("switch-master", "+switch-master", false),
            ("?switch-master", "+switch-master", true),
            ("+s*r", "+switch-master", true),
            ("+s*r", "+switch-masters", false),
            ("*a*b*c", "xaxbxc", true),
            ("*a*b*c", "xaxcxb", false),
            ("[^a]x", "bx", true),
            ("[^a]x", "ax", false),
            ("[a-c]", "b", true),
            ("[c-a]", "b", true),
            ("[a-c]", "d", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("[abc", "c", true),
            ("[\\]]", "]", true),
            ("a?", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_its_length_times_the_texts() {
        let pattern = "*a".repeat(10_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn no_pattern_is_too_odd(pattern: Vec<u8>, text: Vec<u8>) {
            let _either = matches(&pattern, &text);
        }

        #[test]
        fn a_text_without_special_bytes_matches_itself(text in "[a-z+-]{0,20}") {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
        }
    }
}
