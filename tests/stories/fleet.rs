//! Several hosts: how they come together, and what the loss of one, of a server or of everything means.
//!
//! Invariant: no acknowledged write of a `sync` group is missing, and a client of a host that lives
//! keeps its connection.
//!
//! Not here: networks that are cut (`tanist-lab` has namespaces for that).

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tanist_lab::Fleet;
use tanist_link::api::{HostStatus, Status};
use tanist_resp::Connection;

use crate::{call, runtime};

/// What a client met with that wrote one key after the other.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) acked: Vec<u64>,
    pub(crate) uncertain: usize,
    pub(crate) errors: Vec<String>,
}

pub(crate) async fn connect(at: SocketAddr) -> Connection {
    let connected = Connection::connect(at, Duration::from_secs(5)).await;
    connected.unwrap_or_else(|err| panic!("connecting to {at}: {err}"))
}

/// Writes on one connection until `over`, and a while after: the last writes are of the time then.
pub(crate) fn write(at: SocketAddr, over: &AtomicBool) -> Written {
    let mut written = Written::default();
    runtime().block_on(async {
        let mut client = connect(at).await;
        let (mut number, mut left) = (0, 200);
        while left > 0 {
            if over.load(Ordering::Relaxed) {
                left -= 1;
            }
            let reply = call(&mut client, &["SET", &format!("k{number}"), "v"]).await;
            match reply.error_code() {
                None => written.acked.push(number),
                Some("UNCERTAIN") => written.uncertain += 1,
                Some(_) => written.errors.push(format!("{reply:?}")),
            }
            number += 1;
        }
    });
    written
}

/// The writer ends with it, also when a test fails: nobody would end otherwise.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes at a host's endpoint while something happens; what became of it.
pub(crate) fn while_writing(
    fleet: &mut Fleet,
    host: usize,
    happens: impl FnOnce(&mut Fleet),
) -> Written {
    let at = fleet.endpoint("web", host);
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(at, &over));
        let ends = Ends(&over);
        happens(fleet);
        drop(ends);
        writing.join().unwrap_or_else(|_| panic!("the writer failed\n{}", fleet.what_it_says()))
    });
    assert!(written.errors.is_empty(), "{written:?}\n{}", fleet.what_it_says());
    assert!(written.acked.len() >= 200, "{written:?}");
    let missing = missing(at, &written.acked);
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    written
}

/// Which of these keys are not there.
pub(crate) fn missing(at: SocketAddr, keys: &[u64]) -> Vec<u64> {
    runtime().block_on(async {
        let mut client = connect(at).await;
        let mut missing = Vec::new();
        for number in keys {
            let value = call(&mut client, &["GET", &format!("k{number}")]).await;
            if value.as_str() != Some("v") {
                missing.push(*number);
            }
        }
        missing
    })
}

fn status(fleet: &Fleet) -> Status {
    fleet.try_status().unwrap_or_else(|| panic!("nobody answers\n{}", fleet.what_it_says()))
}

fn host(fleet: &Fleet, name: &str) -> Option<HostStatus> {
    status(fleet).hosts.into_iter().find(|host| host.host.as_str() == name)
}

#[test]
fn a_host_comes_with_an_invitation_and_with_nothing_else() {
    let mut fleet = Fleet::first(2);
    let refused = fleet.tanist(0, &["host", "invite", "h9"]);
    assert!(refused.code == 1 && refused.err.contains("T483"), "{}", refused.err);
    let alone = fleet.tanist(1, &["agent"]);
    assert!(alone.code == 1 && alone.err.contains("T701"), "{}", alone.err);
    let token = fleet.tanist(0, &["host", "invite", "h2"]).ok();
    let other = token.replace("/h2/", "/h1/");
    let refused = fleet.join(1, &other);
    assert!(refused.code == 1 && refused.err.contains("T481"), "{}", refused.err);
    let refused = fleet.join(1, &token[..token.len() / 2]);
    assert!(refused.code == 2 && refused.err.contains("T705"), "{}", refused.err);
    fleet.join(1, &token).ok();
    let again = fleet.join(1, &token);
    assert!(again.code == 2 && again.err.contains("T706"), "{}", again.err);
    fleet.start_host(1);
    fleet.wait("it is up", |fleet| host(fleet, "h2").filter(|host| host.up));
    // The same data directory is of no other kind of installation.
    let dev = fleet.tanist(1, &["dev"]);
    assert!(dev.code == 2 && dev.err.contains("T707"), "{}", dev.err);
    fleet.tanist(0, &["host", "remove", "h2"]).ok();
    fleet.wait("it is gone", |fleet| host(fleet, "h2").is_none().then_some(()));
    fleet.stop_agent(1);
    fleet.start_agent(1);
    fleet.tanist(0, &["create", "web", "--replicas", "0", "--memory", "64mb"]).ok();
    assert!(host(&fleet, "h2").is_none(), "a host that was removed is not heard");
}

