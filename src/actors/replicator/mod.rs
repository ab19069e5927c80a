//! Replicator: owns the one [`Core`] of this replica, and nothing else changes it.
//!
//! A handler translates what it is told into inputs of the node, into rows of [`requests::Requests`], or into news for
//! sessions, and asks for a *turn*. The turn comes when the mailbox is empty (or after [`TURN_INPUTS_MAX`] messages): it
//! sends what can be sent, takes the node's duties and carries them out in order. So one turn makes one batch for the
//! disk, one append for each follower and one message for each session, however many requests came in.
//!
//! No handler waits for anything.

mod duties;
pub mod hub;
pub mod presence;
pub mod requests;
mod sessions;
pub mod storing;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use bytes::{Bytes, BytesMut};
use chat::{AccountId, IdRange};
use tokio::sync::oneshot;

use super::internal::{
    Ending, FromElection, FromHeartbeat, FromLog, FromPeer, FromState, Shared, Stop, ToElection, ToHeartbeat, ToPeer,
};
use super::messages::{News, SessionId, Slot};
use super::store::{LogJob, StateJob};
use crate::consensus::{Boot, Frame, Input, Member, Origin, ReplicaId, Role, Run, Term};
use crate::machine;
use crate::mode::Core;
use crate::wire::{PeerLine, Presence};
use hub::Hub;
use presence::Online;
use requests::Requests;
use storing::Storing;
use view::View;

/// A turn comes at the latest after so many messages.
const TURN_INPUTS_MAX: usize = 256;
/// Proposals of this replica that are sent and unresolved, in bytes: behind that, writes are held.
const ORIGIN_BYTES_MAX: usize = 16 << 20;
/// Proposals in one frame to the leader, in bytes.
const FORWARD_BYTES_MAX: usize = 1 << 20;
/// How often what has waited too long is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// Delivered marks wait so long for company.
const MARK_GATHER: Duration = Duration::from_millis(5);
/// Marks that make one command, in bytes as they are printed at most: what gathers beyond this goes at once.
pub const MARKS_BYTES_MAX: usize = 32 << 10;
/// The longest text of an account's id in a mark, with its separators.
const MARK_ACCOUNT_BYTES: usize = ";9223372036854775807:".len();
/// The longest text of a range in a mark, with its separator.
const MARK_RANGE_BYTES: usize = ",9223372036854775807-9223372036854775807".len();
/// Election is told at most once in this time that a leader was heard of.
const HEARD_INTERVAL: Duration = Duration::from_millis(10);
/// A stopping leader waits so long for another to take over.
const HAND_OVER_MAX: Duration = Duration::from_millis(1_500);
/// A stopping replica waits so long for its sessions to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What a replicator is made with.
pub struct ReplicatorSettings {
    /// This replica in this life.
    pub me: Member,
    /// This run's boot count: it names this run's stream of proposals.
    pub boot: Boot,
    /// `request_timeout_ms`.
    pub request_timeout: Duration,
    /// `election_timeout_max_ms`: bounds what a disk may take.
    pub election_timeout_max: Duration,
    /// What is stamped on entries while this replica leads.
    pub quota: chat::Quota,
    /// Where clients reach each replica.
    pub addresses: BTreeMap<ReplicaId, String>,
    /// What other actors may look at.
    pub shared: Arc<Shared>,
}

/// Where a replicator's duties go.
pub struct Outlets {
    /// The log's thread.
    pub log: std::sync::mpsc::Sender<LogJob>,
    /// The state's thread.
    pub state: std::sync::mpsc::Sender<StateJob>,
    /// One link a replica.
    pub peers: BTreeMap<ReplicaId, Recipient<ToPeer>>,
    /// The pulse links.
    pub heartbeat: Recipient<ToHeartbeat>,
    /// The timers.
    pub election: Recipient<ToElection>,
    /// Told once, when serving ends.
    pub ending: oneshot::Sender<Ending>,
}

