//! Reading the log beside the replica that writes it, or of one that is stopped: `plainsong log`, `verify`, the
//! scrubber.
//!
//! Every call sees one moment of the log and lets go of it, so that no reader holds up the writer's checkpoints. The
//! price: the next call may see a log whose tail was truncated in between.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::check::Checker;
use super::orphans::{self, Orphan};
use super::{meta, rows};
use crate::consensus::{Base, Body, Boot, ClusterId, Entry, HardState, Index, Member, Term};
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

/// What a log begins with that goes on from a copy of the state.
#[derive(Debug)]
pub(in crate::storage) struct Foot {
    /// The copy's entry.
    pub base: Base,
    /// The entries that name voters: the founding record, and who votes at the base.
    pub named: Vec<Entry>,
    /// The cluster's id, where it is no longer that of the founding record.
    pub cluster: Option<ClusterId>,
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
        // The founding record stays, whatever is cut.
        Ok(anew.or(self.founded()?))
    }

    /// The cluster of the founding record, which also one that was founded anew has in its log.
    pub(in crate::storage) fn founded(&self) -> Result<Option<ClusterId>, StorageError> {
        let first = rows::page(&self.conn, Index(1), Index(1), 0).map_err(|error| error.in_file(meta::FILE))?.pop();
        Ok(first.and_then(|entry| match entry.body {
            Body::Founding(record) => Some(record.cluster),
            Body::Noop | Body::Command(_) | Body::Membership(_) => None,
        }))
    }

    /// The first entry that is kept at this moment, or would be: 1, until old entries are cut off.
    pub fn first(&self) -> Result<Index, StorageError> {
        Ok(self.base()?.index.next())
    }

    /// The last entry's index at this moment.
    pub fn last(&self) -> Result<Index, StorageError> {
        last(&self.conn).map_err(|error| error.in_file(meta::FILE))
    }

    /// The last entry that is not kept at this moment; all zero if the log is whole.
    pub fn base(&self) -> Result<Base, StorageError> {
        meta::load_base(&self.conn).map_err(|error| error.in_file(meta::FILE))
    }

    /// The entries `from..=to` that are there, as many as fit `bytes_max` and at least one if any is there. They begin
    /// behind the base, wherever `from` is.
    pub fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        self.read_kept(from, to, bytes_max).map_err(|error| error.in_file(meta::FILE))
    }

    fn read_kept(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let moment = self.conn.unchecked_transaction()?;
        let first = meta::load_base(&moment)?.index.next();
        rows::page(&moment, from.max(first), to, bytes_max)
    }

    /// Up to `rows_max` of the entries that this replica gave up, behind a row of theirs; 0 for the first.
    pub fn orphans(&self, behind: u64, rows_max: u64) -> Result<Vec<Orphan>, StorageError> {
        orphans::page(&self.conn, behind, rows_max).map_err(|error| error.in_file(meta::FILE))
    }

    /// What a copy of the state after entry `at` needs of the log. `None` if that entry is not kept any more. `digest` is
    /// the state's.
    pub(in crate::storage) fn foot_of(&self, at: Index, digest: u64) -> Result<Option<Foot>, StorageError> {
        let moment = self.conn.unchecked_transaction()?;
        let cluster = meta::load(&moment)?.and_then(|meta| meta.cluster_id);
        let kept = meta::load_base(&moment)?;
        let base = if kept.index == at {
            Base { digest, ..kept }
        } else if kept.index < at {
            let entry = rows::page(&moment, at, at, 0)?.pop();
            let entry = entry.ok_or(StorageError::Damaged { index: at, what: "it is missing" })?;
            Base { index: at, term: entry.term, time: entry.time, digest }
        } else {
            return Ok(None);
        };
        let sql = "SELECT min(idx), max(idx) FROM memberships WHERE idx <= ?1";
        let (first, newest): (Option<Num>, Option<Num>) =
            moment.query_row(sql, [Num(at.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut named = Vec::new();
        for Num(index) in [first, newest].into_iter().flatten() {
            if named.last().is_none_or(|entry: &Entry| entry.index.0 < index) {
                named.extend(rows::page(&moment, Index(index), Index(index), 0)?);
            }
        }
        Ok(Some(Foot { base, named, cluster }))
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
    Ok(Index(last.map_or(0, |number| number.0)).max(meta::load_base(conn)?.index))
}

/// One step of a scrub. It starts one entry early, so that steps overlap and no pair goes unseen.
pub(super) fn scrub(conn: &Connection, from: Index, rows_max: u64) -> Result<Scrubbed, StorageError> {
    let moment = conn.unchecked_transaction()?;
    let conn = &*moment;
    let first = meta::load_base(conn)?.index.next();
    let from = from.max(first);
    let to = Index(from.0.saturating_add(rows_max.max(1) - 1));
    let mut before: Option<Entry> = None;
    let mut wrong = None;
    let start = from.prev().max(first);
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
