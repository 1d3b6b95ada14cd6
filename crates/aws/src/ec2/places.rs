//! Regions, zones and the account.
//!
//! Invariant: what is shown is what is configured.
//!
//! Not here: which zones hosts are in.

use crate::book::Pages;
use crate::service::Answer;
use crate::value::Structure;

use super::select::{Fact, Seen, filters, one};
use super::site::Site;

const OPT_IN: &str = "opt-in-not-required";

const REGION_FACTS: &[Fact<String>] = &[
    ("endpoint", |seen: &Seen<'_, String>| one(endpoint(seen.record))),
    ("opt-in-status", |_| one(OPT_IN)),
    ("region-name", |seen| one(seen.record)),
];

fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

pub(super) fn describe_regions(pages: &Pages, site: &Site<'_>) -> Answer {
    let filters = filters(site, REGION_FACTS)?;
    let names: Vec<&str> = site.input().texts("RegionNames").collect();
    if let Some(name) = names.iter().find(|name| !site.regions.iter().any(|r| r == *name)) {
        return Err(site.bad_value(format!("Invalid region name: {name}")));
    }
    let regions = site.regions.iter().filter(|region| {
        let seen = Seen { site, pages, record: *region };
        (names.is_empty() || names.contains(&region.as_str()))
            && filters.iter().all(|filter| filter.admits(region, &seen))
    });
    let views = regions.map(|region| {
        Structure::new()
            .set("RegionName", region)
            .set("Endpoint", endpoint(region))
            .set("OptInStatus", OPT_IN)
    });
    Ok(Structure::new().list("Regions", views))
}

const ZONE_FACTS: &[Fact<String>] = &[
    ("group-name", |seen: &Seen<'_, String>| one(&seen.site.ask.region)),
    ("message", |_| Vec::new()),
    ("opt-in-status", |_| one(OPT_IN)),
    ("parent-zone-id", |_| Vec::new()),
    ("parent-zone-name", |_| Vec::new()),
    ("region-name", |seen| one(&seen.site.ask.region)),
    ("state", |_| one("available")),
    ("zone-id", |seen| one(seen.site.zone_id(seen.record))),
    ("zone-name", |seen| one(seen.record)),
    ("zone-type", |_| one("availability-zone")),
];

pub(super) fn describe_zones(pages: &Pages, site: &Site<'_>) -> Answer {
    let filters = filters(site, ZONE_FACTS)?;
    let names: Vec<&str> = site.input().texts("ZoneNames").collect();
    let ids: Vec<&str> = site.input().texts("ZoneIds").collect();
    if let Some(name) = names.iter().find(|name| !site.zones.iter().any(|zone| zone == *name)) {
        return Err(site.bad_value(format!("Invalid availability zone: [{name}]")));
    }
    if let Some(id) = ids.iter().find(|id| !site.zones.iter().any(|z| site.zone_id(z) == **id)) {
        return Err(site.bad_value(format!("Invalid availability zone-id: [{id}]")));
    }
    let region = site.ask.region.as_str();
    let zones = site.zones.iter().filter(|zone| {
        let seen = Seen { site, pages, record: *zone };
        (names.is_empty() || names.contains(&zone.as_str()))
            && (ids.is_empty() || ids.contains(&site.zone_id(zone).as_str()))
            && filters.iter().all(|filter| filter.admits(zone, &seen))
    });
    let views = zones.map(|zone| {
        Structure::new()
            .set("ZoneName", zone)
            .set("ZoneId", site.zone_id(zone))
            .set("RegionName", region)
            .set("GroupName", region)
            .set("NetworkBorderGroup", region)
            .set("ZoneType", "availability-zone")
            .set("OptInStatus", OPT_IN)
            .set("State", "available")
            .list("Messages", [] as [Structure; 0])
    });
    Ok(Structure::new().list("AvailabilityZones", views))
}

pub(super) fn describe_account(pages: &Pages, site: &Site<'_>) -> Answer {
    let default = pages.vpcs.values().find(|vpc| vpc.is_default);
    let default = default.map_or("none", |vpc| vpc.id.as_str());
    let known = [("supported-platforms", "VPC"), ("default-vpc", default)];
    let names: Vec<&str> = site.input().texts("AttributeNames").collect();
    if let Some(name) = names.iter().find(|name| !known.iter().any(|(known, _)| known == *name)) {
        let text = format!("Value ({name}) for parameter attributeName is invalid.");
        return Err(site.bad_value(text));
    }
    let wanted = known.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    let views = wanted.map(|(name, value)| {
        let value = Structure::new().set("AttributeValue", *value);
        Structure::new().set("AttributeName", *name).list("AttributeValues", [value])
    });
    Ok(Structure::new().list("AccountAttributes", views))
}
