//! The rows that say something: accounts, messages, keys, and how far the state is. Each carries a crc over all that it
//! says, written with it and checked whenever it is read.
//!
//! # Promises
//! - What these functions return is what was written. Anything else that a row may read as, whatever its cells hold, is
//!   [`StorageError::Corrupt`]: it is never a panic, and never shown.
//!
//! # Left out
//! Rows that are nothing but keys (`talks`, `inbox`, `purges`, the indexes). They are checked against the rows that they
//! lead to; one that leads nowhere any more can be missed. The views have their own file, [`super::sheets`].

use chat::{Account, AccountId, Delivery, IdRange, KeyMemory, Message, MessageId, Millis, Name, PasswordHash, Text};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fresh;
use super::schema::FILE;
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

/// A row that is not what was written.
pub(super) fn damaged(what: impl Into<String>) -> StorageError {
    StorageError::corrupt(FILE, what)
}

/// Over numbers, then texts, each with its length before it: no two rows read the same.
pub(super) fn crc(numbers: &[u64], texts: &[&str]) -> u32 {
    const NUMBERS_AT_ONCE: usize = 8;
    let mut hasher = crc32fast::Hasher::new();
    // In large pieces: most of what a piece costs is to begin it.
    for some in numbers.chunks(NUMBERS_AT_ONCE) {
        let mut bytes = [0; NUMBERS_AT_ONCE * size_of::<u64>()];
        for (place, number) in bytes.chunks_exact_mut(size_of::<u64>()).zip(some) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        hasher.update(&bytes[..size_of_val(some)]);
    }
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, Num>(column).map(|number| number.0)
}

/// Zero or one, and nothing else that is true as well.
fn flag(row: &Row<'_>, column: usize) -> rusqlite::Result<bool> {
    match row.get(column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// Damaged cells have other types, or are no UTF-8: not a mistake of the statement, which reads only its own columns.
fn cells<T>(read: rusqlite::Result<T>, which: &str) -> Result<T, StorageError> {
    read.map_err(|error| damaged(format!("{which} cannot be read: {error}")))
}

// --- accounts ------------------------------------------------------------------------------------------------

/// A name that accounts have had, one after the other: the id of the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameId(pub u64);

/// What the row of an account says.
#[derive(Clone, Debug)]
pub(super) struct AccountRow {
    pub account: Account,
    pub living: bool,
    pub undelivered: u64,
    pub undelivered_bytes: u64,
    pub keys: u64,
    pub name_id: NameId,
}

/// What [`account`] reads.
pub(super) const ACCOUNT: &str = "id, living, undelivered, undelivered_bytes, keys, name_id, name, password, crc";

impl AccountRow {
    /// Of an account that has nothing.
    pub fn empty(account: Account, living: bool, name_id: NameId) -> Self {
        Self { account, living, undelivered: 0, undelivered_bytes: 0, keys: 0, name_id }
    }

    /// The crc that belongs to it.
    pub fn crc(&self) -> u32 {
        let Account { id, name, password } = &self.account;
        let password = password.as_ref().map(PasswordHash::as_str);
        let flags = u64::from(self.living) | u64::from(password.is_some()) << 1;
        let numbers = [id.0, flags, self.undelivered, self.undelivered_bytes, self.keys, self.name_id.0];
        crc(&numbers, &[name.as_str(), password.unwrap_or_default()])
    }
}

/// The account of that id, living or gone.
pub(super) fn account_by_id(conn: &Connection, id: AccountId) -> Result<Option<AccountRow>, StorageError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {ACCOUNT} FROM accounts WHERE id = ?1"))?;
    let mut rows = statement.query([Num::bound(id.0)])?;
    rows.next()?.map(account).transpose()
}

/// The account that a row holds.
pub(super) fn account(row: &Row<'_>) -> Result<AccountRow, StorageError> {
    let read = || {
        let password = row.get_ref(7)?.as_str_or_null()?;
        let (id, living, name) = (number(row, 0)?, flag(row, 1)?, row.get_ref(6)?.as_str()?);
        let (undelivered, undelivered_bytes) = (number(row, 2)?, number(row, 3)?);
        let (keys, name_id) = (number(row, 4)?, number(row, 5)?);
        let flags = u64::from(living) | u64::from(password.is_some()) << 1;
        let numbers = [id, flags, undelivered, undelivered_bytes, keys, name_id];
        let sum = crc(&numbers, &[name, password.unwrap_or_default()]);
        // Before anything is made of the texts.
        let account = (row.get::<_, u32>(8)? == sum).then(|| Account {
            id: AccountId(id),
            name: Name::from_stored(name),
            password: password.map(PasswordHash::from_stored),
        });
        let name_id = NameId(name_id);
        let row = |account| AccountRow { account, living, undelivered, undelivered_bytes, keys, name_id };
        Ok((id, account.map(row)))
    };
    let (id, account) = cells(read(), "an account")?;
    account.ok_or_else(|| damaged(format!("the checksum of account {id} does not match")))
}

/// Which name it is, if any account ever had it.
pub(super) fn name_id(conn: &Connection, name: &Name) -> Result<Option<NameId>, StorageError> {
    let sql = format!("SELECT {ACCOUNT} FROM accounts INDEXED BY all_names WHERE name = ?1 ORDER BY id LIMIT 1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = statement.query([name.as_str()])?;
    let Some(first) = found.next()?.map(account).transpose()? else {
        return Ok(None);
    };
    if first.account.name == *name && first.name_id.0 == first.account.id.0 {
        Ok(Some(first.name_id))
    } else {
        Err(damaged(format!("account {} is not the first of its name", first.account.id)))
    }
}

// --- messages ------------------------------------------------------------------------------------------------

/// What [`message`] reads.
pub(super) const MESSAGE: &str = "id, waiting, erased, sender, recipient, time, text, crc";

/// A bit of `erased`: it is in the sender's view no more.
pub(super) const FROM_SENDER: u8 = 1;
/// A bit of `erased`: it is in the recipient's view no more.
pub(super) const FROM_RECIPIENT: u8 = 2;

/// What the row of a message says.
#[derive(Debug)]
pub(super) struct MessageRow<'a> {
    pub id: u64,
    pub waiting: bool,
    pub erased: u8,
    pub sender: u64,
    pub recipient: u64,
    pub time: Millis,
    text: &'a str,
}

/// What is stored for a crc: all bits turned once the message waits no more, so that this needs not be read to be
/// written.
fn seal(crc: u32, waiting: bool) -> i64 {
    if waiting { i64::from(crc) } else { !i64::from(crc) }
}

/// Adds messages.
pub(super) fn insert_messages(
    conn: &Connection,
    messages: impl Iterator<Item = fresh::Message>,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO messages (id, waiting, erased, sender, recipient, time, text, crc)
         VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7)";
    let mut statement = conn.prepare_cached(sql)?;
    for fresh::Message { id, from, to, time, text, waiting } in messages {
        let sealed = seal(crc(&[id.0, 0, from.0, to.0, time.0], &[text.as_str()]), waiting);
        statement.execute(params![Num(id.0), waiting, Num(from.0), Num(to.0), Num(time.0), text.as_str(), sealed])?;
    }
    Ok(())
}

