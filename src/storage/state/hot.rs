//! The accounts that are asked for again and again, and the counters beside them.
//!
//! Every `send` asks for two accounts; so they are kept, and changed counters are written once, at the commit. All of it
//! is derived from the file and the running transaction: dropping it after a rollback loses nothing.

use std::collections::HashMap;

use chat::{Account, AccountId, Name, PasswordHash};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// Accounts kept between transactions: some 300 bytes each. One transaction may exceed it by what it touches.
const ACCOUNTS_CACHED: usize = 1 << 16;

/// A living account, and how many rows it has in `inbox` and `keys`.
#[derive(Clone, Debug)]
pub(super) struct Living {
    pub account: Account,
    pub undelivered: u64,
    pub keys: u64,
    dirty: bool,
}

/// The accounts kept.
#[derive(Debug, Default)]
pub(super) struct Hot {
    by_id: HashMap<AccountId, Living>,
    by_name: HashMap<Name, AccountId>,
}

impl Hot {
    /// The living account of a name.
    pub fn by_name(&mut self, conn: &Connection, name: &Name) -> Result<Option<&Living>, StorageError> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(self.by_id.get(id));
        }
        let sql = "SELECT id, name, password, undelivered, keys FROM accounts WHERE name = ?1 AND living = 1";
        let found = conn.prepare_cached(sql)?.query_row([name.as_str()], living).optional()?;
        Ok(found.map(|living| &*self.keep(living)))
    }

    /// The living account of that id, for a change of its counters.
    pub fn by_id(&mut self, conn: &Connection, id: AccountId) -> Result<Option<&mut Living>, StorageError> {
        if self.by_id.contains_key(&id) {
            return Ok(self.by_id.get_mut(&id));
        }
        let sql = "SELECT id, name, password, undelivered, keys FROM accounts WHERE id = ?1 AND living = 1";
        let found = conn.prepare_cached(sql)?.query_row([Num::bound(id.0)], living).optional()?;
        Ok(found.map(|living| self.keep(living)))
    }

    /// The name of an account, living or gone.
    pub fn name(&mut self, conn: &Connection, id: AccountId) -> Result<Name, StorageError> {
        if let Some(living) = self.by_id.get(&id) {
            return Ok(living.account.name.clone());
        }
        let mut statement = conn.prepare_cached("SELECT name FROM accounts WHERE id = ?1")?;
        let name = statement.query_row([Num(id.0)], |row| Ok(Name::from_stored(row.get_ref(0)?.as_str()?)))?;
        Ok(name)
    }

    fn keep(&mut self, living: Living) -> &mut Living {
        let id = living.account.id;
        self.by_name.insert(living.account.name.clone(), id);
        self.by_id.entry(id).insert_entry(living).into_mut()
    }

    /// A new account, already in the file.
    pub fn born(&mut self, account: Account) {
        self.keep(Living { account, undelivered: 0, keys: 0, dirty: false });
    }

    /// The account is gone.
    pub fn gone(&mut self, account: &Account) {
        self.by_name.remove(&account.name);
        self.by_id.remove(&account.id);
    }

    /// Writes the counters that changed. What is kept afterwards equals the file, and fits its bound.
    pub fn write(&mut self, conn: &Connection) -> Result<(), StorageError> {
        let mut statement = conn.prepare_cached("UPDATE accounts SET undelivered = ?2, keys = ?3 WHERE id = ?1")?;
        for living in self.by_id.values_mut().filter(|living| living.dirty) {
            statement.execute(params![Num(living.account.id.0), Num(living.undelivered), Num(living.keys)])?;
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
    pub fn count(&mut self, change: impl FnOnce(&mut u64, &mut u64)) {
        change(&mut self.undelivered, &mut self.keys);
        self.dirty = true;
    }
}

fn living(row: &Row<'_>) -> rusqlite::Result<Living> {
    let password = row.get_ref(2)?.as_str_or_null()?;
    let account = Account {
        id: AccountId(row.get::<_, Num>(0)?.0),
        name: Name::from_stored(row.get_ref(1)?.as_str()?),
        password: password.map(PasswordHash::from_stored),
    };
    let (undelivered, keys) = (row.get::<_, Num>(3)?.0, row.get::<_, Num>(4)?.0);
    Ok(Living { account, undelivered, keys, dirty: false })
}
