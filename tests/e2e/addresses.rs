//! Replicas that move to another address, and clusters that meet because an address is wrong.

use std::fs;
use std::process::{Command, Output, Stdio};

use std::time::{Duration, Instant};

use plainsong::drill::{Cluster, ClusterOptions, KeyedWriter, Placing, free_ports, read_mailbox, wait_until};

use crate::harness::{PATIENCE, alone, binary, start, three, together, writer};
use crate::person::Person;

const EXIT_CONFIG: i32 = 78;
const EXIT_UNAVAILABLE: i32 = 69;

/// Some election timeouts.
const ELECTIONS: Duration = Duration::from_secs(2);
/// Messages between two events.
const STEADY: usize = 10;

/// Who writes all the time, and what was acknowledged.
struct Chat {
    writer: KeyedWriter,
    sent: Vec<String>,
}

impl Chat {
    fn begin(cluster: &Cluster, through: &[u16]) -> Self {
        Person::new(cluster, through[0], "reader").expect("1|w", "ok|create|w");
        Self { writer: writer(cluster, "w", "reader", through), sent: Vec::new() }
    }

    fn goes_on(&mut self, cluster: &Cluster, what: &str) {
        self.writer.redirect(cluster.running().into_iter().map(|id| cluster.address(id)).collect());
        for _ in 0..STEADY {
            let (key, text) = (format!("k{}", self.sent.len()), format!("message {}", self.sent.len()));
            self.writer.send(&key, &text, PATIENCE).unwrap_or_else(|why| panic!("{what}: {why}"));
            self.sent.push(text);
        }
    }

    fn assert_read(&self, cluster: &Cluster, at: u16) {
        let read = wait_until("the mailbox is served", PATIENCE, || read_mailbox(cluster.address(at), "reader").ok());
        let texts: Vec<String> = read.expect("it is").into_iter().map(|message| message.text).collect();
        assert_eq!(texts, self.sent, "read at replica {at}");
    }
}

/// Id and incarnation, as a replica names itself at each of its starts.
fn incarnations(cluster: &Cluster, id: u16) -> Vec<String> {
    let text = fs::read_to_string(cluster.log_file(id)).expect("it was started");
    let named = text
        .lines()
        .filter_map(|line| line.split_once(", boot ")?.0.rsplit_once("replica ").map(|(_, m)| m.to_owned()));
    named.collect()
}

/// Every running replica says that this one is at its present address, and votes.
fn await_shown(cluster: &Cluster, id: u16) {
    let at = cluster.address(id).to_string();
    for asked in cluster.running() {
        let shown = || {
            let status = cluster.status(asked).ok()?;
            status.replica(id).filter(|r| r.address == at && r.up && r.role != "learner").map(drop)
        };
        wait_until(&format!("replica {asked} shows replica {id} at {at}"), PATIENCE, shown).expect("it is told");
    }
    cluster.await_whole().expect("all vote");
}

/// Runs a replica with such a config file until it ends by itself.
fn ends(cluster: &Cluster, id: u16, config: &str, more: &[&str]) -> Output {
    let file = cluster.dir().join(format!("other-{id}.yaml"));
    fs::write(&file, config).expect("written");
    let mut command = Command::new(binary());
    command.args(["server", "-i", &id.to_string(), "--config"]).arg(file).args(more);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let ended = wait_until("it ends", PATIENCE, || child.try_wait().expect("our own child"));
    let _ = child.kill();
    let output = child.wait_with_output().expect("our own child");
    ended.unwrap_or_else(|_| panic!("it should end by itself: {output:?}"));
    output
}

