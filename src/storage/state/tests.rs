//! The state on SQLite is the state in memory: the same answers, outcomes, effects and digests, whatever happens to
//! its file in between.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use chat::{
    AccountId, Command, Effect, HistoryPage, IdRange, Key, MessageId, MessageIds, Name, PasswordHash, Query, Shown,
    Speaker, Storage as _, Text,
};
use fastrand::Rng;
use tempfile::TempDir;

use super::StateStore;
use super::young::Pace;
use crate::consensus::{Body, Boot, ClusterId, Entry, Founding, Incarnation, Index, Member, Mode, ReplicaId, Term};
use crate::machine::{Applied, MachineStorage, MapMachine, Origin, apply, payload};
use crate::storage::StorageError;

const ME: Member = Member { id: ReplicaId(3), incarnation: Incarnation(u64::MAX) };
const NAMES: [&str; 6] = ["ann", "bob", "cyd", "dan", "eve", "zoë"];

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Files so early and so slowly that a short test sees every stage of it.
fn open(dir: &Path) -> StateStore {
    let mut state = StateStore::open(dir, ME, "plainsong").expect("the state opens");
    state.young.pace = Pace { messages_max: 60, rows_min: 3, sheet_max: 4 };
    state
}

fn name(typed: &str) -> Name {
    Name::fold(typed).expect("a name")
}

/// Left out of [`keeps_the_contract`] and done by [`large_numbers_are_kept`]: the suite's own check stamps its message
/// with a time *beyond* `i64::MAX` (1,000 more than its id), which no store here takes, and no log.
const BEYOND_THE_CONTRACT: &str = "numbers up to i64::MAX are kept";

#[test]
fn keeps_the_contract() {
    let (left_out, checks): (Vec<_>, Vec<_>) =
        chat::conformance::checks().into_iter().partition(|(what, _)| *what == BEYOND_THE_CONTRACT);
    assert_eq!(left_out.len(), 1, "the check has another name now, or is gone: is it right by now?");
    for (what, check) in checks {
        println!("{what}");
        let dir = dir();
        let mut state = open(dir.path());
        state.begin().expect("it begins");
        check(&mut state);
        state.commit().expect("it commits");
    }
}

#[test]
fn large_numbers_are_kept() {
    const MAX: u64 = i64::MAX as u64;
    let dir = dir();
    let mut state = open(dir.path());
    state.begin().expect("it begins");
    let ann = chat::Account { id: AccountId(MAX - 1), name: name("ann"), password: None };
    state.insert_account(&ann).expect("it is inserted");
    let (text, key) = (Text::new("x").expect("a text"), Key::new("k").expect("a key"));
    state.insert_message(MessageId(MAX), ann.id, ann.id, chat::Millis(MAX), &text).expect("it is inserted");
    let memory = chat::KeyMemory { request: u64::MAX, outcome: "ok|marked".to_owned() };
    state.insert_key(ann.id, &key, MAX, &memory, 1).expect("it is inserted");
    state.commit().expect("it commits");
    drop(state);
    let mut state = open(dir.path());
    assert_eq!(state.account(&ann.name).expect("it answers"), Some(ann.clone()));
    let message = state.undelivered(ann.id, MessageId(MAX - 1), 9).expect("it answers").pop().expect("one");
    assert_eq!((message.id, message.time), (MessageId(MAX), chat::Millis(MAX)));
    assert_eq!(state.key(ann.id, &key).expect("it answers"), Some(memory));
    state.begin().expect("it begins");
    let all = IdRange::new(MessageId(0), MessageId(u64::MAX));
    assert_eq!(state.mark_delivered(ann.id, all).expect("it marks"), 1);
    state.commit().expect("it commits");
}

#[test]
fn a_count_beyond_2_63_is_refused_never_changed() {
    const BEYOND: u64 = i64::MAX as u64 + 1;
    let dir = dir();
    let mut state = open(dir.path());
    state.begin().expect("it begins");
    let ann = chat::Account { id: AccountId(1), name: name("ann"), password: None };
    state.insert_account(&ann).expect("it is inserted");
    let text = Text::new("x").expect("a text");
    // Messages are written with the commit.
    state.insert_message(MessageId(2), ann.id, ann.id, chat::Millis(BEYOND), &text).expect("it is held");
    assert!(state.commit().is_err());
    assert_eq!(state.account(&ann.name).expect("it answers"), None, "all of it is undone");
}

