//! Sentinel-aware clients through a real failover: redis-py, ioredis, node-redis and redis-rs.
//!
//! Invariant: the clients are the real ones; each writes while the primary is killed, and reads every
//! acknowledged write back.
//!
//! Not here: libraries whose exchange with Sentinel is written down instead (`tanist-discovery`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::sentinel::{SentinelClient, SentinelServerType};
use serde::Deserialize;
use tanist_lab::{Installation, kill};

#[test]
fn redis_py_keeps_its_connection_through_a_crash() {
    keeps_its_connection("redis-py");
}

#[test]
fn ioredis_keeps_its_connection_through_a_crash() {
    keeps_its_connection("ioredis");
}

#[test]
fn node_redis_keeps_its_connection_through_a_crash() {
    keeps_its_connection("node-redis");
}

#[test]
fn redis_py_follows_from_node_to_node() {
    follows("redis-py");
}

#[test]
fn ioredis_follows_from_node_to_node() {
    follows("ioredis");
}

#[test]
fn node_redis_follows_from_node_to_node() {
    follows("node-redis");
}

#[test]
fn redis_rs_is_led_to_the_endpoint() {
    redis_rs_is_led("endpoint");
}

#[test]
fn redis_rs_is_led_from_node_to_node() {
    redis_rs_is_led("nodes");
}

/// How long a client may take to find the next primary.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an application met with.
#[derive(Debug, Deserialize)]
struct Outcome {
    /// Writes that were acknowledged.
    acked: u64,
    /// Of these, after the failover.
    after: u64,
    /// Writes of which it was told that nobody knows.
    uncertain: u64,
    /// Clients that ended for good, so that the application built a new one.
    #[serde(default)]
    redialled: u64,
    /// Acknowledged writes that are not there.
    lost: Vec<String>,
    /// What else it was told.
    errors: Vec<String>,
}

/// Clients that are led to the primary endpoint notice next to nothing.
fn keeps_its_connection(library: &str) {
    let Some(outcome) = killed_under(library, "endpoint") else { return };
    assert!(outcome.errors.is_empty(), "{library}: {outcome:?}");
    // One connection has one write in flight.
    assert!(outcome.uncertain <= 1, "{library}: {outcome:?}");
    assert_eq!(outcome.redialled, 0, "{library}: {outcome:?}");
}

/// Clients that are led to nodes find the next primary, by what Sentinel says.
fn follows(library: &str) {
    killed_under(library, "nodes");
}

/// Kills the primary while an application writes; `None` if the application cannot run here.
fn killed_under(library: &str, advertise: &str) -> Option<Outcome> {
    let mut application = application(library)?;
    let installation = installation(advertise);
    let at = runtime().block_on(installation.sentinel());
    application.args([library, &at.ip().to_string(), &at.port().to_string(), "mymaster"]);
    let mut running = Running::start(application);
    assert_eq!(running.line(), "ready", "{library}");
    kill_primary(&installation);
    running.say("stop");
    let said = running.line();
    let outcome: Outcome = serde_json::from_str(&said)
        .unwrap_or_else(|err| panic!("{library}: {err}: {said}\n{}", installation.what_it_says()));
    assert!(outcome.lost.is_empty(), "{library}: {outcome:?}");
    assert!(outcome.acked >= 100 && outcome.after >= 50, "{library}: {outcome:?}");
    Some(outcome)
}

/// One with a group `web` of three nodes, which is `mymaster` as well.
pub(crate) fn installation(advertise: &str) -> Installation {
    let mut installation = Installation::empty();
    let file = installation.dir().join("tanist.toml");
    let settings = format!(
        "[sentinel]\nadvertise = \"{advertise}\"\n[sentinel.aliases]\nmymaster = \"web\"\n"
    );
    std::fs::write(&file, settings).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    installation.dev_with(&["--config", &file.display().to_string()]);
    installation.create("web", &[]);
    installation
}

/// Kills the primary and waits until another node is.
pub(crate) fn kill_primary(installation: &Installation) {
    let before = installation.primary("web");
    kill(before.pid.unwrap_or_else(|| panic!("{before:?}")));
    installation.wait("another node is primary", |installation| {
        let primary = installation.shard("web").primary?;
        (primary != before.node).then_some(())
    });
}

/// The only one of these that is a library of this program: it asks anew for each connection.
fn redis_rs_is_led(advertise: &str) {
    let installation = installation(advertise);
    runtime().block_on(async {
        let asked = vec![format!("redis://{}", installation.sentinel().await)];
        let name = "mymaster".to_owned();
        let built = SentinelClient::build(asked, name, None, SentinelServerType::Master);
        let mut client = built.unwrap_or_else(|err| panic!("redis-rs: {err}"));
        for round in 0..2 {
            let mut connection = connected(&mut client).await;
            for number in 0..50 {
                let (key, value) = (format!("k{round}-{number}"), number.to_string());
                let set = connection.set::<_, _, ()>(&key, &value).await;
                set.unwrap_or_else(|err| panic!("redis-rs: {key}: {err}"));
            }
            // No write is in flight, so the connection to the endpoint tells nothing of it.
            if round == 0 {
                kill_primary(&installation);
            }
        }
        let mut connection = connected(&mut client).await;
        for round in 0..2 {
            for number in 0..50 {
                let got = connection.get::<_, String>(format!("k{round}-{number}")).await;
                let got = got.unwrap_or_else(|err| panic!("redis-rs: {err}"));
                assert_eq!(got, number.to_string());
            }
        }
    });
}

/// A connection to the node that Sentinel names and that says itself that it is primary; asked for
/// again until both agree, as applications do.
async fn connected(client: &mut SentinelClient) -> redis::aio::MultiplexedConnection {
    let began = Instant::now();
    loop {
        match client.get_async_connection().await {
            Ok(connection) => return connection,
            Err(err) => assert!(began.elapsed() < PATIENCE, "redis-rs: {err}"),
        }
        // waits: the library has no event for it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|err| panic!("a runtime: {err}"))
}

/// A program that answers by lines. It ends with the test.
pub(crate) struct Running {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut application: Command) -> Self {
        let started = application.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|err| panic!("{application:?}: {err}"));
        let said = child.stdout.take().unwrap_or_else(|| panic!("it has no output"));
        Self { child, said: BufReader::new(said) }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.said.read_line(&mut line);
        read.unwrap_or_else(|err| panic!("what the application says: {err}"));
        line.trim_end().to_owned()
    }

    pub(crate) fn say(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap_or_else(|| panic!("it has no input"));
        writeln!(input, "{text}").unwrap_or_else(|err| panic!("telling the application: {err}"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The application's program without its arguments; `None`, and said aloud, if there is no Node.js.
fn application(library: &str) -> Option<Command> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    if library == "redis-py" {
        let venv = own.join("../../.venv/bin/python");
        let python = if venv.is_file() { venv } else { PathBuf::from("python3") };
        let mut command = Command::new(python);
        command.arg(own.join("sentinel.py"));
        return Some(command);
    }
    // The packages ask for this release or a later one.
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let major = version.ok().and_then(|version| {
        version.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse::<u32>().ok())
    });
    if major.is_none_or(|major| major < 20) {
        tanist_lab::skip(&format!("no Node.js of release 20 or later to run {library} with"));
        return None;
    }
    let installed = own.join("node_modules/redis").is_dir();
    assert!(installed, "tests/clients has no node_modules; run scripts/install.sh test");
    let mut command = Command::new("node");
    command.arg(own.join("sentinel.mjs"));
    Some(command)
}
