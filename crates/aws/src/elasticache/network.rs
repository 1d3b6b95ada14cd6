//! Where a group's nodes may be and who may talk to them.
//!
//! Invariant: a network that is found has a subnet, and all its subnets are in its VPC.
//!
//! Not here: making networks (`crate::ec2`), what security groups admit (`crate::access`).

use std::collections::BTreeSet;

use super::refusal::{Refusal, bad_combination, bad_value, refuse};
use super::scene::Scene;
use crate::book::{DEFAULT_GROUP, Pages, Subnet};

/// The subnet group that a region has from its first moment: its default VPC's subnets.
pub(super) const DEFAULT_SUBNETS: &str = "default";

/// A subnet group with what its record refers to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SubnetGroup<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) vpc: &'a str,
    pub(super) subnets: Vec<&'a Subnet>,
}

impl SubnetGroup<'_> {
    /// The zones of its subnets, by name.
    pub(super) fn zones(&self) -> BTreeSet<&str> {
        self.subnets.iter().map(|subnet| subnet.zone.as_str()).collect()
    }
}

/// Every subnet group, by name.
pub(super) fn subnet_groups(pages: &Pages) -> Vec<SubnetGroup<'_>> {
    let records = pages.cache_subnet_groups.values().map(|record| SubnetGroup {
        name: &record.name,
        description: &record.description,
        vpc: &record.vpc_id,
        subnets: record.subnets.iter().filter_map(|id| pages.subnets.get(id)).collect(),
    });
    let mut all: Vec<SubnetGroup<'_>> = records.chain(default_subnets(pages)).collect();
    all.sort_by_key(|group| group.name);
    all
}

fn default_subnets(pages: &Pages) -> Option<SubnetGroup<'_>> {
    let vpc = pages.vpcs.values().find(|vpc| vpc.is_default)?;
    let subnets: Vec<&Subnet> = pages
        .subnets
        .values()
        .filter(|subnet| subnet.vpc == vpc.id && subnet.default_for_zone)
        .collect();
    let description = "Default CacheSubnetGroup";
    let group = SubnetGroup { name: DEFAULT_SUBNETS, description, vpc: &vpc.id, subnets };
    (!group.subnets.is_empty()).then_some(group)
}

/// The refusal of a subnet group that does not exist.
pub(super) fn no_subnet_group(name: &str) -> Refusal {
    let message = format_args!("Cache subnet group {name} does not exist.");
    refuse("CacheSubnetGroupNotFoundFault", message)
}

/// The subnet group that a group is created in.
pub(super) fn find<'a>(scene: Scene<'a>, name: Option<&str>) -> Result<SubnetGroup<'a>, Refusal> {
    let wanted = name.unwrap_or(DEFAULT_SUBNETS).to_ascii_lowercase();
    let found = subnet_groups(scene.pages).into_iter().find(|group| group.name == wanted);
    match (found, name) {
        (Some(group), _) => Ok(group),
        (None, Some(_)) => Err(no_subnet_group(&wanted)),
        (None, None) => Err(refuse(
            "InvalidVPCNetworkStateFault",
            "There is no default VPC with a subnet: name a cache subnet group.",
        )),
    }
}

/// The security groups of a group in a VPC: those that are named, or the one of the VPC.
pub(super) fn security_groups<'i>(
    scene: Scene<'_>,
    vpc: &str,
    ids: impl Iterator<Item = &'i str>,
) -> Result<Vec<String>, Refusal> {
    let mut named: Vec<String> = Vec::new();
    for id in ids {
        if !named.iter().any(|known| known == id) {
            named.push(id.to_owned());
        }
    }
    let shelf = &scene.pages.security_groups;
    let unknown: Vec<&str> =
        named.iter().map(String::as_str).filter(|id| !shelf.contains(id)).collect();
    if !unknown.is_empty() {
        let list = unknown.join(", ");
        return Err(bad_value(format_args!("Some security groups in :[{list}] are invalid.")));
    }
    let elsewhere = |id: &&String| shelf.get(id).is_some_and(|group| group.vpc != vpc);
    if let Some(id) = named.iter().find(elsewhere) {
        return Err(bad_combination(format_args!(
            "The security group {id} is not in the VPC of the cache subnet group, {vpc}."
        )));
    }
    if named.is_empty() {
        let own = shelf.values().find(|group| group.vpc == vpc && group.name == DEFAULT_GROUP);
        named.extend(own.map(|group| group.id.clone()));
    }
    Ok(named)
}

/// Can nodes be in these zones?
pub(super) fn check_zones<'z>(
    scene: Scene<'_>,
    group: &SubnetGroup<'_>,
    zones: impl Iterator<Item = &'z str>,
) -> Result<(), Refusal> {
    let there = group.zones();
    for zone in zones {
        if !scene.has_zone(zone) {
            return Err(bad_value(format_args!("{zone} is not a valid availability zone.")));
        }
        if !there.contains(zone) {
            return Err(bad_combination(format_args!(
                "The cache subnet group {} has no subnet in the availability zone {zone}.",
                group.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    #[test]
    fn a_region_has_a_default_group_while_it_has_a_default_network() {
        let mut stage = Stage::new();
        let group = find(stage.scene(), None).unwrap();
        assert_eq!((group.name, group.vpc), ("default", "vpc-1"));
        assert_eq!(group.zones().len(), 3);
        for id in ["subnet-d0", "subnet-d1", "subnet-d2"] {
            stage.pages.subnets.remove(id);
        }
        let refusal = find(stage.scene(), None).unwrap_err();
        assert_eq!(refusal.code, "InvalidVPCNetworkStateFault");
        let refusal = find(stage.scene(), Some("default")).unwrap_err();
        assert_eq!(refusal.code, "CacheSubnetGroupNotFoundFault");
    }

    #[test]
    fn security_groups_exist_and_are_in_the_network() {
        let stage = Stage::new();
        let (own, other) =
            (stage.default_security_group("vpc-2"), stage.default_security_group("vpc-1"));
        let chosen = |ids: &[&str]| security_groups(stage.scene(), "vpc-2", ids.iter().copied());
        assert_eq!(chosen(&[]).unwrap(), [own.as_str()]);
        assert_eq!(chosen(&[&own, &own]).unwrap(), [own.as_str()]);
        assert_eq!(chosen(&["sg-none"]).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(chosen(&[&own, &other]).unwrap_err().code, "InvalidParameterCombination");
    }

    #[test]
    fn zones_exist_and_have_a_subnet() {
        let stage = Stage::new();
        let group = find(stage.scene(), Some("Practice")).unwrap();
        let check = |zone: &str| check_zones(stage.scene(), &group, [zone].into_iter());
        assert!(check("us-east-1a").is_ok());
        assert_eq!(check("us-east-1c").unwrap_err().code, "InvalidParameterCombination");
        assert_eq!(check("us-east-1z").unwrap_err().code, "InvalidParameterValue");
    }
}
