//! A host's proxy: it takes every route in at once, and says by which it works.
//!
//! Nothing is in flight at it, so that whoever is asked to drain has drained. Each group that is loaded
//! has clients at one proxy, which is the one that releases their requests to a new primary.
//!
//! Invariant: a beat says what holds, and what a controller acts on is said at once when it changes.
//!
//! Not here: endpoints; nothing listens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tanist_core::model::{ProxyId, Route, RouteState, ShardKey};
use tanist_link::wire::{FromProxy, NodeClients, ProxyShard, ToProxy};
use tanist_link::{Duplex, LinkError, Patience, Sender, proxy_of};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::host::{AGAIN, CALL_LIMIT, Identity};
use super::shared::Shared;

/// Where a controller talks to proxies.
const ROUTE: &str = "/link/v1/proxy";
/// The longest time between two beats.
const BEAT: Duration = Duration::from_millis(200);
/// Clients of a group that is loaded.
const CLIENTS: u64 = 5;

/// A host's proxy.
pub(crate) struct Proxy {
    is: Identity,
    name: ProxyId,
    hosts: usize,
    shared: Arc<Shared>,
    shards: BTreeMap<ShardKey, ProxyShard>,
    /// Shards that are not said as they are now.
    news: BTreeSet<ShardKey>,
    /// The controller remembers what it is told, and was told everything since it says so.
    remembered: bool,
    whole: bool,
    /// Everything was said, whether or not anybody hears it.
    spoke: bool,
    /// Something was heard.
    heard: bool,
    patience: Patience,
}

enum End {
    Lost,
    Silent,
    Dark,
}

impl Proxy {
    pub(crate) fn new(is: Identity, hosts: usize, shared: Arc<Shared>) -> Self {
        let name = proxy_of(&is.host);
        let (shards, news) = (BTreeMap::new(), BTreeSet::new());
        Self {
            is,
            name,
            hosts,
            shared,
            shards,
            news,
            remembered: false,
            whole: false,
            spoke: false,
            heard: false,
            patience: Patience::default(),
        }
    }

