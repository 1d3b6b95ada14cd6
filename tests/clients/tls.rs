//! redis-py and boto3 with encryption: certificates are checked as they come out of the box.
//!
//! Invariant: nothing is told to the clients but what `tanist env` prints, and `ssl=True`.
//!
//! Not here: redis-cli, certificates of clients (`stories/`).

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tanist_lab::{Installation, kill};

use super::boto3::python;
use super::with_environment;

/// A client that does what it is told.
struct Told {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said first.
    first: Value,
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

impl Told {
    fn start(installation: &Installation, host: &str, without: Option<&str>) -> Self {
        let mut command = Command::new(python());
        with_environment(&mut command, installation);
        if let Some(name) = without {
            command.env_remove(name);
        }
        command.arg(script("tls.py")).arg(host).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| panic!("python: {err}"));
        let (input, output) = child.stdin.take().zip(child.stdout.take()).unwrap_or_else(|| {
            panic!("python has no input or output");
        });
        let mut told =
            Self { child, input, lines: BufReader::new(output).lines(), first: Value::Null };
        told.first = told.hear();
        told
    }

    fn hear(&mut self) -> Value {
        let line = self.lines.next().unwrap_or_else(|| panic!("python has ended"));
        let line = line.unwrap_or_else(|err| panic!("python: {err}"));
        serde_json::from_str(&line).unwrap_or_else(|err| panic!("{err}: {line}"))
    }

    fn tell(&mut self, line: &str) -> Value {
        writeln!(self.input, "{line}").unwrap_or_else(|err| panic!("python: {err}"));
        self.hear()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn redis_py_trusts_the_endpoint_and_keeps_its_connection_in_every_failover() {
    for engine in ["redis", "valkey"] {
        let installation = Installation::start();
        let group = installation.create("web", &["--engine", engine, "--tls"]);
        let host = group.primary_endpoint.address.to_string();
        let stranger = Told::start(&installation, &host, Some("SSL_CERT_FILE"));
        let why = stranger.first["error"].as_str().unwrap_or_default();
        assert!(why.contains("CERTIFICATE_VERIFY_FAILED"), "{engine}: {}", stranger.first);
        let mut client = Told::start(&installation, &host, None);
        assert_eq!(client.first["cipher"], "TLSv1.3", "{engine}: {}", client.first);
        client.tell("count");
        for _ in 0..2 {
            installation.tanist(&["switchover", "web"]).ok();
            let primary = installation.primary("web");
            kill(primary.pid.unwrap_or_else(|| panic!("{primary:?}")));
            installation.wait("another is primary", |installation| {
                let now = installation.shard("web").primary?;
                (now != primary.node).then_some(())
            });
            installation.available("web");
        }
        let report = client.tell("stop");
        assert_eq!(report["errors"], serde_json::json!([]), "{engine}: {report}");
        assert_eq!(report["same"], true, "{engine}: {report}");
        let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{report}"));
        let (acked, counted) = (number("acknowledged"), number("counted"));
        assert!(acked > 100, "{engine}: {report}");
        assert!(acked <= counted && counted <= acked + number("uncertain"), "{engine}: {report}");
    }
}

#[test]
fn a_new_alias_is_in_the_next_handshake_and_no_connection_notices() {
    let mut installation = Installation::empty();
    let file = installation.dir().join("tanist.toml");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    };
    write("");
    installation.dev_with(&["--config", &file.display().to_string()]);
    let group = installation.create("web", &["--tls"]);
    let host = group.primary_endpoint.address.to_string();
    let mut client = Told::start(&installation, &host, None);
    let refused = client.tell("handshake redis-master.aragora");
    let why = refused["names"].as_str().unwrap_or_default();
    assert!(why.contains("CERTIFICATE_VERIFY_FAILED"), "{refused}");
    write("[names]\n\"redis-master.aragora\" = \"web:primary\"\n");
    let shown = |installation: &Installation| {
        let names = installation.group("web").certificate?.names;
        names.contains(&"redis-master.aragora".to_owned()).then_some(names)
    };
    let names = installation.wait("the alias is in the certificate", shown);
    let accepted = client.tell("handshake redis-master.aragora");
    let mut heard: Vec<&str> =
        accepted["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    heard.sort_unstable();
    assert_eq!(heard, names, "every name and address of the group, and the alias");
    for node in &group.shards[0].nodes {
        assert!(names.contains(&node.endpoint.address.to_string()), "{names:?}");
    }
    assert_eq!(client.tell("ping")["same"], true);
    write("[names]\n\"redis-master.aragora\" = \"web:primary\"\nnonsense\n");
    installation.wait("the mistake is told", |installation| {
        let notes = installation.try_status()?.notes;
        notes.iter().any(|note| note.contains("tanist.toml:3")).then_some(())
    });
    assert!(shown(&installation).is_some(), "what was there before holds");
    // The control plane stops and starts: nobody's handshake or connection depends on it.
    installation.kill_dev();
    assert!(client.tell("handshake redis-master.aragora")["names"].is_array());
    write("[names]\n\"redis-master.aragora\" = \"web:primary\"\n");
    installation.dev_with(&["--config", &file.display().to_string()]);
    installation.wait("the certificate is there again", shown);
    assert!(client.tell("handshake redis-master.aragora")["names"].is_array());
    assert_eq!(client.tell("ping")["same"], true);
}

#[test]
fn boto3_encrypts_a_group_by_elasticaches_rules() {
    let installation = Installation::start();
    let mut command = Command::new(python());
    with_environment(&mut command, &installation);
    let output = command.arg(script("tls_aws.py")).output();
    let output = output.unwrap_or_else(|err| panic!("python: {err}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}\n{}", installation.what_it_says());
    assert!(said.contains("encrypted by the rules"), "{said}");
}
