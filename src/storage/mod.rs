//! What survives: the replay log and the state derived from it, in SQLite. Blocking, and the only place that makes
//! anything durable.
//!
//! ```text
//! log.db     the truth.    WAL, synchronous=FULL:   one fsync a write, however many batches it takes
//! state.db   derived.      WAL, synchronous=NORMAL: no fsync; its tail may be lost, and is replayed
//! ```
//!
//! # Promises
//! - Whatever [`LogStore::write`] returned `Ok` for is there after any crash of process or machine.
//! - [`StateStore`] changes in transactions that carry the applied index with the changes, so that it is always the
//!   state after some whole entry. Losing it costs a replay, never data.
//! - What [`open`] reports is durable before it is returned, its `boot` count among it.
//! - A log that ends before what the state has applied has lost what was reported as stored:
//!   [`StorageError::LogBehindState`] or [`StorageError::LogLost`]. The caller sets the directory aside and starts blank.
//! - The log may begin behind a *base* that the state includes. A state that is behind the base cannot be derived again:
//!   [`StorageError::StateLost`], likewise.
//! - What is cut away can be archived first, in files that the tools read as a part of the log: see `archive`.
//! - What is given up leaves the log and enters a table beside it in one transaction, and the state that has applied it is
//!   void from then on.
//! - A copy of the state that was fetched takes the place of log and state in steps of which any may be the last before a
//!   crash: see `snapshot`.
//! - Damage is refused with its place. Nothing is repaired by cutting it off.
//!
//! # Left out
//! Threads, queues and group commit: the actor that owns a store drains its queue and calls [`LogStore::write`] once.
//! What an entry does to the state: [`crate::machine`].

mod archive;
mod backup;
mod db;
mod dir;
mod error;
#[cfg(test)]
mod fork_tests;
mod log;
mod number;
mod replay;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::consensus::{Index, Recovered, ReplicaId, Snapshot};
use crate::machine::MachineStorage as _;

pub use archive::{FILE_ENTRIES_MAX as ARCHIVE_ENTRIES, History, archive};
pub use backup::{Backup, backup, restore};
pub use db::WalCopier;
pub use dir::DataDir;
pub use error::StorageError;
#[doc(hidden)]
pub use log::Cells;
pub use log::{LogOwner, LogReader, LogStore, Orphan, Scrubbed};
pub use replay::{Goal, Progress, Sources, replay};
pub use snapshot::{Incoming, Outgoing};
pub use state::{Difference, StateStore, StateView};

/// A replica's disk, ready for use.
#[derive(Debug)]
pub struct Opened {
    /// Holds the lock: keep it as long as the stores.
    pub dir: DataDir,
    /// The replay log.
    pub log: LogStore,
    /// What was derived from it.
    pub state: StateStore,
    /// What the core must know.
    pub recovered: Recovered,
}

/// Puts a fetched copy in the place of what a stopped replica holds: its log begins behind the copy from now on. The stores
/// must have been dropped. The next [`open`] finishes it, whatever happens in between.
///
/// # Errors
/// Nothing was changed, or everything that the next [`open`] needs.
pub fn install(dir: &Path, id: ReplicaId, cluster_name: &str, snapshot: &Snapshot) -> Result<bool, StorageError> {
    let dir = DataDir::open(dir, id)?;
    // Another copy may have taken its place while the sessions ended. A log that began behind one that is not here would
    // have lost its state.
    if !snapshot::is_here(dir.path(), &snapshot.base) {
        return Ok(false);
    }
    log::begin_behind(dir.path(), id, cluster_name, snapshot)
}

/// Opens the data directory of a replica, or makes a new one. The one door.
///
/// # Errors
/// [`StorageError::LogBehindState`], [`StorageError::LogLost`] and [`StorageError::StateLost`]: this replica counts as wiped. [`DataDir::open`], [`DataDir::set_aside`], and `open`
/// again give a blank one in a new incarnation. Every other error is for the operator, and says what to do.
pub fn open(dir: &Path, id: ReplicaId, cluster_name: &str) -> Result<Opened, StorageError> {
    let mut dir = DataDir::open(dir, id)?;
    let (log, recovered) = log::open(dir.path(), id, cluster_name)?;
    snapshot::tidy(dir.path(), &recovered.base)?;
    let mut state = match StateStore::open(dir.path(), recovered.me, cluster_name) {
        Err(StorageError::OtherState) if recovered.last == Index(0) => Err(StorageError::LogLost),
        opened => opened,
    }?;
    if let Some(from) = log.void_from()? {
        // In this order: a crash in between leaves a state that has applied nothing, and the word, which is then forgotten.
        if state.applied() >= from {
            drop(state);
            let folder = dir.set_aside_state("gave-up-entries")?;
            ::log::warn!(
                "the state is derived again without what was given up; the old one is in {}",
                folder.display()
            );
            state = StateStore::open(dir.path(), recovered.me, cluster_name)?;
        }
        log.forget_void()?;
    }
    // A state that has applied the founding record is not told again.
    if let Some(record) = &recovered.record {
        state.set_mode(record.mode);
    }
    let applied = state.applied();
    if applied > recovered.last {
        return Err(StorageError::LogBehindState { last: recovered.last, applied });
    }
    if applied < recovered.base.index {
        return Err(StorageError::StateLost { base: recovered.base.index, applied });
    }
    Ok(Opened { dir, log, state, recovered: Recovered { applied, ..recovered } })
}
