//! The views of accounts, filed: *sheets* of up to [`ENTRIES_MAX`] entries, each sheet one row of `sheets`; and in `talks`
//! one row for each sheet and each name on it.
//!
//! Why: a row for each entry of a view, and one beside it for each entry of `talks`, were four rows a message and most of
//! what a message cost the state (NOTEBOOK, "Speed"). Young messages are filed many at a time, in the order of accounts
//! (see [`super::young`]), so that most sheets are full.
//!
//! # Promises
//! - A sheet's key is at most its least id, and stays when that entry is taken away: sheets of an account do not
//!   overlap, and follow each other by their keys.
//! - What is read was written: the crc stands over account, key and body, and the order of ids is checked.
//! - A history with a name reads only sheets on which that name stands.

use rusqlite::{Connection, Row, params};

use super::rows::{NameId, damaged};
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// Entries on one sheet. A body of so many, each with another name, is still some 900 bytes: it stays within its page.
pub(super) const ENTRIES_MAX: usize = 128;

/// Bytes of an entry with its name, usually: room to begin with.
const ENTRY_BYTES_USUAL: usize = 4;

/// A message in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub id: u64,
    /// Whether it was received; else it was sent.
    pub received: bool,
    /// The name of the other.
    pub other: NameId,
}

/// Entries of one account, in the order of their ids.
#[derive(Debug)]
pub(super) struct Sheet {
    pub first: u64,
    pub entries: Vec<Entry>,
}

impl Sheet {
    /// The names on it, each once, in the order in which they come.
    pub fn names(&self) -> Vec<NameId> {
        let mut names: Vec<NameId> = Vec::new();
        for entry in &self.entries {
            if !names.contains(&entry.other) {
                names.push(entry.other);
            }
        }
        names
    }

    /// How many names, the names; then for each entry how far its id is from the one before, and twice the place of its
    /// name, plus one if it was received. All of them LEB128.
    fn body(&self) -> Vec<u8> {
        let names = self.names();
        let mut body = Vec::with_capacity(ENTRY_BYTES_USUAL * self.entries.len());
        put(&mut body, names.len() as u64);
        names.iter().for_each(|name| put(&mut body, name.0));
        let mut before = self.first;
        for entry in &self.entries {
            let place = names.iter().position(|name| *name == entry.other).expect("all names are in it");
            put(&mut body, entry.id - before);
            put(&mut body, (place as u64) << 1 | u64::from(entry.received));
            before = entry.id;
        }
        body
    }