/// A message that waited does so no more.
pub(super) fn stop_waiting(conn: &Connection, id: MessageId) -> Result<(), StorageError> {
    let sql = "UPDATE messages SET waiting = 0, crc = ~crc WHERE id = ?1 AND waiting = 1";
    match conn.prepare_cached(sql)?.execute([Num(id.0)])? {
        1 => Ok(()),
        _ => Err(damaged(format!("message {id} should be there, and wait"))),
    }
}

/// The message that a row holds.
pub(super) fn message<'r>(row: &'r Row<'_>) -> Result<MessageRow<'r>, StorageError> {
    let read = || {
        let message = MessageRow {
            id: number(row, 0)?,
            waiting: flag(row, 1)?,
            erased: row.get(2)?,
            sender: number(row, 3)?,
            recipient: number(row, 4)?,
            time: Millis(number(row, 5)?),
            text: row.get_ref(6)?.as_str()?,
        };
        Ok((message, row.get::<_, i64>(7)?))
    };
    let (message, sealed) = cells(read(), "a message")?;
    if sealed == seal(message.crc(), message.waiting) {
        Ok(message)
    } else {
        Err(damaged(format!("the checksum of message {} does not match", message.id)))
    }
}

/// Takes a message out of the view of one of the two who have it. It waits no more, if `waits` says so.
pub(super) fn erase(conn: &Connection, message: &MessageRow<'_>, from: u8, waits: bool) -> Result<(), StorageError> {
    let erased = MessageRow { erased: message.erased | from, ..*message };
    let sql = "UPDATE messages SET erased = ?2, waiting = ?3, crc = ?4 WHERE id = ?1";
    let row = params![Num(message.id), erased.erased, waits, seal(erased.crc(), waits)];
    conn.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

impl MessageRow<'_> {
    fn crc(&self) -> u32 {
        let Self { id, waiting: _, erased, sender, recipient, time, text } = self;
        crc(&[*id, (*erased).into(), *sender, *recipient, time.0], &[text])
    }

    /// Who has it beside this account: the same, where it is a message to oneself.
    pub fn other(&self, account: u64) -> u64 {
        if self.sender == account { self.recipient } else { self.sender }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.text
    }

    /// The length of its text.
    pub fn text_bytes(&self) -> u64 {
        self.text.len() as u64
    }

    /// As the rules know it.
    pub fn named(self, from: Name, to: Name) -> Message {
        Message { id: MessageId(self.id), from, to, time: self.time, text: Text::from_stored(self.text) }
    }
}

