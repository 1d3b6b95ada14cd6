//! The clients of an endpoint, as `CLIENT LIST` shows them.
//!
//! Engines know the proxy's connections only, so who is connected, and who is to leave, is known here.
//! Each client keeps a card; what its connection has become is written on it when that changes, and
//! the time of its last request with each one.
//!
//! Invariant: a client has a card for as long as it is connected, under a number that no other client
//! of the proxy ever had.
//!
//! Not here: the commands about it (`crate::session`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tanist_core::model::DEFAULT_USER;
use tanist_resp::CommandTable;
use tokio::time::Instant;

use crate::octets::Clock;

/// What a client's connection has become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) name: Bytes,
    pub(crate) library: [Bytes; 2],
    pub(crate) db: u32,
    /// Channels, patterns and shard channels.
    pub(crate) channels: [usize; 3],
    pub(crate) resp3: bool,
    pub(crate) monitor: bool,
    pub(crate) tracking: bool,
    pub(crate) watching: bool,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    /// Commands queued in its transaction, if one is open.
    pub(crate) queued: Option<usize>,
    /// Who hears what its cache has to forget, if it is another client.
    pub(crate) redirect: Option<u64>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) id: u64,
    pub(crate) from: SocketAddr,
    since: Instant,
    /// Its last request, and when it was read.
    last: Cell<(Instant, &'static str)>,
    /// It waits for data.
    pub(crate) blocked: Cell<bool>,
    /// The engine's number for the connection that is the client's alone.
    pub(crate) engine_id: Cell<Option<i64>>,
    /// Who it is.
    user: RefCell<Rc<str>>,
    /// It is to leave, when everything that it is owed has been sent.
    pub(crate) killed: Cell<bool>,
    facts: RefCell<Option<Box<Facts>>>,
    waker: RefCell<Option<Waker>>,
}

/// A card, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CardEstate {
    id: u64,
    from: SocketAddr,
    #[serde(default)]
    since_ago: u64,
    #[serde(default)]
    last_ago: u64,
    #[serde(default)]
    last: String,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    killed: bool,
}

impl Card {
    /// Writes the card down.
    pub(crate) fn estate(&self, clock: Clock) -> CardEstate {
        let Self {
            id,
            from,
            since,
            last,
            blocked,
            // Of the session and its connection.
            engine_id: _,
            user: _,
            facts: _,
            killed,
            waker: _,
        } = self;
        let (moment, command) = last.get();
        CardEstate {
            id: *id,
            from: *from,
            since_ago: clock.ago(*since),
            last_ago: clock.ago(moment),
            last: command.to_owned(),
            blocked: blocked.get(),
            killed: killed.get(),
        }
    }

    /// The card of a client that was connected before.
    pub(crate) fn restore(estate: CardEstate, clock: Clock) -> Self {
        let CardEstate { id, from, since_ago, last_ago, last, blocked, killed } = estate;
        let entry = CommandTable::builtin().lookup(last.as_bytes()).or_else(|| {
            let (container, sub) = last.split_once('|')?;
            CommandTable::builtin().lookup_sub(container.as_bytes(), sub.as_bytes())
        });
        let card = Self::new(id, from, clock.before(since_ago));
        card.note(clock.before(last_ago), entry.map_or("NULL", |entry| entry.name()));
        card.blocked.set(blocked);
        card.killed.set(killed);
        card
    }

