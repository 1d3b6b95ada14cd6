//! Doing something to the primary, and waiting until clients are served again.
//!
//! Invariant: the moment of the fault is taken before it is asked for, so that no time is left out.
//!
//! Not here: what it did to clients (`super::report`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tanist_controller::boot_time;
use tanist_core::model::{Epoch, Instant, NodeId, Zone};
use tanist_link::Client;
use tanist_link::api::{Fault, GroupStatus, MoveAccepted, MovePrimary};

use super::load::Clients;
use crate::commands::{group_status, pause};
use crate::failure::Failure;
use crate::output::Output;

/// How long clients may be without a primary before a drill gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What is done to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FaultKind {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// A planned switchover.
    Switchover,
}

impl FaultKind {
    /// In the past tense.
    pub(crate) fn done(self) -> &'static str {
        match self {
            Self::Kill => "killed (SIGKILL)",
            Self::Freeze => "frozen (SIGSTOP)",
            Self::Switchover => "asked to hand over",
        }
    }
}

/// A fault that was carried out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FaultRun {
    pub(crate) kind: FaultKind,
    pub(crate) node: NodeId,
    pub(crate) zone: Zone,
    /// The epoch that followed.
    pub(crate) epoch: Epoch,
    /// When it was asked for.
    pub(crate) from: Instant,
    /// When every replica was in sync again, and a moment later.
    pub(crate) to: Instant,
}

/// Carries out a fault and waits until a client was answered by the next primary.
pub(super) async fn run(
    client: &Client,
    group: &GroupStatus,
    kind: FaultKind,
    clients: &Clients,
    out: &Output,
) -> Result<FaultRun, Failure> {
    let name = group.name.as_str();
    let before = group_status(client, name).await?;
    let shard = before.shards.first().filter(|shard| shard.primary.is_some());
    let primary = shard
        .and_then(|shard| shard.nodes.iter().find(|n| Some(&n.node) == shard.primary.as_ref()));
    let (Some(shard), Some(primary)) = (shard, primary) else {
        let message = format!("{name} has no primary");
        return Err(Failure::new("T655", message, "tanist status shows what it waits for"));
    };
    let from = boot_time();
    inject(client, name, &primary.node, kind).await?;
    out.line(format!("fault     {} ({}) {}", primary.node, primary.zone, kind.done()));
    let acked = clients.counters.acked.load(Ordering::Relaxed);
    let next = loop {
        let status = group_status(client, name).await?;
        let now = status.shards.iter().find(|now| now.shard == shard.shard);
        if let Some(now) = now.filter(|now| now.released.is_some_and(|epoch| epoch > shard.epoch)) {
            break now.clone();
        }
        if boot_time().since(from) > PATIENCE {
            let message = format!("{name} has served nobody for {PATIENCE:?}");
            return Err(Failure::new("T656", message, "tanist status shows what it waits for"));
        }
        pause().await;
    };
    let served = clients.counters.acked.load(Ordering::Relaxed) - acked;
    let heir = next.primary.as_ref().map_or("?", NodeId::as_str);
    out.line(format!("          {heir} serves (epoch {}), {served} writes since", next.epoch));
    Ok(FaultRun {
        kind,
        node: primary.node.clone(),
        zone: primary.zone.clone(),
        epoch: next.epoch,
        from,
        to: boot_time(),
    })
}

async fn inject(
    client: &Client,
    group: &str,
    node: &NodeId,
    kind: FaultKind,
) -> Result<(), Failure> {
    let fault = match kind {
        FaultKind::Kill => Fault::Kill,
        FaultKind::Freeze => Fault::Freeze,
        FaultKind::Switchover => {
            let uri = format!("/v1/groups/{group}/switchover");
            let _: MoveAccepted = client.post(&uri, &MovePrimary::default()).await?;
            return Ok(());
        }
    };
    let uri = format!("/v1/groups/{group}/nodes/{node}/fault");
    Ok(client.post::<_, ()>(&uri, &fault).await?)
}
