//! The tables of `state.db`, made for speed and size.
//!
//! A message costs one row in `messages`, one in each of its two `views`, and, until it is delivered, one in `inbox`;
//! the latter three are nothing but keys. Names stand once, with the account, also of accounts that are gone: what
//! they sent stays under their name.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::consensus::{Boot, Incarnation, Index, Member, ReplicaId};
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

use super::Progress;
use super::young::Filed;

/// The file, in errors.
pub(super) const FILE: &str = "state.db";

/// Version of the tables. The state is derived: another version is rebuilt from the log, not migrated.
const SCHEMA: u64 = 1;

/// - `accounts.undelivered` and `accounts.keys` count rows of `inbox` and `keys`, so that a login need not.
/// - `views.received` tells what came from what went; 0 and 1 cost no byte. A message to oneself is received.
/// - `messages.waiting` says whether a message is undelivered while it is young (above `meta.filed_to`); later, its row
///   in `inbox` says so. See [`super::young`], also for the other numbers of `meta`.
/// - `purges` lists accounts that are gone and whose rows are still to be taken away.
const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, cluster TEXT NOT NULL,
        incarnation INTEGER NOT NULL, applied INTEGER NOT NULL, digest INTEGER NOT NULL,
        filed_to INTEGER NOT NULL, filing_to INTEGER NOT NULL, cursor_account INTEGER NOT NULL,
        cursor_id INTEGER NOT NULL) STRICT;
    CREATE TABLE streams (
        replica INTEGER NOT NULL, incarnation INTEGER NOT NULL, boot INTEGER NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (replica, incarnation)) STRICT, WITHOUT ROWID;
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY, living INTEGER NOT NULL, undelivered INTEGER NOT NULL, keys INTEGER NOT NULL,
        name TEXT NOT NULL, password TEXT) STRICT;
    CREATE UNIQUE INDEX names ON accounts (name) WHERE living = 1;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY, waiting INTEGER NOT NULL, sender INTEGER NOT NULL, recipient INTEGER NOT NULL,
        time INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
    CREATE TABLE views (
        account INTEGER NOT NULL, id INTEGER NOT NULL, received INTEGER NOT NULL,
        PRIMARY KEY (account, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE inbox (
        account INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (account, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE keys (
        account INTEGER NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, request INTEGER NOT NULL,
        outcome TEXT NOT NULL, PRIMARY KEY (account, key)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX keys_by_age ON keys (account, at);
    CREATE TABLE purges (account INTEGER PRIMARY KEY) STRICT;
";

/// Creates the tables in a new file; refuses a file made beside another log.
pub(super) fn prepare(conn: &mut Connection, me: Member, cluster: &str) -> Result<(), StorageError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if tx.table_exists(None, "meta")? {
        check(&tx, me, cluster)?;
    } else {
        tx.execute_batch(TABLES)?;
        let sql = "INSERT INTO meta VALUES (1, ?1, ?2, ?3, 0, 0, 0, 0, 0, 0)";
        tx.execute(sql, params![Num(SCHEMA), cluster, Bits(me.incarnation.0)])?;
    }
    Ok(tx.commit()?)
}

fn check(conn: &Connection, me: Member, cluster: &str) -> Result<(), StorageError> {
    let sql = "SELECT schema FROM meta";
    let schema: Option<Num> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    match schema {
        Some(Num(SCHEMA)) => {}
        Some(Num(found)) => {
            return Err(StorageError::Schema { file: FILE, found, known: SCHEMA });
        }
        None => return Err(StorageError::corrupt(FILE, "it says nothing about its owner")),
    }
    let sql = "SELECT cluster, incarnation FROM meta";
    let owner: (String, Bits) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if owner == (cluster.to_owned(), Bits(me.incarnation.0)) { Ok(()) } else { Err(StorageError::OtherState) }
}

/// How far the state is.
pub(super) fn load(conn: &Connection) -> Result<Progress, StorageError> {
    let sql = "SELECT applied, digest, filed_to, filing_to, cursor_account, cursor_id FROM meta";
    let (applied, digest, filed) = conn.query_row(sql, [], |row| {
        let number = |column| row.get::<_, Num>(column).map(|number| number.0);
        let filed = Filed { to: number(2)?, filing_to: number(3)?, cursor: (number(4)?, number(5)?) };
        Ok((Index(number(0)?), row.get::<_, Bits>(1)?.0, filed))
    })?;
    let mut statement = conn.prepare("SELECT replica, incarnation, boot, n FROM streams")?;
    let streams = statement.query_map([], |row| {
        let member = Member { id: ReplicaId(row.get(0)?), incarnation: Incarnation(row.get::<_, Bits>(1)?.0) };
        Ok((member, (Boot(row.get::<_, Num>(2)?.0), row.get::<_, Num>(3)?.0)))
    })?;
    let streams = streams.collect::<Result<_, _>>()?;
    Ok(Progress { applied, digest, filed, streams })
}

/// Writes what changed since `before`, in the caller's transaction.
pub(super) fn save(conn: &Connection, before: &Progress, now: &Progress) -> Result<(), StorageError> {
    let sql = "UPDATE meta SET applied = ?1, digest = ?2";
    conn.prepare_cached(sql)?.execute(params![Num(now.applied.0), Bits(now.digest)])?;
    if before.filed != now.filed {
        let Filed { to, filing_to, cursor } = now.filed;
        let sql = "UPDATE meta SET filed_to = ?1, filing_to = ?2, cursor_account = ?3, cursor_id = ?4";
        conn.prepare_cached(sql)?.execute([Num(to), Num(filing_to), Num(cursor.0), Num(cursor.1)])?;
    }
    let sql = "INSERT OR REPLACE INTO streams (replica, incarnation, boot, n) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = conn.prepare_cached(sql)?;
    for (member, position) in &now.streams {
        if before.streams.get(member) != Some(position) {
            let (boot, n) = *position;
            statement.execute(params![member.id.0, Bits(member.incarnation.0), Num(boot.0), Num(n)])?;
        }
    }
    Ok(())
}
