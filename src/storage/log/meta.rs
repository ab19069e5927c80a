//! The one row beside the entries: whose log this is, and the term and vote.
//!
//! SQLite does not checksum its pages, and a vote that changes by one flipped bit is a second vote. So the row
//! carries a crc of its own, over exactly what it says.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::consensus::{Base, Boot, ClusterId, FoundingState, HardState, Incarnation, Index, Member, ReplicaId, Term};
use crate::machine::body::parse_member;
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

/// The file, in errors.
pub(super) const FILE: &str = "log.db";

/// Version of the tables. A program refuses a newer one, and has a migration for each older one.
const SCHEMA: u64 = 2;
/// Of a log that is whole: programs that know nothing of a base may read it. Only the first cut makes it [`SCHEMA`].
const SCHEMA_WHOLE: u64 = 1;

/// Created with the file, in one transaction with the first `meta` row.
const TABLES: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, replica INTEGER NOT NULL,
        cluster TEXT NOT NULL, incarnation INTEGER NOT NULL, boot INTEGER NOT NULL, term INTEGER NOT NULL,
        vote TEXT NOT NULL, founding TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
    CREATE TABLE entries (
        idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, time INTEGER NOT NULL, kind INTEGER NOT NULL,
        line ANY NOT NULL, crc INTEGER NOT NULL) STRICT;
    CREATE TABLE terms (term INTEGER PRIMARY KEY, first_idx INTEGER NOT NULL) STRICT;
    CREATE TABLE memberships (idx INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE peer_runs (
        replica INTEGER NOT NULL, incarnation INTEGER NOT NULL, boot INTEGER NOT NULL, nonce INTEGER NOT NULL,
        PRIMARY KEY (replica, incarnation)) STRICT, WITHOUT ROWID;
";

/// The one row about the last entry that is not kept. In a file of [`SCHEMA_WHOLE`] the table may be missing.
const BASE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS base (
        one INTEGER PRIMARY KEY CHECK (one = 1), idx INTEGER NOT NULL, term INTEGER NOT NULL,
        time INTEGER NOT NULL, digest INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;
";

/// Whose log this is, and what it has promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Meta {
    /// The version of the tables.
    schema: u64,
    /// The replica whose disk this is.
    pub replica: ReplicaId,
    /// The name in the configuration, so that a directory is not used for another cluster.
    pub cluster: String,
    /// Drawn when the file was made.
    pub incarnation: Incarnation,
    /// How often it was opened.
    pub boot: Boot,
    /// Term and vote.
    pub hard_state: HardState,
    /// How far the founding got.
    pub founding: FoundingState,
    /// The cluster's id, where it is no longer that of the founding record.
    pub cluster_id: Option<ClusterId>,
}

impl Meta {
    /// For a new file.
    pub(super) fn new(replica: ReplicaId, cluster: &str, incarnation: Incarnation) -> Self {
        Self {
            schema: SCHEMA_WHOLE,
            replica,
            cluster: cluster.to_owned(),
            incarnation,
            boot: Boot(0),
            hard_state: HardState::default(),
            founding: FoundingState::Blank,
            cluster_id: None,
        }
    }

    /// Who this is.
    pub fn me(&self) -> Member {
        Member { id: self.replica, incarnation: self.incarnation }
    }

    /// Refuses the file for another replica or cluster.
    pub(super) fn check(&self, dir: &Path, replica: ReplicaId, cluster: &str) -> Result<(), StorageError> {
        let path = || dir.to_owned();
        if self.replica != replica {
            return Err(StorageError::OtherReplica { path: path(), found: self.replica, wanted: replica });
        }
        if self.cluster != cluster {
            let (found, wanted) = (self.cluster.clone(), cluster.to_owned());
            return Err(StorageError::OtherCluster { path: path(), found, wanted });
        }
        Ok(())
    }

    fn vote_text(&self) -> String {
        self.hard_state.vote.map_or_else(String::new, |vote| vote.to_string())
    }

    /// `sealed`, and in a cluster that was founded anew `sealed|<its id>`: in one cell, so that a program that does not
    /// know the latter refuses the file, instead of showing the id of the old cluster.
    fn founding_text(&self) -> String {
        let founding = founding_text(self.founding);
        self.cluster_id.map_or_else(|| founding.to_owned(), |cluster| format!("{founding}|{cluster}"))
    }

    fn crc(&self) -> u32 {
        let founding = self.founding_text();
        let said = format!(
            "{}|{}|{}|{}|{}|{}|{founding}|{}",
            self.schema,
            self.replica,
            self.incarnation,
            self.boot,
            self.hard_state.term,
            self.vote_text(),
            self.cluster
        );
        crc32fast::hash(said.as_bytes())
    }
}

/// Creates the tables. The caller's transaction also saves the first row.
pub(super) fn create_tables(conn: &Connection) -> Result<(), StorageError> {
    Ok(conn.execute_batch(TABLES)?)
}

/// The row, or `None` in a file that was just created.
pub(in crate::storage) fn load(conn: &Connection) -> Result<Option<Meta>, StorageError> {
    if !conn.table_exists(None, "meta")? {
        return Ok(None);
    }
    let schema: Option<Num> = conn.query_row("SELECT schema FROM meta", [], |row| row.get(0)).optional()?;
    let schema = match schema {
        None => return Err(StorageError::corrupt(FILE, "it says nothing about its owner")),
        Some(Num(found)) if found > SCHEMA => {
            return Err(StorageError::Schema { file: FILE, found, known: SCHEMA });
        }
        Some(Num(known)) => known,
    };
    let sql = "SELECT replica, cluster, incarnation, boot, term, vote, founding, crc FROM meta";
    let (meta, crc) = conn.query_row(sql, [], |row| {
        let (vote, founding): (String, String) = (row.get(5)?, row.get(6)?);
        let meta = Meta {
            schema,
            replica: ReplicaId(row.get(0)?),
            cluster: row.get(1)?,
            incarnation: Incarnation(row.get::<_, Bits>(2)?.0),
            boot: Boot(row.get::<_, Num>(3)?.0),
            hard_state: HardState { term: Term(row.get::<_, Num>(4)?.0), vote: parse_member(&vote) },
            // An unreadable one fails the crc below, which is taken over what was read.
            founding: parse_founding(founding.split('|').next().unwrap_or_default()).unwrap_or_default(),
            cluster_id: founding.split_once('|').and_then(|(_, id)| u64::from_str_radix(id, 16).ok()).map(ClusterId),
        };
        Ok(((meta, vote, founding), row.get::<_, u32>(7)?))
    })?;
    let (meta, vote, founding) = meta;
    let as_read = vote == meta.vote_text() && founding == meta.founding_text();
    if !as_read || crc != meta.crc() {
        return Err(StorageError::corrupt(FILE, "term, vote and owner do not match their checksum"));
    }
    Ok(Some(meta))
}

/// Writes the row, in the caller's transaction.
pub(super) fn save(conn: &Connection, meta: &Meta) -> Result<(), StorageError> {
    let sql =
        "INSERT OR REPLACE INTO meta (one, schema, replica, cluster, incarnation, boot, term, vote, founding, crc)
               VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    conn.prepare_cached(sql)?.execute(params![
        Num(meta.schema),
        meta.replica.0,
        meta.cluster,
        Bits(meta.incarnation.0),
        Num(meta.boot.0),
        Num(meta.hard_state.term.0),
        meta.vote_text(),
        meta.founding_text(),
        meta.crc()
    ])?;
    Ok(())
}

/// Where the log begins; all zero for one that is whole.
pub(super) fn load_base(conn: &Connection) -> Result<Base, StorageError> {
    if !conn.table_exists(None, "base")? {
        return Ok(Base::default());
    }
    let row = conn
        .prepare_cached("SELECT idx, term, time, digest, crc FROM base")?
        .query_row([], |row| {
            let number = |column| row.get::<_, Num>(column).map(|number| number.0);
            let (index, term) = (Index(number(0)?), Term(number(1)?));
            let base = Base { index, term, time: number(2)?, digest: row.get::<_, Bits>(3)?.0 };
            Ok((base, row.get::<_, u32>(4)?))
        })
        .optional()?;
    match row {
        None => Ok(Base::default()),
        Some((base, crc)) if crc == base_crc(&base) => Ok(base),
        Some(_) => Err(StorageError::corrupt(FILE, "where the log begins does not match its checksum")),
    }
}

/// Begins the log behind another entry, in the caller's transaction. Also marks the file as one that is not whole.
pub(super) fn save_base(conn: &Connection, meta: &mut Meta, base: &Base) -> Result<(), StorageError> {
    meta.schema = SCHEMA;
    conn.execute_batch(BASE_TABLE)?;
    let sql = "INSERT OR REPLACE INTO base (one, idx, term, time, digest, crc) VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    let row = params![Num(base.index.0), Num(base.term.0), Num(base.time), Bits(base.digest), base_crc(base)];
    conn.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

fn base_crc(base: &Base) -> u32 {
    let Base { index, term, time, digest } = base;
    crc32fast::hash(format!("{index}|{term}|{time}|{digest:x}").as_bytes())
}

fn founding_text(founding: FoundingState) -> &'static str {
    match founding {
        FoundingState::Blank => "blank",
        FoundingState::Copied => "copied",
        FoundingState::Sealed => "sealed",
    }
}

fn parse_founding(text: &str) -> Option<FoundingState> {
    [FoundingState::Blank, FoundingState::Copied, FoundingState::Sealed]
        .into_iter()
        .find(|&founding| founding_text(founding) == text)
}
