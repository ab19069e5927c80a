//! Reading the log beside the replica that writes it, or of one that is stopped: `plainsong log`, `verify`, the
//! scrubber.
//!
//! Every call sees one moment of the log and lets go of it, so that no reader holds up the writer's checkpoints. The
//! price: the next call may see a log whose tail was truncated in between.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::check::Checker;
use super::{meta, rows};
use crate::consensus::{Body, Boot, ClusterId, Entry, HardState, Index, Member, Term};
use crate::storage::db;
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// A read-only view of a replica's log.
#[derive(Debug)]
pub struct LogReader {
    conn: Connection,
}

/// Whose log it is, and what it has promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOwner {
    /// Who writes it.
    pub member: Member,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// How often it was started.
    pub boot: Boot,
    /// Term and vote.
    pub hard_state: HardState,
}

/// What one step of a scrub found to be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many entries were checked.
    pub rows: u64,
    /// Where to go on; `None` at the log's end.
    pub next: Option<Index>,
}

impl LogReader {
    /// Opens the log in a data directory. Changes nothing, takes no lock that a writer waits for.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        let conn = db::open_reader(&dir.join(meta::FILE)).map_err(|error| error.in_file(meta::FILE))?;
        let reader = Self { conn };
        reader.owner()?;
        Ok(reader)
    }

    /// Whose log it is.
    pub fn owner(&self) -> Result<LogOwner, StorageError> {
        let meta = meta::load(&self.conn).map_err(|error| error.in_file(meta::FILE))?;
        let meta = meta.ok_or_else(|| StorageError::corrupt(meta::FILE, "it has no tables"))?;
        Ok(LogOwner { member: meta.me(), cluster: meta.cluster, boot: meta.boot, hard_state: meta.hard_state })
    }

    /// The id of its cluster, once it has one.
    pub fn cluster(&self) -> Result<Option<ClusterId>, StorageError> {
        let meta = meta::load(&self.conn).map_err(|error| error.in_file(meta::FILE))?;
        let anew = meta.and_then(|meta| meta.cluster_id);
        let first = self.read(Index(1), Index(1), 0)?.pop();
        Ok(anew.or(first.and_then(|entry| match entry.body {
            Body::Founding(record) => Some(record.cluster),
            Body::Noop | Body::Command(_) | Body::Membership(_) => None,
        })))
    }

    /// The first entry's index at this moment: 1, until old entries are cut off. 1 for an empty log.
    pub fn first(&self) -> Result<Index, StorageError> {
        let first: Option<Num> =
            self.conn.prepare_cached("SELECT min(idx) FROM entries")?.query_row([], |row| row.get(0))?;
        Ok(Index(first.map_or(1, |number| number.0)))
    }

    /// The last entry's index at this moment.
    pub fn last(&self) -> Result<Index, StorageError> {
        last(&self.conn).map_err(|error| error.in_file(meta::FILE))
    }

    /// The entries `from..=to` that are there, as many as fit `bytes_max` and at least one if any is there.
    pub fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        rows::page(&self.conn, from.max(Index(1)), to, bytes_max).map_err(|error| error.in_file(meta::FILE))
    }

    /// Whether the lists beside the entries say what the entries up to `last` do.
    pub(in crate::storage) fn compare_lists(&self, seen: &Checker, last: Index) -> Result<(), StorageError> {
        seen.compare_lists(&self.conn, last)
    }

    /// Checks up to `rows_max` entries from `from` on: crc, contiguity, and that terms and times never fall.
    pub fn scrub(&self, from: Index, rows_max: u64) -> Result<Scrubbed, StorageError> {
        scrub(&self.conn, from, rows_max).map_err(|error| error.in_file(meta::FILE))
    }
}

fn last(conn: &Connection) -> Result<Index, StorageError> {
    let last: Option<Num> = conn.prepare_cached("SELECT max(idx) FROM entries")?.query_row([], |row| row.get(0))?;
    Ok(Index(last.map_or(0, |number| number.0)))
}

/// One step of a scrub. It starts one entry early, so that steps overlap and no pair goes unseen.
pub(super) fn scrub(conn: &Connection, from: Index, rows_max: u64) -> Result<Scrubbed, StorageError> {
    let moment = conn.unchecked_transaction()?;
    let conn = &*moment;
    let from = from.max(Index(1));
    let to = Index(from.0.saturating_add(rows_max.max(1) - 1));
    let mut before: Option<Entry> = None;
    let mut wrong = None;
    let start = from.prev().max(Index(1));
    let after = rows::visit(conn, start, to, |entry| {
        wrong = out_of_order(before.as_ref(), &entry).map(|what| (entry.index, what));
        before = Some(entry);
        wrong.is_none()
    })?;
    if let Some((index, what)) = wrong {
        return Err(StorageError::Damaged { index, what });
    }
    check_term_start(conn, before.as_ref())?;
    let more = after > to && last(conn)? >= after;
    Ok(Scrubbed { rows: after.0.saturating_sub(from.0), next: more.then_some(after) })
}

fn out_of_order(before: Option<&Entry>, entry: &Entry) -> Option<&'static str> {
    let before = before?;
    if entry.term < before.term {
        Some("its term is lower than the one before")
    } else if entry.time < before.time {
        Some("its time is lower than the one before")
    } else {
        None
    }
}

/// The list of terms must agree with the entry about where its term starts.
fn check_term_start(conn: &Connection, entry: Option<&Entry>) -> Result<(), StorageError> {
    let Some(entry) = entry else { return Ok(()) };
    let sql = "SELECT term FROM terms WHERE first_idx <= ?1 ORDER BY first_idx DESC LIMIT 1";
    let term: Option<Num> = conn.prepare_cached(sql)?.query_row([Num(entry.index.0)], |row| row.get(0)).optional()?;
    match term {
        Some(Num(term)) if Term(term) == entry.term => Ok(()),
        _ => Err(StorageError::corrupt(meta::FILE, format!("the list of terms does not name entry {}'s", entry.index))),
    }
}
