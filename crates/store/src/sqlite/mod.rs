//! The embedded backend: SQLite, for one server.
//!
//! SQLite, because it is the most thoroughly tested way to keep a file whole, and because a person
//! can look into it. A writer thread owns all changes, a reader thread answers from snapshots, a
//! keeper thread checkpoints and makes copies; callers wait on channels and never block.
//!
//! Files in the directory (mode 0700, files 0600): `store.db` with its `-wal` and `-shm`, `lock`,
//! `acknowledged` (the witness of the last acknowledged revision), `last-good.db` (the automatic
//! copy), and `set-aside-N/` after a restore.
//!
//! Invariant: while a handle exists, this process alone writes the directory.
//!
//! Not here: the meaning of the semantics (`crate::store`).

mod check;
mod copies;
mod dir;
mod fault;
mod follow;
mod keeper;
mod lease;
mod open;
mod reader;
mod rows;
mod schema;
mod sum;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use self::dir::Dir;
use self::fault::{Place, files};
use self::follow::Follow;
use self::keeper::{Chore, CopyReport, Keeper};
use self::lease::Leases;
use self::open::Opened;
use self::reader::{Keys, Read};
use self::rows::State;
use self::writer::{Crew, Done, Work, Write, Writer};
use crate::error::StoreError;
use crate::model::{
    KeyValue, Lease, LeaseId, Revision, Txn, TxnOutcome, check_key, check_prefix, whole_seconds,
};
use crate::store::Store;
use crate::watch::Watch;

/// Requests that wait for a thread; the next caller waits outside.
const QUEUE: usize = 256;
/// Chores that wait for the keeper.
const CHORES: usize = 16;

/// How the embedded store is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many revisions of history are kept for watches.
    pub retain_revisions: u64,
    /// How many bytes of history are kept; the oldest go first.
    pub retain_bytes: u64,
    /// The largest size of the database in bytes; beyond it writes fail with `Full`.
    pub max_bytes: u64,
    /// How often the last good copy is renewed (also once after opening); `None`: never.
    pub copy_every: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retain_revisions: 10_000,
            retain_bytes: 64 << 20,
            max_bytes: 2 << 30,
            copy_every: Some(Duration::from_secs(3600)),
        }
    }
}

/// A copy was found in the place of the database, and taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The revision in the copy.
    pub copied: Revision,
    /// The last revision known to have been acknowledged before; what lies between is lost.
    pub last: Revision,
    /// The revision from which the store goes on. Epochs inside values are the caller's to raise.
    pub now: Revision,
}

/// What an operator wants to know of a store.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its directory.
    pub path: PathBuf,
    /// Its installation id: 32 hexadecimal digits, made with the store.
    pub installation: String,
    /// Its revision.
    pub revision: Revision,
    /// The oldest revision from which a watch can start.
    pub oldest: Revision,
    /// How many keys it has.
    pub keys: u64,
    /// How many leases it has.
    pub leases: u64,
    /// Where the last good copy is.
    pub last_good: PathBuf,
    /// The revision in it, once this process has made one.
    pub last_good_revision: Option<Revision>,
    /// Why the last attempt at an automatic copy failed, if it did.
    pub copy_trouble: Option<String>,
    /// Whether opening took over a restored copy.
    pub restored: Option<Restored>,
    /// Whether the outcome of a transaction is unknown; reads and writes are refused until the
    /// disk works again.
    pub unsettled: bool,
}

