//! The simulated world: one queue of events ordered by (time, number), and who lives in it.
//!
//! Everything that takes time is an event. `life` names the process that an event was meant for: what is meant for a dead
//! one does not happen. A paused process finds what came meanwhile, in order, when it goes on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use fastrand::Rng;
use plainsong::actors::messages::{News, SessionId};
use plainsong::consensus::{Member, Mode, ReplicaId, Run};
use plainsong::machine::MapMachine;

use super::checkers::{Judge, Told, ensure};
use super::clients::Client;
use super::hosts::Host;
use super::net::{Net, Wire};
use super::people::{Happens, Person, people};
use super::replica::{Mail, Proof};
use super::style::{Silence, Style};
use super::trace::Trace;

/// Simulated microseconds.
pub type Time = u64;

pub const MS: Time = 1_000;
pub const SECOND: Time = 1_000 * MS;
/// How often it is looked at whether a healthy majority serves.
const WATCH: Time = 250 * MS;
/// A world with more events than this goes round in circles. People who are refused at once for ten minutes, and try again
/// at once, are 5,200,000 of them.
const EVENTS_MAX: u64 = 20_000_000;

/// What happens at some time.
#[derive(Debug)]
pub enum Event {
    Wake { host: usize, life: u64 },
    Post { host: usize, life: u64, mail: Box<Mail> },
    LogDone { host: usize, life: u64 },
    StateDone { host: usize, life: u64 },
    CopyMade { host: usize, life: u64 },
    Tick { host: usize, life: u64 },
    Sweep { host: usize, life: u64 },
    Timer { host: usize, life: u64 },
    Probe { host: usize, life: u64, peer: usize, run: Run },
    Look { host: usize, life: u64, member: Member, run: Run },
    Dial { host: usize, life: u64, wire: Wire },
    Up { host: usize, wire: Wire, generation: u64 },
    Lost { host: usize, wire: Wire, generation: u64 },
    BreakIfBlocked { wire: Wire, generation: u64 },
    Deliver { to: usize, wire: Wire, generation: u64 },
    Start { host: usize, down: u64 },
    Kill { host: usize, life: u64 },
    Client(usize),
    Person { person: usize, session: SessionId, what: Box<Happens> },
    Hear { client: usize, session: SessionId, news: Box<(News, Proof)> },
    Cut { client: usize, session: SessionId },
    Fault,
    Removal,
    AskToJoin { host: usize, life: u64 },
    Watch,
}

