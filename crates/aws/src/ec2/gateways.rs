//! Internet gateways.
//!
//! Invariant: a VPC has at most one.
//!
//! Not here: routes that lead to them (`super::routes`).

use crate::book::{Ids, InternetGateway, Pages};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::{not_found, runs};
use super::select::{Fact, Kind, Seen, one, select};
use super::site::Site;
use super::tags;
use super::vpcs::vpc;

/// Most internet gateways of a region.
const MAX_GATEWAYS: usize = 100;

const FACTS: &[Fact<InternetGateway>] = &[
    ("attachment.state", |seen: &Seen<'_, InternetGateway>| {
        seen.record.vpc.iter().map(|_| "available".to_owned()).collect()
    }),
    ("attachment.vpc-id", |seen| seen.record.vpc.iter().cloned().collect()),
    ("internet-gateway-id", |seen| one(&seen.record.id)),
    ("owner-id", |seen| one(seen.site.account)),
];

const GATEWAYS: Kind<InternetGateway> =
    Kind { ids: "InternetGatewayIds", prefix: "igw", facts: FACTS };

fn view(pages: &Pages, site: &Site<'_>, gateway: &InternetGateway) -> Structure {
    let attachment = |vpc| Structure::new().set("State", "available").set("VpcId", vpc);
    Structure::new()
        .set("InternetGatewayId", &gateway.id)
        .set("OwnerId", site.account)
        .list("Attachments", gateway.vpc.iter().map(attachment))
        .list("Tags", tags::shown(pages, &gateway.id))
}

fn gateway<'p>(
    pages: &'p mut Pages,
    site: &Site<'_>,
    id: &str,
) -> Result<&'p mut InternetGateway, ApiError> {
    pages.internet_gateways.get_mut(id).ok_or_else(|| not_found(site, "igw", id))
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    if pages.internet_gateways.len() >= MAX_GATEWAYS {
        let text = "The maximum number of internet gateways has been reached.";
        return Err(site.refuse("InternetGatewayLimitExceeded", text));
    }
    let tags = tags::asked(site, &["internet-gateway"], "internet-gateway")?;
    let id = ids.draw("igw");
    let made = InternetGateway { id: id.clone(), vpc: None };
    tags::put(pages, &id, tags);
    let shown = view(pages, site, &made);
    pages.internet_gateways.insert(&id, made);
    Ok(Structure::new().set("InternetGateway", shown))
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let chosen = select(site, pages, &GATEWAYS, pages.internet_gateways.iter())?;
    Ok(chosen.answer("InternetGateways", |gateway| view(pages, site, gateway)))
}

pub(super) fn attach(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let (id, to) = (site.need("InternetGatewayId")?, site.need("VpcId")?);
    if let Some(vpc) = gateway(pages, site, id)?.vpc.as_deref() {
        let text = format!("resource {id} is already attached to network {vpc}");
        return Err(site.refuse("Resource.AlreadyAssociated", text));
    }
    vpc(pages, site, to)?;
    if pages.internet_gateways.values().any(|other| other.vpc.as_deref() == Some(to)) {
        let text = format!("Network {to} already has an internet gateway attached");
        return Err(site.bad_value(text));
    }
    gateway(pages, site, id)?.vpc = Some(to.to_owned());
    Ok(Structure::new())
}

pub(super) fn detach(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let (id, from) = (site.need("InternetGatewayId")?, site.need("VpcId")?);
    let attached = gateway(pages, site, id)?.vpc.clone();
    vpc(pages, site, from)?;
    if attached.as_deref() != Some(from) {
        let text = format!("resource {id} is not attached to network {from}");
        return Err(site.refuse("Gateway.NotAttached", text));
    }
    let public = |instance: &crate::book::Instance| {
        runs(instance) && instance.vpc == from && instance.public_address.is_some()
    };
    if pages.instances.values().any(public) {
        let text = format!(
            "Network {from} has some mapped public address(es). Please unmap those public \
             address(es) before detaching the gateway."
        );
        return Err(site.refuse("DependencyViolation", text));
    }
    gateway(pages, site, id)?.vpc = None;
    Ok(Structure::new())
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("InternetGatewayId")?;
    if gateway(pages, site, id)?.vpc.is_some() {
        let text = format!("The internetGateway '{id}' has dependencies and cannot be deleted.");
        return Err(site.refuse("DependencyViolation", text));
    }
    pages.internet_gateways.remove(id);
    pages.tags.remove(id);
    Ok(Structure::new())
}
