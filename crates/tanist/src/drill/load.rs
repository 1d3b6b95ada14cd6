//! Clients that write and read all the time, and note every answer.
//!
//! Every write has a key of its own, so that each acknowledged one can be read back by itself. A
//! client waits for each answer before it goes on, as applications do.
//!
//! What was read back is deleted; what a drill leaves that ends before, its keys' own expiry removes.
//!
//! Invariant: a write is noted before it is sent; a connection that breaks is counted, never hidden.
//!
//! Not here: the judgment (`tanist_core::ledger`), the faults (`super::faults`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tanist_controller::boot_time;
use tanist_core::ledger::{Answer, Ledger};
use tanist_resp::{Command, Value};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::dial::{Dialler, Open};
use crate::failure::Failure;

/// How long a client waits for an answer: longer than a proxy may hold a request.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a client waits for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Every so many writes a client reads its last acknowledged write.
const READ_EVERY: u64 = 4;
/// Keys that are read back with one request.
const READ_BACK: usize = 500;

/// What to do to which endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) dialler: Dialler,
    pub(crate) primary: SocketAddr,
    pub(crate) reader: SocketAddr,
    pub(crate) connections: u16,
    /// Over all connections.
    pub(crate) writes_per_second: u32,
    /// Bytes of each value.
    pub(crate) value_bytes: usize,
    /// When keys are to vanish by themselves: long after they were read back.
    pub(crate) expiry: Duration,
}

/// What everybody sees while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acked: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) wrong_reads: AtomicU64,
    pub(crate) reader_reads: AtomicU64,
    pub(crate) reader_errors: AtomicU64,
}

/// Running clients.
#[derive(Debug)]
pub(crate) struct Clients {
    load: Load,
    stop: watch::Sender<bool>,
    writers: JoinSet<Ledger>,
    readers: JoinSet<()>,
    pub(crate) counters: Arc<Counters>,
}

impl Clients {
    /// Starts them.
    pub(crate) fn start(load: Load, prefix: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let mut writers = JoinSet::new();
        for number in 0..u64::from(load.connections) {
            let client = Client {
                load: load.clone(),
                number,
                prefix: prefix.to_owned(),
                counters: Arc::clone(&counters),
                stopped: stopped.clone(),
            };
            writers.spawn(client.write());
        }
        let mut readers = JoinSet::new();
        for number in 0..4 {
            let client = Client {
                load: load.clone(),
                number,
                prefix: prefix.to_owned(),
                counters: Arc::clone(&counters),
                stopped: stopped.clone(),
            };
            readers.spawn(client.read());
        }
        Self { load, stop, writers, readers, counters }
    }

    /// Stops them and collects what they noted.
    pub(crate) async fn stop(mut self) -> Result<Ledger, Failure> {
        self.stop.send_replace(true);
        let mut ledger = Ledger::default();
        while let Some(joined) = self.writers.join_next().await {
            ledger.merge(joined.map_err(|err| {
                Failure::caused("T650", &err, "report this as a fault of Tanist")
            })?);
        }
        while self.readers.join_next().await.is_some() {}
        Ok(ledger)
    }

    pub(crate) fn load(&self) -> Load {
        self.load.clone()
    }
}

struct Client {
    load: Load,
    number: u64,
    prefix: String,
    counters: Arc<Counters>,
    stopped: watch::Receiver<bool>,
}

/// The ledger's key of a client's `n`-th write.
fn ledger_key(client: u64, n: u64) -> u64 {
    client << 32 | n
}

/// The engine's key.
fn engine_key(prefix: &str, key: u64) -> String {
    format!("{prefix}:{key:x}")
}

