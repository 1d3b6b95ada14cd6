//! What tests of this module look at: a region with networks and groups.
//!
//! Invariant: everything in it refers to something in it.
//!
//! Not here: a store, a controller.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use tanist_core::model::{
    Access, Durability, EngineKind, Epoch, NodeId, Reads, RequestId, Rev, ShardId,
};
use tanist_link::api::{
    EndpointStatus, GroupStatus, NodeStatus, ShardStatus, UserGroupStatus, UserStatus,
};

use super::scene::Scene;
use crate::book::{CacheSubnetGroup, NewSubnet, NewVpc, Pages, Tags, lay_subnet, lay_vpc};
use crate::groups::{Group, GroupRecord};
use crate::model::{Models, Operation, Service};
use crate::service::Settings;
use crate::value::Structure;
use crate::wire::{self, Protocol};

/// 2026-01-02T03:04:05Z.
pub(super) const NOW_MS: i64 = 1_767_323_045_000;

/// A region in memory.
pub(super) struct Stage {
    pub(super) pages: Pages,
    pub(super) groups: Vec<Group>,
    pub(super) settings: Settings,
    pub(super) zones: Vec<String>,
    pub(super) users: Vec<UserStatus>,
    pub(super) user_groups: Vec<UserGroupStatus>,
}

impl Stage {
    /// A default VPC, another one (`vpc-2`) with subnets in two zones, and the group `web`.
    pub(super) fn new() -> Self {
        let zones: Vec<String> =
            ["us-east-1a", "us-east-1b", "us-east-1c"].map(str::to_owned).to_vec();
        let mut pages = Pages::default();
        let mut ids = crate::book::Ids::new();
        vpc(&mut pages, &mut ids, "vpc-1", "172.31.0.0/16", true);
        for (at, zone) in zones.iter().enumerate() {
            let (id, cidr) = (format!("subnet-d{at}"), format!("172.31.{at}.0/24"));
            subnet(&mut pages, &mut ids, "vpc-1", (&id, &cidr, zone), true);
        }
        vpc(&mut pages, &mut ids, "vpc-2", "10.0.0.0/16", false);
        subnet(&mut pages, &mut ids, "vpc-2", ("subnet-a", "10.0.1.0/24", "us-east-1a"), false);
        subnet(&mut pages, &mut ids, "vpc-2", ("subnet-b", "10.0.2.0/24", "us-east-1b"), false);
        let record = CacheSubnetGroup {
            name: "practice".to_owned(),
            description: "Multi-AZ".to_owned(),
            vpc_id: "vpc-2".to_owned(),
            subnets: vec!["subnet-a".to_owned(), "subnet-b".to_owned()],
            arn: None,
            tags: Tags::new(),
            created_ms: NOW_MS,
        };
        pages.cache_subnet_groups.insert("practice", record);
        let settings = Settings {
            loopback_inside: true,
            port: 6379,
            engines: vec![
                ("redis".to_owned(), "7.0.15".to_owned()),
                ("valkey".to_owned(), "8.0.1".to_owned()),
            ],
        };
        let groups = vec![web()];
        Self { pages, groups, settings, zones, users: Vec::new(), user_groups: Vec::new() }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            region: "us-east-1",
            account: "123456789012",
            zones: &self.zones,
            settings: &self.settings,
            now: Timestamp::from_millisecond(NOW_MS).unwrap(),
            pages: &self.pages,
            groups: &self.groups,
            users: &self.users,
            user_groups: &self.user_groups,
        }
    }

    /// The id of the security group that a VPC came with.
    pub(super) fn default_security_group(&self, vpc: &str) -> String {
        let mut all = self.pages.security_groups.values();
        all.find(|group| group.vpc == vpc && group.name == "default").unwrap().id.clone()
    }
}

fn vpc(pages: &mut Pages, ids: &mut crate::book::Ids, id: &str, cidr: &str, is_default: bool) {
    let (cidr, tenancy) = (cidr.parse().unwrap(), "default".to_owned());
    lay_vpc(pages, ids, NewVpc { id: id.to_owned(), cidr, is_default, tenancy });
}

