//! What the machine says of itself.
//!
//! Invariant: nothing of any process but Tanist's own is read.
//!
//! Not here: what follows from it (`crate::commands::doctor`).

use std::path::Path;

use super::Part;
use crate::layout::Layout;

/// Files whose text is taken as it is.
const FILES: [&str; 10] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/self/limits",
    "/proc/pressure/memory",
    "/proc/pressure/io",
    "/proc/pressure/cpu",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];
/// Settings of the kernel.
const SETTINGS: [&str; 5] = [
    "vm/overcommit_memory",
    "vm/swappiness",
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "fs/file-max",
];

/// The machine's part of the bundle.
pub(super) fn all(layout: &Layout) -> Vec<Part> {
    let mut text = String::new();
    for path in FILES {
        section(&mut text, path, Path::new(path));
    }
    for name in SETTINGS {
        section(&mut text, name, &Path::new("/proc/sys").join(name));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    text.push_str(&format!("--- processors\n{cores}\n--- disk\n{}\n", disk(layout)));
    vec![Part { name: "machine.txt".to_owned(), text }]
}

fn section(text: &mut String, name: &str, path: &Path) {
    let found = std::fs::read_to_string(path).unwrap_or_else(|err| format!("(not read: {err})"));
    text.push_str(&format!("--- {name}\n{}\n", found.trim_end()));
}

fn disk(layout: &Layout) -> String {
    let dir = layout.root();
    let dir = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(dir) {
        Ok(stat) => format!(
            "{}: {} MiB free of {} MiB; {} files free of {}",
            dir.display(),
            stat.f_bavail.saturating_mul(stat.f_frsize) >> 20,
            stat.f_blocks.saturating_mul(stat.f_frsize) >> 20,
            stat.f_favail,
            stat.f_files
        ),
        Err(err) => format!("{}: {err}", dir.display()),
    }
}
