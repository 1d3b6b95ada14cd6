//! Requests, framed whole, split and malformed, and the exact refusals.
//!
//! Invariant: every expectation is an engine's own behaviour or a deviation that is named.
//!
//! Not here: comparisons with live engines (`tests/`).

use super::*;

/// Frames all of `bytes` that arrives at once.
fn frame(limits: Limits, bytes: &[u8]) -> (Vec<Request>, Result<(), ProtocolError>, usize) {
    let mut framer = RequestFramer::new(limits);
    let mut input = BytesMut::from(bytes);
    let mut requests = Vec::new();
    loop {
        match framer.next(&mut input) {
            Ok(Some(request)) => requests.push(request),
            Ok(None) => return (requests, Ok(()), input.len()),
            Err(error) => {
                assert_eq!(framer.next(&mut input), Err(error), "an error is final");
                return (requests, Err(error), input.len());
            }
        }
    }
}

fn words(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (requests, outcome, rest) = frame(Limits::default(), bytes);
    assert_eq!((outcome, rest), (Ok(()), 0), "{}", bytes.escape_ascii());
    requests.iter().map(|request| request.args().map(<[u8]>::to_vec).collect()).collect()
}

fn error(limits: Limits, bytes: &[u8]) -> ProtocolError {
    let (_, outcome, _) = frame(limits, bytes);
    outcome.expect_err("must be refused")
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    let reply = error(Limits::default(), bytes.as_ref()).reply().expect("is answered");
    String::from_utf8_lossy(&reply).into_owned()
}

fn waits(bytes: &[u8]) {
    let (requests, outcome, rest) = frame(Limits::default(), bytes);
    assert!(requests.is_empty());
    assert_eq!((outcome, rest), (Ok(()), bytes.len()), "{}", bytes.escape_ascii());
}

const INVALID_MULTIBULK: &str = "-ERR Protocol error: invalid multibulk length\r\n";
const INVALID_BULK: &str = "-ERR Protocol error: invalid bulk length\r\n";

fn before_auth() -> Limits {
    Limits { unauthenticated: true, ..Limits::default() }
}

#[test]
fn empty_frames_and_blank_lines_are_skipped() {
    for bytes in ["*0\r\nPING\r\n", "*-1\r\nPING\r\n", "*-5\r\nPING\r\n", "\r\n\n \t\r\nPING\r\n"] {
        assert_eq!(words(bytes.as_bytes()), [[b"PING"]], "{bytes:?}");
    }
    assert!(words(b"*0\r\n\r\n").is_empty());
}

#[test]
fn a_multibulk_count_that_is_none_is_refused() {
    for count in
        ["2147483648", "99999999999999999999", "abc", "", "+1", "01", "-0", " 1", "1x", "1\n$4"]
    {
        assert_eq!(text(format!("*{count}\r\n")), INVALID_MULTIBULK, "{count}");
    }
}

#[test]
fn before_authentication_requests_are_small() {
    assert_eq!(
        error(before_auth(), b"*11\r\n").reply().unwrap(),
        "-ERR Protocol error: unauthenticated multibulk length\r\n"
    );
    assert_eq!(
        error(before_auth(), b"*1\r\n$16385\r\n").reply().unwrap(),
        "-ERR Protocol error: unauthenticated bulk length\r\n"
    );
    let (_, outcome, _) = frame(before_auth(), b"*10\r\n$16384\r\n");
    assert_eq!(outcome, Ok(()));
    assert_eq!(
        error(before_auth(), b"*1\r\n$536870913\r\n"),
        ProtocolError::InvalidBulkLength,
        "the general limit comes first"
    );
}

#[test]
fn authentication_takes_effect_from_the_next_request_on() {
    let mut framer = RequestFramer::new(before_auth());
    framer.set_authenticated(true);
    let mut input = BytesMut::from(&b"*11\r\n$16385\r\n"[..]);
    assert_eq!(framer.next(&mut input), Ok(None));
    let mut framer = RequestFramer::new(Limits::default());
    framer.set_authenticated(false);
    assert!(framer.next(&mut input).is_err());
}

#[test]
fn a_bulk_length_that_is_none_is_refused() {
    for length in ["-1", "4x", "536870913", "99999999999999999999", "", "+4", "04", "-0", "4\nPING"]
    {
        assert_eq!(text(format!("*1\r\n${length}\r\n")), INVALID_BULK, "{length}");
    }
    waits(b"*1\r\n$536870912\r\n");
}

#[test]
fn at_most_a_mebi_of_arguments_is_accepted() {
    waits(b"*1048576\r\n");
    assert_eq!(text("*1048577\r\n"), INVALID_MULTIBULK);
    assert_eq!(text("*2147483647\r\n"), INVALID_MULTIBULK);
}

