//! What the log keeps, and what it refuses.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::{LogReader, LogStore};
use crate::consensus::{
    Address, Base, Batch, Body, Boot, ClusterId, Entry, Founding, FoundingState, HardState, Incarnation, Index, Member,
    Membership, Mode, Recovered, ReplicaId, Run, Term, View, ViewId, Views,
};
use crate::storage::StorageError;

const ID: ReplicaId = ReplicaId(3);
const ALL: usize = usize::MAX;

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(dir: &Path) -> (LogStore, Recovered) {
    super::open(dir, ID, "plainsong").expect("the log opens")
}

fn member(id: u16, incarnation: u64) -> Member {
    Member { id: ReplicaId(id), incarnation: Incarnation(incarnation) }
}

fn founding() -> Founding {
    Founding { cluster: ClusterId(77), mode: Mode::Quorum, members: vec![member(1, 10), member(3, u64::MAX)] }
}

fn command(index: u64, term: u64) -> Entry {
    let line = format!("-1.a.1.{index}|bob#2|5|alice|text {index} of {term}");
    Entry { index: Index(index), term: Term(term), time: 1000 + index, body: Body::Command(Bytes::from(line)) }
}

fn appending(entries: impl IntoIterator<Item = Entry>) -> Batch {
    Batch { append: entries.into_iter().collect(), ..Batch::default() }
}

/// Entry 1 founds, 2 is a no-op of term 1, the others are commands of term 1.
fn history(last: u64) -> Vec<Entry> {
    (1..=last)
        .map(|index| match index {
            1 => Entry { index: Index(1), term: Term(0), time: 1000, body: Body::Founding(founding()) },
            2 => Entry { index: Index(2), term: Term(1), time: 1000, body: Body::Noop },
            _ => command(index, 1),
        })
        .collect()
}

fn filled(dir: &Path, last: u64) -> LogStore {
    let (mut log, _) = open(dir);
    log.write(&[appending(history(last))]).expect("the log takes a batch");
    log
}

fn everything(log: &LogStore) -> Vec<Entry> {
    log.read(Index(1), Index(u64::MAX >> 1), ALL).expect("the log reads")
}

/// Copies the live files, as a crash would leave them.
fn crash(from: &Path, to: &Path) {
    for name in ["log.db", "log.db-wal"] {
        fs::copy(from.join(name), to.join(name)).expect("the files copy");
    }
}

/// Changes rows behind the store's back.
fn meddle(dir: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(dir.join("log.db")).expect("the file opens");
    conn.execute_batch(sql).expect("the statement runs");
}

#[test]
fn views_are_read_back_and_a_flipped_bit_in_one_is_refused() {
    let dir = dir();
    let (mut log, blank) = open(dir.path());
    assert_eq!(blank.views, None);
    let run = |boot| Run { boot: Boot(boot), nonce: 7 };
    let view = |number| View {
        id: ViewId { number, proposer: member(3, u64::MAX), boot: Boot(2) },
        base: ViewId::NONE,
        members: vec![(member(1, 10), run(9)), (member(3, u64::MAX), run(2))],
    };
    for number in [1, 2] {
        let views = Views { promised: view(number + 1), installed: view(number) };
        log.write(&[Batch { views: Some(Box::new(views)), ..Batch::default() }]).expect("it is written");
    }
    drop(log);
    assert_eq!(open(dir.path()).1.views, Some(Views { promised: view(3), installed: view(2) }));
    meddle(dir.path(), "UPDATE views SET view = replace(view, '3.3.', '4.3.') WHERE what = 'promised'");
    let refused = super::open(dir.path(), ID, "plainsong").expect_err("a promise that nobody made");
    assert!(refused.to_string().contains("checksum"), "{refused}");
}

#[test]
fn a_new_log_is_blank_and_each_start_counts() {
    let dir = dir();
    let (log, first) = open(dir.path());
    drop(log);
    assert_eq!(first.boot, Boot(1));
    assert_eq!((first.last, first.founding, first.hard_state), Default::default());
    let (log, second) = open(dir.path());
    drop(log);
    assert_eq!(second, Recovered { boot: Boot(2), ..first });
}

