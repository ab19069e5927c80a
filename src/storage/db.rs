//! How this project opens a SQLite file.
//!
//! `locking_mode` stays NORMAL: EXCLUSIVE would save the -shm file, but then no second process could read the log of
//! a running replica, and `plainsong log` must. The data directory's own lock keeps second *writers* out.
//!
//! One warning: SQLite's locks are POSIX locks, which a process loses when it closes *any* descriptor of the file. So
//! nothing in a serving process may open `log.db` or `state.db` other than through SQLite.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StorageError;

/// How long a writer waits for a reader that is just recovering or resetting the write-ahead log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every statement of a store is prepared once; no store has as many.
const STATEMENTS_CACHED: usize = 64;

/// After so many pages a commit also copies the write-ahead log into the file: 16 MiB. More would make a start after
/// a crash slower, less costs an fsync of the file more often.
const CHECKPOINT_PAGES: u32 = 4096;

/// A write-ahead log that grew beyond this (a long reader held it up) is cut back once it can be.
const WAL_BYTES_KEPT: u32 = 64 << 20;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Each commit is on the disk when it returns: one fsync.
    Full,
    /// A commit survives the process, not the machine; no commit is ever half there. No fsync.
    Normal,
}

/// Opens, or creates, a file for its one writer.
pub(super) fn open_writer(path: &Path, sync: Sync, cache_kib: u32) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    prepare(&conn)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StorageError::NoWal(mode));
    }
    let synchronous = match sync {
        Sync::Full => "FULL",
        Sync::Normal => "NORMAL",
    };
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};
         PRAGMA cache_size = -{cache_kib};
         PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(conn)
}

/// SQLite's page cache for a file that nobody serves from.
const SCRATCH_CACHE_KIB: u32 = 128 << 10;

/// Creates a file that is worth nothing until it is finished: no journal, no fsync, no second user. Whoever keeps it has
/// it synced when it is closed.
pub(super) fn create_scratch(path: &Path) -> Result<Connection, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    prepare(&conn)?;
    conn.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = OFF;
         PRAGMA synchronous = OFF;
         PRAGMA cache_size = -{SCRATCH_CACHE_KIB};
         PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(conn)
}

/// Opens an existing file that another process may be writing.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StorageError> {
    if !path.exists() {
        return Err(StorageError::NoLog(path.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    prepare(&conn)?;
    Ok(conn)
}

fn prepare(conn: &Connection) -> Result<(), StorageError> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // A damaged page must give an error, not a wild read; damaged schema text must not run functions.
    conn.execute_batch("PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;")?;
    Ok(())
}
