//! The world's state: what has to be told apart, and nothing else.
//!
//! A [`State`] holds numbers of interned parts. Orders and routes are not queues but what may still
//! arrive: an order stays in the pool until its node's guard refuses it for good, so it may be late,
//! repeated, overtaken or never arrive. Reports are not heard one by one: a controller that decides
//! does so by any report that was sent of each node, none older than the last one that it used.
//!
//! Invariant: two states that differ only in what can never matter again are the same state.
//!
//! Not here: how states follow from one another (`crate::step`).

/// Nodes of the shard; node `n` is the only one on host `n`.
pub(crate) const NODES: usize = 3;
/// Controllers at most.
pub(crate) const CONTROLLERS: usize = 2;
/// Proxies at most.
pub(crate) const PROXIES: usize = 2;

/// A history of at most eight writes, each 1 to 15, the oldest in the lowest four bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct History(u32);

impl History {
    pub(crate) fn len(self) -> u8 {
        (8 - (self.0.leading_zeros() / 4)) as u8
    }

    pub(crate) fn push(&mut self, write: u8) {
        self.0 |= u32::from(write) << (4 * self.len());
    }

    pub(crate) fn at(self, index: u8) -> u8 {
        ((self.0 >> (4 * index)) & 15) as u8
    }

    /// All but the newest write.
    pub(crate) fn without_last(self) -> Self {
        let mut shorter = Self::default();
        (0..self.len().saturating_sub(1)).for_each(|index| shorter.push(self.at(index)));
        shorter
    }

    /// The writes as a set.
    pub(crate) fn set(self) -> u16 {
        (0..self.len()).fold(0, |set, index| set | (1 << self.at(index)))
    }
}

/// A replica's link to whom it follows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Link {
    Down,
    /// It receives a full copy; what it had is gone.
    Copying,
    Up,
    /// Broken at the other end, but what was sent up to here still arrives.
    Draining(History),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Role {
    Primary,
    /// It follows the fence.
    Fenced,
    Replica {
        of: u8,
        seq: u8,
        link: Link,
    },
}

/// A replication id: see [`crate::nouns::replid_name`].
pub(crate) type Replid = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Answer {
    Dead,
    Frozen { run: u8, replid: Replid, before: Option<(Replid, u8)>, offset: u8, loaded: bool },
    Unusable { run: u8 },
}

/// What an agent has made true. Its revision is left out: nothing is compared with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Done {
    pub(crate) epoch: u8,
    pub(crate) primary: bool,
    /// Attachments, a bit for each number.
    pub(crate) seqs: u32,
    /// Proxies, a bit for each.
    pub(crate) lanes: u8,
}

/// A node: its agent's memory, its disk and its engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node {
    /// The number of its current or last process.
    pub(crate) run: u8,
    pub(crate) alive: bool,
    pub(crate) history: History,
    pub(crate) offset: u8,
    pub(crate) replid: Replid,
    pub(crate) before: Option<(Replid, u8)>,
    /// A full copy was given up half-way: nothing that can be compared.
    pub(crate) hollow: bool,
    pub(crate) loaded: bool,
    pub(crate) role: Role,
    /// Attachments that it lets in, a bit for each number.
    pub(crate) users: u32,
    /// Lanes: bit `2 * epoch + proxy`.
    pub(crate) lanes: u32,
    pub(crate) disk: Option<History>,
    pub(crate) guard_rev: u8,
    pub(crate) guard_epoch: u8,
    pub(crate) answer: Option<(u8, Answer)>,
    pub(crate) done: Option<Done>,
}

/// The bit of a lane.
pub(crate) fn lane(epoch: u8, proxy: u8) -> u32 {
    1 << ((u32::from(epoch) * 2 + u32::from(proxy)) % 32)
}

/// What a probe of an engine said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Probe {
    pub(crate) role: ProbeRole,
    pub(crate) replid: Replid,
    pub(crate) offset: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ProbeRole {
    /// With the attachments that are online, a bit for each number.
    Primary {
        online: u32,
    },
    Replica {
        up: bool,
        copying: bool,
    },
}

