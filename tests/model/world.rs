//! The model: three replicas, the links between them, and everything that may happen next, within a budget.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use plainsong::consensus::{Body, Frame, Index, Input, ReplicaId, Role, Term};
use stateright::{Model, Property};

use crate::replica::{Printed, REPLICAS, Replica, Turn, member};

/// How much of what is not the program's own doing may happen. All else happens in every order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Replicas that miss the leader and ask for pre-votes.
    pub campaigns: u8,
    /// Payloads that a leader is given.
    pub proposals: u8,
    /// Reads that any replica is asked. With none, no pulse is delivered: the pulse links are down.
    pub reads: u8,
    /// Crashes, each with a restart; what is not durable is lost.
    pub crashes: u8,
    /// Links that break, with all that is on its way in both directions.
    pub cuts: u8,
    /// Whether every fsync is over before anything else happens; else each is a step of its own.
    pub fast_disks: bool,
}

/// One direction of a link: ordered, and nothing is lost while it stands.
type Queue = Vec<Printed<Frame>>;

/// Where the world is.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    pub replicas: Vec<Replica>,
    /// From each to each.
    links: Vec<Vec<Queue>>,
    /// On connections of their own: they overtake the others.
    pulses: Vec<Vec<Queue>>,
    left: Budget,
    pub history: History,
}

/// What was seen so far: what no replica may contradict.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct History {
    leaders: BTreeMap<Term, ReplicaId>,
    /// By index, from 1: the term of each entry that some replica held to be committed.
    pub committed: Vec<Term>,
    /// By index, from 2: what some state applied.
    applied: Vec<(Term, Option<Bytes>)>,
    /// How much was committed when each read was asked.
    read_floors: BTreeMap<u64, usize>,
    /// How much was committed when a replica crashed.
    committed_at_crash: Option<usize>,
    /// A leader of a second term committed something of its own.
    pub committed_by_a_second: bool,
    /// A follower dropped what another leader had sent.
    pub truncated: bool,
    /// A read was confirmed in a second term.
    pub read_by_a_second: bool,
    /// What was broken first.
    pub broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    TwoLeaders,
    Committed,
    StaleRead,
    Refused,
    Assertion,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The frame that has waited longest arrives.
    Deliver {
        from: usize,
        to: usize,
    },
    /// So does a pulse, or the answer to one.
    Pulse {
        from: usize,
        to: usize,
    },
    /// The store makes its oldest batch durable.
    Store(usize),
    Campaign(usize),
    Propose(usize),
    Read(usize),
    Crash(usize),
    Cut(usize, usize),
}

impl World {
    /// Three replicas of a founded cluster, linked, before the first election.
    pub fn new(budget: Budget) -> Self {
        let mut world = Self {
            replicas: (0..REPLICAS).map(Replica::new).collect(),
            links: vec![vec![Queue::new(); REPLICAS]; REPLICAS],
            pulses: vec![vec![Queue::new(); REPLICAS]; REPLICAS],
            left: budget,
            history: History { committed: vec![Term(0)], ..History::default() },
        };
        pairs().for_each(|(a, b)| world.connect(a, b));
        world
    }

    fn leads(&self, at: usize) -> bool {
        self.replicas[at].node.standing().role == Role::Leader
    }

    fn turn(&mut self, at: usize, inputs: Vec<Input>) {
        if self.history.broken.is_some() {
            return;
        }
        let (replica, fast_disks) = (&mut self.replicas[at], self.left.fast_disks);
        // An assertion of the core is a promise like any other: a state that breaks it is to be found with its way.
        match catch_unwind(AssertUnwindSafe(|| replica.turn(inputs, fast_disks))) {
            Ok(turn) => self.carry_out(at, turn),
            Err(_) => self.history.broken = Some(Broken::Assertion),
        }
    }

