//! A log that is cut, a copy that is made beside its writer, and an installation that ends after any of its steps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::consensus::{
    Batch, Body, ClusterId, Entry, Founding, FoundingState, Incarnation, Mark, Membership, Mode, Recovered, ReplicaId,
    Term,
};
use crate::machine::{MachineStorage as _, apply};
use crate::storage::number::Num;
use crate::storage::{Opened, StateStore, install, open};

const CLUSTER: &str = "plainsong";
const SOURCE: ReplicaId = ReplicaId(1);
const TARGET: ReplicaId = ReplicaId(2);
const LAST: u64 = 2_000;
const NAMED: u64 = 700;
const CUT: u64 = 1_500;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn member(id: u16) -> Member {
    Member { id: ReplicaId(id), incarnation: Incarnation(u64::from(id)) }
}

fn founding() -> Founding {
    Founding { cluster: ClusterId(7), mode: Mode::Quorum, members: vec![member(1), member(2)] }
}

fn changed() -> Membership {
    Membership { voters: vec![member(1)], removed: vec![member(2)], addresses: Vec::new() }
}

fn entry(index: u64) -> Entry {
    let body = match index {
        1 => Body::Founding(founding()),
        NAMED => Body::Membership(changed()),
        _ => Body::Noop,
    };
    Entry { index: Index(index), term: Term(index / 1_000), time: index, body }
}

fn entries(from: u64, to: u64) -> Vec<Entry> {
    (from..=to).map(entry).collect()
}

fn at(dir: &Path, id: ReplicaId) -> Opened {
    open(dir, id, CLUSTER).expect("it opens")
}

fn log(opened: &mut Opened, to: u64) {
    let append = entries(opened.log.last().0 + 1, to);
    opened.log.write(&[Batch { append, ..Batch::default() }]).expect("the log takes it");
}

fn apply_to(state: &mut StateStore, to: u64) {
    state.begin().expect("it begins");
    for entry in entries(state.applied().0 + 1, to) {
        apply(state, &entry, &mut Vec::new()).expect("the state takes it");
    }
    state.commit().expect("it commits");
}

fn digest_at(index: u64) -> u64 {
    let dir = dir();
    let mut opened = at(dir.path(), SOURCE);
    apply_to(&mut opened.state, index);
    opened.state.digest()
}

fn cut(opened: &mut Opened, index: u64) {
    let mark = Mark { index: Index(index), digest: digest_at(index) };
    opened.log.write(&[Batch { cut: Some(mark), ..Batch::default() }]).expect("the log is cut");
}

/// A replica whose log begins behind [`CUT`].
fn source(dir: &Path) -> Opened {
    let mut opened = at(dir, SOURCE);
    log(&mut opened, LAST);
    apply_to(&mut opened.state, LAST);
    assert_eq!(opened.state.sync().expect("it syncs"), Index(LAST));
    cut(&mut opened, CUT);
    opened
}

fn rows(dir: &Path) -> u64 {
    let conn = Connection::open(dir.join("log.db")).expect("the file opens");
    conn.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, Num>(0)).expect("they are counted").0
}

#[test]
fn what_is_cut_goes_in_small_steps_and_who_votes_stays() {
    let dir = dir();
    let mut opened = source(dir.path());
    assert!(opened.log.is_unswept(), "not all in one transaction");
    assert_eq!(opened.log.read(Index(1), Index(LAST), usize::MAX).expect("none of it is read"), []);
    assert_eq!(opened.log.read(Index(CUT + 1), Index(LAST), usize::MAX).expect("it reads"), entries(CUT + 1, LAST));
    let before = rows(dir.path());
    assert!(opened.log.sweep().expect("a step"), "more is left");
    assert!(rows(dir.path()) < before);
    drop(opened);

    let mut opened = at(dir.path(), SOURCE);
    let base = Base { index: Index(CUT), term: Term(1), time: CUT, digest: digest_at(CUT) };
    assert_eq!(opened.recovered.base, base);
    assert_eq!(opened.recovered.last, Index(LAST));
    assert_eq!(opened.recovered.record, Some(founding()));
    assert_eq!(opened.recovered.memberships.last(), Some(&(Index(NAMED), changed())));
    while opened.log.sweep().expect("a step") {}
    assert_eq!(rows(dir.path()), LAST - CUT + 2, "what is left: the tail, and what names voters");
    let reader = LogReader::open(dir.path()).expect("it opens");
    assert_eq!(reader.base().expect("it reads"), base);
    assert_eq!(reader.read(Index(1), Index(LAST), usize::MAX).expect("it reads"), entries(CUT + 1, LAST));
    assert_eq!(reader.scrub(Index(1), LAST).expect("in order").rows, LAST - CUT);

    // Everything behind the base goes, and something else follows it.
    let batch = Batch { truncate_from: Some(Index(CUT + 1)), append: entries(CUT + 1, CUT + 3), ..Batch::default() };
    opened.log.write(&[batch]).expect("the log takes it");
    assert_eq!(opened.log.last(), Index(CUT + 3));
}

