//! Values of half a gigabyte pass through and are not held.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "how much it was is of interest")]

mod kit;

use std::time::Duration;

use kit::{Binary, Conn, World};
use tanist_core::model::{ClientCertificates, Durability, Transit, TransitMode};
use tanist_proxy::ProxyLimits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest value that an engine takes.
const HUGE: usize = 512 << 20;
/// What may be needed for it at most.
const BOUND: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of memory that this process has, or has had at most.
fn memory(which: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Byte number `at` of the value.
fn byte(at: usize) -> u8 {
    // No period divides a buffer's size, and CRLF is everywhere.
    b"\r\n$3+abc*-:de"[at % 13]
}

/// A piece of the value.
fn piece(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(byte).collect()
}

async fn write_value(to: &mut (impl AsyncWrite + Unpin), size: usize) {
    let block = piece(0, 13 << 16);
    let mut at = 0;
    while at < size {
        let count = block.len().min(size - at);
        to.write_all(&block[..count]).await.unwrap();
        at += count;
    }
}

async fn read_exactly(from: &mut (impl AsyncRead + Unpin), text: &str) {
    let mut got = vec![0; text.len()];
    timeout(PATIENCE, from.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got.escape_ascii().to_string(), text.as_bytes().escape_ascii().to_string());
}

async fn read_value(from: &mut (impl AsyncRead + Unpin), size: usize) {
    let mut block = vec![0; 13 << 16];
    let expected = piece(0, block.len());
    let mut at = 0;
    while at < size {
        let count = block.len().min(size - at);
        timeout(PATIENCE, from.read_exact(&mut block[..count])).await.unwrap().unwrap();
        assert!(block[..count] == expected[..count], "somewhere behind byte {at}");
        at += count;
    }
}

/// Sets and gets a value, and looks at the memory that it takes.
async fn there_and_back(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), size: usize) {
    let before = memory("VmRSS:");
    socket
        .write_all(format!("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n${size}\r\n").as_bytes())
        .await
        .unwrap();
    write_value(socket, size).await;
    socket.write_all(b"\r\n$2\r\nEX\r\n$4\r\n1000\r\nSTRLEN k\r\n").await.unwrap();
    socket.flush().await.unwrap();
    read_exactly(socket, "+OK\r\n").await;
    read_exactly(socket, &format!(":{size}\r\n")).await;
    // The second time the proxy knows that this client's replies are large.
    for _ in 0..2 {
        socket.write_all(b"GET k\r\nPING\r\n").await.unwrap();
        socket.flush().await.unwrap();
        read_exactly(socket, &format!("${size}\r\n")).await;
        read_value(socket, size).await;
        read_exactly(socket, "\r\n+PONG\r\n").await;
    }
    let more = memory("VmHWM:").saturating_sub(before);
    println!("{} MiB more for a value of {} MiB", more >> 20, size >> 20);
    assert!(more < BOUND);
}

async fn world(durability: Durability, binary: Binary) -> World {
    let nodes = if durability == Durability::Sync { 2 } else { 1 };
    World::with(nodes, durability, binary, ProxyLimits::default()).await
}

#[tokio::test]
async fn half_a_gigabyte_passes_in_both_directions_and_is_not_held() {
    let world = world(Durability::Async, Binary::Redis).await;
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    there_and_back(&mut socket, HUGE).await;
}

