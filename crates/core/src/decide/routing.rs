//! From a decided topology to the route that proxies work by.
//!
//! Invariant: a node is named primary only after its agent confirmed the promotion of this epoch.
//!
//! Not here: what a proxy does with a route (`crate::gate`).

use std::time::Duration;

use super::{Plan, Verdict, View};
use crate::model::{
    GroupSpec, Instant, Limits, Member, NodeRoute, Observations, RoleSeen, Route, RouteState,
    ShardTopology, Tag,
};

/// The route of a shard.
pub fn route(
    asked: &GroupSpec,
    decided: &ShardTopology,
    seen: &Observations,
    limits: &Limits,
    plan: &Plan,
    now: Instant,
) -> Route {
    let view = View { asked, decided, seen, limits, now };
    // What a store has forgotten may be who else has to have a write before it is acknowledged.
    let known = view.forgotten().is_none();
    let state = match decided.primary().filter(|run| known && view.promoted(run)) {
        None => RouteState::Vacant,
        Some(primary) => RouteState::Serving {
            primary: primary.node.clone(),
            required: decided.required().iter().map(Tag::to_string).collect(),
            writable: decided.in_sync.len() >= usize::from(asked.min_in_sync),
            hold: plan.hold,
        },
    };
    Route {
        group: decided.group.clone(),
        shard: decided.shard.clone(),
        rev: decided.rev,
        epoch: decided.epoch,
        durability: decided.durability,
        endpoints: asked.endpoints,
        endpoint_hosts: asked.endpoint_hosts.clone(),
        access: asked.access.clone(),
        accounts: asked.accounts.clone(),
        transit: asked.transit,
        reads: asked.reads,
        state,
        nodes: nodes(&view),
    }
}

fn nodes(view: &View<'_>) -> Vec<NodeRoute> {
    let of = |(node, member): (&crate::model::NodeId, &crate::model::Member)| {
        let report = view.report(node).map(|seen| &seen.report);
        let applied = report.and_then(|report| {
            report.applied.as_ref().filter(|applied| report.run() == Some(&applied.run))
        });
        let linked = view.engine(node).is_some_and(|engine| {
            matches!(engine.role, RoleSeen::Replica { link_up: true, syncing: false, .. })
        });
        let attached = applied.is_some_and(|a| !a.primary && a.epoch == view.decided.epoch);
        NodeRoute {
            node: node.clone(),
            zone: member.zone.clone(),
            address: member.address,
            endpoint: member.endpoint,
            tag: member.attach.as_ref().map(Tag::to_string),
            lane: applied.map(|applied| applied.epoch),
            users: applied.map(|applied| applied.users),
            readable: attached
                && linked
                && view.verdict(node) == Verdict::Alive
                && lag(view, member) <= view.asked.reads.max_lag(),
        }
    };
    view.decided.members.iter().filter(|(_, member)| !member.leaving).map(of).collect()
}

/// How long the primary has been ahead of a replica, as far as the primary says so.
fn lag(view: &View<'_>, member: &Member) -> Duration {
    let primary = view.decided.primary().and_then(|run| view.engine(&run.node));
    let Some(RoleSeen::Primary { replicas }) = primary.map(|engine| &engine.role) else {
        return Duration::ZERO;
    };
    let tag = member.attach.as_ref().map(Tag::to_string);
    let seen = replicas.iter().find(|replica| Some(&replica.tag) == tag.as_ref());
    seen.map_or(Duration::ZERO, |replica| replica.behind)
}
