//! Hosts that come over the network: who they are, and what they may say.
//!
//! Invariant: every connection is a real one, with certificates of one authority.
//!
//! Not here: what an agent does (`tanist-agent`), handshakes (`tanist-link`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tanist_core::model::{Limits, ProxyId};
use tanist_lab::Members;
use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_link::api::{HostStatus, Status};
use tanist_link::wire::{AgentHello, FromAgent, FromProxy, HostReport, ToAgent, ToProxy};
use tanist_link::{
    ADMIN_NAME, Client, Duplex, LinkError, SecureListener, Server, Servers, host_name,
    serve_secure, server_name,
};
use tanist_store::{AnyStore, EtcdConfig, EtcdStore, Options, SqliteStore};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::rig::{LONG, config};
use crate::{Agents, Candidate, ControllerError, Parts, Turns, doors};

type Talk = Duplex<FromAgent, ToAgent>;

/// A server of a fleet that has no hosts yet.
struct Fleet {
    members: Members,
    address: SocketAddr,
    task: JoinHandle<Result<(), ControllerError>>,
    serving: JoinHandle<()>,
    _reports: mpsc::Sender<FromAgent>,
}

impl Fleet {
    async fn start(store: AnyStore) -> Self {
        let members = Members::new();
        let mut config = config(Limits::DEFAULT);
        config.hosts.clear();
        let (reports, inbox) = mpsc::channel(8);
        let agents = Agents { outboxes: BTreeMap::new(), inbox };
        let parts = Parts { config, store, agents, metrics: Arc::default(), claim: None };
        let (handle, task) = crate::run(parts).await.unwrap();
        let shown = watch::channel(members.accepting(&[&server_name(&"s1".into())])).1;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = SecureListener::bind(any, shown).await.unwrap();
        let address = listener.address();
        let serving = tokio::spawn(serve_secure(listener, crate::routes(handle)));
        Self { members, address, task, serving, _reports: reports }
    }

    /// How somebody with this name talks to it.
    fn client(&self, name: &str) -> Client {
        let config = watch::channel(self.members.dialling(&[name])).1;
        let server = Server { host: "s1".into(), address: self.address };
        Client::fleet(Arc::new(Servers::new(vec![server], config)))
    }

    async fn hosts(&self) -> Vec<HostStatus> {
        self.client(ADMIN_NAME).get("/v1/hosts").await.unwrap()
    }

    /// Somebody with the certificate of one host who says that it is another.
    async fn agent(&self, certified: &str, says: &str) -> Talk {
        let client = self.client(&host_name(&certified.into()));
        let talk = client.open("/link/v1/agent").await.unwrap();
        let hello = AgentHello {
            host: says.into(),
            zone: "zone-7".into(),
            address: Ipv4Addr::new(10, 0, 0, 7),
            memory_bytes: 7 << 20,
            keeps: true,
            parts: false,
        };
        talk.sender.send(&FromAgent::Hello(hello)).unwrap();
        talk
    }
}

async fn store(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(dir.path(), Options::default()).await.unwrap()
}

/// The next thing that an agent is told; `None` when the conversation is over.
async fn told(talk: &mut Talk) -> Option<ToAgent> {
    match timeout(LONG, talk.receiver.recv()).await.expect("it says something or ends") {
        Ok(told) => told,
        Err(LinkError::Closed) => None,
        Err(err) => panic!("{err}"),
    }
}

/// Waits until the conversation is over.
async fn over(mut talk: Talk) {
    while told(&mut talk).await.is_some() {}
}

#[tokio::test]
async fn a_host_makes_itself_known_and_is_known_to_the_next_controller() {
    let dir = tempfile::tempdir().unwrap();
    let held = store(&dir).await;
    let fleet = Fleet::start(AnyStore::from(held.clone())).await;
    assert_eq!(fleet.hosts().await, []);
    let mut talk = fleet.agent("h7", "h7").await;
    let Some(ToAgent::Echo(first)) = told(&mut talk).await else { panic!("it is spoken to") };
    let hosts = fleet.hosts().await;
    let [host] = &hosts[..] else { panic!("{hosts:?}") };
    assert_eq!((host.host.as_str(), host.zone.as_str(), host.up), ("h7", "zone-7", true));
    assert_eq!((host.address, host.memory_bytes), (Ipv4Addr::new(10, 0, 0, 7), 7 << 20));
    let reported = FromAgent::Report(HostReport {
        host: "h7".into(),
        echo: 1,
        nodes: Vec::new(),
        part: false,
    });
    talk.sender.send(&reported).unwrap();
    assert_eq!(host.clock_ms, None, "it has not said what its clock shows");
    let wall_ms = crate::wall_ms() + 90_000;
    talk.sender.send(&FromAgent::Clock { host: "h7".into(), wall_ms }).unwrap();
    let ahead = async {
        loop {
            if let Some(ms) = fleet.hosts().await[0].clock_ms {
                return ms;
            }
        }
    };
    let ahead = timeout(LONG, ahead).await.expect("it is heard");
    assert!((60_000..=90_000).contains(&ahead), "{ahead}");
    fleet.task.abort();
    fleet.serving.abort();
    over(talk).await;
    let next = Fleet::start(AnyStore::from(held)).await;
    assert_eq!(next.hosts().await.len(), 1, "it is known before it comes");
    let mut talk = next.agent("h7", "h7").await;
    let Some(ToAgent::Echo(second)) = told(&mut talk).await else { panic!("it is spoken to") };
    assert!(second > first + (1 << 30), "no number means what it meant before: {first} {second}");
}

