//! Everything was lost at once and a host stays away: what is said, and how a person lets it go on.
//!
//! Invariant: nothing is decided before a person has; what is said then can be carried out as it is.
//!
//! Not here: everything that comes back (`super::fleet`).

use std::time::Duration;

use tanist_lab::{Fleet, Ran};

use crate::fleet::{connect, missing, while_writing};
use crate::{call, runtime};

/// A fleet with a group in which something was written, all of whose hosts have ended; all but `away`
/// have come back. `away` is the primary's host, or that of a replica.
fn all_but(primary: bool) -> (Fleet, usize, Vec<u64>) {
    let mut fleet = Fleet::start_with(3, "[placement]\nreplace_after = 2\n");
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let written = while_writing(&mut fleet, 1, |_| {});
    // waits: for the second after which engines have their append-only files on the disk.
    std::thread::sleep(Duration::from_millis(1200));
    let leads = fleet.number(fleet.primary("web").host.as_str());
    let away = if primary { leads } else { (leads + 1) % 3 };
    (0..3).for_each(|host| fleet.kill_host(host));
    (0..3).filter(|host| *host != away).for_each(|host| fleet.start_host(host));
    (fleet, away, written.acked)
}

/// What `tanist status` says, once it says `what`.
fn says(fleet: &Fleet, host: usize, what: &str) -> String {
    fleet.wait(what, |fleet| {
        let said = fleet.tanist(host, &["status"]).out;
        said.contains(what).then_some(said)
    })
}

/// The command that the status names.
fn named(said: &str) -> Vec<&str> {
    let from = said.split("to go on without: tanist ").nth(1);
    let command = from.and_then(|rest| rest.split(';').next());
    command.unwrap_or_else(|| panic!("no command: {said}")).split_whitespace().collect()
}

fn serves_with_all(fleet: &Fleet, host: usize, acked: &[u64]) {
    let group = fleet.available("web");
    let nodes = &group.shards[0].nodes;
    assert!(nodes.len() == 3 && nodes.iter().all(|node| node.in_sync), "{nodes:?}");
    let at = fleet.endpoint("web", host);
    let reply =
        runtime().block_on(async { call(&mut connect(at).await, &["SET", "new", "v"]).await });
    assert!(reply.is_ok(), "{reply:?}");
    assert!(missing(at, acked).is_empty());
}

#[test]
fn with_the_last_primarys_host_away_a_person_names_another_node() {
    let (mut fleet, away, acked) = all_but(true);
    let near = (away + 1) % 3;
    let host = format!("h{}", away + 1);
    let said = says(&fleet, near, "to go on without");
    let missed = format!("on {host} (which is not heard from; run ");
    assert!(said.contains(&missed), "{said}");
    assert!(said.contains("nobody who has every acknowledged write is there"), "{said}");
    assert!(said.contains("at most is the last second before its process ended"), "{said}");
    fleet.tanist(near, &named(&said)).ok();
    serves_with_all(&fleet, near, &acked);
    let events = fleet.tanist(near, &["events"]).out;
    assert!(events.contains("LossAccepted"), "{events}");
    // What comes back late is nobody's primary.
    fleet.start_host(away);
    fleet.wait("it is up", |fleet| {
        let status = fleet.try_status()?;
        status.hosts.iter().all(|host| host.up).then_some(())
    });
    serves_with_all(&fleet, away, &acked);
}

#[test]
fn with_a_replicas_host_away_a_person_says_so_or_that_it_is_dead() {
    let (fleet, away, acked) = all_but(false);
    let near = (away + 1) % 3;
    let said = says(&fleet, near, "to go on without");
    let missed = format!("on h{} (which is not heard from; run ", away + 1);
    assert!(said.contains("NoCandidate") && said.contains(&missed), "{said}");
    let ran: Ran = fleet.tanist(near, &named(&said));
    ran.ok();
    serves_with_all(&fleet, near, &acked);
}

#[test]
fn of_a_dead_host_nothing_is_waited_for_and_what_the_last_primary_had_counts() {
    let (fleet, away, acked) = all_but(false);
    let near = (away + 1) % 3;
    says(&fleet, near, "to go on without");
    fleet.tanist(near, &["host", "remove", &format!("h{}", away + 1), "--dead"]).ok();
    serves_with_all(&fleet, near, &acked);
    let events = fleet.tanist(near, &["events"]).out;
    assert!(events.contains("RecoveredFromDisk") && !events.contains("LossAccepted"), "{events}");
}

#[test]
fn if_the_dead_host_had_the_last_primary_a_person_names_another_node() {
    let (fleet, away, acked) = all_but(true);
    let near = (away + 1) % 3;
    says(&fleet, near, "to go on without");
    fleet.tanist(near, &["host", "remove", &format!("h{}", away + 1), "--dead"]).ok();
    let said = says(&fleet, near, "has to load its disk");
    assert!(said.contains("which is not there any more"), "{said}");
    let said = says(&fleet, near, "to go on without");
    fleet.tanist(near, &named(&said)).ok();
    serves_with_all(&fleet, near, &acked);
}
