//! The operator's way back: files are damaged on purpose, named by `verify`, and made again; a lost majority is left behind.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use plainsong::drill::{Cluster, wait_until};
use plainsong::storage::LogReader;
use rusqlite::Connection;

use crate::harness::{PATIENCE, binary, last_follower, three, together};
use crate::person::Person;

/// Two entries with so much between them have different times.
const CLOCK_STEP: Duration = Duration::from_millis(20);

fn run(cluster: &Cluster, words: &[&str]) -> Output {
    let config = cluster.config();
    let command = Command::new(binary()).args(words).arg("--config").arg(config).stdin(Stdio::null()).output();
    command.expect("the binary runs")
}

/// Runs it, and gives what it said on both outputs, if it ended as it should.
fn says(cluster: &Cluster, code: i32, words: &[&str]) -> String {
    let output = run(cluster, words);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

fn meddle(cluster: &Cluster, id: u16, file: &str, sql: &str) {
    let conn = Connection::open(cluster.data_dir(id).join(file)).expect("a stopped replica's file");
    assert!(conn.execute(sql, []).expect("it is written") > 0, "{sql}");
}

#[test]
fn damage_is_named_and_what_is_damaged_is_made_again() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    ["the first", "the second", "the third"].iter().for_each(|text| {
        ann.sends("ann", text);
    });
    let leader = cluster.await_leader().expect("a leader");
    let victim = last_follower(&cluster, leader);
    let id = victim.to_string();
    assert!(says(&cluster, 0, &["verify", "-i", &id]).contains("sound"), "while it runs");
    assert!(says(&cluster, 75, &["rebuild", "-i", &id, "--state", "--yes"]).contains("in use"));
    cluster.await_whole().expect("all have applied all");
    cluster.terminate(victim).expect("it ran");

    assert!(says(&cluster, 0, &["verify", "-i", &id]).contains("what the log gives"));
    meddle(&cluster, victim, "state.db", "UPDATE messages SET text = 'the secone' WHERE text = 'the second'");
    let said = says(&cluster, 65, &["verify", "-i", &id]);
    assert!(said.contains("checksum of message") && said.contains("rebuild --state"), "{said}");
    assert!(says(&cluster, 1, &["rebuild", "-i", &id, "--state"]).contains("nothing was changed"), "nobody said yes");
    says(&cluster, 0, &["rebuild", "-i", &id, "--state", "--yes"]);
    says(&cluster, 0, &["verify", "-i", &id]);
    meddle(&cluster, victim, "log.db", "DELETE FROM entries WHERE idx = 4");
    let said = says(&cluster, 65, &["verify", "-i", &id]);
    assert!(said.contains("entry 4") && said.contains("rebuild --from-others"), "{said}");
    assert!(says(&cluster, 0, &["rebuild", "-i", &id, "--from-others", "--yes"]).contains("serve without it"));
    cluster.restart(victim).expect("it starts");
    cluster.await_whole().expect("it is filled, and votes");
    assert!(says(&cluster, 0, &["verify", "-i", &id]).contains("sound"));
}

#[test]
fn a_replica_is_not_given_up_when_the_others_do_not_serve() {
    let _turn = together();
    let mut cluster = three();
    cluster.await_whole().expect("it serves");
    cluster.kill_all(&[2, 3]).expect("they ran");
    let said = says(&cluster, 69, &["rebuild", "-i", "2", "--from-others", "--yes"]);
    assert!(said.contains("none of the other replicas serves"), "{said}");
    assert!(cluster.data_dir(2).join("log.db").exists());
    let said = says(&cluster, 0, &["rebuild", "-i", "2", "--from-others", "--force", "--yes"]);
    assert!(said.contains("--force"), "{said}");
    assert!(!cluster.data_dir(2).join("log.db").exists());
}

#[test]
fn a_mailbox_is_read_as_it_was() {
    let _turn = together();
    let cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    let (_, first) = ann.sends("ann", "the first");
    let began = Instant::now();
    wait_until("the clock goes on", PATIENCE, || (began.elapsed() > CLOCK_STEP).then_some(())).expect("it does");
    ann.sends("ann", "the second");
    cluster.await_whole().expect("all have applied all");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let into = folder.path().join("then").display().to_string();
    let at = first.to_string();
    let said = says(&cluster, 0, &["replay", "-i", "1", "--into", &into, "--to-index", &at, "--mailbox", "Ann"]);
    assert!(said.contains(&format!("msg|{first}|ann|")) && said.contains("|the first\n"), "{said}");
    assert!(!said.contains("the second"), "{said}");
    // By a time: that of the first one, in which it is. What a running replica has applied it writes a little later.
    let log = says(&cluster, 0, &["log", "-i", "1", "--kind", "send"]);
    let sent = log.lines().find(|line| line.ends_with("|the first")).and_then(|line| line.split('|').nth(2));
    let mut rounds = 0;
    let mail = wait_until("the first one is in the state", PATIENCE, || {
        rounds += 1;
        let then = folder.path().join(format!("by-time-{rounds}")).display().to_string();
        let by_time = ["replay", "-i", "1", "--into", &then, "--until", sent?, "--mailbox", "ann"];
        let mail = String::from_utf8(run(&cluster, &by_time).stdout).ok()?;
        mail.contains("|the first\n").then_some(mail)
    });
    assert!(!mail.expect("it is written").contains("the second"));
    assert!(says(&cluster, 0, &["replay", "-i", "1", "--into", &into]).contains("accounts  1\nmessages  1\n"));
    assert!(says(&cluster, 1, &["replay", "-i", "1", "--into", &into, "--to-index", "2"]).contains("new directory"));
}

