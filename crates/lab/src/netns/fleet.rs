//! A fleet of Tanist on a site: etcd and servers on three hosts, an agent and a proxy on all.
//!
//! Everything is asked through the command line on one of the servers' hosts, as a person does.
//!
//! Invariant: a host's programs are those of a real one; what its agent starts is not started here.
//!
//! Not here: faults (`super::site`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tanist_link::api::{GroupStatus, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ground::{inside, within};
use super::site::{Host, SERVERS, Site, Under};
use super::writer::Target;
use crate::Ran;
use crate::installation::binary;

/// Names more arguments for every member of etcd, to see what they change.
const ETCD_ARGS: &str = "TANIST_LAB_ETCD";
/// The group under test.
pub(super) const GROUP: &str = "web";
/// How long anything may take while nothing is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question may take, in seconds.
const QUESTION: u32 = 8;
/// Lines of each log that are shown.
const LINES: usize = 150;
/// How often somebody looks who waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is known of a fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The primary endpoint's port, at every host's address.
    port: u16,
}

impl Fleet {
    pub(super) fn target(&self, host: &Host) -> Target {
        Target::Endpoint(SocketAddr::from((host.address, self.port)))
    }
}

impl Site {
    /// A fleet without a group.
    ///
    /// # Panics
    /// If its hosts do not come.
    pub fn fleet() -> Self {
        Self::fleet_with("")
    }

    /// As [`Site::fleet`], with more in the configuration file.
    ///
    /// # Panics
    /// If its hosts do not come.
    pub fn fleet_with(more: &str) -> Self {
        let mut site = Self::empty();
        site.start_etcd();
        site.start_tanist(more);
        site.under = Under::Fleet(Fleet { port: 0 });
        site
    }

    pub(super) fn is_fleet(&self) -> bool {
        matches!(self.under, Under::Fleet(_))
    }

    /// A new group of three nodes in the place of the one before; `durability` is `sync` or `async`.
    /// The last one's failovers, which would count for the flap limit, go with it.
    ///
    /// # Panics
    /// If it does not become available.
    pub fn new_group(&mut self, durability: &str) {
        if self.group().is_some() {
            self.tanist(0, &["delete", GROUP, "--yes"], 60).ok();
        }
        let args = ["create", GROUP, "--memory", "64mb", "--durability", durability];
        self.tanist(0, &args, 60).ok();
        if let Err(why) = self.settle(PATIENCE) {
            panic!("the group does not settle: {why}\n{}", self.what_it_says());
        }
        let port = self.group().map_or(0, |group| group.primary_endpoint.port);
        self.under = Under::Fleet(Fleet { port });
    }

