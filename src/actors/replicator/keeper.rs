//! How much of the log is kept, and when the rest may go: pure, told what time it is.
//!
//! An entry goes when it is older than every limit that is set. The log is cut at a checkpoint of the state, so that the
//! digest there stays known; and only once the state is on stable storage well beyond it.
//!
//! With an archive, what is to go is written there first, many entries at a time, and goes once it is there.
//!
//! Who is away is not asked: one that is dead must not fill the others' disks. But whoever makes headway is waited for a
//! while, in time and in entries. Otherwise, with few entries kept and many coming,
//!   1. a follower is sent a copy of the state after 90, and begins its log there;
//!   2. while it did so, the log was cut at 200: it is sent another copy, after 250;
//!   3. by then the log is cut at 300; and so for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::consensus::{Index, Mark};

/// What no crash of the machine takes from the state is claimed with this to spare.
pub const CUT_MARGIN: u64 = 256;
/// Somebody who makes headway is waited for until the log has so many times what it keeps.
const HELD_TIMES: u64 = 4;
/// A copy that is out holds the log for so long after a piece of it was asked for the last time: its receiver starts anew,
/// and links again.
const LENT_AFTER: Duration = Duration::from_secs(30);
/// The same copy holds it no longer than this in all.
const LENT_MAX: Duration = Duration::from_secs(600);
/// Checkpoints remembered; beyond it, every second one is forgotten.
const MARKS_MAX: usize = 1024;

/// What is kept at least. Nothing set: everything, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The last so many entries.
    pub entries: Option<u64>,
    /// What was applied here within this time.
    pub time: Option<Duration>,
    /// Where what goes is archived first: so many entries at a time, at least. 0: nowhere.
    pub archived: u64,
    /// The durable state is beyond a cut by so many entries at least: usually [`CUT_MARGIN`].
    pub margin: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bring the state to stable storage.
    Sync,
    /// Archive the log up to here, and say when it is done.
    Archive(Mark),
    /// Cut the log here.
    Cut(Mark),
}

/// The log, as it is when the keeper is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    /// It begins behind this.
    pub base: Index,
    /// It ends here.
    pub last: Index,
    /// So much of it is applied.
    pub applied: Index,
    /// What the slowest follower holds that is linked and sent entries.
    pub followed: Option<Index>,
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
    /// The copy of the state that is out: after which entry, since when, and when it was last asked for.
    lent: Option<(Index, Instant, Instant)>,
    archiving: Archiving,
}

/// What is on its way to the archive.
#[derive(Clone, Copy, Debug, Default)]
enum Archiving {
    #[default]
    Nothing,
    Under(Mark),
    Done(Mark),
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

    /// All up to there is archived, on stable storage.
    pub fn archived(&mut self, mark: Mark) {
        if matches!(self.archiving, Archiving::Under(asked) if asked == mark) {
            self.archiving = Archiving::Done(mark);
        }
    }

    /// A copy of the state after this entry is offered.
    pub fn lend(&mut self, index: Index, now: Instant) {
        let since = self.lent.filter(|(lent, ..)| *lent == index).map_or(now, |(_, since, _)| since);
        self.lent = Some((index, since, now));
    }

    /// A piece of it was asked for.
    pub fn asked(&mut self, now: Instant) {
        if let Some((.., last)) = &mut self.lent {
            *last = now;
        }
    }

    /// No cut behind this entry, for the sake of others: of the copy that is out, and of the slowest of the followers that
    /// are sent entries.
    fn held(&mut self, last: Index, followed: Option<Index>, now: Instant) -> Index {
        let ends = |(_, since, asked): &mut (_, Instant, Instant)| {
            now.duration_since(*asked) >= LENT_AFTER || now.duration_since(*since) >= LENT_MAX
        };
        self.lent.take_if(ends);
        let needed = self.lent.map(|(index, ..)| index).into_iter().chain(followed).min();
        let most = self.keep.entries.map_or(0, |entries| last.0.saturating_sub(entries.saturating_mul(HELD_TIMES)));
        needed.map_or(last, |needed| needed.max(Index(most)))
    }

