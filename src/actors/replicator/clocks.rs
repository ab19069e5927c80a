//! What time it is, for the stamp on an entry: by this replica's clock, unless most others show that it is wrong. Pure.
//!
//! Times never fall along the log, so a clock that is ahead does lasting harm:
//!   1. the leader's clock is a day ahead for a moment; one message is stamped with tomorrow;
//!   2. the clock is set right, or another replica leads;
//!   3. every message until tomorrow carries the time of that one.
//!
//! So each replica tells all others, when a link comes up and every second, what its clock shows; and whoever stamps takes
//! the median of all that it knows, its own included, if its own is far from it. A clock is remembered by how far it is from
//! this process's *monotonic* one: when the own wall clock jumps, it is the one that jumped.
//!
//! Left out: two clocks that differ, with no third to say which is right. The own one is taken then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::consensus::ReplicaId;

/// How often each replica tells the others what its clock shows.
pub const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// A clock this far from the median is not followed. Less is what a busy link adds to the news of a clock.
const OFF_MS_MAX: u64 = 2_000;

/// See the module's header.
#[derive(Debug)]
pub struct Clocks {
    start: Instant,
    /// How far each peer's clock is ahead of this process's monotonic one, in milliseconds.
    peers: BTreeMap<ReplicaId, i64>,
    /// The same, in ascending order.
    sorted: Vec<i64>,
    told: Option<Instant>,
    is_off: bool,
}

impl Clocks {
    /// Nothing is known of anybody's clock.
    pub fn new(now: Instant) -> Self {
        Self { start: now, peers: BTreeMap::new(), sorted: Vec::new(), told: None, is_off: false }
    }

    /// A peer's clock showed `theirs` when it said so, `now` at the latest.
    pub fn heard(&mut self, id: ReplicaId, theirs: u64, now: Instant) {
        self.peers.insert(id, self.ahead(theirs, now));
        self.sort();
    }

    /// The link to a peer is gone.
    pub fn lost(&mut self, id: ReplicaId) {
        self.peers.remove(&id);
        self.sort();
    }

    /// Whether the others should be told again what this clock shows.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|told| now.duration_since(told) >= TELL_INTERVAL);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// The time to stamp with, when this replica's clock shows `own`.
    pub fn agreed(&self, own: u64, now: Instant) -> u64 {
        let off = self.off(own, now);
        if off.unsigned_abs() <= OFF_MS_MAX { own } else { own.saturating_add_signed(off.saturating_neg()) }
    }

    /// By how many milliseconds this replica's clock is off, if that is news: 0 if it is right again.
    pub fn news(&mut self, own: u64, now: Instant) -> Option<i64> {
        let off = self.off(own, now);
        let is_off = off.unsigned_abs() > OFF_MS_MAX;
        let was_off = std::mem::replace(&mut self.is_off, is_off);
        (is_off != was_off).then_some(if is_off { off } else { 0 })
    }

    /// How far the own clock is ahead of the median of all. Of two in the middle the earlier: too early does no lasting
    /// harm.
    fn off(&self, own: u64, now: Instant) -> i64 {
        if self.sorted.len() < 2 {
            return 0;
        }
        let own = self.ahead(own, now);
        let place = self.sorted.partition_point(|peer| *peer < own);
        let middle = self.sorted.len() / 2;
        let median = match middle.cmp(&place) {
            std::cmp::Ordering::Less => self.sorted[middle],
            std::cmp::Ordering::Equal => own,
            std::cmp::Ordering::Greater => self.sorted[middle - 1],
        };
        own.saturating_sub(median)
    }

    fn ahead(&self, clock: u64, now: Instant) -> i64 {
        let since = i64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(i64::MAX);
        i64::try_from(clock).unwrap_or(i64::MAX).saturating_sub(since)
    }

    fn sort(&mut self) {
        self.sorted = self.peers.values().copied().collect();
        self.sorted.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const DAY: u64 = 86_400_000;

    fn clocks(start: Instant, peers: &[u64]) -> Clocks {
        let mut clocks = Clocks::new(start);
        for (id, clock) in (2..).zip(peers) {
            clocks.heard(ReplicaId(id), *clock, start);
        }
        clocks
    }

    #[test]
    fn a_clock_near_the_others_is_followed_as_it_is() {
        let start = Instant::now();
        let clocks = clocks(start, &[NOON + 1_500, NOON - 800]);
        assert_eq!(clocks.agreed(NOON + 3_000, start), NOON + 3_000);
        assert_eq!(clocks.agreed(NOON, start), NOON);
    }

    #[test]
    fn a_clock_far_off_is_not_followed_in_either_direction() {
        let start = Instant::now();
        let clocks = clocks(start, &[NOON, NOON + 10]);
        assert_eq!(clocks.agreed(NOON + DAY, start), NOON + 10);
        assert_eq!(clocks.agreed(NOON - DAY, start), NOON);
        let later = start + Duration::from_secs(5);
        assert_eq!(clocks.agreed(NOON + DAY, later), NOON + 5_010, "the others' clocks go on meanwhile");
    }

    #[test]
    fn one_of_the_others_that_is_off_does_not_matter_and_two_of_four_do_not() {
        let start = Instant::now();
        assert_eq!(clocks(start, &[NOON + DAY, NOON]).agreed(NOON + 7, start), NOON + 7);
        let five = clocks(start, &[NOON + DAY, NOON + DAY, NOON, NOON + 1]);
        assert_eq!(five.agreed(NOON, start), NOON);
        assert_eq!(five.agreed(NOON + DAY, start), NOON + DAY, "three of five say so");
    }

    #[test]
    fn when_the_own_clock_jumps_the_others_have_not() {
        let start = Instant::now();
        let mut clocks = clocks(start, &[NOON, NOON]);
        let later = start + Duration::from_millis(900);
        assert_eq!(clocks.news(NOON + 900, later), None);
        assert_eq!(clocks.agreed(NOON + DAY, later), NOON + 900);
        assert_eq!(clocks.news(NOON + DAY, later), Some(DAY as i64 - 900));
        assert_eq!(clocks.news(NOON + DAY, later), None, "told once");
        assert_eq!(clocks.news(NOON + 900, later), Some(0));
    }

    #[test]
    fn two_clocks_cannot_outvote_each_other() {
        let start = Instant::now();
        let mut clocks = clocks(start, &[NOON, NOON]);
        clocks.lost(ReplicaId(3));
        assert_eq!(clocks.agreed(NOON + DAY, start), NOON + DAY);
    }

    #[test]
    fn clocks_that_no_clock_shows_do_not_overflow() {
        let start = Instant::now();
        let clocks = clocks(start, &[u64::MAX, 0]);
        for own in [0, NOON, u64::MAX] {
            clocks.agreed(own, start + Duration::from_secs(1));
        }
    }
}
