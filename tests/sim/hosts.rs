//! Machines: a disk, and the process on it, if one runs. Start, end, and what a process does by the clock.

use chat::Quota;
use fastrand::Rng;
use plainsong::actors::internal::FromElection;
use plainsong::actors::replicator::keeper::Keeper;
use plainsong::actors::store::LogJob;
use plainsong::consensus::{Boot, ClusterId, Incarnation, Index, Member, ReplicaId, Run, Settings, Snapshot, WhyAnew};
use plainsong::machine::{self, MachineStorage, MapMachine};
use plainsong::mode::Core;

use super::disk::Disk;
use super::members::address;
use super::people::is_a_persons;
use super::replica::{Mail, Out, Replica};
use super::stores::Stores;
use super::style::{Silence, Style};
use super::world::{Event, MS, Time, World, id};

pub const PULSE: Time = 50 * MS;
const SWEEP: Time = 50 * MS;
/// Of 256 processes that start anew, so many die on the way.
const DIES_ON_THE_WAY: u8 = 40;
/// What it takes to end in good order, and to start again.
const ANEW_MAX: Time = 300 * MS;

/// See the module's header.
pub struct Host {
    pub disk: Disk,
    /// The state as of its last commit that outlasts a crash.
    pub saved: MapMachine,
    pub snapshot: Option<(Disk, MapMachine)>,
    /// The copy of its state that it offers: gone with its process.
    pub outgoing: Option<Snapshot>,
    /// The copy that it fetches, from whom, and how much of it is here.
    pub fetching: Option<(ReplicaId, Snapshot, u64)>,
    /// The copy that it has fetched, whole and synced.
    pub incoming: Option<Snapshot>,
    /// It is started with `--join`.
    pub joins: bool,
    /// The limits in this host's config file. No two need have the same: whose are in force follows from who leads.
    pub quota: Quota,
    pub replica: Option<Box<Replica>>,
    pub stores: Stores,
    /// How often a process was started or ended here.
    pub life: u64,
    pub paused_until: Time,
    pub slow_disk_until: Time,
    pub hung_disk_until: Time,
    pub full_disk_until: Time,
    /// The process ends after it has done so much of its next turn.
    pub dies_after: Option<usize>,
    /// The wall clock's error, in milliseconds.
    pub clock_error: i64,
    /// For when the timer event of Election is set.
    timer_at: Option<Time>,
    /// The pause before the next dial, by wire.
    pub backoff: [Vec<Time>; 2],
    /// When something last went wrong here.
    pub disturbed: Time,
    /// So many entries it said to have given up; and how often it started anew.
    pub gave_up: u64,
    pub anew: u64,
}

impl Host {
    pub fn new(host: usize, style: &Style, rng: &mut Rng) -> Self {
        Self {
            disk: Disk::blank(member(host, rng.u64(1..))),
            saved: MapMachine::new(),
            quota: draw_quota(rng),
            snapshot: None,
            outgoing: None,
            fetching: None,
            incoming: None,
            joins: false,
            replica: None,
            stores: Stores::default(),
            life: 0,
            paused_until: 0,
            slow_disk_until: 0,
            hung_disk_until: 0,
            full_disk_until: 0,
            dies_after: None,
            clock_error: rng.i64(0..5_000) + if host == 0 { style.clock_off } else { 0 },
            timer_at: None,
            backoff: [vec![0; 8], vec![0; 8]],
            disturbed: 0,
            gave_up: 0,
            anew: 0,
        }
    }

    /// Runs, and nothing is wrong with it.
    pub fn is_well(&self, now: Time) -> bool {
        let until = [self.paused_until, self.slow_disk_until, self.hung_disk_until, self.full_disk_until];
        self.replica.is_some() && until.iter().all(|until| *until <= now)
    }
}

fn draw_quota(rng: &mut Rng) -> Quota {
    let mut limit = |range: std::ops::Range<u64>| (rng.u8(..) < 100).then(|| rng.u64(range));
    let (mailbox_messages, mailbox_bytes, accounts) = (limit(3..30), limit(10..120), limit(5..12));
    Quota { mailbox_messages, mailbox_bytes, accounts, retention: limit(0..5) }
}

