//! What can go wrong below the log and the state, sorted by what the reader of the error must do.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::consensus::{Index, ReplicaId};

/// The file that is derived.
pub(super) const STATE: &str = "state.db";

/// A failed step of the storage. Only [`StorageError::Full`] may be tried again; whoever meets another one while it
/// serves stops the process, because what the disk now holds is not known.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space left. The transaction was rolled back: nothing of it is stored, and it may be tried again.
    #[error("the disk is full: nothing was changed; free some space and it will go on")]
    Full,
    /// A row of the log is not what was written.
    #[error(
        "entry {index} of the replay log is damaged ({what}). Nothing was cut off. Check the disk; then set this \
         replica's data directory aside and start it blank, and it is filled again from the others"
    )]
    Damaged {
        /// Which entry.
        index: Index,
        /// What was wrong with it.
        what: &'static str,
    },
    /// A file is no longer a database that SQLite can read, or its own bookkeeping contradicts itself.
    #[error(
        "{file} is damaged ({what}). If it is state.db, it is set aside and derived again from the log, by itself. \
         If it is log.db, set the data directory aside and start blank, and it is filled again from the others"
    )]
    Corrupt {
        /// Which file.
        file: &'static str,
        /// What was found.
        what: String,
    },
    /// The log ends before what the state has applied: the disk lost something that was reported as stored.
    #[error(
        "the replay log ends at entry {last}, but entry {applied} was applied: the disk has lost its tail. This replica \
         counts as wiped: set its files aside and start it blank, and it is filled again from the others"
    )]
    LogBehindState {
        /// The log's last entry.
        last: Index,
        /// The last entry in the state.
        applied: Index,
    },
    /// The log is blank, but the state beside it is not: the disk lost all of it.
    #[error(
        "the replay log is blank, but state.db beside it is not: the disk has lost the log. This replica counts as \
         wiped: set its files aside and start it blank, and it is filled again from the others"
    )]
    LogLost,
    /// The running replica lets its log begin later than it did a moment ago.
    #[error("entry {0} was cut off from the log while it was read: begin again")]
    CutMeanwhile(Index),
    /// The log does not reach back to where the state is.
    #[error(
        "the replay log begins behind entry {base}, but the state has applied only {applied} entries: the others were cut \
         away, and it cannot be derived again here. This replica counts as wiped: set its files aside and start it blank, \
         and it is filled again from the others"
    )]
    StateLost {
        /// The last entry that the log does not keep.
        base: Index,
        /// The last entry in the state.
        applied: Index,
    },
    /// A copy of the state that was fetched is not what was offered.
    #[error("the fetched copy of the state is damaged ({0}): it is fetched again")]
    BadCopy(&'static str),
    /// A file of an archive is not what was written.
    #[error(
        "{path} is damaged ({what}): put a file with these entries from another replica's archive in its place, or          restore it from a backup"
    )]
    ArchiveDamaged {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        what: &'static str,
    },
    /// The archive is not what was cut away from this log.
    #[error(
        "{0} is the archive of another history than this log's: move it away, or name another folder in `log.archive`"
    )]
    OtherArchive(PathBuf),
    /// There is no backup to restore.
    #[error("{0} is no backup: it holds no backup.txt")]
    NoBackup(PathBuf),
    /// A backup is not what was written.
    #[error("{0} is not what the backup says: restore another one")]
    BadBackup(PathBuf),
    /// A copy of the state would fill the disk.
    #[error(
        "a copy of the state needs {needed} MiB with what must stay free, and {free} MiB are free: free some space"
    )]
    NoRoom {
        /// MiB.
        needed: u64,
        /// MiB.
        free: u64,
    },
    /// The state was made beside another log.
    #[error(
        "state.db belongs to another log than log.db beside it. Move state.db (and its -wal and -shm) away and start \
         again: it is rebuilt from the log"
    )]
    OtherState,
    /// The data directory belongs to another replica.
    #[error(
        "{path} belongs to replica {found}, not to replica {wanted}: start it with -i {found}, or use another --data"
    )]
    OtherReplica {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ReplicaId,
        /// Who wanted it.
        wanted: ReplicaId,
    },
    /// The data directory belongs to another cluster.
    #[error(
        "{path} belongs to cluster {found:?}, but the configuration says {wanted:?}: correct `cluster` or `data_dir`"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
    /// Another process holds the data directory.
    #[error("{path} is in use by {holder}: stop that one first, or give this one another --data")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// There is no log to read.
    #[error("{0} does not exist: is this the data directory of a replica that has run?")]
    NoLog(PathBuf),
    /// A new file was to be made where one is.
    #[error(
        "{0} is there already, and is not overwritten: name a directory that is empty or new, or set this one aside"
    )]
    Occupied(PathBuf),
    /// A later version wrote it.
    #[error("{file} has schema {found}, this program knows {known}: use the version of plainsong that wrote it")]
    Schema {
        /// Which file.
        file: &'static str,
        /// What it has.
        found: u64,
        /// What we know.
        known: u64,
    },
    /// The file system cannot do it.
    #[error("SQLite cannot keep a write-ahead log on this file system (it offers {0:?}): use a local disk")]
    NoWal(String),
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Anything else from SQLite: a failed fsync, a failed read, a bug of ours.
    #[error("SQLite: {0}")]
    Sqlite(rusqlite::Error),
}

