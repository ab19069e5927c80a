//! Leaders die: nothing is lost, doubled or reordered, and it does not take long.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use plainsong::drill::Cluster;
use plainsong::drill::judge::longest_gap;

use crate::harness::{alone, binary, five, last_follower, together, writer};
use crate::load::{CarefulReader, Flag, Load, Written};
use crate::person::Person;

/// Leaders killed under load.
const KILLS_UNDER_LOAD: usize = 10;
/// Leaders killed by the clock.
const KILLS_TIMED: usize = 20;
/// What a client at a follower may notice of a failover.
const GAP_MEDIAN_MAX: Duration = Duration::from_millis(100);
const GAP_WORST_MAX: Duration = Duration::from_millis(500);
/// A leader that is asked to end hands over: no timeout has to pass.
const GAP_HANDOVER_MAX: Duration = Duration::from_millis(250);
/// Acknowledgements before and after a kill that make a round.
const STEADY: usize = 20;

#[test]
fn ten_leaders_in_a_row_die_under_load_and_nothing_is_lost_doubled_or_reordered() {
    let _turn = together();
    let mut cluster = five();
    let names = ["w1", "w2", "w3"];
    let mut founder = Person::new(&cluster, 1, "reader");
    names.iter().for_each(|name| founder.expect(&format!("1|{name}"), &format!("ok|create|{name}")));
    // Gone, so that all mail is the careful reader's.
    drop(founder);
    let all: Vec<SocketAddr> = cluster.ids().into_iter().map(|id| cluster.address(id)).collect();
    let (load, done) = (Load::default(), Flag::default());
    let (written, read) = thread::scope(|scope| {
        let (load, done) = (&load, &done);
        // Each begins elsewhere and goes round when its replica dies.
        let routes = [[5, 4, 3, 2, 1], [4, 3, 2, 1, 5], [3, 2, 1, 5, 4]];
        let writers = names.iter().zip(routes).map(|(name, route)| {
            let writer = writer(&cluster, name, "reader", &route);
            scope.spawn(move || load.write(name, writer))
        });
        let writers: Vec<_> = writers.collect();
        let reader = scope.spawn(move || CarefulReader::new("reader", all).read_until(done));
        let written: Vec<Written> = done.raise_after(|| {
            load.ended.raise_after(|| kill_leaders(&mut cluster, load));
            writers.into_iter().map(|writer| writer.join().expect("writers get through")).collect()
        });
        (written, reader.join().expect("the reader sees no breach of the protocol"))
    });
    written.iter().for_each(|written| written.assert_kept(&read));
    assert_eq!(read.len(), written.iter().map(|w| w.texts.len()).sum::<usize>(), "nothing that nobody sent");
}

fn kill_leaders(cluster: &mut Cluster, load: &Load) {
    for _ in 0..KILLS_UNDER_LOAD {
        load.await_acks(STEADY);
        let leader = cluster.await_leader().expect("the running replicas elect a leader");
        cluster.kill(leader).expect("it ran");
        load.await_acks(STEADY);
        cluster.restart(leader).expect("the victim comes back");
    }
}

/// Runs a writer at a follower around `harm`, which ends the leader; returns the old leader and the longest gap
/// between two acknowledgements after the harm began.
fn gap_around(cluster: &mut Cluster, round: usize, harm: impl FnOnce(&mut Cluster, u16)) -> (u16, Duration) {
    let leader = cluster.await_leader().expect("a leader");
    let writer = writer(cluster, "writer", "reader", &[last_follower(cluster, leader)]);
    let load = Load::default();
    let (began, written) = thread::scope(|scope| {
        let writing = scope.spawn(|| load.write(&format!("round{round}"), writer));
        let began = load.ended.raise_after(|| {
            load.await_acks(STEADY);
            let began = Instant::now();
            harm(cluster, leader);
            load.await_acks(STEADY);
            began
        });
        (began, writing.join().expect("the writer gets through"))
    });
    let gap = longest_gap(&written.times, began, Instant::now()).expect("acknowledgements came after");
    (leader, gap)
}

fn create_writer_and_reader(cluster: &Cluster) {
    let mut founder = Person::new(cluster, 1, "reader");
    founder.expect("1|writer", "ok|create|writer");
}

#[test]
fn a_failover_is_short_at_a_client_on_a_follower() {
    let _turn = alone();
    let mut cluster = five();
    create_writer_and_reader(&cluster);
    let mut gaps = Vec::with_capacity(KILLS_TIMED);
    for round in 0..KILLS_TIMED {
        let kill = |cluster: &mut Cluster, leader| cluster.kill(leader).expect("it ran");
        let (victim, gap) = gap_around(&mut cluster, round, kill);
        gaps.push(gap);
        cluster.restart(victim).expect("the victim comes back");
        cluster.await_whole().expect("the victim takes part again");
    }
    gaps.sort_unstable();
    let (median, worst) = (gaps[KILLS_TIMED / 2], gaps[KILLS_TIMED - 1]);
    println!("failover by kill -9, {KILLS_TIMED} times: median {median:?}, worst {worst:?}, all {gaps:?}");
    assert!(median <= GAP_MEDIAN_MAX, "median {median:?} of {gaps:?}");
    assert!(worst <= GAP_WORST_MAX, "worst {worst:?} of {gaps:?}");
}

#[test]
fn a_leader_that_is_asked_to_end_hands_over_says_goodbye_and_exits_with_zero() {
    let _turn = alone();
    let mut cluster = five();
    create_writer_and_reader(&cluster);
    let leader = cluster.await_leader().expect("a leader");
    let mut guest = Person::at(&cluster, leader);
    let end = |cluster: &mut Cluster, leader| {
        let status = cluster.terminate(leader).expect("SIGTERM ends it");
        assert_eq!(status.code(), Some(0), "{status}");
    };
    let (_, gap) = gap_around(&mut cluster, 0, end);
    println!("failover by SIGTERM: {gap:?}");
    assert!(gap <= GAP_HANDOVER_MAX, "{gap:?}");
    let lines = guest.sees_the_end();
    assert!(lines.last().is_some_and(|line| line.starts_with("bye|DRAINING|")), "{lines:?}");
}

#[test]
fn the_drill_kill_leader_passes_and_says_so_in_one_line() {
    let _turn = together();
    let drill = Command::new(binary()).args(["drill", "kill_leader", "--messages", "60"]).output();
    let drill = drill.expect("the binary runs");
    let told = String::from_utf8(drill.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&drill.stderr);
    let expected = "drill|kill_leader|pass|sent=60|acked=60|lost=0|doubled=0|reordered=0|gap_ms=";
    assert!(told.starts_with(expected) && told.lines().count() == 1, "{told}{errors}");
    assert!(drill.status.success());
}
