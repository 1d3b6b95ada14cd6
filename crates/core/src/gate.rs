//! The proxy's head: forward, hold, replay or say that one does not know.
//!
//! A proxy never infers a primary: only a route with a higher epoch names one. While nobody is
//! named it holds, and what becomes of a request whose lane broke depends on one question alone:
//! could the engine have executed it? If it could and it was a write, the honest answer is
//! `-UNCERTAIN`; it is never sent twice.
//!
//! Invariant: a reply is released only under the epoch whose lane carried its request, and a `sync`
//! write's only with proof ([`proven`]).
//!
//! Not here: sockets, buffers and RESP (`tanist-proxy`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Epoch, Offset, RequestId, Rev, Route, RouteState};

/// How long a request is held before it is answered with an error that says "not executed".
pub const HOLD_LIMIT: Duration = Duration::from_secs(10);

/// What a request does to the data, as far as its fate depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing: it may run twice.
    Read,
    /// It changes something, or may.
    Write,
}

/// How much of a request the engine can have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Less than all of it: a request without its last byte is never executed.
    NotWhole,
    /// All of it.
    Whole,
}

/// What becomes of a request whose lane broke before its reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Send it to the next primary.
    Replay,
    /// Answer that its outcome is unknown.
    Uncertain,
}

/// Decides the fate of a request whose lane broke.
pub fn fate(effect: Effect, sent: Sent) -> Fate {
    match (effect, sent) {
        (Effect::Read, _) | (Effect::Write, Sent::NotWhole) => Fate::Replay,
        (Effect::Write, Sent::Whole) => Fate::Uncertain,
    }
}

/// Whether an error reply proves that the engine did not execute the request because of its role,
/// so that the request may be held and sent again.
pub fn refused_by_role(error_code: &str) -> bool {
    matches!(error_code, "READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED")
}

/// Whether a request may be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Yes, on a lane of this epoch.
    Forward(Epoch),
    /// Not now.
    Hold,
}

/// What a route has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: the route is not newer.
    Stale,
    /// Details within the epoch.
    Updated,
    /// The epoch is over: lanes of older epochs die, their requests meet their fates.
    EpochOver {
        /// Lanes below this epoch are void.
        below: Epoch,
    },
}

/// What a proxy knows about a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    rev: Rev,
    epoch: Epoch,
    serving: bool,
    hold: Option<RequestId>,
    required: BTreeSet<String>,
    writable: bool,
}

impl Gate {
    /// Takes in a route.
    ///
    /// Within an epoch a vacancy comes first and never again: a controller that has just started
    /// and has not heard from the primary's agent says "vacant" of a primary that serves.
    pub fn learn(&mut self, route: &Route) -> Learned {
        if route.rev < self.rev || route.epoch < self.epoch {
            return Learned::Stale;
        }
        let new_epoch = route.epoch > self.epoch;
        match &route.state {
            RouteState::Vacant if new_epoch => {
                self.serving = false;
                self.hold = None;
                self.required.clear();
            }
            RouteState::Vacant => return Learned::Stale,
            RouteState::Serving { required, writable, hold, .. } => {
                self.serving = true;
                self.hold = *hold;
                self.required.clone_from(required);
                self.writable = *writable;
            }
        }
        self.rev = route.rev;
        self.epoch = route.epoch;
        if new_epoch { Learned::EpochOver { below: route.epoch } } else { Learned::Updated }
    }

    /// Whether a request may be forwarded now.
    pub fn pass(&self) -> Pass {
        if self.serving && self.hold.is_none() { Pass::Forward(self.epoch) } else { Pass::Hold }
    }

    /// The epoch whose replies may be released.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The revision of the route that the proxy works by.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// The request for which the proxy holds although somebody is primary.
    pub fn hold(&self) -> Option<RequestId> {
        self.hold
    }

    /// Whether writes are allowed (enough members are in sync).
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Whether a reply of a lane of `lane_epoch` may go to its client at all.
    pub fn may_release(&self, lane_epoch: Epoch) -> bool {
        lane_epoch == self.epoch
    }

    /// Wire forms of the attachments that must have a write before it is acknowledged.
    pub fn required(&self) -> &BTreeSet<String> {
        &self.required
    }
}

