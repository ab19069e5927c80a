//! What a proposer and a leader do with their log: replicate it, decide what is committed, confirm reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::consensus::{
    Asker, ConfirmedRead, Duty, Entry, Frame, Index, Inflight, Member, Reader, ReplicaId, Round, Rounds, Run, Term,
    Ticket, limits,
};

use super::Node;
use super::node::Part;
use super::progress::{Flow, Progress};

/// What a proposer or leader knows of its followers, and what waits for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    /// Who accepted the view, beside the proposer.
    pub(super) accepted: BTreeSet<Member>,
    /// The batch that makes "installed" durable.
    pub(super) installing: Option<Ticket>,
    /// The entry that opened the view. Nothing is known to be current before it is committed.
    pub(super) noop: Index,
    /// Of a proposer: members that have accepted. Of a leader: all linked peers; who is no member learns.
    pub(super) progress: BTreeMap<ReplicaId, Progress>,
    /// Rounds of pulses, and who waits for them.
    rounds: Rounds,
}

impl Lead {
    /// The link to a peer is gone, and its questions with it: a new run of it numbers its own anew.
    pub(super) fn lost(&mut self, id: ReplicaId) {
        self.progress.remove(&id);
        self.rounds.lost(id);
    }

    /// Progress of that very run.
    pub(super) fn of(&self, member: Member, run: Run) -> Option<&Progress> {
        self.progress.get(&member.id).filter(|p| (p.member, p.run) == (member, run))
    }

    /// What all members have reached.
    fn least<T: Ord + Copy>(
        &self,
        members: &[(Member, Run)],
        own: (Member, T),
        of: impl Fn(&Progress) -> T,
    ) -> Option<T> {
        let each = members.iter().map(|(m, run)| if *m == own.0 { Some(own.1) } else { self.of(*m, *run).map(&of) });
        each.min().flatten()
    }
}

impl Node {
    // --- replicating -----------------------------------------------------------------------------------------

    /// Begins to replicate to a linked peer, where the logs are likely to meet: at the end of this one. Not where the peer
    /// was when the link came up: one that has learnt 180,000 entries since was sent them all again before the view with
    /// it could be installed, and nobody was served meanwhile.
    pub(super) fn track(&mut self, id: ReplicaId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let progress = Progress::new(peer.intro.member, peer.intro.run, self.log.last());
        if let Part::Proposer(lead) | Part::Leader(lead) = &mut self.part {
            lead.progress.insert(id, progress);
        }
    }

    fn lead(&mut self) -> Option<&mut Lead> {
        match &mut self.part {
            Part::Proposer(lead) | Part::Leader(lead) => Some(lead),
            Part::Follower { .. } => None,
        }
    }

    /// One append to each follower that has something to hear: entries, or a new commit index.
    pub(super) fn broadcast(&mut self) {
        let Some(lead) = self.lead() else { return };
        for id in lead.progress.keys().copied().collect::<Vec<_>>() {
            while self.send_append(id) {}
        }
    }

    /// Sends one append. Returns whether there may be more to send.
    fn send_append(&mut self, id: ReplicaId) -> bool {
        let (last, commit) = (self.log.last(), self.commit);
        let progress = self.lead().and_then(|lead| lead.progress.get_mut(&id));
        let Some(progress) = progress.filter(|p| p.is_due(last, commit)) else { return false };
        let next = progress.next;
        if next > last {
            self.send_entries(id, Vec::new());
            return false;
        }
        match self.log.entries(next, last, limits::APPEND_BYTES_MAX) {
            Some(entries) => self.send_entries(id, entries),
            None => {
                if let Some(progress) = self.lead().and_then(|lead| lead.progress.get_mut(&id)) {
                    progress.flow = Flow::Load;
                }
                self.duties.push(Duty::Load(Reader::Peer(id), next, last));
                return false;
            }
        }
        true
    }

    fn send_entries(&mut self, id: ReplicaId, entries: Vec<Entry>) {
        let (term, commit) = (Term(self.following.number), self.commit);
        let Some(progress) = self.lead().and_then(|lead| lead.progress.get_mut(&id)) else { return };
        let prev = progress.next.prev();
        let end = entries.last().map_or(prev, |e| e.index);
        progress.sent(end, entries.iter().map(Entry::size).sum(), commit);
        let prev_term = self.log.term_at(prev).expect("entries before `next` are in the log");
        self.say(id, Frame::Append { term, prev, prev_term, commit, entries });
    }

    pub(super) fn loaded_for_peer(&mut self, id: ReplicaId, entries: Vec<Entry>) {
        // They may have been read before this log was another's for a while. One that is in the log vouches for all
        // before.
        let current = entries.last().is_some_and(|e| self.log.term_at(e.index) == Some(e.term));
        let Some(progress) = self.lead().and_then(|lead| lead.progress.get_mut(&id)) else { return };
        if !matches!(progress.flow, Flow::Load) {
            return; // of an earlier link
        }
        let known = progress.matched.next() == progress.next;
        progress.flow = if known { Flow::Stream(Inflight::default()) } else { Flow::Probe { sent: false } };
        if current && entries.first().is_some_and(|e| e.index == progress.next) {
            self.send_entries(id, entries);
        }
    }