    fn carry_out(&mut self, at: usize, turn: Turn) {
        let reads = self.left.reads > 0 || !self.history.read_floors.is_empty();
        for (to, frame) in turn.sent {
            self.links[at][usize::from(to.0) - 1].push(Printed::new(frame));
        }
        for (to, frame) in turn.pulses {
            if reads {
                self.pulses[at][usize::from(to.0) - 1].push(Printed::new(frame));
            }
        }
        let node = &self.replicas[at].node;
        self.history.observe(node.standing().role == Role::Leader, at, node);
        self.history.truncated |= turn.truncated;
        for entry in turn.applied {
            let payload = if let Body::Command(payload) = entry.body { Some(payload) } else { None };
            self.history.applied(entry.index, (entry.term, payload));
        }
        for (id, index) in turn.reads {
            self.history.read(id, index);
        }
        if turn.refused {
            self.history.breaks(Broken::Refused);
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        let [shown_by_a, shown_by_b] = [a, b].map(|at| self.replicas[at].node.introduction());
        self.turn(a, vec![Input::LinkUp(shown_by_b)]);
        self.turn(b, vec![Input::LinkUp(shown_by_a)]);
    }

    /// A link breaks, and is back at once: that it stays away for a time is a time in which it delivers nothing.
    fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.links[from][to].clear();
            self.pulses[from][to].clear();
            self.turn(from, vec![Input::LinkDown(member(to).id)]);
        }
        // What either says to a link that is down goes nowhere.
        for (from, to) in [(a, b), (b, a)] {
            self.links[from][to].clear();
            self.pulses[from][to].clear();
        }
        self.connect(a, b);
    }

    /// Power off and on. That it is away for a time is, again, a time in which nothing is delivered.
    fn crash(&mut self, at: usize) {
        self.replicas[at].crash(at);
        (0..REPLICAS).filter(|peer| *peer != at).for_each(|peer| self.cut(at, peer));
    }

    /// `false` if nothing comes of it.
    fn take(&mut self, action: Action) -> bool {
        match action {
            Action::Deliver { from, to } => {
                let frame = self.links[from][to].remove(0);
                self.turn(to, vec![Input::Frame(member(from), (*frame).clone())]);
            }
            Action::Pulse { from, to } => {
                let frame = self.pulses[from][to].remove(0);
                self.turn(to, vec![Input::Frame(member(from), (*frame).clone())]);
            }
            Action::Store(at) => {
                let ticket = self.replicas[at].store();
                self.turn(at, vec![Input::Stored(ticket)]);
            }
            Action::Campaign(at) => {
                self.left.campaigns -= 1;
                return self.campaign(at);
            }
            Action::Propose(at) => {
                self.left.proposals -= 1;
                let payload = Bytes::from(vec![b'a' + self.left.proposals]);
                self.turn(at, vec![Input::Propose(vec![payload])]);
            }
            Action::Read(at) => {
                self.left.reads -= 1;
                let id = u64::from(self.left.reads);
                self.history.read_floors.insert(id, self.history.committed.len());
                self.turn(at, vec![Input::Read(id)]);
            }
            Action::Crash(at) => {
                self.left.crashes -= 1;
                self.history.committed_at_crash = Some(self.history.committed.len());
                self.crash(at);
            }
            Action::Cut(a, b) => {
                self.left.cuts -= 1;
                self.cut(a, b);
            }
        }
        true
    }

    /// Pre-votes change nothing at whom they ask, so the way they take is left out: the first peer that would grant one
    /// does, at once, and everybody has missed the leader. `false` if there is none.
    fn campaign(&mut self, at: usize) -> bool {
        let asked = self.replicas[at].turn(vec![Input::Campaign], self.left.fast_disks).sent;
        for peer in (0..REPLICAS).filter(|peer| *peer != at) {
            self.replicas[peer].turn(vec![Input::LeaderQuiet], self.left.fast_disks);
        }
        for (to, question) in asked {
            let to = usize::from(to.0) - 1;
            let answered = self.replicas[to].turn(vec![Input::Frame(member(at), question)], self.left.fast_disks).sent;
            for (_, answer) in answered {
                if matches!(answer, Frame::PreVoteReply { granted: true, .. }) {
                    self.turn(at, vec![Input::Frame(member(to), answer)]);
                    return true;
                }
            }
        }
        false
    }

    /// Every entry that was ever held to be committed stands on a majority of the disks.
    fn committed_is_durable(&self) -> bool {
        self.history.committed.iter().enumerate().all(|(at, term)| {
            let index = Index(at as u64 + 1);
            self.replicas.iter().filter(|replica| replica.durable_term(index) == Some(*term)).count() > REPLICAS / 2
        })
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..REPLICAS).flat_map(|a| (a + 1..REPLICAS).map(move |b| (a, b)))
}

