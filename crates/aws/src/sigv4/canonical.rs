//! The text that a signature is made of.
//!
//! Invariant: two requests that are read differently have different canonical texts.
//!
//! Not here: which headers have to be signed at all, apart from those that decide what a request
//! means (`claim`).

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::claim::Claim;
use crate::error::Fault;

/// The header in which a client may repeat its body's hash.
pub(super) const CONTENT_HASH: &str = "x-amz-content-sha256";

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

const PATH: AsciiSet = RESERVED.remove(b'/');

/// The canonical request.
pub(super) fn request(
    request: &crate::request::Request<'_>,
    claim: &Claim,
    body_hash: &str,
) -> Result<String, Fault> {
    let mut text =
        format!("{}\n{}\n{}\n", request.method, path(request.path), query(request.query)?);
    // Writing to a String cannot fail.
    for name in &claim.signed_headers {
        let _always_ok = writeln!(text, "{name}:{}", header(request, name)?);
    }
    let unsigned = |name: &&str| {
        name.starts_with("x-amz-") && !claim.signed_headers.iter().any(|signed| signed == *name)
    };
    // One of them names the operation of a JSON request.
    if let Some(name) = request.headers.keys().map(http::HeaderName::as_str).find(unsigned) {
        let what =
            format!("There was a header present in the request which was not signed: {name}");
        return Err(Fault::BadSignature(crate::error::cut(&what)));
    }
    let _always_ok = write!(text, "\n{}\n{body_hash}", claim.signed_headers.join(";"));
    Ok(text)
}

/// A header's values, trimmed, each run of white space one space, and with commas between them.
fn header(request: &crate::request::Request<'_>, name: &str) -> Result<String, Fault> {
    let mut values = Vec::new();
    for value in request.headers.get_all(name) {
        // Signers sign text, and everything that is read from a header here is text.
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Fault::BadSignature(format!("the signed header {name} is not UTF-8")))?;
        values.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(values.join(","))
}

/// The path without `.`, `..` and empty segments, its escapes escaped once more: the rule for every
/// service but S3.
fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut plain = format!("/{}", kept.join("/"));
    if raw.ends_with('/') && !kept.is_empty() {
        plain.push('/');
    }
    percent_encode(plain.as_bytes(), &PATH).to_string()
}

/// The query without its signature, sorted by names and then by values, each escaped in one way.
fn query(raw: &str) -> Result<String, Fault> {
    let mut pairs = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "X-Amz-Signature" {
            pairs.push((escaped(name)?, escaped(value)?));
        }
    }
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(pairs.join("&"))
}

fn escaped(raw: &str) -> Result<String, Fault> {
    Ok(percent_encode(unescape(raw)?.as_bytes(), &RESERVED).to_string())
}

/// A name or value of a query without its escapes, read as the form's reader reads it.
pub(super) fn unescape(raw: &str) -> Result<String, Fault> {
    let malformed = |what: &str| Fault::Malformed(format!("a parameter of the query {what}"));
    let mut parts = raw.split('%');
    let _before_the_first = parts.next();
    let is_escape =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !parts.all(is_escape) {
        return Err(malformed("has a % that two hexadecimal digits do not follow"));
    }
    let spaced = raw.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().map_err(|_| malformed("is not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_plain_and_escaped_twice() {
        assert_eq!(path(""), "/");
        assert_eq!(path("/"), "/");
        assert_eq!(path("//a/./b/../c%20d/"), "/a/c%2520d/");
        assert_eq!(path("/../.."), "/");
        assert_eq!(path("/a:b~c"), "/a%3Ab~c");
    }

    #[test]
    fn a_query_is_sorted_and_escaped_in_one_way() {
        assert_eq!(
            query("b=1&a=%2f&a=%2B&X-Amz-Signature=x&c&a=+").unwrap(),
            "a=%20&a=%2B&a=%2F&b=1&c="
        );
        assert!(matches!(query("a=%2"), Err(Fault::Malformed(_))));
        assert!(matches!(query("a=%é"), Err(Fault::Malformed(_))));
        assert!(matches!(query("a=%FF"), Err(Fault::Malformed(_))));
    }
}