/// Entries at random, most of which make sense to the state that `model` holds.
struct Script {
    rng: Rng,
    streams: [u64; 2],
    mode: Mode,
}

impl Script {
    /// Every other seed is of a log whose ids leap with each view.
    fn new(seed: u64) -> Self {
        let mode = if seed.is_multiple_of(2) { Mode::Quorum } else { Mode::PrimaryBackup };
        Self { rng: Rng::with_seed(seed), streams: [0; 2], mode }
    }

    fn entry(&mut self, model: &MapMachine) -> Entry {
        let index = model.applied().next();
        let body = match self.rng.u8(..50) {
            _ if index == Index(1) => {
                Body::Founding(Founding { cluster: ClusterId(7), mode: self.mode, members: vec![ME] })
            }
            0 => Body::Noop,
            1 => Body::Command(Bytes::from_static(b"\xffno payload")),
            _ => Body::Command(self.payload(model)),
        };
        Entry { index, term: term_at(index), time: 1_700_000_000_000 + index.0 * 50, body }
    }

    fn payload(&mut self, model: &MapMachine) -> Bytes {
        let stream = self.rng.usize(..2);
        let n = self.streams[stream] + 1;
        let skewed = self.rng.u8(..20) == 0;
        let n = if skewed { self.rng.u64(..n + 3) } else { n };
        if n == self.streams[stream] + 1 {
            self.streams[stream] = n;
        }
        let member = Member { id: ReplicaId(stream as u16), incarnation: Incarnation(u64::MAX - 1) };
        let command = self.command(model).to_string();
        let payload = payload::encode(Origin { member, boot: Boot(1), n }, &command);
        // Few are limited: mailboxes must be filed as well.
        let limit = |max: u64, rng: &mut fastrand::Rng| (rng.u8(..8) == 0).then(|| rng.u64(..max));
        let quota = chat::Quota {
            mailbox_messages: limit(60, &mut self.rng),
            mailbox_bytes: limit(4_000, &mut self.rng),
            accounts: limit(40, &mut self.rng),
            retention: self.rng.bool().then(|| self.rng.u64(..3)),
        };
        let online = self.rng.bool();
        payload::stamp(&payload, quota, |_| online)
    }

    fn command(&mut self, model: &MapMachine) -> Command {
        let speaker = self.speaker(model);
        let key = (self.rng.u8(..3) == 0).then(|| Key::new(&format!("k{}", self.rng.u8(..30))).expect("a key"));
        let newest = model.applied();
        match self.rng.u8(..100) {
            0..12 => {
                let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
                let password = self.rng.bool().then(|| PasswordHash::new(hash).expect("a hash"));
                Command::Create { name: self.name(), password }
            }
            12..15 => Command::Delete { speaker },
            15..17 => {
                let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}", self.rng.u16(..));
                Command::Passwd { speaker, password: PasswordHash::new(&hash).expect("a hash") }
            }
            17..30 => Command::Erase { ids: self.ids(model, &speaker), speaker, key },
            30..75 => {
                let text = Text::new(&format!("text {}|é", self.rng.u16(..))).expect("a text");
                Command::Send { speaker, key, to: self.name(), text }
            }
            75..77 => Command::Expire,
            77..90 => Command::Ack { speaker, key, id: self.id(newest), ranges: self.ranges(newest) },
            _ => {
                let marks = (0..self.rng.usize(..4)).map(|_| (self.speaker(model).id, self.ranges(newest)));
                let mut marks: Vec<_> = marks.collect();
                marks.push((AccountId(u64::MAX), vec![IdRange::new(MessageId(0), MessageId(u64::MAX))]));
                Command::Mark { marks }
            }
        }
    }

    fn name(&mut self) -> Name {
        name(NAMES[self.rng.usize(..NAMES.len())])
    }

    fn speaker(&mut self, model: &MapMachine) -> Speaker {
        let name = self.name();
        let living = model.account(&name).expect("a map does not fail");
        let id = living.map_or(AccountId(self.rng.u64(1..9)), |account| account.id);
        Speaker { name, id }
    }

    /// Some of the speaker's messages, mostly new ones, and now and then one of another.
    fn ids(&mut self, model: &MapMachine, speaker: &Speaker) -> MessageIds {
        let newest = model.applied();
        let recent = Index(newest.0 - self.rng.u64(..=newest.0.min(80)));
        let page = HistoryPage::Before(id_of(self.mode, recent));
        let mut ids = model.history(speaker.id, None, page, self.rng.usize(1..4)).expect("a map does not fail");
        if ids.is_empty() || self.rng.u8(..10) == 0 {
            ids.push(self.id(newest));
        }
        MessageIds::new(ids).expect("at least one")
    }

    /// What some entry up to the newest gave to what it created, if it did.
    fn id(&mut self, newest: Index) -> MessageId {
        id_of(self.mode, Index(self.rng.u64(..=newest.0)))
    }

    fn ranges(&mut self, newest: Index) -> Vec<IdRange> {
        (0..self.rng.usize(..3))
            .map(|_| {
                let from = self.rng.u64(..=newest.0);
                let to = from + self.rng.u64(..20);
                IdRange::new(id_of(self.mode, Index(from)), id_of(self.mode, Index(to)))
            })
            .collect()
    }
}

