//! Links come and go, frames travel over them, and a replica is refused over one.

use plainsong::consensus::{Frame, ReplicaId, Run};

use super::disk::Disk;
use super::net::{Lane, Link};
use super::state::State;
use super::world::{EVIDENCE, Event, MS, Mail, Process, Time, World, member};

impl World {
    pub fn is_blocked(&self, pair: (usize, usize)) -> bool {
        self.blocked[pair.0][pair.1] > self.now || self.blocked[pair.1][pair.0] > self.now
    }

    pub fn current(&self, pair: (usize, usize), generation: u64) -> Option<&Link> {
        self.links.get(&pair).filter(|l| l.alive && l.generation == generation)
    }

    pub fn dial(&mut self, pair: (usize, usize)) {
        let again = self.rng.u64(10 * MS..60 * MS);
        self.at(again, Event::Dial { pair });
        let linked = self.links.get(&pair).is_some_and(|l| l.alive);
        let now = self.now;
        let answers = |h: usize| self.hosts[h].process.is_some() && self.hosts[h].paused_until <= now;
        if linked || self.is_blocked(pair) || !answers(pair.0) || !answers(pair.1) {
            return;
        }
        let introduce = |h: usize| self.hosts[h].process.as_ref().expect("it answers").node.introduction();
        let (first, second) = (introduce(pair.0), introduce(pair.1));
        for (h, shown) in [(pair.0, &first), (pair.1, &second)] {
            assert!(shown.last <= self.disks[h].last(), "{} shows more than its disk holds", shown.member);
            self.check.shows(&self.disks[h], shown.founding);
        }
        let (up_first, up_second) = (self.rng.u64(100..5 * MS), self.rng.u64(100..5 * MS));
        self.generation += 1;
        let generation = self.generation;
        let lives = (self.hosts[pair.0].life, self.hosts[pair.1].life);
        let members = (first.member, second.member);
        self.links.insert(pair, Link::new(generation, pair, lives, members, (now + up_first, now + up_second)));
        self.at(up_first, Event::LinkUp { generation, pair, host: pair.0, peer: second });
        self.at(up_second, Event::LinkUp { generation, pair, host: pair.1, peer: first });
    }

    pub fn break_link(&mut self, pair: (usize, usize)) {
        let Some(link) = self.links.get(&pair).filter(|l| l.alive) else {
            return;
        };
        let generation = link.generation;
        self.note(|| format!("the link {pair:?} breaks"));
        for host in [pair.0, pair.1] {
            let learns = self.rng.u64(0..5 * MS);
            self.at(learns, Event::LinkLost { generation, pair, host });
        }
        self.links.get_mut(&pair).expect("it is there").alive = false;
    }

    pub fn link_lost(&mut self, generation: u64, pair: (usize, usize), host: usize) {
        let Some(link) = self.links.get_mut(&pair).filter(|l| l.generation == generation) else {
            return;
        };
        link.alive = false;
        let (life, peer) = (link.life_of(host), link.peer_of(host));
        let Some(process) = self.process(host, life) else {
            return;
        };
        if process.links.get(&peer) == Some(&generation) {
            process.links.remove(&peer);
            self.post(host, life, Mail::Down(peer));
            if self.style.evidence {
                self.at(EVIDENCE, Event::Evidence { host, life, leader: peer });
            }
        }
    }

    pub fn send(&mut self, host: usize, process: &Process, to: ReplicaId, lane: Lane, frame: Frame) {
        let peer = usize::from(to.0) - 1;
        let pair = (host.min(peer), host.max(peer));
        self.check.says(&self.disks[host], &frame);
        let Some(generation) = process.links.get(&peer).copied() else {
            return;
        };
        let Some(link) = self.current(pair, generation) else {
            return;
        };
        self.check.votes_for(&self.disks[host], &frame, link.member_of(peer));
        let latency = match (self.slow_net_until > self.now, lane) {
            (true, _) => self.rng.u64(MS..150 * MS),
            (false, Lane::Bulk) => self.rng.u64(50..2 * MS),
            (false, Lane::Pulse) => self.rng.u64(50..MS),
        };
        let at = self.now + latency;
        let link = self.links.get_mut(&pair).expect("it is current");
        let ready = link.put(host, lane, frame, at);
        self.at(ready - self.now, Event::Deliver { generation, pair, from: host, lane });
    }

    pub fn deliver(&mut self, generation: u64, pair: (usize, usize), from: usize, lane: Lane) {
        if self.current(pair, generation).is_none() {
            return;
        }
        let to = if pair.0 == from { pair.1 } else { pair.0 };
        if self.blocked[from][to] > self.now {
            self.at(10 * MS, Event::Deliver { generation, pair, from, lane });
            return;
        }
        let lost = lane == Lane::Pulse && self.lossy_pulses_until > self.now && self.rng.u8(..) < 100;
        let link = self.links.get_mut(&pair).expect("it is current");
        let (life, member) = (link.life_of(to), link.member_of(from));
        let Some(frame) = link.take(from, lane) else { return };
        let knows = self.process(to, life).is_some_and(|p| p.links.get(&from) == Some(&generation) || p.awaits(from));
        if let Some(member) = member.filter(|_| knows && !lost) {
            self.post(to, life, Mail::Frame(from, member, frame));
        }
    }

    /// A replica is told that its disk is an old copy: it starts anew, as blank.
    pub fn refused(&mut self, host: usize, life: u64, run: Run) {
        if self.process(host, life).is_none_or(|p| p.node.introduction().run != run) {
            return;
        }
        let me = self.disks[host].me;
        assert!(self.check.forgetful.contains(&me), "{me} is refused as a restored copy, and is none");
        self.crash(host);
        self.blank(host);
        self.start_after(host, 100 * MS);
    }

    /// Puts an empty disk in.
    pub fn blank(&mut self, host: usize) {
        let incarnation = self.rng.u64(1..);
        self.check.forgetful.insert(self.disks[host].me);
        self.disks[host] = Disk::blank(member(host, incarnation));
        self.hosts[host].saved = State::default();
        self.hosts[host].incoming = None;
        if self.style.spares > 0 {
            // Its id may be removed before it votes again: then it has to ask.
            self.begin_to_ask(host);
        }
    }

    /// Starts a process later, unless something else happens to the host before.
    pub fn start_after(&mut self, host: usize, max: Time) {
        let (after, down) = (self.rng.u64(0..max), self.hosts[host].life);
        self.at(after, Event::Start { host, down });
    }
}

impl Process {
    /// Whether the news that a link is up waits in the inbox.
    fn awaits(&self, peer: usize) -> bool {
        self.inbox.iter().any(|m| matches!(m, Mail::Up(p, _, _) if *p == peer))
    }
}
