//! One run: a site, two writers, one fault, its end, and the judgment.
//!
//! One writer is on the primary's host and stays there; the other is on a host that the fault does
//! not touch. Both go on until the system says that everything is as it should be again.
//!
//! Invariant: both systems get the same hosts, pace, fault and judge.
//!
//! Not here: the faults (`super::cells`), whether what came of it is good (`tests/`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::cells::{Beside, Cast, Cell};
use super::judge::{History, Judged, judge};
use super::site::Site;
use super::writer::{Target, Writer, WriterPlan, read_back, since};

/// Undisturbed writing before a fault, and after everything is well again.
const UNDISTURBED: Duration = Duration::from_secs(2);
/// How long everything may take to be as it should be, after the fault has ended.
const SETTLING: Duration = Duration::from_secs(75);
/// How long reading back is tried.
const READING: Duration = Duration::from_secs(20);

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// A fleet of Tanist.
    Tanist,
    /// Redis with Sentinel.
    Sentinel {
        /// `down-after-milliseconds`.
        down_after_ms: u32,
    },
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A replica has the write. With Sentinel: clients `WAIT` for one.
    Sync,
    /// The primary has it.
    Async,
}

impl Durability {
    /// As the command line says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

/// A run to be made.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// The fault.
    pub cell: &'static Cell,
    /// What is broken.
    pub system: System,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// How long the fault lasts.
    pub hold: Duration,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What writers were told, and what is there; or why that cannot be said.
    pub judged: Result<Judged, String>,
    /// How long everything took to be as it should be after the fault ended; or what was not.
    pub settled: Result<Duration, String>,
    /// The longest time without an acknowledged write beside the fault, and on the primary's host.
    pub gaps: [Duration; 2],
    /// How often the primary's role moved.
    pub failovers: u64,
    /// Engines that ran before the fault and do not any more.
    pub engines_gone: usize,
    /// What writers were told that is no acknowledgement.
    pub said: [Vec<(String, u64)>; 2],
    /// Hosts in their roles.
    pub cast: String,
    /// Programs that ended by themselves, which none should.
    pub revived: Vec<String>,
    /// What the system says of itself at the end.
    pub log: String,
}

impl Trial {
    /// Makes it, on a site of its own.
    ///
    /// # Panics
    /// If not even an unbroken site can be had.
    pub fn run(&self) -> Outcome {
        self.run_on(&mut None)
    }

    /// Makes it with a group of its own on the fleet of the last run, if that left one that is well, and
    /// leaves this one's. Sentinels remember their last failover for a while, so they are always new.
    ///
    /// # Panics
    /// If not even an unbroken site can be had.
    pub fn run_on(&self, kept: &mut Option<Site>) -> Outcome {
        let mut site = match (self.system, kept.take()) {
            (System::Sentinel { down_after_ms }, _) => Site::peer(down_after_ms),
            (System::Tanist, Some(site)) if site.is_fleet() => site,
            (System::Tanist, _) => Site::fleet(),
        };
        if self.system == System::Tanist {
            site.new_group(self.durability.word());
        }
        let outcome = self.on(&mut site);
        let well = outcome.judged.is_ok() && outcome.settled.is_ok() && outcome.revived.is_empty();
        *kept = well.then_some(site);
        outcome
    }

    fn on(&self, site: &mut Site) -> Outcome {
        let cast = cast(site, self.cell.beside);
        let outside = self.outside(site, &cast);
        let before = site.epoch();
        let origin = Instant::now();
        let writers = [outside, cast.primary].map(|host| self.writer(site, host, origin));
        // waits: a stretch of undisturbed writing.
        std::thread::sleep(UNDISTURBED);
        let engines = site.engines();
        let struck = Instant::now();
        (self.cell.strike)(site, &cast);
        (self.cell.during)(site, self.hold);
        site.restore();
        let mut settled = site.settle(SETTLING);
        // waits: a stretch of undisturbed writing, also with a former primary that is back.
        std::thread::sleep(UNDISTURBED);
        if settled.is_ok() {
            settled = site.settle(SETTLING).map(|more| more + settled.unwrap_or_default());
        }
        let histories = writers.map(Writer::stop);
        let end = since(origin, Instant::now());
        let gaps = [0, 1].map(|at| histories[at].gap(since(origin, struck), end));
        let judged = found(site, outside, &histories).map(|found| judge(&histories, &found));
        let said = [0, 1].map(|at| histories[at].said.clone().into_iter().collect());
        let engines_gone = engines.difference(&site.engines()).count();
        let failovers = site.epoch().saturating_sub(before);
        let cast = self.names(site, &cast, outside);
        let log = site.what_it_says();
        let revived = site.revived().to_vec();
        Outcome { judged, settled, gaps, failovers, engines_gone, said, cast, revived, log }
    }

