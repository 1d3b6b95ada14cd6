//! Reading and writing the rows of the store.
//!
//! Every row carries a check sum, and `State::total` is the wrapping sum of them all; it is kept
//! up to date with each change, so that a lost, revived or altered row shows when the database is
//! opened.
//!
//! Invariant: after `State::save` the `state` row describes the other tables exactly.
//!
//! Not here: transactions and their outcome (`writer`), and the full comparison (`check`).

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::sum::Sum;
use crate::error::StoreError;
use crate::model::{Event, KeyValue, LeaseId, Revision};

/// Bits of a log row's id that count the changes within one revision.
const SEQ_BITS: u32 = 20;
/// Most keys in the store; so one revision (the end of a lease) never has more changes than ids.
pub(super) const MAX_KEYS: u64 = 1 << SEQ_BITS;
/// Most leases in the store.
pub(super) const MAX_LEASES: u64 = 10_000;
/// Revisions end here, where log ids would leave SQLite's 63 bits.
pub(super) const MAX_REVISION: u64 = 1 << (62 - SEQ_BITS);

/// The one row that describes the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The newest revision.
    pub(super) revision: u64,
    /// The oldest revision from which a watch can start.
    pub(super) oldest: u64,
    /// How many keys there are.
    pub(super) keys: u64,
    /// How many leases there are.
    pub(super) leases: u64,
    /// Bytes of keys and values in the log.
    pub(super) log_bytes: u64,
    /// The wrapping sum of all row sums.
    pub(super) total: u64,
}

impl State {
    /// The state of a store without any row.
    pub(super) const fn first() -> Self {
        Self { revision: 1, oldest: 1, keys: 0, leases: 0, log_bytes: 0, total: 0 }
    }

    const fn sum(&self) -> u64 {
        Sum::new(0)
            .num(self.revision)
            .num(self.oldest)
            .num(self.keys)
            .num(self.leases)
            .num(self.log_bytes)
            .num(self.total)
            .finish()
    }

    /// Reads it.
    pub(super) fn load(conn: &Connection) -> Result<Self, Fault> {
        let mut query = conn.prepare_cached(
            "SELECT revision, oldest, keys, leases, log_bytes, total, sum FROM state",
        )?;
        let (state, sum) = query.query_row([], |row| {
            let state = Self {
                revision: number(row, 0)?,
                oldest: number(row, 1)?,
                keys: number(row, 2)?,
                leases: number(row, 3)?,
                log_bytes: number(row, 4)?,
                total: number(row, 5)?,
            };
            Ok((state, number(row, 6)?))
        })?;
        if state.sum() != sum {
            return Err(Fault::Damaged("the row of table state fails its check sum".to_owned()));
        }
        Ok(state)
    }

    /// Makes the row.
    pub(super) fn insert(&self, conn: &Connection) -> Result<(), Fault> {
        conn.execute("INSERT INTO state VALUES (1, 0, 0, 0, 0, 0, 0, 0)", [])?;
        self.save(conn)
    }

    /// Writes it.
    pub(super) fn save(&self, conn: &Connection) -> Result<(), Fault> {
        let mut update = conn.prepare_cached(
            "UPDATE state SET revision = ?1, oldest = ?2, keys = ?3, leases = ?4, log_bytes = ?5, \
             total = ?6, sum = ?7",
        )?;
        update.execute(params![
            self.revision.cast_signed(),
            self.oldest.cast_signed(),
            self.keys.cast_signed(),
            self.leases.cast_signed(),
            self.log_bytes.cast_signed(),
            self.total.cast_signed(),
            self.sum().cast_signed(),
        ])?;
        Ok(())
    }

    /// Refuses a change for which there is no revision left, or no room for `more` keys. Asked
    /// before anything is changed. Overwritten keys are counted as new ones: it is a limit.
    pub(super) fn has_room(&self, more: u64) -> Result<(), StoreError> {
        if self.revision >= MAX_REVISION {
            return Err(StoreError::TooMany { what: "revisions", limit: MAX_REVISION });
        }
        if self.keys.saturating_add(more) > MAX_KEYS {
            return Err(StoreError::TooMany { what: "keys", limit: MAX_KEYS });
        }
        Ok(())
    }

    const fn add(&mut self, sum: u64) {
        self.total = self.total.wrapping_add(sum);
    }

