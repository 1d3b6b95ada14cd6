//! When leases end.
//!
//! A keep-alive must not cost a commit, so deadlines live in memory only, as etcd's do; after a
//! restart every lease has its full time again. Time is tokio's, which tests can stop and move.
//!
//! Invariant: a keep-alive that was answered holds for the full time: a lease that is being ended
//! is refused from then on, also while its deletion waits for a disk that heals.
//!
//! Not here: deleting the lease and its keys (`writer`, through `Work::Expire`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::writer::{Work, Write};
use crate::error::StoreError;
use crate::model::LeaseId;

/// How long after a failed deletion of an ended lease the next attempt comes.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Running {
    ttl: Duration,
    at: Instant,
    ended: bool,
}

/// The deadlines, told the time.
#[derive(Debug, Default)]
struct Deadlines {
    leases: BTreeMap<LeaseId, Running>,
    order: BTreeSet<(Instant, LeaseId)>,
}

impl Deadlines {
    fn start(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        self.remove(id);
        self.set(id, Running { ttl, at: now + ttl, ended: false });
    }

    fn set(&mut self, id: LeaseId, running: Running) {
        self.order.insert((running.at, id));
        self.leases.insert(id, running);
    }

    fn remove(&mut self, id: LeaseId) -> Option<Running> {
        let running = self.leases.remove(&id)?;
        self.order.remove(&(running.at, id));
        Some(running)
    }

    fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Result<Duration, StoreError> {
        match self.leases.get(&id).copied() {
            // The time is up although nobody has looked yet: its keys are as good as gone.
            Some(running) if !running.ended && now < running.at => {
                self.start(id, running.ttl, now);
                Ok(running.ttl)
            }
            _ => Err(StoreError::LeaseNotFound(id)),
        }
    }

    /// The leases whose time is up. Each is answered once; it comes again after `RETRY`, unless it
    /// was removed by then.
    fn take_due(&mut self, now: Instant) -> Vec<LeaseId> {
        let due: Vec<LeaseId> =
            self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in &due {
            if let Some(running) = self.remove(*id) {
                self.set(*id, Running { ttl: running.ttl, at: now + RETRY, ended: true });
            }
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

/// The deadlines, shared by the handles, the writer and the task that watches them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    deadlines: Mutex<Deadlines>,
    changed: Notify,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a lease's time from now.
    pub(super) fn start(&self, id: LeaseId, ttl: Duration) {
        self.lock().start(id, ttl, Instant::now());
        self.changed.notify_one();
    }

    /// The lease is gone.
    pub(super) fn remove(&self, id: LeaseId) {
        self.lock().remove(id);
    }

    /// Counts a living lease's time from now.
    pub(super) fn keep_alive(&self, id: LeaseId) -> Result<Duration, StoreError> {
        self.lock().keep_alive(id, Instant::now())
    }
}

/// Ends leases whose time is up, until the store is closed.
pub(super) async fn watch_deadlines(
    leases: std::sync::Arc<Leases>,
    writer: mpsc::WeakSender<Write>,
    mut closed: oneshot::Receiver<()>,
) {
    loop {
        let next = leases.lock().next();
        let due = async {
            match next {
                // waits: the deadline is the event.
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut closed => return,
            () = leases.changed.notified() => continue,
            () = due => {}
        }
        let due = leases.lock().take_due(Instant::now());
        for id in due {
            let Some(writer) = writer.upgrade() else { return };
            let (write, _) = Write::new(Work::Expire(id));
            // A failure shows in the writer's log; the lease comes up again after `RETRY`.
            if writer.send(write).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LeaseId = LeaseId(1);
    const B: LeaseId = LeaseId(2);
    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_that_is_kept_alive_ends_one_full_time_later() {
        let mut deadlines = Deadlines::default();
        let now = Instant::now();
        deadlines.start(A, 2 * S, now);
        deadlines.start(B, 3 * S, now);
        assert_eq!(deadlines.keep_alive(A, now + S).unwrap(), 2 * S);
        assert_eq!(deadlines.next(), Some(now + 3 * S));
        assert!(deadlines.take_due(now + 2 * S).is_empty());
        assert_eq!(deadlines.take_due(now + 3 * S), [A, B]);
    }

    #[test]
    fn an_ended_lease_cannot_be_kept_alive_and_is_offered_again_until_it_is_gone() {
        let mut deadlines = Deadlines::default();
        let now = Instant::now();
        deadlines.start(A, S, now);
        assert!(deadlines.keep_alive(A, now + S).is_err());
        assert_eq!(deadlines.take_due(now + S), [A]);
        assert!(deadlines.take_due(now + S).is_empty());
        assert!(deadlines.keep_alive(A, now + S).is_err());
        assert_eq!(deadlines.take_due(now + S + RETRY), [A]);
        deadlines.remove(A);
        assert_eq!(deadlines.next(), None);
        assert!(deadlines.order.is_empty());
    }
}
