//! One process: what the Replicator, Election and Heartbeat actors do around the pure parts, step for step.
//!
//! The names are those of `src/actors/replicator`, and so is the order: a handler translates, a *turn* sends what can
//! be sent, takes the node's duties and carries them out. What leaves goes into `out`, in the order in which it leaves:
//! a process that dies in the middle of a turn has done a prefix of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat::{AccountId, IdRange, Name};
use plainsong::actors::courier::{CourierJob, FromCourier};
use plainsong::actors::election::timers::Timers;
use plainsong::actors::internal::{FromElection, FromLog};
use plainsong::actors::messages::{Ask, News, SessionId, Slot};
use plainsong::actors::replicator::admin::Admin;
use plainsong::actors::replicator::clocks::Clocks;
use plainsong::actors::replicator::expiry::Expiry;
use plainsong::actors::replicator::keeper::{Keeper, Log, Step};
use plainsong::actors::replicator::presence::Online;
use plainsong::actors::replicator::requests::Requests;
use plainsong::actors::replicator::storing::Storing;
use plainsong::actors::replicator::view::View;
use plainsong::actors::silence::Found;
use plainsong::actors::store::{LogJob, StateJob, StateNews};
use plainsong::consensus::founding::Introduction;
use plainsong::consensus::{
    Change, Duty, Frame, Index, Input, Member, Origin, ReplicaId, Role, Run, Snapshot, Standing, Term, ViewId, WhyAnew,
};
use plainsong::machine;
use plainsong::machine::audit::Verdict;
use plainsong::mode::Core;
use plainsong::wire::{PeerLine, Presence};

use super::checkers::ensure;
use super::heart::Heart;

pub const ELECTION_MIN: Duration = Duration::from_millis(250);
pub const ELECTION_MAX: Duration = Duration::from_millis(500);
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(3_000);
/// `drop_silent_after_ms`, where it is set: the least that is allowed.
pub const DROP_SILENT_AFTER: Duration = Duration::from_millis(2_000);
/// Short beside the retentions of these worlds, which are seconds.
const EXPIRY_PAUSE: Duration = Duration::from_millis(400);
const ORIGIN_BYTES_MAX: usize = 16 << 20;
const FORWARD_BYTES_MAX: usize = 1 << 20;
const HEARD_INTERVAL: Duration = Duration::from_millis(10);

/// What a process finds in its inbox.
#[derive(Debug)]
pub enum Mail {
    Up(Introduction),
    Down(ReplicaId),
    Lines(Member, Vec<PeerLine>),
    PulseDue,
    Living(BTreeSet<ReplicaId>),
    Election(FromElection),
    Log(FromLogNews),
    State(Vec<Told>),
    Courier(FromCourier),
    Opened(SessionId),
    Closed(SessionId),
    Submit(SessionId, Asks),
    ProposeMarks,
    Sweep,
    HandOver,
    Change(Change),
    Dead(Member, Run),
    Silence(Found),
}

/// Requests, printable: when they arrived is a real clock's time, and differs from run to run.
pub struct Asks(pub Vec<Ask>);

impl std::fmt::Debug for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|ask| write!(f, "{:?} {:?}, ", ask.slot, ask.what))
    }
}

/// `FromLog`, printable.
pub struct FromLogNews(pub FromLog);

impl std::fmt::Debug for FromLogNews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            FromLog::Stored(ticket) => write!(f, "Stored({ticket})"),
            FromLog::Loaded(reader, entries) => write!(f, "Loaded({reader:?}, {} entries)", entries.len()),
            FromLog::DiskFull(full) => write!(f, "DiskFull({full})"),
        }
    }
}

/// What the state says, printable.
pub struct Told(pub StateNews);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            StateNews::Applied { until, own, .. } => write!(f, "Applied(to {until}, {} own)", own.len()),
            StateNews::Damaged => write!(f, "Damaged"),
            StateNews::Synced(index) => write!(f, "Synced({index})"),
            StateNews::Answer(number, answer, applied) => write!(f, "Answer({number}, {answer:?}, at {applied})"),
        }
    }
}

