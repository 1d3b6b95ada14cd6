//! Engines without processes: what each is, whom it follows and how far it is.
//!
//! All hosts share one register, because a primary lists its replicas and a replica has its primary's
//! history, wherever they are. A position is a function of time, so that nothing has to be moved along.
//! Whoever has to find out that something changed elsewhere gets mail, and reads it at its next probe, as
//! a real agent would find out then.
//!
//! Invariant: a replica is linked only to an engine that leads and has let its attachment in, and then
//! has that engine's history and position.
//!
//! Not here: what an agent makes of it (`super::node`).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tanist_core::model::{
    EngineSeen, Fenced, Health, NodeId, Offset, Origin, ReplId, ReplicaSeen, RoleSeen, RunId, Tag,
};

/// How long it takes a replica to go on where it was.
const PARTIAL: Duration = Duration::from_millis(5);
/// How long it takes it to receive everything, which is not much.
const FULL: Duration = Duration::from_millis(100);
/// Bytes that clients write in a millisecond to a group that is loaded.
const BYTES_PER_MS: u64 = 20;
/// How often a primary that nobody writes to says something to its replicas, and how many bytes.
const PING: (Duration, u64) = (Duration::from_secs(10), 14);
/// What data needs, as every engine says.
const MEMORY: u64 = 2 << 20;

/// A position in a history.
#[derive(Debug, Clone, Copy)]
struct Position {
    from: u64,
    since: Instant,
}

impl Position {
    fn at(from: u64, since: Instant) -> Self {
        Self { from, since }
    }

    /// Where an engine is that has led since then.
    fn moved(self, loaded: bool, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since);
        let bytes = if loaded {
            u64::try_from(passed.as_millis()).unwrap_or(u64::MAX) * BYTES_PER_MS
        } else {
            passed.as_secs() / PING.0.as_secs() * PING.1
        };
        self.from + bytes
    }
}

#[derive(Debug)]
enum Role {
    /// It follows nobody.
    Fenced,
    Follows {
        of: SocketAddr,
        tag: String,
        /// From when on its link can be up.
        ready: Instant,
        /// Until then it receives everything.
        full: bool,
        linked: bool,
    },
    Leads {
        /// Attachments that are let in, since when, and who is linked by each.
        admitted: BTreeMap<String, (Instant, Option<SocketAddr>)>,
        /// How often a replica says how far it is.
        acks: Duration,
    },
}

/// One engine.
#[derive(Debug)]
struct Engine {
    host: usize,
    node: NodeId,
    run: RunId,
    role: Role,
    replid: ReplId,
    before: Option<(ReplId, Offset)>,
    position: Position,
    memory_limit: u64,
    loaded: bool,
    /// Its word for its primary's lease can be had.
    stands_in: bool,
}

impl Engine {
    fn offset(&self, now: Instant) -> u64 {
        match self.role {
            Role::Leads { .. } => self.position.moved(self.loaded, now),
            Role::Fenced | Role::Follows { .. } => self.position.from,
        }
    }
}

/// All of them, by where they would listen.
#[derive(Debug)]
pub(crate) struct Engines {
    all: HashMap<SocketAddr, Engine>,
    /// What hosts will find out at their next probe.
    mail: Vec<Vec<NodeId>>,
    /// Names that were given out.
    names: u64,
}

/// What begins.
#[derive(Debug)]
pub(crate) struct Begins<'a> {
    pub(crate) host: usize,
    pub(crate) node: &'a NodeId,
    pub(crate) memory_limit: u64,
    pub(crate) loaded: bool,
}

