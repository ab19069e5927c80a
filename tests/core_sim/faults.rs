//! What goes wrong, and how a seed decides what.

use fastrand::Rng;
use plainsong::consensus::{Input, Role};

use super::disk::Disk;
use super::world::{Event, MS, Time, World, id};

/// What a seed is like. Not every seed has every fault: a world in which everything fails tests little else.
#[derive(Clone, Debug)]
pub struct Style {
    pub hosts: usize,
    /// How many of them do not found the cluster, but stand by to join it.
    pub spares: usize,
    pub faults: Vec<Fault>,
    /// A follower whose link to the leader ended asks for votes at once.
    pub evidence: bool,
    /// Some payloads are as large as an append may be.
    pub fat: bool,
    pub turn_delay_max: Time,
    pub fsync_max: Time,
    pub apply_delay_max: Time,
    pub load_delay_max: Time,
    /// How many entries one reading of the log gives.
    pub load_count_max: usize,
    /// How long a copy of the state takes to be fetched.
    pub fetch_max: Time,
    pub client_pause_max: Time,
    pub fault_pause_max: Time,
    /// How long faults happen.
    pub chaos: Time,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    CrashInTurn,
    CrashAll,
    CutHalves,
    CutOne,
    CutRing,
    CutOneWay,
    BreakLink,
    SlowDisk,
    SlowNet,
    LossyPulses,
    Pause,
    Wipe,
    Snapshot,
    Restore,
    HandOver,
    Gray,
    Join,
    Leave,
    Move,
    Cut,
}

const ALL: [Fault; 17] = [
    Fault::Crash,
    Fault::CrashInTurn,
    Fault::CrashAll,
    Fault::CutHalves,
    Fault::CutOne,
    Fault::CutRing,
    Fault::CutOneWay,
    Fault::BreakLink,
    Fault::SlowDisk,
    Fault::SlowNet,
    Fault::LossyPulses,
    Fault::Pause,
    Fault::Wipe,
    Fault::Snapshot,
    Fault::Restore,
    Fault::HandOver,
    Fault::Gray,
];

impl Style {
    /// Members come and go, beside what else happens.
    pub fn grow(&mut self, rng: &mut Rng) {
        self.hosts = rng.usize(1..=3);
        self.spares = rng.usize(1..=3);
        self.hosts += self.spares;
        self.faults.extend([Fault::Join, Fault::Join, Fault::Leave, Fault::Leave, Fault::Move]);
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let share = rng.u8(40..255);
        let loads_slowly = rng.bool();
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| rng.u8(..) < share).collect();
        // Decided by the next number, which stays the next: worlds in which no log is cut are what they were before.
        if rng.clone().bool() {
            faults.push(Fault::Cut);
        }
        Self {
            hosts: if rng.u8(..) < 160 { 3 } else { 5 },
            spares: 0,
            faults,
            evidence: rng.bool(),
            fat: rng.u8(..) < 20,
            turn_delay_max: if rng.bool() { 100 } else { 3 * MS },
            fsync_max: if rng.bool() { MS } else { 12 * MS },
            apply_delay_max: if rng.bool() { 500 } else { 20 * MS },
            load_delay_max: if loads_slowly { 100 * MS } else { MS },
            load_count_max: if loads_slowly { 400 } else { 8 },
            fetch_max: if loads_slowly { 600 * MS } else { 10 * MS },
            client_pause_max: rng.u64(5 * MS..60 * MS),
            fault_pause_max: rng.u64(50 * MS..600 * MS),
            chaos: rng.u64(2_000 * MS..6_000 * MS),
        }
    }
}

