//! Claims about who leads. One store that several candidates share stands for any.

use std::collections::BTreeMap;

use tanist_store::{Options, SqliteStore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use tanist_core::leading::SILENCE;

use super::*;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Ground {
    _dir: tempfile::TempDir,
    store: AnyStore,
}

async fn ground() -> Ground {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Options::default()).await.unwrap();
    Ground { _dir: dir, store: AnyStore::from(store) }
}

fn candidate(host: &str) -> Candidate {
    Candidate { host: host.into(), known: watch::channel(None).0 }
}

async fn claim(ground: &Ground, host: &str) -> Claim {
    let candidate = candidate(host);
    let claimed = timeout(PATIENCE, candidate.stand_by(&ground.store)).await;
    claimed.expect("somebody has to lead").unwrap()
}

/// A reign whose first beat was heard.
async fn reign(ground: &Ground, claim: &Claim) -> Reign {
    let mut reign = Reign::begin(ground.store.clone(), claim.clone());
    timeout(PATIENCE, reign.sure_until.changed()).await.unwrap().unwrap();
    assert!(reign.is_sure(boot_time()));
    reign
}

#[tokio::test]
async fn nobody_takes_over_from_a_leader_that_is_heard() {
    let ground = ground().await;
    let first = claim(&ground, "h1").await;
    let _reign = reign(&ground, &first).await;
    let second = candidate("h2");
    let waited = timeout(SILENCE * 3, second.stand_by(&ground.store)).await;
    assert!(waited.is_err(), "h1 is there");
    let known = second.known.borrow().clone().unwrap();
    assert_eq!((known.host, known.term), ("h1".into(), first.term()));
}

#[tokio::test]
async fn a_leader_that_falls_silent_is_followed_and_knows_it_before() {
    let ground = ground().await;
    let first = claim(&ground, "h1").await;
    let mut reign = reign(&ground, &first).await;
    let waiting = candidate("h2");
    let waiting = waiting.stand_by(&ground.store);
    // It goes on believing that it leads, and cannot say so.
    reign.beats.abort();
    let second = timeout(PATIENCE, waiting).await.expect("h2 takes over").unwrap();
    assert!(!reign.is_sure(boot_time()), "it was not sure any more when the other took over");
    assert!(second.term() > first.term());
    let late = ground.store.txn(first.fenced().put("spec/late", "x")).await.unwrap();
    assert!(!late.committed, "what it still decides is nothing");
    let late = Reign::begin(ground.store.clone(), first);
    reign.sure_until = late.sure_until.clone();
    timeout(PATIENCE, reign.over()).await.expect("it hears so when it beats again");
}

#[tokio::test]
async fn a_leader_that_resigns_is_followed_at_once() {
    let ground = ground().await;
    let first = claim(&ground, "h1").await;
    let leading = reign(&ground, &first).await;
    let second = candidate("h2");
    let mut known = second.known.subscribe();
    let waiting = tokio::spawn({
        let store = ground.store.clone();
        async move { second.stand_by(&store).await }
    });
    timeout(PATIENCE, known.wait_for(Option::is_some)).await.unwrap().unwrap();
    let asked = boot_time();
    drop(leading);
    first.resign(&ground.store).await.unwrap();
    let claimed = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(claimed.term(), first.term().next());
    assert!(boot_time().since(asked) < SILENCE, "it did not wait for silence");
}

#[tokio::test]
async fn of_all_that_claim_a_term_one_gets_it() {
    let ground = ground().await;
    let mut everybody = JoinSet::new();
    for number in 0..5 {
        let store = ground.store.clone();
        everybody.spawn(async move {
            let mut terms = Vec::new();
            while terms.len() < 3 {
                let host = format!("h{number}");
                let claim = candidate(&host).stand_by(&store).await.unwrap();
                terms.push(claim.term());
                // One that is deposed before it can resign has not led either.
                claim.resign(&store).await.unwrap();
            }
            terms
        });
    }
    let mut led: BTreeMap<Term, u32> = BTreeMap::new();
    let all = timeout(PATIENCE, everybody.join_all()).await.expect("everybody leads in the end");
    for term in all.into_iter().flatten() {
        *led.entry(term).or_default() += 1;
    }
    assert_eq!(led.len(), 15, "{led:?}");
    assert!(led.values().all(|leaders| *leaders == 1), "{led:?}");
}

#[tokio::test]
async fn a_claim_fails_if_the_leader_was_heard_meanwhile() {
    let ground = ground().await;
    let first = claim(&ground, "h1").await;
    let seen = Seen::read(&ground.store).await.unwrap();
    let _reign = reign(&ground, &first).await;
    let late = candidate("h2").claim(&ground.store, &seen).await.unwrap();
    assert!(late.is_none(), "what it knew is old");
}
