//! boto3: every reply parsed without anything unknown or missing, waiters, paginators.
//!
//! Invariant: the judge is botocore's own model of the services.
//!
//! Not here: requests that are wrong (`tanist-aws`).

use std::path::{Path, PathBuf};
use std::process::Command;

use tanist_lab::Installation;

use super::{asked_version, with_environment};

#[test]
fn every_reply_of_a_groups_life_on_redis_is_what_the_model_says() {
    story("redis");
}

#[test]
fn every_reply_of_a_groups_life_on_valkey_is_what_the_model_says() {
    story("valkey");
}

fn story(engine: &str) {
    let installation = Installation::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/life.py");
    let mut command = Command::new(python());
    with_environment(&mut command, &installation);
    let output = command
        .arg(script)
        .args([engine, asked_version(engine)])
        .output()
        .unwrap_or_else(|err| panic!("python: {err}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{engine}: {said}\n{}", installation.what_it_says());
    assert!(said.contains("every reply is as the model says"), "{said}");
}

pub(crate) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let has_boto3 = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import boto3"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let candidates = [root.join(".venv/bin/python"), PathBuf::from("python3")];
    let found = candidates.into_iter().find(has_boto3);
    found.unwrap_or_else(|| panic!("no Python here has boto3; run scripts/install.sh test"))
}