impl World {
    /// The process that an event was meant for.
    pub fn replica(&mut self, host: usize, life: u64) -> Option<&mut Replica> {
        let there = &mut self.hosts[host];
        if there.life == life { there.replica.as_deref_mut() } else { None }
    }

    pub fn start(&mut self, host: usize) {
        let me = self.hosts[host].disk.me;
        if self.judge.ledger.forgetful.contains(&me) && !self.is_detectable(host, &self.hosts[host].disk) {
            // An old copy that was started as often as the original passes for it: this is not promised to be seen.
            self.blank(host);
        }
        let nonce = self.rng.u32(..);
        self.finish_install(host);
        let counts = self.style.silence != Silence::IsNoDeath;
        self.drop_void_state(host);
        let there = &mut self.hosts[host];
        let recovered = there.disk.recover(there.saved.applied());
        let run = Run { boot: recovered.boot, nonce };
        let text = format!(
            "{} starts: boot {}, last {}, applied {}",
            recovered.me, run.boot, recovered.last, recovered.applied
        );
        self.note(|| text);
        let settings = Settings {
            run,
            ids: (0..self.style.hosts).map(id).collect(),
            addresses: if self.style.changes {
                (0..self.style.hosts).map(|host| address(id(host))).collect()
            } else {
                Vec::new()
            },
            book: 7,
            joins: self.hosts[host].joins,
            fresh_cluster: ClusterId(self.rng.u64(1..)),
        };
        let ids = settings.ids.clone();
        let applied = recovered.applied;
        let node = Core::new(self.style.mode, &recovered, settings).dropping_silent(counts);
        let mut replica = Replica::new(node, run, ids, self.instant());
        if counts {
            replica.drops_silent();
        }
        replica.quota = self.hosts[host].quota;
        replica.keeper = Keeper::new(self.style.keep);
        replica.calm = self.calm;
        let there = &mut self.hosts[host];
        there.life += 1;
        there.dies_after = None;
        there.timer_at = None;
        there.stores = Stores::new(there.saved.clone());
        there.replica = Some(Box::new(replica));
        there.disturbed = self.now;
        let life = there.life;
        self.judge.ledger.starts(host, self.hosts[host].disk.me, run.boot);
        // What it takes for committed from the start.
        let base = self.hosts[host].disk.base.index;
        self.judge.turned(&self.hosts, host, base);
        self.judge.ledger.sides.begins(host, &self.hosts[host].disk, applied);
        let (tick, sweep) = (self.rng.u64(0..PULSE), self.rng.u64(0..SWEEP));
        self.after(tick, Event::Tick { host, life });
        if self.hosts[host].joins {
            self.after(MS, Event::AskToJoin { host, life });
        }
        self.after(sweep, Event::Sweep { host, life });
        for wire in self.net.wires_of(host).into_iter().filter(|w| w.high == host) {
            self.after(0, Event::Dial { host, life, wire });
        }
        self.wake(host, life);
    }

    /// What [`plainsong::storage::open`] does before anything else: a state that has applied what was given up is none.
    fn drop_void_state(&mut self, host: usize) {
        let there = &mut self.hosts[host];
        if there.disk.void.take().is_some_and(|from| there.saved.applied() >= from) {
            there.saved = MapMachine::new();
        }
    }

    /// Starts a process later, unless something else happens to the host before.
    pub fn start_after(&mut self, host: usize, max: Time) {
        let (after, down) = (self.rng.u64(0..max), self.hosts[host].life);
        self.after(after, Event::Start { host, down });
    }

    /// Ends the process: the transaction under way reaches the disk, in order, in part, or not at all; of the state
    /// some commit outlasts it, not always the last.
    pub fn crash(&mut self, host: usize) {
        if self.hosts[host].replica.is_some() {
            let stores = &self.hosts[host].stores;
            let kept = self.rng.usize(0..=stores.log_group.min(stores.log.len()));
            self.ends(host, kept);
        }
    }

    /// The process ends in good order, with what it had handed to the log, and starts again from that; or it dies on the way.
    pub fn starts_anew(&mut self, host: usize, why: WhyAnew) {
        self.note(|| format!("host {host} starts anew: {why:?}"));
        if self.rng.u8(..) < DIES_ON_THE_WAY {
            self.crash(host);
        } else {
            self.ends(host, self.hosts[host].stores.log.len());
        }
        self.hosts[host].anew += 1;
        self.start_after(host, ANEW_MAX);
    }

