//! A copy of a replica's files, made beside it while it runs, and a data directory made of one.
//!
//! ```text
//! backup.txt      what is in it, with lengths and checksums
//! state.db        after one commit, whole
//! log.db          at a later moment: it reaches at least as far as the state
//! ```
//! SQLite's online backup makes both, over connections of its own, so that the writers go on.
//!
//! # Promises
//! - A backup is there under its name only when it is whole, checked and on stable storage.
//! - Nothing that is made of it speaks for the replica that it was made of: log and state get another incarnation when they
//!   are copied, and once more when they are put back. What the replica has promised since, a backup does not know; as it is
//!   another member, nobody counts its votes and acknowledgements, until the leader has filled it and made it a voter.
//!
//! # Left out
//! The archive of what was cut away: its files never change, and can be copied as they are.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::dir::{DataDir, sync_dir};
use super::error::StorageError;
use super::log::{self, LogReader};
use super::snapshot::{checksum, copy_database};
use super::state;
use crate::consensus::{Index, Member, ReplicaId};

const MANIFEST: &str = "backup.txt";
const HEAD: &str = "plainsong-backup|1|";
/// In the order in which they are copied, and put in place: a state alone is refused by the next start, and nothing else
/// between the two steps is.
const FILES: [&str; 2] = [state::FILE, log::FILE];
/// The log may be cut beyond the state between the two copies; then both are made again.
const TRIES_MAX: u32 = 5;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// Of which replica it was made.
    pub replica: ReplicaId,
    /// Its log's last entry.
    pub last: Index,
    /// What its state has applied.
    pub applied: Index,
    /// Bytes of both files.
    pub bytes: u64,
}

/// Makes a backup of a replica, running or stopped, in a folder that is not there yet.
pub fn backup(data: &Path, to: &Path) -> Result<Backup, StorageError> {
    if to.exists() {
        return Err(StorageError::Occupied(to.to_owned()));
    }
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    remove_folder(&part)?;
    fs::create_dir_all(&part).map_err(StorageError::io("create", &part))?;
    let made = fill(data, &part).and_then(|made| {
        sync_dir(&part)?;
        fs::rename(&part, to).map_err(StorageError::io("rename", &part))?;
        to.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)?;
        Ok(made)
    });
    if made.is_err() {
        // The error is worth more than what is left of it.
        let _ = remove_folder(&part);
    }
    made
}

fn fill(data: &Path, part: &Path) -> Result<Backup, StorageError> {
    let (applied, last) = copy_both(data, part)?;
    let owner = LogReader::open(part)?.owner()?;
    make_another(part, owner.member.id)?;
    let mut lines = format!("{HEAD}{}|{}|{last}|{applied}\n", owner.cluster, owner.member.id);
    let mut total = 0;
    for name in FILES {
        let path = part.join(name);
        let (bytes, sum) = checksum(&path)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", &path))?;
        lines += &format!("{name}|{bytes}|{sum:016x}\n");
        total += bytes;
    }
    let path = part.join(MANIFEST);
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    write().map_err(StorageError::io("write", &path))?;
    Ok(Backup { cluster: owner.cluster, replica: owner.member.id, last, applied, bytes: total })
}

/// First the state, then the log, which has grown meanwhile, or been cut.
fn copy_both(data: &Path, part: &Path) -> Result<(Index, Index), StorageError> {
    let mut base = Index(0);
    for _ in 0..TRIES_MAX {
        for name in FILES {
            remove_file(&part.join(name))?;
        }
        let look = |conn: &Connection| state::position(conn, None);
        let copied = copy_database(&data.join(state::FILE), &part.join(state::FILE), look);
        let (applied, _) = copied.map_err(StorageError::of_state)?;
        copy_database(&data.join(log::FILE), &part.join(log::FILE), |_| Ok(()))?;
        let copy = LogReader::open(part)?;
        let last = copy.last()?;
        base = copy.base()?.index;
        if applied > last {
            return Err(StorageError::LogBehindState { last, applied });
        }
        if base <= applied {
            return Ok((applied, last));
        }
    }
    Err(StorageError::CutMeanwhile(base))
}

/// Makes log and state in a folder those of a member that nobody knows.
fn make_another(folder: &Path, id: ReplicaId) -> Result<(), StorageError> {
    let member = Member { id, incarnation: log::draw_incarnation()? };
    let mut conn = Connection::open(folder.join(log::FILE))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    log::make_another(&tx, member)?;
    tx.commit()?;
    conn.close().map_err(|(_, error)| error)?;
    let mut conn = Connection::open(folder.join(state::FILE))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    state::adopt(&tx, member)?;
    tx.commit()?;
    conn.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Checks a backup against what it says of itself.
pub fn check(from: &Path) -> Result<Backup, StorageError> {
    let path = from.join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StorageError::NoBackup(from.to_owned()),
        _ => StorageError::io("read", &path)(error),
    })?;
    let (mut backup, files) = parse(&text).ok_or_else(|| StorageError::BadBackup(path.clone()))?;
    for (name, bytes, sum) in files {
        let path = from.join(name);
        if !path.exists() || checksum(&path)? != (bytes, sum) {
            return Err(StorageError::BadBackup(path));
        }
        backup.bytes += bytes;
    }
    Ok(backup)
}

