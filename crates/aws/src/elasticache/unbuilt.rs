//! What is not built yet, refused in one sentence each.
//!
//! A client that asks for encryption and is told yes has a false protection; one that is told no can
//! decide. So nothing that would be a protection or another kind of group is passed over in silence.
//!
//! Invariant: a value that asks for what there is anyway (`disabled`, `ipv4`, false) is no request.
//!
//! Not here: what is remembered and has no effect yet (`super::create`, `super::modify`).

use super::describe::{named, no_global_group};
use super::refusal::{Refusal, bad_combination, bad_value, refuse};
use super::scene::Scene;
use crate::value::Structure;

/// Flags that must not be true, and why.
const FLAGS: [(&str, &str); 2] = [
    ("AtRestEncryptionEnabled", "Encryption at rest is not offered: data is as safe as its disk."),
    ("DataTieringEnabled", "Data tiering is not offered: all data is in memory."),
];

/// Members whose only possible value is what there is anyway.
const WORDS: [(&str, &str, &str); 3] = [
    ("NetworkType", "ipv4", "Endpoints have IPv4 addresses only."),
    ("IpDiscovery", "ipv4", "Endpoints have IPv4 addresses only."),
    ("ClusterMode", "disabled", "Cluster mode is not offered yet."),
];

/// Members that must not be there, and why.
const MEMBERS: [(&str, &str); 1] =
    [("KmsKeyId", "Encryption at rest is not offered, so there is no key to use.")];

/// Refuses what is not built, of requests that create or modify a replication group.
pub(super) fn refuse_unbuilt(scene: Scene<'_>, input: &Structure) -> Result<(), Refusal> {
    for (member, why) in FLAGS {
        if input.flag(member) == Some(true) {
            return Err(bad_combination(format_args!("{why} Leave {member} out or false.")));
        }
    }
    for (member, only, why) in WORDS {
        if named(input, member).is_some_and(|word| word != only) {
            let message = format_args!("{why} The only value of {member} is {only}.");
            return Err(if member == "ClusterMode" {
                bad_combination(message)
            } else {
                bad_value(message)
            });
        }
    }
    for (member, why) in MEMBERS {
        if named(input, member).is_some() {
            return Err(bad_combination(format_args!("{why} Leave {member} out.")));
        }
    }
    if !input.items("LogDeliveryConfigurations").is_empty() {
        let message = "Log delivery is not offered: engines write logs to files.";
        return Err(bad_combination(message));
    }
    if !input.items("CacheSecurityGroupNames").is_empty() {
        let message =
            "Use of cache security groups is not permitted in this API version for your account.";
        return Err(bad_combination(message));
    }
    snapshots(input)?;
    if let Some(port) = input.integer("Port").filter(|port| *port != i64::from(scene.settings.port))
    {
        let only = scene.settings.port;
        return Err(bad_value(format_args!(
            "The port {port} is not possible: every endpoint of this installation has port {only}."
        )));
    }
    match named(input, "GlobalReplicationGroupId") {
        Some(name) => Err(no_global_group(name)),
        None => Ok(()),
    }
}

fn snapshots(input: &Structure) -> Result<(), Refusal> {
    let from = ["SnapshotName", "ServerlessCacheSnapshotName"];
    let arns = !input.items("SnapshotArns").is_empty();
    if arns || from.into_iter().any(|member| named(input, member).is_some()) {
        let message = "Snapshots are not offered yet: a group cannot be created from one.";
        return Err(bad_value(message));
    }
    match input.integer("SnapshotRetentionLimit") {
        None | Some(0) => Ok(()),
        Some(limit) if limit < 0 => {
            Err(bad_value(format_args!("Invalid value {limit} for SnapshotRetentionLimit.")))
        }
        Some(_) => Err(bad_value(
            "Snapshots are not offered yet, so none can be retained: SnapshotRetentionLimit must \
             be 0.",
        )),
    }
}

/// Refuses a snapshot before a deletion.
pub(super) fn refuse_final_snapshot(input: &Structure) -> Result<(), Refusal> {
    match named(input, "FinalSnapshotIdentifier") {
        None => Ok(()),
        Some(_) => Err(refuse(
            "SnapshotFeatureNotSupportedFault",
            "Snapshots are not offered yet: nothing was deleted. Leave FinalSnapshotIdentifier out \
             to delete without one.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::Stage;

    fn code(input: Structure) -> Option<&'static str> {
        let stage = Stage::new();
        refuse_unbuilt(stage.scene(), &input).err().map(|refusal| refusal.code)
    }

    #[test]
    fn what_is_not_there_is_refused_with_its_code() {
        let one = Structure::new;
        let combination = Some("InvalidParameterCombination");
        let value = Some("InvalidParameterValue");
        assert_eq!(code(one().set("AtRestEncryptionEnabled", true)), combination);
        assert_eq!(code(one().set("ClusterMode", "enabled")), combination);
        assert_eq!(code(one().set("NetworkType", "dual_stack")), value);
        assert_eq!(code(one().set("SnapshotName", "s")), value);
        assert_eq!(code(one().set("SnapshotRetentionLimit", 5)), value);
        assert_eq!(code(one().set("SnapshotRetentionLimit", -1)), value);
        assert_eq!(code(one().set("Port", 6380)), value);
        assert_eq!(code(one().list("LogDeliveryConfigurations", [one()])), combination);
        assert_eq!(code(one().list("CacheSecurityGroupNames", ["c"])), combination);
        let global = one().set("GlobalReplicationGroupId", "ldgnf-x");
        assert_eq!(code(global), Some("GlobalReplicationGroupNotFoundFault"));
    }

    #[test]
    fn what_is_there_anyway_may_be_asked_for() {
        let input = Structure::new()
            .set("AtRestEncryptionEnabled", false)
            .set("NetworkType", "ipv4")
            .set("ClusterMode", "disabled")
            .set("SnapshotRetentionLimit", 0)
            .set("Port", 6379);
        assert_eq!(code(input), None);
    }
}
