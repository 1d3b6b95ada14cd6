//! What often goes wrong with a group, as people notice it.
//!
//! One check for each complaint that troubleshooting guides begin with: a replica is unhealthy, a
//! failover is slow or does not come, data is missing afterwards, nobody can connect, the reader
//! endpoint is always the same replica, replicas lag.
//!
//! Invariant: every check says what was looked at, and what to do if that is not as it should be.
//!
//! Not here: problems themselves (`tanist_core::decide`).

use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{ClientCertificates, Durability, ProblemKind, TransitMode};
use tanist_link::Client;
use tanist_link::api::{EndpointStatus, FailoverRecord, GroupStatus, Step};
use tanist_resp::Command;

use super::Check;
use crate::commands::encoded;
use crate::dial::Dialler;
use crate::failure::chain;
use crate::layout::Layout;

/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A gap that is longer than this is worth a word.
const SLOW: Duration = Duration::from_secs(1);
/// A lag that is longer than this is worth a word, in milliseconds.
const LAG_MS: u64 = 1000;

/// Everything that is looked at.
pub(super) async fn checks(client: &Client, layout: &Layout, group: &GroupStatus) -> Vec<Check> {
    let mut checks = problems(group);
    checks.extend(replicas(group));
    checks.extend(endpoints(layout, group).await);
    checks.push(encryption(group));
    checks.extend(turned_away(group));
    checks.push(lag(group));
    checks.push(failover(group));
    checks.extend(last_failover(client, group).await);
    checks.push(durability(group));
    checks.extend(reader(group));
    checks
}

fn problems(group: &GroupStatus) -> Vec<Check> {
    let problems = group.shards.iter().flat_map(|shard| &shard.problems);
    let checks: Vec<Check> = problems
        .map(|problem| {
            let rule = tanist_core::decide::RULES.iter().find(|rule| rule.kind == problem.kind);
            let what = format!("{}: {} {}", group.name, problem.kind, problem.detail);
            Check::warning(what, rule.map_or("", |rule| rule.remedy))
        })
        .collect();
    if checks.is_empty() {
        return vec![Check::good(format!("{}: {}, no problem", group.name, group.status))];
    }
    checks
}

/// "Replicas are unhealthy."
fn replicas(group: &GroupStatus) -> Option<Check> {
    let name = &group.name;
    let mut sick = group
        .shards
        .iter()
        .flat_map(|shard| &shard.nodes)
        .filter(|node| node.role != "primary" && !node.in_sync)
        .map(|node| format!("{} is {}", node.node, node.role))
        .peekable();
    sick.peek()?;
    let sick: Vec<String> = sick.collect();
    Some(Check::warning(
        format!("{name}: replicas that are not in sync: {}", sick.join(", ")),
        "replication needs no rule in a security group here: nodes reach each other past the \
         endpoints. tanist status shows what each waits for",
    ))
}

/// "Cannot connect", "cannot connect after a failover."
async fn endpoints(layout: &Layout, group: &GroupStatus) -> Vec<Check> {
    let name = &group.name;
    let dialler = match Dialler::of(layout, group) {
        Ok(dialler) => dialler,
        Err(failure) => {
            let what = format!("{name}: its endpoints cannot be dialled: {}", failure.message);
            return vec![Check::problem(what, failure.remedy)];
        }
    };
    let nodes = group.shards.iter().flat_map(|shard| &shard.nodes).map(|node| &node.endpoint);
    let all: Vec<&EndpointStatus> =
        [&group.primary_endpoint, &group.reader_endpoint].into_iter().chain(nodes).collect();
    let mut silent = Vec::new();
    for endpoint in &all {
        if let Err(why) = answers(&dialler, endpoint).await {
            silent.push(format!("{endpoint} ({why})"));
        }
    }
    if silent.is_empty() {
        let text = format!(
            "{name}: all {} endpoints answer; their addresses stay the same in every failover",
            all.len()
        );
        return vec![Check::good(text)];
    }
    let remedy = match &group.access {
        tanist_core::model::Access::Only { loopback: false, .. } => {
            "clients of this machine are not admitted: allow them in the group's security group, \
             as aws ec2 authorize-security-group-ingress --group-id SG --protocol tcp --port PORT \
             --cidr CIDR-OF-THE-VPC"
        }
        _ => "see proxy.log in the data directory",
    };
    vec![Check::problem(format!("{name}: no answer from {}", silent.join(", ")), remedy)]
}

/// Whether an endpoint answers anything at all: a refusal is an answer.
async fn answers(dialler: &Dialler, endpoint: &EndpointStatus) -> Result<(), String> {
    let address = SocketAddr::from((endpoint.address, endpoint.port));
    let mut connection = dialler.connect(address, PATIENCE).await.map_err(|err| chain(&err))?;
    let answer = connection.call(&Command::new("PING"), PATIENCE).await;
    answer.map(drop).map_err(|err| err.to_string())
}

/// "Is it encrypted?", "the certificate is not trusted."
fn encryption(group: &GroupStatus) -> Check {
    let (name, transit) = (&group.name, group.transit);
    let clients = match transit.clients {
        ClientCertificates::Off => String::new(),
        asked => format!(", client certificates {asked}"),
    };
    match (transit.mode, &group.certificate) {
        (TransitMode::Off, _) => Check::good(format!("{name}: connections are not encrypted")),
        (mode, None) => Check::problem(
            format!("{name}: TLS is {mode}, and there is no certificate to show"),
            "tanist events says why",
        ),
        (mode, Some(shown)) if shown.owners => {
            Check::good(format!("{name}: TLS is {mode}{clients}, with the owner's certificate"))
        }
        (mode, Some(shown)) => Check::good(format!(
            "{name}: TLS is {mode}{clients}; the certificate is for {} names and addresses. A \
             client that does not trust it: tanist ca",
            shown.names.len()
        )),
    }
}

