//! Network namespaces: made, entered, emptied and removed.
//!
//! Every name begins with `tanist-lab-` and the process id of its maker, so that the next run finds
//! what a killed one left.
//!
//! Invariant: a namespace is removed with every process in it when its `Ground` is dropped; only
//! those that this module named are ever touched.
//!
//! Not here: what passes between them (`super::filter`), what runs in them (`super::programs`).

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::processes::{alive, kill};

/// What every name begins with.
const PREFIX: &str = "tanist-lab-";
/// Where iproute2 keeps namespaces.
const NAMES: &str = "/run/netns";
/// How long the processes of a namespace may take to end after SIGKILL.
const ENDING: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether this machine lets us make namespaces and filters in them; if not, says so aloud.
pub fn possible() -> bool {
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let quiet = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let why = if !rustix::process::geteuid().is_root() {
        "network namespaces need root"
    } else if !works("ip", &["-V"]) {
        "there is no ip (scripts/install.sh test installs it)"
    } else if !works("nft", &["-v"]) {
        "there is no nft (scripts/install.sh test installs it)"
    } else if !works("unshare", &["--net", "nft", "add table bridge lab"]) {
        "no network namespace with a filter for bridges (unshare --net nft add table bridge lab)"
    } else {
        return true;
    };
    crate::skip(why);
    false
}

/// The namespaces of one site.
#[derive(Debug)]
pub(super) struct Ground {
    bridge: String,
    hosts: Vec<String>,
}

impl Ground {
    /// Makes a bridge, and a namespace for each host that is joined to it.
    ///
    /// # Panics
    /// If this machine does not let us; see [`possible`].
    pub(super) fn make(hosts: &[(&str, Ipv4Addr)]) -> Self {
        sweep();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = |name: &str| format!("{PREFIX}{}-{number}-{name}", std::process::id());
        let mut ground = Self { bridge: own("bridge"), hosts: Vec::new() };
        ip(&format!("netns add {}", ground.bridge));
        ip(&format!("-n {} link add br0 type bridge", ground.bridge));
        ip(&format!("-n {} link set br0 up", ground.bridge));
        for (name, address) in hosts {
            let host = own(name);
            ip(&format!("netns add {host}"));
            ground.hosts.push(host.clone());
            ip(&format!("-n {host} link set lo up"));
            let bridge = &ground.bridge;
            ip(&format!("-n {bridge} link add {name} type veth peer name eth0 netns {host}"));
            ip(&format!("-n {bridge} link set {name} master br0 up"));
            ip(&format!("-n {host} addr add {address}/16 dev eth0"));
            ip(&format!("-n {host} link set eth0 up"));
        }
        ground
    }

    /// Where the hosts are joined.
    pub(super) fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The namespace of a host.
    pub(super) fn host(&self, host: usize) -> &str {
        &self.hosts[host]
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.bridge]) {
            remove(name);
        }
    }
}

/// A command that runs in a namespace.
pub(super) fn within(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program).stdin(Stdio::null());
    command
}

/// Runs something in a thread that is in a namespace: sockets that it opens belong there.
///
/// # Panics
/// If the namespace cannot be entered, or what runs panics.
pub(super) fn inside<T: Send>(namespace: &str, run: impl AsyncFnOnce() -> T + Send) -> T {
    let body = || {
        enter(namespace);
        runtime().block_on(run())
    };
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(out) => out,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Moves the calling thread, and nobody else, into a namespace.
///
/// # Panics
/// If it cannot be entered.
pub(super) fn enter(namespace: &str) {
    let path = Path::new(NAMES).join(namespace);
    let file = File::open(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .unwrap_or_else(|err| panic!("entering {namespace}: {err}"));
}

/// A runtime that stays in its thread, which may be in a namespace.
///
/// # Panics
/// If there is none.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|err| panic!("a runtime: {err}"))
}

/// Sets rules in a namespace, all or none.
///
/// # Panics
/// If nft refuses them.
pub(super) fn filter(namespace: &str, rules: &str) {
    let mut nft = within(namespace, "nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = nft.spawn().unwrap_or_else(|err| panic!("nft: {err}"));
    let written = nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
    let done = nft.wait_with_output().unwrap_or_else(|err| panic!("nft: {err}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "nft: {written:?} {said}\n{rules}");
}

/// The processes in a namespace; our own threads in it are none.
pub(super) fn processes(namespace: &str) -> Vec<u32> {
    let Ok(own) = std::fs::metadata(Path::new(NAMES).join(namespace)) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_in = |pid: &u32| {
        let theirs = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (own.dev(), own.ino()))
    };
    pids.filter(|pid| *pid != std::process::id() && alive(*pid) && is_in(pid)).collect()
}

/// SIGKILLs everything in a namespace and sees it end.
///
/// # Panics
/// If something does not end.
pub(super) fn empty(namespace: &str) {
    let started = Instant::now();
    loop {
        let left = processes(namespace);
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|pid| kill(*pid));
        assert!(started.elapsed() < ENDING, "processes that cannot be killed: {left:?}");
        // waits: the kernel tells only parents that a process has ended, and these have others.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn remove(namespace: &str) {
    empty(namespace);
    ip(&format!("netns del {namespace}"));
}

/// The process that made what has this name.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Removes what makers left that are no more.
fn sweep() {
    let named = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let gone = |path: &PathBuf| {
            let maker = path.file_name().and_then(|name| maker(name.to_str()?));
            maker.is_some_and(|pid| pid != std::process::id() && !alive(pid))
        };
        entries.map(|entry| entry.path()).filter(gone).collect()
    };
    for path in named(Path::new(NAMES)) {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            remove(name);
        }
    }
    for group in named(Path::new(super::programs::GROUPS)) {
        // One that another run removes at the same time is gone as well.
        let _ = std::fs::remove_dir(group);
    }
    for dir in named(&std::env::temp_dir()) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// What files of this process are named like.
pub(super) fn prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Runs iproute2 with these words.
///
/// # Panics
/// If it refuses, unless a namespace is to be removed.
pub(super) fn ip(args: &str) {
    let ran = Command::new("ip").args(args.split(' ')).output();
    let ran = ran.unwrap_or_else(|err| panic!("ip: {err}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() || args.starts_with("netns del"), "ip {args}: {said}");
}

#[cfg(test)]
mod tests {
    use super::maker;

    #[test]
    fn a_name_tells_who_made_it() {
        assert_eq!(maker("tanist-lab-77-0-h1"), Some(77));
        assert_eq!(maker("tanist-lab-network-130.lock"), None);
        // An installation's directory, whose name is drawn by lot.
        assert_eq!(maker("tanist-lab-123456"), None);
        assert_eq!(maker("somebody-else"), None);
    }
}
