//! Tanist driven by the clients that people have: Terraform, boto3, redis-py, Sentinel-aware applications.
//!
//! Invariant: the clients are the real ones, with nothing but the environment that `tanist env`
//! prints.
//!
//! Not here: the AWS CLI and redis-cli (`seeds/`).

mod beside;
mod boto3;
mod crowd;
mod fleet_doors;
mod login;
mod notices;
mod recorded;
mod renewal;
mod sentinel;
mod terraform;
mod tls;

use std::process::Command;

use tanist_lab::Installation;

/// Sets what `tanist env` prints, and nothing else of AWS that the machine may have.
fn with_environment(command: &mut Command, installation: &Installation) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let environment: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&installation.tanist(&["env", "-o", "json"]).ok())
            .unwrap_or_else(|err| panic!("tanist env: {err}"));
    for (name, value) in environment {
        let value = value.as_str().unwrap_or_else(|| panic!("{name}: {value}")).to_owned();
        command.env(name, value);
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}

/// The version of an engine as people ask for it: its first two numbers.
fn asked_version(engine: &str) -> &'static str {
    if engine == "redis" { "7.0" } else { "8.0" }
}
