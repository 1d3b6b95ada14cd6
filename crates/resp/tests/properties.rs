//! Properties that hold for every input.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tanist_resp::{
    Command, CommandTable, Encoder, FrameError, Info, Limits, ProtocolError, ReplyFramer,
    ReplyLimits, RequestFramer, Value, Version, slot,
};

/// Small limits, so that generated inputs reach them.
fn limits() -> Limits {
    Limits {
        max_args: 20,
        max_bulk_bytes: 40,
        inline_bytes: 30,
        max_request_bytes: 120,
        ..Limits::default()
    }
}

type Framed<T, E> = (Vec<T>, Result<(), E>);

/// Feeds `bytes` in pieces of the given sizes, taken in turn.
fn in_pieces<T, E>(
    bytes: &[u8],
    sizes: &[usize],
    mut next: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) -> Framed<T, E> {
    let mut input = BytesMut::new();
    let mut framed = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        let (piece, later) = rest.split_at(size);
        rest = later;
        input.extend_from_slice(piece);
        loop {
            match next(&mut input) {
                Ok(Some(frame)) => framed.push(frame),
                Ok(None) => break,
                Err(error) => return (framed, Err(error)),
            }
        }
    }
    (framed, Ok(()))
}

fn requests(bytes: &[u8], sizes: &[usize]) -> Framed<(Bytes, Vec<Bytes>), ProtocolError> {
    let mut framer = RequestFramer::new(limits());
    in_pieces(bytes, sizes, |input| {
        Ok(framer.next(input)?.map(|request| {
            let args = request.args().map(Bytes::copy_from_slice).collect();
            (request.into_raw(), args)
        }))
    })
}

fn replies(bytes: &[u8], sizes: &[usize]) -> Framed<Bytes, FrameError> {
    let limits = ReplyLimits { max_reply_bytes: 120, max_depth: 4 };
    let mut framer = ReplyFramer::new(&limits);
    in_pieces(bytes, sizes, |input| Ok(framer.next(input)?.map(|reply| reply.into_raw())))
}

