//! What a proxy knows about one shard, shared by all its clients.
//!
//! One thread runs all clients, so nothing here is locked, and a route that has been learned binds
//! every reply that is released afterwards.
//!
//! Invariant: a lane to the primary is used only in the epoch that named it, and a node is taken
//! for a replica only if the epoch of its lane is known to have another primary or none.
//!
//! Not here: sockets (`crate::client`, `crate::endpoint`), the rules themselves
//! (`tanist_core::gate`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use tanist_core::gate::{Gate, Learned, Pass};
use tanist_core::model::{
    Access, Durability, Epoch, HostId, NodeId, NodeRoute, ProxyId, ReaderFallback, Reads, Route,
    RouteState, ShardKey, Transit, Zone,
};
use tanist_link::Secret;
use tanist_link::wire::{NodeClients, ProxyShard};
use tanist_resp::Value;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::bell::Bell;
use crate::config::ProxyLimits;
use crate::endpoint::Refusals;
use crate::login::{self, Who};
use crate::renewal::Renewal;
use crate::session::Stock;
use crate::tls::{Certificates, Room};
use crate::trunks::Trunks;

/// Connections to engines of one shard that are being opened at the same time: an engine that has
/// just become primary meets all clients at once, and its accept queue is short.
const CONNECTING: usize = 64;

/// Who this proxy is, and what it may use.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) proxy: ProxyId,
    pub(crate) secret: Secret,
    pub(crate) limits: ProxyLimits,
    /// Where endpoints are that have no address of their own, and where they are too.
    pub(crate) address: Ipv4Addr,
    pub(crate) floating: Vec<Ipv4Addr>,
    /// The zone that it is in, if it knows.
    pub(crate) zone: Option<Zone>,
    /// Clients may administer the engine.
    pub(crate) pass_through: bool,
    /// Clients connected to any endpoint.
    pub(crate) clients: Cell<usize>,
    /// The number of the client that comes next.
    pub(crate) next_client: Cell<u64>,
    /// Clients that found no place.
    pub(crate) refusals: Refusals,
    /// Clients that may not connect.
    pub(crate) strangers: Refusals,
    /// Clients that do not encrypt where they have to.
    pub(crate) plain: Refusals,
    /// Clients whose handshakes failed.
    pub(crate) handshakes: Refusals,
    /// What each group's endpoints show of themselves.
    pub(crate) certificates: Certificates,
    /// What clients have while they work.
    pub(crate) stock: RefCell<Stock>,
    /// Where encrypted bytes are taken apart and put together.
    pub(crate) room: RefCell<Room>,
    /// Where the proxy itself dials from when it asks an endpoint on behalf of an admitted client, and
    /// who that client is.
    pub(crate) own: RefCell<BTreeMap<SocketAddr, Who>>,
    /// Something that the controller wants to know at once has changed.
    pub(crate) news: Notify,
    /// An upgrade that is under way.
    pub(crate) renewal: Renewal,
}

/// What an endpoint leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndpointKind {
    /// The primary, whoever it is.
    Primary,
    /// A replica.
    Reader,
    /// This node, whatever its role.
    Node(NodeId),
}

/// One engine during one epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Lane {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) epoch: Epoch,
    /// It is the primary of that epoch.
    pub(crate) primary: bool,
}

/// A client's place at a node; it counts for as long as this lives.
#[derive(Debug)]
pub(crate) struct LaneUse {
    loads: Rc<RefCell<BTreeMap<NodeId, NodeClients>>>,
    node: NodeId,
}

