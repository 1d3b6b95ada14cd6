//! `tanist server`: one of those that may lead, with the fleet's API.
//!
//! Every server serves the AWS endpoint and Sentinel, at loopback and, if the file says so, at its own address; what
//! they are asked goes to the one that leads.
//!
//! Invariant: a server that is asked to end gives its leadership up first; whatever a server does, no
//! engine and no client is concerned.
//!
//! Not here: who leads, and what a leader does (`tanist-controller`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tanist_controller::{
    Agents, Candidate, Certifier, ControllerConfig, ControllerError, Names, Outside, Parts, Roster,
    Turns, guarded,
};
use tanist_core::model::{EndpointPlan, HostId, Listen};
use tanist_link::api::ServerHere;
use tanist_link::{Client, SecureListener, serve_secure};
use tanist_store::{AnyStore, EtcdConfig, EtcdStore, Store};
use tanist_tls::Authority;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::Member;
use super::admission::Desk;
use super::etcd;
use super::plan::{Planned, Role};
use crate::config::Config;
use crate::doors::{self, Places};
use crate::failure::{Failure, chain};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::output::Output;
use crate::spawn::RoleLock;
use crate::{Done, Outcome, config, engines, front, live, roles, sentinel};

/// Time between two tries to open the store.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// How often a server says that it is there.
const HEARD_EVERY: Duration = Duration::from_secs(1);
/// How long all engines may take to write everything and end.
const STOPPING: Duration = Duration::from_secs(60);
/// The port that an endpoint of its own address would have; a fleet's have others.
const PORT: u16 = 6379;

/// Runs it until a signal.
pub(crate) async fn server(layout: Layout, out: &Output) -> Outcome {
    let member = Member::need(&layout)?;
    let own = member.plan.host(member.is.host.as_str())?.clone();
    let authority = member.authority()?.filter(|_| own.is(Role::Server)).ok_or_else(|| {
        let message = format!("{} is no server", own.host);
        let remedy = "give it the role in the file, invite it again, and let it join";
        Failure::new("T702", message, remedy).exit(2)
    })?;
    layout.create()?;
    let _lock = only_one(&layout, "server")?;
    let mut signals = signals()?;
    let kept = etcd::kept(&member)?;
    tokio::pin!(kept);
    let at = member.plan.link(&own);
    let listener = SecureListener::bind(at, member.accepts()?).await.map_err(|err| {
        Failure::caused("T613", &err, "end what listens there, or set another port in [link]")
    })?;
    out.line(format!("{} in {}: a server at {at}", own.host, own.zone));
    let store = tokio::select! {
        store = open_store(&member) => store?,
        failed = &mut kept => return Err(failed),
        () = ended(&mut signals) => return Ok(Done::Well),
    };
    let ground = Ground { authority: Arc::new(authority), store, own, member };
    tokio::select! {
        served = serve(ground, listener, signals, out) => served,
        failed = kept => Err(failed),
    }
}

/// What a server is wired from.
struct Ground {
    authority: Arc<Authority>,
    store: EtcdStore,
    own: Planned,
    member: Member,
}

async fn serve(
    ground: Ground,
    listener: SecureListener,
    mut signals: (Signal, Signal),
    out: &Output,
) -> Outcome {
    let Ground { member, own, store, authority } = &ground;
    let file = &member.is.config;
    let declared = config::read(Some(file))?;
    let outside = live::watch(Some(file.clone()), &declared)?;
    let metrics = Metrics::open(member.layout.metrics()).await;
    metrics.keep();
    let administrator = member.administrator()?;
    // As this host: an administrator has no certificate of a host's to renew.
    let as_host = member.client()?;
    tokio::spawn(member.clone().keep_certificate(as_host.clone()));
    let (offered, open) = watch::channel(Router::new());
    let (known, heard) = watch::channel(None);
    let certifier = certifier(&member.layout);
    let beside = beside(&ground, &declared, &administrator, &metrics, &certifier).await?;
    let local = beside.fallback_service(tanist_controller::doors(open));
    tokio::spawn(serve_secure(listener, local));
    tokio::spawn(announce(heard.clone()));
    tokio::spawn(etcd::tend(member.clone(), store.clone(), heard));
    tokio::spawn(be_heard(own.host.clone(), as_host));
    let turns = Turns {
        store: AnyStore::from(store.clone()),
        candidate: Candidate { host: own.host.clone(), known },
        offered,
    };
    let desk = Arc::new(Desk::new(member.clone(), Arc::clone(authority)));
    let parts = || parts(&ground, &metrics, &outside, &certifier, &desk);
    turns.take(parts, ended(&mut signals)).await.map_err(|err| {
        let remedy = match err {
            ControllerError::Half => "the same file again ends it; docs/recovery.md",
            _ => "run the release that has written it, or a later one",
        };
        Failure::caused("T631", &err, remedy)
    })?;
    metrics.save().await;
    out.line("the server stops; engines and endpoints go on serving");
    Ok(Done::Well)
}