    /// Talks whenever its host has power.
    pub(crate) async fn work(mut self, mut power: watch::Receiver<bool>) {
        loop {
            if power.wait_for(|on| *on).await.is_err() {
                return;
            }
            let call = self.is.client.open::<FromProxy, ToProxy>(ROUTE);
            if let Ok(Ok(duplex)) = timeout(CALL_LIMIT, call).await {
                let counts = &self.shared.counts;
                counts.calls.fetch_add(1, Ordering::Relaxed);
                match self.talk(duplex, &mut power).await {
                    Ok(End::Dark) => {
                        self.shards.clear();
                        self.news.clear();
                    }
                    Ok(End::Silent) => {
                        self.patience.give_up(Instant::now());
                        self.shared.counts.silences.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(End::Lost) | Err(_) => {}
                }
            }
            // waits: nothing tells when a server will lead.
            sleep(AGAIN).await;
        }
    }

    async fn talk(
        &mut self,
        duplex: Duplex<FromProxy, ToProxy>,
        power: &mut watch::Receiver<bool>,
    ) -> Result<End, LinkError> {
        let Duplex { sender, mut receiver } = duplex;
        sender.send(&FromProxy::Hello {
            proxy: self.name.clone(),
            pid: std::process::id(),
            certificates: true,
            build: None,
            renewed: None,
            parts: true,
        })?;
        (self.remembered, self.whole) = (false, false);
        (self.spoke, self.heard) = (false, false);
        let share = BEAT.as_micros() as u64 * (self.is.index as u64 % 16) / 16;
        let mut beats = interval_at(Instant::now() + Duration::from_micros(share), BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // waits: for the leader's next word, not longer than this.
        let silence = sleep_until(self.patience.end(Instant::now()));
        tokio::pin!(silence);
        loop {
            tokio::select! {
                biased;
                heard = receiver.recv() => match heard? {
                    Some(message) => {
                        silence.as_mut().reset(self.patience.end(Instant::now()));
                        self.heard = true;
                        self.hear(message, &sender)?;
                    }
                    None => return Ok(End::Lost),
                },
                _ = power.wait_for(|on| !*on) => return Ok(End::Dark),
                // What has arrived is taken in first, so that one beat tells of all of it.
                () = std::future::ready(()), if !self.news.is_empty() => self.beat(&sender)?,
                _ = beats.tick() => self.beat(&sender)?,
                () = &mut silence => return Ok(End::Silent),
            }
        }
    }

    fn hear(&mut self, message: ToProxy, sender: &Sender<FromProxy>) -> Result<(), LinkError> {
        match message {
            ToProxy::Route(route) => self.learn(&route),
            ToProxy::Gone(key) => self.keep(|known| *known != key),
            ToProxy::Known(keys) => {
                let keys: BTreeSet<ShardKey> = keys.into_iter().collect();
                self.keep(|known| keys.contains(known));
            }
            ToProxy::Echo(number) => sender.send(&FromProxy::Echo(number))?,
            ToProxy::Parts => {
                self.shared.counts.in_parts.fetch_add(1, Ordering::Relaxed);
                (self.remembered, self.whole) = (true, false);
            }
            ToProxy::Measure { number, .. } => {
                sender.send(&FromProxy::Measured { number, shards: Vec::new() })?;
            }
            ToProxy::Renew { number, .. } => {
                let reason = "it is no program".to_owned();
                sender.send(&FromProxy::NotRenewed { number, reason })?;
            }
            // It ends when the benchmark does.
            ToProxy::Certificate(_) | ToProxy::Exit => {}
        }
        Ok(())
    }

    fn learn(&mut self, route: &Route) {
        self.shared.counts.routes.fetch_add(1, Ordering::Relaxed);
        let key = ShardKey { group: route.group.clone(), shard: route.shard.clone() };
        if self.is.index == 0 {
            self.shared.watch.route(&key, route);
        }
        let served = self.serves(&key) && self.shared.is_loaded(&key.group);
        let known = self.shards.contains_key(&key);
        let shard = self.shards.entry(key.clone()).or_insert_with(|| ProxyShard {
            key: key.clone(),
            rev: route.rev,
            drained: None,
            released: None,
            held: 0,
            clients: 0,
            uncertain: 0,
            turned_away: 0,
            last_turned_away: None,
            nodes: BTreeMap::new(),
        });
        if route.rev < shard.rev {
            return;
        }
        let acts = |shard: &ProxyShard| (shard.rev, shard.drained, shard.released);
        let before = known.then(|| acts(shard));
        shard.rev = route.rev;
        shard.drained = None;
        if let RouteState::Serving { primary, hold, .. } = &route.state {
            shard.drained = *hold;
            if served && hold.is_none() {
                shard.released = Some(route.epoch);
                shard.clients = CLIENTS;
                let clients = NodeClients { now: CLIENTS, ever: CLIENTS };
                shard.nodes = BTreeMap::from([(primary.clone(), clients)]);
            }
        }
        if before != Some(acts(shard)) {
            self.news.insert(key);
        }
    }

    /// Whether a group's clients are here.
    fn serves(&self, key: &ShardKey) -> bool {
        let sum: usize = key.group.as_str().bytes().map(usize::from).sum();
        sum % self.hosts == self.is.index
    }

    fn keep(&mut self, exists: impl Fn(&ShardKey) -> bool) {
        let before = self.shards.len();
        self.shards.retain(|key, _| exists(key));
        if self.shards.len() < before {
            self.news.retain(|key| exists(key));
            self.whole = false;
        }
    }

    fn beat(&mut self, sender: &Sender<FromProxy>) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.spoke, true) && !self.heard {
            // It would be said to nobody.
            self.news.clear();
            return Ok(());
        }
        let news = std::mem::take(&mut self.news);
        let part = self.remembered && self.whole;
        let shards: Vec<ProxyShard> = if part {
            news.iter().filter_map(|key| self.shards.get(key)).cloned().collect()
        } else {
            self.shards.values().cloned().collect()
        };
        self.whole = self.remembered;
        let counts = &self.shared.counts;
        counts.beats.fetch_add(1, Ordering::Relaxed);
        counts.shards.fetch_add(shards.len() as u64, Ordering::Relaxed);
        sender.send(&FromProxy::Beat { shards, part })
    }
}
