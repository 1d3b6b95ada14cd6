//! `tanist scale`: more replicas, or fewer.
//!
//! Invariant: it says "in sync" only when the group has exactly the nodes that were asked for and
//! every replica is in sync.
//!
//! Not here: which node goes and where one is placed; the controller decides.

use std::time::Instant;

use tanist_core::model::NodeId;
use tanist_link::Client;
use tanist_link::api::{GroupStatus, ModifyGroup};

use super::{create, encoded};
use crate::cli::ScaleArgs;
use crate::output::Output;
use crate::{Done, Outcome};

/// Changes the number of replicas.
pub(crate) async fn scale(client: &Client, args: ScaleArgs, out: &Output) -> Outcome {
    let asked = ModifyGroup {
        replicas: args.replicas,
        memory_bytes: args.memory,
        remove: args.remove.into_iter().map(NodeId::new).collect(),
        node_zones: args.zones,
        ..ModifyGroup::default()
    };
    let started = Instant::now();
    let path = format!("/v1/groups/{}/modify", encoded(&args.group));
    let mut group: GroupStatus = client.post(&path, &asked).await?;
    create::say_if_capped(args.memory.unwrap_or(0), &group, out);
    if !args.no_wait {
        let nodes = usize::from(group.replicas) + 1;
        let memory = group.memory_bytes;
        let whole = |group: &GroupStatus| {
            let all = || group.shards.iter().flat_map(|shard| &shard.nodes);
            group.status == "available"
                && all().count() == nodes * group.shards.len()
                && all().all(|node| node.memory_limit == Some(memory))
        };
        group = create::wait(client, "scaling", &args.group, started, &whole, out).await?;
    }
    if out.is_json() {
        out.json(&group)?;
    }
    Ok(Done::Well)
}
