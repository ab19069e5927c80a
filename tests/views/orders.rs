//! Told step by step, not drawn: every order of two deaths, every order of return, and silence, which is no death.

use plainsong::consensus::Input;

use super::world::{HOSTS, World};

const ORDERS: [[usize; HOSTS]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Three that serve together.
fn three() -> World {
    let mut world = World::new(7, false);
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
