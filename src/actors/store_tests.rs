//! What is applied at once, and what the state's thread does: one order, and one state.

use std::path::Path;
use std::time::Duration;

use actix::{Actor, Context, Handler, Recipient};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::consensus::{Body, ReplicaId, Term};
use crate::storage::{self, Opened};

/// Repeats what the state says.
struct Listener(UnboundedSender<StateNews>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<FromState> for Listener {
    type Result = ();

    fn handle(&mut self, FromState(news): FromState, _: &mut Self::Context) {
        news.into_iter().for_each(|one| self.0.send(one).expect("the test listens"));
    }
}

fn listener() -> (Recipient<FromState>, UnboundedReceiver<StateNews>) {
    let (told, heard) = unbounded_channel();
    (Listener(told).start().recipient(), heard)
}

fn open(dir: &Path) -> Opened {
    storage::open(dir, ReplicaId(1), "plainsong").expect("it opens")
}

/// Entries from `from` to `to`: an account, and its messages to itself.
fn entries(me: Member, from: u64, to: u64) -> Vec<Entry> {
    let entry = |n| {
        let command = if n == 1 { "|1|bob".to_owned() } else { format!("bob#1|5|bob|text {n}") };
        let origin = machine::Origin { member: me, boot: Boot(1), n };
        let body = Body::Command(machine::payload::encode(origin, &command).freeze());
        Entry { index: Index(n), term: Term(1), time: 1_800_000_000_000 + n, body }
    };
    (from..=to).map(entry).collect()
}

/// A directory whose log holds so many entries, and whose state none of them.
fn logged(count: u64) -> (TempDir, Opened) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut opened = open(dir.path());
    let append = entries(opened.recovered.me, 1, count);
    opened.log.write(&[Batch { append, ..Batch::default() }]).expect("it is written");
    (dir, opened)
}

fn until(news: &StateNews) -> Index {
    match news {
        StateNews::Applied { until, own, .. } => {
            assert!(own.iter().all(|own| own.outcome.is_ok()), "all of them have their effect");
            *until
        }
        StateNews::Answer(..) | StateNews::Synced(_) | StateNews::Damaged => panic!("nothing of the kind was asked"),
    }
}

/// As soon as the thread is idle: it looks at its work for a moment when it starts, and after each errand.
fn at_once(access: &StateAccess, entries: &[Entry]) -> StateNews {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(news) = access.apply_at_once(entries) {
            return news;
        }
        assert!(Instant::now() < give_up, "the thread is never idle");
        std::thread::yield_now();
    }
}

#[actix_rt::test]
async fn few_entries_are_applied_at_once_and_many_by_the_thread() {
    let many = 2 + AT_ONCE_ENTRIES_MAX as u64 + 1;
    let (dir, Opened { dir: lock, log, state, recovered }) = logged(many + 1);
    let (me, (to, mut heard)) = (recovered.me, listener());
    let State { access, thread } = start_state(state, me, Boot(1), to).expect("a thread");
    assert_eq!(until(&at_once(&access, &entries(me, 1, 2))), Index(2));
    assert!(access.apply_at_once(&entries(me, 3, many)).is_none(), "too many");
    access.send(StateJob::Apply(entries(me, 3, many))).expect("it lives");
    assert_eq!(until(&heard.recv().await.expect("news")), Index(many));
    // The thread may still do some of the commit's work: then it must be sent them.
    let last = entries(me, many + 1, many + 1);
    match access.apply_at_once(&last) {
        Some(news) => assert_eq!(until(&news), Index(many + 1)),
        None => access.send(StateJob::Apply(last)).expect("it lives"),
    }
    drop(access);
    thread.join().expect("it ends");
    drop((log, lock));
    assert_eq!(open(dir.path()).state.applied(), Index(many + 1), "all of it is committed");
}

#[actix_rt::test]
async fn what_was_applied_at_once_is_committed_in_time() {
    let (dir, opened) = logged(2);
    let (me, (to, _heard)) = (opened.recovered.me, listener());
    let State { access, thread: _thread } = start_state(opened.state, me, Boot(1), to).expect("a thread");
    at_once(&access, &entries(me, 1, 2));
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).expect("it opens");
    let applied = || conn.query_row("SELECT applied FROM meta", [], |row| row.get::<_, i64>(0)).expect("a number");
    let give_up = Instant::now() + Duration::from_secs(10);
    while applied() < 2 {
        assert!(Instant::now() < give_up, "nobody commits it");
        std::thread::yield_now();
    }
}

#[actix_rt::test]
async fn damage_met_at_once_is_told_by_the_thread() {
    let (dir, mut opened) = logged(2);
    let me = opened.recovered.me;
    opened.state.begin().expect("it begins");
    for entry in entries(me, 1, 1) {
        machine::apply(&mut opened.state, &entry, &mut Vec::new()).expect("it applies");
    }
    opened.state.commit().expect("it commits");
    drop(opened);
    let conn = rusqlite::Connection::open(dir.path().join("state.db")).expect("it opens");
    assert_eq!(conn.execute("UPDATE accounts SET crc = crc + 1", []).expect("it is changed"), 1);
    drop(conn);
    let (to, mut heard) = listener();
    let State { access, thread } = start_state(open(dir.path()).state, me, Boot(1), to).expect("a thread");
    let last = entries(me, 2, 2);
    assert!(access.apply_at_once(&last).is_none());
    assert!(access.apply_at_once(&last).is_none(), "not before the thread has dealt with it");
    access.send(StateJob::Apply(last.clone())).expect("it lives");
    assert!(matches!(heard.recv().await, Some(StateNews::Damaged)));
    assert!(access.apply_at_once(&last).is_none(), "nor after it has given up");
    drop(access);
    thread.join().expect("it ends");
}

#[actix_rt::test]
async fn the_write_ahead_log_is_copied_beside_its_writer() {
    /// 7 MB of entries, for which the copier is nudged. In one commit they are 2 MB of pages: the writer copies nothing yet.
    const MANY: u64 = 50_000;
    let (dir, opened) = logged(2);
    let (me, (to, mut heard)) = (opened.recovered.me, listener());
    let State { access, thread } = start_state(opened.state, me, Boot(1), to).expect("a thread");
    access.send(StateJob::Apply(entries(me, 1, MANY))).expect("it lives");
    assert_eq!(until(&heard.recv().await.expect("news")), Index(MANY));
    let copied = || std::fs::metadata(dir.path().join("state.db")).expect("it is there").len();
    let give_up = Instant::now() + Duration::from_secs(20);
    while copied() < 1 << 20 {
        assert!(Instant::now() < give_up, "only {} bytes are in the file", copied());
        std::thread::yield_now();
    }
    drop(access);
    thread.join().expect("it ends");
}
