//! The one door: who may come in, and what is found behind it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{DataDir, Opened, StorageError};
use crate::consensus::{Batch, Body, Boot, ClusterId, Entry, Founding, Index, Mode, Recovered, ReplicaId, Term};
use crate::machine::{MachineStorage as _, apply};

const ID: ReplicaId = ReplicaId(3);

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(dir: &Path) -> Result<Opened, StorageError> {
    super::open(dir, ID, "plainsong")
}

fn refused(dir: &Path, id: u16, cluster: &str) -> StorageError {
    super::open(dir, ReplicaId(id), cluster).map(drop).expect_err("it is refused")
}

fn noops(from: u64, to: u64) -> Vec<Entry> {
    (from..=to).map(|index| Entry { index: Index(index), term: Term(1), time: 1, body: Body::Noop }).collect()
}

/// Logs entries up to `last`, and applies them up to `applied`.
fn live(opened: &mut Opened, last: u64, applied: u64) {
    let append = noops(opened.log.last().0 + 1, last);
    opened.log.write(&[Batch { append, ..Batch::default() }]).expect("the log takes it");
    opened.state.begin().expect("it begins");
    for entry in noops(opened.recovered.applied.0 + 1, applied) {
        apply(&mut opened.state, &entry, &mut Vec::new()).expect("the state takes it");
    }
    opened.state.commit().expect("it commits");
}

#[test]
fn a_new_directory_is_made_and_found_again() {
    let dir = dir();
    let path = dir.path().join("data").join("3");
    let mut opened = open(&path).expect("it is made");
    let first = opened.recovered.clone();
    assert_eq!((first.me.id, first.boot, first.last, first.applied), (ID, Boot(1), Index(0), Index(0)));
    live(&mut opened, 9, 7);
    drop(opened);
    let second = open(&path).expect("it opens").recovered;
    let expected = Recovered {
        boot: Boot(2),
        last: Index(9),
        last_time: 1,
        applied: Index(7),
        term_starts: vec![(Term(1), Index(1))],
        ..first
    };
    assert_eq!(second, expected);
}

/// Ids that were given once are given again, should the state have lost its tail: they depend on the mode.
#[test]
fn a_state_that_is_opened_again_is_told_the_mode_by_its_log() {
    for mode in [Mode::Quorum, Mode::PrimaryBackup] {
        let dir = dir();
        let mut opened = open(dir.path()).expect("it is made");
        let record = Founding { cluster: ClusterId(5), mode, members: vec![opened.recovered.me] };
        let founding = Entry { index: Index(1), term: Term(0), time: 0, body: Body::Founding(record) };
        opened.log.write(&[Batch { append: vec![founding.clone()], ..Batch::default() }]).expect("the log takes it");
        opened.state.begin().expect("it begins");
        apply(&mut opened.state, &founding, &mut Vec::new()).expect("the state takes it");
        opened.state.commit().expect("it commits");
        assert_eq!(opened.state.mode(), mode, "the record was applied");
        drop(opened);
        assert_eq!(open(dir.path()).expect("it opens").state.mode(), mode, "the record is in the log");
    }
}

#[test]
fn a_second_opener_is_told_who_holds_the_directory() {
    let dir = dir();
    let opened = open(dir.path()).expect("it is made");
    let error = refused(dir.path(), 3, "plainsong");
    let holder = format!("process {}", std::process::id());
    assert!(matches!(&error, StorageError::InUse { holder: found, .. } if *found == holder), "{error}");
    drop(opened);
    open(dir.path()).expect("the lock went with its holder");
}

#[test]
fn a_directory_of_another_is_refused_and_stays_as_it_was() {
    let dir = dir();
    drop(open(dir.path()).expect("it is made"));
    assert!(matches!(refused(dir.path(), 4, "plainsong"), StorageError::OtherReplica { found: ID, .. }));
    assert!(matches!(refused(dir.path(), 3, "chant"), StorageError::OtherCluster { .. }));
    assert_eq!(open(dir.path()).expect("it opens").recovered.boot, Boot(2), "refused starts are not counted");
}