    fn start_etcd(&mut self) {
        let url = |host: &Host, port: u16| format!("http://{}:{port}", host.address);
        let servers = &self.hosts[..SERVERS];
        let cluster: Vec<String> =
            servers.iter().map(|host| format!("{}={}", host.name, url(host, 2380))).collect();
        for number in 0..SERVERS {
            let host = self.hosts[number].clone();
            let (client, peer) = (url(&host, 2379), url(&host, 2380));
            let data = self.dir(number).join("etcd");
            let args = [
                ("--name", host.name.clone()),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", cluster.join(",")),
                ("--initial-cluster-token", "site".to_owned()),
                // As the etcd that Tanist runs.
                ("--heartbeat-interval", "50".to_owned()),
                ("--election-timeout", "500".to_owned()),
                ("--logger", "zap".to_owned()),
            ];
            let args = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let args = args.chain(["--pre-vote".to_owned()]);
            let more = std::env::var(ETCD_ARGS).unwrap_or_default();
            let all = args.chain(more.split_whitespace().map(str::to_owned)).collect();
            self.run(number, "etcd", Path::new("etcd"), all);
        }
        let started = Instant::now();
        while !self.etcd_says(0, "/health", r#""health":"true""#) {
            assert!(started.elapsed() < PATIENCE, "etcd does not get ready");
            // waits: etcd tells nobody that it is ready.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn etcd_says(&self, host: usize, path: &str, wanted: &str) -> bool {
        let at = SocketAddr::from((self.hosts[host].address, 2379));
        let said = inside(self.namespace(host), async || page(at, path).await);
        said.is_some_and(|said| said.contains(wanted))
    }

    /// The host whose etcd member leads; it matters for how long etcd takes no writes.
    pub fn etcd_leader(&self) -> Option<usize> {
        let leads = |host: &usize| self.etcd_says(*host, "/metrics", "\netcd_server_is_leader 1\n");
        self.servers().into_iter().filter(|host| self.programs[*host].has("etcd")).find(leads)
    }

    fn start_tanist(&mut self, more: &str) {
        let file = self.root().join("tanist.toml");
        std::fs::write(&file, self.file() + more)
            .unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        let file = file.display().to_string();
        let first = self.hosts[0].name.clone();
        self.tanist(0, &["init", "--config", &file, "--host", &first], QUESTION).ok();
        self.role(0, "server");
        self.role(0, "agent");
        for host in 1..self.hosts.len() {
            let name = self.hosts[host].name.clone();
            let token = self.when_answered(&["host", "invite", &name]);
            self.join(host, &token);
            if host < SERVERS {
                self.role(host, "server");
            }
            self.role(host, "agent");
        }
        let started = Instant::now();
        let all = self.hosts.len();
        while self.status().is_none_or(|status| {
            status.hosts.len() < all || status.proxies.iter().filter(|proxy| proxy.up).count() < all
        }) {
            assert!(started.elapsed() < PATIENCE, "not every host comes\n{}", self.fleet_says());
            self.revive();
            // waits: the command line has no event for it.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn file(&self) -> String {
        let endpoints: Vec<String> = self.hosts[..SERVERS]
            .iter()
            .map(|host| format!("\"http://{}:2379\"", host.address))
            .collect();
        let mut file = format!(
            "region = \"us-east-1\"\n[store]\nkind = \"etcd\"\nallow_plaintext = true\n\
             endpoints = [{}]\n",
            endpoints.join(", ")
        );
        for (number, Host { name, zone, address }) in self.hosts.iter().enumerate() {
            let server = if number < SERVERS { "\"server\", " } else { "" };
            file += &format!(
                "[[host]]\nname = \"{name}\"\nzone = \"{zone}\"\naddress = \"{address}\"\n\
                 roles = [{server}\"agent\", \"proxy\"]\n"
            );
        }
        file
    }

    fn role(&mut self, host: usize, role: &'static str) {
        let data = self.data(host).display().to_string();
        self.run(host, role, &binary(), vec!["--data-dir".to_owned(), data, role.to_owned()]);
    }

    fn data(&self, host: usize) -> PathBuf {
        self.dir(host).join("tanist")
    }

    /// Runs a command of the binary on a host, for at most so many seconds.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn tanist(&self, host: usize, args: &[&str], seconds: u32) -> Ran {
        let output = self.command(host, args, seconds).output();
        Ran::new(&output.unwrap_or_else(|err| panic!("running tanist: {err}")))
    }

    fn command(&self, host: usize, args: &[&str], seconds: u32) -> std::process::Command {
        let mut command = within(self.namespace(host), "timeout");
        command.args(["-s", "KILL", &seconds.to_string()]).arg(binary());
        command.arg("--data-dir").arg(self.data(host)).args(args).env("NO_COLOR", "1");
        command
    }

    /// The output of a command on the first host once it succeeds.
    fn when_answered(&mut self, args: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let ran = self.tanist(0, args, QUESTION);
            if ran.code == 0 {
                return ran.out;
            }
            assert!(started.elapsed() < PATIENCE, "{args:?}: {}\n{}", ran.err, self.fleet_says());
            self.revive();
            // waits: a server that starts tells nobody when it leads.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn join(&self, host: usize, token: &str) {
        let mut command = self.command(host, &["join"], 40);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| panic!("tanist join: {err}"));
        let given = child
            .stdin
            .take()
            .map(|mut stdin| std::io::Write::write_all(&mut stdin, token.as_bytes()));
        let output = child.wait_with_output().unwrap_or_else(|err| panic!("tanist join: {err}"));
        assert!(given.is_some_and(|given| given.is_ok()), "tanist join reads no token");
        Ran::new(&output).ok();
    }

    /// What the fleet says of itself, through whichever server answers first.
    pub fn status(&self) -> Option<Status> {
        let on = self.on().into_iter().filter(|host| self.programs[*host].has("server"));
        on.into_iter().find_map(|host| {
            let ran = self.tanist(host, &["status", "-o", "json"], QUESTION);
            serde_json::from_str(&ran.out).ok()
        })
    }

