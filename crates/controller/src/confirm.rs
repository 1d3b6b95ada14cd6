//! Answers that wait until the proxies obey what was changed.
//!
//! A rule about who may connect, or who somebody is, holds when its author is answered: whoever hears
//! that a network was shut out and dials in from there must not get through. Routes go to proxies in order, so a number
//! that follows them and comes back says that everything before it is obeyed.
//!
//! Invariant: no answer waits longer than [`PATIENCE`], and one that was not confirmed says so.
//!
//! Not here: what a proxy does with a route (`tanist_core::gate`).

use std::collections::BTreeSet;
use std::time::Duration;

use tanist_core::model::{Instant, ProxyId};
use tanist_link::api::{ApiError, GroupStatus, UserGroupStatus, UserStatus};

use crate::inputs::Reply;

/// How long proxies may take to confirm.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer, and where it goes.
#[derive(Debug)]
pub(crate) enum Ready {
    Group(Box<GroupStatus>, Reply<GroupStatus>),
    User(Box<UserStatus>, Reply<UserStatus>),
    UserGroup(Box<UserGroupStatus>, Reply<UserGroupStatus>),
}

impl Ready {
    fn name(&self) -> &str {
        match self {
            Self::Group(status, _) => status.name.as_str(),
            Self::User(status, _) => &status.id,
            Self::UserGroup(status, _) => &status.id,
        }
    }

    /// Gives the answer, or says what is wrong with it. A caller that has gone away needs none.
    pub(crate) fn give(self, wrong: Option<ApiError>) {
        fn send<T>(status: T, reply: Reply<T>, wrong: Option<ApiError>) {
            let _ = reply.send(wrong.map_or(Ok(status), Err));
        }
        match self {
            Self::Group(status, reply) => send(*status, reply, wrong),
            Self::User(status, reply) => send(*status, reply, wrong),
            Self::UserGroup(status, reply) => send(*status, reply, wrong),
        }
    }
}

/// An answer that is ready.
#[derive(Debug)]
struct Waiting {
    number: u64,
    proxies: BTreeSet<ProxyId>,
    until: Instant,
    ready: Ready,
}

impl Waiting {
    fn is_over(&self, now: Instant) -> bool {
        self.proxies.is_empty() || now >= self.until
    }

    fn answer(self) {
        let silent: Vec<&str> = self.proxies.iter().map(ProxyId::as_str).collect();
        let wrong = (!silent.is_empty()).then(|| {
            let message = format!(
                "{} is changed, but these proxies have not confirmed it: {}",
                self.ready.name(),
                silent.join(", ")
            );
            ApiError::new("T504", message, "they obey it once they answer: tanist doctor")
        });
        self.ready.give(wrong);
    }
}

/// An answer to a change that is written.
#[derive(Debug)]
struct Fresh {
    proxies: BTreeSet<ProxyId>,
    ready: Ready,
}

/// Answers to changes that proxies have to obey first.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    /// Written, and not yet told to the proxies.
    fresh: Vec<Fresh>,
    waiting: Vec<Waiting>,
    last: u64,
}

impl Confirmations {
    /// Keeps an answer until these proxies obey the change. One that is not connected may still work
    /// by what it was told last; it is asked when it comes back.
    pub(crate) fn keep(&mut self, proxies: BTreeSet<ProxyId>, ready: Ready) {
        self.fresh.push(Fresh { proxies, ready });
    }

    /// Everything is published: the number that is to be sent to all proxies, if anybody waits.
    pub(crate) fn publish(&mut self, now: Instant) -> Option<u64> {
        if self.fresh.is_empty() {
            return None;
        }
        self.last += 1;
        for Fresh { proxies, ready } in self.fresh.drain(..) {
            let (number, until) = (self.last, now + PATIENCE);
            self.waiting.push(Waiting { number, proxies, until, ready });
        }
        Some(self.last)
    }

    /// A proxy obeys everything that was sent before this number.
    pub(crate) fn hear(&mut self, proxy: &ProxyId, number: u64) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.number <= number) {
            waiting.proxies.remove(proxy);
        }
    }

    /// The number to send to a proxy that has connected anew, after everything else: it may never
    /// have seen the one that somebody waits for.
    pub(crate) fn awaited(&self, proxy: &ProxyId) -> Option<u64> {
        self.waiting.iter().any(|waiting| waiting.proxies.contains(proxy)).then_some(self.last)
    }

    /// Gives the answers that are due.
    pub(crate) fn settle(&mut self, now: Instant) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.is_over(now)) {
            waiting.answer();
        }
    }
}
