//! Subnets, and the lists of network rules that cover them.
//!
//! Invariant: subnets of one VPC do not overlap; an address belongs to one running instance.
//!
//! Not here: who has an address (`super::launch`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::access::Holding;
use crate::book::{Ids, NetworkAcl, NewSubnet, Pages, Subnet, lay_subnet};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::{not_found, runs};
use super::select::{Fact, Kind, Seen, flag, one, select};
use super::site::Site;
use super::tags;
use super::vpcs::{network, vpc};

/// Most subnets of a VPC.
const MAX_SUBNETS: usize = 200;

/// Addresses of each subnet that nobody can have: the first four and the last.
const RESERVED: u32 = 5;

const FACTS: &[Fact<Subnet>] = &[
    ("availability-zone", |seen: &Seen<'_, Subnet>| one(&seen.record.zone)),
    ("availabilityZone", |seen| one(&seen.record.zone)),
    ("availability-zone-id", |seen| one(seen.site.zone_id(&seen.record.zone))),
    ("availabilityZoneId", |seen| one(seen.site.zone_id(&seen.record.zone))),
    ("available-ip-address-count", |seen| one(free(seen.pages, seen.record).to_string())),
    ("cidr", |seen| one(seen.record.cidr.to_string())),
    ("cidr-block", |seen| one(seen.record.cidr.to_string())),
    ("cidrBlock", |seen| one(seen.record.cidr.to_string())),
    ("default-for-az", |seen| flag(seen.record.default_for_zone)),
    ("defaultForAz", |seen| flag(seen.record.default_for_zone)),
    ("enable-dns64", |seen| flag(seen.record.dns64)),
    ("ipv6-cidr-block-association.association-id", |_| Vec::new()),
    ("ipv6-cidr-block-association.ipv6-cidr-block", |_| Vec::new()),
    ("ipv6-native", |_| flag(false)),
    ("map-public-ip-on-launch", |seen| flag(seen.record.public_addresses)),
    ("owner-id", |seen| one(seen.site.account)),
    ("state", |_| one("available")),
    ("subnet-arn", |seen| one(arn(seen.site, &seen.record.id))),
    ("subnet-id", |seen| one(&seen.record.id)),
    ("vpc-id", |seen| one(&seen.record.vpc)),
];

const SUBNETS: Kind<Subnet> = Kind { ids: "SubnetIds", prefix: "subnet", facts: FACTS };

const ACL_FACTS: &[Fact<NetworkAcl>] = &[
    ("association.association-id", |seen: &Seen<'_, NetworkAcl>| {
        seen.record.associations.values().cloned().collect()
    }),
    ("association.network-acl-id", |seen| one(&seen.record.id)),
    ("association.subnet-id", |seen| seen.record.associations.keys().cloned().collect()),
    ("default", |_| flag(true)),
    ("network-acl-id", |seen| one(&seen.record.id)),
    ("owner-id", |seen| one(seen.site.account)),
    ("vpc-id", |seen| one(&seen.record.vpc)),
];

const ACLS: Kind<NetworkAcl> = Kind { ids: "NetworkAclIds", prefix: "acl", facts: ACL_FACTS };

fn arn(site: &Site<'_>, id: &str) -> String {
    site.arn(&format!("subnet/{id}"))
}

/// The subnet with this id.
pub(super) fn subnet<'p>(
    pages: &'p Pages,
    site: &Site<'_>,
    id: &str,
) -> Result<&'p Subnet, ApiError> {
    pages.subnets.get(id).ok_or_else(|| not_found(site, "subnet", id))
}

/// The addresses of running instances in a subnet.
pub(super) fn taken(pages: &Pages, subnet: &str) -> BTreeSet<Ipv4Addr> {
    let here = pages.instances.values().filter(|known| runs(known) && known.subnet == subnet);
    here.map(|instance| instance.address).collect()
}

/// Whether an instance can have this address in a subnet, if nobody has it.
pub(super) fn usable(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    let first = u32::from(cidr.network()) + RESERVED - 1;
    cidr.contains(&address) && u32::from(address) >= first && address != cidr.broadcast()
}

/// How many addresses are left.
fn free(pages: &Pages, subnet: &Subnet) -> i64 {
    let all = i64::from(u32::from(subnet.cidr.broadcast()) - u32::from(subnet.cidr.network())) + 1;
    let taken = i64::try_from(taken(pages, &subnet.id).len()).unwrap_or(i64::MAX);
    all - i64::from(RESERVED) - taken
}

