//! The rules' storage, on SQLite. The trait says what each method does; here is only how.

use chat::{Account, AccountId, IdRange, Key, KeyMemory, Message, MessageId, Millis, Name, Storage, Text};
use rusqlite::params;

use super::StateStore;
use super::rows::{self, ACCOUNT, AccountRow, MESSAGE};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

impl Storage for StateStore {
    type Error = StorageError;

    fn account(&self, name: &Name) -> Result<Option<Account>, StorageError> {
        Ok(self.hot.borrow_mut().by_name(&self.conn, name)?.map(|living| living.row.account.clone()))
    }

    fn names(&self, after: Option<&Name>, visit: &mut dyn FnMut(&Name) -> bool) -> Result<(), StorageError> {
        // The empty string is lower than every name.
        let sql = format!("SELECT {ACCOUNT} FROM accounts WHERE living = 1 AND name > ?1 ORDER BY name");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut found = statement.query([after.map_or("", Name::as_str)])?;
        let mut before = after.cloned();
        while let Some(row) = found.next()? {
            let row = rows::account(row)?;
            let name = row.account.name;
            if !row.living || before.is_some_and(|before| before >= name) {
                return Err(rows::damaged(format!("account {} is found under another name", row.account.id)));
            }
            if !visit(&name) {
                break;
            }
            before = Some(name);
        }
        Ok(())
    }

    fn accounts_count(&self) -> Result<u64, StorageError> {
        Ok(self.progress.accounts)
    }

    fn insert_account(&mut self, account: &Account) -> Result<(), StorageError> {
        self.assert_open();
        let sql = "INSERT INTO accounts (id, living, undelivered, undelivered_bytes, keys, name, password, crc)
                   VALUES (?1, 1, 0, 0, 0, ?2, ?3, ?4)";
        let row = AccountRow { account: account.clone(), living: true, undelivered: 0, undelivered_bytes: 0, keys: 0 };
        let password = account.password.as_ref().map(|hash| hash.as_str());
        let values = params![Num(account.id.0), account.name.as_str(), password, row.crc()];
        self.conn.prepare_cached(sql)?.execute(values)?;
        self.hot.get_mut().born(account.clone());
        self.progress.accounts += 1;
        Ok(())
    }

    /// The rows of the account are out of reach at once, and are taken away bit by bit with the commits that follow.
    fn remove_account(&mut self, account: &Account) -> Result<(), StorageError> {
        self.assert_open();
        self.young.part_with(&self.conn, account.id)?;
        let gone = Account { password: None, ..account.clone() };
        let gone = AccountRow { account: gone, living: false, undelivered: 0, undelivered_bytes: 0, keys: 0 };
        let Some(left) = self.progress.accounts.checked_sub(1) else {
            return Err(rows::damaged("more accounts live than were counted"));
        };
        self.progress.accounts = left;
        let sql = "UPDATE accounts SET living = 0, undelivered = 0, undelivered_bytes = 0, keys = 0, password = NULL,
                   crc = ?2 WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![Num(account.id.0), gone.crc()])?;
        self.conn.prepare_cached("INSERT INTO purges (account) VALUES (?1)")?.execute([Num(account.id.0)])?;
        self.hot.get_mut().gone(account);
        self.purging = true;
        Ok(())
    }

    fn insert_message(
        &mut self,
        id: MessageId,
        from: AccountId,
        to: AccountId,
        time: Millis,
        text: &Text,
    ) -> Result<(), StorageError> {
        self.assert_open();
        rows::insert_message(&self.conn, id, from, to, time, text)?;
        self.young.add(id, from, to, text.as_str().len() as u64);
        Ok(())
    }

    fn undelivered_count(&self, account: AccountId) -> Result<u64, StorageError> {
        Ok(self.in_inbox(account)? + self.young.waiting_count(account).messages)
    }

    fn undelivered_bytes(&self, account: AccountId) -> Result<u64, StorageError> {
        let filed = self.hot.borrow_mut().by_id(&self.conn, account)?.map_or(0, |living| living.row.undelivered_bytes);
        Ok(filed + self.young.waiting_count(account).bytes)
    }

    fn undelivered_in(&self, account: AccountId, range: IdRange) -> Result<u64, StorageError> {
        let young = self.young.waiting(account, range).count() as u64;
        if self.in_inbox(account)? == 0 || range.is_empty() {
            return Ok(young);
        }
        let sql = "SELECT count(*) FROM inbox WHERE account = ?1 AND id BETWEEN ?2 AND ?3";
        let within = params![Num(account.0), Num::bound(range.from.0), Num::bound(range.to.0)];
        Ok(young + self.conn.prepare_cached(sql)?.query_row(within, |row| row.get::<_, Num>(0))?.0)
    }

    fn undelivered(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, StorageError> {
        let mut ids = Vec::new();
        if self.in_inbox(account)? > 0 {
            let sql = "SELECT id FROM inbox WHERE account = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            ids = self.filed_ids(sql, account, after, limit)?;
        }
        ids.extend(self.young.waiting(account, beyond(after)).take(limit - ids.len()));
        self.messages(account, &ids)
    }

    fn received(&self, account: AccountId, after: MessageId, limit: usize) -> Result<Vec<Message>, StorageError> {
        let sql = "SELECT id FROM views WHERE account = ?1 AND id > ?2 AND received = 1 ORDER BY id LIMIT ?3";
        let mut ids = self.filed_ids(sql, account, after, limit)?;
        ids.extend(self.young.received(account, beyond(after)).take(limit - ids.len()));
        self.messages(account, &ids)
    }

    fn mark_delivered(&mut self, account: AccountId, range: IdRange) -> Result<u64, StorageError> {
        self.assert_open();
        let young = self.young.deliver(&self.conn, account, range)?;
        if self.in_inbox(account)? == 0 || range.is_empty() || !self.young.reaches_tables(range) {
            return Ok(young);
        }
        let bytes = self.texts_bytes(account, range)?;
        let sql = "DELETE FROM inbox WHERE account = ?1 AND id BETWEEN ?2 AND ?3";
        let within = params![Num(account.0), Num::bound(range.from.0), Num::bound(range.to.0)];
        let filed = self.conn.prepare_cached(sql)?.execute(within)? as u64;
        let living = self.hot.get_mut().by_id(&self.conn, account)?.expect("it has rows in the inbox");
        let (messages_left, bytes_left) =
            (living.row.undelivered.checked_sub(filed), living.row.undelivered_bytes.checked_sub(bytes));
        let (Some(messages_left), Some(bytes_left)) = (messages_left, bytes_left) else {
            return Err(rows::damaged(format!("account {account} has more undelivered messages than were counted")));
        };
        living.count(|row| (row.undelivered, row.undelivered_bytes) = (messages_left, bytes_left));
        Ok(young + filed)
    }

    fn key(&self, account: AccountId, key: &Key) -> Result<Option<KeyMemory>, StorageError> {
        if self.hot.borrow_mut().by_id(&self.conn, account)?.is_none_or(|living| living.row.keys == 0) {
            return Ok(None);
        }
        rows::key(&self.conn, account, key.as_str())
    }

    fn insert_key(
        &mut self,
        account: AccountId,
        key: &Key,
        at: u64,
        memory: &KeyMemory,
        keep: usize,
    ) -> Result<(), StorageError> {
        self.assert_open();
        let known = self.key(account, key)?.is_some();
        rows::insert_key(&self.conn, account, key.as_str(), at, memory)?;
        let hot = self.hot.get_mut();
        let living = hot.by_id(&self.conn, account)?.expect("the rules remember keys of living accounts only");
        let beyond = (living.row.keys + u64::from(!known)).saturating_sub(keep as u64);
        if beyond > 0 {
            let sql = "DELETE FROM keys WHERE account = ?1 AND at IN
                       (SELECT at FROM keys WHERE account = ?1 ORDER BY at LIMIT ?2)";
            self.conn.prepare_cached(sql)?.execute(params![Num(account.0), Num::bound(beyond)])?;
        }
        living.count(|row| row.keys = row.keys + u64::from(!known) - beyond);
        Ok(())
    }
}

