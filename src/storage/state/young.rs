//! The newest messages' entries of views, and their rows of `inbox`, kept in memory until there are enough to write them together.
//!
//! Why: these rows are keyed by account, so that each message dirties pages all over the file, and SQLite writes whole
//! pages: with a thousand busy accounts a commit of a thousand messages wrote 8 MiB. Filed 65,536 messages at a time,
//! in the order of their keys, many rows share each page. On a 2-core machine that is 236,000 entries a second instead of 80,000
//! (`examples/storage_bench.rs`, a thousand accounts).
//! Besides, most messages are delivered while they are young, and never reach the `inbox` at all.
//!
//! Nothing is lost with the memory: `messages` says who sent what to whom, from whose view it was erased, and, while a
//! message is young, whether it still waits. So the young rows are read back from the messages above `filed_to`.
//!
//! # Two generations
//! While `old` is filed, a bounded step with each commit, `new` takes what comes. Steps go in the order of the keys, up
//! to a durable cursor. For every account this holds:
//!
//! ```text
//! ids in the tables  <  ids in old  <  ids in new
//! ```
//!
//! so that a read is the three of them one after the other, and no row is ever in two places.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use chat::limits::MESSAGE_ID_MAX;
use chat::{AccountId, HistoryPage, IdRange, MessageId};
use rusqlite::Connection;

use super::hot::Hot;
use super::rows::{self, FROM_RECIPIENT, FROM_SENDER, MESSAGE, MessageRow, NameId};
use super::sheets::{self, ENTRIES_MAX};
use super::shelf::{Row, Shelf, Waiting};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// How much stays young, and how fast it is filed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// So many messages make a generation: some 12 MB.
    pub messages_max: usize,
    /// At least so many rows are filed with a commit, if there are any.
    pub rows_min: usize,
    /// So many at the most on one sheet.
    pub sheet_max: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { messages_max: 1 << 16, rows_min: 256, sheet_max: ENTRIES_MAX }
    }
}

/// For each row that comes, so many are filed: the old generation is gone before the new one is full.
const ROWS_FILED_PER_ROW: usize = 2;

/// An account and a message.
pub(super) type Key = (u64, u64);

#[derive(Debug, Default)]
struct Generation {
    views: Shelf,
    messages: usize,
}

/// Where filing is: durable with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filed {
    /// Messages up to here are in the tables.
    pub to: u64,
    /// Those up to here are being filed; equal to `to` between two generations.
    pub filing_to: u64,
    /// Of those, rows up to this key are in the tables.
    pub cursor: Key,
}

/// The rows that are not in the tables yet.
#[derive(Debug, Default)]
pub(super) struct Young {
    pub pace: Pace,
    filed: Filed,
    old: Generation,
    new: Generation,
    newest: u64,
    rows_added: usize,
    /// Rows to be filed. Whole sheets are: what one holds too many is made up for.
    owed: isize,
}

/// What [`Young::rows`] gives.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Account, message, whether received, the other's name.
    pub views: Vec<[u64; 4]>,
    /// Account, message, 0.
    pub inbox: Vec<[u64; 3]>,
}

impl Generation {
    /// The ids of a page, of messages with somebody or with anybody. There is no index by name here: a generation is
    /// small enough to be searched, and a third row for each message would cost every send.
    fn ids(
        &self,
        account: u64,
        with: Option<NameId>,
        page: HistoryPage,
    ) -> impl DoubleEndedIterator<Item = MessageId> + '_ {
        let ids = match page {
            HistoryPage::After(id) => id.0.saturating_add(1)..=MESSAGE_ID_MAX,
            HistoryPage::Before(id) => 0..=id.0.saturating_sub(1),
        };
        let found = self.views.range(account, ids);
        found.filter(move |row| with.is_none_or(|name| row.other == name)).map(|row| MessageId(row.id))
    }
}

fn ids(range: IdRange) -> RangeInclusive<u64> {
    range.from.0..=range.to.0
}

/// For a message that waits.
fn length(text_bytes: u64) -> Option<NonZeroU32> {
    let bytes = u32::try_from(text_bytes).ok().and_then(NonZeroU32::new);
    assert!(bytes.is_some(), "no text is empty, nor longer than a line, and this has {text_bytes} bytes");
    bytes
}

