//! The accounts that are asked for again and again, and the counters beside them.
//!
//! Every `send` asks for two accounts; so they are kept, and changed counters are written once, at the commit. All of it
//! is derived from the file and the running transaction: dropping it after a rollback loses nothing.

use std::collections::HashMap;

use chat::{Account, AccountId, Name};
use rusqlite::{Connection, params};

use super::ids::IdMap;
use super::rows::{self, ACCOUNT, AccountRow, NameId};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// Accounts kept between transactions: some 300 bytes each. One transaction may exceed it by what it touches.
const ACCOUNTS_CACHED: usize = 1 << 16;

/// A living account, and how many rows it has in `inbox` and `keys`.
#[derive(Clone, Debug)]
pub(super) struct Living {
    pub row: AccountRow,
    dirty: bool,
}

/// The accounts kept.
#[derive(Debug, Default)]
pub(super) struct Hot {
    by_id: IdMap<AccountId, Living>,
    by_name: HashMap<Name, AccountId>,
}

impl Hot {
    /// The living account of a name.
    pub fn by_name(&mut self, conn: &Connection, name: &Name) -> Result<Option<&Living>, StorageError> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(self.by_id.get(id));
        }
        let mut statement =
            conn.prepare_cached(&format!("SELECT {ACCOUNT} FROM accounts WHERE name = ?1 AND living = 1"))?;
        let mut found = statement.query([name.as_str()])?;
        let Some(row) = found.next()? else { return Ok(None) };
        let row = rows::account(row)?;
        if !row.living || row.account.name != *name {
            return Err(rows::damaged(format!("account {} is found under another name", row.account.id)));
        }
        Ok(Some(self.keep(row)))
    }

    /// The id of the living account of a name, without a look at what else is kept of it.
    pub fn id_of(&mut self, conn: &Connection, name: &Name) -> Result<Option<AccountId>, StorageError> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(Some(*id));
        }
        Ok(self.by_name(conn, name)?.map(|living| living.row.account.id))
    }

    /// The living account of that id, for a change of its counters.
    pub fn by_id(&mut self, conn: &Connection, id: AccountId) -> Result<Option<&mut Living>, StorageError> {
        if self.by_id.contains_key(&id) {
            return Ok(self.by_id.get_mut(&id));
        }
        let found = rows::account_by_id(conn, id)?.filter(|row| row.living);
        Ok(found.map(|row| self.keep(row)))
    }

    /// The name of an account, living or gone.
    pub fn name(&mut self, conn: &Connection, id: AccountId) -> Result<Name, StorageError> {
        if let Some(living) = self.by_id.get(&id) {
            return Ok(living.row.account.name.clone());
        }
        let row = rows::account_by_id(conn, id)?;
        Ok(row.ok_or_else(|| rows::damaged(format!("account {id} is missing")))?.account.name)
    }

    fn keep(&mut self, row: AccountRow) -> &mut Living {
        let id = row.account.id;
        self.by_name.insert(row.account.name.clone(), id);
        self.by_id.entry(id).insert_entry(Living { row, dirty: false }).into_mut()
    }

    /// A new account, already in the file.
    pub fn born(&mut self, row: AccountRow) {
        self.keep(row);
    }

    /// The name of an account, living or gone, as a number.
    pub fn name_id(&mut self, conn: &Connection, id: AccountId) -> Result<NameId, StorageError> {
        if let Some(living) = self.by_id.get(&id) {
            return Ok(living.row.name_id);
        }
        let row = rows::account_by_id(conn, id)?;
        Ok(row.ok_or_else(|| rows::damaged(format!("account {id} is missing")))?.name_id)
    }

    /// The account is gone.
    pub fn gone(&mut self, account: &Account) {
        self.by_name.remove(&account.name);
        self.by_id.remove(&account.id);
    }

    /// Writes the counters that changed. What is kept afterwards equals the file, and fits its bound.
    pub fn write(&mut self, conn: &Connection) -> Result<(), StorageError> {
        let sql = "UPDATE accounts SET undelivered = ?2, undelivered_bytes = ?3, keys = ?4, crc = ?5 WHERE id = ?1";
        let mut statement = conn.prepare_cached(sql)?;
        for living in self.by_id.values_mut().filter(|living| living.dirty) {
            let row = &living.row;
            let (undelivered, bytes) = (Num(row.undelivered), Num(row.undelivered_bytes));
            statement.execute(params![Num(row.account.id.0), undelivered, bytes, Num(row.keys), row.crc()])?;
            living.dirty = false;
        }
        if self.by_id.len() > ACCOUNTS_CACHED {
            *self = Self::default();
        }
        Ok(())
    }
}

impl Living {
    /// Changes the counters; they are written with the commit.
    pub fn count(&mut self, change: impl FnOnce(&mut AccountRow)) {
        change(&mut self.row);
        self.dirty = true;
    }

    /// So many rows left `inbox`, and with them so many bytes of texts.
    pub fn take(&mut self, messages: u64, bytes: u64) -> Result<(), StorageError> {
        let row = &self.row;
        let left = (row.undelivered.checked_sub(messages), row.undelivered_bytes.checked_sub(bytes));
        let (Some(undelivered), Some(undelivered_bytes)) = left else {
            let what = format!("account {} has more undelivered than was counted", row.account.id);
            return Err(rows::damaged(what));
        };
        self.count(|row| (row.undelivered, row.undelivered_bytes) = (undelivered, undelivered_bytes));
        Ok(())
    }
}