#[test]
fn the_loss_of_the_primarys_host_costs_nobody_elsewhere_a_write_or_a_connection() {
    let mut fleet = Fleet::start(4);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    the_doctor_is_content(&fleet);
    let before = fleet.primary("web");
    let lost = fleet.number(before.host.as_str());
    let near = (lost + 1) % 4;
    let written = while_writing(&mut fleet, near, |fleet| {
        fleet.kill_host(lost);
        fleet.wait("another node is primary", |fleet| {
            let status = fleet.try_status()?;
            let shard = status.groups.first()?.shards.first()?.primary.clone()?;
            (shard != before.node).then_some(())
        });
    });
    assert!(written.uncertain <= 1, "one write was in flight: {written:?}");
    fleet.start_host(lost);
    let group = fleet.available("web");
    let nodes = &group.shards[0].nodes;
    let back = nodes.iter().find(|node| node.node == before.node);
    assert!(back.is_some_and(|node| node.role == "replica" && node.in_sync), "{nodes:?}");
    assert!(missing(fleet.endpoint("web", lost), &written.acked).is_empty(), "at its own endpoint");
}

/// What the doctor says of each thing that it is asked for, by how it begins: its mark.
fn doctors_marks(fleet: &Fleet, host: usize, begins: &[&str]) -> Vec<String> {
    let said = fleet.tanist(host, &["doctor", "-o", "json"]).out;
    let checks: Vec<serde_json::Value> =
        serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said}"));
    let text = |check: &serde_json::Value, field: &str| {
        check[field].as_str().unwrap_or_else(|| panic!("no {field}: {said}")).to_owned()
    };
    let mark = |begins: &&str| {
        let mut found = checks.iter().filter(|check| text(check, "what").starts_with(*begins));
        let check = found.next().unwrap_or_else(|| panic!("nothing of {begins}: {said}"));
        assert!(found.next().is_none(), "{begins}: {said}");
        text(check, "mark")
    };
    begins.iter().map(mark).collect()
}

/// Of a healthy fleet the doctor has nothing to say, on a server and on a host that is none.
fn the_doctor_is_content(fleet: &Fleet) {
    // Another leader may have begun just now, and be told of the clocks within a second.
    fleet.wait("every clock is known", |fleet| {
        let said = fleet.tanist(0, &["doctor"]).out;
        said.contains("clocks: at most").then_some(())
    });
    let whole = [
        "h1's certificate is good for 29 more days",
        "disk, kernel, ports and certificate are those of h1",
        "servers: ",
        "hosts: all 4 are heard, zones: 3",
        "clocks: at most",
        "spread: ",
    ];
    assert!(doctors_marks(fleet, 0, &whole).iter().all(|mark| mark == "good"));
    let own = ["h4's certificate is good", "h4 is no server"];
    assert!(doctors_marks(fleet, 3, &own).iter().all(|mark| mark == "good"));
    // Whether they are good is up to this machine's kernel; no port is a problem.
    for host in [0, 3] {
        assert_ne!(doctors_marks(fleet, host, &["ports: "]), ["problem"]);
    }
}

#[test]
fn an_old_certificate_is_replaced_by_itself() {
    let mut fleet = Fleet::start(3);
    let old = SystemTime::now() - Duration::from_secs(11 * 24 * 3600);
    let age = |fleet: &Fleet, host: usize| {
        let file = std::fs::File::options().write(true).open(fleet.certificate(host));
        let aged = file.and_then(|file| file.set_modified(old));
        aged.unwrap_or_else(|err| panic!("{}: {err}", fleet.certificate(host).display()));
    };
    let renewed = |fleet: &Fleet, host: usize| {
        fleet.wait("the certificate is a new one", |fleet| {
            let written = std::fs::metadata(fleet.certificate(host)).and_then(|m| m.modified());
            written.is_ok_and(|written| written > old + Duration::from_secs(3600)).then_some(())
        });
    };
    // By the agent of a host.
    let before = std::fs::read(fleet.certificate(1)).unwrap_or_default();
    fleet.stop_server(1);
    fleet.stop_agent(1);
    age(&fleet, 1);
    fleet.start_agent(1);
    renewed(&fleet, 1);
    assert_ne!(std::fs::read(fleet.certificate(1)).unwrap_or_default(), before);
    // And by the server of one that has no agent.
    fleet.stop_server(2);
    fleet.stop_agent(2);
    age(&fleet, 2);
    fleet.start_server(2);
    renewed(&fleet, 2);
    fleet.start_agent(2);
    fleet.start_server(1);
    fleet.wait("all are back", |fleet| {
        let status = fleet.try_status()?;
        let servers = status.servers.iter().all(|server| server.up);
        (servers && status.hosts.iter().all(|host| host.up)).then_some(())
    });
}

