//! A store, a controller, and its three hosts.
//!
//! Invariant: a host says nothing unless a test lets it.
//!
//! Not here: the claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use serde::de::DeserializeOwned;
use tanist_core::model::stored::Stored;
use tanist_core::model::{
    Access, Accounts, Applied, Durability, EndpointPlan, EngineKind, EngineSeen, Epoch,
    GroupEndpoints, GroupSpec, Health, HostId, Limits, Lineage, Member, NodeId, NodeReport, Offset,
    Primaryship, Process, Reads, ReplicaSeen, RequestId, Rev, RoleSeen, Run, ShardKey,
    ShardTopology, SlotRange, Stall, Tag,
};
use tanist_link::api::{ApiError, EventRecord};
use tanist_link::wire::{FromAgent, FromProxy, HostReport, NodeEntry, ToAgent, ToProxy};
use tanist_link::{Receiver, Sender, accept};
use tanist_store::{AnyStore, Options, SqliteStore, Store};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::archive::Archive;
use crate::inputs::{Call, Input, Reply};
use crate::leadership::Claim;
use crate::{Agents, ControllerConfig, Handle, HostConfig, Names, Parts};
use crate::{keys, proxies};

/// Longer than anything that a test waits for.
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) fn node(n: usize) -> NodeId {
    NodeId::new(format!("web-00{n}"))
}

pub(super) fn run(n: usize) -> Run {
    Run { node: node(n), id: format!("run-{n}").as_str().into() }
}

pub(crate) fn tag(n: usize) -> Tag {
    Tag { run: run(n), seq: n as u64 }
}

pub(super) fn host(n: usize) -> HostId {
    HostId::new(format!("h{n}"))
}

pub(super) fn key() -> ShardKey {
    ShardKey { group: "web".into(), shard: "0001".into() }
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 80, 0, n as u8), 31_000))
}

pub(crate) fn spec() -> GroupSpec {
    let nowhere = Ipv4Addr::new(127, 80, 1, 1);
    GroupSpec {
        name: "web".into(),
        region: "here".into(),
        engine: EngineKind::Redis,
        shards: BTreeMap::from([("0001".into(), vec![SlotRange::ALL])]),
        replicas: 2,
        zones: Vec::new(),
        automatic_failover: true,
        durability: Durability::Sync,
        min_in_sync: 0,
        memory_bytes: 1 << 20,
        endpoints: GroupEndpoints {
            primary: nowhere,
            reader: nowhere,
            port: 6379,
            ports_from: None,
        },
        requests: BTreeMap::new(),
        access: Access::Everyone,
        login: Default::default(),
        accounts: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        zone_of: BTreeMap::new(),
        unwanted: BTreeSet::new(),
        endpoint_hosts: BTreeSet::new(),
        attributes: BTreeMap::new(),
        deleting: false,
    }
}

pub(crate) fn topology() -> ShardTopology {
    let member = |n: usize| Member {
        host: host(n),
        zone: format!("zone-{n}").as_str().into(),
        address: address(n),
        endpoint: Ipv4Addr::new(127, 80, 1, 2 + n as u8),
        attach: (n > 1).then(|| tag(n)),
        leaving: false,
    };
    ShardTopology {
        group: "web".into(),
        shard: "0001".into(),
        rev: Rev(10),
        epoch: Epoch(3),
        durability: Durability::Sync,
        slots: vec![SlotRange::ALL],
        primaryship: Primaryship::Serving(run(1)),
        in_sync: BTreeSet::from([tag(2), tag(3)]),
        pending: None,
        lineage: Lineage { base: Some(("old".into(), Offset(50))), replid: Some("now".into()) },
        members: (1..=3).map(|n| (node(n), member(n))).collect(),
        lanes: BTreeSet::new(),
        next_seq: 4,
        request_done: RequestId(0),
        relocation: None,
    }
}

