//! From what agents measure to series of numbers, under the names that ElastiCache gives them.
//!
//! Numbers that only grow become what was added since the measurement before; processor time becomes
//! a share of the time that passed. What only the controller knows, it adds: the role, and how far a
//! replica is behind. A node that is not measured has no samples: a gap is what a failover looks like.
//!
//! As on AWS every series is seen under the node (`CacheClusterId` and `CacheNodeId`) and under
//! `CacheClusterId` alone, and none under the replication group.
//!
//! Invariant: two measurements are compared only if they are of one run and in their order; nothing
//! is recorded of a node that no topology has.
//!
//! Not here: measuring (`tanist-agent`), keeping (`tanist-telemetry`), and decisions, which never look
//! at any of this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::{NodeId, Region, RoleSeen, ShardTopology};
use tanist_link::wire::{HostCpu, NodeClients, Totals, Vitals};
use tanist_telemetry::{Dimensions, Key, Place, Point, Resolution, Sample, Series, Unit};
use tracing::warn;

use crate::clock::wall_ms;
use crate::observe::Observer;
use crate::proxies::Session;
use crate::reconciler::Controller;

const NAMESPACE: &str = "AWS/ElastiCache";
/// A measurement that is older than this is not compared with.
const COMPARED: Duration = Duration::from_secs(60);

/// Time between two looks for nodes that are gone.
const SWEEP: Duration = Duration::from_secs(10);

/// What an engine is, as the controller knows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Primary,
    /// With the time that it is behind, if a primary says so.
    Replica(Option<Duration>),
}

/// Turns measurements into series.
#[derive(Debug)]
pub(crate) struct Recorder {
    metrics: Arc<Series>,
    region: Arc<str>,
    /// The last measurement of each node, and when it arrived.
    last: BTreeMap<NodeId, (i64, Vitals, NodeClients)>,
    /// Where the series of each node are.
    places: BTreeMap<NodeId, BTreeMap<&'static str, Option<Place>>>,
    /// When those that are gone were forgotten last.
    swept: i64,
    /// There was no room the last time.
    full: bool,
}

impl Controller {
    /// Records what was measured of a node.
    pub(crate) fn measured(&mut self, vitals: Vitals) {
        let Some(key) = self.observer.shard_of(&vitals.node) else { return };
        let Some(held) = self.archive.topologies.get(key) else { return };
        // An engine's own connections are those of proxies and agents; clients are the proxies'.
        let is_up = |proxy| self.proxies.get(proxy).is_some_and(|session: &Session| session.up);
        let said = self.observer.said(key).filter(|(_, shard)| !shard.nodes.is_empty());
        let said = said.filter(|(proxy, _)| is_up(*proxy)).map(|(_, shard)| shard);
        let at_node = said.filter_map(|shard| shard.nodes.get(&vitals.node));
        let clients = at_node.fold(NodeClients::default(), |sum, more| NodeClients {
            now: sum.now + more.now,
            ever: sum.ever + more.ever,
        });
        let part = part(&vitals, &held.body, &self.observer);
        let now = i64::try_from(wall_ms()).unwrap_or(i64::MAX);
        self.recorder.record(vitals, clients, part, now);
    }
}

/// What the engine is that was measured; `None` if it was not probed yet.
fn part(vitals: &Vitals, shard: &ShardTopology, observer: &Observer) -> Option<Part> {
    let engine = |node: &NodeId| {
        let host = &shard.members.get(node)?.host;
        observer.seen.node(node, host)?.report.engine()
    };
    let own = engine(&vitals.node).filter(|own| own.run == vitals.run)?;
    if matches!(own.role, RoleSeen::Primary { .. }) {
        return Some(Part::Primary);
    }
    let behind = || {
        let primary = shard.primary()?;
        let leader = engine(&primary.node).filter(|leader| leader.run == primary.id)?;
        let RoleSeen::Primary { replicas } = &leader.role else { return None };
        let tag = shard.members.get(&vitals.node)?.attach.as_ref()?.to_string();
        replicas.iter().find(|replica| replica.tag == tag).map(|replica| replica.behind)
    };
    Some(Part::Replica(behind()))
}

