//! Carrying out what an operation decided about groups.
//!
//! A change names the revision of the group that it was decided on. If somebody else has changed the
//! group meanwhile (a person at the command line, the controller itself), the operation looks and
//! decides again.
//!
//! Invariant: what is answered is what the controller answered, not what was asked of it.
//!
//! Not here: deciding (`super::create`, `super::modify`, `super::replicas`, `super::delete`).

use tanist_core::model::Access;
use tanist_link::LinkError;
use tanist_link::api::{ModifyGroup, MovePrimary};

use super::delete::Farewell;
use super::modify::Change;
use super::refusal::{Refusal, no_cluster, of_link};
use super::scene::{Scene, Sight};
use super::tagging::{self, Tagged};
use super::{create, delete, failover, remembered, tags, words};
use crate::access::admitted;
use crate::error::ApiError;
use crate::groups::Group;
use crate::service::{Answer, Ask, Context};
use crate::value::Structure;

/// How often an operation is decided again.
const ATTEMPTS: usize = 5;
/// The controller's code for a group that has changed since it was read.
const CHANGED: &str = "T417";

/// An operation that changes one group.
type Operation = fn(Scene<'_>, &Structure) -> Result<Change, Refusal>;

/// Why a change was not carried out.
enum Failure {
    /// The group has changed since it was looked at.
    Changed(ApiError),
    /// For good.
    Refused(ApiError),
}

impl Failure {
    fn of(ask: &Ask, error: &LinkError) -> Self {
        let answer = of_link(ask, error);
        match error {
            LinkError::Refused(refusal) if refusal.code == CHANGED => Self::Changed(answer),
            _ => Self::Refused(answer),
        }
    }
}

/// Who may connect to a group with these security groups: nobody, if it has none.
fn access(scene: Scene<'_>, security_groups: &[String]) -> Access {
    let (port, inside) = (scene.settings.port, scene.settings.loopback_inside);
    let nobody = Access::Only { sources: Vec::new(), loopback: false };
    admitted(scene.pages, security_groups, port, inside).unwrap_or(nobody)
}

/// `CreateReplicationGroup`.
pub(super) async fn create(context: &Context, ask: &Ask) -> Answer {
    let sight = Sight::of(context, ask).await?;
    let scene = sight.scene(context, ask);
    let founding = create::founding(scene, &ask.input).map_err(|no| no.answer(ask))?;
    let mut asked = founding.asked;
    asked.access = access(scene, &founding.record.security_groups);
    let attribute = remembered::attribute(scene, &asked.name, &founding.record);
    asked.attributes.extend([attribute.map_err(|no| no.answer(ask))?]);
    let group = context.groups.create(&asked).await.map_err(|err| of_link(ask, &err))?;
    Ok(shown(scene, &group, None, None))
}

/// A change of a group that `operation` asks for.
pub(super) async fn modify(context: &Context, ask: &Ask, operation: Operation) -> Answer {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let sight = Sight::of(context, ask).await?;
        let scene = sight.scene(context, ask);
        let change = operation(scene, &ask.input).map_err(|no| no.answer(ask))?;
        let heir = change.promote.as_ref().map(|node| node.as_str().to_owned());
        let token = change.token_status;
        match apply(context, ask, scene, change).await {
            Ok(group) => return Ok(shown(scene, &group, heir.as_deref(), token)),
            Err(Failure::Changed(answer)) => last = Some(answer),
            Err(Failure::Refused(answer)) => return Err(answer),
        }
    }
    Err(last.unwrap_or_else(|| ask.unknown()))
}

async fn apply(
    context: &Context,
    ask: &Ask,
    scene: Scene<'_>,
    change: Change,
) -> Result<Group, Failure> {
    let Change { name, mut asked, record, protect, promote, .. } = change;
    let known = scene.any_group(&name);
    if known.is_none_or(|known| known.record != record) {
        let attribute = remembered::attribute(scene, &name, &record);
        let (key, text) = attribute.map_err(|no| Failure::Refused(no.answer(ask)))?;
        asked.attributes.insert(key, Some(text));
    }
    asked.access = protect.then(|| access(scene, &record.security_groups));
    let nothing = ModifyGroup { expect: asked.expect, ..ModifyGroup::default() };
    let group = match known {
        Some(known) if asked == nothing => known.clone(),
        _ => {
            let changed = context.groups.modify(&name, &asked).await;
            changed.map_err(|err| Failure::of(ask, &err))?
        }
    };
    if let Some(to) = promote {
        let asked = MovePrimary { to: Some(to), ..MovePrimary::default() };
        let moved = context.groups.switchover(&name, &asked).await;
        // What was changed before is changed: this is not to be decided again.
        moved.map_err(|err| Failure::Refused(of_link(ask, &err)))?;
    }
    Ok(group)
}