/// What a host says when its node is well.
pub(crate) fn well(n: usize) -> NodeReport {
    let seen = |n: usize| ReplicaSeen {
        tag: tag(n).to_string(),
        online: true,
        acked: Offset(100),
        behind: Duration::ZERO,
    };
    let role = match n {
        1 => RoleSeen::Primary { replicas: vec![seen(2), seen(3)] },
        _ => RoleSeen::Replica { link_up: true, syncing: false, of: Some(address(1)) },
    };
    NodeReport {
        rev: Rev(10),
        process: Process::Running(Some(run(n).id)),
        engine: Some(EngineSeen {
            run: run(n).id,
            role,
            replid: "now".into(),
            offset: Offset(100),
            health: if n == 1 { Health::Writable } else { Health::ReadOnly },
            memory_bytes: 0,
            memory_limit: None,
            fork_error: None,
        }),
        silent: Duration::ZERO,
        stall: Stall::None,
        fence: None,
        applied: Some(Arc::new(Applied {
            rev: Rev(10),
            epoch: Epoch(3),
            run: run(n).id,
            primary: n == 1,
            seqs: if n == 1 { BTreeSet::from([2, 3]) } else { BTreeSet::from([n as u64]) },
            lanes: BTreeSet::new(),
            users: 0,
            stand_ins: BTreeSet::new(),
        })),
        data: true,
        standing: None,
    }
}

pub(crate) fn said(n: usize, report: NodeReport) -> HostReport {
    let key = key();
    let (group, shard, pid) = (key.group, key.shard, None);
    let entry = NodeEntry { group, shard, node: node(n), pid, echo: 0, same: false, report };
    HostReport { host: host(n), echo: 0, nodes: vec![entry], part: false }
}

pub(super) fn config(limits: Limits) -> ControllerConfig {
    let host = |n: usize| HostConfig {
        host: host(n),
        zone: format!("zone-{n}").as_str().into(),
        address: Ipv4Addr::new(127, 80, 0, n as u8),
        memory_bytes: 1 << 30,
    };
    ControllerConfig {
        region: "here".into(),
        hosts: (1..=3).map(host).collect(),
        limits,
        endpoints: EndpointPlan::default(),
        floating: Vec::new(),
        port: 6379,
        default_memory_bytes: 1 << 20,
        stopping: Duration::from_secs(60),
        names: Names {
            installation: "abcdef".to_owned(),
            domain: "example".to_owned(),
            hosts_file: "/nowhere".into(),
        },
        certifier: crate::Certifier::Nobody("there is none".to_owned()),
        outside: tokio::sync::watch::channel(std::sync::Arc::default()).1,
        program: None,
        admission: None,
        servers: None,
        notes: Vec::new(),
    }
}

/// A store that holds a group.
pub(super) async fn store(home: &TempDir, spec: GroupSpec, shard: ShardTopology) -> AnyStore {
    let opened = SqliteStore::open(home.path(), Options::default()).await;
    let store = AnyStore::from(opened.unwrap());
    let claim = Claim::alone(&store).await.unwrap();
    let mut archive = Archive::open(store.clone(), claim).await.unwrap();
    archive.write_spec(spec, vec![shard], &[]).await.unwrap();
    store
}

/// A proxy's end of a conversation.
pub(super) struct Proxy {
    sender: Sender<FromProxy>,
    receiver: Receiver<ToProxy>,
    /// What the latest route said about who may connect.
    pub(super) access: Option<Access>,
    pub(super) accounts: Option<Accounts>,
}

impl Proxy {
    pub(super) fn say(&self, message: &FromProxy) {
        self.sender.send(message).unwrap();
    }

    pub(super) async fn hear(&mut self) -> ToProxy {
        let heard = tokio::time::timeout(LONG, self.receiver.recv()).await.unwrap();
        let heard = heard.unwrap().unwrap();
        if let ToProxy::Route(route) = &heard {
            self.access = Some(route.access.clone());
            self.accounts = Some(route.accounts.clone());
        }
        heard
    }
}

/// A controller that runs, and the ends of its channels.
pub(super) struct Rig {
    _home: TempDir,
    handle: Handle,
    pub(super) store: AnyStore,
    events: broadcast::Receiver<EventRecord>,
    pub(super) hosts: mpsc::Sender<FromAgent>,
    pub(super) told: mpsc::Receiver<ToAgent>,
}

impl Rig {
    pub(super) async fn new(limits: Limits, spec: GroupSpec, shard: ShardTopology) -> Self {
        Self::with(config(limits), spec, shard).await
    }

    pub(super) async fn with(
        config: ControllerConfig,
        spec: GroupSpec,
        shard: ShardTopology,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = store(&home, spec, shard).await;
        Self::over(config, home, store).await
    }

