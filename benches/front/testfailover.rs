//! `TestFailover` through the API beside `tanist failover`, by turns, under the same load.
//!
//! Invariant: a failover's time ends when every replica is in sync again, so that what healing costs
//! its clients counts.
//!
//! Not here: failovers after faults (`failover/`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tanist_aws::QueryClient;
use tanist_bench::{Row, setting, spread};
use tanist_core::model::Epoch;
use tanist_lab::Installation;
use tanist_link::Client;
use tanist_link::api::GroupStatus;

use crate::load::Load;
use crate::{micros, runtime};

/// How long the load runs before and after.
const AROUND: Duration = Duration::from_secs(1);
/// How long the group may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the group is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the failover is asked for.
#[derive(Clone, Copy)]
enum Way {
    Api,
    Command,
}

/// What clients saw of all failovers of one kind.
#[derive(Default)]
struct Seen {
    gaps: Vec<u64>,
    acked: u64,
    lost: u64,
    disconnects: u64,
    failed: u64,
    uncertain: u64,
}

struct Bench {
    installation: Installation,
    address: SocketAddr,
    aws: QueryClient,
    local: Client,
}

/// Both kinds by turns.
pub(crate) fn testfailover() -> Vec<Row> {
    let installation = Installation::start();
    installation.tanist(&["create", "bench"]).ok();
    let endpoint = installation.available("bench").primary_endpoint;
    let bench = Bench {
        address: SocketAddr::from((endpoint.address, endpoint.port)),
        aws: installation.aws(),
        local: installation.local(),
        installation,
    };
    let runtime = runtime();
    let (mut by_api, mut by_command) = (Seen::default(), Seen::default());
    for run in 1..=setting("TANIST_BENCH_RUNS", 10) {
        for (way, seen) in [(Way::Api, &mut by_api), (Way::Command, &mut by_command)] {
            runtime.block_on(bench.run(way, seen));
            let gap = seen.gaps.last().copied().unwrap_or(0) as f64 / 1000.0;
            println!("  run {run}, {}: gap {gap:.1} ms", way.name());
        }
    }
    let mut rows = by_api.rows(Way::Api);
    rows.extend(by_command.rows(Way::Command));
    rows
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "TestFailover",
            Self::Command => "tanist failover",
        }
    }
}

impl Bench {
    async fn run(&self, way: Way, seen: &mut Seen) {
        let before = self.whole(Epoch(0)).await;
        let load = Load::start(self.address);
        // waits: a stretch of undisturbed load comes before and after.
        tokio::time::sleep(AROUND).await;
        let from = load.now();
        match way {
            Way::Api => {
                let asked = [("ReplicationGroupId", "bench"), ("NodeGroupId", "0001")];
                let call = self.aws.call("elasticache", "2015-02-02", "TestFailover", &asked);
                call.await.unwrap_or_else(|err| panic!("TestFailover: {err}"));
            }
            Way::Command => {
                let command = || self.installation.tanist(&["failover", "bench"]).ok();
                tokio::task::block_in_place(command);
            }
        }
        self.whole(Epoch(before.0 + 1)).await;
        // waits: as above.
        tokio::time::sleep(AROUND).await;
        let to = load.now();
        let (ledger, found) = load.stop().await;
        let verdict = ledger.judge(&found);
        seen.gaps.push(micros(ledger.gap_within(from, to).length));
        seen.acked += verdict.acked;
        seen.lost += verdict.lost;
        seen.disconnects += verdict.disconnects;
        seen.failed += verdict.failed + verdict.unanswered;
        seen.uncertain += verdict.uncertain;
    }

    /// Waits until the group is available in this epoch or a later one; gives the epoch.
    async fn whole(&self, epoch: Epoch) -> Epoch {
        let started = Instant::now();
        loop {
            let read = self.local.get("/v1/groups/bench").await;
            let group: GroupStatus = read.unwrap_or_else(|err| panic!("the group: {err:?}"));
            let is = group.shards.first().map_or(Epoch(0), |shard| shard.epoch);
            if is >= epoch && group.status == "available" {
                return is;
            }
            assert!(started.elapsed() < PATIENCE, "the group is {}", group.status);
            // waits: a group's status has no stream of its own.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Seen {
    fn rows(self, way: Way) -> Vec<Row> {
        let peer = matches!(way, Way::Command);
        vec![
            Row {
                what: format!("{}: longest write gap", way.name()),
                measured: spread(self.gaps),
                target: if peer { "(peer)" } else { "that of tanist failover" },
            },
            Row {
                what: format!("{}: what clients saw", way.name()),
                measured: format!(
                    "{} lost of {} acknowledged, {} disconnects, {} errors, {} uncertain",
                    self.lost, self.acked, self.disconnects, self.failed, self.uncertain
                ),
                target: "0 lost, 0 disconnects, 0 errors",
            },
        ]
    }
}
