//! Looking at a cluster from outside: what its replicas say of themselves, their memory, their last words.

use std::fs;
use std::time::Duration;

use super::{Cluster, LOOK_WAIT};
use crate::drill::{DrillError, Status, wait_until};

/// A cluster with a majority has a leader that all running replicas know within this.
pub const STATUS_WAIT: Duration = Duration::from_secs(20);
/// How much of each replica's log a failure report shows.
const TAIL_LINES: usize = 15;

impl Cluster {
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
        self.await_state_within(what, STATUS_WAIT, state)
    }

    /// As [`Cluster::await_state`], for what may take longer.
    ///
    /// # Errors
    /// [`DrillError::Timeout`] naming `what`.
    pub fn await_state_within(
        &self,
        what: &str,
        timeout: Duration,
        state: impl Fn(&Status) -> bool,
    ) -> Result<Status, DrillError> {
        wait_until(what, timeout, || {
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
}

pub(super) fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