#[test]
fn a_log_that_nobody_cut_is_as_earlier_versions_wrote_it() {
    let dir = dir();
    let schema = || -> u64 {
        let conn = Connection::open(dir.path().join("log.db")).expect("the file opens");
        conn.query_row("SELECT schema FROM meta", [], |row| row.get::<_, Num>(0)).expect("it is there").0
    };
    let mut opened = at(dir.path(), SOURCE);
    log(&mut opened, LAST);
    apply_to(&mut opened.state, LAST);
    assert_eq!(schema(), 1);
    cut(&mut opened, CUT);
    assert_eq!(schema(), 2, "an earlier version must refuse it");
}

#[test]
fn a_state_behind_the_base_counts_as_wiped() {
    let dir = dir();
    drop(source(dir.path()));
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        remove(&dir.path().join(name)).expect("it is removed");
    }
    let error = open(dir.path(), SOURCE, CLUSTER).map(drop).expect_err("it is refused");
    assert!(matches!(error, StorageError::StateLost { base: Index(CUT), applied: Index(0) }), "{error}");
    assert!(error.counts_as_wiped());
}

#[test]
fn a_copy_is_the_state_after_some_commit_while_its_writer_goes_on() {
    const COMMITS: u64 = 300;
    let dir = dir();
    let Opened { state, log: mut store, .. } = at(dir.path(), SOURCE);
    store.write(&[Batch { append: entries(1, COMMITS), ..Batch::default() }]).expect("the log takes it");
    let (known, done) = (Mutex::new(BTreeMap::from([(Index(0), 0)])), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = state;
            for index in 1..=COMMITS {
                // Before it can be seen.
                let mut known = known.lock().expect("nobody panics with it");
                apply_to(&mut state, index);
                known.insert(Index(index), state.digest());
            }
            done.store(true, Ordering::Release);
        });
        let mut copies = 0;
        while !done.load(Ordering::Acquire) || copies == 0 {
            let copy = Outgoing::make(dir.path()).expect("a copy").expect("nothing is cut").snapshot.clone();
            if copy.base.index > Index(0) {
                let known = known.lock().expect("nobody panics with it");
                assert_eq!(known.get(&copy.base.index), Some(&copy.base.digest));
                copies += 1;
            }
        }
    });
}

/// Sends a copy in pieces. Returns what is fetched.
fn send(outgoing: &Outgoing, to: &Path) -> Incoming {
    const PIECE: usize = 7_000;
    let mut incoming = Incoming::begin(to, outgoing.snapshot.clone()).expect("it begins");
    while !incoming.is_whole() {
        let offset = incoming.offset();
        let piece = outgoing.read(offset, PIECE).expect("it reads");
        assert!(incoming.write(offset, &piece).expect("it is written"));
        assert!(!incoming.write(offset, &piece).expect("nothing is written"), "a piece that came twice");
    }
    incoming
}

/// A replica that holds a little of the log, and has fetched a copy of the source's state.
fn fetched(source: &Opened, from: &Path, to: &Path) -> Snapshot {
    let mut opened = at(to, TARGET);
    let me = opened.recovered.me;
    log(&mut opened, 10);
    apply_to(&mut opened.state, 5);
    let copy = Outgoing::make(from).expect("a copy").expect("nothing is cut meanwhile");
    assert_eq!(copy.snapshot.base.index, source.state.applied());
    assert_eq!(copy.snapshot.named, [entry(1), entry(NAMED)]);
    send(&copy, to).finish(me, CLUSTER).expect("it is whole")
}

fn is_installed(to: &Path, source: &Opened) {
    let mut opened = at(to, TARGET);
    let Recovered { base, last, applied, memberships, record, founding, .. } = opened.recovered.clone();
    assert_eq!((base.index, last, applied), (Index(LAST), Index(LAST), Index(LAST)));
    assert_eq!((base.term, base.time), (Term(2), LAST));
    assert_eq!(opened.state.digest(), source.state.digest());
    assert_eq!(memberships.last(), Some(&(Index(NAMED), changed())));
    assert_eq!(record, Some(self::founding()));
    assert_eq!(founding, FoundingState::Sealed);
    assert!(!to.join(INCOMING).exists());
    // And it goes on.
    log(&mut opened, LAST + 5);
    apply_to(&mut opened.state, LAST + 5);
    while opened.log.sweep().expect("a step") {}
    drop(opened);
    assert_eq!(rows(to), 7, "five entries, and what names voters");
    assert_eq!(at(to, TARGET).recovered.applied, Index(LAST + 5));
}

