//! The node: the one owner of views, role, log position and commit of a replica of this mode.
//!
//! Invariants, asserted where they could break:
//! - a promise never falls, and an installed view is never newer than what was promised;
//! - what is committed is never truncated, and nobody commits beyond its own log;
//! - the state applies what it was handed, and no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::consensus::founding::{Founder, Introduction};
use crate::consensus::{
    Address, Batch, Body, ClusterId, Duty, Entry, Founding, FoundingState, Frame, Index, Input, Log, Member,
    Membership, Mode, Reader, Recovered, Refusal, ReplicaId, Role, Run, Settings, Standing, Term, Ticket, Tickets,
    Verdict, View, ViewFrame, ViewId, Views,
};

use super::applying::Applying;
use super::lead::Lead;

/// What the node does about leadership.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Takes the log of the proposer of `following`, if it has one; `leader` once it was told that the view is
    /// installed.
    Follower { leader: Option<ReplicaId> },
    /// Its own view is promised here, and not yet installed.
    Proposer(Box<Lead>),
    /// Its own view is installed.
    Leader(Box<Lead>),
}

/// A linked peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) intro: Introduction,
    /// What it said of its views over this link.
    pub(super) news: Option<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) installed: ViewId,
    pub(super) promised: ViewId,
    pub(super) warm: bool,
}

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) me: Member,
    pub(super) run: Run,
    /// As on the disk, or on its way there.
    pub(super) views: Views,
    /// Was told, in this run, of an installed view that names it.
    pub(super) warm: bool,
    /// The view whose appends are taken: the promised one, or the one that this replica learns from.
    pub(super) following: ViewId,
    /// The newest view known to be installed, whether this replica is in it or learns from it.
    pub(super) known: View,
    pub(super) part: Part,
    pub(super) log: Log,
    pub(super) tickets: Tickets,
    pub(super) commit: Index,
    pub(super) applying: Applying,
    /// How far this log equals that of the proposer of `following`.
    pub(super) verified: Index,
    /// The newest run of each disk that is proven to have ended, and with it all before.
    pub(super) dead: BTreeMap<Member, Run>,
    /// See `silence`.
    pub(super) drops_silent: bool,
    pub(super) silent: BTreeSet<(Member, Run)>,
    /// Whose pulses are silent, and who leads by its own word: that counts while its link stands.
    pub(super) heard_though_silent: Option<(Member, Run)>,
    /// The leader that is not followed any more because it is silent.
    pub(super) silent_head: Option<(Member, Run)>,
    /// The views newer than the installed one that this replica has promised.
    pub(super) promises: BTreeSet<ViewId>,
    /// The newest view that anybody said, in this run, to have installed, and that this replica never promised.
    pub(super) newest_foreign: ViewId,
    pub(super) has_ended: bool,
    pub(super) peers: BTreeMap<ReplicaId, Peer>,
    pub(super) runs: BTreeMap<Member, Run>,
    pub(super) founder: Founder,
    pub(super) founding: FoundingState,
    pub(super) founding_durable: FoundingState,
    pub(super) founding_ticket: Option<Ticket>,
    pub(super) record: Option<Founding>,
    /// Frames that wait until the views they depend on are durable.
    unspoken: Vec<(ReplicaId, Frame)>,
    pub(super) reads_asked: Vec<u64>,
    addresses: Vec<Address>,
    pub(super) batch: Batch,
    pub(super) duties: Vec<Duty>,
    pub(super) clock: u64,
    announced: Option<Standing>,
    announced_members: Option<Vec<(Member, Run)>>,
    told_news: Option<News>,
}

