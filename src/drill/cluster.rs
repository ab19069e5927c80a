//! Real replicas in real processes, on free loopback ports, in a temporary directory.

mod layout;
mod look;
mod members;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub use self::layout::{Host, Placing};
use self::layout::{command_under, config_text, fresh_dir};
pub use self::look::STATUS_WAIT;
use super::warden::Warden;
use super::{DrillError, LineClient, free_ports, wait_until};

/// A replica that was started listens and greets within this, also one that recovers a long log in a debug build.
const GREETING_WAIT: Duration = Duration::from_secs(20);
/// After SIGTERM a replica hands over, finishes and ends within this.
const TERM_WAIT: Duration = Duration::from_secs(15);
/// One look at a replica: local and immediate, so a longer silence is as good as none.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// How often a whole start is tried when another program took a port between looking and binding.
const START_ATTEMPTS: usize = 3;
/// The exit code for "a port is taken" (EX_UNAVAILABLE of sysexits.h).
const EXIT_PORT_TAKEN: i32 = 69;

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

#[derive(Debug)]
struct Replica {
    placing: Placing,
    /// What is put before the command that starts it, such as `ip netns exec NAME`.
    enter: Vec<String>,
    child: Option<Child>,
    paused: bool,
    /// Its config file, where that is not the one of all.
    own_config: Option<PathBuf>,
    /// It is started with `--join`.
    joins: bool,
    /// It was taken out of the cluster.
    gone: bool,
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
        Self::start_on(binary, options, &Host::loopback(options.replicas), |_| Ok(()))
    }

    /// As [`Cluster::start`], on hosts of the drill's own making and after `before`, which may lay out its directories.
    ///
    /// # Errors
    /// As there, and those of `before`.
    pub fn start_on(
        binary: &Path,
        options: &ClusterOptions,
        hosts: &[Host],
        mut before: impl FnMut(&Self) -> Result<(), DrillError>,
    ) -> Result<Self, DrillError> {
        let mut attempt = 1;
        loop {
            let mut cluster = Self::prepare_on(binary, options, hosts)?;
            before(&cluster)?;
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
        Self::prepare_on(binary, options, &Host::loopback(options.replicas))
    }

    fn prepare_on(binary: &Path, options: &ClusterOptions, hosts: &[Host]) -> Result<Self, DrillError> {
        let ports = free_ports(hosts.len() * 2)?;
        let replicas: Vec<Replica> = (1..)
            .zip(hosts.iter().zip(ports.chunks_exact(2)))
            .map(|(id, (host, pair))| Replica {
                placing: Placing { id, host: host.address, port: pair[0], internal_port: pair[1] },
                enter: host.enter.clone(),
                child: None,
                paused: false,
                own_config: None,
                joins: false,
                gone: false,
            })
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

    /// Every member's id, running or not.
    pub fn ids(&self) -> Vec<u16> {
        self.replicas.iter().filter(|replica| !replica.gone).map(|replica| replica.placing.id).collect()
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
        let Placing { host, port, .. } = self.replica(id).placing;
        (host, port).into()
    }

    /// A replica's address for replicas.
    pub fn internal_address(&self, id: u16) -> SocketAddr {
        let Placing { host, internal_port, .. } = self.replica(id).placing;
        (host, internal_port).into()
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
        let child = command_under(&self.replica(id).enter, &self.binary)
            .args(["server", "-i", &id.to_string()])
            .args(self.start_arguments(id))
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

    /// A replica's process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self, id: u16) -> Result<Pid, DrillError> {
        let child = self.replica(id).child.as_ref().ok_or(DrillError::WrongState { id, state: "not running" })?;
        Ok(Pid::from_child(child))
    }

    /// Where a replica's output goes.
    pub fn log_file(&self, id: u16) -> PathBuf {
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

#[cfg(test)]
mod tests;