/// A group in an answer; with its next primary and what becomes of its token, if that was asked for.
fn shown(
    scene: Scene<'_>,
    group: &Group,
    heir: Option<&str>,
    token: Option<&'static str>,
) -> Structure {
    let mut shown = scene.replication_group(group);
    let pending = Structure::new().maybe("PrimaryClusterId", heir).maybe("AuthTokenStatus", token);
    if heir.is_some() {
        shown = shown.set("Status", words::MODIFYING);
    }
    if heir.is_some() || token.is_some() {
        shown = shown.set("PendingModifiedValues", pending);
    }
    Structure::new().set("ReplicationGroup", shown)
}

/// `DeleteReplicationGroup`.
pub(super) async fn delete_group(context: &Context, ask: &Ask) -> Answer {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let sight = Sight::of(context, ask).await?;
        let scene = sight.scene(context, ask);
        let (group, farewell) = delete::group(scene, &ask.input).map_err(|no| no.answer(ask))?;
        match part(context, ask, scene, group, farewell).await {
            Ok(group) => return Ok(shown(scene, &group, None, None)),
            Err(Failure::Changed(answer)) => last = Some(answer),
            Err(Failure::Refused(answer)) => return Err(answer),
        }
    }
    Err(last.unwrap_or_else(|| ask.unknown()))
}

/// `DeleteCacheCluster`.
pub(super) async fn delete_cluster(context: &Context, ask: &Ask) -> Answer {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let sight = Sight::of(context, ask).await?;
        let scene = sight.scene(context, ask);
        let decided = delete::cluster(scene, &ask.input).map_err(|no| no.answer(ask))?;
        let (group, node, farewell) = decided;
        let before = group.node(node.as_str()).cloned();
        match part(context, ask, scene, group, farewell).await {
            Ok(group) => {
                // The controller may not have let it go yet, or be done already.
                let found = group.node(node.as_str()).cloned().or(before);
                let node = found.ok_or_else(|| no_cluster(node.as_str()).answer(ask))?;
                let cluster = scene.cache_cluster(&group, &node, false);
                let cluster = cluster.set("CacheClusterStatus", words::DELETING);
                return Ok(Structure::new().set("CacheCluster", cluster));
            }
            Err(Failure::Changed(answer)) => last = Some(answer),
            Err(Failure::Refused(answer)) => return Err(answer),
        }
    }
    Err(last.unwrap_or_else(|| ask.unknown()))
}

async fn part(
    context: &Context,
    ask: &Ask,
    scene: Scene<'_>,
    group: &Group,
    farewell: Farewell,
) -> Result<Group, Failure> {
    match farewell {
        Farewell::Nodes(change) => apply(context, ask, scene, *change).await,
        Farewell::Group => {
            let gone = context.groups.delete(group.name()).await;
            gone.map_err(|err| Failure::of(ask, &err))?;
            let mut group = group.clone();
            group.status.status = words::DELETING.to_owned();
            Ok(group)
        }
    }
}

/// `TestFailover`.
pub(super) async fn failover(context: &Context, ask: &Ask) -> Answer {
    let sight = Sight::of(context, ask).await?;
    let scene = sight.scene(context, ask);
    let group = failover::test(scene, &ask.input).map_err(|no| no.answer(ask))?;
    let moved = context.groups.failover(group.name(), &MovePrimary::default()).await;
    moved.map_err(|err| of_link(ask, &err))?;
    // It has begun, whatever the last look showed.
    let shown = scene.replication_group(group).set("Status", words::MODIFYING);
    Ok(Structure::new().set("ReplicationGroup", shown))
}

/// `AddTagsToResource` and `RemoveTagsFromResource`.
pub(super) async fn tag(context: &Context, ask: &Ask) -> Answer {
    let change = if ask.operation.name == "AddTagsToResource" {
        tagging::Change::adding(&ask.input).map_err(|no| no.answer(ask))?
    } else {
        tagging::Change::removing(&ask.input)
    };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let sight = Sight::of(context, ask).await?;
        let scene = sight.scene(context, ask);
        let whose = tagging::tagged(scene, &ask.input).map_err(|no| no.answer(ask))?;
        let (group, node) = match whose {
            Tagged::Group(group) => (group, None),
            Tagged::Node(group, node) => (group, Some(node)),
            Tagged::Subnets(_) | Tagged::Other(_) => {
                let work = |pages: &mut crate::book::Pages| {
                    change.of_pages(pages, whose).map_err(|no| no.answer(ask))
                };
                let tags = context.book.change(&ask.region, work).await?;
                return Ok(tags::list(&tags));
            }
        };
        let nothing = Change::of(group).map_err(|no| no.answer(ask))?;
        let record = change.of_group(scene, group, node).map_err(|no| no.answer(ask))?;
        let change = Change { record, ..nothing };
        match apply(context, ask, scene, change).await {
            Ok(group) => {
                let tags = match node {
                    Some(node) => scene.cluster_tags(&group, node),
                    None => group.record.tags,
                };
                return Ok(tags::list(&tags));
            }
            Err(Failure::Changed(answer)) => last = Some(answer),
            Err(Failure::Refused(answer)) => return Err(answer),
        }
    }
    Err(last.unwrap_or_else(|| ask.unknown()))
}

#[cfg(test)]
mod tests;