fn subnet(
    pages: &mut Pages,
    ids: &mut crate::book::Ids,
    vpc: &str,
    (id, cidr, zone): (&str, &str, &str),
    is_default: bool,
) {
    let cidr = cidr.parse().unwrap();
    lay_subnet(pages, ids, NewSubnet { id: id.to_owned(), vpc, cidr, zone, is_default });
}

/// The group `web`: three nodes in three zones, all well.
pub(super) fn web() -> Group {
    group_of("web", 3)
}

/// A group with some nodes, all well; the first is the primary.
pub(super) fn group_of(name: &str, nodes: u8) -> Group {
    let status = GroupStatus {
        name: name.into(),
        status: "available".to_owned(),
        engine: EngineKind::Redis,
        durability: Durability::Sync,
        memory_bytes: 64 << 20,
        revision: 7,
        replicas: nodes - 1,
        automatic_failover: nodes > 1,
        zones: Vec::new(),
        endpoint_hosts: Default::default(),
        access: Access::Everyone,
        login: Default::default(),
        transit: Default::default(),
        certificate: None,
        reads: Reads::default(),
        attributes: [].into(),
        primary_endpoint: endpoint(name, 1),
        reader_endpoint: endpoint(&format!("{name}-ro"), 2),
        shards: vec![ShardStatus {
            shard: ShardId::new("0001"),
            epoch: Epoch(3),
            rev: Rev(9),
            primary: Some(NodeId::new(format!("{name}-001"))),
            request_done: RequestId(0),
            nodes: (1..=nodes).map(|at| node(name, at)).collect(),
            problems: Vec::new(),
            waits: Vec::new(),
            relocation: None,
            released: None,
            held: 0,
            turned_away: 0,
            last_turned_away: None,
        }],
    };
    let record = GroupRecord {
        description: Some("Redis with failover".to_owned()),
        node_type: Some("cache.t3.micro".to_owned()),
        subnet_group: Some("practice".to_owned()),
        maintenance_window: Some("sun:05:00-sun:06:00".to_owned()),
        snapshot_window: Some("03:00-04:00".to_owned()),
        created_ms: Some(NOW_MS),
        ..GroupRecord::default()
    };
    Group { status, record, unreadable: false }
}

fn node(group: &str, at: u8) -> NodeStatus {
    let name = format!("{group}-{at:03}");
    let zone = ["us-east-1a", "us-east-1b", "us-east-1c"][usize::from((at - 1) % 3)];
    NodeStatus {
        node: NodeId::new(&name),
        host: format!("h{at}").as_str().into(),
        zone: zone.into(),
        placed: String::new(),
        endpoint: endpoint(&name, 10 + at),
        role: if at == 1 { "primary" } else { "replica" }.to_owned(),
        in_sync: true,
        pid: Some(100 + u32::from(at)),
        offset: None,
        lag_bytes: None,
        lag_ms: None,
        memory_limit: None,
        memory_bytes: Some(1 << 20),
    }
}

fn endpoint(name: &str, last: u8) -> EndpointStatus {
    let host = format!("{name}.abcdef.use1.cache.tanist");
    EndpointStatus { host, address: Ipv4Addr::new(127, 80, 0, last), port: 6379, also: Vec::new() }
}

/// The service's model.
pub(super) fn service() -> &'static Service {
    &Models::load().unwrap().elasticache
}

/// An operation of the model.
pub(super) fn operation(name: &str) -> &'static Operation {
    service().operation(name).unwrap()
}

/// An answer as XML; the model has every member of it.
pub(super) fn xml(operation_name: &str, answer: &Structure) -> String {
    let operation = operation(operation_name);
    let reply = wire::encode(Protocol::Query, service(), operation, answer, "r-1").unwrap();
    String::from_utf8(reply.body).unwrap()
}
