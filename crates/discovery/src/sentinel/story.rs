//! What subscribers are told when something changes, in Sentinel's own order.
//!
//! The controller's events say at once that a primary is lost or a heir chosen, and its status says
//! what is true. Either may be missed, and each is enough: whatever is seen tells first all that comes
//! before it. So a subscriber hears every failover from its beginning to its end, and never twice.
//!
//! Invariant: pure and told the time; every failover that is told ends with `+switch-master`, or with
//! the former primary back in its place.
//!
//! Not here: where events and statuses come from (`super::watcher`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::Severity;
use tanist_link::api::EventRecord;
use tokio::time::Instant;

use super::notice::{Lead, Notice, said};
use super::view::{Node, Stand, State, View, Watched};

/// How long the end of a failover waits for the replicas to follow the new primary. Clients that are
/// led to nodes wait for as long.
const RECONF: Duration = Duration::from_millis(500);

type Notices = Vec<Arc<Notice>>;

/// What subscribers have been told so far.
#[derive(Debug)]
pub(super) struct Story {
    /// Who is said to have voted, and for whom.
    id: String,
    /// By the name under which clients ask; `None` before the first look.
    tales: Option<BTreeMap<String, Tale>>,
}

/// What was told about one name.
#[derive(Debug)]
struct Tale {
    name: String,
    group: String,
    is_alias: bool,
    address: SocketAddrV4,
    /// The last epoch whose primary was told.
    epoch: u64,
    primary: Option<String>,
    replicas: BTreeMap<String, Told>,
    moving: Option<Move>,
    /// Replicas whose following of the new primary was not told yet.
    reconf: BTreeSet<String>,
    /// The former primary, until it is a replica.
    former: Option<String>,
}

/// What was told about a replica.
#[derive(Debug, Clone, Copy)]
struct Told {
    address: SocketAddrV4,
    down: bool,
}

/// A failover that is being told.
#[derive(Debug)]
struct Move {
    epoch: u64,
    crashed: bool,
    heir: Option<String>,
    promoted: Option<Instant>,
}

impl Story {
    /// Nothing was told yet.
    pub(super) const fn new(id: String) -> Self {
        Self { id, tales: None }
    }

    /// Whether a failover is being told, so that the next look should be soon.
    pub(super) fn is_moving(&self) -> bool {
        self.tales.iter().flat_map(BTreeMap::values).any(|tale| tale.moving.is_some())
    }

    /// The groups whose failovers are being told.
    pub(super) fn moving(&self) -> impl Iterator<Item = &str> {
        let tales = self.tales.iter().flat_map(BTreeMap::values);
        tales.filter(|tale| tale.moving.is_some()).map(|tale| tale.group.as_str())
    }

    /// Something has happened.
    pub(super) fn hear(&mut self, event: &EventRecord) -> Notices {
        let (Some(group), Some(node), Some(epoch)) = (&event.group, &event.node, event.epoch)
        else {
            return Notices::new();
        };
        let mut out = Notices::new();
        for tale in self.tales.iter_mut().flat_map(BTreeMap::values_mut) {
            if tale.group != group.as_str() {
                continue;
            }
            match event.name.as_str() {
                // One that nobody planned is a warning. Of the others, one may be a group's end,
                // and the next look tells which it is.
                "PrimaryVacated" if event.severity >= Severity::Warning => {
                    tale.begin(epoch.0, true, &self.id, &mut out);
                }
                "PrimaryChosen" => tale.choose(epoch.0, node.as_str(), &self.id, &mut out),
                _ => {}
            }
        }
        out
    }

    /// What there is now. The first look tells nothing: it is how things were found.
    pub(super) fn look(&mut self, view: &View, now: Instant) -> Notices {
        let mut out = Notices::new();
        let Some(tales) = &mut self.tales else {
            let tale = |watched: &Watched| (watched.name.clone(), Tale::found(watched));
            self.tales = Some(view.watched.iter().map(tale).collect());
            return out;
        };
        tales.retain(|name, tale| {
            let stays = view.find(name.as_bytes()).is_some_and(|now| now.group == tale.group);
            if !stays {
                out.push(tale.lead().told("-monitor"));
            }
            stays
        });
        for watched in &view.watched {
            match tales.get_mut(&watched.name) {
                Some(tale) => tale.look(watched, &self.id, now, &mut out),
                None => {
                    let tale = Tale::found(watched);
                    out.push(tale.lead().told_with("+monitor", " quorum 1"));
                    let replicas = tale.replicas.values();
                    out.extend(replicas.map(|told| tale.lead().told_of("+slave", told.address)));
                    tales.insert(watched.name.clone(), tale);
                }
            }
        }
        out
    }
}