/// Whether a batch of writes is proven to be held by everybody who has to have it.
///
/// `position` is the primary's offset in the ROLE that followed the batch on its own connection;
/// `acked` are the attachments and offsets of a later ROLE. WAIT is no proof: it counts anonymous
/// connections, and a command that was served from a blocked state is not counted at all.
pub fn proven<'a>(
    required: &BTreeSet<String>,
    position: Offset,
    acked: impl IntoIterator<Item = (&'a str, Offset)>,
) -> bool {
    let mut missing: BTreeSet<&str> = required.iter().map(String::as_str).collect();
    for (tag, offset) in acked {
        if offset >= position {
            missing.remove(tag);
        }
    }
    missing.is_empty()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::{Durability, GroupEndpoints};

    fn route(rev: u64, epoch: u64, state: RouteState) -> Route {
        let nowhere = Ipv4Addr::LOCALHOST;
        Route {
            group: "web".into(),
            shard: "0001".into(),
            rev: Rev(rev),
            epoch: Epoch(epoch),
            durability: Durability::Sync,
            endpoint_hosts: Default::default(),
            access: crate::model::Access::Everyone,
            accounts: Default::default(),
            transit: Default::default(),
            reads: crate::model::Reads::default(),
            endpoints: GroupEndpoints {
                primary: nowhere,
                reader: nowhere,
                port: 6379,
                ports_from: None,
            },
            state,
            nodes: Vec::new(),
        }
    }

    fn serving(hold: Option<u64>) -> RouteState {
        RouteState::Serving {
            primary: "web-001".into(),
            required: BTreeSet::from(["web-002.r.1".to_owned()]),
            writable: true,
            hold: hold.map(RequestId),
        }
    }

    #[test]
    fn a_gate_that_knows_nothing_holds() {
        assert_eq!(Gate::default().pass(), Pass::Hold);
    }

    #[test]
    fn only_a_higher_epoch_ends_an_epoch() {
        let mut gate = Gate::default();
        assert_eq!(gate.learn(&route(2, 1, serving(None))), Learned::EpochOver { below: Epoch(1) });
        assert_eq!(gate.pass(), Pass::Forward(Epoch(1)));
        assert_eq!(gate.learn(&route(3, 1, serving(None))), Learned::Updated);
        assert_eq!(gate.learn(&route(2, 1, serving(None))), Learned::Stale);
        assert_eq!(
            gate.learn(&route(4, 2, RouteState::Vacant)),
            Learned::EpochOver { below: Epoch(2) }
        );
        assert_eq!(gate.pass(), Pass::Hold);
        assert_eq!(gate.learn(&route(3, 1, serving(None))), Learned::Stale);
        assert_eq!(gate.learn(&route(5, 2, serving(None))), Learned::Updated);
        assert_eq!(gate.pass(), Pass::Forward(Epoch(2)));
    }

    #[test]
    fn a_controller_that_has_not_looked_yet_stops_nobody() {
        let mut gate = Gate::default();
        gate.learn(&route(5, 2, serving(None)));
        assert_eq!(gate.learn(&route(5, 2, RouteState::Vacant)), Learned::Stale);
        assert_eq!(gate.pass(), Pass::Forward(Epoch(2)));
    }

    #[test]
    fn a_hold_comes_and_goes_within_a_revision() {
        let mut gate = Gate::default();
        gate.learn(&route(5, 2, serving(None)));
        gate.learn(&route(5, 2, serving(Some(1))));
        assert_eq!((gate.pass(), gate.hold()), (Pass::Hold, Some(RequestId(1))));
        gate.learn(&route(5, 2, serving(None)));
        assert_eq!(gate.pass(), Pass::Forward(Epoch(2)));
    }

    #[test]
    fn a_reply_of_an_old_epoch_is_never_released() {
        let mut gate = Gate::default();
        gate.learn(&route(5, 2, serving(None)));
        assert!(gate.may_release(Epoch(2)));
        gate.learn(&route(6, 3, RouteState::Vacant));
        assert!(!gate.may_release(Epoch(2)));
    }

    #[test]
    fn a_write_that_the_engine_may_have_seen_is_never_replayed() {
        assert_eq!(fate(Effect::Write, Sent::Whole), Fate::Uncertain);
        assert_eq!(fate(Effect::Write, Sent::NotWhole), Fate::Replay);
        assert_eq!(fate(Effect::Read, Sent::Whole), Fate::Replay);
    }

    #[test]
    fn a_write_is_proven_by_every_required_tag_and_no_other() {
        let required = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let m = Offset(10);
        assert!(proven(&required, m, [("a", Offset(10)), ("b", Offset(11))]));
        assert!(!proven(&required, m, [("a", Offset(10)), ("b", Offset(9))]));
        assert!(!proven(&required, m, [("a", Offset(10)), ("c", Offset(99))]));
        assert!(proven(&required, m, [("a", Offset(3)), ("a", Offset(10)), ("b", Offset(10))]));
        assert!(proven(&BTreeSet::new(), m, []));
    }
}
