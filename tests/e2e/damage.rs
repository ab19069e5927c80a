//! A state that is no longer what was written is never shown, and derived again from the log.

use std::fs;

use plainsong::consensus::ReplicaId;
use plainsong::drill::{Cluster, ClusterOptions, Msg, wait_until};
use plainsong::machine::{MachineStorage, audit};
use rusqlite::Connection;

use crate::harness::{PATIENCE, last_follower, start, together};
use crate::person::Person;

/// The name that drills give their cluster.
const CLUSTER: &str = "drill";
const SENT: [&str; 3] = ["the first", "the second", "the third"];

/// Changes one letter of a stored text behind a stopped replica's back.
fn falsify(cluster: &Cluster, id: u16) {
    let conn = Connection::open(cluster.data_dir(id).join("state.db")).expect("a stopped replica's file");
    let changed = conn.execute("UPDATE messages SET text = 'the secone' WHERE text = 'the second'", []);
    assert_eq!(changed.expect("it is written"), 1);
}

/// All mail of ann's, as soon as the replica answers; whatever it answers before is no mail.
fn mail_at(cluster: &Cluster, id: u16) -> Vec<String> {
    let mail = wait_until("the replica shows mail", PATIENCE, || {
        let mut person = Person::over(cluster.connect(id, PATIENCE).ok()?);
        // Manual mode: what is read here is not marked, and can be read again.
        person.client().request("9|0").ok()?;
        let entered = person.client().request("2|ann").ok()?;
        if !entered.last.starts_with("ok|login|ann|") {
            return None;
        }
        let reply = person.client().request("6|").ok()?;
        reply.last.starts_with("ok|").then(|| reply.messages().expect("messages"))
    });
    mail.expect("it serves").into_iter().map(|message: Msg| message.text).collect()
}

fn states_set_aside(cluster: &Cluster, id: u16) -> usize {
    let files = fs::read_dir(cluster.data_dir(id)).expect("it has a directory").flatten();
    files.filter(|file| file.file_name().to_string_lossy().ends_with("-damaged")).count()
}

/// 1. A bit of a text flips in a follower's state. 2. It starts, and shows the text to its reader as if it had been sent.
#[test]
fn a_flipped_bit_in_the_state_is_never_shown_and_heals_by_itself() {
    let _turn = together();
    for (replicas, stops_leader) in [(3, false), (3, true), (1, true)] {
        let mut cluster = start(&ClusterOptions { replicas, ..ClusterOptions::default() });
        let mut ann = Person::new(&cluster, 1, "ann");
        ann.expect("9|0", "ok|ack|0");
        for text in SENT {
            ann.expect(&format!("5|ann|{text}"), "ok|*|ann|*");
        }
        let leader = cluster.await_leader().expect("a leader");
        let victim = if stops_leader { leader } else { last_follower(&cluster, leader) };
        // It has applied everything before it stops.
        assert_eq!(mail_at(&cluster, victim), SENT);
        cluster.terminate(victim).expect("it ran");
        falsify(&cluster, victim);
        cluster.restart(victim).expect("it starts");
        assert_eq!(mail_at(&cluster, victim), SENT, "{replicas} replicas, the leader stopped: {stops_leader}");
        assert_eq!(states_set_aside(&cluster, victim), 1);
        cluster.await_whole().expect("it takes part again");
        assert_eq!(mail_at(&cluster, victim), SENT);
    }
}

/// A bit flips while the replica serves, in what it has not read yet; then it reads it. In the same process it derives its
/// state again; when it leads, another one leads meanwhile.
#[test]
fn a_state_that_is_damaged_while_it_serves_heals_in_the_same_process() {
    let _turn = together();
    for replicas in [3, 1] {
        let mut cluster = start(&ClusterOptions { replicas, ..ClusterOptions::default() });
        let mut ann = Person::new(&cluster, 1, "ann");
        ann.expect("9|0", "ok|ack|0");
        for text in SENT {
            ann.expect(&format!("5|ann|{text}"), "ok|*|ann|*");
        }
        let leader = cluster.await_leader().expect("a leader");
        assert_eq!(mail_at(&cluster, leader), SENT);
        falsify(&cluster, leader);
        assert_eq!(mail_at(&cluster, leader), SENT, "{replicas} replicas");
        assert_eq!(states_set_aside(&cluster, leader), 1);
        cluster.await_whole().expect("it takes part again");
        assert_eq!(cluster.ended(leader).expect("our own child"), None, "in the same process");
        Person::back(&cluster, leader, "ann").0.expect("5|ann|the fourth", "ok|*|ann|*");
    }
}

/// Gives a stopped replica another history than it had: a digest that nobody else has, with every checksum right.
fn diverge(cluster: &Cluster, id: u16) {
    let mut opened = plainsong::storage::open(&cluster.data_dir(id), ReplicaId(id), CLUSTER).expect("its files");
    let state = &mut opened.state;
    state.begin().expect("a transaction");
    let (applied, digest) = (state.applied(), state.digest());
    state.advance(applied, !digest);
    state.commit().expect("it is written");
}

/// 1. A replica's state comes out otherwise than the others': a bug, or memory that lies.
/// 2. Every row of it is as it was written: no checksum tells.
/// 3. It goes on showing what the others do not have.
#[test]
fn a_state_that_a_majority_does_not_share_is_given_up_and_derived_again() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 3, ..ClusterOptions::default() });
    let leader = cluster.await_leader().expect("a leader");
    let victim = last_follower(&cluster, leader);
    cluster.terminate(victim).expect("it ran");
    diverge(&cluster, victim);
    cluster.restart(victim).expect("it starts");
    cluster.await_whole().expect("it takes part");
    let mut ann = Person::new(&cluster, leader, "ann");
    ann.expect("9|0", "ok|ack|0");
    // Until all have passed a checkpoint.
    let sent: Vec<String> = (0..audit::EVERY).map(|n| format!("message {n}")).collect();
    sent.iter().for_each(|text| ann.expect(&format!("5|ann|{text}"), "ok|*|ann|*"));
    let found =
        wait_until("the divergence is found", PATIENCE, || (states_set_aside(&cluster, victim) == 1).then_some(()));
    found.expect("it is compared with the others");
    cluster.await_whole().expect("it takes part again");
    assert_eq!(mail_at(&cluster, victim), sent);
    assert_eq!(states_set_aside(&cluster, leader), 0, "the majority keeps its own");
}
