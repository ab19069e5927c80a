//! Fault drills: real replicas in real processes, hurt on purpose, judged by what their clients saw.
//!
//! What is here is shared by `plainsong drill …` and by `tests/e2e`:
//! [`Cluster`] starts replicas on free loopback ports in a temporary directory, kills, pauses and restarts them by id,
//! and leaves neither a process nor a file behind; [`LineClient`] speaks the client protocol with a deadline on every
//! wait and tells replies from what comes unasked; [`KeyedWriter`] sends until it is told `ok`, as a careful client
//! does; [`judge`](judge::judge) compares what was sent, what was acknowledged and what was read.
//!
//! Promises: no wait without a condition and a deadline; no verdict from a replica's own log or files.
//! Left out on purpose: everything of the server. This module imports nothing of ours, so that it cannot share a
//! mistake with what it examines; it knows the protocol from its page alone.

mod client;
mod cluster;
mod error;
pub mod judge;
pub mod kill_leader;
mod ports;
mod status;
mod wait;
mod warden;
mod writer;

pub use client::{LineClient, Msg, Reply, SERVER_LINE_BYTES_MAX};
pub use cluster::{Cluster, ClusterOptions, Placing, STATUS_WAIT};
pub use error::DrillError;
pub use ports::free_ports;
pub use status::{ReplicaStatus, Status};
pub use wait::wait_until;
pub use writer::{KeyedWriter, read_mailbox};