impl Recorder {
    pub(crate) fn new(metrics: Arc<Series>, region: &Region) -> Self {
        let region = region.as_str().into();
        let (last, places) = (BTreeMap::new(), BTreeMap::new());
        Self { metrics, region, last, places, swept: 0, full: false }
    }

    /// Records a measurement that arrived at `now`, in milliseconds since 1970.
    fn record(&mut self, vitals: Vitals, clients: NodeClients, part: Option<Part>, now: i64) {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        if now.saturating_sub(self.swept) >= millis(SWEEP) {
            self.swept = now;
            let kept = millis(COMPARED);
            self.last.retain(|_, (at, ..)| now.saturating_sub(*at) < kept);
            let last = &self.last;
            self.places.retain(|node, _| last.contains_key(node));
        }
        let before = self.last.get(&vitals.node).filter(|(_, before, _)| {
            let age = vitals.at_us.checked_sub(before.at_us).map(Duration::from_micros);
            let fit = |age: Duration| !age.is_zero() && age < COMPARED;
            before.run == vitals.run && age.is_some_and(fit)
        });
        let mut numbers = levels(&vitals);
        numbers.push(("CurrConnections", Unit::Count, float(clients.now)));
        numbers.extend(part.into_iter().flat_map(role));
        if let Some((_, before, clients_before)) = before {
            numbers.extend(changes(before, &vitals));
            let begun = clients.ever.saturating_sub(clients_before.ever);
            numbers.push(("NewConnections", Unit::Count, float(begun)));
        }
        let mut refused = None;
        let places = self.places.entry(vitals.node.clone()).or_default();
        for (metric, unit, value) in numbers {
            let point = Point::of(value);
            let sample = Sample { at: now, point, unit, resolution: Resolution::Second };
            let names = || names(&self.region, metric, &vitals.node);
            let place = places.entry(metric).or_default();
            refused = self.metrics.record_at(place, names, &sample, now).err().or(refused);
        }
        match refused {
            Some(err) if !self.full => warn!(node = %vitals.node, %err, "not recorded"),
            Some(_) | None => {}
        }
        self.full = refused.is_some();
        self.last.insert(vitals.node.clone(), (now, vitals, clients));
    }
}

/// The names of a node's metric, as on AWS.
fn names(region: &Arc<str>, metric: &'static str, node: &NodeId) -> [Key; 2] {
    let id = node.as_str().to_ascii_lowercase();
    let cluster = Dimensions::new([("CacheClusterId", id.clone())]);
    let node = Dimensions::new([("CacheClusterId", id), ("CacheNodeId", "0001".to_owned())]);
    [&node, &cluster].map(|of| Key::new(region, NAMESPACE, metric, of))
}

