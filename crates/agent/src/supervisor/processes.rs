//! The engines' processes: started, recognised again, watched and signalled.
//!
//! Every process is held by a pidfd, which never refers to another process than the one that it was
//! opened for, and which becomes readable when that one ends, be it a child or not.
//!
//! Invariant: at most one process per node; what was started is on disk before anybody is told.
//!
//! Not here: becoming the engine (`super::exec`).

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use procfs::process::{Process, Stat};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};
use tanist_core::model::NodeId;
use tanist_link::wire::{FromSupervisor, ProcessKey, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::state::StateFile;
use super::{Event, exec, shown};
use crate::SuperviseError;
use crate::layout;

/// The longest reason that a failed start may give, in bytes.
const REASON_LIMIT: u64 = 4096;
/// A log that is longer than this when its engine starts is set aside, in bytes.
const LOG_LIMIT: u64 = 16 << 20;

/// What the record on disk holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// The boot in which the processes were started.
    boot: String,
    processes: BTreeMap<NodeId, ProcessKey>,
}

/// What became of a process.
pub(super) enum ProcessEvent {
    /// The engine's program has taken over.
    Confirmed(NodeId, ProcessKey),
    /// The process has ended; how, and why the engine never took over, if so.
    Ended { node: NodeId, process: ProcessKey, status: String, failed: Option<String> },
}

struct Entry {
    process: ProcessKey,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    /// The engine's program has taken over from the supervisor's own.
    confirmed: bool,
}

/// Every engine of the host.
pub(super) struct Processes {
    file: StateFile,
    boot: String,
    entries: BTreeMap<NodeId, Entry>,
    events: mpsc::Sender<Event>,
}

impl Processes {
    /// Takes over what an earlier supervisor has left running.
    pub(super) fn adopt(dir: &Path, events: mpsc::Sender<Event>) -> Result<Self, SuperviseError> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(SuperviseError::BootId)?
            .trim()
            .to_owned();
        let file = StateFile::new(dir.join("processes.json"));
        let record: Record = file.load()?;
        let mut processes = Self { file, boot, entries: BTreeMap::new(), events };
        if record.boot == processes.boot {
            for (node, process) in record.processes {
                match processes.hold(&node, process) {
                    Ok(()) => info!(%node, pid = process.pid, "engine recognised"),
                    Err(err) => info!(%node, pid = process.pid, %err, "engine is gone"),
                }
            }
        }
        processes.save();
        Ok(processes)
    }

    /// Every engine that runs, as events.
    pub(super) fn running(&self) -> impl Iterator<Item = FromSupervisor> + '_ {
        self.entries.iter().filter(|(_, entry)| entry.confirmed).map(|(node, entry)| {
            FromSupervisor::Running { node: node.clone(), process: entry.process }
        })
    }

    /// Starts the node's engine; what is to be told at once.
    pub(super) fn start(
        &mut self,
        node: NodeId,
        program: &Path,
        config: &Path,
        dir: &Path,
    ) -> Option<FromSupervisor> {
        if let Some(entry) = self.entries.get(&node) {
            let process = entry.process;
            return entry.confirmed.then_some(FromSupervisor::Running { node, process });
        }
        // A supervisor that was killed between starting and recording has left one behind.
        if let Some(process) = stray(program, dir)
            && self.hold(&node, process).is_ok()
        {
            warn!(%node, pid = process.pid, "an engine without a record is recognised");
            self.save();
            return Some(FromSupervisor::Running { node, process });
        }
        match self.spawn(&node, program, config, dir) {
            Ok(pid) => {
                info!(%node, pid, "engine started");
                None
            }
            Err(err) => Some(FromSupervisor::NotStarted { node, reason: err.to_string() }),
        }
    }

    fn spawn(
        &mut self,
        node: &NodeId,
        program: &Path,
        config: &Path,
        dir: &Path,
    ) -> io::Result<u32> {
        let words = |what: &str, err: io::Error| {
            io::Error::new(err.kind(), format!("{what} {}: {err}", shown(dir)))
        };
        let log = open_log(dir).map_err(|err| words("cannot write engine.log in", err))?;
        let (report, input) = io::pipe()?;
        // The link to this very program stays good when the file behind it was replaced.
        let mut child = Command::new("/proc/self/exe")
            .arg0("tanist")
            .arg(exec::SUBCOMMAND)
            .arg(program)
            .arg(config)
            .current_dir(dir)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(|err| words("cannot start a process in", err))?;
        let pid = child.id();
        let held = identify(pid).and_then(|process| Ok((process, open(process)?)));
        let (process, pidfd) = match held {
            Ok(held) => held,
            Err(err) => {
                // Unwatched, it must not run; it is still our child, so the number is its own.
                child.kill()?;
                child.wait()?;
                return Err(err);
            }
        };
        self.insert(node, process, Arc::clone(&pidfd), false);
        self.save();
        tokio::spawn(begin(node.clone(), process, pidfd, report, self.events.clone()));
        Ok(pid)
    }

    /// Watches a process that is not this supervisor's child.
    fn hold(&mut self, node: &NodeId, process: ProcessKey) -> io::Result<()> {
        let pidfd = open(process)?;
        if matches!(look(process.pid)?.state, 'Z' | 'X') {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        self.insert(node, process, Arc::clone(&pidfd), true);
        tokio::spawn(follow(node.clone(), process, pidfd, None, self.events.clone()));
        Ok(())
    }

    fn insert(
        &mut self,
        node: &NodeId,
        process: ProcessKey,
        pidfd: Arc<AsyncFd<OwnedFd>>,
        confirmed: bool,
    ) {
        self.entries.insert(node.clone(), Entry { process, pidfd, confirmed });
    }

    /// Takes note of what happened to a process; what is to be told.
    pub(super) fn happened(&mut self, event: ProcessEvent) -> Option<FromSupervisor> {
        match event {
            ProcessEvent::Confirmed(node, process) => {
                let entry = self.entries.get_mut(&node).filter(|e| e.process == process)?;
                entry.confirmed = true;
                Some(FromSupervisor::Running { node, process })
            }
            ProcessEvent::Ended { node, process, status, failed } => {
                self.entries.get(&node).filter(|entry| entry.process == process)?;
                self.entries.remove(&node);
                self.save();
                info!(%node, pid = process.pid, status, "engine ended");
                Some(match failed {
                    Some(reason) => FromSupervisor::NotStarted { node, reason },
                    None => FromSupervisor::Exited { node, process, status },
                })
            }
        }
    }

    /// Whether the node's engine runs.
    pub(super) fn runs(&self, node: &NodeId) -> bool {
        self.entries.contains_key(node)
    }

    /// Ends whatever process the node has.
    pub(super) fn kill(&self, node: &NodeId) {
        if let Some(entry) = self.entries.get(node) {
            self.signal(node, entry.process, Signal::Kill);
        }
    }

    /// Delivers a signal, if the process is still the one that is meant.
    pub(super) fn signal(&self, node: &NodeId, process: ProcessKey, signal: Signal) {
        let Some(entry) = self.entries.get(node).filter(|entry| entry.process == process) else {
            return debug!(%node, pid = process.pid, "a signal for a process that is gone");
        };
        let number = match signal {
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        if let Err(err) = pidfd_send_signal(entry.pidfd.get_ref(), number) {
            debug!(%node, pid = process.pid, %err, "a signal was not delivered");
        }
    }

    fn save(&self) {
        let processes = self.entries.iter().map(|(node, e)| (node.clone(), e.process)).collect();
        self.file.save(&Record { boot: self.boot.clone(), processes });
    }
}

/// Waits until the engine's program has taken over, or hears why not; then watches.
async fn begin(
    node: NodeId,
    process: ProcessKey,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    report: PipeReader,
    events: mpsc::Sender<Event>,
) {
    let read = move || {
        let mut reason = String::new();
        // The pipe ends by itself: by exec, or with the process.
        let _ = report.take(REASON_LIMIT).read_to_string(&mut reason);
        reason
    };
    let reason = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    let failed = (!reason.is_empty()).then_some(reason);
    if failed.is_none() {
        let confirmed = ProcessEvent::Confirmed(node.clone(), process);
        if events.send(Event::Process(confirmed)).await.is_err() {
            return;
        }
    }
    follow(node, process, pidfd, failed, events).await;
}

/// Waits for the process's end and says how it ended.
async fn follow(
    node: NodeId,
    process: ProcessKey,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    failed: Option<String>,
    events: mpsc::Sender<Event>,
) {
    if let Err(err) = pidfd.ready(Interest::READABLE).await {
        warn!(%node, %err, "watching a process");
    }
    let status = reap(&pidfd);
    // The receiver is gone only when the supervisor ends.
    let _ =
        events.send(Event::Process(ProcessEvent::Ended { node, process, status, failed })).await;
}

/// How the process ended, in words; takes a child out of the process table.
fn reap(pidfd: &AsyncFd<OwnedFd>) -> String {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(pidfd.get_ref().as_fd()), options) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(number)) => format!("killed by signal {number}"),
            (None, None) => "ended".to_owned(),
        },
        // Not a child: only its parent is told how it ended.
        Ok(None) | Err(_) => "ended".to_owned(),
    }
}

