//! Running the roles that `dev` starts in processes of their own.
//!
//! Invariant: a role leaves the terminal and the process group of whoever started it.
//!
//! Not here: what the roles do (`tanist-agent`, `tanist-proxy`).

use std::net::Ipv4Addr;

use tanist_agent::{LeaseConfig, SupervisorConfig};
use tanist_core::model::{Limits, ProxyId};
use tanist_link::{Client, Secret, proxy_of};
use tanist_proxy::{Inheritance, ProxyConfig, ProxyLimits, Succession};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::fleet::{Member, etcd};
use crate::layout::Layout;
use crate::output::Output;
use crate::program;
use crate::spawn::{RoleLock, keep_short};
use crate::{Done, Outcome};

/// The proxy of a `dev` installation.
pub(crate) const PROXY: &str = "proxy-1";

/// Writes the log to stderr, which whoever starts a role leads to a file.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env("TANIST_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // A second initialisation in one process would only change where the same lines go.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

pub(crate) fn alone(layout: &Layout, role: &str) -> Result<Option<RoleLock>, Failure> {
    let path = layout.lock(role);
    RoleLock::take(&path).map_err(|err| {
        let message = format!("the lock {} cannot be used: {err}", path.display());
        Failure::new("T621", message, "check the data directory's owner and disk")
    })
}

/// What the program before has handed over. Without it the proxy starts as any other: its clients are
/// lost, but nobody has to do anything.
fn inherit() -> Option<Inheritance> {
    match Inheritance::receive() {
        Ok(inheritance) => Some(inheritance),
        Err(err) => {
            tracing::error!(%err, "what was handed over cannot be used; clients have to dial again");
            None
        }
    }
}

/// How this proxy can become another program; `None` if it does not know what it is itself.
fn succession(layout: &Layout, lock: &RoleLock) -> Option<Succession> {
    let found = program::current().and_then(|program| Ok((program, lock.share()?)));
    match found {
        Ok((program, lock)) => Some(Succession {
            program: program.path,
            args: vec![
                "proxy".into(),
                "--inherits".into(),
                "--data-dir".into(),
                layout.root().into(),
            ],
            trial: ["proxy", "--takes-over"].map(Into::into).to_vec(),
            build: program.build,
            lock: Some(lock),
        }),
        Err(err) => {
            tracing::warn!(%err, "this proxy cannot be upgraded in place");
            None
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|err| Failure::caused("T622", &err, "raise the limits on threads and descriptors"))
}

/// Leaves the session of whoever started this process.
fn leave_session() {
    // It fails only for a process that leads a group already, which needs no leaving.
    let _ = rustix::process::setsid();
}

pub(crate) fn supervise(layout: &Layout) -> Outcome {
    let Some(_lock) = alone(layout, "supervise")? else { return Ok(Done::Well) };
    leave_session();
    log_to_stderr("info");
    keep_short(layout.log("supervise"))?;
    let runtime = runtime()?;
    let config = {
        let _entered = runtime.enter();
        SupervisorConfig {
            socket: layout.supervisor_socket(),
            state_dir: layout.supervisor_state(),
            leases: leases(layout)?,
        }
    };
    runtime.block_on(tanist_agent::supervise(config)).map_err(|err| {
        Failure::caused("T623", &err, "see the message; engines are not affected")
    })?;
    Ok(Done::Well)
}

/// Keeps this host's etcd running, on a fleet whose file says so.
pub(crate) fn etcd(layout: &Layout) -> Outcome {
    let Some(_lock) = alone(layout, etcd::ROLE)? else { return Ok(Done::Well) };
    leave_session();
    log_to_stderr("info");
    keep_short(layout.log(etcd::ROLE))?;
    runtime()?.block_on(etcd::run(layout.clone()))
}

/// Says whether this program can take over from a proxy that writes this format.
pub(crate) fn takes_over(format: u32, output: &Output) -> Outcome {
    match tanist_proxy::answer(format) {
        Some(answer) => {
            output.line(answer);
            Ok(Done::Well)
        }
        None => Err(Failure::new(
            "T634",
            format!("this release does not read what a proxy of format {format} hands over"),
            "restart the proxy with it instead (clients dial again)",
        )),
    }
}

/// How this host of a fleet has leases. On one host nobody needs them: whoever could be made primary
/// beside another cannot be reached by anybody but the same controller.
fn leases(layout: &Layout) -> Result<Option<LeaseConfig>, Failure> {
    let Some(member) = Member::load(layout)? else { return Ok(None) };
    Ok(Some(LeaseConfig {
        host: member.is.host.clone(),
        secret: member.secret()?,
        // A lease that is given twice is one.
        controllers: member.client()?.kept(),
        limits: Limits::DEFAULT,
    }))
}

/// The proxy of this installation's one host, or of this host of a fleet.
fn proxy_config(layout: &Layout, secret: Secret) -> Result<ProxyConfig, Failure> {
    let limits = ProxyLimits::default();
    let Some(member) = Member::load(layout)? else {
        return Ok(ProxyConfig {
            id: ProxyId::new(PROXY),
            controller: Client::new(layout.controller_socket()),
            address: Ipv4Addr::LOCALHOST,
            floating: Vec::new(),
            secret,
            // It serves every zone that this host stands for.
            zone: None,
            limits,
            pass_through: false,
        });
    };
    let own = member.plan.host(member.is.host.as_str())?;
    Ok(ProxyConfig {
        id: proxy_of(&own.host),
        controller: member.client()?,
        address: own.address,
        floating: member.plan.floating.clone(),
        secret,
        zone: Some(own.zone.clone()),
        limits,
        pass_through: false,
    })
}

pub(crate) fn proxy(layout: &Layout, inherits: bool) -> Outcome {
    log_to_stderr("info");
    let runtime = runtime()?;
    // From the first moment on: an upgrade that is asked for twice must not end what has just begun.
    let deaf = {
        let _entered = runtime.enter();
        signal(SignalKind::user_defined2())
    };
    if let Err(err) = deaf {
        tracing::warn!(%err, "SIGUSR2 ends this process");
    }
    let mut inheritance = if inherits { inherit() } else { None };
    // A lock belongs to what it was taken with: it was never given away.
    let inherited = inheritance.as_mut().and_then(Inheritance::take_lock);
    let lock = match inherited {
        Some(lock) => RoleLock::inherited(lock),
        None => match alone(layout, "proxy")? {
            Some(lock) => lock,
            None => return Ok(Done::Well),
        },
    };
    leave_session();
    keep_short(layout.log("proxy"))?;
    let secret = Secret::load_or_create(&layout.secret())
        .map_err(|err| Failure::caused("T612", &err, "restore the secret file from a copy"))?;
    let config = {
        let _entered = runtime.enter();
        proxy_config(layout, secret)?
    };
    let local = tokio::task::LocalSet::new();
    let succession = succession(layout, &lock);
    let proxy = tanist_proxy::go_on(config, succession, inheritance);
    local.block_on(&runtime, proxy);
    Ok(Done::Well)
}