type Number = (&'static str, Unit, f64);

/// What is as it is at the moment.
fn levels(vitals: &Vitals) -> Vec<Number> {
    let mut numbers = vec![
        ("BytesUsedForCache", Unit::Bytes, float(vitals.used_bytes)),
        ("CurrItems", Unit::Count, float(vitals.items)),
    ];
    let some = |name, bytes: Option<u64>| bytes.map(|bytes| (name, Unit::Bytes, float(bytes)));
    numbers.extend(some("FreeableMemory", vitals.host_free_bytes));
    numbers.extend(some("SwapUsage", vitals.swap_bytes));
    if vitals.limit_bytes > 0 {
        let used = percent(vitals.used_bytes, vitals.limit_bytes);
        numbers.push(("DatabaseMemoryUsagePercentage", Unit::Percent, used));
    }
    numbers
}

fn role(part: Part) -> Vec<Number> {
    let is_primary = ("IsMaster", Unit::Count, if part == Part::Primary { 1.0 } else { 0.0 });
    let lag = match part {
        Part::Primary | Part::Replica(None) => None,
        Part::Replica(Some(behind)) => {
            Some(("ReplicationLag", Unit::Seconds, behind.as_secs_f64()))
        }
    };
    [is_primary].into_iter().chain(lag).collect()
}

/// What has happened since.
fn changes(before: &Vitals, now: &Vitals) -> Vec<Number> {
    let passed = now.at_us - before.at_us;
    let cpu = percent(now.main_cpu_us.saturating_sub(before.main_cpu_us), passed);
    // Both clocks are read one after the other: a full processor may seem to be a little more.
    let mut numbers = vec![("EngineCPUUtilization", Unit::Percent, cpu.min(100.0))];
    if let (Some(then), Some(now)) = (before.host_cpu, now.host_cpu) {
        let since = |of: fn(&HostCpu) -> u64| of(&now).saturating_sub(of(&then));
        let (busy, total) = (since(|cpu| cpu.busy), since(|cpu| cpu.total));
        if total > 0 {
            numbers.push(("CPUUtilization", Unit::Percent, percent(busy, total).min(100.0)));
        }
    }
    let since = |of: fn(&Totals) -> u64| of(&now.totals).saturating_sub(of(&before.totals));
    let (hits, misses) = (since(|totals| totals.hits), since(|totals| totals.misses));
    if hits + misses > 0 {
        numbers.push(("CacheHitRate", Unit::Percent, percent(hits, hits + misses)));
    }
    let counted = [
        ("CacheHits", Unit::Count, hits),
        ("CacheMisses", Unit::Count, misses),
        ("Evictions", Unit::Count, since(|totals| totals.evicted)),
        ("NetworkBytesIn", Unit::Bytes, since(|totals| totals.bytes_in)),
        ("NetworkBytesOut", Unit::Bytes, since(|totals| totals.bytes_out)),
    ];
    numbers.extend(counted.map(|(name, unit, number)| (name, unit, float(number))));
    numbers
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * float(part) / float(whole)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53, or nobody minds")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanist_core::model::RunId;
    use tanist_telemetry::{Filter, Window};

    const NOW: i64 = 1_700_000_000_000;
    const SERVED: NodeClients = NodeClients { now: 5, ever: 9 };

    fn vitals(at_us: u64) -> Vitals {
        Vitals {
            host: "h1".into(),
            node: "Web-001".into(),
            run: RunId::new("r"),
            at_us,
            main_cpu_us: at_us / 4,
            process_cpu_us: at_us,
            host_cpu: Some(HostCpu { busy: at_us / 20_000, total: at_us / 10_000 }),
            host_free_bytes: Some(1 << 30),
            swap_bytes: Some(4096),
            resident_bytes: 1 << 20,
            used_bytes: 16 << 20,
            limit_bytes: 64 << 20,
            items: 7,
            totals: Totals { hits: at_us / 500_000, misses: at_us / 500_000, ..Totals::default() },
        }
    }

    fn recorder() -> Recorder {
        Recorder::new(Arc::default(), &Region::new("us-east-1"))
    }

    /// Count, sum and maximum of a metric until now.
    fn found(recorder: &Recorder, metric: &'static str) -> Option<(f64, f64, f64)> {
        let cluster = Dimensions::new([("CacheClusterId", "web-001")]);
        let name = Key::new(&recorder.region, NAMESPACE, metric, &cluster);
        let window = Window::new(NOW - 600_000, NOW + 600_000, 3_600, NOW);
        let units = recorder.metrics.statistics(&name, &window);
        let points = units.first().map(|(_, points)| points)?;
        points.first().map(|first| (first.point.count, first.point.sum, first.point.max))
    }

    #[test]
    fn totals_become_what_was_added_and_times_become_shares() {
        let mut recorder = recorder();
        for second in 1..=3 {
            let part = Some(Part::Replica(Some(Duration::from_millis(250))));
            recorder.record(vitals(second * 1_000_000), SERVED, part, NOW);
        }
        assert_eq!(found(&recorder, "EngineCPUUtilization"), Some((2.0, 50.0, 25.0)));
        assert_eq!(found(&recorder, "CPUUtilization"), Some((2.0, 100.0, 50.0)));
        assert_eq!(found(&recorder, "CacheHits"), Some((2.0, 4.0, 2.0)));
        assert_eq!(found(&recorder, "CacheHitRate"), Some((2.0, 100.0, 50.0)));
        assert_eq!(found(&recorder, "DatabaseMemoryUsagePercentage"), Some((3.0, 75.0, 25.0)));
        assert_eq!(found(&recorder, "ReplicationLag"), Some((3.0, 0.75, 0.25)));
        assert_eq!(found(&recorder, "IsMaster"), Some((3.0, 0.0, 0.0)));
        assert_eq!(found(&recorder, "SwapUsage").unwrap().2, 4096.0);
        assert_eq!(found(&recorder, "CurrConnections"), Some((3.0, 15.0, 5.0)));
        assert_eq!(found(&recorder, "NewConnections"), Some((2.0, 0.0, 0.0)));
        let more = NodeClients { now: 6, ever: 12 };
        recorder.record(vitals(4_000_000), more, None, NOW);
        assert_eq!(found(&recorder, "NewConnections"), Some((3.0, 3.0, 3.0)));
        let region = Arc::clone(&recorder.region);
        let filter = |metric| Filter {
            region: &region,
            namespace: Some(NAMESPACE),
            metric: Some(metric),
            dimensions: &[],
            since: 0,
        };
        let names = recorder.metrics.list(&filter("CurrItems"), None, 10);
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "AWS/ElastiCache CurrItems CacheClusterId=web-001",
                "AWS/ElastiCache CurrItems CacheClusterId=web-001 CacheNodeId=0001",
            ]
        );
    }

    #[test]
    fn a_primary_has_no_lag_and_an_unknown_role_is_not_guessed() {
        let mut recorder = recorder();
        recorder.record(vitals(1_000_000), SERVED, None, NOW);
        assert_eq!(found(&recorder, "IsMaster"), None);
        assert!(found(&recorder, "CurrItems").is_some());
        recorder.record(vitals(2_000_000), SERVED, Some(Part::Primary), NOW);
        assert_eq!(found(&recorder, "IsMaster"), Some((1.0, 1.0, 1.0)));
        recorder.record(vitals(3_000_000), SERVED, Some(Part::Replica(None)), NOW);
        assert_eq!(found(&recorder, "ReplicationLag"), None);
    }

    #[test]
    fn another_run_and_an_older_measurement_are_not_compared_with() {
        let mut recorder = recorder();
        recorder.record(vitals(9_000_000), SERVED, None, NOW);
        let restarted = Vitals { run: RunId::new("s"), ..vitals(10_000_000) };
        recorder.record(restarted.clone(), SERVED, None, NOW);
        recorder.record(restarted, SERVED, None, NOW);
        recorder.record(Vitals { run: RunId::new("s"), ..vitals(2_000_000) }, SERVED, None, NOW);
        assert_eq!(found(&recorder, "EngineCPUUtilization"), None);
        assert_eq!(found(&recorder, "CacheHits"), None);
        recorder.record(Vitals { run: RunId::new("s"), ..vitals(90_000_000) }, SERVED, None, NOW);
        assert_eq!(found(&recorder, "EngineCPUUtilization"), None, "too long ago");
    }

    #[test]
    fn nodes_that_are_gone_are_forgotten() {
        let mut recorder = recorder();
        for number in 0..1_000_u64 {
            let node = NodeId::new(format!("web-{number}"));
            let now = NOW + i64::try_from(number).unwrap() * 1_000;
            recorder.record(Vitals { node, ..vitals(7) }, SERVED, None, now);
        }
        assert!(recorder.last.len() <= 71, "{}", recorder.last.len());
    }
}