fn turned_away(group: &GroupStatus) -> Option<Check> {
    let count: u64 = group.shards.iter().map(|shard| shard.turned_away).sum();
    let latest = group.shards.iter().find_map(|shard| shard.last_turned_away)?;
    let name = &group.name;
    Some(Check::warning(
        format!(
            "{name}: {count} clients were turned away by its security groups, one from {latest}"
        ),
        format!(
            "if they belong there: aws ec2 authorize-security-group-ingress --group-id SG \
             --protocol tcp --port {} --cidr {latest}/32",
            group.primary_endpoint.port
        ),
    ))
}

/// "Replication lag is high."
fn lag(group: &GroupStatus) -> Check {
    let name = &group.name;
    let nodes = group.shards.iter().flat_map(|shard| &shard.nodes);
    let most = nodes.filter_map(|node| Some((node.lag_ms?, &node.node))).max();
    match most {
        Some((lag, node)) if lag > LAG_MS => Check::warning(
            format!("{name}: {node} is {lag} ms behind"),
            "fewer or smaller writes, a faster disk or network; aws cloudwatch \
             get-metric-statistics --metric-name ReplicationLag shows since when",
        ),
        Some((lag, node)) => Check::good(format!("{name}: lag at most {lag} ms ({node})")),
        None => Check::good(format!("{name}: no replica, hence no lag")),
    }
}

/// "Automatic failover does not trigger."
fn failover(group: &GroupStatus) -> Check {
    let name = &group.name;
    if group.replicas == 0 {
        return Check::warning(
            format!("{name}: no replica, so nobody can take over"),
            format!("tanist scale {name} --replicas 1"),
        );
    }
    if !group.automatic_failover {
        return Check::warning(
            format!("{name}: automatic failover is off: a lost primary waits for a person"),
            format!(
                "aws elasticache modify-replication-group --replication-group-id {name} \
                 --automatic-failover-enabled --apply-immediately"
            ),
        );
    }
    let nobody = |kind| matches!(kind, ProblemKind::InSyncSetEmpty | ProblemKind::NoCandidate);
    let stuck = group.shards.iter().flat_map(|shard| &shard.problems).any(|p| nobody(p.kind));
    if stuck {
        return Check::warning(
            format!("{name}: automatic failover is on, but no replica is in sync"),
            "tanist status shows what they wait for",
        );
    }
    Check::good(format!("{name}: automatic failover is on, and a replica can take over"))
}

/// "The failover takes too long."
async fn last_failover(client: &Client, group: &GroupStatus) -> Option<Check> {
    let name = &group.name;
    let path = format!("/v1/groups/{}/history", encoded(name.as_str()));
    let records: Vec<FailoverRecord> = client.get(&path).await.ok()?;
    let last = records.into_iter().max_by_key(|record| record.epoch)?;
    let at = |step| last.steps.iter().find(|(known, _)| *known == step).map(|(_, us)| *us);
    let Some(promoted) = at(Step::Promoted).map(Duration::from_micros) else {
        let remedy = "tanist status names what it waits for";
        return Some(Check::warning(format!("{name}: a failover is under way"), remedy));
    };
    let text = format!("{name}: the last failover ({}) took {promoted:.1?}", last.cause);
    if promoted <= SLOW {
        return Some(Check::good(text));
    }
    let steps = [Step::Vacated, Step::Fenced, Step::Chosen, Step::Promoted];
    let mut before = 0;
    let mut longest = (0, Step::Detected);
    for step in steps {
        if let Some(us) = at(step) {
            longest = longest.max((us.saturating_sub(before), step));
            before = us;
        }
    }
    let remedy = format!(
        "tanist history {name} shows each step; the longest was the way to {:?}",
        longest.1
    );
    Some(Check::warning(text, remedy))
}

/// "Data is missing after a failover."
fn durability(group: &GroupStatus) -> Check {
    let name = &group.name;
    if group.durability == Durability::Async && group.replicas > 0 {
        return Check::warning(
            format!("{name}: async: a failover may lose the last writes that were acknowledged"),
            "sync is chosen when a group is created; what was cut off is kept in a file that \
             tanist events names",
        );
    }
    let empty = group
        .shards
        .iter()
        .flat_map(|shard| &shard.problems)
        .any(|problem| problem.kind == ProblemKind::InSyncSetEmpty);
    if empty || group.replicas == 0 {
        return Check::warning(
            format!("{name}: one node alone has the data: its loss would be a loss of writes"),
            format!("add replicas: tanist scale {name} --replicas 2"),
        );
    }
    Check::good(format!("{name}: sync: a failover loses no acknowledged write"))
}

/// "The reader endpoint always returns the same replica."
fn reader(group: &GroupStatus) -> Option<Check> {
    let name = &group.name;
    let readable = group
        .shards
        .iter()
        .flat_map(|shard| &shard.nodes)
        .filter(|node| node.role == "replica")
        .count();
    (readable > 1).then(|| {
        Check::good(format!(
            "{name}: the reader endpoint gives each new connection one of {readable} replicas, and \
             a connection stays with its replica"
        ))
    })
}
