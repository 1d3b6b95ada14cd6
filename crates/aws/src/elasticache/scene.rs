//! What one operation sees: a region's records and groups as they were when it looked.
//!
//! Operations are functions of a scene and an input; what they decide is carried out afterwards. So
//! a test needs neither a store nor a controller.
//!
//! Invariant: a scene does not change while it is looked at.
//!
//! Not here: carrying anything out.

use std::sync::Arc;

use jiff::Timestamp;

use super::refusal::{Refusal, no_cluster, no_group, of_link};
use super::users;
use crate::book::{Pages, zone_is_in};
use crate::error::ApiError;
use crate::groups::Group;
use crate::service::{Ask, Context, Settings};
use tanist_link::api::{NodeStatus, UserGroupStatus, UserStatus};

/// The only node group of a replication group.
pub(super) const NODE_GROUP: &str = "0001";

/// What was there when somebody looked.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) pages: Arc<Pages>,
    pub(super) groups: Vec<Group>,
    /// Of an operation that is about them; otherwise none.
    pub(super) users: Vec<UserStatus>,
    pub(super) user_groups: Vec<UserGroupStatus>,
}

impl Sight {
    /// Looks.
    pub(super) async fn of(context: &Context, ask: &Ask) -> Result<Self, ApiError> {
        let pages = context.book.read(&ask.region).await?;
        let groups = context.groups.in_region(&ask.region).await;
        let groups = groups.map_err(|err| of_link(ask, &err))?;
        let (mut users, mut user_groups) = (Vec::new(), Vec::new());
        if users::concerns(ask) {
            let client = &context.groups.client;
            users = client.get("/v1/users").await.map_err(|err| of_link(ask, &err))?;
            user_groups = client.get("/v1/user-groups").await.map_err(|err| of_link(ask, &err))?;
        }
        Ok(Self { pages, groups, users, user_groups })
    }

    /// As a scene of an operation.
    pub(super) fn scene<'a>(&'a self, context: &'a Context, ask: &'a Ask) -> Scene<'a> {
        Scene {
            region: &ask.region,
            account: &context.account,
            zones: &context.zones,
            settings: &context.settings,
            now: ask.now,
            pages: &self.pages,
            groups: &self.groups,
            users: &self.users,
            user_groups: &self.user_groups,
        }
    }
}

/// What one operation sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    /// Of every region.
    pub(super) zones: &'a [String],
    pub(super) settings: &'a Settings,
    pub(super) now: Timestamp,
    pub(super) pages: &'a Pages,
    pub(super) groups: &'a [Group],
    pub(super) users: &'a [UserStatus],
    pub(super) user_groups: &'a [UserGroupStatus],
}

impl<'a> Scene<'a> {
    /// An ARN of this region.
    pub(super) fn arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:elasticache:{}:{}:{kind}:{name}", self.region, self.account)
    }

    /// Whether the region has this zone.
    pub(super) fn has_zone(&self, zone: &str) -> bool {
        zone_is_in(zone, self.region) && self.zones.iter().any(|known| known == zone)
    }

    /// A group of the controller, whatever face it shows.
    pub(super) fn any_group(&self, name: &str) -> Option<&'a Group> {
        self.groups.iter().find(|group| group.name() == name)
    }

    /// A replication group. What is left of one that was deleted but for its primary is none.
    pub(super) fn group(&self, name: &str) -> Result<&'a Group, Refusal> {
        let name = name.to_ascii_lowercase();
        let found = self.any_group(&name).filter(|group| group.retained().is_none());
        found.ok_or_else(|| no_group(&name))
    }

    /// A cache cluster and the group that it belongs to.
    pub(super) fn cluster(&self, name: &str) -> Result<(&'a Group, &'a NodeStatus), Refusal> {
        let name = name.to_ascii_lowercase();
        let found = self.groups.iter().find_map(|group| Some((group, group.node(&name)?)));
        found.ok_or_else(|| no_cluster(&name))
    }
}
