//! Taking away what deleted accounts leave, a bounded step with each commit.
//!
//! A deleted account is out of reach at once: nothing reads the rows of an account that does not live, and ids are
//! never given twice. So its rows can go later, and deleting a mailbox of a million messages does not hold up the
//! entries behind it. When they go is no part of the state: replicas may differ in it, and their answers do not.

use chat::AccountId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows;
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
    let mut taken = messages(conn, young, account)?;
    for sql in [
        "DELETE FROM inbox WHERE account = ?1 AND id IN (SELECT id FROM inbox WHERE account = ?1 LIMIT ?2)",
        "DELETE FROM talks WHERE account = ?1 AND (name_id, id) IN
         (SELECT name_id, id FROM talks WHERE account = ?1 LIMIT ?2)",
        "DELETE FROM keys WHERE account = ?1 AND key IN (SELECT key FROM keys WHERE account = ?1 LIMIT ?2)",
    ] {
        taken += conn.prepare_cached(sql)?.execute(params![account, PURGE_ROWS as i64])?;
    }
    if taken == 0 {
        conn.prepare_cached("DELETE FROM purges WHERE account = ?1")?.execute([account])?;
    }
    Ok(true)
}

/// Views, and the messages that stand in no other view.
fn messages(conn: &Connection, young: &Young, account: Num) -> Result<usize, StorageError> {
    let sql = "SELECT views.id, sender, recipient FROM views CROSS JOIN messages USING (id)
               WHERE account = ?1 ORDER BY views.id LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let page = statement.query_map(params![account, PURGE_ROWS as i64], |row| {
        let other = if row.get::<_, Num>(1)? == account { 2 } else { 1 };
        Ok((row.get(0)?, row.get(other)?))
    })?;
    let page: Vec<(Num, Num)> = page.collect::<Result<_, _>>()?;
    let mut view = conn.prepare_cached("DELETE FROM views WHERE account = ?1 AND id = ?2")?;
    let mut message = conn.prepare_cached(
        "DELETE FROM messages WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM views WHERE account = ?2 AND id = ?1)",
    )?;
    for &(id, other) in &page {
        view.execute(params![account, id])?;
        if !young.has(other.0, id.0) {
            message.execute(params![id, other])?;
        }
    }
    Ok(page.len())
}
