//! The command line as an operator meets it: exit codes, refusals at start, the one-command cluster.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use plainsong::drill::{Cluster, ClusterOptions, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, binary, shared, three, together};
use crate::person::Person;

const EXIT_PORT_TAKEN: i32 = 69;
const EXIT_CONFIG: i32 = 78;

fn prepared() -> Cluster {
    Cluster::prepare(binary(), &ClusterOptions { replicas: 3, ..ClusterOptions::default() }).expect("prepared")
}

fn run(config: &Path, words: &[&str]) -> Output {
    let command = Command::new(binary()).args(words).arg("--config").arg(config).stdin(Stdio::null()).output();
    command.expect("the binary runs")
}

#[test]
fn a_taken_port_ends_the_server_with_its_own_exit_code() {
    let _turn = together();
    let mut cluster = prepared();
    for address in [cluster.address(1), cluster.internal_address(1)] {
        let taken = TcpListener::bind(address).expect("the port was free");
        cluster.spawn(1).expect("the binary runs");
        let status = cluster.await_end(1, PATIENCE).expect("it ends by itself");
        assert_eq!(status.code(), Some(EXIT_PORT_TAKEN), "{address}: {status}");
        drop(taken);
    }
}

#[test]
fn a_bad_config_is_refused_with_its_place_and_its_own_exit_code() {
    let _turn = together();
    let cluster = prepared();
    let good = fs::read_to_string(cluster.config()).expect("written");
    let checked = Command::new(binary()).arg("check-config").arg(cluster.config()).output().expect("the binary runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let bad = cluster.dir().join("bad.yaml");
    let (one, two) = (cluster.address(1).port().to_string(), cluster.address(2).port().to_string());
    let faults = [
        format!("{good}no_such_key: 1\n"),
        format!("{good}election_timeout_min_ms: 500\nelection_timeout_max_ms: 250\n"),
        format!("{good}limits: {{ list: many }}\n"),
        good.replace(&two, &one),
    ];
    for text in faults {
        fs::write(&bad, &text).expect("written");
        for output in [
            run(&bad, &["server", "-i", "1"]),
            Command::new(binary()).arg("check-config").arg(&bad).output().expect("the binary runs"),
        ] {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(EXIT_CONFIG), "{text}: {told}");
            assert!(told.contains("bad.yaml"), "the file is named: {told}");
        }
    }
    let unknown = run(&cluster.config(), &["server", "-i", "9"]);
    assert_eq!(unknown.status.code(), Some(EXIT_CONFIG), "replica 9 is not in the file");
}

#[test]
fn the_data_directory_of_another_replica_is_refused() {
    let _turn = together();
    let mut cluster = three();
    for id in [2, 3] {
        cluster.kill(id).expect("it ran");
    }
    fs::remove_dir_all(cluster.data_dir(2)).expect("it had a directory");
    fs::rename(cluster.data_dir(3), cluster.data_dir(2)).expect("moved");
    cluster.spawn(2).expect("the binary runs");
    let status = cluster.await_end(2, PATIENCE).expect("it ends by itself");
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
}

#[test]
fn a_data_directory_that_is_in_use_is_refused() {
    let _turn = together();
    let cluster = three();
    // The same directory under a configuration with other ports: only the lock can tell.
    let ports = plainsong::drill::free_ports(2).expect("two free ports");
    let config = fs::read_to_string(cluster.config()).expect("written");
    let elsewhere = config
        .replace(&cluster.address(1).port().to_string(), &ports[0].to_string())
        .replace(&cluster.internal_address(1).port().to_string(), &ports[1].to_string());
    let second = cluster.dir().join("second.yaml");
    fs::write(&second, elsewhere).expect("written");
    let mut child = server(&second, 1);
    let status = wait_until("the second server ends", PATIENCE, || child.0.try_wait().expect("our own child"));
    let status = status.expect("it ends by itself");
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    Person::new(&cluster, 1, "undisturbed");
}

/// A child that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(config: &Path, id: u16) -> Killed {
    let mut command = Command::new(binary());
    command.args(["server", "-i", &id.to_string(), "--config"]).arg(config);
    Killed(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"))
}

