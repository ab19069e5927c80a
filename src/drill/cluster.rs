//! Real replicas in real processes, on free loopback ports, in a temporary directory.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::warden::Warden;
use super::{DrillError, LineClient, Status, free_ports, wait_until};

/// A replica that was started listens and greets within this, also one that recovers a long log in a debug build.
const GREETING_WAIT: Duration = Duration::from_secs(20);
/// A cluster with a majority has a leader that all running replicas know within this.
pub const STATUS_WAIT: Duration = Duration::from_secs(20);
/// After SIGTERM a replica hands over, finishes and ends within this.
const TERM_WAIT: Duration = Duration::from_secs(15);
/// One look at a replica's status: local and immediate, so a longer silence is as good as none.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// How often a whole start is tried when another program took a port between looking and binding.
const START_ATTEMPTS: usize = 3;
/// The exit code for "a port is taken" (EX_UNAVAILABLE of sysexits.h).
const EXIT_PORT_TAKEN: i32 = 69;
/// How much of each replica's log a failure report shows.
const TAIL_LINES: usize = 15;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many replicas; ids are 1 to this.
    pub replicas: u16,
    /// Further lines of the configuration file, such as `limits: { connections: 64 }`.
    pub extra: String,
}

impl Default for ClusterOptions {
    /// The shipped cluster: five replicas, nothing else.
    fn default() -> Self {
        Self { replicas: 5, extra: String::new() }
    }
}

/// Where one replica lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing {
    /// Its id.
    pub id: u16,
    /// Its port for clients, on 127.0.0.1.
    pub port: u16,
    /// Its port for replicas, on 127.0.0.1.
    pub internal_port: u16,
}

#[derive(Debug)]
struct Replica {
    placing: Placing,
    child: Option<Child>,
    paused: bool,
}

/// The replicas. Dropping it kills them and removes their files; a panic prints their last log lines first.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    replicas: Vec<Replica>,
    warden: Warden,
}

impl Cluster {
    /// Starts all replicas and waits until they agree on a leader and each one votes.
    ///
    /// # Errors
    /// When they do not within [`STATUS_WAIT`], or a process ends.
    pub fn start(binary: &Path, options: &ClusterOptions) -> Result<Self, DrillError> {
        let mut attempt = 1;
        loop {
            let mut cluster = Self::prepare(binary, options)?;
            match cluster.start_all() {
                Ok(()) => return Ok(cluster),
                Err(DrillError::Ended { status, .. })
                    if status.code() == Some(EXIT_PORT_TAKEN) && attempt < START_ATTEMPTS => {}
                Err(other) => {
                    eprintln!("{}", cluster.log_tails());
                    return Err(other);
                }
            }
            attempt += 1;
        }
    }

    /// Writes the configuration and starts nothing yet.
    ///
    /// # Errors
    /// When there are no free ports or no temporary directory.
    pub fn prepare(binary: &Path, options: &ClusterOptions) -> Result<Self, DrillError> {
        let ports = free_ports(usize::from(options.replicas) * 2)?;
        let replicas: Vec<Replica> = (1..=options.replicas)
            .zip(ports.chunks_exact(2))
            .map(|(id, pair)| Placing { id, port: pair[0], internal_port: pair[1] })
            .map(|placing| Replica { placing, child: None, paused: false })
            .collect();
        let dir = fresh_dir()?;
        let warden = Warden::start(&dir)?;
        let cluster = Self { binary: binary.to_owned(), dir, replicas, warden };
        let text = config_text(&cluster.placings(), &options.extra);
        fs::write(cluster.config(), text).map_err(DrillError::io("write config.yaml"))?;
        Ok(cluster)
    }

    fn start_all(&mut self) -> Result<(), DrillError> {
        for id in self.ids() {
            self.spawn(id)?;
        }
        for id in self.ids() {
            self.await_greeting(id)?;
        }
        self.await_whole()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.yaml")
    }

    /// Where a replica keeps its data.
    pub fn data_dir(&self, id: u16) -> PathBuf {
        self.dir.join("data").join(id.to_string())
    }

