//! Values, decoded and encoded.
//!
//! Invariant: every expectation is an engine's own behaviour or a deviation that is named.
//!
//! Not here: comparisons with live engines (`tests/`).

use bytes::BytesMut;

use super::*;

fn decode(bytes: &str) -> Result<Value, FrameError> {
    Value::decode(&Bytes::copy_from_slice(bytes.as_bytes()))
}

fn bulk(text: &str) -> Value {
    Value::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

fn encoded(version: Version, value: &Value) -> String {
    let mut out = BytesMut::new();
    Encoder::new(version).value(&mut out, value);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn every_type_is_decoded() {
    let text = "%2\r\n$1\r\na\r\n*3\r\n:-1\r\n#t\r\n_\r\n+b\r\n~2\r\n,-inf\r\n=5\r\ntxt:x\r\n";
    let expected = Value::Map(vec![
        (bulk("a"), Value::Array(vec![Value::Integer(-1), Value::Boolean(true), Value::Null])),
        (
            Value::Simple("b".into()),
            Value::Set(vec![
                Value::Double(f64::NEG_INFINITY),
                Value::Verbatim { format: *b"txt", text: "x".into() },
            ]),
        ),
    ]);
    assert_eq!(decode(text), Ok(expected));
    assert_eq!(decode("$-1\r\n"), Ok(Value::Null));
    assert_eq!(decode("*-1\r\n"), Ok(Value::Null));
    assert_eq!(decode("!3\r\nE\r\n\r\n"), Ok(Value::Error("E\r\n".into())));
    assert_eq!(decode("(123\r\n"), Ok(Value::BigNumber("123".into())));
    assert_eq!(decode(">1\r\n+x\r\n"), Ok(Value::Push(vec![Value::Simple("x".into())])));
    assert_eq!(decode("|1\r\n+a\r\n+b\r\n:1\r\n"), Ok(Value::Integer(1)));
    assert!(matches!(decode(",nan\r\n"), Ok(Value::Double(value)) if value.is_nan()));
}

#[test]
fn what_is_not_exactly_one_reply_is_refused() {
    for text in ["", "+OK", "+OK\r\n+OK\r\n", "*2\r\n:1\r\n", "$5\r\nab\r\n", "|1\r\n+a\r\n+b\r\n"]
    {
        assert_eq!(decode(text), Err(FrameError::NotOneReply), "{text:?}");
    }
    assert_eq!(decode("$1\r\nabcd"), Err(FrameError::InvalidTerminator));
    assert_eq!(decode(",1.5x\r\n"), Err(FrameError::InvalidContent(b',')));
    assert_eq!(decode("=5\r\ntxt-x\r\n"), Err(FrameError::InvalidContent(b'=')));
    assert_eq!(decode("*1048577\r\n"), Err(FrameError::TooManyElements(MAX_ELEMENTS)));
    assert_eq!(decode("*1000000\r\n"), Err(FrameError::NotOneReply));
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(129));
    assert_eq!(decode(&deep), Err(FrameError::TooDeep(128)));
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(128));
    assert!(decode(&deep).is_ok());
}

#[test]
fn maps_are_found_in_both_versions() {
    for text in ["%2\r\n+a\r\n:1\r\n+b\r\n$1\r\n2\r\n", "*4\r\n+a\r\n:1\r\n$1\r\nb\r\n$1\r\n2\r\n"]
    {
        let value = decode(text).unwrap();
        assert_eq!(value.get("a").and_then(Value::as_int), Some(1));
        assert_eq!(value.get("b").and_then(Value::as_int), Some(2));
        assert_eq!(value.get("1"), None, "a value is not a key");
        assert_eq!(value.pairs().count(), 2);
    }
}

#[test]
fn accessors_give_only_what_is_there() {
    assert_eq!(bulk("x").as_str(), Some("x"));
    assert_eq!(bulk("12").as_int(), Some(12));
    assert_eq!(bulk("1.5").as_f64(), Some(1.5));
    assert_eq!(bulk("x").as_int(), None);
    assert_eq!(Value::Bulk(Bytes::from_static(b"\xff")).as_str(), None);
    assert_eq!(Value::Integer(1).as_bool(), Some(true));
    assert_eq!(Value::Integer(2).as_bool(), None);
    assert_eq!(Value::Integer(1).as_str(), None);
    assert!(Value::Simple("OK".into()).is_ok() && !bulk("OK").is_ok());
    assert!(Value::Null.is_null());
    let error = Value::Error("MOVED 1 a:1".into());
    assert_eq!(error.error_code(), Some("MOVED"));
    assert_eq!(error.as_error().as_deref(), Some("MOVED 1 a:1"));
    assert_eq!(error.as_str(), None, "an error is not taken for a text");
}

#[test]
fn each_version_has_its_own_shapes() {
    let map = Value::Map(vec![(bulk("a"), Value::Null)]);
    assert_eq!(encoded(Version::Resp2, &map), "*2\r\n$1\r\na\r\n$-1\r\n");
    assert_eq!(encoded(Version::Resp3, &map), "%1\r\n$1\r\na\r\n_\r\n");
    let push = Value::Push(vec![Value::Boolean(true), Value::Double(1.5)]);
    assert_eq!(encoded(Version::Resp2, &push), "*2\r\n:1\r\n$3\r\n1.5\r\n");
    assert_eq!(encoded(Version::Resp3, &push), ">2\r\n#t\r\n,1.5\r\n");
    let text = Value::Verbatim { format: *b"txt", text: "x".into() };
    assert_eq!(encoded(Version::Resp2, &text), "$1\r\nx\r\n");
    assert_eq!(encoded(Version::Resp3, &text), "=5\r\ntxt:x\r\n");
    let mut out = BytesMut::new();
    Encoder::new(Version::Resp2).null_array(&mut out);
    Encoder::new(Version::Resp3).null_array(&mut out);
    Encoder::default().integer(&mut out, i64::MIN);
    assert_eq!(out, "*-1\r\n_\r\n:-9223372036854775808\r\n");
}

#[test]
fn doubles_keep_their_value() {
    for value in [0.0, -0.0, 1.0, -2.5, 1e300, 5e-324, f64::MAX, f64::INFINITY, 0.1, 1e16] {
        let text = encoded(Version::Resp3, &Value::Double(value));
        assert!(text.len() < 32, "{text}");
        assert_eq!(decode(&text), Ok(Value::Double(value)), "{text}");
    }
    assert_eq!(encoded(Version::Resp3, &Value::Double(-f64::NAN)), ",nan\r\n");
    assert_eq!(encoded(Version::Resp3, &Value::Double(f64::NEG_INFINITY)), ",-inf\r\n");
}

#[test]
fn line_ends_cannot_be_smuggled_into_an_error() {
    let mut out = BytesMut::new();
    let encoder = Encoder::new(Version::Resp3);
    encoder.error(&mut out, "ERR a\r\n+OK\nb\r");
    encoder.simple(&mut out, "x\ny");
    assert_eq!(out, "-ERR a  +OK b \r\n+x y\r\n");
}

#[test]
fn a_line_without_a_type_is_no_reply() {
    for raw in [&b"\r\n"[..], b"*1\r\n\r\n", b"|1\r\n\r\n+a\r\n+b\r\n"] {
        let decoded = Value::decode(&Bytes::from_static(raw));
        assert_eq!(decoded, Err(FrameError::UnknownType(b'\r')), "{}", raw.escape_ascii());
    }
}
