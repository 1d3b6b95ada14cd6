//! Operations on replication groups, their cache clusters and subnet groups.
//!
//! Every operation is a function of what it sees ([`scene::Scene`]) and its input. Here it is given
//! what it sees, and what it decides is carried out: records are changed in one transaction, groups
//! through the controller's API.
//!
//! Invariant: an operation that changes something holds `Context::changing` from its look to its
//! last write, so that nothing which it relies on vanishes meanwhile.
//!
//! Not here: the wire; what becomes of a group's spec (the controller).

mod carry;
mod catalog;
mod create;
mod delete;
mod describe;
mod durability;
mod engines;
mod events;
mod failover;
mod ids;
#[cfg(test)]
mod kit;
mod login;
mod modify;
mod network;
mod node_types;
mod page;
mod refusal;
mod remembered;
mod replicas;
mod resources;
mod scene;
mod show;
mod spread;
mod story;
mod subnet_groups;
mod tagging;
mod tags;
mod transit;
mod unbuilt;
mod users;
mod windows;
mod words;

use crate::book::Pages;
use crate::service::{Answer, Ask, Context};
use crate::value::Structure;
use refusal::{Refusal, of_link};
use scene::{Scene, Sight};

pub(crate) use resources::resources;

/// Operations that are built; every other is an invalid action.
pub(crate) const OPERATIONS: &[&str] = &[
    "AddTagsToResource",
    "CreateCacheSubnetGroup",
    "CreateReplicationGroup",
    "CreateUser",
    "CreateUserGroup",
    "DecreaseReplicaCount",
    "DeleteCacheCluster",
    "DeleteCacheSubnetGroup",
    "DeleteReplicationGroup",
    "DeleteUser",
    "DeleteUserGroup",
    "DescribeCacheClusters",
    "DescribeCacheEngineVersions",
    "DescribeCacheParameterGroups",
    "DescribeCacheSubnetGroups",
    "DescribeEvents",
    "DescribeGlobalReplicationGroups",
    "DescribeReplicationGroups",
    "DescribeSnapshots",
    "DescribeUserGroups",
    "DescribeUsers",
    "IncreaseReplicaCount",
    "ListAllowedNodeTypeModifications",
    "ListTagsForResource",
    "ModifyCacheSubnetGroup",
    "ModifyReplicationGroup",
    "ModifyUser",
    "ModifyUserGroup",
    "RemoveTagsFromResource",
    "TestFailover",
];

/// An operation that only looks.
type Reading = fn(Scene<'_>, &Structure) -> Result<Structure, Refusal>;

/// An operation that changes records only.
type Bookkeeping = fn(Scene<'_>, &mut Pages, &Structure) -> Result<Structure, Refusal>;

fn reading(operation: &str) -> Option<Reading> {
    Some(match operation {
        "DescribeCacheClusters" => describe::cache_clusters,
        "DescribeCacheEngineVersions" => catalog::engine_versions,
        "DescribeCacheParameterGroups" => catalog::parameter_groups,
        "DescribeCacheSubnetGroups" => subnet_groups::describe,
        "DescribeGlobalReplicationGroups" => describe::global_groups,
        "DescribeReplicationGroups" => describe::replication_groups,
        "DescribeSnapshots" => describe::snapshots,
        "DescribeUserGroups" => users::describe_groups,
        "DescribeUsers" => users::describe,
        "ListAllowedNodeTypeModifications" => catalog::node_types,
        "ListTagsForResource" => list_tags,
        _ => return None,
    })
}

fn bookkeeping(operation: &str) -> Option<Bookkeeping> {
    Some(match operation {
        "CreateCacheSubnetGroup" => subnet_groups::create,
        "DeleteCacheSubnetGroup" => subnet_groups::delete,
        "ModifyCacheSubnetGroup" => subnet_groups::modify,
        _ => return None,
    })
}

fn list_tags(scene: Scene<'_>, input: &Structure) -> Result<Structure, Refusal> {
    let whose = tagging::tagged(scene, input)?;
    Ok(tags::list(&tagging::tags_of(scene, whose)))
}

/// Carries a request out.
pub(crate) async fn answer(context: &Context, ask: &Ask) -> Answer {
    let operation = ask.operation.name;
    if let Some(read) = reading(operation) {
        let sight = Sight::of(context, ask).await?;
        return read(sight.scene(context, ask), &ask.input).map_err(|no| no.answer(ask));
    }
    if operation == "DescribeEvents" {
        return events(context, ask).await;
    }
    // Whoever cannot be told of is not waited for by others.
    if !OPERATIONS.contains(&operation) {
        return Err(ask.unknown());
    }
    let _changing = context.changing.lock().await;
    if let Some(change) = bookkeeping(operation) {
        let sight = Sight::of(context, ask).await?;
        let work = |pages: &mut Pages| {
            change(sight.scene(context, ask), pages, &ask.input).map_err(|no| no.answer(ask))
        };
        return Ok(context.book.change(&ask.region, work).await?);
    }
    match operation {
        "CreateReplicationGroup" => carry::create(context, ask).await,
        "ModifyReplicationGroup" => carry::modify(context, ask, modify::change).await,
        "IncreaseReplicaCount" => carry::modify(context, ask, replicas::increase).await,
        "DecreaseReplicaCount" => carry::modify(context, ask, replicas::decrease).await,
        "DeleteReplicationGroup" => carry::delete_group(context, ask).await,
        "DeleteCacheCluster" => carry::delete_cluster(context, ask).await,
        "TestFailover" => carry::failover(context, ask).await,
        "AddTagsToResource" | "RemoveTagsFromResource" => carry::tag(context, ask).await,
        name if name.contains("User") => users::carry(context, ask).await,
        _ => Err(ask.unknown()),
    }
}

async fn events(context: &Context, ask: &Ask) -> Answer {
    let sight = Sight::of(context, ask).await?;
    let events = context.groups.events_in(&ask.region).await;
    let events = events.map_err(|err| of_link(ask, &err))?;
    events::describe(sight.scene(context, ask), &events, &ask.input).map_err(|no| no.answer(ask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_every_operation() {
        for name in OPERATIONS {
            assert_eq!(kit::operation(name).name, *name);
        }
        assert!(OPERATIONS.is_sorted());
    }

    #[test]
    fn an_operation_that_is_listed_is_built() {
        let carried = [
            "AddTagsToResource",
            "CreateReplicationGroup",
            "CreateUser",
            "CreateUserGroup",
            "DecreaseReplicaCount",
            "DeleteCacheCluster",
            "DeleteReplicationGroup",
            "DeleteUser",
            "DeleteUserGroup",
            "DescribeEvents",
            "IncreaseReplicaCount",
            "ModifyReplicationGroup",
            "ModifyUser",
            "ModifyUserGroup",
            "RemoveTagsFromResource",
            "TestFailover",
        ];
        for name in OPERATIONS {
            let ways =
                [reading(name).is_some(), bookkeeping(name).is_some(), carried.contains(name)];
            assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{name}");
        }
    }
}
