//! `tanist rebuild`: a store that was lost, from what the hosts keep.
//!
//! Invariant: nothing is written before a person has seen what it would be, or has said not to ask.
//!
//! Not here: what is certain and what is not (`tanist_core::rebuild`).

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use tanist_core::model::GroupName;
use tanist_link::Client;
use tanist_link::api::{LostNode, LostShard, Rebuild, RebuildProposal, Rebuilt, Status};

use super::pause;
use crate::cli::RebuildArgs;
use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// How long groups may take to have primaries.
const PATIENCE: Duration = Duration::from_secs(60);
/// What no host keeps.
const NOT_KEPT: &str = "not kept by hosts, and gone unless you have a backup: access keys, declared \
                        networks and the like, events, failovers, users that no group uses, which \
                        hosts were drained or removed, which groups were deleted";

/// Shows what hosts keep, asks, and rebuilds.
pub(crate) async fn rebuild(client: &Client, args: &RebuildArgs, out: &Output) -> Outcome {
    let proposal: RebuildProposal = client.get("/v1/rebuild").await?;
    if !out.is_json() {
        show(&proposal, out);
    }
    if proposal.shards.is_empty() {
        if out.is_json() {
            out.json(&proposal)?;
        }
        let missed = !proposal.nothing_kept.is_empty();
        return Ok(if missed { Done::Degraded } else { Done::Well });
    }
    let in_doubt = named(args, &proposal)?;
    let wanted = |shard: &&LostShard| {
        let certain = shard.doubts.is_empty() || in_doubt.contains(&shard.group);
        certain && shard.obstacle.is_none()
    };
    let count = proposal.shards.iter().filter(wanted).count();
    if count == 0 {
        if out.is_json() {
            out.json(&proposal)?;
        }
        let message = "nothing can be rebuilt as things are";
        let remedy = "let the hosts that are missing come, or name groups: --in-doubt GROUP";
        return Err(Failure::new("T201", message, remedy).exit(5));
    }
    if !args.yes && !agreed(count, &proposal, out)? {
        return Err(Failure::new("T201", "nothing was rebuilt", "say yes, or --yes").exit(5));
    }
    let asked = Rebuild { digest: proposal.digest.clone(), in_doubt };
    let done: Rebuilt = client.post("/v1/rebuild", &asked).await?;
    if !args.no_wait {
        wait(client, &done.groups, out).await?;
    }
    report(&done, out)
}

fn named(args: &RebuildArgs, proposal: &RebuildProposal) -> Result<BTreeSet<GroupName>, Failure> {
    let lost: BTreeSet<&str> = proposal.shards.iter().map(|shard| shard.group.as_str()).collect();
    if let Some(name) = args.in_doubt.iter().find(|name| !lost.contains(name.as_str())) {
        let message = format!("no host keeps anything of {name} that the store does not have");
        return Err(Failure::new("T683", message, "name one of those that are shown").exit(2));
    }
    Ok(args.in_doubt.iter().map(|name| name.as_str().into()).collect())
}

fn agreed(count: usize, proposal: &RebuildProposal, out: &Output) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        if out.is_json() {
            out.json(proposal)?;
        }
        let message = format!("this would rebuild {count} shards");
        return Err(Failure::new("T201", message, "tanist rebuild --yes").exit(5));
    }
    out.part(&format!("Rebuild {count} shards? Type yes: "));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim() == "yes")
}

fn show(proposal: &RebuildProposal, out: &Output) {
    let list =
        |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    let heard = list(proposal.heard.iter().map(|host| host.as_str()).collect());
    out.line(format!("hosts heard: {heard}"));
    if !proposal.silent.is_empty() {
        let silent = list(proposal.silent.iter().map(|host| host.as_str()).collect());
        out.line(out.paint(Paint::Bad, &format!("not heard: {silent}")));
    }
    for trouble in &proposal.trouble {
        out.line(out.paint(Paint::Bad, trouble));
    }
    for name in &proposal.nothing_kept {
        let text =
            format!("{name}: hosts have nodes of it, and none keeps what it could be rebuilt from");
        out.line(out.paint(Paint::Bad, &text));
    }
    if proposal.shards.is_empty() {
        return out.line("the store knows everything that the hosts keep");
    }
    for shard in &proposal.shards {
        out.line("");
        show_shard(shard, out);
    }
    out.line("");
    out.line(out.paint(Paint::Dim, NOT_KEPT));
}

