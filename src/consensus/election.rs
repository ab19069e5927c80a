//! Elections: pre-votes, votes, and what makes a replica grant them.
//!
//! A replica that may have been cut off asks first whether it would be elected (pre-vote), which changes nothing
//! anywhere: a bad link does not make terms climb, and a replica that comes back does not unseat a leader that
//! everybody else hears. Votes are then asked for in a new term, and spoken only when durable.

use std::collections::BTreeSet;

use super::leader::Leader;
use super::node::Part;
use super::{Body, Duty, Frame, Index, Member, Node, Term, quorum};

/// Who of the voters said yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ballot {
    voters: Vec<Member>,
    granted: BTreeSet<Member>,
}

impl Ballot {
    pub fn new(voters: &[Member]) -> Self {
        Self { voters: voters.to_vec(), granted: BTreeSet::new() }
    }

    /// Counts a vote. One of another incarnation, or of a replica that is no voter, counts for nothing.
    pub fn grant(&mut self, from: Member) {
        if self.voters.contains(&from) {
            self.granted.insert(from);
        }
    }

    pub fn is_won(&self) -> bool {
        self.granted.len() >= quorum::majority(self.voters.len())
    }

    /// Who said yes.
    pub fn granted(&self) -> &BTreeSet<Member> {
        &self.granted
    }
}

impl Node {
    /// Election says: no leader was heard of for too long, or it is certainly gone.
    pub(super) fn campaign(&mut self) {
        let stands = match self.part {
            Part::Leader(_) => false,
            Part::Follower { .. } | Part::PreCandidate(_) | Part::Candidate(_) => true,
        };
        if !stands || !self.may_vote() || self.gray {
            return;
        }
        self.quiet = true;
        let mut ballot = self.ballot();
        ballot.grant(self.me);
        self.part = Part::PreCandidate(ballot);
        self.verified = Index(0);
        let (term, last, last_term) = (self.hard.term.next(), self.log.last(), self.log.last_term());
        for voter in self.voters_other() {
            self.say(voter.id, Frame::PreVote { term, last, last_term });
        }
        self.pre_votes_counted();
    }

    pub(super) fn pre_vote_asked(&mut self, from: Member, term: Term, last: Index, last_term: Term) {
        let fresh_enough = self.log.is_at_most(last_term, last);
        let leads = matches!(self.part, Part::Leader(_));
        let granted = term > self.hard.term && fresh_enough && self.quiet && !leads && self.grants_to(from);
        let answered = if granted { term } else { self.hard.term };
        self.say(from.id, Frame::PreVoteReply { term: answered, granted });
        if !granted && !fresh_enough && self.quiet && !leads {
            self.duties.push(Duty::StandSoon);
        }
    }

    /// Whom this replica may help to be elected: anybody by term and log, but no incarnation committed as removed.
    /// A replica that has not seen its cluster sealed, or was wiped, helps nobody.
    ///
    /// Whether its own log names it a voter is not asked: the candidate's log decides whose votes count, and a vote is
    /// as good whether or not the voter knows that it counts. Were it asked, then
    ///   1. replica 3 is wiped; the leader, 1, removes it and adds it anew, and 2 holds both entries, but 3 lacks them;
    ///   2. 1 dies: the voters are 1, 2 and the new 3, of which two live and could go on;
    ///   3. 2 is not elected, because 3 does not know yet that it votes, and it will not know until 2 is elected.
    ///
    /// Who was removed itself helps nobody any more. The others do not count it, so that nothing hangs on it.
    fn grants_to(&self, candidate: Member) -> bool {
        let removed = self.committed_membership().is_some_and(|m| m.removed.contains(&candidate));
        self.is_sealed() && !removed && !self.is_dismissed()
    }

    pub(super) fn pre_vote_answered(&mut self, from: Member, term: Term, granted: bool) {
        if !granted {
            // The voter may be ahead: then this one's term is of the past.
            self.adopt_term(term);
            return;
        }
        if term != self.hard.term.next() {
            return; // to an earlier question
        }
        if let Part::PreCandidate(ballot) = &mut self.part {
            ballot.grant(from);
            self.pre_votes_counted();
        }
    }

    fn pre_votes_counted(&mut self) {
        if matches!(&self.part, Part::PreCandidate(ballot) if ballot.is_won()) {
            self.stand();
        }
    }

    /// Asks for votes in a new term. The own vote is counted when it is durable, like any other.
    fn stand(&mut self) {
        self.set_hard_state(self.hard.term.next(), Some(self.me));
        self.part = Part::Candidate(self.ballot());
        self.duties.push(Duty::HeardLeader);
        let (term, last, last_term) = (self.hard.term, self.log.last(), self.log.last_term());
        for voter in self.voters_other() {
            self.say(voter.id, Frame::Vote { term, last, last_term });
        }
    }

    /// The leader hands over: no pre-vote, because the leader itself knows that it is time.
    pub(super) fn timeout_now(&mut self, term: Term) {
        let follows = matches!(self.part, Part::Follower { leader: Some(_) });
        if term == self.hard.term && follows && self.may_vote() && !self.gray {
            self.stand();
        }
    }

    pub(super) fn vote_asked(&mut self, from: Member, term: Term, last: Index, last_term: Term) {
        if !self.grants_to(from) {
            return;
        }
        self.adopt_term(term);
        let free = self.hard.vote.is_none_or(|vote| vote == from);
        let granted = term == self.hard.term && free && self.log.is_at_most(last_term, last);
        if granted {
            if self.hard.vote.is_none() {
                self.set_hard_state(term, Some(from));
            }
            self.duties.push(Duty::HeardLeader);
        }
        self.say(from.id, Frame::VoteReply { term: self.hard.term, granted });
    }

    pub(super) fn vote_answered(&mut self, from: Member, term: Term, granted: bool) {
        self.adopt_term(term);
        if !granted || term != self.hard.term {
            return;
        }
        if let Part::Candidate(ballot) = &mut self.part {
            ballot.grant(from);
            self.votes_counted();
        }
    }

    pub(super) fn own_vote_is_durable(&mut self) {
        let me = self.me;
        let voted_for_me = self.hard.vote == Some(me);
        if let Part::Candidate(ballot) = &mut self.part {
            assert!(voted_for_me, "a candidate that did not vote for itself in term {}", self.hard.term);
            ballot.grant(me);
            self.votes_counted();
        }
    }

    fn votes_counted(&mut self) {
        let Part::Candidate(ballot) = &self.part else { return };
        if !ballot.is_won() {
            return;
        }
        // What earlier terms left uncommitted is committed by the entry that opens this one, and by nothing before it.
        let last = self.log.last();
        self.part = Part::Leader(Box::new(Leader::new(last.next(), ballot.granted().clone())));
        self.append_own(Body::Noop);
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.track(id, last);
        }
        self.pulse_round();
    }
}
