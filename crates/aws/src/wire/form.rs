//! A form: names and values of a query string or a body.
//!
//! What was signed must be what is executed, so nothing is repaired here: a broken escape, bytes
//! that are not UTF-8 and a parameter given twice are refused.
//!
//! Invariant: at most [`MAX_PARAMETERS`] pairs are kept; they are sorted by the parts of their
//! names, so that everything under one name stands together.
//!
//! Not here: what the names mean (`params`).

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::error::{Fault, cut};

/// Most parameters of one request.
pub const MAX_PARAMETERS: usize = 10_000;

/// A name and its value, decoded.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a query string and a body together.
pub(super) fn pairs<'a>(query: &'a [u8], body: &'a [u8]) -> Result<Vec<Pair<'a>>, Fault> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    let raw = [query, body].into_iter().flat_map(|text| text.split(|byte| *byte == b'&'));
    for pair in raw.filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PARAMETERS {
            let what = format!("the request has more than {MAX_PARAMETERS} parameters");
            return Err(Fault::Malformed(what));
        }
        let middle = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..middle], pair.get(middle + 1..).unwrap_or(b""));
        pairs.push((unescape(name)?, unescape(value)?));
    }
    pairs.sort_unstable_by(|(a, _), (b, _)| a.split('.').cmp(b.split('.')));
    let twice = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0);
    match twice {
        Some(pair) => Err(Fault::Malformed(cut(&format!(
            "the parameter {} is given more than once",
            pair[0].0
        )))),
        None => Ok(pairs),
    }
}

/// A name or value without its escapes; `+` is a space.
fn unescape(raw: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let malformed = |what: &str| Fault::Malformed(format!("a parameter {what}"));
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let escape = rest.get(at + 1..at + 3).unwrap_or(b"");
        if escape.len() != 2 || !escape.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed("has a % that two hexadecimal digits do not follow"));
        }
        rest = &rest[at + 3..];
    }
    let text = if raw.contains(&b'+') {
        let spaced: Vec<u8> =
            raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded = percent_decode(&spaced).decode_utf8();
        decoded.map(|text| Cow::Owned(text.into_owned()))
    } else {
        percent_decode(raw).decode_utf8()
    };
    let text = text.map_err(|_| malformed("is not UTF-8"))?;
    if text.contains('\0') { Err(malformed("has a NUL character")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<(String, String)>, Fault> {
        let pairs = pairs(b"", body.as_bytes())?;
        Ok(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn is_malformed(body: &str, word: &str) {
        match read(body) {
            Err(Fault::Malformed(what)) => assert!(what.contains(word), "{what}"),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn pairs_are_decoded_and_sorted_by_the_parts_of_their_names() {
        let read = read("b=1&a.b=%C3%A4+%2B&a-c=&&a&a.b.1=x=y").unwrap();
        let expected = [("a", ""), ("a.b", "ä +"), ("a.b.1", "x=y"), ("a-c", ""), ("b", "1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn query_and_body_are_one_form() {
        let both = pairs(b"Action=A", b"Version=1").unwrap();
        assert_eq!(both.len(), 2);
        assert!(pairs(b"Action=A", b"Action=B").is_err());
    }

    #[test]
    fn nothing_is_repaired() {
        is_malformed("a=%zz", "hexadecimal");
        is_malformed("a=%4", "hexadecimal");
        is_malformed("%=1", "hexadecimal");
        is_malformed("a=%FF", "UTF-8");
        is_malformed("a%ED%A0%80=1", "UTF-8");
        is_malformed("a=b%00c", "NUL");
        is_malformed("a=1&b=2&a=1", "more than once");
        assert!(pairs(b"", b"a=\xff").is_err());
    }

    #[test]
    fn the_number_of_parameters_is_limited() {
        let form = |count: usize| (0..count).map(|at| format!("p{at}=1&")).collect::<String>();
        assert_eq!(read(&form(MAX_PARAMETERS)).unwrap().len(), MAX_PARAMETERS);
        is_malformed(&form(MAX_PARAMETERS + 1), "10000");
    }
}