    /// A directory of the drill's own that goes with the cluster.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The binary under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Leaves the directory in place, and tells where it is.
    pub fn keep_files(&mut self) -> &Path {
        self.warden.keep();
        &self.dir
    }

    /// Every id, running or not.
    pub fn ids(&self) -> Vec<u16> {
        self.replicas.iter().map(|replica| replica.placing.id).collect()
    }

    /// The ids of those that run and are not paused.
    pub fn running(&self) -> Vec<u16> {
        let running = self.replicas.iter().filter(|replica| replica.child.is_some() && !replica.paused);
        running.map(|replica| replica.placing.id).collect()
    }

    /// Where everybody lives.
    pub fn placings(&self) -> Vec<Placing> {
        self.replicas.iter().map(|replica| replica.placing).collect()
    }

    /// A replica's address for clients.
    pub fn address(&self, id: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.replica(id).placing.port).into()
    }

    /// A replica's address for replicas.
    pub fn internal_address(&self, id: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.replica(id).placing.internal_port).into()
    }

    /// Connects a client.
    ///
    /// # Errors
    /// As [`LineClient::connect`].
    pub fn connect(&self, id: u16, timeout: Duration) -> Result<LineClient, DrillError> {
        LineClient::connect(self.address(id), timeout)
    }

    /// Starts a replica's process and waits for nothing.
    ///
    /// # Errors
    /// When it runs already, or the binary cannot be run.
    pub fn spawn(&mut self, id: u16) -> Result<(), DrillError> {
        if self.replica(id).child.is_some() {
            return Err(DrillError::WrongState { id, state: "running already" });
        }
        let log = File::options().create(true).append(true).open(self.log_file(id));
        let log = log.map_err(DrillError::io("open a replica's log"))?;
        let child = Command::new(&self.binary)
            .args(["server", "-i", &id.to_string(), "--config"])
            .arg(self.config())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(DrillError::io("share a replica's log"))?)
            .stderr(log)
            .spawn()
            .map_err(DrillError::io("run the server"))?;
        self.warden.born(child.id());
        self.replica_mut(id).child = Some(child);
        Ok(())
    }

    /// Starts a replica and waits until it greets clients.
    ///
    /// # Errors
    /// As [`Cluster::spawn`] and [`Cluster::await_greeting`].
    pub fn restart(&mut self, id: u16) -> Result<(), DrillError> {
        self.spawn(id)?;
        self.await_greeting(id)
    }

    /// Waits until a replica greets clients.
    ///
    /// # Errors
    /// [`DrillError::Ended`] when its process ends first.
    pub fn await_greeting(&mut self, id: u16) -> Result<(), DrillError> {
        let address = self.address(id);
        wait_until("a replica greets", GREETING_WAIT, || match self.ended(id) {
            Ok(None) => LineClient::connect(address, LOOK_WAIT).ok().map(|_| Ok(())),
            Ok(Some(status)) => Some(Err(DrillError::Ended { id, status })),
            Err(error) => Some(Err(error)),
        })?
    }

    /// Waits until a replica's process has ended by itself.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] when it goes on.
    pub fn await_end(&mut self, id: u16, timeout: Duration) -> Result<ExitStatus, DrillError> {
        wait_until("a process ends", timeout, || self.ended(id).transpose())?
    }

    /// Whether a replica's process has ended by itself, and how. Reaps it if so.
    ///
    /// # Errors
    /// When it was not running to begin with.
    pub fn ended(&mut self, id: u16) -> Result<Option<ExitStatus>, DrillError> {
        let child = self.replica_mut(id).child.as_mut();
        let child = child.ok_or(DrillError::WrongState { id, state: "not running" })?;
        let status = child.try_wait().map_err(DrillError::io("look after a replica"))?;
        if status.is_some() {
            self.reaped(id);
        }
        Ok(status)
    }

    /// `kill -9`, and reaps it: when this returns, the process is gone.
    ///
    /// # Errors
    /// When it was not running.
    pub fn kill(&mut self, id: u16) -> Result<(), DrillError> {
        self.kill_all(&[id])
    }

    /// `kill -9` to all of them before any is waited for.
    ///
    /// # Errors
    /// When one was not running, or had crashed before.
    pub fn kill_all(&mut self, ids: &[u16]) -> Result<(), DrillError> {
        for &id in ids {
            self.signal(id, Signal::KILL)?;
        }
        for &id in ids {
            let status = self.wait(id)?;
            if status.signal() != Some(Signal::KILL.as_raw()) {
                return Err(DrillError::Ended { id, status });
            }
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] when it does not end.
    pub fn terminate(&mut self, id: u16) -> Result<ExitStatus, DrillError> {
        self.signal(id, Signal::TERM)?;
        self.await_end(id, TERM_WAIT)
    }

    /// SIGTERM alone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn ask_to_end(&self, id: u16) -> Result<(), DrillError> {
        self.signal(id, Signal::TERM)
    }

    /// SIGSTOP: alive, and silent.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self, id: u16) -> Result<(), DrillError> {
        self.signal(id, Signal::STOP)?;
        self.replica_mut(id).paused = true;
        Ok(())
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self, id: u16) -> Result<(), DrillError> {
        self.signal(id, Signal::CONT)?;
        self.replica_mut(id).paused = false;
        Ok(())
    }

    /// What a replica answers to `11|` now.
    ///
    /// # Errors
    /// When it does not, at once.
    pub fn status(&self, id: u16) -> Result<Status, DrillError> {
        Status::parse(&self.connect(id, LOOK_WAIT)?.request("11|")?)
    }

    /// The leader that every running replica names, in one term, once they do.
    ///
    /// # Errors
    /// [`DrillError::Timeout`].
    pub fn await_leader(&self) -> Result<u16, DrillError> {
        wait_until("the running replicas agree on a leader", STATUS_WAIT, || self.agreed_leader())
    }

    fn agreed_leader(&self) -> Option<u16> {
        let running = self.running();
        let seen: Vec<Status> = running.iter().map(|&id| self.status(id).ok()).collect::<Option<_>>()?;
        let first = seen.first()?;
        let leader = first.leader.filter(|id| running.contains(id))?;
        let agreed = seen.iter().all(|status| status.leader == Some(leader) && status.term == first.term);
        let owned = seen.iter().any(|status| {
            status.this == leader && status.replica(leader).is_some_and(|replica| replica.role == "leader")
        });
        (agreed && owned).then_some(leader)
    }

    /// Waits until the leader's own status satisfies `state`.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] naming `what`.
    pub fn await_state(&self, what: &str, state: impl Fn(&Status) -> bool) -> Result<Status, DrillError> {
        wait_until(what, STATUS_WAIT, || {
            let status = self.status(self.agreed_leader()?).ok()?;
            state(&status).then_some(status)
        })
    }

    /// Waits until every replica is up and votes.
    ///
    /// # Errors
    /// [`DrillError::Timeout`].
    pub fn await_whole(&self) -> Result<(), DrillError> {
        self.await_state("every replica is up and votes", Status::is_whole).map(drop)
    }

    /// A replica's resident memory, in bytes.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resident_bytes(&self, id: u16) -> Result<u64, DrillError> {
        let file = format!("/proc/{}/status", self.pid(id)?.as_raw_nonzero());
        let text = fs::read_to_string(&file).map_err(DrillError::io(file))?;
        resident_bytes_in(&text).ok_or(DrillError::WrongState { id, state: "ended" })
    }

    /// A replica's process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self, id: u16) -> Result<Pid, DrillError> {
        let child = self.replica(id).child.as_ref().ok_or(DrillError::WrongState { id, state: "not running" })?;
        Ok(Pid::from_child(child))
    }

    /// The last lines that each replica logged.
    pub fn log_tails(&self) -> String {
        let tail = |id: u16| {
            let bytes = fs::read(self.log_file(id)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            shown.iter().map(|line| format!("replica {id}| {line}\n")).collect::<String>()
        };
        self.ids().into_iter().map(tail).collect()
    }

    fn log_file(&self, id: u16) -> PathBuf {
        self.dir.join(format!("replica-{id}.log"))
    }

    fn signal(&self, id: u16, signal: Signal) -> Result<(), DrillError> {
        kill_process(self.pid(id)?, signal).map_err(|errno| DrillError::io("send a signal")(errno.into()))
    }

    fn wait(&mut self, id: u16) -> Result<ExitStatus, DrillError> {
        let child = self.replica_mut(id).child.as_mut();
        let child = child.ok_or(DrillError::WrongState { id, state: "not running" })?;
        let status = child.wait().map_err(DrillError::io("wait for a replica"))?;
        self.reaped(id);
        Ok(status)
    }

    fn reaped(&mut self, id: u16) {
        let replica = self.replica_mut(id);
        replica.paused = false;
        if let Some(child) = replica.child.take() {
            self.warden.dead(child.id());
        }
    }

    fn replica(&self, id: u16) -> &Replica {
        &self.replicas[usize::from(id) - 1]
    }

    fn replica_mut(&mut self, id: u16) -> &mut Replica {
        &mut self.replicas[usize::from(id) - 1]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails());
        }
        for replica in &mut self.replicas {
            if let Some(child) = &mut replica.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn fresh_dir() -> Result<PathBuf, DrillError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("plainsong-drill-{}-{count}-{:08x}", std::process::id(), fastrand::u32(..));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir(&dir).map_err(DrillError::io("make a temporary directory"))?;
    Ok(dir)
}