fn view(pages: &Pages, site: &Site<'_>, subnet: &Subnet) -> Structure {
    let names = Structure::new()
        .set("HostnameType", &subnet.hostname_type)
        .set("EnableResourceNameDnsARecord", subnet.name_a_record)
        .set("EnableResourceNameDnsAAAARecord", subnet.name_aaaa_record);
    Structure::new()
        .set("SubnetId", &subnet.id)
        .set("SubnetArn", arn(site, &subnet.id))
        .set("OwnerId", site.account)
        .set("State", "available")
        .set("VpcId", &subnet.vpc)
        .set("CidrBlock", subnet.cidr.to_string())
        .set("AvailabilityZone", &subnet.zone)
        .set("AvailabilityZoneId", site.zone_id(&subnet.zone))
        .set("AvailableIpAddressCount", free(pages, subnet))
        .set("DefaultForAz", subnet.default_for_zone)
        .set("MapPublicIpOnLaunch", subnet.public_addresses)
        .set("MapCustomerOwnedIpOnLaunch", false)
        .set("AssignIpv6AddressOnCreation", false)
        .list("Ipv6CidrBlockAssociationSet", [] as [Structure; 0])
        .set("EnableDns64", subnet.dns64)
        .set("Ipv6Native", false)
        .set("PrivateDnsNameOptionsOnLaunch", names)
        .set("BlockPublicAccessStates", Structure::new().set("InternetGatewayBlockMode", "off"))
        .list("Tags", tags::shown(pages, &subnet.id))
}