/// What a server offers whether it leads or not.
async fn beside(
    ground: &Ground,
    declared: &Config,
    administrator: &Client,
    metrics: &Metrics,
    certifier: &Certifier,
) -> Result<Router, Failure> {
    let Ground { member, own, store, .. } = ground;
    let shown = shown(member, own, declared, certifier)?;
    let (api, asked) = (declared.api, &declared.sentinel);
    let entrance = |listen, tls| doors::entrance(listen, tls, shown.as_ref());
    let found = engines::find()?;
    let front = front::open(
        front::FrontGround {
            places: Places::of_server(own.address, entrance(api.listen, api.tls)),
            port: member.plan.api_port,
            store: AnyStore::from(store.clone()),
            controller: administrator.clone(),
            secret: member.secret()?,
            installation: member.is.installation.clone(),
            region: member.plan.region.as_str(),
            zones: member.plan.hosts.iter().map(|planned| planned.zone.to_string()).collect(),
            endpoint_port: PORT,
            engines: &found,
            metrics: Arc::clone(&metrics.series),
            unsigned: false,
        },
        declared,
    );
    let at_hosts = asked.listen == Listen::Host;
    let sentinel = |address: Ipv4Addr| SocketAddr::from((address, sentinel::PORT));
    let servers = member.plan.hosts.iter().filter(|planned| planned.is(Role::Server) && at_hosts);
    let others = servers.filter(|planned| planned.host != own.host);
    let others = others.map(|planned| sentinel(planned.address)).collect();
    let sentinel = sentinel::open(sentinel::SentinelGround {
        places: Places::of_server(own.address, entrance(asked.listen, asked.tls)),
        own: at_hosts.then(|| sentinel(own.address)),
        others,
        controller: administrator.clone(),
        installation: member.is.installation.clone(),
        config: declared,
    });
    Ok(guarded(front.await?.merge(sentinel.await?)))
}

/// What this server shows at its own address, if it offers something there.
fn shown(
    member: &Member,
    own: &Planned,
    declared: &Config,
    certifier: &Certifier,
) -> Result<Option<watch::Receiver<Arc<ServerConfig>>>, Failure> {
    let listens = [declared.api.listen, declared.sentinel.listen];
    if !listens.contains(&Listen::Host) {
        return Ok(None);
    }
    let Certifier::Authority(authority) = certifier else {
        let message = "there is no authority by which this server could show who it is";
        return Err(Failure::new("T670", message, "tanist ca says what is wrong with it"));
    };
    let host = own.host.to_string();
    let named = format!("{host}.{}", member.plan.domain);
    let names = BTreeSet::from([host.clone(), named, own.address.to_string()]);
    doors::shown(Arc::clone(authority), host, names).map(Some)
}

