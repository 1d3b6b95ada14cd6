//! A store that is lost, as the loop and the API show it: what is not done, and how it is rebuilt.
//!
//! Invariant: every test begins with hosts that have a group of which the store knows nothing.
//!
//! Not here: what can be rebuilt (`tanist_core::rebuild`), and real engines (`tests/`).

use std::collections::BTreeSet;

use tanist_core::model::stored::Stored;
use tanist_core::model::{
    Cause, Epoch, GAP, HostId, Limits, NodeReport, Process, Rev, ShardTopology,
};
use tanist_link::api::{ApiError, CreateGroup, Rebuild, RebuildProposal, Rebuilt};
use tanist_link::wire::{
    FromAgent, FromProxy, Keep, KeptShard, ProxyShard, Recalled, ToAgent, ToProxy,
};
use tanist_store::Store;

use super::rig::{LONG, Rig, host, key, node, spec, topology, well};
use crate::inputs::{Call, Reply};
use crate::rebuild::RebuildCall;

/// A store that has nothing, and three hosts that have a group.
async fn lost() -> Rig {
    let mut rig = Rig::empty(Limits::DEFAULT).await;
    for n in 1..=3 {
        rig.report(n, well(n)).await;
    }
    rig.event("GroupUnknown").await;
    rig
}

fn keep(shard: ShardTopology) -> Keep {
    let (spec, shard) = (Stored::new(spec()), Stored::new(shard));
    Keep { at: 5, spec, shard, users: Vec::new(), user_groups: Vec::new() }
}

/// What the hosts say; each has made the promise that is given for it.
async fn answers(rig: &mut Rig, number: u64, promised: [u64; 3]) {
    for (n, promised) in (1..).zip(promised) {
        let kept = Some(Box::new(keep(topology())));
        let (promised, epoch, trouble) = (Rev(promised), Epoch(3), None);
        let shard = KeptShard { key: key(), promised, epoch, kept, trouble };
        for shard in [Some(Box::new(shard)), None] {
            let recalled = Recalled { host: host(n), number, shard };
            rig.hosts.send(FromAgent::Recalled(Box::new(recalled))).await.unwrap();
        }
    }
}

/// The number with which hosts are asked.
async fn question(rig: &mut Rig) -> u64 {
    loop {
        let told = tokio::time::timeout(LONG, rig.told.recv()).await.unwrap().unwrap();
        if let ToAgent::Recall(number) = told {
            return number;
        }
    }
}

async fn asked<T>(
    rig: &mut Rig,
    promised: [u64; 3],
    call: impl FnOnce(Reply<T>) -> RebuildCall,
) -> Result<T, ApiError> {
    let answer = rig.asked(|reply| Call::Rebuild(call(reply))).await;
    let number = question(rig).await;
    answers(rig, number, promised).await;
    tokio::time::timeout(LONG, answer).await.unwrap().unwrap()
}

async fn look(rig: &mut Rig, promised: [u64; 3]) -> RebuildProposal {
    asked(rig, promised, RebuildCall::Look).await.unwrap()
}

async fn go(
    rig: &mut Rig,
    promised: [u64; 3],
    digest: &str,
    in_doubt: &[&str],
) -> Result<Rebuilt, ApiError> {
    let in_doubt = in_doubt.iter().map(|name| (*name).into()).collect();
    let asking = Rebuild { digest: digest.to_owned(), in_doubt };
    asked(rig, promised, |reply| RebuildCall::Go { asked: asking, reply }).await
}

const ALL: [u64; 3] = [10, 10, 10];

fn web() -> BTreeSet<tanist_core::model::GroupName> {
    BTreeSet::from(["web".into()])
}

#[tokio::test]
async fn an_empty_store_orders_nothing_and_says_so_once() {
    let mut rig = lost().await;
    // That would call for an order if the group were known.
    rig.report(2, NodeReport { process: Process::Absent, ..well(2) }).await;
    rig.report(1, NodeReport { rev: Rev(11), ..well(1) }).await;
    let mut echoes = 0;
    while echoes < 3 {
        let told = tokio::time::timeout(LONG, rig.told.recv()).await.unwrap().unwrap();
        assert!(matches!(told, ToAgent::Echo(_)), "{told:?}");
        echoes += 1;
    }
    assert_eq!(rig.pending_events(), Vec::<String>::new());
    let status = rig.ask(Call::Status).await.unwrap();
    assert!(status.notes.iter().any(|note| note.contains("tanist rebuild: web")), "{status:?}");
}

#[tokio::test]
async fn a_proxy_is_not_told_that_a_group_is_gone_that_was_never_deleted() {
    let rig = lost().await;
    let mut proxy = rig.connect_silent("p1", 1);
    let serves = ProxyShard {
        key: key(),
        rev: Rev(10),
        drained: None,
        released: None,
        held: 0,
        clients: 1,
        uncertain: 0,
        turned_away: 0,
        last_turned_away: None,
        nodes: Default::default(),
    };
    proxy.say(&FromProxy::Beat { shards: vec![serves], part: false });
    assert_eq!(proxy.hear().await, ToProxy::Known(vec![key()]));
}

