//! A group whose reads are strict is one register per key, whatever fails.
//!
//! Clients set, read and exchange values of a few keys while the primary is killed, frozen and moved;
//! then somebody looks for an order of everything that they saw in which each request took effect at
//! one moment between its beginning and its answer.
//!
//! Invariant: a request whose outcome is not known may have taken effect at any moment since, or
//! never; one that was refused has not.
//!
//! Not here: the search (`porcupine_rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};
use rustix::process::Signal;
use tanist_lab::{Installation, kill, signal};
use tanist_resp::Value;
use tokio::task::JoinSet;

use crate::{call, runtime, web};

crate::on_both_engines!(strict_reads_and_writes_are_linearizable_whatever_fails);

const CLIENTS: u32 = 8;
const KEYS: u32 = 4;
/// How long the search may take, in seconds.
const SEARCH: u64 = 60;

#[derive(Debug, Clone)]
enum What {
    Set(u64),
    Get(Option<u64>),
    /// `SET key new GET`, with what it answered.
    Exchange(u64, Option<u64>),
    /// One of the writes, whose answer is not known.
    Perhaps(u64),
}

#[derive(Debug, Clone)]
struct Op {
    key: u32,
    what: What,
}

#[derive(Debug, Clone)]
struct Registers;

impl Model for Registers {
    type State = Option<u64>;
    type Op = Op;
    type Metadata = ();

    fn partition_operations(history: &[Operation<Self>]) -> Vec<Vec<Operation<Self>>> {
        let mut by_key: BTreeMap<u32, Vec<Operation<Self>>> = BTreeMap::new();
        for operation in history {
            by_key.entry(operation.op.key).or_default().push(operation.clone());
        }
        by_key.into_values().collect()
    }

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, op: &Op) -> (bool, Self::State) {
        match op.what {
            What::Set(value) | What::Perhaps(value) => (true, Some(value)),
            What::Get(seen) => (seen == *state, *state),
            What::Exchange(value, seen) => (seen == *state, Some(value)),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.parse().unwrap_or_else(|err| panic!("{text}: {err}")))
}

/// What a request was, by its answer; `None` if it was refused.
fn seen(turn: u64, value: u64, answer: &Value) -> Option<What> {
    match answer.error_code() {
        None => {}
        Some("UNCERTAIN") if turn != 0 => return Some(What::Perhaps(value)),
        Some("TRYAGAIN") => return None,
        Some(_) => panic!("{answer:?}"),
    }
    Some(match turn {
        0 => What::Get(number(answer)),
        1 => What::Set(value),
        _ => What::Exchange(value, number(answer)),
    })
}

struct Client {
    number: u32,
    start: Instant,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn work(self, mut connection: tanist_resp::Connection) -> Vec<Operation<Registers>> {
        let mut history = Vec::new();
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            n += 1;
            let key = (n as u32).wrapping_mul(2_654_435_761).wrapping_add(self.number) % KEYS;
            let (name, turn) = (format!("k{key}"), (n / 3 + u64::from(self.number)) % 3);
            let value = u64::from(self.number) << 40 | n;
            let text = value.to_string();
            let words: &[&str] = match turn {
                0 => &["GET", &name],
                1 => &["SET", &name, &text],
                _ => &["SET", &name, &text, "GET"],
            };
            let call_time = self.now();
            let answer = call(&mut connection, words).await;
            let return_time = self.now();
            let Some(what) = seen(turn, value, &answer) else { continue };
            let unknown = matches!(what, What::Perhaps(_));
            history.push(Operation {
                client_id: Some(self.number),
                call_time,
                return_time: if unknown { i64::MAX } else { return_time },
                op: Op { key, what },
                metadata: None,
            });
        }
        history
    }

    fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

fn break_things(installation: &Installation) {
    for fault in ["kill", "switchover", "freeze", "kill", "switchover"] {
        let before = installation.primary("web");
        let pid = before.pid.unwrap_or_else(|| panic!("{before:?}"));
        match fault {
            "kill" => kill(pid),
            "freeze" => signal(pid, Signal::STOP),
            _ => assert_eq!(installation.tanist(&["switchover", "web"]).code, 0),
        }
        installation.wait("another is primary", |installation| {
            let primary = installation.shard("web").primary;
            primary.is_some_and(|node| node != before.node).then_some(())
        });
        installation.available("web");
    }
}

fn strict_reads_and_writes_are_linearizable_whatever_fails(engine: &str) {
    let installation = web(engine, &["--strict-reads"]);
    let endpoint = installation.group("web").primary_endpoint;
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let history = std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            runtime().block_on(async {
                let mut clients = JoinSet::new();
                for number in 0..CLIENTS {
                    let connection = installation.connect(&endpoint).await;
                    let client = Client { number, start, stop: Arc::clone(&stop) };
                    clients.spawn(client.work(connection));
                }
                clients.join_all().await.concat()
            })
        });
        break_things(&installation);
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap_or_else(|err| std::panic::resume_unwind(err))
    });
    let uncertain = history.iter().filter(|one| matches!(one.op.what, What::Perhaps(_))).count();
    let gets = history.iter().filter(|one| matches!(one.op.what, What::Get(Some(_)))).count();
    assert!(gets > 500, "{gets} of {} requests read something", history.len());
    let verdict = check_operations_timeout(&history, std::time::Duration::from_secs(SEARCH));
    assert_eq!(verdict, CheckResult::Ok, "{} requests, {uncertain} uncertain", history.len());
}

#[test]
fn a_read_of_something_older_than_what_was_acknowledged_is_found() {
    let one = |call_time, return_time, what| Operation {
        client_id: None,
        call_time,
        return_time,
        op: Op { key: 0, what },
        metadata: None,
    };
    let check = |last| {
        let history: Vec<Operation<Registers>> = vec![
            one(0, 10, What::Set(1)),
            one(20, 30, What::Set(2)),
            one(25, i64::MAX, What::Perhaps(3)),
            one(40, 50, What::Get(last)),
        ];
        check_operations_timeout(&history, std::time::Duration::from_secs(SEARCH))
    };
    assert_eq!(check(Some(2)), CheckResult::Ok);
    assert_eq!(check(Some(3)), CheckResult::Ok, "it may have happened");
    assert_eq!(check(Some(1)), CheckResult::Illegal);
    assert_eq!(check(None), CheckResult::Illegal);
}
