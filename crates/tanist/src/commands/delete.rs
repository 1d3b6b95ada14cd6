//! `tanist delete`: a group and its data.
//!
//! Invariant: it names what will be lost and asks, unless it was told not to.
//!
//! Not here: stopping the engines; that follows from the topology.

use std::io::{BufRead, IsTerminal};
use std::time::{Duration, Instant};

use tanist_link::{Client, LinkError};

use super::{encoded, group_status, pause};
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// How long the nodes may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deletes the group.
pub(crate) async fn delete(
    client: &Client,
    name: &str,
    yes: bool,
    no_wait: bool,
    out: &Output,
) -> Outcome {
    let group = group_status(client, name).await?;
    let nodes: usize = group.shards.iter().map(|shard| shard.nodes.len()).sum();
    if !yes && !confirmed(name, nodes, out)? {
        let message = format!("{name} was not deleted");
        return Err(Failure::new("T201", message, "confirm by typing its name, or --yes").exit(5));
    }
    client.delete::<()>(&format!("/v1/groups/{}", encoded(name))).await?;
    let started = Instant::now();
    while !no_wait && exists(client, name).await? {
        if started.elapsed() > PATIENCE {
            let message = format!("{name} still has processes after {PATIENCE:?}");
            return Err(Failure::new("T643", message, "tanist status shows which"));
        }
        pause().await;
    }
    if out.is_json() {
        out.json(&serde_json::json!({ "deleted": name }))?;
    } else {
        out.line(format!("{name} deleted"));
    }
    Ok(Done::Well)
}

fn confirmed(name: &str, nodes: usize, out: &Output) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = format!("deleting {name} would delete the data of its {nodes} nodes");
        return Err(Failure::new("T201", message, format!("tanist delete {name} --yes")).exit(5));
    }
    out.part(&format!("This deletes {name}: {nodes} nodes and their data. Type its name: "));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim() == name)
}

async fn exists(client: &Client, name: &str) -> Result<bool, Failure> {
    match client.get::<serde_json::Value>(&format!("/v1/groups/{}", encoded(name))).await {
        Ok(_) => Ok(true),
        Err(LinkError::Refused(err)) if err.code == "T410" => Ok(false),
        Err(err) => Err(err.into()),
    }
}