#[test]
fn servers_come_and_go_and_no_client_notices() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let epoch = fleet.group("web").shards[0].epoch;
    let written = while_writing(&mut fleet, 0, |fleet| {
        // Killed: the next one waits until it has been silent.
        let first = fleet.leader();
        fleet.kill_server(first);
        let second = fleet.leader();
        assert_ne!(first, second);
        fleet.start_server(first);
        // Asked to end: it hands its leadership over.
        fleet.stop_server(second);
        let third = fleet.leader();
        assert_ne!(second, third);
        fleet.start_server(second);
        // Agents are replaced beside.
        for host in 0..3 {
            fleet.stop_agent(host);
            fleet.start_agent(host);
        }
        fleet.wait("all are back", |fleet| {
            let status = fleet.try_status()?;
            let all = status.servers.iter().all(|server| server.up);
            (all && status.hosts.iter().all(|host| host.up)).then_some(())
        });
        fleet.available("web");
    });
    assert_eq!(written.uncertain, 0, "{written:?}");
    assert_eq!(fleet.group("web").shards[0].epoch, epoch, "nothing was failed over");
    let events = fleet.tanist(0, &["events"]).out;
    assert!(!events.contains("LeaseEnded"), "{events}");
    fleet.tanist(0, &["failover", "web"]).ok();
    fleet.available("web");
    assert!(fleet.group("web").shards[0].epoch > epoch);
}

#[test]
fn another_release_comes_host_by_host_and_clients_stay_connected() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let before: Vec<_> = (0..3).map(|host| fleet.proxy(host)).collect();
    let epoch = fleet.group("web").shards[0].epoch;
    let written = while_writing(&mut fleet, 1, |fleet| {
        fleet.install();
        for (host, (_, file)) in before.iter().enumerate() {
            fleet.stop_server(host);
            fleet.start_server(host);
            fleet.stop_agent(host);
            fleet.start_agent(host);
            fleet.wait("its proxy is the new program", |fleet| {
                (fleet.proxy(host).1 != *file).then_some(())
            });
            fleet.wait("all are back", |fleet| {
                let status = fleet.try_status()?;
                let proxies = status.proxies.iter().filter(|proxy| proxy.up).count();
                let servers = status.servers.iter().all(|server| server.up);
                (proxies == 3 && servers && status.hosts.iter().all(|host| host.up)).then_some(())
            });
        }
        fleet.available("web");
    });
    assert_eq!(written.uncertain, 0, "{written:?}\n{}", fleet.what_it_says());
    let after: Vec<_> = (0..3).map(|host| fleet.proxy(host).0).collect();
    let same: Vec<_> = before.iter().map(|(pid, _)| *pid).collect();
    assert_eq!(after, same, "they are the processes that they were");
    assert_eq!(fleet.group("web").shards[0].epoch, epoch, "nothing was failed over");
}

const ASYNC: [&str; 6] = ["create", "web", "--memory", "64mb", "--durability", "async"];

#[test]
fn an_async_group_of_a_lost_host_is_failed_over_when_the_lease_is_over() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &ASYNC).ok();
    let before = fleet.primary("web");
    let lost = fleet.number(before.host.as_str());
    let near = (lost + 1) % 3;
    let at = fleet.endpoint("web", near);
    let (done, reply) = runtime().block_on(async {
        let mut client = connect(at).await;
        let done = call(&mut client, &["SET", "k", "v"]).await;
        fleet.kill_host(lost);
        // Held until somebody else is primary.
        (done, call(&mut client, &["SET", "k", "w"]).await)
    });
    assert!(done.is_ok(), "{done:?}");
    let uncertain = reply.error_code() == Some("UNCERTAIN");
    assert!(reply.is_ok() || uncertain, "{reply:?}\n{}", fleet.what_it_says());
    let after = fleet.wait("another primary", |fleet| {
        let nodes = fleet.try_status()?.groups.into_iter().flat_map(|group| group.shards);
        let mut nodes = nodes.flat_map(|shard| shard.nodes);
        nodes.find(|node| node.role == "primary" && node.host != before.host)
    });
    assert_ne!(after.node, before.node);
}