impl StorageError {
    /// Whether nothing has happened and the same write may be tried again.
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::Full)
    }

    /// Whether the directory no longer holds what this replica has promised to hold, so that it must be set aside whole.
    pub fn counts_as_wiped(&self) -> bool {
        matches!(self, Self::LogBehindState { .. } | Self::LogLost | Self::StateLost { .. })
    }

    /// A word for the folder that is set aside.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::LogBehindState { .. } | Self::LogLost => "log-behind-state",
            Self::StateLost { .. } => "state-behind-log",
            _ => "unusable",
        }
    }

    /// Whether the state alone cannot be used, so that it must be set aside and derived again from the log.
    pub fn is_state_unusable(&self) -> bool {
        matches!(self, Self::Corrupt { file: STATE, .. } | Self::Schema { file: STATE, .. })
    }

    /// Whether it says that files are not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Corrupt { .. } | Self::ArchiveDamaged { .. } => true,
            Self::BadBackup(_) => true,
            Self::LogBehindState { .. } | Self::LogLost | Self::StateLost { .. } => true,
            Self::Sqlite(error) => is_damage(error),
            _ => false,
        }
    }

    /// An error that a use of the state has met: whatever only damage can cause names it so. Nobody but one store writes
    /// that file, and with few and fixed statements.
    pub fn of_state(self) -> Self {
        match self {
            Self::Sqlite(error) if is_damage(&error) => Self::corrupt(STATE, error.to_string()),
            other => other,
        }
    }

    /// A state that was found not to be what it should.
    pub fn corrupt_state(what: impl Into<String>) -> Self {
        Self::corrupt(STATE, what)
    }

    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full,
            _ => Self::Io { doing, path, source },
        }
    }

    pub(super) fn corrupt(file: &'static str, what: impl Into<String>) -> Self {
        Self::Corrupt { file, what: what.into() }
    }

    /// Names the file in an error about a database that SQLite could not read.
    pub(super) fn in_file(self, file: &'static str) -> Self {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, what)) if is_corrupt(error.code) => {
                Self::Corrupt { file, what: what.unwrap_or_else(|| error.to_string()) }
            }
            other => other,
        }
    }
}

/// A statement that worked before and does not now; a cell, a row or a key that no statement of ours has made.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Of;
    match error {
        Of::SqliteFailure(error, _) | Of::SqlInputError { error, .. } => {
            is_corrupt(error.code)
                || matches!(error.code, ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
        }
        Of::FromSqlConversionFailure(..)
        | Of::IntegralValueOutOfRange(..)
        | Of::InvalidColumnType(..)
        | Of::Utf8Error(..)
        | Of::QueryReturnedNoRows => true,
        _ => false,
    }
}

fn is_corrupt(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
}

/// SQLite's unix layer itself turns ENOSPC of a write into SQLITE_FULL; only growing the -shm file has a code of its
/// own. A failed *fsync* for want of space is not among them on purpose: its pages may or may not be on the disk.
impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(e, _)
                if e.code == ErrorCode::DiskFull || e.extended_code == SQLITE_IOERR_SHMSIZE =>
            {
                Self::Full
            }
            _ => Self::Sqlite(error),
        }
    }
}
