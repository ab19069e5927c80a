//! `replication: primary-backup` with real processes: three replicas, two crashes, and then all of them.

use std::process::{Command, Stdio};

use plainsong::drill::{Cluster, ClusterOptions, KeyedWriter, read_mailbox, wait_until};

use crate::harness::{PATIENCE, REQUEST_TIMEOUT, binary, start, together, writer};
use crate::person::Person;

/// Messages between two harms.
const STEADY: usize = 12;
/// Every order of three.
const ORDERS: [[u16; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

fn three() -> Cluster {
    let cluster = start(&ClusterOptions { replicas: 3, extra: "replication: primary-backup".to_owned() });
    let mut founder = Person::new(&cluster, 1, "reader");
    founder.expect("1|w", "ok|create|w");
    cluster
}

/// Sends some more, and keeps what was acknowledged.
fn send_some(writer: &mut KeyedWriter, sent: &mut Vec<String>) {
    for _ in 0..STEADY {
        let text = format!("message {}", sent.len());
        writer.send(&format!("k{}", sent.len()), &text, PATIENCE).expect("the replicas that live acknowledge");
        sent.push(text);
    }
}

fn assert_read(cluster: &Cluster, at: u16, sent: &[String]) {
    let read = wait_until("the mailbox is served", PATIENCE, || read_mailbox(cluster.address(at), "reader").ok());
    let texts: Vec<String> = read.expect("it is").into_iter().map(|message| message.text).collect();
    assert_eq!(texts, sent, "read at replica {at}");
}

fn whole(cluster: &Cluster) {
    let state =
        cluster.await_state_within("all three are in one view", 2 * PATIENCE, plainsong::drill::Status::is_whole);
    state.expect("they find together again");
}

#[test]
fn any_two_of_three_die_one_after_the_other_and_the_last_one_serves() {
    let _turn = together();
    let mut cluster = three();
    let (mut sent, mut writer) = (Vec::new(), writer(&cluster, "w", "reader", &[1, 2, 3]));
    for [first, second, last] in ORDERS {
        send_some(&mut writer, &mut sent);
        cluster.kill(first).expect("it ran");
        send_some(&mut writer, &mut sent);
        cluster.kill(second).expect("it ran");
        send_some(&mut writer, &mut sent);
        assert_eq!(cluster.await_leader().expect("one is left"), last);
        cluster.restart(second).expect("it comes back");
        cluster.restart(first).expect("it comes back");
        whole(&cluster);
        cluster.ids().into_iter().for_each(|at| assert_read(&cluster, at, &sent));
    }
}

#[test]
fn after_a_total_stop_the_last_to_fail_leads_first_in_every_order_of_return() {
    let _turn = together();
    let mut cluster = three();
    let (mut sent, mut writer) = (Vec::new(), writer(&cluster, "w", "reader", &[1, 2, 3]));
    for (round, order) in ORDERS.into_iter().enumerate() {
        let [first, second, last] = ORDERS[(round + 2) % ORDERS.len()];
        for id in [first, second] {
            cluster.kill(id).expect("it ran");
            send_some(&mut writer, &mut sent);
        }
        cluster.kill(last).expect("it ran");
        for id in order {
            cluster.restart(id).expect("it comes back");
            let alone = cluster.running();
            if alone.contains(&last) {
                cluster.await_leader().expect("the last to fail is here, so there is a leader");
            }
        }
        whole(&cluster);
        cluster.ids().into_iter().for_each(|at| assert_read(&cluster, at, &sent));
    }
}

#[test]
fn a_member_that_hangs_blocks_all_writes_and_nothing_is_lost_or_doubled_when_it_goes_on() {
    let _turn = together();
    let mut cluster = three();
    let (mut sent, mut writer) = (Vec::new(), writer(&cluster, "w", "reader", &[1, 2, 3]));
    send_some(&mut writer, &mut sent);
    cluster.pause(3).expect("it runs");
    let (key, text) = ("held", "while one hangs");
    writer.send(key, text, REQUEST_TIMEOUT).expect_err("one that hangs is not dead, and has to hold it, too");
    cluster.resume(3).expect("it was paused");
    writer.send(key, text, PATIENCE).expect("all go on");
    sent.push(text.to_owned());
    send_some(&mut writer, &mut sent);
    cluster.ids().into_iter().for_each(|at| assert_read(&cluster, at, &sent));
}

#[test]
fn where_silence_counts_one_that_hangs_is_gone_on_without_and_comes_back_with_everything() {
    let _turn = together();
    let extra = "replication: primary-backup\ndrop_silent_after_ms: 3000".to_owned();
    let mut cluster = start(&ClusterOptions { replicas: 3, extra });
    Person::new(&cluster, 1, "reader").expect("1|w", "ok|create|w");
    let (mut sent, mut writer) = (Vec::new(), writer(&cluster, "w", "reader", &[2, 1, 3]));
    send_some(&mut writer, &mut sent);
    let leader = cluster.await_leader().expect("all are there");
    for silent in [3, leader] {
        cluster.pause(silent).expect("it runs");
        send_some(&mut writer, &mut sent);
        cluster.resume(silent).expect("it was paused");
        whole(&cluster);
        send_some(&mut writer, &mut sent);
        cluster.ids().into_iter().for_each(|at| assert_read(&cluster, at, &sent));
    }
    for id in cluster.ids() {
        // What the leader had just begun when it was stopped may be given up; it was sent again under its key.
        let said = says(&cluster, 0, &["log", "--orphans", "-i", &id.to_string(), "--kind", "send"]);
        let mut given_up = said.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        let is_read = |line: &str| sent.iter().any(|text| line.ends_with(&format!("|{text}")));
        assert!(given_up.all(is_read), "of three, no two sides have served: {said}");
    }
}

/// Runs the program beside the cluster, and gives what it said on both outputs, if it ended as it should.
fn says(cluster: &Cluster, code: i32, words: &[&str]) -> String {
    let mut command = Command::new(binary());
    let output = command.args(words).arg("--config").arg(cluster.config()).stdin(Stdio::null()).output();
    let output = output.expect("the binary runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

#[test]
fn the_tools_read_a_log_whose_ids_leap_with_each_view() {
    let _turn = together();
    let mut cluster = three();
    let (mut sent, mut writer) = (Vec::new(), writer(&cluster, "w", "reader", &[1, 2, 3]));
    for victim in [1, 2] {
        send_some(&mut writer, &mut sent);
        cluster.kill(victim).expect("it ran");
        send_some(&mut writer, &mut sent);
        cluster.restart(victim).expect("it comes back");
        whole(&cluster);
    }
    assert!(says(&cluster, 0, &["verify", "-i", "3"]).contains("sound"), "while it runs");
    let running = says(&cluster, 0, &["log", "-i", "3", "--kind", "send"]);
    assert_eq!(running.lines().count(), sent.len(), "{running}");
    assert!(says(&cluster, 0, &["log", "-i", "3", "--kind", "founding"]).contains("|primary-backup|"));
    cluster.terminate(3).expect("it ran");

    assert!(says(&cluster, 0, &["verify", "-i", "3"]).contains("what the log gives"));
    let into = cluster.data_dir(3).with_file_name("replayed");
    let into = into.to_str().expect("a path in UTF-8");
    let replayed = says(&cluster, 0, &["replay", "-i", "3", "--into", into, "--mailbox", "reader"]);
    let texts: Vec<&str> = replayed.lines().filter(|line| line.starts_with("msg|")).collect();
    assert_eq!(texts.len(), sent.len(), "{replayed}");
    assert!(texts.iter().zip(&sent).all(|(line, text)| line.ends_with(text.as_str())), "{replayed}");

    // A state derived anew goes on where it was; a replica made again from the others is let into a view.
    says(&cluster, 0, &["rebuild", "-i", "3", "--state", "--yes"]);
    cluster.restart(3).expect("it comes back");
    whole(&cluster);
    cluster.terminate(3).expect("it ran");
    assert!(says(&cluster, 0, &["rebuild", "-i", "3", "--from-others", "--yes"]).contains("serve without it"));
    cluster.restart(3).expect("it starts blank");
    whole(&cluster);
    send_some(&mut writer, &mut sent);
    assert_read(&cluster, 3, &sent);
    assert!(says(&cluster, 0, &["verify", "-i", "3"]).contains("sound"));
}

#[test]
fn changes_of_members_are_refused_with_what_to_do_instead() {
    let _turn = together();
    let mut cluster = three();
    for words in [["leave", "-i", "3", "--yes"], ["remove", "-i", "3", "--yes"]] {
        let said = says(&cluster, 1, &words);
        assert!(said.contains("refused") && said.contains("start that replica blank"), "{said}");
    }
    let contact = cluster.internal_address(1).to_string();
    cluster.terminate(3).expect("it ran");
    let said = says(&cluster, 78, &["server", "-i", "3", "--join", &contact]);
    assert!(said.contains("--join is for `replication: quorum`"), "{said}");
    let said = says(&cluster, 1, &["recover", "-i", "3", "--force", "--yes"]);
    assert!(said.contains("one replica serves alone"), "{said}");
    cluster.restart(3).expect("nothing has changed");
    whole(&cluster);
}
