//! Networks with ids that an operator chose.
//!
//! Scripts and documents name subnets such as `subnet-11111111`. Whoever wants them to work here
//! writes those names into a file, and the networks are there from the start.
//!
//! Invariant: declaring the same twice changes nothing, and what is there is never changed: if it
//! is not what the declaration says, that is an error.
//!
//! Not here: reading the file (the binary does).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

use super::ground::{NewSubnet, NewVpc, all_traffic, anywhere, lay_subnet, lay_vpc};
use super::ids::Ids;
use super::pages::Pages;
use super::records::{Peer, Rule, SecurityGroup, Subnet, Vpc};
use super::zone_is_in;

/// Most networks and groups that one file declares for a region; one transaction has to hold all.
const MAX_DECLARED: usize = 20;

/// The section `[network]` of a file: networks that exist from the start.
///
/// ```toml
/// [[network.vpcs]]
/// id = "vpc-11111111"
/// region = "us-east-1"
/// cidr = "10.0.0.0/16"
/// tags = { Name = "practice-vpc-q1" }
///
/// [[network.subnets]]
/// id = "subnet-11111111"
/// vpc = "vpc-11111111"
/// zone = "us-east-1a"
/// cidr = "10.0.11.0/24"
///
/// [[network.security_groups]]
/// id = "sg-11111111"
/// vpc = "vpc-11111111"
/// name = "redis"
/// ingress = [{ ports = [6379, 6379], from = "10.0.0.0/16" }]
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// VPCs.
    #[serde(default)]
    pub vpcs: Vec<DeclaredVpc>,
    /// Subnets of these VPCs.
    #[serde(default)]
    pub subnets: Vec<DeclaredSubnet>,
    /// Security groups of these VPCs.
    #[serde(default)]
    pub security_groups: Vec<DeclaredGroup>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredVpc {
    /// `vpc-` and 8 or 17 hexadecimal digits.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its addresses, /16 to /28.
    pub cidr: Ipv4Net,
    /// Its tags when it is made.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSubnet {
    /// `subnet-` and 8 or 17 hexadecimal digits.
    pub id: String,
    /// A declared VPC.
    pub vpc: String,
    /// Its zone, such as `us-east-1a`.
    pub zone: String,
    /// Its addresses, /16 to /28, inside of its VPC's.
    pub cidr: Ipv4Net,
    /// Its tags when it is made.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A security group. Its rules are those that it begins with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredGroup {
    /// `sg-` and 8 or 17 hexadecimal digits.
    pub id: String,
    /// A declared VPC.
    pub vpc: String,
    /// Its name.
    pub name: String,
    /// What it is for; its name if left out.
    #[serde(default)]
    pub description: Option<String>,
    /// Who may connect to its members, over TCP.
    #[serde(default)]
    pub ingress: Vec<DeclaredRule>,
    /// Its tags when it is made.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A rule for TCP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRule {
    /// The first and the last port.
    pub ports: (u16, u16),
    /// The clients' addresses.
    pub from: IpNet,
}

/// Why declared networks cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclaredError {
    /// An id is not one.
    #[error("{id:?} is not {prefix}- with 8 or 17 hexadecimal digits")]
    BadId {
        /// The id as it stands there.
        id: String,
        /// What it should begin with.
        prefix: &'static str,
    },
    /// Two declarations have one id.
    #[error("{0} is declared twice")]
    Twice(String),
    /// A subnet or group names a VPC that is not declared.
    #[error("{id} is in {vpc}, which is not declared")]
    UnknownVpc {
        /// The subnet or group.
        id: String,
        /// The VPC.
        vpc: String,
    },
    /// A network is too large, too small, or not inside of its VPC.
    #[error("{cidr} is no network for {id}: {wrong}")]
    BadNetwork {
        /// Whose.
        id: String,
        /// The network.
        cidr: Ipv4Net,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A subnet's zone does not exist.
    #[error("{id} is in {zone}, which is no zone of its region")]
    UnknownZone {
        /// The subnet.
        id: String,
        /// The zone.
        zone: String,
    },
    /// Something is there under this id and is another thing.
    #[error("{0} exists and is not what is declared")]
    Differs(String),
    /// Something else is in the way.
    #[error("{id} cannot be made beside {other}")]
    InTheWay {
        /// What was declared.
        id: String,
        /// What is there.
        other: String,
    },
    /// The text of a group is not what EC2 would take.
    #[error("{0} has no usable name")]
    BadName(String),
    /// There are too many.
    #[error("{region} has more than {MAX_DECLARED} declared VPCs, subnets and security groups")]
    TooMany {
        /// Of which region.
        region: String,
    },
}

