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
mod engines;
mod hosts_file;
mod machine;
mod metrics;
mod network;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tanist_agent::AgentConfig;
use tanist_controller::{Agents, ControllerConfig, ControllerError, HostConfig, Names, Parts};
use tanist_core::model::{HostId, Limits, Region, Zone};
use tanist_link::wire::{FromAgent, FromSupervisor, ToAgent, ToSupervisor};
use tanist_link::{Client, Listener, Secret};
use tanist_store::{AnyStore, Options, SqliteStore, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cli::DevArgs;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome, spawn};
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

/// A running installation.
pub(crate) struct Running {
    controller: JoinHandle<Result<(), ControllerError>>,
    store: SqliteStore,
    handle: tanist_controller::Handle,
    keepers: JoinHandle<Failure>,
    supervisor: Client,
    metrics: Metrics,
}

/// Runs it until a signal or `tanist down`.
pub(crate) async fn dev(layout: Layout, args: &DevArgs, output: &Output) -> Outcome {
    if args.hosts {
        hosts_file::check()?;
    }
    let machine = Machine::read();
    let running = start(&layout, args, &machine).await?;
    let metrics = running.metrics.clone();
    let hosts = args.hosts.then(|| hosts_file::Keeper::new(&layout));
    banner::print(&layout, &machine, output).await?;
    let news = banner::follow(&layout, hosts, *output);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let stopped = tokio::select! {
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
        ended = wait(running) => { ended?; true }
        never = news => match never {},
    };
    if args.hosts && stopped {
        hosts_file::clear(&layout)?;
    }
    if stopped {
        output.line("everything has ended; the data stays in place");
    } else {
        metrics.save().await;
        output.line("");
        output.line("the control plane stops; engines and endpoints go on serving");
        output.line("  go on:  tanist dev     end everything:  tanist down");
    }
    Ok(Done::Well)
}

/// Ends everything of an installation whose `dev` does not run.
pub(crate) async fn start_and_stop(layout: &Layout) -> Result<(), Failure> {
    let args = DevArgs { hosts: false, simulated_hosts: 6, network: None, port: 6379 };
    let running = start(layout, &args, &Machine::read()).await?;
    let client = Client::new(layout.controller_socket());
    let stop = client.post::<_, ()>("/v1/down", &());
    let (asked, ended) = tokio::join!(stop, wait(running));
    asked?;
    ended
}

fn signals(err: std::io::Error) -> Failure {
    Failure::caused("T630", &err, "raise the limit on descriptors")
}

/// Waits until the controller has stopped everything, then ends what is left.
async fn wait(running: Running) -> Result<(), Failure> {
    let Running { controller, store, handle, keepers, supervisor, metrics } = running;
    let ended = tokio::select! {
        ended = controller => ended,
        failed = keepers => return failed.map_or_else(|err| Err(panicked(&err)), Err),
    };
    drop(handle);
    metrics.save().await;
    store.close().await;
    if let Ok(duplex) = supervisor.open::<ToSupervisor, FromSupervisor>("/link/v1/supervise").await
    {
        // One that is gone already has ended, which is what is asked.
        let _ = duplex.sender.send(&ToSupervisor::Exit);
        duplex.sender.closed().await;
    }
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(err)) => Err(Failure::caused("T631", &err, "start it again: tanist dev")),
        Err(err) => Err(panicked(&err)),
    }
}

fn panicked(err: &tokio::task::JoinError) -> Failure {
    Failure::caused("T632", err, "report this as a fault of Tanist, with dev.log; start it again")
}

async fn start(layout: &Layout, args: &DevArgs, machine: &Machine) -> Result<Running, Failure> {
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
    let (reports, inbox) = mpsc::channel(QUEUE);
    let mut outboxes = BTreeMap::new();
    for host in &hosts {
        let (outbox, orders) = mpsc::channel(QUEUE);
        outboxes.insert(host.host.clone(), outbox);
        let config = AgentConfig {
            host: host.host.clone(),
            address: host.address,
            dir: layout.host(host.host.as_str()),
            secret: secret.clone(),
            supervisor: layout.supervisor_socket(),
            engines: engines.paths(),
            limits: Limits::DEFAULT,
            probe_every: PROBE_EVERY,
        };
        tokio::spawn(agent(config, orders, reports.clone()));
    }
    let config = ControllerConfig {
        region: Region::new(REGION),
        hosts,
        limits: Limits { lease: NO_LEASES, ..Limits::DEFAULT },
        network,
        port: args.port,
        default_memory_bytes: machine.default_node_bytes(args.simulated_hosts),
        names: Names {
            installation: installation_id(&store),
            domain: "cache.localhost".to_owned(),
            hosts_file: Path::new("/etc/hosts").to_owned(),
        },
        notes: ["all hosts are simulated on this one machine: what sync promises is memory on it"]
            .map(str::to_owned)
            .into_iter()
            .chain(metrics.trouble.clone())
            .collect(),
    };
    let agents = Agents { outboxes, inbox };
    let recorded = Arc::clone(&metrics.series);
    let parts = Parts { config, store: AnyStore::from(store.clone()), agents, metrics: recorded };
    let (handle, controller) = tanist_controller::run(parts)
        .await
        .map_err(|err| Failure::caused("T614", &err, "see the message; nothing was changed"))?;
    metrics.keep();
    tokio::spawn(tanist_link::serve(listener, tanist_controller::routes(handle.clone())));
    let keep = |role| spawn::keep(layout.clone(), role, handle.ending());
    let (supervisor, proxy) = (keep("supervise"), keep("proxy"));
    let keepers = tokio::spawn(async move {
        tokio::select! {
            failure = supervisor => failure,
            failure = proxy => failure,
        }
    });
    let supervisor = Client::new(layout.supervisor_socket());
    Ok(Running { controller, store, handle, keepers, supervisor, metrics })
}

/// Runs a simulated host's agent; one that fails is started again, as systemd would.
async fn agent(
    config: AgentConfig,
    mut orders: mpsc::Receiver<ToAgent>,
    reports: mpsc::Sender<FromAgent>,
) {
    let host = config.host.clone();
    let mut pause = AGENT_PAUSE.0;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let run = tanist_agent::run(config.clone(), &mut orders, reports.clone());
        let Err(err) = run.await else { return };
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
            () = reports.closed() => return,
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
    use super::*;

    #[tokio::test]
    async fn an_agent_that_fails_is_started_again_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("h1");
        std::fs::write(&dir, b"in the way").unwrap();
        let config = AgentConfig {
            host: HostId::new("h1"),
            address: Ipv4Addr::LOCALHOST,
            dir: dir.clone(),
            secret: Secret::from_bytes([1; 32]),
            supervisor: root.path().join("nobody"),
            engines: tanist_agent::Engines { redis: "none".into(), valkey: "none".into() },
            limits: Limits::DEFAULT,
            probe_every: PROBE_EVERY,
        };
        let (outbox, orders) = mpsc::channel(QUEUE);
        let (reports, mut inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(agent(config, orders, reports));
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
        task.await.unwrap();
    }
}