fn parts(
    ground: &Ground,
    metrics: &Metrics,
    outside: &watch::Receiver<Arc<Outside>>,
    certifier: &Certifier,
    desk: &Arc<Desk>,
) -> Parts {
    let Ground { member, store, .. } = ground;
    let plan = &member.plan;
    let mut notes = Vec::new();
    notes.extend(metrics.trouble.clone());
    if let Certifier::Nobody(why) = certifier {
        notes.push(format!("the endpoints' authority cannot be used (tanist ca): {why}"));
    }
    let config = ControllerConfig {
        region: plan.region.clone(),
        // They make themselves known.
        hosts: Vec::new(),
        limits: plan.limits,
        endpoints: EndpointPlan { ports: Some(plan.endpoint_ports), ..EndpointPlan::default() },
        floating: plan.floating.clone(),
        port: PORT,
        default_memory_bytes: Machine::read().default_node_bytes(1),
        stopping: STOPPING,
        names: Names {
            installation: member.is.installation.chars().take(6).collect(),
            domain: plan.domain.clone(),
            hosts_file: "/etc/hosts".into(),
        },
        certifier: certifier.clone(),
        outside: outside.clone(),
        // Each host's agent sees to its proxy: this host's files are not the others'.
        program: None,
        servers: Some(Roster {
            own: ground.own.host.clone(),
            all: plan
                .servers(&ground.own.host)
                .into_iter()
                .map(|server| (server.host, server.address))
                .collect(),
        }),
        admission: Some(desk.clone()),
        notes,
    };
    // No agent is in this process.
    let (_, inbox) = mpsc::channel(1);
    Parts {
        config,
        store: AnyStore::from(store.clone()),
        agents: Agents { outboxes: std::collections::BTreeMap::new(), inbox },
        metrics: Arc::clone(&metrics.series),
        claim: None,
    }
}

fn certifier(layout: &Layout) -> Certifier {
    match Authority::load(&layout.tls()) {
        Ok(authority) => Certifier::Authority(Arc::new(authority)),
        Err(err) => {
            let why = chain(&err);
            tracing::error!("the endpoints' authority cannot be used: {why}");
            Certifier::Nobody(why)
        }
    }
}

/// How the store is reached from a server.
pub(crate) fn store_config(member: &Member) -> Result<EtcdConfig, Failure> {
    match etcd::Site::of(member)? {
        Some(site) => site.access(site.endpoints()),
        None => {
            let mut config = member.plan.etcd(&member.is.config, &member.is.installation)?;
            let own = member.plan.host(member.is.host.as_str());
            config.near = own.ok().map(|planned| planned.address.into());
            Ok(config)
        }
    }
}

/// Opens the store as soon as it can be reached.
async fn open_store(member: &Member) -> Result<EtcdStore, Failure> {
    let config = store_config(member)?;
    let mut said = false;
    loop {
        let opened = EtcdStore::open(&config).await;
        // One that is opened may still be none that answers.
        let why = match opened {
            Ok(store) => match store.get("term").await {
                Ok(_) => return Ok(store),
                Err(err) => chain(&err),
            },
            Err(err @ tanist_store::StoreError::BadEtcdConfig { .. }) => {
                return Err(Failure::caused("T700", &err, "correct [store] in the file").exit(2));
            }
            Err(err) => chain(&err),
        };
        if !std::mem::replace(&mut said, true) {
            warn!("the store cannot be reached, and is tried again: {why}");
        }
        // waits: nothing tells when it can be.
        tokio::time::sleep(STORE_AGAIN).await;
    }
}

/// Says to whoever leads that this server is there.
async fn be_heard(host: HostId, leader: Client) {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let leader = leader.within(HEARD_EVERY);
    loop {
        let wall_ms = Some(tanist_controller::wall_ms());
        let here = ServerHere { host: host.clone(), version: version.clone(), wall_ms };
        if let Err(err) = leader.post::<_, ()>("/link/v1/server", &here).await {
            debug!(err = &err as &dyn std::error::Error, "nobody hears that this server is there");
        }
        // waits: being there has no event.
        tokio::time::sleep(HEARD_EVERY).await;
    }
}

/// Writes down who leads.
async fn announce(mut known: watch::Receiver<Option<tanist_controller::Leader>>) {
    while known.changed().await.is_ok() {
        let leader = known.borrow_and_update().clone();
        match leader {
            Some(leader) => info!(host = %leader.host, term = leader.term.0, "leads"),
            None => info!("nobody leads"),
        }
    }
}

/// The lock of a role that is there once.
pub(super) fn only_one(layout: &Layout, role: &str) -> Result<RoleLock, Failure> {
    roles::alone(layout, role)?.ok_or_else(|| {
        let message = format!("a tanist {role} runs in {} already", layout.root().display());
        Failure::new("T613", message, "one per data directory: end the other first")
    })
}

/// What asks a role to end.
pub(super) fn signals() -> Result<(Signal, Signal), Failure> {
    let both = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    both.map_err(|err| Failure::caused("T630", &err, "raise the limit on descriptors"))
}

/// Resolves when it is asked to.
pub(super) async fn ended((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
