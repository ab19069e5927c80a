//! What goes wrong, and when.

use plainsong::consensus::{FoundingState, Mode, Role};
use plainsong::machine::MachineStorage as _;

use super::connect::USER_TIMEOUT;
use super::disk::Disk;
use super::members::UNNOTICED;
use super::net::{Kind, Wire};
use super::replica::Mail;
use super::style::Silence;
use super::world::{Event, MS, SECOND, Time, World, id};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    CrashLeader,
    CrashInTurn,
    CrashWhileStarting,
    PowerLossOfMajority,
    PowerLossOfAll,
    RollingRestart,
    CutHalves,
    CutOne,
    CutLeader,
    CutLearner,
    CutRing,
    CutOneWay,
    BreakLink,
    FlakyLink,
    SlowNet,
    LossyPulses,
    SlowDisk,
    HungDisk,
    FullDisk,
    Pause,
    PauseLeader,
    Wipe,
    Snapshot,
    Restore,
    ClockJump,
    HandOver,
}

pub const ALL: [Fault; 27] = [
    Fault::Crash,
    Fault::CrashLeader,
    Fault::CrashInTurn,
    Fault::CrashWhileStarting,
    Fault::PowerLossOfMajority,
    Fault::PowerLossOfAll,
    Fault::RollingRestart,
    Fault::CutHalves,
    Fault::CutOne,
    Fault::CutLeader,
    Fault::CutLearner,
    Fault::CutRing,
    Fault::CutOneWay,
    Fault::BreakLink,
    Fault::FlakyLink,
    Fault::SlowNet,
    Fault::LossyPulses,
    Fault::SlowDisk,
    Fault::HungDisk,
    Fault::FullDisk,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::Wipe,
    Fault::Snapshot,
    Fault::Restore,
    Fault::ClockJump,
    Fault::HandOver,
];

