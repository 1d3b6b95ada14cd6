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
mod config;
mod engines;
mod front;
mod hosts_file;
mod live;
mod machine;
mod metrics;
mod network;
mod sentinel;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tanist_agent::{AgentConfig, Ended, Inbox};
use tanist_controller::{
    Agents, Certifier, ControllerConfig, ControllerError, HostConfig, Names, Outside, Parts,
};
use tanist_core::model::{HostId, Limits, Region, Zone};
use tanist_link::wire::{FromAgent, FromSupervisor, ToSupervisor};
use tanist_link::{Client, Listener, Secret};
use tanist_store::{AnyStore, Options, SqliteStore, StoreError};
use tanist_tls::Authority;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::cli::DevArgs;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome, program, spawn};
use metrics::Metrics;

pub(crate) use engines::find as find_engines;
pub(crate) use machine::Machine;

/// Orders that an agent may have waiting.
const QUEUE: usize = 1024;
/// The region that is simulated.
const REGION: &str = "us-east-1";
/// On one host nothing takes a primary's permission to accept writes away but its fence or its end,
/// so no time may pass for that.
const NO_LEASES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How often agents look at engines.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// Pauses before an agent that failed is started again: the first and the longest.
const AGENT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How long the supervisor may take to end when it is asked.
const SUPERVISOR_ENDS: Duration = Duration::from_secs(5);

/// A running installation.
pub(crate) struct Running {
    controller: JoinHandle<Result<(), ControllerError>>,
    agents: JoinSet<(HostId, Ended)>,
    store: SqliteStore,
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
    store: SqliteStore,
    metrics: Metrics,
    secret: Secret,
    network: [u8; 2],
    hosts: Vec<HostConfig>,
    certifier: Certifier,
    outside: watch::Receiver<Arc<Outside>>,
}

async fn start(
    layout: &Layout,
    args: &DevArgs,
    machine: &Machine,
    roles: &[&'static str],
) -> Result<Running, Failure> {
    let declared = config::read(args.config.as_deref())?;
    let outside = live::watch(args.config.clone(), &declared)?;
    layout.create()?;
    let engines = find_engines()?;
    let store = open_store(layout).await?;
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
        metrics,
        secret,
        network,
        hosts,
        certifier,
        outside,
    };
    let (agents, wires) = start_agents(&ground);
    let parts = Parts {
        config: controller_config(&ground),
        store: AnyStore::from(ground.store.clone()),
        agents: wires,
        metrics: Arc::clone(&ground.metrics.series),
        claim: None,
    };
    let (handle, controller) = tanist_controller::run(parts)
        .await
        .map_err(|err| Failure::caused("T614", &err, "see the message; nothing was changed"))?;
    ground.metrics.keep();
    let front = front::open(&ground, &declared).await?;
    let sentinel = sentinel::open(&ground, &declared).await?;
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
        limits: Limits { lease: NO_LEASES, ..Limits::DEFAULT },
        network: ground.network,
        port: args.port,
        default_memory_bytes: machine.default_node_bytes(args.simulated_hosts),
        stopping: Duration::from_secs(args.stop_within),
        names: Names {
            installation: installation_id(&ground.store),
            domain: "cache.localhost".to_owned(),
            hosts_file: "/etc/hosts".into(),
        },
        certifier: ground.certifier.clone(),
        outside: ground.outside.clone(),
        // Without it proxies only stay what they are.
        program: program::current().ok(),
        notes,
    }
}