/// A handle to an open store. The store is closed by `close`, or soon after its last handle is
/// dropped.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    writer: mpsc::Sender<Write>,
    reader: mpsc::Sender<Read>,
    keeper: SyncSender<Chore>,
    head: watch::Receiver<State>,
    leases: Arc<Leases>,
    unsettled: Arc<AtomicBool>,
    report: Arc<Mutex<CopyReport>>,
    dir: Dir,
    installation: String,
    restored: Option<Restored>,
    gone: watch::Receiver<()>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.dir.path()).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in the directory `path`, or makes one. Must be called within a tokio
    /// runtime with time enabled, which then ends the leases. (A test that pauses tokio's time has
    /// to know that tokio moves it on whenever a task waits for the store's threads.)
    ///
    /// # Errors
    /// `InUse`, `Damaged`, `Newer`, `Files`, or that SQLite failed.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let (ready, opened) = oneshot::channel();
        let runtime = Handle::current();
        spawn("store-writer", &path.clone(), move || {
            // Deadlines count the runtime's time, also from this thread.
            let _runtime = runtime.enter();
            match start(&path, &options, &runtime) {
                Ok((store, writer, requests)) => {
                    // A caller that gave up drops the only handle, which ends the writer.
                    let _ = ready.send(Ok(store));
                    writer.run(requests);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        opened.await.map_err(|_| StoreError::Closed)?
    }

    /// Closes the store: what was asked before is done, then the files are released. Handles and
    /// watches that remain answer `Closed`.
    pub async fn close(&self) {
        let (close, _) = Write::new(Work::Close);
        // It fails if the store was closed before; whoever did that may still be at it.
        let _ = self.inner.writer.send(close).await;
        let mut gone = self.inner.gone.clone();
        while gone.changed().await.is_ok() {}
    }

    /// Makes a consistent, checked copy of the store as the file `to`, while it works.
    ///
    /// # Errors
    /// `BadCopy` when `to` is one of the store's own files, `Files`, `Damaged`, or that SQLite
    /// failed. An older file under that name is then left as it was.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<Revision, StoreError> {
        let to = self.copy_target(to.as_ref())?;
        let (reply, answer) = oneshot::channel();
        self.inner.keeper.try_send(Chore::Copy { to, reply }).map_err(|error| match error {
            TrySendError::Full(_) => {
                StoreError::TooMany { what: "waiting copies", limit: CHORES as u64 }
            }
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn copy_target(&self, to: &Path) -> Result<PathBuf, StoreError> {
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = parent.canonicalize().map_err(|error| files("finding", parent, error))?;
        let bad = |wrong: &str| StoreError::BadCopy { path: to.to_owned(), wrong: wrong.into() };
        let name = to.file_name().ok_or_else(|| bad("it is not a file name"))?;
        if parent == self.inner.dir.path() {
            return Err(bad("it lies in the store's own directory"));
        }
        Ok(parent.join(name))
    }

    /// Puts a copy back as the store in `path`, which must not be open. The former files are set
    /// aside in a directory whose path is answered. When the store is opened next, its revision
    /// moves on far beyond every one that was given out, and `Status::restored` says so.
    ///
    /// # Errors
    /// `InUse`, `BadCopy` (the copy was checked before anything was changed), `Newer` or `Files`.
    pub async fn restore(
        path: impl AsRef<Path>,
        copy: impl AsRef<Path>,
    ) -> Result<PathBuf, StoreError> {
        let (path, copy) = (path.as_ref().to_owned(), copy.as_ref().to_owned());
        let (reply, answer) = oneshot::channel();
        spawn("store-restore", &path.clone(), move || {
            let _ = reply.send(copies::restore(&path, &copy));
        })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// What there is to know of the store.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = *self.inner.head.borrow();
        let report = self.inner.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status {
            path: self.inner.dir.path().to_owned(),
            installation: self.inner.installation.clone(),
            revision: Revision(state.revision),
            oldest: Revision(state.oldest),
            keys: state.keys,
            leases: state.leases,
            last_good: self.inner.dir.last_good(),
            last_good_revision: report.revision,
            copy_trouble: report.trouble,
            restored: self.inner.restored,
            unsettled: self.inner.unsettled.load(Ordering::Acquire),
        }
    }

    async fn write(&self, doing: &'static str, work: Work) -> Result<Done, StoreError> {
        let (write, answer) = Write::new(work);
        self.inner.writer.send(write).await.map_err(|_| StoreError::Closed)?;
        // The writer answers everything that it takes; if it died over it, nobody knows.
        answer.await.map_err(|_| StoreError::Unknown { doing, source: None })?
    }

    async fn read(
        &self,
        question: Read,
        answer: oneshot::Receiver<Result<Keys, StoreError>>,
    ) -> Result<Keys, StoreError> {
        if self.inner.unsettled.load(Ordering::Acquire) {
            self.write("settling", Work::Settle).await?;
        }
        self.inner.reader.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for SqliteStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        check_key(key)?;
        let (reply, answer) = oneshot::channel();
        let question = Read::Get { key: key.to_owned(), reply };
        let (mut found, revision) = self.read(question, answer).await?;
        Ok((found.pop(), revision))
    }

    async fn range(&self, prefix: &str) -> Result<Keys, StoreError> {
        self.range_from(prefix, prefix).await
    }

    async fn range_from(&self, prefix: &str, start: &str) -> Result<Keys, StoreError> {
        check_prefix(prefix)?;
        check_prefix(start)?;
        let (reply, answer) = oneshot::channel();
        let (prefix, start) = (prefix.to_owned(), start.max(prefix).to_owned());
        self.read(Read::Range { prefix, start, reply }, answer).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        Ok(self.write("a transaction", Work::Txn(txn)).await?.outcome)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        check_prefix(prefix)?;
        let (reader, head) = (self.inner.reader.clone(), self.inner.head.clone());
        Follow::new(reader, head, prefix.to_owned(), from.0.max(1)).start().await
    }

    async fn compact(&self, up_to: Revision) -> Result<(), StoreError> {
        self.write("a compaction", Work::Compact(up_to)).await.map(drop)
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = whole_seconds(ttl)?;
        let doing = "granting a lease";
        let done = self.write(doing, Work::Grant(ttl.as_secs())).await?;
        let id = done.lease.ok_or(StoreError::Unknown { doing, source: None })?;
        Ok(Lease { id, ttl })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Duration, StoreError> {
        if self.inner.writer.is_closed() {
            return Err(StoreError::Closed);
        }
        self.inner.leases.keep_alive(id)
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.write("revoking a lease", Work::Revoke(id)).await.map(drop)
    }
}

fn spawn(
    name: &str,
    path: &Path,
    work: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, StoreError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(|error| files("starting a thread for", path, error))
}

/// Opens the files and starts everything but the writer, on whose thread this runs.
fn start(
    path: &Path,
    options: &Options,
    runtime: &Handle,
) -> Result<(SqliteStore, Writer, mpsc::Receiver<Write>), StoreError> {
    let Opened { lock, dir, conn, state, witness, leases: granted, installation, restored } =
        open::open(path, options)?;
    let place = dir.place();
    let (writer, requests) = mpsc::channel(QUEUE);
    let (head, newest) = watch::channel(state);
    let (gone, released) = watch::channel(());
    let leases = Arc::new(Leases::default());
    for (id, ttl) in granted {
        leases.start(id, Duration::from_secs(ttl));
    }
    let unsettled = Arc::new(AtomicBool::new(false));
    let report = Arc::new(Mutex::new(CopyReport::default()));
    let (reader, reading) = start_reader(&place)?;
    let (keeper, keeping) = start_keeper(&dir, options, &report)?;
    let (deadlines, closed) = oneshot::channel();
    runtime.spawn(lease::watch_deadlines(Arc::clone(&leases), writer.downgrade(), closed));
    let inner = Inner {
        writer,
        reader: reader.clone(),
        keeper: keeper.clone(),
        head: newest,
        leases: Arc::clone(&leases),
        unsettled: Arc::clone(&unsettled),
        report,
        dir,
        installation,
        restored,
        gone: released,
    };
    let writer = Writer {
        conn,
        state,
        witness,
        place,
        head,
        leases,
        unsettled,
        retain_revisions: options.retain_revisions.max(1),
        retain_bytes: options.retain_bytes,
        pages: 0,
        crew: Crew { reader, keeper, threads: vec![reading, keeping], deadlines },
        lock,
        gone,
    };
    Ok((SqliteStore { inner: Arc::new(inner) }, writer, requests))
}

type Thread = std::thread::JoinHandle<()>;

fn start_reader(place: &Place) -> Result<(mpsc::Sender<Read>, Thread), StoreError> {
    let (reader, questions) = mpsc::channel(QUEUE);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(place, flags)?;
    let path = place.database.clone();
    let place = place.clone();
    let work = move || reader::run(&conn, &place, questions);
    Ok((reader, spawn("store-reader", &path, work)?))
}

fn start_keeper(
    dir: &Dir,
    options: &Options,
    report: &Arc<Mutex<CopyReport>>,
) -> Result<(SyncSender<Chore>, Thread), StoreError> {
    let (keeper, chores) = sync_channel(CHORES);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let place = dir.place();
    let conn = connect(&place, flags)?;
    let worker = Keeper {
        conn,
        dir: dir.clone(),
        place,
        copy_every: options.copy_every,
        report: Arc::clone(report),
    };
    Ok((keeper, spawn("store-keeper", dir.path(), move || worker.run(&chores))?))
}

fn connect(place: &Place, flags: OpenFlags) -> Result<Connection, StoreError> {
    let make = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags(&place.database, flags)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(conn)
    };
    make().map_err(|error| place.error("opening the database", error.into()))
}
