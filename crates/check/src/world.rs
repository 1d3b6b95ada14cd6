//! The tables of a search and the state that it begins with.
//!
//! Invariant: a number in a state is one of its own world's tables.
//!
//! Not here: steps (`crate::step`).

use std::rc::Rc;

use tanist_core::gate::Gate;
use tanist_core::model::{Limits, Order, Route, ShardTopology};

use crate::config::{Configuration, Tooth};
use crate::dice::Dice;
use crate::head::{Choice, Emission, Key, Outcome};
use crate::intern::{FastMap, Printed, Table};
use crate::nouns::{
    ANCIENT, Asked, Attachment, BASE, Decided, FIRST_REV, Published, attachments, first_topology,
    low, promoted_replid,
};
use crate::state::{
    CONTROLLERS, Controller, Done, Heard, History, Ledger, Link, NODES, Node, PROXIES, Proxy,
    Report, Role, State, lane,
};

/// A gate and the primary that its last route named.
pub(crate) struct Gated {
    pub(crate) gate: Gate,
    pub(crate) epoch: u8,
    pub(crate) primary: u8,
    pub(crate) required: Vec<Attachment>,
}

/// Orders, and a route.
pub(crate) type Said = (Rc<Vec<u32>>, u32);

/// Everything that states refer to.
pub(crate) struct World {
    pub(crate) config: Configuration,
    pub(crate) limits: Limits,
    /// Of a walk.
    pub(crate) dice: Dice,
    pub(crate) topologies: Printed<Decided>,
    pub(crate) nodes: Table<Node>,
    /// Number 0 is "nothing heard".
    pub(crate) reports: Table<Option<Report>>,
    pub(crate) controllers: Table<Controller>,
    pub(crate) gates: Printed<Gated>,
    pub(crate) proxies: Table<Proxy>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) asked_numbers: FastMap<Order, u32>,
    pub(crate) routes: Printed<Published>,
    /// Sets of orders or routes, sorted.
    pub(crate) sets: Table<Vec<u32>>,
    /// Attachments that a ROLE showed.
    pub(crate) lists: Table<Vec<Attachment>>,
    pub(crate) ledgers: Table<Ledger>,
    /// Reports that were sent, by time.
    pub(crate) heard: Table<Vec<Heard>>,
    /// What is wrong with commits, in words.
    pub(crate) faults: Vec<String>,
    pub(crate) choices: FastMap<u32, Rc<Vec<Choice>>>,
    pub(crate) outcomes: FastMap<Key, Rc<Vec<Outcome>>>,
    pub(crate) emissions: FastMap<(u32, [u32; NODES]), Rc<Emission>>,
    pub(crate) said: FastMap<(u32, [u32; NODES]), Said>,
    pub(crate) learned: FastMap<(u32, u32), (u32, bool)>,
    pub(crate) proofs: FastMap<(u32, u32), bool>,
}

impl World {
    pub(crate) fn new(config: Configuration) -> Self {
        let mut reports = Table::new();
        reports.number(None);
        let mut sets = Table::new();
        sets.number(Vec::new());
        Self {
            config,
            limits: Limits::DEFAULT,
            dice: Dice::new(0),
            topologies: Printed::new(),
            nodes: Table::new(),
            reports,
            controllers: Table::new(),
            gates: Printed::new(),
            proxies: Table::new(),
            asked: Vec::new(),
            asked_numbers: FastMap::default(),
            routes: Printed::new(),
            sets,
            lists: Table::new(),
            ledgers: Table::new(),
            heard: Table::new(),
            faults: Vec::new(),
            choices: FastMap::default(),
            outcomes: FastMap::default(),
            emissions: FastMap::default(),
            said: FastMap::default(),
            learned: FastMap::default(),
            proofs: FastMap::default(),
        }
    }

    /// Whether this bug is planted.
    pub(crate) fn bites(&self, tooth: Tooth) -> bool {
        self.config.tooth == Some(tooth)
    }

    /// Whether controllers are told everything.
    pub(crate) fn whole_reports(&self) -> bool {
        self.config.whole_reports || self.config.plain
    }