#[test]
fn another_type_than_a_bulk_is_refused_by_its_byte() {
    assert_eq!(text("*1\r\n+4\r\n"), "-ERR Protocol error: expected '$', got '+'\r\n");
    assert_eq!(text("*1\r\n*4\r\n"), "-ERR Protocol error: expected '$', got '*'\r\n");
    assert_eq!(text("*1\r\n\r\n"), "-ERR Protocol error: expected '$', got ' '\r\n");
    let reply = error(Limits::default(), b"*1\r\n\xff\r\n").reply().unwrap();
    assert_eq!(reply, b"-ERR Protocol error: expected '$', got '\xff'\r\n".as_slice());
}

#[test]
fn only_crlf_ends_an_argument_or_a_header() {
    assert_eq!(text("*1\r\n$4\r\nPINGXX"), "-ERR Protocol error: invalid bulk terminator\r\n");
    assert_eq!(text("*1\rX$4\r\nPING\r\n"), INVALID_MULTIBULK);
    assert_eq!(text("*1\r\n$4\rXPING\r\n"), INVALID_BULK);
}

#[test]
fn a_line_longer_than_64_kib_is_refused() {
    let long = "1".repeat(65_537);
    for (bytes, expected) in [
        (long.clone(), "too big inline request"),
        (format!("{long}\r\n"), "too big inline request"),
        (format!("*{long}"), "too big mbulk count string"),
        (format!("*1\r\n${long}"), "too big bulk count string"),
        (format!("*1\r\n${long}\r\n"), "too big bulk count string"),
    ] {
        assert_eq!(text(bytes), format!("-ERR Protocol error: {expected}\r\n"));
    }
    waits("1".repeat(65_536).as_bytes());
    let (requests, _, _) = frame(Limits::default(), format!("{}\n", &long[1..]).as_bytes());
    assert_eq!(requests.len(), 1);
}

#[test]
fn unbalanced_quotes_are_refused() {
    for line in ["'abc", "\"abc", "\"abc\"d", "'abc'd", "\"abc\\\"", "SET a 'b\\'"] {
        assert_eq!(
            text(format!("{line}\r\n")),
            "-ERR Protocol error: unbalanced quotes in request\r\n",
            "{line}"
        );
    }
}

#[test]
fn http_closes_without_a_reply() {
    for bytes in [
        "POST / HTTP/1.1\r\n",
        "post\r\n",
        "Host: example\r\n",
        "*1\r\n$4\r\nPOST\r\n",
        "*2\r\n$5\r\nhOST:\r\n$1\r\nx\r\n",
        "*1\r\n$6\r\nPOST\0x\r\n",
    ] {
        let error = error(Limits::default(), bytes.as_bytes());
        assert_eq!((error, error.reply()), (ProtocolError::CrossProtocol, None), "{bytes:?}");
    }
    assert_eq!(words(b"POSTS\r\nHOST\r\n").len(), 2);
}

#[test]
fn a_tls_hello_or_a_nul_in_a_line_waits_as_the_engine_does() {
    waits(b"\x16\x03\x01\x02\x00\x01\x00\r\n");
    waits(b"GE\0T a\r\n");
    waits(b"*1\0\r\n");
    waits(b"*1\r\n$4\0\r\n");
    let mut long = b"GE\0T a\r\n".to_vec();
    long.resize(65_537, b'a');
    assert_eq!(error(Limits::default(), &long), ProtocolError::TooBigInlineRequest);
}

#[test]
fn names_of_any_bytes_pass_unchanged() {
    assert_eq!(words(b"\xff\xfe\x80\r\n"), [[b"\xff\xfe\x80"]]);
    assert_eq!(words(b"*1\r\n$4\r\nGE\0T\r\n"), [[b"GE\0T"]]);
    assert_eq!(words(b"*1\r\n$0\r\n\r\n"), [[b""]]);
    assert_eq!(words(b"*1\r\n$2\r\n\r\n\r\n"), [[b"\r\n"]]);
}

#[test]
fn what_comes_before_an_error_is_still_a_request() {
    let (requests, outcome, _) =
        frame(Limits::default(), b"*1\r\n$4\r\nPING\r\nPING\r\n*abc\r\nPING\r\n");
    assert_eq!(requests.len(), 2);
    assert_eq!(outcome, Err(ProtocolError::InvalidMultibulkLength));
}

#[test]
fn a_byte_at_a_time_and_a_bare_line_feed_are_accepted() {
    assert_eq!(words(b"PING\n"), [[b"PING"]]);
    let mut framer = RequestFramer::new(Limits::default());
    let mut input = BytesMut::new();
    let bytes = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPING\r\n";
    let mut framed = Vec::new();
    for byte in bytes {
        input.extend_from_slice(&[*byte]);
        framed.extend(framer.next(&mut input).unwrap());
    }
    assert_eq!(framed.len(), 2);
    assert_eq!(framed[0].arg(1), Some(&b"hi"[..]));
}

