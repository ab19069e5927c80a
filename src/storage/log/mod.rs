//! The replay log: the truth of this replica, in `log.db`.
//!
//! # Promises
//! - [`LogStore::write`] returns after one transaction with one fsync, in which every batch it was given is applied in
//!   order. After an error none of them is, and the store can be used again: [`StorageError::Full`] may be retried
//!   with the same batches; anything else ends the process.
//! - Entries are contiguous from the *base*, and terms and times never fall along them. A batch that would break this is a bug
//!   of the caller, and panics with the numbers before anything of it is stored.
//! - Every row that is read is checked against its crc. A bad one is refused by its index, never skipped or cut off.
//! - The log reads as text: a command stands there as the line it is.
//!
//! - What is given up is kept beside the log (see `orphans`).
//! - What is cut away from the front goes in small steps, along with other writes or between them (see `base`). The
//!   entries that name voters stay.
//!
//! # Left out
//! Who may cut or truncate, and when: the core's matter.
//!
//! SQLite (WAL, `synchronous=FULL`) costs exactly one fsync a commit; about one in a thousand also copies the
//! write-ahead log into the file and pays three more. [`LogStore::reserve`] makes each of them cheaper.

mod base;
mod check;
mod meta;
mod orphans;
mod reader;
mod recover;
mod rows;
#[cfg(test)]
mod tests;
mod views;

use std::path::Path;

use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};

use crate::consensus::{Base, Batch, Body, Entry, Index, Member, Run, Term};
use crate::storage::db;
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

pub(super) use base::{begin_behind, make_another};
pub(super) use check::Checker;
pub(super) use meta::FILE;
pub use orphans::Orphan;
pub(super) use reader::Foot;
pub use reader::{LogOwner, LogReader, Scrubbed};
pub(super) use recover::{draw_incarnation, open, peek};
#[doc(hidden)]
pub use rows::Cells;

/// The one writer of `log.db`.
#[derive(Debug)]
pub struct LogStore {
    conn: Connection,
    meta: meta::Meta,
    tail: Tail,
    base: Base,
    /// No row up to here but those that name voters. Not beyond the base.
    swept: Index,
}

/// The last entry, kept so that each append is checked against it without a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tail {
    last: Index,
    term: Term,
    time: u64,
}

/// What is true once a transaction is committed.
struct Written {
    meta: meta::Meta,
    tail: Tail,
    base: Base,
    swept: Index,
}

impl Tail {
    /// Of a log that holds nothing behind its base.
    fn at(base: &Base) -> Self {
        Self { last: base.index, term: base.term, time: base.time }
    }
}

impl LogStore {
    /// Makes the fsyncs to come cheaper, at the price of 5 MiB of the disk. Where that fails nothing is lost.
    pub fn reserve(&mut self) -> std::io::Result<()> {
        self.conn.path().map_or(Ok(()), |file| db::reserve(Path::new(file)))
    }