#[test]
fn two_new_logs_are_two_incarnations() {
    let (a, b) = (dir(), dir());
    assert_ne!(open(a.path()).1.me, open(b.path()).1.me);
}

#[test]
fn every_kind_of_batch_is_there_after_a_reopen() {
    let dir = dir();
    let (mut log, blank) = open(dir.path());
    let membership = Membership {
        voters: vec![member(1, 10)],
        removed: vec![member(3, u64::MAX)],
        addresses: vec![Address { id: ReplicaId(1), clients: "h:5001".into(), replicas: "h:7001".into() }],
    };
    let vote = HardState { term: Term(4), vote: Some(member(2, 5)) };
    let mut entries = history(5);
    let changed = Entry { index: Index(6), term: Term(4), time: 2000, body: Body::Membership(membership.clone()) };
    let batches = [
        appending(history(5)),
        Batch { founding: Some(FoundingState::Copied), ..Batch::default() },
        Batch { hard_state: Some(vote), founding: Some(FoundingState::Sealed), ..appending([changed.clone()]) },
        Batch { peer_runs: vec![(member(1, 10), run(9)), (member(2, u64::MAX), run(1))], ..Batch::default() },
        Batch { peer_runs: vec![(member(1, 10), run(8))], ..Batch::default() },
    ];
    for (n, batch) in batches.iter().enumerate() {
        log.write(std::slice::from_ref(batch)).expect("the log takes a batch");
        drop(log);
        let (again, recovered) = open(dir.path());
        assert_eq!(recovered.boot, Boot(n as u64 + 2));
        assert_eq!(recovered.me, blank.me);
        log = again;
    }
    entries.push(changed);
    assert_eq!(everything(&log), entries);
    drop(log);
    let founders = Membership { voters: founding().members, ..Membership::default() };
    let expected = Recovered {
        cluster: None,
        me: blank.me,
        boot: Boot(7),
        hard_state: vote,
        founding: FoundingState::Sealed,
        base: Base::default(),
        term_starts: vec![(Term(0), Index(1)), (Term(1), Index(2)), (Term(4), Index(6))],
        last: Index(6),
        last_time: 2000,
        memberships: vec![(Index(1), founders), (Index(6), membership)],
        record: Some(founding()),
        applied: Index(0),
        peer_runs: vec![(member(1, 10), run(9)), (member(2, u64::MAX), run(1))],
        views: None,
    };
    assert_eq!(open(dir.path()).1, expected);
}

#[test]
fn truncate_and_append_are_one_step() {
    let dir = dir();
    let mut log = filled(dir.path(), 9);
    let batch = Batch { truncate_from: Some(Index(4)), ..appending([command(4, 7), command(5, 7)]) };
    log.write(&[appending([command(10, 2)]), batch]).expect("the log takes both");
    let mut expected = history(3);
    expected.extend([command(4, 7), command(5, 7)]);
    assert_eq!(everything(&log), expected);
    drop(log);
    let (mut log, recovered) = open(dir.path());
    assert_eq!(recovered.term_starts, [(Term(0), Index(1)), (Term(1), Index(2)), (Term(7), Index(4))]);
    assert_eq!((recovered.last, recovered.last_time), (Index(5), 1005));

    let all = Batch { truncate_from: Some(Index(1)), ..appending(history(2)) };
    log.write(&[all]).expect("the log takes it");
    let nothing = Batch { truncate_from: Some(Index(3)), ..Batch::default() };
    log.write(&[nothing]).expect("nothing is behind the end");
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!(everything(&log), history(2));
    assert_eq!(recovered.memberships.len(), 1);
}

#[test]
#[should_panic(
    expected = "the log ends at entry 3 (term 1, time 1003); entry 5 (term 1, time 1005) does not follow it"
)]
fn a_gap_is_a_bug_of_the_caller() {
    let dir = dir();
    let mut log = filled(dir.path(), 3);
    let _ = log.write(&[appending([command(5, 1)])]);
}

