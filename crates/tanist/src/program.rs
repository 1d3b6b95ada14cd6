//! Which program this is.
//!
//! The version alone does not tell two builds of one version apart, and a checksum of a hundred megabytes
//! takes time at every start. A file that was replaced has another inode, time or size.
//!
//! Invariant: two processes that give the same answer run the same file.
//!
//! Not here: what is done about a difference (`tanist-controller`).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tanist_controller::Program;

/// This process's own. The path is where the file was when the process began, which is where its
/// successor will be.
pub(crate) fn current() -> io::Result<Program> {
    let path = std::env::current_exe()?;
    // Of what runs, whatever has that name by now.
    Ok(Program { path, build: build(Path::new("/proc/self/exe"))? })
}

/// Whether a process of this host runs another file than this process does.
pub(crate) fn is_another(pid: u32) -> io::Result<bool> {
    let theirs = build(Path::new(&format!("/proc/{pid}/exe")))?;
    Ok(theirs != build(Path::new("/proc/self/exe"))?)
}

fn build(exe: &Path) -> io::Result<String> {
    let file = std::fs::metadata(exe)?;
    let version = env!("CARGO_PKG_VERSION");
    let (device, inode, bytes) = (file.dev(), file.ino(), file.size());
    let (secs, nanos) = (file.mtime(), file.mtime_nsec());
    Ok(format!("{version}+{device:x}.{inode:x}.{bytes:x}.{secs:x}.{nanos:x}"))
}