impl LaneUse {
    /// The node.
    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for LaneUse {
    fn drop(&mut self) {
        if let Some(load) = self.loads.borrow_mut().get_mut(&self.node) {
            load.now = load.now.saturating_sub(1);
        }
    }
}

/// Numbers that clients add to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) clients: Cell<u64>,
    pub(crate) held: Cell<u64>,
    /// Clients with something in flight to the primary that is not parked there.
    pub(crate) busy: Cell<u64>,
    pub(crate) uncertain: Cell<u64>,
    /// Clients that may not connect, and the latest one's address.
    pub(crate) turned_away: Cell<(u64, Option<IpAddr>)>,
    pub(crate) released: Cell<Option<Epoch>>,
    /// How often the primary has begun or ceased to move.
    pub(crate) notices: Cell<u64>,
    /// The last time that it began to, somebody had asked for it.
    pub(crate) planned: Cell<bool>,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) key: ShardKey,
    pub(crate) identity: Rc<Identity>,
    pub(crate) counters: Counters,
    /// Changes with everything that a client has to react to.
    pub(crate) generation: Cell<u64>,
    /// The shard does not exist any more.
    pub(crate) gone: Cell<bool>,
    /// A lane was found broken.
    pub(crate) broken: Notify,
    pub(crate) connecting: Arc<Semaphore>,
    pub(crate) trunks: Trunks,
    pub(crate) bell: Bell,
    /// The engine is one whose errors are single lines whatever a script makes of them.
    pub(crate) errors_are_lines: Cell<bool>,
    /// The engine's refusals name the user.
    pub(crate) names_users: Cell<bool>,
    /// What each engine said of itself when it was greeted.
    pub(crate) greetings: RefCell<BTreeMap<NodeId, Value>>,
    known: RefCell<Known>,
    access: RefCell<Access>,
    hosts: RefCell<BTreeSet<HostId>>,
    pub(crate) users: RefCell<login::Known>,
    transit: Cell<Transit>,
    reads: Cell<Reads>,
    loads: Rc<RefCell<BTreeMap<NodeId, NodeClients>>>,
    /// Lanes that do not answer; somebody probes each.
    down: RefCell<BTreeMap<Lane, bool>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Debug, Default)]
struct Known {
    gate: Gate,
    route: Option<Rc<Route>>,
    /// The last primary that a route named.
    served: Option<(Epoch, NodeId)>,
    /// The one before it, and since when it is no more.
    led: Option<(NodeId, Instant)>,
}

impl Shard {
    pub(crate) fn new(key: ShardKey, identity: Rc<Identity>) -> Self {
        Self {
            key,
            identity,
            counters: Counters::default(),
            generation: Cell::new(1),
            gone: Cell::new(false),
            broken: Notify::new(),
            connecting: Arc::new(Semaphore::new(CONNECTING)),
            trunks: Trunks::default(),
            bell: Bell::default(),
            errors_are_lines: Cell::default(),
            names_users: Cell::default(),
            greetings: RefCell::default(),
            known: RefCell::default(),
            access: RefCell::default(),
            hosts: RefCell::default(),
            users: RefCell::default(),
            transit: Cell::default(),
            reads: Cell::default(),
            loads: Rc::default(),
            down: RefCell::default(),
            wakers: RefCell::default(),
            free: RefCell::default(),
        }
    }

    /// Takes in a route; whether it changed anything.
    pub(crate) fn learn(&self, route: Route) -> bool {
        // No decisions about the shard: what was asked last holds, whatever the gate knows.
        let mut access_changed = self.access.replace(route.access.clone()) != route.access;
        if *self.users.borrow().accounts != route.accounts {
            self.users.replace(login::Known::new(&route.accounts));
            access_changed = true;
        }
        let asked_anew = self.reads.replace(route.reads) != route.reads || access_changed;
        let asked_anew = self.transit.replace(route.transit) != route.transit || asked_anew;
        let hosts = self.hosts.replace(route.endpoint_hosts.clone());
        let asked_anew = hosts != route.endpoint_hosts || asked_anew;
        {
            let mut known = self.known.borrow_mut();
            let moving = known.is_moving();
            let learned = known.gate.learn(&route);
            // The very first route says where to listen, even if it says nothing else.
            if learned == Learned::Stale && known.route.is_some() {
                drop(known);
                if asked_anew {
                    self.changed();
                }
                return asked_anew;
            }
            if let (RouteState::Serving { primary, .. }, true) =
                (&route.state, learned != Learned::Stale)
            {
                let served = known.served.replace((route.epoch, primary.clone()));
                if let Some((_, before)) = served.filter(|(_, before)| before != primary) {
                    known.led = Some((before, Instant::now()));
                }
            }
            known.route = Some(Rc::new(route));
            if known.is_moving() != moving {
                self.counters.notices.set(self.counters.notices.get() + 1);
                if !moving {
                    self.counters.planned.set(known.gate.hold().is_some());
                }
            }
        }
        let valid = |lane: &Lane| self.is_valid(lane);
        self.down.borrow_mut().retain(|lane, _| valid(lane));
        self.greet();
        self.changed();
        true
    }

