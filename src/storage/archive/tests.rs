//! An archive is written in steps of which any may be the last, and read as a part of the log; what is not as it was written
//! is refused.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::consensus::{
    Batch, Body, ClusterId, Entry, Founding, FoundingState, Incarnation, Mark, Member, Mode, ReplicaId, Term,
};
use crate::machine::{MachineStorage as _, apply};
use crate::storage::{Goal, LogReader, Opened, Sources, StateStore, open, replay};

const ME: ReplicaId = ReplicaId(1);
const LAST: u64 = 3_000;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn entry(index: u64) -> Entry {
    let members = vec![Member { id: ME, incarnation: Incarnation(1) }];
    let body = match index {
        1 => Body::Founding(Founding { cluster: ClusterId(7), mode: Mode::Quorum, members }),
        n if n % 5 == 0 => Body::Noop,
        n if n % 7 == 0 => Body::Command(bytes::Bytes::from_static(b"any bytes: \xff|\n|")),
        n => Body::Command(format!("+1.a0.7.{n}|bob#2|5|alice|{n}|b").into()),
    };
    Entry { index: Index(index), term: Term(index / 1_000), time: 10 * index, body }
}

fn entries(from: u64, to: u64) -> Vec<Entry> {
    (from..=to).map(entry).collect()
}

/// A replica that has applied all of its log.
fn filled(dir: &Path) -> Opened {
    let mut opened = open(dir, ME, "plainsong").expect("it opens");
    let batch = Batch { founding: Some(FoundingState::Sealed), append: entries(1, LAST), ..Batch::default() };
    opened.log.write(&[batch]).expect("the log takes it");
    opened.state.begin().expect("it begins");
    for index in 1..=LAST {
        apply(&mut opened.state, &entry(index), &mut Vec::new()).expect("it applies");
    }
    opened.state.commit().expect("it commits");
    opened.state.sync().expect("it syncs");
    opened
}

fn digest_at(index: u64) -> u64 {
    let dir = dir();
    let mut state = open(dir.path(), ME, "plainsong").expect("it opens").state;
    state.begin().expect("it begins");
    (1..=index).for_each(|index| drop(apply(&mut state, &entry(index), &mut Vec::new()).expect("it applies")));
    state.commit().expect("it commits");
    state.digest()
}

fn cut(opened: &mut Opened, index: u64) {
    let mark = Mark { index: Index(index), digest: digest_at(index) };
    opened.log.write(&[Batch { cut: Some(mark), ..Batch::default() }]).expect("the log is cut");
    while opened.log.sweep().expect("a step") {}
}

fn names(dir: &Path) -> Vec<(u64, u64)> {
    stretches(dir).expect("they are listed").iter().map(|stretch| (stretch.first.0, stretch.last.0)).collect()
}

fn replayed(data: &Path, archive: &Path) -> Result<u64, StorageError> {
    let into = dir();
    let mut state = StateStore::create_scratch(into.path(), &LogReader::open(data)?.owner()?)?;
    let from = Sources { log: data, archive: Some(archive) };
    replay(from, &mut state, Goal::index(Index(LAST)), &mut |_| {})?;
    Ok(state.digest())
}

#[test]
fn archive_and_log_are_one_history_wherever_it_is_cut() {
    let (data, old) = (dir(), dir());
    let archived = old.path().join("1");
    let mut opened = filled(data.path());
    for at in [64, 128, 1_024, 2_432] {
        archive(data.path(), &archived, Index(at)).expect("it is archived");
        cut(&mut opened, at);
        let history = History::open(data.path(), Some(&archived)).expect("it opens");
        assert_eq!((history.first().expect("it reads"), history.last().expect("it reads")), (Index(1), Index(LAST)));
        let mut found = Vec::new();
        while found.len() < LAST as usize {
            let next = Index(found.len() as u64 + 1);
            found.extend(history.read(next, Index(LAST), 10_000).expect("it reads"));
        }
        assert_eq!(found, entries(1, LAST));
        assert_eq!(history.read(Index(60), Index(63), usize::MAX).expect("it reads"), entries(60, 63));
        assert_eq!(replayed(data.path(), &archived).expect("it is sound"), opened.state.digest());
    }
    assert_eq!(names(&archived), [(1, 64), (65, 128), (129, 1_024), (1_025, 2_432)]);
    let history = History::open(data.path(), Some(&archived)).expect("it opens");
    for (time, first) in [(0, 1), (10, 1), (660, 65), (20_000, 1_025), (24_340, 2_433), (90_000, 2_433)] {
        assert_eq!(history.file_before(time).expect("it reads"), Index(first), "{time}");
    }
}