impl Client {
    async fn write(self) -> Ledger {
        let mut ledger = Ledger::default();
        let rate = f64::from(self.load.writes_per_second.max(1)) / f64::from(self.load.connections);
        let period = Duration::from_secs_f64(1.0 / rate);
        // In turns: clients in step would leave gaps that are the load's own.
        let turn = period.mul_f64(self.number as f64 / f64::from(self.load.connections.max(1)));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + turn, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let value = "v".repeat(self.load.value_bytes);
        let expiry = i64::try_from(self.load.expiry.as_secs()).unwrap_or(i64::MAX);
        let mut last_acked = None;
        let mut n = 0;
        let mut connection = None;
        while !*self.stopped.borrow() {
            ticks.tick().await;
            if connection.is_none() {
                connection = self.load.dialler.connect(self.load.primary, CONNECT).await.ok();
            }
            let Some(open) = &mut connection else {
                ledger.disconnected();
                continue;
            };
            let key = ledger_key(self.number, n);
            n += 1;
            let engine_key = engine_key(&self.prefix, key);
            let version = ledger.sent(key, boot_time());
            let set = Command::new("SET").arg(&engine_key).arg(&value).arg("EX").int(expiry);
            match open.call(&set, ANSWER).await {
                Ok(reply) => {
                    let answer = judge(&reply);
                    ledger.answered(key, version, answer, boot_time());
                    if answer == Answer::Acked {
                        self.counters.acked.fetch_add(1, Ordering::Relaxed);
                        last_acked = Some(engine_key);
                    } else {
                        tracing::info!(?reply, "a write was not acknowledged");
                    }
                }
                Err(err) => {
                    tracing::info!(err = &err as &dyn std::error::Error, "a connection broke");
                    ledger.disconnected();
                    connection = None;
                    continue;
                }
            }
            if let (0, Some(key)) = (n % READ_EVERY, &last_acked)
                && !self.check(open, key).await
            {
                ledger.disconnected();
                connection = None;
            }
        }
        ledger
    }

    /// Reads an acknowledged write; returns whether the connection lives.
    async fn check(&self, open: &mut Open, key: &str) -> bool {
        let Ok(reply) = open.call(&Command::new("GET").arg(key), ANSWER).await else {
            return false;
        };
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        if reply.as_bytes().is_none() {
            tracing::info!(?reply, key, "an acknowledged write was not read");
            self.counters.wrong_reads.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Reads through the reader endpoint; what it finds may lag behind, but it has to answer.
    async fn read(self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut connection = None;
        let key = engine_key(&self.prefix, ledger_key(self.number, 0));
        while !*self.stopped.borrow() {
            ticks.tick().await;
            if connection.is_none() {
                connection = self.load.dialler.connect(self.load.reader, CONNECT).await.ok();
            }
            let answered = match &mut connection {
                Some(open) => open.call(&Command::new("GET").arg(&key), ANSWER).await.ok(),
                None => None,
            };
            match answered {
                Some(reply) if reply.as_error().is_none() => {
                    self.counters.reader_reads.fetch_add(1, Ordering::Relaxed);
                }
                answered => {
                    tracing::info!(?answered, "a read failed");
                    self.counters.reader_errors.fetch_add(1, Ordering::Relaxed);
                    if answered.is_none() {
                        connection = None;
                    }
                }
            }
        }
    }
}

fn judge(reply: &Value) -> Answer {
    if reply.is_ok() {
        return Answer::Acked;
    }
    match reply.error_code() {
        Some("UNCERTAIN") => Answer::Uncertain,
        Some(_) | None => Answer::Failed,
    }
}

/// Reads every key of the ledger back and deletes it; the version found of each.
pub(crate) async fn read_back(
    ledger: &Ledger,
    load: &Load,
    prefix: &str,
) -> Result<BTreeMap<u64, u64>, Failure> {
    let failed = |err: &dyn std::error::Error| {
        Failure::caused("T651", err, "the writes could not be read back; see tanist status")
    };
    let dialled = load.dialler.connect(load.primary, CONNECT).await;
    let mut connection = dialled.map_err(|err| failed(&err))?;
    let keys: Vec<u64> = ledger.keys().collect();
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(READ_BACK) {
        let names: Vec<String> = chunk.iter().map(|key| engine_key(prefix, *key)).collect();
        let mget = Command::new("MGET").args(&names);
        let reply = connection.call(&mget, ANSWER).await.map_err(|err| failed(&err))?;
        let Some(values) = reply.as_array() else {
            let message = format!("the writes could not be read back: {reply:?}");
            return Err(Failure::new("T651", message, "see tanist status"));
        };
        for (key, value) in chunk.iter().zip(values) {
            found.insert(*key, u64::from(value.as_bytes().is_some()));
        }
        let unlink = Command::new("UNLINK").args(&names);
        connection.call(&unlink, ANSWER).await.map_err(|err| failed(&err))?;
    }
    Ok(found)
}
