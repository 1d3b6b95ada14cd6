//! Running the roles that `dev` starts in processes of their own.
//!
//! Invariant: a role leaves the terminal and the process group of whoever started it.
//!
//! Not here: what the roles do (`tanist-agent`, `tanist-proxy`).

use tanist_agent::SupervisorConfig;
use tanist_core::model::ProxyId;
use tanist_link::Secret;
use tanist_proxy::{ProxyConfig, ProxyLimits};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::layout::Layout;
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

fn alone(layout: &Layout, role: &str) -> Result<Option<RoleLock>, Failure> {
    let path = layout.lock(role);
    RoleLock::take(&path).map_err(|err| {
        let message = format!("the lock {} cannot be used: {err}", path.display());
        Failure::new("T621", message, "check the data directory's owner and disk")
    })
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
    let config = SupervisorConfig {
        socket: layout.supervisor_socket(),
        state_dir: layout.supervisor_state(),
    };
    runtime()?.block_on(tanist_agent::supervise(config)).map_err(|err| {
        Failure::caused("T623", &err, "see the message; engines are not affected")
    })?;
    Ok(Done::Well)
}

pub(crate) fn proxy(layout: &Layout) -> Outcome {
    let Some(_lock) = alone(layout, "proxy")? else { return Ok(Done::Well) };
    leave_session();
    log_to_stderr("info");
    keep_short(layout.log("proxy"))?;
    let secret = Secret::load_or_create(&layout.secret())
        .map_err(|err| Failure::caused("T612", &err, "restore the secret file from a copy"))?;
    let config = ProxyConfig {
        id: ProxyId::new(PROXY),
        controller: layout.controller_socket(),
        secret,
        // It serves every zone that this host stands for.
        zone: None,
        limits: ProxyLimits::default(),
        pass_through: false,
    };
    let runtime = runtime()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, tanist_proxy::run(config)).map_err(|err| {
        Failure::caused("T624", &err, "see the message; engines are not affected")
    })?;
    Ok(Done::Well)
}
