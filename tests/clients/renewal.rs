//! Encrypted clients while the proxy becomes another program: their connections end, and that is all.
//!
//! Invariant: the clients are the real ones, and nothing is tried again for them by the test.
//!
//! Not here: clients that are not encrypted, who notice nothing (`stories/`).

use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;
use tanist_lab::Installation;

use super::beside::Running;

/// Three upgrades beside a client that counts; its report.
fn beside(program: &Path, script: &str) -> Value {
    let installation = Installation::start();
    installation.create("web", &["--tls"]);
    let running = Running::start(&installation, program, script, &["tls"]);
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
    let report = beside(&super::boto3::python(), "redis_py.py");
    assert_nothing_failed(&report, "NodeMovingNotification");
    assert!(report["connections"].as_u64() >= Some(2), "it has moved: {report}");
}

#[test]
fn node_redis_is_told_and_none_of_its_commands_fails() {
    let report = beside(Path::new("node"), "node_redis.mjs");
    assert_nothing_failed(&report, "MOVING");
}

#[test]
fn an_encrypted_connection_ends_between_two_requests_and_says_so() {
    let installation = Installation::start();
    installation.create("web", &["--tls"]);
    let mut running =
        Running::start(&installation, &super::boto3::python(), "renewal_half.py", &[]);
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
