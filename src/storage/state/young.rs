//! The newest messages' rows of `views`, `talks` and `inbox`, kept in memory until there are enough to write them together.
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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use chat::{AccountId, HistoryPage, IdRange, MessageId};
use rusqlite::{Connection, params};

use super::hot::Hot;
use super::rows::{self, FROM_RECIPIENT, FROM_SENDER, MESSAGE, MessageRow, NameId};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// How much stays young, and how fast it is filed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// So many messages make a generation: some 12 MB.
    pub messages_max: usize,
    /// At least so many rows are filed with a commit, if there are any.
    pub rows_min: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { messages_max: 1 << 16, rows_min: 256 }
    }
}

/// For each row that comes, so many are filed: the old generation is gone before the new one is full.
const ROWS_FILED_PER_ROW: usize = 2;

/// An account and a message of its view.
type Key = (u64, u64);

/// An account, the name of the other, and a message between them.
type Talk = (u64, NameId, u64);

/// What a row of a view says beside its key.
#[derive(Clone, Copy, Debug)]
struct View {
    /// Whether it was received; else it was sent.
    received: bool,
    /// The name of the other.
    other: NameId,
}

#[derive(Debug, Default)]
struct Generation {
    views: BTreeMap<Key, View>,
    /// The same, by name, and what was filed of it: taking each out would cost as much as putting it in.
    talks: BTreeSet<Talk>,
    /// Which of them are undelivered.
    waiting: BTreeSet<Key>,
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
    /// How many wait, for each account that has any.
    waiting: HashMap<u64, u64>,
    rows_added: usize,
}

impl Generation {
    fn talk(&self, key: Key) -> Option<Talk> {
        self.views.get(&key).map(|view| (key.0, view.other, key.1))
    }

    /// Takes the row of a view out.
    fn take(&mut self, key: Key) -> Option<View> {
        let talk = self.talk(key)?;
        self.talks.remove(&talk);
        self.views.remove(&key)
    }

    /// The ids of a page, of messages with somebody or with anybody, without what is filed up to a key.
    fn ids(
        &self,
        account: u64,
        with: Option<NameId>,
        page: HistoryPage,
        filed_to: Key,
    ) -> Box<dyn DoubleEndedIterator<Item = u64> + '_> {
        let (mut from, to) = match page {
            HistoryPage::After(id) => (id.0.saturating_add(1), u64::MAX),
            HistoryPage::Before(id) => (0, id.0),
        };
        if account == filed_to.0 {
            from = from.max(filed_to.1 + 1);
        }
        if account < filed_to.0 || from >= to {
            return Box::new(std::iter::empty());
        }
        match with {
            None => Box::new(self.views.range((account, from)..(account, to)).map(|((_, id), _)| *id)),
            Some(name) => Box::new(self.talks.range((account, name, from)..(account, name, to)).map(|(_, _, id)| *id)),
        }
    }
}

