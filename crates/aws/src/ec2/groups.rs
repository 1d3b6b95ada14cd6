//! Security groups.
//!
//! Invariant: names are unique within a VPC; a group goes only when nobody uses or names it.
//!
//! Not here: their rules (`super::rules`), who may connect in the end (`crate::access`).

use ipnet::IpNet;

use crate::book::{DEFAULT_GROUP, Ids, Pages, Peer, Rule, SecurityGroup, all_traffic, anywhere};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::{not_found, runs};
use super::select::{Fact, Kind, Seen, one, select};
use super::site::Site;
use super::tags;
use super::vpcs::{default_vpc, vpc};

/// Most security groups of a region.
const MAX_GROUPS: usize = 2_500;

fn of_rules(
    group: &SecurityGroup,
    egress: bool,
    fact: impl Fn(&Rule) -> Option<String>,
) -> Vec<String> {
    let rules = group.rules.iter().filter(|rule| rule.egress == egress);
    rules.filter_map(fact).collect()
}

fn port(rule: &Rule, number: i64) -> Option<String> {
    (rule.protocol != "-1").then(|| number.to_string())
}

fn net(rule: &Rule, v4: bool) -> Option<String> {
    match &rule.peer {
        Peer::Net(net) if matches!(net, IpNet::V4(_)) == v4 => Some(net.to_string()),
        _ => None,
    }
}

fn peer_group(rule: &Rule) -> Option<String> {
    match &rule.peer {
        Peer::Group(id) => Some(id.clone()),
        Peer::Net(_) => None,
    }
}

const FACTS: &[Fact<SecurityGroup>] = &[
    ("description", |seen: &Seen<'_, SecurityGroup>| one(&seen.record.description)),
    ("egress.ip-permission.cidr", |seen| of_rules(seen.record, true, |rule| net(rule, true))),
    ("egress.ip-permission.from-port", |seen| {
        of_rules(seen.record, true, |rule| port(rule, rule.from))
    }),
    ("egress.ip-permission.group-id", |seen| of_rules(seen.record, true, peer_group)),
    ("egress.ip-permission.ipv6-cidr", |seen| of_rules(seen.record, true, |r| net(r, false))),
    ("egress.ip-permission.protocol", |seen| {
        of_rules(seen.record, true, |rule| Some(rule.protocol.clone()))
    }),
    ("egress.ip-permission.to-port", |seen| {
        of_rules(seen.record, true, |rule| port(rule, rule.to))
    }),
    ("group-id", |seen| one(&seen.record.id)),
    ("group-name", |seen| one(&seen.record.name)),
    ("ip-permission.cidr", |seen| of_rules(seen.record, false, |rule| net(rule, true))),
    ("ip-permission.from-port", |seen| of_rules(seen.record, false, |rule| port(rule, rule.from))),
    ("ip-permission.group-id", |seen| of_rules(seen.record, false, peer_group)),
    ("ip-permission.ipv6-cidr", |seen| of_rules(seen.record, false, |rule| net(rule, false))),
    ("ip-permission.protocol", |seen| {
        of_rules(seen.record, false, |rule| Some(rule.protocol.clone()))
    }),
    ("ip-permission.to-port", |seen| of_rules(seen.record, false, |rule| port(rule, rule.to))),
    ("owner-id", |seen| one(seen.site.account)),
    ("vpc-id", |seen| one(&seen.record.vpc)),
];

const GROUPS: Kind<SecurityGroup> = Kind { ids: "GroupIds", prefix: "sg", facts: FACTS };

/// The group with this id.
pub(super) fn group<'p>(
    pages: &'p Pages,
    site: &Site<'_>,
    id: &str,
) -> Result<&'p SecurityGroup, ApiError> {
    pages.security_groups.get(id).ok_or_else(|| not_found(site, "sg", id))
}