    /// `None`: it is not what [`Sheet::body`] writes.
    fn parse(first: u64, mut body: &[u8]) -> Option<Self> {
        let count = usize::try_from(take(&mut body)?).ok().filter(|count| *count <= ENTRIES_MAX)?;
        let names = (0..count).map(|_| take(&mut body).map(NameId)).collect::<Option<Vec<_>>>()?;
        let mut entries: Vec<Entry> = Vec::with_capacity(body.len() / 2);
        let mut id = first;
        while !body.is_empty() {
            let step = take(&mut body)?;
            id = id.checked_add(step).filter(|_| step > 0 || entries.is_empty())?;
            let place = take(&mut body)?;
            let other = *names.get(usize::try_from(place >> 1).ok()?)?;
            entries.push(Entry { id, received: place & 1 == 1, other });
        }
        (!entries.is_empty()).then_some(Self { first, entries })
    }
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn crc(account: u64, first: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&account.to_le_bytes());
    hasher.update(&first.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The sheet of a row of (first, body, crc).
pub(super) fn read(account: u64, row: &Row<'_>) -> Result<Sheet, StorageError> {
    let cells = || {
        let (first, crc) = (row.get::<_, Num>(0)?.0, row.get::<_, u32>(2)?);
        Ok::<_, rusqlite::Error>((first, row.get_ref(1)?.as_blob()?, crc))
    };
    let (first, body, stored) =
        cells().map_err(|error| damaged(format!("a sheet of account {account} cannot be read: {error}")))?;
    let sheet = (stored == crc(account, first, body)).then(|| Sheet::parse(first, body)).flatten();
    sheet.ok_or_else(|| damaged(format!("the checksum of sheet {first} of account {account} does not match")))
}

/// Adds entries of an account, beyond all that it has: at most [`ENTRIES_MAX`], in the order of their ids.
pub(super) fn add(conn: &Connection, account: u64, entries: Vec<Entry>) -> Result<(), StorageError> {
    let Some(first) = entries.first().map(|entry| entry.id) else { return Ok(()) };
    let sheet = Sheet { first, entries };
    let sql = "INSERT INTO sheets (account, first, body, crc) VALUES (?1, ?2, ?3, ?4)";
    let body = sheet.body();
    let crc = crc(account, first, &body);
    conn.prepare_cached(sql)?.execute(params![Num(account), Num(first), body, crc])?;
    let mut talks = conn.prepare_cached("INSERT INTO talks (account, name_id, first) VALUES (?1, ?2, ?3)")?;
    for name in sheet.names() {
        talks.execute([Num(account), Num(name.0), Num(first)])?;
    }
    Ok(())
}

/// The sheet on which a message of the account would stand.
fn of_message(conn: &Connection, account: u64, id: u64) -> Result<Option<Sheet>, StorageError> {
    let sql = "SELECT first, body, crc FROM sheets WHERE account = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([Num::bound(account), Num::bound(id)])?;
    rows.next()?.map(|row| read(account, row)).transpose()
}

/// Whether the message is in the account's view.
pub(super) fn has(conn: &Connection, account: u64, id: u64) -> Result<bool, StorageError> {
    let sheet = of_message(conn, account, id)?;
    Ok(sheet.is_some_and(|sheet| sheet.entries.binary_search_by_key(&id, |entry| entry.id).is_ok()))
}

/// Takes a message out of the account's view: `None` if it is not there.
pub(super) fn remove(conn: &Connection, account: u64, id: u64) -> Result<Option<Entry>, StorageError> {
    let Some(mut sheet) = of_message(conn, account, id)? else { return Ok(None) };
    let Ok(at) = sheet.entries.binary_search_by_key(&id, |entry| entry.id) else { return Ok(None) };
    let taken = sheet.entries.remove(at);
    if !sheet.entries.iter().any(|entry| entry.other == taken.other) {
        let sql = "DELETE FROM talks WHERE account = ?1 AND name_id = ?2 AND first = ?3";
        let key = [Num(account), Num(taken.other.0), Num(sheet.first)];
        if conn.prepare_cached(sql)?.execute(key)? != 1 {
            return Err(damaged(format!("message {id} is half in the view of account {account}")));
        }
    }
    if sheet.entries.is_empty() {
        take_away(conn, account, sheet.first)?;
    } else {
        let body = sheet.body();
        let crc = crc(account, sheet.first, &body);
        let sql = "UPDATE sheets SET body = ?3, crc = ?4 WHERE account = ?1 AND first = ?2";
        conn.prepare_cached(sql)?.execute(params![Num(account), Num(sheet.first), body, crc])?;
    }
    Ok(Some(taken))
}

/// What the rows of `talks` of the account should be: each name that stands on a sheet, and the sheet.
pub(super) fn names(conn: &Connection, account: u64) -> Result<Vec<[u64; 2]>, StorageError> {
    let mut statement = conn.prepare_cached("SELECT first, body, crc FROM sheets WHERE account = ?1")?;
    let mut rows = statement.query([Num(account)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let sheet = read(account, row)?;
        all.extend(sheet.names().into_iter().map(|name| [name.0, sheet.first]));
    }
    Ok(all)
}

/// The account's oldest sheet.
pub(super) fn oldest(conn: &Connection, account: u64) -> Result<Option<Sheet>, StorageError> {
    let sql = "SELECT first, body, crc FROM sheets WHERE account = ?1 ORDER BY first LIMIT 1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([Num(account)])?;
    rows.next()?.map(|row| read(account, row)).transpose()
}

/// Takes a whole sheet away. Its rows in `talks` are the caller's.
pub(super) fn take_away(conn: &Connection, account: u64, first: u64) -> Result<(), StorageError> {
    let sql = "DELETE FROM sheets WHERE account = ?1 AND first = ?2";
    conn.prepare_cached(sql)?.execute([Num(account), Num(first)])?;
    Ok(())
}

/// Which way a view is walked: from the end of a page, away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// Downwards, over ids less than this.
    Before(u64),
    /// Upwards, over ids greater than this.
    After(u64),
}

/// Walks the account's view, or of it what was said with a name, until `visit` returns `false`.
pub(super) fn walk(
    conn: &Connection,
    account: u64,
    with: Option<NameId>,
    walk: Walk,
    mut visit: impl FnMut(Entry) -> bool,
) -> Result<(), StorageError> {
    let (Walk::Before(bound) | Walk::After(bound)) = walk;
    let mut statement = conn.prepare_cached(sql_of(with, walk))?;
    let name = with.map(|name| Num(name.0));
    let mut rows = statement.query(params![Num::bound(account), name, Num::bound(bound)])?;
    let mut last = None;
    let is_in_order = |last: &mut Option<u64>, id: u64| match (last.replace(id), walk) {
        (None, _) => true,
        (Some(last), Walk::Before(_)) => id < last,
        (Some(last), Walk::After(_)) => id > last,
    };
    while let Some(row) = rows.next()? {
        let mut entries = read(account, row)?.entries;
        entries.retain(|entry| with.is_none_or(|name| entry.other == name));
        if entries.is_empty() {
            return Err(damaged(format!("the history of account {account} is not that of its view")));
        }
        if matches!(walk, Walk::Before(_)) {
            entries.reverse();
        }
        for entry in entries {
            if !is_in_order(&mut last, entry.id) {
                return Err(damaged(format!("the view of account {account} is out of order")));
            }
            let is_beyond = match walk {
                Walk::Before(bound) => entry.id < bound,
                Walk::After(bound) => entry.id > bound,
            };
            if is_beyond && !visit(entry) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A row of `talks` that leads to no sheet gives one that cannot be read. Upwards, the walk begins on the sheet on which
/// the bound would stand.
fn sql_of(with: Option<NameId>, walk: Walk) -> &'static str {
    match (with, walk) {
        (None, Walk::Before(_)) => {
            "SELECT first, body, crc FROM sheets WHERE account = ?1 AND ?2 IS NULL AND first <= ?3 ORDER BY first DESC"
        }
        (None, Walk::After(_)) => {
            "SELECT first, body, crc FROM sheets WHERE account = ?1 AND ?2 IS NULL AND first >=
             coalesce((SELECT max(first) FROM sheets WHERE account = ?1 AND first <= ?3), 0) ORDER BY first"
        }
        (Some(_), Walk::Before(_)) => {
            "SELECT talks.first, body, crc FROM talks LEFT JOIN sheets USING (account, first)
             WHERE account = ?1 AND name_id = ?2 AND first <= ?3 ORDER BY first DESC"
        }
        (Some(_), Walk::After(_)) => {
            "SELECT talks.first, body, crc FROM talks LEFT JOIN sheets USING (account, first)
             WHERE account = ?1 AND name_id = ?2 AND first >=
             coalesce((SELECT max(first) FROM talks WHERE account = ?1 AND name_id = ?2 AND first <= ?3), 0)
             ORDER BY first"
        }
    }
}

/// All entries of all accounts, each with the key of its sheet.
#[cfg(test)]
pub(super) fn all(conn: &Connection) -> Result<Vec<(u64, u64, Entry)>, StorageError> {
    let mut statement = conn.prepare("SELECT first, body, crc, account FROM sheets")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let account = row.get::<_, Num>(3)?.0;
        let sheet = read(account, row)?;
        all.extend(sheet.entries.iter().map(|entry| (account, sheet.first, *entry)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sheet() -> impl Strategy<Value = Sheet> {
        let id = prop_oneof![0..1_000_u64, any::<u64>()];
        let name = prop_oneof![0..4_u64, any::<u64>()];
        let entries = proptest::collection::btree_map(id, (any::<bool>(), name), 1..ENTRIES_MAX);
        (entries, any::<u64>()).prop_map(|(entries, before)| {
            let entry = |(id, (received, name))| Entry { id, received, other: NameId(name) };
            let entries: Vec<Entry> = entries.into_iter().map(entry).collect();
            Sheet { first: entries[0].id - before.min(entries[0].id), entries }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sheet in sheet()) {
            let again = Sheet::parse(sheet.first, &sheet.body()).expect("it was written");
            prop_assert_eq!(again.entries, sheet.entries);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(first in any::<u64>(), body in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(sheet) = Sheet::parse(first, &body) {
                prop_assert!(sheet.entries.is_sorted_by(|one, next| one.id < next.id));
            }
        }
    }

    #[test]
    fn a_full_sheet_stays_within_its_page() {
        let entries = (0..ENTRIES_MAX as u64)
            .map(|n| Entry { id: 1_000_000 + n * 1_000, received: true, other: NameId(100_000 + n * 50) })
            .collect();
        let body = Sheet { first: 1_000_000, entries }.body();
        assert!(body.len() < 950, "{}", body.len());
    }
}
