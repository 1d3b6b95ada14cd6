//! Claims about what is kept, with real files.
//!
//! Invariant: every claim is about what the keeper answers, not about its files.
//!
//! Not here: who sends it (`tanist-controller`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use tanist_core::model::stored::Stored;
use tanist_core::model::{
    Access, Cause, Durability, EngineKind, Epoch, GroupEndpoints, GroupSpec, Lineage, Primaryship,
    Reads, RequestId, ShardTopology, SlotRange, Vacancy,
};

use super::*;
use crate::guards::Guards;

fn key() -> ShardKey {
    ShardKey { group: "web".into(), shard: "0001".into() }
}

fn spec() -> GroupSpec {
    let nowhere = Ipv4Addr::LOCALHOST;
    GroupSpec {
        name: "web".into(),
        region: "here".into(),
        engine: EngineKind::Redis,
        shards: BTreeMap::from([("0001".into(), vec![SlotRange::ALL])]),
        replicas: 0,
        zones: Vec::new(),
        automatic_failover: true,
        durability: Durability::Sync,
        min_in_sync: 0,
        memory_bytes: 1 << 20,
        endpoints: GroupEndpoints {
            primary: nowhere,
            reader: nowhere,
            port: 6379,
            ports_from: None,
        },
        requests: BTreeMap::new(),
        access: Access::Everyone,
        login: Default::default(),
        accounts: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        zone_of: BTreeMap::new(),
        unwanted: BTreeSet::new(),
        endpoint_hosts: BTreeSet::new(),
        attributes: BTreeMap::new(),
        deleting: false,
    }
}

fn keep(rev: u64, at: u64) -> Box<Keep> {
    let vacancy = Vacancy { prev: None, cause: Cause::Created, request: None, heir: None };
    let shard = ShardTopology {
        group: "web".into(),
        shard: "0001".into(),
        rev: Rev(rev),
        epoch: Epoch(1),
        durability: Durability::Sync,
        slots: vec![SlotRange::ALL],
        primaryship: Primaryship::Vacant(vacancy),
        in_sync: BTreeSet::new(),
        pending: None,
        lineage: Lineage::default(),
        members: BTreeMap::new(),
        lanes: BTreeSet::new(),
        next_seq: 1,
        request_done: RequestId(0),
        relocation: None,
    };
    let (spec, shard) = (Stored::new(spec()), Stored::new(shard));
    Box::new(Keep { at, spec, shard, users: Vec::new(), user_groups: Vec::new() })
}

/// A keeper that works, and the ways to it.
struct World {
    keeper: std::sync::Arc<Keeper>,
    guards: Guards,
    layout: Layout,
    answers: mpsc::Receiver<FromAgent>,
    number: u64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(dir.path()).unwrap();
        let keeper = std::sync::Arc::new(Keeper::new(layout.clone()));
        let (outbox, answers) = mpsc::channel(8);
        let working = std::sync::Arc::clone(&keeper);
        tokio::spawn(async move { working.work(&"h1".into(), &outbox).await });
        let guards = Guards::new(layout.clone());
        Self { keeper, guards, layout, answers, number: 0, _dir: dir }
    }

    /// What is said of every shard.
    async fn asked(&mut self) -> Vec<KeptShard> {
        self.number += 1;
        let keys = self.layout.known_shards().unwrap();
        // What is only about to be kept has no file yet.
        let keys = keys.into_iter().chain([key()]).collect::<BTreeSet<_>>();
        let shards = keys.into_iter().map(|key| (key.clone(), self.guards.of(&key))).collect();
        self.keeper.ask(Question { number: self.number, shards });
        let mut said = Vec::new();
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.recv());
            let Ok(Some(FromAgent::Recalled(recalled))) = answer.await else {
                panic!("it answers")
            };
            assert_eq!((recalled.host, recalled.number), ("h1".into(), self.number));
            match recalled.shard {
                Some(shard) => said.push(*shard),
                None => return said,
            }
        }
    }

    async fn age(&mut self) -> Option<(Rev, u64)> {
        let said = self.asked().await;
        let [shard] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(shard.trouble, None);
        shard.kept.as_ref().map(|kept| kept.age())
    }
}

#[tokio::test]
async fn the_newest_is_kept_and_an_older_one_never_replaces_it() {
    let mut world = World::new();
    assert_eq!(world.age().await, None);
    world.keeper.keep(keep(7, 3));
    assert_eq!(world.age().await, Some((Rev(7), 3)));
    world.keeper.keep(keep(8, 4));
    // Both are on their way at the same time.
    world.keeper.keep(keep(6, 9));
    assert_eq!(world.age().await, Some((Rev(8), 4)));
    world.keeper.keep(keep(6, 9));
    assert_eq!(world.age().await, Some((Rev(8), 4)), "one is on the disk");
    world.keeper.keep(keep(8, 5));
    assert_eq!(world.age().await, Some((Rev(8), 5)), "something that was asked has changed");
}

#[tokio::test]
async fn what_is_deleted_is_let_go_unless_it_is_there_again() {
    let mut world = World::new();
    world.keeper.keep(keep(7, 3));
    assert_eq!(world.age().await, Some((Rev(7), 3)));
    world.keeper.let_go(key(), Rev(6));
    assert_eq!(world.age().await, Some((Rev(7), 3)));
    world.keeper.let_go(key(), Rev(7));
    assert_eq!(world.age().await, None);
    assert!(world.layout.known_shards().unwrap().is_empty());
}

#[tokio::test]
async fn every_damage_is_said_and_another_document_takes_its_place() {
    let mut world = World::new();
    world.keeper.keep(keep(7, 3));
    world.age().await;
    let path = world.layout.kept(&key());
    let good = std::fs::read(&path).unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777, 0o600);
    for at in (0..good.len()).step_by(37).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        std::fs::write(&path, &bad).unwrap();
        let said = world.asked().await;
        assert!(said[0].kept.is_none() && said[0].trouble.is_some(), "byte {at}: {said:?}");
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(world.asked().await[0].trouble.is_some());
    world.keeper.keep(keep(1, 1));
    assert_eq!(world.age().await, Some((Rev(1), 1)));
}

#[tokio::test]
async fn what_was_promised_is_said_beside_it() {
    let mut world = World::new();
    let guard = world.guards.of(&key());
    assert!(guard.lock().await.admit(Rev(9), Epoch(2)).await.unwrap());
    let said = world.asked().await;
    assert_eq!((said[0].promised, said[0].epoch, &said[0].kept), (Rev(9), Epoch(2), &None));
    drop(guard);
    world.guards = Guards::new(world.layout.clone());
    std::fs::write(world.layout.guard(&key()), b"nonsense").unwrap();
    let said = world.asked().await;
    assert!(said[0].trouble.is_some(), "a promise that is unknown is none of 0");
}
