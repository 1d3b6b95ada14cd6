//! A hundred callers who change the same few things at the same time.
//!
//! Invariant: whatever was acknowledged last is what there is at the end, also where several kinds
//! of changes meet in one record.
//!
//! Not here: how many changes a second (`tanist-bench`).

use std::collections::BTreeSet;
use std::time::Duration;

use tanist_aws::QueryClient;
use tanist_core::model::Access;
use tanist_lab::crowd::{self, Crowd};
use tanist_lab::{Installation, texts};
use tokio::runtime::Runtime;

/// Callers at the same time.
const CALLERS: usize = 100;
/// Changes of each.
const CHANGES: usize = 4;

const ELASTICACHE: (&str, &str) = ("elasticache", "2015-02-02");
const EC2: (&str, &str) = ("ec2", "2016-11-15");

#[test]
fn of_a_hundred_callers_who_change_groups_none_loses_a_change() {
    let installation = Installation::start();
    let client = installation.aws();
    runtime().block_on(async {
        let names: Vec<String> = ["one", "two", "three"].map(str::to_owned).to_vec();
        let mut arns = Vec::new();
        for name in &names {
            installation.create(name, &["--replicas", "0"]);
            let asked = [("ReplicationGroupId", name.as_str())];
            arns.push(ask(&client, ELASTICACHE, "DescribeReplicationGroups", &asked, "ARN").await);
        }
        // The tags are kept in the same record as what these change.
        let (tagged, ()) = tokio::join!(crowd::tags(&client, &arns, CALLERS, CHANGES), async {
            for turn in 1..=10 {
                for name in &names {
                    describe_anew(&client, name, turn).await;
                }
            }
        });
        nothing_was_lost(&tagged, CALLERS * CHANGES);
        for (name, arn) in names.iter().zip(&arns) {
            let asked = [("ReplicationGroupId", name.as_str())];
            let action = "DescribeReplicationGroups";
            let description = ask(&client, ELASTICACHE, action, &asked, "Description").await;
            assert_eq!(description, "turn 10", "{name}");
            let window = ask(&client, ELASTICACHE, action, &asked, "SnapshotWindow").await;
            assert_eq!(window, self::window(10), "{name}");
            assert!(tagged.found[arn].len() >= CALLERS / names.len(), "{name}");
        }
    });
}

/// An hour of the day, and not that of maintenance.
fn window(turn: u8) -> String {
    format!("{}:00-{}:00", 10 + turn, 11 + turn)
}

/// Two changes of one group's record.
async fn describe_anew(client: &QueryClient, name: &str, turn: u8) {
    let (description, window) = (format!("turn {turn}"), window(turn));
    let asked = [
        ("ReplicationGroupId", name),
        ("ReplicationGroupDescription", &description),
        ("SnapshotWindow", &window),
        ("ApplyImmediately", "true"),
    ];
    let answer = ask(client, ELASTICACHE, "ModifyReplicationGroup", &asked, "Description").await;
    assert_eq!(answer, description);
}

#[test]
fn of_a_hundred_callers_who_change_rules_none_loses_a_change() {
    let installation = Installation::start();
    let client = installation.aws();
    runtime().block_on(async {
        let mut ids = Vec::new();
        for name in ["one", "two"] {
            let asked = [("GroupName", name), ("GroupDescription", name)];
            ids.push(ask(&client, EC2, "CreateSecurityGroup", &asked, "groupId").await);
        }
        let asked = [
            ("ReplicationGroupId", "web"),
            ("ReplicationGroupDescription", "d"),
            ("CacheNodeType", "cache.t4g.micro"),
            ("Engine", "redis"),
            ("NumCacheClusters", "1"),
            ("SecurityGroupIds.SecurityGroupId.1", &ids[0]),
            ("SecurityGroupIds.SecurityGroupId.2", &ids[1]),
        ];
        ask(&client, ELASTICACHE, "CreateReplicationGroup", &asked, "ReplicationGroupId").await;
        let ruled = crowd::rules(&client, &ids, CALLERS, CHANGES).await;
        // Every second caller ends with a rule, after one change fewer.
        nothing_was_lost(&ruled, CALLERS * CHANGES - CALLERS / 2);
        let found: BTreeSet<String> =
            ruled.found.values().flat_map(|found| found.keys().cloned()).collect();
        assert_eq!(found.len(), CALLERS / 2);
        // Before a change of a rule is acknowledged, the groups that it concerns have been told.
        let Access::Only { sources, .. } = installation.group("web").access else {
            panic!("web admits everyone")
        };
        let admitted: BTreeSet<String> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(admitted, found);
    });
}

fn nothing_was_lost(crowd: &Crowd, changes: usize) {
    assert_eq!(crowd.refused, Vec::<String>::new());
    assert_eq!(crowd.lost, Vec::<String>::new());
    assert_eq!(crowd.took.len(), changes);
}

fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.unwrap_or_else(|err| panic!("a runtime: {err}"))
}

/// Calls an operation; the first text of an element of its answer.
async fn ask(
    client: &QueryClient,
    (service, version): (&str, &str),
    action: &str,
    asked: &[(&str, &str)],
    element: &str,
) -> String {
    let call = client.call(service, version, action, asked);
    let answer = tokio::time::timeout(Duration::from_secs(60), call).await;
    let answer = answer.unwrap_or_else(|_| panic!("{action}: no answer"));
    let xml = answer.unwrap_or_else(|err| panic!("{action} {asked:?}: {err}"));
    match texts(&xml, element).first() {
        Some(text) => (*text).to_owned(),
        None => panic!("{action}: no {element} in {xml}"),
    }
}
