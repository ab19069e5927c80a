//! The driver around a node, as the headers of the node and of `Origin` ask for it: a turn takes what is in the inbox,
//! steps through it, and carries the duties out in order; timers, disk and state answer later.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;

use plainsong::consensus::{ClusterId, Duty, Frame, Index, Input, Node, Origin, Role, Run, Settings, Standing, Ticket};

use super::members::{address, founders};
use super::net::Lane;
use super::state::{Proposal, Verdict};
use super::world::{ELECTION_MAX, ELECTION_MIN, Event, MS, Mail, PULSE, Process, World, id};

impl World {
    pub fn start(&mut self, host: usize) {
        let me = self.disks[host].me;
        if self.check.forgetful.contains(&me) && !self.is_detectable(host, &self.disks[host]) {
            // An old copy that was started as often as the original passes for it: this is not promised to be seen.
            self.blank(host);
        }
        let run_nonce = self.rng.u32(..);
        self.finish_install(host);
        let recovered = self.disks[host].recover(self.hosts[host].saved.applied);
        self.note(|| format!("{} starts: {:?} last {}", recovered.me, recovered.boot, recovered.last));
        let founders = founders(self);
        // Whoever was wiped is started with `--join`, so that one that founded its cluster alone does not found another.
        let was_wiped = self.style.spares > 0 && recovered.record.is_none() && self.check.committed() > Index(0);
        let joins = was_wiped || !founders.contains(&id(host));
        let ids = if joins { vec![id(host)] } else { founders };
        // Seeds whose members never change keep a log without addresses.
        let named = if self.style.spares == 0 { 0 } else { ids.len() };
        let addresses = ids.iter().take(named).map(|id| address(usize::from(id.0) - 1, 1)).collect();
        let settings = Settings {
            run: Run { boot: recovered.boot, nonce: run_nonce },
            ids,
            addresses,
            book: 7,
            joins,
            fresh_cluster: ClusterId(self.rng.u64(1..)),
        };
        let node = Node::new(&recovered, settings);
        let known = node.standing();
        let there = &mut self.hosts[host];
        there.life += 1;
        there.dies_after = None;
        there.process = Some(Process {
            node,
            inbox: Vec::new(),
            turn_due: false,
            links: BTreeMap::new(),
            storing: VecDeque::new(),
            group: 0,
            applying: VecDeque::new(),
            state: there.saved.clone(),
            origin: Origin::default(),
            reads: BTreeMap::new(),
            next_read: 1,
            known,
            armed: 0,
        });
        let life = there.life;
        let (pulse, check) = (self.rng.u64(0..PULSE), self.rng.u64(0..ELECTION_MAX));
        self.at(pulse, Event::Pulse { host, life });
        self.at(check, Event::Check { host, life });
        self.arm(host, life);
        self.wake(host, life);
    }

    /// Ends the process: a part of what was on its way to the disk got there, in order.
    pub fn crash(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.take() else {
            return;
        };
        self.end(host, process);
    }

    /// Ends the process in good order: all that was on its way to the disk gets there.
    pub fn stop(&mut self, host: usize) {
        if let Some(mut process) = self.hosts[host].process.take() {
            for (batch, _) in process.storing.drain(..) {
                self.disks[host].write(&batch);
            }
            self.end(host, process);
        }
    }

    pub fn end(&mut self, host: usize, process: Process) {
        self.hosts[host].installs = None;
        self.hosts[host].outgoing = None;
        let kept = self.rng.usize(0..=process.storing.len());
        self.note(|| format!("{} dies; {kept} of {} batches reached its disk", id(host), process.storing.len()));
        for (batch, _) in process.storing.iter().take(kept) {
            self.disks[host].write(batch);
        }
        if self.rng.bool() && process.state.applied <= self.disks[host].last() {
            self.hosts[host].saved = process.state;
        }
        self.hosts[host].life += 1;
        let pairs: Vec<_> = self.links.keys().copied().filter(|p| p.0 == host || p.1 == host).collect();
        for pair in pairs {
            // What it sent before may still arrive.
            let drained = self.rng.u64(0..3 * MS);
            let link = &self.links[&pair];
            let (generation, peer) = (link.generation, link.peer_of(host));
            if link.alive {
                self.at(drained, Event::LinkLost { generation, pair, host: peer });
            }
        }
    }

