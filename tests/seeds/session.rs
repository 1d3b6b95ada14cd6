//! One bash that a whole document is typed into.
//!
//! Each command goes into a file that the shell sources, so that it may have any quotes and several
//! lines, and what it sets is there for the next one. What it says goes into a file, too; the pipe
//! between the shell and the test carries only the exit codes.
//!
//! Invariant: no command outlives its deadline, and none of its processes the session.
//!
//! Not here: what should come of a command (`crate::replay`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// The most of a command's output that is looked at, in bytes.
const OUTPUT: u64 = 256 * 1024;
/// The largest file that a command may write, in the unit of bash's `ulimit -f`: 64 MiB.
const FILE_KIB: u32 = 64 * 1024;

/// A running shell.
#[derive(Debug)]
pub(crate) struct Session {
    shell: Child,
    typed: ChildStdin,
    codes: Receiver<String>,
    dir: PathBuf,
    count: u32,
    ended: bool,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    /// It ended.
    Out {
        /// Its exit code.
        code: i32,
        /// What it said on both streams, without carriage returns.
        said: String,
    },
    /// It was ended after its deadline, and the shell with it.
    Hung {
        /// What it had said.
        said: String,
    },
    /// The shell is gone.
    ShellEnded,
}

impl Session {
    /// Starts a shell in `dir` with what `equip` gives it.
    ///
    /// # Panics
    /// If bash cannot be started.
    pub(crate) fn start(dir: &Path, equip: impl FnOnce(&mut Command)) -> Self {
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]).current_dir(dir).process_group(0);
        bash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        equip(&mut bash);
        let mut shell = bash.spawn().unwrap_or_else(|err| panic!("starting bash: {err}"));
        let typed = shell.stdin.take().unwrap_or_else(|| panic!("bash has no input"));
        let said = shell.stdout.take().unwrap_or_else(|| panic!("bash has no output"));
        let (sender, codes) = sync_channel(1);
        std::thread::spawn(move || {
            // It ends with the shell, or with the session that nobody asks any more.
            for code in BufReader::new(said).lines().map_while(Result::ok) {
                if sender.send(code).is_err() {
                    break;
                }
            }
        });
        let dir = dir.to_path_buf();
        let mut session = Self { shell, typed, codes, dir, count: 0, ended: false };
        let set = format!("set -o pipefail; trap '' XFSZ; ulimit -f {FILE_KIB}");
        let came = session.run(&set, "", Duration::from_secs(10));
        assert_eq!(came, Came::Out { code: 0, said: String::new() }, "{set}");
        session
    }

    /// Runs a command with this text as its input.
    ///
    /// # Panics
    /// If its files cannot be written or read.
    pub(crate) fn run(&mut self, command: &str, input: &str, deadline: Duration) -> Came {
        if self.ended {
            return Came::ShellEnded;
        }
        self.count += 1;
        let file = |kind: &str| self.dir.join(format!("{kind}-{}", self.count));
        let (script, stdin, output) = (file("command"), file("input"), file("output"));
        write(&script, &format!("{command}\n"));
        write(&stdin, input);
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let (script, stdin, out) = (quoted(&script), quoted(&stdin), quoted(&output));
        let typed = format!("source {script} <{stdin} >{out} 2>&1; printf '%s\\n' \"$?\"\n");
        let sent = self.typed.write_all(typed.as_bytes()).and_then(|()| self.typed.flush());
        if sent.is_err() {
            self.end();
            return Came::ShellEnded;
        }
        match self.codes.recv_timeout(deadline) {
            Ok(code) => {
                let code = code.parse().unwrap_or_else(|_| panic!("not an exit code: {code:?}"));
                Came::Out { code, said: read(&output) }
            }
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                Came::Hung { said: read(&output) }
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.end();
                Came::ShellEnded
            }
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let group = i32::try_from(self.shell.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // There may be nobody left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}

fn read(path: &Path) -> String {
    let mut start = Vec::new();
    let file = File::open(path).and_then(|file| file.take(OUTPUT).read_to_end(&mut start));
    file.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    String::from_utf8_lossy(&start).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn session() -> (tempfile::TempDir, Session) {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::start(dir.path(), |_| {});
        (dir, session)
    }

    fn out(code: i32, said: &str) -> Came {
        Came::Out { code, said: said.to_owned() }
    }

    #[test]
    fn variables_are_carried_from_command_to_command() {
        let (_dir, mut session) = session();
        assert_eq!(session.run("A=$(echo 'one\ntwo')", "", SOON), out(0, ""));
        assert_eq!(session.run("echo \"$A\" # it's", "", SOON), out(0, "one\ntwo\n"));
        assert_eq!(session.run("cat; echo bad >&2", "typed\r\n", SOON), out(0, "typed\nbad\n"));
    }

    #[test]
    fn exit_codes_are_those_of_the_command_and_of_its_pipes() {
        let (_dir, mut session) = session();
        assert_eq!(session.run("(exit 7)", "", SOON), out(7, ""));
        assert_eq!(session.run("false | cat", "", SOON), out(1, ""));
        assert!(matches!(session.run("echo $(", "", SOON), Came::Out { code, .. } if code != 0));
        assert_eq!(session.run("echo still there", "", SOON), out(0, "still there\n"));
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let (dir, mut session) = session();
        let hanging = "echo begun; mkfifo never; sleep 600 & echo $! >pid; cat never";
        let came = session.run(hanging, "", Duration::from_secs(2));
        assert_eq!(came, Came::Hung { said: "begun\n".to_owned() });
        let pid: u32 =
            std::fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
        let begun = std::time::Instant::now();
        while tanist_lab::alive(pid) {
            assert!(begun.elapsed() < SOON, "the process {pid} lives on");
            std::thread::yield_now();
        }
        assert_eq!(session.run("true", "", SOON), Came::ShellEnded);
    }

    #[test]
    fn a_command_that_ends_the_shell_is_noticed() {
        let (_dir, mut session) = session();
        assert_eq!(session.run("exit 0", "", SOON), Came::ShellEnded);
    }

    #[test]
    fn output_without_an_end_is_limited() {
        let (_dir, mut session) = session();
        let came = session.run("yes", "", Duration::from_secs(60));
        let Came::Out { code, said } = came else { panic!("{came:?}") };
        assert!(code != 0 && said.len() as u64 == OUTPUT, "{code}, {} bytes", said.len());
    }
}
