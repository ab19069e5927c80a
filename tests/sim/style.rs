//! What a seed's world is like: how large, how fast, and which faults it knows. Not every world has every fault: one in
//! which everything fails tests little else.

use std::ops::Range;

use fastrand::Rng;
use plainsong::actors::replicator::keeper::Keep;
use plainsong::consensus::Mode;

use super::faults::{ALL, Fault};
use super::world::{MS, SECOND, Time};

/// What an fsync takes.
const FAST_DISK: Range<Time> = 100..MS;
const FAIR_DISK: Range<Time> = 100..12 * MS;
/// A few writes a second, on every host: votes take longer than an election timeout.
const SLOW_DISK: Range<Time> = 100 * MS..450 * MS;

/// See the module's header.
#[derive(Clone, Debug)]
pub struct Style {
    pub hosts: usize,
    pub clients: usize,
    pub faults: Vec<Fault>,
    /// Lines between replicas are printed and read back.
    pub printed_lines: bool,
    pub turn_delay_max: Time,
    pub fsync: Range<Time>,
    pub apply_max: Time,
    pub think_max: Time,
    pub fault_pause_max: Time,
    /// Start-up happens in this time: an empty replica may start first, and alone.
    pub start_max: Time,
    /// A host whose start takes longer: it is not there when the others found, or try to.
    pub late_host: Option<Time>,
    /// How long faults happen.
    pub chaos: Time,
    /// A majority is gone for ten minutes.
    pub long_outage: bool,
    /// By how many milliseconds the first host's clock is wrong, beside what clocks always are.
    pub clock_off: i64,
    /// How much of their logs the hosts keep.
    pub keep: Keep,
    /// Replicas are removed, and join.
    pub changes: bool,
    /// How the cluster is founded.
    pub mode: Mode,
    /// Silence counts as death, and two sides may serve, or not even then.
    pub silence: Silence,
}

/// What becomes of who is silent for [`DROP_SILENT_AFTER`](super::replica::DROP_SILENT_AFTER).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// It is waited for.
    #[default]
    IsNoDeath,
    /// It is gone on without. Whoever is cut off, is cut off alone, and from everybody: there is one history.
    OfOne,
    /// It is gone on without. Links are cut anyhow, and there may be several histories.
    OfSides,
}

/// Seeds from here on are of worlds with views.
pub const VIEWS_FROM: u64 = 1 << 41;

/// And from here on, of such in which silence counts as death.
pub const SILENCE_FROM: u64 = 1 << 42;

/// Cuts and pauses are so much longer there: silence takes its time.
const STRETCHED: Time = 6;

/// What nobody is cut off by, or alone and from everybody.
const OF_ONE: [Fault; 9] = [
    Fault::CutOne,
    Fault::CutLeader,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::SlowDisk,
    Fault::HungDisk,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::HandOver,
];

/// What this mode does not promise to survive, or needs an occasion for.
const NOT_WITH_VIEWS: [Fault; 3] = [Fault::Wipe, Fault::Snapshot, Fault::Restore];

impl Style {
    pub fn draw(rng: &mut Rng) -> Self {
        let share = rng.u8(30..255);
        let faults = if rng.u8(..) < 170 {
            ALL.into_iter().filter(|_| rng.u8(..) < share).collect()
        } else {
            // A few kinds, often: what meets seldom elsewhere meets here.
            (0..rng.usize(2..5)).map(|_| ALL[rng.usize(0..ALL.len())]).collect()
        };
        let hosts = if rng.u8(..) < 190 { 3 } else { 5 };
        Self {
            hosts,
            clients: rng.usize(3..8),
            faults,
            printed_lines: rng.u8(..) < 40,
            turn_delay_max: if rng.bool() { 100 } else { 3 * MS },
            fsync: fsync(rng),
            apply_max: if rng.bool() { 500 } else { 20 * MS },
            think_max: rng.u64(10 * MS..150 * MS),
            fault_pause_max: rng.u64(100 * MS..2_000 * MS),
            start_max: rng.u64(10 * MS..800 * MS),
            late_host: (rng.u8(..) < 30).then(|| rng.u64(SECOND..3 * SECOND)),
            chaos: rng.u64(3 * SECOND..15 * SECOND),
            long_outage: rng.u8(..) < 3,
            clock_off: 0,
            keep: keep(&mut rng.clone()),
            changes: false,
            mode: Mode::Quorum,
            silence: Silence::default(),
        }
    }

    /// The seed says which mode it is: worlds of the other are what they were before.
    pub fn in_mode_of(mut self, seed: u64) -> Self {
        if seed >= VIEWS_FROM {
            self.mode = Mode::PrimaryBackup;
            self.faults.retain(|fault| !NOT_WITH_VIEWS.contains(fault));
            self.keep = Keep::default();
            self.changes = false;
        }
        if seed >= SILENCE_FROM { self.counting_silence(seed) } else { self }
    }

    fn counting_silence(mut self, seed: u64) -> Self {
        self.hosts = [3, 4, 5, 5][(seed / 4 % 4) as usize];
        self.chaos += 6 * SECOND;
        self.fault_pause_max *= 2;
        if seed.is_multiple_of(4) {
            self.silence = Silence::OfOne;
            self.faults = OF_ONE.to_vec();
        } else {
            self.silence = Silence::OfSides;
            // It makes two sides that both serve, if nothing else happens to them for a while: in some worlds little does.
            if seed % 4 == 1 {
                self.faults.truncate(2);
                self.hosts = [4, 5][(seed / 4 % 2) as usize];
                self.fault_pause_max = 6 * SECOND;
                self.chaos += 10 * SECOND;
            }
            self.faults.extend([Fault::CutHalves; 3]);
        }
        self
    }

    /// How much longer cuts and pauses are than other faults.
    pub fn stretched(&self) -> Time {
        if self.silence == Silence::IsNoDeath { 1 } else { STRETCHED }
    }

    /// Three replicas, fifty requests a second, no faults: for measuring speed.
    pub fn plain(chaos: Time) -> Self {
        Self {
            hosts: 3,
            clients: 5,
            faults: Vec::new(),
            printed_lines: false,
            turn_delay_max: 100,
            fsync: FAST_DISK,
            apply_max: 500,
            think_max: 180 * MS,
            fault_pause_max: SECOND,
            start_max: 10 * MS,
            late_host: None,
            chaos,
            long_outage: false,
            clock_off: 0,
            keep: Keep::default(),
            changes: false,
            mode: Mode::Quorum,
            silence: Silence::default(),
        }
    }
}

/// Decided by numbers that stay the next ones: worlds in which no log is cut are what they were before.
fn keep(rng: &mut Rng) -> Keep {
    let entries = rng.bool().then(|| rng.u64(1..120));
    let margin = rng.u64(0..20);
    Keep { entries, time: None, margin, archived: if rng.bool() { 0 } else { rng.u64(1..40) } }
}

fn fsync(rng: &mut Rng) -> Range<Time> {
    match rng.u8(..) {
        0..20 => SLOW_DISK,
        20..136 => FAST_DISK,
        _ => FAIR_DISK,
    }
}
