//! What survives what: the whole product with 1, 3, 5 and 7 replicas, in both modes. The table of the README.

use plainsong::consensus::{Mode, Role};

use super::hosts::Host;
use super::style::{Silence, Style};
use super::trace::Trace;
use super::world::{MS, SECOND, Time, World};

const SIZES: [usize; 4] = [1, 3, 5, 7];
const MODES: [Mode; 2] = [Mode::Quorum, Mode::PrimaryBackup];
/// By then what was on its way has arrived, and clients have found who serves.
const SETTLED: Time = 2 * SECOND;
/// Whoever can serve has served by then.
const SERVED: Time = 6 * SECOND;
/// A wiped replica is a member again by then.
const REFILLED: Time = 15 * SECOND;

/// How long links are cut where silence counts: shorter than what makes silent, and longer.
const CUTS: std::ops::Range<Time> = 500 * MS..2_500 * MS;
const CUTS_STEP: usize = 50_000;

/// How many may fail so that the rest serves.
fn spare(size: usize, mode: Mode) -> usize {
    match mode {
        Mode::Quorum => (size - 1) / 2,
        Mode::PrimaryBackup => size - 1,
    }
}

fn each(mut test: impl FnMut(usize, Mode, World)) {
    for (size, mode) in SIZES.iter().flat_map(|size| MODES.map(|mode| (*size, mode))) {
        let style = Style { hosts: size, mode, ..Style::plain(SECOND) };
        let mut world = World::new(size as u64, Some(style), Trace::off());
        assert!(serves(&mut world), "{size} replicas, {mode:?}");
        test(size, mode, world);
    }
}

/// Whether anything new is committed.
fn serves(world: &mut World) -> bool {
    world.run_until(world.now + SETTLED);
    let before = world.judge.ledger.sides.progress();
    world.run_until(world.now + SERVED);
    world.judge.ledger.sides.progress() > before
}

/// From the lowest id on, which leads most often, and from the highest on.
fn orders(size: usize) -> [Vec<usize>; 2] {
    [(0..size).collect(), (0..size).rev().collect()]
}

pub fn one_after_the_other() {
    for turn in 0..2 {
        each(|size, mode, mut world| {
            let order = &orders(size)[turn];
            for (died, &host) in order.iter().enumerate().take(spare(size, mode) + 1) {
                world.crash(host);
                let lives = died < spare(size, mode);
                assert_eq!(serves(&mut world), lives, "{} of {size} died, {mode:?}", died + 1);
            }
        });
    }
}

pub fn at_once() {
    each(|size, mode, mut world| {
        (0..spare(size, mode)).for_each(|host| world.crash(host));
        assert!(serves(&mut world), "{} of {size} died at once, {mode:?}", spare(size, mode));
    });
}

/// Each of them once the first to come back.
pub fn all() {
    for first in 0..SIZES[SIZES.len() - 1] {
        each(|size, mode, mut world| {
            if first >= size {
                return;
            }
            (0..size).for_each(|host| world.crash(host));
            let needed = if mode == Mode::Quorum { size / 2 + 1 } else { size };
            for back in 1..=size {
                world.start((first + back) % size);
                if back + 1 >= needed {
                    assert_eq!(serves(&mut world), back >= needed, "{back} of {size} are back, {mode:?}");
                }
            }
        });
    }
}

pub fn one_hangs() {
    each(|size, mode, mut world| {
        let until = world.now + SETTLED + SERVED;
        (world.hosts[size - 1].paused_until, world.hosts[size - 1].disturbed) = (until, until);
        let goes_on = spare(size, mode) > 0 && mode == Mode::Quorum;
        assert_eq!(serves(&mut world), goes_on, "one of {size} hangs, {mode:?}");
        assert!(serves(&mut world), "it goes on, {mode:?}");
    });
}

/// The same where silence counts as death.
fn each_of_silence(mut test: impl FnMut(usize, World)) {
    for size in SIZES.into_iter().filter(|size| *size > 1) {
        let style = Style { hosts: size, mode: Mode::PrimaryBackup, silence: Silence::OfOne, ..Style::plain(SECOND) };
        let mut world = World::new(size as u64, Some(style), Trace::off());
        assert!(serves(&mut world), "{size} replicas");
        test(size, world);
    }
}

/// Whether all are members of whoever leads.
fn is_whole(world: &World) -> bool {
    let leader = world.leader().and_then(|host| world.hosts[host].replica.as_ref());
    leader.is_some_and(|leader| leader.node.voters().len() == world.hosts.len())
}

pub fn one_is_silent() {
    each_of_silence(|size, mut world| {
        for host in [0, size - 1] {
            let until = world.now + SETTLED + SERVED;
            (world.hosts[host].paused_until, world.hosts[host].disturbed) = (until, until);
            assert!(serves(&mut world), "one of {size} hangs");
            assert!(!is_whole(&world), "it counts as dead");
            assert!(serves(&mut world) && is_whole(&world), "it is back, of {size}");
        }
    });
}

pub fn one_is_cut_off() {
    each_of_silence(|size, mut world| {
        for host in [0, size - 1] {
            let until = world.now + SETTLED + SERVED;
            world.cut_off(host, until);
            assert!(serves(&mut world), "one of {size} is cut off");
            let leads = |host: &Host| host.replica.as_ref().is_some_and(|r| r.node.standing().role == Role::Leader);
            assert!(!leads(&world.hosts[host]), "it started anew, and waits");
            assert!(world.hosts[host].anew > 0 && world.hosts[host].gave_up == 0);
            assert!(serves(&mut world) && is_whole(&world), "it is back, of {size}");
        }
    });
}

/// Whoever is taken for dead while its links come up, one after the other, is neither waited for nor forgotten.
pub fn cuts_of_any_length() {
    for length in CUTS.step_by(CUTS_STEP) {
        let style = Style { mode: Mode::PrimaryBackup, silence: Silence::OfOne, ..Style::plain(SECOND) };
        let mut world = World::new(length, Some(style), Trace::off());
        world.run_until(SETTLED);
        world.cut_off(1, world.now + length);
        world.run_until(world.now + length + SERVED);
        let knows = |host: &Host| host.replica.as_ref().is_some_and(|r| r.node.standing().leader.is_some());
        assert!(world.hosts.iter().all(knows), "a cut of {} ms: somebody follows nobody", length / MS);
        assert!(serves(&mut world) && is_whole(&world), "a cut of {} ms", length / MS);
    }
}

pub fn one_is_wiped() {
    each(|size, mode, mut world| {
        if size == 1 {
            return;
        }
        world.crash(size - 1);
        assert!(serves(&mut world), "{mode:?}");
        world.blank(size - 1);
        world.start(size - 1);
        world.run_until(world.now + REFILLED);
        let (me, others) = (world.hosts[size - 1].disk.me, world.hosts.iter().filter_map(|h| h.replica.as_ref()));
        let knows = others.filter(|replica| replica.node.voters().contains(&me)).count();
        assert_eq!(knows, size, "of {size} know that it counts again, {mode:?}");
    });
}