impl Node {
    /// A node as its disk remembers it.
    pub fn new(recovered: &Recovered, settings: Settings) -> Self {
        let log = Log::recovered(recovered);
        let sealed = recovered.founding == FoundingState::Sealed;
        let commit = recovered.applied.max(if sealed { Index(1) } else { Index(0) });
        assert!(commit <= log.last(), "the state has applied {commit}, but the log ends at {}", log.last());
        let founder = Founder::new(recovered.me, settings.ids, settings.book, settings.joins, settings.fresh_cluster)
            .with_mode(Mode::PrimaryBackup);
        let views =
            recovered.views.clone().unwrap_or_else(|| views_of_founding(recovered.record.as_ref(), recovered.me));
        Self {
            me: recovered.me,
            run: settings.run,
            following: views.promised.id,
            known: views.installed.clone(),
            promises: BTreeSet::from([views.promised.id]),
            newest_foreign: ViewId::NONE,
            views,
            warm: false,
            part: Part::Follower { leader: None },
            tickets: Tickets::recovered(log.last()),
            log,
            commit,
            applying: Applying::new(recovered.applied),
            verified: Index(0),
            dead: BTreeMap::new(),
            drops_silent: false,
            silent: BTreeSet::new(),
            heard_though_silent: None,
            silent_head: None,
            has_ended: false,
            peers: BTreeMap::new(),
            runs: recovered.peer_runs.iter().copied().collect(),
            founder,
            founding: recovered.founding,
            founding_durable: recovered.founding,
            founding_ticket: None,
            record: recovered.record.clone(),
            unspoken: Vec::new(),
            reads_asked: Vec::new(),
            addresses: settings.addresses,
            batch: Batch::default(),
            duties: recovered.record.iter().filter(|_| sealed).map(|r| Duty::Founded(r.cluster)).collect(),
            clock: 0,
            announced: None,
            announced_members: None,
            told_news: None,
        }
    }

    /// Tells the node one thing. `clock` is the wall clock in Unix milliseconds; it stamps entries and decides nothing.
    pub fn step(&mut self, clock: u64, input: Input) {
        if self.has_ended {
            return;
        }
        self.clock = clock;
        match input {
            Input::LinkUp(peer) => self.link_up(peer),
            Input::LinkDown(id) => self.link_down(id),
            Input::Frame(from, frame) => self.frame(from, frame),
            Input::Campaign => self.campaign(),
            Input::Dead(member, run) => self.died(member, run),
            Input::Silent(silent) => self.are_silent(silent),
            Input::Isolated => self.is_isolated(),
            Input::PulseDue => self.pulse_round(),
            Input::QuorumCheckDue => self.outbid_again(),
            Input::Propose(payloads) => {
                if matches!(self.part, Part::Leader(_)) {
                    payloads.into_iter().for_each(|payload| self.append_own(Body::Command(payload)));
                }
            }
            Input::Read(id) => self.reads_asked.push(id),
            Input::Stored(ticket) => self.stored(ticket),
            Input::Loaded(Reader::Peer(id), entries) => self.loaded_for_peer(id, entries),
            Input::Loaded(Reader::State, entries) => self.loaded_for_state(entries),
            Input::Applied(index) => self.applying.applied_to(index),
            Input::HandOver => self.hand_over(),
            // Silence is no death. A disk that hangs holds all members up, whoever leads.
            Input::LeaderQuiet | Input::Gray => {}
            // Nobody could join later: see [`crate::mode::Core::may_found`].
            Input::Found => {}
            Input::Change(id, _) => self.duties.push(Duty::ChangeAnswered(id, Verdict::Refused(Refusal::FixedMembers))),
            // The log is kept whole: see the module's header.
            Input::StateDurable(_) | Input::Cut(_) | Input::SnapshotMade(_) | Input::SnapshotFetched(_) => {}
        }
    }

    /// What has to be done about all that was told since the last call, in order.
    pub fn duties(&mut self) -> Vec<Duty> {
        if self.has_ended {
            return std::mem::take(&mut self.duties);
        }
        self.found();
        self.ask_reads();
        self.change_view();
        self.close_batch();
        self.install();
        self.advance_commit();
        self.close_batch();
        self.broadcast();
        self.apply_committed();
        self.announce();
        self.log
            .trim(self.applying.handed().min(self.tickets.durable().index()), crate::consensus::limits::WINDOW_BYTES);
        std::mem::take(&mut self.duties)
    }

