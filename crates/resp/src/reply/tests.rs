//! Replies, framed whole, split and malformed.
//!
//! Invariant: every expectation is an engine's own behaviour or a deviation that is named.
//!
//! Not here: comparisons with live engines (`tests/`).

use super::*;

fn frame(bytes: &[u8]) -> Result<Vec<Reply>, FrameError> {
    frame_with(&ReplyLimits::default(), bytes)
}

fn frame_with(limits: &ReplyLimits, bytes: &[u8]) -> Result<Vec<Reply>, FrameError> {
    let mut framer = ReplyFramer::new(limits);
    let mut input = BytesMut::from(bytes);
    let mut replies = Vec::new();
    loop {
        match framer.next(&mut input) {
            Ok(Some(reply)) => replies.push(reply),
            Ok(None) => return Ok(replies),
            Err(error) => {
                assert_eq!(framer.next(&mut input), Err(error), "an error is final");
                return Err(error);
            }
        }
    }
}

#[test]
fn every_type_is_one_reply_with_its_kind() {
    for (bytes, kind) in [
        ("+OK\r\n", Kind::Simple),
        ("+\r\n", Kind::Simple),
        ("-ERR x\r\n", Kind::Error),
        (":-12\r\n", Kind::Integer),
        ("$3\r\nabc\r\n", Kind::Bulk),
        ("$0\r\n\r\n", Kind::Bulk),
        ("$4\r\n\r\n\r\n\r\n", Kind::Bulk),
        ("$-1\r\n", Kind::Null),
        ("*-1\r\n", Kind::Null),
        ("_\r\n", Kind::Null),
        ("*0\r\n", Kind::Array),
        ("*2\r\n:1\r\n*2\r\n$-1\r\n*0\r\n", Kind::Array),
        (",1.5e3\r\n", Kind::Double),
        ("#t\r\n", Kind::Boolean),
        ("!5\r\nERR x\r\n", Kind::BulkError),
        ("=5\r\ntxt:a\r\n", Kind::Verbatim),
        ("(12345678901234567890123\r\n", Kind::BigNumber),
        ("%2\r\n+a\r\n:1\r\n+b\r\n%0\r\n", Kind::Map),
        ("~1\r\n+a\r\n", Kind::Set),
        (">2\r\n+message\r\n+x\r\n", Kind::Push),
        ("|1\r\n+ttl\r\n:5\r\n+OK\r\n", Kind::Simple),
        ("|0\r\n*1\r\n|1\r\n+a\r\n*1\r\n:1\r\n:7\r\n", Kind::Array),
    ] {
        let bytes = bytes.as_bytes();
        let twice = [bytes, bytes].concat();
        let replies = frame(&twice).unwrap();
        assert_eq!(replies.len(), 2, "{}", bytes.escape_ascii());
        for reply in replies {
            assert_eq!((reply.raw().as_ref(), reply.kind()), (bytes, kind));
        }
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut]), Ok(vec![]), "{}", bytes[..cut].escape_ascii());
        }
    }
}

#[test]
fn streamed_and_unknown_types_are_refused() {
    for (bytes, error) in [
        ("$?\r\n", FrameError::InvalidLength(b'$')),
        ("*?\r\n", FrameError::InvalidLength(b'*')),
        (";4\r\n", FrameError::UnknownType(b';')),
        (".\r\n", FrameError::UnknownType(b'.')),
        ("PING\r\n", FrameError::UnknownType(b'P')),
        ("\r\n", FrameError::UnknownType(b'\r')),
        ("$-2\r\n", FrameError::InvalidLength(b'$')),
        ("%-1\r\n", FrameError::InvalidLength(b'%')),
        ("!-1\r\n", FrameError::InvalidLength(b'!')),
        ("=3\r\ntxt\r\n", FrameError::InvalidLength(b'=')),
        ("$1x\r\n", FrameError::InvalidLength(b'$')),
        ("*01\r\n", FrameError::InvalidLength(b'*')),
        ("$3\r\nabcXX", FrameError::InvalidTerminator),
        (":1x\r\n", FrameError::InvalidContent(b':')),
        ("#x\r\n", FrameError::InvalidContent(b'#')),
        ("_x\r\n", FrameError::InvalidContent(b'_')),
        ("*1\r\nPING\r\n", FrameError::UnknownType(b'P')),
        ("$11111111111111111111111111111111111", FrameError::InvalidLength(b'$')),
        (":11111111111111111111111111111111111", FrameError::InvalidContent(b':')),
    ] {
        assert_eq!(frame(bytes.as_bytes()), Err(error), "{bytes:?}");
    }
}

