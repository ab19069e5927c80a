//! Some replicas, their disks, and the links between them. One step is one thing that happens somewhere.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use plainsong::consensus::founding::Introduction;
use plainsong::consensus::{
    Batch, ClusterId, Duty, Entry, Frame, Incarnation, Index, Input, Member, Reader, ReplicaId, Role, Run, Settings,
};
use plainsong::views::Node;

use super::disk::Disk;
use super::forks::Forks;
use super::oracle::Oracle;

/// A replica takes its duties until there are none: so often at most.
const TURNS_MAX: usize = 8;

/// What lies in a replica's inbox from another one.
#[derive(Clone, Debug)]
pub enum Item {
    Up(u64, Introduction),
    Frame(Frame),
    Down,
}

/// One run of a replica.
pub struct Process {
    pub node: Node,
    pub run: Run,
    pub storing: VecDeque<Batch>,
    pub loads: VecDeque<(Reader, Index, Index)>,
    pub applying: VecDeque<Vec<Entry>>,
    /// The connection to each other one that it knows of.
    pub attached: Vec<Option<u64>>,
    /// What was committed when each read was asked.
    pub reads: BTreeMap<u64, usize>,
    pub role: Role,
    /// Has ended, to start anew.
    pub starts_anew: bool,
}

/// A machine.
pub struct Host {
    pub disk: Disk,
    pub process: Option<Process>,
    /// What its state had applied when it was saved last.
    pub saved: Index,
}

/// What happened, so that a walk in which nothing does is no success.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub committed: u64,
    pub views: u64,
    pub crashes: u64,
    pub total_stops: u64,
    pub alone: u64,
    pub wipes: u64,
    pub reads: u64,
    /// Of walks with silence: sides that began to serve beside another, starts anew, and entries given up.
    pub forks: u64,
    pub anew: u64,
    pub given_up: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.committed += other.committed;
        self.views += other.views;
        self.crashes += other.crashes;
        self.total_stops += other.total_stops;
        self.alone += other.alone;
        self.wipes += other.wipes;
        self.reads += other.reads;
        self.forks += other.forks;
        self.anew += other.anew;
        self.given_up += other.given_up;
    }

    pub fn assert_that_something_happened(&self) {
        let Self { committed, views, crashes, total_stops, alone, wipes, reads, .. } = self;
        for (what, count) in [
            ("committed", committed),
            ("views", views),
            ("crashes", crashes),
            ("total stops", total_stops),
            ("views of one", alone),
            ("wiped disks", wipes),
            ("reads", reads),
        ] {
            assert!(*count > 20, "{what}: only {count}, so these walks say little");
        }
    }
}

/// See the module's header.
pub struct World {
    pub rng: Rng,
    pub hosts: Vec<Host>,
    /// `inbox[to][from]`.
    pub inbox: Vec<Vec<VecDeque<Item>>>,
    /// The connection of each pair that stands, by (lower, higher).
    pub links: BTreeMap<(usize, usize), u64>,
    pub generation: u64,
    pub dead: Vec<(Member, Run)>,
    pub oracle: Oracle,
    pub forks: Forks,
    pub counts: Counts,
    pub payloads: u64,
    pub next_read: u64,
    /// Executes so many duties of the next turn, and dies.
    pub dies_after: Option<(usize, usize)>,
    pub verbose: bool,
    /// How many of 1,000 steps are faults.
    pub faults: u32,
    /// Whose inbox from whom is read seldom, for a while.
    pub slow: (usize, usize),
    /// Silence counts as death: two sides may serve.
    pub drops_silent: bool,
    /// The side of each replica, while links are cut.
    pub sides: Vec<bool>,
    /// What was said over a link that ends arrives, all of it.
    pub links_end_in_order: bool,
}

pub fn member(host: usize, incarnation: u64) -> Member {
    Member { id: id(host), incarnation: Incarnation(incarnation) }
}

pub fn id(host: usize) -> ReplicaId {
    ReplicaId(u16::try_from(host + 1).expect("few hosts"))
}

