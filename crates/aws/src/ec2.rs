//! EC2: the networks, security groups and instances that replication groups are said to live in.
//!
//! Book-keeping. No packet flows through what is made here; but who may connect to a replication
//! group follows from it (`crate::access`), and clients that make their network first find it.
//!
//! Each operation is a function of the records, the request and lots, so it is tested without a
//! store; what is common to all of them (transactions, dry runs, what follows a change) is here.
//!
//! Invariant: an operation that is refused, or run dry, has changed nothing.
//!
//! Not here: the wire, the store (`crate::book`).

mod changes;
mod devices;
mod gateways;
mod groups;
mod instances;
mod keys;
mod kinds;
mod launch;
mod named;
mod places;
mod routes;
mod rules;
mod select;
mod site;
mod subnets;
mod tags;
mod vpcs;

use crate::access::{self, Holding};
use crate::book::{BookError, Ids, Pages, zone_is_in};
use crate::error::{ApiError, Fault};
use crate::service::{Answer, Ask, Context};
use crate::wire::Protocol;

use keys::FreshKey;
use site::Site;

pub(crate) use named::runs;

/// An operation.
#[derive(Clone, Copy)]
enum Work {
    /// It reads.
    Look(fn(&Pages, &Site<'_>) -> Answer),
    /// It changes what concerns nobody else.
    Change(fn(&mut Pages, &Site<'_>, &mut Ids) -> Answer),
    /// It takes away what replication groups may hold on to.
    Remove(fn(&mut Pages, &Site<'_>, &mut Ids) -> Answer),
    /// It changes who may connect to replication groups.
    Admit(fn(&mut Pages, &Site<'_>, &mut Ids) -> Answer),
}

use Work::{Admit, Change, Look, Remove};

const TABLE: [(&str, Work); 49] = [
    ("AssociateRouteTable", Change(routes::associate)),
    ("AttachInternetGateway", Change(gateways::attach)),
    ("AuthorizeSecurityGroupEgress", Change(rules::authorize_egress)),
    ("AuthorizeSecurityGroupIngress", Admit(rules::authorize_ingress)),
    ("CreateInternetGateway", Change(gateways::create)),
    ("CreateKeyPair", Change(keys::create)),
    ("CreateRoute", Change(routes::create_route)),
    ("CreateRouteTable", Change(routes::create)),
    ("CreateSecurityGroup", Change(groups::create)),
    ("CreateSubnet", Change(subnets::create)),
    ("CreateTags", Change(tags::create)),
    ("CreateVpc", Change(vpcs::create)),
    ("DeleteInternetGateway", Change(gateways::delete)),
    ("DeleteKeyPair", Change(keys::delete)),
    ("DeleteRoute", Change(routes::delete_route)),
    ("DeleteRouteTable", Change(routes::delete)),
    ("DeleteSecurityGroup", Remove(groups::delete)),
    ("DeleteSubnet", Remove(subnets::delete)),
    ("DeleteTags", Change(tags::delete)),
    ("DeleteVpc", Remove(vpcs::delete)),
    ("DescribeAccountAttributes", Look(places::describe_account)),
    ("DescribeAvailabilityZones", Look(places::describe_zones)),
    ("DescribeInstanceAttribute", Look(instances::describe_attribute)),
    ("DescribeInstanceCreditSpecifications", Look(instances::describe_credits)),
    ("DescribeInstanceTypes", Look(kinds::describe)),
    ("DescribeInstances", Look(instances::describe)),
    ("DescribeInternetGateways", Look(gateways::describe)),
    ("DescribeKeyPairs", Look(keys::describe)),
    ("DescribeNetworkAcls", Look(subnets::describe_acls)),
    ("DescribeNetworkInterfaces", Look(devices::describe_interfaces)),
    ("DescribeRegions", Look(places::describe_regions)),
    ("DescribeRouteTables", Look(routes::describe)),
    ("DescribeSecurityGroupRules", Look(rules::describe)),
    ("DescribeSecurityGroups", Look(groups::describe)),
    ("DescribeSubnets", Look(subnets::describe)),
    ("DescribeTags", Look(tags::describe)),
    ("DescribeVolumes", Look(devices::describe_volumes)),
    ("DescribeVpcAttribute", Look(vpcs::describe_attribute)),
    ("DescribeVpcs", Look(vpcs::describe)),
    ("DetachInternetGateway", Change(gateways::detach)),
    ("DisassociateRouteTable", Change(routes::disassociate)),
    ("ModifyInstanceAttribute", Admit(changes::modify)),
    ("ModifySecurityGroupRules", Admit(rules::modify)),
    ("ModifySubnetAttribute", Change(subnets::modify_attribute)),
    ("ModifyVpcAttribute", Change(vpcs::modify_attribute)),
    ("RevokeSecurityGroupEgress", Change(rules::revoke_egress)),
    ("RevokeSecurityGroupIngress", Admit(rules::revoke_ingress)),
    ("RunInstances", Admit(launch::run)),
    ("TerminateInstances", Admit(instances::terminate)),
];

const fn operation_names() -> [&'static str; TABLE.len()] {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        names[at] = TABLE[at].0;
        at += 1;
    }
    names
}

/// Operations that are built; every other is an invalid action.
pub(crate) const OPERATIONS: &[&str] = &operation_names();

fn work_of(operation: &str) -> Option<Work> {
    TABLE.iter().find(|(name, _)| *name == operation).map(|(_, work)| *work)
}

/// Members of inputs that name what a request is about.
const SUBJECTS: [&str; 11] = [
    "VpcId",
    "SubnetId",
    "GroupId",
    "RouteTableId",
    "InternetGatewayId",
    "InstanceId",
    "InstanceIds",
    "KeyPairId",
    "SecurityGroupIds",
    "Groups",
    "Resources",
];

/// What a request is about, as ARNs, for the policies of its caller.
pub(crate) fn resources(context: &Context, ask: &Ask) -> Vec<String> {
    let mut found = Vec::new();
    // What AWS lists can be allowed for everything only.
    if !ask.operation.name.starts_with("Describe") {
        for name in SUBJECTS {
            let ids = ask.input.text(name).into_iter().chain(ask.input.texts(name));
            found.extend(ids.filter_map(|id| {
                let resource = format!("{}/{id}", named::kind_of(id)?.resource);
                Some(context.arn("ec2", &ask.region, &resource))
            }));
        }
    }
    if found.is_empty() {
        found.push("*".to_owned());
    }
    found
}

/// Carries a request out.
pub(crate) async fn answer(context: &Context, ask: &Ask) -> Answer {
    let Some(work) = work_of(ask.operation.name) else { return Err(ask.unknown()) };
    let zones: Vec<String> =
        context.zones.iter().filter(|zone| zone_is_in(zone, &ask.region)).cloned().collect();
    let key = match ask.operation.name {
        // Some tenths of a second of computing.
        "CreateKeyPair" => tokio::task::spawn_blocking(FreshKey::draw).await.ok(),
        _ => None,
    };
    let guarded = matches!(work, Remove(_) | Admit(_));
    let turn = if guarded { Some(context.changing.lock().await) } else { None };
    let groups = if guarded {
        // Before anything is changed: who cannot be told of a change later is not left behind by it.
        context.groups.in_region(&ask.region).await.map_err(|error| unavailable(ask, &error))?
    } else {
        Vec::new()
    };
    let holdings: Vec<Holding> = groups.iter().map(Holding::of).collect();
    let site = Site {
        ask,
        account: &context.account,
        regions: &context.regions,
        zones: &zones,
        holdings: &holdings,
        key: key.as_ref(),
    };
    let answer = carry_out(context, &site, work).await?;
    if matches!(work, Admit(_))
        && let Err(error) = access::sync(context, &ask.region).await
    {
        // It is written down, and the next pass carries it on.
        tracing::warn!(error = &error as &dyn std::error::Error, "telling groups who may connect");
        if takes_away(ask.operation.name) {
            return Err(not_in_force(ask));
        }
    }
    drop(turn);
    Ok(answer)
}

async fn carry_out(context: &Context, site: &Site<'_>, work: Work) -> Answer {
    let region = &site.ask.region;
    match work {
        Look(look) => {
            let pages = context.book.read(region).await.map_err(|error| told(site.ask, error))?;
            let answer = look(&pages, site)?;
            if dry(site.ask) { Err(dry_run(site.ask)) } else { Ok(answer) }
        }
        Change(change) | Remove(change) | Admit(change) => {
            let mut ids = Ids::new();
            let work = |pages: &mut Pages| {
                let answer = change(pages, site, &mut ids)?;
                if dry(site.ask) { Err(dry_run(site.ask)) } else { Ok(answer) }
            };
            context.book.change(region, work).await.map_err(|error| told(site.ask, error))
        }
    }
}

fn dry(ask: &Ask) -> bool {
    ask.input.flag("DryRun") == Some(true)
}

fn dry_run(ask: &Ask) -> ApiError {
    let text = "Request would have succeeded, but DryRun flag is set.";
    ApiError { status: 412, ..ask.refuse("DryRunOperation", text) }
}

/// Whether somebody may be shut out by an operation: its caller relies on that. Who is let in late
/// only tries again.
fn takes_away(operation: &str) -> bool {
    matches!(
        operation,
        "ModifySecurityGroupRules" | "RevokeSecurityGroupIngress" | "TerminateInstances"
    )
}

fn not_in_force(ask: &Ask) -> ApiError {
    let text = "The change is stored, but not every endpoint has confirmed that it obeys it yet. \
                Repeat the request to see whether it does; it is also repeated on its own.";
    ApiError { status: 503, ..ask.refuse("Unavailable", text) }
}

fn unavailable(ask: &Ask, error: &tanist_link::LinkError) -> ApiError {
    tracing::error!(error = error as &dyn std::error::Error, "asking for the replication groups");
    let text = "The server is overloaded and can't handle the request.";
    ApiError { status: 503, ..ask.refuse("Unavailable", text) }
}

fn told(ask: &Ask, error: BookError) -> ApiError {
    match error {
        BookError::Refused(refused) => refused,
        BookError::TooLarge { .. } | BookError::Full { .. } => {
            ask.refuse("ResourceLimitExceeded", "The request would change too much at once")
        }
        other => {
            tracing::error!(error = &other as &dyn std::error::Error, "records");
            Fault::Internal.answer(Protocol::Ec2)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