    fn ends(&mut self, host: usize, kept: usize) {
        let Some(replica) = self.hosts[host].replica.take() else { return };
        let stores = std::mem::take(&mut self.hosts[host].stores);
        let under_way = stores.log_group.min(stores.log.len());
        let text = format!("{} dies; {kept} of the {under_way} jobs under way reached its disk", replica.me);
        self.note(|| text);
        // Before anything is written that takes away what the state has applied.
        self.save_state(host, stores.state.applied());
        for job in stores.log.iter().take(kept) {
            if let LogJob::Persist(batch) = job {
                self.hosts[host].disk.write(batch);
            }
        }
        let there = &mut self.hosts[host];
        there.outgoing = None;
        // What was synced of a copy is gone on with.
        if let Some((.., offset)) = &mut there.fetching {
            *offset = self.rng.u64(0..=*offset);
        }
        let life = there.life;
        there.life += 1;
        there.disturbed = self.now;
        self.judge.ledger.sides.ends(host, life);
        for wire in self.net.wires_of(host) {
            let at = self.now + self.rng.u64(0..2 * MS);
            if let Some((generation, ready)) = self.net.end_of_process(wire, host, life, at) {
                self.at(ready, Event::Deliver { to: wire.peer_of(host), wire, generation });
            }
        }
        let sessions: Vec<_> = replica.sessions.keys().copied().collect();
        for session in sessions.into_iter().filter(|session| !is_a_persons(*session)) {
            let (client, after) = (self.client_of(session), self.rng.u64(0..2 * MS));
            self.after(after, Event::Cut { client, session });
        }
        self.host_leaves_people(host);
    }

    /// Brings the saved state on to an index between where it was and `applied`, from the entries on the disk.
    fn save_state(&mut self, host: usize, applied: Index) {
        let Host { disk, saved, .. } = &mut self.hosts[host];
        let until = if self.rng.bool() {
            applied.0
        } else {
            self.rng.u64(saved.applied().0..=applied.0.max(saved.applied().0))
        };
        let mut effects = Vec::new();
        while saved.applied().0 < until {
            let Some(entry) = disk.entry(saved.applied().next()) else { break };
            let Ok(_) = machine::apply(saved, entry, &mut effects);
            effects.clear();
        }
    }

    /// Puts an empty disk in.
    pub fn blank(&mut self, host: usize) {
        let incarnation = self.rng.u64(1..);
        let there = &mut self.hosts[host];
        self.judge.ledger.forgetful.insert(there.disk.me);
        there.disk = Disk::blank(member(host, incarnation));
        there.saved = MapMachine::new();
        (there.incoming, there.fetching) = (None, None);
    }

    // --- turns ---------------------------------------------------------------------------------------------------

    /// Puts mail into a process's inbox, if it lives.
    pub fn post(&mut self, host: usize, life: u64, mail: Mail) {
        let Some(replica) = self.replica(host, life) else { return };
        replica.inbox.push(mail);
        self.wake(host, life);
    }

    /// Tells whatever process runs there.
    pub fn tell(&mut self, host: usize, mail: Mail) {
        let life = self.hosts[host].life;
        self.post(host, life, mail);
    }

    pub fn wake(&mut self, host: usize, life: u64) {
        let delay = self.rng.u64(0..self.style.turn_delay_max);
        let Some(replica) = self.replica(host, life) else { return };
        if !std::mem::replace(&mut replica.turn_due, true) {
            self.after(delay, Event::Wake { host, life });
        }
    }

    pub fn wake_due(&mut self, host: usize, life: u64) {
        if self.replica(host, life).is_none() {
            return;
        }
        let (now, random) = (self.instant(), self.rng.f64());
        let clock = self.wall_clock(host);
        let traced = self.trace_inbox(host);
        let replica = self.hosts[host].replica.as_deref_mut().expect("it lives");
        replica.turn_due = false;
        let before = replica.node.commit();
        replica.wake(now, clock, random);
        let out = std::mem::take(&mut replica.out);
        if traced {
            self.trace_standing(host);
        }
        self.judge.turned(&self.hosts, host, before);
        let dies_after = self.hosts[host].dies_after.take();
        let count = dies_after.unwrap_or(usize::MAX);
        let mut out = out.into_iter();
        for one in out.by_ref().take(count) {
            self.carry_out(host, life, one);
        }
        // Its operator is not told any more, and finds it aside.
        let untold = out.map(|one| if let Out::GaveUp { count, .. } = one { count } else { 0 }).sum::<u64>();
        self.hosts[host].gave_up += untold;
        if dies_after.is_some() {
            self.crash(host);
            self.start_after(host, 800 * MS);
        } else {
            self.arm(host, life);
        }
    }

