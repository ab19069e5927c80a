//! What a leader does: it replicates its log, decides what is committed, confirms reads, and hands over.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::members::Changing;
use super::node::Part;
use super::progress::{Flow, Inflight, Progress};
use super::rounds::Rounds;
use super::{Body, Duty, Entry, Frame, Index, Member, Node, Reader, ReplicaId, Round, Term, limits, quorum};

/// What a leader knows of its followers, and what waits for them.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// The entry that opened the term. Nothing is known to be current before it is committed.
    pub(super) noop: Index,
    /// Linked peers: voters, and learners of this cluster.
    pub(super) progress: BTreeMap<ReplicaId, Progress>,
    /// Rounds of pulses, and who waits for them.
    pub(super) rounds: Rounds,
    /// Voters heard of since the last quorum check.
    pub(super) heard: BTreeSet<Member>,
    /// Those of the time between the two checks before.
    pub(super) heard_before: BTreeSet<Member>,
    /// Who joins, and the change of members under way.
    pub(super) changing: Changing,
    /// Whom leadership is being handed to, and what was proposed meanwhile.
    pub(super) transfer: Option<Transfer>,
}

#[derive(Clone, Debug)]
pub(super) struct Transfer {
    to: ReplicaId,
    told: bool,
    held: Vec<Bytes>,
    /// Quorum checks since it began: a transfer that takes longer than an election is given up.
    checks: u32,
}

impl Leader {
    /// A leader that has just been elected by these voters: they were heard of.
    ///
    /// Without their being counted, a quorum check that falls due right after an election would find that nobody
    /// answered yet, and end the term.
    pub(super) fn new(noop: Index, electors: BTreeSet<Member>) -> Self {
        Self {
            noop,
            progress: BTreeMap::new(),
            rounds: Rounds::default(),
            heard: electors,
            heard_before: BTreeSet::new(),
            changing: Changing::default(),
            transfer: None,
        }
    }

    /// The link to a peer is gone, and its questions with it.
    pub(super) fn lost(&mut self, id: ReplicaId) {
        self.progress.remove(&id);
        self.rounds.lost(id);
        self.changing.lost(id);
    }

    /// The newest round that a majority of the voters answered, the leader among them.
    pub(super) fn confirmed_round(&self, voters: &[Member], me: Member) -> Option<Round> {
        let mut rounds: Vec<Round> = voters
            .iter()
            .map(|v| if *v == me { self.rounds.newest() } else { self.of(*v).map_or(Round(0), |p| p.round) })
            .collect();
        quorum::reached_by_majority(&mut rounds)
    }

    /// Progress of that very incarnation.
    pub(super) fn of(&self, member: Member) -> Option<&Progress> {
        self.progress.get(&member.id).filter(|p| p.member == member)
    }
}

impl Node {
    pub(super) fn leader(&mut self) -> Option<&mut Leader> {
        match &mut self.part {
            Part::Leader(leader) => Some(leader),
            Part::Follower { .. } | Part::PreCandidate(_) | Part::Candidate(_) => None,
        }
    }

    // --- proposing and committing ----------------------------------------------------------------------------

    pub(super) fn propose(&mut self, payloads: Vec<Bytes>) {
        match self.leader() {
            None => {}
            Some(leader) => match &mut leader.transfer {
                Some(transfer) => transfer.held.extend(payloads),
                None => payloads.into_iter().for_each(|payload| self.append_own(Body::Command(payload))),
            },
        }
    }

    /// Raft's commit rule: the highest entry that a majority holds durably, if it is of the own term. Entries of
    /// earlier terms are committed with it, never by counting them (Raft paper, figure 8).
    pub(super) fn advance_commit(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        if self.commit == self.log.last() {
            return;
        }
        let mut held: Vec<Index> = self
            .voters()
            .iter()
            .map(|v| match leader.of(*v) {
                _ if *v == self.me => self.tickets.durable().index(),
                Some(progress) => progress.matched,
                None => Index(0),
            })
            .collect();
        let Some(reached) = quorum::reached_by_majority(&mut held) else { return };
        if reached <= self.commit || self.log.term_at(reached) != Some(self.hard.term) {
            return;
        }
        self.commit_to(reached);
        self.remember_acknowledged(reached);
        self.answer_reads();
        self.answer_change();
    }

