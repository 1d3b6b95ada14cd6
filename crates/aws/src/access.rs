//! Who may connect to a group, from security groups and instances.
//!
//! A security group of AWS speaks of addresses in a VPC. Here a group's endpoints are addresses of
//! this machine, so two kinds of clients are told apart. Those of other machines have an address of
//! their own, and the rules' networks are applied to it as they are. Those of this machine connect
//! from a loopback address, which is in no VPC; they stand for somebody in the group's VPC, and are
//! let in as soon as the rules let in anybody there.
//!
//! Invariant: a group whose rules let nobody in admits nobody.
//!
//! Not here: turning clients away (`tanist-proxy`), the rules themselves (`crate::ec2`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tanist_core::model::Access;
use tanist_link::LinkError;
use tanist_link::api::ModifyGroup;
use tokio::task::JoinSet;

use crate::book::{BookError, DEFAULT_GROUP, Pages, Peer, Rule, Vpc};
use crate::ec2::runs;
use crate::groups::Group;
use crate::service::Context;

/// How often a group is tried again when it changes meanwhile.
const ATTEMPTS: u32 = 5;

/// The controller's codes for a group that does not exist, and for one that has changed meanwhile.
const NO_SUCH_GROUP: &str = "T410";
const CHANGED: &str = "T417";

/// What a replication group holds on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Its name.
    pub(crate) group: String,
    /// Ids of its security groups; none if it was not made through this surface.
    pub(crate) security_groups: Vec<String>,
    /// The name of its subnet group.
    pub(crate) subnet_group: Option<String>,
}

impl Holding {
    /// What a group's record says.
    pub(crate) fn of(group: &Group) -> Self {
        Self {
            group: group.name().to_owned(),
            security_groups: group.record.security_groups.clone(),
            subnet_group: group.record.subnet_group.clone(),
        }
    }

    /// Whether it has this security group.
    pub(crate) fn has(&self, security_group: &str) -> bool {
        self.security_groups.iter().any(|id| id == security_group)
    }
}

/// Why groups could not be told who may connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AccessError {
    /// The records could not be read.
    #[error("reading security groups")]
    Book(#[source] BookError),
    /// The controller could not be asked for the groups.
    #[error("asking for the replication groups")]
    Groups(#[source] LinkError),
    /// A group could not be changed.
    #[error("telling {group} who may connect")]
    Tell {
        /// The group.
        group: String,
        /// Why not.
        #[source]
        source: LinkError,
    },
}

/// Who may connect to a group with these security groups on `port`; `None` if it has none, and so
/// nobody has said anything about it. `loopback_inside`: clients of this machine stand for somebody
/// in the group's VPC; otherwise only a network that names loopback addresses admits them.
pub(crate) fn admitted(
    pages: &Pages,
    security_groups: &[String],
    port: u16,
    loopback_inside: bool,
) -> Option<Access> {
    if security_groups.is_empty() {
        return None;
    }
    let known = security_groups.iter().filter_map(|id| pages.security_groups.get(id));
    let (mut sources, mut loopback) = (Vec::new(), false);
    for group in known {
        let vpc = pages.vpcs.get(&group.vpc);
        for rule in group.rules.iter().filter(|rule| concerns(rule, port)) {
            match &rule.peer {
                Peer::Net(net) => {
                    sources.push(*net);
                    loopback |= if loopback_inside {
                        vpc.is_some_and(|vpc| reaches(net, vpc))
                    } else {
                        net.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST))
                    };
                }
                Peer::Group(id) => {
                    let members = members(pages, id);
                    let own = *id == group.id && group.name == DEFAULT_GROUP;
                    loopback |= loopback_inside && (own || !members.is_empty());
                    sources.extend(members);
                }
            }
        }
    }
    // The same networks in one form, whatever the order of rules: what is unchanged looks unchanged.
    let sources = IpNet::aggregate(&sources);
    Some(Access::Only { sources, loopback })
}