impl Young {
    /// Reads back what is not filed. Accounts that are gone have nothing here.
    pub fn load(conn: &Connection, filed: Filed, pace: Pace) -> Result<Self, StorageError> {
        let mut young = Self { pace, filed, newest: filed.filing_to, ..Self::default() };
        let mut known = HashMap::new();
        // Whether it lives, and its name.
        let mut account = |id: u64| -> Result<(bool, NameId), StorageError> {
            if let Some(known) = known.get(&id) {
                return Ok(*known);
            }
            let row = rows::account_by_id(conn, AccountId(id))?;
            let row = row.ok_or_else(|| rows::damaged(format!("account {id} is missing")))?;
            known.insert(id, (row.living, row.name_id));
            Ok((row.living, row.name_id))
        };
        let sql = format!("SELECT {MESSAGE} FROM messages WHERE id > ?1 ORDER BY id");
        let mut statement = conn.prepare_cached(&sql)?;
        let mut found = statement.query([Num(filed.to)])?;
        let mut before = filed.to;
        while let Some(row) = found.next()? {
            let row = rows::message(row)?;
            let MessageRow { id, waiting, erased, sender, recipient, .. } = row;
            if id <= before {
                return Err(rows::damaged(format!("message {id} is out of order")));
            }
            before = id;
            let ((sender_lives, from), (recipient_lives, to)) = (account(sender)?, account(recipient)?);
            if sender != recipient && sender_lives && erased & FROM_SENDER == 0 {
                young.put(sender, Row { id, received: false, other: to, waiting: None });
            }
            if recipient_lives && erased & FROM_RECIPIENT == 0 {
                let waiting = if waiting { length(row.text_bytes()) } else { None };
                young.put(recipient, Row { id, received: true, other: from, waiting });
            }
            young.seen(id);
        }
        Ok(young)
    }

