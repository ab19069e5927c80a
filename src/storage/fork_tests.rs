//! A side that yields: what leaves the log, what becomes of it, and what a start finds after a crash between any two steps.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::{LogReader, Opened, StorageError};
use crate::consensus::{
    Batch, Body, Boot, Entry, GivenUp, Incarnation, Index, Member, ReplicaId, Term, View, ViewId, Views,
};
use crate::machine::apply;

const ID: ReplicaId = ReplicaId(3);
const LAST: u64 = 9;
const FORK: u64 = 6;

fn open(dir: &Path) -> Result<Opened, StorageError> {
    super::open(dir, ID, "plainsong")
}

fn entry(index: u64, term: u64) -> Entry {
    let text = Bytes::from(format!("+1.a0.7.{index}|a"));
    Entry { index: Index(index), term: Term(term), time: 1_000 + index, body: Body::Command(text) }
}

fn winner() -> ViewId {
    ViewId { number: 7, proposer: Member { id: ReplicaId(2), incarnation: Incarnation(5) }, boot: Boot(1) }
}

/// What the core hands out when it yields.
fn yields(applied: bool) -> Batch {
    let view = View { id: winner(), ..View::default() };
    Batch {
        views: Some(Box::new(Views { promised: view.clone(), installed: view })),
        truncate_from: Some(Index(FORK)),
        given_up: Some(GivenUp { to: winner(), at: 77, applied }),
        ..Batch::default()
    }
}

fn apply_to(opened: &mut Opened, entries: impl Iterator<Item = Entry>) {
    opened.state.begin().expect("it begins");
    for entry in entries {
        apply(&mut opened.state, &entry, &mut Vec::new()).expect("the state takes it");
    }
    opened.state.commit().expect("it commits");
}

/// A log up to [`LAST`], and a state that has applied it up to `applied`.
fn served(applied: u64) -> (TempDir, Opened) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut opened = open(dir.path()).expect("it is made");
    let append = (1..=LAST).map(|index| entry(index, 4)).collect();
    opened.log.write(&[Batch { append, ..Batch::default() }]).expect("the log takes it");
    apply_to(&mut opened, (1..=applied).map(|index| entry(index, 4)));
    (dir, opened)
}

fn kept(dir: &Path) -> Vec<Entry> {
    let orphans = LogReader::open(dir).and_then(|log| log.orphans(0, 100)).expect("it reads");
    assert!(orphans.iter().all(|orphan| (orphan.given_up_to, orphan.given_up_at) == (winner(), 77)));
    orphans.into_iter().map(|orphan| orphan.entry).collect()
}

fn given_up() -> Vec<Entry> {
    (FORK..=LAST).map(|index| entry(index, 4)).collect()
}

fn set_aside(dir: &Path) -> usize {
    let names = fs::read_dir(dir).expect("it lists").map(|file| file.expect("it lists").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("set-aside")).count()
}

#[test]
fn what_is_given_up_is_kept_and_a_state_that_applied_it_is_derived_again() {
    let (dir, mut opened) = served(LAST);
    opened.log.write(&[yields(true)]).expect("the log takes it");
    assert_eq!(kept(dir.path()), given_up());
    drop(opened);
    let mut opened = open(dir.path()).expect("it opens");
    let recovered = &opened.recovered;
    assert_eq!((recovered.last, recovered.applied, recovered.last_time), (Index(5), Index(0), 1_005));
    assert_eq!(recovered.views.as_ref().map(|views| views.installed.id), Some(winner()));
    assert_eq!(set_aside(dir.path()), 1, "the state alone is set aside");

    // It goes on with what the winner has; no later start takes that state for void.
    let append: Vec<Entry> = (FORK..=LAST).map(|index| entry(index, 7)).collect();
    opened.log.write(&[Batch { append: append.clone(), ..Batch::default() }]).expect("the log takes it");
    apply_to(&mut opened, (1..FORK).map(|index| entry(index, 4)).chain(append));
    drop(opened);
    let recovered = open(dir.path()).expect("it opens").recovered;
    assert_eq!((recovered.last, recovered.applied), (Index(LAST), Index(LAST)));
    assert_eq!((kept(dir.path()), set_aside(dir.path())), (given_up(), 1));
}

/// The commit of state.db is not synced: the state may be behind the fork by the next start, and is as good as ever then.
#[test]
fn a_state_that_is_behind_the_fork_is_kept() {
    let (dir, mut opened) = served(FORK - 1);
    opened.log.write(&[yields(true)]).expect("the log takes it");
    drop(opened);
    let recovered = open(dir.path()).expect("it opens").recovered;
    assert_eq!((recovered.last, recovered.applied, set_aside(dir.path())), (Index(5), Index(5), 0));
}

#[test]
fn a_crash_between_any_two_steps_comes_to_the_same() {
    // Before the transaction: nothing has happened, and it yields again.
    let (dir, opened) = served(LAST);
    drop(opened);
    assert_eq!(open(dir.path()).expect("it opens").recovered.applied, Index(LAST));

    // The state is moved away, file by file, and the word is still there.
    for moved in [&["state.db"][..], &["state.db", "state.db-wal"], &["state.db", "state.db-wal", "state.db-shm"]] {
        let (dir, mut opened) = served(LAST);
        let files = ["state.db", "state.db-wal"].map(|name| (name, fs::read(dir.path().join(name)).expect("it reads")));
        opened.log.write(&[yields(true)]).expect("the log takes it");
        drop(opened);
        for (name, bytes) in files.iter().filter(|(name, _)| !moved.contains(name)) {
            fs::write(dir.path().join(name), bytes).expect("it is written");
        }
        for name in moved.iter().filter(|name| dir.path().join(name).exists()) {
            fs::remove_file(dir.path().join(name)).expect("it goes");
        }
        let recovered = open(dir.path()).expect("it opens").recovered;
        assert_eq!((recovered.last, recovered.applied), (Index(5), Index(0)), "{moved:?}");
        assert_eq!(kept(dir.path()), given_up());
    }
}

#[test]
fn what_is_given_up_twice_is_kept_once() {
    let (dir, mut opened) = served(0);
    opened.log.write(&[yields(false)]).expect("the log takes it");
    opened.log.write(&[Batch { append: given_up(), ..Batch::default() }]).expect("its side went on with it");
    opened.log.write(&[yields(false)]).expect("the log takes it");
    assert_eq!(kept(dir.path()), given_up());
    let nothing = Batch { truncate_from: Some(Index(LAST + 1)), ..yields(false) };
    opened.log.write(&[nothing]).expect("nothing is there to be dropped");
    assert_eq!(kept(dir.path()), given_up());
}

#[test]
fn a_flipped_bit_in_what_is_kept_is_refused() {
    let (dir, mut opened) = served(LAST);
    opened.log.write(&[yields(true)]).expect("the log takes it");
    drop(opened);
    for (damage, mend) in [
        ("UPDATE void_state SET idx = idx + 1", "UPDATE void_state SET idx = idx - 1"),
        ("UPDATE orphans SET term = term + 1", "UPDATE orphans SET term = term - 1"),
    ] {
        let meddle = |sql| {
            let conn = rusqlite::Connection::open(dir.path().join("log.db")).expect("the file opens");
            conn.execute_batch(sql).expect("the statement runs");
        };
        meddle(damage);
        let read = LogReader::open(dir.path()).and_then(|log| log.orphans(0, 100));
        assert!(open(dir.path()).is_err() || read.is_err(), "{damage}");
        meddle(mend);
    }
    assert_eq!(kept(dir.path()), given_up());
}
