//! A replica's data directory: one process at a time, one replica for ever.
//!
//! ```text
//! data/3/lock           held while the replica runs; names its process
//! data/3/log.db         the replay log (and -wal, -shm)
//! data/3/state.db       what was derived from it (and -wal, -shm)
//! data/3/outgoing.db     a copy of the state, for a replica that is too far behind (.part while it is made)
//! data/3/incoming.db     one that was fetched, and is about to become state.db (.part while it is fetched)
//! data/3/set-aside-…/   what was given up, kept for whoever wants to look
//! ```
//!
//! Left out: deleting what was ever served from, but for a state that a fetched copy replaces. What is set aside stays
//! until an operator removes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::StorageError;
use super::log;
use crate::consensus::{Boot, ReplicaId};

/// What belongs to one life of a replica, and moves away together.
///
/// In this order a crash half-way is harmless: while `log.db` stands it has its write-ahead log beside it, `state.db`
/// alone is refused, and SQLite drops a write-ahead log whose file is new.
const LIFE: [&str; 6] = ["log.db", "state.db", "log.db-wal", "state.db-wal", "log.db-shm", "state.db-shm"];

/// What can be derived again.
const STATE: [&str; 3] = ["state.db", "state.db-wal", "state.db-shm"];

/// Of a reason, so much becomes part of a folder's name.
const REASON_BYTES_MAX: usize = 40;

/// A locked data directory. The lock is held until it is dropped, or its process ends in any way.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    boot: Boot,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, locks it, and refuses one that belongs to another replica.
    ///
    /// A log that cannot be read is no reason to refuse here: it may be about to be set aside.
    pub fn open(path: &Path, id: ReplicaId) -> Result<Self, StorageError> {
        fs::create_dir_all(path).map_err(StorageError::io("create", path))?;
        let lock = lock(path)?;
        sync_dir(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        let owner = log::peek(path).ok().flatten();
        if let Some(owner) = owner.as_ref().filter(|owner| owner.replica != id) {
            return Err(StorageError::OtherReplica { path: path.to_owned(), found: owner.replica, wanted: id });
        }
        Ok(Self { path: path.to_owned(), boot: owner.map_or(Boot(0), |owner| owner.boot), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves log and state into a folder of their own, so that the replica can start again blank, in a new
    /// incarnation. Returns the folder. Both stores must have been dropped before.
    pub fn set_aside(&mut self, reason: &str) -> Result<PathBuf, StorageError> {
        let folder = self.move_away(&LIFE, reason)?;
        self.boot = Boot(0);
        Ok(folder)
    }

    /// Moves the state alone, so that it is derived again from the log. Its store must have been dropped before.
    pub fn set_aside_state(&mut self, reason: &str) -> Result<PathBuf, StorageError> {
        self.move_away(&STATE, reason)
    }

    /// Puts a finished state, made in another folder of the same file system, in the place of one that was set aside.
    pub fn install_state(&mut self, from: &Path) -> Result<(), StorageError> {
        let (from, to) = (from.join(STATE[0]), self.path.join(STATE[0]));
        fs::rename(&from, to).map_err(StorageError::io("move", from))?;
        sync_dir(&self.path)
    }

    fn move_away(&self, names: &[&str], reason: &str) -> Result<PathBuf, StorageError> {
        let boot = log::peek(&self.path).ok().flatten().map_or(self.boot, |owner| owner.boot);
        let folder = self.new_folder(&format!("set-aside-{boot}-{}", tame(reason)))?;
        for name in names {
            let (from, to) = (self.path.join(name), folder.join(name));
            match fs::rename(&from, to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("set aside", from)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        sync_dir(&folder)?;
        sync_dir(&self.path)?;
        Ok(folder)
    }

    /// A folder that was not there: the same boot can be set aside twice for the same reason.
    fn new_folder(&self, name: &str) -> Result<PathBuf, StorageError> {
        let mut folder = self.path.join(name);
        let mut n = 1;
        loop {
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    n += 1;
                    folder = self.path.join(format!("{name}-{n}"));
                }
                Err(error) => return Err(StorageError::io("create", folder)(error)),
            }
        }
    }
}

fn lock(path: &Path) -> Result<File, StorageError> {
    let name = path.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(StorageError::io("open", &name))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut said = String::new();
            let holder = match file.read_to_string(&mut said) {
                Ok(n) if n > 0 => said.trim().to_owned(),
                _ => "another process".to_owned(),
            };
            return Err(StorageError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(StorageError::io("lock", name)(error)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "process {}", std::process::id())
    };
    match write(&mut file) {
        // The number is a courtesy; a full disk must not keep a replica from starting.
        Ok(()) | Err(_) => Ok(file),
    }
}

/// A new or moved name is durable only once its directory is.
pub(super) fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StorageError::io("sync", path))
}

fn tame(reason: &str) -> String {
    reason.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(REASON_BYTES_MAX).collect()
}
