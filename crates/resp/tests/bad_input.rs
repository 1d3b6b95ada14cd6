//! The same bytes go to a real engine and to the framer, and both must say the same.

mod engine;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use engine::{Engine, PROGRAMS};
use tanist_resp::{Limits, RequestFramer};

const DEADLINE: Duration = Duration::from_secs(10);

/// What one side does with the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    bytes: Vec<u8>,
    closed: bool,
}

/// Asks the engine. After `bytes` it sends nothing more and closes its sending side, so an engine
/// that waits for more is seen as one that answers nothing further.
fn ask(engine: &Engine, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(engine.address()).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a read deadline");
    stream.write_all(bytes).expect("the engine reads");
    // It fails when the engine has closed already.
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // The engine closed with our bytes unread.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{}: {error}", bytes.escape_ascii()),
    }
    answer
}

/// Answers as the proxy would, in front of an engine that knows only PING and ECHO.
fn answer(limits: Limits, bytes: &[u8]) -> Answer {
    let mut framer = RequestFramer::new(limits);
    let mut input = BytesMut::from(bytes);
    let mut bytes = Vec::new();
    loop {
        match framer.next(&mut input) {
            Ok(None) => return Answer { bytes, closed: false },
            Ok(Some(request)) if request.is("PING") => bytes.extend_from_slice(b"+PONG\r\n"),
            Ok(Some(request)) if request.is("ECHO") => {
                let text = request.arg(1).expect("an argument");
                bytes.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                bytes.extend_from_slice(text);
                bytes.extend_from_slice(b"\r\n");
            }
            Ok(Some(request)) => {
                bytes.extend_from_slice(b"-ERR unknown command '");
                let name = request.name().split(|byte| *byte == 0).next().unwrap_or_default();
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(b"', with args beginning with: ");
                for arg in request.args().skip(1) {
                    bytes.push(b'\'');
                    bytes.extend_from_slice(arg);
                    bytes.extend_from_slice(b"' ");
                }
                bytes.extend_from_slice(b"\r\n");
            }
            Err(error) => {
                bytes.extend_from_slice(&error.reply().unwrap_or_default());
                return Answer { bytes, closed: true };
            }
        }
    }
}

/// Inputs on which the framer and the engine agree, and whether the connection ends.
fn agreed() -> Vec<(Vec<u8>, bool)> {
    let mut rows = refused();
    rows.extend(served());
    rows
}

fn refused() -> Vec<(Vec<u8>, bool)> {
    let long = "1".repeat(65_537);
    let mut rows: Vec<(Vec<u8>, bool)> = Vec::new();
    for refused in [
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*abc\r\n",
        "*\r\n",
        "*+1\r\n",
        "*01\r\n",
        "*-0\r\n",
        "* 1\r\n",
        "*1\n$4\r\nPING\r\n",
        "*1\r\n$4\nPING\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$4x\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n+4\r\n",
        "*1\r\n*4\r\n",
        "*1\r\n\r\n",
        "*1\r\n\x01\r\n",
        "'abc\r\n",
        "\"abc\r\n",
        "\"abc\"d\r\n",
        "POST / HTTP/1.1\r\n",
        "Host: x\r\n",
        "post\r\n",
        "*1\r\n$4\r\nPOST\r\n",
        "*1\r\n$5\r\nhost:\r\n",
        "*1\r\n$6\r\nPOST\0x\r\n",
        "*1\r\n$4\r\nPING\r\n*abc\r\n",
        "PING\r\nPING\r\n*1\r\n$x\r\n",
    ] {
        rows.push((refused.into(), true));
    }
    rows.push((b"*1\r\n\xff\r\n".to_vec(), true));
    rows.push((long.clone().into(), true));
    rows.push((format!("*{long}").into(), true));
    rows.push((format!("*1\r\n${long}").into(), true));
    rows
}

