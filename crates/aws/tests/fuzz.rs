//! Signed requests of botocore, broken in twenty thousand ways. Alone in its binary: the peak of
//! memory is the whole process's.
//!
//! `python3 tests/oracle.py corpus tests/corpus` wrote the requests. The lots are seeded, so a run
//! that fails fails again; it prints the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_aws::error::Fault;
use tanist_aws::model::Models;
use tanist_aws::request::{MAX_BODY_BYTES, Request};
use tanist_aws::sigv4::{Keys, SecretKey, Verified, claimed_service, verify};
use tanist_aws::wire::{Protocol, decode, encode_error};

const CASES: usize = 20_000;
const SEED: u64 = 20_261_121;

/// 8 MiB of the request's own, and the harness's copies of it.
const LIMIT_KIB: u64 = 8 * 1024 + 6 * 1024;

struct One;

impl Keys for One {
    fn secret(&self, access_key_id: &str) -> Option<SecretKey> {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        (access_key_id == "AKIDEXAMPLE").then(|| SecretKey::new(secret))
    }
}

/// What an HTTP library makes of bytes.
struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: HeaderMap,
    body: &'a [u8],
}

impl<'a> Sent<'a> {
    fn parse(raw: &'a [u8]) -> Option<Self> {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, body) = (&raw[..end], &raw[end + 4..]);
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = str::from_utf8(lines.next()?).ok()?.trim_end();
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            headers.append(name, value);
        }
        Some(Self { method, path, query, headers, body })
    }

    fn request(&self) -> Request<'_> {
        let Self { method, path, query, headers, body } = self;
        Request { method, path, query, headers, body }
    }
}

/// What a request does if it is carried out: who, where, and the operation with its input.
type Meaning = (Verified, String);

/// Everything that the front door does with bytes before an operation sees them.
fn outcome(raw: &[u8]) -> Result<Meaning, Option<Fault>> {
    let sent = Sent::parse(raw).ok_or(None)?;
    let request = sent.request();
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
    let models = Models::load().expect("the models load");
    let claimed = claimed_service(&request);
    let service = claimed.and_then(|scope| models.in_scope(&scope)).unwrap_or(&models.sts);
    let protocol = Protocol::of(Some(service.scope), request.headers);
    let verified = verify(&request, &One, now);
    // Decoded whether it is verified or not: the decoders are tried, too.
    let decoded = decode(protocol, service, &request);
    for fault in [verified.as_ref().err(), decoded.as_ref().err()].into_iter().flatten() {
        let error = fault.answer(protocol);
        let reply = encode_error(protocol, Some(service), &error, "id").expect("it is written");
        assert!((400..500).contains(&reply.status) && reply.body.len() < 8192);
    }
    let (verified, call) = (verified.map_err(Some)?, decoded.map_err(Some)?);
    assert_eq!(verified.service, service.scope);
    Ok((verified, format!("{} {:?}", call.operation.name, call.input)))
}

fn corpus() -> BTreeMap<String, Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = fs::read_dir(dir).expect("the corpus is there").map(|entry| {
        let path = entry.expect("an entry").path();
        (path.display().to_string(), fs::read(path).expect("a readable file"))
    });
    files.filter(|(path, _)| path.ends_with(".http")).collect()
}

/// Header lines that might change what a request means without being signed.
const LINES: [&str; 6] = [
    "x-amz-target: GraniteServiceVersion20100801.ListMetrics\r\n",
    "content-type: application/x-amz-json-1.0\r\n",
    "content-type: text/plain\r\n",
    "content-encoding: gzip\r\n",
    "x-amz-date: 20260131T120001Z\r\n",
    "host: elsewhere\r\n",
];

const PIECES: [&[u8]; 20] = [
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%ff",
    b"+",
    b"/",
    b"..",
    b"\r\n",
    b"\r\n\r\n",
    b";",
    b",",
    b"{",
    b"[",
    b"\"",
    b"99999999999",
    b"\0",
    b"Action=",
    b"X-Amz-Signature=",
    b"x-amz-target: a.b\r\n",
];

