//! Rules of security groups: read from requests, added, changed, taken away.
//!
//! A permission of a request stands for as many rules as it has peers. Two rules are the same if
//! they admit the same; their descriptions do not count.
//!
//! Invariant: a group has no rule twice, and at most [`MAX_RULES`] for each direction.
//!
//! Not here: the groups themselves (`super::groups`).

use ipnet::IpNet;

use crate::book::{Ids, Pages, Peer, Rule, SecurityGroup};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::groups::{by_name, group, meant, plain};
use super::named::not_found;
use super::select::{Fact, Kind, Seen, flag, one, select};
use super::site::Site;
use super::tags;

/// Most rules of a group for each direction.
pub(super) const MAX_RULES: usize = 60;

/// A rule before it has an id.
#[derive(Debug, Clone, PartialEq)]
struct Wish {
    protocol: String,
    from: i64,
    to: i64,
    peer: Peer,
    description: Option<String>,
}

impl Wish {
    fn is(&self, rule: &Rule) -> bool {
        self.protocol == rule.protocol
            && (self.from, self.to) == (rule.from, rule.to)
            && self.peer == rule.peer
    }

    /// As the refusal of a rule that is there already shows it.
    fn shown(&self) -> String {
        let peer = match &self.peer {
            Peer::Net(net) => net.to_string(),
            Peer::Group(id) => id.clone(),
        };
        let what = match self.protocol.as_str() {
            "-1" => "ALL".to_owned(),
            "tcp" | "udp" => {
                let protocol = self.protocol.to_ascii_uppercase();
                format!("{protocol}, from port: {}, to port: {}", self.from, self.to)
            }
            "icmp" | "icmpv6" => {
                let protocol = self.protocol.to_ascii_uppercase();
                format!("{protocol}, type: {}, code: {}", self.from, self.to)
            }
            number => format!("protocol: {number}"),
        };
        format!("peer: {peer}, {what}, ALLOW")
    }
}

/// A protocol by its name or number, as rules keep it.
fn protocol(site: &Site<'_>, text: &str) -> Result<String, ApiError> {
    let text = text.to_ascii_lowercase();
    let name = match text.as_str() {
        "-1" | "all" => "-1",
        "6" | "tcp" => "tcp",
        "17" | "udp" => "udp",
        "1" | "icmp" => "icmp",
        "58" | "icmpv6" => "icmpv6",
        other if other.parse::<u8>().is_ok() => other,
        other => {
            let text = format!("Invalid value '{other}' for IP protocol. Unknown protocol.");
            return Err(site.bad_value(text));
        }
    };
    Ok(name.to_owned())
}

/// Protocol and ports of a permission or rule.
fn traffic(site: &Site<'_>, from: &Structure) -> Result<(String, i64, i64), ApiError> {
    let given = from.text("IpProtocol").filter(|text| !text.is_empty());
    let protocol = protocol(site, given.ok_or_else(|| site.missing("ipProtocol"))?)?;
    let ports = (from.integer("FromPort"), from.integer("ToPort"));
    let (first, last) = match (protocol.as_str(), ports) {
        ("tcp" | "udp", (Some(first), Some(last))) => (first, last),
        ("tcp" | "udp", _) => {
            let text = "Invalid value 'Must specify both from and to ports with TCP/UDP.' for \
                        portRange.";
            return Err(site.bad_value(text));
        }
        ("icmp" | "icmpv6", (first, last)) => (first.unwrap_or(-1), last.unwrap_or(-1)),
        // Others have no ports; whatever came is not looked at.
        _ => return Ok((protocol, -1, -1)),
    };
    let least = if protocol.starts_with("icmp") { -1 } else { 0 };
    let most = if protocol.starts_with("icmp") { 255 } else { 65_535 };
    if ![first, last].iter().all(|port| (least..=most).contains(port)) {
        let text =
            format!("Invalid value '{first}' for portRange. Must be between {least} and {most}");
        return Err(site.bad_value(text));
    }
    if least == 0 && first > last {
        let text = "Invalid TCP/UDP port range";
        return Err(site.refuse("InvalidParameterValue", format!("{text} ({first}:{last})")));
    }
    Ok((protocol, first, last))
}

fn net(site: &Site<'_>, text: &str, v4: bool) -> Result<Peer, ApiError> {
    match text.parse::<IpNet>() {
        Ok(net) if text.contains('/') && matches!(net, IpNet::V4(_)) == v4 => {
            Ok(Peer::Net(net.trunc()))
        }
        _ => Err(site.bad_value(format!("CIDR block {text} is malformed"))),
    }
}

