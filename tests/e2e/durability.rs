//! `ok` is not said before a majority has it.

use std::time::Duration;

use plainsong::drill::{read_mailbox, wait_until};

use crate::harness::{PATIENCE, five, together};
use crate::person::Person;

/// So long nothing may be acknowledged while a majority hangs; a healthy cluster answers in a few milliseconds.
const SILENCE: Duration = Duration::from_millis(700);

#[test]
fn nothing_is_acknowledged_while_a_majority_hangs_and_it_is_once_they_go_on() {
    let _turn = together();
    let mut cluster = five();
    Person::new(&cluster, 1, "reader").expect("3", "ok|logout|reader");
    Person::new(&cluster, 1, "writer").expect("3", "ok|logout|writer");
    let leader = cluster.await_leader().expect("a leader");
    let (mut at_leader, _) = Person::back(&cluster, leader, "writer");
    let hung: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).take(3).collect();
    hung.iter().for_each(|&id| cluster.pause(id).expect("it ran"));
    at_leader.client().send("@k|5|reader|only with a majority").expect("the connection is there");
    // It may be refused in the meantime, as UNKNOWN. It may not be ok.
    let early = at_leader.answer_within(SILENCE);
    assert!(early.as_ref().is_none_or(|answer| answer.starts_with("@k|retry|")), "{early:?}");
    hung.iter().for_each(|&id| cluster.resume(id).expect("it was paused"));
    let mut answer = early.or_else(|| at_leader.answer_within(PATIENCE)).expect("every request is answered");
    wait_until("the message is acknowledged", PATIENCE, || {
        if answer.starts_with("@k|retry|") {
            answer = at_leader.asks("@k|5|reader|only with a majority");
        }
        answer.starts_with("@k|ok|").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {answer}"));
    for id in cluster.ids() {
        let read = read_mailbox(cluster.address(id), "reader").expect("the replica serves");
        assert_eq!(read.len(), 1, "at replica {id}: {read:?}");
    }
}

#[test]
fn one_answer_less_than_a_majority_is_not_enough_and_one_more_is() {
    let _turn = together();
    let mut cluster = five();
    let mut person = Person::new(&cluster, 1, "ann");
    let leader = cluster.await_leader().expect("a leader");
    person.expect("3", "ok|logout|ann");
    let (mut person, _) = Person::back(&cluster, leader, "ann");
    let followers: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
    for &id in &followers[..2] {
        cluster.pause(id).expect("it ran");
    }
    person.expect("5|ann|three of five", "ok|*|ann|*");
    cluster.pause(followers[2]).expect("it ran");
    person.client().send("@k|5|ann|two of five").expect("the connection is there");
    let early = person.answer_within(SILENCE);
    assert!(early.as_ref().is_none_or(|answer| answer.starts_with("@k|retry|")), "{early:?}");
    assert!(person.client().pushes_so_far().iter().all(|push| push.text == "three of five"), "nor is it pushed");
}
