//! Two states of the same entries, row by row.
//!
//! Equal entries make equal states, but not equal files: which rows are young (see `young`), and when the rows of deleted
//! accounts go (see `purge`), is no part of the state. So the rows that are in memory are merged with those of the tables, and
//! only what living accounts can reach is compared.

use std::collections::HashSet;
use std::fmt;

use chat::{AccountId, PasswordHash};
use rusqlite::{Row, Rows};

use super::rows::{self, ACCOUNT, FROM_RECIPIENT, FROM_SENDER, MESSAGE};
use super::{StateStore, sheets, young};
use crate::storage::error::StorageError;
use crate::storage::number::{Bits, Num};

/// The first row in which a state is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which table.
    pub table: &'static str,
    /// Which row of it, in words.
    pub row: String,
    /// What is wrong with it.
    pub how: How,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It should be there.
    Missing,
    /// It should not be there.
    Unfounded,
    /// It says something else than it should.
    Changed,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Missing => "is missing",
            How::Unfounded => "is there, and the log knows nothing of it",
            How::Changed => "is not what the log says",
        };
        write!(f, "{}: {} {how}", self.table, self.row)
    }
}

/// `left` is judged by `right`.
pub(super) fn first_difference(left: &StateStore, right: &StateStore) -> Result<Option<Difference>, StorageError> {
    let sides = Sides { left: Side::new(left)?, right: Side::new(right)? };
    let checks =
        [Sides::accounts, Sides::messages, Sides::views, Sides::talks, Sides::inbox, Sides::keys, Sides::deliveries];
    for check in checks {
        if let Some(difference) = check(&sides)? {
            return Ok(Some(difference));
        }
    }
    let (left, right) = (&left.progress, &right.progress);
    let said = |progress: &super::Progress| (progress.streams.clone(), progress.accounts);
    let changed = said(left) != said(right) || left.digest != right.digest;
    let row = format!("the progress after entry {}", left.applied);
    Ok(changed.then_some(Difference { table: "meta", row, how: How::Changed }))
}

struct Side<'a> {
    state: &'a StateStore,
    living: HashSet<u64>,
    young: young::Rows,
}

impl<'a> Side<'a> {
    fn new(state: &'a StateStore) -> Result<Self, StorageError> {
        let mut statement = state.conn.prepare("SELECT id FROM accounts WHERE living = 1")?;
        let living = statement.query_map([], |row| row.get::<_, Num>(0).map(|id| id.0))?;
        Ok(Self { state, living: living.collect::<Result<_, _>>()?, young: state.young.rows() })
    }

    fn lives(&self, account: u64) -> bool {
        self.living.contains(&account)
    }
}

struct Sides<'a> {
    left: Side<'a>,
    right: Side<'a>,
}

type Compared = Result<Option<Difference>, StorageError>;

