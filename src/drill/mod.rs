//! Fault drills: real replicas in real processes, hurt on purpose, judged by what their clients saw.
//!
//! [`Cluster`] starts replicas on free ports in a temporary directory, kills, pauses and restarts them by id, and leaves
//! neither a process nor a file behind; [`LineClient`] speaks the client protocol with a deadline on every wait and
//! tells replies from what comes unasked; [`KeyedWriter`] sends until it is told `ok`, as a careful client does;
//! [`judge`](judge::judge) compares what was sent, what was acknowledged and what was read. `tests/e2e` uses these too.
//! A [`Drill`] is one play on a [`Stage`](stage::Stage): a cluster with a writer that goes on while it is hurt.
//! [`picture`] draws it.
//!
//! Promises: no wait without a condition and a deadline; no verdict from a replica's own log or files.
//! Left out on purpose: everything of the server. This module imports nothing of ours, so that it cannot share a
//! mistake with what it examines; it knows the protocol from its page alone.

pub mod chatter;
mod client;
mod cluster;
pub mod enclosure;
mod error;
pub mod judge;
pub mod load;
pub mod network;
pub mod picture;
mod plays;
mod ports;
pub mod report;
pub mod stage;
mod status;
pub mod throttle;
mod wait;
mod warden;
mod writer;

use std::path::Path;
use std::time::Duration;

pub use client::{LineClient, Msg, Reply, SERVER_LINE_BYTES_MAX};
pub use cluster::{Cluster, ClusterOptions, Host, Placing, STATUS_WAIT};
pub use error::DrillError;
pub use plays::DRILLS;
pub use ports::free_ports;
pub use status::{ReplicaStatus, Status};
pub use wait::wait_until;
pub use writer::{KeyedWriter, read_mailbox};

use load::Pace;
use picture::Timeline;
use report::Report;
use stage::{Options, Stage};

/// What a drill needs of the machine, beside processes and loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A network of its own, whose links it cuts.
    Network,
    /// The same where it can be had; else the drill goes on without cuts, and says so.
    NetworkIfPermitted,
    /// A small disk for each replica.
    SmallDisks,
}

/// One drill.
#[derive(Debug)]
pub struct Drill {
    /// As it is called.
    pub name: &'static str,
    /// What it shows when it passes, in one sentence.
    pub claim: &'static str,
    /// Of the machine.
    pub needs: Needs,
    /// How many replicas; ids are 1 to this.
    pub replicas: u16,
    /// Further lines of the configuration file.
    pub config: &'static str,
    /// How the writer writes.
    pub pace: Pace,
    /// How long it lasts, or a pause or a cut in it, unless `--seconds` says otherwise.
    pub lasting: Duration,
    /// What is done to the cluster while the writer writes.
    pub play: fn(&mut Stage) -> Result<(), DrillError>,
}

/// Runs a drill against `binary`.
///
/// # Errors
/// When the cluster cannot be started, hurt or read: then there is nothing to judge. [`DrillError::Skip`] when this
/// machine lacks what the drill needs.
pub fn run(drill: &Drill, binary: &Path, options: &Options) -> Result<(Report, Timeline), DrillError> {
    let mut stage = Stage::open(binary, drill, options)?;
    if let Err(error) = (drill.play)(&mut stage) {
        if !matches!(error, DrillError::Skip(_)) {
            eprintln!("{}", stage.cluster.log_tails());
        }
        return Err(error);
    }
    stage.close()
}
