//! The node: the one owner of term, vote, role, log position, commit and membership of a replica.
//!
//! `step` is told one thing and changes the node; `duties` hands out what has to be done about it, in the order in
//! which it has to be done. Nothing is done in here: no clock is read, no disk written, nothing sent, no die thrown.

use std::collections::{BTreeMap, VecDeque};

use super::election::{self, Ballot};
use super::founding::{Founder, Introduction};
use super::leader::Leader;
use super::{
    Address, Batch, Body, Change, ClusterId, Duty, Entry, Founding, FoundingState, Frame, HardState, Index, Input, Log,
    Member, Membership, Reader, Recovered, ReplicaId, Role, Run, Settings, Standing, Term, Ticket, Tickets,
};

/// What the node does about leadership.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Follower { leader: Option<ReplicaId> },
    PreCandidate(Ballot),
    Candidate(Ballot),
    Leader(Box<Leader>),
}

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) me: Member,
    pub(super) run: Run,
    pub(super) hard: HardState,
    pub(super) log: Log,
    pub(super) tickets: Tickets,
    pub(super) part: Part,
    pub(super) commit: Index,
    /// The last entry handed to the state.
    pub(super) applying: Index,
    pub(super) applied: Index,
    /// What of it outlasts a crash of the machine, as far as is known.
    pub(super) state_durable: Index,
    /// What the state was handed and has not applied: (last index, bytes) of each hand-over, and the sum.
    pub(super) applying_bytes: VecDeque<(Index, usize)>,
    pub(super) applying_bytes_sum: usize,
    pub(super) loading_for_state: bool,
    /// No leader was heard of lately: pre-votes may be granted.
    pub(super) quiet: bool,
    pub(super) gray: bool,
    /// How far this log equals the current leader's: the end of the last append that fitted.
    pub(super) verified: Index,
    /// What was acknowledged last, and in which term: by links that stood ever since.
    pub(super) told: (Term, Index),
    pub(super) founder: Founder,
    /// As it is on the disk or on its way there.
    pub(super) founding: FoundingState,
    /// The part of `founding` that is durable, and so may be shown.
    pub(super) founding_durable: FoundingState,
    pub(super) founding_ticket: Option<Ticket>,
    pub(super) record: Option<Founding>,
    pub(super) cluster: Option<ClusterId>,
    /// Linked peers.
    pub(super) peers: BTreeMap<ReplicaId, Introduction>,
    pub(super) runs: BTreeMap<Member, Run>,
    /// What a member acknowledged of what was committed: if its log ends earlier later, it lost its disk's tail.
    pub(super) acknowledged: BTreeMap<Member, Index>,
    /// Frames that wait until term and vote are durable.
    pub(super) unspoken: Vec<(ReplicaId, Frame)>,
    /// Reads asked in this turn.
    pub(super) reads_asked: Vec<u64>,
    /// Changes of members asked for in this turn.
    pub(super) changes_asked: Vec<(u64, Change)>,
    /// The config's address book: in force until the log has one.
    pub(super) addresses: Vec<Address>,
    /// The batch that this turn adds up to.
    pub(super) batch: Batch,
    pub(super) duties: Vec<Duty>,
    /// The wall clock, as told: only stamps entries.
    pub(super) clock: u64,
    announced: Option<Standing>,
    announced_voters: Option<Membership>,
    told_dismissed: bool,
}

