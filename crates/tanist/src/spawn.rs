//! Starting Tanist's own long-lived roles: the supervisor, the proxy, and who keeps etcd, which is started
//! here, too.
//!
//! They outlive whoever started them, so they get a session of their own and a log file instead of a
//! terminal. Each holds a lock while it runs; a second one of the same installation ends at once.
//! Each keeps its own log short, because whoever started it may be gone.
//!
//! Invariant: at most one process of each role per data directory.
//!
//! Not here: engines, which only the supervisor starts, and how a log is shortened
//! (`tanist_agent::logs`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tanist_agent::logs;
pub(crate) use tokio::process::Child;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::failure::Failure;
use crate::house::House;
use crate::layout::Layout;
use crate::program;

/// A role that runs for a shorter time than this has failed to start.
const QUICK: Duration = Duration::from_secs(1);
/// After so many failures to start in a row a role is given up.
const QUICK_ENDS: u32 = 5;

/// A lock that ends with its holder.
#[derive(Debug)]
pub(crate) struct RoleLock {
    file: File,
}

impl RoleLock {
    /// Takes a role's lock and writes this process's number into it; `None` if another holds it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(err) => return Err(err.into()),
        }
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Some(Self { file }))
    }

    /// One that this process has held under another program.
    pub(crate) fn inherited(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }

    /// The same lock, for whoever is to hold it as well.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }
}

/// The process that holds a role's lock, if one does.
///
/// Judged by what the process says it is, not by trying the lock: the attempt itself would keep a
/// role that is just starting from getting it.
pub(crate) fn holder(layout: &Layout, role: &str) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(layout.lock(role)).ok()?.trim().parse().ok()?;
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = cmdline.split(|byte| *byte == 0);
    let is_role = words.any(|word| word == role.as_bytes());
    let root = layout.root().as_os_str().as_encoded_bytes();
    let is_ours = cmdline.split(|byte| *byte == 0).any(|word| word == root);
    (is_role && is_ours).then_some(pid)
}

/// Keeps a role running until everything is asked to end: adopts the process that exists, and starts
/// one whenever there is none.
///
/// # Errors
/// When the role ends at once several times in a row.
pub(crate) async fn keep(
    layout: Layout,
    role: &'static str,
    ending: watch::Receiver<bool>,
) -> Failure {
    let mut quick_ends = 0;
    loop {
        if *ending.borrow() {
            return std::future::pending().await;
        }
        let started = tokio::time::Instant::now();
        match holder(&layout, role) {
            Some(pid) => ended(pid).await,
            None => match start(&layout, role) {
                // An error of waiting means that somebody else reaped it: it has ended.
                Ok(mut child) => drop(child.wait().await),
                Err(failure) => return failure,
            },
        }
        warn!(role, "a role has ended");
        quick_ends = if started.elapsed() < QUICK { quick_ends + 1 } else { 0 };
        if quick_ends == QUICK_ENDS {
            let log = layout.log(role);
            let message = format!("the {role} role ends as soon as it is started");
            return Failure::new("T625", message, format!("see the end of {}", log.display()));
        }
    }
}

fn start(layout: &Layout, role: &str) -> Result<Child, Failure> {
    let log_path = layout.log(role);
    let failed = |err: io::Error| {
        let remedy = format!("see {}", log_path.display());
        Failure::new("T620", format!("the {role} role could not be started: {err}"), remedy)
    };
    let log = open_log(&log_path).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let exe = std::env::current_exe().map_err(failed)?;
    tokio::process::Command::new(exe)
        .arg(role)
        .arg("--data-dir")
        .arg(layout.root())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(failed)
}

/// Starts etcd, in a process group of its own. What its environment says of it does not count, but for the
/// one thing that it wants to be told there on some machines.
pub(crate) fn etcd(program: &Path, args: &[String], log: &Path) -> io::Result<Child> {
    let log = open_log(log)?;
    let errors = log.try_clone()?;
    let mut command = tokio::process::Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ETCD_") && name != "ETCD_UNSUPPORTED_ARCH" {
            command.env_remove(&*name);
        }
    }
    command.args(args).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).spawn()
}

/// Opens a log. Everyone who writes it appends, so that [`logs::shorten`] may happen at any time.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Keeps the log of this process short, from now until the process ends.
pub(crate) fn keep_short(log: PathBuf) -> Result<(), Failure> {
    let look = move || {
        loop {
            if let Err(err) = logs::shorten(&log, logs::LIMIT) {
                warn!(log = %log.display(), %err, "setting a log aside");
            }
            // waits: nothing tells how long a file has become.
            thread::sleep(logs::LOOK_EVERY);
        }
    };
    // A thread of its own: clients would notice if the proxy's only one copied a file.
    let thread = thread::Builder::new().name("log".to_owned()).spawn(look);
    thread.map(drop).map_err(|err| Failure::caused("T622", &err, "raise the limits on threads"))
}

/// Resolves when the process has ended; at once if it does not exist.
pub(crate) async fn ended(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return };
    #[expect(
        deprecated,
        reason = "a pidfd is owned and stays open; the replacement is unsafe code"
    )]
    let Ok(fd) = AsyncFd::with_interest(fd, Interest::READABLE) else { return };
    // A pidfd becomes readable when its process ends; an error means that it cannot be watched.
    drop(fd.readable().await);
}

/// Asks one of Tanist's own roles to end.
pub(crate) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that has ended meanwhile needs no asking.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Lets the proxy of this directory become the program that is now where its own was, if this process
/// runs another file than it does: whoever has replaced the binary wants everything to run it.
pub(crate) fn renew_proxy(layout: &Layout) {
    let Some(pid) = holder(layout, "proxy") else { return };
    match program::is_another(pid) {
        Ok(false) => {}
        Ok(true) => {
            info!(pid, "the proxy is asked to become this program");
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // One that has ended meanwhile is started as this program anyway.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR2);
            }
        }
        Err(err) => warn!(pid, %err, "it cannot be told which program the proxy is"),
    }
}

/// A process of this binary with other arguments, its output read by the caller. The terminal's
/// Ctrl-C is for the caller alone, who ends it in order.
pub(crate) fn own(args: &[&std::ffi::OsStr]) -> io::Result<Child> {
    tokio::process::Command::new(std::env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Becomes redis-cli (or valkey-cli); returns only if that fails.
///
/// At an endpoint whose clients have to say who they are it does so by itself, unless `args` do.
pub(crate) fn become_cli(
    (host, port): (&str, u16),
    secure: &[String],
    house: Option<&House>,
    args: &[String],
) -> Failure {
    let says = |arg: &String| matches!(arg.as_str(), "-a" | "--pass" | "--user" | "--askpass");
    let house = house.filter(|_| !args.iter().take_while(|arg| arg.starts_with('-')).any(says));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for program in ["redis-cli", "valkey-cli"] {
        let port = port.to_string();
        let mut command = Command::new(program);
        command.args(["-h", host, "-p", port.as_str()]).args(secure);
        if let Some(house) = house {
            // The environment is its owner's to read; the arguments are everybody's.
            command.args(["--user", House::USER]).env("REDISCLI_AUTH", &house.password);
        }
        command.args(args);
        last = std::os::unix::process::CommandExt::exec(&mut command);
    }
    let message = format!("neither redis-cli nor valkey-cli could be started: {last}");
    Failure::new("T626", message, "install one: apt install redis-tools")
}
