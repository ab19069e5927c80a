//! The tables of `state.db`, made for speed and size.
//!
//! A message costs one row in `messages`, an entry on a sheet of each of its two views, and, if it is not delivered while
//! it is young, a row in `inbox`. Names stand once, with the account, also of accounts that are gone: what they sent
//! stays under their name.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::consensus::{Boot, Incarnation, Index, Member, ReplicaId};
use crate::storage::error::{STATE, StorageError};
use crate::storage::number::{Bits, Num};

use super::Progress;
use super::rows::{self, damaged};
use super::young::Filed;

/// The file, in errors.
pub(in crate::storage) const FILE: &str = STATE;

/// Version of the tables. The state is derived: another version is rebuilt from the log, not migrated.
const SCHEMA: u64 = 5;

/// - `accounts.undelivered` and `accounts.keys` count rows of `inbox` and `keys`, `accounts.undelivered_bytes` the texts of
///   the former, so that a login and a limited `send` need not. `meta.accounts` counts accounts that live.
/// - `accounts.name_id` is the first account that ever had this name: what a history is asked for by. See
///   [`rows::NameId`].
/// - `sheets` are the views: see [`super::sheets`]. `talks` says on which of them a name stands, so that a history with it
///   is not searched for among all.
/// - `messages.erased` says from which views it was erased ([`rows::FROM_SENDER`], [`rows::FROM_RECIPIENT`]): the views
///   that are kept in memory are read back from the messages.
/// - A message to oneself is one entry, and received.
/// - `messages.waiting` says whether a message is undelivered while it is young (above `meta.filed_to`); later, its row
///   in `inbox` says so. See [`super::young`], also for the other numbers of `meta`.
/// - `crc` stands over all other columns of its row, `meta.crc` also over all `streams`. See [`super::rows`].
/// - `deliveries` says what was delivered when, while a retention is in force ([`chat::Delivery`]).
/// - `purges` lists accounts that are gone and whose rows are still to be taken away.
const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, cluster TEXT NOT NULL,
        incarnation INTEGER NOT NULL, applied INTEGER NOT NULL, digest INTEGER NOT NULL,
        filed_to INTEGER NOT NULL, filing_to INTEGER NOT NULL, cursor_account INTEGER NOT NULL,
        cursor_id INTEGER NOT NULL, accounts INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;
    CREATE TABLE streams (
        replica INTEGER NOT NULL, incarnation INTEGER NOT NULL, boot INTEGER NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (replica, incarnation)) STRICT, WITHOUT ROWID;
    CREATE TABLE accounts (
        id INTEGER PRIMARY KEY, living INTEGER NOT NULL, undelivered INTEGER NOT NULL,
        undelivered_bytes INTEGER NOT NULL, keys INTEGER NOT NULL, name_id INTEGER NOT NULL, name TEXT NOT NULL,
        password TEXT, crc INTEGER NOT NULL) STRICT;
    CREATE UNIQUE INDEX names ON accounts (name) WHERE living = 1;
    CREATE INDEX all_names ON accounts (name);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY, waiting INTEGER NOT NULL, erased INTEGER NOT NULL, sender INTEGER NOT NULL, recipient INTEGER NOT NULL,
        time INTEGER NOT NULL, text TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
    CREATE TABLE sheets (
        account INTEGER NOT NULL, first INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
        PRIMARY KEY (account, first)) STRICT, WITHOUT ROWID;
    CREATE TABLE talks (
        account INTEGER NOT NULL, name_id INTEGER NOT NULL, first INTEGER NOT NULL,
        PRIMARY KEY (account, name_id, first)) STRICT, WITHOUT ROWID;
    CREATE TABLE inbox (
        account INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (account, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE keys (
        account INTEGER NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, request INTEGER NOT NULL,
        outcome TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (account, key)) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX keys_by_age ON keys (account, at);
    CREATE TABLE deliveries (
        at INTEGER NOT NULL, n INTEGER NOT NULL, time INTEGER NOT NULL, account INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (at, n)) STRICT, WITHOUT ROWID;
    CREATE TABLE purges (account INTEGER PRIMARY KEY) STRICT;
";

/// Creates the tables in a new file; refuses a file made beside another log.
pub(super) fn prepare(conn: &mut Connection, me: Member, cluster: &str) -> Result<(), StorageError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if tx.table_exists(None, "meta")? {
        check(&tx, me, cluster)?;
    } else {
        tx.execute_batch(TABLES)?;
        let owner = Owner { cluster: cluster.to_owned(), incarnation: me.incarnation };
        let sql = "INSERT INTO meta VALUES (1, ?1, ?2, ?3, 0, 0, 0, 0, 0, 0, 0, ?4)";
        let crc = crc(&owner, &Progress::default());
        tx.execute(sql, params![Num(SCHEMA), cluster, Bits(me.incarnation.0), crc])?;
    }
    Ok(tx.commit()?)
}

fn check(conn: &Connection, me: Member, cluster: &str) -> Result<(), StorageError> {
    check_version(conn)?;
    let found = owner(conn)?;
    // A damaged owner is damage, not another's state.
    load(conn, &found)?;
    let is_ours = found == Owner { cluster: cluster.to_owned(), incarnation: me.incarnation };
    if is_ours { Ok(()) } else { Err(StorageError::OtherState) }
}

/// Refuses tables that this program does not know.
pub(super) fn check_version(conn: &Connection) -> Result<(), StorageError> {
    let sql = "SELECT schema FROM meta";
    let schema: Option<Num> = conn.query_row(sql, [], |row| row.get(0)).optional()?;
    match schema {
        Some(Num(SCHEMA)) => Ok(()),
        Some(Num(found)) => Err(StorageError::Schema { file: FILE, found, known: SCHEMA }),
        None => Err(damaged("it says nothing about its owner")),
    }
}

/// What the file says of its owner. [`load`] checks it.
pub(super) fn owner(conn: &Connection) -> Result<Owner, StorageError> {
    let owner = conn.query_row("SELECT cluster, incarnation FROM meta", [], |row| {
        Ok(Owner { cluster: row.get(0)?, incarnation: Incarnation(row.get::<_, Bits>(1)?.0) })
    })?;
    Ok(owner)
}

/// How far the state in a file is, and its digest, if it is one of this cluster that this program can read.
pub(in crate::storage) fn position(conn: &Connection, cluster: Option<&str>) -> Result<(Index, u64), StorageError> {
    let (owner, progress) = load_any(conn)?;
    if cluster.is_some_and(|cluster| cluster != owner.cluster) {
        return Err(StorageError::OtherState);
    }
    Ok((progress.applied, progress.digest))
}

/// Makes a copy of another replica's state this one's own, in the caller's transaction.
pub(in crate::storage) fn adopt(conn: &Connection, me: Member) -> Result<(), StorageError> {
    let (owner, progress) = load_any(conn)?;
    let owner = Owner { incarnation: me.incarnation, ..owner };
    let sql = "UPDATE meta SET incarnation = ?1, crc = ?2";
    conn.execute(sql, params![Bits(owner.incarnation.0), crc(&owner, &progress)])?;
    Ok(())
}

/// Whoever's it is.
fn load_any(conn: &Connection) -> Result<(Owner, Progress), StorageError> {
    let Num(found) = conn.query_row("SELECT schema FROM meta", [], |row| row.get(0))?;
    if found != SCHEMA {
        return Err(StorageError::Schema { file: FILE, found, known: SCHEMA });
    }
    let owner = conn.query_row("SELECT cluster, incarnation FROM meta", [], |row| {
        Ok(Owner { cluster: row.get(0)?, incarnation: Incarnation(row.get::<_, Bits>(1)?.0) })
    })?;
    let progress = load(conn, &owner)?;
    Ok((owner, progress))
}

/// Whose state it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub cluster: String,
    pub incarnation: Incarnation,
}

