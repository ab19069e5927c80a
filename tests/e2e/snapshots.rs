//! Logs that are cut, and replicas that were away for longer than the log reaches back.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use plainsong::drill::{Cluster, ClusterOptions, Msg, wait_until};
use plainsong::storage::LogReader;

use crate::harness::{PATIENCE, binary, last_follower, start, together};
use crate::person::{Person, matches};

/// More than `keep_entries`, so that something is cut, and what follows is more than that again.
const MESSAGES: usize = 2_500;
const KEPT: &str = "log: { keep_entries: 1000 }";

/// Sends so many messages to ann, all at once, and waits until each is answered.
fn send(person: &mut Person, from: usize, count: usize) {
    let lines: Vec<String> = (from..from + count).map(|n| format!("5|ann|message {n}")).collect();
    for some in lines.chunks(250) {
        some.iter().for_each(|line| person.client().send(line).expect("it is sent"));
        some.iter().for_each(|_| {
            let answer = person.client().reply().expect("an answer").last;
            assert!(matches("ok|*|ann|*", &answer), "{answer}");
        });
    }
}

/// Where the log of a replica begins.
fn base(cluster: &Cluster, id: u16) -> u64 {
    LogReader::open(&cluster.data_dir(id)).and_then(|log| log.base()).map_or(0, |base| base.index.0)
}

fn await_cut(cluster: &Cluster, ids: &[u16], beyond: u64) {
    wait_until("the logs are cut", PATIENCE, || ids.iter().all(|&id| base(cluster, id) > beyond).then_some(()))
        .expect("old entries go");
}

/// The copies of states that lie about in a data directory.
fn left_over(cluster: &Cluster, id: u16) -> Vec<PathBuf> {
    let files = fs::read_dir(cluster.data_dir(id)).expect("it has a directory").flatten().map(|file| file.path());
    files.filter(|path| path.to_string_lossy().contains("incoming")).collect()
}

fn is_whole_at(cluster: &Cluster, id: u16, count: usize) {
    let mail = wait_until("the replica shows mail", PATIENCE, || {
        let mut person = Person::over(cluster.connect(id, PATIENCE).ok()?);
        person.client().request("9|0").ok()?;
        if !person.client().request("2|ann").ok()?.last.starts_with("ok|login|ann|") {
            return None;
        }
        let reply = person.client().request("6|").ok()?;
        reply.last.starts_with("ok|").then(|| reply.messages().expect("messages"))
    });
    let shown: Vec<String> = mail.expect("it serves").into_iter().map(|message: Msg| message.text).collect();
    let sent: Vec<String> = (0..count).map(|n| format!("message {n}")).collect();
    assert!(shown == sent, "replica {id} shows {} messages of {count}", shown.len());
}

/// 1. A follower stops. 2. What it lacks is cut away. 3. It comes back, and so does one whose disk was emptied.
#[test]
fn a_replica_that_was_away_for_longer_than_the_log_reaches_comes_back_with_everything() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 3, extra: KEPT.to_owned() });
    let leader = cluster.await_leader().expect("a leader");
    let away = last_follower(&cluster, leader);
    let mut ann = Person::new(&cluster, leader, "ann");
    ann.expect("9|0", "ok|ack|0");
    let mut bob = Person::new(&cluster, leader, "bob");
    send(&mut bob, 0, 100);
    cluster.kill(away).expect("it ran");
    send(&mut bob, 100, MESSAGES);
    let others: Vec<u16> = cluster.running();
    await_cut(&cluster, &others, 200);
    cluster.restart(away).expect("it starts");
    cluster.await_whole().expect("it takes part again");
    is_whole_at(&cluster, away, 100 + MESSAGES);
    assert!(base(&cluster, away) > 200, "it was sent no entry that is gone");
    assert_eq!(left_over(&cluster, away), [] as [PathBuf; 0]);

    cluster.kill(away).expect("it ran");
    fs::remove_dir_all(cluster.data_dir(away)).expect("it had a directory");
    cluster.restart(away).expect("it starts blank");
    cluster.await_whole().expect("it votes again");
    // Of a wiped replica the others may still show what it was: it knows itself when it votes.
    let votes = || (cluster.status(away).ok()?.replica(away)?.role == "follower").then_some(());
    wait_until("it knows that it votes", PATIENCE, votes).expect("an entry says so");
    is_whole_at(&cluster, away, 100 + MESSAGES);

    // What it holds counts: with another one gone, it is half of what is left.
    let gone = others.iter().copied().find(|&id| id != leader).expect("another follower");
    cluster.kill(gone).expect("it ran");
    send(&mut bob, 100 + MESSAGES, 100);
    is_whole_at(&cluster, away, 200 + MESSAGES);
    cluster.restart(gone).expect("it starts");
    cluster.await_whole().expect("all is well");
}