/// A term, or a view, for each hundred entries.
fn term_at(index: Index) -> Term {
    Term(1 + index.0 / 100)
}

fn id_of(mode: Mode, index: Index) -> MessageId {
    MessageId(mode.id(term_at(index), index))
}

/// Applies to both, and compares everything that comes of it.
/// Gives how many messages went with the retention.
fn apply_both(model: &mut MapMachine, state: &mut StateStore, entry: &Entry) -> u64 {
    let (mut expected, mut found) = (Vec::<Effect>::new(), Vec::new());
    let should = apply(model, entry, &mut expected).expect("a map does not fail");
    let does = apply(state, entry, &mut found).expect("the state takes it");
    assert_eq!(does, should, "{entry:?}");
    assert_eq!(found, expected, "{entry:?}");
    assert_eq!(state.digest(), model.digest());
    match does {
        Applied::Done { outcome: chat::Outcome::Expired { messages, .. }, .. } => messages,
        _ => 0,
    }
}

/// Compares everything that can be asked.
fn compare(model: &MapMachine, state: &StateStore) {
    assert_eq!((state.applied(), state.digest()), (model.applied(), model.digest()));
    let same = |query: Query| {
        let should = chat::answer(model, &query).expect("a map does not fail");
        assert_eq!(chat::answer(state, &query).expect("the state answers"), should, "{query:?}");
    };
    let deliveries = (model.oldest_delivery().expect("a map does not fail"), state.oldest_delivery());
    assert_eq!(deliveries.1.expect("the state answers"), deliveries.0);
    same(Query::List { regex: None, after: None, limit: 3 });
    same(Query::List { regex: None, after: Some(name("bob")), limit: 100 });
    let middle = id_of(model.mode(), Index(model.applied().0 / 2));
    for typed in NAMES {
        same(Query::Account(name(typed)));
        let Some(account) = model.account(&name(typed)).expect("a map does not fail") else {
            continue;
        };
        same(Query::Login(account.name.clone(), account.id));
        let shown = Shown { backlog_to: middle, ..Shown::default() };
        for shown in [Shown::default(), shown] {
            let (again_after, limit, bytes_max) = (None, 1_000, 4_000);
            same(Query::Undelivered { account: account.id, shown, again_after, limit, bytes_max });
        }
        for after in [MessageId(0), middle, MessageId(u64::MAX)] {
            same(Query::Received { account: account.id, after, limit: 1_000, bytes_max: usize::MAX });
        }
        for with in NAMES.iter().map(|typed| Some(name(typed))).chain([None]) {
            for page in
                [HistoryPage::Before(MessageId(u64::MAX)), HistoryPage::Before(middle), HistoryPage::After(middle)]
            {
                let (account, with) = (account.id, with.clone());
                same(Query::History { account, with, page, limit: 40, bytes_max: usize::MAX });
            }
        }
        for n in 0..30 {
            let key = Key::new(&format!("k{n}")).expect("a key");
            let should = model.key(account.id, &key).expect("a map does not fail");
            assert_eq!(state.key(account.id, &key).expect("the state answers"), should);
        }
    }
}

