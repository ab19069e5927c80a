//! More than one replica is gone: who serves, who refuses and how, and what is there afterwards.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use plainsong::drill::judge::judge;
use plainsong::drill::{Cluster, KeyedWriter, read_mailbox, wait_until};

use crate::harness::{REQUEST_TIMEOUT, SLACK, five, last_follower, together, writer};
use crate::load::{ACK_WAIT, Load};
use crate::person::{Person, matches};

/// "At once", on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(300);

/// One writer, one reader, and everything that was acknowledged so far.
struct Story {
    acknowledged: Vec<String>,
}

impl Story {
    fn begin(cluster: &Cluster) -> Self {
        let mut founder = Person::new(cluster, 1, "reader");
        founder.expect("1|writer", "ok|create|writer");
        Self { acknowledged: Vec::new() }
    }

    /// So many more, through these replicas.
    fn goes_on(&mut self, cluster: &Cluster, through: &[u16], count: usize) {
        let mut writer: KeyedWriter = writer(cluster, "writer", "reader", through);
        for _ in 0..count {
            let n = self.acknowledged.len();
            let text = format!("message {n}");
            writer.send(&format!("k{n}"), &text, ACK_WAIT).expect("a majority serves");
            self.acknowledged.push(text);
        }
    }

    /// Read at this replica, all of it is there, once and in order.
    fn is_whole_at(&self, cluster: &Cluster, id: u16) {
        let read = read_mailbox(cluster.address(id), "reader").expect("the replica serves");
        let read: Vec<String> = read.into_iter().map(|message| message.text).collect();
        let verdict = judge(&self.acknowledged, &self.acknowledged, &read);
        assert!(verdict.passes(), "at replica {id}: {verdict:?}");
    }

    fn is_whole_everywhere(&self, cluster: &Cluster) {
        cluster.running().into_iter().for_each(|id| self.is_whole_at(cluster, id));
    }
}

#[test]
fn all_five_die_at_once_under_load_and_everything_acknowledged_is_there_in_any_order_of_return() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    story.goes_on(&cluster, &[3], 1);
    let first = Person::back(&cluster, 2, "writer").0.asks("@k0|5|reader|message 0");
    let load = Load::default();
    let writer = writer(&cluster, "writer", "reader", &[2, 5, 1, 4, 3]);
    let written = thread::scope(|scope| {
        let writing = scope.spawn(|| load.write("load", writer));
        load.ended.raise_after(|| {
            for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 5, 1, 4, 2]] {
                load.await_acks(20);
                cluster.kill_all(&cluster.ids()).expect("all were running");
                order.iter().for_each(|&id| cluster.restart(id).expect("it comes back"));
                let mut keyed = Person::back(&cluster, order[0], "writer").0;
                assert_eq!(keyed.asks("@k0|5|reader|message 0"), first, "a key survives restarts");
            }
            load.await_acks(20);
        });
        writing.join().expect("the writer gets through")
    });
    story.acknowledged.extend(written.texts);
    story.is_whole_everywhere(&cluster);
}

#[test]
fn any_three_of_five_serve() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    for first in 1..=5 {
        for second in first + 1..=5 {
            cluster.kill_all(&[first, second]).expect("both were running");
            let survivors = cluster.running();
            story.goes_on(&cluster, &survivors, 3);
            story.is_whole_at(&cluster, survivors[2]);
            cluster.restart(first).expect("it comes back");
            cluster.restart(second).expect("it comes back");
        }
    }
    story.is_whole_everywhere(&cluster);
}

#[test]
fn two_of_five_refuse_in_time_and_serve_again_by_themselves_with_a_third() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    story.goes_on(&cluster, &[1], 5);
    let leader = cluster.await_leader().expect("a leader");
    let survivors: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).take(2).collect();
    let mut people: Vec<Person> = survivors.iter().map(|&id| Person::back(&cluster, id, "writer").0).collect();
    let victims: Vec<u16> = cluster.ids().into_iter().filter(|id| !survivors.contains(id)).collect();
    cluster.kill_all(&victims).expect("all were running");
    let lost = Instant::now();
    for person in &mut people {
        // Held while an election could still come, then refused: proposed or not, it must not take longer.
        let answer = timed(person, "@late|5|reader|late", REQUEST_TIMEOUT + SLACK);
        assert!(matches("@late|retry|*", &answer), "{answer}");
        let note = person.client().note().expect("the session is told");
        assert!(matches("note|NO_QUORUM|*", &note), "{note}");
    }
    let out_of_contact = REQUEST_TIMEOUT + SLACK;
    wait_until("contact has been lost for longer", out_of_contact, || (lost.elapsed() > out_of_contact).then_some(()))
        .expect("time passes");
    for person in &mut people {
        for request in ["5|reader|x", "0|", "1|somebody", "2|reader", "6", "4"] {
            let answer = timed(person, request, AT_ONCE);
            assert!(matches("retry|NO_QUORUM|*", &answer), "{request:?}: {answer:?}");
        }
        // What is local goes on.
        person.expect("12|x", "ok|ping|x");
        person.expect("11", "ok|status|*|0|*");
    }
    cluster.restart(victims[2]).expect("a third comes back");
    for person in &mut people {
        let note = person.client().note().expect("the session is told");
        assert!(matches("note|QUORUM_BACK|*", &note), "{note}");
        person.expect("12|x", "ok|ping|x");
    }
    story.goes_on(&cluster, &survivors, 5);
    let (mut late, _) = Person::back(&cluster, survivors[0], "writer");
    late.expect("@late|5|reader|late", "@late|ok|*|reader|*");
    for id in cluster.running() {
        let read = read_mailbox(cluster.address(id), "reader").expect("the replica serves");
        assert_eq!(read.iter().filter(|message| message.text == "late").count(), 1, "once, under its key");
    }
}

