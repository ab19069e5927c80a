//! A copy that is being fetched, in order, however often the link breaks or the process ends.
//!
//! `incoming.part` holds what is here, `incoming.as` says of which copy, and how much of it no crash takes away: a line for
//! each time that the part was synced. A start goes on from there, if the same copy is offered again; of another one it
//! begins anew. Nothing of it is trusted: the whole is checked against its checksum in the end.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{INCOMING, INCOMING_AS, INCOMING_PART, checksum, position_of, remove, remove_database, require_room};
use crate::consensus::{Base, Member, Snapshot};
use crate::storage::dir::sync_dir;
use crate::storage::error::StorageError;
use crate::storage::state;

/// The part is synced after so many bytes: what a kill makes a receiver ask for again, at most.
const SYNC_BYTES: u64 = if cfg!(test) { 10_000 } else { 8 << 20 };

/// See the module's header.
#[derive(Debug)]
pub struct Incoming {
    pub(super) snapshot: Snapshot,
    dir: PathBuf,
    file: File,
    marks: File,
    /// So much of it is here.
    offset: u64,
    /// So much of it outlasts a crash.
    synced: u64,
}

impl Incoming {
    /// Begins to fetch a copy, or goes on where an earlier run was with the same one. What was fetched of another is given
    /// up.
    pub fn begin(dir: &Path, snapshot: Snapshot) -> Result<Self, StorageError> {
        match synced(dir, &snapshot) {
            Some(offset) => Self::resume(dir, snapshot, offset),
            None => Self::anew(dir, snapshot),
        }
    }

    fn anew(dir: &Path, snapshot: Snapshot) -> Result<Self, StorageError> {
        let (path, as_path) = (dir.join(INCOMING_PART), dir.join(INCOMING_AS));
        Self::discard(dir)?;
        require_room(dir, snapshot.bytes)?;
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
        let file = create(&path).map_err(StorageError::io("create", &path))?;
        let mut marks = create(&as_path).map_err(StorageError::io("create", &as_path))?;
        let written = writeln!(marks, "{}", name(&snapshot)).and_then(|()| marks.sync_all());
        written.map_err(StorageError::io("write", &as_path))?;
        sync_dir(dir)?;
        Ok(Self { snapshot, dir: dir.to_owned(), file, marks, offset: 0, synced: 0 })
    }

    fn resume(dir: &Path, snapshot: Snapshot, offset: u64) -> Result<Self, StorageError> {
        let (path, as_path) = (dir.join(INCOMING_PART), dir.join(INCOMING_AS));
        let mut file = OpenOptions::new().write(true).open(&path).map_err(StorageError::io("open", &path))?;
        // What is behind the last sync may be anything after a crash of the machine.
        let cut = file.set_len(offset).and_then(|()| file.seek(SeekFrom::Start(offset)));
        cut.map_err(StorageError::io("cut", &path))?;
        let marks = OpenOptions::new().append(true).open(&as_path).map_err(StorageError::io("open", &as_path))?;
        Ok(Self { snapshot, dir: dir.to_owned(), file, marks, offset, synced: offset })
    }

    /// Removes what is fetched and not whole: its room is worth more than its bytes.
    pub fn discard(dir: &Path) -> Result<(), StorageError> {
        remove(&dir.join(INCOMING_AS))?;
        remove_database(&dir.join(INCOMING_PART))
    }

    /// Removes a whole copy that nobody wants any more.
    pub fn discard_whole(dir: &Path) -> Result<(), StorageError> {
        remove_database(&dir.join(INCOMING))
    }

    /// Whether a copy is here that is half fetched, and could be gone on with.
    pub fn is_half_there(dir: &Path) -> bool {
        dir.join(INCOMING_AS).exists()
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
        if self.offset - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(true)
    }

    /// First the bytes, then the word that they are there.
    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(StorageError::io("sync", self.dir.join(INCOMING_PART)))?;
        writeln!(self.marks, "{}", self.offset).map_err(StorageError::io("write", self.dir.join(INCOMING_AS)))?;
        self.synced = self.offset;
        Ok(())
    }

    /// Checks the whole, makes it the state of `me`, and puts it, synced, where [`crate::storage::install`] leads to. What
    /// is not what was offered is removed.
    pub fn finish(self, me: Member, cluster: &str) -> Result<Snapshot, StorageError> {
        let Self { snapshot, dir, file, marks, .. } = self;
        drop((file, marks));
        let finished = finish(&dir, &snapshot, me, cluster);
        if finished.is_err() {
            Self::discard(&dir)?;
        }
        finished.map(|()| snapshot)
    }
}

fn finish(dir: &Path, snapshot: &Snapshot, me: Member, cluster: &str) -> Result<(), StorageError> {
    let (part, path) = (dir.join(INCOMING_PART), dir.join(INCOMING));
    if checksum(&part)? != (snapshot.bytes, snapshot.checksum) {
        return Err(StorageError::BadCopy("its checksum differs"));
    }
    // From here on it is no longer what its sender has: it could not be gone on with.
    remove(&dir.join(INCOMING_AS))?;
    take_over(&part, me, cluster, &snapshot.base)?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", &part))?;
    fs::rename(&part, &path).map_err(StorageError::io("rename", &part))?;
    sync_dir(dir)
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

/// Whether that very copy is here, whole.
pub(in crate::storage) fn is_here(dir: &Path, base: &Base) -> bool {
    position_of(&dir.join(INCOMING)).is_ok_and(|position| position == (base.index, base.digest))
}

/// How much of that very copy is here, and on stable storage.
fn synced(dir: &Path, snapshot: &Snapshot) -> Option<u64> {
    let text = fs::read_to_string(dir.join(INCOMING_AS)).ok()?;
    // A last line without its end was being written.
    let (lines, _) = text.rsplit_once('\n')?;
    let mut lines = lines.lines();
    if lines.next()? != name(snapshot) {
        return None;
    }
    let synced = lines.next_back().map_or(Some(0), |line| line.parse().ok())?;
    let there = fs::metadata(dir.join(INCOMING_PART)).ok()?.len();
    (synced <= there && synced <= snapshot.bytes).then_some(synced)
}

/// Equal for equal copies alone.
fn name(snapshot: &Snapshot) -> String {
    let Base { index, term, time, digest } = snapshot.base;
    let cluster = snapshot.cluster().map_or_else(String::new, |cluster| cluster.to_string());
    let (bytes, checksum) = (snapshot.bytes, snapshot.checksum);
    format!("copy|1|{cluster}|{index}|{term}|{time}|{digest:x}|{bytes}|{checksum:x}")
}
