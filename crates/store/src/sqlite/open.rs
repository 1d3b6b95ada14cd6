//! Opening a store: lock, check, migrate, and take over a copy that was put back.
//!
//! The order is what protects the data: nothing is written before everything was checked, and a
//! database that fails is refused as it is. A copy carries its own mark, because after it was made
//! the store gave out revisions that agents and proxies have seen: taking one over moves the
//! revision far beyond all of them, so that it never goes back.
//!
//! Invariant: at most one process has a store open; the returned connection owns all writing.
//!
//! Not here: making copies and putting them back (`copies`).

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::check::{self, Verified};
use super::copies;
use super::dir::{self, Dir, DirLock, Witness};
use super::fault::{Fault, Place};
use super::rows::{self, State};
use super::schema::{self, STEPS, STORE_ID};
use super::{Options, Restored};
use crate::error::StoreError;
use crate::model::{LeaseId, Revision};

/// How far a restored store moves its revision beyond the last one known: more than any store
/// gives out between its last copy and its loss (etcd recommends a thousand million as well).
pub(super) const RESTORE_GAP: u64 = 1 << 30;

/// Pages of the database have this many bytes.
const PAGE_BYTES: u64 = 4096;
/// The write-ahead log is cut back to this size when it starts anew.
const WAL_BYTES: u64 = 64 << 20;

/// A store that is open and checked.
pub(super) struct Opened {
    /// Keeps other processes out.
    pub(super) lock: DirLock,
    /// Where it is.
    pub(super) dir: Dir,
    /// The connection that writes.
    pub(super) conn: Connection,
    /// Its state.
    pub(super) state: State,
    /// Where acknowledged revisions are testified.
    pub(super) witness: Witness,
    /// Its leases, with seconds to live.
    pub(super) leases: Vec<(LeaseId, u64)>,
    /// Its installation id.
    pub(super) installation: String,
    /// What was restored, if it was.
    pub(super) restored: Option<Restored>,
}

/// Opens the store in `path`, or makes one.
pub(super) fn open(path: &Path, options: &Options) -> Result<Opened, StoreError> {
    let dir = Dir::prepare(path)?;
    let lock = DirLock::take(&dir)?;
    let place = dir.place();
    if !place.database.exists() {
        if dir.was_in_use() {
            return Err(place.damaged("the database file is missing"));
        }
        create(&dir)?;
    }
    refuse_foreign_log(&dir, &place)?;
    let (witness, acknowledged) = Witness::open(&dir)?;
    let (mut conn, found) = checked(&place)?;
    if !found.copy {
        check::nothing_lost(&place, &found.state, acknowledged)?;
    }
    let doing = "opening the database";
    let mut state = found.state;
    if found.format < schema::newest(STEPS) {
        copies::copy(&conn, &dir.before_format(schema::newest(STEPS)), &place, STEPS)?;
        schema::migrate(&mut conn, STEPS).map_err(|f| place.error(doing, f))?;
        state = State::load(&conn).map_err(|f| place.error(doing, f))?;
    }
    let mut restored = None;
    if found.copy {
        restored =
            Some(adopt(&mut conn, &mut state, acknowledged).map_err(|f| place.error(doing, f))?);
    }
    set_up(&conn, options).map_err(|f| place.error(doing, f))?;
    let details = || -> Result<_, Fault> {
        let id = rows::meta(&conn, "installation")?;
        Ok((rows::leases(&conn)?, id.unwrap_or_default()))
    };
    let (leases, installation) = details().map_err(|f| place.error(doing, f))?;
    if let Err(error) = witness.testify(state.revision) {
        tracing::warn!(%error, "the acknowledged revision could not be noted");
    }
    Ok(Opened { lock, dir, conn, state, witness, leases, installation, restored })
}

/// Makes a database and publishes it when it is complete.
fn create(dir: &Dir) -> Result<(), StoreError> {
    let fresh = dir.fresh();
    copies::clear(&fresh)?;
    dir::new_private(&fresh)?;
    let place = Place { database: fresh.clone(), copy: dir.last_good() };
    let make = || -> Result<(), Fault> {
        let mut conn = check::open_untouched(&fresh)?;
        conn.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut conn, STEPS)
    };
    make().map_err(|fault| place.error("making the database", fault))?;
    dir::publish(&fresh, &dir.database())
}