/// A state that is lost beside a log that was cut cannot be derived again: the replica counts as wiped, and is filled again.
#[test]
fn a_lost_state_beside_a_cut_log_is_filled_from_the_others() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 3, extra: KEPT.to_owned() });
    let leader = cluster.await_leader().expect("a leader");
    let victim = last_follower(&cluster, leader);
    let mut ann = Person::new(&cluster, leader, "ann");
    ann.expect("9|0", "ok|ack|0");
    send(&mut Person::new(&cluster, leader, "bob"), 0, MESSAGES);
    await_cut(&cluster, &[1, 2, 3], 200);
    cluster.kill(victim).expect("it ran");
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::remove_file(cluster.data_dir(victim).join(name)).expect("it is there after a kill");
    }
    cluster.restart(victim).expect("it starts");
    cluster.await_whole().expect("it votes again");
    is_whole_at(&cluster, victim, MESSAGES);
}

fn says(cluster: &Cluster, words: &[&str]) -> String {
    let command =
        Command::new(binary()).args(words).arg("--config").arg(cluster.config()).stdin(Stdio::null()).output();
    let output = command.expect("the binary runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// A replica cuts its log while it is written, and is killed again and again: archive and log together are all that there ever
/// was. An archive that cannot be written stops the cutting, and nothing else.
#[test]
fn what_is_cut_away_is_archived_first_and_read_as_a_part_of_the_log() {
    let _turn = together();
    let kept = "log: { keep_entries: 1000, archive: old }".to_owned();
    let mut cluster = start(&ClusterOptions { replicas: 3, extra: kept });
    let leader = cluster.await_leader().expect("a leader");
    let victim = last_follower(&cluster, leader);
    let mut ann = Person::new(&cluster, leader, "ann");
    ann.expect("9|0", "ok|ack|0");
    let mut bob = Person::new(&cluster, leader, "bob");
    for round in 0..4 {
        send(&mut bob, round * MESSAGES, MESSAGES);
        cluster.kill(victim).expect("it ran");
        cluster.restart(victim).expect("it starts");
    }
    cluster.await_whole().expect("all is well");
    send(&mut bob, 4 * MESSAGES, MESSAGES);
    await_cut(&cluster, &[victim, leader], 1_000);
    cluster.await_whole().expect("all have applied all");
    for id in [victim, leader] {
        let id = id.to_string();
        let verified = says(&cluster, &["verify", "-i", &id]);
        assert!(verified.contains("archive") && verified.contains("what the log gives"), "{verified}");
        let log = says(&cluster, &["log", "-i", &id, "--kind", "send"]);
        let sent: Vec<&str> = log.lines().filter_map(|line| line.rsplit_once("|ann|").map(|(_, text)| text)).collect();
        assert_eq!(sent, (0..5 * MESSAGES).map(|n| format!("message {n}")).collect::<Vec<_>>());
    }
    let into = cluster.dir().join("replayed").display().to_string();
    let mail = says(&cluster, &["replay", "-i", &victim.to_string(), "--into", &into, "--mailbox", "ann"]);
    assert_eq!(mail.lines().filter(|line| line.starts_with("msg|")).count(), 5 * MESSAGES);
    let folder = cluster.dir().join("old").join(victim.to_string());
    fs::remove_dir_all(&folder).expect("it is there");
    fs::write(&folder, "in its way").expect("written");
    let before = base(&cluster, victim);
    send(&mut bob, 5 * MESSAGES, 2 * MESSAGES);
    wait_until("it says so", PATIENCE, || {
        let told = fs::read_to_string(cluster.log_file(victim)).unwrap_or_default();
        told.contains("the log is not cut, and grows").then_some(())
    })
    .expect("a warning with its name");
    assert_eq!(base(&cluster, victim), before);
    cluster.await_whole().expect("it takes part");
}
