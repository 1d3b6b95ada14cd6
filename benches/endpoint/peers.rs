//! Everything that a load is sent to.
//!
//! Invariant: hops have one thread, on the second processor; engines behind a hop are on the first.
//! All end with the run.
//!
//! Not here: the load (`super::load`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use tanist_lab::Installation;
use tanist_tls::Authority;
use tempfile::TempDir;

use super::load::pin;

/// Starts a hop in a directory, on a port, to an engine's port.
type Hop = fn(&Path, u16, u16) -> Child;

/// Somebody to send a load to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// The hop's process; 0 for a direct connection.
    pub(crate) hop: u32,
    pub(crate) engine: u32,
}

/// The peers, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Peers {
    _dir: TempDir,
    children: Vec<Child>,
    _installation: Installation,
    pub(crate) targets: Vec<Target>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn has(program: &str) -> bool {
    let found = Command::new("which").arg(program).env("PATH", path()).output();
    found.is_ok_and(|output| output.status.success())
}

fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn start(program: &str, args: &[&str]) -> Child {
    Command::new(program)
        .args(args)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|err| panic!("{program}: {err}"))
}

/// A port that nobody has at the moment.
fn port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let bound = listener.and_then(|listener| listener.local_addr());
    bound.unwrap_or_else(|err| panic!("a free port: {err}")).port()
}

fn until_it_listens(port: u16) {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        // waits: a program of others says nothing when it begins to listen.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn engine(dir: &Path, port: u16) -> Child {
    let dir = dir.display().to_string();
    let port_text = port.to_string();
    // As an engine of a group: with an append-only file.
    let args = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--dir", &dir];
    let args = [&args[..], &["--appendonly", "yes", "--appenddirname", &port_text]].concat();
    let child = start("redis-server", &args);
    until_it_listens(port);
    child
}

fn haproxy(dir: &Path, port: u16, to: u16) -> Child {
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten redis\n  bind 127.0.0.1:{port}\n  \
         server one 127.0.0.1:{to}\n"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    start("haproxy", &["-db", "-f", &file.display().to_string()])
}

fn nutcracker(dir: &Path, port: u16, to: u16) -> Child {
    let config = format!(
        "one:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n  \
         distribution: modula\n  servers:\n   - 127.0.0.1:{to}:1\n"
    );
    let file = dir.join("nutcracker.yml");
    std::fs::write(&file, config).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    let stats = self::port().to_string();
    start("nutcracker", &["-c", &file.display().to_string(), "-s", &stats, "-m", "16384"])
}

impl Peers {
    /// Starts everybody.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (direct, behind) = (port(), port());
        let mut children = vec![engine(dir.path(), direct), engine(dir.path(), behind)];
        let (alone, shared) = (children[0].id(), children[1].id());
        pin(alone, 1);
        pin(shared, 0);
        let target = |name, port, hop, engine| Target { name, address: at(port), hop, engine };
        let mut targets = vec![target("direct", direct, 0, alone)];
        let hops: [(&str, Hop); 2] = [("haproxy", haproxy), ("nutcracker", nutcracker)];
        for (name, hop) in hops {
            if !has(name) {
                tanist_lab::skip(&format!("{name} is not installed: make bench installs it"));
                continue;
            }
            let port = port();
            let child = hop(dir.path(), port, behind);
            until_it_listens(port);
            pin(child.id(), 1);
            targets.push(target(name, port, child.id(), shared));
            children.push(child);
        }
        let installation = Installation::start();
        let group = installation.create("bench", &["--replicas", "0"]);
        let proxy = installation.role("proxy");
        pin(proxy, 1);
        let engine = installation.primary("bench").pid.unwrap_or(0);
        pin(engine, 0);
        let endpoint = &group.primary_endpoint;
        let address = SocketAddr::from((endpoint.address, endpoint.port));
        targets.push(Target { name: "tanist", address, hop: proxy, engine });
        Self { _dir: dir, children, _installation: installation, targets }
    }
}

/// Peers that end TLS, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Sealed {
    dir: TempDir,
    children: Vec<Child>,
    _installation: Installation,
    pub(crate) targets: Vec<Target>,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Sealed {
    /// Starts everybody; both show certificates of one authority.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
        let authority = Authority::load_or_create(&dir.path().join("ca"));
        let authority = authority.unwrap_or_else(|err| panic!("an authority: {err}"));
        let names = BTreeSet::from(["127.0.0.1".to_owned()]);
        let issued = authority.endpoint("bench", &names, SystemTime::now());
        let issued = issued.unwrap_or_else(|err| panic!("a certificate: {err}"));
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap_or_else(|err| panic!("{name}: {err}"));
            path.display().to_string()
        };
        write("own.pem", &issued.chain);
        write("own.key", &issued.key);
        write("both.pem", &format!("{}{}", issued.chain, issued.key));
        let config = write("tanist.toml", "[tls]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n");
        let (mut children, mut targets) = (Vec::new(), Vec::new());
        if has("haproxy") {
            let (behind, port) = (port(), port());
            let engine = engine(dir.path(), behind);
            pin(engine.id(), 0);
            let hop = sealed_haproxy(dir.path(), port, behind);
            until_it_listens(port);
            pin(hop.id(), 1);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            targets.push(Target { name: "haproxy", address, hop: hop.id(), engine: engine.id() });
            children.extend([engine, hop]);
        } else {
            tanist_lab::skip("haproxy is not installed: make bench installs it");
        }
        let mut installation = Installation::empty();
        installation.dev_with(&["--config", &config]);
        let group = installation.create("bench", &["--replicas", "0", "--tls"]);
        let proxy = installation.role("proxy");
        pin(proxy, 1);
        let engine = installation.primary("bench").pid.unwrap_or(0);
        pin(engine, 0);
        let endpoint = &group.primary_endpoint;
        let address = SocketAddr::from((endpoint.address, endpoint.port));
        targets.push(Target { name: "tanist", address, hop: proxy, engine });
        Self { dir, children, _installation: installation, targets }
    }

    /// Whom the load has to trust.
    pub(crate) fn trust(&self) -> String {
        self.dir.path().join("ca/ca.pem").display().to_string()
    }
}

fn sealed_haproxy(dir: &Path, port: u16, to: u16) -> Child {
    let both = dir.join("both.pem");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten redis\n  bind 127.0.0.1:{port} ssl crt {}\n  \
         server one 127.0.0.1:{to}\n",
        both.display()
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    start("haproxy", &["-db", "-f", &file.display().to_string()])
}
