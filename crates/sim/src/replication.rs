//! Replication: links between engines, partial and full resynchronisation.
//!
//! As measured: a replica is let in only as a user that the upper end has; it goes on partially if
//! its history is the upper end's (or the one before, up to where it was left) and the backlog
//! reaches back far enough; otherwise it is emptied and gets a full copy, during which it can answer
//! nothing about what it holds.
//!
//! Invariant: an online live link's lower end is in the upper end's history.
//!
//! Not here: what roles and users mean (`crate::engine`).

use std::rc::Rc;

use crate::config::{MILLI, SECOND};
use crate::engine::{Link, Role};
use crate::history::Pos;
use crate::net::Place;
use crate::world::{Event, World};

/// An engine gives a silent link up after this (`repl-timeout`, squeezed).
const LINK_TIMEOUT: u64 = 5 * SECOND;
/// A replica that was refused tries again after this.
const RETRY: u64 = SECOND;

impl World {
    fn path(&self, from: usize, to: usize) -> bool {
        let (from, to) = (self.procs[from].host, self.procs[to].host);
        from == to || self.net.open(Place::Host(from), Place::Host(to))
    }

    /// A replica dials whom it follows.
    pub(crate) fn replica_connects(&mut self, proc: usize, turn: u32) {
        let engine = &self.procs[proc];
        if !engine.alive || engine.turn != turn || engine.link_up.is_some() {
            return;
        }
        let Role::Replica { of: Some(address), tag } = &engine.role else { return };
        let (address, tag) = (*address, tag.clone());
        let Some(up) = self.upper_end(proc, address, tag.as_ref().map(|tag| tag.0)) else {
            return self.after(RETRY, Event::ReplicaConnects { proc, turn });
        };
        let Some((seq, wire)) = tag else { return };
        if self.procs[up].cannot_fork && !self.may_go_on(up, proc) {
            return self.after(RETRY, Event::ReplicaConnects { proc, turn });
        }
        self.attach(up, proc, seq, wire);
    }

    /// The process at `address`, if it lets the attachment in now.
    fn upper_end(
        &self,
        proc: usize,
        address: std::net::SocketAddr,
        seq: Option<u64>,
    ) -> Option<usize> {
        let slots = self.hosts.iter().flat_map(|host| &host.slots);
        let up =
            slots.filter_map(|slot| slot.proc).find(|up| self.procs[*up].address == address)?;
        let engine = &self.procs[up];
        let open = self.path(proc, up) && self.path(up, proc);
        let lower = &self.procs[proc];
        let ready = engine.responsive() && !engine.loading && lower.responsive() && !lower.loading;
        // A replica that is not linked itself answers -NOMASTERLINK.
        let feeds = engine.is_primary() || engine.link_up.is_some();
        let known = seq.is_some_and(|seq| engine.tags.contains_key(&seq));
        (open && ready && feeds && known).then_some(up)
    }

    fn attach(&mut self, up: usize, down: usize, seq: u64, wire: Rc<str>) {
        let at = self.procs[down].pos;
        let partial = self.may_go_on(up, down);
        let link = self.links.len();
        let snapshot = self.procs[up].pos;
        self.links.push(Link {
            up,
            down,
            seq,
            wire,
            listed: true,
            live: true,
            online: partial,
            acked: if partial { at.off } else { 0 },
            receiving: false,
            acking: false,
            target: at.off,
            stalled_since: None,
            blocked_until: 0,
            snapshot,
        });
        self.procs[up].links_down.push(link);
        self.procs[down].link_up = Some(link);
        let (lower, upper) = (self.procs[down].node, self.procs[up].node);
        let (lower, upper) = (self.nodes[lower].clone(), self.nodes[upper].clone());
        let how = if partial { "goes on where it was" } else { "receives a full copy" };
        self.tell(|| format!("{lower} is linked to {upper} and {how}"));
        if partial {
            self.join_history(down, snapshot.log);
            self.census.partial_resyncs += 1;
            self.pump(link);
        } else {
            self.census.full_resyncs += 1;
            self.procs[down].copying = true;
            let span = self.dice.range(MILLI, self.config.copy);
            self.after(span, Event::CopyLoads { link });
        }
    }

    fn may_go_on(&self, up: usize, down: usize) -> bool {
        let at = self.procs[down].pos;
        let upper = &self.procs[up];
        let same = at.log == upper.pos.log && at.off <= upper.pos.off;
        let before = upper.before.is_some_and(|left| at.log == left.log && at.off <= left.off);
        (same || before)
            && !self.procs[down].must_copy
            && upper.pos.off - at.off <= self.config.backlog
    }

    /// A replica takes the upper end's history on; its own replicas have to come anew.
    fn join_history(&mut self, down: usize, log: u32) {
        let engine = &mut self.procs[down];
        if engine.pos.log != log {
            engine.before = Some(engine.pos);
            engine.pos.log = log;
            self.drop_links_down(down);
        }
    }

    /// The full copy has arrived: the old data is dropped and the new one is loaded.
    pub(crate) fn copy_loads(&mut self, link: usize) {
        let Link { up, down, live, .. } = self.links[link];
        if !live || !self.procs[down].copying {
            return;
        }
        if !self.path(up, down) || !self.procs[down].responsive() || !self.procs[up].responsive() {
            return self.after(100 * MILLI, Event::CopyLoads { link });
        }
        let log = self.logs.create(None, 0);
        let engine = &mut self.procs[down];
        engine.copying = false;
        engine.loading = true;
        // The old replication id stays visible until the load is over: see the planted bug.
        engine.before = Some(engine.pos);
        engine.pos = Pos { log, off: 0 };
        let (host, node, old) = (engine.host, engine.node, engine.before);
        self.slot(host, node).disk = old;
        self.drop_links_down(down);
        let span = self.dice.range(MILLI, self.config.copy / 2);
        self.after(span, Event::CopyDone { link });
    }

