//! `tanist dev`: every role on one host, with simulated hosts in simulated zones.
//!
//! The controller, the agents and the store run in this process; the supervisor and the proxy in
//! their own, which outlive it, as do the engines. So stopping and starting it again is an upgrade:
//! no engine restarts and no client is disconnected.
//!
//! Invariant: what differs from a fleet is wiring, never behaviour.
//!
//! Not here: the roles themselves.

mod banner;
mod hosts_file;
mod identity;
mod network;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tanist_agent::{AgentConfig, Ended, Inbox};
use tanist_controller::{
    Agents, Certifier, ControllerConfig, ControllerError, HostConfig, Names, Outside, Parts,
};
use tanist_core::model::{EndpointPlan, HostId, Limits, Region, Zone};
use tanist_link::wire::{FromSupervisor, ToSupervisor};
use tanist_link::{Client, Listener, Secret};
use tanist_tls::Authority;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::store::Opened;
use crate::cli::DevArgs;
use crate::doors::Places;
use crate::failure::Failure;
use crate::hands::{PROBE_EVERY, agent};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::output::Output;
use crate::{Done, Outcome, program, spawn};
use crate::{config, engines, front, live, sentinel};

/// Orders that an agent may have waiting.
const QUEUE: usize = 1024;
/// The region that is simulated.
const REGION: &str = "us-east-1";
/// On one host nothing takes a primary's permission to accept writes away but its fence or its end,
/// so no time may pass for that.
const NO_LEASES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How long the supervisor may take to end when it is asked.
const SUPERVISOR_ENDS: Duration = Duration::from_secs(5);

/// A running installation.
pub(crate) struct Running {
    controller: JoinHandle<Result<(), ControllerError>>,
    agents: JoinSet<(HostId, Ended)>,
    store: Opened,
    handle: tanist_controller::Handle,
    keepers: JoinSet<Failure>,
    supervisor: Client,
    metrics: Metrics,
}

/// Runs it until a signal or `tanist down`.
pub(crate) async fn dev(layout: Layout, args: &DevArgs, output: &Output) -> Outcome {
    if args.hosts {
        hosts_file::check()?;
    }
    let machine = Machine::read();
    let running = start(&layout, args, &machine, &["supervise", "proxy"]).await?;
    let metrics = running.metrics.clone();
    let hosts = args.hosts.then(|| hosts_file::Keeper::new(&layout));
    banner::print(&layout, &machine, output).await?;
    let news = banner::follow(&layout, hosts, *output);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let stopped = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        left = wait(running) => Some(left?),
        never = news => match never {},
    };
    let Some(left) = stopped else {
        metrics.save().await;
        output.line("");
        output.line("the control plane stops; engines and endpoints go on serving");
        output.line("  go on:  tanist dev     end everything:  tanist down");
        return Ok(Done::Well);
    };
    if args.hosts {
        hosts_file::clear(&layout)?;
    }
    if !left.is_empty() {
        let message = format!("engines may still run on these hosts: {}", left.join(", "));
        return Err(Failure::new("T502", message, "see dev.log; then run tanist down again"));
    }
    output.line("everything has ended; the data stays in place");
    Ok(Done::Well)
}

/// Ends everything of an installation whose `dev` does not run.
pub(crate) async fn start_and_stop(layout: &Layout) -> Result<(), Failure> {
    let args = DevArgs {
        hosts: false,
        simulated_hosts: 6,
        network: None,
        port: 6379,
        config: None,
        insecure_unsigned: false,
        stop_within: 60,
    };
    // Not the proxy: nobody is to be served, and one that just starts would not hear of the end.
    let running = start(layout, &args, &Machine::read(), &["supervise"]).await?;
    let client = Client::new(layout.controller_socket());
    let stop = client.post::<_, ()>("/v1/down", &());
    let (asked, ended) = tokio::join!(stop, wait(running));
    // It names the hosts that did not stop.
    asked?;
    ended.map(drop)
}

fn signals(err: std::io::Error) -> Failure {
    Failure::caused("T630", &err, "raise the limit on descriptors")
}

/// Waits until the controller has stopped everything or given up, then ends what is left. Gives the
/// hosts that did not stop their engines.
async fn wait(running: Running) -> Result<Vec<String>, Failure> {
    let Running { controller, agents, store, handle, mut keepers, supervisor, metrics } = running;
    let ended = tokio::select! {
        ended = controller => ended,
        Some(failed) = keepers.join_next() => {
            return failed.map_or_else(|err| Err(panicked(&err)), Err);
        }
    };
    drop(handle);
    metrics.save().await;
    store.close().await;
    // One that hangs must not keep this process; `tanist down` goes on to end it.
    if tokio::time::timeout(SUPERVISOR_ENDS, end(&supervisor)).await.is_err() {
        tracing::warn!("the supervisor does not end although it was asked");
    }
    match ended {
        Ok(Ok(())) => not_stopped(agents).await,
        Ok(Err(err)) => Err(Failure::caused("T631", &err, "start it again: tanist dev")),
        Err(err) => Err(panicked(&err)),
    }
}