#[test]
fn at_random_it_is_the_state_in_memory() {
    // Rollbacks and reopens that found rows of one generation in both places: the tables, and the memory.
    let (mut rolled_back, mut reopened, mut expired) = (0, 0, 0);
    for seed in 0..22 {
        let dir = dir();
        let mut script = Script::new(seed);
        let mut model = MapMachine::new();
        let mut state = open(dir.path());
        let mut done = 0;
        for _ in 0..60 {
            let (before, streams) = (model.clone(), script.streams);
            state.begin().expect("it begins");
            for _ in 0..script.rng.u8(1..20) {
                let entry = script.entry(&model);
                expired += apply_both(&mut model, &mut state, &entry);
                done += 1;
            }
            if script.rng.u8(..4) == 0 {
                compare(&model, &state);
            }
            match script.rng.u8(..10) {
                0 => {
                    rolled_back += u32::from(is_filing(&state));
                    state.rollback().expect("it rolls back");
                    (model, script.streams) = (before, streams);
                }
                1 => {
                    state.commit().expect("it commits");
                    reopened += u32::from(is_filing(&state));
                    drop(state);
                    state = open(dir.path());
                    state.set_mode(model.mode());
                }
                _ => state.commit().expect("it commits"),
            }
        }
        compare(&model, &state);
        assert!(done > 300 && model.accounts_count().is_ok_and(|count| count > 1), "seed {seed} said something");
        settle(&mut state);
        compare(&model, &state);
        assert_tidy(&state);
    }
    assert!(expired > 30, "{expired} messages went with the retention");
    assert!(rolled_back > 5 && reopened > 5, "{rolled_back} and {reopened} in the middle of filing");
}

fn is_filing(state: &StateStore) -> bool {
    state.young.filed().cursor != (0, 0)
}

/// Files and purges all there is.
fn settle(state: &mut StateStore) {
    state.young.pace = Pace { messages_max: 1, rows_min: 10_000, ..Pace::default() };
    for _ in 0..20 {
        state.begin().expect("it begins");
        state.commit().expect("it commits");
    }
}

/// In a settled state the counters are the numbers of rows, and no row is left that nobody can reach.
fn assert_tidy(state: &StateStore) {
    // The views with a row for each entry.
    state
        .conn
        .execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS views (account, id, received, name_id, first); DELETE FROM temp.views;",
        )
        .expect("a table");
    for (account, first, entry) in super::sheets::all(&state.conn).expect("all sheets are read") {
        let row = [account, entry.id, entry.received.into(), entry.other.0, first].map(crate::storage::number::Num);
        state.conn.execute("INSERT INTO temp.views VALUES (?1, ?2, ?3, ?4, ?5)", row).expect("it is inserted");
    }
    let wrongs = [
        "accounts WHERE living = 1 AND undelivered <> (SELECT count(*) FROM inbox WHERE account = accounts.id)",
        "accounts WHERE living = 1 AND undelivered_bytes <> (SELECT coalesce(sum(length(CAST(text AS BLOB))), 0)
         FROM inbox JOIN messages USING (id) WHERE account = accounts.id)",
        "meta WHERE accounts <> (SELECT count(*) FROM accounts WHERE living = 1)",
        "accounts WHERE living = 1 AND keys <> (SELECT count(*) FROM keys WHERE account = accounts.id)",
        "views WHERE account NOT IN (SELECT id FROM accounts WHERE living = 1)",
        "inbox WHERE NOT EXISTS (SELECT 1 FROM views WHERE account = inbox.account AND id = inbox.id AND received = 1)",
        "talks WHERE (account, name_id, first) NOT IN (SELECT account, name_id, first FROM views)",
        "views WHERE (account, name_id, first) NOT IN (SELECT account, name_id, first FROM talks)",
        "keys WHERE account NOT IN (SELECT id FROM accounts WHERE living = 1)",
        "messages WHERE id NOT IN (SELECT id FROM views)",
        "purges",
    ];
    for wrong in wrongs {
        let sql = format!("SELECT count(*) FROM {wrong}");
        let count: i64 = state.conn.query_row(&sql, [], |row| row.get(0)).expect("a number");
        assert_eq!(count, 0, "{wrong}");
    }
}

/// A history, and a live state that has applied and committed it, `batch` entries at a time.
fn lived(dir: &Path, seed: u64, entries: usize, batch: usize) -> (Vec<Entry>, MapMachine, StateStore) {
    let mut script = Script::new(seed);
    let (mut model, mut state) = (MapMachine::new(), open(dir));
    let mut history = Vec::new();
    while history.len() < entries {
        state.begin().expect("it begins");
        for _ in 0..batch {
            let entry = script.entry(&model);
            apply_both(&mut model, &mut state, &entry);
            history.push(entry);
        }
        state.commit().expect("it commits");
    }
    (history, model, state)
}

