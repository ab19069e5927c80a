//! Replicator: owns the one [`Core`] of this replica, and nothing else changes it.
//!
//! A handler translates what it is told into inputs of the node, into rows of [`requests::Requests`], or into news for
//! sessions, and asks for a *turn*. The turn comes when the mailbox is empty (or after [`TURN_INPUTS_MAX`] messages): it
//! sends what can be sent, takes the node's duties and carries them out in order. So one turn makes one batch for the
//! disk, one append for each follower and one message for each session, however many requests came in.
//!
//! No handler waits for anything.

pub mod admin;
mod behind;
mod book;
pub mod clocks;
mod copies;
mod duties;
pub mod expiry;
pub mod hub;
pub mod keeper;
pub mod presence;
mod pulses;
pub mod requests;
mod sessions;
mod silence;
mod stamps;
pub mod storing;
mod sweep;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use bytes::{Bytes, BytesMut};
use chat::{AccountId, IdRange};
use tokio::sync::{oneshot, watch};

use super::courier::CourierJob;
use super::directory::{Book, Doom};
use super::internal::{
    Ending, FromElection, FromHeartbeat, FromLog, FromPeer, FromState, Shared, Stop, ToElection, ToHeartbeat, ToPeer,
};
use super::messages::{SessionId, Slot};
use super::peer::Peers;
use super::silence::Found;
use super::store::{LogJob, StateAccess, StateNews};
use crate::consensus::{Boot, Frame, Input, Mark, Member, Origin, ReplicaId, Role, Run, Snapshot, Term};
use crate::machine;
use crate::mode::Core;
use crate::wire::admin::Places;
use crate::wire::{PeerLine, Presence};
use admin::Admin;
use clocks::Clocks;
use expiry::Expiry;
use hub::Hub;
use keeper::{Keep, Keeper};
use presence::Online;
use pulses::Pulses;
use requests::Requests;
use storing::Storing;
use view::View;

/// A turn comes at the latest after so many messages.
const TURN_INPUTS_MAX: usize = 256;
/// Proposals of this replica that are sent and unresolved, in bytes: behind that, writes are held.
const ORIGIN_BYTES_MAX: usize = 16 << 20;
/// Proposals in one frame to the leader, in bytes.
const FORWARD_BYTES_MAX: usize = 1 << 20;
/// Delivered marks wait so long for company.
const MARK_GATHER: Duration = Duration::from_millis(5);
/// Marks that make one command, in bytes as they are printed at most: what gathers beyond this goes at once.
pub const MARKS_BYTES_MAX: usize = 32 << 10;
/// The longest text of an account's id in a mark, with its separators.
const MARK_ACCOUNT_BYTES: usize = ";9223372036854775807:".len();
/// The longest text of a range in a mark, with its separator.
const MARK_RANGE_BYTES: usize = ",9223372036854775807-9223372036854775807".len();

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
    /// Silence counts as death: everybody gives signs of life.
    pub drops_silent: bool,
    /// How much of the log is kept.
    pub keep: Keep,
    /// Where everybody is by the config, or by the member that a joining replica asked.
    pub given: Places,
    /// Started with `--join`.
    pub joins: bool,
    /// Tells everybody where everybody is.
    pub book: watch::Sender<Book>,
    /// Told when this replica was removed.
    pub doom: Doom,
    /// What other actors may look at.
    pub shared: Arc<Shared>,
}