/// See the module's header.
pub struct Replicator {
    settings: ReplicatorSettings,
    node: Core,
    origin: Origin,
    requests: Requests,
    hub: Hub,
    online: Online,
    view: View,
    outlets: Option<Outlets>,
    /// Lines of this turn for each peer, in order.
    to_peers: BTreeMap<ReplicaId, Vec<PeerLine>>,
    /// Lines of this turn for each pulse link.
    pulses: Vec<(ReplicaId, Vec<PeerLine>)>,
    marks: BTreeMap<AccountId, Vec<IdRange>>,
    /// What they are printed in, at most.
    marks_bytes: usize,
    marks_wait: Vec<(SessionId, Slot)>,
    marks_since: Option<Instant>,
    /// Batches on their way to the disk, and since when.
    storing: Storing,
    /// The last entry handed to the state.
    handed: crate::consensus::Index,
    sent_to: Option<(Term, ReplicaId)>,
    heard_leader: bool,
    told_heard: Option<Instant>,
    told_no_quorum: bool,
    told_rebuild: Instant,
    turn_is_due: bool,
    /// When news that are held must go out.
    flush_at: Option<Instant>,
    flush_is_armed: bool,
    inputs: usize,
    stopping: Option<Stopping>,
    /// For whose deaths Heartbeat was asked to look.
    watched: Vec<(Member, Run)>,
}

/// How far a stop in good order has come.
#[derive(Clone, Copy, Debug)]
enum Stopping {
    /// Waits for another leader, since then.
    HandingOver(Instant),
    /// Waits for its sessions to end, since then.
    Draining(Instant),
}

impl Replicator {
    /// A replicator around a node. Its outlets come with [`Connect`]: actors that point at each other are made first.
    pub fn new(settings: ReplicatorSettings, node: Core) -> Self {
        let me = settings.me.id;
        let view = View::new(me, settings.addresses.clone(), Instant::now()).with_mode(node.mode());
        Self {
            handed: node.applied(),
            node,
            origin: Origin::default(),
            requests: Requests::new(),
            hub: Hub::default(),
            online: Online::default(),
            view,
            outlets: None,
            to_peers: BTreeMap::new(),
            pulses: Vec::new(),
            marks: BTreeMap::new(),
            marks_bytes: 0,
            marks_wait: Vec::new(),
            marks_since: None,
            storing: Storing::default(),
            sent_to: None,
            heard_leader: false,
            told_heard: None,
            told_no_quorum: false,
            told_rebuild: Instant::now(),
            turn_is_due: false,
            flush_at: None,
            flush_is_armed: false,
            inputs: 0,
            stopping: None,
            watched: Vec::new(),
            settings,
        }
    }

    fn step(&mut self, input: Input) {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.node.step(u64::try_from(clock).unwrap_or(u64::MAX), input);
    }

    /// Asks for a turn: after the whole mailbox, or now, if much has come already.
    fn stir(&mut self, ctx: &mut Context<Self>) {
        self.inputs += 1;
        if self.inputs >= TURN_INPUTS_MAX {
            self.turn();
            self.arm_flush(ctx);
        } else if !self.turn_is_due {
            self.turn_is_due = true;
            ctx.notify(Turn);
        }
    }

    /// What is held for sessions goes out in time, if nothing takes it along before.
    fn arm_flush(&mut self, ctx: &mut Context<Self>) {
        if let Some(at) = self.flush_at
            && !self.flush_is_armed
        {
            self.flush_is_armed = true;
            ctx.run_later(at.saturating_duration_since(Instant::now()), |replicator, ctx| {
                replicator.flush_is_armed = false;
                replicator.stir(ctx);
            });
        }
    }

    fn turn(&mut self) {
        self.inputs = 0;
        // Duties can make more possible: a new leader is sent what waited. It ends, because the node gives a duty once.
        loop {
            self.send_writes();
            self.ask_reads();
            let duties = self.node.duties();
            if duties.is_empty() {
                break;
            }
            self.carry_out(duties);
        }
        self.query_state();
        self.tell_election();
        self.flush();
    }

    // --- proposals -------------------------------------------------------------------------------------------

    /// Sends held writes to the leader, if there is one to send to: to another replica as a frame, to this one's own node
    /// as a proposal.
    fn send_writes(&mut self) {
        let Some((term, leader)) = self.view.destination(self.node.standing()) else { return };
        if self.sent_to != Some((term, leader)) {
            self.sent_to = Some((term, leader));
            self.origin.send_again();
            self.requests.ask_again();
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
            if leader == self.settings.me.id {
                self.propose(payloads);
            } else {
                self.say(leader, PeerLine::Frame(Frame::Forward { term, payloads }));
            }
        }
    }

    /// A command as number `n` of this run's stream.
    fn payload(&self, n: u64, command: &str) -> Bytes {
        let origin = machine::Origin { member: self.settings.me, boot: self.settings.boot, n };
        machine::payload::encode(origin, command).freeze()
    }