    const fn take(&mut self, sum: u64) {
        self.total = self.total.wrapping_sub(sum);
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The first id of a revision's log rows.
const fn log_id(revision: u64) -> i64 {
    (revision << SEQ_BITS).cast_signed()
}

/// A row of `meta`, checked.
pub(super) fn meta(conn: &Connection, name: &str) -> Result<Option<String>, Fault> {
    let found: Option<(String, i64)> = conn
        .query_row("SELECT value, sum FROM meta WHERE name = ?1", [name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((value, sum)) = found else { return Ok(None) };
    if meta_sum(name, &value) != sum.cast_unsigned() {
        return Err(Fault::Damaged(format!("the row {name} of table meta fails its check sum")));
    }
    Ok(Some(value))
}

/// Writes a row of `meta`.
pub(super) fn set_meta(
    conn: &Connection,
    state: &mut State,
    name: &str,
    value: &str,
) -> Result<(), Fault> {
    if let Some(old) = meta(conn, name)? {
        state.take(meta_sum(name, &old));
    }
    let sum = meta_sum(name, value);
    conn.execute(
        "INSERT INTO meta VALUES (?1, ?2, ?3) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, sum = excluded.sum",
        params![name, value, sum.cast_signed()],
    )?;
    state.add(sum);
    Ok(())
}

fn meta_sum(name: &str, value: &str) -> u64 {
    Sum::new(1).bytes(name.as_bytes()).bytes(value.as_bytes()).finish()
}

fn lease_sum(id: u64, ttl: u64) -> u64 {
    Sum::new(2).num(id).num(ttl).finish()
}

fn kv_sum(kv: &KeyValue) -> u64 {
    row_sum(Sum::new(3).num(kv.mod_revision.0), kv)
}

fn log_sum(id: i64, deleted: bool, kv: &KeyValue) -> u64 {
    row_sum(Sum::new(4).num(id.cast_unsigned()).num(u64::from(deleted)), kv)
}

fn row_sum(sum: Sum, kv: &KeyValue) -> u64 {
    sum.num(kv.create_revision.0)
        .num(kv.version)
        .num(lease_number(kv.lease))
        .bytes(kv.key.as_bytes())
        .bytes(&kv.value)
        .finish()
}

fn lease_number(lease: Option<LeaseId>) -> u64 {
    lease.map_or(0, |id| id.0)
}

/// The columns of `kv` as `read_kv` wants them.
pub(super) const KV_COLUMNS: &str =
    "key, create_revision, mod_revision, version, lease, sum, value";

/// Reads and checks a row of `kv`; also answers its sum.
pub(super) fn read_kv(row: &Row<'_>) -> Result<(KeyValue, u64), Fault> {
    let kv = KeyValue {
        key: text(row.get(0)?)?,
        create_revision: Revision(number(row, 1)?),
        mod_revision: Revision(number(row, 2)?),
        version: number(row, 3)?,
        lease: Some(LeaseId(number(row, 4)?)).filter(|id| id.0 != 0),
        value: row.get(6)?,
    };
    let sum = number(row, 5)?;
    if kv_sum(&kv) != sum {
        return Err(Fault::Damaged(format!("the row of key {:?} fails its check sum", kv.key)));
    }
    Ok((kv, sum))
}

/// The columns of `log` as `read_log` wants them.
pub(super) const LOG_COLUMNS: &str =
    "id, deleted, key, create_revision, version, lease, sum, value";

/// A row of the log.
pub(super) struct Logged {
    /// Its revision.
    pub(super) revision: u64,
    /// What happened.
    pub(super) event: Event,
    /// Its check sum.
    pub(super) sum: u64,
    /// Bytes of its key and value.
    pub(super) bytes: u64,
}

/// Reads and checks a row of `log`.
pub(super) fn read_log(row: &Row<'_>) -> Result<Logged, Fault> {
    let id: i64 = row.get(0)?;
    let deleted = number(row, 1)? != 0;
    let revision = id.cast_unsigned() >> SEQ_BITS;
    let kv = KeyValue {
        key: text(row.get(2)?)?,
        create_revision: Revision(number(row, 3)?),
        mod_revision: Revision(revision),
        version: number(row, 4)?,
        lease: Some(LeaseId(number(row, 5)?)).filter(|id| id.0 != 0),
        value: row.get(7)?,
    };
    let sum = number(row, 6)?;
    if log_sum(id, deleted, &kv) != sum {
        return Err(Fault::Damaged(format!("the log row of revision {revision} fails its sum")));
    }
    let bytes = (kv.key.len() + kv.value.len()) as u64;
    let event = if deleted {
        Event::Delete { key: kv.key, mod_revision: kv.mod_revision }
    } else {
        Event::Put(kv)
    };
    Ok(Logged { revision, event, sum, bytes })
}

fn text(key: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(key).map_err(|_| Fault::Damaged("a key is not UTF-8".to_owned()))
}

/// The sums of all `meta` and `lease` rows, each checked, and the number of leases.
pub(super) fn small_tables(conn: &Connection) -> Result<(u64, u64), Fault> {
    let mut total = 0u64;
    let mut query = conn.prepare("SELECT name FROM meta")?;
    let names: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for name in names {
        let value = meta(conn, &name)?.unwrap_or_default();
        total = total.wrapping_add(meta_sum(&name, &value));
    }
    let leases = leases(conn)?;
    for (id, ttl) in &leases {
        total = total.wrapping_add(lease_sum(id.0, *ttl));
    }
    Ok((total, leases.len() as u64))
}

/// Every lease and its time to live in seconds.
pub(super) fn leases(conn: &Connection) -> Result<Vec<(LeaseId, u64)>, Fault> {
    let mut query = conn.prepare("SELECT id, ttl, sum FROM lease")?;
    let rows =
        query.query_map([], |row| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (id, ttl, sum) = row?;
        if lease_sum(id, ttl) != sum {
            return Err(Fault::Damaged(format!("the row of lease {id} fails its check sum")));
        }
        found.push((LeaseId(id), ttl));
    }
    Ok(found)
}

/// What a write needs to know of the row that it replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The revision that created it.
    pub(super) create_revision: u64,
    /// The revision that last wrote it.
    pub(super) mod_revision: u64,
    version: u64,
    sum: u64,
}

/// The head of a key's row.
pub(super) fn head(conn: &Connection, key: &str) -> Result<Option<Head>, Fault> {
    let mut query = conn.prepare_cached(
        "SELECT create_revision, mod_revision, version, sum FROM kv WHERE key = ?1",
    )?;
    let found = query.query_row([key.as_bytes()], |row| {
        Ok(Head {
            create_revision: number(row, 0)?,
            mod_revision: number(row, 1)?,
            version: number(row, 2)?,
            sum: number(row, 3)?,
        })
    });
    Ok(found.optional()?)
}

/// Reads one key.
pub(super) fn get(conn: &Connection, key: &str) -> Result<Option<KeyValue>, Fault> {
    let sql = format!("SELECT {KV_COLUMNS} FROM kv WHERE key = ?1");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query([key.as_bytes()])?;
    rows.next()?.map(|row| read_kv(row).map(|(kv, _)| kv)).transpose()
}

/// The changes of one revision, while they are made.
pub(super) struct Change<'a> {
    conn: &'a Connection,
    state: &'a mut State,
    seq: i64,
}

impl<'a> Change<'a> {
    /// Starts the next revision; nothing is written yet.
    pub(super) const fn new(conn: &'a Connection, state: &'a mut State) -> Self {
        Self { conn, state, seq: 0 }
    }

    /// Creates or overwrites a key.
    pub(super) fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    ) -> Result<(), Fault> {
        let revision = self.state.revision + 1;
        let old = head(self.conn, &key)?;
        let kv = KeyValue {
            key,
            value,
            create_revision: Revision(old.map_or(revision, |old| old.create_revision)),
            mod_revision: Revision(revision),
            version: old.map_or(1, |old| old.version + 1),
            lease,
        };
        let sum = kv_sum(&kv);
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO kv (key, create_revision, mod_revision, version, lease, sum, value) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key) DO UPDATE SET \
             mod_revision = excluded.mod_revision, version = excluded.version, \
             lease = excluded.lease, sum = excluded.sum, value = excluded.value",
        )?;
        insert.execute(params![
            kv.key.as_bytes(),
            kv.create_revision.0.cast_signed(),
            revision.cast_signed(),
            kv.version.cast_signed(),
            lease_number(lease).cast_signed(),
            sum.cast_signed(),
            kv.value,
        ])?;
        match old {
            Some(old) => self.state.take(old.sum),
            None => self.state.keys += 1,
        }
        self.state.add(sum);
        self.log(&kv, false)
    }

    /// Removes a key, if it exists.
    pub(super) fn delete(&mut self, key: &str) -> Result<(), Fault> {
        let Some(old) = head(self.conn, key)? else { return Ok(()) };
        let mut delete = self.conn.prepare_cached("DELETE FROM kv WHERE key = ?1")?;
        delete.execute([key.as_bytes()])?;
        self.state.take(old.sum);
        self.state.keys = self.state.keys.saturating_sub(1);
        let gone = KeyValue {
            key: key.to_owned(),
            value: Vec::new(),
            create_revision: Revision(old.create_revision),
            mod_revision: Revision(self.state.revision + 1),
            version: old.version,
            lease: None,
        };
        self.log(&gone, true)
    }

    fn log(&mut self, kv: &KeyValue, deleted: bool) -> Result<(), Fault> {
        let id = log_id(self.state.revision + 1) + self.seq;
        self.seq += 1;
        let sum = log_sum(id, deleted, kv);
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO log (id, deleted, key, create_revision, version, lease, sum, value) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        insert.execute(params![
            id,
            deleted,
            kv.key.as_bytes(),
            kv.create_revision.0.cast_signed(),
            kv.version.cast_signed(),
            lease_number(kv.lease).cast_signed(),
            sum.cast_signed(),
            kv.value,
        ])?;
        self.state.add(sum);
        self.state.log_bytes += (kv.key.len() + kv.value.len()) as u64;
        Ok(())
    }

    /// Ends the revision; it counts only if something changed.
    pub(super) fn finish(self) {
        if self.seq > 0 {
            self.state.revision += 1;
        }
    }
}

