//! How a controller's observations come about: message by message, old ones dropped.
//!
//! Invariant: a report replaces only an older one of the same agent.
//!
//! Not here: what is done with them (`crate::controller`).

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tanist_core::model::{
    Calm, Cause, Epoch, HostSeen, Instant, NodeSeen, Region, RequestId, Rev, ShardTopology, Zone,
};

use crate::bugs::Bug;
use crate::controller::{ControllerMsg, News};
use crate::host::{AgentMsg, AgentWord};
use crate::net::Place;
use crate::probe::HostReport;
use crate::store::{LEADERSHIP, Snapshot, StoreAsk, StoreWord};
use crate::world::{Event, World};

/// What one node of the simulated group needs, in bytes.
pub(crate) const NODE_BYTES: u64 = 1 << 20;

impl World {
    pub(crate) fn at_controller(&mut self, msg: ControllerMsg) {
        let ControllerMsg { to, news } = msg;
        let state = &mut self.controllers[to];
        if !state.up {
            return;
        }
        if state.paused {
            return state.kept.push(news);
        }
        self.hear(to, news);
    }

    pub(crate) fn hear(&mut self, to: usize, news: News) {
        match news {
            News::Report(report) => self.hear_host(to, report),
            News::LeaseAsked { host, asked_at } => self.hear_lease(to, host, asked_at),
            News::Proxy { number, sequence, rev, drained } => {
                self.hear_proxy(to, number, sequence, rev, drained);
            }
            News::Store { turn, word } => {
                if turn == self.controllers[to].turn {
                    self.hear_store(to, word);
                }
            }
        }
    }

    fn hear_host(&mut self, to: usize, report: HostReport) {
        let at = self.local(to);
        let HostReport { host, sequence, echo, nodes } = report;
        let id = self.host_ids[host].clone();
        let draining = self.hosts[host].draining;
        let believes_the_store = self.has(Bug::ForgottenIgnored);
        if !self.controllers[to].seen.hosts.contains_key(&id) {
            let seen = self.host_seen(host, at);
            self.controllers[to].seen.hosts.insert(id.clone(), seen);
        }
        let patience = self.config.limits.host;
        let state = &mut self.controllers[to];
        if sequence <= state.sequences[host] {
            return;
        }
        state.sequences[host] = sequence;
        if let Some(known) = state.seen.hosts.get_mut(&id) {
            known.hear(at, patience);
            known.draining = draining;
        }
        let poll = state.polls.iter().find(|(number, _)| *number == echo);
        let sampled_after = poll.map_or(Instant::ZERO, |(_, at)| *at);
        let nodes = Rc::try_unwrap(nodes).unwrap_or_else(|shared| (*shared).clone());
        let mut changed = false;
        for (node, mut report) in nodes {
            state.told = state.told.max(report.rev);
            if believes_the_store {
                report.rev = Rev(0);
            }
            let known = state.seen.nodes.entry(node).or_default();
            match known.iter_mut().find(|seen| seen.host == id) {
                Some(seen) => {
                    changed |= seen.report.process != report.process
                        || seen.report.applied != report.applied
                        || seen.report.fence != report.fence;
                    *seen = NodeSeen::new(id.clone(), at, sampled_after, report).after(seen);
                }
                None => {
                    changed = true;
                    known.push(NodeSeen::new(id.clone(), at, sampled_after, report));
                }
            }
        }
        if changed {
            self.wake_soon(to);
        }
    }

    fn host_seen(&self, host: usize, at: Instant) -> HostSeen {
        HostSeen {
            region: Region::new("here"),
            zone: Zone::new(format!("zone-{}", host % self.config.zones + 1)),
            address: host_address(host),
            at,
            since: at,
            draining: self.hosts[host].draining,
            memory_bytes: NODE_BYTES * self.config.room,
        }
    }

    fn hear_lease(&mut self, to: usize, host: usize, asked_at: Instant) {
        let now = self.local(to);
        let state = &self.controllers[to];
        let Some(decided) = state.decided.clone() else { return };
        let Some(primary) = decided.primary() else { return };
        let here = decided.members.get(&primary.node).map(|member| &member.host);
        let leads = state.term.is_some() && state.fresh && now < state.leads_until;
        if !leads || here.map(crate::controller::host_index) != Some(host) {
            return;
        }
        let epoch: Epoch = decided.epoch;
        self.controllers[to].seen.granted.insert(decided.key(), now);
        self.send(Place::Controller(to), Place::Host(host), || {
            let word = AgentWord::Grant { epoch, asked_at };
            Event::AtAgent(Box::new(AgentMsg { host, from: to, word }))
        });
    }