#[test]
fn an_async_group_without_a_replica_in_sync_waits_for_a_person() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &[&ASYNC[..], &["--replicas", "1"]].concat()).ok();
    let before = fleet.primary("web");
    let stopped = replica(&fleet);
    signal(&stopped, "STOP");
    fleet.wait("nobody in sync", |fleet| {
        let events = fleet.tanist(0, &["events"]).out;
        events.contains("InSyncSetEmpty").then_some(())
    });
    let lost = fleet.number(before.host.as_str());
    fleet.kill_host(lost);
    signal(&stopped, "CONT");
    let near = (lost + 1) % 3;
    let says = |fleet: &Fleet, what: &str| {
        fleet.wait(what, |fleet| fleet.tanist(near, &["status"]).out.contains(what).then_some(()));
    };
    says(&fleet, "no heir reachable");
    let at = fleet.endpoint("web", near);
    let host = before.host.as_str();
    let refused = fleet.tanist(near, &["host", "remove", host]);
    assert!(refused.code == 1 && refused.err.contains("T472"), "{}", refused.err);
    let alive = fleet.tanist(near, &["host", "remove", &format!("h{}", near + 1), "--dead"]);
    assert!(alive.code == 1 && alive.err.contains("T473"), "{}", alive.err);
    // On a person's word.
    fleet.tanist(near, &["host", "remove", host, "--dead"]).ok();
    let reply =
        runtime().block_on(async { call(&mut connect(at).await, &["SET", "k", "v"]).await });
    assert!(reply.is_ok(), "{reply:?}");
}

/// The process of the group's one replica.
fn replica(fleet: &Fleet) -> String {
    let group = fleet.group("web");
    let primary = group.shards[0].primary.clone();
    let nodes = &group.shards[0].nodes;
    let replica = nodes.iter().find(|node| Some(&node.node) != primary.as_ref());
    let pid = replica.and_then(|node| node.pid).unwrap_or_else(|| panic!("{group:?}"));
    pid.to_string()
}

fn signal(pid: &str, signal: &str) {
    let done = Command::new("kill").args([&format!("-{signal}"), pid]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill -{signal} {pid}");
}

#[test]
fn without_any_server_a_healthy_primary_goes_on() {
    goes_on_without_servers(&["create", "web", "--memory", "64mb"]);
}

#[test]
fn without_any_server_an_async_primary_goes_on_by_its_replicas_word() {
    goes_on_without_servers(&ASYNC);
}

fn goes_on_without_servers(create: &[&str]) {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, create).ok();
    let epoch = fleet.group("web").shards[0].epoch;
    let at = fleet.endpoint("web", 1);
    let written = while_writing(&mut fleet, 1, |fleet| {
        (0..3).for_each(|host| fleet.kill_server(host));
        // Longer than any of the times after which somebody who is silent counts as lost.
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| write(at, &over));
            // waits: that nothing happens has no event.
            std::thread::sleep(Duration::from_secs(3));
            over.store(true, Ordering::Relaxed);
            let beside = writing.join().unwrap_or_else(|_| panic!("the writer failed"));
            assert!(beside.errors.is_empty() && beside.uncertain == 0, "{beside:?}");
        });
        (0..3).for_each(|host| fleet.start_server(host));
        fleet.available("web");
    });
    assert_eq!(written.uncertain, 0, "{written:?}");
    assert_eq!(fleet.group("web").shards[0].epoch, epoch, "nothing was failed over");
}

#[test]
fn everything_that_ended_at_once_comes_back_with_what_was_written() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let written = while_writing(&mut fleet, 1, |_| {});
    (0..3).for_each(|host| fleet.kill_host(host));
    (0..3).for_each(|host| fleet.start_host(host));
    fleet.available("web");
    let at = fleet.endpoint("web", 2);
    fleet.wait("every proxy serves", |fleet| {
        let status = fleet.try_status()?;
        (status.proxies.iter().filter(|proxy| proxy.up).count() == 3).then_some(())
    });
    assert!(missing(at, &written.acked).is_empty());
}