pub fn host_of(id: ReplicaId) -> usize {
    usize::from(id.0) - 1
}

impl World {
    pub fn new(size: usize, seed: u64, verbose: bool) -> Self {
        Self::with_silence(size, seed, verbose, false)
    }

    pub fn with_silence(size: usize, seed: u64, verbose: bool, drops_silent: bool) -> Self {
        let host = |at| Host { disk: Disk::blank(member(at, 10 + at as u64)), process: None, saved: Index(0) };
        let mut world = Self {
            rng: Rng::with_seed(seed),
            hosts: (0..size).map(host).collect(),
            inbox: vec![vec![VecDeque::new(); size]; size],
            links: BTreeMap::new(),
            generation: 0,
            dead: Vec::new(),
            oracle: Oracle::default(),
            forks: Forks::default(),
            counts: Counts::default(),
            payloads: 0,
            next_read: 0,
            dies_after: None,
            verbose,
            faults: 0,
            slow: (0, 1),
            drops_silent,
            sides: vec![false; size],
            links_end_in_order: false,
        };
        world.faults = [10, 20, 40, 60, 100][world.rng.usize(0..5)];
        (0..size).for_each(|at| world.start(at));
        world
    }

    /// How many replicas there are.
    pub fn size(&self) -> usize {
        self.hosts.len()
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>5} {}", self.counts.steps, text());
        }
    }

    // --- processes -------------------------------------------------------------------------------------------

    pub fn start(&mut self, at: usize) {
        if self.hosts[at].process.is_some() {
            return;
        }
        let saved = self.hosts[at].saved;
        let applied = if self.rng.bool() { saved } else { Index(self.rng.u64(0..=saved.0)) };
        let applied = match self.hosts[at].disk.void.take() {
            None => applied,
            // What was saved later than this start's state is gone with it.
            Some(from) => {
                self.hosts[at].saved = if from <= applied { Index(0) } else { applied };
                self.hosts[at].saved
            }
        };
        let recovered = self.hosts[at].disk.recover(applied);
        let run = Run { boot: recovered.boot, nonce: self.rng.u32(1..) };
        self.note(|| format!("{} starts as {run:?}, log {}, {:?}", recovered.me, recovered.last, recovered.views));
        let ids = (0..self.size()).map(id).collect();
        let node = Node::new(
            &recovered,
            Settings { run, ids, addresses: Vec::new(), book: 7, joins: false, fresh_cluster: ClusterId(9) },
        );
        let node = if self.drops_silent { node.dropping_silent() } else { node };
        let role = node.standing().role;
        self.hosts[at].process = Some(Process {
            node,
            run,
            storing: VecDeque::new(),
            loads: VecDeque::new(),
            applying: VecDeque::new(),
            attached: vec![None; self.size()],
            reads: BTreeMap::new(),
            role,
            starts_anew: false,
        });
    }

    /// Ends the process: a part of what was on its way to the disk got there, in order, and a part of what it sent
    /// arrives.
    pub fn crash(&mut self, at: usize) {
        let Some(process) = self.hosts[at].process.take() else { return };
        self.counts.crashes += 1;
        let kept = self.rng.usize(0..=process.storing.len());
        let me = self.hosts[at].disk.me;
        self.note(|| format!("{me} dies; {kept} of {} batches reached its disk", process.storing.len()));
        process.storing.iter().take(kept).for_each(|batch| self.hosts[at].disk.write(batch));
        self.dead.push((me, process.run));
        for other in (0..self.size()).filter(|other| *other != at) {
            self.inbox[at][other].clear();
            self.cut(at, other);
        }
        if self.hosts.iter().all(|host| host.process.is_none()) && !self.drops_silent {
            self.counts.total_stops += 1;
            self.oracle.total_stop(self.hosts.iter().map(|host| &host.disk));
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    pub fn cut(&mut self, one: usize, other: usize) {
        if self.links.remove(&(one.min(other), one.max(other))).is_none() {
            return;
        }
        for (to, from) in [(one, other), (other, one)] {
            if self.hosts[to].process.is_some() {
                let queue = &mut self.inbox[to][from];
                // What is of this connection is lost from some point on; an earlier one's end, and this one's begin,
                // are not.
                let first = queue.iter().rposition(|item| !matches!(item, Item::Frame(_))).map_or(0, |at| at + 1);
                let kept = if self.links_end_in_order { queue.len() } else { self.rng.usize(first..=queue.len()) };
                queue.truncate(kept);
                queue.push_back(Item::Down);
            }
        }
    }

    pub fn dial(&mut self, one: usize, other: usize) {
        let pair = (one.min(other), one.max(other));
        let shown = |at: usize| self.hosts[at].process.as_ref().map(|process| process.node.introduction());
        let (Some(first), Some(second)) = (shown(pair.0), shown(pair.1)) else { return };
        if self.links.contains_key(&pair) || self.sides[one] != self.sides[other] {
            return;
        }
        self.generation += 1;
        self.links.insert(pair, self.generation);
        self.inbox[pair.0][pair.1].push_back(Item::Up(self.generation, second));
        self.inbox[pair.1][pair.0].push_back(Item::Up(self.generation, first));
    }

    fn send(&mut self, at: usize, process: &Process, to: ReplicaId, frame: Frame) {
        let to = host_of(to);
        let link = self.links.get(&(at.min(to), at.max(to)));
        if link.is_some() && process.attached[to] == link.copied() {
            self.inbox[to][at].push_back(Item::Frame(frame));
        }
    }

    /// Hands the oldest thing in an inbox over.
    pub fn deliver(&mut self, to: usize, from: usize) {
        let Some(item) = self.inbox[to][from].pop_front() else { return };
        let Some(mut process) = self.hosts[to].process.take() else { return };
        self.note(|| format!("   {} < {} {item:?}", id(to), id(from)));
        match item {
            Item::Up(generation, peer) => {
                process.attached[from] = Some(generation);
                process.node.step(1, Input::LinkUp(peer));
            }
            Item::Down => {
                process.attached[from] = None;
                process.node.step(1, Input::LinkDown(id(from)));
            }
            Item::Frame(frame) => {
                let sender = self.hosts[from].disk.me;
                process.node.step(1, Input::Frame(sender, frame));
            }
        }
        self.hosts[to].process = Some(process);
        self.maybe_turn(to);
    }

    // --- turns -----------------------------------------------------------------------------------------------

    /// Tells a replica something.
    pub fn tell(&mut self, at: usize, input: Input) {
        if let Some(process) = &mut self.hosts[at].process {
            process.node.step(1, input);
            self.maybe_turn(at);
        }
    }

    fn maybe_turn(&mut self, at: usize) {
        if self.rng.u8(..) < 200 {
            self.turn(at);
        }
    }

    /// Takes a replica's duties, and does them, or some of them.
    pub fn turn(&mut self, at: usize) {
        let Some(mut process) = self.hosts[at].process.take() else { return };
        let promised = process.node.views().promised.id;
        let duties = process.node.duties();
        if process.node.views().promised.id != promised {
            let mut node = process.node.clone();
            let ends = (0..TURNS_MAX).any(|_| node.duties().is_empty());
            assert!(ends, "{} finds something to do without an end", id(at));
        }
        let dies_after = self.dies_after.take_if(|(host, _)| *host == at).map(|(_, after)| after);
        let views = self.oracle.views;
        if self.drops_silent {
            self.counts.forks += u64::from(self.forks.look(&process.node, &self.hosts[at].disk));
        } else {
            self.oracle.look(&process.node, &self.hosts[at].disk);
        }
        self.counts.views += self.oracle.views - views;
        let standing = process.node.standing();
        if standing.role == Role::Leader && process.role != Role::Leader && !self.drops_silent {
            self.counts.alone += u64::from(process.node.views().installed.members.len() == 1);
            let others: Vec<&Node> = self.hosts.iter().filter_map(|h| h.process.as_ref()).map(|p| &p.node).collect();
            self.oracle.leads(&process.node, &others);
        }
        process.role = standing.role;
        for duty in duties.into_iter().take(dies_after.unwrap_or(usize::MAX)) {
            self.note(|| format!("{} {duty:?}", id(at)));
            self.carry_out(at, &mut process, duty);
        }
        let starts_anew = process.starts_anew;
        self.hosts[at].process = Some(process);
        if dies_after.is_some() || starts_anew {
            self.crash(at);
        }
        if starts_anew {
            self.counts.anew += 1;
            self.start(at);
        }
    }

    fn carry_out(&mut self, at: usize, process: &mut Process, duty: Duty) {
        match duty {
            Duty::Persist(batch) => process.storing.push_back(batch),
            Duty::Send(to, frame) => {
                self.oracle.said(&self.hosts[at].disk, process.run, &frame);
                self.send(at, process, to, frame);
            }
            // A pulse may be dropped; that it travels beside the data changes nothing that a drop does not.
            Duty::Pulse(to, frame) => {
                if self.rng.u8(..) < 200 {
                    self.send(at, process, to, frame);
                }
            }
            Duty::Apply(entries) => {
                for entry in &entries {
                    assert_eq!(self.hosts[at].disk.entry(entry.index), Some(entry), "applied before it is durable");
                }
                process.applying.push_back(entries);
            }
            Duty::Load(reader, from, to) => process.loads.push_back((reader, from, to)),
            Duty::ReadReady(read, index) => {
                if let Some(floor) = process.reads.remove(&read) {
                    self.counts.reads += 1;
                    assert!(
                        self.drops_silent || index.0 as usize >= floor,
                        "a read at {index}, but {floor} were acknowledged when it was asked"
                    );
                }
            }
            Duty::StartAnew(_) => process.starts_anew = true,
            Duty::GaveUp { count, .. } => self.counts.given_up += count,
            Duty::RefuseRestored(member, run) => panic!("{member} in {run:?} is taken for an old copy of its disk"),
            Duty::MakeSnapshot(_)
            | Duty::Fetch(..)
            | Duty::Install(_)
            | Duty::ChangeAnswered(..)
            | Duty::Dismissed
            | Duty::RefuseRemoved(..) => panic!("not of this mode: {duty:?}"),
            Duty::Founded(_) | Duty::Voters(_) | Duty::HeardLeader | Duty::Standing(_) | Duty::StandSoon => {}
        }
    }

    // --- disks and state -------------------------------------------------------------------------------------

    pub fn store(&mut self, at: usize, count: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        let mut ticket = None;
        for batch in process.storing.drain(..count.min(process.storing.len())) {
            host.disk.write(&batch);
            ticket = Some(batch.ticket);
        }
        if let Some(ticket) = ticket {
            self.note(|| format!("   {} stored {ticket}", id(at)));
            self.tell(at, Input::Stored(ticket));
        }
    }

    pub fn apply(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(process) = &mut host.process else { return };
        if let Some((reader, from, to)) = process.loads.pop_front() {
            let entries = host.disk.load(from, to, 5);
            self.tell(at, Input::Loaded(reader, entries));
        } else if let Some(entries) = process.applying.pop_front() {
            let last = entries.last().expect("a hand-over has entries").index;
            host.saved = last;
            self.tell(at, Input::Applied(last));
        }
    }

    pub fn propose(&mut self, at: usize) {
        self.payloads += 1;
        let payload = Bytes::from(self.payloads.to_string());
        self.tell(at, Input::Propose(vec![payload]));
    }

    pub fn read(&mut self, at: usize) {
        self.next_read += 1;
        let (read, floor) = (self.next_read, self.oracle.committed.len());
        if let Some(process) = &mut self.hosts[at].process {
            process.reads.insert(read, floor);
            self.tell(at, Input::Read(read));
        }
    }
}
