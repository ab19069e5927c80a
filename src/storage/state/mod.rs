//! The state that the log derives: accounts, mailboxes, keys, stream positions, in `state.db`.
//!
//! # Promises
//! - Changes happen between [`StateStore::begin`] and [`StateStore::commit`], and land together with the applied index
//!   and the digest. A crash leaves the state after some earlier commit, never between two entries.
//! - A commit costs no fsync: what a crash of the machine takes away is replayed from the log.
//! - After an error and [`StateStore::rollback`] the state is as at `begin`, in memory too: the same entries may be
//!   applied again.
//! - Memory does not grow with history, nor with the size of a mailbox. The rows of the newest messages are kept in it
//!   until they can be written together (see `young`): some 20 MB, read back in a moment at the start.
//! - A damaged row is never shown: each row is checked against its crc when it is read (see `rows`). What SQLite itself
//!   finds is [`StorageError::Corrupt`] after [`StorageError::of_state`]. The state is then derived again from the log.
//!
//! # Left out
//! How far to apply: only what the log holds durably, says the caller, who knows it.

mod chat;
mod compare;
#[cfg(test)]
mod damage_tests;
mod fresh;
mod hot;
mod ids;
mod purge;
mod rows;
mod schema;
mod sheets;
mod shelf;
#[cfg(test)]
mod tests;
mod view;
mod young;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use crate::consensus::{Boot, Index, Member, Mode};
use crate::machine::MachineStorage;
use crate::storage::db::{self, Sync, WalCopier};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

pub use compare::Difference;
pub use view::StateView;

pub(super) use schema::{FILE, adopt, position};

/// SQLite's page cache for the state: it is read and written all over.
const CACHE_KIB: u32 = 16 << 10;

/// The one user of `state.db`: it applies entries, and answers queries between them.
#[derive(Debug)]
pub struct StateStore {
    conn: Connection,
    owner: schema::Owner,
    /// As of now, with the running transaction.
    progress: Progress,
    /// As of the last commit.
    committed: Progress,
    /// Behind a cell, because reads fill it too.
    hot: RefCell<hot::Hot>,
    /// Messages that are not in their table yet. Reads write them.
    fresh: RefCell<fresh::Fresh>,
    /// Rows that are not in the tables yet.
    young: young::Young,
    /// Accounts that are gone have left rows to take away.
    purging: bool,
    /// Not in the file: the log says it, in its first entry.
    mode: Mode,
}

/// How far the state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    applied: Index,
    digest: u64,
    filed: young::Filed,
    /// How many accounts live.
    accounts: u64,
    /// One for each incarnation that ever forwarded a proposal.
    streams: BTreeMap<Member, (Boot, u64)>,
}

impl StateStore {
    /// Opens or creates the state beside the log of `me`.
    pub(super) fn open(dir: &Path, me: Member, cluster: &str) -> Result<Self, StorageError> {
        let open = || Self::prepare(db::open_writer(&dir.join(schema::FILE), Sync::Normal, CACHE_KIB)?, me, cluster);
        open().map_err(StorageError::of_state)
    }

    fn prepare(mut conn: Connection, me: Member, cluster: &str) -> Result<Self, StorageError> {
        schema::prepare(&mut conn, me, cluster)?;
        Self::load(conn, schema::Owner { cluster: cluster.to_owned(), incarnation: me.incarnation })
    }

    fn load(conn: Connection, owner: schema::Owner) -> Result<Self, StorageError> {
        let progress = schema::load(&conn, &owner)?;
        let young = young::Young::load(&conn, progress.filed, young::Pace::default())?;
        let (committed, hot, fresh) = (progress.clone(), RefCell::default(), RefCell::default());
        Ok(Self { conn, owner, young, committed, progress, hot, fresh, purging: true, mode: Mode::Quorum })
    }

