//! The conversation with the controller.
//!
//! The proxy works by what it has been told last for as long as nobody tells it otherwise: a
//! controller that is gone is looked for again, and clients notice nothing.
//!
//! Invariant: a beat says what holds at the moment it is made; a change of it is said at once.
//!
//! Not here: what a route means (`crate::shard`).

mod said;
mod succeed;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tanist_core::model::ShardKey;
use tanist_link::wire::{FromProxy, ProxyShard, Renewed, ToProxy};
use tanist_link::{Client, Duplex, LinkError, Patience, Sender};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::config::{ProxyConfig, ProxyLimits};
use crate::endpoint::{Endpoints, Failed, Refusals};
use crate::renewal::{Conduct, Inheritance, Renewal, Succession, Wanted};
use crate::shard::{Identity, Shard};
use crate::tls::Certificates;
use crate::{bell, probe, trunks};
use said::Said;

/// Where a controller talks to proxies.
const PATH: &str = "/link/v1/proxy";
/// The longest time between two beats.
const BEAT: Duration = Duration::from_millis(200);
/// Time between two looks for a controller that is gone.
const RETRY: Duration = Duration::from_millis(100);
/// How long a controller may take to take the call.
const CALL_LIMIT: Duration = Duration::from_secs(2);
/// Time between two tries to offer an endpoint.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// Why a conversation ended.
enum End {
    /// The controller wants the proxy to end.
    Exit,
    Lost,
    /// Nothing is heard from it.
    Silent,
}

/// What a proxy consists of.
pub(crate) struct Control {
    controller: Client,
    patience: Patience,
    identity: Rc<Identity>,
    shards: BTreeMap<ShardKey, Rc<Shard>>,
    endpoints: Endpoints,
    /// What was last said about endpoints that cannot be offered.
    failed: BTreeMap<String, String>,
    /// When to try those again.
    offer_at: Instant,
    conduct: Conduct,
    /// What the image before has handed over, until it is taken.
    inheritance: Option<Inheritance>,
    /// What came of that, until a controller has heard it.
    renewed: Option<Renewed>,
}

impl Control {
    pub(crate) fn new(
        config: ProxyConfig,
        succession: Option<Succession>,
        inheritance: Option<Inheritance>,
    ) -> Self {
        let ProxyConfig { id, controller, address, floating, secret, zone, limits, pass_through } =
            config;
        if pass_through {
            warn!("clients may administer the engine: this proxy is for test suites only");
        }
        let limits = ProxyLimits { max_clients: limits.max_clients.max(1), ..limits };
        Self {
            controller,
            patience: Patience::default(),
            identity: Rc::new(Identity {
                proxy: id,
                secret,
                limits,
                address,
                floating,
                zone,
                pass_through,
                clients: Cell::new(0),
                next_client: Cell::new(1),
                refusals: Refusals::default(),
                strangers: Refusals::default(),
                plain: Refusals::default(),
                handshakes: Refusals::default(),
                certificates: Certificates::default(),
                stock: RefCell::default(),
                room: RefCell::default(),
                own: RefCell::default(),
                news: Notify::new(),
                renewal: Renewal::default(),
            }),
            shards: BTreeMap::new(),
            endpoints: Endpoints::default(),
            failed: BTreeMap::new(),
            offer_at: Instant::now(),
            conduct: Conduct::new(succession),
            inheritance,
            renewed: None,
        }
    }

    /// Works until the controller says that it should end.
    pub(crate) async fn run(&mut self) {
        self.take_over().await;
        let mut calls = ticking(RETRY);
        let mut reachable = true;
        let identity = Rc::clone(&self.identity);
        loop {
            tokio::select! {
                _ = calls.tick() => {}
                next = self.conduct.next(&identity.renewal) => drop(self.conduct_on(next)),
            }
            if self.conduct.is_under_way() {
                // It takes a moment, in which clients wait.
                continue;
            }
            match timeout(CALL_LIMIT, self.controller.open(PATH)).await {
                Ok(Ok(duplex)) => {
                    info!(controller = %self.controller.peer(), "talking");
                    reachable = true;
                    match self.converse(duplex).await {
                        Ok(End::Exit) => return,
                        Ok(End::Lost) => info!("the controller has ended the conversation"),
                        Ok(End::Silent) => {
                            warn!("the server that led says nothing: another is asked")
                        }
                        Err(error) => {
                            warn!(error = &error as &dyn std::error::Error, "talking failed");
                        }
                    }
                }
                Ok(Err(error)) => {
                    if std::mem::take(&mut reachable) {
                        let error = &error as &dyn std::error::Error;
                        warn!(error, "the controller cannot be reached");
                    }
                }
                Err(_) => debug!("the controller does not take the call"),
            }
            if !self.failed.is_empty() && self.offer_at <= Instant::now() {
                self.offer(None).await;
            }
        }
    }