    /// One whose store has nothing.
    pub(super) async fn empty(limits: Limits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path(), Options::default()).await.unwrap();
        Self::over(config(limits), home, AnyStore::from(store)).await
    }

    pub(super) async fn over(config: ControllerConfig, home: TempDir, store: AnyStore) -> Self {
        let (outbox, told) = mpsc::channel(4096);
        let (hosts, inbox) = mpsc::channel(64);
        let agents = Agents { outboxes: BTreeMap::from([(host(1), outbox)]), inbox };
        let parts = Parts {
            config,
            store: store.clone(),
            agents,
            metrics: Default::default(),
            claim: None,
        };
        let (handle, _task) = crate::run(parts).await.unwrap();
        let events = handle.events.subscribe();
        Self { _home: home, handle, store, events, hosts, told }
    }

    /// A host reports; returns once the loop has taken it in.
    pub(super) async fn report(&mut self, n: usize, report: NodeReport) {
        self.hosts.send(FromAgent::Report(said(n, report))).await.unwrap();
        while self.hosts.capacity() < self.hosts.max_capacity() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for `count` ticks of the loop.
    pub(super) async fn ticks(&mut self, count: usize) {
        while self.told.try_recv().is_ok() {}
        let mut ticks = 0;
        while ticks < count {
            let told = tokio::time::timeout(LONG, self.told.recv()).await.unwrap().unwrap();
            ticks += usize::from(matches!(told, ToAgent::Echo(_)));
        }
    }

    /// Waits for an event and returns all until then.
    pub(super) async fn event(&mut self, name: &str) -> Vec<EventRecord> {
        let mut all = Vec::new();
        loop {
            let record = tokio::time::timeout(LONG, self.events.recv()).await.unwrap().unwrap();
            let found = record.name == name;
            all.push(record);
            if found {
                return all;
            }
        }
    }

    /// The names of events that nobody has waited for.
    pub(super) fn pending_events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|record| record.name).collect()
    }

    /// Asks as a person would, and waits for the answer.
    pub(super) async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let answer = self.asked(call).await;
        tokio::time::timeout(LONG, answer).await.unwrap().unwrap()
    }

    /// Asks as a person would.
    pub(super) async fn asked<T>(
        &self,
        call: impl FnOnce(Reply<T>) -> Call,
    ) -> oneshot::Receiver<Result<T, ApiError>> {
        let (reply, answer) = oneshot::channel();
        self.handle.inbox.send(Input::Call(call(reply))).await.unwrap();
        answer
    }

    /// A proxy that connects; returns once it has been told what exists.
    pub(super) async fn proxy(&self, name: &str, generation: u64) -> Proxy {
        let mut proxy = self.connect(name, generation, true);
        while !matches!(proxy.hear().await, ToProxy::Known(_)) {}
        proxy
    }

    /// A proxy that has called, serves nothing yet, and understands certificates or does not.
    pub(super) fn connect(&self, name: &str, generation: u64, certificates: bool) -> Proxy {
        let proxy = self.call(name, generation, certificates);
        proxy.say(&FromProxy::Beat { shards: Vec::new(), part: false });
        proxy
    }

    /// A proxy that has called and has not said what it serves.
    pub(super) fn connect_silent(&self, name: &str, generation: u64) -> Proxy {
        self.call(name, generation, true)
    }

    fn call(&self, name: &str, generation: u64, certificates: bool) -> Proxy {
        let (there, request) = accept::<FromProxy, ToProxy>("proxy", Body::empty());
        let inbox = self.handle.inbox.clone();
        let response = proxies::converse(request.into_body(), inbox, generation, None);
        let (back, _) = accept::<FromProxy, ToProxy>("proxy", response.into_body());
        let proxy =
            Proxy { sender: there.sender, receiver: back.receiver, access: None, accounts: None };
        let (build, renewed) = (None, None);
        let (proxy_id, parts) = (name.into(), false);
        let hello =
            FromProxy::Hello { proxy: proxy_id, pid: 1, certificates, build, renewed, parts };
        proxy.say(&hello);
        proxy
    }

    /// What the store holds: the spec and the topology.
    pub(super) async fn held(&self) -> (GroupSpec, ShardTopology) {
        let key = key();
        let spec = read(&self.store, &keys::spec(&key.group)).await;
        (spec, read(&self.store, &keys::topology(&key)).await)
    }
}

async fn read<T: DeserializeOwned>(store: &AnyStore, key: &str) -> T {
    let (found, _) = store.get(key).await.unwrap();
    let stored: Stored<T> = serde_json::from_slice(&found.unwrap().value).unwrap();
    stored.into_body()
}
