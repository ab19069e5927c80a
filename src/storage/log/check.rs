//! The whole log, looked at once from its first entry to its last: what `plainsong verify` and `replay` read through.
//!
//! Each row's checksum and form, and the gap before it, are checked by whoever reads rows. This adds what only the order
//! of all of them can show: terms and times never fall, and the small tables beside the entries say the same as they.

use rusqlite::Connection;

use super::meta::FILE;
use crate::consensus::{Body, Entry, Index, Term};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// What has been seen of a log, in order.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct Checker {
    before: Option<(Term, u64)>,
    first: Option<Index>,
    term_starts: Vec<(Term, Index)>,
    memberships: Vec<Index>,
}

impl Checker {
    /// The next entry.
    pub fn see(&mut self, entry: &Entry) -> Result<(), StorageError> {
        let damaged = |what| Err(StorageError::Damaged { index: entry.index, what });
        let before = self.before.replace((entry.term, entry.time));
        self.first.get_or_insert(entry.index);
        match before {
            Some((term, _)) if entry.term < term => return damaged("its term is lower than the one before"),
            Some((_, time)) if entry.time < time => return damaged("its time is lower than the one before"),
            _ => {}
        }
        if before.is_none_or(|(term, _)| entry.term > term) {
            self.term_starts.push((entry.term, entry.index));
        }
        match &entry.body {
            Body::Founding(_) | Body::Membership(_) => self.memberships.push(entry.index),
            Body::Noop | Body::Command(_) => {}
        }
        Ok(())
    }

    /// Once the last entry up to `last` was seen: whether the lists of terms and of memberships say the same. Of a log
    /// whose beginning was cut off, they may say more than its entries.
    pub fn compare_lists(&self, conn: &Connection, last: Index) -> Result<(), StorageError> {
        let Some(first) = self.first else { return Ok(()) };
        let sql = "SELECT term, first_idx FROM terms WHERE first_idx <= ?1 ORDER BY term";
        let terms = pairs(conn, sql, last)?;
        let seen = self.term_starts.iter().map(|(term, index)| (term.0, index.0));
        // Its term may have begun before its first entry that is left.
        let is_cut = |&(_, index): &(u64, u64)| first > Index(1) && Index(index) <= first;
        if !terms.iter().copied().filter(|start| !is_cut(start)).eq(seen.filter(|start| !is_cut(start))) {
            return Err(StorageError::corrupt(FILE, "the list of terms does not match the entries"));
        }
        let sql = "SELECT idx, idx FROM memberships WHERE idx <= ?1 ORDER BY idx";
        let listed = pairs(conn, sql, last)?.into_iter().map(|(index, _)| Index(index));
        if !listed.filter(|index| *index >= first).eq(self.memberships.iter().copied()) {
            return Err(StorageError::corrupt(FILE, "the list of memberships does not match the entries"));
        }
        Ok(())
    }
}

fn pairs(conn: &Connection, sql: &str, last: Index) -> Result<Vec<(u64, u64)>, StorageError> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows =
        statement.query_map([Num::bound(last.0)], |row| Ok((row.get::<_, Num>(0)?.0, row.get::<_, Num>(1)?.0)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
