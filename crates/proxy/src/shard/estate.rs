//! What a shard's proxy knows, as it is handed over to the next program image.
//!
//! The route is all that a gate has ever learned: learned anew it gives the same gate, so a proxy that
//! has heard of an epoch believes no older one afterwards either, and serves at once although no
//! controller can be reached. Connections that clients share, probes and the bell are not handed
//! over; they are opened when somebody needs them.
//!
//! Invariant: every field of a shard is decided about here.
//!
//! Not here: its clients (`crate::session`), its endpoints (`crate::endpoint`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tanist_core::model::{Epoch, NodeId, Route, ShardKey};
use tokio::time::Instant;

use crate::octets::Clock;

use super::{Counters, Identity, Known, Shard};

/// A shard, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardEstate {
    pub(crate) key: ShardKey,
    /// The last route that was believed, with what has been asked about clients since.
    route: Option<Box<Route>>,
    /// The last primary that a route named.
    served: Option<(Epoch, NodeId)>,
    /// Who was primary before, and how long ago that ended.
    #[serde(default)]
    led: Option<(NodeId, u64)>,
    #[serde(default)]
    uncertain: u64,
    #[serde(default)]
    turned_away: (u64, Option<IpAddr>),
    #[serde(default)]
    released: Option<Epoch>,
    #[serde(default)]
    notices: u64,
    #[serde(default)]
    planned: bool,
    #[serde(default)]
    errors_are_lines: bool,
    #[serde(default)]
    names_users: bool,
    /// Clients that each node has ever begun to serve.
    #[serde(default)]
    ever: BTreeMap<NodeId, u64>,
}

impl Shard {
    /// Writes the shard down.
    pub(crate) fn estate(&self) -> ShardEstate {
        let Self {
            key,
            identity: _,
            counters,
            // These are about tasks and sockets of this image.
            generation: _,
            gone: _,
            broken: _,
            connecting: _,
            trunks: _,
            bell: _,
            greetings: _,
            down: _,
            wakers: _,
            free: _,
            errors_are_lines,
            names_users,
            known,
            access,
            hosts,
            users,
            transit,
            reads,
            loads,
        } = self;
        let Counters {
            // Whoever is handed over counts again.
            clients: _,
            held: _,
            busy: _,
            uncertain,
            turned_away,
            released,
            notices,
            planned,
        } = counters;
        let known = known.borrow();
        let Known { gate: _, route, served, led } = &*known;
        let clock = Clock(Instant::now());
        let route = route.as_ref().map(|route| {
            Box::new(Route {
                access: access.borrow().clone(),
                endpoint_hosts: hosts.borrow().clone(),
                accounts: (*users.borrow().accounts).clone(),
                transit: transit.get(),
                reads: reads.get(),
                ..(**route).clone()
            })
        });
        let ever = loads.borrow().iter().map(|(node, load)| (node.clone(), load.ever)).collect();
        ShardEstate {
            key: key.clone(),
            route,
            served: served.clone(),
            led: led.as_ref().map(|(node, until)| (node.clone(), clock.ago(*until))),
            uncertain: uncertain.get(),
            turned_away: turned_away.get(),
            released: released.get(),
            notices: notices.get(),
            planned: planned.get(),
            errors_are_lines: errors_are_lines.get(),
            names_users: names_users.get(),
            ever,
        }
    }