/// SQLite would replay any log that lies beside a database, also over a copy that was put in the
/// place of the log's own database.
fn refuse_foreign_log(dir: &Dir, place: &Place) -> Result<(), StoreError> {
    let header = check::header(place)?;
    if header.wal || !check::has_log(dir) {
        return Ok(());
    }
    if header.application == schema::COPY_ID {
        tracing::warn!("the write-ahead log beside the restored copy is not its own; set aside");
        return dir.set_log_aside();
    }
    Err(place.damaged("the write-ahead log beside it is not its own (page 1, byte 18)"))
}

fn checked(place: &Place) -> Result<(Connection, Verified), StoreError> {
    let doing = "opening the database";
    let conn = check::open_untouched(&place.database)
        .map_err(|error| place.error_unchecked(doing, error.into()))?;
    let found = check::verify(&conn, place, STEPS)?;
    Ok((conn, found))
}

/// Takes over a copy: the revision moves on, the history before it is gone.
fn adopt(
    conn: &mut Connection,
    state: &mut State,
    acknowledged: Option<u64>,
) -> Result<Restored, Fault> {
    let copied = state.revision;
    let last = acknowledged.map_or(copied, |known| known.max(copied));
    let txn = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    state.revision = last.saturating_add(RESTORE_GAP);
    state.has_room(0)?;
    rows::forget(&txn, state, state.revision)?;
    rows::set_meta(&txn, state, "restored_from", &copied.to_string())?;
    txn.pragma_update(None, "application_id", STORE_ID)?;
    state.save(&txn)?;
    txn.commit()?;
    let restored =
        Restored { copied: Revision(copied), last: Revision(last), now: Revision(state.revision) };
    tracing::warn!(%restored.copied, %restored.last, %restored.now, "a copy was restored");
    Ok(restored)
}

fn set_up(conn: &Connection, options: &Options) -> Result<(), Fault> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Damaged(format!("its journal mode is {mode:?} and cannot be changed")));
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    // The keeper checkpoints, so that no commit has to wait for it.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES.cast_signed())?;
    let pages = options.max_bytes.div_ceil(PAGE_BYTES);
    conn.pragma_update(None, "max_page_count", pages.cast_signed())?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(32);
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hurt(dir: &Path, change: impl FnOnce(&mut Connection)) -> StoreError {
        drop(open(dir, &Options::default()).unwrap());
        let mut conn = Connection::open(dir.join("store.db")).unwrap();
        change(&mut conn);
        drop(conn);
        let before = std::fs::read(dir.join("store.db")).unwrap();
        let Err(error) = open(dir, &Options::default()) else { panic!("it was opened") };
        assert!(before == std::fs::read(dir.join("store.db")).unwrap());
        error
    }

    #[test]
    fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let error = hurt(home.path(), |conn| {
            let mut state = State::load(conn).unwrap();
            rows::set_meta(conn, &mut state, "format", "99").unwrap();
            state.save(conn).unwrap();
            conn.execute_batch("CREATE TABLE later (x INTEGER)").unwrap();
        });
        assert!(matches!(error, StoreError::Newer { found: 99, known: 1, .. }), "{error}");
    }

    #[test]
    fn a_changed_format_number_is_damage_and_not_a_newer_version() {
        let home = tempfile::tempdir().unwrap();
        let change = "UPDATE meta SET value = '99' WHERE name = 'format'";
        let error = hurt(home.path(), |conn| conn.execute_batch(change).unwrap());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn another_table_definition_is_damage() {
        let home = tempfile::tempdir().unwrap();
        let change = "DROP INDEX kv_lease";
        let error = hurt(home.path(), |conn| conn.execute_batch(change).unwrap());
        assert!(error.to_string().contains("table definitions"), "{error}");
    }

    #[test]
    fn a_row_that_vanished_is_damage() {
        let home = tempfile::tempdir().unwrap();
        let change = "DELETE FROM meta WHERE name = 'installation'";
        let error = hurt(home.path(), |conn| conn.execute_batch(change).unwrap());
        assert!(error.to_string().contains("the totals differ"), "{error}");
    }
}
