//! Cache subnet groups: in which subnets nodes may be.
//!
//! Each operation is a function from the region's records to the next ones; a group's VPC and zones
//! are its subnets', never the request's.
//!
//! Invariant: the subnets of a group are there and in one VPC; while a replication group uses it,
//! it stays, and so do the subnets of the zones that have nodes.
//!
//! Not here: subnets themselves (`crate::ec2`).

use std::collections::BTreeSet;

use super::describe::named;
use super::network::{DEFAULT_SUBNETS, SubnetGroup, no_subnet_group, subnet_groups};
use super::page::page;
use super::refusal::{Refusal, bad_value, refuse};
use super::scene::Scene;
use super::{ids, tags};
use crate::book::{CacheSubnetGroup, Pages, Subnet};
use crate::value::Structure;

/// Most subnet groups of a region.
const MOST: usize = 150;
/// Most subnets of a group.
const MOST_SUBNETS: usize = 20;
/// The code for a subnet that does not exist, as the service's model has it.
const NO_SUBNET: &str = "InvalidSubnet";

/// A `CacheSubnetGroup`.
fn shown(scene: Scene<'_>, group: &SubnetGroup<'_>) -> Structure {
    let subnets = group.subnets.iter().map(|subnet| {
        Structure::new()
            .set("SubnetIdentifier", subnet.id.as_str())
            .set("SubnetAvailabilityZone", Structure::new().set("Name", subnet.zone.as_str()))
            .list("SupportedNetworkTypes", ["ipv4"])
    });
    Structure::new()
        .set("CacheSubnetGroupName", group.name)
        .set("CacheSubnetGroupDescription", group.description)
        .set("VpcId", group.vpc)
        .list("Subnets", subnets)
        .set("ARN", scene.arn("subnetgroup", group.name))
        .list("SupportedNetworkTypes", ["ipv4"])
}

fn found<'a>(pages: &'a Pages, name: &str) -> Result<SubnetGroup<'a>, Refusal> {
    let name = name.to_ascii_lowercase();
    let found = subnet_groups(pages).into_iter().find(|group| group.name == name);
    found.ok_or_else(|| no_subnet_group(&name))
}

fn answer(scene: Scene<'_>, name: &str) -> Result<Structure, Refusal> {
    let group = found(scene.pages, name)?;
    Ok(Structure::new().set("CacheSubnetGroup", shown(scene, &group)))
}

/// `DescribeCacheSubnetGroups`.
pub(super) fn describe(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let wanted = match named(input, "CacheSubnetGroupName") {
        Some(name) => vec![found(scene.pages, name)?],
        None => subnet_groups(scene.pages),
    };
    let items = wanted.into_iter().map(|group| (group.name.to_owned(), group));
    let (groups, marker) = page("DescribeCacheSubnetGroups", input, items)?;
    let groups = groups.iter().map(|group| shown(scene, group));
    Ok(Structure::new().maybe("Marker", marker).list("CacheSubnetGroups", groups))
}

/// `CreateCacheSubnetGroup`.
pub(super) fn create(
    scene: Scene<'_>,
    pages: &mut Pages,
    input: &Structure,
) -> Result<Structure, Refusal> {
    let name = ids::subnet_group(input.text("CacheSubnetGroupName").unwrap_or(""))?;
    let description = input.text("CacheSubnetGroupDescription").unwrap_or("").to_owned();
    if name == DEFAULT_SUBNETS || pages.cache_subnet_groups.contains(&name) {
        let message = format_args!("Cache subnet group {name} already exists.");
        return Err(refuse("CacheSubnetGroupAlreadyExists", message));
    }
    if pages.cache_subnet_groups.len() >= MOST {
        let message = format_args!("There are {MOST} cache subnet groups already.");
        return Err(refuse("CacheSubnetGroupQuotaExceeded", message));
    }
    let tags = tags::given(input)?;
    let (vpc_id, subnets) = chosen(pages, input)?;
    let record = CacheSubnetGroup {
        name: name.clone(),
        description,
        vpc_id,
        subnets,
        arn: None,
        tags,
        created_ms: scene.now.as_millisecond(),
    };
    pages.cache_subnet_groups.insert(&name, record);
    answer(Scene { pages, ..scene }, &name)
}

