//! A state whose file was changed behind its back: every cell that a reader relies on is missed.

use std::path::Path;

use chat::{
    Account, AccountId, Delivery, HistoryPage, IdRange, Key, KeyMemory, MessageId, Millis, Name, PasswordHash,
    Storage as _, Text,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::StateStore;
use super::young::Pace;
use crate::consensus::{Boot, Incarnation, Index, Member, ReplicaId};
use crate::machine::MachineStorage as _;
use crate::storage::StorageError;

const ME: Member = Member { id: ReplicaId(3), incarnation: Incarnation(u64::MAX) };
const ALL: IdRange = IdRange { from: MessageId(0), to: MessageId(u64::MAX) };

fn open(dir: &Path) -> Result<StateStore, StorageError> {
    StateStore::open(dir, ME, "plainsong")
}

fn account(id: u64, typed: &str) -> Account {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let password = Some(PasswordHash::new(hash).expect("a hash"));
    Account { id: AccountId(id), name: Name::fold(typed).expect("a name"), password }
}

fn key() -> Key {
    Key::new("k").expect("a key")
}

fn delivery() -> Delivery {
    let range = IdRange::new(MessageId(10), MessageId(10));
    Delivery { at: 11, n: 1, time: Millis(77), account: AccountId(1), range }
}

/// Ann (1) and bob (2); cyd (3), who is gone. Messages 10 to ann from bob, delivered; 11 to bob from ann, not; 12 to ann
/// from cyd, not. Filed in the tables, or young.
fn lived(is_filed: bool) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut state = open(dir.path()).expect("it opens");
    state.begin().expect("it begins");
    let (ann, bob, cyd) = (account(1, "ann"), account(2, "bob"), account(3, "cyd"));
    for account in [&ann, &bob, &cyd] {
        state.insert_account(account).expect("it is inserted");
    }
    for (id, from, to) in [(10, &bob, &ann), (11, &ann, &bob), (12, &cyd, &ann)] {
        let text = Text::new("never forget").expect("a text");
        state.insert_message(MessageId(id), from.id, to.id, Millis(id * 7), &text).expect("it is inserted");
    }
    state.mark_delivered(ann.id, IdRange::new(MessageId(10), MessageId(10))).expect("it marks");
    let memory = KeyMemory { request: 77, outcome: "ok|marked".to_owned() };
    state.insert_key(ann.id, &key(), 9, &memory, 9).expect("it is inserted");
    state.insert_delivery(&delivery()).expect("it is inserted");
    state.remove_account(&cyd).expect("it is removed");
    state.set_stream(ME, Boot(1), 5);
    state.advance(Index(12), 99);
    if is_filed {
        state.young.pace = Pace { messages_max: 1, rows_min: 100, ..Pace::default() };
    }
    state.commit().expect("it commits");
    assert!(!is_filed || state.young.filed().to == 12, "all is in the tables");
    dir
}

/// Opens, and reads all that there is.
fn read(dir: &Path) -> Result<(), StorageError> {
    let mut state = open(dir)?;
    let mut names = Vec::new();
    state.names(None, &mut |name| {
        names.push(name.clone());
        true
    })?;
    let (mut mail, mut past) = (Vec::new(), Vec::new());
    for name in &names {
        let account =
            state.account(name)?.ok_or_else(|| StorageError::corrupt("state.db", "a name without account"))?;
        state.key(account.id, &key())?;
        assert_eq!(state.oldest_delivery()?, Some(delivery()));
        for with in [None, Some("ann"), Some("bob"), Some("cyd")] {
            let with = with.map(|typed| Name::fold(typed).expect("a name"));
            for id in state.history(account.id, with.as_ref(), HistoryPage::After(MessageId(0)), 9)? {
                past.extend(state.in_view(account.id, id)?);
            }
        }
        mail.extend(state.received(account.id, MessageId(0), 9)?);
        mail.extend(state.undelivered(account.id, MessageId(0), 9)?);
    }
    assert!(mail.iter().all(|message| message.text.as_str() == "never forget" && message.time.0 == message.id.0 * 7));
    state.begin()?;
    for id in [1, 2] {
        state.mark_delivered(AccountId(id), ALL)?;
    }
    state.commit()?;
    let seen: Vec<u64> = mail.iter().map(|message| message.id.0).collect();
    assert_eq!(seen, [10, 12, 12, 11, 11], "nothing is lost where nothing is said");
    let seen: Vec<u64> = past.iter().map(|message| message.id.0).collect();
    assert_eq!(seen, [10, 11, 12, 10, 11, 12, 10, 11, 10, 11], "nor of the histories");
    Ok(())
}

/// As a flipped bit would: constraints and types do not hold it up.
fn change(dir: &Path, sql: &str) {
    let conn = Connection::open(dir.join("state.db")).expect("it opens");
    conn.execute_batch("PRAGMA ignore_check_constraints = ON").expect("it is set");
    assert_eq!(conn.execute(sql, []).expect("it is changed"), 1, "{sql}");
}

