//! How this project opens a SQLite file.
//!
//! `locking_mode` stays NORMAL: EXCLUSIVE would save the -shm file, but then no second process could read the log of
//! a running replica, and `plainsong log` must. The data directory's own lock keeps second *writers* out.
//!
//! One warning: SQLite's locks are POSIX locks, which a process loses when it closes *any* descriptor of the file. So
//! nothing in a serving process may open `log.db` or `state.db` other than through SQLite.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StorageError;

/// How long a writer waits for a reader that is just recovering or resetting the write-ahead log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every statement of a store is prepared once; no store has as many.
const STATEMENTS_CACHED: usize = 64;

/// After so many pages a commit also copies the write-ahead log into the file: 16 MiB. More would make a start after
/// a crash slower, less costs more writes.
const CHECKPOINT_PAGES: u32 = 4096;

/// The same where commits are waited for: 4 MiB, so that no commit waits long for the copying of the others, and the
/// write-ahead log stays within what is reserved for it.
const CHECKPOINT_PAGES_SYNCED: u32 = 1024;

/// What [`reserve`] makes of a write-ahead log: room for the pages between two checkpoints, each with its header, and
/// for the commit that goes beyond.
const RESERVED_BYTES: u64 = 5 << 20;

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
    let (synchronous, checkpoint_pages) = match sync {
        Sync::Full => ("FULL", CHECKPOINT_PAGES_SYNCED),
        Sync::Normal => ("NORMAL", CHECKPOINT_PAGES),
    };
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = {checkpoint_pages};
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};
         PRAGMA cache_size = -{cache_kib};
         PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(conn)
}

/// Copies a write-ahead log into its file, beside the one writer.
///
/// SQLite goes on behind what was copied before, whoever did it, and begins the write-ahead log anew once a commit finds
/// all of it copied.
#[derive(Debug)]
pub struct WalCopier(Connection);

impl WalCopier {
    /// It never begins a transaction, and so needs no cache. Copying waits for the disk also with [`Sync::Normal`].
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        const CACHE_KIB: u32 = 64;
        open_writer(path, Sync::Normal, CACHE_KIB).map(Self)
    }

    /// Copies what is committed, up to where the oldest reader is. It waits for the disk, never for the writer or a reader.
    pub fn copy(&self) -> Result<(), StorageError> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}

/// Lengthens a write-ahead log with zeros, so that commits overwrite what is allocated already: an fsync of a file that
/// grows also waits for the file system's journal, which all files of the disk share. That is half of a lone commit's
/// time. SQLite takes a frame of zeros for the log's end, as it does what is left over from before a checkpoint.
///
/// Nothing else of this process may write the file meanwhile. Its descriptor may be closed: SQLite's locks are on the
/// file and on -shm, not on -wal.
pub(super) fn reserve(file: &Path) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    let mut wal = OpenOptions::new().write(true).open(name)?;
    let end = wal.seek(SeekFrom::End(0))?;
    let zeros = io::copy(&mut io::repeat(0).take(RESERVED_BYTES.saturating_sub(end)), &mut wal);
    if zeros.is_err() {
        // The disk is full: what is left of it is for messages.
        wal.set_len(end)?;
    }
    zeros.map(drop)
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
