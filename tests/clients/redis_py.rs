//! redis-py, which asks every server for notices of failovers.
//!
//! Invariant: the client is the real one, as its users configure it.
//!
//! Not here: the notices' bytes (`tanist-proxy`).

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use tanist_lab::Installation;

#[test]
fn redis_py_hears_of_a_planned_move_and_notices_nothing_else() {
    for engine in ["redis", "valkey"] {
        story(engine);
    }
}

fn story(engine: &str) {
    let installation = Installation::start();
    installation.create("web", &["--engine", engine]);
    let address = installation.group("web").primary_endpoint.address.to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/redis_py.py");
    let mut child = Command::new(super::boto3::python())
        .arg(script)
        .arg(address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("python: {err}"));
    let mut said = BufReader::new(child.stdout.take().unwrap_or_else(|| panic!("no output")));
    let mut line = String::new();
    said.read_line(&mut line).unwrap_or_else(|err| panic!("python: {err}"));
    assert_eq!(line, "ready\n", "{engine}: it is connected, notices included");
    for _ in 0..2 {
        installation.tanist(&["switchover", "web"]).ok();
    }
    // It ends when its input does.
    drop(child.stdin.take());
    let mut report = String::new();
    said.read_to_string(&mut report).unwrap_or_else(|err| panic!("python: {err}"));
    child.wait().unwrap_or_else(|err| panic!("python: {err}"));
    let report: serde_json::Value =
        serde_json::from_str(&report).unwrap_or_else(|err| panic!("{err}: {report}"));
    assert_eq!(report["errors"], serde_json::json!([]), "{engine}: {report}");
    assert_eq!(report["acknowledged"], report["counted"], "{engine}: {report}");
    let heard: Vec<&str> = report["heard"]
        .as_array()
        .map(|all| all.iter().filter_map(serde_json::Value::as_str).collect())
        .unwrap_or_default();
    let pair = ["NodeFailingOverNotification", "NodeFailedOverNotification"];
    assert!(heard.len() >= 4 && heard.len().is_multiple_of(2), "{engine}: {report}");
    assert!(heard.chunks(2).all(|heard| heard == pair), "{engine}: {report}");
}