/// The group with this name in the default VPC.
pub(super) fn by_name<'p>(
    pages: &'p Pages,
    site: &Site<'_>,
    name: &str,
) -> Result<&'p SecurityGroup, ApiError> {
    let vpc = default_vpc(pages, site)?;
    let mut groups = pages.security_groups.values();
    groups.find(|group| group.vpc == vpc.id && group.name == name).ok_or_else(|| {
        let text =
            format!("The security group '{name}' does not exist in default VPC '{}'", vpc.id);
        site.refuse("InvalidGroup.NotFound", text)
    })
}

/// The group that a request is about: by its id, or by its name in the default VPC.
pub(super) fn meant(pages: &Pages, site: &Site<'_>) -> Result<String, ApiError> {
    match (site.text("GroupId"), site.text("GroupName")) {
        (Some(id), _) => group(pages, site, id).map(|group| group.id.clone()),
        (None, Some(name)) => by_name(pages, site, name).map(|group| group.id.clone()),
        (None, None) => {
            let text = "The request must contain the parameter groupName or groupId";
            Err(site.refuse("MissingParameter", text))
        }
    }
}

/// One permission of an answer: all peers that have protocol and ports in common.
fn permissions(
    site: &Site<'_>,
    pages: &Pages,
    group: &SecurityGroup,
    egress: bool,
) -> Vec<Structure> {
    let mut seen: Vec<(&str, i64, i64)> = Vec::new();
    let rules: Vec<&Rule> = group.rules.iter().filter(|rule| rule.egress == egress).collect();
    for rule in &rules {
        let key = (rule.protocol.as_str(), rule.from, rule.to);
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    let permission = |(protocol, from, to): (&str, i64, i64)| {
        let same = |rule: &&&Rule| rule.protocol == protocol && (rule.from, rule.to) == (from, to);
        let rules: Vec<&Rule> = rules.iter().filter(same).copied().collect();
        let ports = protocol != "-1";
        let described =
            |shown: Structure, rule: &Rule| shown.maybe("Description", rule.description.as_deref());
        let nets = |v4: bool, name: &'static str| {
            let of = move |rule: &&Rule| {
                net(rule, v4).map(|net| described(Structure::new().set(name, net), rule))
            };
            rules.iter().filter_map(of).collect::<Vec<_>>()
        };
        let pairs = rules.iter().filter_map(|rule| {
            let id = peer_group(rule)?;
            let vpc = pages.security_groups.get(&id).filter(|peer| peer.vpc != group.vpc);
            let pair = Structure::new()
                .set("GroupId", id)
                .set("UserId", site.account)
                .maybe("VpcId", vpc.map(|peer| peer.vpc.as_str()));
            Some(described(pair, rule))
        });
        Structure::new()
            .set("IpProtocol", protocol)
            .maybe("FromPort", ports.then_some(from))
            .maybe("ToPort", ports.then_some(to))
            .list("IpRanges", nets(true, "CidrIp"))
            .list("Ipv6Ranges", nets(false, "CidrIpv6"))
            .list("PrefixListIds", [] as [Structure; 0])
            .list("UserIdGroupPairs", pairs)
    };
    seen.into_iter().map(permission).collect()
}

fn arn(site: &Site<'_>, id: &str) -> String {
    site.arn(&format!("security-group/{id}"))
}

fn view(pages: &Pages, site: &Site<'_>, group: &SecurityGroup) -> Structure {
    Structure::new()
        .set("GroupId", &group.id)
        .set("GroupName", &group.name)
        .set("Description", &group.description)
        .set("OwnerId", site.account)
        .set("VpcId", &group.vpc)
        .set("SecurityGroupArn", arn(site, &group.id))
        .list("IpPermissions", permissions(site, pages, group, false))
        .list("IpPermissionsEgress", permissions(site, pages, group, true))
        .list("Tags", tags::shown(pages, &group.id))
}

/// Whether a text has only characters that names and descriptions of groups and rules may have.
pub(super) fn plain(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    text.chars().count() <= 255 && text.chars().all(allowed)
}

