//! What runs on a host: the programs that its machine starts when it is switched on, and what those
//! start.
//!
//! Invariant: every process that a host's programs started is in the host's namespace, and is found
//! there; a program that was killed is not started again before somebody asks.
//!
//! Not here: which programs (`super::fleet`, `super::peer`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ground::{empty, prefix, processes, within};
use crate::processes::{alive, kill, signal};

/// Where groups of processes are that may use only some of the processor's time.
pub(super) const GROUPS: &str = "/sys/fs/cgroup/cpu";
/// How long a process may take to end after SIGKILL.
const ENDING: Duration = Duration::from_secs(20);
/// The length of what a share of the processor's time is counted in, in microseconds.
const PERIOD: u32 = 100_000;

/// A program that a host runs.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// What it is called here: `etcd`, `server`, `agent`, `redis`, `sentinel`.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) log: PathBuf,
}

/// A host's programs.
#[derive(Debug)]
pub(super) struct Programs {
    namespace: String,
    list: Vec<(Program, Option<Child>)>,
    group: Option<PathBuf>,
}

impl Programs {
    pub(super) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), list: Vec::new(), group: None }
    }

    /// Adds one and starts it.
    pub(super) fn add(&mut self, program: Program) {
        let child = spawn(&self.namespace, &program);
        self.list.push((program, Some(child)));
    }

    /// Whether the host has such a program.
    pub(super) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|(program, _)| program.name == name)
    }

    /// The log of a program that the host has.
    pub(super) fn log(&self, name: &str) -> Option<&Path> {
        let found = self.list.iter().find(|(program, _)| program.name == name);
        found.map(|(program, _)| program.log.as_path())
    }

    /// The process of a program that runs.
    pub(super) fn pid(&mut self, name: &str) -> Option<u32> {
        let (_, child) = self.list.iter_mut().find(|(program, _)| program.name == name)?;
        let child = child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// SIGKILLs one program, without what it started.
    pub(super) fn kill(&mut self, name: &str) {
        for (_, child) in self.list.iter_mut().filter(|(program, _)| program.name == name) {
            if let Some(mut child) = child.take() {
                // One that has ended is as good as killed.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// Processes that the host's programs started with this word in their command line.
    pub(super) fn started(&self, role: &str) -> Vec<u32> {
        let named = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).skip(1).any(|word| word == role.as_bytes())
        };
        processes(&self.namespace).into_iter().filter(named).collect()
    }

    /// Processes of engines.
    pub(super) fn engines(&self) -> Vec<u32> {
        let engine = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            ["redis-server", "valkey-server"].contains(&name.trim_end())
        };
        processes(&self.namespace).into_iter().filter(engine).collect()
    }

    /// SIGKILLs everything on the host.
    pub(super) fn kill_all(&mut self) {
        empty(&self.namespace);
        for (_, child) in &mut self.list {
            if let Some(mut child) = child.take() {
                // It has ended; this takes note of it.
                let _ = child.wait();
            }
        }
    }

    /// Stops everything on the host, as a machine that hangs.
    pub(super) fn freeze(&self) {
        processes(&self.namespace).into_iter().for_each(|pid| signal(pid, Signal::STOP));
    }

    /// Lets everything go on that was stopped.
    pub(super) fn thaw(&self) {
        processes(&self.namespace).into_iter().for_each(|pid| signal(pid, Signal::CONT));
    }

    /// Starts every program that does not run.
    pub(super) fn start(&mut self) {
        for (program, child) in &mut self.list {
            let runs = child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if !runs {
                *child = Some(spawn(&self.namespace, program));
            }
        }
    }

    /// Starts those that have ended by themselves, as a service manager does; their names.
    pub(super) fn revive(&mut self) -> Vec<&'static str> {
        let mut revived = Vec::new();
        for (program, child) in &mut self.list {
            if child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                *child = Some(spawn(&self.namespace, program));
                revived.push(program.name);
            }
        }
        revived
    }

    /// Lets the host use only so many hundredths of a processor. False, and said aloud, if this
    /// machine has no such groups.
    pub(super) fn starve(&mut self, percent: u32) -> bool {
        let name = self.namespace.rsplit('-').next().unwrap_or_default();
        let group = Path::new(GROUPS).join(format!("{}{name}", prefix()));
        let quota = PERIOD / 100 * percent;
        let made = std::fs::create_dir(&group)
            .and_then(|()| std::fs::write(group.join("cpu.cfs_period_us"), PERIOD.to_string()))
            .and_then(|()| std::fs::write(group.join("cpu.cfs_quota_us"), quota.to_string()));
        if let Err(err) = made {
            crate::skip(&format!("no share of the processor's time: {}: {err}", group.display()));
            return false;
        }
        for pid in processes(&self.namespace) {
            // One that has ended meanwhile needs none.
            let _ = std::fs::write(group.join("cgroup.procs"), pid.to_string());
        }
        self.group = Some(group);
        true
    }

    /// Lets it use all again.
    pub(super) fn feed(&mut self) {
        let Some(group) = self.group.take() else { return };
        let inside = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in inside.lines() {
            // One that has ended meanwhile is in no group.
            let _ = std::fs::write(Path::new(GROUPS).join("cgroup.procs"), pid);
        }
        // The next run removes it if this one cannot.
        let _ = std::fs::remove_dir(group);
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.kill_all();
        self.feed();
    }
}

/// SIGKILLs a process and sees it end.
///
/// # Panics
/// If it does not.
pub(super) fn end(pid: u32) {
    let started = Instant::now();
    kill(pid);
    while alive(pid) {
        assert!(started.elapsed() < ENDING, "{pid} does not end");
        std::thread::yield_now();
    }
}

fn spawn(namespace: &str, program: &Program) -> Child {
    let log = File::options().create(true).append(true).open(&program.log);
    let log = log.unwrap_or_else(|err| panic!("{}: {err}", program.log.display()));
    let errors = log.try_clone().unwrap_or_else(|err| panic!("a log: {err}"));
    let child = within(namespace, &program.program)
        .args(&program.args)
        .env("NO_COLOR", "1")
        .stdout(Stdio::from(log))
        .stderr(errors)
        .spawn();
    child.unwrap_or_else(|err| panic!("{}: {err}", program.name))
}