#[test]
fn what_is_not_changed_is_read() {
    for is_filed in [false, true] {
        read(lived(is_filed).path()).expect("all is well");
    }
}

#[test]
fn a_changed_cell_is_damage_and_never_shown() {
    let changes = [
        "UPDATE messages SET text = 'never forgeT' WHERE id = 11",
        "UPDATE messages SET text = CAST(x'6e65766572ff' AS TEXT) WHERE id = 11",
        "UPDATE messages SET sender = 2 WHERE id = 11",
        "UPDATE messages SET sender = 9 WHERE id = 11",
        "UPDATE messages SET recipient = 1 WHERE id = 11",
        "UPDATE messages SET time = time + 1 WHERE id = 11",
        "UPDATE messages SET time = -1 WHERE id = 11",
        "UPDATE messages SET waiting = 0 WHERE id = 11",
        "UPDATE messages SET waiting = waiting + 2 WHERE id = 11",
        "UPDATE messages SET erased = 2 WHERE id = 11",
        "UPDATE messages SET erased = 300 WHERE id = 11",
        "UPDATE messages SET id = 13 WHERE id = 11",
        "UPDATE messages SET crc = crc + 1 WHERE id = 11",
        "UPDATE accounts SET name = 'bos' WHERE id = 2",
        "UPDATE accounts SET name = 'cye' WHERE id = 3",
        "UPDATE accounts SET password = '$argon2id$' WHERE id = 2",
        "UPDATE accounts SET password = NULL WHERE id = 2",
        "UPDATE accounts SET undelivered = 4096 WHERE id = 2",
        "UPDATE accounts SET name_id = 1 WHERE id = 2",
        "UPDATE accounts SET name_id = 2 WHERE id = 3",
        "UPDATE keys SET outcome = 'ok|marketh'",
        "UPDATE keys SET request = 78",
        "UPDATE deliveries SET last = 99",
        "UPDATE deliveries SET time = -1",
        "UPDATE deliveries SET at = 12",
        "UPDATE meta SET applied = 8",
        "UPDATE meta SET digest = 98",
        "UPDATE meta SET filed_to = 11",
        "UPDATE meta SET incarnation = 4",
        "UPDATE meta SET cluster = 'plainsonG'",
        "UPDATE streams SET n = 6",
        "UPDATE purges SET account = 2",
    ];
    for is_filed in [false, true] {
        for sql in changes {
            let dir = lived(is_filed);
            change(dir.path(), sql);
            let error = read(dir.path()).expect_err(sql).of_state();
            assert!(matches!(error, StorageError::Corrupt { file: "state.db", .. }), "{sql}: {error}");
            assert!(error.is_state_unusable());
        }
    }
}

#[test]
fn a_key_row_that_leads_elsewhere_is_damage() {
    let changes = [
        "UPDATE sheets SET first = 9 WHERE account = 2",
        "UPDATE sheets SET first = 11 WHERE account = 2",
        "UPDATE sheets SET account = 3 WHERE account = 2",
        "UPDATE sheets SET body = x'010100010101' WHERE account = 2",
        "UPDATE sheets SET body = x'' WHERE account = 1",
        "UPDATE sheets SET crc = crc + 1 WHERE account = 1",
        "UPDATE inbox SET id = 10 WHERE id = 11",
        "UPDATE talks SET first = 9 WHERE account = 2",
        "UPDATE talks SET first = 11 WHERE account = 2",
        "UPDATE talks SET name_id = 3 WHERE account = 2",
    ];
    for sql in changes {
        let dir = lived(true);
        change(dir.path(), sql);
        let error = read(dir.path()).expect_err(sql).of_state();
        assert!(matches!(error, StorageError::Corrupt { file: "state.db", .. }), "{sql}: {error}");
    }
}

#[test]
fn a_file_that_is_no_database_any_more_is_damage() {
    for (at, with) in [(0, &b"SQLite fOrmat"[..]), (100, &[7; 40][..]), (100, &[255; 3000][..])] {
        let dir = lived(false);
        let conn = Connection::open(dir.path().join("state.db")).expect("it opens");
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("it is checkpointed");
        drop(conn);
        let mut bytes = std::fs::read(dir.path().join("state.db")).expect("the file reads");
        bytes[at..at + with.len()].copy_from_slice(with);
        std::fs::write(dir.path().join("state.db"), bytes).expect("the file is written");
        let error = open(dir.path()).map(drop).expect_err("it is damaged");
        assert!(matches!(error, StorageError::Corrupt { file: "state.db", .. }), "{error}");
    }
}

#[test]
fn a_state_of_another_schema_is_to_be_derived_again() {
    let dir = lived(false);
    change(dir.path(), "UPDATE meta SET schema = 1");
    let error = open(dir.path()).map(drop).expect_err("it is another schema");
    assert!(matches!(error, StorageError::Schema { found: 1, .. }) && error.is_state_unusable(), "{error}");
}
