//! How a world comes about from its configuration: who exists, and what is going to happen to it.
//!
//! Invariant: a world gets at least three faults within its first part and none after its calm.
//!
//! Not here: what faults do (`crate::faults`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use tanist_core::model::{
    Access, Durability, EngineKind, GroupEndpoints, GroupName, GroupSpec, HostId, Reads, Region,
    ShardId, SlotRange,
};

use crate::bugs::Bug;
use crate::client::Client;
use crate::config::{Config, MILLI, Mode, SECOND};
use crate::controller::Controller;
use crate::faults::{Fault, Kind};
use crate::host::Host;
use crate::listen::NODE_BYTES;
use crate::world::{Clock, Event, World};

/// Clocks drift by up to this, in microseconds per second: ten per cent.
const DRIFT: i64 = 100_000;

/// Faults that only make sense as the end of a world.
const LAST: [Kind; 1] = [Kind::DeleteGroup];

/// Faults that a world may keep for ever and still serve.
const SURVIVABLE: [Kind; 6] = [
    Kind::CrashPrimaryHost,
    Kind::CrashHost,
    Kind::CutPrimaryHost,
    Kind::CutFromControllers,
    Kind::KillController,
    Kind::DeadRoute,
];

/// A fault; one that a planted bug has reason to fear, if there is one.
fn draw(world: &mut World) -> Option<Kind> {
    let feared = world.config.bug.map_or(&[][..], feared_by);
    if !feared.is_empty() && world.dice.chance(700) {
        return world.dice.pick(feared);
    }
    world.dice.pick(Kind::ALL)
}

fn feared_by(bug: Bug) -> &'static [Kind] {
    match bug {
        Bug::ForgetRevision => &[Kind::CutStore, Kind::KillAgent, Kind::KillAgent],
        Bug::NoGuard | Bug::CasWithoutTerm => &[Kind::CutStore, Kind::PauseController],
        Bug::AdmitBlindly | Bug::CutNotAwaited | Bug::GrowIgnoresProxies => {
            &[Kind::DeadRoute, Kind::KillReplica]
        }
        Bug::LoadingAnswers => &[Kind::FullCopy],
        Bug::NewLeaderHurries => &[Kind::CutStoreAtWrite],
        Bug::ShrinkWhileVacant => &[Kind::KillAgent, Kind::CrashPrimaryHost, Kind::CutHost],
        // The agent is silent, the supervisor goes on asking for leases.
        Bug::NoLeaseMargin => &[Kind::KillAgent, Kind::Failover],
        Bug::LeaseFromReceipt | Bug::LeaseIgnored => {
            &[Kind::CutFromControllers, Kind::CutPrimaryHost]
        }
        Bug::StaleSample => &[Kind::DeafProxy, Kind::KillReplica, Kind::GhostLink],
        Bug::DeadWithoutKill => &[Kind::StopPrimary, Kind::StallPrimary],
        Bug::ForgottenIgnored | Bug::AnybodyGoesOn => {
            &[Kind::OldStore, Kind::Failover, Kind::KillReplica]
        }
        Bug::CrashCalledClean => &[Kind::CrashAllHosts, Kind::RestartGroup, Kind::RestartGroup],
        _ => &[],
    }
}

/// Ways to lose a primary.
const LOSSES: [Kind; 5] = [
    Kind::KillPrimary,
    Kind::CrashPrimaryHost,
    Kind::CutPrimaryHost,
    Kind::StopPrimary,
    Kind::Failover,
];

/// Ways to make the in-sync set shrink and grow.
const CHURN: [Kind; 4] =
    [Kind::KillReplica, Kind::StopReplica, Kind::GhostLink, Kind::CutReplication];

/// Bad things come in pairs: what would hurt most together with `kind`.
fn companion(world: &mut World, kind: Kind) -> Option<Kind> {
    if world.dice.chance(300) {
        return world.dice.pick(Kind::ALL);
    }
    match kind {
        Kind::DeadRoute | Kind::DeafProxy | Kind::MuteProxy | Kind::KillProxy => {
            world.dice.pick(&CHURN)
        }
        Kind::CutPrimaryHost
        | Kind::CutFromControllers
        | Kind::CutOneWay
        | Kind::CutStoreAtWrite => Some(Kind::Failover),
        _ => world.dice.pick(&LOSSES),
    }
}

