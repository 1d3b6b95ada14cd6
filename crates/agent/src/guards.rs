//! The guards of a host's shards, on disk.
//!
//! Every failover waits for this write, so it is an overwrite in place: no new block, no rename, one
//! `fdatasync`. The record is shorter than a disk's smallest sector and lies in one, so a power cut
//! leaves the old one or the new one; a checksum tells when a disk did something else.
//!
//! Invariant: an order is admitted only when its revision is on the disk, and a record that is not
//! understood is never replaced: all orders of that shard are refused until a person has looked.
//!
//! Not here: what follows from an order's revision (`tanist_core::guard`).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tanist_core::guard::{Guard, Verdict};
use tanist_core::model::{Epoch, Rev, ShardKey};
use tokio::sync::Mutex;

use crate::layout::Layout;

/// Bytes of a record: `tanist guard 1 REV EPOCH CHECKSUM\n`, every field of fixed width.
const LENGTH: usize = 15 + 21 + 21 + 17;
const MAGIC: &str = "tanist guard 1 ";

/// Why an order may not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// What is on the disk is not a guard's record.
    #[error(
        "{path} is damaged, so that it is unknown what this host has promised; every order for the \
         shard is refused. Move the node to another host, or delete the file if no other node of \
         the shard can be asked for its revision"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot write the promise {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Every guard of a host.
#[derive(Debug)]
pub(crate) struct Guards {
    layout: Layout,
    open: BTreeMap<ShardKey, SharedGuard>,
}

/// One shard's guard, shared by the shard's nodes on the host.
pub(crate) type SharedGuard = Arc<Mutex<Kept>>;

impl Guards {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, open: BTreeMap::new() }
    }

    /// The shard's guard; read from the disk when it is asked for the first time.
    pub(crate) fn of(&mut self, key: &ShardKey) -> SharedGuard {
        if let Some(kept) = self.open.get(key) {
            return Arc::clone(kept);
        }
        let kept = Arc::new(Mutex::new(Kept::read(self.layout.guard(key))));
        self.open.insert(key.clone(), Arc::clone(&kept));
        kept
    }
}

/// A guard and its file.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Good { guard: Guard, file: Option<Arc<File>> },
    Damaged,
    Unread(Arc<io::Error>),
}

impl Kept {
    fn read(path: PathBuf) -> Self {
        let state = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => read_record(&file).map_or_else(
                |err| State::Unread(Arc::new(err)),
                |guard| match guard {
                    Some(guard) => State::Good { guard, file: Some(Arc::new(file)) },
                    None => State::Damaged,
                },
            ),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                State::Good { guard: Guard::default(), file: None }
            }
            Err(err) => State::Unread(Arc::new(err)),
        };
        Self { path, state }
    }

    /// What the host has promised.
    pub(crate) fn guard(&self) -> Guard {
        match &self.state {
            State::Good { guard, .. } => *guard,
            State::Damaged | State::Unread(_) => Guard::default(),
        }
    }

    /// What the host has promised, if that can be read.
    pub(crate) fn known(&self) -> Option<Guard> {
        match &self.state {
            State::Good { guard, .. } => Some(*guard),
            State::Damaged | State::Unread(_) => None,
        }
    }

    /// Whether an order may be carried out, after its revision was written if it is new.
    ///
    /// # Errors
    /// [`GuardError`]: then nothing may be done or answered.
    pub(crate) async fn admit(&mut self, rev: Rev, epoch: Epoch) -> Result<bool, GuardError> {
        if let State::Unread(_) = self.state {
            // The cause may have been passing, unlike damage.
            *self = Self::read(self.path.clone());
        }
        let (guard, file) = match &self.state {
            State::Good { guard, file } => (*guard, file.clone()),
            State::Damaged => return Err(GuardError::Damaged { path: self.path.clone() }),
            State::Unread(err) => {
                let source = io::Error::new(err.kind(), err.to_string());
                return Err(GuardError::File { path: self.path.clone(), source });
            }
        };
        match guard.judge(rev, epoch) {
            Verdict::Admit => Ok(true),
            Verdict::Refuse { .. } => Ok(false),
            Verdict::Persist(next) => {
                let path = self.path.clone();
                let write = move || persist(&path, file, next);
                let written = tokio::task::spawn_blocking(write).await;
                let file = written
                    .map_err(io::Error::other)
                    .and_then(|written| written)
                    .map_err(|source| GuardError::File { path: self.path.clone(), source })?;
                self.state = State::Good { guard: next, file: Some(file) };
                Ok(true)
            }
        }
    }
}

