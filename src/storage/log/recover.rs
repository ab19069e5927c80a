//! Opening the log: who owns it, one more boot, and what the core must know.
//!
//! Promises
//! - The `boot` count is incremented and synced before anything is returned. SQLite may read back frames of its
//!   write-ahead log that a killed process wrote but never synced; this commit's fsync of the same file covers them,
//!   so that all of [`Recovered`] is durable when it is first spoken of.
//! - The cost does not grow with history: term starts and memberships have small tables of their own, and only the
//!   last [`TAIL_ROWS`] entries are read. The rest is for the scrubber.
//! - Nothing is ever cut off here. SQLite itself drops the frames of a transaction that did not finish, which nobody
//!   was told about; a row that does not match its crc is damage to something that was reported, and is refused.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::meta::{self, FILE, Meta};
use super::{LogStore, Tail, base, rows, views};
use crate::consensus::{
    Base, Body, Boot, Founding, Incarnation, Index, Member, Membership, Recovered, ReplicaId, Run, Term,
};
use crate::storage::db::{self, Sync};
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

/// So many of the last entries are checked at the start: what a failing disk or a bad copy spoils is most often the
/// newest.
const TAIL_ROWS: u64 = 1024;

/// SQLite's page cache for the log. It is written at its end and read near it.
const CACHE_KIB: u32 = 8 << 10;

/// Opens or creates `log.db`. `applied` in the result is 0: the log does not know it.
pub(in crate::storage) fn open(
    dir: &Path,
    replica: ReplicaId,
    cluster: &str,
) -> Result<(LogStore, Recovered), StorageError> {
    open_file(dir, replica, cluster).map_err(|error| error.in_file(FILE))
}

fn open_file(dir: &Path, replica: ReplicaId, cluster: &str) -> Result<(LogStore, Recovered), StorageError> {
    let mut conn = db::open_writer(&dir.join(FILE), Sync::Full, CACHE_KIB)?;
    let meta = begin_boot(&mut conn, dir, replica, cluster)?;
    let base = meta::load_base(&conn)?;
    let tail = check_tail(&conn, &base)?;
    let recovered = Recovered {
        me: meta.me(),
        boot: meta.boot,
        hard_state: meta.hard_state,
        founding: meta.founding,
        base,
        term_starts: term_starts(&conn, &base, tail)?,
        last: tail.last,
        last_time: tail.time,
        memberships: Vec::new(),
        record: None,
        cluster: meta.cluster_id,
        applied: Index(0),
        peer_runs: peer_runs(&conn)?,
        views: views::load(&conn)?,
    };
    let (memberships, record) = memberships(&conn)?;
    let swept = base::swept(&conn, &base)?;
    Ok((LogStore { conn, meta, tail, base, swept }, Recovered { memberships, record, ..recovered }))
}

/// Creates what is missing and counts this start, in one synced transaction.
fn begin_boot(conn: &mut Connection, dir: &Path, replica: ReplicaId, cluster: &str) -> Result<Meta, StorageError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut meta = match meta::load(&tx)? {
        Some(meta) => {
            meta.check(dir, replica, cluster)?;
            meta
        }
        None => {
            meta::create_tables(&tx)?;
            Meta::new(replica, cluster, draw_incarnation()?)
        }
    };
    meta.boot = meta.boot.next();
    meta::save(&tx, &meta)?;
    tx.commit()?;
    Ok(meta)
}

pub(in crate::storage) fn draw_incarnation() -> Result<Incarnation, StorageError> {
    let drawn = getrandom::u64().map_err(|error| StorageError::Io {
        doing: "draw a random number from",
        path: "the operating system".into(),
        source: std::io::Error::other(error),
    })?;
    Ok(Incarnation(drawn))
}