    pub fn arm(&mut self, host: usize, life: u64) {
        let campaign = self.rng.u64(ELECTION_MIN..ELECTION_MAX);
        let Some(process) = self.process(host, life) else {
            return;
        };
        process.armed += 1;
        let armed = process.armed;
        self.at(ELECTION_MIN, Event::Quiet { host, life, armed });
        self.at(campaign, Event::Election { host, life, armed });
    }

    pub fn quorum_check(&mut self, host: usize, life: u64) {
        let now = self.now;
        let Some(process) = self.process(host, life) else {
            return;
        };
        let hangs = process.storing.front().is_some_and(|(_, since)| now - since > ELECTION_MAX);
        if hangs {
            self.post(host, life, Mail::Input(Input::Gray));
        }
        self.post(host, life, Mail::Input(Input::QuorumCheckDue));
        self.at(ELECTION_MAX, Event::Check { host, life });
    }

    /// Tells a process something, if it still lives.
    pub fn tell(&mut self, host: usize, input: Input) {
        let life = self.hosts[host].life;
        self.post(host, life, Mail::Input(input));
    }

    pub fn post(&mut self, host: usize, life: u64, mail: Mail) -> bool {
        let Some(process) = self.process(host, life) else {
            return false;
        };
        process.inbox.push(mail);
        self.wake(host, life);
        true
    }

    pub fn wake(&mut self, host: usize, life: u64) {
        let delay = self.rng.u64(0..self.style.turn_delay_max);
        let Some(process) = self.process(host, life) else {
            return;
        };
        if !process.turn_due {
            process.turn_due = true;
            self.at(delay, Event::Turn { host, life });
        }
    }

    pub fn turn_due(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_none() {
            return;
        }
        let paused = self.hosts[host].paused_until;
        if paused > self.now {
            self.at(paused - self.now, Event::Turn { host, life });
            return;
        }
        let mut process = self.hosts[host].process.take().expect("it lives");
        process.turn_due = false;
        let alive = self.turn(host, &mut process);
        if alive {
            self.hosts[host].process = Some(process);
            if self.hosts[host].process.as_ref().is_some_and(|p| !p.inbox.is_empty()) {
                self.wake(host, life);
            }
        } else {
            self.end(host, process);
        }
    }

    /// One turn of the driver. Returns whether the process survived it.
    pub fn turn(&mut self, host: usize, process: &mut Process) -> bool {
        let commit = process.node.commit();
        let clock = self.now / MS + self.hosts[host].clock_skew;
        for mail in std::mem::take(&mut process.inbox) {
            self.note(|| format!("{}   < {mail:?}", id(host)));
            self.step(process, clock, mail);
        }
        let duties = process.node.duties();
        self.look_at(host, process, commit);
        let dies_after = self.hosts[host].dies_after.take();
        let count = duties.len();
        let survives = dies_after.is_none();
        for duty in duties.into_iter().take(dies_after.unwrap_or(count)) {
            self.note(|| format!("{} {duty:?}", id(host)));
            self.carry_out(host, process, duty);
        }
        if survives {
            self.forward(host, process);
        }
        survives
    }

    pub fn step(&mut self, process: &mut Process, clock: u64, mail: Mail) {
        match mail {
            Mail::Input(input) => process.node.step(clock, input),
            Mail::Up(peer, generation, introduction) => {
                if process.links.insert(peer, generation).is_some() {
                    process.node.step(clock, Input::LinkDown(id(peer)));
                }
                process.node.step(clock, Input::LinkUp(introduction));
                if process.known.leader == Some(id(peer)) {
                    again(process, clock);
                }
            }
            Mail::Down(peer) => process.node.step(clock, Input::LinkDown(id(peer))),
            Mail::Frame(peer, member, Frame::Forward { term, payloads }) => {
                let standing = process.node.standing();
                if standing.role == Role::Leader && standing.term == term && process.links.contains_key(&peer) {
                    self.note(|| format!("forwarded by {member}"));
                    process.node.step(clock, Input::Propose(payloads));
                }
            }
            Mail::Frame(_, member, frame) => process.node.step(clock, Input::Frame(member, frame)),
        }
    }