impl Tale {
    fn found(watched: &Watched) -> Self {
        let mut tale = Self {
            name: watched.name.clone(),
            group: watched.group.clone(),
            is_alias: watched.is_alias,
            address: watched.address,
            // A failover that is under way is told from its middle.
            epoch: watched.epoch - u64::from(watched.state != State::Serving).min(watched.epoch),
            primary: watched.primary.as_ref().map(|primary| primary.id.clone()),
            replicas: BTreeMap::new(),
            moving: None,
            reconf: BTreeSet::new(),
            former: None,
        };
        tale.replicas = replicas_of(watched, &tale.replicas);
        tale
    }

    fn lead(&self) -> Lead<'_> {
        Lead { name: &self.name, address: self.address }
    }

    fn begin(&mut self, epoch: u64, crashed: bool, id: &str, out: &mut Notices) {
        if epoch <= self.moving.as_ref().map_or(self.epoch, |moving| moving.epoch) {
            return;
        }
        // A vacancy can be followed by another one; what was said of the first holds on.
        let was_moving = self.moving.take();
        let lead = self.lead();
        let said_down = was_moving.as_ref().is_some_and(|moving| moving.crashed);
        if crashed && !said_down {
            out.push(lead.told("+sdown"));
            out.push(lead.told_with("+odown", " #quorum 1/1"));
        }
        if !self.is_alias {
            out.push(said("+new-epoch", epoch.to_string()));
        }
        out.push(lead.told("+try-failover"));
        if !self.is_alias {
            out.push(said("+vote-for-leader", format!("{id} {epoch}")));
        }
        out.push(lead.told("+elected-leader"));
        out.push(lead.told("+failover-state-select-slave"));
        let crashed = crashed || said_down;
        self.moving = Some(Move { epoch, crashed, heir: None, promoted: None });
    }

    fn choose(&mut self, epoch: u64, heir: &str, id: &str, out: &mut Notices) {
        self.begin(epoch, false, id, out);
        let address = self.replicas.get(heir).map(|told| told.address);
        let Some(moving) = &mut self.moving else { return };
        if moving.epoch != epoch || moving.heir.is_some() {
            return;
        }
        moving.heir = Some(heir.to_owned());
        // Whoever was primary before has not been selected among replicas.
        if let Some(address) = address {
            for channel in [
                "+selected-slave",
                "+failover-state-send-slaveof-noone",
                "+failover-state-wait-promotion",
            ] {
                out.push(self.lead().told_of(channel, address));
            }
        }
    }

    fn look(&mut self, watched: &Watched, id: &str, now: Instant, out: &mut Notices) {
        if watched.epoch > self.epoch && self.primary.is_some() {
            let former = self.primary.as_deref().and_then(|former| watched.node(former));
            let crashed = former.is_none_or(|former| former.stand.is_down());
            self.begin(watched.epoch, crashed, id, out);
        }
        let serving = watched.primary.as_ref().filter(|_| watched.state == State::Serving);
        match serving {
            // What is seen of one that was not told to be vacant is older than what was heard.
            Some(_) if self.moving.as_ref().is_some_and(|moving| moving.epoch > watched.epoch) => {}
            Some(heir) if self.primary.as_ref() == Some(&heir.id) => self.stays(watched, out),
            Some(heir) if self.moving.is_some() => self.promote(watched, heir, id, now, out),
            Some(heir) => {
                // Nobody was known to be primary before.
                self.primary = Some(heir.id.clone());
                self.stays(watched, out);
            }
            None => {}
        }
        if self.moving.is_none() {
            self.compare(watched, out);
        }
    }

    /// The primary is whoever it was before.
    fn stays(&mut self, watched: &Watched, out: &mut Notices) {
        if let Some(moving) = self.moving.take() {
            out.push(self.lead().told("-failover-abort-no-good-slave"));
            if moving.crashed {
                out.push(self.lead().told("-sdown"));
                out.push(self.lead().told("-odown"));
            }
        }
        self.epoch = watched.epoch;
        self.lead_to(watched.address, out);
    }

    /// The way to the primary may be another although nobody else is primary: on a fleet it goes by a host,
    /// which may be lost.
    fn lead_to(&mut self, address: SocketAddrV4, out: &mut Notices) {
        let from = std::mem::replace(&mut self.address, address);
        if from != address {
            out.push(self.lead().switched(from));
        }
    }

    /// The heir is primary; the failover ends when the other replicas follow it.
    fn promote(
        &mut self,
        watched: &Watched,
        heir: &Node,
        id: &str,
        now: Instant,
        out: &mut Notices,
    ) {
        self.choose(watched.epoch, &heir.id, id, out);
        let former = self.primary.clone();
        let Some(moving) = &mut self.moving else { return };
        let is_first = moving.promoted.is_none();
        let since = *moving.promoted.get_or_insert(now);
        if is_first {
            out.push(self.lead().told_of("+promoted-slave", heir.address));
            out.push(self.lead().told("+failover-state-reconf-slaves"));
            let others = watched.replicas.iter().filter(|node| Some(&node.id) != former.as_ref());
            for node in others.filter(|node| !node.stand.is_down()) {
                out.push(self.lead().told_of("+slave-reconf-sent", node.address));
                out.push(self.lead().told_of("+slave-reconf-inprog", node.address));
                self.reconf.insert(node.id.clone());
            }
        }
        self.reconfigured(watched, out);
        let is_late = now.saturating_duration_since(since) >= RECONF;
        if self.reconf.is_empty() || is_late {
            if !self.reconf.is_empty() {
                out.push(self.lead().told("+failover-end-for-timeout"));
            }
            self.switch(watched, heir, out);
        }
    }

    /// Tells of the replicas that follow the new primary now.
    fn reconfigured(&mut self, watched: &Watched, out: &mut Notices) {
        let lead = Lead { name: &self.name, address: self.address };
        self.reconf.retain(|id| {
            let node = watched.node(id);
            if let Some(node) = node.filter(|node| node.stand == Stand::Well) {
                out.push(lead.told_of("+slave-reconf-done", node.address));
                out.push(lead.told_of("+replica-reconf-done", node.address));
            }
            // One that is gone will not follow any more.
            node.is_some_and(|node| node.stand != Stand::Well && !node.stand.is_down())
        });
    }

    fn switch(&mut self, watched: &Watched, heir: &Node, out: &mut Notices) {
        out.push(self.lead().told("+failover-end"));
        let crashed = self.moving.take().is_some_and(|moving| moving.crashed);
        let from = std::mem::replace(&mut self.address, watched.address);
        self.epoch = watched.epoch;
        self.former = self.primary.replace(heir.id.clone());
        out.push(self.lead().switched(from));
        self.replicas = replicas_of(watched, &self.replicas);
        if let Some(former) = self.former.as_ref().and_then(|former| watched.node(former)) {
            let told = Told { address: former.address, down: former.stand.is_down() };
            // It may be back already; that it was away is told in any case.
            self.replicas.entry(former.id.clone()).or_insert(told).down |= crashed;
        }
        let told: Vec<Told> = self.replicas.values().copied().collect();
        out.extend(told.iter().map(|told| self.lead().told_of("+slave", told.address)));
        let down = told.iter().filter(|told| told.down);
        out.extend(down.map(|told| self.lead().told_of("+sdown", told.address)));
    }

    /// What has changed beside of failovers.
    fn compare(&mut self, watched: &Watched, out: &mut Notices) {
        self.reconfigured(watched, out);
        self.lead_to(watched.address, out);
        let now = replicas_of(watched, &self.replicas);
        let gone = self.replicas.keys().any(|id| watched.node(id).is_none());
        if gone {
            // Sentinel forgets replicas only so, and finds those that are left again.
            out.push(self.lead().told("+reset-master"));
        }
        for (id, told) in &now {
            let before = self.replicas.get(id).filter(|_| !gone);
            if before.is_none() {
                out.push(self.lead().told_of("+slave", told.address));
            }
            match (before.is_some_and(|before| before.down), told.down) {
                (false, true) => out.push(self.lead().told_of("+sdown", told.address)),
                (true, false) => out.push(self.lead().told_of("-sdown", told.address)),
                _ => {}
            }
        }
        self.replicas = now;
        let former = self.former.as_ref().and_then(|former| watched.node(former));
        if let Some(former) = former.filter(|former| !former.stand.is_down()) {
            out.push(self.lead().told_of("+convert-to-slave", former.address));
            self.former = None;
        } else if former.is_none() {
            self.former = None;
        }
    }
}

/// The replicas that subscribers know: Sentinel learns of one when it follows for the first time.
fn replicas_of(watched: &Watched, before: &BTreeMap<String, Told>) -> BTreeMap<String, Told> {
    let is_known = |node: &&Node| before.contains_key(&node.id) || !node.stand.is_down();
    let told =
        |node: &Node| (node.id.clone(), Told { address: node.address, down: node.stand.is_down() });
    watched.replicas.iter().filter(is_known).map(told).collect()
}

#[cfg(test)]
mod tests;