/// 1. Two of three disks are taken for lost, and the third is recovered. 2. One of the two comes back after all.
#[test]
fn a_recovered_replica_serves_alone_refuses_who_is_left_behind_and_fills_who_comes_blank() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    ann.sends("ann", "before");
    cluster.await_whole().expect("all have it");
    assert!(says(&cluster, 75, &["recover", "--force", "-i", "1", "--yes"]).contains("in use"));
    cluster.kill_all(&[1, 2, 3]).expect("they ran");
    assert!(says(&cluster, 2, &["recover", "-i", "1", "--yes"]).contains("--force"));
    let said = says(&cluster, 1, &["recover", "--force", "-i", "1"]);
    assert!(said.contains("say --yes if that is meant") && said.contains("acknowledged behind that is lost"), "{said}");
    assert!(says(&cluster, 0, &["recover", "--force", "-i", "1", "--yes"]).contains("Left behind: 2."));
    cluster.restart(1).expect("it starts");
    let mut ann = wait_until("it serves alone", PATIENCE, || {
        let mut person = Person::over(cluster.connect(1, PATIENCE).ok()?);
        person.client().request("2|ann").ok()?.last.starts_with("ok|login").then_some(person)
    })
    .expect("a majority of one");
    ann.sends("ann", "after");

    cluster.restart(2).expect("it starts");
    let refused = wait_until("each tells of the other", PATIENCE, || {
        let told = |id| std::fs::read_to_string(cluster.log_file(id)).unwrap_or_default();
        (told(1) + &told(2)).contains("two different clusters").then_some(())
    });
    refused.expect("by the cluster's id");
    assert!(says(&cluster, 0, &["log", "-i", "2"]).lines().all(|line| !line.ends_with("|after")));
    cluster.kill(2).expect("it ran");

    for id in [2, 3] {
        std::fs::remove_dir_all(cluster.data_dir(id)).expect("an empty disk");
        cluster.restart(id).expect("it starts");
    }
    cluster.await_whole().expect("both are filled, and vote");
    assert!(says(&cluster, 0, &["log", "-i", "3"]).contains("|after\n"));
    cluster.terminate(1).expect("it ran");
    let (mut ann, _) = Person::back(&cluster, 3, "ann");
    ann.sends("ann", "without the first");
}

/// 1. A backup is made while a crowd writes. 2. All three disks are lost. 3. The backup becomes the cluster.
#[test]
fn out_of_one_backup_a_cluster_comes_back_with_all_that_was_acknowledged_before() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    let leader = cluster.await_leader().expect("a leader");
    let source = last_follower(&cluster, leader).to_string();
    for n in 0..200 {
        ann.sends("ann", &format!("message {n}"));
    }
    let committed = || says(&cluster, 0, &["verify", "-i", &source]).contains("what the log gives").then_some(());
    wait_until("the state is on disk, too", PATIENCE, committed).expect("it is committed now and then");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().join("monday").display().to_string();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut bob = Person::new(&cluster, 2, "bob");
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                bob.sends("bob", "meanwhile");
            }
        });
        let said = says(&cluster, 0, &["backup", "-i", &source, "--to", &to]);
        assert!(said.contains("entries up to") && !said.contains("does not serve"), "{said}");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let said = says(&cluster, 0, &["verify", &to]);
    assert!(said.contains("what the log gives"), "{said}");
    cluster.kill_all(&[1, 2, 3]).expect("they ran");
    for id in [1, 2, 3] {
        std::fs::remove_dir_all(cluster.data_dir(id)).expect("a lost disk");
    }
    assert!(says(&cluster, 0, &["restore", "--from", &to, "-i", "1"]).contains("recover --force -i 1"));
    assert!(says(&cluster, 74, &["restore", "--from", &to, "-i", "1"]).contains("there already"));
    says(&cluster, 0, &["recover", "--force", "-i", "1", "--yes"]);
    for id in [1, 2, 3] {
        cluster.restart(id).expect("it starts");
    }
    cluster.await_whole().expect("all are filled, and vote");
    Person::back(&cluster, 3, "ann");
    let log = says(&cluster, 0, &["log", "-i", "3"]);
    assert!((0..200).all(|n| log.contains(&format!("|message {n}\n"))), "all that was acknowledged before");
    cluster.terminate(3).expect("it ran");
    assert!(says(&cluster, 0, &["verify", "-i", "3"]).contains("what the log gives"));
}

/// A backup that is put back beside the others is nobody's past: it is a new member, and is filled like a blank one.
#[test]
fn a_restored_replica_does_not_speak_for_the_one_that_was_backed_up() {
    let _turn = together();
    let mut cluster = three();
    let mut ann = Person::new(&cluster, 1, "ann");
    ann.sends("ann", "before");
    cluster.await_whole().expect("all have it");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().join("monday").display().to_string();
    says(&cluster, 0, &["backup", "-i", "3", "--to", &to]);
    ann.sends("ann", "after");
    cluster.await_whole().expect("all have it");
    cluster.kill(3).expect("it ran");
    let old = LogReader::open(&cluster.data_dir(3)).expect("opens").owner().expect("an owner").member;
    std::fs::remove_dir_all(cluster.data_dir(3)).expect("a lost disk");
    says(&cluster, 0, &["restore", "--from", &to, "-i", "3"]);
    cluster.restart(3).expect("it starts");
    let filled = || says(&cluster, 0, &["log", "-i", "3"]).contains("|after\n").then_some(());
    wait_until("it is filled", PATIENCE, filled).expect("by the others");
    let removed = wait_until("the old one is removed", PATIENCE, || {
        let voters = says(&cluster, 0, &["log", "-i", "1", "--kind", "voters"]);
        voters.contains(&old.to_string()).then_some(())
    });
    removed.expect("by an entry");
    cluster.await_whole().expect("the new one votes");
}
