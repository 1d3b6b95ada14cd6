//! Opening a database with doubt: is this what was written?
//!
//! Three looks, because each sees what the others do not: the file header (before SQLite, which
//! would take an empty file for a new database), SQLite's own integrity check (structure), and the
//! sums of all rows (content).
//!
//! Invariant: nothing is written to a database before all three agree.
//!
//! Not here: what is done with a database that fails (it is refused, and a person decides).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::dir::Dir;
use super::fault::{Fault, Place, files};
use super::rows::{self, State};
use super::schema::{self, COPY_ID, STORE_ID, Step};
use crate::error::StoreError;

/// What the first 100 bytes of a database say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether it is written through a write-ahead log; a copy is not.
    pub(super) wal: bool,
    /// `PRAGMA application_id`.
    pub(super) application: u32,
}

/// Reads the header without SQLite.
pub(super) fn header(place: &Place) -> Result<Header, StoreError> {
    let path = &place.database;
    let mut file = File::open(path).map_err(|error| files("opening", path, error))?;
    let mut bytes = [0u8; 100];
    if let Err(error) = file.read_exact(&mut bytes) {
        return Err(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => place.damaged("the file ends within its header"),
            _ => files("reading", path, error),
        });
    }
    if !bytes.starts_with(b"SQLite format 3\0") {
        return Err(place.damaged("the file does not begin as a database does (page 1, byte 0)"));
    }
    let wal = match bytes[18..20] {
        [1, 1] => false,
        [2, 2] => true,
        _ => return Err(place.damaged("the file header has unknown versions (page 1, byte 18)")),
    };
    let application = u32::from_be_bytes([bytes[68], bytes[69], bytes[70], bytes[71]]);
    Ok(Header { wal, application })
}

/// Opens a connection that changes nothing when it is closed again.
pub(super) fn open_untouched(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(std::time::Duration::from_secs(1))?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}

/// Checks the whole database. The tables of a format before the newest one are not compared with
/// anything; their rows are.
pub(super) fn verify(
    conn: &Connection,
    place: &Place,
    steps: &[Step],
) -> Result<Verified, StoreError> {
    let doing = "checking the database";
    let known = schema::application_id(conn).map_err(|f| place.error_unchecked(doing, f))?;
    let copy = match known {
        STORE_ID => false,
        COPY_ID => true,
        other => {
            let detail = format!("its application id is {other:#x} (page 1, byte 68)");
            return Err(place.damaged(detail));
        }
    };
    let format = schema::format(conn).map_err(|f| place.error_unchecked(doing, f))?;
    schema::refuse_newer(place, format, steps)?;
    let page: u64 = integrity(conn, place)?;
    if format == schema::newest(steps) {
        schema::check_tables(conn, steps).map_err(|f| place.error_unchecked(doing, f))?;
    }
    let state = content(conn).map_err(|f| place.error_unchecked(doing, f))?;
    tracing::debug!(revision = state.revision, format, page, "the database is intact");
    Ok(Verified { copy, format, state })
}

/// What a check found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verified {
    /// It is a copy that was put back, or is about to be.
    pub(super) copy: bool,
    /// Its format.
    pub(super) format: u32,
    /// Its state.
    pub(super) state: State,
}

/// SQLite's integrity check: all that its quick check looks at, and whether the indexes match
/// their tables. Answers the page size.
fn integrity(conn: &Connection, place: &Place) -> Result<u64, StoreError> {
    let found = || -> Result<(u32, Vec<String>), Fault> {
        let page = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let mut query = conn.prepare("PRAGMA integrity_check(5)")?;
        let lines = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok((page, lines))
    };
    let (page, lines) =
        found().map_err(|fault| place.error_unchecked("checking the database", fault))?;
    let page = u64::from(page);
    if lines.iter().map(String::as_str).eq(["ok"]) {
        return Ok(page);
    }
    let located: Vec<String> = lines.iter().map(|line| locate(line, page)).collect();
    Err(place.damaged(located.join("; ")))
}

/// Adds the byte offset to a line that names a page.
fn locate(line: &str, page_size: u64) -> String {
    let mut words = line.split_whitespace().map(|word| word.trim_matches(|c: char| c == ':'));
    let number = words
        .find(|word| word.eq_ignore_ascii_case("page"))
        .and_then(|_| words.next())
        .and_then(|word| word.parse::<u64>().ok())
        .filter(|page| *page > 0);
    let line = line.trim().replace('\n', " ");
    match number {
        Some(page) => format!("{line} (byte {})", (page - 1).saturating_mul(page_size)),
        None => line,
    }
}

/// Reads every row, checks its sum, and compares the totals.
fn content(conn: &Connection) -> Result<State, Fault> {
    let state = State::load(conn)?;
    let (mut total, leases) = rows::small_tables(conn)?;
    let mut keys = 0;
    let mut query = conn.prepare(&format!("SELECT {} FROM kv", rows::KV_COLUMNS))?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        total = total.wrapping_add(rows::read_kv(row)?.1);
        keys += 1;
    }
    let mut log_bytes = 0;
    let mut query = conn.prepare(&format!("SELECT {} FROM log", rows::LOG_COLUMNS))?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let logged = rows::read_log(row)?;
        total = total.wrapping_add(logged.sum);
        log_bytes += logged.bytes;
    }
    let same = state.total == total
        && state.keys == keys
        && state.leases == leases
        && state.log_bytes == log_bytes;
    if !same {
        return Err(Fault::Damaged("rows are missing, or too many: the totals differ".to_owned()));
    }
    Ok(state)
}

/// Compares what was found with what was acknowledged.
pub(super) fn nothing_lost(
    place: &Place,
    state: &State,
    witness: Option<u64>,
) -> Result<(), StoreError> {
    match witness {
        Some(acknowledged) if acknowledged > state.revision => Err(place.damaged(format!(
            "it ends at revision {}, but revision {acknowledged} was acknowledged: its \
             write-ahead log is cut or damaged, or an older file was put in its place",
            state.revision
        ))),
        _ => Ok(()),
    }
}

/// Whether a write-ahead log with content lies beside the database.
pub(super) fn has_log(dir: &Dir) -> bool {
    std::fs::metadata(dir.wal()).is_ok_and(|found| found.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_that_names_a_page_gets_its_offset() {
        assert_eq!(
            locate("Tree 7 page 12 cell 3: invalid page number 99", 4096),
            "Tree 7 page 12 cell 3: invalid page number 99 (byte 45056)"
        );
        assert_eq!(locate("Page 3: never used", 4096), "Page 3: never used (byte 8192)");
        assert_eq!(locate("row 4 missing from index x", 4096), "row 4 missing from index x");
    }
}
