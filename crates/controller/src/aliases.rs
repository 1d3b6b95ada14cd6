//! Names that the owner gives to endpoints, such as those that applications use already.
//!
//! Invariant: an alias can stand in a file of hosts and in a certificate.
//!
//! Not here: making a resolver know it (`tanist dev --hosts`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use tanist_core::model::{GroupName, GroupSpec, NodeId};
use tanist_link::api::EndpointName;

/// Most aliases: each may be in a certificate, which every handshake carries.
const MOST: usize = 100;
/// Longest name, in bytes, and longest part between two dots.
const LONGEST: (usize, usize) = (253, 63);

/// Why an alias cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAlias {
    /// It is no name that a resolver could be asked for.
    #[error(
        "{0:?} cannot be an alias: letters, digits, hyphens and dots, at most 253; not an address, \
         not localhost"
    )]
    Name(String),
    /// It leads nowhere.
    #[error("{0:?} leads nowhere: GROUP, GROUP:primary, GROUP:reader or GROUP:NODE is wanted")]
    Target(String),
    /// There are too many.
    #[error("there are more than {MOST} aliases")]
    TooMany,
}

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    group: GroupName,
    endpoint: Which,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Primary,
    Reader,
    Node(NodeId),
}

/// Names and where they lead; some may lead to what does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Aliases(BTreeMap<String, Target>);

impl TryFrom<BTreeMap<String, String>> for Aliases {
    type Error = BadAlias;

    fn try_from(all: BTreeMap<String, String>) -> Result<Self, BadAlias> {
        if all.len() > MOST {
            return Err(BadAlias::TooMany);
        }
        let parsed = all.into_iter().map(|(name, target)| Ok((alias(&name)?, parse(&target)?)));
        parsed.collect::<Result<_, _>>().map(Self)
    }
}

impl Aliases {
    /// Those of a group that lead somewhere; `node` finds a node's address.
    pub(crate) fn of(
        &self,
        spec: &GroupSpec,
        node: impl Fn(&NodeId) -> Option<Ipv4Addr>,
    ) -> Vec<EndpointName> {
        let own = self.0.iter().filter(|(_, target)| target.group == spec.name);
        own.filter_map(|(name, target)| {
            let address = match &target.endpoint {
                Which::Primary => spec.endpoints.primary,
                Which::Reader => spec.endpoints.reader,
                Which::Node(id) => node(id)?,
            };
            Some(EndpointName { name: name.clone(), address })
        })
        .collect()
    }
}

fn alias(name: &str) -> Result<String, BadAlias> {
    let lower = name.to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=LONGEST.1).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A last label of digits would make it an address for some resolvers.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let good = lower.len() <= LONGEST.0
        && lower.split('.').all(is_label)
        && !lower.rsplit('.').next().is_some_and(is_number)
        && lower.parse::<IpAddr>().is_err()
        && lower != "localhost";
    if good { Ok(lower) } else { Err(BadAlias::Name(name.to_owned())) }
}

fn parse(target: &str) -> Result<Target, BadAlias> {
    let bad = || BadAlias::Target(target.to_owned());
    let (group, endpoint) = target.split_once(':').unwrap_or((target, "primary"));
    let group = GroupName::parse(group).map_err(|_| bad())?;
    let endpoint = match endpoint {
        "primary" => Which::Primary,
        "reader" => Which::Reader,
        node if node.strip_prefix(group.as_str()).is_some_and(|rest| rest.starts_with('-')) => {
            Which::Node(NodeId::new(node))
        }
        _ => return Err(bad()),
    };
    Ok(Target { group, endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, target: &str) -> Result<Aliases, BadAlias> {
        Aliases::try_from(BTreeMap::from([(name.to_owned(), target.to_owned())]))
    }

    #[test]
    fn an_alias_leads_to_the_primary_the_reader_or_a_node() {
        for target in ["web", "web:primary", "web:reader", "web:web-002"] {
            assert!(of("redis-master.aragora", target).is_ok(), "{target}");
        }
        for target in ["", ":primary", "web:", "web:other-002", "web:primary:x", "We b"] {
            assert!(matches!(of("a.b", target), Err(BadAlias::Target(_))), "{target}");
        }
        let (one, other) = (of("Redis.Home", "web").unwrap(), of("redis.home", "web:primary"));
        assert_eq!(Ok(one), other);
    }

    #[test]
    fn what_no_resolver_could_be_asked_for_is_no_alias() {
        let long = format!("{}.x", "a".repeat(64));
        for name in
            ["", ".", "a..b", "a b", "a#b", "-a", "a\nb", "127.0.0.1", "1.2", "localhost", &long]
        {
            assert!(matches!(of(name, "web"), Err(BadAlias::Name(_))), "{name:?}");
        }
        let many = (0..=MOST).map(|number| (format!("a{number}.x"), "web".to_owned()));
        assert_eq!(Aliases::try_from(many.collect::<BTreeMap<_, _>>()), Err(BadAlias::TooMany));
    }
}
