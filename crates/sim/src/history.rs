//! Histories of writes: what an engine holds, as a position in a shared log.
//!
//! An engine's data is the sequence of writes that led to it. Histories share prefixes (a promoted
//! replica goes on from its primary's), so each replication id owns one append-only log with a
//! parent, and an engine holds a [`Pos`] in one: copying "the data" copies two numbers.
//!
//! Invariant: a log is only appended to, and only by the one process that created it.
//!
//! Not here: who appends (`crate::engine`), what must be held (`crate::judge`).

use tanist_core::model::ReplId;

/// A log's number.
pub(crate) type LogId = u32;
/// A write's number; 0 is traffic that is no client's write (pings).
pub(crate) type WriteId = u32;

/// What an engine holds: everything in `log`, and in its parents, up to the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pos {
    pub(crate) log: LogId,
    pub(crate) off: u64,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) id: ReplId,
    /// Where the parent was left.
    parent: Option<Pos>,
    /// The offset of the log's own start.
    base: u64,
    entries: Vec<WriteId>,
}

/// Every log of a world.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    logs: Vec<Log>,
    /// Where each write was executed, by write id.
    places: Vec<Vec<Pos>>,
}

impl Logs {
    /// A log that goes on from `parent` and counts from `base`.
    pub(crate) fn create(&mut self, parent: Option<Pos>, base: u64) -> LogId {
        let number = self.logs.len() as LogId;
        let id = ReplId::new(format!("history{number}"));
        self.logs.push(Log { id, parent, base, entries: Vec::new() });
        number
    }

    pub(crate) fn id(&self, log: LogId) -> &ReplId {
        &self.logs[log as usize].id
    }

    /// Appends at the end; returns the offset that covers the write.
    pub(crate) fn append(&mut self, log: LogId, write: WriteId) -> u64 {
        let entry = &mut self.logs[log as usize];
        entry.entries.push(write);
        let off = entry.base + entry.entries.len() as u64;
        if write != 0 {
            let index = write as usize;
            if self.places.len() <= index {
                self.places.resize_with(index + 1, Vec::new);
            }
            self.places[index].push(Pos { log, off });
        }
        off
    }

    /// Where the write was executed.
    pub(crate) fn places(&self, write: WriteId) -> &[Pos] {
        self.places.get(write as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether what is held at `pos` includes the write.
    pub(crate) fn holds(&self, pos: Pos, write: WriteId) -> bool {
        let places = self.places(write);
        !places.is_empty() && self.chain(pos).any(|part| holds(part, places))
    }

    /// Whether what is held at `pos` includes `log` up to `off`.
    pub(crate) fn covers(&self, pos: Pos, log: LogId, off: u64) -> bool {
        self.chain(pos).any(|part| part.log == log && part.off >= off)
    }

    /// The position and those at which its ancestors were left.
    fn chain(&self, pos: Pos) -> impl Iterator<Item = Pos> {
        std::iter::successors(Some(pos), |at| self.logs[at.log as usize].parent)
    }

    /// Every client's write that is held at `pos`, latest log first.
    pub(crate) fn writes(&self, pos: Pos) -> impl Iterator<Item = WriteId> {
        self.chain(pos).flat_map(|part| {
            let log = &self.logs[part.log as usize];
            let len = (part.off.saturating_sub(log.base) as usize).min(log.entries.len());
            log.entries[..len].iter().copied().filter(|write| *write != 0)
        })
    }
}

fn holds(part: Pos, places: &[Pos]) -> bool {
    places.iter().any(|place| place.log == part.log && place.off <= part.off)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promoted_replica_holds_what_it_had_and_not_what_it_missed() {
        let mut logs = Logs::default();
        let old = logs.create(None, 0);
        let first = logs.append(old, 1);
        logs.append(old, 2);
        let new = logs.create(Some(Pos { log: old, off: first }), first);
        let off = logs.append(new, 3);
        let at = Pos { log: new, off };
        assert!(logs.holds(at, 1) && !logs.holds(at, 2) && logs.holds(at, 3));
        assert_eq!(logs.writes(at).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn a_history_loaded_from_disk_counts_anew_and_holds_the_same() {
        let mut logs = Logs::default();
        let old = logs.create(None, 700);
        let off = logs.append(old, 1);
        let loaded = logs.create(Some(Pos { log: old, off }), 0);
        assert!(logs.holds(Pos { log: loaded, off: 0 }, 1));
    }
}
