//! What happens next: drawn; and the calm in which everybody has to come back.

use std::collections::BTreeSet;

use plainsong::consensus::{FoundingState, Index, Input, Role, View};

use super::world::{World, member};

/// Rounds of the calm in which all replicas must be able to begin to serve together.
const CALM_ROUNDS: u32 = 400;

impl World {
    /// One thing happens.
    pub fn step(&mut self) {
        self.counts.steps += 1;
        let size = self.size();
        let at = self.rng.usize(0..size);
        let other = (at + self.rng.usize(1..size)) % size;
        if self.rng.u32(0..1000) < self.faults {
            return self.fault(at, other);
        }
        match self.rng.u32(0..100) {
            0..45 => self.deliver_any(),
            45..66 => {
                let count = self.rng.usize(1..4);
                self.store(at, count);
            }
            66..74 => self.apply(at),
            74..82 => self.propose_somewhere(at),
            82..85 => self.read(at),
            85..88 => self.tell(at, Input::PulseDue),
            88..91 => self.tell(at, Input::Campaign),
            91..92 => self.tell(at, Input::QuorumCheckDue),
            92..96 => self.dial_any(at),
            96..98 if self.drops_silent => self.silence(at),
            _ => self.evidence(at),
        }
    }

    fn fault(&mut self, at: usize, other: usize) {
        match self.rng.u32(0..100) {
            0..8 => self.cut(at, other),
            8..20 => self.crash(at),
            20..30 => self.dies_after = Some((at, self.rng.usize(0..6))),
            30..85 => self.start_any(at),
            85..87 => (0..self.size()).for_each(|host| self.crash(host)),
            87..93 => self.slow = (at, other),
            93..96 => self.tell(at, Input::HandOver),
            // See `src/views/silence.rs`: what is left out.
            _ if self.drops_silent => self.part(),
            _ => (0..self.size()).for_each(|host| self.wipe(host)),
        }
    }

    fn start_any(&mut self, at: usize) {
        let dead =
            (0..self.size()).map(|host| (at + host) % self.size()).find(|host| self.hosts[*host].process.is_none());
        self.start(dead.unwrap_or(at));
    }

    fn dial_any(&mut self, at: usize) {
        for other in (0..self.size()).filter(|other| *other != at) {
            self.dial(at, other);
        }
    }

    pub fn deliver_any(&mut self) {
        let size = self.size();
        let full: Vec<_> = (0..size * size).filter(|at| !self.inbox[at / size][at % size].is_empty()).collect();
        if let Some(at) = self.rng.choice(full) {
            let (to, from) = (at / size, at % size);
            if (to, from) != self.slow || self.rng.u8(..) < 20 {
                self.deliver(to, from);
            }
        }
    }

    fn propose_somewhere(&mut self, at: usize) {
        let leads = |host: usize| self.hosts[host].process.as_ref().is_some_and(|p| p.role == Role::Leader);
        let leader = (0..self.size()).find(|host| leads(*host)).unwrap_or(at);
        self.propose(leader);
    }

    /// A replica is told of a death that did happen: of a late one most often.
    pub fn evidence(&mut self, at: usize) {
        let recent = self.dead.len().saturating_sub(3);
        let from = if self.rng.bool() { recent } else { 0 };
        if let Some((member, run)) = self.rng.choice(self.dead[from..].to_vec()) {
            self.tell(at, Input::Dead(member, run));
        }
    }

    /// A disk is lost, but only one that nothing depends on: of a dead replica, beside a view that serves without it.
    pub fn wipe(&mut self, at: usize) {
        let me = self.hosts[at].disk.me;
        let serves_without = |host: usize| {
            self.hosts[host].process.as_ref().is_some_and(|p| {
                let view = &p.node.views().installed;
                let committed = p.node.log().term_at(p.node.commit()).is_some_and(|term| term.0 == view.id.number);
                p.role == Role::Leader && committed && !view.has(me) && self.all_live(view)
            })
        };
        let is_spare = self.hosts[at].process.is_none() && (0..self.size()).any(serves_without);
        if is_spare && self.hosts[at].disk.founding != FoundingState::Blank {
            self.counts.wipes += 1;
            let incarnation = self.rng.u64(100..);
            self.note(|| format!("the disk of {me} is lost"));
            self.hosts[at].disk = super::disk::Disk::blank(member(at, incarnation));
            self.hosts[at].saved = Index(0);
        }
    }