impl World {
    /// Something goes wrong; and again, later.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let again = self.rng.u64(MS..self.style.fault_pause_max);
        self.at(again, Event::Fault);
        if self.style.faults.is_empty() {
            return;
        }
        let fault = self.style.faults[self.rng.usize(0..self.style.faults.len())];
        let host = self.rng.usize(0..self.style.hosts);
        self.note(|| format!("fault: {fault:?}, perhaps at {}", id(host)));
        self.befalls(fault, host);
    }

    fn befalls(&mut self, fault: Fault, host: usize) {
        let all: Vec<usize> = (0..self.style.hosts).collect();
        let duration = self.rng.u64(10 * MS..1_500 * MS);
        let until = self.now + duration;
        match fault {
            Fault::Crash => {
                self.crash(host);
                self.start_after(host, 800 * MS);
            }
            Fault::CrashInTurn => {
                let survived = self.rng.usize(0..6);
                self.hosts[host].dies_after = Some(survived);
                // Whenever that turn comes; a host that is down by then is started.
                self.at(800 * MS, Event::Start { host, down: self.hosts[host].life + 1 });
            }
            Fault::CrashAll => {
                for host in all {
                    self.crash(host);
                    self.start_after(host, 300 * MS);
                }
            }
            Fault::CutHalves => {
                let side: Vec<bool> = all.iter().map(|_| self.rng.bool()).collect();
                self.cut(until, |a, b| side[a] != side[b]);
            }
            Fault::CutOne => self.cut(until, |a, b| a == host || b == host),
            Fault::CutRing => {
                let n = self.style.hosts;
                self.cut(until, |a, b| (a + 1) % n != b && (b + 1) % n != a || n == 3 && (a == host) != (b == host));
            }
            Fault::CutOneWay => {
                let (out, other) = (self.rng.bool(), self.rng.usize(0..self.style.hosts));
                let everybody = self.rng.bool();
                self.cut(until, |a, b| {
                    let (from, to) = if out { (a, b) } else { (b, a) };
                    from == host && (everybody || to == other)
                });
            }
            Fault::BreakLink => {
                let other = (host + 1) % self.style.hosts;
                self.break_link((host.min(other), host.max(other)));
            }
            Fault::SlowDisk => self.hosts[host].slow_disk_until = until,
            Fault::SlowNet => self.slow_net_until = until,
            Fault::LossyPulses => self.lossy_pulses_until = until,
            Fault::Pause => self.hosts[host].paused_until = until,
            Fault::Wipe => {
                if self.may_forget() && self.belongs(host) {
                    self.crash(host);
                    self.blank(host);
                    self.note(|| format!("{} is wiped, and comes back", id(host)));
                    self.start_after(host, 500 * MS);
                }
            }
            Fault::Snapshot => {
                self.hosts[host].snapshot = Some((self.disks[host].clone(), self.hosts[host].saved.clone()));
            }
            Fault::Restore => self.restore(host),
            Fault::HandOver => self.tell_leader(Input::HandOver),
            Fault::Gray => self.tell_leader(Input::Gray),
            Fault::Join => self.joins(host),
            Fault::Leave => self.leaves(host),
            Fault::Move => self.moves(host),
            Fault::Cut => self.cut_log(host),
        }
    }

    fn tell_leader(&mut self, input: Input) {
        let leads = |h: &usize| self.hosts[*h].process.as_ref().is_some_and(|p| p.node.standing().role == Role::Leader);
        let leaders: Vec<usize> = (0..self.style.hosts).filter(leads).collect();
        for leader in leaders {
            self.tell(leader, input.clone());
        }
    }

    /// Nothing passes where `blocks` says so. Some links break at once, others hang, and break when that takes long.
    fn cut(&mut self, until: Time, blocks: impl Fn(usize, usize) -> bool) {
        let hangs = self.rng.bool();
        for a in 0..self.style.hosts {
            for b in (0..self.style.hosts).filter(|b| *b != a) {
                if !blocks(a, b) {
                    continue;
                }
                self.blocked[a][b] = until;
                let pair = (a.min(b), a.max(b));
                let Some(generation) = self.links.get(&pair).map(|l| l.generation) else {
                    continue;
                };
                if hangs {
                    self.at(400 * MS, Event::BreakLink { generation, pair });
                } else {
                    self.break_link(pair);
                }
            }
        }
    }

    /// Whether one disk may be lost: a majority of disks that are whole is left, and stays left, because everybody
    /// is a voter again and no change of voters is on its way.
    fn may_forget(&self) -> bool {
        let (changed_at, membership) = self.check.membership();
        let settled = |h: usize| {
            let me = self.disks[h].me;
            let on_disk = self.disks[h].memberships().last().is_none_or(|(at, _)| at <= changed_at);
            let in_memory = self.hosts[h]
                .process
                .as_ref()
                .is_none_or(|p| p.node.log().membership().is_none_or(|(at, _)| at <= *changed_at));
            membership.votes(me) && !self.check.forgetful.contains(&me) && on_disk && in_memory
        };
        self.can_spare_one() && (0..self.style.hosts).filter(|h| self.belongs(*h)).all(settled)
    }

    /// Whether every other disk has noted a later start of that incarnation than this disk would show: this is what
    /// the boot count can detect.
    pub fn is_detectable(&self, host: usize, disk: &Disk) -> bool {
        let shows = disk.boot.next();
        let known = |h: usize| self.disks[h].runs.get(&disk.me).is_some_and(|run| run.boot >= shows);
        (0..self.style.hosts).filter(|h| *h != host).all(known)
    }

    /// Puts an earlier copy of the disk in.
    fn restore(&mut self, host: usize) {
        let Some((disk, state)) = self.hosts[host].snapshot.clone() else {
            return;
        };
        if !self.is_detectable(host, &disk) || !self.may_forget() || !self.belongs(host) {
            return;
        }
        self.crash(host);
        self.note(|| format!("{} comes back with an old copy of its disk", id(host)));
        self.check.forgetful.insert(self.disks[host].me);
        self.check.forgetful.insert(disk.me);
        self.disks[host] = disk;
        self.hosts[host].saved = state;
        self.hosts[host].incoming = None;
        self.start_after(host, 500 * MS);
    }

    /// The faults end: everything is healed, and everybody runs.
    pub fn heal(&mut self) {
        self.calm = true;
        for row in &mut self.blocked {
            row.fill(0);
        }
        (self.slow_net_until, self.lossy_pulses_until) = (0, 0);
        for host in 0..self.style.hosts {
            let there = &mut self.hosts[host];
            (there.paused_until, there.slow_disk_until, there.dies_after) = (self.now, 0, None);
            if there.process.is_none() && !there.stands_by {
                self.start(host);
            }
        }
        self.note(|| "all is healed".to_owned());
    }
}