impl Sides<'_> {
    fn accounts(&self) -> Compared {
        let read = |_: &Side<'_>, row: &Row<'_>| {
            let row = rows::account(row)?;
            let password = row.account.password.as_ref().map(PasswordHash::as_str).map(str::to_owned);
            let name = row.account.name.as_str().to_owned();
            Ok(vec![(row.account.id.0, name, row.living, row.keys, row.name_id.0, password)])
        };
        let table = Table {
            name: "accounts",
            sql: format!("SELECT {ACCOUNT} FROM accounts ORDER BY id"),
            key: |(id, ..): &(u64, String, bool, u64, u64, Option<String>)| *id,
            row: |(id, name, ..): &(u64, String, bool, u64, u64, Option<String>)| format!("account {name} ({id})"),
        };
        table.compare(self, read, |_| Vec::new())
    }

    fn messages(&self) -> Compared {
        // What no view holds may have been taken away already, or not yet.
        let read = |side: &Side<'_>, row: &Row<'_>| {
            let row = rows::message(row)?;
            let sent = side.lives(row.sender) && row.erased & FROM_SENDER == 0;
            let received = side.lives(row.recipient) && row.erased & FROM_RECIPIENT == 0;
            let said = (row.id, row.erased, row.sender, row.recipient, row.time.0, row.text().to_owned());
            Ok((sent || received).then_some(said).into_iter().collect())
        };
        type Message = (u64, u8, u64, u64, u64, String);
        let table = Table {
            name: "messages",
            sql: format!("SELECT {MESSAGE} FROM messages ORDER BY id"),
            key: |(id, ..): &Message| *id,
            row: |(id, _, from, to, ..): &Message| {
                format!("message {id} from {} to {}", self.name(*from), self.name(*to))
            },
        };
        table.compare(self, read, |_| Vec::new())
    }

    fn views(&self) -> Compared {
        let table = Table {
            name: "views",
            sql: "SELECT first, body, crc, account FROM sheets ORDER BY account, first".to_owned(),
            key: |[account, id, ..]: &[u64; 4]| [*account, *id],
            row: |[account, id, ..]: &[u64; 4]| format!("message {id} in the history of {}", self.name(*account)),
        };
        let read = |side: &Side<'_>, row: &Row<'_>| {
            let account = row.get::<_, Num>(3)?.0;
            let entries = sheets::read(account, row)?.entries.into_iter();
            let rows = entries.map(|entry| [account, entry.id, entry.received.into(), entry.other.0]);
            Ok(if side.lives(account) { rows.collect() } else { Vec::new() })
        };
        table.compare(self, read, |side| side.young.views.clone())
    }

    /// Where one sheet ends and the next begins is no part of the state, so that this table is judged by the sheets beside it.
    fn talks(&self) -> Compared {
        let side = &self.left;
        let mut statement = side.state.conn.prepare("SELECT account, name_id, first FROM talks ORDER BY account")?;
        let mut talks = statement.query([])?;
        let mut ahead = talks.next()?.map(three).transpose()?;
        let mut accounts: Vec<u64> = side.living.iter().copied().collect();
        accounts.sort_unstable();
        for account in accounts {
            let mut found = Vec::new();
            while let Some([of, name, first]) = ahead.filter(|[of, ..]| *of <= account) {
                if of == account {
                    found.push([name, first]);
                }
                ahead = talks.next()?.map(three).transpose()?;
            }
            let mut due = sheets::names(&side.state.conn, account)?;
            found.sort_unstable();
            due.sort_unstable();
            let named = |[name, first]: [u64; 2], how| {
                let row = format!(
                    "messages from {first} on in the history of {} with {}",
                    self.name(account),
                    self.name(name)
                );
                Ok(Some(Difference { table: "talks", row, how }))
            };
            if let Some(row) = due.iter().find(|row| found.binary_search(row).is_err()) {
                return named(*row, How::Missing);
            }
            if let Some(row) = found.iter().find(|row| due.binary_search(row).is_err()) {
                return named(*row, How::Unfounded);
            }
        }
        Ok(None)
    }

    fn inbox(&self) -> Compared {
        let table = Table {
            name: "inbox",
            sql: "SELECT account, id, 0 FROM inbox ORDER BY account, id".to_owned(),
            key: |row: &[u64; 3]| *row,
            row: |[account, id, _]: &[u64; 3]| {
                format!("undelivered message {id} in the mailbox of {}", self.name(*account))
            },
        };
        table.compare(self, numbers, |side| side.young.inbox.clone())
    }

    fn keys(&self) -> Compared {
        let read = |side: &Side<'_>, row: &Row<'_>| {
            let (account, key) = (row.get::<_, Num>(0)?.0, row.get::<_, String>(1)?);
            let (at, request, outcome) = (row.get::<_, Num>(2)?.0, row.get::<_, Bits>(3)?.0, row.get::<_, String>(4)?);
            rows::check_key(AccountId(account), &key, at, request, &outcome, row.get(5)?)?;
            let row = (account, key, at, request, outcome);
            Ok(side.lives(account).then_some(row).into_iter().collect())
        };
        type KeyRow = (u64, String, u64, u64, String);
        let table = Table {
            name: "keys",
            sql: "SELECT account, key, at, request, outcome, crc FROM keys ORDER BY account, key".to_owned(),
            key: |(account, key, ..): &KeyRow| (*account, key.clone()),
            row: |(account, key, ..): &KeyRow| format!("key {key} of {}", self.name(*account)),
        };
        table.compare(self, read, |_| Vec::new())
    }

    fn deliveries(&self) -> Compared {
        type Delivered = (u64, u64, u64, u64, [u64; 2]);
        let read = |_: &Side<'_>, row: &Row<'_>| {
            let chat::Delivery { at, n, time, account, range } = rows::delivery(row)?;
            Ok(vec![(at, n, time.0, account.0, [range.from.0, range.to.0])])
        };
        let table = Table {
            name: "deliveries",
            sql: format!("SELECT {} FROM deliveries ORDER BY at, n", rows::DELIVERY),
            key: |(at, n, ..): &Delivered| (*at, *n),
            row: |(at, _, _, account, _): &Delivered| format!("delivery to {} by entry {at}", self.name(*account)),
        };
        table.compare(self, read, |_| Vec::new())
    }

    /// The name of an account, by whichever side knows it.
    fn name(&self, account: u64) -> String {
        let of = |side: &Side<'_>| rows::account_by_id(&side.state.conn, AccountId(account)).ok().flatten();
        let row = of(&self.right).or_else(|| of(&self.left));
        row.map_or_else(|| format!("account {account}"), |row| row.account.name.as_str().to_owned())
    }
}

