//! A member's side, and a learner's: it takes over the log of the one it follows, and says what of it is safe.

use crate::consensus::{Duty, Entry, Frame, Index, Member, Round, Term, ViewId};

use super::Node;
use super::node::Part;

impl Node {
    pub(super) fn append_asked(
        &mut self,
        from: Member,
        view: ViewId,
        prev: (Index, Term),
        commit: Index,
        entries: Vec<Entry>,
    ) {
        let term = Term(view.number);
        let Part::Follower { leader } = &self.part else {
            self.say_news(from.id, self.news());
            return;
        };
        if view != self.following {
            // So that whoever leads an older view, or one this replica could not promise, learns why nothing comes
            // back.
            self.say_news(from.id, self.news());
            return;
        }
        if leader.is_some() {
            self.duties.push(Duty::HeardLeader);
        }
        if self.log.term_at(prev.0) != Some(prev.1) {
            let (hint, hint_term) = self.log.highest_with_term_at_most(prev.1, prev.0);
            self.say(from.id, Frame::AppendReject { term, prev: prev.0, hint, hint_term });
            return;
        }
        if self.views_pending() && self.would_end(&entries) {
            let (hint, hint_term) = prev;
            self.say(from.id, Frame::AppendReject { term, prev: prev.0, hint, hint_term });
            return;
        }
        if entries.is_empty() && self.holds_more(prev.0) {
            self.propose(None);
            return;
        }
        let end = entries.last().map_or(prev.0, |e| e.index);
        if !self.take_over(entries) {
            return;
        }
        self.verified = self.verified.max(end);
        self.commit_to(commit.min(end).max(self.commit));
        if self.tickets.durable().index() >= self.verified {
            self.acknowledge();
        }
    }

    /// Appends what is new; what contradicts goes first. Returns whether this run goes on with it: not if the log is of the
    /// other mode, or the state has applied what contradicts.
    fn take_over(&mut self, entries: Vec<Entry>) -> bool {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => {
                    if !self.yield_from(entry.index) {
                        return false;
                    }
                    self.log.allow_time(entry.time);
                }
                None => {}
            }
            if !self.join_by(&entry) {
                return false;
            }
            self.append(entry);
        }
        true
    }

    /// Says how far the own log is that of the one it follows *and* on stable storage.
    pub(super) fn acknowledge(&mut self) {
        if matches!(self.part, Part::Follower { .. }) && self.verified > Index(0) {
            let matched = self.tickets.durable().at_most(self.verified);
            let term = Term(self.following.number);
            self.say(self.following.proposer.id, Frame::AppendOk { term, matched });
        }
    }

    /// Only who follows that very view answers: a reader at its leader takes that for "nothing newer is promised here".
    pub(super) fn beat(&mut self, from: Member, view: ViewId, round: Round, commit: Index) {
        if view != self.following || !matches!(self.part, Part::Follower { leader: Some(_) }) {
            self.say_news(from.id, self.news());
            return;
        }
        self.duties.push(Duty::HeardLeader);
        self.commit_to(commit.min(self.verified).max(self.commit));
        self.pulse(from.id, Frame::BeatReply { term: Term(view.number), round, received: self.verified });
    }
}
