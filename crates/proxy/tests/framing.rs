//! Bytes that are no requests, or odd ones, do at an endpoint what they do at a bare engine.
//!
//! The same bytes, in the same pieces, go to both; the answers must be the same, and so must be whether
//! the connection ends. What an endpoint takes more strictly, it says (docs/endpoint.md), and
//! [`stricter`] knows. The files in `crates/resp/corpus` are replayed each time: one for each thing that
//! once went wrong or nearly did. Random ones come by seeds: `TANIST_FUZZ` says how many (without it a
//! few seconds' worth), `TANIST_FUZZ_FROM` which come first, `TANIST_SEED` runs one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a long run says what it has done")]

#[path = "framing/bytes.rs"]
mod bytes;
mod kit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::bytes::BytesMut;
use kit::{Binary, Engine, World};
use tanist_core::model::Durability;
use tanist_proxy::ProxyLimits;
use tanist_resp::{Limits, ProtocolError, RequestFramer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Programs of a short run, for each engine.
const SHORT: u64 = 1500;
/// Conversations at the same time.
const AT_ONCE: usize = 16;
/// How long nothing comes before a connection is taken for one that stays open.
const QUIET: Duration = Duration::from_millis(40);
/// The same, when somebody has to be sure.
const SURE: Duration = kit::LIMIT;

/// What one side does with the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    said: String,
    closed: bool,
}

/// Sends the pieces and hears what comes of them.
async fn ask(address: SocketAddr, pieces: &[&[u8]], quiet: Duration) -> Outcome {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut reading, mut writing) = socket.into_split();
    for piece in pieces {
        // Whoever has closed the connection has said why.
        let _ = writing.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let mut said = Vec::new();
    let mut closed = None;
    loop {
        let limit = if closed.is_some() { kit::LIMIT } else { quiet };
        match timeout(limit, reading.read_buf(&mut said)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => break,
            // It stays open; what it still has to say comes before its end.
            Err(_) if closed.is_none() => {
                closed = Some(false);
                let _ = writing.shutdown().await;
            }
            Err(_) => panic!("{address} does not close: {}", pieces.concat().escape_ascii()),
        }
    }
    Outcome { said: said.escape_ascii().to_string(), closed: closed.unwrap_or(true) }
}

/// What the bytes are if an endpoint takes them more strictly than an engine: the requests before, and
/// what is said then.
fn stricter(bytes: &[u8]) -> Option<(&[u8], ProtocolError)> {
    let mut framer = RequestFramer::new(Limits::default());
    let mut input = BytesMut::from(bytes);
    let mut rest = bytes.len();
    let error = loop {
        match framer.next(&mut input) {
            Ok(Some(_)) => rest = input.len(),
            Ok(None) => return None,
            Err(error) => break error,
        }
    };
    let (before, wrong) = bytes.split_at(bytes.len() - rest);
    let lone = wrong.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
    let counts = wrong.split(|byte| *byte == b'*').skip(1).filter_map(|line| {
        let digits = line.split(|byte| *byte == b'\r').next()?;
        std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
    });
    let many = counts.into_iter().any(|count| (1_048_577..=2_147_483_647).contains(&count));
    let is_so = match error {
        ProtocolError::InvalidBulkTerminator => true,
        ProtocolError::InvalidMultibulkLength => lone || many,
        ProtocolError::InvalidBulkLength => lone,
        // An engine takes a longer line if all of it comes with one read.
        ProtocolError::TooBigInlineRequest
        | ProtocolError::TooBigMultibulkCount
        | ProtocolError::TooBigBulkCount => true,
        _ => false,
    };
    is_so.then_some((before, error))
}

