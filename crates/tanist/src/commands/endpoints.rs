//! `tanist endpoints`: what was measured at a group's endpoints, and which hosts of a fleet have them.
//!
//! Invariant: numbers are since the proxy began to offer the endpoint; a proxy whose numbers are missing
//! is named. When the hosts were changed, every proxy has them, or has them no more, as it returns.
//!
//! Not here: measuring (the proxy), whether hosts can have them (the controller says so).

use tanist_core::model::HostId;
use tanist_link::Client;
use tanist_link::api::{EndpointsStatus, GroupStatus, ModifyGroup};
use tanist_link::wire::{Meters, Slow};

use super::{encoded, events};
use crate::cli::EndpointsArgs;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// The word for every host.
const ALL: &str = "all";

/// Shows them, or changes where they are.
pub(crate) async fn endpoints(client: &Client, args: EndpointsArgs, out: &Output) -> Outcome {
    if !args.hosts.is_empty() {
        return choose(client, &args, out).await;
    }
    let path = format!("/v1/groups/{}/endpoints", encoded(&args.group));
    let found: EndpointsStatus = client.get(&path).await?;
    if out.is_json() {
        out.json(&found)?;
        return Ok(Done::Well);
    }
    if args.slow {
        for endpoint in &found.endpoints {
            for slow in &endpoint.slow {
                out.line(line(endpoint, slow));
            }
        }
    } else {
        out.line(out.paint(
            Paint::Bold,
            &format!(
                "{:<22}{:>8}{:>8}{:>12}{:>9}{:>9}{:>8}{:>10}{:>10}{:>7}",
                "endpoint",
                "clients",
                "pinned",
                "requests",
                "p50 ms",
                "p99 ms",
                "held",
                "replayed",
                "uncertain",
                "slow"
            ),
        ));
        for endpoint in &found.endpoints {
            out.line(row(endpoint));
        }
    }
    for proxy in &found.silent {
        let text = format!("{proxy} does not answer; its numbers are missing: tanist doctor");
        out.line(out.paint(Paint::Warn, &text));
    }
    Ok(Done::Well)
}

async fn choose(client: &Client, args: &EndpointsArgs, out: &Output) -> Outcome {
    let hosts = match args.hosts.as_slice() {
        [all] if all == ALL => Default::default(),
        named => named.iter().map(HostId::new).collect(),
    };
    let asked = ModifyGroup { endpoint_hosts: Some(hosts), ..ModifyGroup::default() };
    let path = format!("/v1/groups/{}/modify", encoded(&args.group));
    let group: GroupStatus = client.post(&path, &asked).await?;
    if out.is_json() {
        out.json(&group)?;
        return Ok(Done::Well);
    }
    for (what, endpoint) in
        [("primary", &group.primary_endpoint), ("reader", &group.reader_endpoint)]
    {
        let addresses = [endpoint.address].into_iter().chain(endpoint.also.iter().copied());
        let shown: Vec<String> =
            addresses.map(|address| format!("{address}:{}", endpoint.port)).collect();
        out.line(format!("{what:<10}{}", shown.join("   ")));
    }
    Ok(Done::Well)
}

fn row(endpoint: &Meters) -> String {
    let millis = |share| match endpoint.times.within(share) {
        Some(micros) => format!("{:.2}", micros as f64 / 1000.0),
        None => "-".to_owned(),
    };
    format!(
        "{:<22}{:>8}{:>8}{:>12}{:>9}{:>9}{:>8}{:>10}{:>10}{:>7}",
        format!("{} {}", endpoint.kind, endpoint.address.ip()),
        endpoint.clients,
        endpoint.pinned,
        endpoint.requests,
        millis(0.5),
        millis(0.99),
        endpoint.held,
        endpoint.replayed,
        endpoint.uncertain,
        endpoint.slow.len(),
    )
}

fn line(endpoint: &Meters, slow: &Slow) -> String {
    let name = if slow.name.is_empty() { String::new() } else { format!(" {}", slow.name) };
    format!(
        "{}  {}  {:>9.2} ms  {}{name}  {}",
        events::clock(slow.at_millis),
        endpoint.kind,
        slow.micros as f64 / 1000.0,
        slow.client,
        slow.words.join(" ")
    )
}