fn checked<'a>(site: &Site<'a>) -> Result<(&'a str, &'a str), ApiError> {
    let (name, description) = (site.need("GroupName")?, site.need("Description")?);
    let set = "the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
    if !plain(name) {
        return Err(site.bad_value(format!(
            "Invalid security group name. Valid names are strings less than 256 characters from {set}"
        )));
    }
    if !plain(description) {
        return Err(site.bad_value(format!(
            "Invalid security group description. Valid descriptions are strings less than 256 \
             characters from {set}"
        )));
    }
    if name.starts_with("sg-") {
        let text = "Invalid security group name. Group names may not be in the format sg-*.";
        return Err(site.bad_value(text));
    }
    if name == DEFAULT_GROUP {
        let text = "Cannot use reserved security group name: default";
        return Err(site.bad_value(text));
    }
    Ok((name, description))
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let (name, description) = checked(site)?;
    let vpc = match site.text("VpcId") {
        Some(id) => vpc(pages, site, id)?.id.clone(),
        None => default_vpc(pages, site)?.id.clone(),
    };
    if pages.security_groups.values().any(|group| group.vpc == vpc && group.name == name) {
        let text = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(site.refuse("InvalidGroup.Duplicate", text));
    }
    if pages.security_groups.len() >= MAX_GROUPS {
        let text = "The maximum number of security groups has been reached.";
        return Err(site.refuse("SecurityGroupLimitExceeded", text));
    }
    let tags = tags::asked(site, &["security-group"], "security-group")?;
    let id = ids.draw("sg");
    let rules = vec![all_traffic(ids, true, Peer::Net(anywhere()))];
    let (name, description) = (name.to_owned(), description.to_owned());
    let made = SecurityGroup { id: id.clone(), name, description, vpc, rules };
    pages.security_groups.insert(&id, made);
    tags::put(pages, &id, tags);
    Ok(Structure::new()
        .set("GroupId", &id)
        .set("SecurityGroupArn", arn(site, &id))
        .list("Tags", tags::shown(pages, &id)))
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let names: Vec<&str> = site.input().texts("GroupNames").collect();
    for name in &names {
        by_name(pages, site, name)?;
    }
    let named = |group: &SecurityGroup| {
        let default = pages.vpcs.get(&group.vpc).is_some_and(|vpc| vpc.is_default);
        names.is_empty() || (default && names.contains(&group.name.as_str()))
    };
    let groups = pages.security_groups.iter().filter(|(_, group)| named(group));
    let chosen = select(site, pages, &GROUPS, groups)?;
    Ok(chosen.answer("SecurityGroups", |group| view(pages, site, group)))
}

/// Takes a group away, and the tags of its rules.
pub(super) fn remove(pages: &mut Pages, id: &str) {
    pages.tags.remove(id);
    let gone = pages.security_groups.remove(id);
    for rule in gone.iter().flat_map(|group| &group.rules) {
        pages.tags.remove(&rule.id);
    }
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = meant(pages, site)?;
    let known = group(pages, site, &id)?;
    if known.name == DEFAULT_GROUP {
        let text = format!(
            "the specified group: \"{id}\" name: \"{}\" cannot be deleted by a user",
            known.name
        );
        return Err(site.refuse("CannotDelete", text));
    }
    let names = |group: &SecurityGroup| {
        group.id != id && group.rules.iter().any(|rule| rule.peer == Peer::Group(id.clone()))
    };
    let used = pages.instances.values().any(|i| runs(i) && i.security_groups.contains(&id))
        || pages.security_groups.values().any(names)
        || site.holder(&id).is_some();
    if used {
        let text = format!("resource {id} has a dependent object");
        return Err(site.refuse("DependencyViolation", text));
    }
    remove(pages, &id);
    Ok(Structure::new().set("Return", true).set("GroupId", id))
}
