//! The records of networks, machines and caches, as they are stored.
//!
//! A record says what somebody chose and what was drawn for it (ids, addresses), never what follows
//! from other records: how many addresses of a subnet are free, or what state an attachment has, is
//! worked out when somebody asks.
//!
//! Invariant: a field that a later release adds has a default, so that what is stored stays readable.
//!
//! Not here: the words in which a client sees a record (`crate::ec2`, `crate::elasticache`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// Tags of one resource: keys and values.
pub(crate) type Tags = BTreeMap<String, String>;

/// A virtual private cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vpc {
    pub(crate) id: String,
    pub(crate) cidr: Ipv4Net,
    pub(crate) cidr_association: String,
    pub(crate) is_default: bool,
    pub(crate) tenancy: String,
    pub(crate) dhcp_options: String,
    pub(crate) dns_support: bool,
    pub(crate) dns_hostnames: bool,
    pub(crate) address_metrics: bool,
}

/// A part of a VPC in one zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) cidr: Ipv4Net,
    pub(crate) zone: String,
    pub(crate) default_for_zone: bool,
    pub(crate) public_addresses: bool,
    pub(crate) dns64: bool,
    pub(crate) hostname_type: String,
    pub(crate) name_a_record: bool,
    pub(crate) name_aaaa_record: bool,
}

/// A VPC's way out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InternetGateway {
    pub(crate) id: String,
    pub(crate) vpc: Option<String>,
}

/// Where packets of some subnets go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouteTable {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) routes: Vec<Route>,
    pub(crate) associations: Vec<RouteAssociation>,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) destination: IpNet,
    pub(crate) target: Target,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Inside of the VPC.
    Local,
    /// An internet gateway.
    Gateway(String),
    /// The network interface of an instance.
    Interface(String),
}

/// A use of a route table. Without a subnet it is the main one of its VPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouteAssociation {
    pub(crate) id: String,
    pub(crate) subnet: Option<String>,
}

/// A VPC's default list of rules for its subnets; nobody can make another one yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkAcl {
    pub(crate) id: String,
    pub(crate) vpc: String,
    /// Ids of associations, by subnet.
    pub(crate) associations: BTreeMap<String, String>,
}

/// Who may talk to its members, and to whom they may talk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SecurityGroup {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) vpc: String,
    pub(crate) rules: Vec<Rule>,
}

/// One rule of a security group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` for all, or another protocol's number.
    pub(crate) protocol: String,
    /// The first port (or ICMP's type); -1 for every one.
    pub(crate) from: i64,
    /// The last port (or ICMP's code); -1 for every one.
    pub(crate) to: i64,
    pub(crate) peer: Peer,
    pub(crate) description: Option<String>,
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// Addresses.
    Net(IpNet),
    /// Members of a security group, by its id.
    Group(String),
}

/// A key pair; the private half is told once and not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `rsa` or `ed25519`.
    pub(crate) kind: String,
    pub(crate) fingerprint: String,
    /// In OpenSSH's form.
    pub(crate) public_key: String,
    /// Milliseconds since 1970.
    pub(crate) created_ms: i64,
}

/// A machine that exists in the books alone: it has an address, and security groups that name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) reservation: String,
    /// Its place in its reservation.
    pub(crate) launch_index: u32,
    pub(crate) image: String,
    pub(crate) kind: String,
    pub(crate) key_name: Option<String>,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    pub(crate) zone: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) public_address: Option<Ipv4Addr>,
    /// Ids, in the order in which they were given.
    pub(crate) security_groups: Vec<String>,
    pub(crate) interface: Interface,
    pub(crate) volume: Volume,
    /// `standard` or `unlimited`; only of kinds that have credits.
    pub(crate) credits: Option<String>,
    /// Base64, as it came.
    pub(crate) user_data: Option<String>,
    pub(crate) client_token: Option<String>,
    /// A digest of the request that made it, if it had a client token.
    #[serde(default)]
    pub(crate) request: Option<String>,
    pub(crate) keep: bool,
    pub(crate) keep_running: bool,
    pub(crate) shutdown: String,
    pub(crate) monitoring: bool,
    pub(crate) ebs_optimized: bool,
    pub(crate) tenancy: String,
    pub(crate) metadata: MetadataOptions,
    /// Milliseconds since 1970.
    pub(crate) launched_ms: i64,
    /// When it was terminated, in milliseconds since 1970.
    pub(crate) terminated_ms: Option<i64>,
}

/// An instance's network interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interface {
    pub(crate) id: String,
    pub(crate) attachment: String,
    pub(crate) mac: String,
    pub(crate) description: String,
}

/// An instance's root volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) kind: String,
    /// GiB.
    pub(crate) size: i64,
    pub(crate) iops: Option<i64>,
    /// MiB per second.
    pub(crate) throughput: Option<i64>,
    pub(crate) encrypted: bool,
}

/// How an instance's metadata would be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetadataOptions {
    pub(crate) tokens: String,
    pub(crate) hops: i64,
    pub(crate) endpoint: String,
    pub(crate) ipv6: String,
    pub(crate) tags: String,
}

/// Subnets in which the nodes of a replication group may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CacheSubnetGroup {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) vpc_id: String,
    /// Ids.
    pub(crate) subnets: Vec<String>,
    /// Left out where it follows from the name.
    #[serde(default)]
    pub(crate) arn: Option<String>,
    #[serde(default)]
    pub(crate) tags: Tags,
    /// Milliseconds since 1970.
    pub(crate) created_ms: i64,
}

/// A name for a set of engine parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CacheParameterGroup {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) tags: Tags,
}
