//! The storage the rules stand on: a map in tests and in the simulation, SQLite in the server.
//!
//! The trait is small on purpose. It promises nothing about durability: whoever applies commands wraps them in a
//! transaction together with the index they came from. [`crate::conformance`] checks an implementation against every
//! sentence of this page.

use crate::{AccountId, Key, Message, MessageId, Millis, Name, PasswordHash, Text};

/// A range of message ids, both ends included. Empty when `from > to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdRange {
    /// The first id in the range.
    pub from: MessageId,
    /// The last id in the range.
    pub to: MessageId,
}

impl IdRange {
    /// From one id to another, both included.
    pub const fn new(from: MessageId, to: MessageId) -> Self {
        Self { from, to }
    }

    /// Whether no id lies in it.
    pub fn is_empty(&self) -> bool {
        self.from > self.to
    }

    /// Whether the id lies in it.
    pub fn contains(&self, id: MessageId) -> bool {
        self.from <= id && id <= self.to
    }
}

/// What one mark delivered to an account: kept only where a retention is in force, until it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The index of the entry that marked it,
    pub at: u64,
    /// and which of the deliveries of that entry it is. Together they order deliveries, and tell them apart.
    pub n: u64,
    /// The entry's time.
    pub time: Millis,
    /// To whom.
    pub account: AccountId,
    /// Every message of the account in it is delivered.
    pub range: IdRange,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryPage {
    /// The newest messages that are older than this one.
    Before(MessageId),
    /// The oldest messages that are newer than this one.
    After(MessageId),
}

/// A living account as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The index of the entry that created it: what tells it from an earlier account of the same name.
    pub id: AccountId,
    /// Its folded name.
    pub name: Name,
    /// Argon2id in PHC form; `None` for an account without a password.
    pub password: Option<PasswordHash>,
}

/// What an idempotency key remembers: which request it named, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMemory {
    /// The request's own words (op and arguments as the command prints them, without speaker, key and stamp),
    /// as a digest: the same key with other words is `KEY_REUSED`.
    pub request: u64,
    /// The first outcome, as [`crate::Outcome`] prints it.
    pub outcome: String,
}

/// What the rules need of a storage. Every method is deterministic: it depends only on the calls made before.
///
/// Any account id, any id to go on after and any range may come in, up to `u64::MAX`: an account that is not there
/// (gone, or never created) has no messages and no keys, and an empty range holds nothing. Ids and indexes that are
/// *written* fit an `i64`; the digest in a [`KeyMemory`] takes all 64 bits.
pub trait Storage {
    /// What can go wrong below: a full disk, a damaged page. `Infallible` for a map.
    type Error;

    /// The living account of that name.
    fn account(&self, name: &Name) -> Result<Option<Account>, Self::Error>;

    /// Its id alone: what each message asks for twice.
    fn account_id(&self, name: &Name) -> Result<Option<AccountId>, Self::Error> {
        Ok(self.account(name)?.map(|account| account.id))
    }

    /// Visits the names of living accounts in ascending byte order, those greater than `after` only, until
    /// `visit` returns `false`.
    fn names(&self, after: Option<&Name>, visit: &mut dyn FnMut(&Name) -> bool) -> Result<(), Self::Error>;

    /// How many accounts live. Constant time.
    fn accounts_count(&self) -> Result<u64, Self::Error>;

    /// Adds a living account. The caller has checked that the name is free.
    fn insert_account(&mut self, account: &Account) -> Result<(), Self::Error>;

    /// Ends an account: its name is free again; its views, its undelivered list and its keys go. Messages it sent
    /// stay in their recipients' views, under its name.
    fn remove_account(&mut self, account: &Account) -> Result<(), Self::Error>;

    /// Gives a living account a password, in place of the one it has, if any.
    fn set_password(&mut self, account: AccountId, password: &PasswordHash) -> Result<(), Self::Error>;

    /// Stores one message in the views of sender and recipient, and as undelivered for the recipient.
    /// A message to oneself is one view and one undelivered entry.
    fn insert_message(
        &mut self,
        id: MessageId,
        from: AccountId,
        to: AccountId,
        time: Millis,
        text: &Text,
    ) -> Result<(), Self::Error>;

    /// How many messages of the account are undelivered. Constant time: logins ask for it.
    fn undelivered_count(&self, account: AccountId) -> Result<u64, Self::Error>;

    /// The bytes of the texts of the account's undelivered messages. Constant time: sends ask for it.
    fn undelivered_bytes(&self, account: AccountId) -> Result<u64, Self::Error>;

    /// How many of the account's undelivered messages lie in the range.
    fn undelivered_in(&self, account: AccountId, range: IdRange) -> Result<u64, Self::Error>;

    /// Undelivered messages of the account with an id greater than `after`, oldest first, at most `limit`.
    fn undelivered(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Self::Error>;

    /// Messages *to* the account with an id greater than `after`, delivered or not, oldest first, at most `limit`:
    /// what feeds a session that fell behind its pushes.
    fn received(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Self::Error>;

    /// Marks the account's undelivered messages in the range as delivered. Returns how many there were.
    fn mark_delivered(&mut self, account: AccountId, range: IdRange) -> Result<u64, Self::Error>;

    /// The ids in the account's view, of messages to and from accounts of the name `with` where it is given: at most
    /// `limit` of the page, in ascending order. The name is the one that the message shows, whether its account lives
    /// or not; the account's own name stands for messages to oneself.
    fn history(
        &self,
        account: AccountId,
        with: Option<&Name>,
        page: HistoryPage,
        limit: usize,
    ) -> Result<Vec<MessageId>, Self::Error>;

    /// The message, if it is in the account's view.
    fn in_view(&self, account: AccountId, id: MessageId) -> Result<Option<Message>, Self::Error>;

    /// Takes a message out of the account's view, and out of what is undelivered to it. The caller has checked that it
    /// is in the view. Nothing changes in the view of the other.
    fn erase(&mut self, account: AccountId, id: MessageId) -> Result<(), Self::Error>;

    /// What the key remembers for the account.
    fn key(&self, account: AccountId, key: &Key) -> Result<Option<KeyMemory>, Self::Error>;

    /// Remembers a key, and forgets the oldest beyond `keep` of that account. `at` is the entry's index: it orders
    /// the keys.
    fn insert_key(
        &mut self,
        account: AccountId,
        key: &Key,
        at: u64,
        memory: &KeyMemory,
        keep: usize,
    ) -> Result<(), Self::Error>;

    /// Remembers a delivery, in place of one with the same `at` and `n`, if there is one. It outlives its account.
    fn insert_delivery(&mut self, delivery: &Delivery) -> Result<(), Self::Error>;

    /// The remembered delivery with the least (`at`, `n`).
    fn oldest_delivery(&self) -> Result<Option<Delivery>, Self::Error>;

    /// Forgets a delivery, by its `at` and `n`. Its messages stay.
    fn remove_delivery(&mut self, at: u64, n: u64) -> Result<(), Self::Error>;
}
