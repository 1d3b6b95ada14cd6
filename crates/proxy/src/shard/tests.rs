//! Shards that are told routes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use tanist_core::model::{GroupEndpoints, RequestId, Rev};

use super::*;

pub(crate) fn identity() -> Rc<Identity> {
    Rc::new(Identity {
        proxy: "p1".into(),
        secret: Secret::from_bytes([7; 32]),
        address: Ipv4Addr::LOCALHOST,
        floating: Vec::new(),
        zone: None,
        pass_through: false,
        limits: ProxyLimits::default(),
        clients: Cell::new(0),
        next_client: Cell::new(1),
        refusals: Refusals::default(),
        strangers: Refusals::default(),
        plain: Refusals::default(),
        handshakes: Refusals::default(),
        certificates: Certificates::default(),
        stock: RefCell::default(),
        room: RefCell::default(),
        own: RefCell::default(),
        news: Notify::new(),
        renewal: Renewal::default(),
    })
}

pub(crate) fn shard() -> Shard {
    Shard::new(ShardKey { group: "web".into(), shard: "0001".into() }, identity())
}

pub(crate) fn serving(primary: &str, required: &[&str], hold: Option<u64>) -> RouteState {
    RouteState::Serving {
        primary: primary.into(),
        required: required.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>(),
        writable: true,
        hold: hold.map(RequestId),
    }
}

pub(crate) fn route(rev: u64, epoch: u64, state: RouteState) -> Route {
    let primary = match &state {
        RouteState::Serving { primary, .. } => primary.to_string(),
        RouteState::Vacant => String::new(),
    };
    let node = |name: &str, last| NodeRoute {
        node: name.into(),
        zone: "a".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 7000 + u16::from(last))),
        endpoint: Ipv4Addr::new(127, 9, 9, last),
        tag: None,
        lane: Some(Epoch(epoch)),
        users: Some(0),
        readable: name != primary && !primary.is_empty(),
    };
    Route {
        group: "web".into(),
        shard: "0001".into(),
        rev: Rev(rev),
        epoch: Epoch(epoch),
        durability: Durability::Async,
        endpoint_hosts: Default::default(),
        access: tanist_core::model::Access::Everyone,
        accounts: Default::default(),
        transit: Default::default(),
        reads: tanist_core::model::Reads::default(),
        endpoints: GroupEndpoints {
            primary: Ipv4Addr::new(127, 9, 9, 200),
            reader: Ipv4Addr::new(127, 9, 9, 201),
            port: 6379,
            ports_from: None,
        },
        state,
        nodes: vec![node("n1", 1), node("n2", 2), node("n3", 3)],
    }
}

#[test]
fn the_primary_endpoint_leads_to_the_primary_or_nowhere() {
    let shard = shard();
    assert_eq!(shard.goal(&EndpointKind::Primary, None), None);
    shard.learn(route(1, 1, serving("n1", &[], None)));
    let lane = shard.goal(&EndpointKind::Primary, None).unwrap();
    assert_eq!((lane.node.as_str(), lane.epoch, lane.primary), ("n1", Epoch(1), true));
    shard.learn(route(1, 1, serving("n1", &[], Some(3))));
    assert_eq!(shard.goal(&EndpointKind::Primary, None), None);
    assert!(shard.is_valid(&lane) && !shard.may_forward(&lane));
    shard.learn(route(2, 2, RouteState::Vacant));
    assert!(!shard.is_valid(&lane));
}

#[test]
fn a_reader_prefers_the_replica_with_fewer_clients_and_falls_back_to_the_primary() {
    let shard = shard();
    shard.learn(route(1, 1, serving("n1", &[], None)));
    let first = shard.goal(&EndpointKind::Reader, None).unwrap();
    let held = shard.use_lane(&first);
    let second = shard.goal(&EndpointKind::Reader, None).unwrap();
    assert!(!first.primary && !second.primary);
    assert_ne!(first.node, second.node);
    drop(held);
    shard.mark_down(&first);
    shard.mark_down(&second);
    assert!(shard.goal(&EndpointKind::Reader, None).unwrap().primary);
}

#[test]
fn a_former_primary_is_no_replica_before_it_has_a_new_lane() {
    let shard = shard();
    shard.learn(route(1, 1, serving("n1", &[], None)));
    let mut vacant = route(2, 2, RouteState::Vacant);
    for node in &mut vacant.nodes {
        node.lane = Some(Epoch(1));
    }
    shard.learn(vacant);
    assert_eq!(shard.goal(&EndpointKind::Node("n1".into()), None), None);
    let other = shard.goal(&EndpointKind::Node("n2".into()), None).unwrap();
    assert_eq!((other.epoch, other.primary), (Epoch(1), false));
}

#[test]
fn a_shard_is_drained_when_no_client_is_busy() {
    let shard = shard();
    shard.learn(route(1, 1, serving("n1", &[], None)));
    shard.note_busy(true);
    shard.learn(route(1, 1, serving("n1", &[], Some(9))));
    assert_eq!(shard.report().drained, None);
    shard.note_busy(false);
    assert_eq!(shard.report().drained, Some(RequestId(9)));
}

#[test]
fn a_reader_stays_in_its_zone_while_a_replica_there_is_fit() {
    let mut identity = Rc::into_inner(identity()).unwrap();
    identity.zone = Some("b".into());
    let key = ShardKey { group: "web".into(), shard: "0001".into() };
    let shard = Shard::new(key, Rc::new(identity));
    let mut asked = route(1, 1, serving("n1", &[], None));
    asked.nodes[2].zone = "b".into();
    shard.learn(asked.clone());
    let goal = || shard.goal(&EndpointKind::Reader, None).unwrap();
    let held: Vec<_> = (0..8).map(|_| shard.use_lane(&goal())).collect();
    assert!(held.iter().all(|lane| lane.node().as_str() == "n3"));
    asked.nodes[2].readable = false;
    shard.learn(asked);
    assert_eq!(goal().node.as_str(), "n2");
}

#[test]
fn without_a_fit_replica_a_reader_waits_if_its_group_says_so() {
    let shard = shard();
    let mut asked = route(1, 1, serving("n1", &[], None));
    asked.nodes.iter_mut().for_each(|node| node.readable = false);
    shard.learn(asked.clone());
    assert!(shard.goal(&EndpointKind::Reader, None).unwrap().primary);
    asked.reads.fallback = ReaderFallback::Wait;
    assert!(shard.learn(asked));
    assert_eq!(shard.goal(&EndpointKind::Reader, None), None);
}
