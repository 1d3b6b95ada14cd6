//! `tanist doctor`: what often goes wrong on a host, checked.
//!
//! Invariant: a check that cannot be made says so; it never passes by default.
//!
//! Not here: problems of a running group (`super::status`).

mod fleet;
mod groups;
mod store;

use std::path::Path;

use serde::Serialize;
use tanist_link::Client;
use tanist_link::api::Status;

use crate::failure::Failure;
use crate::fleet::Member;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::{Done, Outcome, engines};

/// Free disk space below which a warning is given, in bytes.
const LOW_DISK: u64 = 1 << 30;
/// Descriptors that a host should allow each engine: clients and their files.
const DESCRIPTORS: u64 = 10_032;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Good,
    Warning,
    Problem,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    mark: Mark,
    what: String,
    remedy: String,
}

impl Check {
    fn good(what: impl Into<String>) -> Self {
        Self { mark: Mark::Good, what: what.into(), remedy: String::new() }
    }

    fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { mark: Mark::Warning, what: what.into(), remedy: remedy.into() }
    }

    fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { mark: Mark::Problem, what: what.into(), remedy: remedy.into() }
    }
}

/// Runs every check; degraded (exit 3) if one found a problem.
pub(crate) async fn doctor(layout: &Layout, out: &Output) -> Outcome {
    let client = way(layout);
    let checks = checks(client.as_ref(), layout).await;
    if out.is_json() {
        out.json(&checks)?;
    } else {
        for check in &checks {
            show(check, out);
        }
        let count = |mark| checks.iter().filter(|check| check.mark == mark).count();
        out.line(format!("{} problems, {} warnings", count(Mark::Problem), count(Mark::Warning)));
    }
    let well = checks.iter().all(|check| check.mark != Mark::Problem);
    Ok(if well { Done::Well } else { Done::Degraded })
}

/// The way to the installation, if this host may ask.
fn way(layout: &Layout) -> Result<Client, Failure> {
    match Member::load(layout)? {
        Some(member) => member.administrator(),
        None => Ok(Client::new(layout.controller_socket())),
    }
}

/// Every check; those of the installation only if there is a way to it.
pub(super) async fn checks(client: Result<&Client, &Failure>, layout: &Layout) -> Vec<Check> {
    let mut checks =
        vec![engines(), overcommit(), huge_pages(), descriptors(), disk(layout), secrets(layout)];
    let member = match Member::load(layout) {
        Ok(member) => member,
        Err(failure) => {
            checks.push(Check::problem(failure.message, failure.remedy));
            return checks;
        }
    };
    match &member {
        Some(member) => {
            // Clients' authority is with the servers.
            checks.extend(fleet::is_server(member).then(|| certificates(layout)));
            checks.extend(fleet::own(member));
            if !fleet::is_server(member) {
                checks.push(fleet::not_asked(member));
                return checks;
            }
        }
        None => checks.push(certificates(layout)),
    }
    checks.extend(store::checks(layout).await);
    checks.extend(installation(client, layout, member.as_ref()).await);
    checks
}

fn show(check: &Check, out: &Output) {
    let mark = match check.mark {
        Mark::Good => out.paint(Paint::Good, "✓"),
        Mark::Warning => out.paint(Paint::Warn, "!"),
        Mark::Problem => out.paint(Paint::Bad, "✗"),
    };
    out.line(format!("{mark} {}", check.what));
    if !check.remedy.is_empty() {
        out.line(format!("    fix: {}", check.remedy));
    }
}

