//! A fleet of one's own: several hosts on loopback addresses, with a real etcd.
//!
//! Each host has its own data directory, its own address and its own processes, and joins as a person
//! would let it. What hosts share is the machine: cutting them off from each other is for network
//! namespaces.
//!
//! Invariant: every process of a host names the host's directory, and ends with the fleet.
//!
//! Not here: one host that simulates several (`super::Installation`).

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tanist_link::api::{GroupStatus, NodeStatus, Status};
use tanist_resp::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::etcd::{EtcdCluster, EtcdPlan};
use crate::installation::{Ran, binary};
use crate::processes::{engines_of, kill, signal};
use crate::until::until;
use crate::{Network, alive};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Hosts that have a server.
const SERVERS: usize = 3;

/// A fleet.
pub struct Fleet {
    hosts: Vec<Host>,
    /// Nothing if the fleet runs its own.
    etcd: Option<EtcdCluster>,
    dir: TempDir,
    network: Network,
    /// Where etcd's relays run.
    runtime: Runtime,
}

struct Host {
    name: String,
    dir: PathBuf,
    server: Option<Child>,
    agent: Option<Child>,
}

impl Fleet {
    /// As many hosts, in three zones, of which the first three are servers; each has joined and works.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(hosts: usize) -> Self {
        Self::first(hosts).joined()
    }

    /// As [`Fleet::start`], with more in the configuration file.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with(hosts: usize, more: &str) -> Self {
        Self::first_with(hosts, more).joined()
    }

    /// As [`Fleet::start`], with an etcd that the fleet runs itself.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn managed(hosts: usize) -> Self {
        Self::managed_first(hosts).joined()
    }

    /// Lets every host join but the first.
    fn joined(self) -> Self {
        let mut fleet = self;
        let hosts = fleet.hosts.len();
        for host in 1..hosts {
            let token = fleet.tanist(0, &["host", "invite", &fleet.hosts[host].name]).ok();
            fleet.join(host, &token).ok();
            fleet.start_host(host);
        }
        fleet.wait("every host is up", |fleet| {
            let status = fleet.try_status()?;
            let up = status.hosts.iter().filter(|host| host.up).count();
            let proxies = status.proxies.iter().filter(|proxy| proxy.up).count();
            (up == hosts && proxies == hosts).then_some(())
        });
        fleet
    }

    /// As [`Fleet::start`], but only the first host is there yet.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn first(hosts: usize) -> Self {
        Self::first_with(hosts, "")
    }

    fn first_with(hosts: usize, more: &str) -> Self {
        let runtime = Runtime::new().unwrap_or_else(|err| panic!("a runtime: {err}"));
        let etcd = runtime.block_on(EtcdCluster::start(EtcdPlan::default()));
        Self::begin(hosts, Some(etcd), runtime, more)
    }

    /// As [`Fleet::first`], with an etcd that the fleet runs itself.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn managed_first(hosts: usize) -> Self {
        let runtime = Runtime::new().unwrap_or_else(|err| panic!("a runtime: {err}"));
        Self::begin(hosts, None, runtime, "")
    }

    fn begin(hosts: usize, etcd: Option<EtcdCluster>, runtime: Runtime, more: &str) -> Self {
        // Names of hosts are parts of paths: none may begin another's.
        assert!((1..=9).contains(&hosts), "a fleet of {hosts} hosts");
        let dir = tempfile::Builder::new().prefix("tanist-fleet-").tempdir();
        let dir = dir.unwrap_or_else(|err| panic!("making a directory: {err}"));
        let host = |number: usize| {
            let name = format!("h{}", number + 1);
            let dir = dir.path().join(&name);
            Host { name, dir, server: None, agent: None }
        };
        let hosts = (0..hosts).map(host).collect();
        let mut fleet = Self { hosts, etcd, dir, network: Network::take(), runtime };
        fleet.install();
        let file = fleet.config();
        std::fs::write(&file, fleet.file() + more).unwrap_or_else(|err| panic!("the file: {err}"));
        let file = file.display().to_string();
        fleet.tanist(0, &["init", "--config", &file, "--host", "h1"]).ok();
        fleet.start_host(0);
        fleet.wait("the first host is up", |fleet| {
            let status = fleet.try_status()?;
            status.hosts.iter().any(|host| host.up).then_some(())
        });
        fleet
    }

    /// Puts the program in place, as a file of its own: as another release would be.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn install(&self) {
        let (from, to) = (binary(), self.program());
        let draft = to.with_extension("new");
        let copied = std::fs::copy(&from, &draft).and_then(|_| std::fs::rename(&draft, &to));
        copied.unwrap_or_else(|err| panic!("putting {} in place: {err}", from.display()));
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("tanist")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("tanist.toml")
    }

    fn file(&self) -> String {
        let store = match &self.etcd {
            Some(etcd) => format!("endpoints = {:?}", etcd.endpoints()),
            None => "managed = true".to_owned(),
        };
        let mut text = format!("region = \"us-east-1\"\n[store]\nkind = \"etcd\"\n{store}\n");
        for (number, host) in self.hosts.iter().enumerate() {
            let zone = ["a", "b", "c"][number % 3];
            let server = if number < SERVERS { "\"server\", " } else { "" };
            text.push_str(&format!(
                "[[host]]\nname = \"{}\"\naz = \"us-east-1{zone}\"\naddress = \"{}\"\n\
                 roles = [{server}\"agent\", \"proxy\"]\n",
                host.name,
                self.address(number)
            ));
        }
        text
    }

    /// A host's address.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        let last = u8::try_from(host + 1).unwrap_or(u8::MAX);
        Ipv4Addr::new(127, self.network.number(), 0, last)
    }

    /// The number of the host with this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn number(&self, name: &str) -> usize {
        let found = self.hosts.iter().position(|host| host.name == name);
        found.unwrap_or_else(|| panic!("there is no host {name}"))
    }

    fn command(&self, host: usize) -> Command {
        let mut command = Command::new(self.program());
        command.current_dir(self.dir.path()).env_remove("TANIST_DATA_DIR");
        command.arg("--data-dir").arg(&self.hosts[host].dir);
        command
    }

    /// Runs a command on a host.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn tanist(&self, host: usize, args: &[&str]) -> Ran {
        let output = self.command(host).args(args).stdin(Stdio::null()).output();
        Ran::new(&output.unwrap_or_else(|err| panic!("running tanist: {err}")))
    }

    /// Lets a host join with a token.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn join(&self, host: usize, token: &str) -> Ran {
        let path = self.dir.path().join(format!("{}.token", self.hosts[host].name));
        std::fs::write(&path, token).unwrap_or_else(|err| panic!("the token: {err}"));
        let file = File::open(&path).unwrap_or_else(|err| panic!("the token: {err}"));
        let output = self.command(host).arg("join").stdin(file).output();
        Ran::new(&output.unwrap_or_else(|err| panic!("running tanist: {err}")))
    }

    /// Starts what a host runs: its server, if it is to have one, and its agent.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_host(&mut self, host: usize) {
        if host < SERVERS {
            self.start_server(host);
        }
        self.start_agent(host);
    }

    /// Starts a host's server.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_server(&mut self, host: usize) {
        self.hosts[host].server = Some(self.role(host, "server"));
    }

    /// Starts a host's agent.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_agent(&mut self, host: usize) {
        self.hosts[host].agent = Some(self.role(host, "agent"));
    }

    fn role(&self, host: usize, role: &str) -> Child {
        let log = self.dir.path().join(format!("{}.{role}.out", self.hosts[host].name));
        let log = File::options().append(true).create(true).open(log);
        let log = log.unwrap_or_else(|err| panic!("the log: {err}"));
        let errors = log.try_clone().unwrap_or_else(|err| panic!("the log: {err}"));
        let mut command = self.command(host);
        command.arg(role).stdin(Stdio::null()).stdout(log).stderr(errors);
        command.spawn().unwrap_or_else(|err| panic!("starting tanist {role}: {err}"))
    }

    /// SIGKILLs every process of a host, engines too.
    ///
    /// # Panics
    /// If they do not end.
    pub fn kill_host(&mut self, host: usize) {
        let dir = self.hosts[host].dir.clone();
        let started = Instant::now();
        loop {
            let left = engines_of(&dir);
            left.iter().for_each(|pid| kill(*pid));
            self.reap(host);
            if left.is_empty() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "processes that cannot be killed: {left:?}");
            std::thread::yield_now();
        }
    }

    fn reap(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        for role in [&mut host.server, &mut host.agent] {
            if role.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
                *role = None;
            }
        }
    }

    /// SIGKILLs a host's server.
    ///
    /// # Panics
    /// If it has none.
    pub fn kill_server(&mut self, host: usize) {
        let server = self.hosts[host].server.take();
        let mut server = server.unwrap_or_else(|| panic!("h{} has no server", host + 1));
        server.kill().and_then(|()| server.wait()).unwrap_or_else(|err| panic!("a server: {err}"));
    }

    /// Asks a host's server to end, and waits until it has.
    ///
    /// # Panics
    /// If it has none, or does not end well.
    pub fn stop_server(&mut self, host: usize) {
        let server = self.hosts[host].server.take();
        finish(server.unwrap_or_else(|| panic!("h{} has no server", host + 1)));
    }

    /// Asks a host's agent to end, and waits until it has.
    ///
    /// # Panics
    /// If it has none, or does not end well.
    pub fn stop_agent(&mut self, host: usize) {
        let agent = self.hosts[host].agent.take();
        finish(agent.unwrap_or_else(|| panic!("h{} has no agent", host + 1)));
    }

    /// Deletes everything that etcd has.
    ///
    /// # Panics
    /// If etcd does not.
    pub fn wipe_store(&self) {
        // Every key, in etcd's own words: from the smallest one on, without an end.
        let body = r#"{"key":"AA==","range_end":"AA=="}"#;
        let etcd = self.etcd.as_ref().unwrap_or_else(|| panic!("the fleet runs its etcd itself"));
        let answer = self.runtime.block_on(etcd.json(0, "/v3/kv/deleterange", body));
        assert!(answer.contains("deleted"), "nothing was deleted: {answer}");
    }

    /// A host's data directory.
    pub fn data(&self, host: usize) -> &Path {
        &self.hosts[host].dir
    }

    /// The process of a host's etcd, if the fleet runs it and it runs.
    pub fn etcd(&self, host: usize) -> Option<u32> {
        let data = self.data(host).join("etcd/data");
        let keeps = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_encoded_bytes())
        };
        engines_of(self.data(host)).into_iter().find(keeps)
    }

    /// The file with a host's certificate as a member.
    pub fn certificate(&self, host: usize) -> PathBuf {
        self.hosts[host].dir.join("member.pem")
    }

    /// The process of a host's proxy, and the file that it runs.
    ///
    /// # Panics
    /// If there is none.
    pub fn proxy(&self, host: usize) -> (u32, u64) {
        let lock = self.hosts[host].dir.join("proxy.lock");
        let pid = std::fs::read_to_string(&lock).unwrap_or_default().trim().parse();
        let pid: u32 = pid.unwrap_or_else(|err| panic!("{}: {err}", lock.display()));
        let exe = std::fs::metadata(format!("/proc/{pid}/exe"));
        let exe = exe.unwrap_or_else(|err| panic!("the program of {pid}: {err}"));
        (pid, std::os::unix::fs::MetadataExt::ino(&exe))
    }

    /// The host whose server leads.
    ///
    /// # Panics
    /// If nobody does for a long time.
    pub fn leader(&self) -> usize {
        let name = self.wait("somebody leads", |fleet| {
            let servers = fleet.try_status()?.servers;
            servers.into_iter().find(|server| server.leads).map(|server| server.host)
        });
        self.number(name.as_str())
    }

    /// The status, if a server that works leads; asked on hosts with servers.
    pub fn try_status(&self) -> Option<Status> {
        let works = |host: &Host| host.server.as_ref().is_some_and(|child| alive(child.id()));
        let host = self.hosts.iter().position(works)?;
        let ran = self.tanist(host, &["status", "-o", "json"]);
        serde_json::from_str(&ran.out).ok()
    }

    /// A group's status.
    ///
    /// # Panics
    /// If there is none.
    pub fn group(&self, name: &str) -> GroupStatus {
        self.wait(&format!("there is a group {name}"), |fleet| {
            let status = fleet.try_status()?;
            status.groups.into_iter().find(|group| group.name.as_str() == name)
        })
    }

    /// The primary of a group.
    ///
    /// # Panics
    /// If nobody is.
    pub fn primary(&self, name: &str) -> NodeStatus {
        let nodes = self.group(name).shards.into_iter().flat_map(|shard| shard.nodes);
        let primary = { nodes }.find(|node| node.role == "primary");
        primary.unwrap_or_else(|| panic!("{name} has no primary"))
    }

    /// Waits until a group is available.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn available(&self, name: &str) -> GroupStatus {
        self.wait(&format!("{name} is available"), |fleet| {
            let status = fleet.try_status()?;
            status.groups.into_iter().find(|g| g.name.as_str() == name && g.status == "available")
        })
    }

    /// Where a group's primary endpoint is at a host.
    pub fn endpoint(&self, group: &str, host: usize) -> SocketAddr {
        SocketAddr::from((self.address(host), self.group(group).primary_endpoint.port))
    }

    /// Waits until `look` finds something.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        until(what, PATIENCE, || look(self), || self.what_it_says())
    }

    /// Everything that helps to understand a failed test.
    pub fn what_it_says(&self) -> String {
        let mut said = String::new();
        for command in ["status", "events"] {
            said.push_str(&self.tanist(0, &[command]).out);
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for role in ["server", "agent"] {
            files.extend(
                self.hosts.iter().map(|h| self.dir.path().join(format!("{}.{role}.out", h.name))),
            );
        }
        for log in ["proxy.log", "etcd.log"] {
            files.extend(self.hosts.iter().map(|host| host.dir.join(log)));
        }
        files.iter().for_each(|file| said.push_str(&tail(file)));
        said
    }

    /// A connection to an address.
    ///
    /// # Panics
    /// If nobody answers there.
    pub async fn connect(&self, address: SocketAddr) -> Connection {
        let connection = Connection::connect(address, Duration::from_secs(5)).await;
        connection.unwrap_or_else(|err| panic!("connecting to {address}: {err}"))
    }
}

fn finish(mut child: Child) {
    signal(child.id(), Signal::TERM);
    let status = child.wait().unwrap_or_else(|err| panic!("waiting for it: {err}"));
    assert!(status.success(), "it ended with {status}");
}

fn tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // etcd says much, and little of it is news.
    let news = text.lines().rev().filter(|line| !line.contains("\"level\":\"info\""));
    let lines: Vec<&str> = news.take(30).collect();
    let mut said = format!("--- {}\n", file.display());
    for line in lines.iter().rev() {
        said.push_str(line);
        said.push('\n');
    }
    said
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for host in 0..self.hosts.len() {
            // An agent may be starting something at this moment: not once, but until nothing is left.
            self.kill_host(host);
            let host = &mut self.hosts[host];
            for mut role in [host.server.take(), host.agent.take()].into_iter().flatten() {
                // It has just been killed.
                let _ = role.wait();
            }
        }
    }
}
