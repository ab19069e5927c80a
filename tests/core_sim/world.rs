//! The simulated world: processes, disks, links and time, all driven from one queue of events and one seed.
//!
//! Here is what there is and what can happen; `driver.rs`, `links.rs`, `clients.rs` and `faults.rs` say how.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use fastrand::Rng;
use plainsong::consensus::founding::Introduction;
use plainsong::consensus::{
    Batch, Entry, Frame, Incarnation, Index, Input, Member, Node, Origin, Reader, ReplicaId, Role, Run, Snapshot,
    Standing,
};

use super::checkers::Checker;
use super::disk::Disk;
use super::faults::Style;
use super::net::{Lane, Link};
use super::state::State;

/// Simulated microseconds.
pub type Time = u64;

pub const MS: Time = 1_000;
pub const PULSE: Time = 50 * MS;
pub const ELECTION_MIN: Time = 250 * MS;
pub const ELECTION_MAX: Time = 500 * MS;
pub const EVIDENCE: Time = 10 * MS;
/// The cluster of one seed in so many grows and shrinks. (None of those that failed once: they stay the worlds they were.)
const GROWS_EVERY: u64 = 5;
const GROWS_AT: u64 = 3;
/// What one frame to the leader carries of a stream.
pub const FORWARD_BYTES_MAX: usize = 64 << 10;

/// What happens at some time. `life` is the process it was meant for.
#[derive(Debug)]
pub enum Event {
    Turn { host: usize, life: u64 },
    Input { host: usize, life: u64, input: Input },
    Store { host: usize, life: u64 },
    Applied { host: usize, life: u64 },
    Load { host: usize, life: u64, reader: Reader, from: Index, to: Index },
    Copied { host: usize, life: u64 },
    Install { host: usize, life: u64 },
    Fetched { host: usize, life: u64, from: usize, from_life: u64, snapshot: Snapshot },
    Pulse { host: usize, life: u64 },
    Check { host: usize, life: u64 },
    Quiet { host: usize, life: u64, armed: u64 },
    Election { host: usize, life: u64, armed: u64 },
    Evidence { host: usize, life: u64, leader: usize },
    Dial { pair: (usize, usize) },
    LinkUp { generation: u64, pair: (usize, usize), host: usize, peer: Introduction },
    LinkLost { generation: u64, pair: (usize, usize), host: usize },
    BreakLink { generation: u64, pair: (usize, usize) },
    Deliver { generation: u64, pair: (usize, usize), from: usize, lane: Lane },
    Refused { host: usize, life: u64, run: Run },
    Removed { host: usize, life: u64, member: Member },
    AskToJoin { host: usize },
    Start { host: usize, down: u64 },
    Client,
    Fault,
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

/// What a process finds in its inbox.
#[derive(Debug)]
pub enum Mail {
    Input(Input),
    Up(usize, u64, Introduction),
    Down(usize),
    Frame(usize, Member, Frame),
}

/// A linearizable read that a client of this process waits for.
#[derive(Debug)]
pub struct Read {
    pub floor: Index,
    pub index: Option<Index>,
}

/// One run of a replica.
pub struct Process {
    pub node: Node,
    pub inbox: Vec<Mail>,
    pub turn_due: bool,
    pub links: BTreeMap<usize, u64>,
    pub storing: VecDeque<(Batch, Time)>,
    /// How many of `storing` are in the transaction under way.
    pub group: usize,
    pub applying: VecDeque<Vec<Entry>>,
    pub state: State,
    pub origin: Origin,
    pub reads: BTreeMap<u64, Read>,
    pub next_read: u64,
    pub known: Standing,
    /// Which arming of the election timers is the present one.
    pub armed: u64,
}

/// A machine: its disk, and the process on it, if it runs.
pub struct Host {
    pub saved: State,
    pub snapshot: Option<(Disk, State)>,
    /// The copy of its state that it offers: its name, and what it is of.
    pub outgoing: Option<(Snapshot, State)>,
    /// The copy that it has fetched, whole and synced.
    pub incoming: Option<(Snapshot, State)>,
    /// What it ends for.
    pub installs: Option<Snapshot>,
    pub process: Option<Process>,
    /// How often a process was started or ended here.
    pub life: u64,
    pub paused_until: Time,
    pub slow_disk_until: Time,
    /// The process ends after so many duties of its next turn.
    pub dies_after: Option<usize>,
    pub clock_skew: u64,
    /// Runs nothing until it is asked to join.
    pub stands_by: bool,
    /// Asks to be let in, whenever it does not vote.
    pub asks: bool,
    /// Where it is reached.
    pub place: u32,
}

/// See the module's header.
pub struct World {
    pub now: Time,
    pub seq: u64,
    events: BinaryHeap<Reverse<Timed>>,
    pub rng: Rng,
    pub style: Style,
    pub hosts: Vec<Host>,
    pub disks: Vec<Disk>,
    pub links: BTreeMap<(usize, usize), Link>,
    pub generation: u64,
    /// Until when nothing passes from one host to another.
    pub blocked: Vec<Vec<Time>>,
    pub slow_net_until: Time,
    pub lossy_pulses_until: Time,
    pub check: Checker,
    pub calm: bool,
    pub clients: bool,
    pub trace: DefaultHasher,
    pub verbose: bool,
}

impl World {
    pub fn new(seed: u64, verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut style = Style::draw(&mut rng);
        if seed % GROWS_EVERY == GROWS_AT {
            style.grow(&mut rng);
        }
        let disks = (0..style.hosts).map(|h| Disk::blank(member(h, rng.u64(1..)))).collect();
        let host = |rng: &mut Rng| Host {
            saved: State::default(),
            snapshot: None,
            outgoing: None,
            incoming: None,
            installs: None,
            process: None,
            life: 0,
            paused_until: 0,
            slow_disk_until: 0,
            dies_after: None,
            clock_skew: rng.u64(0..5_000),
            stands_by: false,
            asks: false,
            place: 1,
        };
        let mut world = Self {
            now: 0,
            seq: 0,
            events: BinaryHeap::new(),
            hosts: (0..style.hosts).map(|_| host(&mut rng)).collect(),
            disks,
            links: BTreeMap::new(),
            generation: 0,
            blocked: vec![vec![0; style.hosts]; style.hosts],
            slow_net_until: 0,
            lossy_pulses_until: 0,
            check: Checker::default(),
            calm: false,
            clients: true,
            trace: DefaultHasher::new(),
            verbose,
            rng,
            style,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let founders = self.style.hosts - self.style.spares;
        for host in 0..self.style.hosts {
            if host < founders {
                let at = self.rng.u64(0..200 * MS);
                self.at(at, Event::Start { host, down: 0 });
            }
            self.hosts[host].stands_by = host >= founders;
            for other in host + 1..self.style.hosts {
                self.at(0, Event::Dial { pair: (host, other) });
            }
        }
        self.at(0, Event::Client);
        self.at(500 * MS, Event::Fault);
    }

    /// Schedules an event `after` from now.
    pub fn at(&mut self, after: Time, event: Event) {
        self.seq += 1;
        self.events.push(Reverse(Timed { at: self.now + after, seq: self.seq, event }));
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>9.3}  {}", self.now as f64 / 1_000.0, what());
        }
    }