    /// The shard is gone: clients end.
    pub(crate) fn end(&self) {
        self.gone.set(true);
        self.end_trunks();
        self.bell.ring();
        self.changed();
    }

    /// Wakes every client, and the conversation with the controller.
    pub(crate) fn changed(&self) {
        self.generation.set(self.generation.get() + 1);
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
        self.identity.news.notify_one();
    }

    /// A place for a client's waker.
    pub(crate) fn enroll(&self) -> usize {
        if let Some(place) = self.free.borrow_mut().pop() {
            return place;
        }
        let mut wakers = self.wakers.borrow_mut();
        wakers.push(None);
        wakers.len() - 1
    }

    /// Keeps a client's waker.
    pub(crate) fn keep_waker(&self, place: usize, waker: &Waker) {
        if let Some(kept) = self.wakers.borrow_mut().get_mut(place)
            && !kept.as_ref().is_some_and(|kept| kept.will_wake(waker))
        {
            *kept = Some(waker.clone());
        }
    }

    /// Gives the place back.
    pub(crate) fn leave(&self, place: usize) {
        if let Some(kept) = self.wakers.borrow_mut().get_mut(place) {
            *kept = None;
            self.free.borrow_mut().push(place);
        }
    }

    /// The route, once there is one.
    pub(crate) fn route(&self) -> Option<Rc<Route>> {
        self.known.borrow().route.clone()
    }

    /// The epoch whose replies may be released.
    pub(crate) fn epoch(&self) -> Epoch {
        self.known.borrow().gate.epoch()
    }

    /// Looks at the gate.
    pub(crate) fn with_gate<T>(&self, look: impl FnOnce(&Gate) -> T) -> T {
        look(&self.known.borrow().gate)
    }

    /// Whether an acknowledged write must be proven.
    pub(crate) fn is_sync(&self) -> bool {
        let known = self.known.borrow();
        known.route.as_ref().is_some_and(|route| route.durability == Durability::Sync)
    }

    /// Whether what is read from the primary must be proven too.
    pub(crate) fn reads_strictly(&self) -> bool {
        self.reads.get().strict && self.is_sync()
    }

    /// Whether enough members are in sync for writes.
    pub(crate) fn is_writable(&self) -> bool {
        self.known.borrow().gate.writable()
    }

    /// Whether requests may be forwarded on a lane that is connected.
    pub(crate) fn may_forward(&self, lane: &Lane) -> bool {
        !lane.primary || self.known.borrow().gate.pass() == Pass::Forward(lane.epoch)
    }

    /// Whether replies of a lane may still be released.
    pub(crate) fn is_valid(&self, lane: &Lane) -> bool {
        let known = self.known.borrow();
        if lane.primary {
            return known.gate.may_release(lane.epoch);
        }
        let Some(route) = &known.route else { return false };
        let Some(node) = route.nodes.iter().find(|node| node.node == lane.node) else {
            return false;
        };
        // A controller that has just started may not know yet who has which lane.
        let same_epoch = match node.lane {
            Some(epoch) => epoch == lane.epoch,
            None => route.epoch <= lane.epoch,
        };
        same_epoch && node.address == lane.address && known.is_replica(node, lane.epoch)
    }

