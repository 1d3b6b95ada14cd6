//! What a proxy has said in one conversation, and what of a beat need not be said again.
//!
//! A proxy of a large fleet has every group's endpoints, and hardly any of them changes within a beat.
//! Where the controller says that it remembers, a beat has only what it does not know.
//!
//! Until it has said anything, it is told everything once: one that has too much to do to say a word is
//! not helped by hearing more.
//!
//! Invariant: what a controller acts on is said in the beat after it changes, and a change of it makes
//! one at once; only numbers that people look at wait.
//!
//! Not here: what a shard reports (`crate::shard`).

use std::collections::BTreeMap;
use std::time::Duration;

use tanist_core::model::ShardKey;
use tanist_link::wire::{FromProxy, ProxyShard};
use tokio::time::Instant;

/// How old numbers may become by which nothing is decided.
const NUMBERS: Duration = Duration::from_secs(1);

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The controller remembers it.
    remembered: bool,
    /// Everything was said, whether or not anybody hears it.
    spoke: bool,
    /// Something was heard.
    heard: bool,
    /// Nothing, until there was a beat with every shard.
    shards: Option<BTreeMap<ShardKey, (ProxyShard, Instant)>>,
}

impl Said {
    /// From now on the controller remembers what it is told.
    pub(super) fn remember(&mut self) {
        self.remembered = true;
        self.heard = true;
        // It has not promised so for what it heard before.
        self.shards = None;
    }

    /// The controller has said something.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Whether a controller has to know something at once.
    pub(super) fn is_news(&self, now: &[ProxyShard]) -> bool {
        let Some(known) = &self.shards else { return true };
        let is_new = |shard: &ProxyShard| {
            known.get(&shard.key).is_none_or(|(said, _)| acts(said) != acts(shard))
        };
        known.len() != now.len() || now.iter().any(is_new)
    }

    /// The beat that says how it is, and counts as said; nothing while it would not be heard.
    pub(super) fn beat(&mut self, shards: Vec<ProxyShard>, now: Instant) -> Option<FromProxy> {
        if std::mem::replace(&mut self.spoke, true) && !self.heard {
            return None;
        }
        let known = self.shards.get_or_insert_default();
        let gone = known.len() > shards.len()
            || known.keys().any(|key| shards.binary_search_by(|shard| shard.key.cmp(key)).is_err());
        if !self.remembered || known.is_empty() || gone {
            *known = shards.iter().map(|shard| (shard.key.clone(), (shard.clone(), now))).collect();
            return Some(FromProxy::Beat { shards, part: false });
        }
        let due = |shard: &ProxyShard| {
            let due = known.get(&shard.key).is_none_or(|(said, at)| {
                said != shard && (acts(said) != acts(shard) || now - *at >= NUMBERS)
            });
            if due {
                known.insert(shard.key.clone(), (shard.clone(), now));
            }
            due
        };
        let shards = shards.into_iter().filter(due).collect();
        Some(FromProxy::Beat { shards, part: true })
    }
}

/// What a controller acts on.
fn acts(shard: &ProxyShard) -> impl PartialEq + use<> {
    (shard.rev, shard.drained, shard.released, shard.held > 0)
}

#[cfg(test)]
mod tests {
    use tanist_core::model::Rev;

    use super::*;

    fn shard(group: &str, rev: u64, clients: u64) -> ProxyShard {
        ProxyShard {
            key: ShardKey { group: group.into(), shard: "0001".into() },
            rev: Rev(rev),
            drained: None,
            released: None,
            held: 0,
            clients,
            uncertain: 0,
            turned_away: 0,
            last_turned_away: None,
            nodes: BTreeMap::new(),
        }
    }

    /// The groups that a beat has, and whether others hold as they were.
    fn said(beat: Option<FromProxy>) -> (Vec<String>, bool) {
        let Some(FromProxy::Beat { shards, part }) = beat else { panic!("{beat:?}") };
        (shards.iter().map(|shard| shard.key.group.to_string()).collect(), part)
    }

    #[test]
    fn who_does_not_remember_is_told_everything() {
        let mut told = Said::default();
        let now = Instant::now();
        assert!(told.beat(vec![shard("a", 1, 0)], now).is_some());
        assert_eq!(told.beat(vec![shard("a", 1, 0)], now), None, "nobody has said a word");
        told.heard();
        for _ in 0..2 {
            let beat = told.beat(vec![shard("a", 1, 0)], now);
            assert_eq!(said(beat), (vec!["a".to_owned()], false));
        }
    }

    #[test]
    fn what_is_acted_on_is_said_at_once_and_numbers_once_a_second() {
        let mut told = Said::default();
        told.remember();
        let began = Instant::now();
        let whole = told.beat(vec![shard("a", 1, 0), shard("b", 1, 0)], began);
        assert_eq!(said(whole), (vec!["a".to_owned(), "b".to_owned()], false));
        let moved = [shard("a", 1, 7), shard("b", 2, 0)];
        assert!(told.is_news(&moved));
        let soon = began + Duration::from_millis(10);
        assert_eq!(said(told.beat(moved.to_vec(), soon)), (vec!["b".to_owned()], true));
        assert!(!told.is_news(&moved), "more clients are no news");
        assert_eq!(said(told.beat(moved.to_vec(), soon)), (Vec::new(), true));
        assert_eq!(said(told.beat(moved.to_vec(), began + NUMBERS)), (vec!["a".to_owned()], true));
    }

    #[test]
    fn a_shard_that_is_gone_is_told_by_saying_all_the_others() {
        let mut told = Said::default();
        told.remember();
        let now = Instant::now();
        drop(told.beat(vec![shard("a", 1, 0), shard("b", 1, 0)], now));
        let rest = [shard("b", 1, 0)];
        assert!(told.is_news(&rest));
        assert_eq!(said(told.beat(rest.to_vec(), now)), (vec!["b".to_owned()], false));
        let replaced = told.beat(vec![shard("c", 1, 0)], now);
        assert_eq!(said(replaced), (vec!["c".to_owned()], false));
    }
}
