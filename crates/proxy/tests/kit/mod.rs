//! A proxy between real engines and a controller that does what a test says.
//!
//! Invariant: everything listens on loopback, on ports and addresses of its own, and ends with the
//! test.
//!
//! Not here: deciding anything; tests play the controller and the agents.

#![allow(dead_code, reason = "every test uses its own part of the kit")]
#![allow(unreachable_pub, reason = "the kit is a module of each test")]

pub mod conn;
pub mod engine;
pub mod tls;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use tanist_core::model::{
    Durability, Epoch, GroupEndpoints, NodeRoute, RequestId, Rev, Route, RouteState, ShardKey,
};
use tanist_link::wire::{FromProxy, ProxyShard, ToProxy};
use tanist_link::{Client, LinkError, Listener, Secret, Sender, accept, serve};
use tanist_proxy::{ProxyConfig, ProxyLimits};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use conn::Conn;
pub use engine::{Binary, Engine};

pub const PROXY: &str = "p1";
pub const LIMIT: Duration = Duration::from_secs(15);

pub fn secret() -> Secret {
    Secret::from_bytes([9; 32])
}

/// What the controller says and hears.
#[derive(Clone)]
struct Desk {
    route: watch::Sender<Option<Route>>,
    orders: broadcast::Sender<ToProxy>,
    beat: watch::Sender<Option<ProxyShard>>,
    failures: Arc<Mutex<Vec<String>>>,
    echo: watch::Sender<u64>,
}

impl Desk {
    /// Says the route, if it is not said yet.
    fn say_route(
        sender: &Sender<ToProxy>,
        routes: &mut watch::Receiver<Option<Route>>,
    ) -> Result<(), LinkError> {
        let changed = routes.has_changed().unwrap_or(false);
        let route = routes.borrow_and_update().clone().filter(|_| changed);
        route.map_or(Ok(()), |route| sender.send(&ToProxy::Route(Box::new(route))))
    }
}

async fn talk(State(desk): State<Desk>, body: Body) -> Response<Body> {
    let (duplex, response) = accept::<ToProxy, FromProxy>("/link/v1/proxy", body);
    tokio::spawn(async move {
        let mut receiver = duplex.receiver;
        let mut routes = desk.route.subscribe();
        routes.mark_changed();
        let mut orders = desk.orders.subscribe();
        loop {
            tokio::select! {
                heard = receiver.recv() => match heard {
                    Ok(Some(FromProxy::Beat { shards, .. })) => {
                        desk.beat.send_replace(shards.into_iter().next());
                    }
                    Ok(Some(FromProxy::EndpointFailed { address, .. })) => {
                        desk.failures.lock().unwrap().push(address);
                    }
                    Ok(Some(
                        FromProxy::Hello { .. }
                        | FromProxy::Measured { .. }
                        | FromProxy::NotRenewed { .. },
                    )) => {}
                    Ok(Some(FromProxy::Echo(number))) => drop(desk.echo.send_replace(number)),
                    Ok(None) | Err(_) => return,
                },
                _ = routes.changed() => {
                    routes.mark_changed();
                    if Desk::say_route(&duplex.sender, &mut routes).is_err() {
                        return;
                    }
                }
                Ok(order) = orders.recv() => {
                    let said = Desk::say_route(&duplex.sender, &mut routes);
                    if said.and_then(|()| duplex.sender.send(&order)).is_err() {
                        return;
                    }
                }
            }
        }
    });
    response
}