impl History {
    fn breaks(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    fn observe(&mut self, leads: bool, at: usize, node: &plainsong::consensus::Node) {
        let term = node.standing().term;
        if leads && *self.leaders.entry(term).or_insert(member(at).id) != member(at).id {
            self.breaks(Broken::TwoLeaders);
        }
        for index in 1..=node.commit().0 {
            let of = node.log().term_at(Index(index)).expect("nobody commits beyond its log");
            match self.committed.get(usize::try_from(index - 1).expect("a short log")) {
                Some(known) if *known == of => {}
                Some(_) => self.breaks(Broken::Committed),
                None => {
                    self.committed.push(of);
                    self.committed_by_a_second |= of > Term(1);
                }
            }
        }
    }

    fn applied(&mut self, index: Index, what: (Term, Option<Bytes>)) {
        let at = usize::try_from(index.0 - 2).expect("the founding is applied at the start");
        match self.applied.get(at) {
            Some(known) if *known == what => {}
            None if at == self.applied.len() => self.applied.push(what),
            Some(_) | None => self.breaks(Broken::Committed),
        }
    }

    fn read(&mut self, id: u64, index: Index) {
        if index.0 < self.read_floors[&id] as u64 {
            self.breaks(Broken::StaleRead);
        }
        self.read_by_a_second |= self.leaders.len() > 1;
    }
}

impl Model for Budget {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(*self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.history.broken.is_some() {
            return;
        }
        let left = world.left;
        for (from, to) in pairs().flat_map(|(a, b)| [(a, b), (b, a)]) {
            if !world.links[from][to].is_empty() {
                actions.push(Action::Deliver { from, to });
            }
            if !world.pulses[from][to].is_empty() {
                actions.push(Action::Pulse { from, to });
            }
        }
        for (a, b) in pairs() {
            if left.cuts > 0 {
                actions.push(Action::Cut(a, b));
            }
        }
        // The replicas differ by nothing but their ids, so the first who stands may as well be the first.
        let candidates = if left.campaigns == self.campaigns { 0..1 } else { 0..REPLICAS };
        let stand = candidates.filter(|at| left.campaigns > 0 && !world.leads(*at));
        actions.extend(stand.map(Action::Campaign));
        for at in 0..REPLICAS {
            if world.replicas[at].is_storing() {
                actions.push(Action::Store(at));
            }
            if left.proposals > 0 && world.leads(at) {
                actions.push(Action::Propose(at));
            }
            if left.reads > 0 {
                actions.push(Action::Read(at));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(at));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.take(action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn not(world: &World, broken: Broken) -> bool {
            world.history.broken != Some(broken)
        }
        let mut properties = vec![
            Property::always("one leader a term", |_, world: &World| not(world, Broken::TwoLeaders)),
            Property::always("what is committed never changes", |_, world: &World| not(world, Broken::Committed)),
            Property::always("what is committed is durable at a majority", |_, world: &World| {
                world.committed_is_durable()
            }),
            Property::always("no healthy disk is refused", |_, world: &World| not(world, Broken::Refused)),
            Property::always("no assertion of the core fails", |_, world: &World| not(world, Broken::Assertion)),
        ];
        if self.campaigns > 1 {
            properties.extend([
                Property::sometimes("a second leader commits", |_, world: &World| world.history.committed_by_a_second),
                Property::sometimes("a second leader truncates", |_, world: &World| world.history.truncated),
            ]);
        }
        if self.crashes > 0 {
            let commits = |_: &Self, world: &World| {
                world.history.committed_at_crash.is_some_and(|committed| committed < world.history.committed.len())
            };
            properties.push(Property::sometimes("something is committed after a crash", commits));
        }
        if self.reads > 0 {
            properties.extend([
                Property::always("no read is of the past", |_, world: &World| not(world, Broken::StaleRead)),
                Property::sometimes("a read after a change of leader", |_, world: &World| {
                    world.history.read_by_a_second
                }),
            ]);
        }
        properties
    }
}