/// Over `meta` and `streams`.
fn crc(owner: &Owner, progress: &Progress) -> u32 {
    let Filed { to, filing_to, cursor } = progress.filed;
    let Progress { applied, digest, accounts, .. } = *progress;
    let mut numbers = vec![SCHEMA, owner.incarnation.0, applied.0, digest, to, filing_to, cursor.0, cursor.1, accounts];
    for (member, (boot, n)) in &progress.streams {
        numbers.extend([u64::from(member.id.0), member.incarnation.0, boot.0, *n]);
    }
    rows::crc(&numbers, &[&owner.cluster])
}

/// How far the state is.
pub(super) fn load(conn: &Connection, owner: &Owner) -> Result<Progress, StorageError> {
    let sql = "SELECT applied, digest, filed_to, filing_to, cursor_account, cursor_id, crc, accounts FROM meta";
    let (applied, digest, filed, stored, accounts) = conn.query_row(sql, [], |row| {
        let number = |column| row.get::<_, Num>(column).map(|number| number.0);
        let filed = Filed { to: number(2)?, filing_to: number(3)?, cursor: (number(4)?, number(5)?) };
        Ok((Index(number(0)?), row.get::<_, Bits>(1)?.0, filed, row.get::<_, u32>(6)?, number(7)?))
    })?;
    let mut statement = conn.prepare("SELECT replica, incarnation, boot, n FROM streams")?;
    let streams = statement.query_map([], |row| {
        let member = Member { id: ReplicaId(row.get(0)?), incarnation: Incarnation(row.get::<_, Bits>(1)?.0) };
        Ok((member, (Boot(row.get::<_, Num>(2)?.0), row.get::<_, Num>(3)?.0)))
    })?;
    let streams = streams.collect::<Result<_, _>>()?;
    let progress = Progress { applied, digest, filed, accounts, streams };
    if stored == crc(owner, &progress) {
        Ok(progress)
    } else {
        Err(damaged("the checksum of its progress does not match"))
    }
}

/// Writes what changed since `before`, in the caller's transaction.
pub(super) fn save(conn: &Connection, owner: &Owner, before: &Progress, now: &Progress) -> Result<(), StorageError> {
    let sql = "UPDATE meta SET applied = ?1, digest = ?2, accounts = ?3, crc = ?4";
    let row = params![Num(now.applied.0), Bits(now.digest), Num(now.accounts), crc(owner, now)];
    conn.prepare_cached(sql)?.execute(row)?;
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
