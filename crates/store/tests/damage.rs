//! A damaged store is refused with an error that says where and what to do, and is left as it is;
//! or the damage was where nothing is stored, and everything is there. Never a panic, never empty.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use tanist_store::{EventBatch, KeyValue, Options, Revision, SqliteStore, Store, StoreError, Txn};

const FILES: [&str; 4] = ["store.db", "store.db-wal", "acknowledged", "last-good.db"];

fn quiet() -> Options {
    Options { copy_every: None, ..Options::default() }
}

/// Everything that a store remembers.
#[derive(Debug, PartialEq)]
struct Content {
    keys: Vec<KeyValue>,
    revision: Revision,
    history: Vec<EventBatch>,
}

async fn content(store: &SqliteStore) -> Content {
    let (keys, revision) = store.range("").await.unwrap();
    let mut watch = store.watch("", store.status().oldest).await.unwrap();
    let mut history = Vec::new();
    while history.last().is_none_or(|batch: &EventBatch| batch.revision < revision) {
        history.push(watch.next().await.unwrap().unwrap());
    }
    Content { keys, revision, history }
}

async fn fill(store: &SqliteStore) {
    let lease = store.grant(std::time::Duration::from_secs(600)).await.unwrap().id;
    for n in 0..40usize {
        let value = vec![n as u8 ^ 0x5a; (n * n * 7) % 6000];
        let txn = Txn::new()
            .put(format!("topology/web/{n:04}"), value)
            .put_with_lease(format!("leader/{}", n % 5), n.to_string(), lease)
            .delete(format!("topology/web/{:04}", n.wrapping_sub(20)));
        store.txn(txn).await.unwrap();
    }
}

/// The files of a store as a crash would leave them: a checkpointed database, then a log.
async fn crashed(home: &Path) -> (PathBuf, Content) {
    let dir = home.join("live");
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    fill(&store).await;
    store.backup(home.join("copy.db")).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(&dir, quiet()).await.unwrap();
    for n in 0..12 {
        store.txn(Txn::new().put(format!("late/{}", n % 4), vec![n; 700])).await.unwrap();
    }
    let content = content(&store).await;
    let image = home.join("image");
    copy_dir(&dir, &image);
    fs::copy(home.join("copy.db"), image.join("last-good.db")).unwrap();
    assert!(fs::metadata(image.join("store.db-wal")).unwrap().len() > 10_000);
    store.close().await;
    (image, content)
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for name in FILES {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// The bytes of the files; SQLite may make an empty log where there was none.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    FILES.map(|name| fs::read(dir.join(name)).unwrap_or_default()).into()
}

/// Opens a copy of the image after `hurt` and judges what comes. Answers whether it was refused.
async fn judge(image: &Path, expected: &Content, what: &str, hurt: impl FnOnce(&Path)) -> bool {
    let dir = image.with_file_name("hurt");
    copy_dir(image, &dir);
    hurt(&dir);
    let before = files(&dir);
    match SqliteStore::open(&dir, quiet()).await {
        Ok(store) => {
            assert_eq!(content(&store).await, *expected, "{what}");
            store.close().await;
            false
        }
        Err(error) => {
            assert!(before == files(&dir), "{what} was refused, but files were changed");
            let text = error.to_string();
            let StoreError::Damaged { detail, copy, .. } = error else {
                panic!("{what}: {error:?}")
            };
            assert!(!detail.is_empty());
            assert_eq!(copy, Some(dir.canonicalize().unwrap().join("last-good.db")), "{what}");
            assert!(text.contains("restore the last good copy"), "{text}");
            true
        }
    }
}

fn change(path: &Path, at: usize, mask: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= mask;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, to: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(to as u64).unwrap();
}

/// Places to hurt: the whole head of the file, then every `step` bytes.
fn places(length: usize, head: usize, step: usize) -> impl Iterator<Item = (usize, u8)> {
    let rest = (head..length).step_by(step).map(|at| (at, 1 << (at % 8)));
    (0..head).map(|at| (at, 0xff)).chain(rest)
}

async fn hurt_everywhere(file: &'static str, head: usize, step: usize) -> (usize, usize) {
    let home = tempfile::tempdir().unwrap();
    let (image, expected) = crashed(home.path()).await;
    let length = fs::metadata(image.join(file)).unwrap().len() as usize;
    let (mut refused, mut all) = (0, 0);
    for (at, mask) in places(length, head, step) {
        let what = format!("{file} with byte {at} changed by {mask:#x}");
        let hurt = |dir: &Path| change(&dir.join(file), at, mask);
        refused += usize::from(judge(&image, &expected, &what, hurt).await);
        all += 1;
    }
    for to in (0..length).step_by(length / 60) {
        let what = format!("{file} cut at {to}");
        let hurt = |dir: &Path| cut(&dir.join(file), to);
        refused += usize::from(judge(&image, &expected, &what, hurt).await);
        all += 1;
    }
    (refused, all)
}

#[tokio::test]
async fn a_damaged_database_is_refused_or_intact() {
    let (refused, all) = hurt_everywhere("store.db", 110, 487).await;
    assert!(all > 300 && refused > all / 3, "{refused} of {all}");
}

#[tokio::test]
async fn a_damaged_log_is_refused_or_intact() {
    let (refused, all) = hurt_everywhere("store.db-wal", 60, 397).await;
    assert!(all > 200 && refused > all / 2, "{refused} of {all}");
}

#[tokio::test]
async fn a_missing_or_empty_file_is_not_a_new_store() {
    let home = tempfile::tempdir().unwrap();
    let (image, expected) = crashed(home.path()).await;
    let remove = |name: &'static str| move |dir: &Path| fs::remove_file(dir.join(name)).unwrap();
    assert!(judge(&image, &expected, "no database", remove("store.db")).await);
    assert!(judge(&image, &expected, "no log", remove("store.db-wal")).await);
    assert!(!judge(&image, &expected, "no witness", remove("acknowledged")).await);
    assert!(judge(&image, &expected, "empty", |dir| cut(&dir.join("store.db"), 0)).await);
    assert!(judge(&image, &expected, "empty log", |dir| cut(&dir.join("store.db-wal"), 0)).await);
    let swap = |dir: &Path| {
        fs::write(dir.join("store.db"), b"these are not the bytes of a database").unwrap();
    };
    assert!(judge(&image, &expected, "another file", swap).await);
}

#[tokio::test]
async fn a_changed_value_is_refused_by_its_key() {
    let home = tempfile::tempdir().unwrap();
    let (image, expected) = crashed(home.path()).await;
    let bytes = fs::read(image.join("store.db")).unwrap();
    // A value of 0x5a ^ 30 that only its row's check sum protects; SQLite does not look at it.
    let at = bytes.windows(200).position(|w| w.iter().all(|b| *b == 0x5a ^ 30)).unwrap();
    let dir = image.with_file_name("hurt");
    let hurt = |dir: &Path| change(&dir.join("store.db"), at + 100, 1);
    assert!(judge(&image, &expected, "a value", hurt).await);
    let error = SqliteStore::open(&dir, quiet()).await.unwrap_err().to_string();
    assert!(error.contains("check sum") || error.contains("fails its sum"), "{error}");
}