fn persist(path: &Path, file: Option<Arc<File>>, guard: Guard) -> io::Result<Arc<File>> {
    let record = record(guard);
    if let Some(file) = file {
        file.write_all_at(record.as_bytes(), 0)?;
        file.sync_data()?;
        return Ok(file);
    }
    // The first promise: complete or absent.
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(record.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(Arc::new(file))
}

fn record(guard: Guard) -> String {
    let fields = format!("{MAGIC}{:020} {:020} ", guard.rev.0, guard.epoch.0);
    let sum = checksum(fields.as_bytes());
    format!("{fields}{sum:016x}\n")
}

fn read_record(file: &File) -> io::Result<Option<Guard>> {
    // One byte more than a record, so that a longer file is noticed.
    let mut bytes = [0; LENGTH + 1];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(bytes.get_mut(length..).unwrap_or_default(), length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(bytes.get(..length).and_then(parse))
}

fn parse(bytes: &[u8]) -> Option<Guard> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut fields = text.strip_prefix(MAGIC)?.split_ascii_whitespace();
    let rev = Rev(fields.next()?.parse().ok()?);
    let epoch = Epoch(fields.next()?.parse().ok()?);
    let guard = Guard { rev, epoch };
    // Written again rather than taken apart: every byte counts.
    (record(guard).as_bytes() == bytes).then_some(guard)
}

/// FNV-1a with 64 bits: enough against a disk's fault, and nobody is kept out by it.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ShardKey {
        ShardKey { group: "web".into(), shard: "0001".into() }
    }

    fn guards(dir: &Path) -> Guards {
        Guards::new(Layout::prepare(dir).unwrap())
    }

    #[tokio::test]
    async fn a_promise_survives_and_older_revisions_stay_refused() {
        let dir = tempfile::tempdir().unwrap();
        let kept = guards(dir.path()).of(&key());
        assert!(kept.lock().await.admit(Rev(7), Epoch(2)).await.unwrap());
        assert!(kept.lock().await.admit(Rev(9), Epoch(3)).await.unwrap());
        let again = guards(dir.path()).of(&key());
        assert_eq!(again.lock().await.guard(), Guard { rev: Rev(9), epoch: Epoch(3) });
        assert!(!again.lock().await.admit(Rev(8), Epoch(2)).await.unwrap());
        assert!(again.lock().await.admit(Rev(9), Epoch(3)).await.unwrap());
    }

    #[tokio::test]
    async fn every_changed_byte_is_noticed_and_nothing_is_reset() {
        let dir = tempfile::tempdir().unwrap();
        let kept = guards(dir.path()).of(&key());
        kept.lock().await.admit(Rev(7), Epoch(2)).await.unwrap();
        let path = dir.path().join("guards/web.0001");
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len(), LENGTH);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            std::fs::write(&path, &bad).unwrap();
            let damaged = guards(dir.path()).of(&key());
            let refused = damaged.lock().await.admit(Rev(100), Epoch(9)).await;
            assert!(matches!(refused, Err(GuardError::Damaged { .. })), "byte {at}");
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        for bad in [&good[..LENGTH - 1], b"", &[good.as_slice(), b"x"].concat()] {
            std::fs::write(&path, bad).unwrap();
            let damaged = guards(dir.path()).of(&key());
            assert!(damaged.lock().await.admit(Rev(100), Epoch(9)).await.is_err());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_promised() {
        let dir = tempfile::tempdir().unwrap();
        let mut guards = guards(dir.path());
        std::fs::remove_dir(dir.path().join("guards")).unwrap();
        std::fs::write(dir.path().join("guards"), b"").unwrap();
        let kept = guards.of(&key());
        assert!(kept.lock().await.admit(Rev(1), Epoch(1)).await.is_err());
        assert_eq!(kept.lock().await.guard(), Guard::default());
    }
}