    /// A number that is the same for the same course of events.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Runs until a time.
    pub fn run_until(&mut self, end: Time) {
        while self.events.peek().is_some_and(|next| next.0.at <= end) {
            let Reverse(next) = self.events.pop().expect("peeked");
            self.now = next.at;
            self.happens(next.event);
        }
        self.now = end;
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Turn { host, life } => self.turn_due(host, life),
            Event::Input { host, life, input } => {
                self.post(host, life, Mail::Input(input));
            }
            Event::Store { host, life } => self.store(host, life),
            Event::Applied { host, life } => self.apply(host, life),
            Event::Load { host, life, reader, from, to } => {
                let count = self.rng.usize(1..self.style.load_count_max);
                let entries = self.disks[host].load(from, to, count);
                if !entries.is_empty() || from <= self.disks[host].base.index {
                    let input = Input::Loaded(reader, entries);
                    let delay = self.rng.u64(0..self.style.load_delay_max);
                    self.at(delay, Event::Input { host, life, input });
                }
            }
            Event::Copied { host, life } => self.copied(host, life),
            Event::Install { host, life } => self.install(host, life),
            Event::Fetched { host, life, from, from_life, snapshot } => {
                self.fetched(host, life, (from, from_life), snapshot);
            }
            Event::Pulse { host, life } => {
                if self.post(host, life, Mail::Input(Input::PulseDue)) {
                    self.at(PULSE, Event::Pulse { host, life });
                }
            }
            Event::Check { host, life } => self.quorum_check(host, life),
            Event::Quiet { host, life, armed } => {
                if self.process(host, life).is_some_and(|p| p.armed == armed) {
                    self.post(host, life, Mail::Input(Input::LeaderQuiet));
                }
            }
            Event::Election { host, life, armed } => {
                if self.process(host, life).is_some_and(|p| p.armed == armed) {
                    self.post(host, life, Mail::Input(Input::Campaign));
                    let after = self.rng.u64(ELECTION_MIN..ELECTION_MAX);
                    self.at(after, Event::Election { host, life, armed });
                }
            }
            Event::Evidence { host, life, leader } => {
                let gone = |p: &mut Process| {
                    !p.links.contains_key(&leader) && p.known.leader == Some(id(leader)) && p.known.role != Role::Leader
                };
                if self.process(host, life).is_some_and(gone) {
                    self.post(host, life, Mail::Input(Input::LeaderQuiet));
                    self.post(host, life, Mail::Input(Input::Campaign));
                }
            }
            Event::Dial { pair } => self.dial(pair),
            Event::LinkUp { generation, pair, host, peer } => {
                if let Some(life) = self.current(pair, generation).map(|l| l.life_of(host)) {
                    let peer_host = if pair.0 == host { pair.1 } else { pair.0 };
                    self.post(host, life, Mail::Up(peer_host, generation, peer));
                }
            }
            Event::LinkLost { generation, pair, host } => self.link_lost(generation, pair, host),
            Event::BreakLink { generation, pair } => {
                if self.current(pair, generation).is_some() && self.is_blocked(pair) {
                    self.break_link(pair);
                }
            }
            Event::Deliver { generation, pair, from, lane } => self.deliver(generation, pair, from, lane),
            Event::Refused { host, life, run } => self.refused(host, life, run),
            Event::Removed { host, life, member } => self.is_removed(host, life, member),
            Event::AskToJoin { host } => self.ask_to_join(host),
            Event::Start { host, down } => {
                let there = &self.hosts[host];
                if there.life == down && there.process.is_none() && !there.stands_by {
                    self.start(host);
                }
            }
            Event::Client => self.client(),
            Event::Fault => self.fault(),
        }
    }

    pub fn process(&mut self, host: usize, life: u64) -> Option<&mut Process> {
        let host = &mut self.hosts[host];
        if host.life == life { host.process.as_mut() } else { None }
    }
}

/// The id of the replica on a host.
pub fn id(host: usize) -> ReplicaId {
    ReplicaId(u16::try_from(host + 1).expect("few hosts"))
}

pub fn member(host: usize, incarnation: u64) -> Member {
    Member { id: id(host), incarnation: Incarnation(incarnation) }
}