    pub(super) fn append_ok(&mut self, from: Member, term: Term, matched: Index) {
        let (own, last) = (self.following.number, self.log.last());
        let Some(lead) = self.lead() else { return };
        // What a peer says is never asserted: one that claims more than there is claims nothing.
        if term.0 == own
            && matched <= last
            && let Some(progress) = lead.progress.get_mut(&from.id).filter(|p| p.member == from)
        {
            progress.matched_to(matched);
        }
    }

    pub(super) fn append_rejected(&mut self, from: Member, term: Term, prev: Index, hint: (Index, Term)) {
        let own = self.following.number;
        let (next, _) = self.log.highest_with_term_at_most(hint.1, hint.0);
        let Some(lead) = self.lead() else { return };
        if let Some(progress) = lead.progress.get_mut(&from.id).filter(|p| term.0 == own && p.member == from)
            && progress.next.prev() == prev
        {
            progress.probe_from(next.next());
        }
    }

    /// What all members hold on their disks is committed, once it reaches into the own view: what earlier views left is
    /// committed with that, never by being counted.
    pub(super) fn advance_commit(&mut self) {
        let Part::Leader(lead) = &self.part else { return };
        let own = (self.me, self.tickets.durable().index());
        let Some(reached) = lead.least(&self.views.installed.members, own, |p| p.matched) else { return };
        if reached > self.commit && self.log.term_at(reached) == Some(Term(self.following.number)) {
            self.commit_to(reached);
            self.answer_reads();
        }
    }

    // --- reads -----------------------------------------------------------------------------------------------

    /// Begins a round of pulses: a member that answers it has promised nothing newer, after everything asked before.
    pub(super) fn pulse_round(&mut self) {
        let (term, commit) = (Term(self.following.number), self.commit);
        let Part::Leader(lead) = &mut self.part else { return };
        let round = lead.rounds.begin();
        let beats: Vec<_> = lead
            .progress
            .iter()
            .map(|(id, p)| (*id, Frame::Beat { term, round, commit: commit.min(p.matched) }))
            .collect();
        for (id, beat) in beats {
            self.pulse(id, beat);
        }
        self.answer_reads();
    }

    pub(super) fn beat_answered(&mut self, from: Member, term: Term, round: Round) {
        let own = self.following.number;
        let Part::Leader(lead) = &mut self.part else { return };
        if let Some(progress) = lead.progress.get_mut(&from.id).filter(|p| term.0 == own && p.member == from) {
            progress.round = progress.round.max(round.min(lead.rounds.newest()));
            self.answer_reads();
        }
    }

    /// Passes on the reads of this replica's own sessions: at the end of a turn, when it is known who leads.
    pub(super) fn ask_reads(&mut self) {
        if self.may_have_to_yield() {
            return;
        }
        for id in std::mem::take(&mut self.reads_asked) {
            match self.part {
                Part::Leader(_) => self.queue_read(Asker::Own, id),
                Part::Follower { leader: Some(leader) } => {
                    self.say(leader, Frame::ReadIndex { term: Term(self.following.number), id });
                }
                Part::Follower { leader: None } | Part::Proposer(_) => {}
            }
        }
    }

    pub(super) fn read_asked(&mut self, from: Member, term: Term, id: u64) {
        if term.0 == self.following.number {
            self.queue_read(Asker::Peer(from), id);
        }
    }

    fn queue_read(&mut self, asker: Asker, id: u64) {
        let confirmed = self.confirmed_round();
        let commit = self.commit;
        let Part::Leader(lead) = &mut self.part else { return };
        let index = (commit >= lead.noop).then_some(commit);
        if lead.rounds.ask(asker, id, index, confirmed) {
            self.pulse_round();
        }
    }

    fn answer_reads(&mut self) {
        if !self.awaits_a_round() {
            return;
        }
        let (commit, confirmed) = (self.commit, self.confirmed_round());
        let Part::Leader(lead) = &mut self.part else { return };
        if commit < lead.noop {
            return;
        }
        let (ready, next_round) = lead.rounds.answer(confirmed, commit);
        let term = Term(self.following.number);
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

    /// The newest round that all members of the view answered.
    fn confirmed_round(&self) -> Option<Round> {
        let Part::Leader(lead) = &self.part else { return None };
        lead.least(&self.views.installed.members, (self.me, lead.rounds.newest()), |p| p.round)
    }

    /// Whether a read waits for the answers to a round of pulses.
    pub fn awaits_a_round(&self) -> bool {
        matches!(&self.part, Part::Leader(lead) if lead.rounds.are_awaited())
    }
}
