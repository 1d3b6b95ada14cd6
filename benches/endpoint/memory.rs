//! Memory that clients cost the proxy: idle ones, and one that does not read what it asked for.
//!
//! Invariant: only the proxy's resident memory counts; the kernel's buffers are everybody's.
//!
//! Not here: limits (`tanist-proxy`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tanist_bench::{Row, setting};
use tanist_lab::Installation;

/// The part `memory`.
pub(crate) fn memory() -> Vec<Row> {
    vec![idle(), unread()]
}

fn installation() -> (Installation, SocketAddr, u32) {
    let installation = Installation::start();
    let group = installation.create("bench", &["--replicas", "0"]);
    let proxy = installation.role("proxy");
    let endpoint = group.primary_endpoint;
    (installation, SocketAddr::from((endpoint.address, endpoint.port)), proxy)
}

fn connect(to: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(to).unwrap_or_else(|err| panic!("{to}: {err}"));
    client.write_all(b"PING\r\n").unwrap_or_else(|err| panic!("{to}: {err}"));
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap_or_else(|err| panic!("{to}: {err}"));
    client
}

fn idle() -> Row {
    let (_installation, to, proxy) = installation();
    // The load's own descriptors are a limit too: as many as it may open.
    let clients = setting("TANIST_BENCH_CLIENTS", 900);
    let before = resident(proxy);
    let open: Vec<TcpStream> = (0..clients).map(|_| connect(to)).collect();
    let grown = resident(proxy).saturating_sub(before);
    Row {
        what: format!("memory of each of {} idle clients", open.len()),
        measured: format!("{:.2} KiB", grown as f64 / open.len() as f64),
        target: "<= 4 KiB",
    }
}

fn unread() -> Row {
    let (_installation, to, proxy) = installation();
    let value = "x".repeat(100_000);
    let mut client = connect(to);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    client.write_all(set.as_bytes()).unwrap_or_else(|err| panic!("SET: {err}"));
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap_or_else(|err| panic!("SET: {err}"));
    let before = resident(proxy);
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let asked = get.repeat(5_000_000 / get.len());
    let mut writer = client.try_clone().unwrap_or_else(|err| panic!("a socket: {err}"));
    let _ = writer.set_write_timeout(Some(std::time::Duration::from_secs(3)));
    // It takes as much as it wants to; that it stops is what is measured.
    let _ = writer.write_all(&asked);
    Row {
        what: "memory for 5 MB of GETs of 100 kB that nobody reads".to_owned(),
        measured: format!("{:.1} MiB", resident(proxy).saturating_sub(before) as f64 / 1024.0),
        target: "< 64 MiB",
    }
}

/// Resident memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