    /// A client that has just connected.
    pub(crate) fn new(id: u64, from: SocketAddr, now: Instant) -> Self {
        Self {
            id,
            from,
            since: now,
            last: Cell::new((now, "NULL")),
            blocked: Cell::new(false),
            engine_id: Cell::new(None),
            user: RefCell::new(Rc::from(DEFAULT_USER)),
            killed: Cell::new(false),
            facts: RefCell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// A request was read.
    pub(crate) fn note(&self, now: Instant, command: &'static str) {
        self.last.set((now, command));
    }

    /// It is this user now.
    pub(crate) fn become_user(&self, name: &str) {
        if &**self.user.borrow() != name {
            self.user.replace(Rc::from(name));
        }
    }

    /// Who it is.
    pub(crate) fn user(&self) -> Rc<str> {
        Rc::clone(&self.user.borrow())
    }

    /// Its connection is something else now.
    pub(crate) fn write(&self, facts: Facts) {
        let plain = facts == Facts::default();
        *self.facts.borrow_mut() = (!plain).then(|| Box::new(facts));
    }

    /// Whom to wake when it is to leave.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// It is to leave.
    pub(crate) fn kill(&self) {
        self.killed.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Seconds since it connected.
    pub(crate) fn age(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }

    /// Whether it connected less than this ago.
    pub(crate) fn is_younger(&self, than: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < than
    }

    /// Whether it receives messages.
    pub(crate) fn is_subscribed(&self) -> bool {
        let facts = self.facts.borrow();
        facts.as_ref().is_some_and(|facts| facts.channels.iter().any(|count| *count > 0))
    }

    /// Its line in `CLIENT LIST`: the fields of Redis 7.2, of which the proxy has no memory to report.
    pub(crate) fn line(&self, endpoint: SocketAddr, now: Instant) -> String {
        let plain = Facts::default();
        let facts = self.facts.borrow();
        let facts = facts.as_deref().unwrap_or(&plain);
        let (last, command) = self.last.get();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let [sub, psub, ssub] = facts.channels;
        let user = self.user();
        format!(
            "id={} addr={} laddr={endpoint} fd=0 name={} age={} idle={} flags={} db={} sub={sub} \
             psub={psub} ssub={ssub} multi={} watch={} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 \
             rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user={user} redir={} \
             resp={} lib-name={} lib-ver={}",
            self.id,
            self.from,
            text(&facts.name),
            self.age(now),
            now.saturating_duration_since(last).as_secs(),
            self.flags(facts),
            facts.db,
            facts.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX)),
            u8::from(facts.watching),
            facts.redirect.map_or(-1, |id| i64::try_from(id).unwrap_or(i64::MAX)),
            if facts.resp3 { 3 } else { 2 },
            text(&facts.library[0]),
            text(&facts.library[1]),
        )
    }

    fn flags(&self, facts: &Facts) -> String {
        let all = [
            (facts.monitor, 'O'),
            (self.is_subscribed(), 'P'),
            (facts.queued.is_some(), 'x'),
            (self.blocked.get(), 'b'),
            (facts.tracking, 't'),
            (facts.no_evict, 'e'),
            (facts.no_touch, 'T'),
        ];
        let flags: String = all.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }
}

/// The clients of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Clients(RefCell<BTreeMap<u64, Rc<Card>>>);

impl Clients {
    /// A client has connected.
    pub(crate) fn enter(&self, card: &Rc<Card>) {
        self.0.borrow_mut().insert(card.id, Rc::clone(card));
    }

    /// A client has left.
    pub(crate) fn leave(&self, id: u64) {
        self.0.borrow_mut().remove(&id);
    }

    /// A client.
    pub(crate) fn get(&self, id: u64) -> Option<Rc<Card>> {
        self.0.borrow().get(&id).cloned()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.borrow().len() as u64
    }

    /// All clients, in the order in which they connected.
    pub(crate) fn all(&self) -> Vec<Rc<Card>> {
        self.0.borrow().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_fields_of_the_engine_in_its_order() {
        let now = Instant::now();
        let from = SocketAddr::from(([127, 0, 0, 1], 5000));
        let card = Card::new(7, from, now);
        let endpoint = SocketAddr::from(([127, 80, 1, 1], 6379));
        let names = |line: &str| {
            let fields = line.split(' ').map(|field| field.split('=').next().unwrap().to_owned());
            fields.collect::<Vec<_>>().join(" ")
        };
        let line = card.line(endpoint, now + Duration::from_secs(3));
        assert_eq!(
            names(&line),
            "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free \
             argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name \
             lib-ver"
        );
        assert!(line.starts_with(
            "id=7 addr=127.0.0.1:5000 laddr=127.80.1.1:6379 fd=0 name= age=3 idle=3 flags=N db=0"
        ));
        card.note(now + Duration::from_secs(2), "get");
        card.write(Facts {
            name: "app".into(),
            channels: [1, 0, 0],
            queued: Some(2),
            ..Facts::default()
        });
        let line = card.line(endpoint, now + Duration::from_secs(3));
        assert!(line.contains(" name=app age=3 idle=1 flags=Px db=0 sub=1 "), "{line}");
        assert!(line.contains(" multi=2 ") && line.contains(" cmd=get "), "{line}");
    }
}