/// Whether a rule lets somebody in on this port.
fn concerns(rule: &Rule, port: u16) -> bool {
    let port = i64::from(port);
    match rule.protocol.as_str() {
        _ if rule.egress => false,
        "-1" => true,
        "tcp" => rule.from <= port && port <= rule.to,
        _ => false,
    }
}

/// Whether a network has an address of a VPC.
fn reaches(net: &IpNet, vpc: &Vpc) -> bool {
    match net {
        IpNet::V4(net) => net.contains(&vpc.cidr) || vpc.cidr.contains(net),
        IpNet::V6(_) => false,
    }
}

/// The addresses of the running instances that have a security group.
fn members(pages: &Pages, security_group: &str) -> Vec<IpNet> {
    let has = |groups: &[String]| groups.iter().any(|id| id == security_group);
    let running = pages.instances.values().filter(|instance| runs(instance));
    let members = running.filter(|instance| has(&instance.security_groups));
    members.map(|instance| IpNet::from(IpAddr::V4(instance.address))).collect()
}

/// Groups that were told and of which it is not known that everybody obeys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unconfirmed(Arc<Mutex<BTreeSet<String>>>);

impl Unconfirmed {
    fn groups(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Names go in and out one at a time: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares who may connect to each group of a region with what its security groups say, and tells
/// those where it differs, all at the same time: one that does not answer keeps no other waiting.
/// Whoever calls this after each change and from time to time need not know what has changed.
///
/// # Errors
/// [`AccessError`] for the first group that could not be told, after all others were tried.
pub(crate) async fn sync(context: &Context, region: &str) -> Result<(), AccessError> {
    let groups = context.groups.in_region(region).await.map_err(AccessError::Groups)?;
    let mut telling = JoinSet::new();
    for group in groups.into_iter().filter(|group| !group.record.security_groups.is_empty()) {
        let (context, region) = (context.clone(), region.to_owned());
        telling.spawn(async move { tell(&context, &region, group).await });
    }
    telling.join_all().await.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

/// Tells one group, if there is anything to tell, and remembers whether that was confirmed.
async fn tell(context: &Context, region: &str, group: Group) -> Result<(), AccessError> {
    let name = group.name().to_owned();
    let told = tell_once(context, region, group).await;
    if told.is_ok() {
        context.unconfirmed.groups().remove(&name);
    } else {
        context.unconfirmed.groups().insert(name);
    }
    told
}

async fn tell_once(context: &Context, region: &str, mut group: Group) -> Result<(), AccessError> {
    let name = group.name().to_owned();
    let failed = |source| AccessError::Tell { group: name.clone(), source };
    let again = context.unconfirmed.groups().contains(&name);
    for attempt in 1.. {
        // After the group, and the group is changed only as it was read: of two that do this at the
        // same time, the one with the older records is turned away.
        let pages = context.book.read(region).await.map_err(AccessError::Book)?;
        let port = group.status.primary_endpoint.port;
        let inside = context.settings.loopback_inside;
        let wanted = admitted(&pages, &group.record.security_groups, port, inside);
        let differs = |wanted: &Access| again || *wanted != group.status.access;
        let Some(wanted) = wanted.filter(differs) else { break };
        if group.status.status == "deleting" {
            break;
        }
        let asked = ModifyGroup {
            expect: Some(group.status.revision),
            access: Some(wanted),
            ..ModifyGroup::default()
        };
        let uri = format!("/v1/groups/{name}");
        let again = match context.groups.modify(&name, &asked).await {
            Ok(_) => break,
            Err(LinkError::Refused(error)) if error.code == CHANGED && attempt < ATTEMPTS => {
                context.groups.client.get(&uri).await
            }
            Err(error) => Err(error),
        };
        group = match again {
            Ok(status) => Group::new(status),
            Err(LinkError::Refused(error)) if error.code == NO_SUCH_GROUP => break,
            Err(source) => return Err(failed(source)),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