    pub(crate) fn topology(&mut self, topology: ShardTopology) -> u32 {
        let decided = Decided::new(topology);
        let text = format!("{:?}", decided.topology);
        self.topologies.number(text, || decided)
    }

    pub(crate) fn asked(&mut self, order: Order) -> u32 {
        if let Some(number) = self.asked_numbers.get(&order) {
            return *number;
        }
        let number = u32::try_from(self.asked.len()).unwrap_or(u32::MAX);
        self.asked.push(Asked::new(&order));
        self.asked_numbers.insert(order, number);
        number
    }

    pub(crate) fn route(&mut self, route: Route) -> u32 {
        let text = format!("{:?} {:?} {:?}", route.rev, route.epoch, route.state);
        self.routes.number(text, || Published::new(route))
    }

    pub(crate) fn gate(&mut self, gate: Gate, primary: u8) -> u32 {
        let (epoch, required) = (low(gate.epoch().0), attachments(gate.required()));
        let text = format!("{primary} {gate:?}");
        self.gates.number(text, || Gated { gate, epoch, primary, required })
    }

    pub(crate) fn node(&self, state: &State, node: u8) -> &Node {
        self.nodes.get(state.nodes[usize::from(node)])
    }

    pub(crate) fn put(&mut self, state: &mut State, number: u8, node: Node) {
        state.nodes[usize::from(number)] = self.nodes.number(node);
    }

    /// How many parts are stored; a walk begins anew with empty tables when it is too much.
    pub(crate) fn size(&self) -> usize {
        self.topologies.len()
            + self.nodes.len()
            + self.reports.len()
            + self.controllers.len()
            + self.sets.len()
            + self.outcomes.len()
            + self.emissions.len()
    }

    /// The shard serves: everybody has confirmed the first revision, nothing is written yet.
    pub(crate) fn first_state(&mut self) -> State {
        let config = self.config;
        let topology = self.topology(first_topology(config.in_sync, config.proxies));
        let nodes: [u32; NODES] =
            std::array::from_fn(|node| self.nodes.number(first_node(node as u8, config.proxies)));
        let nothing = self.heard.number(vec![Heard { report: None, fresh: false }]);
        let idle = Controller { term: 0, known: topology, heard: [nothing; NODES], confirmed: 0 };
        let gate = self.gate(Gate::default(), 0);
        let mut state = State {
            topology,
            term: 1,
            nodes,
            controllers: [self.controllers.number(idle); CONTROLLERS],
            proxies: [self.proxies.number(Proxy { gate, flight: None }); PROXIES],
            orders: 0,
            routes: 0,
            ledger: self.ledgers.number(Ledger::default()),
            budget: config.budget,
        };
        let heard: [u32; NODES] = std::array::from_fn(|node| {
            let report = self.report_now(&state, node as u8);
            let report = Some(self.essence(topology, node as u8, report));
            self.heard.number(vec![Heard { report, fresh: false }])
        });
        let leader = self.controllers.number(Controller { term: 1, heard, ..idle });
        state.controllers[0] = leader;
        let routes = self.emission(leader).routes.clone();
        for route in routes {
            let (gate, _) = self.learn(gate, route);
            for proxy in 0..usize::from(config.proxies) {
                state.proxies[proxy] = self.proxies.number(Proxy { gate, flight: None });
            }
        }
        state
    }
}

fn first_node(node: u8, proxies: u8) -> Node {
    let primary = node == 0;
    let all = (1 << proxies) - 1;
    Node {
        run: 0,
        alive: true,
        history: History::default(),
        offset: BASE,
        replid: promoted_replid(0, 1),
        before: primary.then_some((ANCIENT, BASE + 1)),
        hollow: false,
        loaded: false,
        role: if primary {
            Role::Primary
        } else {
            Role::Replica { of: 0, seq: node, link: Link::Up }
        },
        users: if primary { 0b110 } else { 0 },
        lanes: if primary { (0..proxies).fold(0, |bits, p| bits | lane(1, p)) } else { 0 },
        disk: None,
        guard_rev: FIRST_REV,
        guard_epoch: 1,
        answer: None,
        done: Some(Done {
            epoch: 1,
            primary,
            seqs: if primary { 0b110 } else { 1 << node },
            lanes: all,
        }),
    }
}