#[test]
fn a_state_that_lost_its_tail_is_some_earlier_one_and_catches_up() {
    let (live, copy) = (dir(), dir());
    let (history, model, state) = lived(live.path(), 77, 600, 10);
    let wal = fs::metadata(live.path().join("state.db-wal")).expect("it is there").len();
    let mut starts = std::collections::BTreeSet::new();
    for part in 0..=20 {
        for file in ["state.db", "state.db-wal"] {
            fs::copy(live.path().join(file), copy.path().join(file)).expect("the files copy");
        }
        let torn = fs::OpenOptions::new().write(true).open(copy.path().join("state.db-wal")).expect("it opens");
        torn.set_len(wal * part / 20).expect("it is cut");
        let mut again = open(copy.path());
        again.set_mode(model.mode());
        let applied = again.applied();
        assert_eq!(applied.0 % 10, 0, "a batch is there as a whole, or not at all");
        starts.insert(applied);
        again.begin().expect("it begins");
        for entry in &history[usize::try_from(applied.0).expect("a small number")..] {
            apply(&mut again, entry, &mut Vec::new()).expect("the state takes it");
        }
        again.commit().expect("it commits");
        compare(&model, &again);
        drop(again);
        fs::remove_file(copy.path().join("state.db")).expect("the copy goes");
    }
    assert!(starts.len() > 10 && starts.contains(&Index(600)), "the cuts fell between the commits: {starts:?}");
    drop(state);
}

#[test]
fn a_full_disk_rolls_back_and_the_same_entries_apply_again() {
    let dir = dir();
    let (_, mut model, mut state) = lived(dir.path(), 5, 100, 20);
    let pages: u32 = state.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    state.conn.pragma_update(None, "max_page_count", pages + 1).expect("a limit is set");

    let member = Member { id: ReplicaId(9), incarnation: Incarnation(9) };
    let text = "x".repeat(3_000);
    let before = model.clone();
    let ann = before.account(&name("ann")).expect("a map does not fail");
    let speaker = ann.expect("the script of this seed leaves an ann");
    let entries: Vec<Entry> = (1..=200)
        .map(|n| {
            let command = format!("ann#{}|5|ann|{text}", speaker.id);
            let payload = payload::encode(Origin { member, boot: Boot(1), n }, &command).freeze();
            let index = Index(before.applied().0 + n);
            Entry { index, term: Term(50), time: 1_800_000_000_000 + n, body: Body::Command(payload) }
        })
        .collect();
    for _ in 0..2 {
        let error = fill(&mut state, &entries).expect_err("the disk is full");
        assert!(error.can_retry(), "{error}");
        state.rollback().expect("it rolls back");
        compare(&before, &state);
    }
    state.conn.pragma_update(None, "max_page_count", 1 << 20).expect("a limit is set");
    fill(&mut state, &entries).expect("there is space again");
    for entry in &entries {
        let done = apply(&mut model, entry, &mut Vec::new()).expect("a map does not fail");
        assert!(matches!(done, Applied::Done { .. }));
    }
    compare(&model, &state);
}

fn fill(state: &mut StateStore, entries: &[Entry]) -> Result<(), StorageError> {
    state.begin()?;
    for entry in entries {
        apply(state, entry, &mut Vec::new())?;
    }
    state.commit()
}

