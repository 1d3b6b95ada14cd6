//! Route tables, their routes, and which subnets use them.
//!
//! Invariant: a table has one route for a destination, the first of them inside of the VPC, which
//! nobody takes away.
//!
//! Not here: the main table that a VPC comes with (`crate::book`).

use ipnet::IpNet;

use crate::book::{Ids, Pages, Route, RouteAssociation, RouteTable, Target};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::{not_found, runs};
use super::select::{Fact, Kind, Seen, flag, one, select};
use super::site::Site;
use super::subnets::subnet;
use super::tags;
use super::vpcs::vpc;

/// Most route tables of a VPC.
const MAX_TABLES: usize = 200;
/// Most routes of a table.
const MAX_ROUTES: usize = 50;

fn of_routes(table: &RouteTable, fact: impl Fn(&Route) -> Option<String>) -> Vec<String> {
    table.routes.iter().filter_map(fact).collect()
}

fn of_uses(table: &RouteTable, fact: impl Fn(&RouteAssociation) -> Option<String>) -> Vec<String> {
    table.associations.iter().filter_map(fact).collect()
}

const FACTS: &[Fact<RouteTable>] = &[
    ("association.gateway-id", |_| Vec::new()),
    ("association.main", |seen: &Seen<'_, RouteTable>| {
        of_uses(seen.record, |using| Some(using.subnet.is_none().to_string()))
    }),
    ("association.route-table-association-id", |seen| {
        of_uses(seen.record, |using| Some(using.id.clone()))
    }),
    ("association.route-table-id", |seen| of_uses(seen.record, |_| Some(seen.record.id.clone()))),
    ("association.subnet-id", |seen| of_uses(seen.record, |using| using.subnet.clone())),
    ("owner-id", |seen| one(seen.site.account)),
    ("route-table-id", |seen| one(&seen.record.id)),
    ("route.destination-cidr-block", |seen| {
        of_routes(seen.record, |route| match route.destination {
            IpNet::V4(cidr) => Some(cidr.to_string()),
            IpNet::V6(_) => None,
        })
    }),
    ("route.destination-ipv6-cidr-block", |seen| {
        of_routes(seen.record, |route| match route.destination {
            IpNet::V4(_) => None,
            IpNet::V6(cidr) => Some(cidr.to_string()),
        })
    }),
    ("route.gateway-id", |seen| {
        of_routes(seen.record, |route| match &route.target {
            Target::Local => Some("local".to_owned()),
            Target::Gateway(id) => Some(id.clone()),
            Target::Interface(_) => None,
        })
    }),
    ("route.instance-id", |seen| {
        of_routes(seen.record, |route| match &route.target {
            Target::Interface(id) => instance_of(seen.pages, id).map(|known| known.id.clone()),
            _ => None,
        })
    }),
    ("route.nat-gateway-id", |_| Vec::new()),
    ("route.origin", |seen| of_routes(seen.record, |route| Some(origin(route).to_owned()))),
    ("route.state", |seen| {
        of_routes(seen.record, |route| Some(state(seen.pages, seen.record, route).to_owned()))
    }),
    ("vpc-id", |seen| one(&seen.record.vpc)),
    ("main", |seen| flag(is_main(seen.record))),
];

const TABLES: Kind<RouteTable> = Kind { ids: "RouteTableIds", prefix: "rtb", facts: FACTS };

fn is_main(table: &RouteTable) -> bool {
    table.associations.iter().any(|using| using.subnet.is_none())
}

fn instance_of<'p>(pages: &'p Pages, interface: &str) -> Option<&'p crate::book::Instance> {
    let mut instances = pages.instances.values();
    instances.find(|known| runs(known) && known.interface.id == interface)
}

const fn origin(route: &Route) -> &'static str {
    match route.target {
        Target::Local => "CreateRouteTable",
        _ => "CreateRoute",
    }
}

/// Whether packets would arrive; the target of a route may be gone.
fn state(pages: &Pages, table: &RouteTable, route: &Route) -> &'static str {
    let arrives = match &route.target {
        Target::Local => true,
        Target::Gateway(id) => {
            let gateway = pages.internet_gateways.get(id);
            gateway.is_some_and(|known| known.vpc.as_ref() == Some(&table.vpc))
        }
        Target::Interface(id) => instance_of(pages, id).is_some(),
    };
    if arrives { "active" } else { "blackhole" }
}

fn route_view(pages: &Pages, site: &Site<'_>, table: &RouteTable, route: &Route) -> Structure {
    let shown = match route.destination {
        IpNet::V4(cidr) => Structure::new().set("DestinationCidrBlock", cidr.to_string()),
        IpNet::V6(cidr) => Structure::new().set("DestinationIpv6CidrBlock", cidr.to_string()),
    };
    let shown =
        shown.set("Origin", origin(route)).set("State", state(pages, table, route).to_owned());
    match &route.target {
        Target::Local => shown.set("GatewayId", "local"),
        Target::Gateway(id) => shown.set("GatewayId", id),
        Target::Interface(id) => {
            let instance = instance_of(pages, id);
            shown
                .set("NetworkInterfaceId", id)
                .maybe("InstanceId", instance.map(|known| known.id.as_str()))
                .maybe("InstanceOwnerId", instance.map(|_| site.account))
        }
    }
}

