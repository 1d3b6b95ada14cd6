//! A real etcd cluster of one's own: members that can be killed, stopped, cut off and started again.
//!
//! Members listen on addresses of a loopback network that no other test uses. Elections are made
//! fast, so that a test of one does not wait for seconds. Whether a member is ready is asked on its
//! own page for that, which needs no certificate.
//!
//! Invariant: every member ends with the value that holds the cluster, also one that is stopped.
//!
//! Not here: clients of etcd (`tanist-store`).

mod relay;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tanist_tls::Authority;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::relay::Relays;
use crate::network::Network;
use crate::processes::signal;

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const HEALTH_PORT: u16 = 2381;
const RELAY_PORT: u16 = 2382;
/// How long a member may take to do what it must.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(1);
/// Pause between two questions.
const AGAIN: Duration = Duration::from_millis(10);

/// What a cluster is like.
#[derive(Debug, Clone)]
pub struct EtcdPlan {
    /// How many members it has.
    pub members: usize,
    /// Whether clients use TLS, and have to show certificates.
    pub tls: bool,
    /// More arguments for every member.
    pub args: Vec<String>,
}

impl Default for EtcdPlan {
    fn default() -> Self {
        Self { members: 1, tls: false, args: Vec::new() }
    }
}

/// What a client of a cluster with TLS needs; PEM.
#[derive(Clone)]
pub struct EtcdPems {
    /// The authority of the members' certificates.
    pub ca: String,
    /// A client's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A running cluster.
pub struct EtcdCluster {
    members: Vec<Member>,
    pems: Option<EtcdPems>,
    relays: Relays,
    home: TempDir,
    network: Network,
    plan: EtcdPlan,
}

struct Member {
    child: Option<Child>,
    args: Vec<String>,
    log: PathBuf,
}

impl EtcdCluster {
    /// Starts a cluster and waits until every member serves.
    ///
    /// # Panics
    /// If etcd is not installed or does not get ready.
    pub async fn start(plan: EtcdPlan) -> Self {
        let (network, home) = (Network::take(), tempfile::tempdir().expect("a directory"));
        let relays = Relays::new();
        let mut cluster = Self { members: Vec::new(), pems: None, relays, home, network, plan };
        let tls = if cluster.plan.tls { cluster.certify() } else { Vec::new() };
        for member in 0..cluster.plan.members {
            let (from, to) = (cluster.at(member, RELAY_PORT), cluster.at(member, PEER_PORT));
            cluster.relays.add(from, to).await;
        }
        for member in 0..cluster.plan.members {
            let args = [cluster.args(member), tls.clone(), cluster.plan.args.clone()].concat();
            let log = cluster.home.path().join(format!("m{member}.log"));
            cluster.members.push(Member { child: None, args, log });
            cluster.spawn(member);
        }
        for member in 0..cluster.plan.members {
            cluster.ready(member).await;
        }
        cluster
    }

    /// Where clients reach the members.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.plan.members).map(|member| self.endpoint(member)).collect()
    }

    /// Where clients reach a member.
    pub fn endpoint(&self, member: usize) -> String {
        self.url(self.plan.tls, member, CLIENT_PORT)
    }

    /// What a client needs if the cluster uses TLS.
    pub fn pems(&self) -> Option<&EtcdPems> {
        self.pems.as_ref()
    }

    /// The certificate of an authority that has signed nothing here; PEM.
    ///
    /// # Panics
    /// If none can be made.
    pub fn other_authority(&self) -> String {
        let other = Authority::load_or_create(&self.home.path().join("other-tls"));
        other.expect("another authority").pem().to_owned()
    }

