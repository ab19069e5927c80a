//! How fast a connection may ask: one bucket of tokens, and what becomes of requests that find it empty. Pure: told the
//! time.
//!
//! The bucket holds a second's worth. A request that finds it empty waits for its token, which the peer notices only as
//! slowness; one that would have to wait for longer than [`DELAY_MAX`] since its arrival is answered `SLOW_DOWN` and not
//! done; and a connection that is refused [`REFUSALS_MAX_SECONDS`] times the rate, without a pause in which the bucket
//! fills, is closed. So a burst costs its sender time, a program that is too fast learns it from a reply, and only what
//! listens to neither is cut.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A request waits for its token at most so long after its arrival.
pub const DELAY_MAX: Duration = Duration::from_secs(1);
/// The bucket holds what this time brings.
pub const BURST: Duration = Duration::from_secs(1);
/// Refusals in a row that end the connection: what the rate allows in so many seconds,
pub const REFUSALS_MAX_SECONDS: u32 = 10;
/// but not fewer than this.
pub const REFUSALS_MIN: u32 = 100;

/// What becomes of the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be begun: tell [`Pace::begun`].
    Begin,
    /// Not before this.
    Wait(Instant),
    /// It is refused. It cost no token.
    SlowDown,
    /// The connection ends.
    Flood,
}

/// One connection's bucket.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: NonZeroU32,
    /// When the bucket will be full again: a burst of requests moves it up to [`BURST`] into the future.
    full_at: Instant,
    refusals: u32,
}

impl Pace {
    /// A full bucket for `rate` requests a second.
    pub fn new(rate: NonZeroU32, now: Instant) -> Self {
        Self { rate, full_at: now, refusals: 0 }
    }

    /// What becomes of the next request, which arrived then.
    pub fn verdict(&mut self, now: Instant, arrived: Instant) -> Verdict {
        let begins = (self.full_at.max(now) + self.token()).checked_sub(BURST.max(self.token())).unwrap_or(now);
        if begins <= now {
            return Verdict::Begin;
        }
        if begins.saturating_duration_since(arrived) <= DELAY_MAX {
            return Verdict::Wait(begins);
        }
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > self.rate.get().saturating_mul(REFUSALS_MAX_SECONDS).max(REFUSALS_MIN) {
            Verdict::Flood
        } else {
            Verdict::SlowDown
        }
    }

    /// A request was begun: it takes its token.
    pub fn begun(&mut self, now: Instant) {
        if self.full_at <= now {
            self.refusals = 0;
        }
        self.full_at = self.full_at.max(now) + self.token();
    }

    /// How many requests a second are allowed.
    pub fn rate(&self) -> u32 {
        self.rate.get()
    }

    /// The time that brings one token. At least a nanosecond, which four billion a second would round down to none.
    fn token(&self) -> Duration {
        (Duration::from_secs(1) / self.rate.get()).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(rate: u32, now: Instant) -> Pace {
        Pace::new(NonZeroU32::new(rate).expect("not zero"), now)
    }

    /// Takes what is allowed at once.
    fn burst(pace: &mut Pace, now: Instant) -> u32 {
        let mut count = 0;
        while pace.verdict(now, now) == Verdict::Begin {
            pace.begun(now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_second_s_worth_at_once_then_one_a_token() {
        let start = Instant::now();
        let mut pace = pace(10, start);
        assert_eq!(burst(&mut pace, start), 10);
        assert_eq!(pace.verdict(start, start), Verdict::Wait(start + 100 * MS));
        assert_eq!(burst(&mut pace, start + 100 * MS), 1);
        assert_eq!(burst(&mut pace, start + 5_000 * MS), 10, "no more is saved up than a second's worth");
    }

    #[test]
    fn whoever_keeps_to_the_rate_never_notices() {
        let start = Instant::now();
        let mut pace = pace(10, start);
        for n in 0..1_000 {
            let now = start + n * 100 * MS;
            assert_eq!(pace.verdict(now, now), Verdict::Begin, "request {n}");
            pace.begun(now);
        }
    }

    #[test]
    fn delayed_then_refused_then_cut() {
        let start = Instant::now();
        let mut pace = pace(10, start);
        assert_eq!(burst(&mut pace, start), 10);
        let mut now = start;
        let mut delayed = 0;
        while let Verdict::Wait(at) = pace.verdict(now, start) {
            now = at;
            assert_eq!(pace.verdict(now, start), Verdict::Begin);
            pace.begun(now);
            delayed += 1;
        }
        assert_eq!((delayed, now), (10, start + DELAY_MAX), "for a second");
        // The first was refused by the loop.
        for n in 1..REFUSALS_MIN {
            assert_eq!(pace.verdict(now, start), Verdict::SlowDown, "refusal {n}");
        }
        assert_eq!(pace.verdict(now, start), Verdict::Flood);
    }

    #[test]
    fn a_pause_in_which_the_bucket_fills_forgives() {
        let start = Instant::now();
        let mut pace = pace(10, start);
        let mut now = start;
        for _ in 0..50 {
            burst(&mut pace, now);
            for _ in 0..REFUSALS_MIN {
                assert_eq!(pace.verdict(now, now.checked_sub(DELAY_MAX).unwrap_or(start)), Verdict::SlowDown);
            }
            now += 3 * BURST;
        }
    }

    #[test]
    fn the_extremes_work() {
        let start = Instant::now();
        let mut slowest = pace(1, start);
        assert_eq!(burst(&mut slowest, start), 1);
        assert_eq!(slowest.verdict(start, start), Verdict::Wait(start + 1_000 * MS));
        let mut fastest = pace(u32::MAX, start);
        for n in 0..10_000 {
            assert_eq!(fastest.verdict(start, start), Verdict::Begin, "request {n}");
            fastest.begun(start);
        }
    }
}