impl Node {
    /// A node as its disk remembers it.
    pub fn new(recovered: &Recovered, settings: Settings) -> Self {
        let log = Log::recovered(recovered);
        let sealed = recovered.founding == FoundingState::Sealed;
        assert!(
            recovered.applied >= recovered.base.index,
            "the log begins behind {}, but the state has applied only {}",
            recovered.base.index,
            recovered.applied
        );
        // Everything applied was committed, whatever this log's own summary says of it.
        let commit = recovered.applied.max(if sealed { Index(1) } else { Index(0) });
        assert!(commit <= log.last(), "the state has applied {commit}, but the log ends at {}", log.last());
        let cluster = recovered.cluster.or(recovered.record.as_ref().map(|r| r.cluster));
        let founder = Founder::new(recovered.me, settings.ids, settings.book, settings.joins, settings.fresh_cluster);
        Self {
            me: recovered.me,
            run: settings.run,
            hard: recovered.hard_state,
            tickets: Tickets::recovered(log.last()),
            log,
            part: Part::Follower { leader: None },
            commit,
            applying: recovered.applied,
            applied: recovered.applied,
            state_durable: recovered.base.index,
            applying_bytes: VecDeque::new(),
            applying_bytes_sum: 0,
            loading_for_state: false,
            quiet: true,
            gray: false,
            verified: Index(0),
            told: (Term(0), Index(0)),
            founder,
            founding: recovered.founding,
            founding_durable: recovered.founding,
            founding_ticket: None,
            record: recovered.record.clone(),
            cluster,
            peers: BTreeMap::new(),
            runs: recovered.peer_runs.iter().copied().collect(),
            acknowledged: BTreeMap::new(),
            unspoken: Vec::new(),
            reads_asked: Vec::new(),
            changes_asked: Vec::new(),
            addresses: settings.addresses,
            batch: Batch::default(),
            duties: cluster.into_iter().filter(|_| sealed).map(Duty::Founded).collect(),
            clock: 0,
            announced: None,
            announced_voters: None,
            told_dismissed: false,
        }
    }

    /// Tells the node one thing. `clock` is the wall clock in Unix milliseconds; it stamps entries and decides nothing.
    pub fn step(&mut self, clock: u64, input: Input) {
        self.clock = clock;
        match input {
            Input::LinkUp(peer) => self.link_up(peer),
            Input::LinkDown(id) => self.link_down(id),
            Input::Frame(from, frame) => self.frame(from, frame),
            Input::Campaign => self.campaign(),
            Input::LeaderQuiet => self.quiet = true,
            Input::PulseDue => self.pulse_due(),
            Input::QuorumCheckDue => self.quorum_check_due(),
            Input::Propose(payloads) => self.propose(payloads),
            Input::Read(id) => self.reads_asked.push(id),
            Input::Change(id, change) => self.changes_asked.push((id, change)),
            Input::Found => self.found_without_missing(),
            Input::Stored(ticket) => self.stored(ticket),
            Input::Loaded(Reader::Peer(id), entries) => self.loaded_for_peer(id, entries),
            Input::Loaded(Reader::State, entries) => self.loaded_for_state(entries),
            Input::Applied(index) => self.applied_to(index),
            Input::StateDurable(index) => self.state_durable = self.state_durable.max(index),
            Input::Cut(mark) => self.cut(mark),
            Input::SnapshotMade(snapshot) => self.offer_snapshot(&snapshot),
            Input::SnapshotFetched(snapshot) => self.snapshot_fetched(snapshot),
            Input::Gray => self.turn_gray(),
            Input::HandOver => self.hand_over(),
            // Voters count answers, not deaths.
            Input::Dead(..) | Input::Silent(_) | Input::Isolated => {}
        }
    }

    /// What has to be done about all that was told since the last call, in order. Batches what can be batched: told
    /// many proposals, one batch goes to the disk and one append to each follower.
    pub fn duties(&mut self) -> Vec<Duty> {
        self.found();
        self.ask_reads();
        self.ask_changes();
        self.close_batch();
        self.advance_commit();
        self.promote_learners();
        // Both may have appended once more (a change of membership): that goes into a batch of its own.
        self.close_batch();
        self.broadcast();
        self.apply_committed();
        self.announce();
        self.trim();
        std::mem::take(&mut self.duties)
    }

    // --- what others may look at -------------------------------------------------------------------------------

    /// Its place in the cluster.
    pub fn standing(&self) -> Standing {
        let (role, leader) = match &self.part {
            Part::Leader(_) => (Role::Leader, Some(self.me.id)),
            Part::PreCandidate(_) | Part::Candidate(_) => (Role::Candidate, None),
            Part::Follower { leader } if self.may_vote() => (Role::Follower, *leader),
            Part::Follower { leader } => (Role::Learner, *leader),
        };
        Standing { role, term: self.hard.term, leader }
    }

    /// Who this is.
    pub fn me(&self) -> Member {
        self.me
    }

    /// The highest index known to be committed.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The end of its log, durable or not.
    pub fn last(&self) -> Index {
        self.log.last()
    }

