//! A state that is no longer what was written is never shown, and derived again from the log.

use std::fs;

use plainsong::drill::{Cluster, ClusterOptions, Msg, wait_until};
use rusqlite::Connection;

use crate::harness::{PATIENCE, last_follower, start, together};
use crate::person::Person;

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
            ann.expect(&format!("5|ann|{text}"), "ok|sent|ann|*");
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
            ann.expect(&format!("5|ann|{text}"), "ok|sent|ann|*");
        }
        let leader = cluster.await_leader().expect("a leader");
        assert_eq!(mail_at(&cluster, leader), SENT);
        falsify(&cluster, leader);
        assert_eq!(mail_at(&cluster, leader), SENT, "{replicas} replicas");
        assert_eq!(states_set_aside(&cluster, leader), 1);
        cluster.await_whole().expect("it takes part again");
        assert_eq!(cluster.ended(leader).expect("our own child"), None, "in the same process");
        Person::back(&cluster, leader, "ann").0.expect("5|ann|the fourth", "ok|sent|ann|*");
    }
}
