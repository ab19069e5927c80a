//! Pulses, and the reads that they confirm: a read waits for a round of pulses begun after it was asked.

use super::node::Part;
use super::rounds::{Asker, ConfirmedRead};
use super::{Duty, Frame, Index, Member, Node, Round, Term};

impl Node {
    pub(super) fn pulse_due(&mut self) {
        if self.gray {
            return;
        }
        if let Some(leader) = self.leader() {
            leader.progress.values_mut().for_each(|p| p.unanswered = p.unanswered.saturating_add(1));
        }
        self.pulse_round();
    }

    /// Begins a round of pulses: whoever answers it still follows, after everything that was asked before.
    pub(super) fn pulse_round(&mut self) {
        let (term, commit) = (self.hard.term, self.commit);
        let Some(leader) = self.leader() else { return };
        let round = leader.rounds.begin();
        let beats: Vec<_> = leader
            .progress
            .iter()
            .map(|(id, p)| (*id, Frame::Beat { term, round, commit: commit.min(p.matched) }))
            .collect();
        for (id, beat) in beats {
            self.pulse(id, beat);
        }
        self.answer_reads();
    }

    pub(super) fn beat_answered(&mut self, from: Member, term: Term, round: Round, received: Index) {
        self.adopt_term(term);
        let (own, last) = (self.hard.term, self.log.last());
        let Some(leader) = self.leader() else { return };
        if term != own {
            return;
        }
        leader.heard.insert(from);
        let Some(progress) = leader.progress.get_mut(&from.id).filter(|p| p.member == from) else { return };
        progress.round = progress.round.max(round);
        progress.unanswered = 0;
        progress.notice_received(received.min(last));
        self.answer_reads();
    }

    /// Passes on the reads of this replica's own sessions: at the end of a turn, when it is known who leads.
    ///
    /// Were they passed on, or dropped, as they come, then
    ///   1. a turn begins with "no leader was heard of for too long": this replica asks for pre-votes;
    ///   2. a read comes, and is dropped, because nobody is known to lead;
    ///   3. a late pulse comes: the leader is the one it was, nothing has changed, and nobody asks for the read again.
    pub(super) fn ask_reads(&mut self) {
        for id in std::mem::take(&mut self.reads_asked) {
            match self.part {
                Part::Leader(_) => self.queue_read(Asker::Own, id),
                Part::Follower { leader: Some(leader) } => {
                    self.say(leader, Frame::ReadIndex { term: self.hard.term, id });
                }
                Part::Follower { leader: None } | Part::PreCandidate(_) | Part::Candidate(_) => {}
            }
        }
    }

    pub(super) fn read_asked(&mut self, from: Member, term: Term, id: u64) {
        self.adopt_term(term);
        if term == self.hard.term && matches!(self.part, Part::Leader(_)) {
            self.queue_read(Asker::Peer(from), id);
        }
    }

    pub(super) fn queue_read(&mut self, asker: Asker, id: u64) {
        let Part::Leader(leader) = &mut self.part else { return };
        let index = (self.commit >= leader.noop).then_some(self.commit);
        let confirmed = leader.confirmed_round(self.log.voters(), self.me);
        if leader.rounds.ask(asker, id, index, confirmed) {
            self.pulse_round();
        }
    }

    pub(super) fn answer_reads(&mut self) {
        let (commit, term) = (self.commit, self.hard.term);
        let Part::Leader(leader) = &mut self.part else { return };
        if commit < leader.noop || !leader.rounds.are_awaited() {
            return;
        }
        let confirmed = leader.confirmed_round(self.log.voters(), self.me);
        let (ready, next_round) = leader.rounds.answer(confirmed, commit);
        for ConfirmedRead { asker, id, index } in ready {
            match asker {
                Asker::Own => self.duties.push(Duty::ReadReady(id, index)),
                Asker::Peer(peer) => self.say(peer.id, Frame::ReadIndexReply { term, id, index }),
            }
        }
        if next_round {
            self.pulse_round();
        }
    }

    /// Whether a read waits for the answers to a round of pulses.
    pub fn awaits_a_round(&self) -> bool {
        matches!(&self.part, Part::Leader(leader) if leader.rounds.are_awaited())
    }
}
