//! Encryption as people meet it at the command line: redis-cli, drills, certificates of clients.
//!
//! Invariant: redis-cli checks certificates by the authority alone that `tanist ca` names.
//!
//! Not here: redis-py, boto3 (`clients/`).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use tanist_lab::{Installation, Ran};
use tanist_link::api::GroupStatus;
use tanist_tls::Authority;

use crate::web;

crate::on_both_engines!(
    a_required_group_serves_those_who_encrypt_and_tells_the_others,
    who_shows_no_certificate_is_refused_where_one_is_required,
);

fn redis_cli(group: &GroupStatus, args: &[&str]) -> String {
    let host = group.primary_endpoint.address.to_string();
    let port = group.primary_endpoint.port.to_string();
    let mut command = Command::new("redis-cli");
    command.args(["-h", &host, "-p", &port]).args(args);
    let output = command.output().unwrap_or_else(|err| panic!("redis-cli: {err}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn json(ran: Ran) -> serde_json::Value {
    let text = ran.ok();
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

fn path(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// Looks for a private key wherever an installation writes what people read.
fn no_key_is_told(installation: &Installation) {
    let mut said = vec![
        installation.tanist(&["status", "-o", "json"]).out,
        installation.tanist(&["events", "-o", "json"]).out,
        installation.tanist(&["ca", "-o", "json"]).out,
        installation.tanist(&["tls", "web", "-o", "json"]).out,
    ];
    for name in ["out", "dev.log", "proxy.log", "supervise.log"] {
        said.push(std::fs::read_to_string(installation.dir().join(name)).unwrap_or_default());
    }
    assert!(said.iter().all(|text| !text.contains("PRIVATE KEY")), "a key is told");
}

fn a_required_group_serves_those_who_encrypt_and_tells_the_others(engine: &str) {
    let installation = web(engine, &["--tls=preferred"]);
    let group = installation.group("web");
    let ca = path(&json(installation.tanist(&["ca", "-o", "json"]))["certificate"]);
    let sealed = |words: &[&str]| {
        let mut all = vec!["--tls", "--cacert", &ca];
        all.extend(words);
        redis_cli(&group, &all)
    };
    assert_eq!(redis_cli(&group, &["SET", "k", "1"]), "OK\n");
    assert_eq!(sealed(&["GET", "k"]), "1\n");
    let changed = installation.tanist(&["tls", "web", "--mode", "required"]).ok();
    assert!(changed.contains("TLS required"), "{changed}");
    assert_eq!(sealed(&["GET", "k"]), "1\n");
    let refused = redis_cli(&group, &["GET", "k"]);
    assert!(refused.contains("takes encrypted connections only"), "{refused}");
    // Everything that Tanist asks the endpoints itself goes on.
    assert_eq!(installation.tanist(&["cli", "web", "GET", "k"]).ok(), "1\n");
    let status = installation.tanist(&["status"]).ok();
    assert!(status.contains("TLS required"), "{status}");
    let report =
        json(installation.tanist(&["drill", "web", "--kill", "--switchover", "-o", "json"]));
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["verdict"]["disconnects"], 0, "{report}");
    let checks = installation.tanist(&["doctor"]).out;
    assert!(checks.contains("web: all 5 endpoints answer"), "{checks}");
    assert!(checks.contains("web: TLS is required"), "{checks}");
    no_key_is_told(&installation);
    // A node that is added is in the certificate as soon as it can be dialled.
    installation.tanist(&["scale", "web", "--replicas", "3"]).ok();
    let grown = installation.group("web");
    let names = grown.certificate.map(|shown| shown.names).unwrap_or_default();
    for node in &grown.shards[0].nodes {
        assert!(names.contains(&node.endpoint.address.to_string()), "{node:?}: {names:?}");
    }
    assert!(installation.tanist(&["doctor"]).out.contains("web: all 6 endpoints answer"));
    // A group without encryption is as it always was.
    let plain = installation.create("plain", &["--replicas", "0"]);
    assert_eq!(redis_cli(&plain, &["PING"]), "PONG\n");
    assert!(plain.certificate.is_none());
}

fn who_shows_no_certificate_is_refused_where_one_is_required(engine: &str) {
    let installation = web(engine, &["--tls", "--client-certificates", "required"]);
    let group = installation.group("web");
    let dir = installation.dir().join("app");
    let out = dir.display().to_string();
    let issued = json(installation.tanist(&["ca", "issue", "app", "--out", &out, "-o", "json"]));
    let [certificate, key, ca] =
        ["certificate", "key", "authority"].map(|name| path(&issued[name]));
    assert_eq!(mode(Path::new(&key)), 0o600);
    let again = installation.tanist(&["ca", "issue", "app", "--out", &out]);
    assert!(again.code == 2 && again.err.contains("T671"), "{again:?}");
    let without = redis_cli(&group, &["--tls", "--cacert", &ca, "PING"]);
    assert!(!without.contains("PONG"), "{without}");
    let shown = ["--tls", "--cacert", &ca, "--cert", &certificate, "--key", &key, "PING"];
    assert_eq!(redis_cli(&group, &shown), "PONG\n");
    // One of another installation's authority is no certificate here.
    let other = web(engine, &["--replicas", "0"]);
    let foreign_dir = other.dir().join("app");
    let foreign = foreign_dir.display().to_string();
    let foreign = json(other.tanist(&["ca", "issue", "app", "--out", &foreign, "-o", "json"]));
    let [certificate, key] = ["certificate", "key"].map(|name| path(&foreign[name]));
    let forged = ["--tls", "--cacert", &ca, "--cert", &certificate, "--key", &key, "PING"];
    let forged = redis_cli(&group, &forged);
    assert!(!forged.contains("PONG"), "{forged}");
    assert_eq!(installation.tanist(&["cli", "web", "PING"]).ok(), "PONG\n");
    let report = json(installation.tanist(&["drill", "web", "--switchover", "-o", "json"]));
    assert_eq!(report["passed"], true, "{report}");
    let checks = installation.tanist(&["doctor"]).out;
    assert!(checks.contains("web: all 5 endpoints answer"), "{checks}");
    let opened = installation.tanist(&["tls", "web", "--client-certificates", "optional"]).ok();
    assert!(opened.contains("client certificates optional"), "{opened}");
    assert_eq!(redis_cli(&group, &["--tls", "--cacert", &ca, "PING"]), "PONG\n");
    no_key_is_told(&installation);
}

fn mode(path: &Path) -> u32 {
    let meta = path.metadata().unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777
}

#[test]
fn certificates_cannot_be_asked_for_where_nothing_is_encrypted() {
    let installation = web("redis", &["--replicas", "0"]);
    let refused = installation.tanist(&["tls", "web", "--client-certificates", "required"]);
    assert!(refused.code == 1 && refused.err.contains("T460"), "{refused:?}");
    let ran = installation.tanist(&["create", "api", "--client-certificates", "optional"]);
    assert!(ran.code == 1 && ran.err.contains("T460"), "{ran:?}");
}

#[test]
fn a_damaged_authority_stops_nobody_but_those_who_need_it_and_says_so() {
    let mut installation = web("redis", &["--replicas", "0"]);
    let key = installation.dir().join("tls/ca.key");
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&installation.dir().join("tls")), 0o700);
    let whole = std::fs::read(&key).unwrap_or_else(|err| panic!("{err}"));
    installation.kill_dev();
    std::fs::write(&key, b"half of it").unwrap_or_else(|err| panic!("{err}"));
    installation.dev();
    let group = installation.available("web");
    assert_eq!(redis_cli(&group, &["PING"]), "PONG\n");
    let notes = installation.try_status().map(|status| status.notes).unwrap_or_default();
    assert!(notes.iter().any(|note| note.contains("ca.key is damaged")), "{notes:?}");
    let refused = installation.tanist(&["create", "sealed", "--tls"]);
    assert!(refused.code == 1 && refused.err.contains("T461"), "{refused:?}");
    let refused = installation.tanist(&["tls", "web", "--mode", "required"]);
    assert!(refused.code == 1 && refused.err.contains("T461"), "{refused:?}");
    let shown = installation.tanist(&["ca"]);
    assert!(
        shown.err.contains("T670") && shown.err.contains("put ca.pem and ca.key back"),
        "{shown:?}"
    );
    assert!(installation.tanist(&["doctor"]).out.contains("ca.key is damaged"));
    installation.kill_dev();
    std::fs::write(&key, whole).unwrap_or_else(|err| panic!("{err}"));
    installation.dev();
    let changed = installation.tanist(&["tls", "web", "--mode", "required"]).ok();
    assert!(changed.contains("TLS required"), "{changed}");
    assert_eq!(installation.tanist(&["cli", "web", "PING"]).ok(), "PONG\n");
}

#[test]
fn the_owners_certificate_takes_the_place_of_the_installations_own() {
    let mut installation = Installation::empty();
    let dir = installation.dir().to_owned();
    let at = |name: &str| dir.join(name);
    // An authority that is not the installation's.
    let authority = Authority::load_or_create(&at("owners"));
    let authority = authority.unwrap_or_else(|err| panic!("{err}"));
    let make = |name: &str| {
        let names = BTreeSet::from([name.to_owned()]);
        let issued = authority.endpoint(name, &names, SystemTime::now());
        let issued = issued.unwrap_or_else(|err| panic!("{err}"));
        for (file, text) in [("own.key", &issued.key), ("own.pem", &issued.chain)] {
            std::fs::write(at(file), text).unwrap_or_else(|err| panic!("{file}: {err}"));
        }
    };
    make("first.example");
    let file = at("tanist.toml");
    let text = "[tls]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
    std::fs::write(&file, text).unwrap_or_else(|err| panic!("{err}"));
    let own = at("owners").join("ca.pem").display().to_string();
    let config = file.display().to_string();
    installation.dev_with(&["--config", &config]);
    let group = installation.create("web", &["--tls", "--replicas", "1"]);
    let first = group.certificate.unwrap_or_else(|| panic!("it shows one"));
    assert!(first.owners, "{first:?}");
    let group = installation.group("web");
    assert_eq!(redis_cli(&group, &["--tls", "--cacert", &own, "PING"]), "PONG\n");
    let report = json(installation.tanist(&["drill", "web", "--switchover", "-o", "json"]));
    assert_eq!(report["passed"], true, "{report}");
    make("second.example");
    installation.wait("the renewed certificate is shown", |installation| {
        let shown = installation.group("web").certificate?;
        (shown.fingerprint != first.fingerprint).then_some(())
    });
    assert_eq!(redis_cli(&group, &["--tls", "--cacert", &own, "PING"]), "PONG\n");
    no_key_is_told(&installation);
}

#[test]
fn an_alias_is_a_name_like_the_endpoints_own_while_it_stands_in_the_file() {
    let mut installation = Installation::empty();
    let Some(hosts) = installation.with_own_hosts_file() else { return };
    let file = installation.dir().join("tanist.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap_or_else(|err| panic!("{err}"));
    write("[names]\n\"redis-master.aragora\" = \"web:primary\"\n");
    installation.dev_with(&["--hosts", "--config", &file.display().to_string()]);
    let group = installation.create("web", &["--replicas", "0"]);
    let line = format!("{} redis-master.aragora", group.primary_endpoint.address);
    let stands = |line: &str| std::fs::read_to_string(&hosts).is_ok_and(|text| text.contains(line));
    installation.wait("the alias is written", |_| stands(&line).then_some(()));
    let asked = ["-h", "redis-master.aragora", "PING"];
    assert_eq!(installation.beside_dev("redis-cli", &asked).ok(), "PONG\n");
    write("[names]\n\"other.aragora\" = \"web\"\n");
    installation.wait("the other is written", |_| stands("other.aragora").then_some(()));
    assert!(!stands("redis-master.aragora"));
    installation.tanist(&["down"]).ok();
    installation.dev_ended();
    assert!(!stands("aragora"), "nothing of it is left");
}