    // --- what others may look at -------------------------------------------------------------------------------

    /// Its place in the cluster.
    pub fn standing(&self) -> Standing {
        let (role, leader) = match &self.part {
            Part::Leader(_) => (Role::Leader, Some(self.me.id)),
            Part::Proposer(_) => (Role::Candidate, None),
            Part::Follower { leader } if self.may_stand() => (Role::Follower, *leader),
            Part::Follower { leader } => (Role::Learner, *leader),
        };
        Standing { role, term: Term(self.following.number), leader }
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
        self.applying.applied()
    }

    /// The log's summary, for checkers.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What it has promised and installed, as it stands in memory.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Whether that member has said of its views, over the link that stands.
    pub fn has_heard(&self, member: Member) -> bool {
        self.peers.get(&member.id).is_some_and(|peer| peer.intro.member == member && peer.news.is_some())
    }

    /// Whether it was told, in this run, of an installed view that names it.
    pub fn is_warm(&self) -> bool {
        self.warm
    }

    /// The members of the promised view, this replica aside, of whom no death is proven yet: somebody should look. Where
    /// silence counts, those of the installed one too.
    pub fn watched(&self) -> Vec<(Member, Run)> {
        let Views { promised, installed } = &self.views;
        // Whoever is left out for its silence stays left out while nobody hears it.
        let base = installed.members.iter().filter(|_| self.drops_silent);
        let members: BTreeSet<_> = promised.members.iter().chain(base).copied().collect();
        let counts = |(m, run): &(Member, Run)| *m != self.me && run.boot > NO_RUN.boot && !self.is_dead(*m, *run);
        members.into_iter().filter(counts).collect()
    }

    /// Where everybody is reached: as the config says, because no entry does.
    pub fn book(&self) -> &[Address] {
        &self.addresses
    }

    /// How far the leader knows a peer's log to match its own, on stable storage. `None` unless this replica leads.
    pub fn matched(&self, id: ReplicaId) -> Option<Index> {
        match &self.part {
            Part::Leader(lead) => lead.progress.get(&id).map(|p| p.matched),
            Part::Proposer(_) | Part::Follower { .. } => None,
        }
    }

