//! Copies of the database: making one while the store works, and putting one back.
//!
//! A copy is made with SQLite's backup interface in one step, under one read snapshot, so that
//! commits go on meanwhile. It is checked as thoroughly as an opened store before it gets its name:
//! a copy that replaces a good one must itself be good.
//!
//! Invariant: a file under a copy's name is complete, checked, durable and marked as a copy.
//!
//! Not here: when copies are made (`keeper`), and what happens when one is opened (`open`).

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::check;
use super::dir::{self, Dir, DirLock};
use super::fault::{Fault, Place, files};
use super::schema::{COPY_ID, STEPS, Step};
use crate::error::StoreError;
use crate::model::Revision;

/// How often a copy that finds the database busy is tried again, 50 ms apart.
const TRIES: u32 = 100;

/// Copies the database of `from` to the file `to`, replacing what is there.
pub(super) fn copy(
    from: &Connection,
    to: &Path,
    source: &Place,
    steps: &[Step],
) -> Result<Revision, StoreError> {
    let fresh = beside(to, ".new");
    clear(&fresh)?;
    dir::new_private(&fresh)?;
    let place = Place { database: fresh.clone(), copy: source.copy.clone() };
    let doing = "copying the database";
    let conn = fill(from, &fresh).map_err(|fault| source.error(doing, fault))?;
    let state = check::verify(&conn, &place, steps)?.state;
    if let Err((_, error)) = conn.close() {
        return Err(source.error(doing, error.into()));
    }
    dir::publish(&fresh, to)?;
    Ok(Revision(state.revision))
}

fn fill(from: &Connection, fresh: &Path) -> Result<Connection, Fault> {
    let mut to = check::open_untouched(fresh)?;
    {
        let backup = Backup::new(from, &mut to)?;
        let mut tries = 0;
        while backup.step(-1)? != StepResult::Done {
            tries += 1;
            if tries > TRIES {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None).into());
            }
            // waits: SQLite offers no event for a lock becoming free.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    // A copy is one file: without a write-ahead log, and known as a copy by its mark.
    let mode: String = to.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        return Err(Fault::Damaged(format!("the copy's journal mode is {mode:?}")));
    }
    to.pragma_update(None, "application_id", COPY_ID)?;
    Ok(to)
}

/// Puts `copy` back as the database of the store in `path`, which must not be open. What is there
/// is set aside. Answers where that went.
pub(super) fn restore(path: &Path, copy: &Path) -> Result<PathBuf, StoreError> {
    let copy = copy.canonicalize().map_err(|error| files("finding", copy, error))?;
    let dir = Dir::prepare(path)?;
    let _lock = DirLock::take(&dir)?;
    let fresh = dir.fresh();
    clear(&fresh)?;
    let mut to = dir::new_private(&fresh)?;
    let mut from = File::open(&copy).map_err(|error| files("opening", &copy, error))?;
    std::io::copy(&mut from, &mut to).map_err(|error| files("copying", &copy, error))?;
    drop(to);
    check_copy(&copy, &fresh)?;
    let aside = dir.set_aside()?;
    dir::publish(&fresh, &dir.database())?;
    Ok(aside)
}

fn check_copy(copy: &Path, fresh: &Path) -> Result<(), StoreError> {
    let bad = |wrong: String| StoreError::BadCopy { path: copy.to_owned(), wrong };
    let place = Place { database: fresh.to_owned(), copy: copy.to_owned() };
    let detail = |error: StoreError| match error {
        StoreError::Damaged { detail, .. } => bad(detail),
        StoreError::Newer { found, known, .. } => {
            StoreError::Newer { path: copy.to_owned(), found, known }
        }
        other => other,
    };
    let header = check::header(&place).map_err(detail)?;
    if header.wal {
        return Err(bad("it is not marked as a copy; only files made by a backup are".to_owned()));
    }
    let conn = check::open_untouched(fresh).map_err(|error| StoreError::Backend {
        doing: "opening the copy",
        source: Arc::new(error),
    })?;
    if !check::verify(&conn, &place, STEPS).map_err(detail)?.copy {
        return Err(bad("it is not marked as a copy; only files made by a backup are".to_owned()));
    }
    Ok(())
}

/// Removes what an interrupted attempt may have left under this name.
pub(super) fn clear(fresh: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        dir::remove(&beside(fresh, suffix))?;
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
