//! What a process uses, as the kernel counts it.
//!
//! Not here: whose process it is (`super::fleet`).

use std::fs::read_to_string;
use std::time::{Duration, Instant};

/// Ticks of the kernel's clock in a second, in which `/proc` counts; the same on every Linux.
const TICKS: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    at: Instant,
    cpu: Duration,
    /// Memory in RAM now and at most, in bytes.
    pub(crate) resident: u64,
    pub(crate) most: u64,
}

impl Usage {
    /// Of the process with this number; nothing if it cannot be read.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // What comes before may have spaces.
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        let (user, system) = (ticks()?, ticks()?);
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        Some(Self {
            at: Instant::now(),
            cpu: Duration::from_secs_f64((user + system) / TICKS),
            resident: bytes("VmRSS:"),
            most: bytes("VmHWM:"),
        })
    }

    /// Processors in use on average since `before`.
    pub(crate) fn cores_since(&self, before: &Self) -> f64 {
        let used = self.cpu.saturating_sub(before.cpu).as_secs_f64();
        used / self.at.duration_since(before.at).as_secs_f64().max(0.001)
    }
}

/// The processes of this name that this process has started.
pub(crate) fn children(name: &str) -> Vec<u32> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        parent == Some(own.as_str()) && stat.contains(&format!("({name})"))
    })
    .collect()
}
