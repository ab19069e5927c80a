//! The replay log: the truth of this replica, in `log.db`.
//!
//! # Promises
//! - [`LogStore::write`] returns after one transaction with one fsync, in which every batch it was given is applied in
//!   order. After an error none of them is, and the store can be used again: [`StorageError::Full`] may be retried
//!   with the same batches; anything else ends the process.
//! - Entries are contiguous from 1, and terms and times never fall along them. A batch that would break this is a bug
//!   of the caller, and panics with the numbers before anything of it is stored.
//! - Every row that is read is checked against its crc. A bad one is refused by its index, never skipped or cut off.
//! - The log reads as text: a command stands there as the line it is.
//!
//! # Left out
//! Nothing is ever removed from the front: the log is the history. Who may truncate, and when, is the core's matter.
//!
//! SQLite (WAL, `synchronous=FULL`) costs exactly one fsync a commit; about one in a few hundred also copies the
//! write-ahead log into the file and pays one more.

mod meta;
mod reader;
mod recover;
mod rows;
#[cfg(test)]
mod tests;
mod views;

use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};

use crate::consensus::{Batch, Body, Entry, Index, Member, Run, Term};
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

pub use reader::{LogOwner, LogReader, Scrubbed};
pub(super) use recover::{open, peek};
#[doc(hidden)]
pub use rows::Cells;

/// The one writer of `log.db`.
#[derive(Debug)]
pub struct LogStore {
    conn: Connection,
    meta: meta::Meta,
    tail: Tail,
}

/// The last entry, kept so that each append is checked against it without a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tail {
    last: Index,
    term: Term,
    time: u64,
}

impl LogStore {
    /// Makes the batches durable: one transaction, one fsync for all of them. Nothing to write costs nothing.
    pub fn write(&mut self, batches: &[Batch]) -> Result<(), StorageError> {
        if batches.iter().all(is_empty) {
            return Ok(());
        }
        // `meta` and `tail` are replaced only after the commit: an error leaves them as the file is.
        let mut meta = self.meta.clone();
        let mut tail = self.tail;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = rows::prepare_insert(&tx)?;
        for batch in batches {
            meta.hard_state = batch.hard_state.unwrap_or(meta.hard_state);
            meta.founding = batch.founding.unwrap_or(meta.founding);
            if let Some(views) = &batch.views {
                views::save(&tx, views)?;
            }
            if let Some(from) = batch.truncate_from {
                tail = truncate(&tx, tail, from)?;
            }
            for entry in &batch.append {
                tail = append(&tx, &mut insert, tail, entry)?;
            }
            for &(peer, run) in &batch.peer_runs {
                remember_run(&tx, peer, run)?;
            }
        }
        drop(insert);
        if meta != self.meta {
            meta::save(&tx, &meta)?;
        }
        tx.commit()?;
        self.meta = meta;
        self.tail = tail;
        Ok(())
    }

    /// The entries `from..=to`, as many as fit `bytes_max` (by [`Entry::size`]) and at least one. Ends early at the
    /// log's end.
    pub fn read(&self, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let from = from.max(Index(1));
        let to = to.min(self.tail.last);
        let entries = rows::page(&self.conn, from, to, bytes_max)?;
        if entries.is_empty() && from <= to {
            return Err(StorageError::Damaged { index: from, what: "it is missing" });
        }
        Ok(entries)
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
    let Batch { ticket: _, hard_state, founding, views, truncate_from, append, peer_runs } = batch;
    hard_state.is_none()
        && founding.is_none()
        && views.is_none()
        && truncate_from.is_none()
        && append.is_empty()
        && peer_runs.is_empty()
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

fn truncate(conn: &Connection, tail: Tail, from: Index) -> Result<Tail, StorageError> {
    assert!(from >= Index(1), "entries are counted from 1, but the log is to be dropped from {from}");
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
