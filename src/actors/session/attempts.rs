//! Which accounts are being guessed at, and from where: one table for all sessions of a replica.
//!
//! The first [`FREE_FAILURES`] failed logins to an account from an address are answered at once. From then on that
//! address may try that account once in [`PAUSE`]; what comes sooner is refused unheard, right or wrong, because an
//! answer is what a guesser wants. The owner at another address notices nothing.
//!
//! An attempt is counted when it begins and forgiven when it succeeds, so that many connections at once get no more
//! guesses than one. Pure: it is told the time.
//!
//! Bounded: when the table is full, the entry with the fewest failures goes first, and of these the one that was idle
//! longest. It is never the newcomer that is refused, so that nobody is locked out by a full table; and to have his own
//! five failures forgotten, a guesser must fill the table with entries that have as many:
//!   1. were it the oldest that goes, a guesser at bob could make 10,000 accounts of his own without a password, fail once
//!      at each, which costs no hash, and be a stranger to bob's account again within a second;
//!   2. so failures at an account without a password, where nothing can be guessed, count below all others; and the rest
//!      cost him 5 hashes an entry: 50,000, some ten minutes of both hasher threads, for five more guesses.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use chat::AccountId;

/// Failures that are answered at once.
pub const FREE_FAILURES: u32 = 5;
/// After them: one attempt in so long.
pub const PAUSE: Duration = Duration::from_secs(30);
/// An entry without an attempt for so long is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Entries in the table: some 2 MB.
pub const ENTRIES_MAX: usize = 10_000;

const _: () = assert!(PAUSE.as_secs() < FORGET_AFTER.as_secs(), "else waiting for the end of a pause would reset it");

/// The table.
#[derive(Debug, Default)]
pub struct Attempts {
    entries: HashMap<Key, Entry>,
    /// Who goes first when there is no room: how much it is worth, how long ago it was, and which.
    by_worth: BTreeSet<(u32, Instant, Key)>,
}

type Key = (AccountId, Origin);

/// Where attempts come from: an IPv4 address, or the /64 network that one IPv6 subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(IpAddr);

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: u32,
    last: Instant,
    guards: bool,
}

impl Entry {
    fn worth(&self) -> u32 {
        if self.guards { 1 + self.failures.min(FREE_FAILURES) } else { 0 }
    }
}

/// Refused unheard: try again after so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowDown(pub Duration);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Attempts {
    /// An attempt begins, and counts as failed until [`Attempts::succeeded`]. `guards`: the account has a password, so
    /// that there is something to guess.
    ///
    /// # Errors
    /// It is refused unheard, and does not count.
    pub fn begin(&mut self, account: AccountId, origin: Origin, guards: bool, now: Instant) -> Result<(), SlowDown> {
        let key = (account, origin);
        let mut entry = self.entries.get(&key).copied().unwrap_or(Entry { failures: 0, last: now, guards });
        let idle = now.saturating_duration_since(entry.last);
        if idle >= FORGET_AFTER {
            entry.failures = 0;
        }
        if entry.failures >= FREE_FAILURES && idle < PAUSE {
            return Err(SlowDown(PAUSE - idle));
        }
        self.remove(key);
        self.make_room();
        self.insert(key, Entry { failures: entry.failures.saturating_add(1), last: now, guards });
        Ok(())
    }

    /// The attempt succeeded: what failed before is forgiven.
    pub fn succeeded(&mut self, account: AccountId, origin: Origin) {
        self.remove((account, origin));
    }

    /// The attempt was not looked at after all.
    pub fn withdrawn(&mut self, account: AccountId, origin: Origin) {
        let key = (account, origin);
        if let Some(entry) = self.remove(key).filter(|entry| entry.failures > 1) {
            self.insert(key, Entry { failures: entry.failures - 1, ..entry });
        }
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        self.by_worth.insert((entry.worth(), entry.last, key));
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.by_worth.remove(&(entry.worth(), entry.last, key));
        Some(entry)
    }

    fn make_room(&mut self) {
        while self.entries.len() >= ENTRIES_MAX
            && let Some((_, _, key)) = self.by_worth.pop_first()
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId(7);

    fn origin(address: &str) -> Origin {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn five_failures_then_one_a_pause_for_that_address_and_account_alone() {
        let mut attempts = Attempts::default();
        let (here, start) = (origin("10.0.0.1"), Instant::now());
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start), Ok(()));
        }
        assert_eq!(attempts.begin(BOB, here, true, start), Err(SlowDown(PAUSE)));
        assert_eq!(
            attempts.begin(BOB, here, true, start + PAUSE / 2),
            Err(SlowDown(PAUSE / 2)),
            "refusals extend nothing"
        );
        assert_eq!(attempts.begin(BOB, origin("10.0.0.2"), true, start), Ok(()));
        assert_eq!(attempts.begin(AccountId(8), here, true, start), Ok(()));
        assert_eq!(attempts.begin(BOB, here, true, start + PAUSE), Ok(()));
        assert_eq!(attempts.begin(BOB, here, true, start + PAUSE), Err(SlowDown(PAUSE)));
    }

    #[test]
    fn a_success_forgives_and_so_does_time() {
        let mut attempts = Attempts::default();
        let (here, start) = (origin("10.0.0.1"), Instant::now());
        for _ in 0..3 * FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start), Ok(()));
            attempts.succeeded(BOB, here);
        }
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start), Ok(()));
        }
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start + FORGET_AFTER), Ok(()));
        }
        assert!(attempts.begin(BOB, here, true, start + FORGET_AFTER).is_err());
    }

    #[test]
    fn one_subscriber_is_one_origin() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
    }

    #[test]
    fn a_full_table_forgets_what_matters_least_and_lets_everybody_in() {
        let mut attempts = Attempts::default();
        let (here, start) = (origin("10.0.0.1"), Instant::now());
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start), Ok(()));
        }
        for n in 0..2 * ENTRIES_MAX as u64 {
            let now = start + Duration::from_micros(n);
            assert_eq!(attempts.begin(AccountId(100 + n), here, n % 2 == 0, now), Ok(()));
            assert!(attempts.entries.len() <= ENTRIES_MAX && attempts.by_worth.len() == attempts.entries.len());
        }
        assert!(
            attempts.begin(BOB, here, true, start + Duration::from_secs(1)).is_err(),
            "the guesser at bob is known"
        );
        assert_eq!(attempts.begin(BOB, origin("10.0.0.2"), true, start), Ok(()), "bob is not locked out");
        assert!(!attempts.entries.contains_key(&(AccountId(100), here)), "the oldest of those with one failure went");
        let newest = 100 + 2 * ENTRIES_MAX as u64 - 2;
        assert!(attempts.entries.contains_key(&(AccountId(newest), here)));
    }

    #[test]
    fn what_was_not_looked_at_does_not_count() {
        let mut attempts = Attempts::default();
        let (here, start) = (origin("10.0.0.1"), Instant::now());
        for _ in 0..3 * FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, true, start), Ok(()));
            attempts.withdrawn(BOB, here);
        }
        assert!(attempts.entries.is_empty() && attempts.by_worth.is_empty());
    }
}
