//! The members of a store that the fleet's servers keep together: what is due for one of them.
//!
//! A member that has lost its log must never come back as who it was: it may have promised what it
//! does not know any more. So it is taken out of the cluster and comes back as another one.
//!
//! Invariant: a cluster is begun only where somebody said so, once; no member starts without its log
//! unless it never had one.
//!
//! Not here: asking the cluster and running members (`tanist`), consensus itself (etcd).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::HostId;

/// A member, as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// The host that it is on; empty until it has started.
    pub name: String,
    /// Where the other members reach it.
    pub peer: String,
    /// Whether it has no vote yet.
    pub learner: bool,
}

/// What a member that has no log may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// A cluster of its own.
    Found,
    /// The place in the cluster that it was given, under this id.
    Join(u64),
}

/// What a host has of its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own<'a> {
    /// Where the other members reach it.
    pub peer: &'a str,
    /// Whether it has a log.
    pub log: bool,
    /// Its id, if it is known.
    pub id: Option<u64>,
    /// What it may begin with.
    pub begin: Option<Begin>,
    /// Whether the host was removed from the fleet, as far as is known.
    pub removed: bool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Start it: with its log, or as what it may begin as.
    Start(Option<Begin>),
    /// Ask the cluster for a place.
    Add,
    /// Take the place back that it had with a log that is lost.
    TakeOut(u64),
    /// Set its log aside: it is that of a member that was taken out.
    SetAside,
    /// Nothing can be done now.
    Wait(Why),
}

/// Why nothing can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The host was removed from the fleet.
    Removed,
    /// No other member answers, and only they can give it a place.
    Alone,
    /// Another member learns; etcd takes one at a time.
    AnotherLearns,
}

/// What is due for a host's member. `others`: the members as the others list them, if any of them
/// answers.
pub fn next(own: Own<'_>, others: Option<&[Listed]>) -> Step {
    if own.log {
        let gone = |list: &[Listed], id| !list.iter().any(|member| member.id == id);
        return match (own.id, others) {
            (Some(id), Some(list)) if gone(list, id) && own.removed => Step::Wait(Why::Removed),
            (Some(id), Some(list)) if gone(list, id) => Step::SetAside,
            _ => Step::Start(None),
        };
    }
    if own.begin == Some(Begin::Found) {
        return Step::Start(own.begin);
    }
    let Some(list) = others else { return Step::Wait(Why::Alone) };
    if own.removed {
        return Step::Wait(Why::Removed);
    }
    let place = list.iter().find(|member| member.peer == own.peer);
    match (place, own.begin) {
        (Some(place), Some(Begin::Join(id))) if place.id == id => Step::Start(own.begin),
        (Some(place), _) => Step::TakeOut(place.id),
        (None, _) if list.iter().any(|member| member.learner) => Step::Wait(Why::AnotherLearns),
        (None, _) => Step::Add,
    }
}

/// The members of hosts that were removed from the fleet. `peer` is where the member of a host is
/// reached, for one that never started and so has no name.
pub fn leavers(
    list: &[Listed],
    removed: &BTreeSet<HostId>,
    peer: impl Fn(&HostId) -> Option<String>,
) -> Vec<u64> {
    let of = |member: &&Listed| {
        removed.iter().any(|host| {
            member.name == host.as_str()
                || member.name.is_empty() && peer(host).as_ref() == Some(&member.peer)
        })
    };
    list.iter().filter(of).map(|member| member.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Own<'_> =
        Own { peer: "https://b:2380", log: false, id: None, begin: None, removed: false };

    fn listed(id: u64, host: &str) -> Listed {
        let peer = format!("https://{host}:2380");
        Listed { id, name: host.to_owned(), peer, learner: false }
    }

    #[test]
    fn a_cluster_is_begun_only_where_somebody_said_so() {
        assert_eq!(next(OWN, None), Step::Wait(Why::Alone));
        let founder = Own { begin: Some(Begin::Found), ..OWN };
        assert_eq!(next(founder, None), Step::Start(Some(Begin::Found)));
        let founded = Own { log: true, ..founder };
        assert_eq!(next(founded, None), Step::Start(None), "and only once");
    }

    #[test]
    fn a_new_member_asks_for_a_place_and_takes_the_one_that_it_was_given() {
        let others = [listed(1, "a")];
        assert_eq!(next(OWN, Some(&others)), Step::Add);
        let learns = [listed(1, "a"), Listed { learner: true, ..listed(3, "c") }];
        assert_eq!(next(OWN, Some(&learns)), Step::Wait(Why::AnotherLearns));
        let given = [listed(1, "a"), Listed { learner: true, ..listed(2, "b") }];
        let join = Own { begin: Some(Begin::Join(2)), ..OWN };
        assert_eq!(next(join, Some(&given)), Step::Start(Some(Begin::Join(2))));
        assert_eq!(next(join, Some(&others)), Step::Add, "it was taken back meanwhile");
    }

    #[test]
    fn who_has_lost_the_log_comes_back_as_another_member() {
        let list = [listed(1, "a"), listed(2, "b")];
        assert_eq!(next(Own { id: Some(2), ..OWN }, Some(&list)), Step::TakeOut(2));
        let stale = Own { begin: Some(Begin::Join(9)), ..OWN };
        assert_eq!(next(stale, Some(&list)), Step::TakeOut(2), "the place is of an earlier one");
    }

    #[test]
    fn a_log_is_kept_until_the_others_say_that_its_member_is_gone() {
        let has = Own { log: true, id: Some(2), ..OWN };
        assert_eq!(next(has, None), Step::Start(None));
        assert_eq!(next(has, Some(&[listed(1, "a"), listed(2, "b")])), Step::Start(None));
        let without = [listed(1, "a"), listed(3, "b")];
        assert_eq!(next(has, Some(&without)), Step::SetAside);
        assert_eq!(next(Own { id: None, ..has }, Some(&without)), Step::Start(None));
    }

    #[test]
    fn a_host_that_was_removed_asks_for_nothing() {
        let others = [listed(1, "a")];
        let removed = Own { removed: true, ..OWN };
        assert_eq!(next(removed, Some(&others)), Step::Wait(Why::Removed));
        let had = Own { log: true, id: Some(2), ..removed };
        assert_eq!(next(had, Some(&others)), Step::Wait(Why::Removed));
    }

    #[test]
    fn members_of_removed_hosts_leave_and_no_others() {
        let unnamed = Listed { name: String::new(), ..listed(3, "c") };
        let list = [listed(1, "a"), listed(2, "b"), unnamed];
        let peer = |host: &HostId| Some(format!("https://{host}:2380"));
        let removed = |names: &[&str]| names.iter().map(|name| HostId::new(*name)).collect();
        assert_eq!(leavers(&list, &removed(&["b", "c", "x"]), peer), [2, 3]);
        assert!(leavers(&list, &removed(&[]), peer).is_empty());
        assert!(leavers(&list, &removed(&["c"]), |_| None).is_empty());
    }
}