/// The hosts that are chosen for the group's endpoints: one, two, or in most worlds none, which is all.
/// Nothing is decided by them, so that no dice are thrown: it would be another world.
fn endpoint_hosts(config: &Config) -> BTreeSet<HostId> {
    let chosen = match config.seed % 8 {
        3 if !config.scripted => 1,
        5 if !config.scripted => 2,
        _ => 0,
    };
    (1..=chosen).map(|number| HostId::new(format!("host-{number}"))).collect()
}

pub(crate) fn spec(config: &Config) -> GroupSpec {
    let nowhere = Ipv4Addr::new(127, 80, 200, 1);
    GroupSpec {
        name: GroupName::new("web"),
        region: Region::new("here"),
        engine: EngineKind::Redis,
        shards: BTreeMap::from([(ShardId::new("0001"), vec![SlotRange::ALL])]),
        replicas: config.replicas,
        zones: Vec::new(),
        automatic_failover: config.automatic_failover,
        durability: config.durability,
        min_in_sync: config.min_in_sync,
        memory_bytes: NODE_BYTES,
        endpoints: GroupEndpoints {
            primary: nowhere,
            reader: nowhere,
            port: 6379,
            ports_from: None,
        },
        requests: BTreeMap::new(),
        access: Access::Everyone,
        login: Default::default(),
        accounts: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        zone_of: BTreeMap::new(),
        unwanted: BTreeSet::new(),
        endpoint_hosts: endpoint_hosts(config),
        attributes: BTreeMap::new(),
        deleting: false,
    }
}

/// A world that is ready to run.
pub(crate) fn world(config: Config) -> World {
    let spec = spec(&config);
    let mut world = World::empty(config, spec);
    let drift = if world.config.scripted { 0 } else { DRIFT };
    for host in 0..world.config.hosts {
        let clock = Clock::new(&mut world.dice, drift);
        world.hosts.push(Host::new(clock));
        let start = world.dice.range(MILLI, 50 * MILLI);
        world.after(start, Event::AgentTick { host, turn: 0 });
        if world.config.durability == Durability::Async {
            world.after(start, Event::LeaseTick { host });
        }
    }
    for controller in 0..world.config.controllers {
        let clock = Clock::new(&mut world.dice, drift);
        world.controllers.push(Controller::new(clock, 0));
        let start = world.dice.range(MILLI, 50 * MILLI);
        world.after(start, Event::ControllerTick { controller, turn: 0 });
    }
    for seat in 0..world.config.proxies {
        let proxy = world.new_proxy(seat);
        world.proxies.push(proxy);
    }
    for client in 0..world.config.clients {
        let key = client as u64 + 1;
        world.clients.push(Client { key, seat: client, waiting: None });
        world.after(SECOND + 10 * MILLI, Event::ClientSends { client });
    }
    if !world.config.scripted {
        fate(&mut world);
    }
    world
}

/// Draws what is going to happen.
fn fate(world: &mut World) {
    let calm = world.config.calm;
    for _ in 0..world.config.faults {
        let at = world.dice.range(2 * SECOND, calm - SECOND);
        let Some(kind) = draw(world) else { continue };
        if LAST.contains(&kind) {
            continue;
        }
        let lasts = world.lasts().min(calm - at);
        add(world, at, kind, Some(lasts));
        if world.dice.chance(500)
            && let Some(second) = companion(world, kind)
            && !LAST.contains(&second)
        {
            let close = world.dice.chance(500);
            let gap = if close { 150 * MILLI } else { 1500 * MILLI };
            let later = at + world.dice.range(0, gap);
            let lasts = world.lasts().min(calm.saturating_sub(later));
            add(world, later, second, Some(lasts));
        }
    }
    if world.config.mode == Mode::Liveness {
        if world.dice.chance(700)
            && let Some(kind) = world.dice.pick(&SURVIVABLE)
            && survivable(world, kind)
        {
            add(world, calm, kind, None);
        }
    } else if world.dice.chance(40) {
        add(world, calm + 2 * SECOND, Kind::DeleteGroup, None);
    }
    if world.config.mode == Mode::Safety && world.dice.chance(250) {
        world.after(12 * SECOND, Event::OperatorLooks);
    }
}

/// Whether somebody is left to do the lost one's work.
fn survivable(world: &World, kind: Kind) -> bool {
    match kind {
        Kind::KillController => world.config.controllers > 1,
        Kind::DeadRoute => world.config.proxies > 1,
        _ => true,
    }
}

pub(crate) fn add(world: &mut World, at: u64, kind: Kind, lasts: Option<u64>) {
    let fault = world.faults.len();
    world.faults.push(Fault::new(kind, lasts));
    world.after(at - world.now, Event::FaultBegins { fault });
}
