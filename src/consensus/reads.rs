//! Pulses, and the reads that they confirm: a read waits for a round of pulses begun after it was asked.

use super::node::Part;
use super::{Duty, Frame, Index, Member, Node, Round, Term};

/// Who waits for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Own,
    Peer(Member),
}

#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    pub(super) asker: Asker,
    pub(super) id: u64,
    /// The commit index when it was asked; `None` until the term's first entry is committed.
    pub(super) index: Option<Index>,
    /// The round begun after it was asked; `None` until one has.
    pub(super) needs: Option<Round>,
}

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
        leader.round = leader.round.next();
        leader.round_wanted = false;
        let round = leader.round;
        for read in leader.reads.iter_mut().filter(|r| r.needs.is_none()) {
            read.needs = Some(round);
        }
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
        leader.reads.push_back(PendingRead { asker, id, index, needs: None });
        // One round serves all reads that wait when it begins.
        if leader.round_wanted {
            return;
        }
        if leader.confirmed_round(self.log.voters(), self.me) == Some(leader.round) {
            self.pulse_round();
        } else {
            leader.round_wanted = true;
        }
    }

    pub(super) fn answer_reads(&mut self) {
        let (commit, term) = (self.commit, self.hard.term);
        let Part::Leader(leader) = &mut self.part else { return };
        if commit < leader.noop || leader.reads.is_empty() {
            return;
        }
        let confirmed = leader.confirmed_round(self.log.voters(), self.me);
        let mut ready = Vec::new();
        while let Some(read) = leader.reads.front_mut() {
            // Asked before the term's first entry was committed: this commit index is newer still.
            let index = *read.index.get_or_insert(commit);
            if read.needs.is_none() || read.needs > confirmed {
                break;
            }
            ready.push((read.asker, read.id, index));
            leader.reads.pop_front();
        }
        let next_round = leader.round_wanted && confirmed == Some(leader.round);
        for (asker, id, index) in ready {
            match asker {
                Asker::Own => self.duties.push(Duty::ReadReady(id, index)),
                Asker::Peer(peer) => self.say(peer.id, Frame::ReadIndexReply { term, id, index }),
            }
        }
        if next_round {
            self.pulse_round();
        }
    }
}
