//! The rules' storage, on SQLite. The trait says what each method does; here is only how.

use chat::limits::MESSAGE_ID_MAX;
use chat::{
    Account, AccountId, Delivery, HistoryPage, IdRange, Key, KeyMemory, Message, MessageId, Millis, Name, PasswordHash,
    Storage, Text,
};
use rusqlite::{Connection, params};

use super::hot::Hot;
use super::rows::{self, ACCOUNT, AccountRow, FROM_RECIPIENT, FROM_SENDER, MESSAGE, MessageRow, NameId};
use super::sheets::{self, Walk};
use super::young::Young;
use super::{StateStore, fresh};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

impl Storage for StateStore {
    type Error = StorageError;

    fn account(&self, name: &Name) -> Result<Option<Account>, StorageError> {
        Ok(self.hot.borrow_mut().by_name(&self.conn, name)?.map(|living| living.row.account.clone()))
    }

    fn account_id(&self, name: &Name) -> Result<Option<AccountId>, StorageError> {
        self.hot.borrow_mut().id_of(&self.conn, name)
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
        let sql =
            "INSERT INTO accounts (id, living, undelivered, undelivered_bytes, keys, name_id, name, password, crc)
                   VALUES (?1, 1, 0, 0, 0, ?2, ?3, ?4, ?5)";
        let name_id = rows::name_id(&self.conn, &account.name)?.unwrap_or(NameId(account.id.0));
        let row = AccountRow::empty(account.clone(), true, name_id);
        let password = account.password.as_ref().map(PasswordHash::as_str);
        let values = params![Num(account.id.0), Num(name_id.0), account.name.as_str(), password, row.crc()];
        self.conn.prepare_cached(sql)?.execute(values)?;
        self.hot.get_mut().born(row);
        self.progress.accounts += 1;
        Ok(())
    }

