//! What a benchmark counts: answers, how long they took, and the longest time without one. Pure, told what time it is.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer latencies are counted as this one.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Latencies are kept to this many decimal places: 0.1 %.
const DIGITS: u8 = 3;

/// See the module's header.
pub(super) struct Tally {
    /// What is answered before is warm-up, and not counted.
    pub begins: Instant,
    /// What is answered after it is not counted either.
    pub ends: Instant,
    all: Histogram<u64>,
    /// Since the last look.
    recent: Histogram<u64>,
    pub refused: u64,
    pub retried: u64,
    pub pushed: u64,
    pub reconnects: u64,
    /// The first refusal, in the server's words.
    pub refusal: Option<String>,
    last_ok: Option<Instant>,
    gap: Duration,
}

impl Tally {
    pub(super) fn new(begins: Instant, ends: Instant) -> Self {
        let empty = Histogram::new_with_max(LATENCY_US_MAX, DIGITS).expect("the bounds are constants");
        Self {
            begins,
            ends,
            all: empty.clone(),
            recent: empty,
            refused: 0,
            retried: 0,
            pushed: 0,
            reconnects: 0,
            refusal: None,
            last_ok: None,
            gap: Duration::ZERO,
        }
    }

    fn counts(&self, now: Instant) -> bool {
        self.begins <= now && now <= self.ends
    }

    /// A message was acknowledged.
    pub(super) fn acknowledged(&mut self, asked: Instant, now: Instant) {
        if !self.counts(now) {
            return;
        }
        let micros = u64::try_from(now.duration_since(asked).as_micros()).unwrap_or(LATENCY_US_MAX);
        self.all.saturating_record(micros);
        self.recent.saturating_record(micros);
        self.gap = self.gap.max(now.duration_since(self.last_ok.unwrap_or(self.begins)));
        self.last_ok = Some(now);
    }

    /// A message reached its recipient.
    pub(super) fn push(&mut self, now: Instant) {
        self.pushed += u64::from(self.counts(now));
    }

    /// `retry|…`
    pub(super) fn retry(&mut self, line: &str) {
        self.retried += 1;
        self.refusal.get_or_insert_with(|| line.to_owned());
    }

    /// `err|…`
    pub(super) fn refuse(&mut self, line: &str) {
        self.refused += 1;
        self.refusal.get_or_insert_with(|| line.to_owned());
    }

    /// The rate, the median and the 99th percentile in µs, of what was acknowledged since the last call `over` ago.
    pub(super) fn look(&mut self, over: Duration) -> (f64, u64, u64) {
        let (count, median, tail) =
            (self.recent.len(), self.recent.value_at_quantile(0.5), self.recent.value_at_quantile(0.99));
        self.recent.reset();
        (count as f64 / over.as_secs_f64(), median, tail)
    }

    /// How many were acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.all.len()
    }

    /// The latency in µs that so large a share was not slower than.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        self.all.value_at_quantile(share)
    }

    /// The longest time without an acknowledgement, up to `now` or the end.
    pub(super) fn longest_gap(&self, now: Instant) -> Duration {
        let until = now.min(self.ends);
        self.gap.max(until.saturating_duration_since(self.last_ok.unwrap_or(self.begins)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tally() -> (Tally, Instant) {
        let start = Instant::now();
        (Tally::new(start + 100 * MS, start + 1_100 * MS), start)
    }

    #[test]
    fn warm_up_and_aftermath_are_not_counted() {
        let (mut tally, start) = tally();
        tally.acknowledged(start, start + 50 * MS);
        tally.acknowledged(start, start + 1_101 * MS);
        tally.push(start + 50 * MS);
        assert_eq!((tally.acked(), tally.pushed), (0, 0));
        tally.acknowledged(start + 100 * MS, start + 102 * MS);
        tally.push(start + 102 * MS);
        assert_eq!((tally.acked(), tally.pushed), (1, 1));
    }

    #[test]
    fn quantiles_are_those_of_the_latencies() {
        let (mut tally, start) = tally();
        for n in 1..=100 {
            let now = start + 500 * MS;
            tally.acknowledged(now - n * MS, now);
        }
        let near = |us: u64, ms: u64| us.abs_diff(ms * 1_000) <= ms * 1_000 / 500;
        assert!(near(tally.quantile(0.5), 50) && near(tally.quantile(0.99), 99) && near(tally.quantile(1.0), 100));
        let (rate, median, _) = tally.look(Duration::from_secs(2));
        assert!(rate == 50.0 && near(median, 50));
        assert_eq!(tally.look(Duration::from_secs(1)).0, 0.0, "looked at once");
    }

    #[test]
    fn the_longest_gap_may_be_the_first_or_the_last() {
        let (mut tally, start) = tally();
        assert_eq!(tally.longest_gap(start + 400 * MS), 300 * MS, "nothing yet");
        tally.acknowledged(start + 100 * MS, start + 300 * MS);
        tally.acknowledged(start + 100 * MS, start + 350 * MS);
        assert_eq!(tally.longest_gap(start + 360 * MS), 200 * MS);
        assert_eq!(tally.longest_gap(start + 900 * MS), 550 * MS);
        assert_eq!(tally.longest_gap(start + 9_000 * MS), 750 * MS, "it ends with the measurement");
    }
}
