//! Which accounts are being guessed at, and from where: one table for all sessions of a replica.
//!
//! The first [`FREE_FAILURES`] failed logins to an account from an address are answered at once. From then on that
//! address may try that account once in [`PAUSE`]; what comes sooner is refused unheard, right or wrong, because an
//! answer is what a guesser wants. The owner at another address notices nothing.
//!
//! An attempt is counted when it begins and forgiven when it succeeds, so that many connections at once get no more
//! guesses than one. Pure: it is told the time. Bounded: the entry that was idle longest goes first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use chat::AccountId;

/// Failures that are answered at once.
pub const FREE_FAILURES: u32 = 5;
/// After them: one attempt in so long.
pub const PAUSE: Duration = Duration::from_secs(30);
/// An entry without an attempt for so long is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Entries in the table: some 1 MB.
pub const ENTRIES_MAX: usize = 10_000;

const _: () = assert!(PAUSE.as_secs() < FORGET_AFTER.as_secs(), "else waiting for the end of a pause would reset it");

/// The table.
#[derive(Debug, Default)]
pub struct Attempts {
    entries: HashMap<(AccountId, Origin), Entry>,
}

/// Where attempts come from: an IPv4 address, or the /64 network that one IPv6 subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

#[derive(Debug)]
struct Entry {
    failures: u32,
    last: Instant,
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
    /// An attempt begins, and counts as failed until [`Attempts::succeeded`].
    ///
    /// # Errors
    /// It is refused unheard, and does not count.
    pub fn begin(&mut self, account: AccountId, origin: Origin, now: Instant) -> Result<(), SlowDown> {
        self.make_room(now);
        let entry = self.entries.entry((account, origin)).or_insert(Entry { failures: 0, last: now });
        let idle = now.saturating_duration_since(entry.last);
        if idle >= FORGET_AFTER {
            entry.failures = 0;
        }
        if entry.failures >= FREE_FAILURES && idle < PAUSE {
            return Err(SlowDown(PAUSE - idle));
        }
        *entry = Entry { failures: entry.failures.saturating_add(1), last: now };
        Ok(())
    }

    /// The attempt succeeded: what failed before is forgiven.
    pub fn succeeded(&mut self, account: AccountId, origin: Origin) {
        self.entries.remove(&(account, origin));
    }

    /// The attempt was not looked at after all.
    pub fn withdrawn(&mut self, account: AccountId, origin: Origin) {
        if let Some(entry) = self.entries.get_mut(&(account, origin)) {
            entry.failures = entry.failures.saturating_sub(1);
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        self.entries.retain(|_, entry| now.saturating_duration_since(entry.last) < FORGET_AFTER);
        if self.entries.len() >= ENTRIES_MAX
            && let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| *key)
        {
            self.entries.remove(&oldest);
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
            assert_eq!(attempts.begin(BOB, here, start), Ok(()));
        }
        assert_eq!(attempts.begin(BOB, here, start), Err(SlowDown(PAUSE)));
        assert_eq!(attempts.begin(BOB, here, start + PAUSE / 2), Err(SlowDown(PAUSE / 2)), "refusals extend nothing");
        assert_eq!(attempts.begin(BOB, origin("10.0.0.2"), start), Ok(()));
        assert_eq!(attempts.begin(AccountId(8), here, start), Ok(()));
        assert_eq!(attempts.begin(BOB, here, start + PAUSE), Ok(()));
        assert_eq!(attempts.begin(BOB, here, start + PAUSE), Err(SlowDown(PAUSE)));
    }

    #[test]
    fn a_success_forgives_and_so_does_time() {
        let mut attempts = Attempts::default();
        let (here, start) = (origin("10.0.0.1"), Instant::now());
        for _ in 0..3 * FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, start), Ok(()));
            attempts.succeeded(BOB, here);
        }
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, start), Ok(()));
        }
        for _ in 0..FREE_FAILURES {
            assert_eq!(attempts.begin(BOB, here, start + FORGET_AFTER), Ok(()));
        }
        assert!(attempts.begin(BOB, here, start + FORGET_AFTER).is_err());
    }

    #[test]
    fn one_subscriber_is_one_origin() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for n in 0..ENTRIES_MAX as u64 + 10 {
            let now = start + Duration::from_millis(n);
            assert_eq!(attempts.begin(AccountId(n), origin("10.0.0.1"), now), Ok(()));
            assert!(attempts.entries.len() <= ENTRIES_MAX);
        }
        assert!(!attempts.entries.contains_key(&(AccountId(0), origin("10.0.0.1"))));
        assert!(attempts.entries.contains_key(&(AccountId(20), origin("10.0.0.1"))));
    }
}