/// A report about a node, as a controller keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Report {
    /// The run, if a process exists.
    pub(crate) run: Option<u8>,
    pub(crate) probe: Option<Probe>,
    pub(crate) answer: Option<(u8, Answer)>,
    pub(crate) done: Option<Done>,
}

/// A report on its way to a controller, or heard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Heard {
    /// `None`: nothing was heard yet.
    pub(crate) report: Option<Report>,
    /// Of the primary while an attachment is pending: it was probed after the revision was
    /// committed and after every proxy that has confirmed it did so.
    pub(crate) fresh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Controller {
    /// Its leadership; 0: it never led.
    pub(crate) term: u8,
    /// The topology that it believes to be current.
    pub(crate) known: u32,
    /// By node: the last report that it has acted upon, and all that were sent since; a list's
    /// number.
    pub(crate) heard: [u32; NODES],
    /// Proxies that work by its revision as far as it knows, a bit for each.
    pub(crate) confirmed: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Flight {
    pub(crate) write: u8,
    pub(crate) epoch: u8,
    pub(crate) node: u8,
    pub(crate) run: u8,
    /// The primary's offset behind the write.
    pub(crate) position: u8,
    /// The attachments that the last ROLE showed at or past the position: a list's number.
    pub(crate) seen: Option<u32>,
}

/// The gate of a proxy of which nothing matters any more.
pub(crate) const RETIRED: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Proxy {
    pub(crate) gate: u32,
    pub(crate) flight: Option<Flight>,
}

/// A primary that a second commit named, and what it had at that moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Chosen {
    pub(crate) epoch: u8,
    pub(crate) node: u8,
    pub(crate) run: u8,
    /// `None` if the run had ended already.
    pub(crate) writes: Option<u16>,
}

/// What the judge remembers.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) written: u8,
    /// Acknowledged writes.
    pub(crate) acked: u16,
    /// Writes whose loss with a disk was named.
    pub(crate) forgiven: u16,
    pub(crate) chosen: Vec<Chosen>,
}

/// What may still happen, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// Writes that clients send.
    pub writes: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Processes that are started.
    pub restarts: u8,
    /// First commits of a failover.
    pub failovers: u8,
    /// Shrinks and beginnings of growth.
    pub sets: u8,
    /// Proxies cut or let in.
    pub cuts: u8,
    /// Links that lose their place and need a full copy.
    pub recopies: u8,
    /// New leaders.
    pub leaders: u8,
}

/// The whole world, in numbers of interned parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    /// The committed topology.
    pub(crate) topology: u32,
    /// The leadership that the store compares.
    pub(crate) term: u32,
    pub(crate) nodes: [u32; NODES],
    pub(crate) controllers: [u32; CONTROLLERS],
    pub(crate) proxies: [u32; PROXIES],
    /// Orders that may still arrive.
    pub(crate) orders: u32,
    /// Routes that may still arrive.
    pub(crate) routes: u32,
    pub(crate) ledger: u32,
    pub(crate) budget: Budget,
}

impl State {
    /// Sixty-four bits that stand for it.
    pub(crate) fn fingerprint(&self) -> u64 {
        let pair = |a: u32, b: u32| (u64::from(a) << 32) | u64::from(b);
        let b = &self.budget;
        let budget =
            [b.writes, b.crashes, b.restarts, b.failovers, b.sets, b.cuts, b.recopies, b.leaders];
        let words = [
            pair(self.topology, self.term),
            pair(self.nodes[0], self.nodes[1]),
            pair(self.nodes[2], self.controllers[0]),
            pair(self.controllers[1], self.proxies[0]),
            pair(self.proxies[1], self.orders),
            pair(self.routes, self.ledger),
            u64::from_le_bytes(budget),
        ];
        crate::intern::fingerprint(words.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_keeps_order_and_length() {
        let mut history = History::default();
        for write in [3, 1, 2] {
            history.push(write);
        }
        assert_eq!((history.len(), history.at(0), history.at(2)), (3, 3, 2));
        assert_eq!(history.set(), 0b1110);
        assert_eq!((history.without_last().len(), history.without_last().set()), (2, 0b1010));
    }
}
