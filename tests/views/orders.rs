//! Told step by step, not drawn: every order of two deaths, every order of return, and silence, which is no death.

use plainsong::consensus::{Frame, Input};

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

/// Everything that one has said to another arrives.
fn hear(world: &mut World, to: usize, from: usize) {
    while !world.inbox[to][from].is_empty() {
        world.deliver(to, from);
    }
}

/// Two deliver everything to each other, and do what is to be done.
fn talk(world: &mut World, one: usize, other: usize) {
    for _ in 0..20 {
        for (to, from) in [(one, other), (other, one)] {
            hear(world, to, from);
            world.settle_own(to);
        }
    }
}

/// What is to be known of it is said: that its former members are dead.
fn goes_on_alone(world: &mut World, at: usize) {
    for (member, run) in world.dead.clone() {
        world.tell(at, Input::Dead(member, run));
    }
    world.tell(at, Input::Campaign);
    world.settle_own(at);
    let before = world.oracle.committed.len();
    for _ in 0..3 {
        world.propose(at);
        world.settle_own(at);
    }
    assert!(world.oracle.committed.len() > before, "it serves alone");
}

/// One that has just started heard somebody who serves, or is about to, and never what became of that. It must not propose
/// from what it knows: the third, which learns, would be made to truncate what is committed.
///   1. 1 leads, and dies with 3, which alone holds an entry of its; 2 goes on alone.
///   2. 3 starts, and heard of 2 that it is warm, before it went on; or, after a restart, that it knows a newer view.
///   3. 1 starts, and learns from 2. 3 proposes a view of all, with a higher id; 1 accepts, and is sent 3's log.
pub fn news_come_late(restarts: bool) {
    let mut world = three();
    let learner = world.serve().expect("three serve");
    let others: Vec<usize> = (0..HOSTS).filter(|at| *at != learner).collect();
    let (leader, late) = (others[0], others[1]);
    world.propose(learner);
    world.turn(learner);
    world.inbox[leader][learner].retain(|item| !matches!(item, Item::Frame(_)));
    hear(&mut world, late, learner);
    world.settle_own(late);
    world.crash(late);
    if let Some(process) = &mut world.hosts[learner].process {
        process.storing.clear();
    }
    world.crash(learner);
    if restarts {
        goes_on_alone(&mut world, leader);
        world.crash(leader);
        world.start(leader);
    }
    world.start(late);
    world.dial(leader, late);
    hear(&mut world, leader, late);
    world.turn(leader);
    let heard = |world: &World, who: usize| {
        world.hosts[late].process.as_ref().is_some_and(|p| p.node.has_heard(world.hosts[who].disk.me))
    };
    hear(&mut world, late, leader);
    assert!(heard(&world, leader), "it has heard who leads later");
    goes_on_alone(&mut world, leader);
    world.start(learner);
    world.dial(leader, learner);
    for _ in 0..4 {
        // What it has learnt it does not say, or it would be a member.
        let is_ack = |item: &Item| matches!(item, Item::Frame(Frame::AppendOk { .. }));
        world.inbox[leader][learner].retain(|item| !is_ack(item));
        hear(&mut world, leader, learner);
        world.settle_own(leader);
        hear(&mut world, learner, leader);
        world.settle_own(learner);
    }
    let of = |world: &World, at: usize| world.hosts[at].process.as_ref().map(|p| (p.node.commit(), p.node.last()));
    let (learnt, held) = (of(&world, learner).map(|(commit, _)| commit), of(&world, late).map(|(_, last)| last));
    assert!(learnt >= held && held.is_some(), "{learnt:?}: it has learnt what contradicts the late one's entry");
    world.dial(late, learner);
    talk(&mut world, late, learner);
    assert!(heard(&world, learner), "it has heard everybody");
    world.tell(late, Input::Campaign);
    talk(&mut world, late, learner);
    world.calm();
}

#[test]
fn who_has_just_started_proposes_nothing_beside_a_warm_member() {
    news_come_late(false);
}

#[test]
fn who_has_just_started_proposes_nothing_beside_one_who_knows_a_newer_view() {
    news_come_late(true);
}

/// A proof of a death may be wrong: a firewall rejects. The others go on without the one that they take for dead; what it
/// is asked it does not answer, because none of them does; and when it is heard again, it comes back.
pub fn wrongly_proven() {
    let mut world = three();
    world.oracle.proofs_are_true = false;
    let wronged = world.serve().expect("three serve");
    let others: Vec<usize> = (0..HOSTS).filter(|at| *at != wronged).collect();
    let (member, run) = (world.hosts[wronged].disk.me, world.hosts[wronged].process.as_ref().expect("it runs").run);
    for &other in &others {
        world.cut(wronged, other);
        world.tell(other, Input::Dead(member, run));
    }
    let before = world.oracle.committed.len();
    for _ in 0..5 {
        world.tell(others[0], Input::Campaign);
        world.propose(others[0]);
        talk(&mut world, others[0], others[1]);
    }
    assert!(world.oracle.committed.len() > before, "the others go on");
    let reads = world.counts.reads;
    world.read(wronged);
    for _ in 0..20 {
        world.tell(wronged, Input::PulseDue);
        world.settle_own(wronged);
    }
    assert_eq!(world.counts.reads, reads, "a read from before what the others acknowledged");
    world.calm();
}

#[test]
fn who_is_wrongly_taken_for_dead_answers_no_read_and_comes_back() {
    wrongly_proven();
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

/// As of three, in some orders: each of them fails last once, and comes back last, or first.
#[test]
fn after_a_total_stop_of_five_or_seven_nobody_serves_before_the_last_to_fail_is_back() {
    for (size, last) in [5, 7].into_iter().flat_map(|size| (0..size).map(move |last| (size, last))) {
        let order: Vec<usize> = (1..=size).map(|n| (last + n) % size).collect();
        for back in [order.clone(), order.iter().rev().copied().collect()] {
            let mut world = some(size);
            for victim in &order {
                assert!(world.serve().is_some());
                world.crash(*victim);
            }
            for (n, host) in back.iter().enumerate() {
                world.start(*host);
                let serves = back[..=n].contains(&last);
                assert_eq!(world.serve().is_some(), serves, "{last} died last, {:?} are back", &back[..=n]);
            }
            world.calm();
        }
    }
}
