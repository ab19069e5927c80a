//! What must hold, written apart from the node: from what leaves it, what its disk holds, and a table of what was
//! ever committed. Every check panics with a sentence.

use std::collections::{BTreeMap, BTreeSet};

use plainsong::consensus::quorum::majority;
use plainsong::consensus::{Boot, Change, Entry, FoundingState, Frame, Index, Log, Member, Membership, Node, Term};

use super::disk::Disk;
use super::state::{Proposal, State, Verdict};

/// Everything that was promised so far.
#[derive(Default)]
pub struct Checker {
    /// What was committed, by anybody, ever, and in which term: entry `i` at `i - 1`.
    committed: Vec<(Entry, Term)>,
    /// The state that follows from it, and its digests after each entry.
    reference: State,
    digests: Vec<u64>,
    /// The voters that follow from it.
    membership: (Index, Membership),
    memberships: Vec<(Index, Membership)>,
    /// Every change of members that was asked for.
    pub asked: Vec<Change>,
    /// Who led which term, in which run, and the log it began with.
    leaders: BTreeMap<Term, (Member, Boot, Log)>,
    /// What had its effect, and where.
    effects: BTreeMap<Proposal, Index>,
    /// A read that is asked now may not return less.
    pub floor: Index,
    /// Members whose disk was wiped, or put back to an earlier time: their promises are void, and must not count.
    pub forgetful: BTreeSet<Member>,
}

impl Checker {
    /// The committed voters as they were after an entry.
    pub fn membership_at(&self, index: Index) -> Membership {
        let known = self.memberships.iter().rev().find(|(at, _)| *at <= index);
        known.map_or_else(Membership::default, |(_, membership)| membership.clone())
    }

    /// The last committed entry.
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The committed voters, and by which entry.
    pub fn membership(&self) -> &(Index, Membership) {
        &self.membership
    }

    /// A node's commit index went from `before` to where it is now.
    pub fn commit_moved(&mut self, node: &Node, disk: &Disk, before: Index) {
        let after = node.commit();
        assert!(after >= before, "the commit index of {} falls from {before} to {after}", node.me());
        for index in (before.0 + 1..=after.0).map(Index) {
            let in_memory = node.log().entries(index, index, 1).and_then(|mut one| one.pop());
            let on_disk = || disk.entry(index).filter(|e| node.log().term_at(index) == Some(e.term)).cloned();
            let entry = in_memory.or_else(on_disk);
            let entry = entry.unwrap_or_else(|| panic!("{} committed {index}, but lacks it", node.me()));
            self.commits(node.me(), node.hard_state().term, entry);
        }
    }

    fn commits(&mut self, who: Member, term: Term, entry: Entry) {
        let at = usize::try_from(entry.index.0 - 1).expect("fits");
        if let Some((known, in_term)) = self.committed.get_mut(at) {
            *in_term = term.min(*in_term);
            assert_eq!(*known, entry, "{who} commits another entry {} than was committed before", entry.index);
            return;
        }
        assert_eq!(at, self.committed.len(), "{who} commits {} before what is in front of it", entry.index);
        if let Some((proposal, Verdict::Applied)) = self.reference.apply(&entry) {
            let again = self.effects.insert(proposal, entry.index);
            assert_eq!(again, None, "{proposal:?} has its effect twice");
        }
        self.digests.push(self.reference.digest);
        let mut one = Disk::blank(who);
        one.write_unchecked(&entry);
        if let Some((_, membership)) = one.memberships().pop() {
            self.one_at_a_time(&membership, entry.index);
            self.membership = (entry.index, membership);
            self.memberships.push(self.membership.clone());
        }
        self.committed.push((entry, term));
    }

    /// A leader's commit index moved: a majority of its voters must hold the entry on their disks.
    pub fn commit_is_durable(&self, node: &Node, disks: &[Disk]) {
        let (index, term) = (node.commit(), node.log().term_at(node.commit()));
        let holds = |member: &Member| {
            let holds = |d: &Disk| d.base.index > index || term.is_some() && d.term_at(index) == term;
            self.forgetful.contains(member) || disks.iter().any(|d| d.me == *member && holds(d))
        };
        // A change that was appended in this very turn, behind the commit, is on no disk yet.
        let (at, now) = node.log().membership().expect("a leader's log has voters");
        let on_disk = disks.iter().any(|d| d.me == node.me() && d.term_at(at) == node.log().term_at(at));
        let before = node.log().committed_membership(index).filter(|_| !on_disk);
        let by_majority = |membership: &Membership| {
            membership.voters.iter().filter(|m| holds(m)).count() >= majority(membership.voters.len())
        };
        assert!(
            by_majority(now) || before.is_some_and(by_majority),
            "{} commits {index}, which no majority of {:?} holds",
            node.me(),
            now.voters
        );
    }