    /// The state's position in the log.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The oldest time a new entry may carry: what the leader's clock is raised to.
    pub fn last_time(&self) -> u64 {
        self.log.last_time()
    }

    /// The log's summary, for checkers.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Term and vote as they stand in memory.
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// The cluster's name, once there is a founding record.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Whether a batch is on its way to the disk.
    pub fn is_storing(&self) -> bool {
        !self.tickets.is_idle()
    }

    /// What this replica shows of itself when a link comes up. Only what is durable is shown.
    pub fn introduction(&self) -> Introduction {
        self.founder.introduction(
            self.run,
            self.cluster.filter(|_| self.founding_durable != FoundingState::Blank),
            self.founding_durable,
            self.tickets.durable().index(),
        )
    }

    /// The voters in force.
    pub fn voters(&self) -> &[Member] {
        self.log.voters()
    }

    /// How far the leader knows a peer's log to match its own, on stable storage. `None` unless this replica leads.
    pub fn matched(&self, id: ReplicaId) -> Option<Index> {
        match &self.part {
            Part::Leader(leader) => leader.progress.get(&id).map(|p| p.matched),
            Part::Follower { .. } | Part::PreCandidate(_) | Part::Candidate(_) => None,
        }
    }

    pub(super) fn membership(&self) -> Membership {
        self.log.membership().map_or_else(Membership::default, |(_, membership)| membership.clone())
    }

    /// Who belongs to the cluster by what is committed.
    pub fn committed_membership(&self) -> Option<&Membership> {
        self.log.committed_membership(self.commit)
    }

    /// Whether a committed entry has taken this replica out for good.
    pub fn is_dismissed(&self) -> bool {
        self.committed_membership().is_some_and(|m| m.is_dismissed(self.me))
    }

    /// Whether this replica may vote and stand: its cluster is sealed and names this very incarnation.
    pub(super) fn may_vote(&self) -> bool {
        self.is_sealed() && self.voters().contains(&self.me)
    }

    /// Whether this replica belongs to a cluster that exists, as far as its disk knows.
    pub(super) fn is_sealed(&self) -> bool {
        self.founding_durable == FoundingState::Sealed
    }

    // --- saying and storing --------------------------------------------------------------------------------------

    /// Sends a frame, but not before term and vote are durable.
    pub(super) fn say(&mut self, to: ReplicaId, frame: Frame) {
        if !self.hard_pending() {
            self.duties.push(Duty::Send(to, frame));
        } else {
            self.unspoken.push((to, frame));
        }
    }

    /// A pulse says who leads which term: it, too, waits for the term to be durable, by not being sent at all.
    pub(super) fn pulse(&mut self, to: ReplicaId, frame: Frame) {
        if !self.hard_pending() {
            self.duties.push(Duty::Pulse(to, frame));
        }
    }

    fn hard_pending(&self) -> bool {
        self.batch.hard_state.is_some() || !self.tickets.hard_state_is_durable()
    }

    pub(super) fn set_hard_state(&mut self, term: Term, vote: Option<Member>) {
        assert!(term >= self.hard.term, "term {} falls to {term}", self.hard.term);
        assert!(
            term > self.hard.term || self.hard.vote.is_none() || self.hard.vote == vote,
            "a second vote in term {term}"
        );
        self.hard = HardState { term, vote };
        self.batch.hard_state = Some(self.hard);
    }

    pub(super) fn append(&mut self, entry: Entry) {
        self.batch.append.push(entry.clone());
        self.log.append(entry);
    }

    /// Appends an entry of the own term. The clock never makes times fall along the log.
    pub(super) fn append_own(&mut self, body: Body) {
        let entry = Entry {
            index: self.log.last().next(),
            term: self.hard.term,
            time: self.clock.max(self.log.last_time()),
            body,
        };
        self.append(entry);
    }

    pub(super) fn truncate_from(&mut self, from: Index) {
        assert!(from > self.commit, "entry {from} is committed (up to {}) and would be truncated", self.commit);
        // A batch is appended to only in order: what it holds already goes to the disk first.
        self.close_batch();
        self.log.truncate_from(from);
        self.tickets.truncate_from(from);
        self.batch.truncate_from = Some(from);
    }