/// The log's end, and a look at the rows before it.
fn check_tail(conn: &Connection, base: &Base) -> Result<Tail, StorageError> {
    let bound = |function: &str| -> Result<Index, StorageError> {
        let sql = format!("SELECT {function}(idx) FROM entries WHERE idx > ?1");
        let found: Option<Num> = conn.query_row(&sql, [Num(base.index.0)], |row| row.get(0))?;
        Ok(Index(found.map_or(0, |number| number.0)))
    };
    let (first, last) = (bound("min")?, bound("max")?);
    if last == Index(0) {
        return Ok(Tail::at(base));
    }
    if first != base.index.next() {
        return Err(StorageError::Damaged { index: base.index.next(), what: "it is missing" });
    }
    let mut tail = Tail::default();
    let mut fell = None;
    let from = Index(last.0.saturating_sub(TAIL_ROWS - 1)).max(first);
    let after = rows::visit(conn, from, last, |entry| {
        if entry.term < tail.term || entry.time < tail.time {
            fell = Some(entry.index);
        }
        tail = Tail { last: entry.index, term: entry.term, time: entry.time };
        fell.is_none()
    })?;
    match fell {
        Some(index) => Err(StorageError::Damaged { index, what: "its term or time is lower than the one before" }),
        None => {
            debug_assert_eq!(after, last.next(), "visit() refuses gaps, and `last` is there");
            Ok(tail)
        }
    }
}

fn term_starts(conn: &Connection, base: &Base, tail: Tail) -> Result<Vec<(Term, Index)>, StorageError> {
    let mut statement = conn.prepare("SELECT term, first_idx FROM terms ORDER BY term")?;
    let starts: Vec<(Term, Index)> = statement
        .query_map([], |row| Ok((Term(row.get::<_, Num>(0)?.0), Index(row.get::<_, Num>(1)?.0))))?
        .collect::<Result<_, _>>()?;
    let ascending = starts.is_sorted_by(|a, b| a.1 < b.1);
    let ends_right = match starts.last() {
        None => tail.last == Index(0),
        Some(&(term, first)) => term == tail.term && first <= tail.last && starts[0].1 <= base.index.max(Index(1)),
    };
    if !ascending || !ends_right {
        return Err(StorageError::corrupt(FILE, "the list of terms does not match the entries"));
    }
    Ok(starts)
}

type Memberships = (Vec<(Index, Membership)>, Option<Founding>);

/// Every entry that named the voters and is kept. They are few: one for each change an operator or a wiped disk ever made.
fn memberships(conn: &Connection) -> Result<Memberships, StorageError> {
    let mut statement = conn.prepare("SELECT idx FROM memberships ORDER BY idx")?;
    let indexes: Vec<Num> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut found = Vec::with_capacity(indexes.len());
    let mut record = None;
    for Num(index) in indexes {
        let index = Index(index);
        let entry = rows::page(conn, index, index, 0)?.pop();
        match entry.map(|entry| entry.body) {
            Some(Body::Founding(founding)) => {
                found.push((index, Membership { voters: founding.members.clone(), ..Membership::default() }));
                record = Some(founding);
            }
            Some(Body::Membership(membership)) => found.push((index, membership)),
            Some(Body::Noop | Body::Command(_)) | None => {
                return Err(StorageError::corrupt(FILE, format!("entry {index} is listed as naming the voters")));
            }
        }
    }
    Ok((found, record))
}

fn peer_runs(conn: &Connection) -> Result<Vec<(Member, Run)>, StorageError> {
    let mut statement = conn.prepare("SELECT replica, incarnation, boot, nonce FROM peer_runs ORDER BY 1, 2")?;
    let runs = statement.query_map([], |row| {
        let incarnation = Incarnation(row.get::<_, Bits>(1)?.0);
        Ok((
            Member { id: ReplicaId(row.get(0)?), incarnation },
            Run { boot: Boot(row.get::<_, Num>(2)?.0), nonce: row.get(3)? },
        ))
    })?;
    Ok(runs.collect::<Result<_, _>>()?)
}

/// The owner of the log in a directory, if there is one: for the directory's own checks.
pub(in crate::storage) fn peek(dir: &Path) -> Result<Option<Meta>, StorageError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let conn = db::open_reader(&path)?;
    meta::load(&conn).map_err(|error| error.in_file(FILE))
}

/// The term of the last entry, by the list of terms; `None` for an empty log.
pub(super) fn last_term(conn: &Connection) -> Result<Option<Term>, StorageError> {
    let sql = "SELECT term FROM terms ORDER BY term DESC LIMIT 1";
    let term: Option<Num> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(term.map(|number| Term(number.0)))
}