#[tokio::test]
async fn large_values_are_not_held_in_the_newer_version_and_another_engine() {
    let world = world(Durability::Async, Binary::Valkey).await;
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    let mut conn = Conn::open(world.primary_address()).await;
    conn.call("PING").await;
    socket.write_all(b"HELLO 3\r\nECHO greeted\r\n").await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"greeted\r\n") {
        said.push(socket.read_u8().await.unwrap());
    }
    there_and_back(&mut socket, HUGE / 2).await;
    // Lists of many values are large, too.
    for number in 0..100 {
        conn.send(&[&format!("RPUSH list {}", number.to_string().repeat(1 << 20))]).await;
        conn.text().await;
    }
    let before = memory("VmRSS:");
    socket.write_all(b"LRANGE list 0 -1\r\n").await.unwrap();
    read_exactly(&mut socket, "*100\r\n").await;
    let mut left = (0..100_usize).map(|number| {
        let size = number.to_string().len() << 20;
        size + format!("${size}\r\n\r\n").len()
    });
    let mut left: usize = left.by_ref().sum();
    let mut block = vec![0; 1 << 16];
    while left > 0 {
        let most = left.min(block.len());
        left -= timeout(PATIENCE, socket.read(&mut block[..most])).await.unwrap().unwrap();
    }
    let more = memory("VmHWM:").saturating_sub(before);
    assert!(more < BOUND, "{} MiB", more >> 20);
}

#[tokio::test]
async fn large_values_are_proven_as_others_are() {
    let world = world(Durability::Sync, Binary::Redis).await;
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    there_and_back(&mut socket, 100 << 20).await;
    let mut replica = world.node("n2").await;
    assert_eq!(replica.call("STRLEN k").await, format!(":{}", 100 << 20));
}

#[tokio::test]
async fn large_values_are_not_held_behind_encryption() {
    let authority = kit::tls::Ca::new();
    let mut world = world(Durability::Async, Binary::Redis).await;
    world.order(authority.certificate("web.test", ClientCertificates::Off));
    let transit = Transit { mode: TransitMode::Required, ..Transit::default() };
    world.transit(transit).await;
    let client = authority.client(None);
    let mut socket = client.dial_raw(world.primary_address(), "web.test").await.unwrap();
    there_and_back(&mut socket, 128 << 20).await;
}

/// A client that has sent the beginning of a large request, and how much of it is missing.
async fn half_a_set(world: &World) -> (TcpStream, usize) {
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    socket.write_all(b"PING\r\n").await.unwrap();
    read_exactly(&mut socket, "+PONG\r\n").await;
    socket.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\n").await.unwrap();
    write_value(&mut socket, 4 << 20).await;
    // Until the engine has some of it.
    let reads = async {
        let held = |info: &tanist_resp::Info| {
            info.get_u64("mem_clients_normal").is_some_and(|bytes| bytes > 2 << 20)
        };
        world.engine("n1").until("a part of it is here", held).await;
    };
    timeout(kit::LIMIT, reads).await.unwrap();
    (socket, 4 << 20)
}