impl Engines {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { all: HashMap::new(), mail: vec![Vec::new(); hosts], names: 0 }
    }

    /// A name that nobody has, as long as an engine's own.
    fn name(&mut self) -> String {
        self.names += 1;
        // As random ones are: the first digits, by which attachments are known, differ.
        let mixed = self.names.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{mixed:016x}{:024x}", self.names)
    }

    /// Nodes of the host of which there is news from elsewhere.
    pub(crate) fn mail(&mut self, host: usize) -> Vec<NodeId> {
        self.mail.get_mut(host).map(std::mem::take).unwrap_or_default()
    }

    /// A process that follows nobody, without data; its name.
    pub(crate) fn start(&mut self, at: SocketAddr, begins: Begins<'_>, now: Instant) -> RunId {
        let Begins { host, node, memory_limit, loaded } = begins;
        let run = RunId::new(self.name());
        let engine = Engine {
            host,
            node: node.clone(),
            run: run.clone(),
            role: Role::Fenced,
            replid: ReplId::new(self.name()),
            before: None,
            position: Position::at(0, now),
            memory_limit,
            loaded,
            stands_in: false,
        };
        self.all.insert(at, engine);
        run
    }

    pub(crate) fn configure(&mut self, at: SocketAddr, memory_limit: u64) {
        if let Some(engine) = self.all.get_mut(&at) {
            engine.memory_limit = memory_limit;
        }
    }

    /// The process is gone.
    pub(crate) fn end(&mut self, at: SocketAddr, now: Instant) {
        self.part(at, now);
        self.all.remove(&at);
    }

    /// Whoever is linked to the engine, or it to, is not any more.
    fn part(&mut self, at: SocketAddr, now: Instant) {
        let Some(engine) = self.all.get_mut(&at) else { return };
        let offset = engine.offset(now);
        engine.position = Position::at(offset, now);
        match std::mem::replace(&mut engine.role, Role::Fenced) {
            Role::Fenced => {}
            Role::Follows { of, tag, .. } => self.unlink(of, &tag),
            Role::Leads { admitted, .. } => {
                for follower in admitted.into_values().filter_map(|(_, follower)| follower) {
                    self.orphan(follower, offset, now);
                }
            }
        }
    }

    fn unlink(&mut self, leader: SocketAddr, tag: &str) {
        let Some(leader) = self.all.get_mut(&leader) else { return };
        let Role::Leads { admitted, .. } = &mut leader.role else { return };
        if let Some((_, follower @ Some(_))) = admitted.get_mut(tag) {
            *follower = None;
            self.mail[leader.host].push(leader.node.clone());
        }
    }

    /// The replica has received what there was; its link is down.
    fn orphan(&mut self, follower: SocketAddr, offset: u64, now: Instant) {
        let Some(engine) = self.all.get_mut(&follower) else { return };
        let Role::Follows { linked, .. } = &mut engine.role else { return };
        *linked = false;
        engine.position = Position::at(offset, now);
        self.mail[engine.host].push(engine.node.clone());
    }

    /// Points it at the fence; what it holds then.
    pub(crate) fn freeze(&mut self, at: SocketAddr, now: Instant) -> Fenced {
        self.settle(at, now);
        self.part(at, now);
        let Some(engine) = self.all.get_mut(&at) else { return Fenced::Dead };
        engine.stands_in = false;
        Fenced::Frozen {
            run: engine.run.clone(),
            replid: engine.replid.clone(),
            before: engine.before.clone(),
            offset: Offset(engine.position.from),
            origin: Origin::Empty,
        }
    }

    /// It leads from now on, if it did not, and lets exactly these in.
    pub(crate) fn promote(&mut self, at: SocketAddr, tags: &[&Tag], acks: Duration, now: Instant) {
        self.settle(at, now);
        if !self.leads(at) {
            self.part(at, now);
            let next = ReplId::new(self.name());
            let Some(engine) = self.all.get_mut(&at) else { return };
            let left = std::mem::replace(&mut engine.replid, next);
            engine.before = Some((left, Offset(engine.position.from + 1)));
            engine.role = Role::Leads { admitted: BTreeMap::new(), acks };
        }
        self.admit(at, tags, now);
    }

    /// A primary lets exactly these in.
    pub(crate) fn admit(&mut self, at: SocketAddr, tags: &[&Tag], now: Instant) {
        let Some(engine) = self.all.get_mut(&at) else { return };
        let offset = engine.offset(now);
        let Role::Leads { admitted, .. } = &mut engine.role else { return };
        let mut before = std::mem::take(admitted);
        for tag in tags.iter().map(|tag| tag.to_string()) {
            let known = before.remove(&tag).unwrap_or((now, None));
            admitted.insert(tag, known);
        }
        for follower in before.into_values().filter_map(|(_, follower)| follower) {
            self.orphan(follower, offset, now);
        }
    }

    /// It follows whoever listens there, by this attachment.
    pub(crate) fn follow(&mut self, at: SocketAddr, leader: SocketAddr, tag: &Tag, now: Instant) {
        let tag = tag.to_string();
        let same = |role: &Role| matches!(role, Role::Follows { of, tag: by, .. } if *of == leader && *by == tag);
        if self.all.get(&at).is_none_or(|engine| same(&engine.role)) {
            return;
        }
        self.settle(at, now);
        self.part(at, now);
        let history = self.all.get(&leader).map(|leader| (&leader.replid, &leader.before));
        let full = !self.all.get(&at).zip(history).is_some_and(|(engine, (replid, before))| {
            engine.replid == *replid
                || before.as_ref().is_some_and(|(before, end)| {
                    engine.replid == *before && engine.position.from < end.0
                })
        });
        let ready = now + if full { FULL } else { PARTIAL };
        if let Some(engine) = self.all.get_mut(&at) {
            engine.role = Role::Follows { of: leader, tag, ready, full, linked: false };
        }
    }

    fn leads(&self, at: SocketAddr) -> bool {
        self.all.get(&at).is_some_and(|engine| matches!(engine.role, Role::Leads { .. }))
    }

    /// Whether the replica's word is given.
    pub(crate) fn stand(&mut self, at: SocketAddr, on: bool) {
        if let Some(engine) = self.all.get_mut(&at) {
            engine.stands_in = on;
        }
    }

    /// Whether this very attachment gives its word.
    pub(crate) fn confirms(&self, at: SocketAddr, tag: &Tag) -> bool {
        self.all.get(&at).is_some_and(|engine| engine.stands_in && engine.run == tag.run.id)
    }

    /// Brings a replica to where it is now: linked if it can be, with its primary's position.
    fn settle(&mut self, at: SocketAddr, now: Instant) {
        let Some(engine) = self.all.get(&at) else { return };
        let Role::Follows { of, tag, ready, linked, .. } = &engine.role else { return };
        let (of, was, due) = (*of, *linked, now >= *ready);
        let Some(leader) = self.all.get(&of) else { return };
        let Role::Leads { admitted, .. } = &leader.role else { return };
        if !due || !admitted.contains_key(tag) {
            return;
        }
        let (replid, before) = (leader.replid.clone(), leader.before.clone());
        let (offset, tag) = (leader.offset(now), tag.clone());
        if let Some(engine) = self.all.get_mut(&at) {
            engine.position = Position::at(offset, now);
            if was {
                return;
            }
            (engine.replid, engine.before) = (replid, before);
            if let Role::Follows { linked, .. } = &mut engine.role {
                *linked = true;
            }
        }
        let Some(leader) = self.all.get_mut(&of) else { return };
        if let Role::Leads { admitted, .. } = &mut leader.role
            && let Some((_, follower)) = admitted.get_mut(&tag)
        {
            *follower = Some(at);
            self.mail[leader.host].push(leader.node.clone());
        }
    }

    /// What a probe of the engine finds, and whether the next one will find something else for certain.
    pub(crate) fn probe(&mut self, at: SocketAddr, now: Instant) -> Option<(EngineSeen, bool)> {
        self.settle(at, now);
        let engine = self.all.get(&at)?;
        let offset = engine.offset(now);
        let (role, moves) = match &engine.role {
            Role::Fenced => (RoleSeen::Replica { link_up: false, syncing: false, of: None }, false),
            Role::Follows { of, ready, full, linked, .. } => {
                let syncing = *full && now < *ready && self.leads(*of);
                let role = RoleSeen::Replica { link_up: *linked, syncing, of: Some(*of) };
                (role, !*linked && self.leads(*of))
            }
            Role::Leads { admitted, acks } => {
                let seen = |(tag, (since, follower)): (&String, &(Instant, Option<SocketAddr>))| {
                    replica(tag, *since, follower.is_some(), engine, *acks, now)
                };
                let replicas = admitted.iter().map(seen).collect();
                let whole = admitted.values().all(|(_, follower)| follower.is_some());
                (RoleSeen::Primary { replicas }, !whole)
            }
        };
        let leads = matches!(role, RoleSeen::Primary { .. });
        let seen = EngineSeen {
            run: engine.run.clone(),
            role,
            replid: engine.replid.clone(),
            offset: Offset(offset),
            health: if leads { Health::Writable } else { Health::ReadOnly },
            memory_bytes: MEMORY,
            memory_limit: Some(engine.memory_limit),
            fork_error: None,
        };
        Some((seen, moves))
    }
}

/// An attachment as its primary lists it.
fn replica(
    tag: &str,
    since: Instant,
    online: bool,
    engine: &Engine,
    acks: Duration,
    now: Instant,
) -> ReplicaSeen {
    let age = now.saturating_duration_since(since);
    let (acked, behind) = if !online {
        (0, age)
    } else if engine.loaded {
        // It said so at the last of its beats, which are the same for all: nobody compares them.
        let late = now.saturating_duration_since(engine.position.since).as_millis();
        let late = late % acks.as_millis().max(1);
        let late = Duration::from_millis(u64::try_from(late).unwrap_or(0)).min(age);
        (engine.position.moved(true, now.checked_sub(late).unwrap_or(now)), late)
    } else {
        (engine.offset(now), Duration::ZERO)
    };
    ReplicaSeen { tag: tag.to_owned(), online, acked: Offset(acked), behind }
}
