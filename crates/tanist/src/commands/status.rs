//! `tanist status`: groups, nodes and what is wrong, as a tree.
//!
//! Invariant: every problem is shown with what it means and what to do.
//!
//! Not here: how the words are computed (`tanist-controller`).

use tanist_core::decide::RULES;
use tanist_core::model::{Severity, TransitMode};
use tanist_link::Client;
use tanist_link::api::{
    GroupStatus, HostStatus, NodeStatus, Place, RelocationStatus, ShardStatus, Status,
};

use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// Shows the status; degraded (exit 3) if a group is not available.
pub(crate) async fn status(client: &Client, group: Option<&str>, out: &Output) -> Outcome {
    let mut status: Status = client.get("/v1/status").await?;
    if let Some(name) = group {
        status.groups.retain(|group| group.name.as_str() == name);
        if status.groups.is_empty() {
            let message = format!("there is no group {name}");
            return Err(Failure::new("T410", message, "tanist status lists the groups"));
        }
    }
    let well = status.groups.iter().all(|group| group.status == "available");
    if out.is_json() {
        out.json(&status)?;
    } else {
        for line in lines(&status, out) {
            out.line(line);
        }
    }
    Ok(if well { Done::Well } else { Done::Degraded })
}

/// Who may lead, and who does.
fn servers(status: &Status, out: &Output) -> String {
    let shown = status.servers.iter().map(|server| match (server.leads, server.up) {
        (true, _) => out.paint(Paint::Good, &format!("{} leads", server.host)),
        (false, true) => server.host.to_string(),
        (false, false) => out.paint(Paint::Bad, &format!("{} silent", server.host)),
    });
    shown.collect::<Vec<_>>().join("   ")
}

/// A host on which nothing new is placed.
fn absent(host: &HostStatus, out: &Output) -> String {
    let (paint, word) = match (host.up, host.nodes.is_empty()) {
        (false, _) => (Paint::Bad, "silent"),
        (true, true) => (Paint::Dim, "drained"),
        (true, false) => (Paint::Warn, "draining"),
    };
    out.paint(paint, &format!("host      {}  {}  {}  {word}", host.host, host.zone, host.address))
}

/// The tree, line by line.
pub(crate) fn lines(status: &Status, out: &Output) -> Vec<String> {
    let up = status.hosts.iter().filter(|host| host.up).count();
    let zones: std::collections::BTreeSet<_> = status.hosts.iter().map(|host| &host.zone).collect();
    let region = out.paint(Paint::Bold, &status.region);
    let proxies = status.proxies.iter().filter(|proxy| proxy.up).count();
    let clients: u64 = status.proxies.iter().map(|proxy| proxy.clients).sum();
    let total = status.hosts.len();
    let mut lines = vec![format!(
        "{region}   {up}/{total} hosts up in {} zones   proxies {proxies}/{}   clients {clients}",
        zones.len(),
        status.proxies.len(),
    )];
    if !status.servers.is_empty() {
        lines.push(format!("servers   {}", servers(status, out)));
    }
    for host in status.hosts.iter().filter(|host| !host.up || host.draining) {
        lines.push(absent(host, out));
    }
    if status.groups.is_empty() {
        lines.push("no groups; create one: tanist create web".to_owned());
    }
    for group in &status.groups {
        group_lines(group, out, &mut lines);
    }
    for note in &status.notes {
        lines.push(out.paint(Paint::Dim, &format!("note: {note}")));
    }
    lines
}

fn group_lines(group: &GroupStatus, out: &Output, lines: &mut Vec<String>) {
    let paint = match group.status.as_str() {
        "available" => Paint::Good,
        "unavailable" => Paint::Bad,
        _ => Paint::Warn,
    };
    let name = out.paint(Paint::Bold, group.name.as_str());
    let tls = match group.transit.mode {
        TransitMode::Off => String::new(),
        mode => format!("   TLS {mode}"),
    };
    lines.push(format!(
        "{name}   {}   {}   {}   {} MiB per node{tls}",
        out.paint(paint, &group.status),
        group.engine,
        group.durability,
        group.memory_bytes >> 20,
    ));
    lines.push(format!("   primary {}   reader {}", group.primary_endpoint, group.reader_endpoint));
    if !group.endpoint_hosts.is_empty() {
        let hosts: Vec<&str> = group.endpoint_hosts.iter().map(|host| host.as_str()).collect();
        lines.push(format!("   endpoints at {} only", hosts.join(", ")));
    }
    lines.extend(login_line(group));
    for shard in &group.shards {
        shard_lines(shard, out, lines);
    }
}