#[tokio::test]
async fn a_large_request_whose_rest_never_comes_is_not_executed() {
    let world = world(Durability::Async, Binary::Redis).await;
    let (mut socket, _) = half_a_set(&world).await;
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(kit::LIMIT, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
    assert_eq!(world.primary().await.call("EXISTS k").await, ":0");
    // Nor is one that turns out to be none.
    let (mut socket, left) = half_a_set(&world).await;
    write_value(&mut socket, left).await;
    socket.write_all(b"xx").await.unwrap();
    timeout(kit::LIMIT, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"-ERR Protocol error: invalid bulk terminator\r\n");
    assert_eq!(world.primary().await.call("EXISTS k").await, ":0");
}

#[tokio::test]
async fn a_large_request_that_loses_its_primary_is_answered_when_it_has_been_sent() {
    let mut world = World::new(2, Durability::Async).await;
    let (mut socket, left) = half_a_set(&world).await;
    world.engine_mut("n1").kill();
    world.vacate();
    world.promote("n2", &[]).await;
    world.obeyed().await;
    write_value(&mut socket, left).await;
    socket.write_all(b"\r\nSET other 1\r\nEXISTS k\r\n").await.unwrap();
    read_exactly(&mut socket, "-TRYAGAIN primary unavailable, request not executed\r\n").await;
    read_exactly(&mut socket, "+OK\r\n:0\r\n").await;
}

#[tokio::test]
async fn a_planned_move_waits_for_a_large_request_that_has_begun() {
    let mut world = World::new(2, Durability::Async).await;
    let (mut socket, left) = half_a_set(&world).await;
    world.hold(Some(1));
    world.obeyed().await;
    let mut other = world.primary().await;
    other.send(&["EXISTS k"]).await;
    assert!(other.is_silent(300).await, "it is held");
    assert_eq!(world.beat().drained, None);
    write_value(&mut socket, left).await;
    socket.write_all(b"\r\nEXISTS k\r\n").await.unwrap();
    world.switch_over("n1", "n2").await;
    read_exactly(&mut socket, "+OK\r\n:1\r\n").await;
    assert_eq!(other.text().await, ":1");
    assert_eq!(world.beat().uncertain, 0);
}

#[tokio::test]
async fn a_large_reply_whose_primary_is_lost_ends_with_its_connection() {
    let mut world = World::new(2, Durability::Async).await;
    let mut other = world.primary().await;
    let value = "v".repeat(60 << 20);
    assert_eq!(other.call(&format!("SET k {value}")).await, "+OK");
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    socket.write_all(b"GET k\r\n").await.unwrap();
    read_exactly(&mut socket, "$62914560\r\nvvvv").await;
    world.engine_mut("n1").kill();
    world.vacate();
    world.promote("n2", &[]).await;
    let mut rest = Vec::new();
    // The end, or the news of it.
    let _ = timeout(kit::LIMIT, socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < 60 << 20, "{}", rest.len());
    assert!(rest.iter().all(|byte| *byte == b'v'), "nothing else is in it");
    assert_eq!(other.call("PING").await, "+PONG");
}

#[tokio::test]
async fn a_large_request_that_is_refused_is_refused_when_it_has_been_sent() {
    let mut world = World::new(2, Durability::Async).await;
    let address = (world.route.endpoints.reader, world.route.endpoints.port);
    let set = |size: usize| format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${size}\r\n");
    let size = 3 << 20;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(set(size).as_bytes()).await.unwrap();
    write_value(&mut socket, size).await;
    socket.write_all(b"\r\nPING\r\n").await.unwrap();
    read_exactly(&mut socket, "-READONLY You can't write against a read only replica.\r\n").await;
    read_exactly(&mut socket, "+PONG\r\n").await;
    world.set_writable(false);
    world.obeyed().await;
    let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
    socket.write_all(format!("PING\r\n{}", set(size)).as_bytes()).await.unwrap();
    write_value(&mut socket, size).await;
    socket.write_all(b"\r\nPING\r\n").await.unwrap();
    read_exactly(&mut socket, "+PONG\r\n-NOREPLICAS Not enough good replicas to write.\r\n").await;
    read_exactly(&mut socket, "+PONG\r\n").await;
}

#[tokio::test]
async fn others_do_not_wait_for_who_reads_a_large_reply_slowly() {
    let limits = ProxyLimits { lanes: 1, ..ProxyLimits::default() };
    let world = World::with(1, Durability::Async, Binary::Redis, limits).await;
    let mut other = world.primary().await;
    let value = "v".repeat(100 << 20);
    assert_eq!(other.call(&format!("SET k {value}")).await, "+OK");
    let mut other = world.primary().await;
    assert_eq!(other.call("PING").await, "+PONG");
    let mut slow = TcpStream::connect(world.primary_address()).await.unwrap();
    slow.write_all(b"GET k\r\n").await.unwrap();
    read_exactly(&mut slow, "$104857600\r\nvvvv").await;
    for _ in 0..10 {
        let asked = std::time::Instant::now();
        assert_eq!(other.call("PING").await, "+PONG");
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
        kit::moment(300).await;
    }
    // Nobody waits for it, so it may take its time.
    let mut rest = vec![0; (100 << 20) - 4 + 2];
    timeout(PATIENCE, slow.read_exact(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with(b"v\r\n"));
}