async fn end(supervisor: &Client) {
    // One that cannot be reached has ended already, which is what is asked.
    if let Ok(duplex) = supervisor.open::<ToSupervisor, FromSupervisor>("/link/v1/supervise").await
    {
        // As above.
        let _ = duplex.sender.send(&ToSupervisor::Exit);
        duplex.sender.closed().await;
    }
}

async fn not_stopped(mut agents: JoinSet<(HostId, Ended)>) -> Result<Vec<String>, Failure> {
    let mut left = Vec::new();
    while let Some(ended) = agents.join_next().await {
        match ended {
            Ok((_, Ended::Stopped)) => {}
            Ok((host, Ended::Dismissed)) => left.push(host.to_string()),
            Err(err) => return Err(panicked(&err)),
        }
    }
    left.sort();
    Ok(left)
}

fn panicked(err: &tokio::task::JoinError) -> Failure {
    Failure::caused("T632", err, "report this as a fault of Tanist, with dev.log; start it again")
}

/// What an installation is wired from.
struct Ground<'a> {
    layout: &'a Layout,
    args: &'a DevArgs,
    machine: &'a Machine,
    engines: engines::Found,
    store: Opened,
    identity: String,
    metrics: Metrics,
    secret: Secret,
    network: [u8; 2],
    hosts: Vec<HostConfig>,
    certifier: Certifier,
    outside: watch::Receiver<Arc<Outside>>,
    limits: Limits,
}

async fn start(
    layout: &Layout,
    args: &DevArgs,
    machine: &Machine,
    roles: &[&'static str],
) -> Result<Running, Failure> {
    let declared = config::read(args.config.as_deref())?.for_one_host()?;
    let outside = live::watch(args.config.clone(), &declared)?;
    layout.create()?;
    let engines = engines::find()?;
    let store = store::open(layout, &declared, args.config.as_deref()).await?;
    let identity = identity::of(layout, &store.installation)?;
    let metrics = Metrics::open(layout.metrics()).await;
    let secret = Secret::load_or_create(&layout.secret())
        .map_err(|err| Failure::caused("T612", &err, "restore the secret file from a copy"))?;
    let listener = Listener::bind(&layout.controller_socket()).await.map_err(|err| {
        Failure::caused("T613", &err, "another tanist dev may be running: tanist status")
    })?;
    let network = network::choose(layout, args.network)?;
    let hosts = simulated_hosts(args.simulated_hosts, network, machine);
    let certifier = certifier(layout);
    let ground = Ground {
        layout,
        args,
        machine,
        engines,
        store,
        identity,
        metrics,
        secret,
        network,
        hosts,
        certifier,
        outside,
        limits: declared.placement.limits(),
    };
    let (agents, wires) = start_agents(&ground);
    let parts = Parts {
        config: controller_config(&ground),
        store: ground.store.store.clone(),
        agents: wires,
        metrics: Arc::clone(&ground.metrics.series),
        claim: ground.store.claim.clone(),
    };
    let (handle, controller) = tanist_controller::run(parts)
        .await
        .map_err(|err| Failure::caused("T614", &err, "see the message; nothing was changed"))?;
    ground.metrics.keep();
    let front = front::open(front_ground(&ground), &declared).await?;
    let sentinel = sentinel::open(sentinel_ground(&ground, &declared)).await?;
    let local = tanist_controller::routes(handle.clone()).merge(front).merge(sentinel);
    tokio::spawn(tanist_link::serve(listener, local));
    let mut keepers = JoinSet::new();
    for role in roles {
        keepers.spawn(spawn::keep(layout.clone(), role, handle.ending()));
    }
    let supervisor = Client::new(layout.supervisor_socket());
    let Ground { store, metrics, .. } = ground;
    Ok(Running { controller, agents, store, handle, keepers, supervisor, metrics })
}

/// The address of what the installation offers beside its groups' endpoints.
fn own_address([a, b]: [u8; 2]) -> Ipv4Addr {
    Ipv4Addr::new(a, b, 0, 254)
}

/// Where the installation's own surfaces are.
fn places(network: [u8; 2]) -> Places {
    Places { near: Some(own_address(network)), also: Some(Ipv4Addr::LOCALHOST), host: None }
}

fn front_ground<'a>(ground: &'a Ground<'_>) -> front::FrontGround<'a> {
    front::FrontGround {
        places: places(ground.network),
        port: front::PORT,
        store: ground.store.store.clone(),
        controller: Client::new(ground.layout.controller_socket()),
        secret: ground.secret.clone(),
        installation: ground.identity.clone(),
        region: REGION,
        zones: ground.hosts.iter().map(|host| host.zone.to_string()).collect(),
        endpoint_port: ground.args.port,
        engines: &ground.engines,
        metrics: Arc::clone(&ground.metrics.series),
        unsigned: ground.args.insecure_unsigned,
    }
}

fn sentinel_ground<'a>(
    ground: &Ground<'_>,
    config: &'a config::Config,
) -> sentinel::SentinelGround<'a> {
    sentinel::SentinelGround {
        places: places(ground.network),
        own: None,
        others: Vec::new(),
        controller: Client::new(ground.layout.controller_socket()),
        installation: ground.identity.clone(),
        config,
    }
}