#[test]
fn an_installation_that_ends_after_any_step_is_finished_by_the_next_start() {
    let from = dir();
    let source = source(from.path());
    for step in 1..=4 {
        let to = dir();
        let copy = fetched(&source, from.path(), to.path());
        if step == 1 {
            let opened = at(to.path(), TARGET);
            assert_eq!((opened.recovered.last, opened.recovered.applied), (Index(10), Index(5)), "as it was");
            assert!(!to.path().join(INCOMING).exists(), "and the copy is gone");
            continue;
        }
        assert!(install(to.path(), TARGET, CLUSTER, &copy).expect("the log begins anew"));
        if step >= 3 {
            remove(&to.path().join("state.db-wal")).expect("it is removed");
            remove(&to.path().join("state.db-shm")).expect("it is removed");
        }
        if step >= 4 {
            fs::rename(to.path().join(INCOMING), to.path().join("state.db")).expect("it is renamed");
        }
        is_installed(to.path(), &source);
        assert!(!install(to.path(), TARGET, CLUSTER, &copy).expect("it looks"), "a copy that comes late");
    }
}

#[test]
fn an_old_write_ahead_log_is_not_played_into_the_copy() {
    let (from, to) = (dir(), dir());
    let source = source(from.path());
    let mut opened = at(to.path(), TARGET);
    log(&mut opened, 10);
    apply_to(&mut opened.state, 10);
    let wal = fs::read(to.path().join("state.db-wal")).expect("it is there while the state is open");
    assert!(!wal.is_empty());
    drop(opened);
    let copy = fetched(&source, from.path(), to.path());
    install(to.path(), TARGET, CLUSTER, &copy).expect("the log begins anew");
    // As a kill leaves it.
    fs::write(to.path().join("state.db-wal"), wal).expect("it is put back");
    is_installed(to.path(), &source);
}

#[test]
fn a_log_that_holds_the_copys_entry_stays() {
    let (from, to) = (dir(), dir());
    let source = source(from.path());
    let copy = fetched(&source, from.path(), to.path());
    let mut opened = at(to.path(), TARGET);
    log(&mut opened, LAST + 1);
    drop(opened);
    assert!(!install(to.path(), TARGET, CLUSTER, &copy).expect("it looks"));
    let recovered = at(to.path(), TARGET).recovered;
    assert_eq!((recovered.base, recovered.last), (Base::default(), Index(LAST + 1)));
}

#[test]
fn another_copy_is_not_taken_for_the_one_that_the_log_names() {
    let (from, to) = (dir(), dir());
    let mut source = source(from.path());
    let copy = fetched(&source, from.path(), to.path());
    install(to.path(), TARGET, CLUSTER, &copy).expect("the log begins anew");
    log(&mut source, LAST + 9);
    apply_to(&mut source.state, LAST + 9);
    let other = Outgoing::make(from.path()).expect("a copy").expect("nothing is cut meanwhile");
    send(&other, to.path()).finish(member(2), CLUSTER).expect("it is whole");
    let error = open(to.path(), TARGET, CLUSTER).map(drop).expect_err("it is refused");
    assert!(matches!(error, StorageError::StateLost { base: Index(LAST), applied: Index(5) }), "{error}");
}

#[test]
fn a_copy_that_is_not_what_was_offered_is_refused() {
    let (from, to) = (dir(), dir());
    let _source = source(from.path());
    let copy = Outgoing::make(from.path()).expect("a copy").expect("nothing is cut meanwhile");
    let incoming = send(&copy, to.path());
    let part = to.path().join(INCOMING_PART);
    let mut bytes = fs::read(&part).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).expect("it is written");
    assert!(matches!(incoming.finish(member(2), CLUSTER), Err(StorageError::BadCopy(_))));

    let mut lied = send(&copy, to.path());
    lied.snapshot.base.digest ^= 1;
    assert!(matches!(lied.finish(member(2), CLUSTER), Err(StorageError::BadCopy(_))));
    assert!(matches!(send(&copy, to.path()).finish(member(2), "chant"), Err(StorageError::OtherState)));
    assert!(!to.path().join(INCOMING).exists());
}
