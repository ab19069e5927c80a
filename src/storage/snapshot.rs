//! Copies of the state: made here for a replica that lacks what the log no longer keeps, or fetched from another.
//!
//! # Made
//! SQLite's online backup, over a connection of its own, within one read transaction: it sees the state after one commit,
//! whole, while the writer goes on. There is one copy at a time, and none outlasts a start.
//!
//! # Fetched
//! Into `incoming.part`, in order, however often the link breaks. Then the whole is checked against its checksum, its own
//! checksums and what was offered, made this replica's own, synced, and renamed.
//!
//! # Installed
//! By a replica that is stopped: nothing of the old state is left to be served from. In this order; a crash behind any step
//! leaves what the next start makes good:
//!
//! 1. `incoming.db` is there, whole and synced, under its name. *The log does not name it: the next start removes it, and
//!    the replica is as it was.*
//! 2. One synced transaction of `log.db`: the log begins behind the copy's entry ([`super::install`]). *The state is behind
//!    the base now, and the copy at it: the next start goes on with 3. The base says index and digest, so no other copy is
//!    taken for it.*
//! 3. `state.db-wal` and `-shm` are removed, and this is synced. *The old `state.db` is still there, perhaps without its
//!    tail; it is behind the base as before, so 3 is done again.* Were the rename first, SQLite would play the old
//!    write-ahead log into the new file.
//! 4. `incoming.db` is renamed to `state.db`, and this is synced. *The state is at the base: nothing is left to do.*
//!
//! A crash of the machine that undoes a rename undoes it to an earlier step, because each step is synced before the next.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use xxhash_rust::xxh3::Xxh3;

use super::dir::sync_dir;
use super::error::StorageError;
use super::log::{Foot, LogReader};
use super::{db, state};
use crate::consensus::{Base, Index, Member, Snapshot};

#[cfg(test)]
mod tests;

const OUTGOING: &str = "outgoing.db";
const OUTGOING_PART: &str = "outgoing.part";
const INCOMING: &str = "incoming.db";
const INCOMING_PART: &str = "incoming.part";

/// Pages copied in one step: 4 MiB.
const BACKUP_PAGES: i32 = 1024;
/// Read in one go, for the checksum.
const HASH_BYTES: usize = 1 << 20;

/// A copy that can be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// What it is.
    pub snapshot: Snapshot,
    path: PathBuf,
    file: File,
}

impl Outgoing {
    /// Copies the state of a running replica as it is now; an earlier copy is removed. `None`: the log was cut beyond the
    /// copy while it was made; another try will do.
    pub fn make(dir: &Path) -> Result<Option<Self>, StorageError> {
        let (part, path) = (dir.join(OUTGOING_PART), dir.join(OUTGOING));
        remove(&path)?;
        remove_database(&part)?;
        let (applied, digest) = back_up(&dir.join(state::FILE), &part).map_err(StorageError::of_state)?;
        let Some(foot) = LogReader::open(dir)?.foot_of(applied, digest)? else { return Ok(None) };
        fs::rename(&part, &path).map_err(StorageError::io("rename", &part))?;
        let file = File::open(&path).map_err(StorageError::io("open", &path))?;
        let (bytes, checksum) = checksum(&path)?;
        let Foot { base, named, cluster } = foot;
        Ok(Some(Self { snapshot: Snapshot { base, named, cluster, bytes, checksum }, path, file }))
    }

    /// Up to `bytes_max` bytes from `offset` on; none behind the end.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, StorageError> {
        let left = self.snapshot.bytes.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        let mut bytes = BytesMut::zeroed(len);
        self.file.read_exact_at(&mut bytes, offset).map_err(StorageError::io("read", &self.path))?;
        Ok(bytes.freeze())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next copy, or the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies the state as of one commit. Returns how far it is, and its digest.
fn back_up(from: &Path, to: &Path) -> Result<(Index, u64), StorageError> {
    let source = db::open_reader(from)?;
    // While this transaction is open the source does not change, and the copy never has to begin again.
    source.execute_batch("BEGIN")?;
    let position = state::position(&source, None)?;
    let mut copy = Connection::open(to)?;
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        while backup.step(BACKUP_PAGES)? != StepResult::Done {}
    }
    // A file of its own, without a write-ahead log beside it.
    let _: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    copy.close().map_err(|(_, error)| error)?;
    source.execute_batch("ROLLBACK")?;
    Ok(position)
}

