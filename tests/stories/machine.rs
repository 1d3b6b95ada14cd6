//! What the machine does to a running group: full disks, forks that fail, addresses that are taken.
//!
//! Invariant: each is said with its remedy, no acknowledged write is lost, and nothing has to be
//! repaired by hand once the cause is gone.
//!
//! Not here: what keeps an installation from starting (`super::bad_start`).

use std::collections::BTreeMap;

use tanist_lab::Installation;
use tanist_resp::{Command, Connection, Value};

use crate::{ENGINES, runtime, text, web};

/// Fills the small disk to its last block; gives the ballast's path.
fn fill_disk(installation: &Installation, host: &str) -> std::path::PathBuf {
    use std::io::Write;
    let ballast = installation.seen_by_dev(&format!("hosts/{host}/ballast"));
    let mut file = std::fs::File::create(&ballast).unwrap_or_else(|err| panic!("{err}"));
    let chunk = vec![1; 64 << 10];
    let mut size = chunk.len();
    while size > 0 {
        // Smaller and smaller pieces until not one byte has room.
        if file.write_all(&chunk[..size]).is_err() {
            size /= 2;
        }
    }
    ballast
}

/// Writes until `n` writes were refused or the first is acknowledged again after a refusal.
async fn write_until_moved(
    client: &mut Connection,
    acknowledged: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let mut refusals = Vec::new();
    let begun = std::time::Instant::now();
    for n in 0_u64.. {
        assert!(begun.elapsed().as_secs() < 60, "no write is taken any more: {refusals:?}");
        let (key, value) = (format!("k{}", n % 50), format!("{n}-{}", "x".repeat(20_000)));
        let command = Command::new("SET").arg(&key).arg(&value);
        let answer = client.call(&command, std::time::Duration::from_secs(20)).await;
        match answer.unwrap_or_else(|err| panic!("{err}")) {
            Value::Error(error) => {
                refusals.push(String::from_utf8_lossy(&error).into_owned());
                // waits: how often a client tries again; nothing tells when a disk has room.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            _ => {
                acknowledged.insert(key, value);
                if !refusals.is_empty() {
                    return refusals;
                }
            }
        }
    }
    refusals
}

#[test]
fn a_full_disk_under_the_primary_moves_it_and_costs_no_acknowledged_write() {
    for engine in ENGINES {
        let mut installation = Installation::empty();
        if !installation.with_disk("hosts/h1", "size=48m") {
            return;
        }
        installation.dev();
        let group = installation.create("web", &["--engine", engine]);
        if installation.primary("web").host.as_str() != "h1" {
            let shard = installation.shard("web");
            let node = shard.nodes.iter().find(|node| node.host.as_str() == "h1");
            let node = node.unwrap_or_else(|| panic!("nobody on h1: {shard:?}")).node.to_string();
            installation.tanist(&["switchover", "web", "--to", &node]).ok();
        }
        let ballast = fill_disk(&installation, "h1");
        let mut acknowledged = BTreeMap::new();
        let refusals = runtime().block_on(async {
            let mut client = installation.connect(&group.primary_endpoint).await;
            write_until_moved(&mut client, &mut acknowledged).await
        });
        assert!(refusals.iter().all(|error| error.starts_with("MISCONF")), "{refusals:?}");
        assert_ne!(installation.primary("web").host.as_str(), "h1");
        let events = installation.tanist(&["events"]).ok();
        assert!(events.contains("MovingForHealth"), "{events}");
        std::fs::remove_file(ballast).unwrap_or_else(|err| panic!("{err}"));
        installation.available("web");
        runtime().block_on(async {
            let mut client = installation.connect(&group.primary_endpoint).await;
            for (key, value) in &acknowledged {
                assert_eq!(&text(&mut client, &["GET", key]).await, value, "{engine} {key}");
            }
        });
    }
}

#[test]
fn an_endpoint_whose_address_is_taken_is_named_and_served_once_it_is_free() {
    let mut installation = web("redis", &["--replicas", "0"]);
    let endpoint = installation.group("web").primary_endpoint;
    installation.tanist(&["down"]).ok();
    installation.dev_ended();
    let address = (endpoint.address, endpoint.port);
    let taken = std::net::TcpListener::bind(address).unwrap_or_else(|err| panic!("{err}"));
    installation.dev();
    let said = installation.wait("the event", |installation| {
        let events = installation.tanist(&["events"]).ok();
        let line = events.lines().find(|line| line.contains("EndpointFailed"))?.to_owned();
        Some(line)
    });
    let address = format!("{}:{}", endpoint.address, endpoint.port);
    assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
    drop(taken);
    installation.wait("the endpoint answers", |_| {
        runtime().block_on(async {
            let address = std::net::SocketAddr::from((endpoint.address, endpoint.port));
            let patience = std::time::Duration::from_secs(5);
            let mut client = Connection::connect(address, patience).await.ok()?;
            client.call(&Command::new("SET").arg("k").arg("v"), patience).await.ok()?;
            Some(())
        })
    });
    installation.available("web");
}
