//! What proxies say.
//!
//! Each says by which route it serves a shard's clients, and how many there are. All that is said of one
//! shard is kept together, because whoever decides asks for that.
//!
//! Invariant: a proxy that speaks and says nothing of a shard any more is silent about it from then on.
//!
//! Not here: what follows for the shard (`tanist_core::decide`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::{HostId, Instant, ProxyId, ProxySeen, Rev, ShardKey};
use tanist_core::presence::vouched;
use tanist_link::host_of;
use tanist_link::wire::ProxyShard;

use crate::observe::{Observer, RECENT, Touched};

impl Observer {
    /// Takes in a beat; of shards that a `part` leaves out it says again what it said before.
    pub(crate) fn beat(
        &mut self,
        proxy: &ProxyId,
        shards: Vec<ProxyShard>,
        part: bool,
        now: Instant,
    ) -> Touched {
        let mut touched = Touched::default();
        self.seen.heard.insert(proxy.clone(), now);
        if !part {
            self.leave_out(proxy, &shards, now);
        }
        for shard in shards {
            let seen = self.seen.proxies.entry(shard.key.clone()).or_default();
            let known = seen.get(proxy).and_then(|before| before.route);
            let since = match known {
                Some((rev, since)) if rev == shard.rev => since,
                Some(_) | None => now,
            };
            let route = Some((shard.rev, since));
            let said = ProxySeen { route, drained: shard.drained, left: None };
            seen.insert(proxy.clone(), said);
            let all = self.proxies.entry(shard.key.clone()).or_default();
            let acts = |of: &ProxyShard| (of.rev, of.drained, of.released);
            if all.get(proxy).is_some_and(|before| acts(before) == acts(&shard)) {
                touched.said_again.insert(shard.key.clone());
            } else {
                touched.news.insert(shard.key.clone());
            }
            all.insert(proxy.clone(), shard);
        }
        if let Some(host) = host_of(proxy) {
            self.vouch(&host, now);
        }
        touched
    }

    /// Notes that a proxy says nothing any more of shards that are not in its beat.
    fn leave_out(&mut self, proxy: &ProxyId, beat: &[ProxyShard], now: Instant) {
        let said: BTreeSet<&ShardKey> = beat.iter().map(|shard| &shard.key).collect();
        for (key, proxies) in &mut self.seen.proxies {
            if let Some(seen) = proxies.get_mut(proxy).filter(|_| !said.contains(key)) {
                seen.left.get_or_insert(now);
            }
        }
        for (_, proxies) in self.proxies.iter_mut().filter(|(key, _)| !said.contains(key)) {
            proxies.remove(proxy);
        }
    }

    /// What proxies say of a shard.
    pub(crate) fn said(&self, key: &ShardKey) -> impl Iterator<Item = (&ProxyId, &ProxyShard)> {
        self.proxies.get(key).into_iter().flatten()
    }

    /// Clients that are connected to each proxy.
    pub(crate) fn clients(&self) -> BTreeMap<&ProxyId, u64> {
        let mut clients = BTreeMap::new();
        for (proxy, shard) in self.proxies.values().flatten() {
            *clients.entry(proxy).or_default() += shard.clients;
        }
        clients
    }

    /// The routes that a proxy works by; nothing if it has not spoken.
    pub(crate) fn routes_of(&self, proxy: &ProxyId) -> Option<BTreeMap<ShardKey, Rev>> {
        self.seen.heard.get(proxy)?;
        let of = |(key, proxies): (&ShardKey, &BTreeMap<ProxyId, ProxyShard>)| {
            Some((key.clone(), proxies.get(proxy)?.rev))
        };
        Some(self.proxies.iter().filter_map(of).collect())
    }

    /// Forgets a proxy that is gone for good.
    pub(crate) fn forget_proxy(&mut self, proxy: &ProxyId) {
        for proxies in self.proxies.values_mut() {
            proxies.remove(proxy);
        }
        for proxies in self.seen.proxies.values_mut() {
            proxies.remove(proxy);
        }
        self.seen.heard.remove(proxy);
    }

