//! Replication groups, through the local API.
//!
//! A group is known to the controller; what only this surface needs (a description, tags, the node
//! type's name) travels with the group as one attribute, so that it is created, changed and deleted
//! together with it.
//!
//! Invariant: what is reported of a group comes from the controller at the moment of asking; no call
//! waits for more than [`PATIENCE`].
//!
//! Not here: what becomes of a spec (the controller), in which words a client sees a group
//! (`crate::elasticache`).

mod record;

use std::time::Duration;

use serde::Serialize;
use tanist_core::model::NodeId;
use tanist_link::api::{
    CreateGroup, EventRecord, GroupStatus, ModifyGroup, MoveAccepted, MovePrimary, NodeStatus,
    ShardStatus, Status,
};
use tanist_link::{Client, LinkError};

pub(crate) use record::{ATTRIBUTE, GroupRecord};

/// How long the controller is waited for. Operations on groups wait for each other, and one that is
/// not answered must not make all others wait for ever; the controller's own deadlines are shorter.
const PATIENCE: Duration = Duration::from_secs(20);

/// The local API.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    /// How it is reached.
    pub client: Client,
}

/// A group and what this surface remembers of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// What the controller says.
    pub(crate) status: GroupStatus,
    /// What this surface remembers; all defaults for a group that was not made through it.
    pub(crate) record: GroupRecord,
    /// Something is remembered that cannot be read. The group is shown with all defaults, for it must
    /// not be hidden, and they are not written over what is there.
    pub(crate) unreadable: bool,
}

impl Group {
    /// Reads the record out of a group's attributes.
    pub(crate) fn new(status: GroupStatus) -> Self {
        let record = GroupRecord::of(&status);
        let unreadable = record.is_none();
        Self { status, record: record.unwrap_or_default(), unreadable }
    }

    /// The group's name.
    pub(crate) fn name(&self) -> &str {
        self.status.name.as_str()
    }

    /// The group's only shard; none while the controller has not said anything of it.
    pub(crate) fn shard(&self) -> Option<&ShardStatus> {
        self.status.shards.first()
    }

    /// Its nodes, by name.
    pub(crate) fn nodes(&self) -> &[NodeStatus] {
        self.shard().map_or(&[], |shard| shard.nodes.as_slice())
    }

    /// A node.
    pub(crate) fn node(&self, name: &str) -> Option<&NodeStatus> {
        self.nodes().iter().find(|node| node.node.as_str() == name)
    }

    /// What is remembered of the group and of the nodes that it has now.
    pub(crate) fn record_now(&self) -> GroupRecord {
        let mut record = self.record.clone();
        // While nothing is said of the shard, nobody knows which nodes there are.
        if self.shard().is_some() {
            record.keep(|node| self.node(node).is_some());
        }
        record
    }

    /// The primary, once it is promoted.
    pub(crate) fn primary(&self) -> Option<&NodeId> {
        self.shard()?.primary.as_ref()
    }

    /// The cache cluster that is left of a replication group which was deleted but for its primary.
    pub(crate) fn retained(&self) -> Option<&NodeStatus> {
        match self.nodes() {
            [only] if self.record.retained => Some(only),
            _ => None,
        }
    }
}

impl Groups {
    /// The groups of the controller that `client` reaches.
    pub(crate) fn new(client: Client) -> Self {
        Self { client: client.within(PATIENCE) }
    }

    /// Everything that the controller says.
    ///
    /// # Errors
    /// [`LinkError`] if it does not answer.
    pub(crate) async fn status(&self) -> Result<Status, LinkError> {
        self.client.get("/v1/status").await
    }

    /// A region's groups, by name; none in a region without hosts.
    ///
    /// # Errors
    /// As [`Groups::status`].
    pub(crate) async fn in_region(&self, region: &str) -> Result<Vec<Group>, LinkError> {
        let status = self.status().await?;
        if status.region != region {
            return Ok(Vec::new());
        }
        let mut groups: Vec<Group> = status.groups.into_iter().map(Group::new).collect();
        groups.sort_by(|one, other| one.status.name.cmp(&other.status.name));
        Ok(groups)
    }

    /// Creates a group.
    ///
    /// # Errors
    /// [`LinkError::Refused`] with the controller's own words, or what went wrong below it.
    pub(crate) async fn create(&self, asked: &CreateGroup) -> Result<Group, LinkError> {
        self.client.post("/v1/groups", asked).await.map(Group::new)
    }

    /// Changes a group.
    ///
    /// # Errors
    /// As [`Groups::create`]; `T415` if the group has changed since it was read.
    pub(crate) async fn modify(&self, name: &str, asked: &ModifyGroup) -> Result<Group, LinkError> {
        self.act(name, "modify", asked).await.map(Group::new)
    }

    /// Lets a group go.
    ///
    /// # Errors
    /// As [`Groups::create`].
    pub(crate) async fn delete(&self, name: &str) -> Result<(), LinkError> {
        self.client.delete(&format!("/v1/groups/{name}")).await
    }

    /// Moves a primaryship as after a crash.
    ///
    /// # Errors
    /// As [`Groups::create`].
    pub(crate) async fn failover(
        &self,
        name: &str,
        asked: &MovePrimary,
    ) -> Result<MoveAccepted, LinkError> {
        self.act(name, "failover", asked).await
    }

    /// Moves a primaryship without an error for anybody.
    ///
    /// # Errors
    /// As [`Groups::create`].
    pub(crate) async fn switchover(
        &self,
        name: &str,
        asked: &MovePrimary,
    ) -> Result<MoveAccepted, LinkError> {
        self.act(name, "switchover", asked).await
    }

    /// Every event of a region that is kept, oldest first; none of a region without hosts.
    ///
    /// # Errors
    /// As [`Groups::status`].
    pub(crate) async fn events_in(&self, region: &str) -> Result<Vec<EventRecord>, LinkError> {
        if self.status().await?.region != region {
            return Ok(Vec::new());
        }
        self.client.get("/v1/events").await
    }

    async fn act<B: Serialize, T: tanist_link::Answered>(
        &self,
        name: &str,
        what: &str,
        asked: &B,
    ) -> Result<T, LinkError> {
        self.client.post(&format!("/v1/groups/{name}/{what}"), asked).await
    }
}