    /// All of them, as the tables would hold them, each list in the order of its table.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for generation in [&self.old, &self.new] {
            for (account, row) in generation.views.iter() {
                rows.views.push([account, row.id, row.received.into(), row.other.0]);
                if row.waiting.is_some() {
                    rows.inbox.push([account, row.id, 0]);
                }
            }
        }
        rows.views.sort_unstable();
        rows.inbox.sort_unstable();
        rows
    }

    /// Where filing is.
    pub fn filed(&self) -> Filed {
        self.filed
    }

    /// A new message, already in the file.
    pub fn add(
        &mut self,
        id: MessageId,
        (from, from_name): (AccountId, NameId),
        (to, to_name): (AccountId, NameId),
        text_bytes: u64,
    ) {
        assert!(id.0 > self.newest, "message {id} comes after message {}", self.newest);
        if from != to {
            self.put(from.0, Row { id: id.0, received: false, other: to_name, waiting: None });
        }
        self.put(to.0, Row { id: id.0, received: true, other: from_name, waiting: length(text_bytes) });
        self.rows_added += 2;
        self.seen(id.0);
    }

    fn seen(&mut self, id: u64) {
        self.newest = self.newest.max(id);
        let generation = if id <= self.filed.filing_to { &mut self.old } else { &mut self.new };
        generation.messages += 1;
    }

    fn put(&mut self, account: u64, row: Row) {
        let is_old = row.id <= self.filed.filing_to;
        if is_old && (account, row.id) <= self.filed.cursor {
            return;
        }
        let generation = if is_old { &mut self.old } else { &mut self.new };
        generation.views.insert(account, row);
    }

    /// Whether the message stands in that account's view, and is not in the tables yet.
    pub fn has(&self, account: u64, id: u64) -> bool {
        let generation = if id <= self.filed.filing_to { &self.old } else { &self.new };
        generation.views.has(account, id)
    }

    /// How much of the account waits here.
    pub fn waiting_count(&self, account: AccountId) -> Waiting {
        let (old, new) = (self.old.views.waiting_count(account.0), self.new.views.waiting_count(account.0));
        Waiting { messages: old.messages + new.messages, bytes: old.bytes + new.bytes }
    }

    /// The messages of the range that wait here, oldest first.
    pub fn waiting(&self, account: AccountId, range: IdRange) -> impl Iterator<Item = MessageId> + '_ {
        let (old, new) = (&self.old.views, &self.new.views);
        let found = old.waiting(account.0, ids(range)).chain(new.waiting(account.0, ids(range)));
        found.map(|row| MessageId(row.id))
    }

    /// The messages of the range that the account received and that are not in the tables yet, oldest first.
    pub fn received(&self, account: AccountId, range: IdRange) -> impl Iterator<Item = MessageId> + '_ {
        let (old, new) = (&self.old.views, &self.new.views);
        let found = old.range(account.0, ids(range)).chain(new.range(account.0, ids(range)));
        found.filter(|row| row.received).map(|row| MessageId(row.id))
    }

    /// The ids of the account's history that are not in the tables yet: at most `limit`, going away from the page's end,
    /// so the newest first before an id, the oldest first after one.
    pub fn history(&self, account: AccountId, with: Option<NameId>, page: HistoryPage, limit: usize) -> Vec<MessageId> {
        let ids = self.old.ids(account.0, with, page).chain(self.new.ids(account.0, with, page));
        match page {
            HistoryPage::Before(_) => ids.rev().take(limit).collect(),
            HistoryPage::After(_) => ids.take(limit).collect(),
        }
    }

    /// Takes a message out of a view, if it is not in the tables yet. Gives whether it waited there.
    pub fn erase(&mut self, account: u64, id: u64) -> Option<bool> {
        let generation = if id <= self.filed.filing_to { &mut self.old } else { &mut self.new };
        Some(generation.views.remove(account, id)?.waiting.is_some())
    }

    /// Whether the tables can hold rows of this range.
    pub fn reaches_tables(&self, range: IdRange) -> bool {
        range.from.0 <= self.filed.filing_to
    }

    /// Marks what waits here in the range, and has it marked in the file.
    pub fn deliver(
        &mut self,
        account: AccountId,
        range: IdRange,
        mut in_file: impl FnMut(MessageId) -> Result<(), StorageError>,
    ) -> Result<u64, StorageError> {
        let mut marked = 0;
        for generation in [&mut self.old, &mut self.new] {
            marked += generation.views.deliver(account.0, ids(range), |id| in_file(MessageId(id)))?;
        }
        Ok(marked)
    }

    /// Files the views of an account that goes, for the purge to find; what waited does not wait any more.
    pub fn part_with(&mut self, conn: &Connection, account: AccountId) -> Result<(), StorageError> {
        for generation in [&mut self.old, &mut self.new] {
            for some in generation.views.take(account.0).chunks(ENTRIES_MAX) {
                sheets::add(conn, account.0, some.iter().map(entry).collect())?;
            }
        }
        Ok(())
    }

    /// Files some rows, in the running transaction: as many as keep pace with what comes, and at least `rows_min`.
    pub fn file(&mut self, conn: &Connection, hot: &mut Hot, rows_min: usize) -> Result<(), StorageError> {
        if self.old.views.is_empty() && self.new.messages >= self.pace.messages_max {
            self.old = std::mem::take(&mut self.new);
            self.filed = Filed { filing_to: self.newest, cursor: (0, 0), ..self.filed };
        }
        let owed = ROWS_FILED_PER_ROW * std::mem::take(&mut self.rows_added);
        self.owed = (self.owed + owed as isize).max(rows_min as isize);
        while self.owed > 0 {
            let Some((account, some)) = self.old.views.pop_some(self.pace.sheet_max) else {
                self.owed = 0;
                break;
            };
            self.owed -= some.len() as isize;
            sheets::add(conn, account, some.iter().map(entry).collect())?;
            for row in &some {
                file_waiting(conn, hot, account, row)?;
            }
            self.filed.cursor = (account, some.last().expect("some rows are at least one").id);
        }
        if self.old.views.is_empty() {
            self.filed = Filed { to: self.filed.filing_to, cursor: (0, 0), ..self.filed };
        }
        Ok(())
    }
}

/// Files that a message waits, if it does.
fn file_waiting(conn: &Connection, hot: &mut Hot, account: u64, row: &Row) -> Result<(), StorageError> {
    let Some(bytes) = row.waiting else { return Ok(()) };
    let sql = "INSERT INTO inbox (account, id) VALUES (?1, ?2)";
    conn.prepare_cached(sql)?.execute([Num(account), Num(row.id)])?;
    let living = hot.by_id(conn, AccountId(account))?.expect("what waits here waits for the living");
    living.count(|row| {
        row.undelivered += 1;
        row.undelivered_bytes += u64::from(bytes.get());
    });
    Ok(())
}

fn entry(&Row { id, received, other, .. }: &Row) -> sheets::Entry {
    sheets::Entry { id, received, other }
}