fn description(site: &Site<'_>, from: &Structure) -> Result<Option<String>, ApiError> {
    match from.text("Description").filter(|text| !text.is_empty()) {
        Some(text) if !plain(text) => Err(site.bad_value(
            "Invalid rule description. Valid descriptions are strings less than 256 characters \
             from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        )),
        text => Ok(text.map(str::to_owned)),
    }
}

/// The group that a pair names; it must be one of this account.
fn pair(pages: &Pages, site: &Site<'_>, pair: &Structure) -> Result<Peer, ApiError> {
    let id = pair.text("GroupId").filter(|id| !id.is_empty());
    let name = pair.text("GroupName").filter(|name| !name.is_empty());
    let owner = pair.text("UserId").filter(|owner| !owner.is_empty());
    if let (Some(id), Some(owner)) = (id, owner)
        && owner != site.account
    {
        return Err(not_found(site, "sg", id));
    }
    let known = match (id, name) {
        (Some(id), _) => group(pages, site, id)?,
        (None, Some(name)) => by_name(pages, site, name)?,
        (None, None) => return Err(site.missing("GroupId")),
    };
    Ok(Peer::Group(known.id.clone()))
}

/// The rules that a permission stands for.
fn permission(pages: &Pages, site: &Site<'_>, from: &Structure) -> Result<Vec<Wish>, ApiError> {
    if !from.items("PrefixListIds").is_empty() {
        return Err(site.unsupported("prefix lists"));
    }
    let (protocol, first, last) = traffic(site, from)?;
    let mut wishes = Vec::new();
    let mut add = |peer: Peer, of: &Structure| {
        let (protocol, description) = (protocol.clone(), description(site, of)?);
        wishes.push(Wish { protocol, from: first, to: last, peer, description });
        Ok::<(), ApiError>(())
    };
    for range in from.structures("IpRanges") {
        add(net(site, range.text("CidrIp").unwrap_or_default(), true)?, range)?;
    }
    for range in from.structures("Ipv6Ranges") {
        add(net(site, range.text("CidrIpv6").unwrap_or_default(), false)?, range)?;
    }
    for of in from.structures("UserIdGroupPairs") {
        add(pair(pages, site, of)?, of)?;
    }
    Ok(wishes)
}

/// The rules that a request asks for: its permissions, or the one that its other members describe.
fn wishes(pages: &Pages, site: &Site<'_>) -> Result<Vec<Wish>, ApiError> {
    let input = site.input();
    let mut wishes = Vec::new();
    for from in input.structures("IpPermissions") {
        wishes.append(&mut permission(pages, site, from)?);
    }
    let single = ["IpProtocol", "CidrIp", "SourceSecurityGroupName"];
    if single.iter().any(|name| site.text(name).is_some()) {
        if !wishes.is_empty() {
            let text = "The parameters ipPermissions and ipProtocol cannot be used together";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
        wishes.push(single_wish(pages, site)?);
    }
    if wishes.is_empty() {
        return Err(site.missing("ipPermissions"));
    }
    for (at, wish) in wishes.iter().enumerate() {
        let same = |other: &Wish| Wish { description: None, ..other.clone() };
        if wishes[..at].iter().any(|other| same(other) == same(wish)) {
            let text = "The same permission must not appear multiple times";
            return Err(site.bad_value(text));
        }
    }
    Ok(wishes)
}

fn single_wish(pages: &Pages, site: &Site<'_>) -> Result<Wish, ApiError> {
    let peer = match (site.text("CidrIp"), site.text("SourceSecurityGroupName")) {
        (Some(cidr), None) => net(site, cidr, true)?,
        (None, Some(name)) => Peer::Group(by_name(pages, site, name)?.id.clone()),
        (None, None) => return Err(site.missing("cidrIp")),
        (Some(_), Some(_)) => {
            let text = "cidrIp and sourceSecurityGroupName cannot be used together";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
    };
    let all = peer_is_group(&peer) && site.text("IpProtocol").is_none();
    let (protocol, from, to) =
        if all { ("-1".to_owned(), -1, -1) } else { traffic(site, site.input())? };
    Ok(Wish { protocol, from, to, peer, description: None })
}

const fn peer_is_group(peer: &Peer) -> bool {
    matches!(peer, Peer::Group(_))
}

fn rule_view(pages: &Pages, site: &Site<'_>, group: &str, rule: &Rule) -> Structure {
    let shown = Structure::new()
        .set("SecurityGroupRuleId", &rule.id)
        .set("SecurityGroupRuleArn", site.arn(&format!("security-group-rule/{}", rule.id)))
        .set("GroupId", group)
        .set("GroupOwnerId", site.account)
        .set("IsEgress", rule.egress)
        .set("IpProtocol", &rule.protocol)
        .set("FromPort", rule.from)
        .set("ToPort", rule.to)
        .maybe("Description", rule.description.as_deref())
        .list("Tags", tags::shown(pages, &rule.id));
    match &rule.peer {
        Peer::Net(IpNet::V4(net)) => shown.set("CidrIpv4", net.to_string()),
        Peer::Net(IpNet::V6(net)) => shown.set("CidrIpv6", net.to_string()),
        Peer::Group(id) => {
            let vpc = pages.security_groups.get(id).map(|peer| peer.vpc.as_str());
            let referenced =
                Structure::new().set("GroupId", id).set("UserId", site.account).maybe("VpcId", vpc);
            shown.set("ReferencedGroupInfo", referenced)
        }
    }
}

fn authorize(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids, egress: bool) -> Answer {
    let id = meant(pages, site)?;
    let wishes = wishes(pages, site)?;
    let tags = tags::asked(site, &["security-group-rule"], "security-group-rule")?;
    let known = group(pages, site, &id)?;
    let same = |wish: &&Wish| known.rules.iter().any(|rule| rule.egress == egress && wish.is(rule));
    if let Some(wish) = wishes.iter().find(same) {
        let text = format!("the specified rule \"{}\" already exists", wish.shown());
        return Err(site.refuse("InvalidPermission.Duplicate", text));
    }
    let there = known.rules.iter().filter(|rule| rule.egress == egress).count();
    if there + wishes.len() > MAX_RULES {
        let text = "The maximum number of rules per security group has been reached.";
        return Err(site.refuse("RulesPerSecurityGroupLimitExceeded", text));
    }
    let made: Vec<Rule> = wishes
        .into_iter()
        .map(|wish| {
            let Wish { protocol, from, to, peer, description } = wish;
            Rule { id: ids.draw("sgr"), egress, protocol, from, to, peer, description }
        })
        .collect();
    for rule in &made {
        tags::put(pages, &rule.id, tags.clone());
    }
    let shown: Vec<Structure> = made.iter().map(|rule| rule_view(pages, site, &id, rule)).collect();
    if let Some(known) = pages.security_groups.get_mut(&id) {
        known.rules.extend(made);
    }
    Ok(Structure::new().set("Return", true).list("SecurityGroupRules", shown))
}

pub(super) fn authorize_ingress(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    authorize(pages, site, ids, false)
}

pub(super) fn authorize_egress(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    authorize(pages, site, ids, true)
}

fn revoke(pages: &mut Pages, site: &Site<'_>, egress: bool) -> Answer {
    let id = meant(pages, site)?;
    let by_id: Vec<&str> = site.input().texts("SecurityGroupRuleIds").collect();
    let known = group(pages, site, &id)?;
    let here = || known.rules.iter().filter(|rule| rule.egress == egress);
    let mut gone: Vec<String> = Vec::new();
    for wanted in &by_id {
        if !here().any(|rule| rule.id == *wanted) {
            return Err(not_found(site, "sgr", wanted));
        }
        gone.push((*wanted).to_owned());
    }
    if by_id.is_empty() {
        for wish in wishes(pages, site)? {
            match here().find(|rule| wish.is(rule)) {
                Some(rule) => gone.push(rule.id.clone()),
                None => {
                    let text = "The specified rule does not exist in this security group.";
                    return Err(site.refuse("InvalidPermission.NotFound", text));
                }
            }
        }
    }
    let revoked: Vec<Structure> =
        here().filter(|rule| gone.contains(&rule.id)).map(|rule| revoked(&id, rule)).collect();
    if let Some(known) = pages.security_groups.get_mut(&id) {
        known.rules.retain(|rule| !gone.contains(&rule.id));
    }
    for rule in gone {
        pages.tags.remove(&rule);
    }
    Ok(Structure::new().set("Return", true).list("RevokedSecurityGroupRules", revoked))
}

fn revoked(group: &str, rule: &Rule) -> Structure {
    let shown = Structure::new()
        .set("SecurityGroupRuleId", &rule.id)
        .set("GroupId", group)
        .set("IsEgress", rule.egress)
        .set("IpProtocol", &rule.protocol)
        .set("FromPort", rule.from)
        .set("ToPort", rule.to)
        .maybe("Description", rule.description.as_deref());
    match &rule.peer {
        Peer::Net(IpNet::V4(net)) => shown.set("CidrIpv4", net.to_string()),
        Peer::Net(IpNet::V6(net)) => shown.set("CidrIpv6", net.to_string()),
        Peer::Group(id) => shown.set("ReferencedGroupId", id),
    }
}

pub(super) fn revoke_ingress(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    revoke(pages, site, false)
}

pub(super) fn revoke_egress(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    revoke(pages, site, true)
}

/// What a rule shall be from now on.
fn replacement(pages: &Pages, site: &Site<'_>, from: &Structure) -> Result<Wish, ApiError> {
    let text = |name: &str| from.text(name).filter(|text| !text.is_empty());
    if text("PrefixListId").is_some() {
        return Err(site.unsupported("prefix lists"));
    }
    let peers = [text("CidrIpv4"), text("CidrIpv6"), text("ReferencedGroupId")];
    let peer = match peers {
        [Some(cidr), None, None] => net(site, cidr, true)?,
        [None, Some(cidr), None] => net(site, cidr, false)?,
        [None, None, Some(id)] => Peer::Group(group(pages, site, id)?.id.clone()),
        _ => {
            let text = "A rule must have exactly one of CidrIpv4, CidrIpv6, PrefixListId and \
                        ReferencedGroupId";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
    };
    let (protocol, first, last) = traffic(site, from)?;
    let description = description(site, from)?;
    Ok(Wish { protocol, from: first, to: last, peer, description })
}

pub(super) fn modify(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("GroupId")?;
    let mut rules = group(pages, site, id)?.rules.clone();
    for update in site.input().structures("SecurityGroupRules") {
        let rule_id = update.text("SecurityGroupRuleId").unwrap_or_default();
        let Some(at) = rules.iter().position(|rule| rule.id == rule_id) else {
            return Err(not_found(site, "sgr", rule_id));
        };
        let from = update.structure("SecurityGroupRule");
        let from = from.ok_or_else(|| site.missing("SecurityGroupRule"))?;
        let wish = replacement(pages, site, from)?;
        let egress = rules[at].egress;
        let mut others = rules.iter().filter(|rule| rule.id != rule_id && rule.egress == egress);
        if others.any(|rule| wish.is(rule)) {
            let text = format!("the specified rule \"{}\" already exists", wish.shown());
            return Err(site.refuse("InvalidPermission.Duplicate", text));
        }
        let Wish { protocol, from, to, peer, description } = wish;
        let id = rule_id.to_owned();
        rules[at] = Rule { id, egress, protocol, from, to, peer, description };
    }
    if let Some(known) = pages.security_groups.get_mut(id) {
        known.rules = rules;
    }
    Ok(Structure::new().set("Return", true))
}

/// A rule and the id of its group.
struct Owned {
    group: String,
    rule: Rule,
}

const FACTS: &[Fact<Owned>] = &[
    ("group-id", |seen: &Seen<'_, Owned>| one(&seen.record.group)),
    ("is-egress", |seen| flag(seen.record.rule.egress)),
    ("security-group-rule-id", |seen| one(&seen.record.rule.id)),
];

const RULES: Kind<Owned> = Kind { ids: "SecurityGroupRuleIds", prefix: "sgr", facts: FACTS };

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let owned =
        |group: &SecurityGroup, rule: &Rule| Owned { group: group.id.clone(), rule: rule.clone() };
    let groups = pages.security_groups.values();
    let mut rules: Vec<Owned> =
        groups.flat_map(|group| group.rules.iter().map(|rule| owned(group, rule))).collect();
    rules.sort_by(|one, other| one.rule.id.cmp(&other.rule.id));
    let all = rules.iter().map(|owned| (owned.rule.id.as_str(), owned));
    let chosen = select(site, pages, &RULES, all)?;
    let view = |owned: &Owned| rule_view(pages, site, &owned.group, &owned.rule);
    Ok(chosen.answer("SecurityGroupRules", view))
}