fn show_shard(shard: &LostShard, out: &Output) {
    let name = out.paint(Paint::Bold, &format!("{}/{}", shard.group, shard.shard));
    let behind = if shard.is_behind { "   the store is older" } else { "" };
    let (epoch, rev, by) = (shard.epoch, shard.rev, &shard.kept_by);
    out.line(format!("{name}   epoch {epoch}   revision {rev}   kept by {by}{behind}"));
    for node in &shard.nodes {
        out.line(format!("  {}", node_line(shard, node)));
    }
    if let Some(obstacle) = &shard.obstacle {
        return out.line(out.paint(Paint::Bad, &format!("  cannot be rebuilt: {obstacle}")));
    }
    if shard.doubts.is_empty() {
        let sure = "  all its hosts agree, and nobody was told of anything newer";
        return out.line(out.paint(Paint::Good, sure));
    }
    for doubt in &shard.doubts {
        out.line(out.paint(Paint::Warn, &format!("  in doubt: {doubt}")));
    }
    let name = &shard.group;
    out.line(format!(
        "  left as it is unless you say --in-doubt {name}; you have to name a node then: tanist \
         failover {name} --to NODE --accept-loss"
    ));
}

fn node_line(shard: &LostShard, node: &LostNode) -> String {
    let role = match (shard.primary.as_ref() == Some(&node.node), node.had_everything) {
        (true, _) => "primary",
        (false, true) => "in sync",
        (false, false) => "replica",
    };
    let runs = if node.runs { "runs" } else { "does not run, or is not heard" };
    format!("{:<12} on {:<6} {role:<8} {runs}", node.node.as_str(), node.host.as_str())
}

/// Waits until every group takes writes.
async fn wait(client: &Client, groups: &BTreeSet<GroupName>, out: &Output) -> Result<(), Failure> {
    let started = Instant::now();
    let mut left = groups.clone();
    while !left.is_empty() {
        let status: Status = client.get("/v1/status").await?;
        for group in status.groups.iter().filter(|group| left.contains(&group.name)) {
            let led = group.shards.iter().all(|shard| shard.primary.is_some());
            if led && !group.shards.is_empty() {
                out.line(format!("{}: {}", group.name, group.status));
            }
        }
        left.retain(|name| {
            let found = status.groups.iter().find(|group| group.name == *name);
            !found.is_some_and(|group| group.shards.iter().all(|shard| shard.primary.is_some()))
        });
        if started.elapsed() > PATIENCE {
            let names: Vec<&str> = left.iter().map(GroupName::as_str).collect();
            let message = format!("no primary after {PATIENCE:?}: {}", names.join(", "));
            return Err(Failure::new("T684", message, "tanist status says what is waited for"));
        }
        pause().await;
    }
    Ok(())
}

fn report(done: &Rebuilt, out: &Output) -> Outcome {
    if out.is_json() {
        out.json(done)?;
    } else {
        for name in &done.to_name {
            let text =
                format!("{name} is back and waits: tanist failover {name} --to NODE --accept-loss");
            out.line(out.paint(Paint::Warn, &text));
        }
        for name in &done.left {
            out.line(out.paint(Paint::Warn, &format!("{name} was left as it is")));
        }
        out.line(format!("{} groups are rebuilt", done.groups.len()));
    }
    let well = done.to_name.is_empty() && done.left.is_empty();
    Ok(if well { Done::Well } else { Done::Degraded })
}