    /// The checks after a turn, and the trace.
    pub fn look_at(&mut self, host: usize, process: &Process, commit: Index) {
        let node = &process.node;
        let standing = node.standing();
        if node.commit() > commit {
            self.check.commit_moved(node, &self.disks[host], commit);
        }
        if standing.role == Role::Leader {
            self.check.leads(node, self.disks[host].boot, &self.disks);
            if node.commit() > commit {
                self.check.commit_is_durable(node, &self.disks);
            }
        }
        let seen = (self.now, host, standing.term, standing.leader, node.commit(), node.last(), node.applied());
        seen.hash(&mut self.trace);
    }

    pub fn carry_out(&mut self, host: usize, process: &mut Process, duty: Duty) {
        let life = self.hosts[host].life;
        match duty {
            Duty::Persist(batch) => {
                process.storing.push_back((batch, self.now));
                if process.group == 0 {
                    self.begin_store(host, process);
                }
            }
            Duty::Send(to, frame) => self.send(host, process, to, Lane::Bulk, frame),
            Duty::Pulse(to, frame) => self.send(host, process, to, Lane::Pulse, frame),
            Duty::Apply(entries) => {
                for entry in &entries {
                    assert_eq!(self.disks[host].entry(entry.index), Some(entry), "applied before it is durable");
                }
                if process.applying.is_empty() {
                    let delay = self.rng.u64(0..self.style.apply_delay_max);
                    self.at(delay, Event::Applied { host, life });
                }
                process.applying.push_back(entries);
            }
            Duty::Load(reader, from, to) => {
                let delay = self.rng.u64(0..5 * MS);
                self.at(delay, Event::Load { host, life, reader, from, to });
            }
            Duty::MakeSnapshot(_) => {
                let delay = self.rng.u64(MS..40 * MS);
                self.at(delay, Event::Copied { host, life });
            }
            Duty::Fetch(from, snapshot) => self.fetch(host, usize::from(from.0) - 1, snapshot),
            Duty::Install(snapshot) => {
                let delay = self.rng.u64(0..20 * MS);
                self.hosts[host].installs = Some(snapshot);
                self.at(delay, Event::Install { host, life });
            }
            Duty::ReadReady(read, index) => self.read_ready(process, read, index),
            Duty::HeardLeader => self.arm_taken(host, process),
            Duty::Standing(standing) => self.stands(host, process, standing),
            Duty::StandSoon => {
                let delay = self.rng.u64(0..20 * MS);
                self.at(delay, Event::Input { host, life, input: Input::Campaign });
            }
            Duty::RefuseRestored(member, run) => {
                let peer = usize::from(member.id.0) - 1;
                let pair = (host.min(peer), host.max(peer));
                let generation = process.links.get(&peer).copied();
                if let Some(link) = generation.and_then(|g| self.current(pair, g)) {
                    let life = link.life_of(peer);
                    self.at(MS, Event::Refused { host: peer, life, run });
                }
            }
            Duty::RefuseRemoved(member, _) => {
                let peer = usize::from(member.id.0) - 1;
                let pair = (host.min(peer), host.max(peer));
                let generation = process.links.get(&peer).copied();
                if let Some(link) = generation.and_then(|g| self.current(pair, g)) {
                    let life = link.life_of(peer);
                    self.at(MS, Event::Removed { host: peer, life, member });
                }
            }
            Duty::Dismissed => {
                let (life, member) = (self.hosts[host].life, self.disks[host].me);
                self.at(MS, Event::Removed { host, life, member });
            }
            Duty::ChangeAnswered(number, verdict) => self.check.change_answered(number, verdict),
            Duty::GaveUp { .. } | Duty::StartAnew(_) => panic!("of the other mode: {duty:?}"),
            Duty::Founded(_) | Duty::Voters(_) => {}
        }
    }

