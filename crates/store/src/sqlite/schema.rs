//! The tables, their format version, and the steps from one format to the next.
//!
//! The format is recorded from the first day on, because a store outlives the version that made
//! it. Keys are BLOBs, so that their order is the order of their bytes and a prefix is a range.
//! A log row's id is its revision and its place in it, so that history is appended to one tree.
//!
//! Invariant: a step and the new format number are committed together or not at all; a step that
//! has been released is never edited.
//!
//! Not here: reading and writing rows (`rows`).

use rusqlite::{Connection, OptionalExtension};

use super::fault::{Fault, Place};
use super::rows::{self, State};
use crate::error::StoreError;

/// `PRAGMA application_id` of a store ("TNST").
pub(super) const STORE_ID: u32 = 0x544e_5354;
/// `PRAGMA application_id` of a copy of a store ("TNSC"), by which opening knows that it was put
/// back and that revisions were given out after it was made.
pub(super) const COPY_ID: u32 = 0x544e_5343;

/// What leads to one format from the one before it.
pub(super) struct Step {
    /// The format that the step makes.
    pub(super) format: u32,
    /// Its SQL.
    pub(super) sql: &'static str,
}

/// Every step, in order.
pub(super) const STEPS: &[Step] = &[Step { format: 1, sql: FORMAT_1 }];

const FORMAT_1: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, oldest INTEGER NOT NULL,
    keys INTEGER NOT NULL, leases INTEGER NOT NULL, log_bytes INTEGER NOT NULL,
    total INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE TABLE kv (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,
    sum INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
CREATE INDEX kv_lease ON kv (lease) WHERE lease <> 0;
CREATE TABLE log (
    id INTEGER PRIMARY KEY, deleted INTEGER NOT NULL, key BLOB NOT NULL,
    create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,
    sum INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
";

/// The newest format among `steps`.
pub(super) fn newest(steps: &[Step]) -> u32 {
    steps.last().map_or(0, |step| step.format)
}

/// The format of a database; 0 when it has no tables yet.
pub(super) fn format(conn: &Connection) -> Result<u32, Fault> {
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(0);
    }
    let text = rows::meta(conn, "format")?
        .ok_or_else(|| Fault::Damaged("the format version is missing".to_owned()))?;
    text.parse().map_err(|_| Fault::Damaged(format!("the format version is {text:?}")))
}

/// Refuses a database that a newer version wrote.
pub(super) fn refuse_newer(place: &Place, found: u32, steps: &[Step]) -> Result<(), StoreError> {
    let known = newest(steps);
    if found > known {
        return Err(StoreError::Newer { path: place.database.clone(), found, known });
    }
    Ok(())
}

/// Brings a database to the newest format, one transaction per step.
pub(super) fn migrate(conn: &mut Connection, steps: &[Step]) -> Result<(), Fault> {
    let found = format(conn)?;
    for step in steps.iter().filter(|step| step.format > found) {
        let txn = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        txn.execute_batch(step.sql)?;
        let mut state = if step.format == 1 { first_state(&txn)? } else { State::load(&txn)? };
        rows::set_meta(&txn, &mut state, "format", &step.format.to_string())?;
        state.save(&txn)?;
        txn.commit()?;
    }
    Ok(())
}

fn first_state(conn: &Connection) -> Result<State, Fault> {
    let mut state = State::first();
    state.insert(conn)?;
    conn.pragma_update(None, "application_id", STORE_ID)?;
    let id = hex::encode(rand::random::<[u8; 16]>());
    rows::set_meta(conn, &mut state, "installation", &id)?;
    Ok(state)
}

/// Checks that the tables are exactly those of the newest format.
pub(super) fn check_tables(conn: &Connection, steps: &[Step]) -> Result<(), Fault> {
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh, steps)?;
    if described(&fresh)? == described(conn)? {
        return Ok(());
    }
    Err(Fault::Damaged("the table definitions are not those of its format".to_owned()))
}

type Description = Vec<(String, String, Option<String>)>;

fn described(conn: &Connection) -> Result<Description, Fault> {
    let mut query = conn.prepare("SELECT name, type, sql FROM sqlite_schema ORDER BY 1, 2")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// `PRAGMA application_id`.
pub(super) fn application_id(conn: &Connection) -> Result<u32, Fault> {
    let id: Option<i64> =
        conn.query_row("PRAGMA application_id", [], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| u32::try_from(id).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Step =
        Step { format: 2, sql: "ALTER TABLE lease ADD COLUMN owner TEXT NOT NULL DEFAULT ''" };
    const BROKEN: Step = Step {
        format: 2,
        sql: "CREATE TABLE half (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)",
    };

    fn first() -> Step {
        Step { format: 1, sql: FORMAT_1 }
    }

    #[test]
    fn an_older_format_is_brought_forward_and_keeps_its_content() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, STEPS).unwrap();
        let id = rows::meta(&conn, "installation").unwrap().unwrap();
        assert_eq!(id.len(), 32);
        migrate(&mut conn, &[first(), SECOND]).unwrap();
        assert_eq!(format(&conn).unwrap(), 2);
        assert_eq!(rows::meta(&conn, "installation").unwrap().unwrap(), id);
        check_tables(&conn, &[first(), SECOND]).unwrap();
        assert!(check_tables(&conn, STEPS).is_err());
    }

    #[test]
    fn a_step_that_fails_leaves_the_old_format_whole() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, STEPS).unwrap();
        assert!(migrate(&mut conn, &[first(), BROKEN]).is_err());
        assert_eq!(format(&conn).unwrap(), 1);
        check_tables(&conn, STEPS).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let place = Place { database: "/x/store.db".into(), copy: "/x/last-good.db".into() };
        let error = refuse_newer(&place, 9, STEPS).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9, known: 1, .. }));
        assert!(refuse_newer(&place, 1, STEPS).is_ok());
    }
}
