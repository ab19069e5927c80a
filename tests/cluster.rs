//! `plainsong cluster` as an operator uses it: it starts a cluster, tells what happens to it, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use plainsong::drill::{free_ports, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; only a failure ever waits so long.
const WAIT_MAX: Duration = Duration::from_secs(60);

const REPLICAS: usize = 3;

/// A config with free ports, in a folder of its own.
struct Site {
    folder: TempDir,
    ports: Vec<u16>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(2 * REPLICAS).expect("free ports");
        let replicas: String = ports
            .chunks(2)
            .zip(1..)
            .map(|(port, id)| {
                format!("- {{ id: {id}, host: 127.0.0.1, port: {}, internal_port: {} }}\n", port[0], port[1])
            })
            .collect();
        fs::write(folder.path().join("config.yaml"), format!("replicas:\n{replicas}")).expect("written");
        Self { folder, ports }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainsong"));
        command.args(args).current_dir(self.folder.path()).env_remove("RUST_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    fn start(&self) -> Supervisor {
        let mut child = self
            .command(&["cluster"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Supervisor { child, lines, seen: Vec::new() }
    }
}

/// A running `plainsong cluster`. It is killed when dropped, and its replicas then end by themselves.
struct Supervisor {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Supervisor {
    /// Waits for a line, said already or yet to come.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        let mut next = 0;
        loop {
            if let Some(line) = self.seen[next..].iter().find(|line| line.contains(words)) {
                return line.clone();
            }
            next = self.seen.len();
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line with {words:?} ({error}); it said\n{}", self.seen.join("\n")),
            }
        }
    }

    fn is_whole(&mut self) {
        for id in 1..=REPLICAS {
            self.says(&format!("replica {id} is up: nc 127.0.0.1 "));
        }
        self.says(" leads (term ");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The replicas' processes.
    fn replicas(&self) -> Vec<Pid> {
        let supervisor = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).expect("Linux's /proc");
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    #[track_caller]
    fn end(mut self) -> Option<i32> {
        wait_until("the end of the supervisor", WAIT_MAX, || self.child.try_wait().expect("ours")).expect("ends").code()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_ended(replicas: &[Pid]) {
    wait_until("the end of all replicas", WAIT_MAX, || {
        replicas.iter().all(|&pid| test_kill_process(pid).is_err()).then_some(())
    })
    .expect("no replica outlives its supervisor");
}

#[test]
fn a_cluster_starts_survives_a_kill_and_ends_on_request() {
    let site = Site::new();
    let mut supervisor = site.start();
    supervisor.is_whole();
    let status = site.run(&["status"]);
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && table.contains("survives 1 more failure"), "{table}");
    assert_eq!(table.lines().count(), REPLICAS + 2, "{table}");

    let replicas = supervisor.replicas();
    assert_eq!(replicas.len(), REPLICAS);
    kill_process(replicas[0], Signal::KILL).expect("it runs");
    supervisor.says("ended: signal 9 (killed); 2 still run");
    kill_process(supervisor.pid(), Signal::TERM).expect("it runs");
    supervisor.says("ending all replicas");
    assert_eq!(supervisor.end(), Some(0));
    assert_ended(&replicas);
}

#[test]
fn no_replica_outlives_a_killed_supervisor() {
    let site = Site::new();
    let mut supervisor = site.start();
    supervisor.is_whole();
    let replicas = supervisor.replicas();
    assert_eq!(replicas.len(), REPLICAS);
    kill_process(supervisor.pid(), Signal::KILL).expect("it runs");
    assert_ended(&replicas);
}

/// Listens there. It may take a moment: what another test's `fork` copied of the search for free ports is closed only
/// by its `exec`.
fn take(port: u16) -> TcpListener {
    wait_until("a free port", WAIT_MAX, || TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("found free a moment ago")
}

#[test]
fn a_cluster_of_taken_ports_is_69_and_names_them() {
    let site = Site::new();
    // The client port of each replica, or for the last one the internal port.
    let taken = [site.ports[0], site.ports[2], site.ports[5]];
    let _listeners = taken.map(take);
    let output = site.run(&["cluster"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{said}");
    for port in taken {
        assert!(said.contains(&format!("127.0.0.1:{port} is taken")), "{port}: {said}");
    }
}

#[test]
fn a_server_whose_port_is_taken_is_69() {
    let site = Site::new();
    let _listener = take(site.ports[0]);
    let output = site.run(&["server", "-i", "1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{} is taken", site.ports[0])), "{said}");
}

#[test]
fn a_replica_alone_has_no_leader_and_its_status_is_75() {
    let site = Site::new();
    let mut replica = site
        .command(&["server", "-i", "1", "--supervised"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = wait_until("an answer", WAIT_MAX, || {
        Some(site.run(&["status"])).filter(|output| output.status.code() != Some(69))
    });
    // The end of its input ends it.
    drop(replica.stdin.take());
    let ended = wait_until("its end", WAIT_MAX, || replica.try_wait().expect("ours"));
    let status = status.expect("it answers");
    assert_eq!(status.status.code(), Some(75), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(String::from_utf8_lossy(&status.stderr).contains("no leader"));
    assert_eq!(ended.expect("it ends").code(), Some(0));
}