fn associated() -> Structure {
    Structure::new().set("State", "associated")
}

fn view(pages: &Pages, site: &Site<'_>, table: &RouteTable) -> Structure {
    let associations = table.associations.iter().map(|using| {
        Structure::new()
            .set("Main", using.subnet.is_none())
            .set("RouteTableAssociationId", &using.id)
            .set("RouteTableId", &table.id)
            .maybe("SubnetId", using.subnet.as_deref())
            .set("AssociationState", associated())
    });
    let routes = table.routes.iter().map(|route| route_view(pages, site, table, route));
    Structure::new()
        .set("RouteTableId", &table.id)
        .set("VpcId", &table.vpc)
        .set("OwnerId", site.account)
        .list("Associations", associations)
        .list("PropagatingVgws", [] as [Structure; 0])
        .list("Routes", routes)
        .list("Tags", tags::shown(pages, &table.id))
}

fn table<'p>(
    pages: &'p mut Pages,
    site: &Site<'_>,
    id: &str,
) -> Result<&'p mut RouteTable, ApiError> {
    pages.route_tables.get_mut(id).ok_or_else(|| not_found(site, "rtb", id))
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let vpc_id = site.need("VpcId")?;
    let local =
        Route { destination: IpNet::V4(vpc(pages, site, vpc_id)?.cidr), target: Target::Local };
    let token = site.text("ClientToken");
    if pages.route_tables.values().filter(|table| table.vpc == vpc_id).count() >= MAX_TABLES {
        let text = "The maximum number of route tables has been reached.";
        return Err(site.refuse("RouteTableLimitExceeded", text));
    }
    let tags = tags::asked(site, &["route-table"], "route-table")?;
    let id = ids.draw("rtb");
    tags::put(pages, &id, tags);
    let (routes, associations) = (vec![local], Vec::new());
    let made = RouteTable { id: id.clone(), vpc: vpc_id.to_owned(), routes, associations };
    let shown = view(pages, site, &made);
    pages.route_tables.insert(&id, made);
    Ok(Structure::new().set("RouteTable", shown).maybe("ClientToken", token))
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let chosen = select(site, pages, &TABLES, pages.route_tables.iter())?;
    Ok(chosen.answer("RouteTables", |table| view(pages, site, table)))
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("RouteTableId")?;
    if !table(pages, site, id)?.associations.is_empty() {
        let text = format!("The routeTable '{id}' has dependencies and cannot be deleted.");
        return Err(site.refuse("DependencyViolation", text));
    }
    pages.route_tables.remove(id);
    pages.tags.remove(id);
    Ok(Structure::new())
}