/// Bytes that look like the protocol often enough to get past the first byte.
fn protocol_like() -> impl Strategy<Value = Vec<u8>> {
    let token = select(vec![
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "*0\r\n",
        "*-1\r\n",
        "$4\r\nPING\r\n",
        "$0\r\n\r\n",
        "$3\r\na\r\n\r\n",
        "$-1\r\n",
        "$41\r\n",
        "PING\r\n",
        "PING\n",
        "SET \"a b\" 'c'\r\n",
        "\"",
        "'",
        " ",
        "\r",
        "\n",
        "\r\n",
        "\0",
        "*",
        "$",
        "12",
        "+OK\r\n",
        "-ERR x\r\n",
        ":1\r\n",
        "%1\r\n",
        "~1\r\n",
        "|1\r\n",
        ">1\r\n",
        "#t\r\n",
        "_\r\n",
        ",1\r\n",
        "=5\r\ntxt:a\r\n",
        "!1\r\nE\r\n",
        "(1\r\n",
        "POST",
        "\\x41",
        "*18\r\n",
        "*21\r\n",
        "1111111111",
    ]);
    let piece = prop_oneof![
        8 => token.prop_map(|token| token.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn line() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>().prop_filter("no line end", |byte| !b"\r\n".contains(byte)), 0..20)
        .prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        line().prop_map(Value::Simple),
        line().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        text().prop_map(Value::Bulk),
        Just(Value::Null),
        any::<f64>().prop_filter("nan", |value| !value.is_nan()).prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        "[0-9]{1,40}".prop_map(|digits| Value::BigNumber(digits.into())),
        (any::<[u8; 3]>(), text()).prop_map(|(format, text)| Value::Verbatim { format, text }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec(inner.clone(), 0..5).prop_map(Value::Set),
            vec(inner.clone(), 0..5).prop_map(Value::Push),
            vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

/// No file of past failures: a seed that matters becomes a test of its own.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_do_not_depend_on_how_the_stream_is_cut(
        bytes in protocol_like(),
        sizes in vec(1_usize..9, 1..8),
    ) {
        let whole = requests(&bytes, &[usize::MAX]);
        prop_assert_eq!(&whole, &requests(&bytes, &sizes));
        prop_assert_eq!(&whole, &requests(&bytes, &[1]));
    }

    #[test]
    fn replies_do_not_depend_on_how_the_stream_is_cut(
        bytes in protocol_like(),
        sizes in vec(1_usize..9, 1..8),
    ) {
        let whole = replies(&bytes, &[usize::MAX]);
        prop_assert_eq!(&whole, &replies(&bytes, &sizes));
        prop_assert_eq!(&whole, &replies(&bytes, &[1]));
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        sizes in vec(1_usize..50, 1..4),
    ) {
        let _ = requests(&bytes, &sizes);
        let _ = replies(&bytes, &sizes);
        let shared = Bytes::from(bytes);
        let _ = Value::decode(&shared);
        let _ = Info::parse(&String::from_utf8_lossy(&shared)).replicas();
        let _ = CommandTable::from_text(&String::from_utf8_lossy(&shared)).len();
        prop_assert!(slot::slot(&shared) < slot::SLOTS);
    }

    #[test]
    fn every_framed_request_is_a_whole_frame_with_the_same_arguments(bytes in protocol_like()) {
        for (raw, args) in requests(&bytes, &[usize::MAX]).0 {
            prop_assert!(!args.is_empty());
            let (name, rest) = args.split_first().unwrap();
            prop_assert_eq!(Command::new(name).args(rest).encode().len(), raw.len());
            let mut framer = RequestFramer::new(Limits::default());
            let mut input = BytesMut::from(&raw[..]);
            let again = framer.next(&mut input).unwrap().unwrap();
            prop_assert!(input.is_empty());
            let again_args: Vec<&[u8]> = again.args().collect();
            prop_assert_eq!(again_args, args);
        }
    }

    #[test]
    fn every_command_is_framed_as_it_was_built(args in vec(text(), 1..8)) {
        let command = Command::new(&args[0]).args(&args[1..]);
        let built = command.to_request();
        prop_assert_eq!(built.args().collect::<Vec<_>>(), args.clone());
        let mut input = BytesMut::new();
        command.encode_into(&mut input);
        let mut framer = RequestFramer::new(Limits::default());
        match framer.next(&mut input) {
            Ok(request) => {
                let request = request.unwrap();
                prop_assert_eq!(request.raw(), &command.encode());
                prop_assert_eq!(request.args().collect::<Vec<_>>(), args);
            }
            Err(error) => prop_assert_eq!(error, ProtocolError::CrossProtocol),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again(value in value()) {
        let mut out = BytesMut::new();
        Encoder::new(Version::Resp3).value(&mut out, &value);
        let mut framer = ReplyFramer::default();
        let reply = framer.next(&mut out).unwrap().unwrap();
        prop_assert!(out.is_empty());
        prop_assert_eq!(reply.value().unwrap(), value.clone());
        prop_assert_eq!(reply.is_error(), matches!(value, Value::Error(_)));
    }

    #[test]
    fn what_is_encoded_in_resp2_is_one_reply_of_resp2_types(value in value()) {
        let mut out = BytesMut::new();
        Encoder::new(Version::Resp2).value(&mut out, &value);
        let reply = ReplyFramer::default().next(&mut out).unwrap().unwrap();
        prop_assert!(out.is_empty());
        prop_assert!(b"+-:$*".contains(&reply.raw()[0]));
        prop_assert!(reply.value().is_ok());
    }

    #[test]
    fn whatever_is_framed_and_decoded_agrees_on_the_end(bytes in protocol_like()) {
        for raw in replies(&bytes, &[usize::MAX]).0 {
            let outcome = Value::decode(&raw);
            let content_only = matches!(outcome, Ok(_) | Err(FrameError::InvalidContent(_)));
            prop_assert!(content_only, "{:?} {:?}", raw, outcome);
        }
    }
}
