//! Told step by step, not drawn: every order of two deaths, every order of return, and silence, which is no death.

use plainsong::consensus::Input;

use super::world::{Item, World};

const HOSTS: usize = 3;

const ORDERS: [[usize; HOSTS]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Three that serve together.
fn three() -> World {
    some(HOSTS)
}

fn some(size: usize) -> World {
    let mut world = World::new(size, 7, false);
    world.calm();
    world
}

#[test]
fn any_two_of_three_die_one_after_the_other_and_the_last_one_serves() {
    for [first, second, last] in ORDERS {
        let mut world = three();
        for victim in [first, second] {
            assert!(world.serve().is_some());
            world.crash(victim);
        }
        assert_eq!(world.serve(), Some(last), "{first} and then {second} died");
        world.calm();
    }
}

#[test]
fn after_a_total_stop_nobody_serves_before_the_last_to_fail_is_back() {
    for [first, second, last] in ORDERS {
        for order in ORDERS {
            let mut world = three();
            for victim in [first, second, last] {
                assert!(world.serve().is_some());
                world.crash(victim);
            }
            for (back, host) in order.into_iter().enumerate() {
                world.start(host);
                let serves = order[..=back].contains(&last);
                assert_eq!(world.serve().is_some(), serves, "{last} died last, {:?} are back", &order[..=back]);
            }
            world.calm();
        }
    }
}

#[test]
fn when_all_die_at_once_nobody_serves_before_all_are_back() {
    for order in ORDERS {
        let mut world = three();
        (0..HOSTS).for_each(|host| world.crash(host));
        for (back, host) in order.into_iter().enumerate() {
            world.start(host);
            assert_eq!(world.serve().is_some(), back == HOSTS - 1);
        }
    }
}

#[test]
fn a_member_that_is_silent_but_not_dead_blocks_writes_and_reads_until_it_is_heard() {
    for silent in 0..HOSTS {
        let mut world = three();
        let acknowledged = world.oracle.committed.len();
        world.propose((silent + 1) % HOSTS);
        for other in (0..HOSTS).filter(|other| *other != silent) {
            world.cut(silent, other);
        }
        for at in 0..HOSTS {
            world.propose(at);
            world.read(at);
            for _ in 0..20 {
                world.tell(at, Input::Campaign);
                world.tell(at, Input::PulseDue);
                world.turn(at);
                world.store(at, usize::MAX);
                (0..HOSTS).for_each(|from| world.deliver(at, from));
            }
        }
        assert_eq!((world.oracle.committed.len(), world.counts.reads), (acknowledged, 0), "{silent} is silent");
        world.calm();
    }
}

#[test]
fn a_wiped_replica_joins_again_as_a_newcomer() {
    let mut world = three();
    world.crash(2);
    assert!(world.serve().is_some());
    world.wipe(2);
    assert_eq!(world.counts.wipes, 1, "a view serves without it");
    world.calm();
}

/// A view of two takes a newcomer in, tells nobody but it, and loses its leader: the other one has promised the view,
/// and must not go on without the newcomer, nor from the view before.
pub fn told_one_alone() {
    let mut world = three();
    world.crash(2);
    let leader = world.serve().expect("two of three serve");
    let other = 1 - leader;
    world.start(2);
    world.dial(leader, 2);
    world.dial(other, 2);
    let newcomer = (world.hosts[2].disk.me, world.hosts[2].process.as_ref().expect("it was started").run);
    let is_installed = |world: &World, at: usize| {
        world.hosts[at].process.as_ref().is_some_and(|p| p.node.views().installed.names(newcomer.0, newcomer.1))
    };
    for _ in 0..500 {
        for at in 0..HOSTS {
            world.turn(at);
            world.store(at, usize::MAX);
            world.apply(at);
            for from in 0..HOSTS {
                // From the moment that the leader tells of it, the other hears nothing.
                if (at, from) != (other, leader) || !is_installed(&world, leader) {
                    world.deliver(at, from);
                }
            }
        }
        if is_installed(&world, 2) {
            break;
        }
    }
    world.settle_own(2);
    assert!(is_installed(&world, 2) && !is_installed(&world, other), "the newcomer alone was told");
    world.crash(leader);
    world.inbox[other][leader].retain(|item| !matches!(item, Item::Frame(_)));
    assert!(world.serve().is_some(), "the other and the newcomer go on together");
    world.calm();
}

#[test]
fn a_view_of_which_only_a_newcomer_was_told_is_gone_on_from() {
    told_one_alone();
}

/// One that has just started heard a warm leader, and not yet that this has gone on alone. It must not propose from what it
/// knows: a learner would be made to truncate what is committed.
pub fn news_come_late() {
    let mut world = three();
    // Who leads dies with another one; the third will lead, and the two learn.
    let learner = world.serve().expect("three serve");
    let others: Vec<usize> = (0..HOSTS).filter(|at| *at != learner).collect();
    let (late, leader) = (others[0], others[1]);
    world.crash(late);
    world.crash(learner);
    world.start(late);
    world.dial(leader, late);
    world.deliver(leader, late);
    world.turn(leader);
    for _ in 0..20 {
        world.settle_own(leader);
        world.settle_own(late);
        let knows = world.hosts[late].process.as_ref().is_some_and(|p| p.node.has_heard(world.hosts[leader].disk.me));
        if !knows {
            world.deliver(late, leader);
        }
        world.deliver(leader, late);
    }
    for (member, run) in world.dead.clone() {
        world.tell(leader, Input::Dead(member, run));
    }
    world.tell(leader, Input::Campaign);
    world.settle_own(leader);
    world.start(learner);
    world.dial(leader, learner);
    world.dial(late, learner);
    let before = world.oracle.committed.len();
    for _ in 0..100 {
        world.propose(leader);
        for at in 0..HOSTS {
            world.settle_own(at);
            for from in (0..HOSTS).filter(|from| (at, *from) != (late, leader)) {
                world.deliver(at, from);
            }
        }
        world.tell(late, Input::Campaign);
    }
    assert!(world.oracle.committed.len() > before, "the leader goes on alone");
    world.calm();
}

#[test]
fn who_has_just_started_proposes_nothing_beside_a_warm_member() {
    news_come_late();
}

/// How many of 1, 3, 5 and 7 may die, one after the other: all but one, whichever they are; and they come back.
fn all_but_one_of(size: usize) {
    for rotation in 0..size {
        for step in (1..=size).filter(|step| size == 1 || (1..size).all(|n| (n * step) % size != 0)) {
            let order: Vec<usize> = (0..size).map(|n| (rotation + n * step) % size).collect();
            let mut world = some(size);
            for (victim, last) in order.iter().zip(&order[1..]) {
                assert!(world.serve().is_some());
                world.crash(*victim);
                if last == order.last().expect("somebody is left") {
                    assert_eq!(world.serve(), Some(*last), "all others died, in the order {order:?}");
                }
            }
            world.calm();
        }
    }
}

#[test]
fn one_replica_serves_alone_and_again_after_each_crash() {
    all_but_one_of(1);
    let mut world = some(1);
    world.crash(0);
    world.calm();
}

#[test]
fn any_four_of_five_die_one_after_the_other_and_the_last_one_serves() {
    all_but_one_of(5);
}

#[test]
fn any_six_of_seven_die_one_after_the_other_and_the_last_one_serves() {
    all_but_one_of(7);
}
