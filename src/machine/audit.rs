//! Whether equal logs have made equal states: the digests of all replicas, compared at equal indexes. Pure.
//!
//! Every replica notes its digest at every [`EVERY`]th entry, and tells the newest such [`Checkpoint`] with its pulses. Replicas
//! are seldom at the same entry, so the last [`KEPT`] of each are kept, its own too, and compared where they meet.
//!
//! # Promises
//! - A replica whose digest differs from the equal digests of a majority of the voters learns that it is the one that is wrong.
//! - One that differs from somebody without such a majority learns that too, and nothing about who is wrong.
//!
//! # Left out
//! What to do about it. What a digest is taken over: `machine::apply`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::consensus::{Index, ReplicaId};

/// A digest is noted at every entry whose index is a multiple of this.
pub const EVERY: u64 = 64;
/// So many checkpoints of each replica are kept: one that is further behind than they reach is not compared until it has
/// caught up.
pub const KEPT: usize = 256;

/// The digest of a state after the entry at an index. `Checkpoint::default()` stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which entry was applied last.
    pub index: Index,
    /// The rolling digest after it.
    pub digest: u64,
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No difference, as far as can be seen, or none that was not told before.
    Agrees,
    /// This replica and that one differ, and no majority says who is wrong.
    Differs(ReplicaId, Index),
    /// A majority of the voters agrees on another digest than this replica's.
    Outvoted(Index),
}

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Audit {
    me: ReplicaId,
    noted: BTreeMap<ReplicaId, VecDeque<Checkpoint>>,
    /// Who was found to differ: told once, until it derives its state again.
    differ: BTreeSet<ReplicaId>,
}

impl Audit {
    /// The audit of a replica that has noted nothing.
    pub fn new(me: ReplicaId) -> Self {
        Self { me, noted: BTreeMap::new(), differ: BTreeSet::new() }
    }

    /// The newest checkpoint of a replica.
    pub fn newest(&self, id: ReplicaId) -> Checkpoint {
        self.noted.get(&id).and_then(|noted| noted.back()).copied().unwrap_or_default()
    }

    /// Notes a checkpoint of a replica, and compares what is known at its index.
    pub fn note(&mut self, id: ReplicaId, checkpoint: Checkpoint, voters: &[ReplicaId]) -> Verdict {
        let newest = self.newest(id);
        if checkpoint.index == Index(0) || checkpoint == newest {
            return Verdict::Agrees;
        }
        let noted = self.noted.entry(id).or_default();
        if checkpoint.index <= newest.index {
            // It derives its state again: what it said before is void.
            noted.clear();
            self.differ.remove(&id);
        }
        noted.push_back(checkpoint);
        if noted.len() > KEPT {
            noted.pop_front();
        }
        self.compare(checkpoint.index, voters)
    }

    /// What others were heard to have says nothing any more.
    pub fn forget_others(&mut self) {
        self.noted.retain(|id, _| *id == self.me);
        self.differ.clear();
    }

    fn compare(&mut self, index: Index, voters: &[ReplicaId]) -> Verdict {
        let Some(mine) = self.digest(self.me, index) else { return Verdict::Agrees };
        let others: Vec<(ReplicaId, u64)> = voters
            .iter()
            .filter(|id| **id != self.me)
            .filter_map(|id| Some((*id, self.digest(*id, index)?)))
            .filter(|(_, digest)| *digest != mine)
            .collect();
        let majority = voters.len() / 2 + 1;
        let agree_on = |digest: u64| others.iter().filter(|(_, other)| *other == digest).count();
        if others.iter().any(|(_, digest)| agree_on(*digest) >= majority) {
            return Verdict::Outvoted(index);
        }
        let new = others.into_iter().find(|(id, _)| self.differ.insert(*id));
        new.map_or(Verdict::Agrees, |(id, _)| Verdict::Differs(id, index))
    }

