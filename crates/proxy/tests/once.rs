//! Whatever fails, an acknowledged write happened once, and no write happened twice.
//!
//! Clients write numbers of their own through pipelines over connections that they share, while one
//! primary after another is killed or stopped. Afterwards the data is compared with what each client
//! was told. `TANIST_KILLS` says how many primaries fail (without it a few).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a long run says what it has done")]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kit::{Binary, Conn, Engine, World};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_core::model::{Durability, Epoch};
use tanist_proxy::ProxyLimits;
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: u64 = 24;
/// Counters of different clients are so far apart.
const APART: i64 = 1_000_000_000;

/// What a client was told of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It was acknowledged in this round.
    Yes(u64),
    /// `-UNCERTAIN`
    Perhaps,
}

/// What one client was told.
#[derive(Debug, Default)]
struct Account {
    pushes: Vec<Told>,
    counts: Vec<Told>,
}

struct Client {
    conn: Conn,
    number: u64,
    lots: StdRng,
    told: Account,
    /// The last answers of INCR and RPUSH.
    last: [i64; 2],
    exact: bool,
}

impl Client {
    async fn work(mut self, stop: watch::Receiver<bool>, round: Arc<AtomicU64>) -> Self {
        let (list, counter) = (format!("l{}", self.number), format!("c{}", self.number));
        while !*stop.borrow() {
            let mut lines = Vec::new();
            for _ in 0..self.lots.random_range(1..40) {
                lines.push(match self.lots.random_range(0..5) {
                    0 | 1 => format!("INCR {counter}"),
                    2 | 3 => {
                        let serial = self.told.pushes.len()
                            + lines.iter().filter(|line: &&String| line.starts_with('R')).count();
                        format!("RPUSH {list} {serial}")
                    }
                    _ => format!("ECHO {}-{}", self.number, self.lots.random::<u32>()),
                });
            }
            let asked: Vec<&str> = lines.iter().map(String::as_str).collect();
            self.conn.send(&asked).await;
            for line in &lines {
                let reply = self.conn.text().await;
                self.take(line, &reply, round.load(Ordering::SeqCst));
            }
        }
        self
    }

    fn take(&mut self, line: &str, reply: &str, round: u64) {
        if let Some(text) = line.strip_prefix("ECHO ") {
            assert_eq!(reply, format!("${} {text}", text.len()), "client {}", self.number);
            return;
        }
        let (told, which) = if line.starts_with('I') {
            (&mut self.told.counts, 0)
        } else {
            (&mut self.told.pushes, 1)
        };
        let Some(value) = reply.strip_prefix(':') else {
            assert!(reply.starts_with("-UNCERTAIN write outcome unknown"), "{line}: {reply}");
            return told.push(Told::Perhaps);
        };
        let value: i64 = value.parse().unwrap();
        told.push(Told::Yes(round));
        if which == 0 {
            let own = i64::try_from(self.number).unwrap() * APART;
            assert!((own..own + APART).contains(&value), "client {}: {value}", self.number);
        }
        if self.exact {
            assert!(
                value > self.last[which],
                "round {round} {line}: {value} after {}",
                self.last[which]
            );
            let most = self.last[which] + i64::try_from(told.len()).unwrap();
            assert!(value <= most, "{line}: {value}");
        }
        self.last[which] = value;
    }

    /// Compares the data with what the client was told. Writes that were acknowledged in a round in
    /// which an asynchronous primary died may be lost.
    async fn check(&self, reader: &mut Conn, lossy: &[u64]) -> (u64, u64) {
        let list = reader.value(&format!("LRANGE l{} 0 -1", self.number)).await;
        let found: Vec<usize> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_str().unwrap().parse().unwrap())
            .collect();
        for pair in found.windows(2) {
            assert!(pair[0] < pair[1], "client {}: {} after {}", self.number, pair[1], pair[0]);
        }
        let mut next = found.iter().copied().peekable();
        let mut uncertain = 0;
        for (serial, told) in self.told.pushes.iter().enumerate() {
            let there = next.next_if_eq(&serial).is_some();
            match told {
                Told::Yes(round) => assert!(
                    there || lossy.contains(round),
                    "client {}: {serial} was acknowledged in round {round} and is lost",
                    self.number
                ),
                Told::Perhaps => uncertain += 1,
            }
        }
        assert_eq!(next.next(), None, "client {}: never sent", self.number);
        let counter = reader.value(&format!("GET c{}", self.number)).await;
        let counted: i64 = counter.as_str().unwrap().parse().unwrap();
        let counted = counted - i64::try_from(self.number).unwrap() * APART;
        let sure = self.told.counts.iter().filter(|told| match told {
            Told::Yes(round) => !lossy.contains(round),
            Told::Perhaps => false,
        });
        let least = i64::try_from(sure.count()).unwrap();
        let most = i64::try_from(self.told.counts.len()).unwrap();
        assert!((least..=most).contains(&counted), "client {}: {counted}", self.number);
        uncertain += self.told.counts.iter().filter(|told| **told == Told::Perhaps).count() as u64;
        ((self.told.counts.len() + self.told.pushes.len()) as u64, uncertain)
    }
}