    /// A node leads.
    pub fn leads(&mut self, node: &Node, boot: Boot, disks: &[Disk]) {
        let (me, term) = (node.me(), node.hard_state().term);
        if let Some((other, in_boot, _)) = self.leaders.get(&term) {
            assert_eq!((*other, *in_boot), (me, boot), "two leaders in term {term}");
            return;
        }
        self.leaders.insert(term, (me, boot, node.log().clone()));
        // Who is elected late, in a term that is over, need not have what a later term committed.
        for (entry, _) in self.committed.iter().filter(|(_, in_term)| *in_term < term) {
            let here = node.log().term_at(entry.index);
            let gone = entry.index < node.log().base();
            assert!(gone || here == Some(entry.term), "{me} leads term {term} without committed entry {}", entry.index);
        }
        let gave = |d: &&Disk| d.hard.term > term || d.hard.term == term && d.hard.vote == Some(me);
        let votes =
            |member: &&Member| self.forgetful.contains(member) || disks.iter().filter(gave).any(|d| d.me == **member);
        let (votes, voters) = (node.voters().iter().filter(votes).count(), node.voters().len());
        assert!(votes >= majority(voters), "{me} leads term {term} with {votes} durable votes of {voters}");
    }

    /// A frame leaves a node: all that it claims is on its disk.
    pub fn says(&self, disk: &Disk, frame: &Frame) {
        let (me, hard) = (disk.me, disk.hard);
        match frame {
            Frame::PreVote { term, .. } => {
                assert!(term.prev() <= hard.term, "{me} says {frame:?} with {hard:?} on its disk");
            }
            // The first echoes the question; the second only says whom it is meant for.
            Frame::PreVoteReply { granted: true, .. } | Frame::Forward { .. } => {}
            Frame::VoteReply { term, granted: true } => {
                assert!(hard.term >= *term, "{me} votes in term {term} with {hard:?} on its disk");
                assert!(disk.founding == FoundingState::Sealed, "{me} votes, but is not sealed");
            }
            Frame::AppendOk { term, matched } => {
                assert!(hard.term >= *term, "{me} says {frame:?} with {hard:?} on its disk");
                if hard.term == *term {
                    self.acknowledges(disk, *term, matched.index());
                }
            }
            Frame::PreVoteReply { term, granted: false }
            | Frame::Vote { term, .. }
            | Frame::VoteReply { term, granted: false }
            | Frame::Append { term, .. }
            | Frame::Snapshot { term, .. }
            | Frame::AppendReject { term, .. }
            | Frame::TimeoutNow { term }
            | Frame::ReadIndex { term, .. }
            | Frame::ReadIndexReply { term, .. }
            | Frame::Change { term, .. }
            | Frame::ChangeReply { term, .. }
            | Frame::Beat { term, .. }
            | Frame::BeatReply { term, .. } => {
                assert!(hard.term >= *term, "{me} says {frame:?} with {hard:?} on its disk");
            }
            Frame::Found(_) => assert!(disk.founding != FoundingState::Blank, "{me} shows a record it does not hold"),
            Frame::FoundingNews { state, .. } => self.shows(disk, *state),
            Frame::View(_) => panic!("{me} says {frame:?} in a cluster of the other mode"),
        }
    }

    /// No more of the founding is shown than is durable.
    pub fn shows(&self, disk: &Disk, state: FoundingState) {
        let rank = |state: FoundingState| match state {
            FoundingState::Blank => 0,
            FoundingState::Copied => 1,
            FoundingState::Sealed => 2,
        };
        assert!(rank(state) <= rank(disk.founding), "{} shows {state:?}, but holds {:?}", disk.me, disk.founding);
    }

    /// The disk must hold the log of the term's leader that far.
    fn acknowledges(&self, disk: &Disk, term: Term, matched: Index) {
        let (_, _, log) = self.leaders.get(&term).expect("an acknowledgement answers a leader");
        let expected = if matched <= log.last() { log.term_at(matched) } else { Some(term) };
        let held = disk.term_at(matched);
        // What is before the base of either is committed, and in the durable state.
        let gone = matched < disk.base.index || matched < log.base();
        assert!(gone || held == expected, "{} acknowledges {matched} in term {term}, but its disk differs", disk.me);
    }

    /// A node grants a vote: beside being durable it must be for that very candidate.
    pub fn votes_for(&self, disk: &Disk, frame: &Frame, candidate: Option<Member>) {
        if let Frame::VoteReply { term, granted: true } = frame
            && disk.hard.term == *term
        {
            assert!(
                disk.hard.vote.map(|m| m.id) == candidate.map(|m| m.id),
                "{} tells {candidate:?} that it has its vote, but the disk says {:?}",
                disk.me,
                disk.hard
            );
        }
    }

    /// The digest of a state that has applied what was committed up to here.
    pub fn digest_at(&self, index: Index) -> Option<u64> {
        let at = usize::try_from(index.0).expect("fits").checked_sub(1)?;
        self.digests.get(at).copied()
    }

    /// A proposal's effect was seen by its origin: it is committed, and where.
    pub fn acknowledged(&mut self, proposal: Proposal, index: Index) {
        assert_eq!(self.effects.get(&proposal), Some(&index), "{proposal:?} is acknowledged, but not committed");
        self.floor = self.floor.max(index);
    }

    /// The state of a replica is what the committed entries make of it.
    pub fn state_is_right(&self, state: &State) {
        if let Some(digest) = self.digest_at(state.applied) {
            assert_eq!(state.digest, digest, "two states differ at {}", state.applied);
        }
        assert!(state.applied <= self.committed(), "a state has applied what nobody committed");
    }
}