/// The rows that are nothing but keys, of accounts that live.
fn numbers(side: &Side<'_>, row: &Row<'_>) -> Result<Vec<[u64; 3]>, StorageError> {
    let row = three(row)?;
    Ok(side.lives(row[0]).then_some(row).into_iter().collect())
}

fn three(row: &Row<'_>) -> Result<[u64; 3], StorageError> {
    let number = |column| row.get::<_, Num>(column).map(|number| number.0);
    Ok([number(0)?, number(1)?, number(2)?])
}

/// How a table is read, in the order of its keys, and how a row of it is called.
struct Table<K, N> {
    name: &'static str,
    sql: String,
    key: K,
    row: N,
}

impl<K, N> Table<K, N> {
    /// Reads both sides in step. `young` gives the rows that are not in the table, sorted.
    fn compare<T: Ord, Key: Ord>(
        &self,
        sides: &Sides<'_>,
        read: impl Fn(&Side<'_>, &Row<'_>) -> Result<Vec<T>, StorageError>,
        young: impl Fn(&Side<'_>) -> Vec<T>,
    ) -> Compared
    where
        K: Fn(&T) -> Key,
        N: Fn(&T) -> String,
    {
        let (mut left, mut right) =
            (sides.left.state.conn.prepare(&self.sql)?, sides.right.state.conn.prepare(&self.sql)?);
        let mut left = Merged::new(&sides.left, left.query([])?, young(&sides.left), &read);
        let mut right = Merged::new(&sides.right, right.query([])?, young(&sides.right), &read);
        loop {
            let (row, how) = match (left.next()?, right.next()?) {
                (None, None) => return Ok(None),
                (Some(left), Some(right)) if left == right => continue,
                (Some(left), Some(right)) => match (self.key)(&left).cmp(&(self.key)(&right)) {
                    std::cmp::Ordering::Less => (left, How::Unfounded),
                    std::cmp::Ordering::Equal => (left, How::Changed),
                    std::cmp::Ordering::Greater => (right, How::Missing),
                },
                (Some(left), None) => (left, How::Unfounded),
                (None, Some(right)) => (right, How::Missing),
            };
            return Ok(Some(Difference { table: self.name, row: (self.row)(&row), how }));
        }
    }
}

/// The rows of a table and those that are not in it yet, in one order.
struct Merged<'r, T, R> {
    side: &'r Side<'r>,
    table: Rows<'r>,
    /// Read from the table, and not given out.
    ahead: std::vec::IntoIter<T>,
    young: std::iter::Peekable<std::vec::IntoIter<T>>,
    read: R,
}

impl<'r, T: Ord, R: Fn(&Side<'_>, &Row<'_>) -> Result<Vec<T>, StorageError>> Merged<'r, T, R> {
    fn new(side: &'r Side<'r>, table: Rows<'r>, young: Vec<T>, read: R) -> Self {
        Self { side, table, ahead: Vec::new().into_iter(), young: young.into_iter().peekable(), read }
    }