#[test]
fn inline_words_are_split_as_the_engine_does() {
    let cases: [(&str, &[&[u8]]); 12] = [
        ("SET a b", &[b"SET", b"a", b"b"]),
        ("  SET\ta \x0b b  ", &[b"SET", b"a", b"b"]),
        ("SET a\x0bb", &[b"SET", b"a\x0bb"]),
        (r#""\x41\x4a\xff\xFF""#, &[b"AJ\xff\xff"]),
        (r#""\n\r\t\b\a\q\\\"""#, &[b"\n\r\t\x08\x07q\\\""]),
        (r#""\xg1\x4""#, &[b"xg1x4"]),
        (r"'\x41\n\'b'", &[b"\\x41\\n'b"]),
        (r#"foo"bar" x"#, &[b"foobar", b"x"]),
        (r#"fo'o b'"#, &[b"foo b"]),
        (r#""" ''"#, &[b"", b""]),
        ("FOO\rBAR", &[b"FOO", b"BAR"]),
        ("PING\r", &[b"PING"]),
    ];
    for (line, expected) in cases {
        assert_eq!(words(format!("{line}\r\n").as_bytes()), [expected], "{line:?}");
    }
}

#[test]
fn an_inline_command_becomes_a_multibulk_frame() {
    let (requests, _, _) = frame(Limits::default(), b"SET key \"a b\"\r\n");
    assert_eq!(requests[0].raw(), "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\na b\r\n");
    assert_eq!(requests[0].arg(2), Some(&b"a b"[..]));
}

#[test]
fn a_request_larger_than_the_whole_limit_is_refused_by_its_header() {
    let limits = Limits { max_request_bytes: 100, ..Limits::default() };
    let error = error(limits, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$90\r\n");
    assert_eq!((error, error.reply()), (ProtocolError::RequestTooBig, None));
}

#[test]
fn a_request_gives_its_arguments_without_copying() {
    let (requests, _, _) = frame(Limits::default(), b"*3\r\n$3\r\nset\r\n$0\r\n\r\n$2\r\nab\r\n");
    let request = &requests[0];
    assert_eq!(request.argc(), 3);
    assert_eq!(request.args().len(), 3);
    assert!(request.is("SET") && !request.is("GET"));
    assert_eq!(request.arg(1), Some(&b""[..]));
    assert_eq!(request.arg(3), None);
    let shared = request.arg_bytes(2).unwrap();
    assert_eq!(shared, "ab");
    assert_eq!(shared.as_ptr(), request.arg(2).unwrap().as_ptr());
    assert_eq!(request.raw().as_ptr(), request.clone().into_raw().as_ptr());
}

#[test]
fn a_large_value_says_how_much_is_missing() {
    let mut framer = RequestFramer::new(Limits::default());
    let mut input = BytesMut::from(&b"*2\r\n$4\r\nECHO\r\n$1000\r\nabc"[..]);
    assert_eq!(framer.wanted(input.len()), 0);
    assert_eq!(framer.next(&mut input), Ok(None));
    assert_eq!(framer.wanted(input.len()), 999);
}

/// Two million reads of one byte: quadratic work would take hours.
#[test]
fn a_value_in_small_reads_is_scanned_once() {
    const LEN: usize = 2_000_000;
    let mut framer = RequestFramer::new(Limits::default());
    let mut input = BytesMut::with_capacity(LEN + 100);
    input.extend_from_slice(format!("*2\r\n$4\r\nECHO\r\n${LEN}\r\n").as_bytes());
    for _ in 0..LEN {
        input.extend_from_slice(b"\n");
        assert_eq!(framer.next(&mut input), Ok(None));
    }
    input.extend_from_slice(b"\r\n");
    assert_eq!(framer.next(&mut input).unwrap().unwrap().arg(1).unwrap().len(), LEN);
}

#[test]
fn a_line_in_small_reads_is_scanned_once() {
    let mut framer = RequestFramer::new(Limits::default());
    for start in ["PI", "*1", "*1\r\n$4"] {
        let mut input = BytesMut::from(start);
        assert_eq!(framer.next(&mut input), Ok(None));
        assert_eq!(framer.pos + framer.scanned, input.len(), "{start:?}");
        framer = RequestFramer::new(Limits::default());
    }
}

#[test]
fn what_was_scanned_of_one_header_is_forgotten_at_the_next() {
    let mut framer = RequestFramer::new(Limits::default());
    let mut input = BytesMut::from("*2\r\n$4");
    assert_eq!(framer.next(&mut input), Ok(None));
    input.extend_from_slice(b"\r\nPING\r\n");
    assert_eq!(framer.next(&mut input), Ok(None));
    input.extend_from_slice(b"\r\n");
    assert_eq!(framer.next(&mut input), Err(ProtocolError::ExpectedBulk(b'\r')));
}