    fn all_live(&self, view: &View) -> bool {
        view.members.iter().all(|(member, run)| {
            let host = &self.hosts[super::world::host_of(member.id)];
            host.disk.me == *member && host.process.as_ref().is_some_and(|p| p.run == *run)
        })
    }

    /// Founds the cluster, most often: the rest of the walk is about views.
    pub fn found(&mut self) {
        if self.rng.u8(..) < 240 {
            self.calm();
        }
    }

    /// No more faults: everybody is started and linked, and every death becomes known.
    pub fn calm(&mut self) {
        self.dies_after = None;
        self.note(|| "calm".to_owned());
        self.heal();
        let payload = self.payloads;
        for round in 0..CALM_ROUNDS {
            (0..self.size()).for_each(|at| self.start(at));
            (0..self.size()).for_each(|at| self.tell(at, Input::Silent(BTreeSet::new())));
            // The lowest id goes first, as timers make it; now and then another one does.
            let at = if round % 7 == 6 { self.rng.usize(0..self.hosts.len()) } else { round as usize % self.size() };
            self.go_on(at);
            if self.all_serve(payload) {
                return;
            }
            self.propose_somewhere(0);
            self.settle();
        }
        for host in &self.hosts {
            let Some(p) = &host.process else { continue };
            let (views, warm) = (p.node.views(), p.node.is_warm());
            println!("{} {:?} {:?} warm {warm}", host.disk.me, p.run.boot, p.node.standing());
            println!("    promised {}\n    installed {}", views.promised, views.installed);
        }
        panic!("no view of all serves");
    }

    /// Who runs is linked, every death is known, and one of them is asked to campaign.
    pub fn go_on(&mut self, at: usize) {
        for host in 0..self.size() {
            (0..host).for_each(|other| self.dial(host, other));
            for (member, run) in self.dead.clone() {
                self.tell(host, Input::Dead(member, run));
            }
        }
        self.settle();
        self.tell(at, Input::Campaign);
        self.tell(at, Input::QuorumCheckDue);
        self.tell(at, Input::PulseDue);
        self.settle();
    }

    /// Those that run go on until something new is acknowledged. Returns whether it was, and by whom.
    pub fn serve(&mut self) -> Option<usize> {
        let before = self.oracle.newest_payload;
        for round in 0..30 {
            self.go_on(round % self.size());
            self.propose_somewhere(0);
            self.settle();
            let leads = |at: &usize| self.hosts[*at].process.as_ref().is_some_and(|p| p.role == Role::Leader);
            let leader = (0..self.size()).find(leads);
            if leader.is_some() && self.oracle.newest_payload > before {
                return leader;
            }
        }
        None
    }

    /// Everything that one has said to another arrives.
    pub fn hear_all(&mut self, to: usize, from: usize) {
        while !self.inbox[to][from].is_empty() {
            self.deliver(to, from);
        }
    }

    pub fn leads(&self, at: usize) -> bool {
        self.hosts[at].process.as_ref().is_some_and(|p| p.role == Role::Leader)
    }

    /// One replica's disk and state finish.
    pub fn settle_own(&mut self, at: usize) {
        for _ in 0..5 {
            self.turn(at);
            self.store(at, usize::MAX);
            self.apply(at);
        }
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            for at in 0..self.size() {
                self.turn(at);
                self.store(at, usize::MAX);
                self.apply(at);
                for from in 0..self.size() {
                    while !self.inbox[at][from].is_empty() {
                        self.deliver(at, from);
                    }
                }
            }
            if self.inbox.iter().flatten().all(|inbox| inbox.is_empty()) && self.is_idle() {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        let idle = |p: &super::world::Process| p.storing.is_empty() && p.loads.is_empty() && p.applying.is_empty();
        self.hosts.iter().filter_map(|host| host.process.as_ref()).all(idle)
    }

    /// Whether all are in one view that has acknowledged something new, and hold it.
    fn all_serve(&self, payload: u64) -> bool {
        let processes: Vec<_> = self.hosts.iter().filter_map(|host| host.process.as_ref()).collect();
        let serves = |p: &&super::world::Process| {
            p.role == Role::Leader
                && p.node.views().installed.members.len() == self.size()
                && p.node.commit() == p.node.last()
        };
        let Some(leader) = processes.iter().find(|p| serves(p)) else { return false };
        let last = leader.node.last();
        let newest = self.oracle.newest_payload.max(self.forks.newest_payload);
        processes.iter().all(|p| p.node.last() == last) && newest > payload
    }
}
