//! The usual load: 50 connections, 5,000 writes a second through the primary endpoint.
//!
//! Invariant: every write has a key of its own and is noted before it is sent; all are read back.
//!
//! Not here: the judge (`tanist_core::ledger`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use tanist_core::ledger::{Answer, Ledger};
use tanist_core::model::Instant;
use tanist_resp::{Command, Connection, Value};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::micros;

const CONNECTIONS: u32 = 50;
/// Between two writes of one connection.
const PERIOD: Duration = Duration::from_millis(10);
/// How long any answer may take: longer than a proxy may hold a request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Keys that are read back with one request.
const READ_BACK: usize = 500;

/// A running load.
pub(crate) struct Load {
    address: SocketAddr,
    began: Clock,
    stop: watch::Sender<bool>,
    writers: JoinSet<Ledger>,
}

impl Load {
    /// Starts it.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let began = Clock::now();
        let mut writers = JoinSet::new();
        for number in 0..CONNECTIONS {
            writers.spawn(write(address, number, began, stopped.clone()));
        }
        Self { address, began, stop, writers }
    }

    /// The time by the ledger's clock.
    pub(crate) fn now(&self) -> Instant {
        since(self.began)
    }

    /// Ends it; what was written, and the version that was found of each key.
    pub(crate) async fn stop(self) -> (Ledger, BTreeMap<u64, u64>) {
        self.stop.send_replace(true);
        let mut ledger = Ledger::default();
        for noted in self.writers.join_all().await {
            ledger.merge(noted);
        }
        let found = read_back(&ledger, self.address).await;
        (ledger, found)
    }
}

fn since(began: Clock) -> Instant {
    Instant::from_micros(micros(began.elapsed()))
}

fn name(key: u64) -> String {
    format!("bench:{key:x}")
}

async fn write(
    address: SocketAddr,
    number: u32,
    began: Clock,
    stopped: watch::Receiver<bool>,
) -> Ledger {
    let mut ledger = Ledger::default();
    // In turns: writers in step would leave gaps that are the load's own.
    let turn = tokio::time::Instant::now() + PERIOD * number / CONNECTIONS;
    let mut ticks = tokio::time::interval_at(turn, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection = None;
    let mut n = 0;
    while !*stopped.borrow() {
        ticks.tick().await;
        if connection.is_none() {
            connection = Connection::connect(address, PATIENCE).await.ok();
        }
        let Some(open) = &mut connection else {
            ledger.disconnected();
            continue;
        };
        let key = u64::from(number) << 32 | n;
        n += 1;
        let version = ledger.sent(key, since(began));
        match open.call(&Command::new("SET").arg(name(key)).arg("v"), PATIENCE).await {
            Ok(reply) => ledger.answered(key, version, judge(&reply), since(began)),
            Err(_) => {
                ledger.disconnected();
                connection = None;
            }
        }
    }
    ledger
}

fn judge(reply: &Value) -> Answer {
    match reply.error_code() {
        None if reply.is_ok() => Answer::Acked,
        Some("UNCERTAIN") => Answer::Uncertain,
        Some(_) | None => Answer::Failed,
    }
}

/// Reads every key back and deletes it.
async fn read_back(ledger: &Ledger, address: SocketAddr) -> BTreeMap<u64, u64> {
    let opened = Connection::connect(address, PATIENCE).await;
    let mut connection = opened.unwrap_or_else(|err| panic!("connecting to {address}: {err}"));
    let keys: Vec<u64> = ledger.keys().collect();
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(READ_BACK) {
        let names: Vec<String> = chunk.iter().copied().map(name).collect();
        let (mget, unlink) =
            (Command::new("MGET").args(&names), Command::new("UNLINK").args(&names));
        let reply = connection.call(&mget, PATIENCE).await;
        let values = reply.as_ref().ok().and_then(Value::as_array);
        let values = values.unwrap_or_else(|| panic!("reading back: {reply:?}"));
        for (key, value) in chunk.iter().zip(values) {
            found.insert(*key, u64::from(value.as_bytes().is_some()));
        }
        let reply = connection.call(&unlink, PATIENCE).await;
        assert!(reply.as_ref().is_ok_and(|reply| reply.as_int().is_some()), "{reply:?}");
    }
    found
}
