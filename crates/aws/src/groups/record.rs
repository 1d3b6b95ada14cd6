//! What this surface remembers of a group.
//!
//! One JSON document in the group's attributes. It says nothing about how the group works: two groups
//! that differ only here behave alike.
//!
//! Invariant: every field has a default, so that a group that was made in another way, or by an
//! earlier release, can be shown.
//!
//! Not here: what a field looks like to a client (`crate::elasticache`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tanist_core::model::stored::Stored;
use tanist_link::api::GroupStatus;
use tracing::warn;

/// The attribute that holds the record.
pub(crate) const ATTRIBUTE: &str = "aws";

/// Tags: keys and values.
type Tags = BTreeMap<String, String>;

/// What this surface remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GroupRecord {
    /// The owner's description; the name if there is none.
    pub(crate) description: Option<String>,
    /// The node type asked for; follows from the memory if there is none.
    pub(crate) node_type: Option<String>,
    /// The word for the durability asked for.
    pub(crate) durability: Option<String>,
    /// The subnet group's name.
    pub(crate) subnet_group: Option<String>,
    /// Ids of security groups, in the order in which they were given.
    pub(crate) security_groups: Vec<String>,
    /// Nodes were asked to be in more than one zone.
    pub(crate) multi_az: bool,
    /// The parameter group's name; the engine's default if there is none.
    pub(crate) parameter_group: Option<String>,
    /// When maintenance would be convenient, such as `sun:05:00-sun:06:00`.
    pub(crate) maintenance_window: Option<String>,
    /// When snapshots would be convenient, such as `03:00-04:00`.
    pub(crate) snapshot_window: Option<String>,
    /// The node of which snapshots would be taken.
    pub(crate) snapshotting_cluster: Option<String>,
    /// Where notices would be sent.
    pub(crate) notification_topic: Option<String>,
    /// The owner agrees to new minor versions of the engine.
    pub(crate) auto_minor_version_upgrade: Option<bool>,
    /// Tags of the group.
    pub(crate) tags: Tags,
    /// Tags of single nodes beside the group's.
    pub(crate) node_tags: BTreeMap<String, Tags>,
    /// When it was created, in milliseconds since 1970.
    pub(crate) created_ms: Option<i64>,
    /// The nodes that there were before the last time that some were added.
    pub(crate) settled: BTreeSet<String>,
    /// The replication group was deleted, its primary was kept.
    pub(crate) retained: bool,
}

impl GroupRecord {
    /// The record of a group: all defaults if there is none, `None` if there is one that cannot be
    /// read, such as one of a later release.
    pub(crate) fn of(status: &GroupStatus) -> Option<Self> {
        let Some(text) = status.attributes.get(ATTRIBUTE) else { return Some(Self::default()) };
        match serde_json::from_str::<Stored<Self>>(text) {
            Ok(stored) => Some(stored.into_body()),
            Err(err) => {
                warn!(group = %status.name, %err, "the group's attribute is not understood");
                None
            }
        }
    }

    /// Forgets what is said of nodes other than these: whoever comes later under the name of one of
    /// them is somebody else.
    pub(crate) fn keep(&mut self, stays: impl Fn(&str) -> bool) {
        self.node_tags.retain(|node, _| stays(node));
        self.settled.retain(|node| stays(node));
        self.snapshotting_cluster.take_if(|node| !stays(node));
    }

    /// The record as an attribute's text.
    ///
    /// # Errors
    /// None that is known: the record has only strings for keys.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Stored::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_earlier_release_is_read() {
        let text = r#"{"format":"1","body":{"description":"d","multi_az":true}}"#;
        let stored: Stored<GroupRecord> = serde_json::from_str(text).unwrap();
        let record = stored.into_body();
        assert_eq!(record.description.as_deref(), Some("d"));
        assert!(record.multi_az && !record.retained);
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let record = GroupRecord {
            description: Some("ä \"quoted\"".to_owned()),
            settled: BTreeSet::from(["web-001".to_owned()]),
            retained: true,
            ..GroupRecord::default()
        };
        let stored: Stored<GroupRecord> = serde_json::from_str(&record.text().unwrap()).unwrap();
        assert_eq!(stored.into_body(), record);
    }
}