/// Waits until a replica's log says so.
fn await_word(cluster: &Cluster, id: u16, word: &str) {
    let is_said = || fs::read_to_string(cluster.log_file(id)).ok()?.contains(word).then_some(());
    wait_until(&format!("replica {id} says {word:?}"), PATIENCE, is_said).expect("it is said");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_replica_that_moves_is_the_same_one_at_its_new_address() {
    let _turn = together();
    let mut cluster = three();
    let mut chat = Chat::begin(&cluster, &[2]);
    chat.goes_on(&cluster, "before");
    // Everybody dials 1, and 3 dials everybody. The first one moves while the log has no addresses yet.
    for (id, other) in [(1, 3), (3, 1), (1, 3)] {
        cluster.kill(id).expect("it ran");
        chat.goes_on(&cluster, "without it");
        cluster.move_to_other_ports(id).expect("there are ports");
        cluster.restart(id).expect("it starts there");
        await_shown(&cluster, id);
        chat.assert_read(&cluster, id);
        // What is acknowledged now needs it.
        cluster.kill(other).expect("it ran");
        chat.goes_on(&cluster, "with it, and without another one");
        cluster.restart(other).expect("it is back");
        cluster.await_whole().expect("all vote");
        let named = incarnations(&cluster, id);
        assert!(named.len() > 1 && named.iter().all(|member| *member == named[0]), "{named:?}");
    }
    cluster.ids().into_iter().for_each(|at| chat.assert_read(&cluster, at));
}

#[test]
fn nobody_joins_at_an_address_that_another_one_has() {
    let _turn = together();
    let mut cluster = three();
    let mut chat = Chat::begin(&cluster, &[1]);
    let contact = cluster.internal_address(1).to_string();
    let taken = cluster.placings()[2];
    let newcomer = |placing: Placing| {
        format!("cluster: drill\nreplicas:\n  {}\ndata_dir: elsewhere\n", Placing { id: 4, ..placing }.line())
    };
    let output = ends(&cluster, 4, &newcomer(taken), &["--join", &contact]);
    assert!(said(&output).contains("is taken: find who holds it"), "{output:?}");
    assert_eq!(output.status.code(), Some(EXIT_UNAVAILABLE));
    // While nobody listens there, it is the members who know.
    cluster.kill(3).expect("it ran");
    cluster.await_leader().expect("two of three");
    let free = free_ports(2).expect("two free ports");
    for at in [taken, Placing { port: free[0], ..taken }, Placing { internal_port: free[1], ..taken }] {
        let output = ends(&cluster, 4, &newcomer(at), &["--join", &contact]);
        assert!(said(&output).contains("replica 3 has that address: choose free ports"), "{output:?}");
        assert_eq!(output.status.code(), Some(EXIT_CONFIG));
    }
    // An id is another one's, whether that one is there or not.
    let free = Placing { port: free[0], internal_port: free[1], ..taken };
    for id in [2, 3] {
        let config = newcomer(free).replace("id: 4", &format!("id: {id}"));
        let output = ends(&cluster, id, &config, &["--join", &contact]);
        let word = format!("replica {id} is another one, which belongs to the cluster: choose a free id");
        assert!(said(&output).contains(&word), "{output:?}");
        assert_eq!(output.status.code(), Some(EXIT_CONFIG));
    }
    cluster.restart(3).expect("it is back");
    cluster.await_whole().expect("nothing has changed");
    chat.goes_on(&cluster, "undisturbed");
}

#[test]
fn who_moves_to_an_address_that_another_one_has_is_told_so_and_is_where_it_was_for_the_others() {
    let _turn = together();
    let mut cluster = three();
    cluster.kill(2).expect("it ran");
    cluster.kill(3).expect("it ran");
    let (first, second) = (cluster.placings()[0], cluster.placings()[1]);
    let contact = cluster.internal_address(1).to_string();
    let config = cluster.dir().join("moved-3.yaml");
    let lines = [first, Placing { id: 3, ..second }].map(|placing| format!("  {}\n", placing.line())).concat();
    fs::write(&config, format!("cluster: drill\nreplicas:\n{lines}data_dir: data\n")).expect("written");
    let mut command = Command::new(binary());
    command.args(["server", "-i", "3", "--join", &contact, "--config"]).arg(config).stdin(Stdio::null());
    let log = fs::File::create(cluster.log_file(3)).expect("a file");
    let mut child = command.stderr(log).spawn().expect("the binary runs");
    await_word(&cluster, 3, "replica 2 has that address: choose free ports");
    let shown = cluster.status(1).expect("it runs").replica(3).expect("it is a member").address.clone();
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    assert_eq!(shown, cluster.address(3).to_string());
    cluster.restart(3).expect("it is back");
    cluster.restart(2).expect("nobody is there");
    cluster.await_whole().expect("all vote");
}

#[test]
fn in_primary_backup_a_replica_moves_by_the_files_of_all() {
    let _turn = together();
    let options = ClusterOptions { replicas: 3, extra: "replication: primary-backup".to_owned() };
    let mut cluster = start(&options);
    let mut chat = Chat::begin(&cluster, &[2]);
    for id in [1, 3] {
        cluster.terminate(id).expect("it ran");
        cluster.move_in_every_file(id).expect("there are ports");
        for other in cluster.running() {
            cluster.terminate(other).expect("it ran");
            chat.goes_on(&cluster, "the only one left");
            cluster.restart(other).expect("it is back");
            let is_in = |status: &plainsong::drill::Status| {
                status.replica(other).is_some_and(|replica| replica.up && replica.role != "learner")
            };
            cluster.await_state("it is in the view", is_in).expect("it comes back");
        }
        cluster.restart(id).expect("it starts there");
        await_shown(&cluster, id);
        chat.goes_on(&cluster, "all three");
        let others: Vec<u16> = cluster.ids().into_iter().filter(|other| *other != id).collect();
        for other in &others {
            cluster.kill(*other).expect("it ran");
            chat.goes_on(&cluster, "with it, and without another one");
        }
        others.iter().rev().for_each(|other| cluster.restart(*other).expect("it is back"));
        cluster.await_whole().expect("all are in one view");
        cluster.ids().into_iter().for_each(|at| chat.assert_read(&cluster, at));
    }
}

/// Replica 2 of one cluster has the address of a replica of another where its own replica 1 should stand.
#[test]
fn two_clusters_that_meet_by_a_wrong_address_refuse_each_other_and_serve_on() {
    let _turn = alone();
    for (secret, another) in [("friend", "friend"), ("friend", "mellon")] {
        let with = |secret: &str| start(&ClusterOptions { replicas: 3, extra: format!("secret: {secret}") });
        let (mut ours, theirs) = (with(secret), with(another));
        let (mut our_chat, mut their_chat) = (Chat::begin(&ours, &[1]), Chat::begin(&theirs, &[1]));
        ours.kill(2).expect("it ran");
        let standing = |cluster: &Cluster| {
            let status = cluster.status(1).expect("it runs");
            (status.leader, status.term)
        };
        ours.await_leader().expect("two of three");
        let before = (standing(&ours), standing(&theirs));
        let wrong = theirs.internal_address(1);
        let misplaced = Placing { internal_port: wrong.port(), ..ours.placings()[0] };
        ours.misguide(2, Some(misplaced)).expect("written");
        ours.restart(2).expect("it starts");
        let why = "the data directories are of two different clusters: correct `data_dir` or the address";
        await_word(&theirs, 1, &format!("is refused: {why}"));
        await_word(&ours, 2, &format!("replica 1 at {wrong}: refused: {why}"));
        let began = Instant::now();
        while began.elapsed() < ELECTIONS {
            our_chat.goes_on(&ours, "a cluster of which one has a wrong address");
            their_chat.goes_on(&theirs, "a cluster that one of another one dials");
        }
        assert_eq!((standing(&ours), standing(&theirs)), before, "leaders and terms");

        // Blank, it could belong to any cluster that has the same secret, as far as it knows.
        ours.kill(2).expect("it ran");
        fs::remove_dir_all(ours.data_dir(2)).expect("it had a directory");
        ours.spawn(2).expect("the binary runs");
        if secret == another {
            let status = ours.await_end(2, PATIENCE).expect("it ends by itself: the other replica 2 runs");
            assert_eq!(status.code(), Some(EXIT_UNAVAILABLE), "{status}");
            await_word(&ours, 2, "another process runs as replica 2 of this cluster");
        } else {
            await_word(&ours, 2, &format!("replica 1 at {wrong}: the proof of `secret` is wrong"));
            ours.kill(2).expect("a stranger does not end it");
        }
        assert_eq!((standing(&ours), standing(&theirs)), before, "leaders and terms");

        ours.misguide(2, None).expect("nothing to write");
        ours.restart(2).expect("it starts blank");
        ours.await_whole().expect("it is filled by its own cluster");
        theirs.await_whole().expect("undisturbed");
        for at in [1, 2, 3] {
            our_chat.assert_read(&ours, at);
            their_chat.assert_read(&theirs, at);
        }
    }
}
