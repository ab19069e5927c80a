//! The verdict on a drill, from the clients' view alone: what was sent, what was acknowledged, what was read.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What became of one writer's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Different messages the writer tried to send.
    pub sent: usize,
    /// Of these: answered `ok`.
    pub acked: usize,
    /// Acknowledged and never read.
    pub lost: usize,
    /// Read once more than once, counted each further time.
    pub doubled: usize,
    /// Read after a message that was sent later.
    pub reordered: usize,
    /// Read and never sent.
    pub unexpected: usize,
}

impl Verdict {
    /// Everything was acknowledged in the end, and read once, in order. A message that was sent and never
    /// acknowledged may be read or not; but a drill whose writer gave up has not shown what it set out to show.
    pub fn passes(&self) -> bool {
        let Self { sent, acked, lost, doubled, reordered, unexpected } = *self;
        sent == acked && [lost, doubled, reordered, unexpected] == [0; 4]
    }

    /// Of two verdicts on the same writer, from two readings, the worse in every respect.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        self.each(other, usize::max)
    }

    /// The verdicts on two writers as one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, |mine, its| mine + its)
    }

    fn each(self, other: Self, join: impl Fn(usize, usize) -> usize) -> Self {
        Self {
            sent: join(self.sent, other.sent),
            acked: join(self.acked, other.acked),
            lost: join(self.lost, other.lost),
            doubled: join(self.doubled, other.doubled),
            reordered: join(self.reordered, other.reordered),
            unexpected: join(self.unexpected, other.unexpected),
        }
    }
}

/// Judges one writer that sent `attempted` in this order, each under its own key, and waited for one before the
/// next. All texts of `attempted` differ.
pub fn judge(attempted: &[String], acknowledged: &[String], read: &[String]) -> Verdict {
    let place: HashMap<&str, usize> = attempted.iter().enumerate().map(|(n, text)| (text.as_str(), n)).collect();
    let mut seen = vec![0_usize; attempted.len()];
    let mut verdict = Verdict { sent: attempted.len(), acked: acknowledged.len(), ..Verdict::default() };
    let mut latest = None;
    for text in read {
        let Some(&n) = place.get(text.as_str()) else {
            verdict.unexpected += 1;
            continue;
        };
        seen[n] += 1;
        if seen[n] > 1 {
            verdict.doubled += 1;
        } else if Some(n) < latest {
            verdict.reordered += 1;
        }
        latest = latest.max(Some(n));
    }
    let was_read = |text: &&String| place.get(text.as_str()).is_some_and(|&n| seen[n] > 0);
    verdict.lost = acknowledged.iter().filter(|text| !was_read(text)).count();
    verdict
}

/// How long a client went without an acknowledgement after `from`: the longest time between two successive ones of
/// which the later came between `from` and `until`, counted from `from` at the earliest. Times ascend.
/// `None` if no acknowledgement came then: the gap never ended.
pub fn longest_gap(acknowledged: &[Instant], from: Instant, until: Instant) -> Option<Duration> {
    let pairs = acknowledged.windows(2).filter(|pair| from < pair[1] && pair[1] <= until);
    pairs.map(|pair| pair[1] - pair[0].max(from)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    fn verdict(attempted: &str, acknowledged: &str, read: &str) -> Verdict {
        judge(&texts(attempted), &texts(acknowledged), &texts(read))
    }

    #[test]
    fn all_read_once_in_order_passes() {
        let all = verdict("a b c", "a b c", "a b c");
        assert_eq!(all, Verdict { sent: 3, acked: 3, ..Verdict::default() });
        assert!(all.passes());
    }

    #[test]
    fn an_acknowledged_message_that_is_not_read_is_lost() {
        let verdict = verdict("a b c", "a b c", "a c");
        assert_eq!((verdict.lost, verdict.reordered), (1, 0));
        assert!(!verdict.passes());
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_lost_too() {
        assert_eq!(verdict("a", "a x", "a x").lost, 1);
    }

    #[test]
    fn an_unacknowledged_message_may_be_read_or_not_but_the_drill_does_not_pass() {
        for read in ["a", "a b"] {
            let verdict = verdict("a b", "a", read);
            assert_eq!((verdict.lost, verdict.unexpected), (0, 0));
            assert!(!verdict.passes());
        }
    }

    #[test]
    fn each_further_reading_is_a_double() {
        let verdict = verdict("a b", "a b", "a b a a");
        assert_eq!((verdict.doubled, verdict.reordered), (2, 0));
        assert!(!verdict.passes());
    }

    #[test]
    fn a_message_after_a_later_one_is_reordered() {
        let verdict = verdict("a b c d", "a b c d", "b c a d");
        assert_eq!((verdict.reordered, verdict.lost, verdict.doubled), (1, 0, 0));
        assert!(!verdict.passes());
    }

    #[test]
    fn what_nobody_sent_is_unexpected() {
        let verdict = verdict("a", "a", "ghost a");
        assert_eq!(verdict.unexpected, 1);
        assert!(!verdict.passes());
    }

    #[test]
    fn the_worse_of_two_readings_shows_what_either_lacks_and_two_writers_add_up() {
        let (short, long) = (verdict("a b", "a b", "a"), verdict("a b", "a b", "a b b"));
        let both = short.worse(long);
        assert_eq!((both.sent, both.lost, both.doubled), (2, 1, 1));
        let sum = short.plus(long);
        assert_eq!((sum.sent, sum.acked, sum.lost, sum.doubled), (4, 4, 1, 1));
    }

    #[test]
    fn the_gap_is_the_longest_that_ends_in_the_window() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let acks: Vec<Instant> = [0, 50, 52, 90, 91, 400].map(at).into();
        assert_eq!(longest_gap(&acks, at(51), at(100)), Some(Duration::from_millis(38)));
        assert_eq!(longest_gap(&acks, at(60), at(500)), Some(Duration::from_millis(309)));
        assert_eq!(longest_gap(&acks, at(100), at(500)), Some(Duration::from_millis(300)));
        assert_eq!(longest_gap(&acks, at(400), at(500)), None);
    }
}