#[tokio::test]
async fn nobody_speaks_for_another_host() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(AnyStore::from(store(&dir).await)).await;
    over(fleet.agent("h8", "h7").await).await;
    assert_eq!(fleet.hosts().await, [], "h8 is not h7");
    let mut talk = fleet.agent("h8", "h8").await;
    assert!(told(&mut talk).await.is_some());
    let report = HostReport { host: "h7".into(), echo: 1, nodes: Vec::new(), part: false };
    talk.sender.send(&FromAgent::Report(report)).unwrap();
    over(talk).await;
    let client = fleet.client(&host_name(&"h8".into()));
    let open = async || client.open::<FromProxy, ToProxy>("/link/v1/proxy").await.unwrap();
    let hello = |proxy: &str| FromProxy::Hello {
        proxy: ProxyId::new(proxy),
        pid: 1,
        certificates: true,
        build: None,
        renewed: None,
        parts: false,
    };
    let mut own = open().await;
    own.sender.send(&hello("proxy-h8")).unwrap();
    own.sender.send(&FromProxy::Beat { shards: Vec::new(), part: false }).unwrap();
    let heard = timeout(LONG, own.receiver.recv()).await.unwrap().unwrap();
    assert_eq!(heard, Some(ToProxy::Known(Vec::new())));
    let mut others = open().await;
    others.sender.send(&hello("proxy-h7")).unwrap();
    let heard = timeout(LONG, others.receiver.recv()).await.unwrap();
    assert!(matches!(heard, Ok(None) | Err(LinkError::Closed)), "{heard:?}");
}

#[tokio::test]
async fn only_administrators_ask_and_change_over_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(AnyStore::from(store(&dir).await)).await;
    assert!(fleet.client(ADMIN_NAME).get::<Status>("/v1/status").await.is_ok());
    let names = [host_name(&"h7".into()), server_name(&"s1".into()), "nobody.tanist".to_owned()];
    for name in names {
        let client = fleet.client(&name);
        let refused = [
            client.get::<Status>("/v1/status").await.map(drop),
            client.post::<_, ()>("/v1/down", &()).await,
            client.get::<Status>("/v1/nothing").await.map(drop),
        ];
        for refused in refused {
            let Err(LinkError::Refused(error)) = refused else { panic!("{name}: {refused:?}") };
            assert_eq!(error.code, "T480", "{name}");
        }
    }
    let joining = watch::channel(fleet.members.joining()).1;
    let server = Server { host: "s1".into(), address: fleet.address };
    let nobody = Client::fleet(Arc::new(Servers::new(vec![server], joining)));
    for route in ["/link/v1/agent", "/link/v1/proxy"] {
        let refused = nobody.open::<FromAgent, ToAgent>(route).await;
        let Err(LinkError::Refused(error)) = refused else { panic!("{route}: {refused:?}") };
        assert_eq!(error.code, "T480", "{route}");
    }
}

#[tokio::test]
async fn of_two_conversations_with_a_host_the_later_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(AnyStore::from(store(&dir).await)).await;
    let mut first = fleet.agent("h7", "h7").await;
    assert!(told(&mut first).await.is_some());
    let mut second = fleet.agent("h7", "h7").await;
    assert!(told(&mut second).await.is_some());
    // The first is not spoken to any more, and its end is not the second's.
    over(first).await;
    for _ in 0..3 {
        assert!(matches!(told(&mut second).await, Some(ToAgent::Echo(_))));
    }
}

/// A server among others, and how one asks it.
struct One {
    server: Server,
    turns: JoinHandle<Result<(), ControllerError>>,
}

