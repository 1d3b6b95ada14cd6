//! A client inside a host that writes all the time and notes what it is told.
//!
//! Each write has a key of its own, so that every acknowledged one can be looked for by itself. A
//! writer waits for each answer, dials anew when its connection broke, and asks the time of the
//! operating system once per write: when the answer came. It counts as sent when it was due, which
//! is never later than it was.
//!
//! Invariant: a write is noted before it is sent; no write is ever repeated.
//!
//! Not here: the judgment (`super::judge`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use tanist_core::ledger::Answer;
use tanist_resp::{Command, Connection, ConnectionError, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ground::{enter, inside, runtime};
use super::judge::{History, Op};

/// Between two writes.
const PACE: Duration = Duration::from_millis(4);
/// After a connection that could not be had.
const AGAIN: Duration = Duration::from_millis(20);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long an answer of an endpoint may take: longer than it may hold a request.
const ENDPOINT_ANSWER: Duration = Duration::from_secs(15);
/// How long an answer of an engine may take; usual for clients of Sentinel that want to move on.
const ENGINE_ANSWER: Duration = Duration::from_secs(1);
/// How long a Sentinel's may take.
const SENTINEL_ANSWER: Duration = Duration::from_millis(200);
/// How long an engine may wait for a replica, in milliseconds; less than the client waits for it.
const WAIT_MS: i64 = 500;
/// Keys that are read back with one request.
const READ_BACK: usize = 500;

/// What a writer dials.
#[derive(Debug, Clone)]
pub enum Target {
    /// An endpoint, which leads to the primary.
    Endpoint(SocketAddr),
    /// Sentinels that know the primary, to be asked in this order.
    Sentinels(Vec<SocketAddr>),
}

impl Target {
    /// The port of an endpoint; 0 of Sentinels.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Endpoint(at) => at.port(),
            Self::Sentinels(_) => 0,
        }
    }
}

/// What a writer does.
#[derive(Debug, Clone)]
pub struct WriterPlan {
    /// Which of a run's writers it is.
    pub number: u64,
    /// The namespace that it is in.
    pub namespace: String,
    /// What it dials.
    pub target: Target,
    /// Take an engine's word only if one replica has the write too (`WAIT 1`). An endpoint sees to
    /// that by itself.
    pub wait: bool,
    /// What times are counted from; the same for all writers of a run.
    pub origin: Instant,
}

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    stop: watch::Sender<bool>,
    thread: JoinHandle<History>,
}