#[test]
fn an_error_names_its_code() {
    let replies = frame(
        b"-READONLY You can't write\r\n-ERR\r\n!11\r\nSYNTAX a\r\nb\r\n\
          |1\r\n+a\r\n+b\r\n-X y\r\n+OK\r\n",
    )
    .unwrap();
    let codes: Vec<Option<&str>> = replies.iter().map(Reply::error_code).collect();
    assert_eq!(codes, [Some("READONLY"), Some("ERR"), Some("SYNTAX"), Some("X"), None]);
    assert_eq!(replies[0].error_text(), Some(&b"READONLY You can't write"[..]));
    assert_eq!(replies[2].error_text(), Some(&b"SYNTAX a\r\nb"[..]));
    assert!(replies[2].is_error() && !replies[4].is_error());
    assert_eq!(frame(b"-\xff x\r\n").unwrap()[0].error_code(), Some(""));
}

#[test]
fn a_push_is_told_from_a_reply() {
    let replies = frame(b">1\r\n+a\r\n*1\r\n+a\r\n").unwrap();
    assert!(replies[0].is_push() && !replies[1].is_push());
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    assert_eq!(frame(&nested(128)).unwrap().len(), 1);
    assert_eq!(frame(&nested(129)), Err(FrameError::TooDeep(128)));
    let shallow = ReplyLimits { max_depth: 2, ..ReplyLimits::default() };
    assert_eq!(frame_with(&shallow, &nested(3)), Err(FrameError::TooDeep(2)));
}

#[test]
fn a_reply_that_claims_too_much_is_refused_by_its_header() {
    let limits = ReplyLimits { max_reply_bytes: 100, ..ReplyLimits::default() };
    for bytes in [
        "$95\r\n",
        "*33\r\n",
        "%17\r\n",
        "*9223372036854775807\r\n",
        "%9223372036854775807\r\n",
        "$9223372036854775807\r\n",
        "*1\r\n*1\r\n*32\r\n",
    ] {
        let outcome = frame_with(&limits, bytes.as_bytes());
        assert_eq!(outcome, Err(FrameError::TooLarge(100)), "{bytes:?}");
    }
    assert_eq!(frame_with(&limits, &[b'+'; 100]), Err(FrameError::TooLarge(100)));
    let attributes = b"|0\r\n".repeat(26);
    assert_eq!(frame_with(&limits, &attributes), Err(FrameError::TooLarge(100)));
    let fits = [b"$93\r\n".as_slice(), &[b'x'; 93], b"\r\n"].concat();
    assert_eq!(frame_with(&limits, &fits).unwrap().len(), 1);
}

#[test]
fn a_large_reply_says_how_much_is_missing() {
    let mut framer = ReplyFramer::default();
    let mut input = BytesMut::from(&b"$1000\r\nabc"[..]);
    assert_eq!(framer.next(&mut input), Ok(None));
    assert_eq!(framer.wanted(input.len()), 999);
}

/// A million reads of one byte: quadratic work would take hours.
#[test]
fn a_long_line_in_small_reads_is_scanned_once() {
    let mut framer = ReplyFramer::default();
    let mut input = BytesMut::from(&b"+"[..]);
    for _ in 0..500_000 {
        input.extend_from_slice(b"\rx");
        assert_eq!(framer.next(&mut input), Ok(None));
    }
    input.extend_from_slice(b"\r\n");
    assert_eq!(framer.next(&mut input).unwrap().unwrap().raw().len(), 1_000_003);
}

#[test]
fn what_is_looked_at_is_what_would_be_taken_wherever_reads_end() {
    let raw = b"+a\r\n*2\r\n$3\r\nb\r\n\r\n:1\r\n-ERR c\r\n|1\r\n+k\r\n+v\r\n%1\r\n+d\r\n_\r\n>1\r\n+e\r\n$-1\r\n";
    for cut in 0..raw.len() {
        let (mut taking, mut looking) = (ReplyFramer::default(), ReplyFramer::default());
        let (mut taken, mut at) = (BytesMut::new(), 0);
        let mut replies = 0;
        let mut come = 0;
        for end in [cut, raw.len()] {
            taken.extend_from_slice(&raw[come..end]);
            come = end;
            while let Some(found) = looking.look(&raw[at..come]).unwrap() {
                let reply = taking.next(&mut taken).unwrap().unwrap();
                let looked = found.reply(Bytes::copy_from_slice(&raw[at..at + found.size()]));
                assert_eq!(looked, reply);
                at += found.size();
                replies += 1;
            }
            assert_eq!(taking.next(&mut taken), Ok(None));
        }
        assert_eq!((at, replies), (raw.len(), 6), "{cut}");
    }
}