    /// Hands what gathered to the store, under one ticket.
    pub(super) fn close_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if batch == Batch::default() {
            return;
        }
        batch.ticket = self.tickets.issue(self.log.last(), batch.hard_state.is_some());
        if batch.founding.is_some() {
            self.founding_ticket = Some(batch.ticket);
        }
        self.duties.push(Duty::Persist(batch));
    }

    fn stored(&mut self, ticket: Ticket) {
        let spoke_before = self.tickets.durable();
        self.tickets.redeem(ticket);
        self.gray = false;
        if self.founding_ticket.is_some_and(|t| t <= ticket) {
            self.founding_ticket = None;
            self.founding_durable = self.founding;
            self.founding_is_durable();
        }
        if !self.hard_pending() {
            for (to, frame) in std::mem::take(&mut self.unspoken) {
                self.duties.push(Duty::Send(to, frame));
            }
            self.own_vote_is_durable();
        }
        if self.tickets.durable() != spoke_before {
            self.acknowledge();
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    fn link_up(&mut self, peer: Introduction) {
        if self.committed_membership().is_some_and(|m| m.is_dismissed(peer.member)) {
            self.duties.push(Duty::RefuseRemoved(peer.member, peer.run));
            return;
        }
        if self.is_restored_copy(&peer) {
            self.duties.push(Duty::RefuseRestored(peer.member, peer.run));
            return;
        }
        if self.runs.get(&peer.member) != Some(&peer.run) {
            self.runs.insert(peer.member, peer.run);
            self.batch.peer_runs.push((peer.member, peer.run));
        }
        self.founder.met(peer.clone());
        self.told = (Term(0), Index(0));
        let id = peer.member.id;
        // A new log is met where it ends; one of this leader's term is probed there.
        let last = peer.last.min(self.log.last());
        self.peers.insert(id, peer);
        self.offer_record(id);
        self.track(id, last);
    }

    /// A disk that was copied back from earlier: its run is older than one we know, or another of the same count, or
    /// its log ends before what it acknowledged, or its incarnation has been replaced.
    ///
    /// The same run again is no copy, whatever it shows, because what it shows may be older than what it said since:
    ///   1. two connections are dialed; on the second, the peer shows that its log ends at 8;
    ///   2. on the first, it acknowledges 10, and 10 is committed;
    ///   3. the second replaces the first: 8 is less than 10, and a healthy replica is told to wipe itself.
    fn is_restored_copy(&self, peer: &Introduction) -> bool {
        let known = self.runs.get(&peer.member);
        // A member of the cluster before this one is no copy: its disk may be all that is left of that cluster.
        if known == Some(&peer.run) || self.is_stranger(peer) {
            return false;
        }
        let older_run = known.is_some_and(|known| peer.run.boot <= known.boot);
        let shorter_log = self.acknowledged.get(&peer.member).is_some_and(|acked| peer.last < *acked);
        let removed = self.committed_membership().is_some_and(|m| m.removed.contains(&peer.member));
        older_run || shorter_log || removed
    }

    fn link_down(&mut self, id: ReplicaId) {
        self.peers.remove(&id);
        self.founder.lost(id);
        self.unspoken.retain(|(to, _)| *to != id);
        if let Part::Leader(leader) = &mut self.part {
            leader.lost(id);
        }
    }

    fn frame(&mut self, from: Member, frame: Frame) {
        if self.peers.get(&from.id).is_none_or(|p| p.member != from) {
            return; // of a link that is gone, or of an incarnation that was refused
        }
        if self.peers.get(&from.id).is_some_and(|peer| self.is_stranger(peer)) {
            return;
        }
        match frame {
            Frame::PreVote { term, last, last_term } => self.pre_vote_asked(from, term, last, last_term),
            Frame::PreVoteReply { term, granted } => self.pre_vote_answered(from, term, granted),
            Frame::Vote { term, last, last_term } => self.vote_asked(from, term, last, last_term),
            Frame::VoteReply { term, granted } => self.vote_answered(from, term, granted),
            Frame::Append { term, prev, prev_term, commit, entries } => {
                self.append_asked(from, term, (prev, prev_term), commit, entries);
            }
            Frame::Snapshot { term, snapshot } => self.snapshot_offered(from, term, snapshot),
            Frame::AppendOk { term, matched } => self.append_ok(from, term, matched.index()),
            Frame::AppendReject { term, prev, hint, hint_term } => {
                self.append_rejected(from, term, prev, (hint, hint_term));
            }
            Frame::TimeoutNow { term } => self.timeout_now(term),
            Frame::ReadIndex { term, id } => self.read_asked(from, term, id),
            Frame::ReadIndexReply { term, id, index } => self.read_answered(term, id, index),
            Frame::Beat { term, round, commit } => self.beat(from, term, round, commit),
            Frame::BeatReply { term, round, received } => self.beat_answered(from, term, round, received),
            Frame::Change { term, id, change } => self.change_asked(from, term, id, change),
            Frame::ChangeReply { term, id, verdict } => self.change_answered(term, id, verdict),
            Frame::Found(record) => self.copy_record(&record),
            Frame::FoundingNews { cluster, state } => self.founding_heard(from, cluster, state),
            // Stamped by the Replicator, which then proposes.
            Frame::Forward { .. } => {}
            // Of the other mode: the handshake lets no replica of it in.
            Frame::View(_) => {}
        }
    }

    /// Whether a linked peer belongs to another cluster. Links between two clusters are refused, but one that came up
    /// while this replica was blank outlives its joining:
    ///   1. 3 is blank, and linked to 1, whose cluster was founded anew, and to 2, of the cluster before;
    ///   2. 1 hands it its log; 3 acknowledges, and is made a voter;
    ///   3. 2 leads what is left of the old cluster, in a higher term: 3 would drop what it has acknowledged to 1.
    fn is_stranger(&self, peer: &Introduction) -> bool {
        matches!((peer.cluster, self.cluster), (Some(theirs), Some(ours)) if theirs != ours)
    }

    // --- terms and roles -------------------------------------------------------------------------------------

    /// Takes part in a higher term, as a follower that knows no leader yet.
    pub(super) fn adopt_term(&mut self, term: Term) {
        if term > self.hard.term {
            self.set_hard_state(term, None);
            self.become_follower(None);
        }
    }

    pub(super) fn become_follower(&mut self, leader: Option<ReplicaId>) {
        let known = match &self.part {
            Part::Follower { leader } => *leader,
            Part::PreCandidate(_) | Part::Candidate(_) | Part::Leader(_) => None,
        };
        if known != leader || !matches!(self.part, Part::Follower { .. }) {
            // What was verified was verified with another leader.
            self.verified = Index(0);
        }
        self.part = Part::Follower { leader };
    }

    /// A frame of the term's one leader came.
    pub(super) fn heard_leader(&mut self, leader: ReplicaId) {
        assert!(
            !matches!(self.part, Part::Leader(_)),
            "two leaders in term {}: {leader} and this replica, {}",
            self.hard.term,
            self.me.id
        );
        self.become_follower(Some(leader));
        self.quiet = false;
        self.duties.push(Duty::HeardLeader);
    }

    fn announce(&mut self) {
        let standing = self.standing();
        if self.announced != Some(standing) {
            self.announced = Some(standing);
            self.duties.push(Duty::Standing(standing));
        }
        let is_news = match (&self.announced_voters, self.log.membership()) {
            (Some(told), Some((_, now))) => told.voters != now.voters || told.addresses != now.addresses,
            (Some(told), None) => *told != Membership::default(),
            (None, _) => true,
        };
        if is_news {
            let membership = self.membership();
            self.announced_voters = Some(membership.clone());
            self.duties.push(Duty::Voters(membership));
        }
        if !self.told_dismissed && self.is_dismissed() {
            self.told_dismissed = true;
            self.duties.push(Duty::Dismissed);
        }
    }

    /// Commits up to `index`. What is committed never changes.
    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.log.last(), "commit {index} is beyond the log's end {}", self.log.last());
        self.commit = self.commit.max(index);
    }

    pub(super) fn voters_other(&self) -> Vec<Member> {
        self.voters().iter().copied().filter(|m| *m != self.me).collect()
    }

    pub(super) fn ballot(&self) -> Ballot {
        election::Ballot::new(self.voters())
    }
}
