//! What the log's disk was handed and has not answered for, and whether it hangs: pure, told what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::consensus::Ticket;

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub struct Storing {
    handed: VecDeque<(Ticket, Instant)>,
    answered: Option<Instant>,
}

impl Storing {
    /// The disk was handed a batch.
    pub fn hand(&mut self, ticket: Ticket, now: Instant) {
        self.handed.push_back((ticket, now));
    }

    /// It answered for this one, and so for all before.
    pub fn answer(&mut self, ticket: Ticket, now: Instant) {
        while self.handed.front().is_some_and(|(handed, _)| *handed <= ticket) {
            self.handed.pop_front();
        }
        self.answered = Some(now);
    }

    /// Whether it owes an answer.
    pub fn is_idle(&self) -> bool {
        self.handed.is_empty()
    }

    /// Whether it owes one, and has given none, for longer than `bound`: somebody else should lead.
    ///
    /// A batch that waits behind another does not count from when it was handed over:
    ///   1. every replica's disk takes 0.3 s for an fsync, and the bound is 0.5 s;
    ///   2. a batch comes while another is written: it is durable after up to 0.6 s;
    ///   3. were that a disk that hangs, leadership would go round for ever among disks that are slow, but work.
    pub fn hangs(&self, now: Instant, bound: Duration) -> bool {
        let since = self.handed.front().map(|(_, handed)| self.answered.map_or(*handed, |at| at.max(*handed)));
        since.is_some_and(|since| now.duration_since(since) > bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(500);

    #[test]
    fn a_disk_that_owes_an_answer_for_too_long_hangs() {
        let start = Instant::now();
        let mut storing = Storing::default();
        assert!(!storing.hangs(start + 9 * BOUND, BOUND), "it owes nothing");
        storing.hand(Ticket(1), start);
        assert!(!storing.hangs(start + BOUND, BOUND));
        assert!(storing.hangs(start + BOUND + Duration::from_millis(1), BOUND));
        storing.answer(Ticket(1), start + 2 * BOUND);
        assert!(storing.is_idle() && !storing.hangs(start + 9 * BOUND, BOUND));
    }

    #[test]
    fn a_batch_that_waited_behind_another_is_given_its_own_time() {
        let start = Instant::now();
        let mut storing = Storing::default();
        storing.hand(Ticket(1), start);
        storing.hand(Ticket(2), start);
        storing.answer(Ticket(1), start + BOUND);
        assert!(!storing.hangs(start + 2 * BOUND, BOUND), "slow, and not hung");
        assert!(storing.hangs(start + 2 * BOUND + Duration::from_millis(1), BOUND));
    }
}