fn keys(account: AccountId, range: IdRange) -> (Bound<Key>, Bound<Key>) {
    (Bound::Included((account.0, range.from.0)), Bound::Included((account.0, range.to.0)))
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
            let MessageRow { id, waiting, erased, sender, recipient, .. } = rows::message(row)?;
            if id <= before {
                return Err(rows::damaged(format!("message {id} is out of order")));
            }
            before = id;
            let ((sender_lives, from), (recipient_lives, to)) = (account(sender)?, account(recipient)?);
            if sender != recipient && sender_lives && erased & FROM_SENDER == 0 {
                young.put((sender, id), View { received: false, other: to }, false);
            }
            if recipient_lives && erased & FROM_RECIPIENT == 0 {
                young.put((recipient, id), View { received: true, other: from }, waiting);
            }
            young.seen(id);
        }
        Ok(young)
    }

    /// Where filing is.
    pub fn filed(&self) -> Filed {
        self.filed
    }

    /// A new message, already in the file.
    pub fn add(&mut self, id: MessageId, (from, from_name): (AccountId, NameId), (to, to_name): (AccountId, NameId)) {
        assert!(id.0 > self.newest, "message {id} comes after message {}", self.newest);
        if from != to {
            self.put((from.0, id.0), View { received: false, other: to_name }, false);
        }
        self.put((to.0, id.0), View { received: true, other: from_name }, true);
        self.rows_added += 2;
        self.seen(id.0);
    }

    fn seen(&mut self, id: u64) {
        self.newest = self.newest.max(id);
        let generation = if id <= self.filed.filing_to { &mut self.old } else { &mut self.new };
        generation.messages += 1;
    }

    fn put(&mut self, key: Key, view: View, waits: bool) {
        let is_old = key.1 <= self.filed.filing_to;
        if is_old && key <= self.filed.cursor {
            return;
        }
        let generation = if is_old { &mut self.old } else { &mut self.new };
        generation.views.insert(key, view);
        generation.talks.insert((key.0, view.other, key.1));
        if waits {
            generation.waiting.insert(key);
            *self.waiting.entry(key.0).or_default() += 1;
        }
    }

    /// Whether the message stands in that account's view, and is not in the tables yet.
    pub fn has(&self, account: u64, id: u64) -> bool {
        let generation = if id <= self.filed.filing_to { &self.old } else { &self.new };
        generation.views.contains_key(&(account, id))
    }

    /// How many messages of the account wait here.
    pub fn waiting_count(&self, account: AccountId) -> u64 {
        self.waiting.get(&account.0).copied().unwrap_or_default()
    }

    /// The messages of the range that wait here, oldest first.
    pub fn waiting(&self, account: AccountId, range: IdRange) -> impl Iterator<Item = MessageId> + '_ {
        let range = (!range.is_empty()).then(|| keys(account, range));
        let found = range.map(|keys| self.old.waiting.range(keys).chain(self.new.waiting.range(keys)));
        found.into_iter().flatten().map(|key| MessageId(key.1))
    }

    /// The messages of the range that the account received and that are not in the tables yet, oldest first.
    pub fn received(&self, account: AccountId, range: IdRange) -> impl Iterator<Item = MessageId> + '_ {
        let range = (!range.is_empty()).then(|| keys(account, range));
        let found = range.map(|keys| self.old.views.range(keys).chain(self.new.views.range(keys)));
        found.into_iter().flatten().filter(|(_, view)| view.received).map(|(key, _)| MessageId(key.1))
    }

    /// The ids of the account's history that are not in the tables yet: at most `limit`, going away from the page's end,
    /// so the newest first before an id, the oldest first after one.
    pub fn history(&self, account: AccountId, with: Option<NameId>, page: HistoryPage, limit: usize) -> Vec<MessageId> {
        let (old, new) =
            (self.old.ids(account.0, with, page, self.filed.cursor), self.new.ids(account.0, with, page, (0, 0)));
        let ids = old.chain(new).map(MessageId);
        match page {
            HistoryPage::Before(_) => ids.rev().take(limit).collect(),
            HistoryPage::After(_) => ids.take(limit).collect(),
        }
    }

    /// Takes a message out of a view, if it is not in the tables yet. Gives whether it waited there.
    pub fn erase(&mut self, account: u64, id: u64) -> Option<bool> {
        let key = (account, id);
        let generation = if id <= self.filed.filing_to { &mut self.old } else { &mut self.new };
        generation.take(key)?;
        let waited = generation.waiting.contains(&key);
        self.stop_waiting(key);
        Some(waited)
    }

    /// Whether the tables can hold rows of this range.
    pub fn reaches_tables(&self, range: IdRange) -> bool {
        range.from.0 <= self.filed.filing_to
    }

    /// Marks what waits here in the range, in memory and in the file.
    pub fn deliver(&mut self, conn: &Connection, account: AccountId, range: IdRange) -> Result<u64, StorageError> {
        let marked: Vec<MessageId> = self.waiting(account, range).collect();
        for id in &marked {
            rows::stop_waiting(conn, *id)?;
            self.stop_waiting((account.0, id.0));
        }
        Ok(marked.len() as u64)
    }

    fn stop_waiting(&mut self, key: Key) {
        if (self.old.waiting.remove(&key) || self.new.waiting.remove(&key))
            && let Some(count) = self.waiting.get_mut(&key.0)
        {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&key.0);
            }
        }
    }

    /// Files the views of an account that goes, for the purge to find; what waited does not wait any more.
    pub fn part_with(&mut self, conn: &Connection, account: AccountId) -> Result<(), StorageError> {
        let all = (Bound::Included((account.0, 0)), Bound::Included((account.0, u64::MAX)));
        let mut insert = conn.prepare_cached(INSERT_VIEW)?;
        for generation in [&mut self.old, &mut self.new] {
            let views: Vec<Key> = generation.views.range(all).map(|(key, _)| *key).collect();
            for key in views {
                let view = generation.take(key).expect("it was found");
                insert.execute(params![Num(key.0), Num(key.1), view.received])?;
                generation.waiting.remove(&key);
            }
        }
        self.waiting.remove(&account.0);
        Ok(())
    }

    /// One step with each commit, in the commit's transaction.
    pub fn file(&mut self, conn: &Connection, hot: &mut Hot) -> Result<(), StorageError> {
        if self.old.views.is_empty() && self.new.messages >= self.pace.messages_max {
            self.old = std::mem::take(&mut self.new);
            self.filed = Filed { filing_to: self.newest, cursor: (0, 0), ..self.filed };
        }
        let rows_max = self.pace.rows_min.max(ROWS_FILED_PER_ROW * self.rows_added);
        self.rows_added = 0;
        let mut views = conn.prepare_cached(INSERT_VIEW)?;
        let mut talks = conn.prepare_cached("INSERT INTO talks (account, name_id, id) VALUES (?1, ?2, ?3)")?;
        for _ in 0..rows_max {
            let Some((key, view)) = self.old.views.pop_first() else {
                break;
            };
            views.execute(params![Num(key.0), Num(key.1), view.received])?;
            talks.execute([Num(key.0), Num(view.other.0), Num(key.1)])?;
            if self.old.waiting.contains(&key) {
                conn.prepare_cached("INSERT INTO inbox (account, id) VALUES (?1, ?2)")?
                    .execute(params![Num(key.0), Num(key.1)])?;
                self.stop_waiting(key);
                let living = hot.by_id(conn, AccountId(key.0))?.expect("what waits here waits for the living");
                living.count(|undelivered, _| *undelivered += 1);
            }
            self.filed.cursor = key;
        }
        if self.old.views.is_empty() {
            self.old = Generation::default();
            self.filed = Filed { to: self.filed.filing_to, cursor: (0, 0), ..self.filed };
        }
        Ok(())
    }
}

const INSERT_VIEW: &str = "INSERT INTO views (account, id, received) VALUES (?1, ?2, ?3)";
