//! Taking away what deleted accounts leave, a bounded step with each commit.
//!
//! A deleted account is out of reach at once: nothing reads the rows of an account that does not live, and ids are
//! never given twice. So its rows can go later, and deleting a mailbox of a million messages does not hold up the
//! entries behind it. When they go is no part of the state: replicas may differ in it, and their answers do not.

use chat::AccountId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::chat::has_view;
use super::rows::{self, MESSAGE};
use super::sheets;
use super::young::Young;
use crate::storage::error::StorageError;
use crate::storage::number::Num;

/// At most so many rows of each table go with one commit.
const PURGE_ROWS: usize = 512;

/// Takes one step, in the caller's transaction. Returns whether there is more to do.
pub(super) fn step(conn: &Connection, young: &Young) -> Result<bool, StorageError> {
    let sql = "SELECT account FROM purges ORDER BY account LIMIT 1";
    let account: Option<Num> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    let Some(account) = account else {
        return Ok(false);
    };
    if rows::account_by_id(conn, AccountId(account.0))?.is_none_or(|row| row.living) {
        return Err(rows::damaged(format!("account {} is to be taken away, and is not gone", account.0)));
    }
    let mut taken = messages(conn, young, account.0)?;
    for sql in [
        "DELETE FROM inbox WHERE account = ?1 AND id IN (SELECT id FROM inbox WHERE account = ?1 LIMIT ?2)",
        "DELETE FROM talks WHERE account = ?1 AND (name_id, first) IN
         (SELECT name_id, first FROM talks WHERE account = ?1 LIMIT ?2)",
        "DELETE FROM keys WHERE account = ?1 AND key IN (SELECT key FROM keys WHERE account = ?1 LIMIT ?2)",
    ] {
        taken += conn.prepare_cached(sql)?.execute(params![account, PURGE_ROWS as i64])?;
    }
    if taken == 0 {
        conn.prepare_cached("DELETE FROM purges WHERE account = ?1")?.execute([account])?;
    }
    Ok(true)
}

/// Sheets, and the messages that stand in no other view.
fn messages(conn: &Connection, young: &Young, account: u64) -> Result<usize, StorageError> {
    let mut taken = 0;
    while taken < PURGE_ROWS
        && let Some(sheet) = sheets::oldest(conn, account)?
    {
        for entry in &sheet.entries {
            let other = other(conn, account, entry.id)?;
            if other == account || !has_view(conn, young, other, entry.id)? {
                conn.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([Num(entry.id)])?;
            }
        }
        taken += sheet.entries.len();
        sheets::take_away(conn, account, sheet.first)?;
    }
    Ok(taken)
}

/// Who else has the message in a view.
fn other(conn: &Connection, account: u64, id: u64) -> Result<u64, StorageError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {MESSAGE} FROM messages WHERE id = ?1"))?;
    let mut found = statement.query([Num(id)])?;
    let Some(row) = found.next()?.map(rows::message).transpose()? else {
        return Err(rows::damaged(format!("message {id} is missing in the history of account {account}")));
    };
    Ok(row.other(account))
}
