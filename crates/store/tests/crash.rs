//! A process that is killed loses nothing that it acknowledged and leaves nothing half done.
//!
//! The test binary starts itself again as the child, which reports each acknowledged transaction
//! on its standard error; it is killed with SIGKILL at random moments. `TANIST_SEED` repeats a run.

// A test may stop at what it did not expect, and children talk over their output.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_store::{Options, Revision, SqliteStore, Store, StoreError, Txn};

const TASKS: usize = 4;
const ROUNDS: usize = 60;

fn seed() -> u64 {
    let seed = std::env::var("TANIST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("TANIST_SEED={seed}");
    seed
}

/// Starts this test binary again in a role.
fn start(role: &str, dir: &Path) -> (Child, BufReader<ChildStderr>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child_process", "--ignored", "--nocapture"]);
    command.env("TANIST_ROLE", role).env("TANIST_DIR", dir);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    (child, lines)
}

/// Lets the child run until it has reported `lines` lines and some time more, kills it, and answers
/// all that it reported.
fn run_and_kill(role: &str, dir: &Path, lines: usize, more: Duration) -> Vec<String> {
    let (mut child, mut reader) = start(role, dir);
    let mut reported = Vec::new();
    let mut line = String::new();
    while reported.len() < lines {
        line.clear();
        let bytes = reader.read_line(&mut line).unwrap();
        assert!(bytes > 0, "the child ended by itself after {reported:?}");
        assert!(!line.contains("panicked"), "{line}");
        reported.push(line.trim().to_owned());
    }
    // waits: the kill has to come at a moment that nobody announces.
    std::thread::sleep(more);
    child.kill().unwrap();
    child.wait().unwrap();
    // A last line that was cut off was not an acknowledgement yet.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut reader, &mut rest).unwrap();
    reported
        .extend(rest.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')).map(str::to_owned));
    reported
}

fn report(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the tests below; they start it"]
async fn the_child_process() {
    let dir = std::path::PathBuf::from(std::env::var("TANIST_DIR").unwrap());
    match std::env::var("TANIST_ROLE").unwrap().as_str() {
        "commit" => commit_forever(&dir, None).await,
        "copy" => commit_forever(&dir, Some(dir.with_extension("copy"))).await,
        "open" => open_forever(&dir).await,
        role => panic!("{role}"),
    }
}

async fn commit_forever(dir: &Path, copy: Option<std::path::PathBuf>) {
    let copy_every = copy.is_some().then_some(Duration::from_millis(1));
    let options = Options { copy_every, retain_revisions: 200, ..Options::default() };
    let store = SqliteStore::open(dir, options).await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut n = count(&store, task).await;
                loop {
                    n += 1;
                    let at = commit(&store, task, n).await;
                    report(&format!("{task} {n} {at}"));
                }
            })
        })
        .collect();
    while let Some(to) = &copy {
        let at = store.backup(to).await.unwrap();
        report(&format!("copied 0 {at}"));
    }
    match tasks.into_iter().next() {
        Some(task) => task.await.unwrap(),
        None => unreachable!("there are tasks"),
    }
}

async fn commit(store: &SqliteStore, task: usize, n: u64) -> Revision {
    let key = format!("t/{task}/a");
    let seen = store.get(&key).await.unwrap().0.map_or(Revision::ABSENT, |kv| kv.mod_revision);
    let value = format!("{n}:{}", "x".repeat((n as usize * 37) % 9000));
    let txn = Txn::new()
        .when_unchanged(&*key, seen)
        .put(&*key, value.clone())
        .put(format!("t/{task}/b"), value)
        .put(format!("t/{task}/log/{n:08}"), n.to_string());
    let outcome = store.txn(txn).await.unwrap();
    assert!(outcome.committed);
    outcome.revision
}

fn number(value: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(value);
    text.split(':').next().unwrap().parse().unwrap()
}

async fn count(store: &SqliteStore, task: usize) -> u64 {
    let found = store.get(&format!("t/{task}/a")).await.unwrap().0;
    found.map_or(0, |kv| number(&kv.value))
}

/// Checks that the store has all of `acknowledged` and nothing half; answers the counts.
async fn whole(store: &SqliteStore, acknowledged: &BTreeMap<(usize, u64), u64>) -> Vec<u64> {
    let mut counts = Vec::new();
    for task in 0..TASKS {
        let (keys, _) = store.range(&format!("t/{task}/")).await.unwrap();
        let values: BTreeMap<_, _> = keys.iter().map(|kv| (kv.key.as_str(), kv)).collect();
        let n = values.get(&*format!("t/{task}/a")).map_or(0, |kv| number(&kv.value));
        assert_eq!(
            values.get(&*format!("t/{task}/a")).map(|kv| (&kv.value, kv.mod_revision)),
            values.get(&*format!("t/{task}/b")).map(|kv| (&kv.value, kv.mod_revision)),
        );
        assert_eq!(values.len() as u64, if n == 0 { 0 } else { n + 2 });
        for i in 1..=n {
            let kv = values[&*format!("t/{task}/log/{i:08}")];
            assert_eq!(kv.value, i.to_string().as_bytes());
            if let Some(at) = acknowledged.get(&(task, i)) {
                assert_eq!(kv.mod_revision.0, *at, "task {task}, {i}");
            }
        }
        let last = acknowledged.keys().filter(|(t, _)| *t == task).map(|(_, n)| *n).max();
        assert!(n >= last.unwrap_or(0), "task {task} has {n} of {last:?} acknowledged");
        counts.push(n);
    }
    counts
}

