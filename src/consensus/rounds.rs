//! Rounds of pulses, and the reads that wait for one. Both modes' leaders keep them so; how many answers confirm a round
//! is the mode's to say.
//!
//! # Promises
//! - A read is answered by a round that was begun after it was asked.
//! - One round serves all reads that wait when it begins, and the next one for reads begins when it is confirmed: however
//!   many ask, no more pulses are under way for them.

use std::collections::VecDeque;

use super::{Index, Member, ReplicaId, Round};

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// This replica.
    Own,
    /// Another one.
    Peer(Member),
}

/// A read that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmedRead {
    /// Who waits for it.
    pub asker: Asker,
    /// The asker's number.
    pub id: u64,
    /// Who has applied this far reads what is current.
    pub index: Index,
}

#[derive(Clone, Debug)]
struct PendingRead {
    asker: Asker,
    id: u64,
    /// The commit index when it was asked; `None` until the leader knows what is committed.
    index: Option<Index>,
    /// The round begun after it was asked; `None` until one has.
    needs: Option<Round>,
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    newest: Round,
    /// In the order of their arrival; `needs` never falls along the queue.
    reads: VecDeque<PendingRead>,
    /// A newer round is wanted as soon as the one under way is confirmed.
    wanted: bool,
}

impl Rounds {
    /// The newest round.
    pub fn newest(&self) -> Round {
        self.newest
    }

    /// Whether a read waits for the answers to a round.
    pub fn are_awaited(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Begins a round, for all reads that wait for one.
    pub fn begin(&mut self) -> Round {
        self.newest = self.newest.next();
        self.wanted = false;
        for read in self.reads.iter_mut().filter(|read| read.needs.is_none()) {
            read.needs = Some(self.newest);
        }
        self.newest
    }

    /// A read is asked, at this commit index, if that is known. Whether a round is to begin for it now: not while others
    /// wait for the one under way. That of the clock, for which nobody waits, is not waited for.
    pub fn ask(&mut self, asker: Asker, id: u64, index: Option<Index>, confirmed: Option<Round>) -> bool {
        let newest = Some(self.newest);
        let is_awaited = self.reads.back().is_some_and(|last| last.needs == newest) && confirmed != newest;
        self.reads.push_back(PendingRead { asker, id, index, needs: None });
        let begins = !self.wanted && !is_awaited;
        self.wanted = !begins;
        begins
    }

    /// What can be answered now that a round is confirmed; and whether the next one is to begin.
    ///
    /// A read that was asked when it was not known what is committed gets the commit index of now, which is newer still.
    pub fn answer(&mut self, confirmed: Option<Round>, commit: Index) -> (Vec<ConfirmedRead>, bool) {
        if self.reads.is_empty() {
            return (Vec::new(), false);
        }
        let mut ready = Vec::new();
        while let Some(read) = self.reads.front_mut() {
            let index = *read.index.get_or_insert(commit);
            if read.needs.is_none() || read.needs > confirmed {
                break;
            }
            ready.push(ConfirmedRead { asker: read.asker, id: read.id, index });
            self.reads.pop_front();
        }
        (ready, self.wanted && confirmed == Some(self.newest))
    }

    /// The link to a peer is gone, and its questions with it.
    ///
    /// Were they kept, then
    ///   1. replica 3 asks for read 1, which takes commit index 10, and restarts before it is confirmed;
    ///   2. 11 is committed, and seen by somebody;
    ///   3. the new 3 numbers from 1 again, asks for its read 1, and is given 10: what it reads is of the past.
    pub fn lost(&mut self, id: ReplicaId) {
        self.reads.retain(|read| !matches!(read.asker, Asker::Peer(asker) if asker.id == id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Index = Index(7);

    fn ask(rounds: &mut Rounds, id: u64, confirmed: u64) -> bool {
        rounds.ask(Asker::Own, id, Some(COMMIT), Some(Round(confirmed)))
    }

    fn answered(rounds: &mut Rounds, confirmed: u64) -> (Vec<u64>, bool) {
        let (ready, next) = rounds.answer(Some(Round(confirmed)), COMMIT);
        (ready.iter().map(|read| read.id).collect(), next)
    }

    #[test]
    fn one_round_serves_all_that_wait_when_it_begins_and_the_next_one_those_who_came_since() {
        let mut rounds = Rounds::default();
        assert!(ask(&mut rounds, 1, 0));
        assert_eq!(rounds.begin(), Round(1));
        assert!(!ask(&mut rounds, 2, 0) && !ask(&mut rounds, 3, 0), "round 1 is under way for a read");
        assert_eq!(answered(&mut rounds, 0), (vec![], false));
        assert_eq!(answered(&mut rounds, 1), (vec![1], true));
        rounds.begin();
        assert_eq!(answered(&mut rounds, 1), (vec![], false), "begun before they were asked");
        assert_eq!(answered(&mut rounds, 2), (vec![2, 3], false));
        assert!(!rounds.are_awaited());
    }

    #[test]
    fn a_read_does_not_wait_for_a_round_for_which_nobody_waits() {
        let mut rounds = Rounds::default();
        rounds.begin();
        assert!(ask(&mut rounds, 1, 0), "its answers may be slow");
        rounds.begin();
        assert_eq!(answered(&mut rounds, 1), (vec![], false));
        assert_eq!(answered(&mut rounds, 2), (vec![1], false));
    }

    #[test]
    fn what_was_not_known_to_be_committed_is_read_as_of_now() {
        let mut rounds = Rounds::default();
        rounds.ask(Asker::Own, 1, None, None);
        rounds.begin();
        let (ready, _) = rounds.answer(Some(Round(1)), Index(9));
        assert_eq!(ready, [ConfirmedRead { asker: Asker::Own, id: 1, index: Index(9) }]);
    }
}