    /// Something on a host has spoken that is not its agent.
    pub(crate) fn vouch(&mut self, host: &HostId, now: Instant) {
        let heard = self.seen.hosts.get(host).map(|seen| seen.at);
        let Some(heard) = heard.filter(|at| now.since(*at) > RECENT) else { return };
        let here = self.at_host.get(host).into_iter().flatten();
        let shards: BTreeSet<&ShardKey> = here.filter_map(|node| self.shard_of.get(node)).collect();
        let said = shards.into_iter().flat_map(|key| self.said(key));
        let waited_for = said.map(|(_, shard)| shard).any(|shard| shard.held > 0);
        let spoke = *self.spoke.entry(host.clone()).or_insert(now);
        if let Some(seen) = self.seen.hosts.get_mut(host) {
            seen.hear(vouched(heard, spoke, waited_for, now), self.patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use tanist_core::model::NodeId;

    use super::*;
    use crate::observe::tests::{observer, report};

    #[test]
    fn a_hosts_proxy_speaks_for_it_for_a_while_unless_somebody_waits() {
        let at = Instant::from_millis;
        let (proxy, host) = (ProxyId::new("proxy-h1"), HostId::new("h1"));
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        let shard = |held| ProxyShard {
            key: key.clone(),
            rev: Rev(1),
            drained: None,
            released: None,
            held,
            clients: 0,
            uncertain: 0,
            turned_away: 0,
            last_turned_away: None,
            nodes: BTreeMap::new(),
        };
        let mut observer = observer(at(0));
        let node = NodeId::new("web-001");
        observer.shard_of.insert(node.clone(), key.clone());
        observer.at_host.entry(host.clone()).or_default().insert(node);
        observer.report(report(Vec::new()), at(1_000));
        let heard = |observer: &Observer| observer.seen.hosts[&host].at;
        observer.beat(&proxy, vec![shard(0)], false, at(4_000));
        assert_eq!(heard(&observer), at(4_000));
        observer.beat(&proxy, vec![shard(0)], false, at(9_000));
        assert_eq!(heard(&observer), at(6_000), "not for ever");
        observer.report(report(Vec::new()), at(9_500));
        observer.beat(&"proxy-h2".into(), vec![shard(1)], false, at(9_600));
        observer.beat(&proxy, vec![shard(0)], false, at(9_700));
        assert_eq!(heard(&observer), at(9_500), "somebody waits for a primary that may be here");
    }

    #[test]
    fn what_a_proxy_leaves_out_it_says_again() {
        let at = Instant::from_millis;
        let mut observer = observer(at(0));
        let proxy = ProxyId::new("proxy-h1");
        let shard = |group: &str, rev| ProxyShard {
            key: ShardKey { group: group.into(), shard: "0001".into() },
            rev: Rev(rev),
            drained: None,
            released: None,
            held: 0,
            clients: 0,
            uncertain: 0,
            turned_away: 0,
            last_turned_away: None,
            nodes: BTreeMap::new(),
        };
        observer.beat(&proxy, vec![shard("a", 1), shard("b", 1), shard("c", 1)], false, at(100));
        let gone = vec![shard("a", 1), shard("c", 1)];
        observer.beat(&proxy, gone, false, at(200));
        let touched = observer.beat(&proxy, vec![shard("a", 2)], true, at(300));
        assert_eq!(touched.news.len(), 1);
        let seen = |observer: &Observer, group: &str| {
            let key = ShardKey { group: group.into(), shard: "0001".into() };
            let seen = &observer.seen.proxies[&key][&proxy];
            (seen.route.map(|(rev, _)| rev), seen.left)
        };
        assert_eq!(seen(&observer, "a"), (Some(Rev(2)), None));
        assert_eq!(seen(&observer, "b"), (Some(Rev(1)), Some(at(200))), "it has none of that now");
        assert_eq!(seen(&observer, "c"), (Some(Rev(1)), None));
        assert_eq!(observer.seen.heard[&proxy], at(300));
        assert_eq!(observer.routes_of(&proxy).map(|routes| routes.len()), Some(2));
    }
}