fn timed(person: &mut Person, request: &str, limit: Duration) -> String {
    let began = Instant::now();
    let answer = person.asks(request);
    assert!(began.elapsed() <= limit, "{request:?} took {:?}: {answer:?}", began.elapsed());
    answer
}

#[test]
fn a_wiped_replica_does_not_vote_from_nothing_and_comes_back_as_a_learner() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    story.goes_on(&cluster, &[1], 20);
    let leader = cluster.await_leader().expect("a leader");
    let others: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
    let wiped = others[3];
    // The leader, another and the wiped one die: with a vote from nothing, three of five would elect a leader.
    cluster.kill_all(&[leader, others[2], wiped]).expect("all were running");
    fs::remove_dir_all(cluster.data_dir(wiped)).expect("it had a directory");
    cluster.restart(wiped).expect("it starts blank");
    for id in [others[0], wiped] {
        let mut person = Person::at(&cluster, id);
        let answer = person.asks("1|from-nothing");
        assert!(answer.starts_with("retry|"), "two voters and a blank one are no majority: {answer}");
        assert_eq!(cluster.status(id).expect("status is local").leader, None);
    }
    cluster.restart(leader).expect("it comes back");
    story.goes_on(&cluster, &[others[0]], 20);
    cluster.restart(others[2]).expect("it comes back");
    cluster.await_whole().expect("the wiped one votes again in the end");
    story.is_whole_everywhere(&cluster);
    // It counts: with two others gone, it is one of the three.
    cluster.kill_all(&[others[0], others[1]]).expect("both were running");
    story.goes_on(&cluster, &[wiped], 5);
    story.is_whole_at(&cluster, wiped);
}

#[test]
fn a_restored_old_copy_of_a_disk_breaks_nothing_that_was_acknowledged() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    story.goes_on(&cluster, &[1], 10);
    let leader = cluster.await_leader().expect("a leader");
    let restored = last_follower(&cluster, leader);
    assert_eq!(cluster.terminate(restored).expect("it ends").code(), Some(0));
    let copy = cluster.dir().join("old-copy");
    copy_dir(&cluster.data_dir(restored), &copy);
    cluster.restart(restored).expect("it comes back");
    cluster.await_whole().expect("it catches up");
    story.goes_on(&cluster, &[restored], 20);
    cluster.kill(restored).expect("it ran");
    fs::remove_dir_all(cluster.data_dir(restored)).expect("it had a directory");
    copy_dir(&copy, &cluster.data_dir(restored));
    cluster.spawn(restored).expect("the binary runs");
    story.goes_on(&cluster, &[leader], 5);
    // Whatever becomes of the copy: without the leader three are left that hold everything.
    let leader = cluster.await_leader().expect("a leader");
    cluster.kill(leader).expect("it ran");
    let rest: Vec<u16> = cluster.running().into_iter().filter(|&id| id != restored).collect();
    story.goes_on(&cluster, &rest, 5);
    rest.iter().for_each(|&id| story.is_whole_at(&cluster, id));
    cluster.restart(leader).expect("it comes back");
    cluster.await_whole().expect("the copy counts as wiped, and is let in again");
    story.is_whole_everywhere(&cluster);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a fresh directory");
    for entry in fs::read_dir(from).expect("a data directory") {
        let entry = entry.expect("a data directory is small");
        assert!(entry.file_type().expect("a type").is_file(), "a data directory holds files only: {entry:?}");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn a_minority_that_hangs_is_no_reason_to_stop() {
    let _turn = together();
    let mut cluster = five();
    let mut story = Story::begin(&cluster);
    story.goes_on(&cluster, &[1], 5);
    let leader = cluster.await_leader().expect("a leader");
    let hung: Vec<u16> = vec![leader, last_follower(&cluster, leader)];
    hung.iter().for_each(|&id| cluster.pause(id).expect("it ran"));
    let rest = cluster.running();
    story.goes_on(&cluster, &rest, 10);
    rest.iter().for_each(|&id| story.is_whole_at(&cluster, id));
    hung.iter().for_each(|&id| cluster.resume(id).expect("it was paused"));
    cluster.await_whole().expect("they take part again");
    story.is_whole_everywhere(&cluster);
    let mut person = Person::back(&cluster, leader, "writer").0;
    // Whether the reader counts as online still, is a matter of when its last end was told to this replica.
    person.sends("reader", "through the old leader");
}