/// The subnets that a request names, and their VPC.
fn chosen(pages: &Pages, input: &Structure) -> Result<(String, Vec<String>), Refusal> {
    let mut subnets: Vec<&str> = Vec::new();
    for id in input.texts("SubnetIds") {
        if !subnets.contains(&id) {
            subnets.push(id);
        }
    }
    if subnets.is_empty() {
        return Err(bad_value("The parameter SubnetIds must be provided."));
    }
    if subnets.len() > MOST_SUBNETS {
        let message = format_args!("A cache subnet group can have {MOST_SUBNETS} subnets at most.");
        return Err(refuse("CacheSubnetQuotaExceededFault", message));
    }
    let known: Vec<&Subnet> = subnets.iter().filter_map(|id| pages.subnets.get(id)).collect();
    let Some(first) = known.first().filter(|_| known.len() == subnets.len()) else {
        let list = subnets.join(", ");
        let message = format_args!("Some input subnets in :[{list}] are invalid.");
        return Err(refuse(NO_SUBNET, message));
    };
    if let Some(other) = known.iter().find(|subnet| subnet.vpc != first.vpc) {
        let message =
            format_args!("Subnets {} and {} are not in the same VPC.", first.id, other.id);
        return Err(refuse("InvalidSubnet", message));
    }
    Ok((first.vpc.clone(), subnets.into_iter().map(str::to_owned).collect()))
}

/// `ModifyCacheSubnetGroup`.
pub(super) fn modify(
    scene: Scene<'_>,
    pages: &mut Pages,
    input: &Structure,
) -> Result<Structure, Refusal> {
    let name = input.text("CacheSubnetGroupName").unwrap_or("").to_ascii_lowercase();
    refuse_default(&name)?;
    let group = pages.cache_subnet_groups.get(&name).ok_or_else(|| no_subnet_group(&name))?;
    let mut changed = group.clone();
    if let Some(description) = input.text("CacheSubnetGroupDescription") {
        changed.description = description.to_owned();
    }
    if !input.items("SubnetIds").is_empty() {
        let (vpc, subnets) = chosen(pages, input)?;
        if vpc != group.vpc_id {
            return Err(refuse(
                "InvalidSubnet",
                format_args!(
                    "The subnets are in {vpc}, the cache subnet group is in {}.",
                    group.vpc_id
                ),
            ));
        }
        check_used(scene, pages, group, &subnets)?;
        changed.subnets = subnets;
    }
    pages.cache_subnet_groups.insert(&name, changed);
    answer(Scene { pages, ..scene }, &name)
}

/// Do nodes stay in zones that have a subnet?
fn check_used(
    scene: Scene<'_>,
    pages: &Pages,
    group: &CacheSubnetGroup,
    stay: &[String],
) -> Result<(), Refusal> {
    let zone = |id: &String| pages.subnets.get(id).map(|subnet| subnet.zone.as_str());
    let zones: BTreeSet<&str> = stay.iter().filter_map(zone).collect();
    let users = users(scene, &group.name);
    let used: BTreeSet<&str> =
        users.flat_map(|user| user.nodes()).map(|node| node.zone.as_str()).collect();
    let goes = group.subnets.iter().filter(|id| !stay.contains(id));
    for id in goes {
        if zone(id).is_some_and(|zone| used.contains(zone) && !zones.contains(zone)) {
            let message = format_args!("The subnet {id} is in use by a cache cluster.");
            return Err(refuse("SubnetInUse", message));
        }
    }
    Ok(())
}

fn users<'a>(scene: Scene<'a>, name: &str) -> impl Iterator<Item = &'a crate::groups::Group> {
    let name = name.to_owned();
    let groups = scene.groups.iter();
    groups.filter(move |group| group.record.subnet_group.as_deref() == Some(name.as_str()))
}

fn refuse_default(name: &str) -> Result<(), Refusal> {
    if name != DEFAULT_SUBNETS {
        return Ok(());
    }
    Err(bad_value(format_args!(
        "The cache subnet group {DEFAULT_SUBNETS} follows from the default VPC and cannot be \
         changed or deleted."
    )))
}