impl Declared {
    /// The regions that something is declared for.
    pub(super) fn regions(&self) -> BTreeSet<String> {
        self.vpcs.iter().map(|vpc| vpc.region.clone()).collect()
    }

    /// Makes what is not there.
    pub(super) fn lay(
        &self,
        region: &str,
        zones: &[String],
        pages: &mut Pages,
        ids: &mut Ids,
    ) -> Result<(), DeclaredError> {
        self.check()?;
        let here =
            |vpc: &str| self.vpcs.iter().any(|known| known.id == vpc && known.region == region);
        let vpcs = self.vpcs.iter().filter(|vpc| here(&vpc.id));
        let subnets = self.subnets.iter().filter(|subnet| here(&subnet.vpc));
        let groups = self.security_groups.iter().filter(|group| here(&group.vpc));
        let many = vpcs.clone().count() + subnets.clone().count() + groups.clone().count();
        if many > MAX_DECLARED {
            return Err(DeclaredError::TooMany { region: region.to_owned() });
        }
        vpcs.into_iter().try_for_each(|vpc| vpc.lay(pages, ids))?;
        for subnet in subnets {
            if !(zones.contains(&subnet.zone) && zone_is_in(&subnet.zone, region)) {
                let (id, zone) = (subnet.id.clone(), subnet.zone.clone());
                return Err(DeclaredError::UnknownZone { id, zone });
            }
            subnet.lay(pages, ids)?;
        }
        groups.into_iter().try_for_each(|group| group.lay(pages, ids))
    }

    fn check(&self) -> Result<(), DeclaredError> {
        let vpcs = self.vpcs.iter().map(|vpc| (&vpc.id, "vpc"));
        let subnets = self.subnets.iter().map(|subnet| (&subnet.id, "subnet"));
        let groups = self.security_groups.iter().map(|group| (&group.id, "sg"));
        let mut seen = BTreeSet::new();
        for (id, prefix) in vpcs.chain(subnets).chain(groups) {
            let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
            let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            if !digits.is_some_and(|d| matches!(d.len(), 8 | 17) && d.bytes().all(hex)) {
                return Err(DeclaredError::BadId { id: id.clone(), prefix });
            }
            if !seen.insert(id) {
                return Err(DeclaredError::Twice(id.clone()));
            }
        }
        let subnets = self.subnets.iter().map(|subnet| (&subnet.id, &subnet.vpc));
        let groups = self.security_groups.iter().map(|group| (&group.id, &group.vpc));
        for (id, vpc) in subnets.chain(groups) {
            if !self.vpcs.iter().any(|known| known.id == *vpc) {
                return Err(DeclaredError::UnknownVpc { id: id.clone(), vpc: vpc.clone() });
            }
        }
        Ok(())
    }
}

fn whole(id: &str, cidr: Ipv4Net) -> Result<(), DeclaredError> {
    let wrong = if cidr.trunc() != cidr {
        "it has bits beyond its prefix"
    } else if !(16..=28).contains(&cidr.prefix_len()) {
        "its prefix must be between 16 and 28"
    } else {
        return Ok(());
    };
    Err(DeclaredError::BadNetwork { id: id.to_owned(), cidr, wrong })
}

