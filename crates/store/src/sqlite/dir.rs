//! The store's directory: its files, the lock that keeps other processes out, and the witness of
//! the last acknowledged revision.
//!
//! A damaged write-ahead log looks to SQLite like one that a crash cut short: it drops the rest
//! without a word. So the last acknowledged revision is also written to a small file of its own,
//! after the commit and without a sync of its own: what it says was durable before. A store that
//! opens at an older revision has lost something and is refused. (After a power cut the witness
//! itself may be older; it can only miss a loss, never invent one.)
//!
//! Invariant: `store.db` appears complete or not at all, and once there it is never made anew.
//!
//! Not here: what is inside the database (`schema`, `rows`).

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, test_kill_process};

use super::fault::{Place, files};
use super::sum::Sum;
use crate::error::StoreError;

const WITNESS_BYTES: usize = 16;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    path: PathBuf,
}

impl Dir {
    /// Makes the directory if it is not there, and closes it to other users.
    pub(super) fn prepare(path: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| files("making the directory", path, error))?;
        let path = path.canonicalize().map_err(|error| files("finding", path, error))?;
        let mode = path.metadata().map_err(|error| files("reading the mode of", &path, error))?;
        if mode.permissions().mode() & 0o777 != 0o700 {
            std::fs::set_permissions(&path, Permissions::from_mode(0o700))
                .map_err(|error| files("setting the mode of", &path, error))?;
        }
        Ok(Self { path })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.file("store.db")
    }

    /// A database in the making.
    pub(super) fn fresh(&self) -> PathBuf {
        self.file("store.db.new")
    }

    /// The write-ahead log.
    pub(super) fn wal(&self) -> PathBuf {
        self.file("store.db-wal")
    }

    /// The last good copy.
    pub(super) fn last_good(&self) -> PathBuf {
        self.file("last-good.db")
    }

    /// The copy that is made before the format changes.
    pub(super) fn before_format(&self, format: u32) -> PathBuf {
        self.file(&format!("before-format-{format}.db"))
    }

    fn witness(&self) -> PathBuf {
        self.file("acknowledged")
    }

    /// What errors name.
    pub(super) fn place(&self) -> Place {
        Place { database: self.database(), copy: self.last_good() }
    }

    /// Whether there was a store here: a missing database is then a loss and not a beginning.
    pub(super) fn was_in_use(&self) -> bool {
        [self.witness(), self.last_good(), self.wal()].iter().any(|path| path.exists())
    }

    /// Makes file names that were created or renamed durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        sync_dir(&self.path)
    }

    /// Moves the database and its log into a directory of their own, to be looked at later.
    pub(super) fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let aside = (1..10_000).map(|n| self.file(&format!("set-aside-{n}")));
        let aside = aside.into_iter().find(|path| !path.exists()).unwrap_or(self.file("set-aside"));
        DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .map_err(|error| files("making the directory", &aside, error))?;
        // The log goes first: without it the database is older than the witness says, and refused.
        for name in ["store.db-wal", "store.db-shm", "store.db-journal", "store.db"] {
            match std::fs::rename(self.file(name), aside.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(files("setting aside", &self.file(name), error));
                }
                _ => {}
            }
        }
        self.sync()?;
        Ok(aside)
    }

    /// Moves the write-ahead log of another database away from one that was just put back.
    pub(super) fn set_log_aside(&self) -> Result<(), StoreError> {
        let to = self.file("foreign.db-wal");
        std::fs::rename(self.wal(), &to)
            .map_err(|error| files("setting aside", &self.wal(), error))?;
        self.sync()
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let dir = File::open(path).map_err(|error| files("opening", path, error))?;
    dir.sync_all().map_err(|error| files("syncing", path, error))
}

/// Makes an empty file that only its owner can read, in place of one that may be there.
pub(super) fn new_private(path: &Path) -> Result<File, StoreError> {
    remove(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|error| files("making", path, error))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(files("removing", path, error)),
        _ => Ok(()),
    }
}