    /// The copy is loaded, whatever has become of its link meanwhile.
    pub(crate) fn copy_done(&mut self, link: usize) {
        let Link { up, down, snapshot, .. } = self.links[link];
        let now = self.now;
        let engine = &mut self.procs[down];
        if !engine.alive {
            return;
        }
        engine.loading = false;
        engine.must_copy = false;
        engine.settled = true;
        engine.before = None;
        engine.pos = snapshot;
        engine.synced = snapshot;
        engine.synced_at = now;
        engine.changed_at = now;
        if self.links[link].live && self.procs[up].pos.log == snapshot.log {
            let link = &mut self.links[link];
            link.online = true;
            link.target = snapshot.off;
        }
        self.pump(link);
        self.acknowledge(link);
    }

    pub(crate) fn pump_all(&mut self, proc: usize) {
        for index in 0..self.procs[proc].links_down.len() {
            let link = self.procs[proc].links_down[index];
            self.pump(link);
        }
    }

    /// Sends what the lower end lacks, if nothing is on its way.
    pub(crate) fn pump(&mut self, link: usize) {
        let Link { up, down, live, online, receiving, .. } = self.links[link];
        if !live || !online || receiving || !self.procs[up].responsive() {
            return;
        }
        let target = self.procs[up].pos.off;
        if target > self.procs[down].pos.off {
            let delay = self.stream_delay();
            let link_state = &mut self.links[link];
            link_state.receiving = true;
            link_state.target = target;
            self.after(delay, Event::ReplicaReceives { link });
        }
    }

    pub(crate) fn replica_receives(&mut self, link: usize) {
        let Link { up, down, live, target, blocked_until, .. } = self.links[link];
        if !live || !self.procs[down].alive {
            return;
        }
        let blocked = blocked_until > self.now || !self.path(up, down);
        if blocked || !self.procs[down].responsive() {
            return self.stalled(link, blocked);
        }
        let now = self.now;
        self.links[link].stalled_since = None;
        self.links[link].receiving = false;
        let engine = &mut self.procs[down];
        if target > engine.pos.off {
            engine.touch(now);
            engine.pos.off = target;
        }
        self.acknowledge(link);
        self.pump(link);
    }

    /// Bytes wait; a link on which nothing passes for long is given up by its lower end, while the
    /// upper end may go on listing it.
    fn stalled(&mut self, link: usize, by_network: bool) {
        let now = self.now;
        let since = *self.links[link].stalled_since.get_or_insert(now);
        if by_network && now - since > LINK_TIMEOUT {
            let ghost = self.dice.chance(500);
            return self.break_link(link, ghost);
        }
        self.after(20 * MILLI, Event::ReplicaReceives { link });
    }

    fn acknowledge(&mut self, link: usize) {
        let Link { down, live, online, acking, .. } = self.links[link];
        if live && online && !acking {
            self.links[link].acking = true;
            let acked = self.procs[down].pos.off;
            let delay = self.stream_delay();
            self.after(delay, Event::PrimaryHears { link, acked });
        }
    }

    pub(crate) fn primary_hears(&mut self, link: usize, acked: u64) {
        let Link { up, down, live, listed, .. } = self.links[link];
        if !live || !listed || !self.procs[up].alive {
            return;
        }
        if !self.path(down, up) || !self.procs[up].responsive() {
            return self.after(20 * MILLI, Event::PrimaryHears { link, acked });
        }
        let state = &mut self.links[link];
        state.acking = false;
        state.acked = state.acked.max(acked);
        let again = self.procs[down].pos.off > acked;
        self.serve_waiters(up);
        if again {
            self.acknowledge(link);
        }
    }

    /// Both ends, or all but the upper end's memory of it, let go of a link.
    pub(crate) fn break_link(&mut self, link: usize, ghost: bool) {
        let Link { up, down, .. } = self.links[link];
        self.links[link].live = false;
        self.links[link].listed = ghost;
        if !ghost {
            self.procs[up].links_down.retain(|other| *other != link);
        }
        if self.procs[down].link_up == Some(link) {
            self.lose_upper_end(down);
        }
    }

    fn lose_upper_end(&mut self, down: usize) {
        let engine = &mut self.procs[down];
        engine.link_up = None;
        engine.copying = false;
        let turn = engine.turn;
        if engine.alive {
            let wait = self.dice.range(MILLI, RETRY);
            self.after(wait, Event::ReplicaConnects { proc: down, turn });
        }
    }

    pub(crate) fn drop_links_down(&mut self, proc: usize) {
        for link in self.procs[proc].links_down.clone() {
            self.break_link(link, false);
        }
    }

    /// The upper end's process ended; what it had handed to its kernel may still arrive.
    pub(crate) fn upper_end_dies(&mut self, link: usize, power_cut: bool) {
        let Link { down, live, receiving, target, .. } = self.links[link];
        if live && receiving && !power_cut && self.dice.chance(500) {
            let now = self.now;
            let engine = &mut self.procs[down];
            if engine.responsive() && !engine.loading && target > engine.pos.off {
                engine.touch(now);
                engine.pos.off = target;
            }
        }
        if live {
            self.break_link(link, false);
        }
    }

    /// The lower end hung up; after a power cut or a cut path the upper end does not notice.
    pub(crate) fn lower_end_leaves(&mut self, link: usize, power_cut: bool) {
        let Link { up, down, .. } = self.links[link];
        let ghost = power_cut || !self.path(down, up);
        self.links[link].live = false;
        self.links[link].listed = ghost;
        if !ghost {
            self.procs[up].links_down.retain(|other| *other != link);
        }
    }
}