struct Timed {
    at: Time,
    seq: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// See the module's header.
pub struct World {
    pub now: Time,
    epoch: Instant,
    seq: u64,
    events: BinaryHeap<Reverse<Timed>>,
    pub happened: u64,
    pub rng: Rng,
    pub style: Style,
    pub hosts: Vec<Host>,
    pub net: Net,
    /// Until when nothing passes from one host to another.
    pub blocked: Vec<Vec<Time>>,
    pub slow_net_until: Time,
    pub lossy_pulses_until: Time,
    pub clients: Vec<Client>,
    pub people: Vec<Person>,
    pub sessions: u64,
    /// When a disk was lost last.
    pub wiped: Time,
    /// When somebody's removal was asked for last.
    pub removal_asked: Time,
    /// Requests of clients, and lines of people.
    pub asked: u64,
    pub witnesses: u64,
    pub judge: Judge,
    /// Every copy of a state that was ever made: its name stands for its bytes.
    pub copies: BTreeMap<u64, MapMachine>,
    pub calm: bool,
    pub clients_on: bool,
    pub trace: Trace,
}

impl World {
    pub fn new(seed: u64, style: Option<Style>, trace: Trace) -> Self {
        let mut rng = Rng::with_seed(seed);
        let drawn = Style::draw(&mut rng);
        // One in eight; by the number, so that seeds that failed once stay what they were.
        let drawn = Style { changes: seed % 8 == 2, ..drawn }.in_mode_of(seed);
        let style = style.unwrap_or(drawn);
        let mut judge = Judge::default();
        judge.mode = style.mode;
        judge.told.push(Told::default());
        let may_fork = style.silence == Silence::OfSides;
        judge.ledger.sides.may_fork = may_fork;
        judge.drops_silent = style.silence != Silence::IsNoDeath;
        (judge.requests.may_fork, judge.book.may_fork) = (may_fork, may_fork);
        judge.service.fsync_max = style.fsync.end;
        let mut world = Self {
            now: 0,
            epoch: Instant::now(),
            seq: 0,
            events: BinaryHeap::new(),
            happened: 0,
            hosts: (0..style.hosts).map(|host| Host::new(host, &style, &mut rng)).collect(),
            net: Net::new(style.hosts),
            blocked: vec![vec![0; style.hosts]; style.hosts],
            slow_net_until: 0,
            lossy_pulses_until: 0,
            clients: (0..style.clients).map(Client::new).collect(),
            people: people(),
            sessions: 0,
            wiped: 0,
            removal_asked: 0,
            asked: 0,
            witnesses: 0,
            judge,
            copies: BTreeMap::new(),
            calm: false,
            clients_on: true,
            trace,
            rng,
            style,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let style = self.style.clone();
        self.note(|| format!("{style:?}"));
        for host in 0..style.hosts {
            let late = style.late_host.filter(|_| host == style.hosts - 1).unwrap_or(0);
            let at = late + self.rng.u64(0..style.start_max);
            self.after(at, Event::Start { host, down: 0 });
        }
        for client in 0..style.clients {
            self.after(0, Event::Client(client));
        }
        for person in 0..self.people.len() {
            self.after(0, Event::Person { person, session: SessionId(0), what: Box::new(Happens::Acts) });
        }
        self.after(500 * MS, Event::Fault);
        if style.changes {
            self.after(SECOND, Event::Removal);
        }
        self.after(WATCH, Event::Watch);
    }

    /// Schedules an event `after` from now.
    pub fn after(&mut self, after: Time, event: Event) {
        self.at(self.now + after, event);
    }

    /// Schedules an event.
    pub fn at(&mut self, at: Time, event: Event) {
        self.seq += 1;
        self.events.push(Reverse(Timed { at, seq: self.seq, event }));
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.now, what);
    }

