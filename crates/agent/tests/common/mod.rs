//! Hosts with a real supervisor process and real engines, driven by orders as a controller would.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process_, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tanist_agent::{AgentConfig, AgentError, Ended, Engines, Inbox, run};
use tanist_core::model::*;
use tanist_link::Secret;
use tanist_link::wire::{ADMIN_USER, FromAgent, NodeEntry, ToAgent, Vitals, admin_label};
use tanist_resp::{Command, Connection, Info, Value};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a busy machine; what is awaited takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PORT: u16 = 16379;

/// Runs a test with Redis and with Valkey.
#[macro_export]
macro_rules! with_both_engines {
    ($($name:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "current_thread")]
            async fn $name() { super::$name(tanist_core::model::EngineKind::Redis).await; })*
        }
        mod valkey {
            $(#[tokio::test(flavor = "current_thread")]
            async fn $name() { super::$name(tanist_core::model::EngineKind::Valkey).await; })*
        }
    };
}

pub(crate) fn secret() -> Secret {
    Secret::from_bytes([9; 32])
}

/// An address of this machine that no other test uses.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let pid = std::process::id();
    let byte = |n: u32| u8::try_from(n & 0xff).unwrap();
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(127, 64 + byte((pid >> 8) & 63), byte(pid), byte(n));
        // A run that was broken off may have left engines at it.
        if std::net::TcpListener::bind((address, PORT)).is_ok() {
            return address;
        }
    }
}

/// A supervisor process.
pub(crate) struct Supervisor {
    pub(crate) dir: TempDir,
    /// What it is told beside where it works.
    more: Vec<PathBuf>,
    child: Child,
}

impl Supervisor {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One that asks for leases, at the socket that is named.
    pub(crate) async fn start_with(more: &[PathBuf]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Self::spawn(dir.path(), more);
        let supervisor = Self { dir, more: more.to_vec(), child };
        supervisor.reachable().await;
        supervisor
    }

    fn spawn(dir: &Path, more: &[PathBuf]) -> Child {
        let test = std::env::current_exe().unwrap();
        let binary = test.parent().unwrap().parent().unwrap().join("examples/supervisor");
        assert!(binary.exists(), "cargo build -p tanist-agent --examples");
        let mut command = Process_::new(binary);
        command.arg(dir.join("socket")).arg(dir.join("state")).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    }