    /// What copies the write-ahead log into the file beside this writer. To be dropped before it.
    pub fn wal_copier(&self) -> Result<WalCopier, StorageError> {
        let path = self.conn.path().ok_or_else(|| {
            let source = std::io::Error::other("its path is no UTF-8");
            StorageError::Io { doing: "open", path: schema::FILE.into(), source }
        })?;
        WalCopier::open(Path::new(path))
    }

    /// Starts a transaction: entries are applied until [`StateStore::commit`].
    pub fn begin(&mut self) -> Result<(), StorageError> {
        Ok(self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    /// Ends the transaction: what was applied, how far, and its digest land together. After an error everything is as
    /// at `begin`.
    pub fn commit(&mut self) -> Result<(), StorageError> {
        self.assert_open();
        let result = self.try_commit();
        match result {
            Ok(()) => self.committed.clone_from(&self.progress),
            Err(_) => self.rollback()?,
        }
        result
    }

    /// Makes all that was committed outlast a crash of the machine, with one fsync of the write-ahead log. Returns how far
    /// the state is. Between transactions.
    ///
    /// One commit that waits for the disk does it, because the log that it syncs holds all commits before it; what had been
    /// copied from there into the file was synced then.
    pub fn sync(&mut self) -> Result<Index, StorageError> {
        assert!(self.conn.is_autocommit(), "the state is synced in the middle of a transaction");
        self.conn.execute_batch("PRAGMA synchronous = FULL")?;
        let synced = self.commit_again();
        self.conn.execute_batch("PRAGMA synchronous = NORMAL")?;
        synced.map(|()| self.committed.applied)
    }

    /// A commit that says what the last one said.
    fn commit_again(&self) -> Result<(), StorageError> {
        let tx = self.conn.unchecked_transaction()?;
        schema::save(&tx, &self.owner, &self.committed, &self.committed)?;
        Ok(tx.commit()?)
    }

    /// Does a part of the work of the next commit, as large as what was applied since: between two answers nobody waits
    /// for it.
    pub fn work_ahead(&mut self) -> Result<(), StorageError> {
        self.assert_open();
        self.young.file(&self.conn, self.hot.get_mut(), 0)
    }

    /// How many messages are kept, in whoever's view.
    pub fn messages_count(&self) -> Result<u64, StorageError> {
        self.fresh.borrow_mut().write(&self.conn)?;
        Ok(self.conn.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, Num>(0))?.0)
    }

    fn try_commit(&mut self) -> Result<(), StorageError> {
        self.fresh.get_mut().write(&self.conn)?;
        let hot = self.hot.get_mut();
        self.young.file(&self.conn, hot, self.young.pace.rows_min)?;
        hot.write(&self.conn)?;
        self.progress.filed = self.young.filed();
        if self.purging {
            self.purging = purge::step(&self.conn, &self.young)?;
        }
        schema::save(&self.conn, &self.owner, &self.committed, &self.progress)?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Gives the transaction up.
    pub fn rollback(&mut self) -> Result<(), StorageError> {
        // After some errors (a full disk) SQLite has done it already.
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        self.hot = RefCell::default();
        self.fresh = RefCell::default();
        self.progress.clone_from(&self.committed);
        self.young = young::Young::load(&self.conn, self.progress.filed, self.young.pace)?;
        self.purging = true;
        Ok(())
    }

    /// Outside a transaction each change would be a commit of its own, without its index.
    fn assert_open(&self) {
        assert!(
            !self.conn.is_autocommit(),
            "the state is changed outside a transaction, after entry {}",
            self.progress.applied
        );
    }
}

impl MachineStorage for StateStore {
    fn applied(&self) -> Index {
        self.progress.applied
    }

    fn digest(&self) -> u64 {
        self.progress.digest
    }

    fn advance(&mut self, index: Index, digest: u64) {
        self.progress.applied = index;
        self.progress.digest = digest;
    }

    fn stream(&self, member: Member) -> Option<(Boot, u64)> {
        self.progress.streams.get(&member).copied()
    }

    fn set_stream(&mut self, member: Member, boot: Boot, n: u64) {
        self.progress.streams.insert(member, (boot, n));
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }
}
