//! A cluster of five is cut in two once, both sides serve, and they meet: told at random, message by message. Only one side
//! gives anything up, and what it gives up stands in no log afterwards: so that an operator who sends it again doubles
//! nothing.
//!
//! Each replica is told the truth about who is silent, at times of its own. What more may happen (replicas that crash, links
//! that break while the sides meet, sides that meet before they have begun to serve) is in `forks.rs`.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use plainsong::consensus::{Body, Entry, Index, Input, Role};

use super::number;
use super::world::{World, host_of};

/// Walks of `cargo test`.
const SEEDS: u64 = 1_000;
const SIZE: usize = 5;
/// Steps before the cut: so that something is on its way to some when the links break.
const TOGETHER: usize = 60;
/// Steps in which a side should begin to serve, and has written for a while; and those of the meeting.
const APART: usize = 700;
const MEETING: usize = 900;

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// One of the sides did not serve before they met: nothing is said of this walk.
    NotServed,
    /// So many entries were given up by replicas of one side.
    Yielded(usize),
}

/// One thing happens.
fn step(world: &mut World) {
    world.counts.steps += 1;
    let at = world.rng.usize(0..SIZE);
    match world.rng.u32(0..100) {
        0..50 => world.deliver_any(),
        50..68 => {
            let count = world.rng.usize(1..4);
            world.store(at, count);
        }
        68..76 => world.apply(at),
        76..82 => {
            (0..SIZE).filter(|at| world.leads(*at)).collect::<Vec<_>>().into_iter().for_each(|at| world.propose(at))
        }
        82..85 => world.tell(at, Input::PulseDue),
        85..88 => world.tell(at, Input::Campaign),
        88..89 => world.tell(at, Input::QuorumCheckDue),
        89..93 => (0..SIZE).filter(|other| *other != at).for_each(|other| world.dial(at, other)),
        93..96 => hear_who_is_silent(world, at),
        _ => world.evidence(at),
    }
}

fn hear_who_is_silent(world: &mut World, at: usize) {
    let watched = world.hosts[at].process.as_ref().map(|p| p.node.watched()).unwrap_or_default();
    let is_cut_off = |host: usize| world.sides[host] != world.sides[at];
    let silent = watched.into_iter().filter(|(member, _)| is_cut_off(host_of(member.id))).collect();
    world.tell(at, Input::Silent(silent));
}

/// Everybody of a side is in one view of that side, which is led.
fn serves(world: &World, sides: &[bool], side: bool) -> bool {
    let of_side = |host: &usize| sides[*host] == side;
    let process = |host: usize| world.hosts[host].process.as_ref().expect("nobody crashes");
    let Some(leader) = (0..SIZE).filter(of_side).find(|host| process(*host).role == Role::Leader) else { return false };
    let view = &process(leader).node.views().installed;
    let is_in = |host: usize| {
        let views = process(host).node.views();
        views.installed.id == view.id && views.promised.id == view.id
    };
    view.members.len() == (0..SIZE).filter(of_side).count() && (0..SIZE).filter(of_side).all(is_in)
}

fn cut_in_two(world: &mut World) -> Vec<bool> {
    let one = world.rng.usize(0..SIZE);
    let other = (one + world.rng.usize(1..SIZE)) % SIZE;
    let sides: Vec<bool> = (0..SIZE).map(|at| at == one || at == other).collect();
    world.sides.clone_from(&sides);
    world.note(|| format!("cut {sides:?}"));
    for (one, other) in (0..SIZE).flat_map(|one| (0..one).map(move |other| (one, other))) {
        if sides[one] != sides[other] {
            world.cut(one, other);
        }
    }
    sides
}

pub fn walk(seed: u64, verbose: bool) -> Met {
    let mut world = World::with_silence(SIZE, seed, verbose, true);
    world.calm();
    (0..TOGETHER).for_each(|_| step(&mut world));
    let sides = cut_in_two(&mut world);
    (0..APART).for_each(|_| step(&mut world));
    let both = [false, true].into_iter().all(|side| serves(&world, &sides, side));
    world.note(|| "the links are back".to_owned());
    world.heal();
    world.links_end_in_order = true;
    (0..MEETING).for_each(|_| step(&mut world));
    world.calm();
    world.forks.judge(world.hosts.iter().map(|host| &host.disk));
    if !both {
        return Met::NotServed;
    }
    given_up(&world, &sides)
}

/// By replicas of one side alone, and nothing that stands in the log.
fn given_up(world: &World, sides: &[bool]) -> Met {
    let disk = &world.hosts[0].disk;
    let key = |entry: &Entry| (entry.index, entry.term.0);
    let log: BTreeSet<(Index, u64)> = disk.load(Index(1), disk.last(), usize::MAX).iter().map(key).collect();
    let (mut yielding, mut count) = (BTreeSet::new(), 0);
    for (host, side) in world.hosts.iter().zip(sides) {
        for (_, entry) in host.disk.orphans.iter().filter(|(_, entry)| matches!(entry.body, Body::Command(_))) {
            assert!(!log.contains(&key(entry)), "{} gave {} up, and it stays", host.disk.me, entry.index);
            yielding.insert(side);
            count += 1;
        }
    }
    assert!(yielding.len() < 2, "both sides gave something up");
    Met::Yielded(count)
}

#[test]
fn where_two_sides_meet_only_one_gives_anything_up_and_nothing_that_stays() {
    let (mut met, mut entries, mut broken) = (0, 0, Vec::new());
    for seed in 1..=number("MEET_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| walk(seed, false))) {
            Ok(Met::NotServed) => {}
            Ok(Met::Yielded(count)) => (met, entries) = (met + 1, entries + count),
            Err(_) => broken.push(seed),
        }
    }
    println!("{met} meetings, {entries} entries given up");
    let first = broken.first().copied().unwrap_or_default();
    assert!(broken.is_empty(), "{broken:?}: MEET_SEED={first} cargo test --test views one_meeting -- --nocapture");
    assert!(met > 100 && entries > 1_000, "{met} meetings, {entries} entries given up: these walks say little");
}

/// One seed, with everything that happens in it: `MEET_SEED`.
#[test]
fn one_meeting() {
    let met = walk(number("MEET_SEED").unwrap_or(1), std::env::var("MEET_SEED").is_ok());
    println!("{met:?}");
}
