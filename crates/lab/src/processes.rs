//! Processes of an installation, found by what `/proc` says.
//!
//! Invariant: only processes whose command line names the installation's own directory are touched.
//!
//! Not here: starting them.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Whether a process exists and is not just waiting to be reaped.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// Sends a signal.
///
/// # Panics
/// If the number is not a process's.
pub fn signal(pid: u32, signal: Signal) {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.unwrap_or_else(|| panic!("{pid} is no process"));
    // One that has ended meanwhile is as good as killed.
    let _ = kill_process(raw, signal);
}

/// SIGKILL.
///
/// # Panics
/// If the number is not a process's.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Every process whose command line, or whose working directory, lies in `dir`.
pub fn engines_of(dir: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && alive(*pid) && belongs(*pid, dir)).collect()
}

fn belongs(pid: u32, dir: &Path) -> bool {
    let needle = dir.as_os_str().as_encoded_bytes();
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let named = cmdline.windows(needle.len().max(1)).any(|window| window == needle);
    let within =
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
    named || within
}
