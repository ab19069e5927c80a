//! The founding's part of the conversation: the same as in the other mode, record by record, because a blank replica
//! knows as little here. What differs is the word that the record says for the mode.

use crate::consensus::founding::Step;
use crate::consensus::{
    Body, ClusterId, Duty, Entry, Founding, FoundingState, Frame, Index, Member, Mode, ReplicaId, Term,
};

use super::Node;
use super::node::views_of_founding;

impl Node {
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
        // Not a view that anybody was told of, but who has to be heard before there is one. The record keeps it.
        self.views = views_of_founding(Some(&record), self.me);
        self.known = self.views.installed.clone();
        self.record = Some(record.clone());
        self.append(Entry { index: Index(1), term: Term(0), time: 0, body: Body::Founding(record) });
        self.set_founding(FoundingState::Copied);
    }

    /// A blank replica that is handed entry 1 by a leader joins that leader's cluster. Returns whether it may.
    pub(super) fn join_by(&mut self, entry: &Entry) -> bool {
        let Body::Founding(record) = &entry.body else { return true };
        if record.mode != Mode::PrimaryBackup {
            return false;
        }
        assert!(self.record.is_none(), "a second founding record");
        self.record = Some(record.clone());
        self.set_founding(FoundingState::Sealed);
        true
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
            self.duties.extend(self.cluster().map(Duty::Founded));
            self.tell_news();
        }
    }

    pub(super) fn founding_heard(&mut self, from: Member, cluster: Option<ClusterId>, state: FoundingState) {
        self.founder.heard(from, cluster, state);
        if let Some(peer) = self.peers.get_mut(&from.id) {
            (peer.intro.cluster, peer.intro.founding) = (cluster, state);
        }
    }

    /// Gives a blank peer the record to copy, if it stands in it, and tells every peer how far the founding is.
    pub(super) fn offer_record(&mut self, to: ReplicaId) {
        let Some(peer) = self.peers.get(&to) else { return };
        let (member, blank) = (peer.intro.member, peer.intro.founding == FoundingState::Blank);
        if self.founding_durable == FoundingState::Blank {
            return;
        }
        let news = Frame::FoundingNews { cluster: self.cluster(), state: self.founding_durable };
        self.duties.push(Duty::Send(to, news));
        if let Some(record) = self.record.as_ref().filter(|r| blank && r.members.contains(&member)) {
            self.duties.push(Duty::Send(to, Frame::Found(record.clone())));
        }
    }
}