impl Writer {
    /// Starts it.
    pub fn start(plan: WriterPlan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            enter(&plan.namespace);
            runtime().block_on(write(plan, stopped))
        });
        Self { stop, thread }
    }

    /// Stops it; what it noted.
    ///
    /// # Panics
    /// If it panicked.
    pub fn stop(self) -> History {
        self.stop.send_replace(true);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn key(writer: u64, number: u64) -> String {
    format!("w{writer}:{number}")
}

/// An instant as core counts it.
pub(super) fn since(origin: Instant, at: Instant) -> tanist_core::model::Instant {
    let micros = at.saturating_duration_since(origin).as_micros();
    tanist_core::model::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

async fn write(plan: WriterPlan, mut stopped: watch::Receiver<bool>) -> History {
    let mut history = History::new(plan.number);
    tokio::select! {
        () = go_on(&plan, &mut history) => {}
        // It ends with whoever started it.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    history
}

async fn go_on(plan: &WriterPlan, history: &mut History) {
    let mut connection = None;
    let mut due = Instant::now();
    loop {
        // waits: the writer's own pace.
        tokio::time::sleep_until(due).await;
        let Some(open) = &mut connection else {
            connection = dial(&plan.target).await;
            due = Instant::now();
            if connection.is_none() {
                history.undialled += 1;
                due += AGAIN;
            }
            continue;
        };
        let number = history.ops.len();
        history.ops.push(Op { sent: since(plan.origin, due), answered: None });
        let said = send(plan, open, number as u64).await;
        let now = Instant::now();
        if let Some(answer) = said.answer {
            history.ops[number].answered = Some((since(plan.origin, now), answer));
        }
        if let Some(why) = said.why {
            *history.said.entry(why).or_default() += 1;
        }
        if said.leave {
            history.disconnects += 1;
            connection = None;
        }
        due = now.max(due + PACE);
    }
}

/// What came of a write.
struct Said {
    answer: Option<Answer>,
    /// What was said that is no acknowledgement.
    why: Option<String>,
    /// The connection is of no more use.
    leave: bool,
}

async fn send(plan: &WriterPlan, open: &mut Connection, number: u64) -> Said {
    let set = Command::new("SET").arg(key(plan.number, number)).int(number as i64);
    let limit = match plan.target {
        Target::Endpoint(_) => ENDPOINT_ANSWER,
        Target::Sentinels(_) => ENGINE_ANSWER,
    };
    let replies = if plan.wait {
        let wait = Command::new("WAIT").int(1).int(WAIT_MS);
        open.pipeline(&[set, wait], limit).await
    } else {
        open.pipeline(&[set], limit).await
    };
    match replies {
        Ok(replies) => judge(&replies),
        Err(err) => {
            let why = match err {
                ConnectionError::Deadline(_) => "no answer in time".to_owned(),
                other => other.to_string(),
            };
            Said { answer: None, why: Some(why), leave: true }
        }
    }
}

fn judge(replies: &[Value]) -> Said {
    let Some(first) = replies.first() else {
        return Said { answer: None, why: None, leave: true };
    };
    if first.is_ok() {
        let alone = replies.get(1).is_some_and(|reply| reply.as_int().is_none_or(|n| n < 1));
        let (answer, why) = match alone {
            true => (Answer::Uncertain, Some("WAIT: no replica has it".to_owned())),
            false => (Answer::Acked, None),
        };
        return Said { answer: Some(answer), why, leave: false };
    }
    let answer = match first.error_code() {
        Some("UNCERTAIN") => Answer::Uncertain,
        Some(_) | None => Answer::Failed,
    };
    // Clients of Sentinel ask again for the primary when an engine says that it is none.
    let leave = first.error_code() == Some("READONLY");
    let why = first.as_error().map_or_else(|| format!("{first:?}"), |error| error.into_owned());
    Said { answer: Some(answer), why: Some(why), leave }
}

async fn dial(target: &Target) -> Option<Connection> {
    let at = match target {
        Target::Endpoint(at) => *at,
        Target::Sentinels(all) => named(all).await?,
    };
    Connection::connect(at, CONNECT).await.ok()
}

/// The primary that the first Sentinel names that answers.
async fn named(all: &[SocketAddr]) -> Option<SocketAddr> {
    let ask = Command::new("SENTINEL").arg("get-master-addr-by-name").arg(super::peer::NAME);
    for sentinel in all {
        let Ok(mut open) = Connection::connect(*sentinel, SENTINEL_ANSWER).await else { continue };
        let Ok(reply) = open.call(&ask, SENTINEL_ANSWER).await else { continue };
        let Some(words) = reply.as_array() else { continue };
        let word = |at: usize| words.get(at).and_then(Value::as_str);
        let address = word(0).and_then(|word| word.parse::<Ipv4Addr>().ok());
        let port = word(1).and_then(|word| word.parse::<u16>().ok());
        if let (Some(address), Some(port)) = (address, port) {
            return Some(SocketAddr::from((address, port)));
        }
    }
    None
}

/// Reads back which writes of these histories are there, from a host.
///
/// # Errors
/// Why they could not be read.
pub(super) fn read_back(
    namespace: &str,
    target: &Target,
    histories: &[History],
) -> Result<BTreeMap<(u64, u64), bool>, String> {
    let read = async || {
        let mut open = dial(target).await.ok_or("the primary cannot be dialled")?;
        let mut found = BTreeMap::new();
        for history in histories {
            let numbers: Vec<u64> = (0..history.ops.len() as u64).collect();
            for chunk in numbers.chunks(READ_BACK) {
                let keys = chunk.iter().map(|number| key(history.writer, *number));
                let get = Command::new("MGET").args(keys);
                let reply = open.call(&get, ENDPOINT_ANSWER).await;
                let reply = reply.map_err(|err| format!("reading back: {err}"))?;
                let values = reply.as_array().ok_or_else(|| format!("reading back: {reply:?}"))?;
                for (number, value) in chunk.iter().zip(values) {
                    found.insert((history.writer, *number), value.as_bytes().is_some());
                }
            }
        }
        Ok(found)
    };
    inside(namespace, read)
}
