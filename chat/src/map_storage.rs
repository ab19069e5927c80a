//! A storage made of maps: for tests, and for the simulation, which holds a whole cluster of them.
//!
//! Two of them are equal exactly when they hold the same state, which is what replicas must.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use crate::{
    Account, AccountId, Delivery, HistoryPage, IdRange, Key, KeyMemory, Message, MessageId, Millis, Name, PasswordHash,
    Storage, Text,
};

/// State in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapStorage {
    accounts: BTreeMap<Name, Account>,
    mailboxes: BTreeMap<AccountId, Mailbox>,
    deliveries: BTreeMap<(u64, u64), Delivery>,
}

/// What belongs to one living account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mailbox {
    owner: Name,
    /// The account's view: what it sent and what it received. A message in two views is stored once.
    view: BTreeMap<MessageId, Arc<Message>>,
    /// What it received and has not been told delivered: a part of `view`.
    undelivered: BTreeSet<MessageId>,
    /// The bytes of their texts.
    undelivered_bytes: u64,
    keys: BTreeMap<Key, (u64, KeyMemory)>,
    /// The keys by the index at which they came: oldest first.
    keys_by_age: BTreeMap<u64, Key>,
}

impl Mailbox {
    /// With whom the owner exchanged the message; the owner where that is a message to oneself.
    ///
    /// Names serve for accounts here: nobody else can have had the owner's name while the owner lives.
    fn other<'a>(&self, message: &'a Message) -> &'a Name {
        if message.from == self.owner { &message.to } else { &message.from }
    }
}

impl MapStorage {
    /// No account, no message.
    pub fn new() -> Self {
        Self::default()
    }

    fn living(&mut self, account: AccountId) -> &mut Mailbox {
        self.mailboxes.get_mut(&account).expect("the rules write for living accounts only")
    }
}

/// The ids of a range; one that holds nothing where the range is empty, which `BTreeMap::range` would panic on.
fn ids(range: IdRange) -> Option<RangeInclusive<MessageId>> {
    if range.is_empty() { None } else { Some(range.from..=range.to) }
}

impl Storage for MapStorage {
    type Error = Infallible;

    fn account(&self, name: &Name) -> Result<Option<Account>, Infallible> {
        Ok(self.accounts.get(name).cloned())
    }

