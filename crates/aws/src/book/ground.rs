//! What comes with a VPC and with a region: the parts that nobody asks for and everybody relies on.
//!
//! A VPC has a main route table, a list of network rules and a default security group from its
//! first moment; clients look for them and Terraform takes a rule of the group away again. A region
//! has a default VPC with a subnet in each zone, so that a first command needs no network.
//!
//! Invariant: each VPC has exactly one main route table, one default network list and one security
//! group named `default`.
//!
//! Not here: whether a network may be made (`crate::ec2`); networks with fixed ids (`super::declared`).

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::ids::Ids;
use super::pages::Pages;
use super::records::{
    InternetGateway, NetworkAcl, Peer, Route, RouteAssociation, RouteTable, Rule, SecurityGroup,
    Subnet, Target, Vpc,
};

/// The name of the security group that a VPC comes with.
pub(crate) const DEFAULT_GROUP: &str = "default";

/// Every IPv4 address.
pub(crate) fn anywhere() -> IpNet {
    IpNet::V4(Ipv4Net::default())
}

/// A VPC to be made.
#[derive(Debug)]
pub(crate) struct NewVpc {
    pub(crate) id: String,
    pub(crate) cidr: Ipv4Net,
    pub(crate) is_default: bool,
    pub(crate) tenancy: String,
}

/// A subnet to be made.
#[derive(Debug)]
pub(crate) struct NewSubnet<'a> {
    pub(crate) id: String,
    pub(crate) vpc: &'a str,
    pub(crate) cidr: Ipv4Net,
    pub(crate) zone: &'a str,
    pub(crate) is_default: bool,
}

/// A rule for everything, to or from `peer`.
pub(crate) fn all_traffic(ids: &mut Ids, egress: bool, peer: Peer) -> Rule {
    Rule {
        id: ids.draw("sgr"),
        egress,
        protocol: "-1".to_owned(),
        from: -1,
        to: -1,
        peer,
        description: None,
    }
}

/// Makes a VPC with what comes with it.
pub(crate) fn lay_vpc(pages: &mut Pages, ids: &mut Ids, new: NewVpc) {
    let NewVpc { id, cidr, is_default, tenancy } = new;
    let known = pages.vpcs.values().next().map(|vpc| vpc.dhcp_options.clone());
    let vpc = Vpc {
        id: id.clone(),
        cidr,
        cidr_association: ids.draw("vpc-cidr-assoc"),
        is_default,
        tenancy,
        dhcp_options: known.unwrap_or_else(|| ids.draw("dopt")),
        dns_support: true,
        dns_hostnames: is_default,
        address_metrics: false,
    };
    pages.vpcs.insert(&id, vpc);
    let table = ids.draw("rtb");
    let main = RouteAssociation { id: ids.draw("rtbassoc"), subnet: None };
    let routes = vec![Route { destination: IpNet::V4(cidr), target: Target::Local }];
    let main = RouteTable { id: table.clone(), vpc: id.clone(), routes, associations: vec![main] };
    pages.route_tables.insert(&table, main);
    let acl = ids.draw("acl");
    let rules = NetworkAcl { id: acl.clone(), vpc: id.clone(), associations: Default::default() };
    pages.network_acls.insert(&acl, rules);
    let group = ids.draw("sg");
    let own = all_traffic(ids, false, Peer::Group(group.clone()));
    let out = all_traffic(ids, true, Peer::Net(anywhere()));
    let default = SecurityGroup {
        id: group.clone(),
        name: DEFAULT_GROUP.to_owned(),
        description: "default VPC security group".to_owned(),
        vpc: id,
        rules: vec![own, out],
    };
    pages.security_groups.insert(&group, default);
}

/// Makes a subnet, which its VPC's network rules cover from now on.
pub(crate) fn lay_subnet(pages: &mut Pages, ids: &mut Ids, new: NewSubnet<'_>) {
    let NewSubnet { id, vpc, cidr, zone, is_default } = new;
    let acl = pages.network_acls.values().find(|acl| acl.vpc == vpc).map(|acl| acl.id.clone());
    if let Some(acl) = acl.and_then(|acl| pages.network_acls.get_mut(&acl)) {
        acl.associations.insert(id.clone(), ids.draw("aclassoc"));
    }
    let subnet = Subnet {
        id: id.clone(),
        vpc: vpc.to_owned(),
        cidr,
        zone: zone.to_owned(),
        default_for_zone: is_default,
        public_addresses: is_default,
        dns64: false,
        hostname_type: "ip-name".to_owned(),
        name_a_record: false,
        name_aaaa_record: false,
    };
    pages.subnets.insert(&id, subnet);
}

/// Makes a region's default VPC: a subnet in each zone, and a way out.
pub(crate) fn lay_region<'z>(
    pages: &mut Pages,
    ids: &mut Ids,
    zones: impl Iterator<Item = &'z str>,
) {
    const NETWORK: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 0);
    // These prefixes are in range; a region has at most as many default subnets as fit.
    let (Ok(whole), vpc) = (Ipv4Net::new(NETWORK, 16), ids.draw("vpc")) else { return };
    let tenancy = "default".to_owned();
    lay_vpc(pages, ids, NewVpc { id: vpc.clone(), cidr: whole, is_default: true, tenancy });
    let Ok(parts) = whole.subnets(20) else { return };
    for (zone, cidr) in zones.zip(parts) {
        let id = ids.draw("subnet");
        lay_subnet(pages, ids, NewSubnet { id, vpc: &vpc, cidr, zone, is_default: true });
    }
    let gateway = ids.draw("igw");
    let attached = InternetGateway { id: gateway.clone(), vpc: Some(vpc.clone()) };
    pages.internet_gateways.insert(&gateway, attached);
    let main = pages.route_tables.values().find(|table| table.vpc == vpc);
    if let Some(main) = main.map(|table| table.id.clone())
        && let Some(main) = pages.route_tables.get_mut(&main)
    {
        main.routes.push(Route { destination: anywhere(), target: Target::Gateway(gateway) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_begins_with_a_default_network() {
        let mut pages = Pages::default();
        let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
        lay_region(&mut pages, &mut Ids::seeded(1), zones.into_iter());
        let vpc = pages.vpcs.values().next().unwrap();
        assert!(vpc.is_default && vpc.dns_hostnames);
        assert_eq!(vpc.cidr.to_string(), "172.31.0.0/16");
        let subnets: Vec<String> =
            pages.subnets.values().map(|s| format!("{} {}", s.zone, s.cidr)).collect();
        let expected =
            ["us-east-1a 172.31.0.0/20", "us-east-1b 172.31.16.0/20", "us-east-1c 172.31.32.0/20"];
        assert!(expected.iter().all(|subnet| subnets.contains(&(*subnet).to_owned())));
        let table = pages.route_tables.values().next().unwrap();
        assert_eq!((table.routes.len(), table.associations.len()), (2, 1));
        let acl = pages.network_acls.values().next().unwrap();
        assert_eq!(acl.associations.len(), 3);
        let group = pages.security_groups.values().next().unwrap();
        assert_eq!((group.name.as_str(), group.rules.len()), ("default", 2));
        assert_eq!(pages.len(), 1 + 3 + 1 + 1 + 1 + 1);
    }
}
