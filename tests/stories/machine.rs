//! What the machine does to a running group: full disks, forks that fail, addresses that are taken.
//!
//! Invariant: each is said with its remedy, no acknowledged write is lost, and nothing has to be
//! repaired by hand once the cause is gone.
//!
//! Not here: what keeps an installation from starting (`super::bad_start`).

use std::collections::BTreeMap;

use tanist_lab::Installation;
use tanist_resp::{Command, Connection, Value};

use crate::{runtime, text, web};

crate::on_both_engines!(
    a_full_disk_under_the_primary_moves_it_and_costs_no_acknowledged_write,
    an_endpoint_whose_address_is_taken_is_named_and_served_once_it_is_free,
);

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

fn a_full_disk_under_the_primary_moves_it_and_costs_no_acknowledged_write(engine: &str) {
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

#[test]
fn names_are_shown_once_they_resolve_and_gone_after_the_end() {
    let mut installation = Installation::empty();
    let Some(file) = installation.with_own_hosts_file() else { return };
    let before = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("{err}"));
    installation.dev_with(&["--hosts"]);
    let endpoint = installation.create("web", &["--replicas", "1"]).primary_endpoint;
    let address = endpoint.address.to_string();
    let name = installation.wait("the name is written", |_| {
        let text = std::fs::read_to_string(&file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&address)?.split(' ').nth(1));
        line.map(str::to_owned)
    });
    assert!(name.contains("web"), "{name}");
    installation.wait("the name is shown", |installation| {
        installation.tanist(&["status"]).out.contains(&name).then_some(())
    });
    let set = installation.beside_dev("redis-cli", &["-h", &name, "SET", "k", "v"]).ok();
    assert_eq!(set.trim(), "OK");
    installation.tanist(&["down"]).ok();
    installation.dev_ended();
    assert_eq!(std::fs::read_to_string(&file).ok(), Some(before));
}

fn an_endpoint_whose_address_is_taken_is_named_and_served_once_it_is_free(engine: &str) {
    let mut installation = web(engine, &["--replicas", "0"]);
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

/// A group of processes that may not start another one.
struct NoForks(std::path::PathBuf);

impl NoForks {
    /// `None`, and said aloud, if this system does not let us.
    fn around(pid: u32) -> Option<Self> {
        let dir = std::path::PathBuf::from(format!("/sys/fs/cgroup/pids/tanist-lab-{pid}"));
        if let Err(err) = std::fs::create_dir(&dir) {
            tanist_lab::skip(&format!("no limit on processes: {}: {err}", dir.display()));
            return None;
        }
        let limited = Self(dir);
        limited.allow("1");
        limited.put(&limited.0, pid);
        Some(limited)
    }

    fn put(&self, group: &std::path::Path, pid: u32) {
        std::fs::write(group.join("cgroup.procs"), pid.to_string())
            .unwrap_or_else(|err| panic!("{}: {err}", group.display()));
    }

    fn allow(&self, number: &str) {
        std::fs::write(self.0.join("pids.max"), number).unwrap_or_else(|err| panic!("{err}"));
    }
}

impl Drop for NoForks {
    fn drop(&mut self) {
        let members = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            // One that has ended meanwhile is no member any more.
            let _ = std::fs::write("/sys/fs/cgroup/pids/cgroup.procs", pid);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Told on Redis alone: Valkey 8.0.1 ends itself by an assertion when the fork for a full copy fails,
/// which is the story of a killed primary.
#[test]
fn a_primary_that_cannot_fork_goes_on_and_says_why_no_replica_comes_back() {
    let installation = web("redis", &["--replicas", "1"]);
    let endpoint = installation.group("web").primary_endpoint;
    let primary = installation.primary("web");
    let Some(limit) = primary.pid.and_then(NoForks::around) else { return };
    let shard = installation.shard("web");
    let replica = shard.nodes.iter().find(|node| node.node != primary.node);
    let replica = replica.and_then(|node| node.pid).unwrap_or_else(|| panic!("{shard:?}"));
    tanist_lab::kill(replica);
    let problem = installation.wait("the problem is named", |installation| {
        let problems = installation.shard("web").problems;
        problems.into_iter().find(|problem| problem.kind.name() == "ForkFails")
    });
    assert_eq!(problem.node, Some(primary.node.clone()));
    // The system's own words for what a limit on processes answers, whatever the engine adds.
    let again = std::io::Error::from(rustix::io::Errno::AGAIN).to_string();
    let again = again.split(" (os error").next().unwrap_or(&again);
    assert!(problem.detail.contains(again), "{:?} says nothing of {again:?}", problem.detail);
    let status = installation.tanist(&["status"]);
    assert!(status.out.contains("vm.overcommit_memory"), "{status:?}");
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        assert!(crate::call(&mut client, &["SET", "k", "v"]).await.is_ok());
    });
    limit.allow("max");
    installation.available("web");
    assert_eq!(installation.primary("web").pid, primary.pid, "the primary was disturbed");
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        assert_eq!(text(&mut client, &["GET", "k"]).await, "v");
    });
}
