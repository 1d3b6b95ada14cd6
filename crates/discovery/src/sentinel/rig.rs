//! Statuses, views and clients for the tests of this module.
//!
//! Invariant: what is made here is what a controller could say.
//!
//! Not here: real installations (`tests/` of the repository).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tanist_core::model::{
    Access, Durability, EngineKind, Epoch, GroupName, NodeId, Offset, Reads, RequestId, Rev,
    Severity, ShardId,
};
use tanist_link::api::{EndpointStatus, EventRecord, GroupStatus, NodeStatus, ShardStatus, Status};

use super::settings::{Aliases, Settings};

fn endpoint(last: u8) -> EndpointStatus {
    let address = Ipv4Addr::new(127, 80, 1, last);
    EndpointStatus { host: address.to_string(), address, port: 6379, also: Vec::new() }
}

fn node(group: &str, number: u8, role: &str) -> NodeStatus {
    NodeStatus {
        node: NodeId::new(format!("{group}-{number:03}")),
        host: "h1".into(),
        zone: "us-east-1a".into(),
        placed: String::new(),
        endpoint: endpoint(10 + number),
        role: role.to_owned(),
        in_sync: true,
        pid: Some(1000 + u32::from(number)),
        offset: Some(Offset(500)),
        lag_bytes: None,
        lag_ms: None,
        memory_bytes: None,
        memory_limit: None,
    }
}

/// A group of three nodes, one of which may be primary.
pub(super) fn group(name: &str, epoch: u64, primary: Option<u8>) -> GroupStatus {
    let role = |number: u8| match primary {
        Some(primary) if primary == number => "primary",
        Some(_) => "replica",
        None => "frozen",
    };
    let shard = ShardStatus {
        shard: ShardId::new("0001"),
        epoch: Epoch(epoch),
        rev: Rev(epoch * 2),
        primary: primary.map(|number| NodeId::new(format!("{name}-{number:03}"))),
        request_done: RequestId(0),
        nodes: (1..=3).map(|number| node(name, number, role(number))).collect(),
        problems: Vec::new(),
        waits: Vec::new(),
        relocation: None,
        released: None,
        held: 0,
        turned_away: 0,
        last_turned_away: None,
    };
    GroupStatus {
        name: GroupName::new(name),
        status: if primary.is_some() { "available" } else { "unavailable" }.to_owned(),
        engine: EngineKind::Redis,
        durability: Durability::Sync,
        memory_bytes: 0,
        revision: 1,
        replicas: 2,
        automatic_failover: true,
        zones: Vec::new(),
        endpoint_hosts: Default::default(),
        access: Access::default(),
        login: Default::default(),
        transit: Default::default(),
        certificate: None,
        reads: Reads::default(),
        attributes: BTreeMap::new(),
        primary_endpoint: endpoint(1),
        reader_endpoint: endpoint(2),
        shards: vec![shard],
    }
}

/// The same group with another role of one node.
pub(super) fn with_role(mut group: GroupStatus, number: usize, role: &str) -> GroupStatus {
    role.clone_into(&mut group.shards[0].nodes[number - 1].role);
    group
}

/// A status with these groups.
pub(super) fn status(groups: &[GroupStatus]) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        region: "us-east-1".to_owned(),
        hosts: Vec::new(),
        groups: groups.to_vec(),
        proxies: Vec::new(),
        notes: Vec::new(),
        servers: Vec::new(),
    }
}

/// Settings with these aliases.
pub(super) fn with_aliases(aliases: &[(&str, &str)]) -> Settings {
    let all: BTreeMap<String, String> =
        aliases.iter().map(|(alias, group)| ((*alias).to_owned(), (*group).to_owned())).collect();
    Settings { aliases: Aliases::try_from(all).unwrap(), ..Settings::default() }
}

/// An event of a group.
pub(super) fn event(name: &str, number: u8, epoch: u64, severity: Severity) -> EventRecord {
    EventRecord {
        id: 1,
        at_ms: 1,
        group: Some(GroupName::new("web")),
        node: Some(NodeId::new(format!("web-{number:03}"))),
        epoch: Some(Epoch(epoch)),
        name: name.to_owned(),
        severity,
        text: String::new(),
    }
}