/// `DeleteCacheSubnetGroup`.
pub(super) fn delete(
    scene: Scene<'_>,
    pages: &mut Pages,
    input: &Structure,
) -> Result<Structure, Refusal> {
    let name = input.text("CacheSubnetGroupName").unwrap_or("").to_ascii_lowercase();
    refuse_default(&name)?;
    if !pages.cache_subnet_groups.contains(&name) {
        return Err(no_subnet_group(&name));
    }
    if users(scene, &name).next().is_some() {
        let message =
            format_args!("Cache subnet group {name} is currently in use by a cache cluster.");
        return Err(refuse("CacheSubnetGroupInUse", message));
    }
    pages.cache_subnet_groups.remove(&name);
    Ok(Structure::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::{Stage, xml};

    type Work = fn(Scene<'_>, &mut Pages, &Structure) -> Result<Structure, Refusal>;

    /// Carries an operation out.
    fn act(stage: &mut Stage, work: Work, input: &Structure) -> Result<Structure, Refusal> {
        let mut pages = stage.pages.clone();
        let answer = work(stage.scene(), &mut pages, input)?;
        stage.pages = pages;
        Ok(answer)
    }

    fn input(name: &str, subnets: &[&str]) -> Structure {
        Structure::new()
            .set("CacheSubnetGroupName", name)
            .set("CacheSubnetGroupDescription", "d")
            .list("SubnetIds", subnets.iter().copied())
    }

    #[test]
    fn a_group_takes_its_network_from_its_subnets() {
        let mut stage = Stage::new();
        let asked = input("Mine", &["subnet-b", "subnet-a", "subnet-a"]);
        let answer = act(&mut stage, create, &asked).unwrap();
        let text = xml("CreateCacheSubnetGroup", &answer);
        for part in [
            "<CacheSubnetGroupName>mine</CacheSubnetGroupName>",
            "<VpcId>vpc-2</VpcId>",
            "<SubnetIdentifier>subnet-b</SubnetIdentifier><SubnetAvailabilityZone>\
             <Name>us-east-1b</Name>",
            "<ARN>arn:aws:elasticache:us-east-1:123456789012:subnetgroup:mine</ARN>",
            "<SupportedNetworkTypes><member>ipv4</member>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("<Subnet>").count(), 2);
        let refusal = act(&mut stage, create, &asked).unwrap_err();
        assert_eq!(refusal.code, "CacheSubnetGroupAlreadyExists");
        let all = describe(stage.scene(), &Structure::new()).unwrap();
        let names: Vec<&str> = all
            .structures("CacheSubnetGroups")
            .filter_map(|group| group.text("CacheSubnetGroupName"))
            .collect();
        assert_eq!(names, ["default", "mine", "practice"]);
        xml("DescribeCacheSubnetGroups", &all);
    }

    #[test]
    fn subnets_that_are_not_there_or_not_together_are_refused() {
        let mut stage = Stage::new();
        let mut code = |subnets: &[&str]| {
            let refusal = act(&mut stage, create, &input("mine", subnets)).unwrap_err();
            (refusal.code, refusal.message)
        };
        let (missing, message) = code(&["subnet-a", "subnet-11111111"]);
        assert_eq!(missing, "InvalidSubnet");
        assert_eq!(message, "Some input subnets in :[subnet-a, subnet-11111111] are invalid.");
        assert_eq!(code(&["subnet-a", "subnet-d0"]).0, "InvalidSubnet");
        assert_eq!(code(&[]).0, "InvalidParameterValue");
        assert_eq!(code(&["x"; 1]).0, "InvalidSubnet");
        let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(code(&many).0, "CacheSubnetQuotaExceededFault");
    }

    #[test]
    fn a_group_that_is_used_stays() {
        let mut stage = Stage::new();
        let asked = input("Practice", &[]);
        let refusal = act(&mut stage, delete, &asked).unwrap_err();
        assert_eq!(refusal.code, "CacheSubnetGroupInUse");
        stage.groups[0].record.retained = true;
        assert!(act(&mut stage, delete, &asked).is_err(), "its primary is still there");
        stage.groups.clear();
        let answer = act(&mut stage, delete, &asked).unwrap();
        xml("DeleteCacheSubnetGroup", &answer);
        let refusal = act(&mut stage, delete, &asked).unwrap_err();
        assert_eq!(refusal.code, "CacheSubnetGroupNotFoundFault");
    }

    #[test]
    fn a_subnet_with_nodes_in_its_zone_stays() {
        let mut stage = Stage::new();
        let refusal = act(&mut stage, modify, &input("practice", &["subnet-a"])).unwrap_err();
        assert_eq!(refusal.code, "SubnetInUse");
        stage.groups[0].status.shards[0].nodes.truncate(1);
        let answer = act(&mut stage, modify, &input("practice", &["subnet-a"])).unwrap();
        let text = xml("ModifyCacheSubnetGroup", &answer);
        assert!(!text.contains("subnet-b") && text.contains("subnet-a"));
        let elsewhere = act(&mut stage, modify, &input("practice", &["subnet-d0"])).unwrap_err();
        assert_eq!(elsewhere.code, "InvalidSubnet");
    }

    #[test]
    fn the_default_group_is_nobodys_to_change() {
        let mut stage = Stage::new();
        let asked = input("default", &["subnet-d0"]);
        let code = |result: Result<Structure, Refusal>| result.unwrap_err().code;
        assert_eq!(code(act(&mut stage, create, &asked)), "CacheSubnetGroupAlreadyExists");
        assert_eq!(code(act(&mut stage, modify, &asked)), "InvalidParameterValue");
        assert_eq!(code(act(&mut stage, delete, &asked)), "InvalidParameterValue");
    }
}
