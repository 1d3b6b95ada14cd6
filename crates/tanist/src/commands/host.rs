//! `tanist host`: which hosts there are, and letting the nodes of one go elsewhere.
//!
//! Invariant: a host is called empty only when no node is placed on it any more.
//!
//! Not here: where nodes go and in which order; the controller decides.

use std::time::Instant;

use tanist_core::model::NodeId;
use tanist_link::Client;
use tanist_link::api::{DrainHost, HostStatus, Invitation, LabelHost, RemoveHost, Status};

use super::{encoded, pause};
use crate::cli::HostCommand;
use crate::failure::Failure;
use crate::fleet::join;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

pub(crate) async fn host(client: &Client, command: HostCommand, out: &Output) -> Outcome {
    match command {
        HostCommand::List => list(client, out).await,
        HostCommand::Label { host, labels } => label(client, &host, &labels, out).await,
        HostCommand::Invite { host } => invite(client, &host, out).await,
        HostCommand::Remove { host, dead } => {
            let path = format!("/v1/hosts/{}/remove", encoded(&host));
            client.post::<_, ()>(&path, &RemoveHost { dead }).await?;
            if !out.is_json() {
                out.line(format!("{host} is not of the fleet any more; end tanist agent there"));
            }
            Ok(Done::Well)
        }
        HostCommand::Drain { host, undo, no_wait } => {
            let asked = DrainHost { draining: !undo };
            let path = format!("/v1/hosts/{}/drain", encoded(&host));
            let mut status: HostStatus = client.post(&path, &asked).await?;
            if !undo && !no_wait {
                status = wait(client, &host, out).await?;
            }
            if out.is_json() {
                out.json(&status)?;
            } else if undo {
                out.line(format!("{host} is used again; nodes come when there is need of them"));
            }
            Ok(Done::Well)
        }
    }
}

async fn label(client: &Client, host: &str, words: &[String], out: &Output) -> Outcome {
    let path = format!("/v1/hosts/{}/label", encoded(host));
    let status: HostStatus = client.post(&path, &changes(words)?).await?;
    if out.is_json() {
        out.json(&status)?;
        return Ok(Done::Well);
    }
    for (name, value) in status.labels.iter() {
        out.line(format!("{name}={value}"));
    }
    if status.labels.is_empty() {
        out.line(out.paint(Paint::Dim, &format!("{host} has no labels")));
    }
    Ok(Done::Well)
}

/// What `NAME=VALUE` and `NAME-` ask for.
fn changes(words: &[String]) -> Result<LabelHost, Failure> {
    let mut asked = LabelHost::default();
    for word in words {
        let twice = match (word.split_once('='), word.strip_suffix('-')) {
            (Some((name, value)), _) => {
                asked.set.insert(name.to_owned(), value.to_owned()).is_some()
            }
            (None, Some(name)) => !asked.remove.insert(name.to_owned()),
            (None, None) => {
                let message = format!("{word:?} neither sets nor removes a label");
                return Err(Failure::new("T474", message, "NAME=VALUE sets, NAME- removes").exit(2));
            }
        };
        if twice {
            let message = format!("{word:?}: the label is named twice");
            return Err(Failure::new("T474", message, "name it once").exit(2));
        }
    }
    Ok(asked)
}

async fn invite(client: &Client, host: &str, out: &Output) -> Outcome {
    let path = format!("/v1/hosts/{}/invite", encoded(host));
    let invitation: Invitation = client.post(&path, &()).await?;
    if out.is_json() {
        out.json(&invitation)?;
        return Ok(Done::Well);
    }
    // Alone on the standard output, so that it can be piped to the host.
    out.line(join::write(&invitation));
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        let hint = format!("on {host}, within an hour: tanist join   (it asks for the line above)");
        out.line(out.paint(Paint::Dim, &hint));
    }
    Ok(Done::Well)
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let hosts: Vec<HostStatus> = client.get("/v1/hosts").await?;
    if out.is_json() {
        out.json(&hosts)?;
        return Ok(Done::Well);
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for host in &hosts {
        table.add_row(row(host));
    }
    for line in table.lines() {
        let line = line.trim_end().to_owned();
        out.line(if line.contains("silent") { out.paint(Paint::Bad, &line) } else { line });
    }
    Ok(Done::Well)
}

