//! What was shown and is not yet marked as delivered: first until the recipient's kernel has acknowledged its bytes,
//! then until the marks are on their way.
//!
//! A message waits as (offset in the output after its line, account, ids). Its ids are a range that begins after the
//! message shown before it: everything of the account in between was shown too, or was delivered already, or is not of
//! this mailbox, so ranges of neighbours join into one. Pure, and bounded by [`UNACKNOWLEDGED_MAX`], to which the
//! session holds itself by [`Marks::has_room`].

use std::collections::VecDeque;

use chat::{AccountId, IdRange};

/// Messages that may be under way to a peer's kernel; beyond them nothing is pushed until it acknowledges. 40 KB.
pub const UNACKNOWLEDGED_MAX: usize = 1024;

/// A queue of this capacity is kept when it runs empty.
const KEPT_CAPACITY: usize = 8;

/// The marks of one connection, in the order of its output.
#[derive(Debug, Default)]
pub struct Marks {
    waiting: VecDeque<Waiting>,
    ready: Vec<(AccountId, IdRange)>,
}

#[derive(Debug)]
struct Waiting {
    end: u64,
    account: AccountId,
    ids: IdRange,
}

impl Marks {
    /// A line was put into the output, which now ends at `end`.
    pub fn shown(&mut self, end: u64, account: AccountId, ids: IdRange) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.end < end), "the output only grows");
        self.waiting.push_back(Waiting { end, account, ids });
    }

    /// Whether one more may be shown.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < UNACKNOWLEDGED_MAX
    }

    /// How many more may be shown.
    pub fn room(&self) -> usize {
        UNACKNOWLEDGED_MAX.saturating_sub(self.waiting.len())
    }

    /// Whether something waits for the peer's kernel.
    pub fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether marks are ready to be submitted.
    pub fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The peer's kernel has acknowledged the output up to `offset`.
    pub fn acknowledged(&mut self, offset: u64) {
        while let Some(first) = self.waiting.pop_front_if(|first| first.end <= offset) {
            self.add_ready(first.account, first.ids);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = VecDeque::new();
        }
    }

    /// These were submitted and refused for now: they are ready again.
    pub fn give_back(&mut self, account: AccountId, ranges: Vec<IdRange>) {
        for ids in ranges {
            self.add_ready(account, ids);
        }
    }

    /// What is ready, of one account; `None` when nothing is.
    pub fn take_ready(&mut self) -> Option<(AccountId, Vec<IdRange>)> {
        let (account, _) = *self.ready.first()?;
        let ranges = self.ready.extract_if(.., |(of, _)| *of == account).map(|(_, ids)| ids).collect();
        if self.ready.is_empty() {
            self.ready = Vec::new();
        }
        Some((account, ranges))
    }

    /// From now on only the client's own `ack` marks: what is not yet submitted is let go.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn add_ready(&mut self, account: AccountId, ids: IdRange) {
        for (of, range) in &mut self.ready {
            if *of == account && range.to.0.checked_add(1) == Some(ids.from.0) {
                range.to = ids.to;
                return;
            }
        }
        self.ready.push((account, ids));
    }
}

#[cfg(test)]
mod tests {
    use chat::MessageId;

    use super::*;

    const BOB: AccountId = AccountId(1);
    const EVE: AccountId = AccountId(2);

    fn ids(from: u64, to: u64) -> IdRange {
        IdRange { from: MessageId(from), to: MessageId(to) }
    }

    #[test]
    fn only_what_is_acknowledged_is_ready_and_neighbours_join() {
        let mut marks = Marks::default();
        marks.shown(100, BOB, ids(11, 15));
        marks.shown(200, BOB, ids(16, 20));
        marks.shown(300, BOB, ids(21, 29));
        marks.acknowledged(99);
        assert_eq!(marks.take_ready(), None);
        marks.acknowledged(299);
        assert_eq!(marks.take_ready(), Some((BOB, vec![ids(11, 20)])));
        assert!(marks.wait() && !marks.are_ready());
        marks.acknowledged(300);
        assert_eq!(marks.take_ready(), Some((BOB, vec![ids(21, 29)])));
        assert!(!marks.wait());
    }

    #[test]
    fn backlog_and_pushes_stay_two_ranges_and_accounts_apart() {
        let mut marks = Marks::default();
        for (end, account, range) in [
            (1, BOB, ids(101, 110)),
            (2, BOB, ids(1, 5)),
            (3, BOB, ids(111, 120)),
            (4, BOB, ids(6, 9)),
            (5, EVE, ids(1, 3)),
        ] {
            marks.shown(end, account, range);
        }
        marks.acknowledged(5);
        assert_eq!(marks.take_ready(), Some((BOB, vec![ids(101, 120), ids(1, 9)])));
        assert_eq!(marks.take_ready(), Some((EVE, vec![ids(1, 3)])));
        assert_eq!(marks.take_ready(), None);
    }

    #[test]
    fn what_was_refused_comes_again() {
        let mut marks = Marks::default();
        marks.shown(1, BOB, ids(1, 5));
        marks.acknowledged(1);
        let (account, ranges) = marks.take_ready().expect("acknowledged");
        marks.give_back(account, ranges);
        marks.shown(2, BOB, ids(6, 6));
        marks.acknowledged(2);
        assert_eq!(marks.take_ready(), Some((BOB, vec![ids(1, 6)])));
    }

    #[test]
    fn room_is_bounded_and_comes_back() {
        let mut marks = Marks::default();
        for n in 1..=UNACKNOWLEDGED_MAX as u64 {
            assert!(marks.has_room());
            marks.shown(n, BOB, ids(n, n));
        }
        assert!(!marks.has_room());
        marks.acknowledged(1);
        assert_eq!(marks.room(), 1);
        marks.acknowledged(u64::MAX);
        assert_eq!((marks.room(), marks.waiting.capacity()), (UNACKNOWLEDGED_MAX, 0), "and the memory is let go");
    }
}