#[test]
fn any_bytes_are_kept() {
    let dir = dir();
    let (mut log, _) = open(dir.path());
    let bodies: [&'static [u8]; 5] = [b"", b"noop", b"\xff\xfe|\0", b"a\0b", "|1|\u{e9}".as_bytes()];
    let entry = |(n, body): (usize, &&'static [u8])| Entry {
        index: Index(n as u64 + 1),
        term: Term(1),
        time: 5,
        body: Body::Command(Bytes::from_static(body)),
    };
    let entries: Vec<Entry> = bodies.iter().enumerate().map(entry).collect();
    log.write(&[appending(entries.clone())]).expect("the log takes them");
    drop(log);
    assert_eq!(everything(&open(dir.path()).0), entries);
}

#[test]
fn a_read_keeps_its_budget_and_gives_at_least_one() {
    let dir = dir();
    let log = filled(dir.path(), 50);
    let size = history(50)[9].size();
    let indexes = |from, to, bytes| -> Vec<u64> {
        log.read(Index(from), Index(to), bytes).expect("the log reads").iter().map(|entry| entry.index.0).collect()
    };
    assert_eq!(indexes(10, 50, 0), [10]);
    assert_eq!(indexes(10, 50, 3 * size), [10, 11, 12]);
    assert_eq!(indexes(48, 1000, ALL), [48, 49, 50]);
    assert_eq!(indexes(51, 60, ALL), [] as [u64; 0]);
    assert_eq!(indexes(7, 6, ALL), [] as [u64; 0]);
}

#[test]
fn a_write_is_one_commit_and_nothing_is_none() {
    let dir = dir();
    let (mut log, _) = open(dir.path());
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let hook = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    log.conn.commit_hook(Some(hook)).expect("the hook is set");
    let batches: Vec<Batch> = history(40).into_iter().map(|entry| appending([entry])).collect();
    log.write(&batches).expect("the log takes them");
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    log.write(&[Batch::default()]).expect("nothing to do");
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    let full: u8 = log.conn.query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("a number");
    assert_eq!(full, 2, "FULL: a commit is one fsync");
}

#[test]
fn a_full_disk_changes_nothing_and_can_be_tried_again() {
    let dir = dir();
    let mut log = filled(dir.path(), 3);
    let pages: u32 = log.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    log.conn.pragma_update(None, "max_page_count", pages + 2).expect("a limit is set");
    let batches = [
        Batch { truncate_from: Some(Index(3)), ..Batch::default() },
        Batch {
            hard_state: Some(HardState { term: Term(1), vote: None }),
            ..appending((3..2000).map(|n| command(n, 1)))
        },
    ];
    for _ in 0..3 {
        let error = log.write(&batches).expect_err("the disk is full");
        assert!(error.can_retry(), "{error}");
        assert_eq!(everything(&log), history(3));
    }
    log.conn.pragma_update(None, "max_page_count", 1 << 20).expect("a limit is set");
    log.write(&batches).expect("there is space again");
    assert_eq!(log.last(), Index(1999));
    drop(log);
    let (log, recovered) = open(dir.path());
    assert_eq!(recovered.hard_state.term, Term(1));
    assert_eq!(everything(&log), history(1999));
}

#[test]
fn a_crash_after_any_write_keeps_all_of_it() {
    let (live, copy) = (dir(), dir());
    let mut log = filled(live.path(), 2);
    for n in 3..40 {
        log.write(&[appending([command(n, 1)])]).expect("the log takes it");
        crash(live.path(), copy.path());
        assert_eq!(everything(&open(copy.path()).0), history(n));
        fs::remove_file(copy.path().join("log.db")).expect("the copy goes");
    }
}

/// Commits overwrite the zeros, and whatever of them stands behind the last commit is taken for the log's end.
#[test]
fn a_reserved_write_ahead_log_reads_as_one_that_was_not_and_does_not_grow() {
    let (live, copy) = (dir(), dir());
    let mut log = filled(live.path(), 2);
    log.reserve().expect("there is room");
    let length = || fs::metadata(live.path().join("log.db-wal")).expect("it is there").len();
    let reserved = length();
    // More pages than stand between two checkpoints: the third time round what is overwritten is older commits.
    for n in 3..2_500 {
        log.write(&[appending([command(n, 1)])]).expect("the log takes it");
        if n % 250 == 0 {
            crash(live.path(), copy.path());
            assert_eq!(everything(&open(copy.path()).0), history(n));
            fs::remove_file(copy.path().join("log.db")).expect("the copy goes");
        }
    }
    assert_eq!(length(), reserved, "the file was long enough");
    log.reserve().expect("nothing to do");
    assert_eq!((length(), everything(&log)), (reserved, history(2_499)));
}

#[test]
fn a_torn_write_ahead_log_leaves_a_prefix() {
    let (live, copy) = (dir(), dir());
    let mut log = filled(live.path(), 2);
    for n in 3..30 {
        log.write(&[appending([command(n, 1)])]).expect("the log takes it");
    }
    let wal = fs::metadata(live.path().join("log.db-wal")).expect("it is there").len();
    let mut lengths = std::collections::BTreeSet::new();
    let mut cut = wal;
    while cut > 0 {
        crash(live.path(), copy.path());
        let torn = fs::OpenOptions::new().write(true).open(copy.path().join("log.db-wal")).expect("it opens");
        torn.set_len(cut).expect("it is cut");
        let (log, recovered) = open(copy.path());
        assert_eq!(everything(&log), history(recovered.last.0), "cut at {cut} of {wal}");
        lengths.insert(recovered.last.0);
        drop(log);
        fs::remove_file(copy.path().join("log.db")).expect("the copy goes");
        cut = cut.saturating_sub(1777);
    }
    assert!(lengths.len() > 10 && lengths.contains(&29), "the cuts fell between the commits: {lengths:?}");
}

#[test]
fn a_changed_row_is_refused_by_its_index() {
    let changes = [
        "UPDATE entries SET line = replace(line, 'text', 'TEXT') WHERE idx = 5",
        "UPDATE entries SET term = 2 WHERE idx = 5",
        "UPDATE entries SET time = time + 1 WHERE idx = 5",
        "UPDATE entries SET kind = 0 WHERE idx = 5",
        "UPDATE entries SET time = -1 WHERE idx = 5",
        "UPDATE entries SET line = 7 WHERE idx = 5",
        "DELETE FROM entries WHERE idx = 5",
    ];
    for change in changes {
        let dir = dir();
        drop(filled(dir.path(), 8));
        meddle(dir.path(), change);
        let opened = super::open(dir.path(), ID, "plainsong").map(|_| ());
        assert!(matches!(opened, Err(StorageError::Damaged { index: Index(5), .. })), "{change}: {opened:?}");
        let reader = LogReader::open(dir.path()).expect("its owner is readable");
        let read = reader.scrub(Index(1), 100);
        assert!(matches!(read, Err(StorageError::Damaged { index: Index(5), .. })), "{change}: {read:?}");
    }
}

#[test]
fn a_byte_flipped_in_the_file_is_refused() {
    let dir = dir();
    drop(filled(dir.path(), 8));
    let path = dir.path().join("log.db");
    let mut bytes = fs::read(&path).expect("the file reads");
    let needle = b"text 6 of 1";
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the log is readable text");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("the file is written");
    let opened = super::open(dir.path(), ID, "plainsong").map(|_| ());
    assert!(matches!(opened, Err(StorageError::Damaged { index: Index(6), .. })), "{opened:?}");
}

#[test]
fn a_changed_vote_is_refused() {
    let changes =
        ["vote = '2.6'", "vote = 'x'", "term = 5", "founding = 'sealed'", "founding = 'x'", "boot = 1", "replica = 2"];
    for change in changes {
        let dir = dir();
        let mut log = filled(dir.path(), 3);
        let vote = HardState { term: Term(4), vote: Some(member(2, 5)) };
        log.write(&[Batch { hard_state: Some(vote), ..Batch::default() }]).expect("the log takes it");
        log.write(&[appending([command(4, 4)])]).expect("the log takes it");
        drop(log);
        drop(open(dir.path()));
        meddle(dir.path(), &format!("UPDATE meta SET {change}"));
        let opened = super::open(dir.path(), ID, "plainsong").map(|_| ());
        assert!(matches!(opened, Err(StorageError::Corrupt { .. })), "{change}: {opened:?}");
    }
}

#[test]
fn the_head_and_the_lists_are_checked_at_the_start() {
    let changes = [
        "DELETE FROM entries WHERE idx = 1",
        "DELETE FROM terms WHERE term = 1",
        "UPDATE terms SET first_idx = 9 WHERE term = 1",
        "INSERT INTO memberships (idx) VALUES (2)",
    ];
    for change in changes {
        let dir = dir();
        drop(filled(dir.path(), 8));
        meddle(dir.path(), change);
        assert!(super::open(dir.path(), ID, "plainsong").is_err(), "{change}");
    }
}

#[test]
fn a_file_that_is_no_database_says_so() {
    let dir = dir();
    fs::write(dir.path().join("log.db"), vec![b'x'; 8192]).expect("the file is written");
    let error = super::open(dir.path(), ID, "plainsong").map(|_| ()).expect_err("it is no database");
    assert!(error.to_string().starts_with("log.db is damaged"), "{error}");
}

#[test]
fn a_log_of_another_owner_or_version_is_refused() {
    let dir = dir();
    drop(filled(dir.path(), 2));
    let refused = |id, cluster| super::open(dir.path(), ReplicaId(id), cluster).map(|_| ()).expect_err("another's");
    assert!(matches!(refused(4, "plainsong"), StorageError::OtherReplica { found: ReplicaId(3), .. }));
    assert!(matches!(refused(3, "chant"), StorageError::OtherCluster { .. }));
    meddle(dir.path(), "UPDATE meta SET schema = 3");
    assert!(matches!(refused(3, "plainsong"), StorageError::Schema { found: 3, known: 2, .. }));
}

#[test]
fn scrubbing_goes_page_by_page_to_the_end() {
    let dir = dir();
    let log = filled(dir.path(), 25);
    let reader = LogReader::open(dir.path()).expect("it opens beside the writer");
    let mut next = Some(Index(1));
    let mut steps = Vec::new();
    while let Some(from) = next {
        let scrubbed = reader.scrub(from, 10).expect("nothing is wrong");
        assert_eq!(scrubbed, log.scrub(from, 10).expect("nothing is wrong"));
        steps.push(scrubbed.rows);
        next = scrubbed.next;
    }
    assert_eq!(steps, [10, 10, 5]);
    drop(log);
    meddle(dir.path(), "DELETE FROM terms WHERE term = 1");
    assert!(reader.scrub(Index(5), 10).is_err());
}

#[test]
fn the_log_reads_beside_a_running_replica_and_after_it() {
    let dir = dir();
    assert!(matches!(LogReader::open(dir.path()), Err(StorageError::NoLog(_))));
    let mut log = filled(dir.path(), 5);
    let reader = LogReader::open(dir.path()).expect("it opens beside the writer");
    log.write(&[appending([command(6, 1)])]).expect("a reader does not hinder the writer");
    assert_eq!(reader.last().expect("it reads"), Index(6));
    assert_eq!(reader.read(Index(1), Index(100), ALL).expect("it reads"), history(6));
    assert_eq!(reader.owner().expect("it reads").boot, Boot(1));
    drop((reader, log));
    let reader = LogReader::open(dir.path()).expect("it opens after the writer");
    assert_eq!(reader.read(Index(4), Index(5), ALL).expect("it reads"), history(5)[3..]);
}

/// The half of the next test that runs in a process of its own: POSIX locks do not separate two users within one.
#[test]
#[ignore = "run by the_log_reads_from_another_process"]
fn read_from_another_process() {
    let dir = std::env::var_os("PLAINSONG_TEST_DIR").expect("the other half says where");
    let reader = LogReader::open(Path::new(&dir)).expect("it opens");
    assert_eq!(reader.read(Index(1), Index(100), ALL).expect("it reads"), history(6));
}

#[test]
fn the_log_reads_from_another_process() {
    let dir = dir();
    let mut log = filled(dir.path(), 6);
    let child = std::process::Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--ignored", "--exact", "storage::log::tests::read_from_another_process"])
        .env("PLAINSONG_TEST_DIR", dir.path())
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    log.write(&[appending([command(7, 1)])]).expect("the reader left no lock behind");
}

/// A run with that boot count.
fn run(boot: u64) -> Run {
    Run { boot: Boot(boot), nonce: 7 }
}