    /// Makes the batches durable: one transaction, one fsync for all of them. Nothing to write costs nothing.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        if batches.iter().all(is_empty) {
            return Ok(());
        }
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let written = self.fill(batches).and_then(|written| {
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            Ok(written)
        });
        // Replaced only after the commit: an error leaves them as the file is.
        match written {
            Ok(Written { meta, tail, base, swept }) => {
                (self.meta, self.tail) = (meta, tail);
                (self.base, self.swept) = (base, swept);
            }
            Err(error) => {
                // After some errors (a full disk) SQLite has done it already.
                if !self.conn.is_autocommit() {
                    self.conn.execute_batch("ROLLBACK")?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the batches in the open transaction. Gives what is true once it is committed.
    fn fill(&self, batches: &[Batch]) -> Result<Written, StorageError> {
        let mut meta = self.meta.clone();
        let mut tail = self.tail;
        let (mut base, mut swept) = (self.base, self.swept);
        let conn = &self.conn;
        let mut insert = rows::prepare_insert(conn)?;
        for batch in batches {
            meta.hard_state = batch.hard_state.unwrap_or(meta.hard_state);
            meta.founding = batch.founding.unwrap_or(meta.founding);
            meta.cluster_id = batch.cluster.or(meta.cluster_id);
            if let Some(views) = &batch.views {
                views::save(conn, views)?;
            }
            if let Some(from) = batch.truncate_from {
                if let Some(given_up) = &batch.given_up {
                    orphans::keep(conn, from, given_up)?;
                }
                tail = truncate(conn, &base, tail, from)?;
            }
            for entry in &batch.append {
                tail = append(conn, &mut insert, tail, entry)?;
            }
            if let Some(mark) = batch.cut {
                base = base::cut(conn, &mut meta, &base, mark)?;
            }
            for &(peer, run) in &batch.peer_runs {
                remember_run(conn, peer, run)?;
            }
        }
        drop(insert);
        if swept < base.index {
            let appended = batches.iter().map(|batch| batch.append.len() as u64).sum::<u64>();
            swept = base::sweep(conn, swept, base.index, (2 * appended).max(base::SWEEP_ROWS))?;
        }
        if meta != self.meta {
            meta::save(conn, &meta)?;
        }
        Ok(Written { meta, tail, base, swept })
    }

    /// Takes some of what was cut away from the file, in a transaction of its own: for when there is nothing to write.
    /// Returns whether more is left.
    pub fn sweep(&mut self) -> Result<bool, StorageError> {
        if self.swept < self.base.index {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let swept = base::sweep(&tx, self.swept, self.base.index, base::SWEEP_ROWS)?;
            tx.commit()?;
            self.swept = swept;
        }
        Ok(self.is_unswept())
    }

    /// Whether anything that was cut away is still in the file.
    pub fn is_unswept(&self) -> bool {
        self.swept < self.base.index
    }

    /// The entries `from..=to`, as many as fit `bytes_max` (by [`Entry::size`]) and at least one. Ends early at the
    /// log's end. None, if `from` is not kept any more.
    pub fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let from = from.max(Index(1));
        let to = to.min(self.tail.last);
        if from <= self.base.index {
            return Ok(Vec::new());
        }
        let entries = rows::page(&self.conn, from, to, bytes_max)?;
        if entries.is_empty() && from <= to {
            return Err(StorageError::Damaged { index: from, what: "it is missing" });
        }
        Ok(entries)
    }

    /// The first entry that no state of this replica may have applied: what was there was given up.
    pub(in crate::storage) fn void_from(&self) -> Result<Option<Index>, StorageError> {
        orphans::void_from(&self.conn).map_err(|error| error.in_file(FILE))
    }

    /// No state here has applied what was given up.
    pub(in crate::storage) fn forget_void(&self) -> Result<(), StorageError> {
        orphans::forget_void(&self.conn).map_err(|error| error.in_file(FILE))
    }

    /// The last entry's index.
    pub fn last(&self) -> Index {
        self.tail.last
    }

    /// Checks up to `rows_max` entries from `from` on. For a background job that has time; prefer a [`LogReader`],
    /// which does not keep the writer.
    pub fn scrub(&self, from: Index, rows_max: u64) -> Result<Scrubbed, StorageError> {
        reader::scrub(&self.conn, from, rows_max)
    }
}

fn is_empty(batch: &Batch) -> bool {
    let Batch { ticket: _, hard_state, founding, cluster, views, truncate_from, given_up: _, append, cut, peer_runs } =
        batch;
    let says_who = hard_state.is_some() || founding.is_some() || cluster.is_some() || views.is_some();
    !says_who && truncate_from.is_none() && append.is_empty() && cut.is_none() && peer_runs.is_empty()
}

fn append(
    conn: &Connection,
    insert: &mut CachedStatement<'_>,
    tail: Tail,
    entry: &Entry,
) -> Result<Tail, StorageError> {
    assert!(
        entry.index == tail.last.next() && entry.term >= tail.term && entry.time >= tail.time,
        "the log ends at entry {} (term {}, time {}); entry {} (term {}, time {}) does not follow it",
        tail.last,
        tail.term,
        tail.time,
        entry.index,
        entry.term,
        entry.time
    );
    rows::insert(insert, entry)?;
    if tail.last == Index(0) || entry.term > tail.term {
        let sql = "INSERT INTO terms (term, first_idx) VALUES (?1, ?2)";
        conn.prepare_cached(sql)?.execute(params![Num(entry.term.0), Num(entry.index.0)])?;
    }
    match entry.body {
        Body::Founding(_) | Body::Membership(_) => {
            let sql = "INSERT INTO memberships (idx) VALUES (?1)";
            conn.prepare_cached(sql)?.execute(params![Num(entry.index.0)])?;
        }
        Body::Noop | Body::Command(_) => {}
    }
    Ok(Tail { last: entry.index, term: entry.term, time: entry.time })
}

fn truncate(conn: &Connection, base: &Base, tail: Tail, from: Index) -> Result<Tail, StorageError> {
    assert!(from > base.index, "the log begins behind {}, but is to be dropped from {from}", base.index);
    if from > tail.last {
        return Ok(tail);
    }
    for sql in [
        "DELETE FROM entries WHERE idx >= ?1",
        "DELETE FROM terms WHERE first_idx >= ?1",
        "DELETE FROM memberships WHERE idx >= ?1",
    ] {
        conn.prepare_cached(sql)?.execute([Num(from.0)])?;
    }
    if from == base.index.next() && base.index > Index(0) {
        return Ok(Tail::at(base));
    }
    let Some(term) = recover::last_term(conn)? else {
        return Ok(Tail::default());
    };
    let last = from.prev();
    match rows::page(conn, last, last, 0)?.pop() {
        Some(entry) if entry.term == term => Ok(Tail { last, term, time: entry.time }),
        Some(_) => Err(StorageError::corrupt(meta::FILE, "the list of terms does not match the entries")),
        None => Err(StorageError::Damaged { index: last, what: "it is missing" }),
    }
}

/// Remembers the newest run heard of a peer; an older one changes nothing.
fn remember_run(conn: &Connection, peer: Member, run: Run) -> Result<(), StorageError> {
    let sql = "INSERT INTO peer_runs (replica, incarnation, boot, nonce) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET boot = excluded.boot, nonce = excluded.nonce WHERE excluded.boot > boot";
    conn.prepare_cached(sql)?.execute(params![peer.id.0, Bits(peer.incarnation.0), Num(run.boot.0), run.nonce])?;
    Ok(())
}
