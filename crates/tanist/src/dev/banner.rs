//! What `tanist dev` shows: where everything is, what to type next, and what happens.
//!
//! Invariant: an address that is shown answers.
//!
//! Not here: the tree of `tanist status`.

use std::convert::Infallible;

use tanist_link::api::{AwsEndpoint, EventRecord, GroupStatus, SentinelEndpoint, Status};
use tanist_link::{Client, LinkError};

use super::hosts_file;
use crate::commands::events::event_line;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::machine::Machine;
use crate::output::{Output, Paint};

/// Prints the installation.
pub(crate) async fn print(layout: &Layout, machine: &Machine, out: &Output) -> Result<(), Failure> {
    let client = Client::new(layout.controller_socket());
    let status: Status = client.get("/v1/status").await?;
    let engines = crate::engines::find()?;
    let dir = layout.root().display();
    let names: Vec<String> = engines.list().iter().map(|path| path.display().to_string()).collect();
    out.line(out.paint(Paint::Bold, "tanist dev"));
    out.line(format!("data      {dir}"));
    out.line(format!("engines   {}", names.join("  ")));
    let zones: std::collections::BTreeSet<&str> =
        status.hosts.iter().map(|host| host.zone.as_str()).collect();
    let zones: Vec<&str> = zones.into_iter().collect();
    let count = status.hosts.len();
    out.line(format!("hosts     {count} simulated, in {}", zones.join(" ")));
    let memory = machine.host_bytes(u8::try_from(count).unwrap_or(u8::MAX)) >> 20;
    out.line(format!("memory    each simulated host may promise {memory} MiB to its nodes"));
    let aws: AwsEndpoint = client.get("/v1/aws").await?;
    let aws_also = also(&aws.also);
    out.line(format!("AWS API   {}{aws_also}  (region {})", aws.endpoint, aws.region));
    if aws.unsigned {
        let text = "AWS requests need no signature: whoever reaches loopback may do everything";
        out.line(out.paint(Paint::Bad, text));
    }
    let sentinel: SentinelEndpoint = client.get("/v1/sentinel").await?;
    out.line(format!("sentinel  {}{}", sentinel.endpoint, also(&sentinel.also)));
    out.line(format!("local API unix:{}", layout.controller_socket().display()));
    for group in &status.groups {
        out.line(endpoints(group));
    }
    out.line("");
    out.line("In another terminal:");
    out.line(format!("  eval \"$(tanist env --data-dir {dir})\""));
    match status.groups.first() {
        None => out.line(
            "  tanist create web          (or: aws elasticache create-replication-group ...)",
        ),
        Some(group) => {
            out.line("  tanist status");
            out.line(format!("  tanist drill {} --kill", group.name));
        }
    }
    out.line("");
    Ok(())
}

fn also(others: &[String]) -> String {
    others.iter().map(|other| format!("  and {other}")).collect()
}

fn endpoints(group: &GroupStatus) -> String {
    let (primary, reader) = (&group.primary_endpoint, &group.reader_endpoint);
    format!("group     {}  primary {primary}  reader {reader}", group.name)
}

/// Shows events as they happen, for ever.
pub(crate) async fn follow(
    layout: &Layout,
    hosts: Option<hosts_file::Keeper>,
    out: Output,
) -> Infallible {
    loop {
        // The controller is in this process: it is there, or the process is about to end.
        if let Err(err) = follow_once(layout, hosts.as_ref(), out).await {
            tracing::debug!(err = &err as &dyn std::error::Error, "following events");
        }
        tokio::task::yield_now().await;
        if !layout.controller_socket().exists() {
            std::future::pending::<()>().await;
        }
    }
}

async fn follow_once(
    layout: &Layout,
    hosts: Option<&hosts_file::Keeper>,
    out: Output,
) -> Result<(), LinkError> {
    let client = Client::new(layout.controller_socket());
    if let Some(hosts) = hosts {
        hosts.update(&client).await;
    }
    let mut events = client.follow::<EventRecord>("/v1/events/follow").await?;
    while let Some(event) = events.recv().await? {
        out.line(event_line(&event, &out));
        if let Some(hosts) = hosts {
            hosts.update(&client).await;
        }
    }
    std::future::pending().await
}