/// How a primary fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Killed,
    Stopped,
    /// Demoted before the proxy hears of it.
    Fenced,
}

fn tag(name: &str, epoch: Epoch) -> String {
    format!("{name}.00000000.{}", epoch.0)
}

/// One primary fails, the other node takes over, and the one that failed comes back as its replica.
async fn fail(world: &mut World, binary: Binary, names: [&str; 2], how: Failure) {
    let [old, new] = names;
    match how {
        Failure::Killed => world.engine_mut(old).kill(),
        Failure::Stopped => world.engine(old).signal("-STOP"),
        Failure::Fenced => {
            world.engine(old).admin(&["REPLICAOF", "127.0.0.1", "1"]).await;
            let target = world.engine(old).offset().await;
            world.engine(new).until_offset(target).await;
        }
    }
    kit::moment(rand::random_range(0..60)).await;
    world.vacate();
    kit::moment(rand::random_range(0..60)).await;
    world.promote(new, &[]).await;
    let epoch = world.route.epoch;
    if how == Failure::Stopped {
        // It still serves what lies before it; nobody is told.
        world.engine(old).signal("-CONT");
    }
    world.until("the new primary serves", |beat| beat.released == Some(epoch)).await;
    if how != Failure::Killed {
        world.engine_mut(old).kill();
    }
    let engine = Engine::start(binary, old).await;
    engine.lane(epoch).await;
    let tag = tag(old, epoch);
    engine.follow(world.engine(new), &tag).await;
    for node in &mut world.route.nodes {
        if node.node.as_str() == old {
            node.address = engine.address;
            node.lane = Some(epoch);
            node.tag = Some(tag.clone());
        }
    }
    *world.engine_mut(old) = engine;
    world.route.rev = world.route.rev.next();
    world.serve(new, &[&tag]);
    world.obeyed().await;
    // What was acknowledged while there was nobody to have it is safe from here on.
    world.engine(old).until_offset(world.engine(new).offset().await).await;
}

async fn once(binary: Binary, durability: Durability) {
    let kills = std::env::var("TANIST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u64 = kills.unwrap_or(4);
    let mut world = World::with(2, durability, binary, ProxyLimits::default()).await;
    let (stop, stopped) = watch::channel(false);
    let round = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut conn = world.primary().await;
        let start = i64::try_from(number).unwrap() * APART;
        assert_eq!(conn.call(&format!("SET c{number} {start}")).await, "+OK");
        let client = Client {
            conn,
            number,
            lots: StdRng::seed_from_u64(number),
            told: Account::default(),
            last: [start, 0],
            exact: durability == Durability::Sync,
        };
        clients.spawn(client.work(stopped.clone(), Arc::clone(&round)));
    }
    // A replica counts as online before it receives anything.
    world.engine("n2").until_offset(world.engine("n1").offset().await).await;
    let mut names = ["n1", "n2"];
    let mut lossy = Vec::new();
    for number in 0..kills {
        kit::moment(rand::random_range(50..200)).await;
        let how = match (durability, number % 2) {
            (_, 0) => Failure::Killed,
            (Durability::Sync, _) => Failure::Stopped,
            (Durability::Async, _) => Failure::Fenced,
        };
        if how == Failure::Killed && durability == Durability::Async {
            lossy.push(number);
        }
        fail(&mut world, binary, names, how).await;
        round.store(number + 1, Ordering::SeqCst);
        names.reverse();
    }
    kit::moment(100).await;
    assert_eq!(world.beat().clients, CLIENTS, "nobody was disconnected");
    stop.send(true).unwrap();
    let mut reader = world.primary().await;
    let (mut writes, mut uncertain) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (asked, unsure) = client.unwrap().check(&mut reader, &lossy).await;
        writes += asked;
        uncertain += unsure;
    }
    assert!(writes > 0);
    println!("{binary:?} {durability:?}: {kills} failures, {writes} writes, {uncertain} uncertain");
}

#[tokio::test]
async fn a_write_happens_once_while_primaries_fail() {
    once(Binary::Redis, Durability::Async).await;
}

#[tokio::test]
async fn a_proven_write_happens_once_while_primaries_fail() {
    once(Binary::Redis, Durability::Sync).await;
}

#[tokio::test]
async fn valkey_writes_once_while_primaries_fail() {
    once(Binary::Valkey, Durability::Async).await;
}

#[tokio::test]
async fn valkey_proves_a_write_once_while_primaries_fail() {
    once(Binary::Valkey, Durability::Sync).await;
}