/// Puts a finished file under its name, durably.
pub(super) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    let file = File::open(from).map_err(|error| files("opening", from, error))?;
    file.sync_all().map_err(|error| files("syncing", from, error))?;
    std::fs::rename(from, to).map_err(|error| files("renaming", from, error))?;
    sync_dir(to.parent().unwrap_or(Path::new("/")))
}

/// The lock on a store's directory; the kernel gives it back when the process ends.
#[derive(Debug)]
pub(super) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Dir) -> Result<Self, StoreError> {
        let path = dir.file("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|error| files("opening", &path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::InUse { path: dir.path.clone(), pid: holder(&file) });
            }
            Err(error) => return Err(files("locking", &path, error.into())),
        }
        let lock = Self { file };
        lock.sign().map_err(|error| files("writing", &path, error))?;
        Ok(lock)
    }

    fn sign(&self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Only so that no later error names a process that has let go.
        let _ = self.file.set_len(0);
    }
}

fn holder(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    file.flush().ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    // Between taking and signing, the name of a former holder is still in the file.
    let alive = test_kill_process(Pid::from_raw(i32::try_from(pid).ok()?)?);
    (alive != Err(rustix::io::Errno::SRCH)).then_some(pid)
}

/// The witness of the last acknowledged revision.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
}

impl Witness {
    /// Opens it, and reads the revision that it testifies; `None` when it is new or unreadable.
    pub(super) fn open(dir: &Dir) -> Result<(Self, Option<u64>), StoreError> {
        let path = dir.witness();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(|error| files("opening", &path, error))?;
        let mut bytes = [0; WITNESS_BYTES];
        let revision = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {
                let (words, _) = bytes.as_chunks::<8>();
                let revision = u64::from_le_bytes(words[0]);
                (words[1] == check(revision)).then_some(revision)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(files("reading", &path, error)),
        };
        Ok((Self { file }, revision))
    }

    /// Testifies that `revision` is durable.
    pub(super) fn testify(&self, revision: u64) -> std::io::Result<()> {
        let mut bytes = [0; WITNESS_BYTES];
        bytes[..8].copy_from_slice(&revision.to_le_bytes());
        bytes[8..].copy_from_slice(&check(revision));
        self.file.write_all_at(&bytes, 0)
    }
}

fn check(revision: u64) -> [u8; 8] {
    Sum::new(5).num(revision).finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_lock() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::prepare(home.path()).unwrap();
        let lock = DirLock::take(&dir).unwrap();
        let error = DirLock::take(&dir).unwrap_err();
        assert!(
            matches!(error, StoreError::InUse { pid, .. } if pid == Some(std::process::id())),
            "{error}"
        );
        drop(lock);
        DirLock::take(&dir).unwrap();
    }

    #[test]
    fn the_name_of_a_dead_holder_is_not_given() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::prepare(home.path()).unwrap();
        let lock = DirLock::take(&dir).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(dir.file("lock"), format!("{}\n", child.id())).unwrap();
        let error = DirLock::take(&dir).unwrap_err();
        assert!(matches!(error, StoreError::InUse { pid: None, .. }), "{error}");
        drop(lock);
    }

    #[test]
    fn a_witness_that_is_damaged_says_nothing() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::prepare(home.path()).unwrap();
        let (witness, none) = Witness::open(&dir).unwrap();
        assert_eq!(none, None);
        witness.testify(77).unwrap();
        assert_eq!(Witness::open(&dir).unwrap().1, Some(77));
        for byte in 0..WITNESS_BYTES {
            let mut bytes = std::fs::read(dir.witness()).unwrap();
            bytes[byte] ^= 4;
            std::fs::write(dir.witness(), &bytes).unwrap();
            assert_eq!(Witness::open(&dir).unwrap().1, None);
            witness.testify(77).unwrap();
        }
    }
}