fn config_text(placings: &[Placing], extra: &str) -> String {
    let replica = |&Placing { id, port, internal_port }: &Placing| {
        format!("  - {{ id: {id}, host: 127.0.0.1, port: {port}, internal_port: {internal_port} }}\n")
    };
    let replicas: String = placings.iter().map(replica).collect();
    format!("cluster: drill\nreplicas:\n{replicas}data_dir: data\n{extra}\n")
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A "server" that ends at once with an exit code.
    fn binary_that_exits(dir: &Path, code: i32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("server.sh");
        fs::write(&path, format!("#!/bin/sh\necho the reason >&2\nexit {code}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
        path
    }

    #[test]
    fn writes_the_configuration_of_the_design() {
        let placings = [Placing { id: 1, port: 10, internal_port: 20 }];
        assert_eq!(
            config_text(&placings, "limits: { connections: 64 }"),
            "cluster: drill\nreplicas:\n  - { id: 1, host: 127.0.0.1, port: 10, internal_port: 20 }\n\
             data_dir: data\nlimits: { connections: 64 }\n"
        );
    }

    #[test]
    fn reads_resident_memory() {
        assert_eq!(resident_bytes_in("VmPeak:\t  9 kB\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_bytes_in("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_server_that_ends_is_told_with_its_log() {
        let scratch = fresh_dir().expect("a directory");
        let binary = binary_that_exits(&scratch, 78);
        let mut cluster = Cluster::prepare(&binary, &ClusterOptions::default()).expect("prepared");
        let dir = cluster.dir().to_owned();
        let error = cluster.restart(1).expect_err("it ends before it greets");
        assert!(matches!(error, DrillError::Ended { id: 1, status } if status.code() == Some(78)), "{error}");
        assert_eq!(cluster.log_tails(), "replica 1| the reason\n");
        assert!(cluster.running().is_empty());
        drop(cluster);
        assert!(!dir.exists());
        fs::remove_dir_all(scratch).expect("ours");
    }

    #[test]
    fn a_taken_port_is_tried_again_elsewhere_and_then_told() {
        let scratch = fresh_dir().expect("a directory");
        let binary = binary_that_exits(&scratch, EXIT_PORT_TAKEN);
        let error = Cluster::start(&binary, &ClusterOptions::default()).expect_err("it never starts");
        assert!(matches!(error, DrillError::Ended { status, .. } if status.code() == Some(69)), "{error}");
        fs::remove_dir_all(scratch).expect("ours");
    }
}