/// What an answer rests on, for the checkers.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// This number of that run's stream.
    Write(machine::Origin),
    /// The state, when it had applied so far.
    Read(Index),
    /// Neither: a refusal, a push, something local.
    None,
}

/// What leaves a process.
pub enum Out {
    Log(LogJob),
    State(StateJob),
    Courier(CourierJob),
    Install(Snapshot),
    Lines(ReplicaId, Vec<PeerLine>),
    Pulse(ReplicaId, Vec<PeerLine>),
    Tell(SessionId, News, Proof),
    Standing(Standing),
    GatherMarks,
    GaveUp { from: Index, count: u64, to: ViewId },
    StartAnew(WhyAnew),
    EndRestored,
    EndRemoved,
}

/// See the module's header.
pub struct Replica {
    pub me: Member,
    pub run: Run,
    /// As its config file says, which is not that of the others.
    pub quota: chat::Quota,
    pub node: Core,
    pub origin: Origin,
    pub requests: Requests,
    pub online: Online,
    pub view: View,
    pub timers: Timers,
    pub heart: Heart,
    ids: Vec<ReplicaId>,
    pub inbox: Vec<Mail>,
    pub turn_due: bool,
    pub sessions: BTreeMap<SessionId, Option<(Name, AccountId)>>,
    pub marks: BTreeMap<AccountId, Vec<IdRange>>,
    pub marks_wait: Vec<(SessionId, Slot)>,
    pub marks_since: Option<Instant>,
    pub expiry: Expiry,
    to_peers: BTreeMap<ReplicaId, Vec<PeerLine>>,
    pub storing: Storing,
    pub keeper: Keeper,
    pub admin: Admin,
    pub calm: bool,
    /// It was told to start anew.
    pub ended: bool,
    drops_silent: bool,
    pub handed: Index,
    sent_to: Option<(Term, ReplicaId)>,
    heard_leader: bool,
    told_heard: Option<Instant>,
    /// As of the last turn: what a handshake shows.
    pub introduction: Introduction,
    pub now: Instant,
    pub clock: u64,
    clocks: Clocks,
    pub random: f64,
    pub out: Vec<Out>,
}

impl Replica {
    pub fn new(node: Core, run: Run, ids: Vec<ReplicaId>, now: Instant) -> Self {
        let (me, mode) = (node.me(), node.mode());
        let addresses: BTreeMap<ReplicaId, String> = ids.iter().map(|id| (*id, String::new())).collect();
        Self {
            me,
            run,
            quota: chat::Quota::NONE,
            handed: node.applied(),
            introduction: node.introduction(),
            node,
            origin: Origin::default(),
            requests: Requests::new(),
            online: Online::default(),
            view: View::new(me, addresses, now).with_mode(mode),
            timers: Timers::new(me.id, ELECTION_MIN, ELECTION_MAX),
            heart: Heart::new(me.id),
            ids,
            inbox: Vec::new(),
            turn_due: false,
            sessions: BTreeMap::new(),
            marks: BTreeMap::new(),
            marks_wait: Vec::new(),
            marks_since: None,
            expiry: Expiry::new(EXPIRY_PAUSE),
            to_peers: BTreeMap::new(),
            storing: Storing::default(),
            keeper: Keeper::default(),
            admin: Admin::default(),
            calm: false,
            ended: false,
            drops_silent: false,
            sent_to: None,
            heard_leader: false,
            told_heard: None,
            now,
            clock: 0,
            clocks: Clocks::new(now),
            random: 0.0,
            out: Vec::new(),
        }
    }

    /// Silence counts as death.
    pub fn drops_silent(&mut self) {
        self.drops_silent = true;
        self.heart.drops_silent(DROP_SILENT_AFTER, self.now);
    }

    /// Handles everything that has come, then takes one turn.
    pub fn wake(&mut self, now: Instant, clock: u64, random: f64) {
        (self.now, self.clock, self.random) = (now, clock, random);
        for mail in std::mem::take(&mut self.inbox) {
            self.handle(mail);
        }
        self.turn();
    }