    /// Stamps proposals with what only the leader knows, and appends them.
    fn propose(&mut self, payloads: Vec<Bytes>) {
        let quota = self.settings.quota;
        let bytes = payloads.iter().map(|payload| payload.len() + quota.text_bytes()).sum();
        // One block for all of them: they are stored, sent, applied and forgotten together.
        let mut block = BytesMut::with_capacity(bytes);
        let online = |name: &str| self.online.is_online(name);
        let stamped = payloads
            .into_iter()
            .map(|payload| {
                machine::payload::stamp_into(&mut block, &payload, quota, online);
                block.split().freeze()
            })
            .collect();
        self.step(Input::Propose(stamped));
    }

    fn ask_reads(&mut self) {
        if self.view.destination(self.node.standing()).is_some()
            && let Some(number) = self.requests.ask_reads()
        {
            self.step(Input::Read(number));
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    fn say(&mut self, to: ReplicaId, line: PeerLine) {
        self.to_peers.entry(to).or_default().push(line);
    }

    fn tell_presence(&mut self, news: Option<Presence>) {
        let Some(news) = news else { return };
        let peers: Vec<_> = self.settings.addresses.keys().copied().filter(|id| *id != self.settings.me.id).collect();
        for id in peers {
            self.say(id, PeerLine::Presence(news.clone()));
        }
    }

    fn heard_from(&mut self, from: Member, lines: Vec<PeerLine>) {
        self.view.heard(from.id, Instant::now());
        for line in lines {
            match line {
                PeerLine::Frame(Frame::Forward { term, payloads }) => {
                    let standing = self.node.standing();
                    // Meant for another leader: its sender has sent, or will send, everything to that one.
                    if standing.role == Role::Leader && standing.term == term {
                        self.propose(payloads);
                    }
                }
                PeerLine::Frame(frame) => self.step(Input::Frame(from, frame)),
                PeerLine::Presence(news) => self.online.heard(from.id, news),
                PeerLine::News(news) => {
                    for verdict in self.view.news(news) {
                        self.judge_state(verdict);
                    }
                }
                PeerLine::Restored(member, run) => {
                    let me = self.node.introduction();
                    if (member, run) == (me.member, me.run) {
                        self.end(Ending::Restored);
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        *self.settings.shared.introduction.lock().expect("nobody panics while holding it: a panic aborts") =
            self.node.introduction();
        self.settings.shared.term.store(self.node.standing().term.0, Ordering::Relaxed);
        self.settings.shared.commit.store(self.node.commit().0, Ordering::Relaxed);
        if let Some(outlets) = &self.outlets {
            for (id, lines) in std::mem::take(&mut self.to_peers) {
                if let Some(peer) = outlets.peers.get(&id) {
                    peer.do_send(ToPeer(lines));
                }
            }
            if !self.pulses.is_empty() {
                outlets.heartbeat.do_send(ToHeartbeat::Pulses(std::mem::take(&mut self.pulses)));
            }
        }
        self.tell_whom_to_watch();
        self.flush_at = self.hub.flush(Instant::now());
    }

    fn tell_whom_to_watch(&mut self) {
        let watched = self.node.watched();
        if watched != self.watched
            && let Some(outlets) = &self.outlets
        {
            outlets.heartbeat.do_send(ToHeartbeat::Watch(watched.clone()));
            self.watched = watched;
        }
    }

    /// Once a turn at the most, and not more often than a timer can tell.
    fn tell_election(&mut self) {
        let now = Instant::now();
        let recently = self.told_heard.is_some_and(|at| now.duration_since(at) < HEARD_INTERVAL);
        if std::mem::take(&mut self.heard_leader) && !recently {
            self.told_heard = Some(now);
            if let Some(outlets) = &self.outlets {
                outlets.election.do_send(ToElection::Heard);
            }
        }
    }

    // --- time ------------------------------------------------------------------------------------------------

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.refuse_expired(now);
        self.tell_of_quorum(now);
        self.go_on_stopping(now, ctx);
        self.stir(ctx);
        ctx.run_later(SWEEP_INTERVAL, Self::sweep);
    }

    /// A disk that has not answered for longer than an election takes: somebody else should lead.
    fn watch_disk(&mut self) {
        let hangs = self.storing.hangs(Instant::now(), self.settings.election_timeout_max);
        if hangs && self.node.standing().role == Role::Leader {
            log::warn!(
                "the disk has not answered for {:?}: handing leadership over",
                self.settings.election_timeout_max
            );
            self.step(Input::Gray);
        }
    }

    // --- stopping --------------------------------------------------------------------------------------------

    fn go_on_stopping(&mut self, now: Instant, ctx: &mut Context<Self>) {
        match self.stopping {
            None => {}
            Some(Stopping::HandingOver(since)) => {
                let leads = self.node.standing().role == Role::Leader;
                let waits = leads && !self.view.is_alone() && now.duration_since(since) < HAND_OVER_MAX;
                if !waits {
                    self.hub.tell_all(&News::Drain);
                    self.stopping = Some(Stopping::Draining(now));
                }
            }
            Some(Stopping::Draining(since)) => {
                let idle = self.hub.is_empty() && !self.node.is_storing();
                if idle || now.duration_since(since) >= DRAIN_MAX {
                    self.end(Ending::Stopped);
                    ctx.stop();
                }
            }
        }
    }

    /// Serving ends: the stores' queues end with their senders.
    fn end(&mut self, ending: Ending) {
        if let Some(outlets) = self.outlets.take() {
            // The start-up code is gone only if the process is.
            let _ = outlets.ending.send(ending);
        }
    }
}

/// Replicator → itself: the mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Turn;

/// Start-up code → Replicator: the actors and threads that its duties go to. The first message it gets.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Connect(pub Outlets);

impl Actor for Replicator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(SWEEP_INTERVAL, Self::sweep);
    }
}

impl Handler<Turn> for Replicator {
    type Result = ();

    fn handle(&mut self, _: Turn, ctx: &mut Self::Context) {
        self.turn_is_due = false;
        self.turn();
        self.arm_flush(ctx);
    }
}

impl Handler<Connect> for Replicator {
    type Result = ();

    fn handle(&mut self, connect: Connect, ctx: &mut Self::Context) {
        self.outlets = Some(connect.0);
        self.stir(ctx);
    }
}

impl Handler<FromPeer> for Replicator {
    type Result = ();

    fn handle(&mut self, message: FromPeer, ctx: &mut Self::Context) {
        let now = Instant::now();
        match message {
            FromPeer::Up(peer) => {
                let id = peer.member.id;
                self.view.link_up(id, now);
                // What was meant for an earlier link is void, and a link begins with who is online.
                self.to_peers.remove(&id);
                for news in self.online.all_here() {
                    self.say(id, PeerLine::Presence(news));
                }
                if self.sent_to.is_some_and(|(_, leader)| leader == id) {
                    self.sent_to = None;
                }
                self.step(Input::LinkUp(peer));
            }
            FromPeer::Down(id) => {
                self.view.link_down(id, now);
                self.online.lost(id);
                self.to_peers.remove(&id);
                self.step(Input::LinkDown(id));
            }
            FromPeer::Lines(from, lines) => self.heard_from(from, lines),
        }
        self.stir(ctx);
    }
}

impl Handler<FromHeartbeat> for Replicator {
    type Result = ();

    fn handle(&mut self, message: FromHeartbeat, ctx: &mut Self::Context) {
        match message {
            FromHeartbeat::PulseDue => {
                self.watch_disk();
                self.step(Input::PulseDue);
                if let Some(outlets) = &self.outlets {
                    outlets.heartbeat.do_send(ToHeartbeat::Ticked);
                }
            }
            FromHeartbeat::Lines(from, lines) => self.heard_from(from, lines),
            FromHeartbeat::Living(living) => self.view.living(living),
            FromHeartbeat::Dead(member, run) => self.step(Input::Dead(member, run)),
        }
        self.stir(ctx);
    }
}

impl Handler<FromElection> for Replicator {
    type Result = ();

    fn handle(&mut self, message: FromElection, ctx: &mut Self::Context) {
        self.step(match message {
            FromElection::Campaign => Input::Campaign,
            FromElection::LeaderQuiet => Input::LeaderQuiet,
            FromElection::QuorumCheckDue => Input::QuorumCheckDue,
        });
        self.stir(ctx);
    }
}

impl Handler<FromLog> for Replicator {
    type Result = ();

    fn handle(&mut self, message: FromLog, ctx: &mut Self::Context) {
        match message {
            FromLog::Stored(ticket) => {
                self.storing.answer(ticket, Instant::now());
                self.step(Input::Stored(ticket));
            }
            FromLog::Loaded(reader, entries) => self.step(Input::Loaded(reader, entries)),
            FromLog::DiskFull(full) => self.view.disk_full(full),
        }
        self.stir(ctx);
    }
}

impl Handler<FromState> for Replicator {
    type Result = ();

    fn handle(&mut self, news: FromState, ctx: &mut Self::Context) {
        for one in news.0 {
            self.state_says(one);
        }
        self.stir(ctx);
    }
}

impl Handler<Stop> for Replicator {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        if self.stopping.is_none() {
            self.stopping = Some(Stopping::HandingOver(Instant::now()));
            self.step(Input::HandOver);
        }
        self.stir(ctx);
    }
}