fn start_agents(ground: &Ground<'_>) -> (JoinSet<(HostId, Ended)>, Agents) {
    let (reports, inbox) = mpsc::channel(QUEUE);
    let mut outboxes = BTreeMap::new();
    let mut agents = JoinSet::new();
    for host in &ground.hosts {
        let (outbox, orders) = mpsc::channel(QUEUE);
        outboxes.insert(host.host.clone(), outbox);
        let config = AgentConfig {
            host: host.host.clone(),
            address: host.address,
            dir: ground.layout.host(host.host.as_str()),
            secret: ground.secret.clone(),
            supervisor: ground.layout.supervisor_socket(),
            engines: ground.engines.paths(),
            limits: Limits::DEFAULT,
            probe_every: PROBE_EVERY,
            leases: false,
        };
        agents.spawn(agent(config, Inbox::new(orders), reports.clone()));
    }
    (agents, Agents { outboxes, inbox })
}

/// The installation's authority. One that is damaged keeps nobody from starting: engines and plain
/// endpoints need none.
fn certifier(layout: &Layout) -> Certifier {
    match Authority::load_or_create(&layout.tls()) {
        Ok(authority) => Certifier::Authority(Arc::new(authority)),
        Err(err) => {
            let why = crate::failure::chain(&err);
            tracing::error!("the certificate authority cannot be used: {why}");
            Certifier::Nobody(why)
        }
    }
}

fn controller_config(ground: &Ground<'_>) -> ControllerConfig {
    let Ground { args, machine, .. } = ground;
    let mut notes = vec![
        "all hosts are simulated on this one machine: what sync promises is memory on it"
            .to_owned(),
    ];
    notes.extend(ground.metrics.trouble.clone());
    if args.insecure_unsigned {
        notes.push(
            "AWS requests need no signature (--insecure-unsigned): whoever can reach this \
             machine's loopback may do everything"
                .to_owned(),
        );
    }
    if let Certifier::Nobody(why) = &ground.certifier {
        notes.push(format!("the certificate authority cannot be used (tanist ca): {why}"));
    }
    ControllerConfig {
        region: Region::new(REGION),
        hosts: ground.hosts.clone(),
        limits: Limits { lease: NO_LEASES, ..ground.limits },
        endpoints: EndpointPlan { network: ground.network, ports: None },
        floating: Vec::new(),
        port: args.port,
        default_memory_bytes: machine.default_node_bytes(args.simulated_hosts),
        stopping: Duration::from_secs(args.stop_within),
        names: Names {
            installation: short(&ground.identity),
            domain: "cache.localhost".to_owned(),
            hosts_file: "/etc/hosts".into(),
        },
        certifier: ground.certifier.clone(),
        outside: ground.outside.clone(),
        // Without it proxies only stay what they are.
        program: program::current().ok(),
        admission: None,
        servers: None,
        notes,
    }
}

/// Six characters that tell this installation's names from another's.
fn short(identity: &str) -> String {
    identity.chars().filter(char::is_ascii_alphanumeric).take(6).collect()
}

fn simulated_hosts(count: u8, [a, b]: [u8; 2], machine: &Machine) -> Vec<HostConfig> {
    let zones = ["a", "b", "c"];
    let host = |number: u8| HostConfig {
        host: HostId::new(format!("h{number}")),
        zone: Zone::new(format!("{REGION}{}", zones[usize::from((number - 1) % 3)])),
        address: Ipv4Addr::new(a, b, 0, number),
        memory_bytes: machine.host_bytes(count),
    };
    (1..=count).map(host).collect()
}
