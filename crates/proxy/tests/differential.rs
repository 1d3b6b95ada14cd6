//! What clients are told is what the engine would have told them.
//!
//! Random programs run twice, against an endpoint and against a bare engine of the same kind, and the
//! answers are compared byte for byte. Several run at the same time on keys of their own, so that they
//! share connections. `TANIST_PROGRAMS` says how many commands there are in all (without it a few
//! seconds' worth), `TANIST_SEED` runs the one program that a failure named.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a long run says what it has done")]

mod kit;
#[path = "programs/mod.rs"]
mod programs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kit::{Binary, Conn, Engine, World};
use programs::{Author, Burst, End};
use tanist_core::model::Durability;
use tanist_proxy::ProxyLimits;
use tokio::time::timeout;

/// Clients at the same time.
const CLIENTS: usize = 8;
/// Commands of a short run.
const SHORT: usize = 20_000;
/// How long one burst may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The same two clients, of an endpoint or of an engine.
struct Side {
    address: SocketAddr,
    conns: [Conn; 2],
}

impl Side {
    async fn open(address: SocketAddr) -> Self {
        Self { address, conns: [Conn::open(address).await, Conn::open(address).await] }
    }

    async fn run(&mut self, burst: &Burst) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in burst.cuts.iter().copied().chain([burst.raw.len()]) {
            pieces.push(&burst.raw[from..to]);
            from = to;
        }
        let mut left = match burst.end {
            End::Count(0) => return Vec::new(),
            End::Count(count) => count,
            End::Mark(_) | End::Close => usize::MAX,
        };
        let is_last = |frame: &[u8]| {
            left -= 1;
            match &burst.end {
                End::Mark(mark) => frame.windows(mark.len()).any(|part| part == mark.as_bytes()),
                End::Count(_) | End::Close => left == 0,
            }
        };
        let conn = &mut self.conns[burst.who];
        let running = timeout(PATIENCE, conn.exchange(&pieces, is_last)).await;
        running.unwrap_or_else(|_| {
            let Burst { who, end, lines, .. } = burst;
            panic!("{}: nothing comes for {who} until {end:?}: {lines:#?}", self.address)
        })
    }

    /// Runs a burst together with the one that it waits for.
    async fn run_both(&mut self, bursts: [&Burst; 2]) -> Vec<Bytes> {
        let [first, second] = &mut self.conns;
        let raw = [[&bursts[0].raw[..]], [&bursts[1].raw[..]]];
        let both = async {
            tokio::join!(
                first.exchange(&raw[0], ends(&bursts[0].end)),
                second.exchange(&raw[1], ends(&bursts[1].end)),
            )
        };
        let (mut one, two) = timeout(PATIENCE, both).await.expect("somebody is served");
        one.extend(two);
        one
    }
}

fn ends(end: &End) -> impl FnMut(&[u8]) -> bool {
    let End::Mark(mark) = end.clone() else { panic!("a burst that waits has a mark") };
    move |frame| frame.windows(mark.len()).any(|part| part == mark.as_bytes())
}

/// The number that HELLO gives to a connection is the only thing that may differ.
fn comparable(frame: &Bytes) -> Bytes {
    const ID: &[u8] = b"$2\r\nid\r\n:";
    let Some(at) = frame.windows(ID.len()).position(|part| part == ID) else {
        return frame.clone();
    };
    let digits = frame[at + ID.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut same = frame[..at].to_vec();
    same.extend(comparable(&frame.slice(at + ID.len() + digits..)));
    same.into()
}

fn compare(seed: u64, bursts: &[&Burst], expected: &[Bytes], got: &[Bytes]) {
    let differs = expected
        .iter()
        .zip(got)
        .position(|(expected, got)| expected != got && comparable(expected) != comparable(got));
    let at = match differs {
        Some(at) => at,
        None if expected.len() == got.len() => return,
        None => expected.len().min(got.len()),
    };
    let show = |frames: &[Bytes]| {
        let from = at.saturating_sub(2);
        let frames = frames.iter().skip(from).take(at + 3 - from);
        frames
            .map(|frame| frame[..frame.len().min(200)].escape_ascii().to_string())
            .collect::<Vec<_>>()
    };
    let lines: Vec<_> = bursts.iter().flat_map(|burst| &burst.lines).collect();
    panic!(
        "TANIST_SEED={seed}: reply {at} (of {} and not {}) differs:\nengine {:#?}\nproxy {:#?}\nasked {:#?}",
        got.len(),
        expected.len(),
        show(expected),
        show(got),
        lines.iter().enumerate().collect::<Vec<_>>(),
    );
}

type Kind = (Binary, Durability);

/// Runs one program on both sides; how many commands it had.
async fn run(seed: u64, kind: Kind, endpoint: SocketAddr, engine: SocketAddr) -> usize {
    let mut author = Author::new(seed, kind.1 == Durability::Sync, kind.0 == Binary::Valkey);
    let program = author.program();
    let (mut proxied, mut bare) = (Side::open(endpoint).await, Side::open(engine).await);
    let mut bursts = program.iter();
    while let Some(burst) = bursts.next() {
        if burst.waits {
            let both = [burst, bursts.next().expect("somebody brings something")];
            let (expected, got) = tokio::join!(bare.run_both(both), proxied.run_both(both));
            compare(seed, &both, &expected, &got);
        } else {
            let (expected, got) = tokio::join!(bare.run(burst), proxied.run(burst));
            compare(seed, &[burst], &expected, &got);
        }
    }
    author.commands
}

async fn everything_is_the_same(binary: Binary, durability: Durability, first: u64) {
    let kind = (binary, durability);
    let nodes = if durability == Durability::Sync { 2 } else { 1 };
    let world = World::with(nodes, durability, binary, ProxyLimits::default()).await;
    let bare = Engine::start(binary, "bare").await;
    bare.admin(&["ACL", "SETUSER", "default", "on", "nopass", "~*", "&*", "+@all"]).await;
    for engine in [&bare, world.engine("n1")] {
        engine.admin(&["SCRIPT", "LOAD", "return 1"]).await;
    }
    let (endpoint, engine) = (world.primary_address(), bare.address);
    if let Some(seed) = number("TANIST_SEED") {
        run(seed, kind, endpoint, engine).await;
        return;
    }
    let wanted = number("TANIST_PROGRAMS").map_or(SHORT, |wanted| wanted as usize);
    let (next, done) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicUsize::new(0)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (next, done) = (Arc::clone(&next), Arc::clone(&done));
        all.spawn(async move {
            while done.load(Ordering::Relaxed) < wanted {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let commands = run(seed, kind, endpoint, engine).await;
                done.fetch_add(commands, Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let programs = next.load(Ordering::Relaxed) - first;
    let commands = done.load(Ordering::Relaxed);
    println!("{binary:?} {durability:?}: {programs} programs, {commands} commands, no difference");
}

#[tokio::test]
async fn redis_behind_the_proxy_answers_as_redis_does() {
    everything_is_the_same(Binary::Redis, Durability::Async, 1_000_000).await;
}

#[tokio::test]
async fn valkey_behind_the_proxy_answers_as_valkey_does() {
    everything_is_the_same(Binary::Valkey, Durability::Async, 2_000_000).await;
}

#[tokio::test]
async fn proven_answers_are_those_of_the_engine() {
    everything_is_the_same(Binary::Redis, Durability::Sync, 3_000_000).await;
    everything_is_the_same(Binary::Valkey, Durability::Sync, 4_000_000).await;
}