    fn names(&self, after: Option<&Name>, visit: &mut dyn FnMut(&Name) -> bool) -> Result<(), Infallible> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for name in self.accounts.range::<Name, _>((from, Bound::Unbounded)).map(|(name, _)| name) {
            if !visit(name) {
                break;
            }
        }
        Ok(())
    }

    fn accounts_count(&self) -> Result<u64, Infallible> {
        Ok(self.accounts.len() as u64)
    }

    fn insert_account(&mut self, account: &Account) -> Result<(), Infallible> {
        let mailbox = Mailbox {
            owner: account.name.clone(),
            view: BTreeMap::new(),
            undelivered: BTreeSet::new(),
            undelivered_bytes: 0,
            keys: BTreeMap::new(),
            keys_by_age: BTreeMap::new(),
        };
        self.mailboxes.insert(account.id, mailbox);
        self.accounts.insert(account.name.clone(), account.clone());
        Ok(())
    }

    fn remove_account(&mut self, account: &Account) -> Result<(), Infallible> {
        self.accounts.remove(&account.name);
        self.mailboxes.remove(&account.id);
        Ok(())
    }

    fn set_password(&mut self, account: AccountId, password: &PasswordHash) -> Result<(), Infallible> {
        let owner = self.living(account).owner.clone();
        self.accounts.get_mut(&owner).expect("a mailbox has an account").password = Some(password.clone());
        Ok(())
    }

    fn insert_message(
        &mut self,
        id: MessageId,
        from: AccountId,
        to: AccountId,
        time: Millis,
        text: &Text,
    ) -> Result<(), Infallible> {
        let (sender, recipient) = (self.living(from).owner.clone(), self.living(to).owner.clone());
        let message = Arc::new(Message { id, from: sender, to: recipient, time, text: text.clone() });
        self.living(from).view.insert(id, message.clone());
        let mailbox = self.living(to);
        mailbox.view.insert(id, message);
        mailbox.undelivered.insert(id);
        mailbox.undelivered_bytes += text.as_str().len() as u64;
        Ok(())
    }

    fn undelivered_count(&self, account: AccountId) -> Result<u64, Infallible> {
        Ok(self.mailboxes.get(&account).map_or(0, |mailbox| mailbox.undelivered.len() as u64))
    }

    fn undelivered_bytes(&self, account: AccountId) -> Result<u64, Infallible> {
        Ok(self.mailboxes.get(&account).map_or(0, |mailbox| mailbox.undelivered_bytes))
    }

    fn undelivered_in(&self, account: AccountId, range: IdRange) -> Result<u64, Infallible> {
        let found = self.mailboxes.get(&account).zip(ids(range));
        Ok(found.map_or(0, |(mailbox, ids)| mailbox.undelivered.range(ids).count() as u64))
    }

    fn undelivered(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Infallible> {
        let Some(mailbox) = self.mailboxes.get(&account) else {
            return Ok(Vec::new());
        };
        let newer = mailbox.undelivered.range((Bound::Excluded(after), Bound::Unbounded));
        let message = |id| Message::clone(mailbox.view.get(id).expect("what is undelivered is in the view"));
        Ok(newer.take(limit).map(message).collect())
    }

    fn received(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, Infallible> {
        let Some(mailbox) = self.mailboxes.get(&account) else {
            return Ok(Vec::new());
        };
        let newer = mailbox.view.range((Bound::Excluded(after), Bound::Unbounded));
        // Names serve for accounts here: nobody else can have had the owner's name while the owner lives.
        let received = newer.map(|(_, message)| message).filter(|message| message.to == mailbox.owner);
        Ok(received.take(limit).map(|message| Message::clone(message)).collect())
    }

    fn mark_delivered(&mut self, account: AccountId, range: IdRange) -> Result<u64, Infallible> {
        let Some((mailbox, ids)) = self.mailboxes.get_mut(&account).zip(ids(range)) else {
            return Ok(0);
        };
        let marked: Vec<MessageId> = mailbox.undelivered.range(ids).copied().collect();
        for id in &marked {
            mailbox.undelivered.remove(id);
            let message = mailbox.view.get(id).expect("what is undelivered is in the view");
            mailbox.undelivered_bytes -= message.text.as_str().len() as u64;
        }
        Ok(marked.len() as u64)
    }

    fn history(
        &self,
        account: AccountId,
        with: Option<&Name>,
        page: HistoryPage,
        limit: usize,
    ) -> Result<Vec<MessageId>, Infallible> {
        let Some(mailbox) = self.mailboxes.get(&account) else {
            return Ok(Vec::new());
        };
        let is_with = |message: &Message| with.is_none_or(|name| mailbox.other(message) == name);
        let of = |range: (Bound<MessageId>, Bound<MessageId>)| {
            mailbox.view.range(range).filter(|(_, message)| is_with(message)).map(|(id, _)| *id)
        };
        Ok(match page {
            HistoryPage::After(id) => of((Bound::Excluded(id), Bound::Unbounded)).take(limit).collect(),
            HistoryPage::Before(id) => {
                let mut newest: Vec<_> = of((Bound::Unbounded, Bound::Excluded(id))).rev().take(limit).collect();
                newest.reverse();
                newest
            }
        })
    }

    fn in_view(&self, account: AccountId, id: MessageId) -> Result<Option<Message>, Infallible> {
        let found = self.mailboxes.get(&account).and_then(|mailbox| mailbox.view.get(&id));
        Ok(found.map(|message| Message::clone(message)))
    }

    fn erase(&mut self, account: AccountId, id: MessageId) -> Result<(), Infallible> {
        let mailbox = self.living(account);
        let message = mailbox.view.remove(&id);
        if mailbox.undelivered.remove(&id) {
            mailbox.undelivered_bytes -= message.map_or(0, |message| message.text.as_str().len() as u64);
        }
        Ok(())
    }

    fn key(&self, account: AccountId, key: &Key) -> Result<Option<KeyMemory>, Infallible> {
        let found = self.mailboxes.get(&account).and_then(|mailbox| mailbox.keys.get(key));
        Ok(found.map(|(_, memory)| memory.clone()))
    }

    fn insert_key(
        &mut self,
        account: AccountId,
        key: &Key,
        at: u64,
        memory: &KeyMemory,
        keep: usize,
    ) -> Result<(), Infallible> {
        let mailbox = self.living(account);
        if let Some((before, _)) = mailbox.keys.insert(key.clone(), (at, memory.clone())) {
            mailbox.keys_by_age.remove(&before);
        }
        mailbox.keys_by_age.insert(at, key.clone());
        while mailbox.keys_by_age.len() > keep {
            if let Some((_, oldest)) = mailbox.keys_by_age.pop_first() {
                mailbox.keys.remove(&oldest);
            }
        }
        Ok(())
    }

    fn insert_delivery(&mut self, delivery: &Delivery) -> Result<(), Infallible> {
        self.deliveries.insert((delivery.at, delivery.n), delivery.clone());
        Ok(())
    }

    fn oldest_delivery(&self) -> Result<Option<Delivery>, Infallible> {
        Ok(self.deliveries.first_key_value().map(|(_, delivery)| delivery.clone()))
    }

    fn remove_delivery(&mut self, at: u64, n: u64) -> Result<(), Infallible> {
        self.deliveries.remove(&(at, n));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn keeps_the_contract() {
        for (name, check) in conformance::checks() {
            println!("{name}");
            check(&mut MapStorage::new());
        }
    }
}