async fn one(members: &Members, store: &AnyStore, host: &str) -> One {
    let candidate = Candidate { host: host.into(), known: watch::channel(None).0 };
    let (offered, now) = watch::channel(axum::Router::new());
    let shown = watch::channel(members.accepting(&[&server_name(&host.into())])).1;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = SecureListener::bind(any, shown).await.unwrap();
    let server = Server { host: host.into(), address: listener.address() };
    tokio::spawn(serve_secure(listener, doors(now)));
    let turns = Turns { store: store.clone(), candidate, offered };
    let held = store.clone();
    let parts = move || {
        let mut config = config(Limits::DEFAULT);
        config.hosts.clear();
        let agents = Agents { outboxes: BTreeMap::new(), inbox: mpsc::channel(1).1 };
        Parts { config, store: held.clone(), agents, metrics: Arc::default(), claim: None }
    };
    One { server, turns: tokio::spawn(turns.take(parts, std::future::pending())) }
}

/// Asks until somebody leads.
async fn answered(client: &Client) -> Vec<HostStatus> {
    let asked = async {
        loop {
            match client.get("/v1/hosts").await {
                Ok(hosts) => return hosts,
                Err(LinkError::Refused(error)) => {
                    assert!(matches!(error.code.as_str(), "T503" | "T510" | "T511"), "{error:?}");
                }
                Err(err) => assert!(err.is_unreachable(), "{err}"),
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, asked).await.expect("somebody leads")
}

/// Which of them leads.
async fn leading(members: &Members, servers: &[One]) -> usize {
    let leads = async |server: &Server| {
        let config = watch::channel(members.dialling(&[ADMIN_NAME])).1;
        let one = Client::fleet(Arc::new(Servers::new(vec![server.clone()], config)));
        one.get::<Vec<HostStatus>>("/v1/hosts").await.is_ok()
    };
    let asked = async {
        let mut index = 0;
        while !leads(&servers[index].server).await {
            index = (index + 1) % servers.len();
        }
        index
    };
    timeout(LONG, asked).await.expect("somebody leads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_server_dies_another_leads_and_knows_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let shared = AnyStore::from(store(&dir).await);
    let members = Members::new();
    let mut servers = Vec::new();
    for host in ["s1", "s2", "s3"] {
        servers.push(one(&members, &shared, host).await);
    }
    let all: Vec<Server> = servers.iter().map(|one| one.server.clone()).collect();
    let config = watch::channel(members.dialling(&[ADMIN_NAME])).1;
    let client = Client::fleet(Arc::new(Servers::new(all, config)));
    assert_eq!(answered(&client).await, []);
    let mut left = servers;
    for round in 0..2 {
        // Whoever leads is the one that dies.
        let index = leading(&members, &left).await;
        left.swap_remove(index).turns.abort();
        assert_eq!(answered(&client).await, [], "in round {round}");
    }
    // The last one hears of no other.
    assert_eq!(left.len(), 1);
    assert!(!left[0].turns.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leading_server_is_lost_with_etcds_leader_another_leads() {
    let plan = EtcdPlan { members: 3, ..EtcdPlan::default() };
    let mut cluster = EtcdCluster::start(plan).await;
    let members = Members::new();
    let mut servers = Vec::new();
    for (number, host) in ["s1", "s2", "s3"].into_iter().enumerate() {
        let mut endpoints = cluster.endpoints();
        endpoints.rotate_left(number);
        let config = EtcdConfig::new(endpoints, "/tanist/fleet/");
        let store = AnyStore::from(EtcdStore::open(&config).await.unwrap());
        servers.push(one(&members, &store, host).await);
    }
    let all: Vec<Server> = servers.iter().map(|one| one.server.clone()).collect();
    let config = watch::channel(members.dialling(&[ADMIN_NAME])).1;
    let client = Client::fleet(Arc::new(Servers::new(all, config)));
    assert_eq!(answered(&client).await, []);
    let index = leading(&members, &servers).await;
    let led = cluster.leader().await.expect("etcd has a leader");
    servers.swap_remove(index).turns.abort();
    cluster.kill(led);
    assert_eq!(answered(&client).await, []);
    // What is decided now holds: a host that comes is remembered.
    let config = watch::channel(members.dialling(&[&host_name(&"h7".into())])).1;
    let left: Vec<Server> = servers.iter().map(|one| one.server.clone()).collect();
    let agent = Client::fleet(Arc::new(Servers::new(left, config)));
    let mut talk: Talk = agent.open("/link/v1/agent").await.unwrap();
    let (host, zone) = ("h7".into(), "a".into());
    let (address, memory_bytes) = (Ipv4Addr::LOCALHOST, 1);
    let hello = AgentHello { host, zone, address, memory_bytes, keeps: false, parts: false };
    talk.sender.send(&FromAgent::Hello(hello)).unwrap();
    assert!(told(&mut talk).await.is_some());
    assert_eq!(answered(&client).await.len(), 1);
}