fn parse(lines: &[String]) -> Vec<(usize, u64, u64)> {
    let numbers = |line: &String| {
        let mut words = line.split(' ');
        let task = words.next()?.parse().ok()?;
        Some((task, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    lines.iter().filter_map(numbers).collect()
}

fn quiet() -> Options {
    Options { copy_every: None, retain_revisions: 200, ..Options::default() }
}

#[tokio::test]
async fn every_acknowledged_transaction_survives_a_kill() {
    let mut random = StdRng::seed_from_u64(seed());
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS as u64 {
        let lines = random.random_range(1..60);
        let more = Duration::from_micros(random.random_range(0..3000));
        for (task, n, at) in parse(&run_and_kill("commit", &dir, lines, more)) {
            assert!(acknowledged.insert((task, n), at).is_none(), "{task} {n} came twice");
        }
        let store = SqliteStore::open(&dir, quiet()).await.unwrap();
        let counts = whole(&store, &acknowledged).await;
        let revision = store.status().revision.0;
        assert_eq!(revision, 1 + counts.iter().sum::<u64>() + round, "round {round}");
        let next = store.txn(Txn::new().put("own", "x")).await.unwrap().revision.0;
        assert_eq!(next, revision + 1);
        store.close().await;
    }
    assert!(acknowledged.len() > ROUNDS, "{} were acknowledged", acknowledged.len());
}

#[tokio::test]
async fn a_kill_while_a_copy_is_made_leaves_a_whole_copy_or_the_one_before() {
    let mut random = StdRng::seed_from_u64(seed());
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let mut acknowledged = BTreeMap::new();
    let mut checked = 0;
    for round in 0..15 {
        let lines = random.random_range(1..40);
        let more = Duration::from_micros(random.random_range(0..20_000));
        let reported = run_and_kill("copy", &dir, lines, more);
        acknowledged.extend(parse(&reported).into_iter().map(|(task, n, at)| ((task, n), at)));
        let store = SqliteStore::open(&dir, quiet()).await.unwrap();
        whole(&store, &acknowledged).await;
        store.close().await;
        for copy in [dir.with_extension("copy"), dir.join("last-good.db")] {
            if copy.exists() {
                let place = home.path().join(format!("restored-{round}-{checked}"));
                SqliteStore::restore(&place, &copy).await.unwrap();
                let store = SqliteStore::open(&place, quiet()).await.unwrap();
                whole(&store, &BTreeMap::new()).await;
                store.close().await;
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked} copies were looked at");
}

#[tokio::test]
async fn another_process_that_has_the_store_open_is_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    let (mut child, mut lines) = start("commit", &dir);
    lines.read_line(&mut String::new()).unwrap();
    let error = SqliteStore::open(&dir, quiet()).await.unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    let StoreError::InUse { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, Some(child.id()));
    SqliteStore::open(&dir, quiet()).await.unwrap().close().await;
}

async fn open_forever(dir: &Path) {
    for n in 0.. {
        let options = Options { copy_every: Some(Duration::ZERO), ..Options::default() };
        report(&format!("opening {n} 0"));
        let store = SqliteStore::open(dir.join(n.to_string()), options).await.unwrap();
        let at = store.txn(Txn::new().put("made", n.to_string())).await.unwrap().revision;
        report(&format!("0 {n} {at}"));
        store.close().await;
    }
}

#[tokio::test]
async fn a_kill_while_a_store_is_made_opened_or_closed_leaves_one_that_opens() {
    let mut random = StdRng::seed_from_u64(seed());
    let home = tempfile::tempdir().unwrap();
    for round in 0..25 {
        let dir = home.path().join(round.to_string());
        let lines = random.random_range(1..8);
        let more = Duration::from_micros(random.random_range(0..15_000));
        let made: Vec<_> = parse(&run_and_kill("open", &dir, lines, more))
            .into_iter()
            .map(|(_, n, _)| n)
            .collect();
        for n in 0..=made.len() as u64 {
            let store = SqliteStore::open(dir.join(n.to_string()), quiet()).await.unwrap();
            let found = store.get("made").await.unwrap().0.map(|kv| number(&kv.value));
            assert!(found == Some(n) || (found.is_none() && !made.contains(&n)), "{n}: {found:?}");
            store.close().await;
        }
    }
}