    /// Where an endpoint leads now; `None` means hold.
    pub(crate) fn goal(&self, kind: &EndpointKind, avoid: Option<&NodeId>) -> Option<Lane> {
        let known = self.known.borrow();
        let route = known.route.as_ref()?;
        match kind {
            EndpointKind::Primary => known.primary(),
            EndpointKind::Node(name) => {
                if known.serving() == Some(name) {
                    return known.primary();
                }
                let node = route.nodes.iter().find(|node| node.node == *name)?;
                known.replica(node)
            }
            EndpointKind::Reader => {
                let usable = |node: &&NodeRoute| node.readable && Some(&node.node) != avoid;
                let lane = |node: &NodeRoute| {
                    let lane = known.replica(node)?;
                    (!self.is_down(&lane)).then(|| (node.zone.clone(), lane))
                };
                let fit: Vec<_> = route.nodes.iter().filter(usable).filter_map(lane).collect();
                match self.choose(fit) {
                    Some(lane) => Some(lane),
                    None => match self.reads.get().fallback {
                        ReaderFallback::Primary => known.primary(),
                        ReaderFallback::Wait => None,
                    },
                }
            }
        }
    }

    /// Whether this node serves or was the last one that did; `None` if nobody ever has.
    pub(crate) fn leads(&self, node: &NodeId) -> Option<bool> {
        self.known.borrow().served.as_ref().map(|(_, primary)| primary == node)
    }

    /// Since when another node serves, if this one was the last before it.
    pub(crate) fn led_until(&self, node: &NodeId) -> Option<Instant> {
        let known = self.known.borrow();
        known.led.as_ref().filter(|(led, _)| led == node).map(|(_, until)| *until)
    }

    /// One of the replicas that are fit: of two of them, taken at random among those of this proxy's
    /// zone if there are any, the one that owes less. Many proxies that all chose the least busy of
    /// all would all choose the same.
    fn choose(&self, mut fit: Vec<(Zone, Lane)>) -> Option<Lane> {
        let here = self.identity.zone.as_ref();
        if fit.iter().any(|(zone, _)| Some(zone) == here) {
            fit.retain(|(zone, _)| Some(zone) == here);
        }
        let loads = self.loads.borrow();
        let load = |lane: &Lane| {
            let clients = loads.get(&lane.node).map_or(0, |load| load.now);
            (self.trunks.owed(lane), clients)
        };
        let mut draw = || {
            let count = fit.len();
            (count > 0).then(|| fit.swap_remove(rand::rng().random_range(..count)).1)
        };
        let first = draw()?;
        match draw() {
            Some(second) if load(&second) < load(&first) => Some(second),
            _ => Some(first),
        }
    }

    /// Whether an idle reader should move: it uses a node that is not to be read from while there
    /// is one that is.
    pub(crate) fn is_better_elsewhere(&self, lane: &Lane) -> bool {
        let Some(route) = self.route() else { return false };
        let readable =
            |name: &NodeId| route.nodes.iter().any(|node| node.node == *name && node.readable);
        !readable(&lane.node)
            && self.goal(&EndpointKind::Reader, Some(&lane.node)).is_some_and(|goal| !goal.primary)
    }

    /// Counts an upstream of a node.
    pub(crate) fn use_lane(&self, lane: &Lane) -> LaneUse {
        {
            let mut loads = self.loads.borrow_mut();
            let load = loads.entry(lane.node.clone()).or_default();
            load.now += 1;
            load.ever += 1;
        }
        LaneUse { loads: Rc::clone(&self.loads), node: lane.node.clone() }
    }

    /// Whether a lane is known not to work.
    pub(crate) fn is_down(&self, lane: &Lane) -> bool {
        self.down.borrow().contains_key(lane)
    }

    /// A lane does not work: everybody waits until a probe says otherwise.
    pub(crate) fn mark_down(&self, lane: &Lane) {
        if self.is_valid(lane) && !self.is_down(lane) {
            self.down.borrow_mut().insert(lane.clone(), false);
            self.broken.notify_one();
            self.changed();
        }
    }

    /// A lane works again.
    pub(crate) fn mark_up(&self, lane: &Lane) {
        self.down.borrow_mut().remove(lane);
        self.changed();
    }