    fn trace_inbox(&mut self, host: usize) -> bool {
        let Some(replica) = &self.hosts[host].replica else { return false };
        let (who, now, mut any) = (replica.me.id, self.now, false);
        for mail in &replica.inbox {
            any = true;
            self.trace.note(now, || format!("{who}   < {mail:?}"));
        }
        any
    }

    fn trace_standing(&mut self, host: usize) {
        let Some(replica) = &self.hosts[host].replica else { return };
        let node = &replica.node;
        self.trace.note(self.now, || {
            format!("{}   {:?} commit {} last {}", node.me().id, node.standing(), node.commit(), node.last())
        });
    }

    fn wall_clock(&self, host: usize) -> u64 {
        u64::try_from(self.true_clock() + self.hosts[host].clock_error).unwrap_or(0)
    }

    fn true_clock(&self) -> i64 {
        i64::try_from(self.now / MS).expect("not that long") + 10_000_000
    }

    /// By how many milliseconds the newest entry anywhere is stamped later than now.
    pub fn stamped_ahead_ms(&self) -> i64 {
        let times = self.hosts.iter().filter_map(|host| Some(host.replica.as_ref()?.node.log().last_time()));
        i64::try_from(times.max().unwrap_or(0)).expect("not that late") - self.true_clock()
    }

    // --- clocks --------------------------------------------------------------------------------------------------

    pub fn tick(&mut self, host: usize, life: u64) {
        let now = self.instant();
        let Some(replica) = self.replica(host, life) else { return };
        let asks = replica.heart.tick();
        self.look_for_proof(host, life);
        self.tell_who_lives(host, life, now);
        if asks {
            self.post(host, life, Mail::PulseDue);
        }
        let found = self.replica(host, life).and_then(|replica| replica.heart.look(now));
        if let Some(found) = found {
            self.post(host, life, Mail::Silence(found));
        }
        self.after(PULSE, Event::Tick { host, life });
    }

    pub fn tell_who_lives(&mut self, host: usize, life: u64, now: std::time::Instant) {
        let Some(replica) = self.replica(host, life) else { return };
        if let Some(living) = replica.heart.news(now) {
            replica.timers.living(living.clone());
            self.post(host, life, Mail::Living(living));
        }
    }

    pub fn sweep(&mut self, host: usize, life: u64) {
        if self.replica(host, life).is_some() {
            self.post(host, life, Mail::Sweep);
            self.after(SWEEP, Event::Sweep { host, life });
        }
    }

    /// One timer event for the next thing that is due; an early one does no harm.
    pub fn arm(&mut self, host: usize, life: u64) {
        let (now, instant, set) = (self.now, self.instant(), self.hosts[host].timer_at);
        let Some(next) = self.replica(host, life).and_then(|r| r.timers.next()) else { return };
        // Rounded up: an event that comes a fraction too early would come again and again, at the same time.
        let wait = next.saturating_duration_since(instant).as_nanos().div_ceil(1_000);
        let wait = u64::try_from(wait).expect("not that long");
        if set.is_none_or(|at| at > now + wait) {
            self.hosts[host].timer_at = Some(now + wait);
            self.after(wait, Event::Timer { host, life });
        }
    }

    pub fn timer(&mut self, host: usize, life: u64) {
        let (now, random) = (self.instant(), self.rng.f64());
        let Some(replica) = self.replica(host, life) else { return };
        let due: Vec<FromElection> = replica.timers.due(now, random);
        self.hosts[host].timer_at = None;
        for one in due {
            self.post(host, life, Mail::Election(one));
        }
        self.arm(host, life);
    }
}

fn member(host: usize, incarnation: u64) -> Member {
    Member { id: id(host), incarnation: Incarnation(incarnation) }
}

/// A boot of a member.
pub type MemberBoot = (Member, Boot);
