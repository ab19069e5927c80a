//! The machine in memory: for tests, and for the simulation, which holds a whole cluster of them.

use std::collections::BTreeMap;
use std::convert::Infallible;

use chat::{
    Account, AccountId, Delivery, HistoryPage, IdRange, Key, KeyMemory, MapStorage, Message, MessageId, Millis, Name,
    PasswordHash, Storage, Text,
};

use super::MachineStorage;
use crate::consensus::{Boot, Index, Member, Mode};

/// State in memory. Two of them are equal exactly when they hold the same state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapMachine {
    chat: MapStorage,
    streams: BTreeMap<Member, (Boot, u64)>,
    applied: Index,
    digest: u64,
    mode: Mode,
}

impl MapMachine {
    /// Nothing applied.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chat's part of the state.
    pub fn chat(&self) -> &MapStorage {
        &self.chat
    }
}

impl MachineStorage for MapMachine {
    fn applied(&self) -> Index {
        self.applied
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn advance(&mut self, index: Index, digest: u64) {
        self.applied = index;
        self.digest = digest;
    }

    fn stream(&self, member: Member) -> Option<(Boot, u64)> {
        self.streams.get(&member).copied()
    }

    fn set_stream(&mut self, member: Member, boot: Boot, n: u64) {
        self.streams.insert(member, (boot, n));
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }
}

impl Storage for MapMachine {
    type Error = Infallible;

    fn account(&self, name: &Name) -> Result<Option<Account>, Infallible> {
        self.chat.account(name)
    }

    fn names(&self, after: Option<&Name>, visit: &mut dyn FnMut(&Name) -> bool) -> Result<(), Infallible> {
        self.chat.names(after, visit)
    }

    fn accounts_count(&self) -> Result<u64, Infallible> {
        self.chat.accounts_count()
    }

    fn insert_account(&mut self, account: &Account) -> Result<(), Infallible> {
        self.chat.insert_account(account)
    }

    fn remove_account(&mut self, account: &Account) -> Result<(), Infallible> {
        self.chat.remove_account(account)
    }

    fn set_password(&mut self, account: AccountId, password: &PasswordHash) -> Result<(), Infallible> {
        self.chat.set_password(account, password)
    }

    fn insert_message(
        &mut self,
        id: MessageId,
        from: AccountId,
        to: AccountId,
        time: Millis,
        text: &Text,
    ) -> Result<(), Infallible> {
        self.chat.insert_message(id, from, to, time, text)
    }

    fn undelivered_count(&self, account: AccountId) -> Result<u64, Infallible> {
        self.chat.undelivered_count(account)
    }

    fn undelivered_bytes(&self, account: AccountId) -> Result<u64, Infallible> {
        self.chat.undelivered_bytes(account)
    }

    fn undelivered_in(&self, account: AccountId, range: IdRange) -> Result<u64, Infallible> {
        self.chat.undelivered_in(account, range)
    }

    fn undelivered(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Infallible> {
        self.chat.undelivered(account, after, limit)
    }

    fn received(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Infallible> {
        self.chat.received(account, after, limit)
    }

    fn mark_delivered(&mut self, account: AccountId, range: IdRange) -> Result<u64, Infallible> {
        self.chat.mark_delivered(account, range)
    }

    fn history(
        &self,
        account: AccountId,
        with: Option<&Name>,
        page: HistoryPage,
        limit: usize,
    ) -> Result<Vec<MessageId>, Infallible> {
        self.chat.history(account, with, page, limit)
    }

    fn in_view(&self, account: AccountId, id: MessageId) -> Result<Option<Message>, Infallible> {
        self.chat.in_view(account, id)
    }

    fn erase(&mut self, account: AccountId, id: MessageId) -> Result<(), Infallible> {
        self.chat.erase(account, id)
    }

    fn key(&self, account: AccountId, key: &Key) -> Result<Option<KeyMemory>, Infallible> {
        self.chat.key(account, key)
    }

    fn insert_key(
        &mut self,
        account: AccountId,
        key: &Key,
        at: u64,
        memory: &KeyMemory,
        keep: usize,
    ) -> Result<(), Infallible> {
        self.chat.insert_key(account, key, at, memory, keep)
    }

    fn insert_delivery(&mut self, delivery: &Delivery) -> Result<(), Infallible> {
        self.chat.insert_delivery(delivery)
    }

    fn oldest_delivery(&self) -> Result<Option<Delivery>, Infallible> {
        self.chat.oldest_delivery()
    }

    fn remove_delivery(&mut self, at: u64, n: u64) -> Result<(), Infallible> {
        self.chat.remove_delivery(at, n)
    }
}