    /// What to do about the log as it is now.
    pub fn next(&mut self, log: Log, now: Instant) -> Option<Step> {
        match self.archiving {
            Archiving::Nothing => {}
            Archiving::Under(_) => return None,
            Archiving::Done(mark) => {
                self.archiving = Archiving::Nothing;
                return Some(Step::Cut(mark));
            }
        }
        let Log { base, last, applied, followed } = log;
        let held = self.held(last, followed, now);
        let Keep { entries, time, margin, archived } = self.keep;
        let old = |(mark, at): &(Mark, Instant)| {
            entries.is_none_or(|entries| mark.index.0 + entries <= last.0)
                && time.is_none_or(|time| now.duration_since(*at) >= time)
                && mark.index <= held
        };
        let count = self.marks.partition_point(old);
        let (mark, _) = *self.marks.get(count.checked_sub(1)?)?;
        if mark.index.0 < base.0 + archived {
            return None;
        }
        let beyond = mark.index.0 + margin;
        if beyond <= self.durable.0 {
            self.marks.drain(..count);
            if archived == 0 {
                return Some(Step::Cut(mark));
            }
            self.archiving = Archiving::Under(mark);
            return Some(Step::Archive(mark));
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

    fn log() -> Log {
        Log { base: Index(0), last: Index(6_400), applied: Index(6_400), followed: None }
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
        assert_eq!(keeper.next(Log { last: Index(u64::MAX), ..log() }, now), None);
    }

    #[test]
    fn nothing_goes_before_the_state_is_durable_beyond_it() {
        let now = Instant::now();
        let mut keeper = keeper(Keep { entries: Some(1_000), time: None, margin: CUT_MARGIN, archived: 0 }, now);
        assert_eq!(
            keeper.next(Log { applied: Index(5_376 + CUT_MARGIN - 1), ..log() }, now),
            None,
            "not applied far enough"
        );
        assert_eq!(keeper.next(log(), now), Some(Step::Sync));
        assert_eq!(keeper.next(log(), now), None, "asked once");
        keeper.synced(Index(5_376 + CUT_MARGIN - 1));
        assert_eq!(keeper.next(log(), now), Some(Step::Sync));
        keeper.synced(Index(5_376 + CUT_MARGIN));
        assert_eq!(keeper.next(log(), now), Some(Step::Cut(mark(5_376))));
        assert_eq!(keeper.next(log(), now), None, "the next is too young");
    }

    #[test]
    fn what_any_limit_keeps_is_kept() {
        let (start, day) = (Instant::now(), Duration::from_secs(86_400));
        let keep = Keep { entries: Some(6_000), time: Some(day), margin: CUT_MARGIN, archived: 0 };
        let mut keeper = keeper(keep, start);
        keeper.synced(Index(6_400));
        assert_eq!(keeper.next(log(), start), None);
        assert_eq!(keeper.next(log(), start + day), Some(Step::Cut(mark(384))));
    }

    #[test]
    fn who_makes_headway_is_waited_for_but_not_for_ever() {
        let (start, ms) = (Instant::now(), Duration::from_millis(1));
        let keep = Keep { entries: Some(1_000), time: None, margin: CUT_MARGIN, archived: 0 };
        let fresh = || {
            let mut keeper = keeper(keep, start);
            keeper.synced(Index(6_400));
            keeper
        };
        // A copy holds the log as long as it is asked for, and a while longer.
        let mut keeper = fresh();
        keeper.lend(Index(5_000), start);
        keeper.asked(start + LENT_AFTER);
        assert_eq!(keeper.next(log(), start + 2 * LENT_AFTER - ms), Some(Step::Cut(mark(4_992))));
        assert_eq!(keeper.next(log(), start + 2 * LENT_AFTER - ms), None, "held");
        assert_eq!(keeper.next(log(), start + 2 * LENT_AFTER), Some(Step::Cut(mark(5_376))), "unused");
        // Not for ever, however slowly it is fetched, or often it is offered.
        let mut keeper = fresh();
        for at in 0..LENT_MAX.as_secs() {
            keeper.lend(Index(5_000), start + Duration::from_secs(at));
        }
        assert_eq!(keeper.next(log(), start + LENT_MAX - ms), Some(Step::Cut(mark(4_992))));
        assert_eq!(keeper.next(log(), start + LENT_MAX), Some(Step::Cut(mark(5_376))));
        // A follower that is sent entries likewise; beyond four times what is kept nobody is waited for.
        assert_eq!(fresh().next(Log { followed: Some(Index(3_000)), ..log() }, start), Some(Step::Cut(mark(2_944))));
        assert_eq!(fresh().next(Log { followed: Some(Index(7)), ..log() }, start), Some(Step::Cut(mark(2_368))));
    }

    #[test]
    fn nothing_goes_that_is_not_archived_yet() {
        let now = Instant::now();
        let mut keeper = keeper(Keep { entries: Some(1_000), time: None, margin: CUT_MARGIN, archived: 500 }, now);
        keeper.synced(Index(6_400));
        let near = Log { base: Index(4_900), ..log() };
        assert_eq!(keeper.next(near, now), None, "not for so few");
        assert_eq!(keeper.next(log(), now), Some(Step::Archive(mark(5_376))));
        assert_eq!(keeper.next(log(), now), None, "it is under way");
        keeper.archived(mark(5_312));
        assert_eq!(keeper.next(log(), now), None, "that was another");
        keeper.archived(mark(5_376));
        assert_eq!(keeper.next(log(), now), Some(Step::Cut(mark(5_376))));
        assert_eq!(keeper.next(log(), now), None);
    }

    #[test]
    fn memory_has_a_bound() {
        let now = Instant::now();
        let mut keeper = Keeper::new(Keep { entries: Some(1 << 40), time: None, margin: CUT_MARGIN, archived: 0 });
        (1..=100_000).for_each(|n| keeper.checkpoint(mark(64 * n), now));
        assert!(keeper.marks.len() <= MARKS_MAX, "{}", keeper.marks.len());
        assert!(keeper.marks.iter().is_sorted_by_key(|(mark, _)| mark.index));
        assert!(keeper.marks.back().is_some_and(|(mark, _)| mark.index.0 > 6_000_000));
    }
}