    /// What each follower holds of what is committed: it may not come back with less.
    fn remember_acknowledged(&mut self, commit: Index) {
        let Part::Leader(leader) = &self.part else { return };
        for progress in leader.progress.values().filter(|p| p.matched > Index(0)) {
            let known = self.acknowledged.entry(progress.member).or_default();
            *known = progress.matched.min(commit).max(*known);
        }
    }

    /// One append to each follower that has something to hear: entries, or a new commit index.
    pub(super) fn broadcast(&mut self) {
        let commit = self.commit;
        let Part::Leader(leader) = &self.part else { return };
        let is_due = |p: &Progress| p.is_due(self.sendable(p.member), commit);
        let due: Vec<_> = leader.progress.iter().filter(|(_, p)| is_due(p)).map(|(id, _)| *id).collect();
        for id in due {
            while self.send_append(id) {}
        }
        self.tell_successor(false);
    }

    /// Sends one append. Returns whether there may be more to send.
    fn send_append(&mut self, id: ReplicaId) -> bool {
        let (commit, term) = (self.commit, self.hard.term);
        let Part::Leader(leader) = &self.part else { return false };
        let Some(last) = leader.progress.get(&id).map(|p| self.sendable(p.member)) else { return false };
        let Part::Leader(leader) = &mut self.part else { return false };
        let Some(progress) = leader.progress.get_mut(&id) else { return false };
        if !progress.is_due(last, commit) {
            return false;
        }
        let prev = progress.next.prev();
        if prev < self.log.base() {
            progress.flow = Flow::Snapshot;
            self.duties.push(Duty::MakeSnapshot(self.log.base()));
            return false;
        }
        let entries = if progress.next > last {
            Vec::new()
        } else {
            match self.log.entries(progress.next, last, limits::APPEND_BYTES_MAX) {
                Some(entries) => entries,
                None => {
                    progress.flow = Flow::Load;
                    let from = progress.next;
                    self.duties.push(Duty::Load(Reader::Peer(id), from, last));
                    return false;
                }
            }
        };
        self.send_entries(id, term, prev, commit, entries);
        true
    }

    fn send_entries(&mut self, id: ReplicaId, term: Term, prev: Index, commit: Index, entries: Vec<Entry>) {
        let prev_term = self.log.term_at(prev).expect("entries before `next` are in the log");
        let end = entries.last().map_or(prev, |e| e.index);
        let bytes = entries.iter().map(Entry::size).sum();
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress.get_mut(&id) else { return };
        progress.sent(end, bytes, commit);
        self.say(id, Frame::Append { term, prev, prev_term, commit, entries });
    }

    pub(super) fn loaded_for_peer(&mut self, id: ReplicaId, entries: Vec<Entry>) {
        let (term, commit) = (self.hard.term, self.commit);
        // They may have been read when this replica led an earlier term, and been truncated since: then its disk gave
        // what its log no longer says. One entry that is in the log vouches for all before it.
        // And they may have been cut away since.
        let kept = entries.first().is_some_and(|e| e.index > self.log.base());
        let current = kept && entries.last().is_some_and(|e| self.log.term_at(e.index) == Some(e.term));
        let Some(leader) = self.leader() else { return };
        let Some(progress) = leader.progress.get_mut(&id) else { return };
        if !matches!(progress.flow, Flow::Load) {
            return; // of an earlier link
        }
        let first = entries.first().map_or(Index(0), |e| e.index);
        let known = progress.matched.next() == progress.next;
        progress.flow = if known { Flow::Stream(Inflight::default()) } else { Flow::Probe { sent: false } };
        if first == progress.next && current {
            self.send_entries(id, term, first.prev(), commit, entries);
        }
    }