    fn handle(&mut self, mail: Mail) {
        match mail {
            Mail::Up(peer) => self.peer_up(peer),
            Mail::Down(id) => {
                self.view.link_down(id, self.now);
                self.online.lost(id);
                self.clocks.lost(id);
                self.to_peers.remove(&id);
                self.step(Input::LinkDown(id));
            }
            Mail::Lines(from, lines) => self.heard_from(from, lines),
            Mail::PulseDue => {
                self.watch_disk();
                self.give_signs_of_life();
                self.step(Input::PulseDue);
                self.heart.tick_is_out = false;
            }
            Mail::Living(living) => self.view.living(living),
            Mail::Election(news) => self.step(match news {
                FromElection::Campaign => Input::Campaign,
                FromElection::LeaderQuiet => Input::LeaderQuiet,
                FromElection::QuorumCheckDue => Input::QuorumCheckDue,
            }),
            Mail::Log(FromLogNews(news)) => self.log_says(news),
            Mail::Courier(news) => self.courier_says(news),
            Mail::State(news) => news.into_iter().for_each(|Told(one)| self.state_says(one)),
            Mail::Opened(session) => {
                self.sessions.insert(session, None);
            }
            Mail::Closed(session) => {
                if let Some(name) = self.leave(session) {
                    self.gone_offline(&name);
                }
                self.sessions.remove(&session);
            }
            Mail::Submit(session, Asks(asks)) => asks.into_iter().for_each(|ask| self.asked(session, ask)),
            Mail::ProposeMarks => self.propose_marks(),
            Mail::Sweep => {
                self.refuse_expired();
                self.tell_clock();
                self.expire();
                self.admin.expire(self.now, plainsong::wire::admin::Places::default);
                self.keep_log();
            }
            Mail::HandOver => self.step(Input::HandOver),
            Mail::Change(change) => self.change_wanted(change),
            Mail::Dead(member, run) => self.step(Input::Dead(member, run)),
            Mail::Silence(Found::Silent(silent)) => self.step(Input::Silent(silent)),
            Mail::Silence(Found::Isolated) => self.step(Input::Isolated),
        }
    }

    pub fn step(&mut self, input: Input) {
        self.node.step(self.clocks.agreed(self.clock, self.now), input);
    }

    fn turn(&mut self) {
        loop {
            self.send_writes();
            self.ask_reads();
            self.ask_changes();
            let duties = self.node.duties();
            if duties.is_empty() {
                break;
            }
            self.carry_out(duties);
        }
        self.query_state();
        self.tell_who_was_heard();
        self.introduction = self.node.introduction();
        for (id, lines) in std::mem::take(&mut self.to_peers) {
            self.out.push(Out::Lines(id, lines));
        }
        self.heart.watch(self.node.watched(), self.now);
    }

    // --- proposals and reads ---------------------------------------------------------------------------------

    /// A command as number `n` of this run's stream.
    pub fn payload(&self, n: u64, command: &str) -> Bytes {
        let origin = machine::Origin { member: self.me, boot: self.run.boot, n };
        machine::payload::encode(origin, command).freeze()
    }

    fn send_writes(&mut self) {
        let Some((term, leader)) = self.view.destination(self.node.standing()) else { return };
        if self.sent_to != Some((term, leader)) {
            self.sent_to = Some((term, leader));
            self.origin.send_again();
            self.requests.ask_again();
            self.admin.ask_again(self.now);
        }
        while self.origin.bytes() < ORIGIN_BYTES_MAX {
            let n = self.origin.next();
            let Some(command) = self.requests.send_next(n) else { break };
            let payload = self.payload(n, &command);
            self.origin.offer(payload);
        }
        loop {
            let payloads = self.origin.take_unsent(FORWARD_BYTES_MAX);
            if payloads.is_empty() {
                return;
            }
            if leader == self.me.id {
                self.propose(payloads);
            } else {
                self.say(leader, PeerLine::Frame(Frame::Forward { term, payloads }));
            }
        }
    }

    fn propose(&mut self, payloads: Vec<Bytes>) {
        let quota = self.quota;
        let online = |name: &str| self.online.is_online(name, |id| self.view.is_silent(id));
        let stamp = |payload: Bytes| machine::payload::stamp(&payload, quota, online);
        let stamped = payloads.into_iter().map(stamp).collect();
        self.step(Input::Propose(stamped));
    }