    async fn reachable(&self) {
        let connected = async {
            while tokio::net::UnixStream::connect(self.socket()).await.is_err() {
                // waits: nothing tells when a socket is offered.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, connected).await.expect("the supervisor listens");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Protects it from the kernel's choice when memory runs out; false if only root may do that.
    pub(crate) fn protect(&self) -> bool {
        std::fs::write(format!("/proc/{}/oom_score_adj", self.child.id()), "-500").is_ok()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts another one after [`Supervisor::kill`].
    pub(crate) async fn restart_dead(&mut self) {
        self.child = Self::spawn(self.dir.path(), &self.more);
        self.reachable().await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A test that fails must not leave engines behind.
        let record = std::fs::read_to_string(self.dir.path().join("state/processes.json"));
        for line in record.unwrap_or_default().lines() {
            let Some(pid) = line.trim().strip_prefix("\"pid\": ") else { continue };
            let pid = pid.trim_end_matches(',');
            let _ = Process_::new("kill").arg("-KILL").arg(pid).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an agent has said so far.
#[derive(Default, Clone)]
pub(crate) struct Said {
    pub(crate) nodes: BTreeMap<NodeId, NodeEntry>,
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) reports: u64,
    pub(crate) stopped: bool,
    pub(crate) vitals: Vec<Vitals>,
}

/// A host: its directory, and its agent while it runs.
pub(crate) struct Host {
    pub(crate) config: AgentConfig,
    pub(crate) engine: EngineKind,
    orders: mpsc::Sender<ToAgent>,
    pub(crate) said: watch::Receiver<Said>,
    task: JoinHandle<Result<Ended, AgentError>>,
}

impl Host {
    pub(crate) fn start(supervisor: &Supervisor, name: &str, engine: EngineKind) -> Self {
        Self::with(Self::config(supervisor, name), engine)
    }

    pub(crate) fn config(supervisor: &Supervisor, name: &str) -> AgentConfig {
        AgentConfig {
            host: HostId::new(name),
            address: address(),
            dir: supervisor.dir.path().join(name),
            secret: secret(),
            supervisor: supervisor.socket(),
            engines: Engines {
                redis: "/usr/bin/redis-server".into(),
                valkey: "/usr/bin/valkey-server".into(),
            },
            limits: Limits::DEFAULT,
            probe_every: Duration::from_millis(50),
            leases: false,
        }
    }

    pub(crate) fn with(config: AgentConfig, engine: EngineKind) -> Self {
        let (orders, messages) = mpsc::channel(64);
        let mut inbox = Inbox::new(messages);
        let (outbox, mut heard) = mpsc::channel(64);
        let (said, said_seen) = watch::channel(Said::default());
        let works = config.clone();
        let task = tokio::spawn(async move { run(works, &mut inbox, outbox).await });
        tokio::spawn(async move {
            while let Some(message) = heard.recv().await {
                said.send_modify(|said| match message {
                    FromAgent::Report(report) => {
                        said.reports += 1;
                        let entry = |entry: NodeEntry| (entry.node.clone(), entry);
                        said.nodes = report.nodes.into_iter().map(entry).collect();
                    }
                    FromAgent::Note { name, text, .. } => said.notes.push((name, text)),
                    FromAgent::Stopped { .. } => said.stopped = true,
                    FromAgent::Vitals(vitals) => said.vitals.push(*vitals),
                    FromAgent::Hello(_)
                    | FromAgent::Clock { .. }
                    | FromAgent::Recalled(_)
                    | FromAgent::Unknown => {}
                });
            }
        });
        Self { config, engine, orders, said: said_seen, task }
    }

    /// Ends the agent and starts another one in its place.
    pub(crate) async fn restart(self) -> Self {
        let Self { config, engine, orders, task, .. } = self;
        drop(orders);
        task.await.unwrap().unwrap();
        Self::with(config, engine)
    }

    /// Ends the agent without warning.
    pub(crate) fn abort(self) {
        self.task.abort();
    }

    /// How the agent ended.
    pub(crate) async fn end(self) -> Result<Ended, AgentError> {
        timeout(PATIENCE, self.task).await.expect("the agent ends").unwrap()
    }

    pub(crate) async fn send(&self, message: ToAgent) {
        self.orders.send(message).await.unwrap();
    }

    pub(crate) async fn order(&self, node: &str, rev: u64, epoch: u64, action: Action) {
        self.order_with(node, rev, epoch, action, LaneUsers::new()).await;
    }

    pub(crate) async fn order_with(
        &self,
        node: &str,
        rev: u64,
        epoch: u64,
        action: Action,
        users: LaneUsers,
    ) {
        let order = Order {
            term: Term(1),
            epoch: Epoch(epoch),
            rev: Rev(rev),
            group: "web".into(),
            shard: "0001".into(),
            node: node.into(),
            action,
            users,
        };
        self.send(ToAgent::Order(Box::new(order))).await;
    }

    /// Waits until what the agent has said satisfies.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&Said) -> Option<T>,
    ) -> T {
        let mut said = self.said.clone();
        let waiting = async {
            loop {
                if let Some(value) = found(&said.borrow_and_update()) {
                    return value;
                }
                said.changed().await.expect("the agent works");
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(value) => value,
            Err(_) => {
                let said = self.said.borrow();
                let nodes: Vec<_> = said.nodes.values().map(|entry| &entry.report).collect();
                panic!("never seen: {what}\n{nodes:#?}\n{:#?}", said.notes)
            }
        }
    }

    pub(crate) async fn node<T>(
        &self,
        node: &str,
        what: &str,
        mut found: impl FnMut(&NodeReport) -> Option<T>,
    ) -> T {
        self.until(what, |said| found(&said.nodes.get(node)?.report)).await
    }

    pub(crate) async fn note(&self, name: &str) -> String {
        let noted = |said: &Said| said.notes.iter().find(|n| n.0 == name).map(|n| n.1.clone());
        self.until(name, noted).await
    }

    /// Waits until the engine has loaded its data and has no role.
    pub(crate) async fn loaded(&self, node: &str) {
        let idle =
            |report: &NodeReport| (report.engine()?.health == Health::ReadOnly).then_some(());
        self.node(node, "loaded", idle).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((self.config.address, PORT))
    }

    pub(crate) fn dir(&self, node: &str) -> PathBuf {
        self.config.dir.join("nodes").join(node)
    }

    pub(crate) fn start_action(&self, data: DataOnStart) -> Action {
        Action::Start { engine: self.engine, address: self.address(), memory_bytes: 64 << 20, data }
    }

    /// Starts the node's engine and gives its run.
    pub(crate) async fn up(&self, node: &str, rev: u64, epoch: u64, data: DataOnStart) -> RunId {
        self.order(node, rev, epoch, self.start_action(data)).await;
        self.node(node, "a run id", |report| report.run().cloned()).await
    }

    pub(crate) async fn fence(
        &self,
        node: &str,
        rev: u64,
        epoch: u64,
        was_primary: bool,
    ) -> Fenced {
        self.order(node, rev, epoch, Action::Fence { was_primary, drain_to: None }).await;
        self.answer(node, rev).await
    }

    pub(crate) async fn answer(&self, node: &str, rev: u64) -> Fenced {
        self.node(node, "a fence answer", |report| {
            let answer = report.fence.as_ref().filter(|answer| answer.rev == Rev(rev))?;
            Some(answer.state.clone())
        })
        .await
    }

    pub(crate) async fn applied(&self, node: &str, rev: u64) -> Applied {
        self.node(node, "an applied order", |report| {
            report.applied.as_deref().filter(|applied| applied.rev == Rev(rev)).cloned()
        })
        .await
    }

    pub(crate) fn pid(&self, node: &str) -> u32 {
        self.said.borrow().nodes[node].pid.expect("a process")
    }

    /// A connection to the node's engine as the agent's user.
    pub(crate) async fn engine(&self, node: &str) -> Engine {
        let password = secret().password(&admin_label(&node.into()));
        Engine::open(self.address(), ADMIN_USER, &password).await.expect("the engine lets us in")
    }
}

pub(crate) struct Engine(Connection);

impl Engine {
    pub(crate) async fn open(address: SocketAddr, user: &str, password: &str) -> Option<Self> {
        let mut connection = Connection::connect(address, PATIENCE).await.ok()?;
        let auth = Command::new("AUTH").arg(user).arg(password);
        connection.call(&auth, PATIENCE).await.ok().filter(Value::is_ok)?;
        Some(Self(connection))
    }

    pub(crate) async fn anonymous(address: SocketAddr) -> Self {
        Self(Connection::connect(address, PATIENCE).await.unwrap())
    }

    pub(crate) async fn call(&mut self, words: &[&str]) -> Value {
        let command = Command::new(words[0]).args(&words[1..]);
        self.0.call(&command, PATIENCE).await.expect("an answer")
    }

    /// Whether the connection ends instead of an answer.
    pub(crate) async fn ends(&mut self) -> bool {
        self.0.call(&Command::new("PING"), PATIENCE).await.is_err()
    }

    /// Waits until every write is handed to the kernel, which a killed engine cannot lose any more.
    pub(crate) async fn flushed(&mut self) {
        let flushed = async {
            while self.info("persistence").await.get("aof_buffer_length") != Some("0") {
                // waits: the engine offers no event for an empty buffer.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, flushed).await.expect("the append-only file is written");
    }

    pub(crate) async fn info(&mut self, section: &str) -> Info {
        Info::parse(self.call(&["INFO", section]).await.as_str().unwrap())
    }
}

pub(crate) fn tag(node: &str, run: &RunId, seq: u64) -> Tag {
    Tag { run: Run { node: node.into(), id: run.clone() }, seq }
}

pub(crate) fn promote(run: &RunId, replicas: &[&Tag], lanes: &[&str]) -> Action {
    Action::Promote {
        run: run.clone(),
        replicas: replicas.iter().map(|tag| (*tag).clone()).collect(),
        lanes: proxies(lanes),
        stand_ins: None,
    }
}

pub(crate) fn follow(tag: &Tag, primary: SocketAddr, base: Option<(ReplId, Offset)>) -> Action {
    Action::Follow { tag: tag.clone(), primary, base, lanes: BTreeSet::new() }
}

pub(crate) fn proxies(names: &[&str]) -> BTreeSet<ProxyId> {
    names.iter().map(ProxyId::new).collect()
}

pub(crate) fn linked(report: &NodeReport) -> Option<()> {
    let role = &report.engine()?.role;
    matches!(role, RoleSeen::Replica { link_up: true, .. }).then_some(())
}

/// What the engine's process is called with and what it has logged.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

pub(crate) fn signal(pid: u32, name: &str) {
    let done = Process_::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(done.unwrap().success());
}

/// Stops every engine of the hosts, so that no test leaves one behind.
pub(crate) async fn end(hosts: &[&Host]) {
    for host in hosts {
        host.send(ToAgent::StopAll).await;
    }
    for host in hosts {
        host.until("everything stopped", |said| said.stopped.then_some(())).await;
    }
}

/// After a full copy the stream begins with the replica's next acknowledgement, which may take it a
/// second although both ends already call the link online.
pub(crate) async fn streaming(primary: &mut Engine) {
    primary.call(&["SET", "first", "x"]).await;
    let reached = primary.call(&["WAIT", "1", "10000"]).await;
    assert_eq!(reached, Value::Integer(1));
}
