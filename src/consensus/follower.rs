//! What a follower does: it takes the leader's log over, and says what of it is safe. Founding is here too: before
//! there is a leader, everybody follows the founding record.

use super::founding::Step;
use super::node::Part;
use super::{
    Body, ClusterId, Duty, Entry, Founding, FoundingState, Frame, Index, Member, Node, ReplicaId, Round, Term,
};

impl Node {
    // --- the leader's log ------------------------------------------------------------------------------------

    pub(super) fn append_asked(
        &mut self,
        from: Member,
        term: Term,
        prev: (Index, Term),
        commit: Index,
        mut entries: Vec<Entry>,
    ) {
        if term < self.hard.term {
            // So that a leader of the past, or one that pre-vote kept from being unseated, learns the term.
            let (hint, hint_term) = (self.log.last(), self.log.last_term());
            self.say(from.id, Frame::AppendReject { term: self.hard.term, prev: prev.0, hint, hint_term });
            return;
        }
        self.adopt_term(term);
        self.heard_leader(from.id);
        let prev = self.skip_cut(prev, &mut entries);
        if self.log.term_at(prev.0) != Some(prev.1) {
            let (hint, hint_term) = self.log.highest_with_term_at_most(prev.1, prev.0);
            self.say(from.id, Frame::AppendReject { term, prev: prev.0, hint, hint_term });
            return;
        }
        let end = entries.last().map_or(prev.0, |e| e.index);
        self.take_over(entries);
        self.verified = self.verified.max(end);
        // No further than this append verified: behind it the own log may still be another leader's.
        self.commit_to(commit.min(end).max(self.commit));
        // What is not durable yet is acknowledged when its ticket comes back: one answer an append, not two.
        if self.tickets.durable().index() >= self.verified {
            self.acknowledge();
        }
    }

    /// What of an append is before the base: it is here, in the state, and committed, so this leader has the same. An append
    /// that ends before the base tells that much, and is answered like one that ends there.
    fn skip_cut(&self, prev: (Index, Term), entries: &mut Vec<Entry>) -> (Index, Term) {
        if prev.0 >= self.log.base() {
            return prev;
        }
        entries.retain(|entry| entry.index > self.log.base());
        (self.log.base(), self.log.base_term())
    }

    /// Appends what is new; what contradicts the leader's entries goes first.
    fn take_over(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => {
                    self.truncate_from(entry.index);
                    self.log.allow_time(entry.time);
                }
                None => {}
            }
            self.join_by(&entry);
            self.append(entry);
        }
    }

    /// A blank replica that is handed entry 1 by a leader joins that leader's cluster, as a learner: somebody must
    /// have sealed it. The leader, not the record, says which it is: it may have been founded anew since.
    fn join_by(&mut self, entry: &Entry) {
        if let Body::Founding(record) = &entry.body {
            assert!(self.record.is_none(), "a second founding record");
            self.record = Some(record.clone());
            let Part::Follower { leader: Some(leader) } = self.part else { unreachable!("entries come from a leader") };
            let shown = self.peers.get(&leader).and_then(|peer| peer.cluster);
            self.cluster = shown.or(Some(record.cluster));
            self.batch.cluster = shown.filter(|cluster| *cluster != record.cluster);
            self.set_founding(FoundingState::Sealed);
        }
    }

    /// Says how far the own log is the leader's *and* on stable storage.
    pub(super) fn acknowledge(&mut self) {
        let Part::Follower { leader: Some(leader) } = self.part else { return };
        if self.verified > Index(0) {
            let matched = self.tickets.durable().at_most(self.verified);
            self.say(leader, Frame::AppendOk { term: self.hard.term, matched });
        }
    }

    pub(super) fn beat(&mut self, from: Member, term: Term, round: Round, commit: Index) {
        if term >= self.hard.term {
            self.adopt_term(term);
            self.heard_leader(from.id);
            // The leader knows this log to match its own that far.
            self.commit_to(commit.min(self.verified).max(self.commit));
        }
        // Rounds are counted within a term. A pulse of an older term is answered with the newer one, but not as a pulse:
        //   1. replica 1 leads term 4; its round 37 hangs in the connection to 2;
        //   2. 1 is elected again, in term 5, and counts from 1; 2 follows it, then reads the pulse of term 4;
        //   3. were that "term 5, round 37", 2 would have confirmed 36 rounds of term 5 before they are begun. 1, cut off
        //      by then, would give out reads that another leader's commits have made stale.
        let round = if term == self.hard.term { round } else { Round(0) };
        let reply = Frame::BeatReply { term: self.hard.term, round, received: self.verified };
        self.pulse(from.id, reply);
    }

    pub(super) fn read_answered(&mut self, term: Term, id: u64, index: Index) {
        // Any leader's confirmed answer to this very question will do: it was current when it was given.
        self.adopt_term(term);
        self.duties.push(Duty::ReadReady(id, index));
    }

    // --- founding --------------------------------------------------------------------------------------------

    /// One step of the founding, if one is due.
    pub(super) fn found(&mut self) {
        if self.founding != self.founding_durable {
            return; // a step is on its way to the disk
        }
        match self.founder.step(self.founding, self.record.as_ref()) {
            Step::Wait => {}
            Step::Make(record) => self.take_record(record),
            Step::Seal => self.set_founding(FoundingState::Sealed),
        }
    }

    pub(super) fn copy_record(&mut self, record: &Founding) {
        let blank = self.founding == FoundingState::Blank && self.log.last() == Index(0);
        if blank && self.founder.may_copy(record) {
            self.take_record(record.clone());
        }
    }

    fn take_record(&mut self, record: Founding) {
        self.cluster = Some(record.cluster);
        self.record = Some(record.clone());
        self.append(Entry { index: Index(1), term: Term(0), time: 0, body: Body::Founding(record) });
        self.set_founding(FoundingState::Copied);
    }

    fn set_founding(&mut self, state: FoundingState) {
        self.founding = state;
        self.batch.founding = Some(state);
    }

    /// What is durable of the founding may be shown and acted upon.
    pub(super) fn founding_is_durable(&mut self) {
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            self.offer_record(id);
        }
        if self.founding_durable == FoundingState::Sealed {
            self.commit_to(self.commit.max(Index(1)));
            if let Some(cluster) = self.cluster {
                self.duties.push(Duty::Founded(cluster));
            }
        }
    }

    pub(super) fn founding_heard(&mut self, from: Member, cluster: Option<ClusterId>, state: FoundingState) {
        self.founder.heard(from, cluster, state);
        if let Some(peer) = self.peers.get_mut(&from.id).filter(|p| p.member == from) {
            (peer.cluster, peer.founding) = (cluster, state);
        }
    }

    /// Gives a blank peer the record to copy, if it stands in it, and tells every peer how far the founding is: what
    /// it was shown when the link came up may be older.
    pub(super) fn offer_record(&mut self, to: ReplicaId) {
        let Some(peer) = self.peers.get(&to) else { return };
        let (member, blank) = (peer.member, peer.founding == FoundingState::Blank);
        let news = Frame::FoundingNews { cluster: self.cluster, state: self.founding_durable };
        if self.founding_durable == FoundingState::Blank {
            return;
        }
        self.duties.push(Duty::Send(to, news));
        if let Some(record) =
            self.record.as_ref().filter(|r| blank && self.cluster == Some(r.cluster) && r.members.contains(&member))
        {
            self.duties.push(Duty::Send(to, Frame::Found(record.clone())));
        }
    }
}