fn engines() -> Check {
    match engines::find() {
        Ok(found) => {
            let names: Vec<String> =
                found.list().iter().map(|path| path.display().to_string()).collect();
            Check::good(format!("engines: {}", names.join(", ")))
        }
        Err(err) => Check::problem(err.message, err.remedy),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn overcommit() -> Check {
    match read("/proc/sys/vm/overcommit_memory").as_deref() {
        Some("1") => Check::good("vm.overcommit_memory=1"),
        Some(value) => Check::warning(
            format!("vm.overcommit_memory={value}: a snapshot or full copy can fail at fork"),
            "sysctl vm.overcommit_memory=1 (and in /etc/sysctl.d to keep it)",
        ),
        None => Check::warning("vm.overcommit_memory cannot be read", "check it by hand"),
    }
}

fn huge_pages() -> Check {
    match read("/sys/kernel/mm/transparent_hugepage/enabled") {
        Some(text) if text.contains("[always]") => Check::warning(
            "transparent huge pages are always on: forks of a busy engine are slow",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(_) => Check::good("transparent huge pages are not always on"),
        None => Check::good("no transparent huge pages on this kernel"),
    }
}

fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(hard) if hard < DESCRIPTORS => Check::problem(
            format!("at most {hard} descriptors per process: engines would refuse clients"),
            format!("raise the hard limit (ulimit -Hn) to {DESCRIPTORS} or more"),
        ),
        Some(hard) => Check::good(format!("{hard} descriptors per process")),
        None => Check::good("no limit on descriptors"),
    }
}

fn disk(layout: &Layout) -> Check {
    let dir = layout.root();
    let dir = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{} MiB free below {}", free >> 20, dir.display());
            if free < LOW_DISK {
                Check::warning(text, "free disk space: a full disk makes engines refuse writes")
            } else {
                Check::good(text)
            }
        }
        Err(err) => Check::problem(
            format!("the disk below {} cannot be looked at: {err}", dir.display()),
            "check the data directory",
        ),
    }
}

fn secrets(layout: &Layout) -> Check {
    use std::os::unix::fs::PermissionsExt;
    let key = layout.tls().join(tanist_tls::KEY);
    let open = [layout.root().to_owned(), layout.secret(), key].into_iter().find(|path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
    });
    match open {
        Some(path) => Check::problem(
            format!("{} can be read by others", path.display()),
            format!("chmod go= {}", path.display()),
        ),
        None => Check::good("nobody else can read the data directory"),
    }
}

fn certificates(layout: &Layout) -> Check {
    match super::ca::load(layout) {
        Ok(authority) => {
            let print = authority.fingerprint();
            let print = print.get(..16).unwrap_or_default();
            Check::good(format!("the certificate authority {print}… can be used: tanist ca"))
        }
        Err(failure) if !layout.tls().exists() => Check::warning(failure.message, failure.remedy),
        Err(failure) => Check::problem(failure.message, failure.remedy),
    }
}

async fn ask<'a>(client: Result<&'a Client, &Failure>) -> Result<(&'a Client, Status), Failure> {
    let client = client.map_err(Failure::clone)?;
    Ok((client, client.get("/v1/status").await?))
}

async fn installation(
    client: Result<&Client, &Failure>,
    layout: &Layout,
    member: Option<&Member>,
) -> Vec<Check> {
    let (client, status) = match ask(client).await {
        Ok(asked) => asked,
        Err(failure) => {
            return vec![Check::warning(
                format!("no running installation was checked: {}", failure.message),
                failure.remedy,
            )];
        }
    };
    let mut checks = match member {
        Some(member) => fleet::whole(member, &status),
        None => silent(&status),
    };
    if !status.proxies.iter().any(|proxy| proxy.up) {
        let remedy = "see proxy.log in the data directory";
        checks.push(Check::problem("no proxy is connected: endpoints may be closed", remedy));
    }
    for group in &status.groups {
        checks.extend(groups::checks(client, layout, group).await);
    }
    checks
}

/// Simulated hosts that are not heard: they are all in one process.
fn silent(status: &Status) -> Vec<Check> {
    let silent = status.hosts.iter().filter(|host| !host.up);
    let what = silent.map(|host| format!("nothing is heard from {}", host.host));
    what.map(|what| Check::problem(what, "see dev.log in the data directory")).collect()
}
