//! `tanist failover` and `tanist switchover`.
//!
//! Invariant: it says that the primaryship moved only when the new primary has confirmed it.
//!
//! Not here: how it moves (`tanist_core::decide`).

use std::time::{Duration, Instant};

use tanist_core::model::{MoveKind, NodeId};
use tanist_link::Client;
use tanist_link::api::{GroupStatus, MoveAccepted, MovePrimary, ShardStatus};

use super::{encoded, group_status, pause};
use crate::cli::MoveArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// A little longer than the controller keeps a request that it cannot carry out.
const PATIENCE: Duration = Duration::from_secs(25);

/// Moves the primaryship and waits until it has moved.
pub(crate) async fn move_primary(
    client: &Client,
    args: MoveArgs,
    (kind, accept_loss): (MoveKind, bool),
    out: &Output,
) -> Outcome {
    let before = group_status(client, &args.group).await?;
    let asked = MovePrimary { shard: None, to: args.to.map(NodeId::new), accept_loss };
    let verb = match kind {
        MoveKind::Failover => "failover",
        MoveKind::Switchover => "switchover",
    };
    let started = Instant::now();
    let uri = format!("/v1/groups/{}/{verb}", encoded(&args.group));
    let accepted: MoveAccepted = client.post(&uri, &asked).await?;
    let from = primary(&before, &accepted);
    let to = loop {
        let group = group_status(client, &args.group).await?;
        let shard = shard(&group, &accepted)?;
        if shard.request_done >= accepted.request && shard.primary.is_some() {
            break shard.primary.clone();
        }
        if started.elapsed() > PATIENCE {
            return Err(refused(&args.group, verb, shard));
        }
        pause().await;
    };
    let name = |node: &Option<NodeId>| node.as_ref().map_or("nobody".to_owned(), NodeId::to_string);
    if out.is_json() {
        out.json(&serde_json::json!({ "group": args.group, "from": from, "to": to }))?;
    } else {
        out.line(format!("{}: {} -> {}", args.group, name(&from), name(&to)));
        out.line(format!("  tanist history {} shows each step", args.group));
    }
    if from == to {
        let message = format!("{} is still the primary", name(&to));
        return Err(Failure::new("T205", message, "tanist events says why; try again").exit(5));
    }
    Ok(Done::Well)
}

fn shard<'a>(group: &'a GroupStatus, accepted: &MoveAccepted) -> Result<&'a ShardStatus, Failure> {
    group.shards.iter().find(|shard| shard.shard == accepted.shard).ok_or_else(|| {
        let message = format!("the shard {} has gone", accepted.shard);
        Failure::new("T411", message, "see tanist status")
    })
}

fn primary(group: &GroupStatus, accepted: &MoveAccepted) -> Option<NodeId> {
    shard(group, accepted).ok()?.primary.clone()
}

fn refused(group: &str, verb: &str, shard: &ShardStatus) -> Failure {
    let waits: Vec<&str> = shard.waits.iter().map(|wait| wait.detail.as_str()).collect();
    let why = if waits.is_empty() { "no reason is known".to_owned() } else { waits.join("; ") };
    let message = format!("{group}: {verb} not done: {why}");
    let remedy = format!(
        "wait until a replica is in sync (tanist status {group}), or force it and lose writes: \
         tanist failover {group} --to NODE --accept-loss"
    );
    Failure::new("T204", message, remedy).exit(5)
}
