//! The series on the disk: one file, written now and then and at an orderly end, read at the start.
//!
//! What a crash loses are the minutes since the last snapshot; that is what measurements are worth. The
//! file is compressed with gzip, whose checksum tells a damaged file from a good one, and replaces the
//! one before only when it is whole. Series are copied a few at a time, so that nobody who records waits
//! for the disk or for all of them.
//!
//! Invariant: whatever the file holds, reading it neither panics nor takes more memory than the limits
//! allow; a file that cannot be read is set aside, never overwritten.
//!
//! Not here: when it is written.

mod bytes;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::series::{Limits, Series};
use bytes::{Reader, write_data};

/// What a file begins with; the last part is the version.
const MAGIC: &[u8; 16] = b"tanist-series 1\n";
/// Series that are copied at a time: some milliseconds at most.
const BATCH: usize = 16;
/// What follows: a series, or nothing more.
const MORE: u8 = 1;
const END: u8 = 0;

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
#[error("writing the series to {}", path.display())]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    #[source]
    pub source: io::Error,
}

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// No file.
    Nothing,
    /// So many series.
    Read(usize),
    /// A file that cannot be read: the series begin empty.
    SetAside {
        /// Where it is now; `None` if it could not be moved.
        to: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
}

impl Series {
    /// Reads a snapshot at `now` (milliseconds since 1970). It always gives series; what was found is
    /// told beside.
    #[must_use]
    pub fn load(path: &Path, limits: Limits, now: i64) -> (Self, Loaded) {
        let wrong = match File::open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return (Self::new(limits), Loaded::Nothing);
            }
            Err(err) => err,
            Ok(file) => match Self::read(file, limits, now) {
                Ok(series) => {
                    let read = series.usage().series;
                    return (series, Loaded::Read(read));
                }
                Err(err) => err,
            },
        };
        let aside = beside(path, ".damaged");
        let to = std::fs::rename(path, &aside).is_ok().then_some(aside);
        (Self::new(limits), Loaded::SetAside { to, reason: wrong.to_string() })
    }

    fn read(file: File, limits: Limits, now: i64) -> io::Result<Self> {
        let mut reader = Reader::new(BufReader::new(GzDecoder::new(BufReader::new(file))));
        if reader.array::<16>()? != *MAGIC {
            return Err(bytes::damaged("it is no snapshot of this version"));
        }
        let series = Self::new(limits);
        let mut state = series.state();
        while reader.byte()? == MORE {
            let mut data = reader.data()?;
            data.settle(now);
            if data.names.iter().any(|name| state.knows(name)) {
                return Err(bytes::damaged("two series have one name"));
            }
            let owner = data.owner();
            if state.has_room(owner, &limits) {
                state.insert(data);
                state.fit(owner, &limits);
            }
        }
        // To the end, where the checksum is.
        let left = reader.into_inner().read(&mut [0])?;
        if left != 0 {
            return Err(bytes::damaged("there is more than it says"));
        }
        drop(state);
        Ok(series)
    }

    /// Writes a snapshot. It takes a while: not to be called where others wait.
    ///
    /// # Errors
    /// [`SnapshotError`]; the snapshot before is still there then.
    pub fn save(&self, path: &Path) -> Result<(), SnapshotError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(path).map_err(|source| SnapshotError { path: path.to_owned(), source })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let draft = beside(path, ".new");
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let mut out = GzEncoder::new(BufWriter::new(file), Compression::fast());
        out.write_all(MAGIC)?;
        let mut after = Bound::Unbounded;
        let mut batch = Vec::new();
        loop {
            batch.clear();
            {
                let state = self.state();
                for (id, data) in state.data.range((after, Bound::Unbounded)).take(BATCH) {
                    batch.push(MORE);
                    write_data(&mut batch, data);
                    after = Bound::Excluded(*id);
                }
            }
            if batch.is_empty() {
                break;
            }
            out.write_all(&batch)?;
        }
        out.write_all(&[END])?;
        let file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            Some(_) | None => Ok(()),
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