fn span(lots: &mut StdRng, length: usize, most: usize) -> std::ops::Range<usize> {
    let start = lots.random_range(0..=length);
    start..(start + lots.random_range(0..=most)).min(length)
}

/// Breaks one thing.
fn mutate(raw: &mut Vec<u8>, others: &[&Vec<u8>], lots: &mut StdRng) {
    let length = raw.len();
    match lots.random_range(0..10) {
        0 if length > 0 => raw[lots.random_range(0..length)] ^= 1 << lots.random_range(0..8),
        1 if length > 0 => raw[lots.random_range(0..length)] = lots.random_range(0..=255),
        2 => drop(raw.drain(span(lots, length, 40))),
        3 => {
            let copy = raw[span(lots, length, 60)].to_vec();
            let at = lots.random_range(0..=length);
            raw.splice(at..at, copy);
        }
        4 => {
            let at = span(lots, length, 3);
            raw.splice(at, PIECES[lots.random_range(0..PIECES.len())].iter().copied());
        }
        5 => {
            let other = others[lots.random_range(0..others.len())];
            let part = other[span(lots, other.len(), 200)].to_vec();
            raw.splice(span(lots, length, 200), part);
        }
        6 => raw.truncate(lots.random_range(0..=length)),
        7 => {
            // A line somewhere else, or its letters in the other case.
            let mut lines: Vec<&[u8]> = raw.split(|byte| *byte == b'\n').collect();
            let (a, b) = (lots.random_range(0..lines.len()), lots.random_range(0..lines.len()));
            lines.swap(a, b);
            *raw = lines.join(&b'\n');
        }
        8 => {
            let ends = raw.windows(2).enumerate().filter(|(_, two)| two == b"\r\n");
            let starts: Vec<usize> = ends.map(|(at, _)| at + 2).collect();
            if !starts.is_empty() {
                let at = starts[lots.random_range(0..starts.len())];
                raw.splice(at..at, LINES[lots.random_range(0..LINES.len())].bytes());
            }
        }
        _ if length > 0 && lots.random_range(0..60) == 0 => {
            let part = raw[span(lots, length, 50)].to_vec();
            let times = (MAX_BODY_BYTES + 1000) / part.len().max(1);
            let at = lots.random_range(0..=length);
            raw.splice(at..at, part.repeat(times.min(MAX_BODY_BYTES)));
        }
        _ => {
            let at = span(lots, length, 20);
            raw[at].make_ascii_uppercase();
        }
    }
}

/// A line of this process's status, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("the kernel tells")
}

#[test]
fn no_broken_request_panics_needs_much_memory_or_means_something_else() {
    let corpus = corpus();
    assert!(corpus.len() >= 13);
    let mut meanings = Vec::new();
    for (name, raw) in &corpus {
        let meaning = outcome(raw).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        meanings.push(meaning);
    }
    let originals: Vec<&Vec<u8>> = corpus.values().collect();
    let mut lots = StdRng::seed_from_u64(SEED);
    let (mut harmless, mut refused, mut no_http) = (0, 0, 0);
    let before = status("VmRSS");
    // This sets the peak back to what is used now.
    fs::write("/proc/self/clear_refs", "5").expect("the kernel lets us");
    for case in 0..CASES {
        let mut raw = originals[case % originals.len()].clone();
        for _ in 0..lots.random_range(1..=3) {
            mutate(&mut raw, &originals, &mut lots);
        }
        match outcome(&raw) {
            // Only what means the same may pass: another case of a header's name, a line elsewhere.
            Ok(meaning) => {
                let shown = String::from_utf8_lossy(&raw);
                assert!(meanings.contains(&meaning), "case {case} means {meaning:?}: {shown}");
                harmless += 1;
            }
            Err(Some(_)) => refused += 1,
            Err(None) => no_http += 1,
        }
        if case % 1000 == 0 {
            let peak = status("VmHWM").saturating_sub(before);
            assert!(peak < LIMIT_KIB, "{peak} KiB before case {case}");
        }
    }
    let peak = status("VmHWM").saturating_sub(before);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    // The lots reach every part: the changes that change nothing, and the verifier behind them.
    assert!(harmless > 200 && refused > CASES / 3, "{harmless} {refused} {no_http} {peak}");
}
