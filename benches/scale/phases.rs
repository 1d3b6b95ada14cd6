//! The phases: creating, quiet, failures one by one, a host that falls silent.
//!
//! Invariant: figures of a phase begin and end with it.
//!
//! Not here: what is printed (`super::table`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tanist_core::model::{Durability, EngineKind, ShardKey};
use tanist_link::api::{CreateGroup, GroupStatus, Status};
use tanist_link::{Client, LinkError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::fleet::Fleet;
use super::host::{Fate, Host};
use super::leases::Leases;
use super::options::Options;
use super::process::Usage;
use super::proxy::Proxy;
use super::shared::{Shared, group_name};
use super::table::{Measured, Phase, Restarted};

/// Requests to create a group at the same time.
const CREATORS: usize = 8;
/// Memory of each node, the least there may be.
const MEMORY: u64 = 16 << 20;
/// How long groups may take without any progress.
const STUCK: Duration = Duration::from_secs(60);
/// How long a group has been whole before it is made to fail.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a failover may take to be counted.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at what was seen.
const LOOK: Duration = Duration::from_millis(100);
/// Pause between two looks at the status, which is large.
const ASK: Duration = Duration::from_secs(3);

/// A fleet with its simulated hosts, and what was measured so far.
pub(crate) struct Bench {
    options: Options,
    fleet: Fleet,
    shared: Arc<Shared>,
    fates: Vec<mpsc::Sender<Fate>>,
    measured: Measured,
    random: u64,
}

impl Bench {
    /// Starts everything; every host has joined and talks.
    pub(crate) async fn begin(options: &Options) -> Self {
        let fleet = Fleet::start(options).await;
        eprintln!("# the server leads ({})", fleet.root().display());
        let shared = Arc::new(Shared::new(options));
        let mut fates = Vec::new();
        for index in 0..options.hosts {
            let is = fleet.member(index).await;
            let (fate, heard) = mpsc::channel(64);
            let (power, on) = watch::channel(true);
            let leases = Leases::new(is.host.clone(), is.client.clone(), Arc::clone(&shared));
            let leases = Arc::new(leases);
            tokio::spawn(Arc::clone(&leases).work(on.clone()));
            let proxy = Proxy::new(is.clone(), options.hosts, Arc::clone(&shared));
            tokio::spawn(proxy.work(on));
            tokio::spawn(Host::new(is, Arc::clone(&shared), leases, power).work(heard));
            fates.push(fate);
        }
        let measured = Measured::default();
        let options = options.clone();
        let bench = Self { options, fleet, shared, fates, measured, random: 1 };
        bench.all_talk().await;
        eprintln!("# {} hosts have joined", bench.options.hosts);
        bench
    }

    async fn all_talk(&self) {
        let began = Instant::now();
        let wanted = u64::try_from(self.options.hosts * 2).unwrap_or(u64::MAX);
        while self.shared.counts.calls.load(Ordering::Relaxed) < wanted {
            assert!(began.elapsed() < PATIENCE, "hosts do not talk\n{}", self.fleet.said());
            // waits: for conversations of many tasks, of which none is looked at here.
            sleep(LOOK).await;
        }
    }

    fn usage(&self) -> Usage {
        let usage = Usage::of(self.fleet.server());
        usage.unwrap_or_else(|| panic!("the server has ended\n{}", self.fleet.said()))
    }

    /// What was used and said while `phase` lasted.
    fn begin_phase(&self) -> Begun {
        Begun {
            server: self.usage(),
            etcd: Fleet::etcd().into_iter().map(|pid| (pid, Usage::of(pid))).collect(),
            own: Usage::of(std::process::id()),
            counts: self.shared.counts.all(),
            at: Instant::now(),
        }
    }

    fn end_phase(&self, begun: &Begun) -> Phase {
        let server = self.usage();
        let cores = |pid: u32, before: Option<Usage>| {
            let now = Usage::of(pid).zip(before);
            now.map_or(0.0, |(now, before)| now.cores_since(&before))
        };
        let counts = self.shared.counts.all().into_iter().zip(&begun.counts);
        Phase {
            seconds: begun.at.elapsed().as_secs_f64(),
            cores: server.cores_since(&begun.server),
            etcd_cores: begun.etcd.iter().map(|(pid, before)| cores(*pid, *before)).sum(),
            own_cores: cores(std::process::id(), begun.own),
            resident: server.resident,
            most: server.most,
            counts: counts.map(|((name, now), (_, before))| (name, now - before)).collect(),
        }
    }

    /// Creates every group, and waits until all are available.
    pub(crate) async fn create(&mut self) {
        let begun = self.begin_phase();
        let began = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut creators = JoinSet::new();
        for _ in 0..CREATORS {
            let (next, client) = (Arc::clone(&next), self.fleet.client.clone());
            creators.spawn(create_some(
                next,
                client,
                Arc::clone(&self.shared),
                self.options.clone(),
            ));
        }
        let mut made = 0;
        let mut refused = None;
        let mut ticks = interval(Duration::from_secs(5));
        loop {
            tokio::select! {
                done = creators.join_next() => match done {
                    Some(Ok((count, why))) => {
                        made += count;
                        refused = refused.or(why);
                    }
                    Some(Err(err)) => panic!("creating groups: {err}"),
                    None => break,
                },
                _ = ticks.tick() => self.progress("created", next.load(Ordering::Relaxed)),
            }
        }
        if let Some(err) = refused {
            eprintln!("! only {made} of {} groups were created: {err}", self.options.groups);
            assert!(made > 0, "without groups there is nothing to measure\n{}", self.fleet.said());
        }
        self.measured.groups = made;
        self.measured.created = began.elapsed();
        self.whole().await;
        self.measured.whole = began.elapsed();
        self.measured.creating = self.end_phase(&begun);
        self.measured.available = self.available().await;
        eprintln!("# {} of {made} groups are available", self.measured.available);
    }

    fn progress(&self, what: &str, number: usize) {
        let (whole, known) = self.shared.watch.whole();
        eprintln!("  {what} {number}, known {known}, with all replicas in sync {whole}");
    }

    /// Waits until every group has a primary and all of its replicas in sync, as routes say.
    async fn whole(&self) {
        let mut best = (0, Instant::now());
        let mut said = Instant::now();
        loop {
            let (whole, _) = self.shared.watch.whole();
            if whole >= self.measured.groups {
                return;
            }
            if whole > best.0 {
                best = (whole, Instant::now());
            }
            if best.1.elapsed() > STUCK {
                eprintln!("! {whole} groups, and no progress for {STUCK:?}");
                return self.explain_some().await;
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                self.progress("waiting for", self.measured.groups);
            }
            // waits: for what many routes say together.
            sleep(LOOK).await;
        }
    }

    /// Why some of the groups are not whole.
    async fn explain_some(&self) {
        for key in self.shared.watch.some_not_whole(3) {
            let path = format!("/v1/groups/{}", key.group);
            let group: Result<GroupStatus, LinkError> = self.fleet.client.get(&path).await;
            match group {
                Ok(group) => explain(&group),
                Err(err) => eprintln!("! {key}: {err}"),
            }
        }
    }

    /// How many groups are available, as the API says; waits for a while until all are.
    async fn available(&self) -> usize {
        let began = Instant::now();
        loop {
            let status: Result<Status, LinkError> = self.fleet.client.get("/v1/status").await;
            let status = status.unwrap_or_else(|err| panic!("{err}\n{}", self.fleet.said()));
            let others = status.groups.iter().filter(|group| group.status != "available");
            let others: Vec<&GroupStatus> = others.collect();
            if others.is_empty() || began.elapsed() > STUCK {
                others.iter().take(3).for_each(|group| explain(group));
                return status.groups.len() - others.len();
            }
            // waits: a status of many groups is large, and looking is no reason for a load.
            sleep(ASK).await;
        }
    }

    /// Nothing happens.
    pub(crate) async fn quiet(&mut self) {
        eprintln!("# quiet for {:?}", self.options.quiet);
        // waits: for what is left of creating to be said.
        sleep(Duration::from_secs(3)).await;
        let begun = self.begin_phase();
        // waits: the time is what is measured.
        sleep(self.options.quiet).await;
        self.measured.quiet = self.end_phase(&begun);
        eprintln!("# quiet: processors in use: {}", self.measured.quiet.used());
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let high = usize::try_from(self.random >> 33).unwrap_or(0);
        high % below.max(1)
    }

    /// Processes of primaries end, one after the other.
    pub(crate) async fn failures(&mut self) {
        if self.options.failures == 0 {
            return;
        }
        eprintln!("# {} primaries end, one every {:?}", self.options.failures, self.options.every);
        self.shared.watch.take();
        let begun = self.begin_phase();
        let mut ticks = interval(self.options.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..self.options.failures {
            ticks.tick().await;
            let healthy = self.shared.watch.healthy(SETTLED);
            let number = self.random(healthy.len());
            let Some((_, primary, host)) = healthy.into_iter().nth(number) else {
                self.measured.skipped += 1;
                continue;
            };
            // The host ends with the benchmark only.
            let _ = self.fates[host].send(Fate::End(primary)).await;
        }
        self.measured.failing = self.end_phase(&begun);
        self.measured.failures = self.timed().await;
        eprintln!("# failures: processors in use: {}", self.measured.failing.used());
    }

    /// What failed since the last time, once everything has a primary again.
    async fn timed(&self) -> Vec<super::watch::Trial> {
        let began = Instant::now();
        // waits: for the last orders, on several hosts.
        sleep(LOOK).await;
        while self.shared.watch.pending() > 0 && began.elapsed() < PATIENCE {
            // waits: as above.
            sleep(LOOK).await;
        }
        self.shared.watch.take()
    }

    /// A host is cut off and without power at once.
    pub(crate) async fn lose_host(&mut self) {
        self.whole().await;
        self.shared.watch.take();
        let mut primaries: BTreeMap<usize, Vec<ShardKey>> = BTreeMap::new();
        // The first host has the server, and the proxy by whose routes groups are watched.
        for (key, _, host) in self.shared.watch.healthy(Duration::ZERO) {
            if host > 0 {
                primaries.entry(host).or_default().push(key);
            }
        }
        let most = primaries.into_iter().max_by_key(|(_, shards)| shards.len());
        let Some((host, shards)) = most else {
            return eprintln!("! no host but the first has a primary");
        };
        eprintln!("# h{} falls silent, which has {} primaries", host + 1, shards.len());
        let begun = self.begin_phase();
        // The host ends with the benchmark only.
        let _ = self.fates[host].send(Fate::Dark(shards)).await;
        self.measured.lost = self.timed().await;
        self.measured.losing = self.end_phase(&begun);
        eprintln!("# a host lost: processors in use: {}", self.measured.losing.used());
        let _ = self.fates[host].send(Fate::Light).await;
    }

    /// The server's process is killed, and starts again.
    pub(crate) async fn restart(&mut self) {
        self.whole().await;
        let calls = || self.shared.counts.calls.load(Ordering::Relaxed);
        let wanted = calls() + u64::try_from(self.options.hosts * 2).unwrap_or(u64::MAX);
        let before = self.shared.watch.epochs();
        eprintln!("# the server is killed, and starts again");
        let began = Instant::now();
        self.fleet.restart().await;
        let leads = began.elapsed();
        let calls = || self.shared.counts.calls.load(Ordering::Relaxed);
        while calls() < wanted && began.elapsed() < PATIENCE {
            // waits: for conversations of many tasks, of which none is looked at here.
            sleep(LOOK).await;
        }
        let talk = began.elapsed();
        let available = self.available().await;
        let after = self.shared.watch.epochs();
        let moved = after.iter().filter(|(key, epoch)| before.get(*key) != Some(*epoch)).count();
        self.measured.restarted = Some(Restarted {
            leads,
            talk: (calls() >= wanted).then_some(talk),
            settled: began.elapsed(),
            available,
            moved,
        });
    }

    /// Waits until everything is well again.
    pub(crate) async fn end(mut self) -> Measured {
        let began = Instant::now();
        self.whole().await;
        self.measured.available_again = self.available().await;
        self.measured.again = began.elapsed();
        self.measured.totals = self.shared.counts.all();
        self.measured.most = self.usage().most;
        self.measured
    }
}

/// What there was when a phase began.
struct Begun {
    server: Usage,
    etcd: Vec<(u32, Option<Usage>)>,
    own: Option<Usage>,
    counts: Vec<(&'static str, u64)>,
    at: Instant,
}

/// Creates groups until there are enough; how many were, and why no more.
async fn create_some(
    next: Arc<AtomicUsize>,
    client: Client,
    shared: Arc<Shared>,
    options: Options,
) -> (usize, Option<LinkError>) {
    let mut made = 0;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.groups {
            return (made, None);
        }
        while shared.watch.whole().0 + options.building <= number {
            // waits: for what many routes say together.
            sleep(LOOK).await;
        }
        let asked = request(number, options.replicas);
        match client.post::<_, GroupStatus>("/v1/groups", &asked).await {
            Ok(_) => made += 1,
            Err(err) => return (made, Some(err)),
        }
    }
}

fn request(number: usize, replicas: u8) -> CreateGroup {
    // Not every other one: hosts take turns, and each is to have primaries of both kinds.
    let sync = (number / 3).is_multiple_of(2);
    let durability = if sync { Durability::Sync } else { Durability::Async };
    CreateGroup {
        name: group_name(number),
        engine: EngineKind::Valkey,
        replicas,
        zones: Vec::new(),
        durability: Some(durability),
        min_in_sync: 0,
        automatic_failover: true,
        memory_bytes: MEMORY,
        node_zones: Vec::new(),
        endpoint_hosts: BTreeSet::new(),
        access: tanist_core::model::Access::default(),
        tokens: Vec::new(),
        user_groups: BTreeSet::new(),
        transit: tanist_core::model::Transit::default(),
        reads: tanist_core::model::Reads::default(),
        attributes: BTreeMap::new(),
    }
}

/// Why a group is not available.
fn explain(group: &GroupStatus) {
    eprintln!("! {} ({}) is {}", group.name, group.durability, group.status);
    for shard in &group.shards {
        for problem in &shard.problems {
            eprintln!("    {:?} {:?}: {}", problem.kind, problem.node, problem.detail);
        }
        for wait in &shard.waits {
            eprintln!("    waits for {:?}: {}", wait.kind, wait.detail);
        }
        for node in &shard.nodes {
            eprintln!("    {} on {}: {} in sync {}", node.node, node.host, node.role, node.in_sync);
        }
    }
}