    fn ask_reads(&mut self) {
        if self.view.destination(self.node.standing()).is_some()
            && let Some(number) = self.requests.ask_reads()
        {
            self.step(Input::Read(number));
        }
    }

    fn give_signs_of_life(&mut self) {
        if self.drops_silent {
            for id in self.view.linked() {
                self.out.push(Out::Pulse(id, vec![PeerLine::Clock(self.clock)]));
            }
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    fn say(&mut self, to: ReplicaId, line: PeerLine) {
        self.to_peers.entry(to).or_default().push(line);
    }

    pub fn tell_presence(&mut self, news: Option<Presence>) {
        let Some(news) = news else { return };
        let me = self.me.id;
        for id in self.ids.clone().into_iter().filter(|id| *id != me) {
            self.say(id, PeerLine::Presence(news.clone()));
        }
    }

    pub fn gone_offline(&mut self, name: &Name) {
        let news = self.online.leave(name);
        self.tell_presence(news);
    }

    fn peer_up(&mut self, peer: Introduction) {
        let id = peer.member.id;
        self.view.link_up(peer.member, self.now);
        self.to_peers.remove(&id);
        self.say(id, PeerLine::Clock(self.clock));
        for mut news in self.online.all_here() {
            // From a hash map: in another order in every run.
            news.online.sort_unstable();
            self.say(id, PeerLine::Presence(news));
        }
        if self.sent_to.is_some_and(|(_, leader)| leader == id) {
            self.sent_to = None;
        }
        self.step(Input::LinkUp(peer));
    }

    fn tell_clock(&mut self) {
        if self.clocks.is_due(self.now) {
            for id in self.view.linked() {
                self.say(id, PeerLine::Clock(self.clock));
            }
        }
    }

    fn heard_from(&mut self, from: Member, lines: Vec<PeerLine>) {
        self.view.heard(from.id, self.now);
        for line in lines {
            match line {
                PeerLine::Frame(Frame::Forward { term, payloads }) => {
                    let standing = self.node.standing();
                    if standing.role == Role::Leader && standing.term == term {
                        self.propose(payloads);
                    }
                }
                PeerLine::Frame(frame) => self.step(Input::Frame(from, frame)),
                PeerLine::Fetch(fetch) => self.out.push(Out::Courier(CourierJob::Read(from.id, fetch))),
                PeerLine::Chunk(chunk) => self.out.push(Out::Courier(CourierJob::Write(from.id, chunk))),
                PeerLine::Presence(news) => self.online.heard(from.id, news),
                PeerLine::Clock(theirs) => self.clocks.heard(from.id, theirs, self.now),
                PeerLine::News(news) => {
                    for verdict in self.view.news(from.id, news) {
                        self.judge_state(verdict);
                    }
                }
                PeerLine::Removed(member, run) => {
                    if (member, run) == (self.me, self.run) {
                        self.dismissed();
                    }
                }
                PeerLine::Restored(member, run) => {
                    if (member, run) == (self.me, self.run) {
                        self.out.push(Out::EndRestored);
                    }
                }
            }
        }
    }

    // --- disks -----------------------------------------------------------------------------------------------

    fn log_says(&mut self, news: FromLog) {
        match news {
            FromLog::Stored(ticket) => {
                self.storing.answer(ticket, self.now);
                self.step(Input::Stored(ticket));
            }
            FromLog::Loaded(reader, entries) => self.step(Input::Loaded(reader, entries)),
            FromLog::DiskFull(full) => self.view.disk_full(full),
        }
    }

    fn courier_says(&mut self, news: FromCourier) {
        match news {
            FromCourier::Made(snapshot) => {
                self.keeper.lend(snapshot.base.index, self.now);
                self.step(Input::SnapshotMade(snapshot));
            }
            FromCourier::Piece(to, chunk) => {
                self.keeper.asked(self.now);
                self.say(to, PeerLine::Chunk(chunk));
            }
            FromCourier::Ask(from, asks) => asks.into_iter().for_each(|ask| self.say(from, PeerLine::Fetch(ask))),
            FromCourier::Fetched(snapshot) if !self.node.wants(&snapshot) => {
                self.out.push(Out::Courier(CourierJob::Forget));
            }
            FromCourier::Fetched(snapshot) => self.step(Input::SnapshotFetched(snapshot)),
        }
    }

    fn keep_log(&mut self) {
        let node = &self.node;
        let (base, last) = (node.log().base(), node.last());
        let log = Log { base, last, applied: node.applied(), followed: node.slowest_followed() };
        match self.keeper.next(log, self.now) {
            None => {}
            Some(Step::Sync) => self.out.push(Out::State(StateJob::Sync)),
            Some(Step::Archive(mark)) => self.keeper.archived(mark),
            Some(Step::Cut(mark)) => self.step(Input::Cut(mark)),
        }
    }

    fn watch_disk(&mut self) {
        let hangs = self.storing.hangs(self.now, ELECTION_MAX);
        if hangs && self.node.standing().role == Role::Leader {
            self.step(Input::Gray);
        }
    }

    // --- duties ----------------------------------------------------------------------------------------------

    fn carry_out(&mut self, duties: Vec<Duty>) {
        for duty in duties {
            match duty {
                Duty::Persist(batch) => {
                    self.storing.hand(batch.ticket, self.now);
                    self.out.push(Out::Log(LogJob::Persist(batch)));
                }
                Duty::Load(reader, from, to) => self.out.push(Out::Log(LogJob::Load(reader, from, to))),
                Duty::Apply(entries) => {
                    self.handed = entries.last().map_or(self.handed, |entry| entry.index);
                    self.out.push(Out::State(StateJob::Apply(entries)));
                }
                Duty::Send(to, frame) => self.say(to, PeerLine::Frame(frame)),
                Duty::Pulse(to, frame) => self.pulse(to, frame),
                Duty::MakeSnapshot(at_least) => self.out.push(Out::Courier(CourierJob::Make(at_least))),
                Duty::Fetch(from, snapshot) => self.out.push(Out::Courier(CourierJob::Fetch(from, snapshot))),
                Duty::Install(snapshot) => self.out.push(Out::Install(snapshot)),
                Duty::ReadReady(number, index) => self.requests.confirm(number, index),
                Duty::HeardLeader => self.heard_leader = true,
                Duty::Standing(standing) => self.stands(standing),
                Duty::StandSoon => {
                    self.tell_who_was_heard();
                    self.timers.stand_soon(self.now);
                }
                Duty::Founded(_) => {}
                Duty::GaveUp { from, count, to } => self.out.push(Out::GaveUp { from, count, to }),
                Duty::StartAnew(why) => {
                    self.ended = true;
                    self.out.push(Out::StartAnew(why));
                }
                Duty::ChangeAnswered(number, verdict) => self.change_answered(number, verdict),
                Duty::Dismissed => self.dismissed(),
                Duty::RefuseRemoved(member, run) => self.say(member.id, PeerLine::Removed(member, run)),
                Duty::Voters(membership) => self.view.voters(&membership.voters),
                Duty::RefuseRestored(member, run) => self.say(member.id, PeerLine::Restored(member, run)),
            }
        }
    }

    pub fn judge_state(&mut self, verdict: Verdict) {
        // Who is about to yield differs from those whom it yields to.
        let right = verdict == Verdict::Agrees || self.node.may_have_to_yield();
        ensure!(SameState, right, "{} finds {verdict:?}", self.me);
    }

    fn pulse(&mut self, to: ReplicaId, frame: Frame) {
        let applied = self.node.applied();
        let news = match frame {
            Frame::Beat { .. } => self.view.spread(applied),
            _ => vec![self.view.report(applied)],
        };
        self.out.push(Out::Pulse(to, vec![PeerLine::Frame(frame), PeerLine::News(news)]));
    }

    fn tell_who_was_heard(&mut self) {
        let recently = self.told_heard.is_some_and(|at| self.now.duration_since(at) < HEARD_INTERVAL);
        if std::mem::take(&mut self.heard_leader) && !recently {
            self.told_heard = Some(self.now);
            self.timers.heard(self.now, self.random);
        }
    }

    fn stands(&mut self, standing: Standing) {
        self.view.standing(standing, self.now);
        self.timers.standing(self.now, standing, self.random);
        self.heart.standing(standing, self.now);
        self.out.push(Out::Standing(standing));
    }
}