    /// The lanes that nobody probes yet; from now on somebody does.
    pub(crate) fn take_broken(&self) -> Vec<Lane> {
        let mut down = self.down.borrow_mut();
        let fresh = down.iter_mut().filter(|(_, probed)| !**probed);
        fresh
            .map(|(lane, probed)| {
                *probed = true;
                lane.clone()
            })
            .collect()
    }

    /// A reply of the primary of this epoch goes to a client.
    pub(crate) fn note_released(&self, epoch: Epoch) {
        if self.counters.released.get() < Some(epoch) {
            self.counters.released.set(Some(epoch));
            self.identity.news.notify_one();
        }
    }

    /// The number of the latest notice.
    pub(crate) fn notice(&self) -> u64 {
        self.counters.notices.get()
    }

    /// Whether the primary is moving.
    pub(crate) fn is_moving(&self) -> bool {
        self.known.borrow().is_moving()
    }

    /// Counts a write whose outcome is not known.
    pub(crate) fn note_uncertain(&self) {
        self.counters.uncertain.set(self.counters.uncertain.get() + 1);
    }

    /// A client became busy, or is not any more.
    pub(crate) fn note_busy(&self, busy: bool) {
        let count = self.counters.busy.get();
        let count = if busy { count + 1 } else { count.saturating_sub(1) };
        self.counters.busy.set(count);
        if count == 0 && self.with_gate(|gate| gate.hold().is_some()) {
            self.identity.news.notify_one();
        }
    }

    /// What the controller is told.
    pub(crate) fn report(&self) -> ProxyShard {
        let counters = &self.counters;
        let known = self.known.borrow();
        let drained = known.gate.hold().filter(|_| counters.busy.get() == 0);
        ProxyShard {
            key: self.key.clone(),
            rev: known.gate.rev(),
            drained,
            released: counters.released.get(),
            held: counters.held.get(),
            clients: counters.clients.get(),
            uncertain: counters.uncertain.get(),
            turned_away: counters.turned_away.get().0,
            last_turned_away: counters.turned_away.get().1,
            nodes: self.loads.borrow().clone(),
        }
    }

    /// Counts a client that may not connect.
    pub(crate) fn note_turned_away(&self, client: IpAddr) {
        let (count, _) = self.counters.turned_away.get();
        self.counters.turned_away.set((count + 1, Some(client.to_canonical())));
    }

    /// The answer to a write whose outcome is not known.
    pub(crate) fn uncertain(&self, lane: Epoch) -> Bytes {
        let now = self.epoch();
        crate::text::uncertain(lane, (now > lane).then_some(now))
    }
}

impl Known {
    /// Clients of the primary wait, and did not before there was one.
    fn is_moving(&self) -> bool {
        self.served.is_some() && self.gate.pass() == Pass::Hold
    }

    /// Who serves in the gate's epoch.
    fn serving(&self) -> Option<&NodeId> {
        let (epoch, node) = self.served.as_ref()?;
        (*epoch == self.gate.epoch()).then_some(node)
    }

    fn primary(&self) -> Option<Lane> {
        let Pass::Forward(epoch) = self.gate.pass() else { return None };
        let name = self.serving()?;
        let node = self.route.as_ref()?.nodes.iter().find(|node| node.node == *name)?;
        Some(Lane { node: node.node.clone(), address: node.address, epoch, primary: true })
    }

    fn replica(&self, node: &NodeRoute) -> Option<Lane> {
        let epoch = node.lane?;
        self.is_replica(node, epoch).then(|| Lane {
            node: node.node.clone(),
            address: node.address,
            epoch,
            primary: false,
        })
    }

    /// Whether a node is certainly no primary for the lanes of `epoch`: a fence may be under way,
    /// and a write that slips through there would be acknowledged without being kept.
    fn is_replica(&self, node: &NodeRoute, epoch: Epoch) -> bool {
        match &self.served {
            Some((served, primary)) if *served == epoch => node.node != *primary,
            _ => epoch == self.gate.epoch() || node.readable,
        }
    }
}

mod asked;
mod estate;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use estate::ShardEstate;
