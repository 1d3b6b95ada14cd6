//! A request as it came, and its body without compression.
//!
//! The signature covers raw bytes: the path and the query as they were sent, and the body before it
//! is inflated. So nothing is decoded here, and inflating is a step of its own for afterwards.
//!
//! Invariant: an inflated body is never larger than the limit that was given.
//!
//! Not here: reading a request from a socket; who does that stops at [`MAX_BODY_BYTES`] too.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use http::HeaderMap;

use crate::error::Fault;

/// Most bytes of a body, compressed or not.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Most bytes of a path and a query together; HTTP libraries have about the same limit.
pub const MAX_TARGET_BYTES: usize = 64 * 1024;

/// A request with its bytes as they came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method in upper case, such as `POST`.
    pub method: &'a str,
    /// The path with its escapes, such as `/`.
    pub path: &'a str,
    /// The query with its escapes and without `?`; empty if there is none.
    pub query: &'a str,
    /// The header fields. A request over HTTP/2 needs its `:authority` as `host` here.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A header field that occurs exactly once and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Is the request small enough to be looked at? Verifying and decoding both ask this first.
    ///
    /// # Errors
    /// [`Fault::TooLarge`].
    pub fn check_size(&self) -> Result<(), Fault> {
        let too_large = |limit| Err(Fault::TooLarge { limit });
        if self.body.len() > MAX_BODY_BYTES {
            return too_large(MAX_BODY_BYTES);
        }
        if self.path.len() + self.query.len() > MAX_TARGET_BYTES {
            return too_large(MAX_TARGET_BYTES);
        }
        Ok(())
    }

    /// The body as the client meant it: inflated if it says `Content-Encoding: gzip`.
    ///
    /// # Errors
    /// [`Fault::TooLarge`] if it is larger than [`MAX_BODY_BYTES`] before or after; a
    /// [`Fault::Malformed`] if it is not what its header says.
    pub fn plain_body(&self) -> Result<Cow<'a, [u8]>, Fault> {
        self.check_size()?;
        match self.header("content-encoding") {
            Some(coding) if coding.trim().eq_ignore_ascii_case("gzip") => {
                inflate(self.body, MAX_BODY_BYTES).map(Cow::Owned)
            }
            // No client sends these services any other coding.
            _ => Ok(Cow::Borrowed(self.body)),
        }
    }
}

/// Inflates a gzip body up to `limit` bytes. Call it only after the signature was verified.
///
/// # Errors
/// [`Fault::TooLarge`] above the limit; [`Fault::Malformed`] if `body` is not whole gzip data.
pub fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut plain = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body)
        .take(one_more)
        .read_to_end(&mut plain)
        .map_err(|_| Fault::Malformed("the body is not gzip data".to_owned()))?;
    if plain.len() > limit { Err(Fault::TooLarge { limit }) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_is_inflated_up_to_the_limit() {
        assert_eq!(inflate(&gzip(b"hello"), 5).unwrap(), b"hello");
        assert_eq!(inflate(&gzip(b"hello"), 4), Err(Fault::TooLarge { limit: 4 }));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 200 * MAX_BODY_BYTES]);
        assert!(bomb.len() < MAX_BODY_BYTES);
        let limit = MAX_BODY_BYTES;
        assert_eq!(inflate(&bomb, limit), Err(Fault::TooLarge { limit }));
    }

    #[test]
    fn a_broken_body_is_refused() {
        let whole = gzip(b"hello");
        let broken = [&whole[..whole.len() - 1], b"", b"plain"];
        for body in broken {
            assert!(matches!(inflate(body, 100), Err(Fault::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn only_the_header_says_that_a_body_is_compressed() {
        let body = gzip(b"hello");
        let mut headers = HeaderMap::new();
        let plain = |headers: &HeaderMap| {
            let request =
                Request { method: "POST", path: "/", query: "", headers, body: body.as_slice() };
            request.plain_body().unwrap().into_owned()
        };
        assert_eq!(plain(&headers), body);
        headers.insert("content-encoding", "GZIP".parse().unwrap());
        assert_eq!(plain(&headers), b"hello");
    }
}
