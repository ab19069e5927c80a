//! A state that is only looked at: that of a replica, running or stopped, or one that a tool has derived.
//!
//! A view is one moment of the file, for as long as it lives: whatever the replica applies meanwhile is not in it. The
//! price is that the replica's write-ahead log grows until the view is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Difference, StateStore, compare, schema};
use crate::storage::db;
use crate::storage::error::StorageError;
use crate::storage::log::LogOwner;

/// See the module's header.
#[derive(Debug)]
pub struct StateView(StateStore);

impl StateView {
    /// Looks at the state in a directory. `None`: there is none.
    pub fn open(dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = dir.join(schema::FILE);
        if !path.exists() {
            return Ok(None);
        }
        let open = || {
            let conn = db::open_reader(&path)?;
            conn.execute_batch("BEGIN")?;
            schema::check_version(&conn)?;
            let owner = schema::owner(&conn)?;
            StateStore::load(conn, owner).map(Self)
        };
        open().map(Some).map_err(StorageError::of_state)
    }

    /// What it holds. It is read with [`chat::Storage`] and [`crate::machine::MachineStorage`].
    pub fn store(&self) -> &StateStore {
        &self.0
    }

    /// Whether it was made beside this log.
    pub fn belongs_to(&self, owner: &LogOwner) -> bool {
        let schema::Owner { cluster, incarnation } = &self.0.owner;
        *cluster == owner.cluster && *incarnation == owner.member.incarnation
    }

    /// The first row in which this state is not what another one of the same entries is. Every row is read, and so its
    /// checksum checked.
    pub fn first_difference(&self, right: &StateStore) -> Result<Option<Difference>, StorageError> {
        compare::first_difference(&self.0, right).map_err(StorageError::of_state)
    }
}

impl StateStore {
    /// A new state in a directory that has none, for the log of `owner`: fast, and worth nothing until
    /// [`StateStore::finish`].
    pub fn create_scratch(dir: &Path, owner: &LogOwner) -> Result<Self, StorageError> {
        fs::create_dir_all(dir).map_err(StorageError::io("create", dir))?;
        let path = dir.join(schema::FILE);
        if path.exists() {
            return Err(StorageError::Occupied(path));
        }
        Self::prepare(db::create_scratch(&path)?, owner.member, &owner.cluster)
    }

    /// Closes a scratch state and makes it durable. Returns its file.
    pub fn finish(self, dir: &Path) -> Result<PathBuf, StorageError> {
        let path = dir.join(schema::FILE);
        self.conn.close().map_err(|(_, error)| error)?;
        let sync =
            |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(StorageError::io("sync", path));
        sync(&path)?;
        sync(dir)?;
        Ok(path)
    }
}