    pub(super) fn append_ok(&mut self, from: Member, term: Term, matched: Index) {
        self.adopt_term(term);
        let (own, last, base) = (self.hard.term, self.log.last(), self.log.base());
        let Some(leader) = self.leader() else { return };
        // What a peer says is never asserted: one that claims more than there is claims nothing.
        if term != own || matched > last {
            return;
        }
        leader.heard.insert(from);
        if let Some(progress) = leader.progress.get_mut(&from.id).filter(|p| p.member == from) {
            if matched >= base || !matches!(progress.flow, Flow::Snapshot) {
                progress.matched_to(matched);
            } else {
                // Of what is not kept: it was said before the copy was offered, or is the answer to a copy that lacks what the
                // follower holds. While that answer was under way more was cut away:
                //   1. 2 holds 507; 3 leads, has cut up to 400, and offers a copy up to 431;
                //   2. 2 answers that it holds 507; the link is slow, and 3 cuts up to 700;
                //   3. 3 can send nothing behind 507: without a newer copy it would never send 2 anything again.
                self.duties.push(Duty::MakeSnapshot(base));
            }
        }
    }

    pub(super) fn append_rejected(&mut self, from: Member, term: Term, prev: Index, hint: (Index, Term)) {
        self.adopt_term(term);
        let own = self.hard.term;
        let (next, _) = self.log.highest_with_term_at_most(hint.1, hint.0);
        let Some(leader) = self.leader() else { return };
        if term != own {
            return;
        }
        leader.heard.insert(from);
        if let Some(progress) = leader.progress.get_mut(&from.id).filter(|p| p.member == from) {
            // A refusal of what was not sent last is late, as is any while a copy is offered. One of an entry that matched is
            // a broken follower.
            if matches!(progress.flow, Flow::Snapshot) {
                return;
            }
            if progress.next.prev() == prev || matches!(progress.flow, Flow::Stream(_)) && prev > progress.matched {
                progress.probe_from(next.next());
            }
        }
    }

    // --- keeping and giving up leadership --------------------------------------------------------------------

    /// A leader that a majority did not answer for an election timeout is a leader of nobody: it steps down, so that
    /// its clients are told.
    pub(super) fn quorum_check_due(&mut self) {
        let voters = self.log.voters();
        let Part::Leader(leader) = &mut self.part else { return };
        leader.heard.insert(self.me);
        let heard = voters.iter().filter(|v| leader.heard.contains(v)).count();
        leader.heard_before = std::mem::take(&mut leader.heard);
        if heard < quorum::majority(voters.len()) {
            self.quiet = true;
            self.become_follower(None);
            return;
        }
        self.give_up_old_transfer();
    }

    fn give_up_old_transfer(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        transfer.checks += 1;
        if transfer.checks >= 2 {
            let held = leader.transfer.take().map(|t| t.held).unwrap_or_default();
            self.propose(held);
        }
    }

    /// The own disk hangs: whoever is best placed should lead instead.
    ///
    /// Gray lasts until the disk answers, and so begins only if it owes an answer. Otherwise
    ///   1. of three replicas one is dead; 1, whose log is the longest, was slow for a moment, but its disk is idle;
    ///   2. 1 does not stand, and refuses 2, whose log is shorter; a refusal gives its disk nothing to answer;
    ///   3. there is never a leader again.
    pub(super) fn turn_gray(&mut self) {
        self.gray = !self.tickets.is_idle();
        if matches!(self.part, Part::Leader(_)) {
            self.hand_over();
            // With a hanging disk nothing more will match: the voters judge the candidate's log.
            self.tell_successor(true);
            // Quiet, not gone: should nobody take over, the disk's next answer lets it stand again.
            self.become_follower(None);
        }
    }

    pub(super) fn hand_over(&mut self) {
        let voters = self.voters_other();
        let Some(leader) = self.leader() else { return };
        let best = voters
            .iter()
            .filter_map(|v| leader.of(*v))
            .max_by_key(|p| (p.matched, std::cmp::Reverse(p.member.id)))
            .map(|p| p.member.id);
        if let (Some(to), None) = (best, &leader.transfer) {
            leader.transfer = Some(Transfer { to, told: false, held: Vec::new(), checks: 0 });
        }
    }

    /// Tells whom leadership is handed to that it may stand: as soon as it holds everything, or at once.
    fn tell_successor(&mut self, at_once: bool) {
        let (term, last) = (self.hard.term, self.log.last());
        let Some(leader) = self.leader() else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let caught_up = leader.progress.get(&transfer.to).is_some_and(|p| p.matched == last);
        if !transfer.told && (caught_up || at_once) {
            transfer.told = true;
            let to = transfer.to;
            self.say(to, Frame::TimeoutNow { term });
        }
    }
}