/// A file's name, its length, and its checksum.
type Sum = (&'static str, u64, u64);

fn parse(text: &str) -> Option<(Backup, Vec<Sum>)> {
    let mut lines = text.lines();
    let fields: Vec<&str> = lines.next()?.strip_prefix(HEAD)?.split('|').collect();
    let [cluster, replica, last, applied] = fields[..] else { return None };
    let backup = Backup {
        cluster: cluster.to_owned(),
        replica: ReplicaId(replica.parse().ok()?),
        last: Index(last.parse().ok()?),
        applied: Index(applied.parse().ok()?),
        bytes: 0,
    };
    let files = FILES.into_iter().map(|expected| {
        let fields: Vec<&str> = lines.next()?.split('|').collect();
        let [name, bytes, sum] = fields[..] else { return None };
        (name == expected).then_some((expected, bytes.parse().ok()?, u64::from_str_radix(sum, 16).ok()?))
    });
    Some((backup, files.collect::<Option<_>>()?))
}

/// Makes the data directory of a replica out of a backup: of one that has no files.
pub fn restore(from: &Path, data: &Path, id: ReplicaId) -> Result<Backup, StorageError> {
    let backup = check(from)?;
    if let Some(there) = FILES.map(|name| data.join(name)).into_iter().find(|path| path.exists()) {
        return Err(StorageError::Occupied(there));
    }
    let dir = DataDir::open(data, id)?;
    let part = dir.path().join("restoring");
    remove_folder(&part)?;
    fs::create_dir(&part).map_err(StorageError::io("create", &part))?;
    for name in FILES {
        fs::copy(from.join(name), part.join(name)).map_err(StorageError::io("copy", from.join(name)))?;
    }
    make_another(&part, id)?;
    for name in FILES {
        let path = part.join(name);
        File::open(&path).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", &path))?;
        fs::rename(&path, dir.path().join(name)).map_err(StorageError::io("rename", &path))?;
        sync_dir(dir.path())?;
    }
    remove_folder(&part)?;
    Ok(backup)
}

fn remove_folder(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{Batch, Body, Entry, HardState, Term};
    use crate::machine::{MachineStorage as _, apply};
    use crate::storage::{Opened, open};

    const ME: ReplicaId = ReplicaId(1);

    fn filled(dir: &Path) -> Opened {
        let mut opened = open(dir, ME, "choir").expect("a new folder");
        let entry = |index| Entry { index: Index(index), term: Term(3), time: 7, body: Body::Noop };
        let append: Vec<Entry> = (1..=9).map(entry).collect();
        opened.state.begin().expect("a transaction");
        for entry in &append[..5] {
            apply(&mut opened.state, entry, &mut Vec::new()).expect("it applies");
        }
        opened.state.commit().expect("committed");
        let vote = Some(opened.recovered.me);
        let hard_state = Some(HardState { term: Term(4), vote });
        opened.log.write(&[Batch { hard_state, append, ..Batch::default() }]).expect("written");
        opened
    }

    #[test]
    fn what_is_put_back_has_everything_and_is_another_member() {
        let (data, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let opened = filled(data.path());
        let folder = to.path().join("monday");
        let made = backup(data.path(), &folder).expect("made beside its writer");
        assert_eq!((made.replica, made.last, made.applied), (ME, Index(9), Index(5)));
        assert!(matches!(backup(data.path(), &folder), Err(StorageError::Occupied(_))), "never over another");
        assert_eq!(check(&folder).expect("sound"), made);
        let mut incarnations = vec![opened.recovered.me.incarnation];
        for (name, id) in [("1", 1), ("2", 2)] {
            let back = to.path().join(name);
            restore(&folder, &back, ReplicaId(id)).expect("put back");
            assert!(matches!(restore(&folder, &back, ReplicaId(id)), Err(StorageError::Occupied(_))));
            let found = open(&back, ReplicaId(id), "choir").expect("it opens");
            let recovered = found.recovered;
            assert_eq!((recovered.last, recovered.applied, recovered.me.id), (Index(9), Index(5), ReplicaId(id)));
            assert_eq!(found.state.digest(), opened.state.digest());
            assert_eq!(recovered.hard_state, HardState { term: Term(4), vote: None }, "it has voted for nobody");
            incarnations.push(recovered.me.incarnation);
        }
        // And one that was copied by hand.
        incarnations.push(LogReader::open(&folder).expect("it opens").owner().expect("one").member.incarnation);
        incarnations.sort_unstable();
        incarnations.dedup();
        assert_eq!(incarnations.len(), 4, "none speaks for another");
    }

    #[test]
    fn a_backup_that_is_not_what_was_written_is_refused() {
        let (data, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let _opened = filled(data.path());
        let folder = to.path().join("monday");
        backup(data.path(), &folder).expect("made");
        for name in FILES {
            let bytes = fs::read(folder.join(name)).expect("it reads");
            let mut spoilt = bytes.clone();
            spoilt[bytes.len() / 2] ^= 1;
            fs::write(folder.join(name), spoilt).expect("written");
            assert!(matches!(restore(&folder, &to.path().join("1"), ME), Err(StorageError::BadBackup(_))));
            assert!(!to.path().join("1").exists());
            fs::write(folder.join(name), bytes).expect("written");
        }
        fs::write(folder.join(MANIFEST), "plainsong-backup|1|choir|1|9\n").expect("written");
        assert!(matches!(check(&folder), Err(StorageError::BadBackup(_))));
        assert!(matches!(check(to.path()), Err(StorageError::NoBackup(_))));
    }
}