/// A group, its proxy and its controller.
pub struct World {
    pub engines: Vec<Engine>,
    pub route: Route,
    desk: Desk,
    controller: Option<JoinHandle<()>>,
    proxy: Option<std::thread::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl World {
    /// A group of so many nodes, the first of which is primary at epoch 1, with its proxy.
    pub async fn new(nodes: usize, durability: Durability) -> Self {
        Self::with(nodes, durability, Binary::Redis, ProxyLimits::default()).await
    }

    pub async fn with(
        nodes: usize,
        durability: Durability,
        binary: Binary,
        limits: ProxyLimits,
    ) -> Self {
        Self::of(nodes, durability, binary, limits, false).await
    }

    /// One whose clients may administer the engine.
    pub async fn pass_through(nodes: usize, durability: Durability, binary: Binary) -> Self {
        Self::of(nodes, durability, binary, ProxyLimits::default(), true).await
    }

    async fn of(
        nodes: usize,
        durability: Durability,
        binary: Binary,
        limits: ProxyLimits,
        pass_through: bool,
    ) -> Self {
        let mut engines = Vec::new();
        for number in 1..=nodes {
            engines.push(Engine::start(binary, &format!("n{number}")).await);
        }
        for engine in &engines {
            match pass_through {
                true => engine.lane_with(Epoch(1), "~* &* +@all").await,
                false => engine.lane(Epoch(1)).await,
            }
        }
        for engine in engines.iter().skip(1) {
            engine.follow(&engines[0], &format!("{}.00000000.1", engine.name)).await;
        }
        let (a, b) = (rand::random_range(1..=250), rand::random_range(1..=250));
        let address = |last| Ipv4Addr::new(127, a, b, last);
        let port = free_port(address(200));
        let nodes = engines
            .iter()
            .zip(1..)
            .map(|(engine, number)| NodeRoute {
                node: engine.name.as_str().into(),
                zone: "a".into(),
                address: engine.address,
                endpoint: address(number),
                tag: (number > 1).then(|| format!("{}.00000000.1", engine.name)),
                lane: Some(Epoch(1)),
                users: Some(0),
                readable: number > 1,
            })
            .collect();
        let route = Route {
            group: "web".into(),
            shard: "0001".into(),
            rev: Rev(1),
            epoch: Epoch(1),
            durability,
            endpoint_hosts: Default::default(),
            access: tanist_core::model::Access::Everyone,
            accounts: Default::default(),
            transit: Default::default(),
            reads: tanist_core::model::Reads::default(),
            endpoints: GroupEndpoints {
                primary: address(200),
                reader: address(201),
                port,
                ports_from: None,
            },
            state: RouteState::Vacant,
            nodes,
        };
        let mut world = Self::without_route(engines, route, limits, pass_through).await;
        let required: Vec<String> =
            world.route.nodes.iter().filter_map(|node| node.tag.clone()).collect();
        let required: Vec<&str> = required.iter().map(String::as_str).collect();
        world.serve("n1", &required);
        world.until("the route arrives", |beat| beat.rev == Rev(1)).await;
        world
    }

    async fn without_route(
        engines: Vec<Engine>,
        route: Route,
        limits: ProxyLimits,
        pass_through: bool,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk {
            route: watch::Sender::new(None),
            orders: broadcast::Sender::new(16),
            beat: watch::Sender::new(None),
            failures: Arc::default(),
            echo: watch::Sender::new(0),
        };
        let config = ProxyConfig {
            id: PROXY.into(),
            controller: Client::new(dir.path().join("controller.sock")),
            address: Ipv4Addr::LOCALHOST,
            floating: Vec::new(),
            secret: secret(),
            zone: None,
            limits,
            pass_through,
        };
        let proxy = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(tanist_proxy::run(config));
        });
        let mut world = Self { engines, route, desk, controller: None, proxy: Some(proxy), dir };
        world.start_controller().await;
        world
    }

    pub async fn start_controller(&mut self) {
        let listener = Listener::bind(&self.dir.path().join("controller.sock")).await.unwrap();
        let router =
            Router::new().route("/link/v1/proxy", post(talk)).with_state(self.desk.clone());
        self.controller = Some(tokio::spawn(serve(listener, router)));
    }

    /// Nobody answers proxies any more; running conversations end as well.
    pub async fn stop_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.abort();
            let _ = controller.await;
        }
        std::fs::remove_file(self.dir.path().join("controller.sock")).unwrap();
        self.desk
            .orders
            .send(ToProxy::Gone(ShardKey { group: "no".into(), shard: "no".into() }))
            .unwrap();
    }

    pub fn engine(&self, name: &str) -> &Engine {
        self.engines.iter().find(|engine| engine.name == name).unwrap()
    }

    pub fn engine_mut(&mut self, name: &str) -> &mut Engine {
        self.engines.iter_mut().find(|engine| engine.name == name).unwrap()
    }

    /// Publishes the route as it is.
    pub fn publish(&self) {
        self.desk.route.send_replace(Some(self.route.clone()));
    }

    /// Names a primary within the route's epoch.
    pub fn serve(&mut self, primary: &str, required: &[&str]) {
        self.route.state = RouteState::Serving {
            primary: primary.into(),
            required: required.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>(),
            writable: true,
            hold: None,
        };
        self.publish();
    }

    pub fn set_writable(&mut self, allowed: bool) {
        if let RouteState::Serving { writable, .. } = &mut self.route.state {
            *writable = allowed;
        }
        self.route.rev = self.route.rev.next();
        self.publish();
    }

    pub fn hold(&mut self, request: Option<u64>) {
        if let RouteState::Serving { hold, .. } = &mut self.route.state {
            *hold = request.map(RequestId);
        }
        self.publish();
    }

    /// Nobody is primary from now on.
    pub fn vacate(&mut self) {
        self.route.rev = self.route.rev.next();
        self.route.epoch = self.route.epoch.next();
        self.route.state = RouteState::Vacant;
        for node in &mut self.route.nodes {
            node.readable = false;
        }
        self.publish();
    }

    /// The second commit: this node is primary of the current epoch.
    pub async fn promote(&mut self, heir: &str, required: &[&str]) {
        let epoch = self.route.epoch;
        let engine = self.engine(heir);
        engine.no_lane(Epoch(epoch.0 - 1)).await;
        engine.admin(&["REPLICAOF", "NO", "ONE"]).await;
        engine.lane(epoch).await;
        self.route.rev = self.route.rev.next();
        for node in &mut self.route.nodes {
            if node.node.as_str() == heir {
                node.lane = Some(epoch);
                node.tag = None;
            }
        }
        self.serve(heir, required);
    }

    /// A whole planned move as controller and agents do it.
    pub async fn switch_over(&mut self, from: &str, to: &str) {
        self.hold(Some(1));
        self.until("it drains", |beat| beat.drained == Some(RequestId(1))).await;
        self.vacate();
        self.engine(from).admin(&["REPLICAOF", "127.0.0.1", "1"]).await;
        let target = self.engine(from).offset().await;
        self.engine(to).until_offset(target).await;
        let before = Epoch(self.route.epoch.0 - 1);
        self.engine(from).no_lane(before).await;
        self.promote(to, &[]).await;
    }

    /// Waits until the proxy obeys all that was published.
    pub async fn obeyed(&self) {
        let mut echoes = self.desk.echo.subscribe();
        let number = *echoes.borrow() + 1;
        self.desk.orders.send(ToProxy::Echo(number)).unwrap();
        timeout(LIMIT, echoes.wait_for(|said| *said == number)).await.unwrap().unwrap();
    }

    /// Waits until a beat says something.
    pub async fn until(&self, what: &str, is: impl Fn(&ProxyShard) -> bool) -> ProxyShard {
        let mut beats = self.desk.beat.subscribe();
        let found = timeout(LIMIT, beats.wait_for(|beat| beat.as_ref().is_some_and(&is))).await;
        match found {
            Ok(beat) => beat.unwrap().clone().unwrap(),
            Err(_) => panic!("waiting until {what}: {:?}", *self.desk.beat.borrow()),
        }
    }

    pub fn beat(&self) -> ProxyShard {
        self.desk.beat.borrow().clone().unwrap()
    }

    pub fn failures(&self) -> Vec<String> {
        self.desk.failures.lock().unwrap().clone()
    }

    pub fn order(&self, order: ToProxy) {
        self.desk.orders.send(order).unwrap();
    }

    pub fn key(&self) -> ShardKey {
        ShardKey { group: self.route.group.clone(), shard: self.route.shard.clone() }
    }

    pub fn primary_address(&self) -> SocketAddr {
        SocketAddr::from((self.route.endpoints.primary, self.route.endpoints.port))
    }

    pub fn node_address(&self, name: &str) -> SocketAddr {
        let node = self.route.nodes.iter().find(|node| node.node.as_str() == name).unwrap();
        SocketAddr::from((node.endpoint, self.route.endpoints.port))
    }

    /// Connects to the primary endpoint.
    pub async fn primary(&self) -> Conn {
        Conn::open(self.primary_address()).await
    }

    /// Connects to the reader endpoint.
    pub async fn reader(&self) -> Conn {
        let address = (self.route.endpoints.reader, self.route.endpoints.port);
        Conn::open(SocketAddr::from(address)).await
    }

    /// Connects to a node's endpoint.
    pub async fn node(&self, name: &str) -> Conn {
        Conn::open(self.node_address(name)).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Without a conversation the thread ends with the test's process.
        let _ = self.desk.orders.send(ToProxy::Exit);
        self.proxy.take();
    }
}

/// Lets some time pass.
pub async fn moment(millis: u64) {
    // waits: nothing tells from outside that a request lies in front of an engine that does not
    // answer, that a load has gone on for a while, or that a port was closed.
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// An address of this machine that is not a loopback one.
pub fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // Nothing is sent: the kernel only chooses the source.
    socket.connect(("198.51.100.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

pub fn free_port(address: Ipv4Addr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}
