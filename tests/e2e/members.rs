//! Clusters that grow, shrink and are replaced while they serve.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use plainsong::drill::{Cluster, KeyedWriter, wait_until};

use crate::harness::{PATIENCE, binary, three, together, writer};

const EXIT_CONFIG: i32 = 78;
const EXIT_UNAVAILABLE: i32 = 69;

/// Waited for: whoever has just begun to lead may not have applied the change.
fn await_members(cluster: &Cluster, expected: &[u16]) {
    let are = |status: &plainsong::drill::Status| {
        let mut ids: Vec<u16> = status.replicas.iter().map(|replica| replica.id).collect();
        ids.sort_unstable();
        ids == expected
    };
    cluster.await_state(&format!("{expected:?} are the members"), are).expect("as it was said");
}

fn joined(cluster: &mut Cluster) -> u16 {
    let id = cluster.join().expect("it is started");
    cluster.await_greeting(id).expect("it serves");
    let votes = |status: &plainsong::drill::Status| status.replica(id).is_some_and(|r| r.role == "follower" && r.up);
    cluster.await_state("it votes", votes).expect("it votes");
    id
}

/// A writer through these replicas, whose account and recipient exist.
fn sender(cluster: &Cluster, account: &str, through: &[u16]) -> KeyedWriter {
    let mut client = cluster.connect(through[0], PATIENCE).expect("it serves");
    for name in [account, "anna"] {
        let answer = client.request(&format!("1|{name}")).expect("answered").last;
        assert!(answer.starts_with("ok|") || answer.contains("NAME_TAKEN"), "{answer}");
    }
    writer(cluster, account, "anna", through)
}

fn send(sender: &mut KeyedWriter, count: usize, what: &str) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..count {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        sender.send(&format!("k{n}"), &format!("text {n}"), PATIENCE).unwrap_or_else(|why| panic!("{what}: {why}"));
    }
}

#[test]
fn a_replica_joins_and_is_counted_and_knows_its_peers_from_its_own_log() {
    let _turn = together();
    let mut cluster = three();
    let mut sender = sender(&cluster, "joan", &[1, 2]);
    send(&mut sender, 20, "acknowledged");
    let id = joined(&mut cluster);
    assert_eq!(id, 4);
    await_members(&cluster, &[1, 2, 3, 4]);
    // Three of four are needed now: it counts.
    cluster.kill(3).expect("it ran");
    send(&mut sender, 20, "acknowledged by 1, 2 and 4");
    cluster.kill(4).expect("it ran");
    cluster.restart(3).expect("it is back");
    send(&mut sender, 5, "acknowledged by 1, 2 and 3");
    cluster.restart(4).expect("it is back");
    cluster.await_whole().expect("all four vote");
}

#[test]
fn the_leader_leaves_in_good_order_and_cannot_come_back_with_its_old_data() {
    let _turn = together();
    let mut cluster = three();
    let leader = cluster.await_leader().expect("a leader");
    let mut there = cluster.connect(leader, PATIENCE).expect("it serves");
    let output = cluster.take_out("leave", leader).expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("survive 0 failures"), "{told}");
    let bye = there.line().expect("a word before the end");
    assert!(bye.starts_with("bye|REMOVED|"), "{bye}");
    let status = cluster.await_end(leader, PATIENCE).expect("it ends by itself");
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{status}");
    let rest: Vec<u16> = (1..=3).filter(|id| *id != leader).collect();
    await_members(&cluster, &rest);
    cluster.spawn(leader).expect("the binary runs");
    let status = cluster.await_end(leader, PATIENCE).expect("it ends by itself");
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{status}");
    let mut sender = sender(&cluster, "lea", &rest);
    send(&mut sender, 5, "the rest serves");
}

#[test]
fn a_dead_replica_is_removed_and_told_so_when_it_comes_back_unaware() {
    let _turn = together();
    let mut cluster = three();
    cluster.kill(1).expect("it ran");
    cluster.await_leader().expect("another leads");
    let refused = cluster.take_out("leave", 1).expect("the binary runs");
    assert_eq!(refused.status.code(), Some(EXIT_UNAVAILABLE), "{}", String::from_utf8_lossy(&refused.stderr));
    let output = cluster.take_out("remove", 1).expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The lowest id dials nobody that dials it: it has to find out all the same.
    cluster.spawn(1).expect("the binary runs");
    let status = cluster.await_end(1, PATIENCE).expect("it ends by itself");
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{status}");
    await_members(&cluster, &[2, 3]);
}

#[test]
fn what_would_lose_the_quorum_or_makes_no_sense_is_refused_with_its_reason() {
    let _turn = together();
    let mut cluster = three();
    cluster.kill(3).expect("it ran");
    cluster.await_leader().expect("a leader");
    for (id, why) in [(2, "1 are up, and 2 are needed"), (9, "replica 9 is no member")] {
        let command = Command::new(binary())
            .args(["remove", "--yes", "-i", &id.to_string(), "--config"])
            .arg(cluster.config())
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        let told = String::from_utf8_lossy(&command.stderr).into_owned();
        assert!(!command.status.success() && told.contains(why), "{told}");
    }
    cluster.restart(3).expect("it is back");
    cluster.await_whole().expect("nothing happened");
}

#[test]
fn a_second_process_under_an_id_ends_and_the_first_serves_on() {
    let _turn = together();
    let mut cluster = three();
    // 1 is dialed by everybody and dials nobody; 3 dials everybody. One more has a blank directory, one a copy.
    for (id, copies) in [(1, false), (3, false), (1, true), (3, true)] {
        let second = cluster.dir().join(format!("second-{id}-{copies}"));
        if copies {
            cluster.kill(id).expect("it ran");
            fs::create_dir(&second).expect("a fresh one");
            let copied = Command::new("cp").arg("-r").arg(cluster.data_dir(id)).arg(&second).status();
            assert!(copied.expect("cp runs").success());
            cluster.restart(id).expect("it is back");
            cluster.await_whole().expect("it votes");
        }
        let ports = plainsong::drill::free_ports(2).expect("two free ports");
        let text = fs::read_to_string(cluster.config()).expect("written");
        let text = text
            .replace(&format!("port: {},", cluster.address(id).port()), &format!("port: {},", ports[0]))
            .replace(&cluster.internal_address(id).port().to_string(), &ports[1].to_string())
            .replace("data_dir: data", &format!("data_dir: {}", second.display()));
        let config = cluster.dir().join(format!("second-{id}.yaml"));
        fs::write(&config, text).expect("written");
        let mut child = Command::new(binary())
            .args(["server", "-i", &id.to_string(), "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let status = wait_until("the second ends", PATIENCE, || child.try_wait().expect("our own child"));
        let _ = child.kill();
        assert_eq!(status.expect("it ends by itself").code(), Some(EXIT_UNAVAILABLE), "{id}, a copy: {copies}");
        cluster.await_whole().expect("undisturbed");
    }
}