/// The destination that a request names.
fn destination(site: &Site<'_>) -> Result<IpNet, ApiError> {
    if site.input().has("DestinationPrefixListId") {
        return Err(site.unsupported("prefix lists"));
    }
    let v4 = site.text("DestinationCidrBlock");
    let v6 = site.text("DestinationIpv6CidrBlock");
    let (name, text) = match (v4, v6) {
        (Some(text), None) => ("destinationCidrBlock", text),
        (None, Some(text)) => ("destinationIpv6CidrBlock", text),
        (None, None) => return Err(site.missing("destinationCidrBlock")),
        (Some(_), Some(_)) => {
            let text = "You may not specify both an IPv4 and an IPv6 destination";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
    };
    let parsed = text.parse::<IpNet>().ok().filter(|_| text.contains('/'));
    match parsed {
        Some(net) if matches!(net, IpNet::V4(_)) == v4.is_some() => Ok(net.trunc()),
        _ => {
            let wrong = "This is not a valid CIDR block.";
            Err(site.bad_value(format!("Value ({text}) for parameter {name} is invalid. {wrong}")))
        }
    }
}

/// What a new route of `vpc` shall lead to.
fn target(pages: &Pages, site: &Site<'_>, table: &str, vpc: &str) -> Result<Target, ApiError> {
    const OTHERS: [&str; 8] = [
        "VpcEndpointId",
        "TransitGatewayId",
        "LocalGatewayId",
        "CarrierGatewayId",
        "CoreNetworkArn",
        "EgressOnlyInternetGatewayId",
        "VpcPeeringConnectionId",
        "NatGatewayId",
    ];
    if let Some(other) = OTHERS.iter().find(|name| site.text(name).is_some()) {
        return Err(site.unsupported(&format!("routes to {other}")));
    }
    let known = ["GatewayId", "InstanceId", "NetworkInterfaceId"].map(|name| site.text(name));
    match known {
        [Some(id), None, None] => match pages.internet_gateways.get(id) {
            None => Err(not_found(site, "igw", id)),
            Some(gateway) if gateway.vpc.as_deref() == Some(vpc) => {
                Ok(Target::Gateway(id.to_owned()))
            }
            Some(_) => {
                let text = format!(
                    "route table {table} and network gateway {id} belong to different networks"
                );
                Err(site.bad_value(text))
            }
        },
        [None, Some(id), None] => match pages.instances.get(id).filter(|known| runs(known)) {
            Some(instance) => Ok(Target::Interface(instance.interface.id.clone())),
            None => Err(not_found(site, "i", id)),
        },
        [None, None, Some(id)] => match instance_of(pages, id) {
            Some(_) => Ok(Target::Interface(id.to_owned())),
            None => Err(not_found(site, "eni", id)),
        },
        [None, None, None] => {
            let text = "The request must contain exactly one of gatewayId, networkInterfaceId, \
                        vpcPeeringConnectionId, egressOnlyInternetGatewayId, natGatewayId or \
                        transitGatewayId";
            Err(site.refuse("MissingParameter", text))
        }
        _ => {
            let text = "You may specify only one target for a route";
            Err(site.refuse("InvalidParameterCombination", text))
        }
    }
}

pub(super) fn create_route(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("RouteTableId")?;
    let vpc = table(pages, site, id)?.vpc.clone();
    let destination = destination(site)?;
    let target = target(pages, site, id, &vpc)?;
    let table = table(pages, site, id)?;
    if let Some(known) = table.routes.iter().find(|route| route.destination == destination) {
        // The same again is no mistake: clients repeat a request whose answer they did not see.
        if known.target == target {
            return Ok(Structure::new().set("Return", true));
        }
        let text = format!("The route identified by {destination} already exists.");
        return Err(site.refuse("RouteAlreadyExists", text));
    }
    if table.routes.len() >= MAX_ROUTES {
        let text = "The maximum number of routes has been reached.";
        return Err(site.refuse("RouteLimitExceeded", text));
    }
    table.routes.push(Route { destination, target });
    Ok(Structure::new().set("Return", true))
}

pub(super) fn delete_route(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("RouteTableId")?;
    let destination = destination(site)?;
    let table = table(pages, site, id)?;
    match table.routes.iter().position(|route| route.destination == destination) {
        Some(at) if table.routes[at].target == Target::Local => {
            let text = format!("cannot remove local route {destination} in route table {id}");
            Err(site.bad_value(text))
        }
        Some(at) => {
            table.routes.remove(at);
            Ok(Structure::new())
        }
        None => {
            let text =
                format!("no route with destination-cidr-block {destination} in route table {id}");
            Err(site.refuse("InvalidRoute.NotFound", text))
        }
    }
}

pub(super) fn associate(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let id = site.need("RouteTableId")?;
    if site.text("GatewayId").is_some() {
        return Err(site.unsupported("route tables of gateways"));
    }
    let subnet_id = site.need("SubnetId")?;
    let vpc = table(pages, site, id)?.vpc.clone();
    if subnet(pages, site, subnet_id)?.vpc != vpc {
        let text = format!("Route table {id} and subnet {subnet_id} belong to different networks");
        return Err(site.bad_value(text));
    }
    let using = |table: &RouteTable| {
        let mut uses = table.associations.iter();
        uses.find(|using| using.subnet.as_deref() == Some(subnet_id)).map(|using| using.id.clone())
    };
    let known = pages.route_tables.values().find_map(|t| using(t).map(|use_| (t.id.clone(), use_)));
    let association = match known {
        Some((known, association)) if known == id => association,
        Some(_) => {
            let text = format!(
                "the specified association for route table {id} conflicts with an existing \
                 association"
            );
            return Err(site.refuse("Resource.AlreadyAssociated", text));
        }
        None => {
            let made = ids.draw("rtbassoc");
            let using = RouteAssociation { id: made.clone(), subnet: Some(subnet_id.to_owned()) };
            table(pages, site, id)?.associations.push(using);
            made
        }
    };
    let answer = Structure::new().set("AssociationId", association);
    Ok(answer.set("AssociationState", associated()))
}

pub(super) fn disassociate(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("AssociationId")?;
    let has = |table: &&RouteTable| table.associations.iter().any(|using| using.id == id);
    let known = pages.route_tables.values().find(has).map(|table| table.id.clone());
    let Some(known) = known else {
        let text = format!("The association ID '{id}' does not exist");
        return Err(site.refuse("InvalidAssociationID.NotFound", text));
    };
    let table = table(pages, site, &known)?;
    if table.associations.iter().any(|using| using.id == id && using.subnet.is_none()) {
        let text = format!("cannot disassociate the main route table association {id}");
        return Err(site.bad_value(text));
    }
    table.associations.retain(|using| using.id != id);
    Ok(Structure::new())
}
