//! Tokens and users as redis-py and boto3 meet them.
//!
//! Invariant: the clients are the real ones, as their users configure them.
//!
//! Not here: bytes on the wire (`stories/login.rs`).

use std::path::Path;
use std::process::Command;

use tanist_lab::Installation;

#[test]
fn tokens_and_users_have_a_life_on_redis() {
    story("redis");
}

#[test]
fn tokens_and_users_have_a_life_on_valkey() {
    story("valkey");
}

fn story(engine: &str) {
    let installation = Installation::start();
    let group = installation.create("web", &["--engine", engine, "--replicas", "1"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/login.py");
    let mut command = Command::new(super::boto3::python());
    super::with_environment(&mut command, &installation);
    let address = |endpoint: &tanist_link::api::EndpointStatus| endpoint.address.to_string();
    let output = command
        .arg(script)
        .args([address(&group.primary_endpoint), address(&group.reader_endpoint)])
        .args(["web", engine])
        .output()
        .unwrap_or_else(|err| panic!("python: {err}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{engine}: {said}\n{}", installation.what_it_says());
    assert!(said.contains("everybody is who they say"), "{said}");
}
