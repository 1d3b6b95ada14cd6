//! The inner error of the SQLite backend, and how it becomes a `StoreError`.
//!
//! Inside a batch it matters whether one request is refused or the whole batch fails; outside only
//! the store's own errors are seen.
//!
//! Invariant: SQLite's report of a malformed file always becomes `Damaged`, never a plain failure.
//!
//! Not here: a failed COMMIT, whose outcome may be unknown (`writer`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::error::StoreError;

/// Why a piece of work stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// This one request is refused; it changed nothing.
    Refused(StoreError),
    /// A row is not what was written.
    Damaged(String),
    /// SQLite failed.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Where the store's files are, as far as errors name them.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The database.
    pub(super) database: PathBuf,
    /// The last good copy, which may not exist.
    pub(super) copy: PathBuf,
}

impl Place {
    /// The error of a database that is not what was written.
    pub(super) fn damaged(&self, detail: impl Into<String>) -> StoreError {
        let copy = self.copy.exists().then(|| self.copy.clone());
        StoreError::Damaged { path: self.database.clone(), detail: detail.into(), copy }
    }

    /// The store's error for a fault while `doing`.
    pub(super) fn error(&self, doing: &'static str, fault: Fault) -> StoreError {
        let error = match fault {
            Fault::Refused(error) => return error,
            Fault::Damaged(detail) => return self.damaged(detail),
            Fault::Sql(error) => error,
        };
        if is_cut(&error) {
            return self.damaged(format!("{doing} met the end of the file too early: {error}"));
        }
        match code(&error) {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                self.damaged(format!("{doing} met: {error}"))
            }
            Some(ErrorCode::DiskFull) => StoreError::Full { doing, source: Arc::new(error) },
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { doing, source: Arc::new(error) },
            _ => StoreError::Backend { doing, source: Arc::new(error) },
        }
    }

    /// As `error`, for the time before the content was checked: then a table or column that is
    /// missing or of the wrong type is damage too.
    pub(super) fn error_unchecked(&self, doing: &'static str, fault: Fault) -> StoreError {
        match &fault {
            Fault::Sql(error) if !is_outside(error) => {
                self.damaged(format!("{doing} met: {error}"))
            }
            _ => self.error(doing, fault),
        }
    }
}

/// SQLite's primary code, if it is SQLite that failed.
pub(super) fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Whether a page that must exist lies beyond the end of the file.
fn is_cut(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    extended == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
}

/// Whether the fault lies outside the file: the disk, the memory, another process.
fn is_outside(error: &rusqlite::Error) -> bool {
    matches!(
        code(error),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport
        )
    )
}

/// The error of a file operation.
pub(super) fn files(doing: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Files { doing, path: path.to_owned(), source: Arc::new(source) }
}
