//! Entries as rows: each carries a crc over all that it says, and no page of them may have a gap.
//!
//! Shared by the one writer, by readers beside it, and by the scrubber.

use std::borrow::Cow;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row, params};

use crate::consensus::{Entry, Index, Term};
use crate::machine::body::{self, Kind};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

const INSERT: &str = "INSERT INTO entries (idx, term, time, kind, line, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PAGE: &str = "SELECT idx, term, time, kind, line, crc FROM entries WHERE idx BETWEEN ?1 AND ?2 ORDER BY idx";

/// A row without its index, as the columns hold it. Public for the fuzzer alone, which reads rows without a file.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    pub term: u64,
    pub time: u64,
    pub kind: u64,
    pub line: Bytes,
    pub crc: u64,
}

#[doc(hidden)]
impl Cells {
    pub fn of(entry: &Entry) -> Self {
        let kind = Kind::of(&entry.body) as u8;
        let line = match body::line(&entry.body) {
            Cow::Borrowed(line) => Bytes::copy_from_slice(line),
            Cow::Owned(line) => Bytes::from(line),
        };
        let crc = crc(entry.index, entry.term, entry.time, kind, &line);
        Self { term: entry.term.0, time: entry.time, kind: kind.into(), line, crc: crc.into() }
    }

    /// The entry that the row of this index holds, if it is unharmed.
    pub fn entry(self, index: Index) -> Result<Entry, StorageError> {
        let damaged = |what| StorageError::Damaged { index, what };
        let Self { term, time, kind, line, crc: stored } = self;
        let kind = u8::try_from(kind).map_err(|_| damaged("its kind is unknown"))?;
        if stored != u64::from(crc(index, Term(term), time, kind, &line)) {
            return Err(damaged("its checksum does not match"));
        }
        let kind = Kind::from_number(kind).ok_or_else(|| damaged("its kind is unknown"))?;
        let body = body::parse(kind, line).map_err(|_| damaged("its line cannot be read"))?;
        Ok(Entry { index, term: Term(term), time, body })
    }
}

/// Over everything that a row says.
fn crc(index: Index, term: Term, time: u64, kind: u8, line: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for number in [index.0, term.0, time] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&[kind]);
    hasher.update(line);
    hasher.finalize()
}

/// The statement that [`insert`] executes: prepared once for many.
pub(super) fn prepare_insert(conn: &Connection) -> Result<CachedStatement<'_>, StorageError> {
    Ok(conn.prepare_cached(INSERT)?)
}

/// Adds one entry, in the caller's transaction.
pub(super) fn insert(statement: &mut CachedStatement<'_>, entry: &Entry) -> Result<(), StorageError> {
    let Entry { index, term, time, body } = entry;
    let (kind, line) = (Kind::of(body) as u8, body::line(body));
    let crc = crc(*index, *term, *time, kind, &line);
    // Text where it is text, so that it can be read with any tool; what is not stays the bytes it is.
    let value = match std::str::from_utf8(&line) {
        Ok(_) => ValueRef::Text(&line),
        Err(_) => ValueRef::Blob(&line),
    };
    statement.execute(params![
        Num(index.0),
        Num(term.0),
        Num(*time),
        kind,
        rusqlite::types::ToSqlOutput::Borrowed(value),
        crc
    ])?;
    Ok(())
}

/// Visits the entries `from..=to` in order, each checked against its crc and against a gap before it, until `visit`
/// returns `false`. Returns the index after the last one visited.
pub(super) fn visit(
    conn: &Connection,
    from: Index,
    to: Index,
    mut visit: impl FnMut(Entry) -> bool,
) -> Result<Index, StorageError> {
    let mut expected = from;
    let mut statement = conn.prepare_cached(PAGE)?;
    let mut rows = statement.query(params![Num(from.0), Num(to.0)])?;
    while let Some(row) = rows.next()? {
        let entry = entry(row, expected)?;
        expected = expected.next();
        if !visit(entry) {
            break;
        }
    }
    Ok(expected)
}

/// As many of the entries `from..=to` as are there and fit `bytes_max`; at least one if any is there.
pub(super) fn page(conn: &Connection, from: Index, to: Index, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    visit(conn, from, to, |entry| {
        bytes += entry.size();
        let fits = entries.is_empty() || bytes <= bytes_max;
        if fits {
            entries.push(entry);
        }
        fits && bytes < bytes_max
    })?;
    Ok(entries)
}

/// The row's entry, which must be `expected` and unharmed.
pub(super) fn entry(row: &Row<'_>, expected: Index) -> Result<Entry, StorageError> {
    let damaged = |what| StorageError::Damaged { index: expected, what };
    let found = Index(row.get::<_, Num>(0)?.0);
    if found != expected {
        return Err(damaged("it is missing"));
    }
    // The columns are typed, but a damaged cell may read as anything: every mismatch is damage, none is a bug.
    let cell = |column: usize| row.get::<_, Num>(column).map(|number| number.0);
    let (Ok(term), Ok(time), Ok(kind), Ok(crc)) = (cell(1), cell(2), cell(3), cell(5)) else {
        return Err(damaged("a number in it is out of range"));
    };
    let line = match row.get_ref(4)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Bytes::copy_from_slice(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => return Err(damaged("its line is no text")),
    };
    Cells { term, time, kind, line, crc }.entry(expected)
}