    /// The cluster's name, once there is a founding record.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.record.as_ref().map(|record| record.cluster)
    }

    /// Whether a batch is on its way to the disk.
    pub fn is_storing(&self) -> bool {
        !self.tickets.is_idle()
    }

    /// What this replica shows of itself when a link comes up. Only what is durable is shown.
    pub fn introduction(&self) -> Introduction {
        self.founder.introduction(
            self.run,
            self.cluster().filter(|_| self.founding_durable != FoundingState::Blank),
            self.founding_durable,
            self.tickets.durable().index(),
        )
    }

    /// Whether this replica belongs to a cluster that exists, as far as its disk knows.
    pub(super) fn is_sealed(&self) -> bool {
        self.founding_durable == FoundingState::Sealed
    }

    /// Whether it was ever a member, and does not learn from a view that it is not in.
    fn may_stand(&self) -> bool {
        self.is_sealed() && self.views.installed.has(self.me) && self.following == self.views.promised.id
    }

    // --- saying and storing --------------------------------------------------------------------------------------

    /// Sends a frame, but not before the views are durable.
    pub(super) fn say(&mut self, to: ReplicaId, frame: Frame) {
        if self.views_pending() {
            self.unspoken.push((to, frame));
        } else {
            self.duties.push(Duty::Send(to, frame));
        }
    }

    pub(super) fn say_view(&mut self, to: ReplicaId, frame: ViewFrame) {
        self.say(to, Frame::View(frame));
    }

    /// A pulse waits for the views to be durable by not being sent at all.
    pub(super) fn pulse(&mut self, to: ReplicaId, frame: Frame) {
        if !self.views_pending() {
            self.duties.push(Duty::Pulse(to, frame));
        }
    }

    pub(super) fn views_pending(&self) -> bool {
        self.batch.views.is_some() || !self.tickets.hard_state_is_durable()
    }

    pub(super) fn set_views(&mut self, views: Views) {
        let (now, next) = (&self.views, &views);
        assert!(next.promised.id >= now.promised.id, "the promise {} falls to {}", now.promised.id, next.promised.id);
        assert!(next.installed.id >= now.installed.id, "view {} falls to {}", now.installed.id, next.installed.id);
        assert!(next.installed.id <= next.promised.id, "{} is installed before it is promised", next.installed.id);
        self.promises.insert(next.promised.id);
        self.promises.retain(|id| *id > next.installed.id);
        self.batch.views = Some(Box::new(views.clone()));
        self.views = views;
    }

    pub(super) fn append(&mut self, entry: Entry) {
        self.batch.append.push(entry.clone());
        self.log.append(entry);
    }

    /// Appends an entry of the own view. The clock never makes times fall along the log.
    pub(super) fn append_own(&mut self, body: Body) {
        let term = Term(self.following.number);
        let time = self.clock.max(self.log.last_time());
        self.append(Entry { index: self.log.last().next(), term, time, body });
    }

    pub(super) fn truncate_from(&mut self, from: Index) {
        assert!(from > self.commit, "entry {from} is committed (up to {}) and would be truncated", self.commit);
        self.close_batch();
        self.log.truncate_from(from);
        self.tickets.truncate_from(from);
        self.batch.truncate_from = Some(from);
    }

    /// Hands what gathered to the store, under one ticket.
    pub(super) fn close_batch(&mut self) -> Option<Ticket> {
        let mut batch = std::mem::take(&mut self.batch);
        if batch == Batch::default() {
            return None;
        }
        batch.ticket = self.tickets.issue(self.log.last(), batch.views.is_some());
        let ticket = batch.ticket;
        if batch.founding.is_some() {
            self.founding_ticket = Some(ticket);
        }
        self.duties.push(Duty::Persist(batch));
        Some(ticket)
    }

    fn stored(&mut self, ticket: Ticket) {
        let before = self.tickets.durable();
        self.tickets.redeem(ticket);
        if self.founding_ticket.is_some_and(|t| t <= ticket) {
            self.founding_ticket = None;
            self.founding_durable = self.founding;
            self.founding_is_durable();
        }
        if !self.views_pending() {
            for (to, frame) in std::mem::take(&mut self.unspoken) {
                self.duties.push(Duty::Send(to, frame));
            }
            self.install_is_durable(ticket);
            self.tell_news();
        }
        if self.tickets.durable() != before {
            self.acknowledge();
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    fn link_up(&mut self, peer: Introduction) {
        let (member, run) = (peer.member, peer.run);
        let known = self.runs.get(&member);
        // The same run again is no copy; see the other mode's node.
        if known.is_some_and(|known| *known != run && run.boot <= known.boot) {
            self.duties.push(Duty::RefuseRestored(member, run));
            return;
        }
        if known != Some(&run) {
            self.runs.insert(member, run);
            self.batch.peer_runs.push((member, run));
        }
        // A proof may have been wrong: a firewall rejects. Who is linked lives; should the link be older than the proof, there
        // will be another one.
        if self.dead.get(&member) == Some(&run) {
            self.dead.remove(&member);
        }
        self.link_down(member.id);
        self.founder.met(peer.clone());
        self.peers.insert(member.id, Peer { intro: peer, news: None });
        self.offer_record(member.id);
        self.look_for_the_head();
        if self.is_sealed() {
            let news = self.news();
            self.say_news(member.id, news);
        }
        self.meet(member.id);
    }

    fn link_down(&mut self, id: ReplicaId) {
        self.peers.remove(&id);
        self.founder.lost(id);
        self.unspoken.retain(|(to, _)| *to != id);
        if let Part::Proposer(lead) | Part::Leader(lead) = &mut self.part {
            lead.lost(id);
        }
        self.word_is_over(id);
    }

    fn frame(&mut self, from: Member, frame: Frame) {
        let Some(peer) = self.peers.get(&from.id).filter(|p| p.intro.member == from) else {
            return; // of a link that is gone, or of an incarnation that was refused
        };
        let run = peer.intro.run;
        // Of another cluster, over a link that is older than this replica's joining: see the other mode's node.
        if matches!((peer.intro.cluster, self.cluster()), (Some(theirs), Some(ours)) if theirs != ours) {
            return;
        }
        match frame {
            Frame::View(ViewFrame::Propose(view)) => self.proposed(from, run, view),
            Frame::View(ViewFrame::Accepted(id)) => self.accepted(from, run, id),
            Frame::View(ViewFrame::Installed(view)) => self.told_installed(from, run, view),
            Frame::View(ViewFrame::News { installed, promised, warm }) => {
                self.heard_news(from, News { installed, promised, warm });
            }
            Frame::Append { term, prev, prev_term, commit, entries } => {
                self.append_asked(from, super::id_of(term, from, run), (prev, prev_term), commit, entries);
            }
            Frame::AppendOk { term, matched } => self.append_ok(from, term, matched.index()),
            Frame::AppendReject { term, prev, hint, hint_term } => {
                self.append_rejected(from, term, prev, (hint, hint_term));
            }
            Frame::Beat { term, round, commit } => self.beat(from, super::id_of(term, from, run), round, commit),
            Frame::BeatReply { term, round, .. } => self.beat_answered(from, term, round),
            Frame::ReadIndex { term, id } => self.read_asked(from, term, id),
            Frame::ReadIndexReply { id, index, .. } => self.duties.push(Duty::ReadReady(id, index)),
            Frame::TimeoutNow { term } => self.take_over_now(from, term),
            Frame::Found(record) => self.copy_record(&record),
            Frame::FoundingNews { cluster, state } => self.founding_heard(from, cluster, state),
            // Stamped by the Replicator, which then proposes.
            Frame::Forward { .. } => {}
            // Of the other mode.
            Frame::PreVote { .. } | Frame::PreVoteReply { .. } | Frame::Vote { .. } | Frame::VoteReply { .. } => {}
            Frame::Snapshot { .. } | Frame::Change { .. } | Frame::ChangeReply { .. } => {}
        }
    }

    // --- telling ---------------------------------------------------------------------------------------------

    pub(super) fn news(&self) -> News {
        News { installed: self.views.installed.id, promised: self.views.promised.id, warm: self.warm }
    }

    pub(super) fn say_news(&mut self, to: ReplicaId, news: News) {
        let News { installed, promised, warm } = news;
        self.say_view(to, ViewFrame::News { installed, promised, warm });
    }

    /// Tells all what is durable and new: a cold replica waits for it.
    pub(super) fn tell_news(&mut self) {
        let news = self.news();
        if self.is_sealed() && self.told_news != Some(news) {
            self.told_news = Some(news);
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.say_news(id, news);
            }
        }
    }

    fn announce(&mut self) {
        let standing = self.standing();
        if self.announced != Some(standing) {
            self.announced = Some(standing);
            self.duties.push(Duty::Standing(standing));
        }
        if self.announced_members.as_ref() != Some(&self.known.members) {
            self.announced_members = Some(self.known.members.clone());
            let voters = self.known.members.iter().map(|(member, _)| *member).collect();
            self.duties.push(Duty::Voters(Membership { voters, ..Membership::default() }));
        }
    }

    /// Commits up to `index`. What is committed never changes.
    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.log.last(), "commit {index} is beyond the log's end {}", self.log.last());
        self.commit = self.commit.max(index);
    }
}

/// The view before all views: the founders, of whom no run is known yet. A replica that is none of them has none.
pub(super) fn views_of_founding(record: Option<&Founding>, me: Member) -> Views {
    let founders = record.filter(|record| record.members.contains(&me)).map(|record| record.members.clone());
    let members = founders.unwrap_or_default().into_iter().map(|member| (member, NO_RUN)).collect();
    let view = View { members, ..View::default() };
    Views { promised: view.clone(), installed: view }
}

const NO_RUN: Run = Run { boot: crate::consensus::Boot(0), nonce: 0 };