/// How clients say who they are, if they have to.
fn login_line(group: &GroupStatus) -> Option<String> {
    let login = &group.login;
    let users: Vec<&str> = login.user_groups.iter().map(String::as_str).collect();
    match (login.tokens, users.as_slice()) {
        (0, []) => None,
        (0, users) => Some(format!("   clients are the users of {}", users.join(", "))),
        (1, _) => Some("   clients need a token".to_owned()),
        (more, _) => Some(format!("   clients need one of {more} tokens (tanist token finish)")),
    }
}

fn shard_lines(shard: &ShardStatus, out: &Output, lines: &mut Vec<String>) {
    let held =
        if shard.held > 0 { format!("   {} requests held", shard.held) } else { String::new() };
    lines.push(format!("   shard {}   epoch {}{held}", shard.shard, shard.epoch));
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for node in &shard.nodes {
        table.add_row(node_row(node));
    }
    // Painted only now: the table would count the colour's bytes as width.
    lines.extend(table.lines().map(|line| format!("   {}", paint_mark(&line, out))));
    for problem in &shard.problems {
        let paint = match problem.kind.severity() {
            Severity::Error => Paint::Bad,
            Severity::Warning => Paint::Warn,
            Severity::Info => Paint::Dim,
        };
        let rule = RULES.iter().find(|rule| rule.kind == problem.kind);
        let who = problem.node.as_ref().map_or(String::new(), |node| format!(" {node}"));
        let meaning = rule.map_or("", |rule| rule.meaning);
        let detail = if problem.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", problem.detail)
        };
        let word = out.paint(paint, problem.kind.name());
        lines.push(format!("   ! {word}{who}: {meaning}{detail}"));
        if let Some(rule) = rule.filter(|_| problem.kind.severity() > Severity::Info) {
            lines.push(out.paint(Paint::Dim, &format!("       {}", rule.remedy)));
        }
    }
    if let Some(RelocationStatus { from, to, why }) = &shard.relocation {
        let place = |place: &Place| format!("{} on {}/{}", place.node, place.host, place.zone);
        lines.push(format!("   → {} takes the place of {}: {why}", place(to), place(from)));
    }
    for wait in &shard.waits {
        lines.push(out.paint(Paint::Dim, &format!("   … waits: {} ({})", wait.detail, wait.kind)));
    }
}

fn paint_mark(line: &str, out: &Output) -> String {
    for (mark, paint) in [("●", Paint::Good), ("✗", Paint::Bad)] {
        if line.trim_start().starts_with(mark) {
            return line.replacen(mark, &out.paint(paint, mark), 1);
        }
    }
    line.to_owned()
}

fn node_row(node: &NodeStatus) -> Vec<String> {
    let mark = match node.role.as_str() {
        "primary" => "●",
        "down" | "silent" => "✗",
        _ => "○",
    };
    let lag = match (node.role.as_str(), node.lag_bytes) {
        ("primary", _) => node.offset.map_or(String::new(), |offset| format!("offset {offset}")),
        (_, Some(lag)) => format!("lag {lag} B"),
        (_, None) => String::new(),
    };
    let in_sync = if node.in_sync { "in sync" } else { "" };
    let memory = node.memory_bytes.map_or(String::new(), |bytes| {
        format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
    });
    vec![
        format!("{mark} {}", node.node),
        node.zone.to_string(),
        node.host.to_string(),
        node.role.clone(),
        in_sync.to_owned(),
        lag,
        memory,
        node.endpoint.to_string(),
        node.pid.map_or(String::new(), |pid| format!("pid {pid}")),
    ]
}
