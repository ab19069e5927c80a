//! Where the log begins, and how what was before it goes away.
//!
//! To cut is to say so: one row names the base, and from its commit on nothing before it is read. The rows themselves go
//! later, a few at a time, with other writes or between them, so that no transaction is large; a crash in between leaves
//! some, and the next start goes on. The file does not shrink: its free pages take the entries to come.
//!
//! The entries that name voters stay, whatever is cut: the founding record, and who votes at the base.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::meta::{self, FILE, Meta};
use super::rows;
use crate::consensus::{Base, FoundingState, Index, Mark, ReplicaId, Snapshot, Term};
use crate::storage::db::{self, Sync};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// Rows that one transaction takes away at least, if so many are left: some 64 KiB of them.
pub(super) const SWEEP_ROWS: u64 = 512;

/// SQLite's page cache while the log is begun anew.
const CACHE_KIB: u32 = 1 << 10;

/// Begins the log behind an entry that it holds, in the caller's transaction.
pub(super) fn cut(conn: &Connection, meta: &mut Meta, before: &Base, mark: Mark) -> Result<Base, StorageError> {
    let Mark { index, digest } = mark;
    assert!(index > before.index, "the log begins behind {}, and is to be cut at {index}", before.index);
    let entry = rows::page(conn, index, index, 0)?.pop();
    let entry = entry.ok_or(StorageError::Damaged { index, what: "it is missing" })?;
    let base = Base { index, term: entry.term, time: entry.time, digest };
    meta::save_base(conn, meta, &base)?;
    Ok(base)
}

/// Takes away up to `rows_max` rows behind `swept`, none behind the base. Returns how far it came.
pub(super) fn sweep(conn: &Connection, swept: Index, base: Index, rows_max: u64) -> Result<Index, StorageError> {
    let until = Index(swept.0.saturating_add(rows_max)).min(base);
    let sql = "DELETE FROM entries WHERE idx > ?1 AND idx <= ?2 AND idx NOT IN (SELECT idx FROM memberships)";
    conn.prepare_cached(sql)?.execute([Num(swept.0), Num(until.0)])?;
    Ok(until)
}

/// How far an earlier run had come.
pub(super) fn swept(conn: &Connection, base: &Base) -> Result<Index, StorageError> {
    let sql = "SELECT idx FROM entries WHERE idx NOT IN (SELECT idx FROM memberships) ORDER BY idx LIMIT 1";
    let first: Option<Num> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(first.map_or(base.index, |Num(first)| Index(first).prev().min(base.index)))
}

/// Begins the log of a stopped replica behind a copy of the state that it has fetched: one synced transaction. Its entries
/// before the copy go away as if they had been cut; what it holds beyond, no leader has chosen. A log that holds that very
/// entry is left as it is: by now it needs no copy. Returns whether anything was changed.
pub(in crate::storage) fn begin_behind(
    dir: &Path,
    replica: ReplicaId,
    cluster: &str,
    snapshot: &Snapshot,
) -> Result<bool, StorageError> {
    let begin = || {
        let mut conn = db::open_writer(&dir.join(FILE), Sync::Full, CACHE_KIB)?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut meta = meta::load(&tx)?.ok_or_else(|| StorageError::corrupt(FILE, "it has no tables"))?;
        meta.check(dir, replica, cluster)?;
        let changes = !holds(&tx, &snapshot.base)?;
        if changes {
            reset(&tx, &mut meta, snapshot)?;
        }
        tx.commit()?;
        Ok(changes)
    };
    begin().map_err(|error: StorageError| error.in_file(FILE))
}

/// Whether the log agrees with the copy at its base, or begins behind it.
fn holds(conn: &Connection, base: &Base) -> Result<bool, StorageError> {
    let here = meta::load_base(conn)?;
    if here.index >= base.index {
        return Ok(true);
    }
    let last: Option<Num> = conn.query_row("SELECT max(idx) FROM entries", [], |row| row.get(0))?;
    let sql = "SELECT term FROM terms WHERE first_idx <= ?1 ORDER BY first_idx DESC LIMIT 1";
    let term: Option<Num> = conn.query_row(sql, [Num(base.index.0)], |row| row.get(0)).optional()?;
    Ok(last.is_some_and(|last| last.0 >= base.index.0) && term.map(|term| Term(term.0)) == Some(base.term))
}

fn reset(conn: &Connection, meta: &mut Meta, snapshot: &Snapshot) -> Result<(), StorageError> {
    let Snapshot { base, named, cluster, .. } = snapshot;
    conn.execute("DELETE FROM entries WHERE idx > ?1", [Num(base.index.0)])?;
    conn.execute_batch("DELETE FROM terms; DELETE FROM memberships;")?;
    conn.execute("INSERT INTO terms (term, first_idx) VALUES (?1, ?2)", params![Num(base.term.0), Num(base.index.0)])?;
    for entry in named {
        conn.execute("DELETE FROM entries WHERE idx = ?1", [Num(entry.index.0)])?;
        rows::insert(&mut rows::prepare_insert(conn)?, entry)?;
        conn.execute("INSERT INTO memberships (idx) VALUES (?1)", [Num(entry.index.0)])?;
    }
    // Whoever offers a copy belongs to a cluster that exists.
    (meta.founding, meta.cluster_id) = (FoundingState::Sealed, *cluster);
    meta::save_base(conn, meta, base)?;
    meta::save(conn, meta)
}