    async fn converse(&mut self, duplex: Duplex<FromProxy, ToProxy>) -> Result<End, LinkError> {
        let Duplex { sender, mut receiver } = duplex;
        let proxy = self.identity.proxy.clone();
        sender.send(&FromProxy::Hello {
            proxy,
            pid: std::process::id(),
            certificates: true,
            build: self.conduct.build(),
            renewed: self.renewed,
            parts: true,
        })?;
        self.renewed = None;
        // A new controller has heard of no failure yet.
        for reason in self.failed.values_mut() {
            reason.clear();
        }
        let mut beats = ticking(BEAT);
        let mut said = Said::default();
        let identity = Rc::clone(&self.identity);
        // waits: for the leader's next word, not longer than this.
        let silence = sleep_until(self.patience.end(Instant::now()));
        tokio::pin!(silence);
        loop {
            tokio::select! {
                message = receiver.recv() => {
                    silence.as_mut().reset(self.patience.end(Instant::now()));
                    said.heard();
                    match message? {
                        None => return Ok(End::Lost),
                        Some(ToProxy::Exit) => return Ok(End::Exit),
                        Some(ToProxy::Parts) => said.remember(),
                        Some(message) => self.hear(message, &sender).await,
                    }
                }
                // On one host there is nobody else to ask.
                () = &mut silence, if self.controller.is_fleet() => {
                    self.patience.give_up(Instant::now());
                    self.controller.pass_over();
                    return Ok(End::Silent);
                }
                () = identity.news.notified() => {
                    let shards = self.report();
                    if said.is_news(&shards)
                        && let Some(beat) = said.beat(shards, Instant::now())
                    {
                        sender.send(&beat)?;
                    }
                }
                _ = beats.tick() => {
                    if let Some(beat) = said.beat(self.report(), Instant::now()) {
                        sender.send(&beat)?;
                    }
                }
                next = self.conduct.next(&identity.renewal) => {
                    if let Some(message) = self.conduct_on(next) {
                        sender.send(&message)?;
                    }
                }
                // waits: nothing tells when an address becomes free.
                () = sleep_until(self.offer_at), if !self.failed.is_empty() => {
                    self.offer(Some(&sender)).await;
                }
            }
        }
    }

    async fn hear(&mut self, message: ToProxy, sender: &Sender<FromProxy>) {
        match message {
            ToProxy::Route(route) => {
                let key = ShardKey { group: route.group.clone(), shard: route.shard.clone() };
                debug!(%key, rev = %route.rev, epoch = %route.epoch, "route");
                let identity = &self.identity;
                let shard = self
                    .shards
                    .entry(key.clone())
                    .or_insert_with(|| begin(Shard::new(key, Rc::clone(identity))));
                if shard.learn(*route) {
                    self.offer(Some(sender)).await;
                }
            }
            ToProxy::Certificate(certificate) => {
                let group = &certificate.group;
                match self.identity.certificates.learn(&certificate) {
                    Ok(()) => debug!(%group, "certificate"),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        warn!(%group, error, "a certificate cannot be shown");
                    }
                }
            }
            ToProxy::Gone(key) => {
                self.keep(|known| *known != key);
                if !self.shards.keys().any(|known| known.group == key.group) {
                    self.identity.certificates.keep(|group| *group != key.group);
                }
                self.offer(Some(sender)).await;
            }
            ToProxy::Known(keys) => {
                let keys: BTreeSet<ShardKey> = keys.into_iter().collect();
                self.keep(|known| keys.contains(known));
                // A certificate comes before the first route of its shards.
                let exists = |group: &_| keys.iter().any(|key| key.group == *group);
                self.identity.certificates.keep(exists);
                self.offer(Some(sender)).await;
            }
            // What came before has been taken in: it binds every client that is accepted from now
            // on, and every reply. A conversation that is over is noticed where messages are
            // received.
            ToProxy::Echo(number) => {
                let _ = sender.send(&FromProxy::Echo(number));
            }
            ToProxy::Measure { number, shards } => {
                let known = shards.iter().filter(|key| self.shards.contains_key(key));
                let shards = known.map(|key| self.endpoints.measured(key)).collect();
                let _ = sender.send(&FromProxy::Measured { number, shards });
            }
            ToProxy::Renew { number, program } => {
                let wanted = Wanted { program, number: Some(number) };
                if let Some(message) = self.ask_to_renew(wanted) {
                    let _ = sender.send(&message);
                }
            }
            ToProxy::Exit | ToProxy::Parts => {}
        }
    }

    /// Ends every shard that does not exist any more.
    fn keep(&mut self, exists: impl Fn(&ShardKey) -> bool) {
        self.shards.retain(|key, shard| {
            let stays = exists(key);
            if !stays {
                info!(%key, "the shard is gone");
                shard.end();
                shard.broken.notify_one();
            }
            stays
        });
    }

    /// Makes the endpoints what the routes say, and tells what could not be done, once.
    async fn offer(&mut self, sender: Option<&Sender<FromProxy>>) {
        let mut failed = BTreeMap::new();
        for Failed { key, address, reason } in self.endpoints.reconcile(&self.shards).await {
            let address = address.to_string();
            if self.failed.get(&address) != Some(&reason) {
                warn!(%key, address, reason, "an endpoint cannot be offered");
                let message = FromProxy::EndpointFailed {
                    key,
                    address: address.clone(),
                    reason: reason.clone(),
                };
                // A conversation that is over is noticed where messages are received.
                let _ = sender.map(|sender| sender.send(&message));
            }
            failed.insert(address, reason);
        }
        self.failed = failed;
        self.offer_at = Instant::now() + OFFER_AGAIN;
    }

    fn report(&self) -> Vec<ProxyShard> {
        self.shards.values().map(|shard| shard.report()).collect()
    }
}

/// Lets a shard be looked after for as long as it exists.
fn begin(shard: Shard) -> Rc<Shard> {
    let shard = Rc::new(shard);
    spawn_local(probe::heal(Rc::clone(&shard)));
    spawn_local(trunks::open(Rc::clone(&shard)));
    spawn_local(bell::tend(Rc::clone(&shard)));
    shard
}

fn ticking(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
