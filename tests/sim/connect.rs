//! How links come up and end: dialing with a back-off, handshakes, breaks, and the evidence that a process is gone.

use plainsong::consensus::{Member, Run};

use super::net::{Delivery, Item, Kind, Wire};
use super::replica::Mail;
use super::world::{Event, MS, SECOND, Time, World, host_of, id};

const REDIAL_MIN: Time = 10 * MS;
const REDIAL_MAX: Time = 500 * MS;
/// A dial that nobody answers.
const HANDSHAKE_TIMEOUT: Time = SECOND;
/// Bytes that nobody acknowledges end a connection after this.
pub const USER_TIMEOUT: Time = 5 * SECOND;
const PROBE_TIMEOUT: Time = 10 * MS;

impl World {
    /// The higher end of a wire dials until it holds a connection.
    pub fn dial(&mut self, host: usize, life: u64, wire: Wire) {
        if self.replica(host, life).is_none() || self.net.holds(wire, host) {
            return;
        }
        let (peer, at) = (wire.low, usize::from(wire.kind == Kind::Pulse));
        let there = &self.hosts[peer];
        let silent = self.is_blocked(host, peer) || there.paused_until > self.now;
        if silent || there.replica.is_none() {
            let backoff = &mut self.hosts[host].backoff[at][peer];
            *backoff = (*backoff * 2).clamp(REDIAL_MIN, REDIAL_MAX);
            let pause = *backoff / 2 + self.rng.u64(0..REDIAL_MIN);
            let wait = if silent { HANDSHAKE_TIMEOUT } else { 0 };
            self.after(wait + pause, Event::Dial { host, life, wire });
            return;
        }
        self.hosts[host].backoff[at][peer] = 0;
        let leg = if self.slow_net_until > self.now { self.rng.u64(MS..80 * MS) } else { self.rng.u64(30..MS) };
        let who = [peer, host].map(|h| self.hosts[h].replica.as_ref().expect("both live").introduction.clone());
        for (h, shown) in [peer, host].into_iter().zip(&who) {
            self.judge.shows(&self.hosts[h].disk, shown);
        }
        let lives = [self.hosts[peer].life, life];
        let up = [self.now + 3 * leg, self.now + 2 * leg];
        let generation = self.net.connect(wire, lives, who, up);
        self.at(up[1], Event::Up { host, wire, generation });
        self.at(up[0], Event::Up { host: peer, wire, generation });
    }

    pub fn link_up(&mut self, host: usize, wire: Wire, generation: u64) {
        let life = self.hosts[host].life;
        if self.net.life(wire, host, generation) != Some(life) || self.hosts[host].replica.is_none() {
            return;
        }
        let Some((peer, replaces)) = self.net.take_up(wire, host, generation) else {
            // It broke during the handshake.
            if wire.high == host {
                self.after(REDIAL_MIN, Event::Dial { host, life, wire });
            }
            return;
        };
        let now = self.instant();
        match wire.kind {
            Kind::Data => {
                if replaces {
                    self.post(host, life, Mail::Down(peer.member.id));
                }
                self.post(host, life, Mail::Up(peer));
            }
            Kind::Pulse => {
                let replica = self.replica(host, life).expect("looked at");
                let over = replica.heart.attach(peer.member, peer.run, now).is_some();
                if over && replica.timers.leader() == Some(peer.member.id) {
                    replica.timers.leader_gone(now);
                }
                self.tell_who_lives(host, life, now);
                self.arm(host, life);
            }
        }
    }

    /// This end learns that the connection is over.
    pub fn link_lost(&mut self, host: usize, wire: Wire, generation: u64) {
        let (life, peer) = (self.hosts[host].life, wire.peer_of(host));
        if self.net.life(wire, host, generation) != Some(life) || !self.net.let_go(wire, host, generation) {
            return;
        }
        let now = self.instant();
        let Some(replica) = self.replica(host, life) else { return };
        match wire.kind {
            Kind::Data => self.post(host, life, Mail::Down(id(peer))),
            Kind::Pulse => {
                let over = replica.heart.ended(id(peer));
                self.tell_who_lives(host, life, now);
                if let Some(run) = over {
                    let refused = self.hosts[peer].replica.is_none() && !self.is_blocked(host, peer);
                    let wait = if refused { self.rng.u64(100..2 * MS) } else { PROBE_TIMEOUT };
                    self.after(wait, Event::Probe { host, life, peer, run });
                }
            }
        }
        if wire.high == host {
            self.after(0, Event::Dial { host, life, wire });
        }
    }

    /// A pulse link ended a moment ago: does the same run still answer?
    pub fn probe(&mut self, host: usize, life: u64, peer: usize, run: Run) {
        let (now, blocked) = (self.instant(), self.is_blocked(host, peer));
        let there = &self.hosts[peer];
        let answers =
            !blocked && there.paused_until <= self.now && there.replica.as_ref().is_some_and(|r| r.run == run);
        let Some(replica) = self.replica(host, life) else { return };
        if !answers && replica.timers.leader() == Some(id(peer)) {
            replica.timers.leader_gone(now);
            self.arm(host, life);
        }
    }

    /// With every tick: whoever is watched, and has no pulse link, is looked for.
    pub fn look_for_proof(&mut self, host: usize, life: u64) {
        let Some(replica) = self.replica(host, life) else { return };
        let mut watched = replica.node.watched();
        watched.retain(|(member, run)| !replica.heart.is_linked(member.id, *run));
        for (member, run) in watched {
            let wait = self.rng.u64(100..2 * MS);
            self.after(wait, Event::Look { host, life, member, run });
        }
    }

    /// A connection is refused on a host that is reached and where nobody runs, and another run answers for itself. What
    /// is cut off, or stopped, gives no answer, and proves nothing.
    pub fn look(&mut self, host: usize, life: u64, member: Member, run: Run) {
        let peer = host_of(member.id);
        let (silent, there) = (self.is_blocked(host, peer), &self.hosts[peer]);
        let dead = match &there.replica {
            None => true,
            Some(replica) => there.paused_until <= self.now && (replica.me, replica.run) != (member, run),
        };
        if dead && !silent {
            self.post(host, life, Mail::Dead(member, run));
        }
    }

    pub fn deliver(&mut self, to: usize, wire: Wire, generation: u64) {
        let life = self.hosts[to].life;
        if self.net.life(wire, to, generation) != Some(life) {
            return;
        }
        let (item, from) = match self.net.deliver(wire, wire.peer_of(to), generation) {
            Delivery::NotYet => return self.after(MS, Event::Deliver { to, wire, generation }),
            Delivery::Nothing => return,
            Delivery::Item(item, from) => (item, from),
        };
        let now = self.instant();
        match item {
            Item::End => self.link_lost(to, wire, generation),
            Item::Lines(lines) => {
                if wire.kind == Kind::Pulse
                    && let Some(replica) = self.replica(to, life)
                {
                    replica.heart.heard(from.member, now);
                }
                self.post(to, life, Mail::Lines(from.member, lines));
            }
        }
    }

    /// A connection breaks, and both ends learn of it soon.
    pub fn break_link(&mut self, wire: Wire, generation: u64) {
        if self.net.whole(wire) != Some(generation) {
            return;
        }
        self.note(|| format!("{wire:?} breaks"));
        self.net.break_it(wire, generation);
        for host in [wire.low, wire.high] {
            let learns = self.rng.u64(0..5 * MS);
            self.after(learns, Event::Lost { host, wire, generation });
        }
    }
}
