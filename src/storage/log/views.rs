//! The views that this replica has promised and installed: one row each, of the mode `primary-backup` alone. The table
//! is made with the first of them, so that the file of a cluster of the other mode is what it always was.
//!
//! As with term and vote, a flipped bit in here would be a promise that nobody made: each row carries a crc.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::meta::FILE;
use crate::consensus::{View, Views};
use crate::machine::view::parse_view;
use crate::storage::error::StorageError;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS views (what TEXT PRIMARY KEY, view TEXT NOT NULL, crc INTEGER NOT NULL) STRICT";
const PROMISED: &str = "promised";
const INSTALLED: &str = "installed";

/// Writes both, in the caller's transaction.
pub(super) fn save(conn: &Connection, views: &Views) -> Result<(), StorageError> {
    conn.execute_batch(TABLE)?;
    for (what, view) in [(PROMISED, &views.promised), (INSTALLED, &views.installed)] {
        let text = view.to_string();
        let crc = crc(what, &text);
        let sql = "INSERT OR REPLACE INTO views (what, view, crc) VALUES (?1, ?2, ?3)";
        conn.prepare_cached(sql)?.execute(params![what, text, crc])?;
    }
    Ok(())
}

/// What was written last, if anything ever was.
pub(super) fn load(conn: &Connection) -> Result<Option<Views>, StorageError> {
    if !conn.table_exists(None, "views")? {
        return Ok(None);
    }
    Ok(Some(Views { promised: row(conn, PROMISED)?, installed: row(conn, INSTALLED)? }))
}

fn row(conn: &Connection, what: &str) -> Result<View, StorageError> {
    let sql = "SELECT view, crc FROM views WHERE what = ?1";
    let found = conn.query_row(sql, [what], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))).optional()?;
    found
        .filter(|(text, stored)| *stored == crc(what, text))
        .and_then(|(text, _)| parse_view(&text))
        .ok_or_else(|| StorageError::corrupt(FILE, "a view in it does not match its checksum"))
}

fn crc(what: &str, text: &str) -> u32 {
    crc32fast::hash(format!("{what}|{text}").as_bytes())
}
