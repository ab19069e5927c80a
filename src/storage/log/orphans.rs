//! What this replica gave up: entries that were cut off because another side of a cluster that was cut in two goes on
//! without them. They stand in a table of their own, as they stood in the log, until an operator removes the file.
//!
//! # Promises
//! - An entry leaves the log and enters the table in one transaction: at any moment it stands in one of them.
//! - With that goes the word that a state which has applied any of it is *void*, if it may have. [`crate::storage::open`]
//!   derives the state again before it forgets that word.
//!
//! The tables are made with the first of them: the file of a cluster in which nothing was given up is what it always was.
//! An entry that is given up twice, because its side went on with it meanwhile, stands there once.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::meta::FILE;
use super::rows;
use crate::consensus::{Entry, GivenUp, Index, ViewId};
use crate::machine::view::parse_view_id;
use crate::storage::error::StorageError;
use crate::storage::number::Num;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS orphans (
        idx INTEGER NOT NULL, term INTEGER NOT NULL, time INTEGER NOT NULL, kind INTEGER NOT NULL, line ANY NOT NULL,
        crc INTEGER NOT NULL, given_up_to TEXT NOT NULL, given_up_at INTEGER NOT NULL, PRIMARY KEY (idx, term)) STRICT;
    CREATE TABLE IF NOT EXISTS void_state (
        one INTEGER PRIMARY KEY CHECK (one = 1), idx INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;
";

/// An entry that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// As it stood in the log.
    pub entry: Entry,
    /// The view that goes on without it.
    pub given_up_to: ViewId,
    /// By this replica's clock, in Unix milliseconds.
    pub given_up_at: u64,
    /// In the order of the table.
    pub row: u64,
}

/// Keeps what is about to be dropped, in the caller's transaction.
pub(super) fn keep(conn: &Connection, from: Index, given_up: &GivenUp) -> Result<(), StorageError> {
    conn.execute_batch(TABLES)?;
    let sql = "INSERT OR IGNORE INTO orphans (idx, term, time, kind, line, crc, given_up_to, given_up_at)
               SELECT idx, term, time, kind, line, crc, ?2, ?3 FROM entries WHERE idx >= ?1 ORDER BY idx";
    conn.execute(sql, params![Num(from.0), given_up.to.to_string(), Num(given_up.at)])?;
    if given_up.applied {
        let sql = "INSERT OR REPLACE INTO void_state (one, idx, crc) VALUES (1, ?1, ?2)";
        conn.execute(sql, params![Num(from.0), crc(from)])?;
    }
    Ok(())
}

/// The first entry that no state of this replica may have applied, if there is such a word.
pub(super) fn void_from(conn: &Connection) -> Result<Option<Index>, StorageError> {
    if !conn.table_exists(None, "void_state")? {
        return Ok(None);
    }
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Num>(0)?, row.get::<_, u32>(1)?));
    match conn.query_row("SELECT idx, crc FROM void_state", [], row).optional()? {
        None => Ok(None),
        Some((Num(index), stored)) if stored == crc(Index(index)) => Ok(Some(Index(index))),
        Some(_) => Err(StorageError::corrupt(FILE, "what it says of a void state does not match its checksum")),
    }
}

/// The state was derived again, or is not void.
pub(super) fn forget_void(conn: &Connection) -> Result<(), StorageError> {
    conn.execute("DELETE FROM void_state", [])?;
    Ok(())
}

fn crc(from: Index) -> u32 {
    crc32fast::hash(format!("void|{from}").as_bytes())
}

/// Up to `rows_max` of them behind a row, each checked.
pub(super) fn page(conn: &Connection, behind: u64, rows_max: u64) -> Result<Vec<Orphan>, StorageError> {
    if !conn.table_exists(None, "orphans")? {
        return Ok(Vec::new());
    }
    let sql = "SELECT idx, term, time, kind, line, crc, given_up_to, given_up_at, rowid FROM orphans
               WHERE rowid > ?1 ORDER BY rowid LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![Num(behind), Num(rows_max)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = rows::entry(row, Index(row.get::<_, Num>(0)?.0))?;
        let winner: String = row.get(6)?;
        let given_up_to = parse_view_id(&winner).ok_or_else(|| {
            StorageError::corrupt(FILE, format!("{winner:?} is no view, for which entries were given up"))
        })?;
        found.push(Orphan { entry, given_up_to, given_up_at: row.get::<_, Num>(7)?.0, row: row.get::<_, Num>(8)?.0 });
    }
    Ok(found)
}