/// Drops the log before revision `up_to`.
pub(super) fn forget(conn: &Connection, state: &mut State, up_to: u64) -> Result<(), Fault> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM log WHERE id < ?1 RETURNING sum, length(key) + length(value)",
    )?;
    let mut rows = delete.query([log_id(up_to)])?;
    while let Some(row) = rows.next()? {
        state.take(number(row, 0)?);
        state.log_bytes = state.log_bytes.saturating_sub(number(row, 1)?);
    }
    state.oldest = up_to;
    Ok(())
}

/// The ids of the log rows of revisions `from..=to`, as a half-open range.
pub(super) const fn log_ids(from: u64, to: u64) -> (i64, i64) {
    (log_id(from), log_id(to + 1))
}

/// Records a lease of `ttl` seconds.
pub(super) fn add_lease(
    conn: &Connection,
    state: &mut State,
    id: LeaseId,
    ttl: u64,
) -> Result<(), Fault> {
    if state.leases >= MAX_LEASES {
        return Err(StoreError::TooMany { what: "leases", limit: MAX_LEASES }.into());
    }
    let sum = lease_sum(id.0, ttl);
    conn.prepare_cached("INSERT INTO lease VALUES (?1, ?2, ?3)")?.execute(params![
        id.0.cast_signed(),
        ttl.cast_signed(),
        sum.cast_signed()
    ])?;
    state.add(sum);
    state.leases += 1;
    Ok(())
}

