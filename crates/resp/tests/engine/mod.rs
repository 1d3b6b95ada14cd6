//! Starts a real engine on a free loopback port and stops it when dropped.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Both engines that are supported.
pub(crate) const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// A port may be taken by somebody else between finding it and the engine's bind.
const ATTEMPTS: usize = 5;

pub(crate) struct Engine {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Engine {
    /// Starts `program`, which must be installed.
    pub(crate) fn start(program: &str, extra: &[&str]) -> Self {
        for _ in 0..ATTEMPTS {
            if let Some(engine) = Self::try_start(program, extra) {
                return engine;
            }
        }
        panic!("{program} did not become ready in {ATTEMPTS} attempts");
    }

    fn try_start(program: &str, extra: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = probe.local_addr().expect("its address");
        drop(probe);
        let mut child = Command::new(program)
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--loglevel", "notice"])
            .arg("--dir")
            .arg(dir.path())
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("these tests need {program}, which could not be started: {error}")
            });
        let output = child.stdout.take().expect("the engine's log");
        let engine = Self { child, address, _dir: dir };
        let mut lines = BufReader::new(output).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("Ready to accept connections"));
        // The log is read to its end, so that the engine never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        ready.then_some(engine)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