impl DeclaredVpc {
    fn lay(&self, pages: &mut Pages, ids: &mut Ids) -> Result<(), DeclaredError> {
        whole(&self.id, self.cidr)?;
        if let Some(Vpc { cidr, .. }) = pages.vpcs.get(&self.id) {
            let same = *cidr == self.cidr;
            return if same { Ok(()) } else { Err(DeclaredError::Differs(self.id.clone())) };
        }
        let (id, tenancy) = (self.id.clone(), "default".to_owned());
        lay_vpc(pages, ids, NewVpc { id, cidr: self.cidr, is_default: false, tenancy });
        tag(pages, &self.id, &self.tags);
        Ok(())
    }
}

impl DeclaredSubnet {
    fn lay(&self, pages: &mut Pages, ids: &mut Ids) -> Result<(), DeclaredError> {
        let Self { id, vpc, zone, cidr, .. } = self;
        whole(id, *cidr)?;
        if let Some(Subnet { vpc: in_vpc, zone: in_zone, cidr: known, .. }) = pages.subnets.get(id)
        {
            let same = in_vpc == vpc && in_zone == zone && known == cidr;
            return if same { Ok(()) } else { Err(DeclaredError::Differs(id.clone())) };
        }
        if !pages.vpcs.get(vpc).is_some_and(|vpc| vpc.cidr.contains(cidr)) {
            let (id, wrong) = (id.clone(), "it is not inside of its VPC's");
            return Err(DeclaredError::BadNetwork { id, cidr: *cidr, wrong });
        }
        let overlaps = |other: &&Subnet| {
            other.vpc == *vpc && (other.cidr.contains(cidr) || cidr.contains(&other.cidr))
        };
        if let Some(other) = pages.subnets.values().find(overlaps) {
            let (id, other) = (id.clone(), other.id.clone());
            return Err(DeclaredError::InTheWay { id, other });
        }
        let new = NewSubnet { id: id.clone(), vpc, cidr: *cidr, zone, is_default: false };
        lay_subnet(pages, ids, new);
        tag(pages, id, &self.tags);
        Ok(())
    }
}

impl DeclaredGroup {
    fn lay(&self, pages: &mut Pages, ids: &mut Ids) -> Result<(), DeclaredError> {
        let Self { id, vpc, name, .. } = self;
        let plain = |text: &str| text.len() <= 255 && !text.chars().any(char::is_control);
        if name.is_empty() || name.starts_with("sg-") || !plain(name) {
            return Err(DeclaredError::BadName(id.clone()));
        }
        if let Some(known) = pages.security_groups.get(id) {
            let same = known.vpc == *vpc && known.name == *name;
            return if same { Ok(()) } else { Err(DeclaredError::Differs(id.clone())) };
        }
        let same = |other: &&SecurityGroup| other.vpc == *vpc && other.name == *name;
        if let Some(other) = pages.security_groups.values().find(same) {
            let (id, other) = (id.clone(), other.id.clone());
            return Err(DeclaredError::InTheWay { id, other });
        }
        let mut rules = vec![all_traffic(ids, true, Peer::Net(anywhere()))];
        rules.extend(self.ingress.iter().map(|rule| Rule {
            id: ids.draw("sgr"),
            egress: false,
            protocol: "tcp".to_owned(),
            from: rule.ports.0.into(),
            to: rule.ports.1.into(),
            peer: Peer::Net(rule.from.trunc()),
            description: None,
        }));
        let description = self.description.clone().unwrap_or_else(|| name.clone());
        let (id, vpc, name) = (id.clone(), vpc.clone(), name.clone());
        let group = SecurityGroup { id, name, description, vpc, rules };
        pages.security_groups.insert(&self.id, group);
        tag(pages, &self.id, &self.tags);
        Ok(())
    }
}

fn tag(pages: &mut Pages, id: &str, tags: &BTreeMap<String, String>) {
    if !tags.is_empty() {
        pages.tags.insert(id, tags.clone());
    }
}
