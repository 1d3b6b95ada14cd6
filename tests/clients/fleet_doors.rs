//! Clients outside of a fleet's servers: boto3, the AWS CLI and redis-py, at the servers' own addresses.
//!
//! Invariant: the clients know addresses, a certificate, a key and a password, and nothing else.
//!
//! Not here: clients on the servers themselves (the other tests).

use std::path::Path;
use std::process::{Command, Output};

use tanist_lab::Fleet;

use super::boto3::python;
use super::sentinel::Running;

const PASSWORD: &str = "a-password-of-sentinels";

/// What the file says more.
fn more(tls: &str) -> String {
    format!(
        "[api]\nlisten = \"host\"\n{tls}[sentinel]\nlisten = \"host\"\n{tls}password = \"{PASSWORD}\"\n"
    )
}

/// Lets a client know what a person would copy from a server: the root key, the region, the authority.
fn outside(command: &mut Command, fleet: &Fleet) {
    let printed = fleet.tanist(0, &["env", "-o", "json"]).ok();
    let known: serde_json::Value =
        serde_json::from_str(&printed).unwrap_or_else(|err| panic!("{err}: {printed}"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let value = known[name].as_str().unwrap_or_else(|| panic!("no {name}: {printed}"));
        command.env(name, value);
    }
    command.env("AWS_CA_BUNDLE", ca(fleet)).env("AWS_EC2_METADATA_DISABLED", "true");
}

/// The authority's certificate, as a copy: who names a host's directory ends with the host.
fn ca(fleet: &Fleet) -> String {
    let (own, copy) = (fleet.data(0).join("tls/ca.pem"), fleet.config().with_file_name("ca.pem"));
    std::fs::copy(&own, &copy).unwrap_or_else(|err| panic!("{}: {err}", own.display()));
    copy.display().to_string()
}

fn cli(fleet: &Fleet, host: usize) -> Output {
    let own = python().with_file_name("aws");
    let mut command = Command::new(if own.is_file() { own } else { "aws".into() });
    outside(&mut command, fleet);
    let url = format!("https://{}:4566", fleet.address(host));
    command.args(["elasticache", "describe-replication-groups", "--endpoint-url", &url]);
    command.args(["--query", "ReplicationGroups[].ReplicationGroupId", "--output", "text"]);
    command.output().unwrap_or_else(|err| panic!("aws: {err}"))
}

#[test]
fn clients_elsewhere_go_on_when_the_server_that_leads_is_lost() {
    let mut fleet = Fleet::start_with(3, &more(""));
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let leader = fleet.leader();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/doors.py");
    let mut command = Command::new(python());
    outside(&mut command, &fleet);
    command.arg(script).args([PASSWORD, &ca(&fleet)]);
    // The one that leads first: it is the one that they lose.
    for turn in 0..3 {
        command.arg(fleet.address((leader + turn) % 3).to_string());
    }
    let mut running = Running::start(command);
    assert_eq!(running.line(), "ready");
    let mut goes_on = || {
        running.say("again");
        running.line()
    };
    assert_eq!(goes_on(), "ok", "{}", fleet.what_it_says());
    let said = cli(&fleet, (leader + 1) % 3);
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(text.trim(), "web", "{}", String::from_utf8_lossy(&said.stderr));
    fleet.kill_server(leader);
    assert_eq!(goes_on(), "ok", "{}", fleet.what_it_says());
    fleet.kill_host(leader);
    let shown = fleet.address(leader);
    fleet.wait("its address is not shown", |fleet| {
        let group = fleet.try_status()?.groups.pop()?;
        let at = group.primary_endpoint;
        (at.address != shown && !at.also.contains(&shown)).then_some(())
    });
    assert_eq!(goes_on(), "ok", "{}", fleet.what_it_says());
}

#[test]
fn plain_clients_are_served_beside_encrypted_ones_where_a_private_network_was_said_to_do() {
    let fleet = Fleet::start_with(1, &more("tls = \"preferred\"\n"));
    let at = fleet.address(0);
    let ask = |tls: bool| {
        let mut command = Command::new("redis-cli");
        command.args(["-h", &at.to_string(), "-p", "26379"]).env("REDISCLI_AUTH", PASSWORD);
        if tls {
            command.args(["--tls", "--cacert", &ca(&fleet)]);
        }
        let said = command.args(["SENTINEL", "ckquorum", "web"]).output();
        let said = said.unwrap_or_else(|err| panic!("redis-cli: {err}"));
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    for tls in [false, true] {
        assert!(ask(tls).contains("No such master"), "{tls}: {}", ask(tls));
    }
}

#[test]
fn what_would_be_open_to_the_network_keeps_a_server_from_starting() {
    let mut fleet = Fleet::start(1);
    let file = fleet.config();
    let text = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("the file: {err}"));
    fleet.stop_server(0);
    let open = format!("{text}[sentinel]\nlisten = \"host\"\n");
    std::fs::write(&file, &open).unwrap_or_else(|err| panic!("the file: {err}"));
    let refused = fleet.tanist(0, &["server"]);
    let line = open.lines().count();
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("T708"), "{}", refused.err);
    assert!(refused.err.contains(&format!("tanist.toml:{line}: ")), "{}", refused.err);
    std::fs::write(&file, text).unwrap_or_else(|err| panic!("the file: {err}"));
    fleet.start_server(0);
    fleet.wait("it leads", |fleet| fleet.try_status());
}
