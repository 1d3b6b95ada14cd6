//! Keys in a real store: made, listed, taken back, and read again after a restart.

use std::collections::BTreeSet;
use std::path::Path;

use tanist_store::{Options, SqliteStore};

use super::*;

async fn store(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir.join("store"), Options::default()).await.unwrap()
}

async fn identity(store: &SqliteStore) -> Identity {
    let secret = Secret::from_bytes([7; 32]);
    Identity::open(store.clone().into(), secret, "an installation").await.unwrap()
}

const POLICY: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

#[tokio::test]
async fn keys_survive_a_restart_and_revoked_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let opened = store(dir.path()).await;
    let first = identity(&opened).await;
    let root = first.root().unwrap();
    let kept = first.create("kept", Some(POLICY)).await.unwrap();
    let gone = first.create("gone", None).await.unwrap();
    first.revoke(&gone.access_key_id).await.unwrap();
    let listed = first.list();
    drop(first);
    opened.close().await;
    drop(opened);
    let opened = store(dir.path()).await;
    let again = identity(&opened).await;
    assert_eq!(again.root().unwrap(), root);
    assert_eq!(again.list(), listed);
    assert_eq!(again.with_secret(&kept.access_key_id), kept);
    assert!(again.caller(&gone.access_key_id).is_none());
    assert!(Keys::secret(&again, &gone.access_key_id).is_none());
    let kept = listed.iter().find(|key| key.name == "kept").unwrap();
    assert_eq!(kept.policy.as_deref(), Some(POLICY));
    assert!(!kept.is_root && Timestamp::now().duration_since(kept.created).as_secs().abs() < 60);
    assert_eq!(kept.arn, format!("arn:aws:iam::{}:user/kept", again.account()));
}

#[tokio::test]
async fn no_secret_is_in_the_store_or_shown() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let identity = identity(&store).await;
    let key = identity.create("ci", Some(POLICY)).await.unwrap();
    let root = identity.root().unwrap();
    let (records, _) = store.range("").await.unwrap();
    assert_eq!(records.len(), 2);
    let shown = format!("{identity:?} {key:?} {root:?} {:?}", identity.list());
    let stored: String =
        records.iter().map(|record| String::from_utf8_lossy(&record.value)).collect();
    for secret in [&key.secret, &root.secret] {
        assert!(!shown.contains(secret) && !stored.contains(secret));
        assert_eq!(secret.len(), 40);
    }
}

#[tokio::test]
async fn what_another_handle_of_the_store_does_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let (here, there) = (identity(&store).await, identity(&store).await);
    assert_eq!(here.root().unwrap(), there.root().unwrap());
    let seen = async |id: &str, expected: bool| {
        let watched = async {
            while there.caller(id).is_some() != expected {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), watched).await.unwrap();
    };
    for _ in 0..50 {
        let key = here.create("ci", None).await.unwrap();
        seen(&key.access_key_id, true).await;
        here.revoke(&key.access_key_id).await.unwrap();
        assert!(here.caller(&key.access_key_id).is_none());
        seen(&key.access_key_id, false).await;
    }
    let old = there.root().unwrap();
    let new = here.rotate_root().await.unwrap();
    seen(&new.access_key_id, true).await;
    seen(&old.access_key_id, false).await;
    // The other one rotates although its view may be behind.
    let (a, b) = tokio::join!(here.rotate_root(), there.rotate_root());
    let news: BTreeSet<String> =
        [a, b].into_iter().flatten().map(|key| key.access_key_id).collect();
    assert!(!news.is_empty());
    let last = identity(&store).await.root().unwrap();
    assert!(news.contains(&last.access_key_id));
}

#[tokio::test]
async fn an_unreadable_root_is_not_replaced_and_other_broken_records_are_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let broken = format!("{PREFIX}AKIABROKEN");
    store.txn(Txn::new().put(broken, b"{".to_vec())).await.unwrap();
    let opened = identity(&store).await;
    assert_eq!(opened.list().len(), 1);
    drop(opened);
    let later = br#"{"format":"9","body":{}}"#.to_vec();
    store.txn(Txn::new().put(format!("{PREFIX}{ROOT}"), later.clone())).await.unwrap();
    let secret = Secret::from_bytes([7; 32]);
    let refused = Identity::open(store.clone().into(), secret, "a").await;
    assert!(matches!(refused, Err(IdentityError::NoRoot)));
    let (kept, _) = store.get(&format!("{PREFIX}{ROOT}")).await.unwrap();
    assert_eq!(kept.unwrap().value, later);
}

#[tokio::test]
async fn names_and_numbers_of_keys_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let identity = identity(&store).await;
    for name in ["", "root", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
        let refused = identity.create(name, None).await;
        assert!(matches!(refused, Err(IdentityError::BadName(_))), "{name:?}");
    }
    assert!(identity.create(&"a".repeat(64), None).await.is_ok());
    assert!(identity.create("dana+ci=1,2.3@example-_", None).await.is_ok());
    assert!(matches!(
        identity.create("ci", Some("{}")).await,
        Err(IdentityError::BadPolicy(PolicyError::Syntax(_)))
    ));
    for unknown in ["", "root", "AKIAAAAAAAAAAAAAAAAA", "../../x", "a\0b"] {
        let refused = identity.revoke(unknown).await;
        assert!(matches!(refused, Err(IdentityError::NoSuchKey(_))), "{unknown:?}");
    }
    while identity.list().len() < MAX_KEYS {
        identity.create("ci", None).await.unwrap();
    }
    assert!(matches!(identity.create("ci", None).await, Err(IdentityError::TooMany)));
}

#[test]
fn an_account_has_twelve_digits_and_stays() {
    let accounts: BTreeSet<String> = (0..1000).map(|at| account(&at.to_string())).collect();
    assert_eq!(accounts.len(), 1000);
    for account in &accounts {
        assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
        assert!(!account.starts_with('0'));
    }
    assert_eq!(account("an installation"), account("an installation"));
}