fn beyond(after: MessageId) -> IdRange {
    IdRange::new(MessageId(after.0.saturating_add(1)), MessageId(u64::MAX))
}

impl StateStore {
    /// How many of the account's undelivered messages are in the table.
    fn in_inbox(&self, account: AccountId) -> Result<u64, StorageError> {
        Ok(self.hot.borrow_mut().by_id(&self.conn, account)?.map_or(0, |living| living.row.undelivered))
    }

    /// The bytes of the account's undelivered messages of the range, of those in the table. Each is read: a number beside
    /// its key in `inbox` would stand under no checksum, and a damaged one would make replicas refuse different sends.
    fn texts_bytes(&self, account: AccountId, range: IdRange) -> Result<u64, StorageError> {
        let sql = format!(
            "SELECT {MESSAGE} FROM inbox CROSS JOIN messages USING (id) WHERE account = ?1 AND id BETWEEN ?2 AND ?3"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let within = params![Num(account.0), Num::bound(range.from.0), Num::bound(range.to.0)];
        let mut found = statement.query(within)?;
        let mut bytes = 0;
        while let Some(row) = found.next()? {
            let message = rows::message(row)?;
            if message.recipient != account.0 {
                return Err(rows::damaged(format!("message {} waits in another's mailbox", message.id)));
            }
            bytes += message.text_bytes();
        }
        Ok(bytes)
    }

    /// The ids that a query finds in a table for an account, after an id, up to a limit.
    fn filed_ids(
        &self,
        sql: &str,
        account: AccountId,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<MessageId>, StorageError> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let within = params![Num::bound(account.0), Num::bound(after.0), Num::bound(limit as u64)];
        let ids = statement.query_map(within, |row| Ok(MessageId(row.get::<_, Num>(0)?.0)))?;
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        match ids.first().is_none_or(|first| *first > after) && ids.is_sorted_by(|one, next| one < next) {
            true => Ok(ids),
            false => Err(rows::damaged(format!("the mailbox of account {account} is out of order"))),
        }
    }

    /// Messages to a living account. A gone one has nothing.
    fn messages(&self, account: AccountId, ids: &[MessageId]) -> Result<Vec<Message>, StorageError> {
        let mut hot = self.hot.borrow_mut();
        let Some(to) = hot.by_id(&self.conn, account)?.map(|living| living.row.account.name.clone()) else {
            return Ok(Vec::new());
        };
        let mut statement = self.conn.prepare_cached(&format!("SELECT {MESSAGE} FROM messages WHERE id = ?1"))?;
        let mut messages = Vec::with_capacity(ids.len());
        for &id in ids {
            let mut found = statement.query([Num(id.0)])?;
            let row = found.next()?.map(rows::message).transpose()?;
            let Some(row) = row.filter(|row| row.id == id.0 && row.recipient == account.0) else {
                return Err(rows::damaged(format!("message {id} is missing in the mailbox of account {account}")));
            };
            let from = hot.name(&self.conn, AccountId(row.sender))?;
            messages.push(row.named(from, to.clone()));
        }
        Ok(messages)
    }
}
