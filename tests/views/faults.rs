//! What happens next: drawn; and the calm in which everybody has to come back.

use plainsong::consensus::{Input, Role};

use super::world::{HOSTS, World, member};

/// Rounds of the calm in which three replicas must be able to begin to serve together.
const CALM_ROUNDS: u32 = 400;

impl World {
    /// One thing happens.
    pub fn step(&mut self) {
        self.counts.steps += 1;
        let at = self.rng.usize(0..HOSTS);
        let other = (at + self.rng.usize(1..HOSTS)) % HOSTS;
        match self.rng.u32(0..1000) {
            0..450 => self.deliver_any(),
            450..620 => {
                let count = self.rng.usize(1..4);
                self.store(at, count);
            }
            620..680 => self.apply(at),
            680..760 => self.propose_somewhere(at),
            760..790 => self.read(at),
            790..820 => self.tell(at, Input::PulseDue),
            820..850 => self.tell(at, Input::Campaign),
            850..860 => self.tell(at, Input::QuorumCheckDue),
            860..910 => self.dial(at, other),
            910..918 => self.cut(at, other),
            918..930 => self.crash(at),
            930..938 => self.dies_after = Some((at, self.rng.usize(0..6))),
            938..958 => self.start(at),
            958..990 => self.evidence(at),
            990..992 => (0..HOSTS).for_each(|host| self.crash(host)),
            992..996 => self.tell(at, Input::HandOver),
            _ => self.wipe(at),
        }
    }

    fn deliver_any(&mut self) {
        let full: Vec<_> = (0..HOSTS * HOSTS).filter(|at| !self.inbox[at / HOSTS][at % HOSTS].is_empty()).collect();
        if let Some(at) = self.rng.choice(full) {
            self.deliver(at / HOSTS, at % HOSTS);
        }
    }

    fn propose_somewhere(&mut self, at: usize) {
        let leads = |host: usize| self.hosts[host].process.as_ref().is_some_and(|p| p.role == Role::Leader);
        let leader = (0..HOSTS).find(|host| leads(*host)).unwrap_or(at);
        self.propose(leader);
    }

    /// A replica is told of a death that did happen: of a late one most often.
    fn evidence(&mut self, at: usize) {
        let recent = self.dead.len().saturating_sub(3);
        let from = if self.rng.bool() { recent } else { 0 };
        if let Some((member, run)) = self.rng.choice(self.dead[from..].to_vec()) {
            self.tell(at, Input::Dead(member, run));
        }
    }

    /// A disk is lost, but only one that nothing depends on: of a dead replica, beside a view that serves without it.
    fn wipe(&mut self, at: usize) {
        let me = self.hosts[at].disk.me;
        let serves_without = |host: usize| {
            self.hosts[host].process.as_ref().is_some_and(|p| {
                let view = &p.node.views().installed;
                p.role == Role::Leader && p.node.commit() >= p.node.last() && !view.has(me) && self.all_live(view)
            })
        };
        if self.hosts[at].process.is_none() && (0..HOSTS).any(serves_without) {
            self.counts.wipes += 1;
            let incarnation = self.rng.u64(100..);
            self.note(|| format!("the disk of {me} is lost"));
            self.hosts[at].disk = super::disk::Disk::blank(member(at, incarnation));
            self.hosts[at].saved = plainsong::consensus::Index(0);
        }
    }

    fn all_live(&self, view: &plainsong::consensus::View) -> bool {
        view.members.iter().all(|(member, run)| {
            let host = &self.hosts[super::world::host_of(member.id)];
            host.disk.me == *member && host.process.as_ref().is_some_and(|p| p.run == *run)
        })
    }

    /// No more faults: everybody is started and linked, and every death becomes known.
    pub fn calm(&mut self) {
        self.dies_after = None;
        self.note(|| "calm".to_owned());
        let payload = self.payloads;
        for round in 0..CALM_ROUNDS {
            for at in 0..HOSTS {
                self.start(at);
                (0..at).for_each(|other| self.dial(at, other));
                for (member, run) in self.dead.clone() {
                    self.tell(at, Input::Dead(member, run));
                }
            }
            self.settle();
            // The lowest id goes first, as timers make it; now and then another one does.
            let at = if round % 7 == 6 { self.rng.usize(0..HOSTS) } else { (round % 3) as usize };
            self.tell(at, Input::Campaign);
            self.tell(at, Input::QuorumCheckDue);
            self.tell(at, Input::PulseDue);
            self.settle();
            if self.three_serve(payload) {
                return;
            }
            self.propose_somewhere(0);
            self.settle();
        }
        let say = |at: usize| self.hosts[at].process.as_ref().map(|p| (p.node.standing(), p.node.views().clone()));
        panic!("no view of three serves: {:#?}", (0..HOSTS).map(say).collect::<Vec<_>>());
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            for at in 0..HOSTS {
                self.turn(at);
                self.store(at, usize::MAX);
                self.apply(at);
                for from in 0..HOSTS {
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

    /// Whether all three are in one view that has acknowledged something new, and hold it.
    fn three_serve(&self, payload: u64) -> bool {
        let processes: Vec<_> = self.hosts.iter().filter_map(|host| host.process.as_ref()).collect();
        let serves = |p: &&super::world::Process| {
            p.role == Role::Leader && p.node.views().installed.members.len() == HOSTS && p.node.commit() == p.node.last()
        };
        let Some(leader) = processes.iter().find(|p| serves(p)) else { return false };
        let last = leader.node.last();
        processes.iter().all(|p| p.node.last() == last) && self.oracle.newest_payload > payload
    }
}
