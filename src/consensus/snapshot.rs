//! The base of the log, and copies of the state for whom it is too late to be sent entries.
//!
//! The log is kept for ever unless its owner asks otherwise. What may go is decided outside; here is the rule that it must
//! keep: nothing is cut away that the state could still need, and it could need whatever a crash of the machine takes it
//! back to. Followers are not asked: one that is dead must not fill the others' disks. One that comes back too late is
//! offered a copy of the state.
//!
//! The copy itself never passes through here. The leader says which there is; the follower decides whether it wants it,
//! once when it is offered and again when it is there, because much can happen meanwhile:
//!   1. replica 3 lacks entries 5 to 90; leader 1 has cut them, and offers its state after 90;
//!   2. 1 dies while 3 fetches; 2, which has cut nothing, leads, and sends 3 the entries up to 120, which are committed;
//!   3. the copy is there: were it installed, 3 would forget 30 entries that it has acknowledged.

use super::node::Part;
use super::progress::Flow;
use super::{Duty, Frame, Mark, Member, Node, Snapshot, Term};

impl Node {
    /// Whether anybody is offered a copy of the state, or waits for one.
    pub fn is_offering(&self) -> bool {
        match &self.part {
            Part::Leader(leader) => leader.progress.values().any(|p| matches!(p.flow, Flow::Snapshot)),
            Part::Follower { .. } | Part::PreCandidate(_) | Part::Candidate(_) => false,
        }
    }

    /// Begins the log behind `mark`, if the durable state is not behind it.
    pub(super) fn cut(&mut self, mark: Mark) {
        if mark.index > self.state_durable || mark.index <= self.log.base() {
            return;
        }
        assert!(
            self.state_durable <= self.applied,
            "the state is durable up to {}, but has applied {}",
            self.state_durable,
            self.applied
        );
        self.log.cut(mark.index);
        self.batch.cut = Some(mark);
    }

    // --- the leader ------------------------------------------------------------------------------------------

    /// Offers a copy to everybody who needs one: there is only one copy at a time, and what was offered before is gone.
    pub(super) fn offer_snapshot(&mut self, snapshot: &Snapshot) {
        let (term, base) = (self.hard.term, self.log.base());
        let Part::Leader(leader) = &self.part else { return };
        let waits = |flow: &Flow| matches!(flow, Flow::Snapshot);
        let waiting: Vec<_> = leader.progress.iter().filter(|(_, p)| waits(&p.flow)).map(|(id, _)| *id).collect();
        if snapshot.base.index < base && !waiting.is_empty() {
            // More was cut away while it was made.
            self.duties.push(Duty::MakeSnapshot(base));
            return;
        }
        for id in waiting {
            self.say(id, Frame::Snapshot { term, snapshot: snapshot.clone() });
        }
    }

    // --- the follower ----------------------------------------------------------------------------------------

    pub(super) fn snapshot_offered(&mut self, from: Member, term: Term, snapshot: Snapshot) {
        if term < self.hard.term {
            let (hint, hint_term) = (self.log.last(), self.log.last_term());
            self.say(from.id, Frame::AppendReject { term: self.hard.term, prev: snapshot.base.index, hint, hint_term });
            return;
        }
        self.adopt_term(term);
        self.heard_leader(from.id);
        let index = snapshot.base.index;
        if self.wants(&snapshot) {
            self.duties.push(Duty::Fetch(from.id, snapshot));
        } else if index <= self.commit || self.log.term_at(index) == Some(snapshot.base.term) {
            // What is committed, here or there, is the same in both logs: that is as good as an append that fitted.
            self.verified = self.verified.max(index.min(self.log.last()));
            self.acknowledge();
        }
    }

    pub(super) fn snapshot_fetched(&mut self, snapshot: Snapshot) {
        if self.wants(&snapshot) {
            self.duties.push(Duty::Install(snapshot));
        }
    }

    /// Whether the copy holds what this log lacks: then all that the log holds beyond it is of no leader's choice, because a
    /// log that differs from what is committed at one entry can hold nothing committed from there on.
    fn wants(&self, snapshot: &Snapshot) -> bool {
        let base = snapshot.base;
        // Not by the record alone: a cluster that was founded anew has that of the one before.
        let same_cluster = match (&self.record, snapshot.record()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(theirs)) => own == theirs && self.cluster == snapshot.cluster(),
        };
        let leads = matches!(self.part, Part::Leader(_));
        let lacks = base.index > self.commit && self.log.term_at(base.index) != Some(base.term);
        same_cluster && !leads && lacks
    }
}
