//! The world of a script: replicas, disks and links that do what the commands say, and nothing by themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use plainsong::consensus::{
    Address, Batch, Boot, Change, ClusterId, Duty, Frame, Incarnation, Index, Input, Mark, Member, Node, ReplicaId,
    Role, Run, Settings, Snapshot, Verdict, refound,
};

use super::disk::Disk;
use super::print;

/// What is under way; done in this order, unless a command says otherwise.
enum Event {
    Frame { from: Member, to: ReplicaId, frame: Frame },
    Input(ReplicaId, u64, Input),
}

struct Replica {
    disk: Disk,
    copy: Option<Disk>,
    node: Option<Node>,
    /// Tells the runs of the process apart: what an earlier one was told is not for this one.
    life: u64,
    slow: bool,
    waiting: VecDeque<Batch>,
    applied: Index,
    fetching: Option<Snapshot>,
    incarnations: u64,
}

/// See the module's header.
#[derive(Default)]
pub struct World {
    /// Who stands in the config file.
    founders: Vec<ReplicaId>,
    replicas: BTreeMap<ReplicaId, Replica>,
    links: BTreeSet<(ReplicaId, ReplicaId)>,
    events: VecDeque<Event>,
    said: Vec<String>,
}

impl World {
    /// Runs one command. Returns what it made everybody say and do.
    pub fn run(&mut self, command: &str) -> Vec<String> {
        if let Some((a, inputs)) = command.strip_prefix("turn ").and_then(|rest| rest.split_once(": ")) {
            self.turn(id(a), inputs);
            return std::mem::take(&mut self.said);
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["cluster", n] => {
                self.blank(n);
                self.link_all();
                self.deliver_all();
                self.said.clear();
            }
            ["blank", n] => self.blank(n),
            ["link", "all"] => self.link_all(),
            ["link", a, b] => self.link(id(a), id(b)),
            ["cut", a, b] => self.cut(id(a), id(b)),
            ["cut", a] => self.cut_all(id(a)),
            ["elect", a] => {
                let others: Vec<ReplicaId> = self.replicas.keys().copied().filter(|r| *r != id(a)).collect();
                others.into_iter().for_each(|other| self.step(other, Input::LeaderQuiet));
                self.step(id(a), Input::Campaign);
                self.deliver_all();
                self.said.clear();
            }
            ["campaign", a] => self.step(id(a), Input::Campaign),
            ["quiet", ref all @ ..] => all.iter().for_each(|a| self.step(id(a), Input::LeaderQuiet)),
            ["pulse", a] => self.step(id(a), Input::PulseDue),
            ["check", a] => self.step(id(a), Input::QuorumCheckDue),
            ["gray", a] => self.step(id(a), Input::Gray),
            ["handover", a] => self.step(id(a), Input::HandOver),
            ["propose", a, ref what @ ..] => {
                let payloads = what.iter().map(|w| Bytes::copy_from_slice(w.as_bytes())).collect();
                self.step(id(a), Input::Propose(payloads));
            }
            ["read", a, n] => self.step(id(a), Input::Read(n.parse().expect("a number"))),
            ["new", a] => self.add(id(a)),
            ["join", a, contact] => self.join(id(a), id(contact), address(id(a))),
            ["join", a, contact, "at", place] => {
                let at =
                    Address { clients: format!("{place}:5000"), replicas: format!("{place}:7000"), ..address(id(a)) };
                self.join(id(a), id(contact), at);
            }
            ["remove", a, contact] => {
                self.step(id(contact), Input::Change(u64::from(id(a).0), Change::Remove(id(a))));
            }
            ["found", a] => {
                let verdict = self.replica(id(a)).node.as_ref().expect("it runs").may_found();
                self.said.push(match verdict {
                    Verdict::Refused(why) => format!("{a} refuses: {why}"),
                    _ => format!("{a} founds with those who are here"),
                });
                self.step(id(a), Input::Found);
            }
            ["deliver", "all"] => self.deliver_all(),
            ["deliver", a, b] => self.deliver(id(a), id(b)),
            ["lose", a, b] => self.lose(id(a), id(b)),
            ["disk", a, speed] => self.replica(id(a)).slow = speed == "slow",
            ["store", a] => {
                self.store(id(a), 1);
                self.answer();
            }
            ["store", a, "all"] => {
                self.store(id(a), usize::MAX);
                self.answer();
            }
            ["trim", a, to] => {
                let (applied, index) = (self.replica(id(a)).applied, Index(to.parse().expect("a number")));
                self.step(id(a), Input::StateDurable(applied));
                self.step(id(a), Input::Cut(Mark { index, digest: 0 }));
            }
            ["fetched", a] => {
                let snapshot = self.replica(id(a)).fetching.take().expect("it fetches");
                self.step(id(a), Input::SnapshotFetched(snapshot));
            }
            ["crash", a] => self.crash(id(a)),
            ["start", a] => self.start(id(a)),
            ["wipe", a] => self.wipe(id(a)),
            ["recover", a] => self.recover(id(a)),
            ["copy", a] => self.replica(id(a)).copy = Some(self.replica(id(a)).disk.clone()),
            ["restore", a] => {
                self.crash(id(a));
                let replica = self.replica(id(a));
                replica.disk = replica.copy.clone().expect("a copy was kept");
                replica.applied = Index(0);
            }
            ["show"] => self.show(),
            _ => panic!("no such command: {command}"),
        }
        std::mem::take(&mut self.said)
    }