/// Opens the process and makes sure that it is the one that is meant.
fn open(process: ProcessKey) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // Only after opening: from here on the number cannot change its owner.
    if identify(process.pid)? != process {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the number has another owner"));
    }
    watched(pidfd)
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function for the sake of descriptors that are not owned; \
              an OwnedFd keeps what that one demands"
)]
fn watched(pidfd: OwnedFd) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
    Ok(Arc::new(AsyncFd::with_interest(pidfd, Interest::READABLE)?))
}

/// The process that has this number now.
fn identify(pid: u32) -> io::Result<ProcessKey> {
    Ok(ProcessKey { pid, started: look(pid)?.starttime })
}

fn look(pid: u32) -> io::Result<Stat> {
    let number = i32::try_from(pid).map_err(io::Error::other)?;
    Process::new(number).and_then(|process| process.stat()).map_err(io::Error::other)
}

/// An engine of this program that works in this directory.
fn stray(program: &Path, dir: &Path) -> Option<ProcessKey> {
    let program = std::fs::canonicalize(program).ok()?;
    let dir = std::fs::canonicalize(dir).ok()?;
    let is_it = |process: &Process| {
        let here = process.cwd().is_ok_and(|cwd| cwd.starts_with(&dir));
        here && process.exe().is_ok_and(|exe| exe == program)
    };
    let found = procfs::process::all_processes().ok()?.flatten().find(is_it)?;
    identify(u32::try_from(found.pid).ok()?).ok()
}

fn open_log(dir: &Path) -> io::Result<std::fs::File> {
    let path = dir.join(layout::ENGINE_LOG);
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        std::fs::rename(&path, dir.join(layout::ENGINE_LOG_BEFORE))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
