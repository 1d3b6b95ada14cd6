//! Integers and header lines, as both framers read them.
//!
//! They are shared because a length that the two sides parse differently is a desynchronised
//! connection, that is somebody else's reply.
//!
//! Invariant: a number that is accepted here is one that the engines accept too (`string2ll`).
//!
//! Not here: what a number means and how large it may be (`request`, `reply`).

use bytes::{BufMut, BytesMut};

/// Digits of the longest 64-bit decimal, without a sign.
const MAX_DIGITS: usize = 19;

/// A decimal integer without leading zeros, blanks or `+`; `None` for anything else.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'0', ..] => return None,
        _ if digits.len() > MAX_DIGITS => return None,
        _ => {}
    }
    // Nineteen digits fit into a u64, so only the step to i64 can overflow.
    let mut value: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The usual header: one type byte, one to nine digits, CRLF, all of it present.
///
/// Gives the number and the header's size in bytes. `None` means only that the slow path must
/// look: the header may be incomplete, negative, longer or wrong.
#[inline]
pub(crate) fn short_header(line: &[u8]) -> Option<(usize, usize)> {
    let mut value: usize = 0;
    let mut at = 1;
    while at <= 9 {
        let digit = line.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + usize::from(digit);
        at += 1;
    }
    let leading_zero = at > 2 && line[1] == b'0';
    if at == 1 || leading_zero || line.get(at..at + 2)? != b"\r\n" {
        return None;
    }
    Some((value, at + 2))
}

/// Where the first CRLF at or after `from` begins.
#[inline]
pub(crate) fn crlf(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\r')?;
        match bytes.get(at + 1) {
            Some(b'\n') => return Some(at),
            Some(_) => at += 1,
            None => return None,
        }
    }
}

/// Appends `value` in decimal, without allocating.
pub(crate) fn put_decimal(out: &mut BytesMut, value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        // A remainder below ten always fits.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// Appends a header line: the type byte, the number, CRLF.
pub(crate) fn put_header(out: &mut BytesMut, kind: u8, count: usize) {
    out.put_u8(kind);
    put_decimal(out, count as u64);
    out.put_slice(b"\r\n");
}

/// Appends a whole bulk string with its header and its terminator.
pub(crate) fn put_bulk(out: &mut BytesMut, payload: &[u8]) {
    out.reserve(payload.len() + 16);
    put_header(out, b'$', payload.len());
    out.put_slice(payload);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_the_engine() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("4x", None),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_short_header_is_only_taken_when_it_is_whole_and_plain() {
        assert_eq!(short_header(b"$3\r\nabc"), Some((3, 4)));
        assert_eq!(short_header(b"*0\r\n"), Some((0, 4)));
        assert_eq!(short_header(b"$123456789\r\n"), Some((123_456_789, 12)));
        for text in ["$", "$3", "$3\r", "$\r\n", "$03\r\n", "$-1\r\n", "$1234567890\r\n", "$3\n\n"]
        {
            assert_eq!(short_header(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_lone_carriage_return_is_not_the_end_of_a_line() {
        assert_eq!(crlf(b"a\rb\r\n", 0), Some(3));
        assert_eq!(crlf(b"a\r", 0), None);
        assert_eq!(crlf(b"\r\r\n", 0), Some(1));
        assert_eq!(crlf(b"\r\n", 5), None);
    }

    #[test]
    fn decimals_have_all_their_digits() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = BytesMut::new();
            put_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