/// What a kill may leave: a file that is not finished; files that the log has not been cut behind.
#[test]
fn a_kill_leaves_no_hole_and_nothing_twice() {
    let (data, old) = (dir(), dir());
    let mut opened = filled(data.path());
    archive(data.path(), old.path(), Index(500)).expect("it is archived");
    fs::write(old.path().join(PART), "half a file").expect("written");
    archive(data.path(), old.path(), Index(800)).expect("it is archived");
    assert_eq!(names(old.path()), [(1, 500), (501, 800)]);
    archive(data.path(), old.path(), Index(800)).expect("nothing is left to do");
    assert_eq!(names(old.path()), [(1, 500), (501, 800)]);
    cut(&mut opened, 768);
    archive(data.path(), old.path(), Index(1_000)).expect("it is archived");
    assert_eq!(names(old.path()), [(1, 500), (501, 800), (801, 1_000)]);
    assert_eq!(replayed(data.path(), old.path()).expect("it is sound"), opened.state.digest());
    assert!(!old.path().join(PART).exists());
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused() {
    let (data, old) = (dir(), dir());
    let mut opened = filled(data.path());
    archive(data.path(), old.path(), Index(1_024)).expect("it is archived");
    cut(&mut opened, 1_024);
    let path = stretches(old.path()).expect("one")[0].path(old.path());
    let bytes = fs::read(&path).expect("it reads");
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 0x10;
        fs::write(&path, spoilt).expect("written");
        let error = replayed(data.path(), old.path()).expect_err("a flipped bit");
        assert!(error.is_damage(), "at {at}: {error}");
    }
    for len in [0, 1, 10, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).expect("written");
        assert!(replayed(data.path(), old.path()).expect_err("cut off").is_damage(), "{len}");
    }
    fs::rename(&path, Stretch { first: Index(2), last: Index(1_025) }.path(old.path())).expect("renamed");
    assert!(matches!(replayed(data.path(), old.path()), Err(StorageError::CutMeanwhile(Index(1)))));
}

#[test]
fn nothing_is_added_to_the_archive_of_another_history() {
    let (data, old) = (dir(), dir());
    let opened = filled(data.path());
    archive(data.path(), old.path(), Index(1_000)).expect("it is archived");
    drop(opened);
    // The same cluster, but another entry 1,000: as after `recover --force` from another disk.
    let other = dir();
    let mut opened = open(other.path(), ME, "plainsong").expect("it opens");
    let mut append = entries(1, 1_000);
    append.push(Entry { term: Term(9), ..entry(1_001) });
    append[999].body = Body::Command("another".into());
    opened.log.write(&[Batch { append, ..Batch::default() }]).expect("the log takes it");
    let error = archive(other.path(), old.path(), Index(1_001)).expect_err("refused");
    assert!(matches!(error, StorageError::OtherArchive(_)), "{error}");
    // A log that is shorter than its archive.
    let short = dir();
    let mut opened = open(short.path(), ME, "plainsong").expect("it opens");
    opened.log.write(&[Batch { append: entries(1, 900), ..Batch::default() }]).expect("the log takes it");
    let error = archive(short.path(), old.path(), Index(900)).expect_err("refused");
    assert!(matches!(error, StorageError::OtherArchive(_)), "{error}");
    assert_eq!(names(old.path()), [(1, 1_000)]);
}

/// The log says what the state was where it begins.
#[test]
fn an_archive_that_leads_elsewhere_is_not_taken_for_this_logs() {
    let (data, old, other) = (dir(), dir(), dir());
    let mut opened = filled(data.path());
    archive(data.path(), old.path(), Index(1_024)).expect("it is archived");
    cut(&mut opened, 1_024);
    let mut changed = open(other.path(), ME, "plainsong").expect("it opens");
    let mut append = entries(1, 1_024);
    append[700].body = Body::Command("another".into());
    changed.log.write(&[Batch { append, ..Batch::default() }]).expect("the log takes it");
    let elsewhere = dir();
    archive(other.path(), elsewhere.path(), Index(1_024)).expect("it is archived");
    assert!(matches!(replayed(data.path(), elsewhere.path()), Err(StorageError::OtherArchive(_))));
    assert_eq!(replayed(data.path(), old.path()).expect("its own"), opened.state.digest());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (data, old) = (dir(), dir());
    let _opened = filled(data.path());
    fs::write(old.path().join("file"), "").expect("written");
    let error = archive(data.path(), &old.path().join("file"), Index(500)).expect_err("no folder");
    assert!(error.to_string().contains("file"), "{error}");
}
