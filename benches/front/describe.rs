//! Describing groups where there are many of them, each with an engine of its own.
//!
//! Invariant: every timed answer is looked at: it has as many groups as were asked for.
//!
//! Not here: how an answer is put together (`tanist-aws`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tanist_aws::QueryConnection;
use tanist_bench::{Row, percentiles, setting};
use tanist_core::model::{Access, EngineKind, Reads};
use tanist_lab::{Installation, texts};
use tanist_link::Client;
use tanist_link::api::{CreateGroup, GroupStatus, Status};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{micros, runtime};

/// Groups that are created at the same time.
const AT_ONCE: usize = 10;
/// Memory of each engine, in bytes: the least that is allowed.
const MEMORY: u64 = 16 << 20;
/// How long everything may take to become available.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often creators look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The largest page.
const PAGE: usize = 100;
const TARGET: &str = "p99 <= 50 ms";

/// A full page, and one group, of many.
pub(crate) fn describe() -> Vec<Row> {
    let groups = usize::try_from(setting("TANIST_BENCH_GROUPS", 200)).unwrap_or(PAGE).max(PAGE);
    let calls = setting("TANIST_BENCH_CALLS", 2000);
    let installation = Installation::start();
    runtime().block_on(async {
        let names: Vec<String> = (0..groups).map(|number| format!("bench-{number:04}")).collect();
        let started = Instant::now();
        create(&installation, &names).await;
        let created = started.elapsed();
        println!("  {groups} groups after {:.1} s", created.as_secs_f64());
        let client = installation.aws();
        let connected = client.connect().await;
        let mut connection = connected.unwrap_or_else(|err| panic!("connecting: {err}"));
        assert_eq!(all_pages(&mut connection).await, names, "all pages");
        let page = PAGE.to_string();
        let (mut pages, mut singles) = (Vec::new(), Vec::new());
        for name in names.iter().cycle().take(usize::try_from(calls).unwrap_or(usize::MAX)) {
            pages.push(timed(&mut connection, &[("MaxRecords", &page)], PAGE).await);
            singles.push(timed(&mut connection, &[("ReplicationGroupId", name)], 1).await);
        }
        let row = |what: &str, took| Row {
            what: format!("DescribeReplicationGroups, {what} of {groups} groups, {calls} calls"),
            measured: percentiles(took),
            target: TARGET,
        };
        vec![
            Row {
                what: format!("{groups} groups of one node created, {AT_ONCE} at a time"),
                measured: format!("all available after {:.1} s", created.as_secs_f64()),
                target: "(none)",
            },
            row("a page of 100", pages),
            row("one", singles),
        ]
    })
}

async fn create(installation: &Installation, names: &[String]) {
    let client = installation.local();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut creators = JoinSet::new();
    for name in names {
        creators.spawn(create_one(client.clone(), Arc::clone(&turns), name.clone()));
    }
    creators.join_all().await;
    let status: Status =
        client.get("/v1/status").await.unwrap_or_else(|err| panic!("the status: {err}"));
    for group in status.groups {
        assert_eq!(group.status, "available", "{}", group.name);
    }
}

/// Creates a group of one node and waits until it is available.
async fn create_one(client: Client, turns: Arc<Semaphore>, name: String) {
    let _turn = turns.acquire().await.unwrap_or_else(|err| panic!("{name}: {err}"));
    let asked = CreateGroup {
        name: name.clone(),
        engine: EngineKind::Redis,
        replicas: 0,
        zones: Vec::new(),
        durability: None,
        min_in_sync: 0,
        automatic_failover: false,
        memory_bytes: MEMORY,
        node_zones: Vec::new(),
        endpoint_hosts: Default::default(),
        access: Access::Everyone,
        tokens: Vec::new(),
        user_groups: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        attributes: BTreeMap::new(),
    };
    let created = client.post::<_, GroupStatus>("/v1/groups", &asked).await;
    let mut group = created.unwrap_or_else(|err| panic!("{name}: {err:?}"));
    let started = Instant::now();
    while group.status != "available" {
        assert!(started.elapsed() < PATIENCE, "{name} is {}", group.status);
        // waits: a group's status has no stream of its own.
        tokio::time::sleep(LOOK_EVERY).await;
        let read = client.get(&format!("/v1/groups/{name}")).await;
        group = read.unwrap_or_else(|err| panic!("{name}: {err:?}"));
    }
}

/// The names of all groups, page by page.
async fn all_pages(connection: &mut QueryConnection) -> Vec<String> {
    let mut names = Vec::new();
    let mut marker = String::new();
    loop {
        let xml = ask(connection, &[("MaxRecords", "100"), ("Marker", &marker)]).await;
        names.extend(texts(&xml, "ReplicationGroupId").into_iter().map(str::to_owned));
        match texts(&xml, "Marker").first() {
            Some(next) => marker = (*next).to_owned(),
            None => return names,
        }
    }
}

/// How long a call took, in microseconds.
async fn timed(connection: &mut QueryConnection, asked: &[(&str, &str)], expected: usize) -> u64 {
    let started = Instant::now();
    let xml = ask(connection, asked).await;
    let took = micros(started.elapsed());
    assert_eq!(texts(&xml, "ReplicationGroupId").len(), expected, "{asked:?}");
    took
}

async fn ask(connection: &mut QueryConnection, asked: &[(&str, &str)]) -> String {
    let call = connection.call("elasticache", "2015-02-02", "DescribeReplicationGroups", asked);
    call.await.unwrap_or_else(|err| panic!("{asked:?}: {err}"))
}