fn served() -> Vec<(Vec<u8>, bool)> {
    let long = "1".repeat(65_537);
    let mut rows: Vec<(Vec<u8>, bool)> = Vec::new();
    for served in [
        "*-1\r\nPING\r\n",
        "*0\r\nPING\r\n",
        "*-5\r\nPING\r\n",
        "PING\n",
        "PING\r\r\n",
        "\r\n\r\n \t\r\nPING\r\n",
        "\"\"\r\n",
        "*1\r\n$0\r\n\r\n",
        "*1\r\n$6\r\nFOOBAR\r\n",
        "*1\r\n$4\r\nGE\0T\r\n",
        "FOO\rBAR\r\n",
        "GE\0T a\r\n",
        "\x16\x03\x01\x02\0\x01\0\r\n",
        "*1\0\r\nPING\r\n",
        "*1\r\n$4\0\r\nPING\r\n",
        "*1\r\n$",
        "*1000\r\n$0\r\n\r\n",
        "ECHO '\\x41\\'b'\r\n",
        "ECHO \"\\x41\\n\\r\\t\\b\\a\\q\\xg\"\r\n",
        "ECHO a\x0bb\r\n",
        "ECHO \x0ba\r\n",
        "ECHO foo\"b c\"\r\n",
        "echo fo'o b'\r\n",
        "POSTS\r\n",
    ] {
        rows.push((served.into(), false));
    }
    rows.push((b"\xff\xfe\x80\r\n".to_vec(), false));
    rows.push((long.as_bytes()[1..].to_vec(), false));
    rows
}

#[test]
fn bad_input_is_answered_as_the_engine_answers_it() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        for (bytes, closed) in agreed() {
            let shown = bytes[..bytes.len().min(60)].escape_ascii().to_string();
            let ours = answer(Limits::default(), &bytes);
            assert_eq!(ours, Answer { bytes: ask(&engine, &bytes), closed }, "{program}: {shown}");
        }
    }
}

/// The engine itself ends the connection, without our closing the sending side first.
#[test]
fn the_engine_closes_where_the_framer_refuses() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        for (bytes, _) in agreed().into_iter().filter(|(_, closed)| *closed) {
            let mut stream = TcpStream::connect(engine.address()).expect("a connection");
            stream.set_read_timeout(Some(DEADLINE)).expect("a read deadline");
            stream.write_all(&bytes).expect("the engine reads");
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("{program} left {} open: {error}", bytes.escape_ascii()),
            }
        }
    }
}

#[test]
fn before_authentication_the_engine_has_the_same_limits() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &["--requirepass", "secret"]);
        let limits = Limits { unauthenticated: true, ..Limits::default() };
        for (bytes, closed) in [
            ("*11\r\n", true),
            ("*1\r\n$16385\r\n", true),
            ("*1\r\n$536870913\r\n", true),
            ("*10\r\n$16384\r\n", false),
        ] {
            let bytes = bytes.as_bytes();
            let ours = answer(limits.clone(), bytes);
            let shown = bytes.escape_ascii();
            assert_eq!(ours, Answer { bytes: ask(&engine, bytes), closed }, "{program}: {shown}");
        }
    }
}

/// The rows where Tanist is stricter. When an engine changes its mind here, so should the table.
#[test]
fn the_deviations_are_where_they_are_said_to_be() {
    for program in PROGRAMS {
        let engine = Engine::start(program, &[]);
        for (bytes, theirs, ours) in [
            ("*1\r\n$4\r\nPINGXX", "+PONG\r\n", "invalid bulk terminator"),
            ("*1\rX$4\r\nPING\r\n", "+PONG\r\n", "invalid multibulk length"),
            ("*1\r\n$4\rXPING\r\n", "+PONG\r\n", "invalid bulk length"),
            ("*1048577\r\n", "", "invalid multibulk length"),
            ("*2147483647\r\n", "", "invalid multibulk length"),
        ] {
            assert_eq!(ask(&engine, bytes.as_bytes()), theirs.as_bytes(), "{program}: {bytes:?}");
            let expected = format!("-ERR Protocol error: {ours}\r\n").into_bytes();
            let answer = answer(Limits::default(), bytes.as_bytes());
            assert_eq!(answer, Answer { bytes: expected, closed: true }, "{bytes:?}");
        }
    }
}
