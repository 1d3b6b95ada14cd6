//! The etcd that a fleet runs itself: how it comes together, and what its members survive.
//!
//! Invariant: no part of Tanist that starts again takes an etcd along, and while most members live
//! somebody decides.
//!
//! Not here: an etcd of somebody else's (`super::fleet`), which member is due for what
//! (`tanist_core::quorum`).

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use tanist_lab::{Fleet, kill};
use tanist_tls::{Identity, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fleet::{missing, while_writing};
use crate::runtime;

/// What `tanist doctor` says of etcd, asked on a host.
fn members(fleet: &Fleet, host: usize) -> String {
    let said = fleet.tanist(host, &["doctor"]).out;
    said.lines().find(|line| line.contains("etcd:")).unwrap_or_default().to_owned()
}

/// Waits until the line about members has a vote for each of these and nothing else to say.
fn all_vote(fleet: &Fleet, hosts: &[&str]) {
    let host = fleet.number(hosts[0]);
    fleet.wait(&format!("{hosts:?} vote"), |fleet| {
        let line = members(fleet, host);
        let named = line.split_once("etcd: ")?.1.replace(" leads", "");
        (named.split(':').next()? == hosts.join(", ")).then_some(())
    });
}

fn etcd(fleet: &Fleet, host: usize) -> u32 {
    fleet.wait(&format!("h{} has an etcd", host + 1), |fleet| fleet.etcd(host))
}

fn file(fleet: &Fleet, host: usize, name: &str) -> PathBuf {
    fleet.data(host).join(name)
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

#[test]
fn a_fleet_runs_its_own_etcd_and_decides_while_most_members_live() {
    let mut fleet = Fleet::managed(3);
    all_vote(&fleet, &["h1", "h2", "h3"]);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let written = while_writing(&mut fleet, 0, |fleet| {
        // One that dies is started again.
        let died = etcd(fleet, 1);
        kill(died);
        fleet.wait("another one is there", |fleet| fleet.etcd(1).filter(|pid| *pid != died));
        all_vote(fleet, &["h1", "h2", "h3"]);
        // Servers start again, and whoever keeps an etcd is killed: each etcd stays.
        let before: Vec<u32> = (0..3).map(|host| etcd(fleet, host)).collect();
        for host in 0..3 {
            fleet.stop_server(host);
            let keeper = read(&file(fleet, host, "etcd.lock"));
            kill(keeper.trim().parse().unwrap_or_else(|err| panic!("{keeper}: {err}")));
            fleet.start_server(host);
        }
        fleet.wait("all are back", |fleet| {
            fleet.try_status()?.servers.iter().all(|server| server.up).then_some(())
        });
        let after: Vec<u32> = (0..3).map(|host| etcd(fleet, host)).collect();
        assert_eq!(before, after, "no etcd started again");
    });
    assert_eq!(written.uncertain, 0, "{written:?}");
    // A host is lost for good, with its server and its etcd.
    fleet.kill_host(2);
    // Its primary is replaced, if it had one, and what is left comes together: each is a decision.
    let epoch = fleet.wait("the others have a primary and an heir", |fleet| {
        let groups = fleet.try_status()?.groups;
        let shard = groups.into_iter().next()?.shards.into_iter().next()?;
        let lives = |role: &str| {
            let nodes = shard.nodes.iter();
            let here = nodes.filter(|node| node.host.as_str() != "h3" && node.role == role);
            { here }.any(|node| role == "primary" || node.in_sync)
        };
        (lives("primary") && lives("replica")).then_some(shard.epoch)
    });
    fleet.tanist(0, &["failover", "web"]).ok();
    assert!(fleet.group("web").shards[0].epoch > epoch);
    fleet.wait("it is told that one is away", |fleet| {
        members(fleet, 0).contains("h3 is away").then_some(())
    });
    fleet.tanist(0, &["host", "remove", "h3", "--dead"]).ok();
    all_vote(&fleet, &["h1", "h2"]);
    let other = fleet.endpoint("web", 1);
    assert!(missing(other, &written.acked).is_empty());
}

/// What the first host's etcd answers to who shows this certificate; nothing if it hangs up.
fn health(fleet: &Fleet, certificate: &str, key: &str) -> String {
    let read = |name: &str| read(&file(fleet, 0, name));
    let (chain, key) = (read(certificate), read(key));
    let identity = Identity { chain: &chain, key: &key };
    let trust = Trust::new(&read("etcd/ca.pem"), None, Some(identity));
    let trust = trust.unwrap_or_else(|err| panic!("{certificate}: {err}"));
    runtime()
        .block_on(async {
            let at = (fleet.address(0), 2379).into();
            let mut stream = trust.connect(at, Duration::from_secs(5)).await.ok()?;
            let mut answer = Vec::new();
            // Who is refused hears of it only now.
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.ok()?;
            // Whatever the end is like; who is refused has read nothing before it.
            let _ = stream.read_to_end(&mut answer).await;
            Some(String::from_utf8_lossy(&answer).into_owned())
        })
        .unwrap_or_default()
}

#[test]
fn only_servers_can_reach_etcd_and_what_is_old_is_replaced() {
    let fleet = Fleet::managed_first(1);
    let own = health(&fleet, "etcd/member.pem", "etcd/member.key");
    assert!(own.contains(r#""health":"true""#), "{own}");
    // What every host of the fleet has is not enough.
    assert_eq!(health(&fleet, "member.pem", "member.key"), "");
    let chain = file(&fleet, 0, "etcd/member.pem");
    let (before, pid) = (read(&chain), etcd(&fleet, 0));
    let old = std::time::SystemTime::now() - Duration::from_secs(11 * 24 * 3600);
    let aged = std::fs::File::options().write(true).open(&chain);
    let aged = aged.and_then(|file| file.set_modified(old));
    aged.unwrap_or_else(|err| panic!("{}: {err}", chain.display()));
    // Whoever keeps it looks when it begins, and every ten minutes.
    let keeper = read(&file(&fleet, 0, "etcd.lock"));
    kill(keeper.trim().parse().unwrap_or_else(|err| panic!("{keeper}: {err}")));
    fleet.wait("it is a new one", |_| (read(&chain) != before).then_some(()));
    assert_eq!(etcd(&fleet, 0), pid, "etcd reads it by itself");
    let own = health(&fleet, "etcd/member.pem", "etcd/member.key");
    assert!(own.contains(r#""health":"true""#), "{own}");
}

#[test]
fn a_member_whose_data_is_lost_comes_back_as_another_one() {
    let mut fleet = Fleet::managed(3);
    all_vote(&fleet, &["h1", "h2", "h3"]);
    let state = file(&fleet, 0, "etcd/state.json");
    let before = read(&state);
    assert!(before.contains("\"begin\": null"), "the first one may not begin another: {before}");
    // The host that has begun the cluster: what let it do so must be used up.
    fleet.stop_server(0);
    let keeper = read(&file(&fleet, 0, "etcd.lock"));
    kill(keeper.trim().parse().unwrap_or_else(|err| panic!("{keeper}: {err}")));
    kill(etcd(&fleet, 0));
    fleet.wait("it has ended", |fleet| fleet.etcd(0).is_none().then_some(()));
    let data = file(&fleet, 0, "etcd/data");
    std::fs::remove_dir_all(&data).unwrap_or_else(|err| panic!("{}: {err}", data.display()));
    fleet.start_server(0);
    all_vote(&fleet, &["h1", "h2", "h3"]);
    assert_ne!(read(&state), before, "it has another id");
    // Everything ends at once, as in a power cut: each goes on with its log, and asks nobody.
    (0..3).for_each(|host| fleet.kill_host(host));
    (0..3).for_each(|host| fleet.start_host(host));
    all_vote(&fleet, &["h1", "h2", "h3"]);
    fleet.tanist(0, &["create", "web", "--memory", "64mb", "--replicas", "0"]).ok();
}

#[test]
fn what_keeps_etcd_from_running_is_told_with_what_to_do() {
    let fleet = Fleet::managed_first(2);
    let token = fleet.tanist(0, &["host", "invite", "h2"]).ok();
    fleet.join(1, &token).ok();
    let taken = TcpListener::bind((fleet.address(1), 2380));
    let taken = taken.unwrap_or_else(|err| panic!("the port: {err}"));
    let refused = fleet.tanist(1, &["server"]);
    assert!(refused.code == 1 && refused.err.contains("T721"), "{}", refused.err);
    assert!(refused.err.contains(":2380") && refused.err.contains("peer_port"), "{}", refused.err);
    drop(taken);
    let state = r#"{"installation": "another"}"#;
    let path = file(&fleet, 1, "etcd/state.json");
    std::fs::create_dir_all(fleet.data(1).join("etcd")).unwrap_or_else(|err| panic!("{err}"));
    std::fs::write(&path, state).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let refused = fleet.tanist(1, &["server"]);
    assert!(refused.code == 1 && refused.err.contains("T722"), "{}", refused.err);
    assert_eq!(read(&path), state, "what is another installation's is not touched");
}
