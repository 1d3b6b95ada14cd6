//! What has an id: which kinds there are, and what is said when one is not there.
//!
//! Clients wait for a thing to be gone by the code of this refusal, and each kind has its own.
//!
//! Invariant: an id's kind is what stands before its last hyphen.
//!
//! Not here: names that people choose (key pairs, security groups).

use crate::book::{Instance, Pages};
use crate::error::ApiError;

use super::site::Site;

/// A kind of thing with ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// What its ids begin with.
    pub(super) prefix: &'static str,
    /// What tags call it.
    pub(super) resource: &'static str,
    code: &'static str,
    text: [&'static str; 2],
}

const fn kind(
    prefix: &'static str,
    resource: &'static str,
    code: &'static str,
    text: [&'static str; 2],
) -> Kind {
    Kind { prefix, resource, code, text }
}

const GONE: &str = "' does not exist";

/// Sources: the error codes of the EC2 API reference.
const KINDS: [Kind; 11] = [
    kind("vpc", "vpc", "InvalidVpcID.NotFound", ["The vpc ID '", GONE]),
    kind("subnet", "subnet", "InvalidSubnetID.NotFound", ["The subnet ID '", GONE]),
    kind(
        "igw",
        "internet-gateway",
        "InvalidInternetGatewayID.NotFound",
        ["The internetGateway ID '", GONE],
    ),
    kind("rtb", "route-table", "InvalidRouteTableID.NotFound", ["The routeTable ID '", GONE]),
    kind("acl", "network-acl", "InvalidNetworkAclID.NotFound", ["The networkAcl ID '", GONE]),
    kind("sg", "security-group", "InvalidGroup.NotFound", ["The security group '", GONE]),
    kind(
        "sgr",
        "security-group-rule",
        "InvalidSecurityGroupRuleId.NotFound",
        ["The security group rule ID '", GONE],
    ),
    kind("key", "key-pair", "InvalidKeyPair.NotFound", ["The key pair ID '", GONE]),
    kind("i", "instance", "InvalidInstanceID.NotFound", ["The instance ID '", GONE]),
    kind("vol", "volume", "InvalidVolume.NotFound", ["The volume '", "' does not exist."]),
    kind(
        "eni",
        "network-interface",
        "InvalidNetworkInterfaceID.NotFound",
        ["The networkInterface ID '", GONE],
    ),
];

/// The kind of an id.
pub(super) fn kind_of(id: &str) -> Option<Kind> {
    let (prefix, _) = id.rsplit_once('-')?;
    KINDS.into_iter().find(|kind| kind.prefix == prefix)
}

/// How long a terminated instance is shown.
const REMEMBERED_MS: i64 = 3_600_000;

/// Whether an instance is still shown.
pub(super) fn remembered(instance: &Instance, now_ms: i64) -> bool {
    instance.terminated_ms.is_none_or(|at| now_ms.saturating_sub(at) < REMEMBERED_MS)
}

/// Whether an instance runs.
pub(crate) fn runs(instance: &Instance) -> bool {
    instance.terminated_ms.is_none()
}

/// Whether there is something with this id.
pub(super) fn exists(site: &Site<'_>, pages: &Pages, id: &str) -> bool {
    let Some(kind) = kind_of(id) else { return false };
    match kind.prefix {
        "vpc" => pages.vpcs.contains(id),
        "subnet" => pages.subnets.contains(id),
        "igw" => pages.internet_gateways.contains(id),
        "rtb" => pages.route_tables.contains(id),
        "acl" => pages.network_acls.contains(id),
        "sg" => pages.security_groups.contains(id),
        "key" => pages.key_pairs.contains(id),
        "i" => pages.instances.get(id).is_some_and(|known| remembered(known, site.now_ms())),
        "vol" => pages.instances.values().any(|known| runs(known) && known.volume.id == id),
        "eni" => pages.instances.values().any(|known| runs(known) && known.interface.id == id),
        "sgr" => {
            let mut rules = pages.security_groups.values().flat_map(|group| &group.rules);
            rules.any(|rule| rule.id == id)
        }
        _ => false,
    }
}

/// The refusal of an id that nothing has. `prefix` is what its kind's ids begin with.
pub(super) fn not_found(site: &Site<'_>, prefix: &str, id: &str) -> ApiError {
    match KINDS.iter().find(|kind| kind.prefix == prefix) {
        Some(kind) => {
            let [before, after] = kind.text;
            site.refuse(kind.code, format_args!("{before}{id}{after}"))
        }
        None => site.refuse("InvalidID", format_args!("The ID '{id}' is not valid")),
    }
}

/// The refusal of an instance that is not there, or of several.
pub(super) fn no_instances(site: &Site<'_>, ids: &[&str]) -> ApiError {
    let text = match ids {
        [id] => format!("The instance ID '{id}' does not exist"),
        ids => format!("The instance IDs '{}' do not exist", ids.join(", ")),
    };
    site.refuse("InvalidInstanceID.NotFound", text)
}