    /// Kills a member at once.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, member: usize) {
        let mut child = self.members[member].child.take().expect("the member runs");
        child.kill().expect("a member is killed");
        child.wait().expect("a member has ended");
    }

    /// Stops a member as a machine that hangs: its connections stay, and nobody answers.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&self, member: usize) {
        let pid = self.pid(member);
        signal(pid, Signal::STOP);
        let until = Instant::now() + PATIENCE;
        while !is_stopped(pid) {
            assert!(Instant::now() < until, "member {member} does not stop");
            std::thread::yield_now();
        }
    }

    /// Lets a stopped member go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self, member: usize) {
        signal(self.pid(member), Signal::CONT);
    }

    /// Starts a killed member with the data that it has; `ready` tells when it serves.
    ///
    /// # Panics
    /// If it runs, or etcd cannot be started.
    pub fn restart(&mut self, member: usize) {
        assert!(self.members[member].child.is_none(), "member {member} runs");
        self.spawn(member);
    }

    /// Cuts a member off from the others; clients still reach it.
    ///
    /// # Panics
    /// If the member does not answer.
    pub async fn cut_off(&self, member: usize) {
        let page = self.page(member, "/metrics").await.expect("the member answers");
        let id = page.lines().find_map(|line| line.strip_prefix("etcd_server_id{server_id=\""));
        let id = id.and_then(|rest| rest.split('"').next()).expect("a member has an id");
        self.relays.cut(self.at(member, PEER_PORT), id.to_owned());
    }

    /// Lets a member that was cut off reach the others again.
    pub fn rejoin(&self, member: usize) {
        self.relays.join(self.at(member, PEER_PORT));
    }

    /// Waits until a member has a leader and a quorum.
    ///
    /// # Panics
    /// If that does not happen, or the member ends.
    pub async fn ready(&mut self, member: usize) {
        let until = Instant::now() + PATIENCE;
        while !self.is_healthy(member).await {
            let child = self.members[member].child.as_mut().expect("the member runs");
            let ended = child.try_wait().expect("a member's state");
            let log = &self.members[member].log;
            assert!(ended.is_none(), "member {member} ended: {ended:?}\n{}", tail(log));
            assert!(Instant::now() < until, "member {member} is not ready\n{}", tail(log));
            // waits: etcd tells nobody that it is ready.
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The member that leads now, if the running ones that answer know one.
    pub async fn leader(&self) -> Option<usize> {
        for member in 0..self.plan.members {
            let page = self.page(member, "/metrics").await.unwrap_or_default();
            if page.lines().any(|line| line == "etcd_server_is_leader 1") {
                return Some(member);
            }
        }
        None
    }

    async fn is_healthy(&self, member: usize) -> bool {
        let page = self.page(member, "/health").await.unwrap_or_default();
        page.contains(r#""health":"true""#)
    }

    /// Sends JSON to one of a member's own pages (`/v3/kv/put`), as somebody does who is no client of
    /// ours. Only without TLS.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn json(&self, member: usize, path: &str, body: &str) -> String {
        let address = self.at(member, CLIENT_PORT);
        let question = format!(
            "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        ask(address, question).await.expect("an answer of etcd")
    }

    /// What a member's health port says; `None` without an answer in time.
    async fn page(&self, member: usize, path: &str) -> Option<String> {
        let address = self.at(member, HEALTH_PORT);
        ask(address, format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")).await
    }

    fn pid(&self, member: usize) -> u32 {
        self.members[member].child.as_ref().expect("the member runs").id()
    }

    /// A member's address.
    ///
    /// # Panics
    /// If there are more members than a network has room for.
    pub fn address(&self, member: usize) -> Ipv4Addr {
        let last = u8::try_from(member + 1).expect("a few members");
        Ipv4Addr::new(127, self.network.number(), 9, last)
    }

    fn at(&self, member: usize, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(member), port))
    }

    fn url(&self, tls: bool, member: usize, port: u16) -> String {
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}:{port}", self.address(member))
    }

    fn args(&self, member: usize) -> Vec<String> {
        let client = self.endpoint(member);
        let relay = self.url(false, member, RELAY_PORT);
        let peers: Vec<_> = (0..self.plan.members)
            .map(|other| format!("m{other}={}", self.url(false, other, RELAY_PORT)))
            .collect();
        let data = self.home.path().join(format!("m{member}"));
        [
            ("--name", format!("m{member}")),
            ("--data-dir", data.display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", self.url(false, member, PEER_PORT)),
            ("--initial-advertise-peer-urls", relay),
            ("--initial-cluster", peers.join(",")),
            ("--initial-cluster-token", format!("lab-{}", self.network.number())),
            ("--listen-metrics-urls", self.url(false, member, HEALTH_PORT)),
            ("--heartbeat-interval", "50".to_owned()),
            ("--election-timeout", "500".to_owned()),
            ("--logger", "zap".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// Makes certificates; answers the arguments that use them.
    fn certify(&mut self) -> Vec<String> {
        let dir = self.home.path().join("tls");
        let authority = Authority::load_or_create(&dir).expect("an authority");
        let names: BTreeSet<_> =
            (0..self.plan.members).map(|member| self.address(member).to_string()).collect();
        let now = SystemTime::now();
        let server = authority.endpoint("etcd", &names, now).expect("a certificate");
        let client = authority.client("tanist", 1, now).expect("a client's certificate");
        let file = |name: &str, text: &str| {
            let path = self.home.path().join(name);
            std::fs::write(&path, text).expect("a certificate's file");
            path.display().to_string()
        };
        let args = vec![
            "--cert-file".to_owned(),
            file("server.pem", &server.chain),
            "--key-file".to_owned(),
            file("server.key", &server.key),
            "--trusted-ca-file".to_owned(),
            file("ca.pem", authority.pem()),
            "--client-cert-auth".to_owned(),
        ];
        self.pems = Some(EtcdPems {
            ca: authority.pem().to_owned(),
            certificate: client.chain,
            key: client.key,
        });
        args
    }

    fn spawn(&mut self, member: usize) {
        let member = &mut self.members[member];
        let log = File::options().create(true).append(true).open(&member.log).expect("a log");
        let child = Command::new("etcd")
            .args(&member.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let missing = "etcd cannot be started; scripts/install.sh test installs it";
        member.child = Some(child.unwrap_or_else(|error| panic!("{missing}: {error}")));
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // One that has ended is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether every thread of a process has stopped; a signal takes a moment to reach them all.
fn is_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the member runs");
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// One question over HTTP; `None` without an answer in time.
async fn ask(address: SocketAddr, question: String) -> Option<String> {
    let read = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(QUESTION, read).await.ok().flatten()
}

/// The end of a log, for whoever reads why a test failed.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
