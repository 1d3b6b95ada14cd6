//! A disk that is full, read-only or failing: a typed error, nothing half applied, and the store
//! goes on when the disk is well again.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tanist_store::{Options, SqliteStore, Store, StoreError, Txn};

fn quiet() -> Options {
    Options { copy_every: None, ..Options::default() }
}

fn pair(n: usize) -> Txn {
    let value = vec![n as u8; 20_000];
    Txn::new().put(format!("{n:05}/a"), value.clone()).put(format!("{n:05}/b"), value)
}

/// Writes pairs until the store refuses one; answers how many it took, and its error.
async fn fill(store: &SqliteStore, from: usize) -> (usize, StoreError) {
    for n in from.. {
        let txn = pair(n);
        if let Err(error) = store.txn(txn).await {
            return (n, error);
        }
        assert!(n < 20_000, "nothing ever fills up");
    }
    unreachable!("the loop has no end")
}

/// Exactly the first `pairs` pairs are there, whole.
async fn has_pairs(store: &SqliteStore, pairs: usize) {
    let (keys, at) = store.range("").await.unwrap();
    let mut names = keys.iter().map(|kv| kv.key.clone());
    for n in 0..pairs {
        assert_eq!(names.next(), Some(format!("{n:05}/a")));
        assert_eq!(names.next(), Some(format!("{n:05}/b")));
    }
    assert_eq!(names.next(), None);
    assert_eq!(at.0, 1 + pairs as u64);
}

#[tokio::test]
async fn a_store_at_its_largest_size_refuses_writes_and_keeps_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let small = Options { max_bytes: 1 << 20, ..quiet() };
    let store = SqliteStore::open(home.path(), small).await.unwrap();
    let (pairs, error) = fill(&store, 0).await;
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.may_heal() && !error.outcome_unknown());
    has_pairs(&store, pairs).await;
    store.close().await;
    let store = SqliteStore::open(home.path(), quiet()).await.unwrap();
    has_pairs(&store, pairs).await;
    assert!(store.txn(Txn::new().put("more", "x")).await.unwrap().committed);
    store.close().await;
}

/// Runs one of the ignored tests below in a process of its own, started by a shell line.
fn in_a_process(shell: &[&str], test: &str, dir: &Path) {
    let (program, args) = shell.split_first().unwrap();
    let status = Command::new(program)
        .args(args)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("TANIST_DIR", dir)
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
}

fn dir() -> PathBuf {
    PathBuf::from(std::env::var("TANIST_DIR").unwrap())
}

#[test]
fn after_a_failed_write_the_store_settles_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    // The limit on file sizes fails writes with EFBIG once its signal is ignored.
    let shell = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    in_a_process(&shell, "the_process_with_a_limit_on_file_sizes", home.path());
}

#[tokio::test]
#[ignore = "started by a test above in a process of its own"]
async fn the_process_with_a_limit_on_file_sizes() {
    let store = SqliteStore::open(dir().join("store"), quiet()).await.unwrap();
    for n in 0..5 {
        store.txn(pair(n)).await.unwrap();
    }
    // Neither the log nor the database can grow, so the store cannot settle either.
    let before = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: Some(48 << 10), maximum: before.maximum };
    setrlimit(Resource::Fsize, limit).unwrap();
    let (pairs, error) = fill(&store, 5).await;
    assert_eq!(pairs, 5);
    // The frame that failed may have been the one that commits.
    assert!(error.outcome_unknown(), "{error:?}");
    assert!(store.status().unsettled);
    let refused = store.txn(Txn::new().put("early", "x")).await.unwrap_err();
    assert!(refused.may_heal(), "{refused:?}");
    assert!(store.get("00000/a").await.is_err(), "what is read now could still be taken back");
    setrlimit(Resource::Fsize, before).unwrap();
    has_pairs(&store, pairs).await;
    assert!(!store.status().unsettled);
    let (more, watch) = (store.txn(Txn::new().put("99999", "x")).await.unwrap(), store.status());
    assert_eq!((more.committed, more.revision), (true, watch.revision));
    store.close().await;
    let store = SqliteStore::open(dir().join("store"), quiet()).await.unwrap();
    assert_eq!(store.range("").await.unwrap().0.len(), 2 * pairs + 1);
    store.close().await;
}

/// Whether this user may mount in a namespace; some systems forbid it, and then the tests with a
/// real full disk and a real read-only disk have nothing to run on.
fn may_mount() -> bool {
    let probe = "mount -t tmpfs -o size=64k none /mnt";
    let args = ["--user", "--map-root-user", "--mount", "sh", "-c", probe];
    let found = Command::new("unshare").args(args).status().is_ok_and(|status| status.success());
    if !found {
        tanist_lab::skip("no mount namespace (unshare --user --mount)");
    }
    found
}

#[test]
fn a_full_disk_is_a_typed_error_and_heals() {
    let home = tempfile::tempdir().unwrap();
    if may_mount() {
        let mount = "mount -t tmpfs -o size=6m none \"$TANIST_DIR\"; exec \"$@\"";
        let shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"];
        in_a_process(&shell, "the_process_on_a_small_disk", home.path());
    }
}

#[tokio::test]
#[ignore = "started by a test above in a process of its own"]
async fn the_process_on_a_small_disk() {
    let store = SqliteStore::open(dir().join("store"), quiet()).await.unwrap();
    let ballast = dir().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let (pairs, error) = fill(&store, 0).await;
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    has_pairs(&store, pairs).await;
    let (same, _) = fill(&store, pairs).await;
    assert_eq!(same, pairs, "a full disk stays full");
    fs::remove_file(&ballast).unwrap();
    let (more, _) = fill(&store, pairs).await;
    assert!(more > pairs);
    has_pairs(&store, more).await;
    store.close().await;
    let copy = SqliteStore::open(dir().join("store"), quiet()).await;
    match copy {
        Ok(store) => has_pairs(&store, more).await,
        // Opening itself may need room.
        Err(error) => assert!(error.may_heal(), "{error:?}"),
    }
}

#[test]
fn a_read_only_disk_is_a_typed_error() {
    let home = tempfile::tempdir().unwrap();
    if may_mount() {
        let mount = "mount -t tmpfs -o size=6m none \"$TANIST_DIR\"; exec \"$@\"";
        let shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"];
        in_a_process(&shell, "the_process_on_a_read_only_disk", home.path());
    }
}

#[tokio::test]
#[ignore = "started by a test above in a process of its own"]
async fn the_process_on_a_read_only_disk() {
    let store = SqliteStore::open(dir().join("store"), quiet()).await.unwrap();
    store.txn(Txn::new().put("00000/a", "x").put("00000/b", "x")).await.unwrap();
    store.close().await;
    let remount = |mode: &str| {
        let args = ["-o", &format!("remount,{mode}"), dir().to_str().unwrap()].map(str::to_owned);
        assert!(Command::new("mount").args(args).status().unwrap().success());
    };
    remount("ro");
    let error = SqliteStore::open(dir().join("store"), quiet()).await.unwrap_err();
    assert!(matches!(error, StoreError::Files { .. }), "{error:?}");
    let error = SqliteStore::open(dir().join("other"), quiet()).await.unwrap_err();
    assert!(matches!(error, StoreError::Files { .. }), "{error:?}");
    remount("rw");
    let store = SqliteStore::open(dir().join("store"), quiet()).await.unwrap();
    has_pairs(&store, 1).await;
    store.close().await;
}