/// Whether there is such a lease.
pub(super) fn has_lease(conn: &Connection, id: LeaseId) -> Result<bool, Fault> {
    let mut query = conn.prepare_cached("SELECT 1 FROM lease WHERE id = ?1")?;
    Ok(query.exists([id.0.cast_signed()])?)
}

/// Ends a lease: its keys vanish in one revision.
pub(super) fn end_lease(conn: &Connection, state: &mut State, id: LeaseId) -> Result<(), Fault> {
    state.has_room(0)?;
    let mut delete = conn.prepare_cached("DELETE FROM lease WHERE id = ?1 RETURNING sum")?;
    let sum: Option<i64> = delete.query_row([id.0.cast_signed()], |row| row.get(0)).optional()?;
    let Some(sum) = sum else { return Err(StoreError::LeaseNotFound(id).into()) };
    state.take(sum.cast_unsigned());
    state.leases = state.leases.saturating_sub(1);
    let mut query = conn.prepare_cached("SELECT key FROM kv WHERE lease = ?1 AND lease <> 0")?;
    let keys: Vec<Vec<u8>> =
        query.query_map([id.0.cast_signed()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut change = Change::new(conn, state);
    for key in keys {
        change.delete(&text(key)?)?;
    }
    change.finish();
    Ok(())
}