    /// Puts a shard together again, without its clients.
    pub(crate) fn restore(estate: ShardEstate, identity: Rc<Identity>) -> Self {
        let ShardEstate {
            key,
            route,
            served,
            led,
            uncertain,
            turned_away,
            released,
            notices,
            planned,
            errors_are_lines,
            names_users,
            ever,
        } = estate;
        let shard = Self::new(key, identity);
        shard.errors_are_lines.set(errors_are_lines);
        shard.names_users.set(names_users);
        // Before the route, which may say that nobody is primary: who was is known from here only.
        shard.known.borrow_mut().served = served;
        if let Some(route) = route {
            shard.learn(*route);
        }
        let clock = Clock(Instant::now());
        shard.known.borrow_mut().led = led.map(|(node, ago)| (node, clock.before(ago)));
        let counters = &shard.counters;
        counters.uncertain.set(uncertain);
        counters.turned_away.set(turned_away);
        counters.released.set(released);
        counters.notices.set(notices);
        counters.planned.set(planned);
        let mut loads = shard.loads.borrow_mut();
        for (node, ever) in ever {
            loads.entry(node).or_default().ever = ever;
        }
        drop(loads);
        shard
    }

    /// Clients that are handed over are not counted a second time as ones that a node began to serve.
    pub(crate) fn forget_arrivals(&self, estate: &BTreeMap<NodeId, u64>) {
        for (node, load) in &mut *self.loads.borrow_mut() {
            load.ever = estate.get(node).copied().unwrap_or(load.ever);
        }
    }

    /// Clients that each node has ever begun to serve.
    pub(crate) fn arrivals(&self) -> BTreeMap<NodeId, u64> {
        self.loads.borrow().iter().map(|(node, load)| (node.clone(), load.ever)).collect()
    }
}

#[cfg(test)]
mod tests {
    use tanist_core::model::RouteState;

    use super::super::tests::{identity, route, serving, shard};
    use super::*;
    use crate::shard::{EndpointKind, Lane};

    fn handed_over(shard: &Shard) -> Shard {
        let text = serde_json::to_string(&shard.estate()).unwrap();
        Shard::restore(serde_json::from_str(&text).unwrap(), identity())
    }

    #[test]
    fn an_epoch_that_was_heard_of_is_never_unlearned() {
        let before = shard();
        before.learn(route(4, 2, serving("n1", &["a"], None)));
        let after = handed_over(&before);
        assert_eq!(
            after.goal(&EndpointKind::Primary, None),
            before.goal(&EndpointKind::Primary, None)
        );
        assert!(!after.learn(route(9, 1, serving("n2", &[], None))), "an older epoch");
        assert!(!after.learn(route(3, 2, serving("n2", &[], None))), "an older revision");
        assert_eq!(after.with_gate(Clone::clone), before.with_gate(Clone::clone));
    }

    #[test]
    fn a_vacancy_stays_one_and_who_was_primary_is_still_known() {
        let before = shard();
        before.learn(route(4, 2, serving("n1", &["a"], None)));
        before.learn(route(5, 3, RouteState::Vacant));
        let after = handed_over(&before);
        assert_eq!(after.goal(&EndpointKind::Primary, None), None);
        assert!(after.is_moving() && before.is_moving());
        assert_eq!(after.notice(), before.notice(), "nobody hears of it a second time");
        let old = |shard: &Shard| {
            let node = route(5, 3, RouteState::Vacant).nodes[0].clone();
            let lane = |epoch| Lane {
                node: node.node.clone(),
                address: node.address,
                epoch: Epoch(epoch),
                primary: false,
            };
            [2, 3].map(|epoch| shard.is_valid(&lane(epoch)))
        };
        assert_eq!(old(&after), old(&before), "the old primary is taken for no replica");
        assert!(!after.learn(route(4, 2, serving("n1", &["a"], None))));
        assert!(after.learn(route(6, 3, serving("n2", &[], None))));
    }

    #[test]
    fn what_was_asked_about_clients_last_holds_although_its_route_was_stale() {
        let before = shard();
        before.learn(route(4, 2, serving("n1", &["a"], None)));
        let mut stale = route(3, 2, serving("n1", &["a"], None));
        stale.access = tanist_core::model::Access::default();
        stale.reads.strict = true;
        stale.endpoint_hosts.insert("h9".into());
        before.learn(stale);
        let (before, after) = (before.estate().route.unwrap(), handed_over(&before).estate());
        assert_eq!(Some(before), after.route);
    }
}