    fn replica(&mut self, id: ReplicaId) -> &mut Replica {
        self.replicas.get_mut(&id).unwrap_or_else(|| panic!("no replica {id}"))
    }

    fn blank(&mut self, n: &str) {
        *self = Self::default();
        let ids: Vec<ReplicaId> = (1..=id(n).0).map(ReplicaId).collect();
        self.founders.clone_from(&ids);
        ids.into_iter().for_each(|id| self.add(id));
    }

    /// A machine with an empty disk, on which the program is started; if the cluster stands, with `--join`.
    fn add(&mut self, id: ReplicaId) {
        let replica = Replica {
            disk: Disk::blank(Member { id, incarnation: Incarnation(0xa) }),
            copy: None,
            node: None,
            life: 0,
            slow: false,
            waiting: VecDeque::new(),
            applied: Index(0),
            fetching: None,
            incarnations: 1,
        };
        self.replicas.insert(id, replica);
        self.start(id);
    }

    /// `a`, which has that disk, wants to join, and asks `contact`.
    fn join(&mut self, a: ReplicaId, contact: ReplicaId, at: Address) {
        let change = Change::Join(self.replica(a).disk.me, at);
        self.step(contact, Input::Change(u64::from(a.0), change));
    }

    // --- processes -------------------------------------------------------------------------------------------

    fn start(&mut self, id: ReplicaId) {
        let founders: Vec<ReplicaId> = self.founders.clone();
        let replica = self.replica(id);
        let joins = !founders.contains(&id);
        let ids = if joins { vec![id] } else { founders };
        let recovered = replica.disk.recover(replica.applied);
        replica.life += 1;
        let nonce = u32::try_from(replica.life).expect("few lives");
        let run = Run { boot: recovered.boot, nonce };
        let settings = Settings {
            run,
            addresses: ids.iter().map(|id| address(*id)).collect(),
            ids,
            book: 1,
            joins,
            fresh_cluster: ClusterId(u64::from(id.0)),
        };
        replica.node = Some(Node::new(&recovered, settings));
        self.duties(id);
    }

    fn crash(&mut self, id: ReplicaId) {
        self.cut_all(id);
        let replica = self.replica(id);
        replica.node = None;
        replica.waiting.clear();
        replica.life += 1;
    }

    fn wipe(&mut self, id: ReplicaId) {
        self.crash(id);
        let replica = self.replica(id);
        let incarnation = Incarnation(0xa + replica.incarnations);
        replica.incarnations += 1;
        replica.disk = Disk::blank(Member { id, incarnation });
        replica.applied = Index(0);
    }

    fn recover(&mut self, id: ReplicaId) {
        const NEW: ClusterId = ClusterId(0xbee);
        let replica = self.replica(id);
        let recovered = replica.disk.recover(replica.applied);
        let batch = refound(&recovered, 0, NEW).expect("its cluster was founded");
        replica.disk.write(&batch);
        self.said.extend(print::duty(&Duty::Persist(batch)).map(|said| format!("{id} {said}")));
    }

    fn step(&mut self, id: ReplicaId, input: Input) {
        let Some(node) = &mut self.replica(id).node else { return };
        node.step(0, input);
        self.duties(id);
    }