// --- keys ----------------------------------------------------------------------------------------------------

fn key_crc(account: AccountId, key: &str, at: u64, request: u64, outcome: &str) -> u32 {
    crc(&[account.0, at, request], &[key, outcome])
}

/// What is remembered of a key.
pub(super) fn key(conn: &Connection, account: AccountId, key: &str) -> Result<Option<KeyMemory>, StorageError> {
    let sql = "SELECT at, request, outcome, crc FROM keys WHERE account = ?1 AND key = ?2";
    let found = conn.prepare_cached(sql)?.query_row(params![Num(account.0), key], |row| {
        let memory = KeyMemory { request: row.get::<_, Bits>(1)?.0, outcome: row.get(2)? };
        Ok((number(row, 0)?, memory, row.get::<_, u32>(3)?))
    });
    let Some((at, memory, stored)) = cells(found.optional(), "a key")? else {
        return Ok(None);
    };
    check_key(account, key, at, memory.request, &memory.outcome, stored)?;
    Ok(Some(memory))
}

/// Whether the row of a key is what was written.
pub(super) fn check_key(
    account: AccountId,
    key: &str,
    at: u64,
    request: u64,
    outcome: &str,
    stored: u32,
) -> Result<(), StorageError> {
    if stored == key_crc(account, key, at, request, outcome) {
        Ok(())
    } else {
        Err(damaged(format!("the checksum of a key of account {account} does not match")))
    }
}

/// Remembers a key, in place of what was remembered of it.
pub(super) fn insert_key(
    conn: &Connection,
    account: AccountId,
    key: &str,
    at: u64,
    memory: &KeyMemory,
) -> Result<(), StorageError> {
    let sql = "INSERT OR REPLACE INTO keys (account, key, at, request, outcome, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let crc = key_crc(account, key, at, memory.request, &memory.outcome);
    let row = params![Num(account.0), key, Num(at), Bits(memory.request), memory.outcome, crc];
    conn.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

// --- deliveries ----------------------------------------------------------------------------------------------

fn delivery_crc(delivery: &Delivery) -> u32 {
    let Delivery { at, n, time, account, range } = delivery;
    crc(&[*at, *n, time.0, account.0, range.from.0, range.to.0], &[])
}

/// The columns of [`delivery`].
pub(super) const DELIVERY: &str = "at, n, time, account, first, last, crc";

/// The one with the least key.
pub(super) fn oldest_delivery(conn: &Connection) -> Result<Option<Delivery>, StorageError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {DELIVERY} FROM deliveries ORDER BY at, n LIMIT 1"))?;
    let mut rows = statement.query([])?;
    rows.next()?.map(delivery).transpose()
}

/// Reads the columns of [`DELIVERY`].
pub(super) fn delivery(row: &Row<'_>) -> Result<Delivery, StorageError> {
    let found = || {
        let range = IdRange::new(MessageId(number(row, 4)?), MessageId(number(row, 5)?));
        let (time, account) = (Millis(number(row, 2)?), AccountId(number(row, 3)?));
        Ok((Delivery { at: number(row, 0)?, n: number(row, 1)?, time, account, range }, row.get::<_, u32>(6)?))
    };
    let (delivery, stored) = cells(found(), "a delivery")?;
    if stored == delivery_crc(&delivery) {
        Ok(delivery)
    } else {
        Err(damaged(format!("the checksum of a delivery to account {} does not match", delivery.account)))
    }
}

/// Remembers a delivery, in place of the one with its key.
pub(super) fn insert_delivery(conn: &Connection, delivery: &Delivery) -> Result<(), StorageError> {
    let sql = "INSERT OR REPLACE INTO deliveries (at, n, time, account, first, last, crc)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Delivery { at, n, time, account, range } = delivery;
    let (first, last) = (Num(range.from.0), Num(range.to.0));
    let row = params![Num(*at), Num(*n), Num(time.0), Num(account.0), first, last, delivery_crc(delivery)];
    conn.prepare_cached(sql)?.execute(row)?;
    Ok(())
}
