//! `tanist create`: a group, and the wait until it is available.
//!
//! Invariant: it says "available" only when every replica is in sync.
//!
//! Not here: checks of the request; the controller answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tanist_core::model::{Access, HostId, Reads, Transit};
use tanist_link::Client;
use tanist_link::api::{CreateGroup, GroupStatus};

use super::{group_status, pause};
use crate::cli::CreateArgs;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::{Done, Outcome, engines};

/// How long a group may take to become available before the command gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);

/// Creates the group.
pub(crate) async fn create(client: &Client, args: CreateArgs, out: &Output) -> Outcome {
    let engine = match args.engine {
        Some(engine) => engine.into(),
        None => engines::find()?.default_kind(),
    };
    let asked = CreateGroup {
        name: args.group,
        engine,
        replicas: args.replicas,
        zones: args.zones,
        durability: args.durability.map(Into::into),
        min_in_sync: args.min_in_sync,
        automatic_failover: !args.no_automatic_failover,
        memory_bytes: args.memory.unwrap_or(0),
        node_zones: Vec::new(),
        endpoint_hosts: args.endpoints.into_iter().map(HostId::new).collect(),
        access: Access::Everyone,
        tokens: Vec::new(),
        user_groups: Default::default(),
        transit: Transit {
            mode: args.tls.map(Into::into).unwrap_or_default(),
            clients: args.client_certificates.map(Into::into).unwrap_or_default(),
        },
        reads: Reads { strict: args.strict_reads, ..Reads::default() },
        attributes: BTreeMap::new(),
    };
    let started = Instant::now();
    let mut group: GroupStatus = client.post("/v1/groups", &asked).await?;
    say_if_capped(asked.memory_bytes, &group, out);
    if !args.no_wait {
        let whole = |group: &GroupStatus| group.status == "available";
        group = wait(client, "creating", &asked.name, started, &whole, out).await?;
    }
    if out.is_json() {
        out.json(&group)?;
    } else {
        let name = &group.name;
        out.line(format!("primary   {}", group.primary_endpoint));
        out.line(format!("reader    {}", group.reader_endpoint));
        out.line(format!(
            "try       tanist cli {name} SET hello world    then    tanist drill {name} --kill"
        ));
    }
    Ok(Done::Well)
}

/// Says that the machine has less memory than was asked for.
pub(super) fn say_if_capped(wanted: u64, group: &GroupStatus, out: &Output) {
    if wanted > group.memory_bytes {
        let (wanted, got) = (wanted >> 20, group.memory_bytes >> 20);
        let text = format!("memory limit {got} MiB instead of {wanted}: capped by the machine");
        out.line(out.paint(Paint::Warn, &text));
    }
}

/// Waits until the group is as it should be, and shows which nodes are in sync meanwhile.
pub(super) async fn wait(
    client: &Client,
    what: &str,
    name: &str,
    started: Instant,
    whole: &dyn Fn(&GroupStatus) -> bool,
    out: &Output,
) -> Result<GroupStatus, Failure> {
    let mut shown = BTreeSet::new();
    out.part(&format!("{what:<8}  {name} "));
    loop {
        let group = group_status(client, name).await?;
        let nodes = || group.shards.iter().flat_map(|shard| &shard.nodes);
        for node in nodes().filter(|node| node.in_sync) {
            if shown.insert(node.node.clone()) {
                out.part(&format!(" {} {}", node.zone, out.paint(Paint::Good, "✓")));
            }
        }
        if whole(&group) {
            out.line(format!("  in sync  {:.1} s", started.elapsed().as_secs_f32()));
            return Ok(group);
        }
        if started.elapsed() > PATIENCE {
            out.line("");
            let problems = group.shards.iter().flat_map(|shard| &shard.problems);
            let waits = group.shards.iter().flat_map(|shard| &shard.waits);
            let why: Vec<String> = problems
                .map(|problem| format!("{} {}", problem.kind, problem.detail))
                .chain(waits.map(|wait| wait.detail.clone()))
                .collect();
            let message =
                format!("{name} is {} after {PATIENCE:?}: {}", group.status, why.join("; "));
            return Err(
                Failure::new("T642", message, "tanist status shows what it waits for").exit(3)
            );
        }
        pause().await;
    }
}