    /// Several inputs before the duties are asked for.
    fn turn(&mut self, to: ReplicaId, inputs: &str) {
        for input in inputs.split("; ") {
            let words: Vec<&str> = input.split_whitespace().collect();
            let inputs = match words[..] {
                ["campaign"] => vec![Input::Campaign],
                ["read", n] => vec![Input::Read(n.parse().expect("a number"))],
                ["deliver", a, _] => self.in_flight(id(a), to),
                _ => panic!("no such input: {input}"),
            };
            let node = self.replica(to).node.as_mut().expect("it is up");
            inputs.into_iter().for_each(|input| node.step(0, input));
        }
        self.duties(to);
    }

    fn in_flight(&mut self, a: ReplicaId, b: ReplicaId) -> Vec<Input> {
        let frames = self.events.iter().filter_map(|e| match e {
            Event::Frame { from, to, frame } if from.id == a && *to == b => Some(Input::Frame(*from, frame.clone())),
            Event::Frame { .. } | Event::Input(..) => None,
        });
        let frames = frames.collect();
        self.lose(a, b);
        frames
    }

    fn duties(&mut self, id: ReplicaId) {
        let Some(node) = &mut self.replica(id).node else { return };
        for duty in node.duties() {
            let lost = match &duty {
                Duty::Send(to, _) | Duty::Pulse(to, _) if !self.links.contains(&(id.min(*to), id.max(*to))) => {
                    " (no link)"
                }
                _ => "",
            };
            self.said.extend(print::duty(&duty).map(|said| format!("{id} {said}{lost}")));
            self.carry_out(id, duty);
        }
    }

    fn carry_out(&mut self, id: ReplicaId, duty: Duty) {
        let linked = |to: ReplicaId| (id.min(to), id.max(to));
        match duty {
            Duty::Persist(batch) => {
                let replica = self.replica(id);
                replica.waiting.push_back(batch);
                if !replica.slow {
                    self.store(id, usize::MAX);
                }
            }
            Duty::Send(to, frame) | Duty::Pulse(to, frame) => {
                let from = self.replica(id).disk.me;
                if self.links.contains(&linked(to)) {
                    self.events.push_back(Event::Frame { from, to, frame });
                }
            }
            Duty::Apply(entries) => {
                let replica = self.replica(id);
                replica.applied = entries.last().expect("at least one entry").index;
                let (life, applied) = (replica.life, replica.applied);
                self.events.push_back(Event::Input(id, life, Input::Applied(applied)));
            }
            Duty::Load(reader, from, to) => {
                let replica = self.replica(id);
                let (life, entries) = (replica.life, replica.disk.load(from, to, 100));
                self.events.push_back(Event::Input(id, life, Input::Loaded(reader, entries)));
            }
            Duty::RefuseRestored(member, _) | Duty::RefuseRemoved(member, _) => {
                self.links.remove(&linked(member.id));
                self.lose(id, member.id);
                self.lose(member.id, id);
            }
            Duty::MakeSnapshot(_) => {
                let replica = self.replica(id);
                let (life, snapshot) = (replica.life, replica.disk.snapshot(replica.applied, 0, replica.applied.0));
                self.events.push_back(Event::Input(id, life, Input::SnapshotMade(snapshot)));
            }
            Duty::Fetch(_, snapshot) => self.replica(id).fetching = Some(snapshot),
            Duty::Install(snapshot) => {
                self.crash(id);
                let replica = self.replica(id);
                if replica.disk.begin_behind(&snapshot) {
                    replica.applied = snapshot.base.index;
                }
                self.start(id);
            }
            Duty::ReadReady(..)
            | Duty::ChangeAnswered(..)
            | Duty::Dismissed
            | Duty::HeardLeader
            | Duty::Standing(_)
            | Duty::StandSoon
            | Duty::Founded(_)
            | Duty::GaveUp { .. }
            | Duty::Voters(_) => {}
            Duty::StartAnew(_) => {
                self.crash(id);
                self.start(id);
            }
        }
    }

    /// The disk does the oldest writes, and says so.
    fn store(&mut self, id: ReplicaId, count: usize) {
        let replica = self.replica(id);
        let count = count.min(replica.waiting.len());
        let done: Vec<Batch> = replica.waiting.drain(..count).collect();
        let life = replica.life;
        for batch in done {
            self.replica(id).disk.write(&batch);
            self.events.push_back(Event::Input(id, life, Input::Stored(batch.ticket)));
        }
    }