    fn next(&mut self) -> Result<Option<T>, StorageError> {
        while self.ahead.as_slice().is_empty()
            && let Some(row) = self.table.next()?
        {
            self.ahead = (self.read)(self.side, row)?.into_iter();
        }
        let is_young = match (self.ahead.as_slice().first(), self.young.peek()) {
            (Some(filed), Some(young)) => young < filed,
            (None, young) => young.is_some(),
            (Some(_), None) => false,
        };
        Ok(if is_young { self.young.next() } else { self.ahead.next() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consensus::{Body, Boot, Entry, Incarnation, Index, Member, ReplicaId, Term};
    use crate::machine::{self, Origin, payload};
    use crate::storage::state::young::Pace;

    const ME: Member = Member { id: ReplicaId(1), incarnation: Incarnation(0xa) };

    /// Accounts 1 to 4, of which 4 goes; mail among them, some of it delivered or erased.
    fn entries() -> Vec<Entry> {
        let mut commands: Vec<String> = (1..=4).map(|n| format!("|1|user{n}")).collect();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (from, to) = (random.u64(1..=4), random.u64(1..=4));
            commands.push(format!("user{from}#{from}|5|user{to}|text {}", commands.len()));
        }
        commands.extend([
            "user1#1|@k|5|user2|keyed".to_owned(),
            "user4#4|4".to_owned(),
            "|mark|1:1-80;2:9-30".to_owned(),
        ]);
        commands.extend((5..60).map(|id| format!("user{}#{}|8|{id}", id % 3 + 1, id % 3 + 1)));
        let entry = |(command, n): (String, u64)| {
            let origin = Origin { member: ME, boot: Boot(1), n };
            let body = Body::Command(payload::encode(origin, &command).freeze());
            Entry { index: Index(n), term: Term(1), time: n, body }
        };
        commands.into_iter().zip(1..).map(entry).collect()
    }

    /// The same entries, with so many to a commit, and so many messages young.
    fn state(dir: &Path, per_commit: usize, young: usize) -> StateStore {
        std::fs::create_dir_all(dir).expect("a folder");
        let mut state = StateStore::open(dir, ME, "choir").expect("a new state");
        state.young.pace = Pace { messages_max: young, rows_min: 3, ..Pace::default() };
        for entries in entries().chunks(per_commit) {
            state.begin().expect("begins");
            for entry in entries {
                machine::apply(&mut state, entry, &mut Vec::new()).expect("applies");
            }
            state.commit().expect("commits");
        }
        state
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn equal_entries_make_equal_states_however_they_were_committed() {
        let (one, other) = (folder(), folder());
        let right = state(one.path(), 1_000, 1 << 16);
        for (per_commit, young) in [(1, 1), (7, 20), (50, 3), (1_000, 10)] {
            let left = state(&other.path().join(format!("{per_commit}-{young}")), per_commit, young);
            assert_eq!(
                first_difference(&left, &right).expect("both read"),
                None,
                "{per_commit} a commit, {young} young"
            );
        }
    }

    #[test]
    fn the_first_row_that_differs_is_named() {
        let right = folder();
        let right = state(right.path(), 1_000, 1 << 16);
        let changes = [
            (
                "DELETE FROM sheets WHERE account = 1 AND first = (SELECT max(first) FROM sheets WHERE account = 1)",
                "views",
                How::Missing,
            ),
            (
                "DELETE FROM talks WHERE account = 2 AND first = (SELECT max(first) FROM talks WHERE account = 2)",
                "talks",
                How::Missing,
            ),
            ("INSERT INTO talks SELECT account, 99, first FROM talks LIMIT 1", "talks", How::Unfounded),
            ("DELETE FROM inbox WHERE account = 3", "inbox", How::Missing),
            ("INSERT INTO inbox VALUES (1, 60)", "inbox", How::Unfounded),
            ("DELETE FROM keys WHERE key = 'k'", "keys", How::Missing),
            ("DELETE FROM messages WHERE id = (SELECT max(id) FROM messages)", "messages", How::Missing),
        ];
        for (sql, table, how) in changes {
            let left = folder();
            // All but the last few rows are in the tables.
            let left = state(left.path(), 1, 1);
            assert!(left.conn.execute(sql, []).expect("it is meddled with") > 0, "{sql}");
            let found = first_difference(&left, &right).expect("both read").expect("they differ");
            assert_eq!((found.table, found.how), (table, how), "{sql}: {found}");
        }
        let left = folder();
        let left = state(left.path(), 1, 1);
        left.conn.execute("UPDATE messages SET text = 'other' WHERE id = 150", []).expect("it is meddled with");
        assert!(first_difference(&left, &right).expect_err("its checksum").to_string().contains("message 150"));
    }
}
