//! Encrypted clients while the proxy becomes another program: their connections end, and that is all.
//!
//! Invariant: the clients are the real ones, and nothing is tried again for them by the test.
//!
//! Not here: clients that are not encrypted, who notice nothing (`stories/`).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tanist_lab::Installation;

use super::with_environment;

struct Running {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Starts a client and waits until it is ready.
    fn start(installation: &Installation, program: PathBuf, script: &str) -> Self {
        let host = installation.group("web").primary_endpoint.address.to_string();
        let mut command = Command::new(&program);
        with_environment(&mut command, installation);
        let mut child = command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
            .arg(host)
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

    /// Ends its input; its report.
    fn report(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut report = String::new();
        self.said.read_to_string(&mut report).unwrap_or_else(|err| panic!("{err}"));
        self.child.wait().unwrap_or_else(|err| panic!("{err}"));
        serde_json::from_str(&report).unwrap_or_else(|err| panic!("{err}: {report}"))
    }
}

/// Three upgrades beside a client that counts; its report.
fn beside(program: PathBuf, script: &str) -> Value {
    let installation = Installation::start();
    installation.create("web", &["--tls"]);
    let running = Running::start(&installation, program, script);
    for _ in 0..3 {
        installation.tanist(&["renew"]).ok();
    }
    running.report()
}

fn assert_nothing_failed(report: &Value, notice: &str) {
    assert_eq!(report["errors"], serde_json::json!([]), "{report}");
    assert_eq!(report["acknowledged"], report["counted"], "{report}");
    let heard = report["heard"].as_array().unwrap_or_else(|| panic!("{report}"));
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard == notice), "{report}");
}

#[test]
fn redis_py_is_told_and_dials_again_before_its_connection_ends() {
    let report = beside(super::boto3::python(), "renewal.py");
    assert_nothing_failed(&report, "NodeMovingNotification");
    assert!(report["connections"].as_u64() >= Some(2), "it has moved: {report}");
}

#[test]
fn node_redis_is_told_and_none_of_its_commands_fails() {
    let report = beside("node".into(), "renewal.mjs");
    assert_nothing_failed(&report, "MOVING");
}

#[test]
fn an_encrypted_connection_ends_between_two_requests_and_says_so() {
    let installation = Installation::start();
    installation.create("web", &["--tls"]);
    let mut running = Running::start(&installation, super::boto3::python(), "renewal_half.py");
    let mut renewing = installation.begin(&["renew", "-o", "json"]);
    let input = running.child.stdin.as_mut().unwrap_or_else(|| panic!("no input"));
    writeln!(input).unwrap_or_else(|err| panic!("{err}"));
    let report = running.report();
    // An end without its alert would be an error here.
    let right = serde_json::json!({
        "answer": ":1\r\n", "end": "", "end_of_idle": "", "kept": "$1\r\n1\r\n",
    });
    assert_eq!(report, right);
    let mut said = String::new();
    let output = renewing.stdout.as_mut().unwrap_or_else(|| panic!("no output"));
    output.read_to_string(&mut said).unwrap_or_else(|err| panic!("{err}"));
    assert!(renewing.wait().is_ok_and(|status| status.success()), "{said}");
    assert!(said.contains("\"ended\": 2") || said.contains("\"ended\":2"), "{said}");
}
