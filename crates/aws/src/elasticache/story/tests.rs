//! Stories of the controller, told in the service's words.

use tanist_core::model::{Cause, EventKind, NodeId, Offset, Severity};

use super::*;

/// The controller's events, with the controller's own sentences.
#[derive(Default)]
struct Log {
    events: Vec<EventRecord>,
}

impl Log {
    fn note(&mut self, name: &str, node: Option<&NodeId>, text: String) {
        let id = u64::try_from(self.events.len()).unwrap() + 1;
        self.events.push(EventRecord {
            id,
            at_ms: id * 1000,
            group: Some("web".into()),
            node: node.cloned(),
            epoch: None,
            name: name.to_owned(),
            severity: Severity::Info,
            text,
        });
    }

    fn happened(&mut self, kind: &EventKind) {
        self.note(kind.name(), kind.node(), kind.sentence());
    }

    fn founded() -> Self {
        let mut log = Self::default();
        log.note("GroupCreated", None, "redis with 2 replicas, sync".to_owned());
        log.chosen("web-001");
        log.attached_and_in_sync("web-002");
        log.attached_and_in_sync("web-003");
        log
    }

    fn chosen(&mut self, node: &str) {
        self.chosen_with(node, &[]);
    }

    fn chosen_with(&mut self, node: &str, in_sync: &[&str]) {
        let (node, offset) = (NodeId::new(node), Offset(1));
        let in_sync = in_sync.iter().map(NodeId::new).collect();
        self.happened(&EventKind::PrimaryChosen { node, offset, in_sync });
    }

    fn vacated(&mut self, node: &str, cause: Cause) {
        self.happened(&EventKind::PrimaryVacated { prev: Some(NodeId::new(node)), cause });
    }

    fn attached_and_in_sync(&mut self, node: &str) {
        let node = NodeId::new(node);
        self.happened(&EventKind::ReplicaAttached { node: node.clone() });
        self.happened(&EventKind::ReplicaInSync { node });
    }

    fn out_of_sync(&mut self, node: &str, reason: &str) {
        let (node, reason) = (NodeId::new(node), reason.to_owned());
        self.happened(&EventKind::ReplicaOutOfSync { node, reason });
    }

    /// What is told after the first `skipped` sentences.
    fn told(&self, skipped: usize) -> Vec<String> {
        let zone = |node: &str| (node == "web-001").then(|| "us-east-1a".to_owned());
        let told = tell(&self.events, zone).into_iter().skip(skipped);
        told.map(|s| format!("{} {}: {}", s.source.word(), s.name, s.text)).collect()
    }
}

#[test]
fn a_group_and_its_clusters_are_created() {
    assert_eq!(
        Log::founded().told(0),
        [
            "cache-cluster web-001: Cache cluster created",
            "cache-cluster web-001: Added cache node 0001 in availability zone us-east-1a",
            "replication-group web: Replication group web created",
            "cache-cluster web-002: Cache cluster created",
            "cache-cluster web-003: Cache cluster created",
        ]
    );
}

#[test]
fn a_test_failover_is_told_in_the_services_order_and_words() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    log.vacated("web-001", Cause::Failover);
    log.chosen("web-002");
    log.attached_and_in_sync("web-003");
    log.attached_and_in_sync("web-001");
    assert_eq!(
        log.told(before),
        [
            "replication-group web: Test Failover API called for node group 0001",
            "cache-cluster web-001: Failover from primary node web-001 to replica node web-002 \
             completed",
            "replication-group web: Failover from primary node web-001 to replica node web-002 \
             completed",
            "cache-cluster web-001: Recovering cache nodes 0001",
            "cache-cluster web-001: Finished recovery for cache nodes 0001",
        ]
    );
}

#[test]
fn a_failover_that_is_given_up_is_told_of_the_group() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    let start = "the request to move the primary was dropped: ";
    log.note("RequestDropped", None, format!("{start}web-002 does not answer: it is gone"));
    log.note("RequestDropped", None, start.to_owned());
    let given_up = "replication-group web: Failover of node group 0001 was given up";
    let why = format!("{given_up}: web-002 does not answer: it is gone");
    assert_eq!(log.told(before), [why, given_up.to_owned()]);
}

#[test]
fn a_primary_that_was_well_is_recovered_as_soon_as_its_heir_is_chosen() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    log.vacated("web-001", Cause::Failover);
    log.chosen_with("web-003", &["web-001", "web-002"]);
    log.attached_and_in_sync("web-002");
    let told = log.told(before);
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(
        told[3..],
        [
            "cache-cluster web-001: Recovering cache nodes 0001",
            "cache-cluster web-001: Finished recovery for cache nodes 0001",
        ]
    );
}

#[test]
fn a_crash_is_told_without_a_call() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    log.vacated("web-001", Cause::PrimaryDown);
    log.chosen("web-003");
    let told = log.told(before);
    assert_eq!(told.len(), 2);
    assert!(told[0].ends_with("from primary node web-001 to replica node web-003 completed"));
}

#[test]
fn a_replica_recovers_and_so_does_a_lonely_primary() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    log.out_of_sync("web-002", "its process is gone");
    log.attached_and_in_sync("web-002");
    log.vacated("web-001", Cause::PrimaryDown);
    log.happened(&EventKind::RecoveredFromDisk {
        node: NodeId::new("web-001"),
        possible_loss: "nothing".to_owned(),
    });
    assert_eq!(
        log.told(before),
        [
            "cache-cluster web-002: Recovering cache nodes 0001",
            "cache-cluster web-002: Finished recovery for cache nodes 0001",
            "cache-cluster web-001: Recovering cache nodes 0001",
            "cache-cluster web-001: Finished recovery for cache nodes 0001",
        ]
    );
}

#[test]
fn replicas_come_and_go() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    let (node, zone) = (NodeId::new("web-004"), "us-east-1b".to_owned());
    log.happened(&EventKind::NodePlaced { node, zone });
    log.attached_and_in_sync("web-004");
    log.out_of_sync("web-002", "it was asked to leave");
    log.happened(&EventKind::GroupDeleted);
    assert_eq!(
        log.told(before),
        [
            "cache-cluster web-004: Cache cluster created",
            "cache-cluster web-004: Added cache node 0001 in availability zone us-east-1b",
            "cache-cluster web-002: Cache cluster deleted",
            "cache-cluster web-001: Cache cluster deleted",
            "cache-cluster web-003: Cache cluster deleted",
            "cache-cluster web-004: Cache cluster deleted",
            "replication-group web: Replication group web deleted",
        ]
    );
}

#[test]
fn a_story_whose_beginning_is_forgotten_is_told_from_where_it_is_known() {
    let mut log = Log::default();
    log.attached_and_in_sync("web-002");
    log.vacated("web-001", Cause::HostLost);
    log.chosen("web-002");
    let told = log.told(0);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|text| text.contains("Failover from primary node")));
}

#[test]
fn two_vacancies_in_a_row_are_one_failover() {
    let mut log = Log::founded();
    let before = log.told(0).len();
    log.vacated("web-001", Cause::HostLost);
    log.vacated("web-001", Cause::HostLost);
    log.chosen("web-002");
    assert_eq!(log.told(before).len(), 2);
}