    fn group(&self) -> Option<GroupStatus> {
        self.status()?.groups.into_iter().next()
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    pub(super) fn fleet_primary(&self) -> Option<usize> {
        let shard = self.group()?.shards.into_iter().next()?;
        let primary = shard.nodes.iter().find(|node| node.role == "primary")?;
        self.at(primary.host.as_str())
    }

    pub(super) fn fleet_engine(&self) -> Option<u32> {
        let shard = self.group()?.shards.into_iter().next()?;
        shard.nodes.iter().find(|node| node.role == "primary")?.pid
    }

    pub(super) fn fleet_epoch(&self) -> u64 {
        let shard = self.group().and_then(|group| group.shards.into_iter().next());
        shard.map_or(0, |shard| shard.epoch.0)
    }

    pub(super) fn fleet_replicas(&self) -> Vec<usize> {
        let shard = self.group().and_then(|group| group.shards.into_iter().next());
        let nodes = shard.map(|shard| shard.nodes).unwrap_or_default();
        let replicas = nodes.iter().filter(|node| node.role == "replica");
        replicas.filter_map(|node| self.at(node.host.as_str())).collect()
    }

    /// Moves the primary's role to the node of another host, without anybody noticing.
    ///
    /// # Panics
    /// If that is refused.
    pub fn switch_over(&self, to: usize) {
        let shard = self.group().and_then(|group| group.shards.into_iter().next());
        let nodes = shard.map(|shard| shard.nodes).unwrap_or_default();
        let heir = nodes.iter().find(|node| node.host.as_str() == self.hosts[to].name);
        let heir = heir.unwrap_or_else(|| panic!("no node on {}", self.hosts[to].name));
        self.tanist(0, &["switchover", GROUP, "--to", &heir.node.to_string()], 40).ok();
    }

    /// What the servers wrote last about who leads.
    pub(super) fn fleet_leader(&self) -> Option<usize> {
        let mut latest: Option<(u64, usize)> = None;
        for programs in &self.programs {
            let Some(log) = programs.log("server") else { continue };
            let text = std::fs::read_to_string(log).unwrap_or_default();
            for line in text.lines().filter(|line| line.contains("leads") && line.contains("term"))
            {
                let word =
                    |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
                let term = word("term=").and_then(|term| term.parse().ok());
                let host = word("host=").and_then(|host| self.at(host));
                latest = latest.max(term.zip(host));
            }
        }
        latest.map(|(_, host)| host)
    }

    pub(super) fn fleet_settled(&self) -> Result<(), String> {
        let Some(status) = self.status() else { return Err("no server answers".to_owned()) };
        let Some(group) = status.groups.into_iter().next() else {
            return Err("there is no group".to_owned());
        };
        let Some(shard) = group.shards.into_iter().next() else {
            return Err("the group has no shard".to_owned());
        };
        let whole = shard.nodes.len() > usize::from(group.replicas)
            && shard.nodes.iter().all(|node| node.role == "primary" || node.in_sync);
        if group.status == "available" && whole {
            return Ok(());
        }
        let nodes: Vec<String> = shard
            .nodes
            .iter()
            .map(|node| format!("{} on {}: {}", node.node, node.host, node.role))
            .collect();
        let waits = format!("{:?} {:?}", shard.problems, shard.waits);
        Err(format!("{}; {}; {waits}", group.status, nodes.join(", ")))
    }

    pub(super) fn fleet_says(&self) -> String {
        let mut said = String::new();
        let asked = self.on().into_iter().next().unwrap_or(0);
        for args in [&["status"][..], &["events"], &["history", GROUP]] {
            let ran = self.tanist(asked, args, QUESTION);
            said += &format!("--- {args:?}\n{}{}", ran.out, ran.err);
        }
        for host in self.on() {
            for role in ["server", "agent"] {
                let Some(log) = self.programs[host].log(role) else { continue };
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
                said += &format!("--- {} {role}\n{tail}\n", self.hosts[host].name);
            }
        }
        said
    }
}

/// A page of etcd; nothing without an answer in time.
async fn page(address: SocketAddr, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(1), ask).await.ok().flatten()
}