    // --- links -----------------------------------------------------------------------------------------------

    fn link_all(&mut self) {
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        for (at, a) in ids.iter().enumerate() {
            for b in &ids[at + 1..] {
                self.link(*a, *b);
            }
        }
    }

    fn link(&mut self, a: ReplicaId, b: ReplicaId) {
        if self.links.contains(&(a.min(b), a.max(b))) {
            return;
        }
        let (Some(first), Some(second)) = (&self.replicas[&a].node, &self.replicas[&b].node) else {
            return;
        };
        let (first, second) = (first.introduction(), second.introduction());
        self.links.insert((a.min(b), a.max(b)));
        self.step(a, Input::LinkUp(second));
        self.step(b, Input::LinkUp(first));
    }

    fn cut(&mut self, a: ReplicaId, b: ReplicaId) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.lose(a, b);
            self.lose(b, a);
            self.step(a, Input::LinkDown(b));
            self.step(b, Input::LinkDown(a));
        }
    }

    fn cut_all(&mut self, id: ReplicaId) {
        for other in self.replicas.keys().copied().collect::<Vec<_>>() {
            self.cut(id, other);
        }
    }

    fn lose(&mut self, a: ReplicaId, b: ReplicaId) {
        self.events.retain(|e| !matches!(e, Event::Frame { from, to, .. } if from.id == a && *to == b));
    }

    fn deliver(&mut self, a: ReplicaId, b: ReplicaId) {
        self.take(|e| matches!(e, Event::Frame { from, to, .. } if from.id == a && *to == b));
        self.answer();
    }

    /// Disks and states answer at once, while frames stay on their way.
    fn answer(&mut self) {
        while self.events.iter().any(|e| matches!(e, Event::Input(..))) {
            self.take(|e| matches!(e, Event::Input(..)));
        }
    }

    fn take(&mut self, which: impl Fn(&Event) -> bool) {
        let (now, later): (VecDeque<Event>, _) = std::mem::take(&mut self.events).into_iter().partition(which);
        self.events = later;
        now.into_iter().for_each(|event| self.happens(event));
    }

    fn deliver_all(&mut self) {
        const EVENTS_MAX: usize = 10_000;
        for _ in 0..EVENTS_MAX {
            let Some(event) = self.events.pop_front() else { return };
            self.happens(event);
        }
        panic!("they never stop talking");
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Frame { from, to, frame } => self.step(to, Input::Frame(from, frame)),
            Event::Input(id, life, input) => {
                if self.replica(id).life == life {
                    self.step(id, input);
                }
            }
        }
    }

    // --- looking ---------------------------------------------------------------------------------------------

    fn show(&mut self) {
        for (id, replica) in &self.replicas {
            let Some(node) = &replica.node else {
                self.said.push(format!("{id} is down"));
                continue;
            };
            let standing = node.standing();
            let role = match standing.role {
                Role::Leader => "leader",
                Role::Follower => "follower",
                Role::Candidate => "candidate",
                Role::Learner => "learner",
            };
            let base = node.log().base();
            let log: Vec<String> = (base.0.max(1)..=node.last().0)
                .map(|i| print::at(Index(i), node.log().term_at(Index(i)).expect("in the log")))
                .collect();
            let boot =
                if replica.disk.boot == Boot(1) { String::new() } else { format!(", boot {}", replica.disk.boot) };
            let begins = if base == Index(0) { "" } else { "begins behind " };
            let log = if log.is_empty() { "empty".to_owned() } else { format!("{begins}{}", log.join(" ")) };
            self.said.push(format!(
                "{}{boot}: {role} in term {}, {}, log {log}, commit {}, applied {}, voters {}",
                replica.disk.me,
                standing.term,
                print::founding(replica.disk.founding),
                node.commit(),
                node.applied(),
                print::members(node.voters()),
            ));
        }
    }
}

fn id(word: &str) -> ReplicaId {
    ReplicaId(word.parse().unwrap_or_else(|_| panic!("{word} is no replica")))
}

/// Where a replica is, if nobody says otherwise.
fn address(id: ReplicaId) -> Address {
    Address { id, clients: format!("h{id}:5000"), replicas: format!("h{id}:7000") }
}