/// Where a replicator's duties go.
pub struct Outlets {
    /// The log's thread.
    pub log: std::sync::mpsc::Sender<LogJob>,
    /// The state's thread.
    pub state: StateAccess,
    /// The courier's thread.
    pub courier: std::sync::mpsc::Sender<CourierJob>,
    /// The archivist's thread, if what is cut away is archived.
    pub archivist: Option<std::sync::mpsc::Sender<Mark>>,
    /// One link a replica.
    pub peers: Peers,
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
    clocks: Clocks,
    admin: Admin,
    outlets: Option<Outlets>,
    /// Lines of this turn for each peer, in order.
    to_peers: BTreeMap<ReplicaId, Vec<PeerLine>>,
    pulses: Pulses,
    marks: BTreeMap<AccountId, Vec<IdRange>>,
    /// What they are printed in, at most.
    marks_bytes: usize,
    marks_wait: Vec<(SessionId, Slot)>,
    marks_since: Option<Instant>,
    expiry: Expiry,
    /// Batches on their way to the disk, and since when.
    storing: Storing,
    /// The last entry handed to the state.
    handed: crate::consensus::Index,
    /// Jobs of the state's thread whose news have not come.
    state_owes: usize,
    /// What was applied at once, to be heard after the duties.
    applied_at_once: Vec<StateNews>,
    sent_to: Option<(Term, ReplicaId)>,
    heard_leader: bool,
    told_heard: Option<Instant>,
    told_no_quorum: bool,
    /// How many incarnations the book says are removed, by what is committed: they only grow in number.
    told_removed: usize,
    told_rebuild: Instant,
    turn_is_due: bool,
    /// When news that are held must go out.
    flush_at: Option<Instant>,
    flush_is_armed: bool,
    sweep: Option<sweep::Sweep>,
    inputs: usize,
    stopping: Option<Stopping>,
    keeper: Keeper,
    /// What this replica stops for, to start anew from it.
    install: Option<Snapshot>,
    /// When the courier was last told something.
    served: Instant,
    behind: behind::Behind,
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
        let me = settings.me;
        let book = book::now(&node, &settings);
        let view = View::new(me, book::for_clients(&book), Instant::now()).with_mode(node.mode());
        settings.book.send_replace(book);
        Self {
            admin: Admin::default(),
            handed: node.applied(),
            state_owes: 0,
            applied_at_once: Vec::new(),
            node,
            origin: Origin::default(),
            requests: Requests::new(),
            hub: Hub::default(),
            online: Online::default(),
            view,
            clocks: Clocks::new(Instant::now()),
            outlets: None,
            to_peers: BTreeMap::new(),
            pulses: Pulses::default(),
            marks: BTreeMap::new(),
            marks_bytes: 0,
            marks_wait: Vec::new(),
            marks_since: None,
            expiry: Expiry::new(expiry::PAUSE),
            storing: Storing::default(),
            sent_to: None,
            heard_leader: false,
            told_heard: None,
            told_no_quorum: false,
            told_removed: 0,
            told_rebuild: Instant::now(),
            turn_is_due: false,
            flush_at: None,
            flush_is_armed: false,
            sweep: None,
            inputs: 0,
            stopping: None,
            watched: Vec::new(),
            keeper: Keeper::new(settings.keep),
            install: None,
            served: Instant::now(),
            behind: behind::Behind::default(),
            settings,
        }
    }

    /// Asks for a turn: after the whole mailbox, or now, if much has come already.
    fn stir(&mut self, ctx: &mut Context<Self>) {
        self.inputs += 1;
        if self.inputs >= TURN_INPUTS_MAX {
            self.turn();
            self.arm_timers(ctx);
        } else if !self.turn_is_due {
            self.turn_is_due = true;
            ctx.notify(Turn);
        }
    }

    /// What is held for sessions goes out in time, if nothing takes it along before; and what waits is not forgotten.
    fn arm_timers(&mut self, ctx: &mut Context<Self>) {
        self.arm_sweep(ctx);
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
            self.ask_changes();
            let duties = self.node.duties();
            if duties.is_empty() {
                break;
            }
            self.carry_out(duties);
            for news in std::mem::take(&mut self.applied_at_once) {
                self.state_says(news);
            }
        }
        self.query_state();
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
            self.admin.ask_again(Instant::now());
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
        let online = |name: &str| self.online.is_online(name, |id| self.view.is_silent(id));
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
        // Whoever is not linked is told everything when it is.
        for id in self.view.linked() {
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
                PeerLine::Fetch(fetch) => self.tell_courier(CourierJob::Read(from.id, fetch)),
                PeerLine::Chunk(chunk) => self.tell_courier(CourierJob::Write(from.id, chunk)),
                PeerLine::Presence(news) => self.online.heard(from.id, news),
                PeerLine::News(news) => {
                    for verdict in self.view.news(from.id, news) {
                        self.judge_state(verdict);
                    }
                }
                PeerLine::Clock(theirs) => self.clocks.heard(from.id, theirs, Instant::now()),
                PeerLine::Removed(member, run) => {
                    let me = self.node.introduction();
                    if (member, run) == (me.member, me.run) {
                        self.settings.doom.speak(Ending::Removed);
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
        self.tell_who_is_gone();
        let lines = std::mem::take(&mut self.to_peers);
        // A client waits for what goes out beside the news of a commit, and each write to a socket takes its time.
        let (commits, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(_, lines)| only_commits(lines));
        self.send(others);
        self.tell_the_pulse_thread();
        self.flush_at = self.hub.flush(Instant::now());
        self.send(commits);
    }

    fn send(&self, lines: Vec<(ReplicaId, Vec<PeerLine>)>) {
        let Some(outlets) = &self.outlets else { return };
        for (id, lines) in lines {
            outlets.peers.of(id).do_send(ToPeer(lines));
        }
    }
}

/// Whether the lines tell a follower of a commit, and bring nothing.
fn only_commits(lines: &[PeerLine]) -> bool {
    lines.iter().all(|line| matches!(line, PeerLine::Frame(Frame::Append { entries, .. }) if entries.is_empty()))
}

/// Replicator → itself: the mailbox is empty.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Turn;

/// Start-up code → Replicator: the actors and threads that its duties go to. It is there before the first turn.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Connect(pub Outlets);

impl Actor for Replicator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.arm_sweep(ctx);
    }
}

impl Handler<Turn> for Replicator {
    type Result = ();

    fn handle(&mut self, _: Turn, ctx: &mut Self::Context) {
        self.turn_is_due = false;
        self.turn();
        self.arm_timers(ctx);
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
                self.view.link_up(peer.member, now);
                // What was meant for an earlier link is void, and a link begins with who is online.
                self.to_peers.remove(&id);
                self.say(id, PeerLine::Clock(stamps::wall_clock()));
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
                self.clocks.lost(id);
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
            FromHeartbeat::PulseDue(answers) => {
                answers.into_iter().for_each(|(from, lines)| self.heard_from(from, lines));
                self.pulse_due();
            }
            FromHeartbeat::Lines(from, lines) => self.heard_from(from, lines),
            FromHeartbeat::Living(living) => self.view.living(living),
            FromHeartbeat::Dead(member, run) => self.step(Input::Dead(member, run)),
            FromHeartbeat::Silence(Found::Silent(silent)) => self.silent(silent),
            FromHeartbeat::Silence(Found::Isolated) => self.step(Input::Isolated),
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
        // What says that the state is damaged is no job's.
        self.state_owes = self.state_owes.saturating_sub(news.0.len());
        for one in news.0 {
            self.state_says(one);
        }
        self.stir(ctx);
    }
}

impl Handler<Stop> for Replicator {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        // Whoever wants it stopped does not want it to start anew.
        self.install = None;
        if self.stopping.is_none() {
            self.stopping = Some(Stopping::HandingOver(Instant::now()));
            self.step(Input::HandOver);
        }
        self.stir(ctx);
    }
}
