//! Who counts as online when a replica hangs, dies or is back.

use std::time::Duration;

use plainsong::drill::{Cluster, wait_until};

use crate::harness::{PATIENCE, last_follower, three, together};
use crate::person::{Person, Presence};

/// Five missed heartbeats of 50 ms make a replica silent; the rest is for a busy machine. Links of a process that hangs
/// stand longer than this.
const SILENT: Duration = Duration::from_secs(2);

fn await_presence(sender: &mut Person, name: &str, presence: Presence, within: Duration) {
    wait_until("presence follows", within, || (sender.sends(name, "there?").0 == presence).then_some(()))
        .unwrap_or_else(|error| panic!("{name} is not {presence:?}: {error}"));
}

fn who(cluster: &Cluster, id: u16, name: &str) -> usize {
    Person::at(cluster, id).reply_to(&format!("10|^{name}$")).data.len()
}

/// Its links stand: a process that hangs keeps them. Its heartbeats do not come.
#[test]
fn sessions_of_a_replica_that_hangs_are_offline_until_it_goes_on() {
    let _turn = together();
    let mut cluster = three();
    let leader = cluster.await_leader().expect("a leader");
    let hangs = last_follower(&cluster, leader);
    let other = cluster.ids().into_iter().find(|&id| id != leader && id != hangs).expect("three replicas");
    let mut bob = Person::new(&cluster, hangs, "bob");
    let mut ann = Person::new(&cluster, leader, "ann");
    assert_eq!(ann.sends("bob", "hello").0, Presence::Online);
    cluster.pause(hangs).expect("it runs");
    await_presence(&mut ann, "bob", Presence::Offline, SILENT);
    wait_until("who follows", SILENT, || {
        (who(&cluster, leader, "bob") + who(&cluster, other, "bob") == 0).then_some(())
    })
    .expect("nobody names bob");
    cluster.resume(hangs).expect("it is paused");
    await_presence(&mut ann, "bob", Presence::Online, PATIENCE);
    wait_until("who follows", PATIENCE, || {
        (who(&cluster, leader, "bob") + who(&cluster, other, "bob") == 2).then_some(())
    })
    .expect("bob is named again");
    // Nothing was lost meanwhile, and bob did nothing for it.
    let mut ids = Vec::new();
    let (_, last) = ann.sends("bob", "the last");
    while ids.last() != Some(&last) {
        ids.push(bob.hears().id);
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "each once, in order: {ids:?}");
}

#[test]
fn sessions_of_a_leader_that_hangs_or_dies_are_offline_for_the_next_one() {
    let _turn = together();
    let mut cluster = three();
    let leader = cluster.await_leader().expect("a leader");
    let other = last_follower(&cluster, leader);
    let mut bob = Person::new(&cluster, leader, "bob");
    let mut ann = Person::new(&cluster, other, "ann");
    assert_eq!(ann.sends("bob", "hello").0, Presence::Online);
    cluster.pause(leader).expect("it runs");
    // Refused or unknown while nobody leads; then another does, and misses the heartbeats of the one before.
    wait_until("bob counts as offline", PATIENCE, || ann.asks("5|bob|there?").starts_with("ok|queued|").then_some(()))
        .expect("a majority serves");
    cluster.resume(leader).expect("it is paused");
    await_presence(&mut ann, "bob", Presence::Online, PATIENCE);
    bob.expect("12|", "ok|ping|");
    cluster.kill(leader).expect("it runs");
    wait_until("bob counts as offline", PATIENCE, || ann.asks("5|bob|there?").starts_with("ok|queued|").then_some(()))
        .expect("a majority serves");
}