    /// As [`World::arm`], while the process is out of its host.
    pub fn arm_taken(&mut self, host: usize, process: &mut Process) {
        let (life, campaign) = (self.hosts[host].life, self.rng.u64(ELECTION_MIN..ELECTION_MAX));
        process.armed += 1;
        let armed = process.armed;
        self.at(ELECTION_MIN, Event::Quiet { host, life, armed });
        self.at(campaign, Event::Election { host, life, armed });
    }

    pub fn stands(&mut self, host: usize, process: &mut Process, standing: Standing) {
        let before = std::mem::replace(&mut process.known, standing);
        if before.role == Role::Leader && standing.role != Role::Leader {
            self.arm_taken(host, process);
        }
        if (before.term, before.leader) != (standing.term, standing.leader) {
            let clock = self.now / MS + self.hosts[host].clock_skew;
            again(process, clock);
            self.wake_taken(host, process);
        }
    }

    pub fn wake_taken(&mut self, host: usize, process: &mut Process) {
        if !process.turn_due {
            process.turn_due = true;
            let life = self.hosts[host].life;
            self.at(0, Event::Turn { host, life });
        }
    }

    pub fn begin_store(&mut self, host: usize, process: &mut Process) {
        process.group = self.rng.usize(1..=process.storing.len());
        let slow = self.hosts[host].slow_disk_until > self.now;
        let latency = if slow { self.rng.u64(20 * MS..900 * MS) } else { self.rng.u64(200..self.style.fsync_max) };
        let life = self.hosts[host].life;
        self.at(latency, Event::Store { host, life });
    }

    pub fn store(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_none() {
            return;
        }
        let mut process = self.hosts[host].process.take().expect("it lives");
        let mut ticket = Ticket(0);
        for (batch, _) in process.storing.drain(..process.group) {
            self.disks[host].write(&batch);
            ticket = batch.ticket;
        }
        process.group = 0;
        self.at(50, Event::Input { host, life, input: Input::Stored(ticket) });
        if !process.storing.is_empty() {
            self.begin_store(host, &mut process);
        }
        self.hosts[host].process = Some(process);
    }

    pub fn apply(&mut self, host: usize, life: u64) {
        if self.process(host, life).is_none() {
            return;
        }
        let mut process = self.hosts[host].process.take().expect("it lives");
        let entries = process.applying.pop_front().expect("something is applied");
        for entry in &entries {
            if let Some((proposal, verdict)) = process.state.apply(entry) {
                self.judged(host, &mut process, proposal, verdict, entry.index);
            }
        }
        self.check.state_is_right(&process.state);
        if self.rng.u8(..) < 80 {
            self.hosts[host].saved = process.state.clone();
        }
        process.inbox.push(Mail::Input(Input::Applied(process.state.applied)));
        let applied = process.state.applied;
        let done: Vec<u64> =
            process.reads.iter().filter(|(_, r)| r.index.is_some_and(|i| i <= applied)).map(|(n, _)| *n).collect();
        for read in done {
            process.reads.remove(&read);
            self.check.floor = self.check.floor.max(applied);
        }
        if !process.applying.is_empty() {
            let delay = self.rng.u64(0..self.style.apply_delay_max);
            self.at(delay, Event::Applied { host, life });
        }
        self.hosts[host].process = Some(process);
        self.wake(host, life);
    }

    pub fn judged(&mut self, host: usize, process: &mut Process, proposal: Proposal, verdict: Verdict, index: Index) {
        if proposal.member != self.disks[host].me || proposal.boot != self.disks[host].boot.0 {
            return;
        }
        match verdict {
            Verdict::Applied => {
                self.check.acknowledged(proposal, index);
                process.origin.resolved(proposal.n);
            }
            Verdict::Old => process.origin.resolved(proposal.n),
            Verdict::Gap { expected } => process.origin.gap(proposal.n, expected),
        }
    }
}

/// There is another leader, or another link to it: everything that is unresolved is asked again.
fn again(process: &mut Process, clock: u64) {
    process.origin.send_again();
    let open: Vec<u64> = process.reads.iter().filter(|(_, r)| r.index.is_none()).map(|(n, _)| *n).collect();
    for read in open {
        process.node.step(clock, Input::Read(read));
    }
}
