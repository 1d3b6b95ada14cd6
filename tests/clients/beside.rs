//! A real client that counts while something happens.
//!
//! Invariant: it is connected before anything happens, notices included.
//!
//! Not here: what it does (its script), what happens.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tanist_lab::Installation;

use super::with_environment;

/// A client that is ready.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a client of the group `web` and waits until it is ready.
    pub(crate) fn start(
        installation: &Installation,
        program: &Path,
        script: &str,
        args: &[&str],
    ) -> Self {
        let host = installation.group("web").primary_endpoint.address.to_string();
        let mut command = Command::new(program);
        with_environment(&mut command, installation);
        let mut child = command
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
            .arg(host)
            .args(args)
            .env("REDIS_EMIT_DIAGNOSTICS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("{}: {err}", program.display()));
        let output = child.stdout.take().unwrap_or_else(|| panic!("no output"));
        let mut running = Self { child, said: BufReader::new(output) };
        let mut line = String::new();
        running.said.read_line(&mut line).unwrap_or_else(|err| panic!("{script}: {err}"));
        assert_eq!(line, "ready\n", "{script} is connected");
        running
    }

    /// Ends its input, and so the client; its report.
    pub(crate) fn report(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut report = String::new();
        self.said.read_to_string(&mut report).unwrap_or_else(|err| panic!("{err}"));
        self.child.wait().unwrap_or_else(|err| panic!("{err}"));
        serde_json::from_str(&report).unwrap_or_else(|err| panic!("{err}: {report}"))
    }
}
