//! Becoming an engine: the last steps between the supervisor's fork and the engine's first
//! instruction.
//!
//! The supervisor starts its own binary again rather than the engine, because a new session and a
//! higher limit of descriptors can only be had from inside the new process, and doing that between
//! fork and exec would need unsafe code. Standard input is a pipe to the supervisor: it closes
//! unread when the engine's program has taken over, or says why it could not.
//!
//! Invariant: returns only if the engine could not take over.
//!
//! Not here: who watches the engine (`super::processes`).

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, getrlimit, setrlimit, setsid};

/// The hidden subcommand of the binary that has to call [`exec_engine`].
pub(super) const SUBCOMMAND: &str = "exec-engine";
/// The lowest number that the copy of the pipe may get: behind standard input, output and error.
const FIRST_FREE: i32 = 3;

/// Becomes the engine `program` with the one argument `config`, in a session of its own.
///
/// To be called by the binary's hidden subcommand `exec-engine PROGRAM CONFIG`, which the
/// supervisor starts; the binary should print the returned error and exit with status 127.
pub fn exec_engine(program: &Path, config: &Path) -> io::Error {
    let (report, err) = match own_stdin() {
        Ok(mut report) => {
            let err = take_over(program, config);
            // Nobody may be left to read it; the returned error says the same.
            let _ = write!(report, "cannot execute {}: {err}", program.display());
            (Some(report), err)
        }
        Err(err) => (None, err),
    };
    drop(report);
    err
}

/// Moves the pipe to a descriptor that closes on exec, and gives the engine an empty input.
fn own_stdin() -> io::Result<File> {
    let pipe = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(pipe))
}

fn take_over(program: &Path, config: &Path) -> io::Error {
    // Already a leader when started by hand from a shell: nothing is lost by going on.
    let _ = setsid();
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(err) = setrlimit(Resource::Nofile, files) {
        return err.into();
    }
    if let Err(err) = be_killed_like_others() {
        return err;
    }
    Command::new(program).arg(config).exec()
}

/// Gives up the protection that a service manager may have given Tanist's own processes: when memory
/// runs out, the one that has it all is to be killed, and its replica takes over.
fn be_killed_like_others() -> io::Result<()> {
    const ADJUSTMENT: &str = "/proc/self/oom_score_adj";
    let Ok(now) = std::fs::read_to_string(ADJUSTMENT) else { return Ok(()) };
    match now.trim().parse::<i32>() {
        Ok(protected) if protected < 0 => std::fs::write(ADJUSTMENT, "0"),
        Ok(_) | Err(_) => Ok(()),
    }
}