#[tokio::test]
async fn nothing_new_is_made_that_could_have_the_addresses_of_what_is_not_known() {
    let rig = lost().await;
    let asked: CreateGroup =
        serde_json::from_str(r#"{"name": "other", "engine": "redis", "replicas": 1}"#).unwrap();
    let refused = rig.ask(|reply| Call::Create { asked, reply }).await.unwrap_err();
    assert_eq!(refused.code, "T208");
}

#[tokio::test]
async fn what_all_hosts_keep_is_written_and_goes_on_with_a_vacancy() {
    let mut rig = lost().await;
    let proposal = look(&mut rig, ALL).await;
    assert_eq!(proposal.silent, BTreeSet::new());
    let [shard] = proposal.shards.as_slice() else { panic!("{proposal:?}") };
    assert_eq!((shard.primary.clone(), shard.epoch, shard.rev), (Some(node(1)), Epoch(3), Rev(10)));
    assert_eq!((shard.doubts.as_slice(), &shard.obstacle), ([].as_slice(), &None));
    assert!(shard.nodes.iter().all(|node| node.runs && node.had_everything), "{shard:?}");
    let none = rig.store.get(&crate::keys::spec(&key().group)).await.unwrap().0;
    assert!(none.is_none(), "looking writes nothing");
    let done = go(&mut rig, ALL, &proposal.digest, &[]).await.unwrap();
    assert_eq!((done.groups, done.to_name, done.left), (web(), [].into(), [].into()));
    let (asked, shard) = rig.held().await;
    assert_eq!(asked, spec());
    let vacancy = shard.vacancy().unwrap();
    assert_eq!((vacancy.cause, &vacancy.prev), (Cause::Rebuilt, &topology().primary().cloned()));
    assert_eq!((shard.rev, shard.in_sync), (Rev(10 + GAP), topology().in_sync));
    assert!(look(&mut rig, ALL).await.shards.is_empty(), "the store knows it now");
    let status = rig.ask(Call::Status).await.unwrap();
    assert!(!status.notes.iter().any(|note| note.contains("rebuild")), "{status:?}");
}

#[tokio::test]
async fn what_was_looked_at_is_what_is_written_or_nothing_is() {
    let mut rig = lost().await;
    let proposal = look(&mut rig, ALL).await;
    let refused = go(&mut rig, [10, 12, 10], &proposal.digest, &["web"]).await.unwrap_err();
    assert_eq!(refused.code, "T209");
    assert!(rig.store.get(&crate::keys::spec(&key().group)).await.unwrap().0.is_none());
}

#[tokio::test]
async fn a_group_in_doubt_is_left_unless_it_is_named() {
    let mut rig = lost().await;
    let promised = [10, 12, 10];
    let proposal = look(&mut rig, promised).await;
    assert_eq!(proposal.shards[0].doubts.len(), 1, "{proposal:?}");
    let left = go(&mut rig, promised, &proposal.digest, &[]).await.unwrap();
    assert_eq!((left.groups, left.left), ([].into(), web()));
    let done = go(&mut rig, promised, &proposal.digest, &["web"]).await.unwrap();
    assert_eq!((done.groups, done.to_name), ([].into(), web()));
    let (_, shard) = rig.held().await;
    assert_eq!(shard.vacancy().map(|vacancy| vacancy.cause), Some(Cause::StoreBehind));
    assert_eq!((shard.rev, shard.in_sync.len()), (Rev(12 + GAP), 0));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_named_and_not_waited_for_for_ever() {
    let mut rig = lost().await;
    let answer = rig.asked(|reply| Call::Rebuild(RebuildCall::Look(reply))).await;
    question(&mut rig).await;
    let proposal = tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    let all: BTreeSet<HostId> = (1..=3).map(host).collect();
    assert_eq!((proposal.silent, proposal.heard), (all, [].into()));
    assert_eq!(proposal.nothing_kept, web(), "nobody has said that they keep it");
}

#[tokio::test]
async fn hosts_are_sent_what_they_keep_and_again_when_it_changes() {
    let mut rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let sent = async |rig: &mut Rig| loop {
        let told = tokio::time::timeout(LONG, rig.told.recv()).await.unwrap().unwrap();
        if let ToAgent::Keep(keep) = told {
            return keep;
        }
    };
    let first = sent(&mut rig).await;
    assert_eq!((first.spec.body(), first.shard.body()), (&spec(), &topology()));
    let asked = serde_json::from_str(r#"{"automatic_failover": false}"#).unwrap();
    let changed = rig.ask(|reply| Call::Modify { name: key().group, asked, reply }).await;
    changed.unwrap();
    let second = sent(&mut rig).await;
    assert!(!second.spec.body().automatic_failover);
    assert!(second.age() > first.age(), "{:?} {:?}", second.age(), first.age());
}