#[test]
fn the_data_directory_of_another_cluster_is_not_let_in() {
    let _turn = together();
    let (mut here, mut there) = (three(), three());
    let mut foreigner = Person::new(&there, 1, "foreigner");
    foreigner.expect("5|foreigner|from another world", "ok|*|foreigner|*");
    let mut native = Person::new(&here, 1, "native");
    here.kill(3).expect("it ran");
    there.kill(3).expect("it ran");
    fs::remove_dir_all(here.data_dir(3)).expect("it had a directory");
    fs::rename(there.data_dir(3), here.data_dir(3)).expect("moved");
    here.spawn(3).expect("the binary runs");
    wait_until("the foreign replica ends or refuses", PATIENCE, || {
        if here.ended(3).expect("nobody else reaps it").is_some() {
            return Some(());
        }
        let answer = here.connect(3, PATIENCE).ok()?.request("2|foreigner").ok()?;
        answer.last.starts_with("retry|").then_some(())
    })
    .expect("it must not serve");
    native.expect("5|native|two of three go on", "ok|*|native|*");
    native.expect("2|foreigner", "err|NO_SUCH_USER|*");
}

#[test]
fn one_command_runs_the_whole_cluster_and_one_signal_ends_it() {
    let _turn = together();
    let cluster = prepared();
    let mut command = Command::new(binary());
    command.arg("cluster").arg("--config").arg(cluster.config()).stdin(Stdio::null());
    let mut parent = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"));
    let mut person = wait_until("all replicas serve", PATIENCE, || {
        let ready = cluster.ids().iter().all(|&id| cluster.status(id).is_ok_and(|status| status.is_whole()));
        ready.then(|| Person::at(&cluster, 1))
    })
    .expect("the cluster comes up");
    person.expect("1|ann", "ok|create|ann");
    let shown = run(&cluster.config(), &["status"]);
    let told = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && told.contains("leader"), "{told}");
    kill_process(Pid::from_child(&parent.0), Signal::TERM).expect("it runs");
    let status = wait_until("the cluster ends", PATIENCE, || parent.0.try_wait().expect("our own child"));
    assert_eq!(status.expect("one signal is enough").code(), Some(0));
    for placing in cluster.placings() {
        TcpListener::bind(("127.0.0.1", placing.port)).expect("nothing listens any more");
    }
}

#[test]
fn the_log_reads_like_the_protocol_and_holds_no_password() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.expect("1|log-ann|hunter2", "ok|create|log-ann");
    person.expect("5|log-ann|written in the log", "ok|*|log-ann|*");
    let printed = run(&cluster.config(), &["log", "-i", "1"]);
    let told = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    assert!(told.contains("|5|log-ann|written in the log"), "{told}");
    assert!(told.contains("$argon2id$") && !told.contains("hunter2"));
}

#[test]
fn the_log_is_followed_through_a_filter_until_its_reader_goes() {
    let cluster = shared();
    let mut person = Person::at(&cluster, 1);
    person.expect("1|log-fay", "ok|create|log-fay");
    let mut command = Command::new(binary());
    command.args(["log", "-i", "2", "--follow", "--account", "log-fay", "--kind", "send"]);
    command.arg("--config").arg(cluster.config()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut follow = Killed(command.spawn().expect("the binary runs"));
    let printed = BufReader::new(follow.0.stdout.take().expect("it is piped"));
    let (told, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut printed = printed.lines().map_while(Result::ok);
        while printed.next().is_some_and(|line| told.send(line).is_ok()) {}
    });
    for text in ["the first", "the second"] {
        person.expect(&format!("5|log-fay|{text}"), "ok|*|log-fay|*");
        let line = lines.recv_timeout(PATIENCE).expect("it is printed while the replica runs");
        assert!(line.ends_with(&format!("|log-fay|{text}")), "{line}");
    }
    drop(lines);
    person.expect("5|log-fay|nobody reads this", "ok|*|log-fay|*");
    let ended = wait_until("it ends", PATIENCE, || follow.0.try_wait().expect("our own child"));
    assert_eq!(ended.expect("its reader is gone").code(), Some(0));
}