    fn digest(&self, id: ReplicaId, index: Index) -> Option<u64> {
        let noted = self.noted.get(&id)?;
        let at = noted.binary_search_by_key(&index, |checkpoint| checkpoint.index).ok()?;
        Some(noted[at].digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTERS: [ReplicaId; 3] = [ReplicaId(1), ReplicaId(2), ReplicaId(3)];

    fn at(index: u64, digest: u64) -> Checkpoint {
        Checkpoint { index: Index(index), digest }
    }

    #[test]
    fn who_differs_from_a_majority_is_wrong_and_who_belongs_to_it_is_not() {
        let mut wrong = Audit::new(ReplicaId(3));
        assert_eq!(wrong.note(ReplicaId(3), at(64, 7), &VOTERS), Verdict::Agrees);
        assert_eq!(wrong.note(ReplicaId(1), at(64, 5), &VOTERS), Verdict::Differs(ReplicaId(1), Index(64)));
        assert_eq!(wrong.note(ReplicaId(2), at(64, 5), &VOTERS), Verdict::Outvoted(Index(64)));
        let mut right = Audit::new(ReplicaId(1));
        right.note(ReplicaId(1), at(64, 5), &VOTERS);
        right.note(ReplicaId(2), at(64, 5), &VOTERS);
        assert_eq!(right.note(ReplicaId(3), at(64, 7), &VOTERS), Verdict::Differs(ReplicaId(3), Index(64)));
    }

    #[test]
    fn three_opinions_of_three_replicas_outvote_nobody() {
        let mut audit = Audit::new(ReplicaId(1));
        audit.note(ReplicaId(1), at(64, 1), &VOTERS);
        assert_eq!(audit.note(ReplicaId(2), at(64, 2), &VOTERS), Verdict::Differs(ReplicaId(2), Index(64)));
        assert_eq!(audit.note(ReplicaId(3), at(64, 3), &VOTERS), Verdict::Differs(ReplicaId(3), Index(64)));
    }

    #[test]
    fn replicas_are_compared_where_they_meet_and_not_elsewhere() {
        let mut audit = Audit::new(ReplicaId(1));
        for step in 1..=10 {
            assert_eq!(audit.note(ReplicaId(1), at(step * EVERY, step), &VOTERS), Verdict::Agrees);
        }
        assert_eq!(audit.note(ReplicaId(2), at(11 * EVERY, 0), &VOTERS), Verdict::Agrees, "not there yet");
        assert_eq!(audit.note(ReplicaId(3), at(5 * EVERY, 5), &VOTERS), Verdict::Agrees, "behind, and equal");
        let differs = Verdict::Differs(ReplicaId(2), Index(11 * EVERY));
        assert_eq!(audit.note(ReplicaId(1), at(11 * EVERY, 11), &VOTERS), differs, "arrived");
    }

    #[test]
    fn a_state_that_is_derived_again_is_judged_anew_and_the_same_news_twice_says_nothing() {
        let mut audit = Audit::new(ReplicaId(1));
        audit.note(ReplicaId(1), at(64, 1), &VOTERS);
        audit.note(ReplicaId(1), at(128, 2), &VOTERS);
        assert_eq!(audit.note(ReplicaId(2), at(128, 9), &VOTERS), Verdict::Differs(ReplicaId(2), Index(128)));
        assert_eq!(audit.note(ReplicaId(2), at(128, 9), &VOTERS), Verdict::Agrees, "it was told");
        assert_eq!(audit.note(ReplicaId(2), at(64, 1), &VOTERS), Verdict::Agrees);
        assert_eq!(audit.note(ReplicaId(2), at(128, 2), &VOTERS), Verdict::Agrees, "it has healed");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut audit = Audit::new(ReplicaId(1));
        (1..=3 * KEPT as u64).for_each(|step| {
            audit.note(ReplicaId(1), at(step * EVERY, step), &VOTERS);
        });
        assert_eq!(audit.noted[&ReplicaId(1)].len(), KEPT);
        assert_eq!(audit.note(ReplicaId(2), at(EVERY, 0), &VOTERS), Verdict::Agrees, "too far behind");
    }
}