/// A copy that is being fetched.
#[derive(Debug)]
pub struct Incoming {
    snapshot: Snapshot,
    dir: PathBuf,
    file: File,
    /// So much of it is here.
    offset: u64,
}

impl Incoming {
    /// Begins to fetch a copy: what was fetched of another is given up.
    pub fn begin(dir: &Path, snapshot: Snapshot) -> Result<Self, StorageError> {
        let path = dir.join(INCOMING_PART);
        remove_database(&path)?;
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(StorageError::io("create", &path))?;
        Ok(Self { snapshot, dir: dir.to_owned(), file, offset: 0 })
    }

    /// Which copy.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Where to go on.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.offset >= self.snapshot.bytes
    }

    /// Adds what comes next. What does not come next, or is too much, is dropped: it was asked for twice. Returns whether it
    /// was taken.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, StorageError> {
        let end = offset + bytes.len() as u64;
        if offset != self.offset || bytes.is_empty() || end > self.snapshot.bytes {
            return Ok(false);
        }
        self.file.write_all(bytes).map_err(StorageError::io("write", self.dir.join(INCOMING_PART)))?;
        self.offset = end;
        Ok(true)
    }

    /// Checks the whole, makes it the state of `me`, and puts it, synced, where [`super::install`] leads to.
    pub fn finish(self, me: Member, cluster: &str) -> Result<Snapshot, StorageError> {
        let Self { snapshot, dir, file, .. } = self;
        let (part, path) = (dir.join(INCOMING_PART), dir.join(INCOMING));
        drop(file);
        if checksum(&part)? != (snapshot.bytes, snapshot.checksum) {
            return Err(StorageError::BadCopy("its checksum differs"));
        }
        take_over(&part, me, cluster, &snapshot.base)?;
        File::open(&part).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", &part))?;
        fs::rename(&part, &path).map_err(StorageError::io("rename", &part))?;
        sync_dir(&dir)?;
        Ok(snapshot)
    }
}

/// Checks a copy's own word against what was offered, and makes it this replica's.
fn take_over(path: &Path, me: Member, cluster: &str, base: &Base) -> Result<(), StorageError> {
    let copy = Connection::open(path)?;
    let _: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    copy.execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")?;
    if state::position(&copy, Some(cluster))? != (base.index, base.digest) {
        return Err(StorageError::BadCopy("it is not the state after the entry that it was offered for"));
    }
    state::adopt(&copy, me)?;
    copy.execute_batch("COMMIT")?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// At a start, before the state is opened: finishes an installation that the log has begun, and removes what belongs to
/// none.
pub(super) fn tidy(dir: &Path, base: &Base) -> Result<(), StorageError> {
    for name in [OUTGOING_PART, INCOMING_PART] {
        remove_database(&dir.join(name))?;
    }
    remove(&dir.join(OUTGOING))?;
    let incoming = dir.join(INCOMING);
    if !incoming.exists() {
        return Ok(());
    }
    let (state, whole) = (dir.join(state::FILE), (base.index, base.digest));
    let is_named = position_of(&incoming).is_ok_and(|position| position == whole);
    // A state that cannot be read is no better than one that is behind.
    let is_behind = !state.exists() || position_of(&state).map_or(true, |(applied, _)| applied < base.index);
    if !is_named || !is_behind {
        return remove_database(&incoming);
    }
    for end in ["-wal", "-shm"] {
        remove(&beside(&state, end))?;
    }
    sync_dir(dir)?;
    fs::rename(&incoming, &state).map_err(StorageError::io("rename", &incoming))?;
    sync_dir(dir)?;
    log::info!("the state is a copy of another replica's, after entry {}", base.index);
    Ok(())
}

fn position_of(path: &Path) -> Result<(Index, u64), StorageError> {
    state::position(&db::open_reader(path)?, None)
}

/// Length and checksum.
fn checksum(path: &Path) -> Result<(u64, u64), StorageError> {
    let fail = |error| StorageError::io("read", path)(error);
    let mut file = File::open(path).map_err(fail)?;
    let mut hasher = Xxh3::new();
    let (mut bytes, mut buffer) = (0, vec![0; HASH_BYTES]);
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok((bytes, hasher.digest())),
            n => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// A database that nobody has open, with what may lie beside it.
fn remove_database(path: &Path) -> Result<(), StorageError> {
    remove(path)?;
    ["-journal", "-wal", "-shm"].iter().try_for_each(|end| remove(&beside(path, end)))
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
