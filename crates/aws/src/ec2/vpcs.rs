//! VPCs.
//!
//! Invariant: a VPC goes only when nothing but what it came with is in it.
//!
//! Not here: what it comes with (`crate::book`).

use ipnet::Ipv4Net;

use crate::book::{DEFAULT_GROUP, Ids, NewVpc, Pages, Vpc, lay_vpc};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::not_found;
use super::select::{Fact, Kind, Seen, flag, one, select};
use super::site::Site;
use super::tags;

/// Most VPCs of a region.
const MAX_VPCS: usize = 100;

const FACTS: &[Fact<Vpc>] = &[
    ("cidr", |seen: &Seen<'_, Vpc>| one(seen.record.cidr.to_string())),
    ("cidr-block-association.association-id", |seen| one(&seen.record.cidr_association)),
    ("cidr-block-association.cidr-block", |seen| one(seen.record.cidr.to_string())),
    ("cidr-block-association.state", |_| one("associated")),
    ("dhcp-options-id", |seen| one(&seen.record.dhcp_options)),
    ("ipv6-cidr-block-association.association-id", |_| Vec::new()),
    ("ipv6-cidr-block-association.ipv6-cidr-block", |_| Vec::new()),
    ("is-default", |seen| flag(seen.record.is_default)),
    ("isDefault", |seen| flag(seen.record.is_default)),
    ("owner-id", |seen| one(seen.site.account)),
    ("state", |_| one("available")),
    ("vpc-id", |seen| one(&seen.record.id)),
];

const VPCS: Kind<Vpc> = Kind { ids: "VpcIds", prefix: "vpc", facts: FACTS };

/// The VPC with this id.
pub(super) fn vpc<'p>(pages: &'p Pages, site: &Site<'_>, id: &str) -> Result<&'p Vpc, ApiError> {
    pages.vpcs.get(id).ok_or_else(|| not_found(site, "vpc", id))
}

/// The default VPC.
pub(super) fn default_vpc<'p>(pages: &'p Pages, site: &Site<'_>) -> Result<&'p Vpc, ApiError> {
    let mut vpcs = pages.vpcs.values();
    let default = vpcs.find(|vpc| vpc.is_default);
    default.ok_or_else(|| site.refuse("VPCIdNotSpecified", "No default VPC for this user"))
}

/// A network as a request writes it; bits beyond its prefix count as none, as they do with AWS.
pub(super) fn network(site: &Site<'_>, name: &str, text: &str) -> Result<Ipv4Net, ApiError> {
    match text.parse::<Ipv4Net>() {
        Ok(cidr) if text.contains('/') => Ok(cidr.trunc()),
        _ => {
            let wrong = "This is not a valid CIDR block.";
            Err(site.bad_value(format!("Value ({text}) for parameter {name} is invalid. {wrong}")))
        }
    }
}

fn view(pages: &Pages, site: &Site<'_>, vpc: &Vpc) -> Structure {
    let association = Structure::new()
        .set("AssociationId", &vpc.cidr_association)
        .set("CidrBlock", vpc.cidr.to_string())
        .set("CidrBlockState", Structure::new().set("State", "associated"));
    Structure::new()
        .set("VpcId", &vpc.id)
        .set("OwnerId", site.account)
        .set("State", "available")
        .set("CidrBlock", vpc.cidr.to_string())
        .list("CidrBlockAssociationSet", [association])
        .set("DhcpOptionsId", &vpc.dhcp_options)
        .set("InstanceTenancy", &vpc.tenancy)
        .set("IsDefault", vpc.is_default)
        .set("BlockPublicAccessStates", Structure::new().set("InternetGatewayBlockMode", "off"))
        .list("Tags", tags::shown(pages, &vpc.id))
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let input = site.input();
    if input.flag("AmazonProvidedIpv6CidrBlock") == Some(true)
        || ["Ipv6CidrBlock", "Ipv6Pool", "Ipv6IpamPoolId"].iter().any(|name| input.has(name))
    {
        return Err(site.unsupported("IPv6 networks"));
    }
    if input.has("Ipv4IpamPoolId") {
        return Err(site.unsupported("IPAM pools"));
    }
    let cidr = network(site, "cidrBlock", site.need("CidrBlock")?)?;
    if !(16..=28).contains(&cidr.prefix_len()) {
        return Err(site.refuse("InvalidVpc.Range", format!("The CIDR '{cidr}' is invalid.")));
    }
    let tenancy = input.text("InstanceTenancy").unwrap_or("default");
    if !["default", "dedicated"].contains(&tenancy) {
        let text = format!("Value ({tenancy}) for parameter instanceTenancy is invalid.");
        return Err(site.bad_value(text));
    }
    if pages.vpcs.len() >= MAX_VPCS {
        let text = "The maximum number of VPCs has been reached.";
        return Err(site.refuse("VpcLimitExceeded", text));
    }
    let tags = tags::asked(site, &["vpc"], "vpc")?;
    let id = ids.draw("vpc");
    let tenancy = tenancy.to_owned();
    lay_vpc(pages, ids, NewVpc { id: id.clone(), cidr, is_default: false, tenancy });
    tags::put(pages, &id, tags);
    let made = view(pages, site, vpc(pages, site, &id)?);
    Ok(Structure::new().set("Vpc", made))
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let chosen = select(site, pages, &VPCS, pages.vpcs.iter())?;
    Ok(chosen.answer("Vpcs", |vpc| view(pages, site, vpc)))
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("VpcId")?;
    vpc(pages, site, id)?;
    let main = |associations: &[crate::book::RouteAssociation]| {
        associations.iter().any(|association| association.subnet.is_none())
    };
    let used = pages.subnets.values().any(|subnet| subnet.vpc == id)
        || pages.internet_gateways.values().any(|gateway| gateway.vpc.as_deref() == Some(id))
        || pages.route_tables.values().any(|table| table.vpc == id && !main(&table.associations))
        || pages.security_groups.values().any(|g| g.vpc == id && g.name != DEFAULT_GROUP)
        || pages.cache_subnet_groups.values().any(|group| group.vpc_id == id);
    if used {
        let text = format!("The vpc '{id}' has dependencies and cannot be deleted.");
        return Err(site.refuse("DependencyViolation", text));
    }
    let groups: Vec<String> =
        pages.security_groups.values().filter(|g| g.vpc == id).map(|g| g.id.clone()).collect();
    if let Some(group) = groups.iter().find(|group| site.holder(group).is_some()) {
        let text = format!("resource {group} has a dependent object");
        return Err(site.refuse("DependencyViolation", text));
    }
    for group in groups {
        super::groups::remove(pages, &group);
    }
    let tables = pages.route_tables.values().filter(|table| table.vpc == id);
    let tables: Vec<String> = tables.map(|table| table.id.clone()).collect();
    let acls = pages.network_acls.values().filter(|acl| acl.vpc == id);
    let acls: Vec<String> = acls.map(|acl| acl.id.clone()).collect();
    for gone in tables {
        pages.route_tables.remove(&gone);
        pages.tags.remove(&gone);
    }
    for gone in acls {
        pages.network_acls.remove(&gone);
        pages.tags.remove(&gone);
    }
    pages.vpcs.remove(id);
    pages.tags.remove(id);
    Ok(Structure::new())
}

pub(super) fn modify_attribute(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("VpcId")?;
    let given = ["EnableDnsHostnames", "EnableDnsSupport", "EnableNetworkAddressUsageMetrics"]
        .map(|name| site.attribute(name));
    let Some(vpc) = pages.vpcs.get_mut(id) else { return Err(not_found(site, "vpc", id)) };
    match given {
        [Some(value), None, None] => vpc.dns_hostnames = value,
        [None, Some(value), None] => vpc.dns_support = value,
        [None, None, Some(value)] => vpc.address_metrics = value,
        [None, None, None] => return Err(site.missing("attribute")),
        _ => {
            let text = "Fields for multiple attribute types specified";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
    }
    Ok(Structure::new())
}

pub(super) fn describe_attribute(pages: &Pages, site: &Site<'_>) -> Answer {
    let vpc = vpc(pages, site, site.need("VpcId")?)?;
    let attribute = site.need("Attribute")?;
    let (name, value) = match attribute {
        "enableDnsHostnames" => ("EnableDnsHostnames", vpc.dns_hostnames),
        "enableDnsSupport" => ("EnableDnsSupport", vpc.dns_support),
        "enableNetworkAddressUsageMetrics" => {
            ("EnableNetworkAddressUsageMetrics", vpc.address_metrics)
        }
        other => {
            let text =
                format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(site.bad_value(text));
        }
    };
    let value = Structure::new().set("Value", value);
    Ok(Structure::new().set("VpcId", &vpc.id).set(name, value))
}
