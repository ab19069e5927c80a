//! Replicas that move to another address, and clusters that meet because an address is wrong.

use std::fs;
use std::process::{Command, Output, Stdio};

use plainsong::drill::{Cluster, KeyedWriter, Placing, free_ports, read_mailbox, wait_until};

use crate::harness::{PATIENCE, binary, three, together, writer};
use crate::person::Person;

const EXIT_CONFIG: i32 = 78;
const EXIT_UNAVAILABLE: i32 = 69;

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

    fn goes_on(&mut self, what: &str) {
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

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_replica_that_moves_is_the_same_one_at_its_new_address() {
    let _turn = together();
    let mut cluster = three();
    let mut chat = Chat::begin(&cluster, &[2]);
    chat.goes_on("before");
    // Everybody dials 1, and 3 dials everybody. The first one moves while the log has no addresses yet.
    for (id, other) in [(1, 3), (3, 1), (1, 3)] {
        cluster.kill(id).expect("it ran");
        chat.goes_on("without it");
        cluster.move_to_other_ports(id).expect("there are ports");
        cluster.restart(id).expect("it starts there");
        await_shown(&cluster, id);
        chat.assert_read(&cluster, id);
        // What is acknowledged now needs it.
        cluster.kill(other).expect("it ran");
        chat.goes_on("with it, and without another one");
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
    cluster.restart(3).expect("it is back");
    cluster.await_whole().expect("nothing has changed");
    chat.goes_on("undisturbed");
}
