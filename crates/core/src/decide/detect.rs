//! Is it alive, slow, hung or gone? One judgment per node, from what was seen last.
//!
//! Two sources at once: the supervisor knows when a process ends, and a heartbeat knows when it does
//! not answer. Neither is enough: a big process closes its sockets late, and a busy one answers
//! late. So silence is judged by what the process does meanwhile: one that is stopped hangs at
//! once, one that waits for a disk after a second, one that works or starves only after `busy`.
//!
//! Invariant: nothing is judged gone without somebody who looked, or hung without its own agent
//! having measured the silence.
//!
//! Not here: what to do about it (`super::vacate`, `super::in_sync`).

use std::time::Duration;

use super::View;
use crate::model::{NodeId, Process, Run, Stall};

/// What a node's last report says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Alive,
    /// It does not answer, but may for good reasons: it works, starves or waits.
    Slow,
    /// It does not answer and is not going to.
    Hung,
    /// Its process does not exist.
    Gone,
    /// Its host is not heard from.
    HostLost,
    /// Nobody has reported about it yet.
    Unknown,
}

impl View<'_> {
    /// Judges a member by its last report.
    pub(crate) fn verdict(&self, node: &NodeId) -> Verdict {
        let Some(member) = self.member(node) else { return Verdict::Unknown };
        let Some(host) = self.seen.hosts.get(&member.host) else {
            return if self.unheard_for(self.limits.host * 4) {
                Verdict::HostLost
            } else {
                Verdict::Unknown
            };
        };
        if self.now.since(host.at) > self.limits.host {
            return Verdict::HostLost;
        }
        let Some(seen) = self.report(node) else { return Verdict::Unknown };
        match seen.report.process {
            Process::Unknown => Verdict::Unknown,
            Process::Absent | Process::Failed(_) => Verdict::Gone,
            Process::Running(_) => {
                let silent = seen.report.silent;
                let patience = match seen.report.stall {
                    Stall::None => return Verdict::Alive,
                    Stall::Stopped => self.limits.stopped,
                    Stall::Stalled => self.limits.stalled,
                    Stall::Busy | Stall::Starved => self.limits.busy,
                };
                if silent >= patience {
                    Verdict::Hung
                } else if silent >= self.limits.stopped {
                    Verdict::Slow
                } else {
                    Verdict::Alive
                }
            }
        }
    }

    /// The topology has been known for `span`: whoever is placed by it and has not been heard of
    /// once is silent, not merely new. Without this a controller that starts after a host was lost
    /// would wait for the host for ever; the span gives agents time to find a new controller.
    pub(crate) fn unheard_for(&self, span: Duration) -> bool {
        let since = self.seen.rev_since.get(&self.decided.key());
        since.is_some_and(|(rev, since)| *rev == self.decided.rev && self.now.since(*since) > span)
    }

    /// The run is known to have ended: its node runs nothing, or another process.
    ///
    /// A run never comes back, so no age limit applies to the report.
    pub(crate) fn run_gone(&self, run: &Run) -> bool {
        let Some(seen) = self.report(&run.node) else { return false };
        match &seen.report.process {
            Process::Absent | Process::Failed(_) => true,
            Process::Running(Some(id)) => *id != run.id,
            Process::Running(None) | Process::Unknown => false,
        }
    }

    /// The member's agent can be reached.
    pub(crate) fn reachable(&self, node: &NodeId) -> bool {
        !matches!(self.verdict(node), Verdict::HostLost | Verdict::Unknown)
    }
}
