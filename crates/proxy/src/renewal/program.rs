//! The program that a proxy is to become: tried out first, then become.
//!
//! Invariant: a program is only become after it has said, in a process of its own, that it reads what
//! this one writes. An exit code would not be enough: every program that does nothing has a good one.
//!
//! Not here: what is handed over (`super::estate`).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{io, process};

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{FORMAT, Refused, Succession, answer};

/// How long a program may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Most of what a program says that is repeated.
const SHOWN: usize = 200;

/// An upgrade that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What to become.
    pub(crate) program: PathBuf,
    /// The controller's number for it, if it is the controller who asks.
    pub(crate) number: Option<u64>,
}

/// What came of trying a program out.
pub(crate) type Tried = (Wanted, Result<(), Refused>);

/// Tries a program out in a task of its own, so that routes are heard meanwhile.
pub(crate) fn try_out(wanted: Wanted, succession: &Succession, told: mpsc::UnboundedSender<Tried>) {
    let trial = succession.trial.clone();
    spawn_local(async move {
        let outcome = is_fit(&wanted.program, &trial).await;
        // Nobody is left to hear it when the proxy ends.
        let _ = told.send((wanted, outcome));
    });
}

async fn is_fit(program: &Path, trial: &[std::ffi::OsString]) -> Result<(), Refused> {
    if !program.is_absolute() {
        return Err(Refused::Relative(program.to_owned()));
    }
    let child = tokio::process::Command::new(program)
        .args(trial)
        .arg(FORMAT.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let failed = |err| Refused::Trial(program.to_owned(), err);
    let output = match timeout(LIMIT, child).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && answer(FORMAT).as_deref() == Some(said.trim()) {
        return Ok(());
    }
    let mut words = String::from_utf8_lossy(&output.stderr).into_owned();
    words.retain(|letter| !letter.is_control());
    let words: String = words.chars().take(SHOWN).collect();
    let text = format!(
        "it ended with {}{}{words}",
        output.status,
        if words.is_empty() { "" } else { ": " }
    );
    Err(Refused::Unfit(program.to_owned(), text))
}

/// Becomes the program; returns only if that fails.
pub(crate) fn become_it(program: &Path, succession: &Succession) -> Refused {
    let mut command = process::Command::new(program);
    let err = command.args(&succession.args).exec();
    Refused::Exec(program.to_owned(), err)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn tried(program: &str) -> String {
        match is_fit(Path::new(program), &[]).await {
            Ok(()) => "fit".to_owned(),
            Err(refused) => refused.to_string(),
        }
    }

    #[tokio::test]
    async fn only_a_program_that_says_that_it_takes_over_is_fit() {
        assert!(tried("/bin/false").await.contains("exit status: 1"));
        assert!(tried("/bin/true").await.contains("exit status: 0"), "silence is no answer");
        assert!(tried("true").await.contains("absolute path"));
        assert!(tried("/no/such/program").await.contains("could not be tried out"));
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("program");
        std::fs::write(&script, "#!/bin/sh\necho \"takes over $1\"\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(tried(script.to_str().unwrap()).await, "fit");
    }
}