    fn hear_proxy(
        &mut self,
        to: usize,
        number: usize,
        sequence: u64,
        rev: Rev,
        drained: Option<u64>,
    ) {
        let at = self.local(to);
        let id = self.proxy_ids[number].clone();
        let state = &mut self.controllers[to];
        let Some(key) = state.decided.as_ref().map(|decided| decided.key()) else { return };
        match state.proxy_sequences.iter_mut().find(|(known, _)| *known == number) {
            Some((_, last)) if *last >= sequence => return,
            Some((_, last)) => *last = sequence,
            None => state.proxy_sequences.push((number, sequence)),
        }
        state.seen.heard.insert(id.clone(), at);
        let known = state.seen.proxies.entry(key).or_default().entry(id);
        let seen = known.or_default();
        let drained = drained.map(RequestId);
        let news = seen.route.map(|(rev, _)| rev) != Some(rev) || seen.drained != drained;
        if seen.route.map(|(rev, _)| rev) != Some(rev) {
            seen.route = Some((rev, at));
        }
        seen.drained = drained;
        if news {
            self.wake_soon(to);
        }
    }

    fn hear_store(&mut self, to: usize, word: StoreWord) {
        match word {
            StoreWord::Led { term, sent_at } => {
                let sure = Duration::from_micros(LEADERSHIP * 8 / 10);
                let state = &mut self.controllers[to];
                let until = sent_at + sure;
                if state.term != Some(term) {
                    // What was read before may be older than what another leader has committed.
                    state.term = Some(term);
                    state.fresh = false;
                    state.commit_since = None;
                    self.tell(|| format!("controller-{} leads in term {term}", to + 1));
                    self.ask_store(to, StoreAsk::Read { term: Some(term) });
                }
                let state = &mut self.controllers[to];
                state.leads_until = state.leads_until.max(until);
            }
            StoreWord::NotLed => self.controllers[to].term = None,
            StoreWord::State(snapshot) => self.learn(to, snapshot),
            StoreWord::Read { term, snapshot } => {
                let state = &mut self.controllers[to];
                let begins = !state.fresh && term.is_some() && term == state.term;
                state.fresh |= begins;
                self.learn(to, snapshot);
                if begins {
                    self.begin_to_lead(to);
                }
            }
            StoreWord::Outcome(snapshot) => {
                self.controllers[to].commit_since = None;
                self.learn(to, snapshot);
            }
        }
    }

    /// The one before may have granted leases until now: whatever has to run out begins to run.
    fn begin_to_lead(&mut self, to: usize) {
        if self.has(Bug::NewLeaderHurries) {
            return;
        }
        let now = self.local(to);
        self.controllers[to].seen.began = now;
        self.controllers[to].seen.rev_since.clear();
        self.controllers[to].seen.calm = Calm::beginning(now);
        if let Some(decided) = self.controllers[to].decided.clone() {
            self.note_revision(to, None, &decided);
        }
    }

    fn learn(&mut self, to: usize, snapshot: Snapshot) {
        let state = &mut self.controllers[to];
        if snapshot.version <= state.version {
            return;
        }
        state.version = snapshot.version;
        state.spec = Some(snapshot.spec);
        let before = std::mem::replace(&mut state.decided, snapshot.topology);
        let rev = |decided: &Option<Rc<ShardTopology>>| decided.as_ref().map(|shard| shard.rev);
        if rev(&before) != rev(&state.decided) {
            state.commit_since = None;
            if let Some(decided) = state.decided.clone() {
                self.note_revision(to, before.as_deref(), &decided);
            }
        }
        self.wake_soon(to);
    }

    /// What follows from the decided topology alone, besides the decision itself.
    fn note_revision(
        &mut self,
        to: usize,
        before: Option<&ShardTopology>,
        decided: &ShardTopology,
    ) {
        let now = self.local(to);
        let seen = &mut self.controllers[to].seen;
        let key = decided.key();
        let since = seen.rev_since.get(&key).filter(|(rev, _)| *rev == decided.rev);
        if since.is_none() {
            seen.calm.note(before, decided, now);
            seen.rev_since.insert(key.clone(), (decided.rev, now));
            if decided.vacancy().is_some_and(|vacancy| vacancy.cause == Cause::HostLost) {
                seen.last_failover.insert(key, now);
            }
        }
        seen.promised_bytes.clear();
        seen.taken.engines.clear();
        seen.taken.endpoints.clear();
        for member in decided.members.values() {
            *seen.promised_bytes.entry(member.host.clone()).or_default() += NODE_BYTES;
            seen.taken.engines.insert(member.address);
            seen.taken.endpoints.insert(member.endpoint);
        }
    }
}

/// The address of a host's engines.
pub(crate) fn host_address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 10, 0, host as u8 + 1)
}
