//! Keys to the end of what is promised of them: two connections at once, the newest 1,024, and what is left of them
//! after a copy of the state and a restart of all.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

use plainsong::drill::{Cluster, ClusterOptions, read_mailbox, wait_until};

use crate::harness::{PATIENCE, five, last_follower, shared, start, together, writer};
use crate::person::Person;

/// As shipped, and as the page of the protocol says.
const KEYS_REMEMBERED: usize = 1024;
/// Keys that two connections race for.
const RACES: usize = 120;
/// After so many, the leader dies.
const RACES_BEFORE_KILL: usize = 40;

/// Two connections at different replicas send the same line under the same key at the same moment, again and again; in
/// the middle the leader dies. Each is answered, both are told the same id, and the mailbox holds one of each.
#[test]
fn two_connections_race_with_one_key_while_the_leader_dies() {
    let _turn = together();
    let mut cluster = five();
    let leader = cluster.await_leader().expect("a leader");
    Person::new(&cluster, leader, "bob").expect("3", "ok|logout|bob");
    Person::new(&cluster, leader, "ann").expect("3", "ok|logout|ann");
    let others: Vec<u16> = cluster.ids().into_iter().filter(|&id| id != leader).collect();
    // One begins at the leader itself.
    let routes = [[leader, others[0], others[1]], [others[2], others[1], others[0]]];
    let race = Barrier::new(routes.len());
    let at_kill = Barrier::new(routes.len() + 1);
    let ids = thread::scope(|scope| {
        let runners = routes.map(|route| {
            let (mut runner, race, at_kill) = (writer(&cluster, "ann", "bob", &route), &race, &at_kill);
            scope.spawn(move || {
                let mut ids = Vec::new();
                for n in 0..RACES {
                    // Also after a failure, so that nobody waits for ever.
                    race.wait();
                    if n == RACES_BEFORE_KILL {
                        at_kill.wait();
                    }
                    if ids.len() == n {
                        ids.extend(runner.send(&format!("race{n}"), &format!("text {n}"), PATIENCE));
                    }
                }
                ids
            })
        });
        at_kill.wait();
        cluster.kill(leader).expect("it ran");
        runners.map(|runner| runner.join().expect("a runner does not panic"))
    });
    assert_eq!(ids[0].len(), RACES, "every message is acknowledged");
    assert_eq!(ids[0], ids[1], "one key, one message");
    let mail = read_mailbox(cluster.address(others[0]), "bob").expect("it is served");
    let shown: Vec<(u64, String)> = mail.into_iter().map(|message| (message.id, message.text)).collect();
    let sent: Vec<(u64, String)> = ids[0].iter().copied().zip((0..RACES).map(|n| format!("text {n}"))).collect();
    assert_eq!(shown, sent);
}

/// Sends so many under keys of their own, and takes their answers.
fn use_keys(person: &mut Person, to: &str, keys: impl Iterator<Item = usize>) -> Vec<String> {
    let keys: Vec<usize> = keys.collect();
    let mut answers = Vec::new();
    for some in keys.chunks(256) {
        some.iter().for_each(|n| person.client().send(&format!("@k{n}|5|{to}|text {n}")).expect("it is sent"));
        answers.extend(some.iter().map(|_| person.client().reply().expect("an answer").last));
    }
    answers
}

#[test]
fn the_newest_1024_keys_of_an_account_are_remembered_and_no_more() {
    let cluster = shared();
    Person::new(&cluster, 1, "bound-bob").expect("3", "ok|logout|bound-bob");
    let mut ann = Person::new(&cluster, 2, "bound-ann");
    let first = use_keys(&mut ann, "bound-bob", 0..KEYS_REMEMBERED);
    let (mut elsewhere, _) = Person::back(&cluster, 3, "bound-ann");
    assert_eq!(use_keys(&mut elsewhere, "bound-bob", 0..KEYS_REMEMBERED), first, "all are remembered");
    // What has no key, and the keys of others, push none out.
    elsewhere.expect("5|bound-bob|without a key", "ok|*|bound-bob|*");
    use_keys(&mut Person::new(&cluster, 3, "bound-eve"), "bound-bob", 0..10);
    assert_eq!(use_keys(&mut ann, "bound-bob", 0..1), first[..1]);
    // One more, and the oldest is forgotten, however lately it was asked for.
    let newest = use_keys(&mut ann, "bound-bob", KEYS_REMEMBERED..=KEYS_REMEMBERED);
    assert_eq!(use_keys(&mut ann, "bound-bob", KEYS_REMEMBERED..=KEYS_REMEMBERED), newest);
    assert_eq!(use_keys(&mut ann, "bound-bob", 1..2), first[1..2], "the second is still there");
    let again = use_keys(&mut ann, "bound-bob", 0..1);
    assert!(again[0].starts_with("ok|") && again[0] != first[0], "{again:?}");
    let ids: HashSet<&String> = first.iter().chain(&newest).chain(&again).collect();
    assert_eq!(ids.len(), KEYS_REMEMBERED + 2);
}

/// 1. A key is used, and the log is cut behind it. 2. A replica whose disk was emptied is filled with a copy of the state.
/// 3. All are killed and come back. Each time the key is answered as at first, at that replica and as leader.
#[test]
fn a_key_is_remembered_by_a_copy_of_the_state_and_after_a_restart_of_all() {
    let _turn = together();
    let options = ClusterOptions { replicas: 3, extra: "log: { keep_entries: 1000 }".to_owned() };
    let mut cluster = start(&options);
    let leader = cluster.await_leader().expect("a leader");
    Person::new(&cluster, leader, "bob").expect("3", "ok|logout|bob");
    let mut ann = Person::new(&cluster, leader, "ann");
    let first = ann.asks("@once|5|bob|pay 5");
    let away = last_follower(&cluster, leader);
    cluster.kill(away).expect("it ran");
    std::fs::remove_dir_all(cluster.data_dir(away)).expect("it had a directory");
    let mut eve = Person::new(&cluster, leader, "eve");
    use_keys(&mut eve, "bob", 0..2_500);
    cluster.restart(away).expect("it starts blank");
    cluster.await_whole().expect("it votes again");
    answers_as(&cluster, away, &first);
    for id in cluster.ids() {
        cluster.kill(id).expect("it ran");
    }
    for id in cluster.ids() {
        cluster.restart(id).expect("it starts");
    }
    cluster.await_whole().expect("all are back");
    for id in cluster.ids() {
        answers_as(&cluster, id, &first);
    }
    let other = cluster.ids().into_iter().rfind(|&id| id != away).expect("three replicas");
    cluster.kill(other).expect("it ran");
    answers_as(&cluster, away, &first);
    let mail = read_mailbox(cluster.address(away), "bob").expect("it is served");
    assert_eq!(mail.iter().filter(|message| message.text == "pay 5").count(), 1);
}

fn answers_as(cluster: &Cluster, id: u16, first: &str) {
    let answer = wait_until("an answer that is no retry", PATIENCE, || {
        let mut ann = Person::over(cluster.connect(id, PATIENCE).ok()?);
        ann.client().request("2|ann").ok().filter(|reply| reply.is_ok())?;
        let answer = ann.asks("@once|5|bob|pay 5");
        (!answer.starts_with("@once|retry|")).then_some(answer)
    });
    assert_eq!(answer.expect("it serves"), first, "replica {id}");
}