    /// The rows of the account are out of reach at once, and are taken away bit by bit with the commits that follow.
    fn remove_account(&mut self, account: &Account) -> Result<(), StorageError> {
        self.assert_open();
        self.young.part_with(&self.conn, account.id)?;
        let name_id = self.hot.get_mut().name_id(&self.conn, account.id)?;
        let gone = Account { password: None, ..account.clone() };
        let gone = AccountRow::empty(gone, false, name_id);
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

    fn set_password(&mut self, account: AccountId, password: &PasswordHash) -> Result<(), StorageError> {
        self.assert_open();
        let living = self.hot.get_mut().by_id(&self.conn, account)?.expect("the rules ask it of living accounts only");
        living.row.account.password = Some(password.clone());
        // Its crc is over the counters too, and those of the file may be older.
        let sql = "UPDATE accounts SET password = ?2, undelivered = ?3, undelivered_bytes = ?4, keys = ?5, crc = ?6
                   WHERE id = ?1";
        let row = &living.row;
        let counts = (Num(row.undelivered), Num(row.undelivered_bytes), Num(row.keys));
        let values = params![Num(account.0), password.as_str(), counts.0, counts.1, counts.2, row.crc()];
        self.conn.prepare_cached(sql)?.execute(values)?;
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
        let message = fresh::Message { id, from, to, time, text: text.clone(), waiting: true };
        self.fresh.get_mut().add(&self.conn, message)?;
        let hot = self.hot.get_mut();
        let names = (hot.name_id(&self.conn, from)?, hot.name_id(&self.conn, to)?);
        self.young.add(id, (from, names.0), (to, names.1), text.as_str().len() as u64);
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
        let mut ids = Vec::new();
        if limit > 0 {
            sheets::walk(&self.conn, account.0, None, Walk::After(after.0), |entry| {
                if entry.received {
                    ids.push(MessageId(entry.id));
                }
                ids.len() < limit
            })?;
        }
        ids.extend(self.young.received(account, beyond(after)).take(limit - ids.len()));
        self.messages(account, &ids)
    }

    fn mark_delivered(&mut self, account: AccountId, range: IdRange) -> Result<u64, StorageError> {
        self.assert_open();
        let (conn, fresh) = (&self.conn, self.fresh.get_mut());
        let young = self.young.deliver(account, range, |id| match fresh.stop_waiting(id) {
            true => Ok(()),
            false => rows::stop_waiting(conn, id),
        })?;
        if range.is_empty() || !self.young.reaches_tables(range) || self.in_inbox(account)? == 0 {
            return Ok(young);
        }
        let bytes = self.texts_bytes(account, range)?;
        let sql = "DELETE FROM inbox WHERE account = ?1 AND id BETWEEN ?2 AND ?3";
        let within = params![Num(account.0), Num::bound(range.from.0), Num::bound(range.to.0)];
        let filed = self.conn.prepare_cached(sql)?.execute(within)? as u64;
        let living = self.hot.get_mut().by_id(&self.conn, account)?.expect("it has rows in the inbox");
        living.take(filed, bytes)?;
        Ok(young + filed)
    }

    fn history(
        &self,
        account: AccountId,
        with: Option<&Name>,
        page: HistoryPage,
        limit: usize,
    ) -> Result<Vec<MessageId>, StorageError> {
        let with = match with {
            None => None,
            Some(name) => match self.name_id(name)? {
                None => return Ok(Vec::new()),
                some => some,
            },
        };
        if self.hot.borrow_mut().by_id(&self.conn, account)?.is_none() {
            return Ok(Vec::new());
        }
        match page {
            HistoryPage::After(_) => {
                let mut ids = self.filed_history(account, with, page, limit)?;
                ids.extend(self.young.history(account, with, page, limit - ids.len()));
                Ok(ids)
            }
            HistoryPage::Before(_) => {
                let mut ids = self.young.history(account, with, page, limit);
                ids.extend(self.filed_history(account, with, page, limit - ids.len())?);
                ids.reverse();
                Ok(ids)
            }
        }
    }

    fn in_view(&self, account: AccountId, id: MessageId) -> Result<Option<Message>, StorageError> {
        if self.hot.borrow_mut().by_id(&self.conn, account)?.is_none() || !self.views(account.0, id.0)? {
            return Ok(None);
        }
        self.fresh.borrow_mut().write(&self.conn)?;
        let mut statement = self.conn.prepare_cached(&format!("SELECT {MESSAGE} FROM messages WHERE id = ?1"))?;
        let mut found = statement.query([Num(id.0)])?;
        let row = found.next()?.map(rows::message).transpose()?;
        let Some(row) = row.filter(|row| row.id == id.0 && [row.sender, row.recipient].contains(&account.0)) else {
            return Err(rows::damaged(format!("message {id} is missing in the history of account {account}")));
        };
        let mut hot = self.hot.borrow_mut();
        let from = hot.name(&self.conn, AccountId(row.sender))?;
        let to = hot.name(&self.conn, AccountId(row.recipient))?;
        Ok(Some(row.named(from, to)))
    }

    fn erase(&mut self, account: AccountId, id: MessageId) -> Result<(), StorageError> {
        self.assert_open();
        self.fresh.get_mut().write(&self.conn)?;
        let mut statement = self.conn.prepare_cached(&format!("SELECT {MESSAGE} FROM messages WHERE id = ?1"))?;
        let mut found = statement.query([Num(id.0)])?;
        let Some(row) = found.next()?.map(rows::message).transpose()? else {
            return Err(rows::damaged(format!("message {id} is missing in the history of account {account}")));
        };
        let other = row.other(account.0);
        let waits = match self.young.erase(account.0, id.0) {
            Some(waited) => row.waiting && !waited,
            None => {
                let name = self.hot.get_mut().name_id(&self.conn, AccountId(other))?;
                unfile(&self.conn, self.hot.get_mut(), account, name, &row)?;
                row.waiting
            }
        };
        if other == account.0 || !has_view(&self.conn, &self.young, other, id.0)? {
            self.conn.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([Num(id.0)])?;
        } else {
            let from = if row.sender == account.0 { FROM_SENDER } else { FROM_RECIPIENT };
            rows::erase(&self.conn, &row, from, waits)?;
        }
        Ok(())
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

    fn insert_delivery(&mut self, delivery: &Delivery) -> Result<(), StorageError> {
        self.assert_open();
        rows::insert_delivery(&self.conn, delivery)
    }

    fn oldest_delivery(&self) -> Result<Option<Delivery>, StorageError> {
        rows::oldest_delivery(&self.conn)
    }

    fn remove_delivery(&mut self, at: u64, n: u64) -> Result<(), StorageError> {
        self.assert_open();
        self.conn.prepare_cached("DELETE FROM deliveries WHERE at = ?1 AND n = ?2")?.execute([Num(at), Num(n)])?;
        Ok(())
    }
}

/// Whether a message is in a view, of an account that lives or of one whose rows are still there.
pub(super) fn has_view(conn: &Connection, young: &Young, account: u64, id: u64) -> Result<bool, StorageError> {
    if id > MESSAGE_ID_MAX {
        return Ok(false);
    }
    if young.has(account, id) {
        return Ok(true);
    }
    sheets::has(conn, account, id)
}

/// Takes a message that is in the tables out of a view, and out of the inbox.
fn unfile(
    conn: &Connection,
    hot: &mut Hot,
    account: AccountId,
    other: NameId,
    message: &MessageRow<'_>,
) -> Result<(), StorageError> {
    let id = MessageId(message.id);
    if sheets::remove(conn, account.0, message.id)?.is_none_or(|entry| entry.other != other) {
        return Err(rows::damaged(format!("message {id} is half in the view of account {account}")));
    }
    let sql = "DELETE FROM inbox WHERE account = ?1 AND id = ?2";
    if conn.prepare_cached(sql)?.execute([Num(account.0), Num(id.0)])? == 0 {
        return Ok(());
    }
    let living = hot.by_id(conn, account)?.expect("the rules erase for living accounts only");
    living.take(1, message.text_bytes())
}

fn beyond(after: MessageId) -> IdRange {
    IdRange::new(MessageId(after.0.saturating_add(1)), MessageId(u64::MAX))
}

impl StateStore {
    /// Which name it is, if any account ever had it.
    fn name_id(&self, name: &Name) -> Result<Option<NameId>, StorageError> {
        if let Some(living) = self.hot.borrow_mut().by_name(&self.conn, name)? {
            return Ok(Some(living.row.name_id));
        }
        rows::name_id(&self.conn, name)
    }

    /// Whether the message is in the account's view.
    fn views(&self, account: u64, id: u64) -> Result<bool, StorageError> {
        has_view(&self.conn, &self.young, account, id)
    }

    /// The part of a history that is in the tables, in the order of [`Young::history`].
    fn filed_history(
        &self,
        account: AccountId,
        with: Option<NameId>,
        page: HistoryPage,
        limit: usize,
    ) -> Result<Vec<MessageId>, StorageError> {
        let mut ids = Vec::new();
        if limit > 0 {
            let way = match page {
                HistoryPage::Before(id) => Walk::Before(id.0),
                HistoryPage::After(id) => Walk::After(id.0),
            };
            sheets::walk(&self.conn, account.0, with, way, |entry| {
                ids.push(MessageId(entry.id));
                ids.len() < limit
            })?;
        }
        Ok(ids)
    }

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
        // A row can be in `inbox` before its message is in the table.
        self.fresh.borrow_mut().write(&self.conn)?;
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
        self.fresh.borrow_mut().write(&self.conn)?;
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