#[test]
fn what_a_deleted_account_leaves_goes_in_steps() {
    let dir = dir();
    let mut state = open(dir.path());
    let account = |id, typed| chat::Account { id: AccountId(id), name: name(typed), password: None };
    let (ann, bob, cyd) = (account(1, "ann"), account(2, "bob"), account(3, "cyd"));
    let text = Text::new("x").expect("a text");
    state.begin().expect("it begins");
    for account in [&ann, &bob, &cyd] {
        state.insert_account(account).expect("it is inserted");
    }
    for id in 10..3_010 {
        let (from, to) = if id % 2 == 0 { (ann.id, bob.id) } else { (ann.id, ann.id) };
        state.insert_message(MessageId(id), from, to, chat::Millis(5), &text).expect("it is inserted");
    }
    state.remove_account(&ann).expect("it is removed");
    state.commit().expect("it commits");
    let count = |state: &StateStore, what: &str| -> i64 {
        state.conn.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).expect("a number")
    };
    assert!(count(&state, "sheets WHERE account = 1") > 15, "not at once");
    assert_eq!(state.received(ann.id, MessageId(0), 10).expect("it answers"), []);
    let mut commits = 0;
    while count(&state, "purges") > 0 {
        state.begin().expect("it begins");
        state.commit().expect("it commits");
        commits += 1;
        assert!(commits < 50, "each step takes something away");
    }
    assert_eq!(count(&state, "sheets WHERE account = 1"), 0);
    assert_eq!(count(&state, "inbox WHERE account = 1"), 0);
    assert_eq!(count(&state, "talks WHERE account = 1"), 0);
    assert_eq!(count(&state, "messages"), 1_500, "what bob received stays");
    let bobs = state.received(bob.id, MessageId(0), 9_999).expect("it answers");
    assert_eq!(bobs.len(), 1_500);
    let first = state.received(bob.id, MessageId(0), 1).expect("it answers").pop().expect("one");
    assert_eq!(first.from, ann.name, "under the name of who is gone");
}

/// What is in memory is read back from the messages: they must say what was erased.
#[test]
fn what_was_erased_while_it_was_young_stays_erased() {
    let dir = dir();
    let mut state = StateStore::open(dir.path(), ME, "plainsong").expect("the state opens");
    let account = |id, typed| chat::Account { id: AccountId(id), name: name(typed), password: None };
    let (ann, bob) = (account(1, "ann"), account(2, "bob"));
    state.begin().expect("it begins");
    state.insert_account(&ann).expect("it is inserted");
    state.insert_account(&bob).expect("it is inserted");
    for (id, from, to) in [(10, &ann, &bob), (11, &ann, &bob), (12, &ann, &bob), (13, &ann, &ann)] {
        let text = Text::new("x").expect("a text");
        state.insert_message(MessageId(id), from.id, to.id, chat::Millis(5), &text).expect("it is inserted");
    }
    for (account, id) in [(&ann, 10), (&bob, 11), (&ann, 12), (&bob, 12), (&ann, 13)] {
        state.erase(account.id, MessageId(id)).expect("it erases");
    }
    state.commit().expect("it commits");
    for pace in [Pace::default(), Pace { messages_max: 1, rows_min: 100, ..Pace::default() }] {
        drop(state);
        state = StateStore::open(dir.path(), ME, "plainsong").expect("the state opens");
        let newest = HistoryPage::Before(MessageId(u64::MAX));
        let view = |of: &chat::Account, with: &chat::Account| {
            let ids = state.history(of.id, Some(&with.name), newest, 9).expect("it answers");
            assert_eq!(state.history(of.id, None, newest, 9).expect("it answers"), ids);
            ids.iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!((view(&ann, &bob), view(&bob, &ann)), (vec![11], vec![10]));
        assert_eq!(state.undelivered_count(bob.id).expect("it answers"), 1);
        let rows: i64 = state.conn.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).expect("a number");
        assert_eq!(rows, 2, "what is in no view is nowhere");
        state.young.pace = pace;
        state.begin().expect("it begins");
        state.commit().expect("it commits");
    }
    assert_eq!(state.young.filed().to, 11, "all is in the tables");
    assert_tidy(&state);
}

#[test]
#[should_panic(expected = "the state is changed outside a transaction, after entry 0")]
fn a_change_outside_a_transaction_is_a_bug() {
    let dir = dir();
    let account = chat::Account { id: AccountId(1), name: name("ann"), password: None };
    let _ = open(dir.path()).insert_account(&account);
}

#[test]
fn the_state_of_another_log_is_refused() {
    let dir = dir();
    drop(open(dir.path()));
    let reborn = Member { incarnation: Incarnation(4), ..ME };
    for (me, cluster) in [(reborn, "plainsong"), (ME, "chant")] {
        let opened = StateStore::open(dir.path(), me, cluster).map(drop);
        assert!(matches!(opened, Err(StorageError::OtherState)), "{opened:?}");
    }
}

#[test]
fn a_store_can_move_to_its_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<StateStore>();
    assert_send::<crate::storage::LogStore>();
}