    /// What the monotonic clock shows.
    pub fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now)
    }

    /// Runs until a time.
    pub fn run_until(&mut self, end: Time) {
        while self.events.peek().is_some_and(|next| next.0.at <= end) {
            let Reverse(next) = self.events.pop().expect("peeked");
            self.now = next.at;
            self.happened += 1;
            ensure!(Serves, self.happened < EVENTS_MAX, "{EVENTS_MAX} events, and no end");
            match self.waits(&next.event) {
                Some(until) => self.at(until, next.event),
                None => self.happens(next.event),
            }
        }
        self.now = end;
    }

    /// Until when a pause, or a cut link, keeps an event from happening.
    fn waits(&self, event: &Event) -> Option<Time> {
        let (host, blocked) = match event {
            Event::Wake { host, .. }
            | Event::Post { host, .. }
            | Event::LogDone { host, .. }
            | Event::StateDone { host, .. }
            | Event::CopyMade { host, .. }
            | Event::Tick { host, .. }
            | Event::Sweep { host, .. }
            | Event::Timer { host, .. }
            | Event::Probe { host, .. }
            | Event::Look { host, .. }
            | Event::Dial { host, .. }
            | Event::Up { host, .. }
            | Event::Lost { host, .. } => (*host, 0),
            Event::Deliver { to, wire, .. } => (*to, self.blocked[wire.peer_of(*to)][*to]),
            Event::Person { person, session, what } => match self.person_waits_for(*person, *session, what) {
                Some(host) => (host, 0),
                None => return None,
            },
            Event::BreakIfBlocked { .. }
            | Event::Start { .. }
            | Event::Kill { .. }
            | Event::Client(_)
            | Event::Hear { .. }
            | Event::Cut { .. }
            | Event::Fault
            | Event::Removal
            | Event::AskToJoin { .. }
            | Event::Watch => return None,
        };
        let until = self.hosts[host].paused_until.max(blocked);
        (until > self.now).then_some(until)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Wake { host, life } => self.wake_due(host, life),
            Event::Post { host, life, mail } => self.post(host, life, *mail),
            Event::LogDone { host, life } => self.log_done(host, life),
            Event::StateDone { host, life } => self.state_done(host, life),
            Event::CopyMade { host, life } => self.copy_made(host, life),
            Event::Tick { host, life } => self.tick(host, life),
            Event::Sweep { host, life } => self.sweep(host, life),
            Event::Timer { host, life } => self.timer(host, life),
            Event::Probe { host, life, peer, run } => self.probe(host, life, peer, run),
            Event::Look { host, life, member, run } => self.look(host, life, member, run),
            Event::Dial { host, life, wire } => self.dial(host, life, wire),
            Event::Up { host, wire, generation } => self.link_up(host, wire, generation),
            Event::Lost { host, wire, generation } => self.link_lost(host, wire, generation),
            Event::BreakIfBlocked { wire, generation } => {
                if self.is_blocked(wire.low, wire.high) {
                    self.break_link(wire, generation);
                }
            }
            Event::Deliver { to, wire, generation } => self.deliver(to, wire, generation),
            Event::Start { host, down } => {
                if self.hosts[host].life == down && self.hosts[host].replica.is_none() {
                    self.start(host);
                }
            }
            Event::Kill { host, life } => {
                if self.hosts[host].life == life && !self.calm {
                    self.crash(host);
                    self.start_after(host, 500 * MS);
                }
            }
            Event::Client(client) => self.client_acts(client),
            Event::Person { person, session, what } => self.person(person, session, *what),
            Event::Hear { client, session, news } => self.client_hears(client, session, *news),
            Event::Cut { client, session } => self.client_cut(client, session),
            Event::Fault => self.fault(),
            Event::Removal => self.removal(),
            Event::AskToJoin { host, life } => self.ask_to_join(host, life),
            Event::Watch => {
                self.watch();
                self.after(WATCH, Event::Watch);
            }
        }
    }

    fn is_storing(&self, host: usize) -> bool {
        self.hosts[host].replica.as_ref().is_some_and(|r| !r.storing.is_idle())
    }

    /// Nothing passes between two hosts, one way or the other.
    pub fn is_blocked(&self, one: usize, other: usize) -> bool {
        self.blocked[one][other] > self.now || self.blocked[other][one] > self.now
    }

    /// A majority that is whole, undisturbed and connected serves: if it does not for long, something is stuck.
    fn watch(&mut self) {
        let voters = self.judge.ledger.voters();
        let now = self.now;
        let healthy: Vec<usize> = (0..self.style.hosts).filter(|h| self.hosts[*h].is_well(now)).collect();
        let connected = healthy.iter().all(|a| healthy.iter().all(|b| a == b || !self.is_blocked(*a, *b)));
        let quiet = self.slow_net_until <= now;
        let is_enough = |voters: &[Member]| {
            let counted = healthy.iter().filter(|h| voters.contains(&self.hosts[**h].disk.me)).count();
            match self.style.mode {
                Mode::Quorum => counted * 2 > voters.len(),
                Mode::PrimaryBackup => counted == voters.len(),
            }
        };
        // Who holds a newer list than the committed one goes by that.
        let committed_at = self.judge.ledger.membership().map(|(index, _)| *index);
        let replicas = healthy.iter().filter_map(|h| self.hosts[*h].replica.as_ref());
        let mut newer = replicas.filter(|replica| replica.node.membership_at().map(|(index, _)| index) > committed_at);
        let enough = is_enough(voters) && newer.all(|replica| is_enough(&replica.node.voters()));
        let serves = connected && quiet && !voters.is_empty() && enough && self.clients_on;
        let disturbed = self.hosts.iter().map(|h| h.disturbed).max().unwrap_or(0);
        // With views, whoever leads waits for every disk.
        let hangs = self
            .leader()
            .filter(|_| self.style.mode == Mode::Quorum)
            .filter(|h| self.hosts[*h].hung_disk_until > now && self.is_storing(*h));
        let committed = self.judge.ledger.sides.progress();
        self.judge.service.look(now, serves.then_some(healthy), hangs, disturbed, committed);
    }
}

/// The id of the replica on a host.
pub fn id(host: usize) -> ReplicaId {
    ReplicaId(u16::try_from(host + 1).expect("few hosts"))
}

/// The host of a replica.
pub fn host_of(id: ReplicaId) -> usize {
    usize::from(id.0) - 1
}
