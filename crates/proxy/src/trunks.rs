//! The shared connections of one shard.
//!
//! Invariant: at most so many per key as the limits say, and one where writes are proven, so that a
//! batch is all that its proxy has in flight.
//!
//! Not here: a trunk (`crate::trunk`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tanist_core::model::NodeId;
use tanist_resp::Value;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::shard::{Lane, Shard};
use crate::trunk::{self, Key, Phase, Trunk};

/// The trunks of a shard.
#[derive(Debug, Default)]
pub(crate) struct Trunks {
    known: RefCell<BTreeMap<Key, Vec<Rc<Trunk>>>>,
    fresh: RefCell<Vec<Rc<Trunk>>>,
    opening: Notify,
    turn: Cell<usize>,
}

impl Trunks {
    /// A trunk for a key; it is opened if there are fewer than `most`, and clients take turns.
    pub(crate) fn pick(&self, key: Key, most: usize) -> Rc<Trunk> {
        let mut known = self.known.borrow_mut();
        let of_key = known.entry(key.clone()).or_default();
        of_key.retain(|trunk| trunk.phase() != Phase::Over && !trunk.is_retired());
        if of_key.len() < most.max(1) {
            let trunk = Rc::new(Trunk::new(key));
            of_key.push(Rc::clone(&trunk));
            self.fresh.borrow_mut().push(Rc::clone(&trunk));
            self.opening.notify_one();
            return trunk;
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        Rc::clone(&of_key[turn % of_key.len()])
    }

    /// All that are known.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<Rc<Trunk>> {
        self.known.borrow().values().flatten().cloned().collect()
    }

    /// Replies that an engine owes on a lane's trunks.
    pub(crate) fn owed(&self, lane: &Lane) -> usize {
        let known = self.known.borrow();
        let of_lane = known.iter().filter(|(key, _)| key.lane == *lane);
        of_lane.flat_map(|(_, trunks)| trunks).map(|trunk| trunk.owed()).sum()
    }

    /// A trunk is over.
    pub(crate) fn forget(&self, trunk: &Rc<Trunk>) {
        let mut known = self.known.borrow_mut();
        if let Some(of_key) = known.get_mut(&trunk.key) {
            of_key.retain(|other| !Rc::ptr_eq(other, trunk));
            if of_key.is_empty() {
                known.remove(&trunk.key);
            }
        }
    }
}

/// Opens the trunks that clients ask for, for as long as the shard exists.
pub(crate) async fn open(shard: Rc<Shard>) {
    while !shard.gone.get() {
        for trunk in shard.trunks.fresh.take() {
            spawn_local(trunk::run(trunk, Rc::clone(&shard)));
        }
        shard.trunks.opening.notified().await;
    }
}

impl Shard {
    /// An engine has said what it is.
    pub(crate) fn greeted(&self, node: &NodeId, facts: Value) {
        let server = facts.pairs().find(|(key, _)| key.as_str() == Some("server"));
        let is_redis = server.is_some_and(|(_, name)| name.as_str() == Some("redis"));
        self.errors_are_lines.set(is_redis);
        let version = facts.pairs().find(|(key, _)| key.as_str() == Some("version"));
        let version = version.and_then(|(_, value)| value.as_str().map(str::to_owned));
        let before = version.is_some_and(|version| version.starts_with("7.0."));
        self.names_users.set(!(is_redis && before));
        self.greetings.borrow_mut().insert(node.clone(), facts);
    }

    /// Ends what waits for trunks to open.
    pub(crate) fn end_trunks(&self) {
        self.trunks.opening.notify_one();
    }
}
