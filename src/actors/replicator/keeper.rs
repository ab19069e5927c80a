//! How much of the log is kept, and when the rest may go: pure, told what time it is.
//!
//! An entry goes when it is older than every limit that is set. The log is cut at a checkpoint of the state, so that the
//! digest there stays known; and only once the state is on stable storage well beyond it. Nobody else is asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::consensus::{Index, Mark};

/// What no crash of the machine takes from the state is claimed with this to spare.
pub const CUT_MARGIN: u64 = 256;
/// Checkpoints remembered; beyond it, every second one is forgotten.
const MARKS_MAX: usize = 1024;

/// What is kept at least. Nothing set: everything, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The last so many entries.
    pub entries: Option<u64>,
    /// What was applied here within this time.
    pub time: Option<Duration>,
    /// The durable state is beyond a cut by so many entries at least: usually [`CUT_MARGIN`].
    pub margin: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bring the state to stable storage.
    Sync,
    /// Cut the log here.
    Cut(Mark),
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct Keeper {
    keep: Keep,
    /// Checkpoints, and when they were applied, ascending.
    marks: VecDeque<(Mark, Instant)>,
    spacing: u64,
    durable: Index,
    syncing: bool,
}

impl Keeper {
    /// A keeper that has seen nothing.
    pub fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// The state has applied the log up to this checkpoint.
    pub fn checkpoint(&mut self, mark: Mark, now: Instant) {
        let near = self.marks.back().is_some_and(|(last, _)| mark.index.0 < last.index.0 + self.spacing.max(1));
        if (self.keep.entries, self.keep.time) == (None, None) || near {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let first = self.marks.front().map_or(0, |(mark, _)| mark.index.0);
            self.spacing = 2 * (mark.index.0 - first) / MARKS_MAX as u64;
            let mut kept = true;
            self.marks.retain(|_| {
                kept = !kept;
                kept
            });
        }
        self.marks.push_back((mark, now));
    }

    /// The state is on stable storage up to here.
    pub fn synced(&mut self, index: Index) {
        self.durable = self.durable.max(index);
        self.syncing = false;
    }

    /// What to do about a log that ends at `last`, of which `applied` is applied.
    pub fn next(&mut self, last: Index, applied: Index, now: Instant) -> Option<Step> {
        let Keep { entries, time, margin } = self.keep;
        let old = |(mark, at): &(Mark, Instant)| {
            entries.is_none_or(|entries| mark.index.0 + entries <= last.0)
                && time.is_none_or(|time| now.duration_since(*at) >= time)
        };
        let count = self.marks.partition_point(old);
        let (mark, _) = *self.marks.get(count.checked_sub(1)?)?;
        let beyond = mark.index.0 + margin;
        if beyond <= self.durable.0 {
            self.marks.drain(..count);
            return Some(Step::Cut(mark));
        }
        let sync = !self.syncing && beyond <= applied.0;
        self.syncing |= sync;
        sync.then_some(Step::Sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(index: u64) -> Mark {
        Mark { index: Index(index), digest: 7 * index }
    }

    fn keeper(keep: Keep, now: Instant) -> Keeper {
        let mut keeper = Keeper::new(keep);
        (1..=100).for_each(|n| keeper.checkpoint(mark(64 * n), now));
        keeper
    }

    #[test]
    fn for_ever_is_for_ever() {
        let now = Instant::now();
        let mut keeper = keeper(Keep::default(), now);
        keeper.synced(Index(6_400));
        assert_eq!(keeper.next(Index(u64::MAX), Index(6_400), now), None);
    }

    #[test]
    fn nothing_goes_before_the_state_is_durable_beyond_it() {
        let now = Instant::now();
        let mut keeper = keeper(Keep { entries: Some(1_000), time: None, margin: CUT_MARGIN }, now);
        let (last, applied) = (Index(6_400), Index(6_400));
        assert_eq!(keeper.next(last, Index(5_376 + CUT_MARGIN - 1), now), None, "not applied far enough");
        assert_eq!(keeper.next(last, applied, now), Some(Step::Sync));
        assert_eq!(keeper.next(last, applied, now), None, "asked once");
        keeper.synced(Index(5_376 + CUT_MARGIN - 1));
        assert_eq!(keeper.next(last, applied, now), Some(Step::Sync));
        keeper.synced(Index(5_376 + CUT_MARGIN));
        assert_eq!(keeper.next(last, applied, now), Some(Step::Cut(mark(5_376))));
        assert_eq!(keeper.next(last, applied, now), None, "the next is too young");
    }

    #[test]
    fn what_any_limit_keeps_is_kept() {
        let (start, day) = (Instant::now(), Duration::from_secs(86_400));
        let keep = Keep { entries: Some(6_000), time: Some(day), margin: CUT_MARGIN };
        let mut keeper = keeper(keep, start);
        keeper.synced(Index(6_400));
        let (last, applied) = (Index(6_400), Index(6_400));
        assert_eq!(keeper.next(last, applied, start), None);
        assert_eq!(keeper.next(last, applied, start + day), Some(Step::Cut(mark(384))));
    }

    #[test]
    fn memory_has_a_bound() {
        let now = Instant::now();
        let mut keeper = Keeper::new(Keep { entries: Some(1 << 40), time: None, margin: CUT_MARGIN });
        (1..=100_000).for_each(|n| keeper.checkpoint(mark(64 * n), now));
        assert!(keeper.marks.len() <= MARKS_MAX, "{}", keeper.marks.len());
        assert!(keeper.marks.iter().is_sorted_by_key(|(mark, _)| mark.index));
        assert!(keeper.marks.back().is_some_and(|(mark, _)| mark.index.0 > 6_000_000));
    }
}