/// Runs a simulated host's agent; one that fails is started again, as systemd would.
async fn agent(
    config: AgentConfig,
    mut orders: Inbox,
    reports: mpsc::Sender<FromAgent>,
) -> (HostId, Ended) {
    let host = config.host.clone();
    let mut pause = AGENT_PAUSE.0;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let run = tanist_agent::run(config.clone(), &mut orders, reports.clone());
        let err = match run.await {
            Ok(ended) => return (host, ended),
            Err(err) => err,
        };
        let why = std::error::Error::source(&err).map(|why| format!(": {why}")).unwrap_or_default();
        tracing::error!(%host, "an agent has failed and is started again: {err}{why}");
        let text = format!("{err}{why}; it is started again until it works");
        if text != said {
            said.clone_from(&text);
            let (host, name) = (host.clone(), "AgentFailed".to_owned());
            // Nobody hears it once the controller has ended.
            let _ = reports.send(FromAgent::Note { host, node: None, name, text }).await;
        }
        if began.elapsed() > AGENT_PAUSE.1 {
            pause = AGENT_PAUSE.0;
        }
        tokio::select! {
            () = reports.closed() => return (host, Ended::Dismissed),
            never = orders.attend() => match never {},
            // waits: the pause is the event.
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(AGENT_PAUSE.1);
    }
}

async fn open_store(layout: &Layout) -> Result<SqliteStore, Failure> {
    SqliteStore::open(layout.store(), Options::default()).await.map_err(|err| {
        let remedy = match &err {
            StoreError::InUse { .. } => {
                "one installation per data directory: use the running one, or name another --data-dir"
            }
            StoreError::Damaged { .. } => "put the last good copy in place of the damaged file",
            _ => "see the message; nothing was changed",
        };
        Failure::caused("T615", &err, remedy)
    })
}

/// Six characters that tell this installation's names from another's.
fn installation_id(store: &SqliteStore) -> String {
    let status = store.status();
    status.installation.chars().filter(char::is_ascii_alphanumeric).take(6).collect()
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tanist_link::wire::ToAgent;

    use super::*;

    /// An agent that fails until the file that is in the place of its directory is removed.
    fn without_directory(root: &Path) -> AgentConfig {
        let dir = root.join("h1");
        std::fs::write(&dir, b"in the way").unwrap();
        AgentConfig {
            host: HostId::new("h1"),
            address: Ipv4Addr::LOCALHOST,
            dir,
            secret: Secret::from_bytes([1; 32]),
            supervisor: root.join("nobody"),
            engines: tanist_agent::Engines { redis: "none".into(), valkey: "none".into() },
            limits: Limits::DEFAULT,
            probe_every: PROBE_EVERY,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_fails_is_started_again_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let config = without_directory(root.path());
        let dir = config.dir.clone();
        let (outbox, orders) = mpsc::channel(QUEUE);
        let (reports, mut inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(agent(config, Inbox::new(orders), reports));
        let Some(FromAgent::Note { name, text, .. }) = inbox.recv().await else {
            panic!("it reports although it has no directory")
        };
        assert_eq!(name, "AgentFailed");
        assert!(text.contains("using the host's directory"), "{text}");
        outbox.send(ToAgent::Echo(7)).await.unwrap();
        std::fs::remove_file(&dir).unwrap();
        // What was sent meanwhile is heard by the one that follows.
        loop {
            match inbox.recv().await {
                Some(FromAgent::Report(report)) if report.echo == 7 => break,
                Some(_) => {}
                None => panic!("it was not started again"),
            }
        }
        drop(outbox);
        assert_eq!(task.await.unwrap(), (HostId::new("h1"), Ended::Dismissed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_away_hears_that_everything_is_to_be_stopped() {
        let root = tempfile::tempdir().unwrap();
        let config = without_directory(root.path());
        let dir = config.dir.clone();
        let (outbox, orders) = mpsc::channel(1);
        let (reports, mut inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(agent(config, Inbox::new(orders), reports));
        let Some(FromAgent::Note { .. }) = inbox.recv().await else { panic!("it has failed") };
        // More than its queue holds: whoever speaks to it does not wait for its next attempt.
        for number in 0..10 {
            outbox.send(ToAgent::Echo(number)).await.unwrap();
        }
        outbox.send(ToAgent::StopAll).await.unwrap();
        assert!(dir.is_file(), "it was away all the time");
        std::fs::remove_file(&dir).unwrap();
        let hearing = async { while inbox.recv().await.is_some() {} };
        let ((), ended) = tokio::join!(hearing, task);
        assert_eq!(ended.unwrap(), (HostId::new("h1"), Ended::Stopped));
    }
}