impl World {
    /// Something goes wrong; and again, later.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let again = self.rng.u64(MS..self.style.fault_pause_max);
        self.after(again, Event::Fault);
        if self.style.faults.is_empty() {
            return;
        }
        let fault = self.style.faults[self.rng.usize(0..self.style.faults.len())];
        let host = self.rng.usize(0..self.style.hosts);
        self.note(|| format!("fault: {fault:?}, perhaps at {}", id(host)));
        self.befalls(fault, host);
    }

    fn befalls(&mut self, fault: Fault, host: usize) {
        let leader = self.leader().unwrap_or(host);
        let duration = self.rng.u64(10 * MS..1_500 * MS);
        let until = self.now + duration;
        let stretched = self.now + duration * self.style.stretched();
        match fault {
            Fault::Crash => self.restart(host, 800 * MS),
            Fault::CrashLeader => self.restart(leader, 800 * MS),
            Fault::CrashInTurn => self.hosts[host].dies_after = Some(self.rng.usize(0..6)),
            Fault::CrashWhileStarting => {
                self.crash(host);
                self.start(host);
                let (life, after) = (self.hosts[host].life, self.rng.u64(0..60 * MS));
                self.after(after, Event::Kill { host, life });
            }
            Fault::PowerLossOfMajority => {
                let first = self.rng.usize(0..self.style.hosts);
                for at in first..first + self.style.hosts / 2 + 1 {
                    self.restart(at % self.style.hosts, 500 * MS);
                }
            }
            Fault::PowerLossOfAll => (0..self.style.hosts).for_each(|host| self.restart(host, 300 * MS)),
            Fault::RollingRestart => {
                self.tell(host, Mail::HandOver);
                for at in 0..self.style.hosts {
                    let (life, after) = (self.hosts[at].life, 700 * MS * at as u64 + self.rng.u64(0..400 * MS));
                    self.after(after, Event::Kill { host: at, life });
                }
            }
            Fault::CutHalves | Fault::CutOne | Fault::CutLeader | Fault::CutRing | Fault::CutOneWay => {
                self.partition(fault, if fault == Fault::CutLeader { leader } else { host }, stretched);
            }
            // One that comes back with an empty disk: does it learn in time that it votes again?
            Fault::CutLearner => {
                if let Some(learner) = self.learner() {
                    self.partition(fault, learner, stretched);
                }
            }
            Fault::BreakLink => self.break_links(host),
            Fault::FlakyLink => {
                for _ in 0..self.rng.usize(3..20) {
                    let after = self.rng.u64(0..2 * duration);
                    let wire = self.some_wire(host);
                    if let Some(generation) = self.net.whole(wire) {
                        self.after(after, Event::BreakIfBlocked { wire, generation });
                    }
                    self.break_links(host);
                }
            }
            Fault::SlowNet => self.slow_net_until = until,
            Fault::LossyPulses => self.lossy_pulses_until = until,
            Fault::SlowDisk => self.hosts[host].slow_disk_until = until,
            Fault::HungDisk => {
                let hangs = self.rng.u64(600 * MS..12 * SECOND);
                self.hosts[leader].hung_disk_until = self.now + hangs;
            }
            Fault::FullDisk => self.hosts[host].full_disk_until = until,
            Fault::Pause => self.pause(host, stretched),
            Fault::PauseLeader => self.pause(leader, stretched),
            Fault::Wipe => {
                let who = if self.is_somebody_unaware() || self.rng.bool() { leader } else { host };
                self.wipe(who);
            }
            Fault::Snapshot => {
                let there = &mut self.hosts[host];
                // Between the cut and the swap of a state that was fetched, its file would have to be copied, too.
                if there.saved.applied() >= there.disk.base.index {
                    there.snapshot = Some((there.disk.clone(), there.saved.clone()));
                }
            }
            Fault::Restore => self.restore(host),
            Fault::ClockJump => self.hosts[host].clock_error += self.rng.i64(-3_000_000..3_000_000),
            Fault::HandOver => {
                self.judge.service.term_is_ordered();
                self.tell(leader, Mail::HandOver);
            }
        }
    }

    /// Who leads the highest term.
    pub fn leader(&self) -> Option<usize> {
        let standing = |h: &usize| self.hosts[*h].replica.as_ref().map(|r| r.node.standing());
        let leads = |h: &usize| standing(h).is_some_and(|s| s.role == Role::Leader);
        (0..self.style.hosts).filter(leads).max_by_key(|h| standing(h).map(|s| s.term))
    }

    /// A replica that runs, and does not know itself to vote.
    fn learner(&self) -> Option<usize> {
        let learns =
            |h: &usize| self.hosts[*h].replica.as_ref().is_some_and(|r| r.node.standing().role == Role::Learner);
        (0..self.style.hosts).find(learns)
    }

    /// Whether a voter does not know that it votes: the entry that says so has not reached it.
    fn is_somebody_unaware(&self) -> bool {
        let votes = |h: usize| self.judge.ledger.voters().contains(&self.hosts[h].disk.me);
        let knows = |h: usize| {
            let disk = &self.hosts[h].disk;
            disk.memberships().last().is_some_and(|(_, membership)| membership.votes(disk.me))
        };
        (0..self.style.hosts).any(|h| votes(h) && !knows(h))
    }

    fn restart(&mut self, host: usize, max: Time) {
        self.crash(host);
        self.start_after(host, max);
    }

    fn pause(&mut self, host: usize, until: Time) {
        // Never shortened: what was put off would then come after what came later.
        let until = until.max(self.hosts[host].paused_until);
        self.hosts[host].paused_until = until;
        self.hosts[host].disturbed = until;
    }

    fn some_wire(&mut self, host: usize) -> Wire {
        let other = (host + self.rng.usize(1..self.style.hosts)) % self.style.hosts;
        let kind = if self.rng.bool() { Kind::Data } else { Kind::Pulse };
        Wire::between(kind, host, other)
    }

    fn break_links(&mut self, host: usize) {
        let wire = self.some_wire(host);
        if let Some(generation) = self.net.whole(wire) {
            self.break_link(wire, generation);
        }
    }

    fn partition(&mut self, fault: Fault, host: usize, until: Time) {
        let n = self.style.hosts;
        match fault {
            Fault::CutHalves => {
                let side: Vec<bool> = (0..n).map(|_| self.rng.bool()).collect();
                self.cut(until, |a, b| side[a] != side[b]);
            }
            // Each reaches its neighbours only: no two majorities are the same.
            Fault::CutRing => {
                self.cut(
                    until,
                    |a, b| {
                        if n == 3 { a.max(b) - a.min(b) == 2 } else { (a + 1) % n != b && (b + 1) % n != a }
                    },
                )
            }
            Fault::CutOneWay => {
                let (out, everybody, other) = (self.rng.bool(), self.rng.bool(), self.rng.usize(0..n));
                self.cut(until, |a, b| {
                    let (from, to) = if out { (a, b) } else { (b, a) };
                    from == host && (everybody || to == other)
                });
            }
            _ => self.cut_off(host, until),
        }
    }

    /// Nothing passes between that host and any other.
    pub fn cut_off(&mut self, host: usize, until: Time) {
        self.cut(until, |a, b| a == host || b == host);
    }

    /// Nothing passes where `blocks` says so. Some links break at once, others hang, and break when that takes long.
    fn cut(&mut self, until: Time, blocks: impl Fn(usize, usize) -> bool) {
        let hangs = self.rng.bool();
        let pairs = (0..self.style.hosts).flat_map(|a| (0..self.style.hosts).map(move |b| (a, b)));
        for (a, b) in pairs.filter(|(a, b)| a != b && blocks(*a, *b)).collect::<Vec<_>>() {
            let before = if self.style.silence == Silence::IsNoDeath { 0 } else { self.blocked[a][b] };
            // Not shortened: what was put off would then come after what came later.
            self.blocked[a][b] = until.max(before);
            self.hosts[a].disturbed = self.hosts[a].disturbed.max(until);
            for kind in [Kind::Data, Kind::Pulse] {
                let wire = Wire::between(kind, a, b);
                let Some(generation) = self.net.whole(wire) else { continue };
                if hangs {
                    self.after(USER_TIMEOUT, Event::BreakIfBlocked { wire, generation });
                } else {
                    self.break_link(wire, generation);
                }
            }
        }
    }

    // --- disks that forget ---------------------------------------------------------------------------------------

    fn wipe(&mut self, host: usize) {
        if self.may_forget() {
            self.crash(host);
            self.blank(host);
            self.wiped = self.now;
            self.note(|| format!("{} is wiped, and comes back", id(host)));
            self.start_after(host, 500 * MS);
        }
    }

    /// Whether one disk may be lost: a majority of disks that are whole is left, and stays left, because everybody is
    /// a voter again and no change of voters is on its way. While a cluster is being founded none may: who has copied
    /// the record waits for all that stand in it, and a wiped one is another.
    fn may_forget(&self) -> bool {
        if self.removal_asked > 0 && self.now - self.removal_asked <= UNNOTICED {
            return false;
        }
        let Some((changed_at, membership)) = self.judge.ledger.membership() else { return false };
        let settled = |h: usize| {
            let there = &self.hosts[h];
            let on_disk = there.disk.memberships().last().is_none_or(|(at, _)| at <= changed_at);
            let in_memory = there
                .replica
                .as_ref()
                .is_none_or(|r| r.node.log().membership().is_none_or(|(at, _)| at <= *changed_at));
            let whole = !self.judge.ledger.forgetful.contains(&there.disk.me);
            let founded = there.disk.founding == FoundingState::Sealed;
            membership.votes(there.disk.me) && whole && founded && on_disk && in_memory
        };
        (0..self.style.hosts).all(settled)
    }

    /// Whether every other disk has noted a later start of that incarnation than this disk would show: this is what
    /// the boot count can detect.
    pub fn is_detectable(&self, host: usize, disk: &Disk) -> bool {
        let shows = disk.boot.next();
        let known = |h: usize| self.hosts[h].disk.runs.get(&disk.me).is_some_and(|run| run.boot >= shows);
        (0..self.style.hosts).filter(|h| *h != host).all(known)
    }

    /// Puts an earlier copy of the disk in.
    fn restore(&mut self, host: usize) {
        let Some((disk, state)) = self.hosts[host].snapshot.clone() else { return };
        if !self.is_detectable(host, &disk) || !self.may_forget() {
            return;
        }
        self.crash(host);
        self.note(|| format!("{} comes back with an old copy of its disk", id(host)));
        self.judge.ledger.forgetful.insert(self.hosts[host].disk.me);
        self.judge.ledger.forgetful.insert(disk.me);
        self.hosts[host].disk = disk;
        self.hosts[host].saved = state;
        self.hosts[host].incoming = None;
        self.start_after(host, 500 * MS);
    }

    /// A majority is gone for ten minutes. With views the others serve, and there are that many more events: for one.
    pub fn long_outage(&mut self) {
        let long = match self.style.mode {
            Mode::Quorum => 600 * SECOND,
            Mode::PrimaryBackup => 60 * SECOND,
        };
        self.calm = true;
        let last = self.style.hosts / 2 + 1;
        for host in 0..last {
            self.crash(host);
            // Also of one that is down: it does not come back before.
            self.hosts[host].life += 1;
            let down = self.hosts[host].life;
            self.after(long, Event::Start { host, down });
        }
        self.run_until(self.now + long);
    }

    /// What long cuts held up comes now, and not when they would have ended: what is sent later would wait for it.
    fn let_through(&mut self) {
        for (wire, to, generation, count) in self.net.on_its_way() {
            (0..count).for_each(|_| self.after(MS, Event::Deliver { to, wire, generation }));
        }
    }

    /// The faults end: everything is healed, and everybody runs.
    pub fn heal(&mut self) {
        self.calm = true;
        for row in &mut self.blocked {
            row.fill(0);
        }
        if self.style.silence != Silence::IsNoDeath {
            self.let_through();
        }
        (self.slow_net_until, self.lossy_pulses_until) = (0, 0);
        for host in 0..self.style.hosts {
            let there = &mut self.hosts[host];
            (there.slow_disk_until, there.hung_disk_until) = (0, 0);
            (there.full_disk_until, there.dies_after) = (0, None);
            if there.replica.is_none() {
                self.start(host);
            }
        }
        for replica in self.hosts.iter_mut().filter_map(|host| host.replica.as_mut()) {
            replica.keep_everybody();
        }
        self.note(|| "all is healed".to_owned());
    }
}