#[test]
fn a_log_behind_its_state_counts_as_wiped_and_can_start_again_blank() {
    let (dir, older) = (dir(), dir());
    let mut opened = open(dir.path()).expect("it is made");
    live(&mut opened, 5, 5);
    drop(opened);
    fs::copy(dir.path().join("log.db"), older.path().join("log.db")).expect("the file copies");
    let mut opened = open(dir.path()).expect("it opens");
    let me = opened.recovered.me;
    live(&mut opened, 6, 6);
    drop(opened);
    fs::copy(older.path().join("log.db"), dir.path().join("log.db")).expect("an older log is put back");
    let error = refused(dir.path(), 3, "plainsong");
    assert!(matches!(error, StorageError::LogBehindState { last: Index(5), applied: Index(6) }), "{error}");

    let mut held = DataDir::open(dir.path(), ID).expect("it opens");
    let folder = held.set_aside("log behind state").expect("it is set aside");
    assert!(folder.ends_with("set-aside-2-log-behind-state") && folder.join("state.db").exists(), "{folder:?}");
    drop(held);
    let recovered = open(dir.path()).expect("it is made").recovered;
    assert_eq!((recovered.boot, recovered.last, recovered.applied), (Boot(1), Index(0), Index(0)));
    assert_ne!(recovered.me, me, "in a new incarnation");
}

/// The whole log stood in log.db-wal, and that was lost.
#[test]
fn a_log_that_lost_its_wal_counts_as_wiped() {
    let dir = dir();
    let mut opened = open(dir.path()).expect("it is made");
    live(&mut opened, 5, 5);
    let state = fs::read(dir.path().join("state.db-wal")).expect("the file reads");
    drop(opened);
    fs::write(dir.path().join("state.db-wal"), state).expect("the file is written");
    fs::write(dir.path().join("log.db"), []).expect("the file is emptied");
    let error = refused(dir.path(), 3, "plainsong");
    assert!(matches!(error, StorageError::LogLost), "{error}");
    let error = refused(dir.path(), 3, "plainsong");
    assert!(matches!(error, StorageError::LogLost), "still so at the next start: {error}");
}

#[test]
fn setting_aside_twice_keeps_both() {
    let dir = dir();
    for folder in ["set-aside-1-why-", "set-aside-1-why--2"] {
        let mut opened = open(dir.path()).expect("it is made");
        let (log, state) = (opened.log, opened.state);
        drop((log, state));
        assert!(opened.dir.set_aside("why?").expect("it is set aside").ends_with(folder));
        drop(opened.dir);
    }
}

/// 1. The replica sets its files aside. 2. It dies after the first renames. 3. It starts again.
#[test]
fn a_crash_while_setting_aside_leaves_no_old_log_half_there() {
    for moved in [&["log.db"][..], &["log.db", "state.db"][..]] {
        let dir = dir();
        let mut opened = open(dir.path()).expect("it is made");
        live(&mut opened, 5, 5);
        let names = ["log.db", "log.db-wal", "state.db", "state.db-wal"];
        let files: Vec<Vec<u8>> =
            names.iter().map(|name| fs::read(dir.path().join(name)).expect("the file reads")).collect();
        drop(opened);
        for (name, bytes) in names.iter().zip(files).filter(|(name, _)| !moved.contains(name)) {
            fs::write(dir.path().join(name), bytes).expect("the file is written");
        }
        for name in moved {
            fs::remove_file(dir.path().join(name)).expect("the file goes");
        }
        match open(dir.path()) {
            Ok(opened) => assert_eq!((opened.recovered.last, opened.recovered.applied), (Index(0), Index(0))),
            Err(error) => assert!(matches!(error, StorageError::LogLost) && moved.len() == 1, "{error}"),
        }
    }
}

#[test]
fn a_state_that_is_set_aside_is_made_anew() {
    let dir = dir();
    let mut opened = open(dir.path()).expect("it is made");
    live(&mut opened, 5, 5);
    drop(opened);
    let mut held = DataDir::open(dir.path(), ID).expect("it opens");
    let folder = held.set_aside_state("rebuild").expect("it is set aside");
    assert!(folder.join("state.db").exists() && !folder.join("log.db").exists());
    drop(held);
    let recovered = open(dir.path()).expect("it opens").recovered;
    assert_eq!((recovered.last, recovered.applied), (Index(5), Index(0)));
}

#[test]
fn a_damaged_log_can_still_be_set_aside() {
    let dir = dir();
    drop(open(dir.path()).expect("it is made"));
    fs::write(dir.path().join("log.db"), vec![b'x'; 8192]).expect("the file is written");
    assert!(matches!(refused(dir.path(), 3, "plainsong"), StorageError::Corrupt { file: "log.db", .. }));
    DataDir::open(dir.path(), ID).expect("it opens").set_aside("damaged").expect("it is set aside");
    open(dir.path()).expect("it is made anew");
}
