//! Drills: break something on purpose, under load, and report what clients noticed.
//!
//! The primary is killed, frozen or moved while clients write through the primary endpoint; then
//! every acknowledged write is read back. The report says what was measured, a FAIL as loudly as a
//! PASS.
//!
//! Invariant: a drill counts every error that a client saw.
//!
//! Not here: the failover itself.

mod faults;
mod load;
mod report;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tanist_controller::boot_time;
use tanist_link::Client;
use tanist_link::api::GroupStatus;

use crate::cli::DrillArgs;
use crate::commands::{group_status, pause};
use crate::dial::Dialler;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome};

pub(crate) use faults::FaultKind;
pub(crate) use load::{Clients, Load};
pub(crate) use report::Report;

/// How long the load runs before the first fault and after the last.
const AROUND: Duration = Duration::from_secs(1);
/// How long a shard may take to be whole again.
const WHOLE: Duration = Duration::from_secs(60);

/// Runs the drills that were asked for.
pub(crate) async fn drill(
    client: &Client,
    layout: &Layout,
    args: &DrillArgs,
    out: &Output,
) -> Outcome {
    let mut kinds = Vec::new();
    for (asked, kind) in [
        (args.kill, FaultKind::Kill),
        (args.freeze, FaultKind::Freeze),
        (args.switchover, FaultKind::Switchover),
    ] {
        if asked {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        let message = "no fault was named";
        let remedy = "name at least one: --kill, --freeze or --switchover";
        return Err(Failure::new("T652", message, remedy).exit(2));
    }
    let faults: Vec<FaultKind> = (0..args.runs).flat_map(|_| kinds.iter().copied()).collect();
    let group = group_status(client, &args.group).await?;
    if let Some(missing) = missing(&group, &kinds) {
        let message = format!("{} {missing}: nobody would take over", args.group);
        let remedy = "use --switchover, or a group with a replica and automatic failover";
        return Err(Failure::new("T207", message, remedy).exit(5));
    }
    if group.status != "available" {
        let message = format!("{} is {}: a drill now could lose data", args.group, group.status);
        let remedy = format!("wait until it is available: tanist status {}", args.group);
        return Err(Failure::new("T206", message, remedy).exit(5));
    }
    let plan = Drill {
        group: &group,
        dialler: Dialler::of(layout, &group)?,
        faults: &faults,
        writes_per_second: args.load,
        connections: args.connections,
        limit_ms: args.limit_ms,
    };
    let report = run(client, &plan, out).await?;
    let path = report.save(&layout.reports())?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        report.print(out);
        out.line(format!("report    {}", path.display()));
    }
    Ok(if report.passed { Done::Well } else { Done::Failed })
}

/// What the group lacks for another node to take over from one that is killed or frozen.
fn missing(group: &GroupStatus, kinds: &[FaultKind]) -> Option<&'static str> {
    let crash = |kind: &FaultKind| matches!(kind, FaultKind::Kill | FaultKind::Freeze);
    if !kinds.iter().any(crash) {
        None
    } else if group.replicas == 0 {
        Some("has no replica")
    } else if !group.automatic_failover {
        Some("has no automatic failover")
    } else {
        None
    }
}

/// What to break, under which load.
#[derive(Debug)]
pub(crate) struct Drill<'a> {
    /// The group.
    pub(crate) group: &'a GroupStatus,
    /// How its endpoints are dialled.
    pub(crate) dialler: Dialler,
    /// What is done to it, one after another.
    pub(crate) faults: &'a [FaultKind],
    /// Over all connections.
    pub(crate) writes_per_second: u32,
    /// Connections that write.
    pub(crate) connections: u16,
    /// The longest gap that passes, in milliseconds.
    pub(crate) limit_ms: u64,
}

/// Runs faults one after another under one load.
pub(crate) async fn run(
    client: &Client,
    drill: &Drill<'_>,
    out: &Output,
) -> Result<Report, Failure> {
    let Drill { group, faults, connections, writes_per_second, .. } = *drill;
    let address = |endpoint: &tanist_link::api::EndpointStatus| {
        SocketAddr::from((endpoint.address, endpoint.port))
    };
    let load = Load {
        dialler: drill.dialler.clone(),
        primary: address(&group.primary_endpoint),
        reader: address(&group.reader_endpoint),
        connections,
        writes_per_second,
        value_bytes: 64,
        expiry: expiry(faults.len()),
    };
    let prefix = format!("__tanist:drill:{:x}", boot_time().as_micros());
    out.line(format!(
        "load      {connections} connections, {writes_per_second} writes/s and reads, through {}",
        group.primary_endpoint
    ));
    let clients = Clients::start(load, &prefix);
    settle(&clients).await?;
    let mut runs = Vec::new();
    for fault in faults {
        let mut run = faults::run(client, group, *fault, &clients, out).await?;
        whole(client, &group.name, run.epoch).await?;
        // What healing costs its clients is a part of what the fault costs them.
        settle(&clients).await?;
        run.to = boot_time();
        runs.push(run);
    }
    let counters = std::sync::Arc::clone(&clients.counters);
    let load = clients.load();
    let ledger = clients.stop().await?;
    out.line(format!("reading   {} writes back, one by one", ledger.keys().count()));
    let found = load::read_back(&ledger, &load, &prefix).await?;
    let name = group.name.as_str();
    Report::new(client, name, runs, &ledger, &found, &counters, drill.limit_ms).await
}

/// When the keys of a drill may vanish by themselves: an hour, and more for each fault than it takes,
/// so that a key that is missing when all are read back is one that was lost.
fn expiry(faults: usize) -> Duration {
    let faults = u32::try_from(faults).unwrap_or(u32::MAX);
    Duration::from_secs(3_600) + (faults::PATIENCE + WHOLE + AROUND).saturating_mul(faults)
}

/// Lets the load run for a while, and makes sure that it does.
async fn settle(clients: &Clients) -> Result<(), Failure> {
    let before = clients.counters.acked.load(Ordering::Relaxed);
    // waits: a stretch of undisturbed load is what is wanted here.
    tokio::time::sleep(AROUND).await;
    if clients.counters.acked.load(Ordering::Relaxed) > before {
        return Ok(());
    }
    let message = "no write was acknowledged within a second";
    Err(Failure::new("T653", message, "see tanist status; the endpoint may not be reachable"))
}

/// Waits until the shard of a fault's epoch has all its replicas in sync again.
async fn whole(
    client: &Client,
    group: &tanist_core::model::GroupName,
    epoch: tanist_core::model::Epoch,
) -> Result<(), Failure> {
    let started = tokio::time::Instant::now();
    loop {
        let status = group_status(client, group.as_str()).await?;
        let reached = status.shards.iter().all(|shard| shard.epoch >= epoch);
        if reached && status.status == "available" {
            return Ok(());
        }
        if started.elapsed() > WHOLE {
            let message = format!("{group} is still {} after {WHOLE:?}", status.status);
            return Err(Failure::new("T654", message, "tanist status shows what it waits for"));
        }
        pause().await;
    }
}