/// The zone that a request asks for, or the first one.
fn zone(site: &Site<'_>) -> Result<String, ApiError> {
    let zones = site.zones;
    let by_name = site.text("AvailabilityZone");
    let by_id = site.text("AvailabilityZoneId");
    let (name, asked, found) = match (by_name, by_id) {
        (None, None) => ("availabilityZone", "", zones.first()),
        (Some(name), None) => ("availabilityZone", name, zones.iter().find(|z| *z == name)),
        (None, Some(id)) => {
            ("availabilityZoneId", id, zones.iter().find(|zone| site.zone_id(zone) == id))
        }
        (Some(_), Some(_)) => {
            let text = "AvailabilityZone and AvailabilityZoneId cannot both be specified";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
    };
    found.cloned().ok_or_else(|| {
        let list = zones.join(", ");
        site.bad_value(format!(
            "Value ({asked}) for parameter {name} is invalid. Subnets can currently only be \
             created in the following availability zones: {list}."
        ))
    })
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let input = site.input();
    if ["Ipv6CidrBlock", "Ipv6IpamPoolId", "Ipv6NetmaskLength"].iter().any(|n| input.has(n))
        || input.flag("Ipv6Native") == Some(true)
    {
        return Err(site.unsupported("IPv6 networks"));
    }
    if ["Ipv4IpamPoolId", "OutpostArn"].iter().any(|name| input.has(name)) {
        return Err(site.unsupported("IPAM pools and Outposts"));
    }
    let id = site.need("VpcId")?;
    let within = vpc(pages, site, id)?.cidr;
    let cidr = network(site, "cidrBlock", site.need("CidrBlock")?)?;
    if !within.contains(&cidr) || !(16..=28).contains(&cidr.prefix_len()) {
        return Err(site.refuse("InvalidSubnet.Range", format!("The CIDR '{cidr}' is invalid.")));
    }
    let zone = zone(site)?;
    let others = || pages.subnets.values().filter(|subnet| subnet.vpc == id);
    if others().any(|other| other.cidr.contains(&cidr) || cidr.contains(&other.cidr)) {
        let text = format!("The CIDR '{cidr}' conflicts with another subnet");
        return Err(site.refuse("InvalidSubnet.Conflict", text));
    }
    if others().count() >= MAX_SUBNETS {
        let text = "The maximum number of subnets has been reached.";
        return Err(site.refuse("SubnetLimitExceeded", text));
    }
    let tags = tags::asked(site, &["subnet"], "subnet")?;
    let made = ids.draw("subnet");
    let new = NewSubnet { id: made.clone(), vpc: id, cidr, zone: &zone, is_default: false };
    lay_subnet(pages, ids, new);
    tags::put(pages, &made, tags);
    let made = view(pages, site, subnet(pages, site, &made)?);
    Ok(Structure::new().set("Subnet", made))
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let chosen = select(site, pages, &SUBNETS, pages.subnets.iter())?;
    Ok(chosen.answer("Subnets", |subnet| view(pages, site, subnet)))
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("SubnetId")?;
    let default = subnet(pages, site, id)?.default_for_zone;
    // The subnet group `default` is no record: it is the default subnets.
    let by_default = |holding: &Holding| {
        default && holding.subnet_group.as_deref().is_some_and(|name| name == "default")
    };
    let has = |subnets: &[String]| subnets.iter().any(|subnet| subnet == id);
    if !taken(pages, id).is_empty()
        || pages.cache_subnet_groups.values().any(|group| has(&group.subnets))
        || site.holdings.iter().any(by_default)
    {
        let text = format!("The subnet '{id}' has dependencies and cannot be deleted.");
        return Err(site.refuse("DependencyViolation", text));
    }
    let uses = |a: &crate::book::RouteAssociation| a.subnet.as_deref() == Some(id);
    let table = pages.route_tables.values().find(|table| table.associations.iter().any(uses));
    if let Some(table) = table.map(|table| table.id.clone())
        && let Some(table) = pages.route_tables.get_mut(&table)
    {
        table.associations.retain(|association| !uses(association));
    }
    let acl = pages.network_acls.values().find(|acl| acl.associations.contains_key(id));
    if let Some(acl) = acl.map(|acl| acl.id.clone())
        && let Some(acl) = pages.network_acls.get_mut(&acl)
    {
        acl.associations.remove(id);
    }
    pages.subnets.remove(id);
    pages.tags.remove(id);
    Ok(Structure::new())
}

pub(super) fn modify_attribute(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("SubnetId")?;
    let refused = [
        ("AssignIpv6AddressOnCreation", "IPv6 networks"),
        ("MapCustomerOwnedIpOnLaunch", "Outposts"),
    ];
    for (name, what) in refused {
        if site.attribute(name) == Some(true) {
            return Err(site.unsupported(what));
        }
    }
    if site.input().has("EnableLniAtDeviceIndex") {
        return Err(site.unsupported("Outposts"));
    }
    let hostname = site.text("PrivateDnsHostnameTypeOnLaunch");
    if let Some(kind) = hostname.filter(|kind| !["ip-name", "resource-name"].contains(kind)) {
        let text = format!("Value ({kind}) for parameter hostnameType is invalid.");
        return Err(site.bad_value(text));
    }
    let Some(subnet) = pages.subnets.get_mut(id) else {
        return Err(not_found(site, "subnet", id));
    };
    let flags = [
        ("MapPublicIpOnLaunch", &mut subnet.public_addresses),
        ("EnableDns64", &mut subnet.dns64),
        ("EnableResourceNameDnsARecordOnLaunch", &mut subnet.name_a_record),
        ("EnableResourceNameDnsAAAARecordOnLaunch", &mut subnet.name_aaaa_record),
    ];
    for (name, flag) in flags {
        *flag = site.attribute(name).unwrap_or(*flag);
    }
    if let Some(kind) = hostname {
        subnet.hostname_type = kind.to_owned();
    }
    Ok(Structure::new())
}

fn acl_view(pages: &Pages, site: &Site<'_>, acl: &NetworkAcl) -> Structure {
    let associations = acl.associations.iter().map(|(subnet, id)| {
        Structure::new()
            .set("NetworkAclAssociationId", id)
            .set("NetworkAclId", &acl.id)
            .set("SubnetId", subnet)
    });
    let entry = |egress: bool, number: i64, action: &str| {
        Structure::new()
            .set("CidrBlock", "0.0.0.0/0")
            .set("Egress", egress)
            .set("Protocol", "-1")
            .set("RuleAction", action)
            .set("RuleNumber", number)
    };
    let entries = [true, false]
        .into_iter()
        .flat_map(|egress| [entry(egress, 100, "allow"), entry(egress, 32767, "deny")]);
    Structure::new()
        .set("NetworkAclId", &acl.id)
        .set("VpcId", &acl.vpc)
        .set("OwnerId", site.account)
        .set("IsDefault", true)
        .list("Associations", associations)
        .list("Entries", entries)
        .list("Tags", tags::shown(pages, &acl.id))
}

pub(super) fn describe_acls(pages: &Pages, site: &Site<'_>) -> Answer {
    let chosen = select(site, pages, &ACLS, pages.network_acls.iter())?;
    Ok(chosen.answer("NetworkAcls", |acl| acl_view(pages, site, acl)))
}