fn row(host: &HostStatus) -> Vec<String> {
    let state = match (host.up, host.draining, host.nodes.is_empty()) {
        (false, _, _) => "silent",
        (true, true, true) => "drained",
        (true, true, false) => "draining",
        (true, false, _) => "up",
    };
    // Of a server of the release before nothing is known but the names.
    let node = |node: &NodeId| match host.placed.get(node) {
        Some(why) => format!("{node} ({why})"),
        None => node.to_string(),
    };
    let nodes: Vec<String> = host.nodes.iter().map(node).collect();
    let labels = host.labels.iter().map(|(name, value)| format!("{name}={value}"));
    vec![
        host.host.to_string(),
        host.zone.to_string(),
        host.address.to_string(),
        state.to_owned(),
        format!("{} of {} MiB promised", host.promised_bytes >> 20, host.memory_bytes >> 20),
        nodes.join(", "),
        labels.collect::<Vec<_>>().join(" "),
    ]
}

/// Says which nodes are left until none is.
async fn wait(client: &Client, name: &str, out: &Output) -> Result<HostStatus, Failure> {
    let started = Instant::now();
    let mut said = String::new();
    let hint =
        format!("Ctrl-C stops only the waiting; tanist host drain {name} --undo takes it back");
    out.line(out.paint(Paint::Dim, &hint));
    loop {
        let status: Status = client.get("/v1/status").await?;
        let host = status.hosts.iter().find(|host| host.host.as_str() == name).cloned();
        let host = host.ok_or_else(|| {
            Failure::new("T470", format!("there is no host {name}"), "tanist host list shows them")
        })?;
        if host.nodes.is_empty() {
            let seconds = started.elapsed().as_secs_f64();
            out.line(format!("{name} is empty   {seconds:.1} s"));
            return Ok(host);
        }
        if !host.draining {
            let message = format!("{name} is not drained any more: somebody has taken it back");
            return Err(Failure::new("T471", message, "tanist host list shows what is there"));
        }
        let line = left(&host, &status);
        if line != said {
            out.line(line.clone());
            said = line;
        }
        pause().await;
    }
}

/// What is left on the host, and why.
fn left(host: &HostStatus, status: &Status) -> String {
    let shards = || status.groups.iter().flat_map(|group| &group.shards);
    let here = |shard: &&tanist_link::api::ShardStatus| {
        shard.nodes.iter().any(|node| host.nodes.contains(&node.node))
    };
    let waits: Vec<&str> = shards()
        .filter(here)
        .flat_map(|shard| &shard.waits)
        .map(|wait| wait.detail.as_str())
        .collect();
    let nodes: Vec<String> = host.nodes.iter().map(ToString::to_string).collect();
    let why = if waits.is_empty() { String::new() } else { format!("   ({})", waits.join("; ")) };
    format!("draining  {}   still there: {}{why}", host.host, nodes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_sets_a_label_or_removes_one() {
        let words =
            |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
        let asked = changes(&words(&["rack=r7", "empty=", "old-", "a=b=c"])).unwrap();
        let set: Vec<_> = asked.set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(set, [("a", "b=c"), ("empty", ""), ("rack", "r7")]);
        assert_eq!(asked.remove.iter().collect::<Vec<_>>(), ["old"]);
        for bad in [&["rack"][..], &["a=1", "a=2"], &["a-", "a-"]] {
            let refused = changes(&words(bad)).unwrap_err();
            assert_eq!((refused.code.as_str(), refused.exit), ("T474", 2));
        }
    }
}