    fn writer(&self, site: &Site, host: usize, origin: Instant) -> Writer {
        let target = site.target(host);
        let wait = self.durability == Durability::Sync && matches!(target, Target::Sentinels(_));
        let namespace = site.namespace(host).to_owned();
        Writer::start(WriterPlan { number: host as u64, namespace, target, wait, origin })
    }

    /// A host that the fault does not touch, best one without an engine.
    fn outside(&self, site: &Site, cast: &Cast) -> usize {
        let touched = (self.cell.touches)(site, cast);
        let hosts = (0..site.hosts().len()).rev().filter(|host| *host != cast.primary);
        let free = hosts.clone().find(|host| !touched.contains(host));
        free.or_else(|| hosts.clone().next()).unwrap_or(0)
    }

    fn names(&self, site: &Site, cast: &Cast, outside: usize) -> String {
        let name = |host: usize| site.hosts()[host].name.as_str();
        let Cast { primary, replica, leader, etcd } = *cast;
        format!(
            "primary {}, replica {}, leader {}, writer {}, etcd {}",
            name(primary),
            name(replica),
            name(leader),
            name(outside),
            name(etcd)
        )
    }
}

/// Gives everybody the host that the fault wants.
fn cast(site: &mut Site, wanted: Beside) -> Cast {
    let primary = site.primary().unwrap_or_else(|| panic!("there is no primary"));
    let (leader, etcd) = (site.leader(), site.etcd_leader());
    let nodes: Vec<usize> = std::iter::once(primary).chain(site.replicas()).collect();
    let apart = |host: &&usize| leader.is_some() && Some(**host) != leader;
    let heir = match wanted {
        Beside::Nobody => {
            let alone = nodes.iter().find(|host| apart(host) && Some(**host) != etcd);
            alone.or_else(|| nodes.iter().find(apart)).copied()
        }
        Beside::Server => leader.filter(|host| nodes.contains(host)),
        Beside::Etcd => etcd.filter(|host| nodes.contains(host)),
    };
    if let Some(heir) = heir.filter(|heir| *heir != primary) {
        site.switch_over(heir);
    }
    if let Err(why) = site.settle(SETTLING) {
        panic!("the site is not well before the fault: {why}");
    }
    let primary = site.primary().unwrap_or(primary);
    let (replicas, leader, etcd) = (site.replicas(), site.leader(), site.etcd_leader());
    let leads = |host: &&usize| Some(**host) == leader || Some(**host) == etcd;
    let alone = replicas.iter().find(|host| !leads(host));
    let apart = alone.or_else(|| replicas.iter().find(|host| Some(**host) != leader));
    let replica = apart.or(replicas.first()).copied();
    let replica = replica.unwrap_or_else(|| panic!("there is no replica"));
    let (leader, etcd) = (leader.unwrap_or(replica), etcd.unwrap_or(replica));
    Cast { primary, replica, leader, etcd }
}

/// Which writes are there, through the first host that can tell.
fn found(
    site: &Site,
    outside: usize,
    histories: &[History],
) -> Result<std::collections::BTreeMap<(u64, u64), bool>, String> {
    let started = Instant::now();
    let hosts: Vec<usize> = std::iter::once(outside).chain(site.on()).collect();
    let mut why = String::new();
    while started.elapsed() < READING {
        for host in &hosts {
            match read_back(site.namespace(*host), &site.target(*host), histories) {
                Ok(found) => return Ok(found),
                Err(err) => why = err,
            }
        }
        // waits: nobody tells when a primary can be read again.
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(why)
}

impl Outcome {
    /// It as one line of JSON.
    pub fn json(&self) -> Value {
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        let mut line = json!({
            "gap_ms": ms(self.gaps[0]),
            "gap_inside_ms": ms(self.gaps[1]),
            "failovers": self.failovers,
            "engines_gone": self.engines_gone,
            "cast": self.cast,
            "revived": self.revived,
            "settled_ms": self.settled.as_ref().ok().map(|time| ms(*time)),
            "unsettled": self.settled.as_ref().err(),
            "said": counts(&self.said[0]),
            "said_inside": counts(&self.said[1]),
        });
        let more = match &self.judged {
            Err(why) => json!({ "unread": why }),
            Ok(Judged { verdict, lost, two_primaries }) => json!({
                "acked": verdict.acked,
                "lost": verdict.lost,
                "lost_outside": lost.first(),
                "lost_inside": lost.get(1),
                "two_primaries": two_primaries,
                "uncertain": verdict.uncertain,
                "failed": verdict.failed,
                "unanswered": verdict.unanswered,
                "phantoms": verdict.phantoms,
                "disconnects": verdict.disconnects,
            }),
        };
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        line
    }
}

fn counts(said: &[(String, u64)]) -> Value {
    said.iter().map(|(why, times)| (why.clone(), Value::from(*times))).collect()
}