/// Whether Valkey 8.0 reads something else here than Redis and an endpoint do: behind a line of blanks
/// it takes a request with a count for one line after another.
fn is_misread(bytes: &[u8]) -> bool {
    let blank =
        |line: &[u8]| !line.is_empty() && line.iter().all(|byte| b" \t\x0b\x0c\r".contains(byte));
    bytes.split(|byte| *byte == b'\n').any(|line| blank(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// What differs, if something does.
async fn differs(
    endpoint: SocketAddr,
    engine: SocketAddr,
    pieces: &[&[u8]],
    quiet: Duration,
) -> Option<(Outcome, Outcome)> {
    let (here, there) = tokio::join!(ask(endpoint, pieces, quiet), ask(engine, pieces, quiet));
    if here == there {
        return None;
    }
    let whole = pieces.concat();
    if let Some((before, error)) = stricter(&whole) {
        let mut expected = ask(engine, &[before], quiet).await;
        let words = error.reply().unwrap_or_default();
        expected.said += &words.escape_ascii().to_string();
        expected.closed = true;
        return (here != expected).then_some((here, expected));
    }
    Some((here, there))
}

/// Compares, and again with more patience if somebody may only have been slow.
async fn compare(name: &str, endpoint: SocketAddr, engine: SocketAddr, pieces: &[&[u8]]) {
    if differs(endpoint, engine, pieces, QUIET).await.is_none() {
        return;
    }
    if let Some((here, there)) = differs(endpoint, engine, pieces, SURE).await {
        let sent: Vec<String> = pieces.iter().map(|part| part.escape_ascii().to_string()).collect();
        let cut = |text: String| text.chars().take(2000).collect::<String>();
        let sent: Vec<String> = sent.into_iter().map(cut).collect();
        panic!("{name}:\nsent     {sent:#?}\nendpoint {here:?}\nengine   {there:?}");
    }
}

async fn sides(binary: Binary) -> (World, Engine) {
    let world = World::with(1, Durability::Async, binary, ProxyLimits::default()).await;
    let bare = Engine::start(binary, "bare").await;
    bare.admin(&["ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all"]).await;
    (world, bare)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn many(binary: Binary, first: u64) {
    let (world, bare) = sides(binary).await;
    let (endpoint, engine) = (world.primary_address(), bare.address);
    let one = move |seed: u64| async move {
        let program = bytes::program(seed);
        let pieces: Vec<&[u8]> = program.iter().map(Vec::as_slice).collect();
        if binary == Binary::Valkey && is_misread(&pieces.concat()) {
            return;
        }
        compare(&format!("TANIST_SEED={seed} {binary:?}"), endpoint, engine, &pieces).await;
    };
    if let Some(seed) = number("TANIST_SEED") {
        return one(seed).await;
    }
    let count = number("TANIST_FUZZ").unwrap_or(SHORT);
    let first = first + number("TANIST_FUZZ_FROM").unwrap_or(0);
    let next = Arc::new(AtomicU64::new(first));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        all.spawn(async move {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return;
                }
                one(seed).await;
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    println!("{binary:?}: {count} programs, no difference");
}

#[tokio::test]
async fn the_corpus_is_answered_as_the_engine_answers_it() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../resp/corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 50, "{}", files.len());
    for binary in [Binary::Redis, Binary::Valkey] {
        let (world, bare) = sides(binary).await;
        let (endpoint, engine) = (world.primary_address(), bare.address);
        let mut all = tokio::task::JoinSet::new();
        for path in files.clone() {
            all.spawn(async move {
                let raw = std::fs::read(&path).unwrap();
                let name = format!("{binary:?} {}", path.display());
                compare(&name, endpoint, engine, &[&raw]).await;
                // In the smallest pieces, too; a large one in halves.
                let size = if raw.len() > 200 { raw.len() / 2 } else { 1 };
                let pieces: Vec<&[u8]> = raw.chunks(size.max(1)).collect();
                compare(&name, endpoint, engine, &pieces).await;
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn large_requests_are_answered_as_the_engine_answers_them() {
    let value = "x".repeat(1_500_000);
    let large = |rest: &str| format!("PING\r\n*2\r\n$4\r\nECHO\r\n$1500000\r\n{value}{rest}");
    let two = format!("*3\r\n$6\r\nEXISTS\r\n$1500000\r\n{value}\r\n");
    let programs = [
        large("\r\nPING\r\n"),
        large("xx\r\nPING\r\n"),
        large("\rxPING\r\n"),
        large("\r\n*1\r\n$x\r\n"),
        large(""),
        format!("MULTI\r\n{}EXEC\r\n", large("\r\n")),
        format!("NOSUCH a\r\n{}", large("\r\n").replace("ECHO", "NOPE")),
        format!("{two}$3\r\nabc\r\nPING\r\n"),
        format!("{two}$-3\r\n"),
        format!("{two}+3\r\n"),
        format!("{two}$1500000\r\n{value}\r\nPING\r\n"),
        format!("SUBSCRIBE c\r\n{}", large("\r\nPING\r\n")),
        format!("CLIENT REPLY SKIP\r\n{}", &large("\r\nPING\r\n")[6..]),
        format!("{}QUIT\r\n", large("\r\n")),
    ];
    for binary in [Binary::Redis, Binary::Valkey] {
        let (world, bare) = sides(binary).await;
        for (number, program) in programs.iter().enumerate() {
            let pieces: Vec<&[u8]> = program.as_bytes().chunks(400_000).collect();
            let name = format!("{binary:?}, program {number}");
            compare(&name, world.primary_address(), bare.address, &pieces).await;
        }
    }
}

#[tokio::test]
async fn random_bytes_do_at_an_endpoint_what_they_do_at_redis() {
    many(Binary::Redis, 1_000_000).await;
}

#[tokio::test]
async fn random_bytes_do_at_an_endpoint_what_they_do_at_valkey() {
    many(Binary::Valkey, 2_000_000_000).await;
}
