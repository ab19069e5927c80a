//! Where replicas live: their hosts, ports and files.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::drill::DrillError;

/// A host that a replica runs on, as the drill reaches it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its address, for clients and replicas.
    pub address: Ipv4Addr,
    /// What is put before a command to run it there; empty for this host. It must exec: signals go to its process.
    pub enter: Vec<String>,
}

impl Host {
    /// So many on this host itself.
    pub fn loopback(count: u16) -> Vec<Self> {
        let host = Self { address: Ipv4Addr::LOCALHOST, enter: Vec::new() };
        vec![host; usize::from(count)]
    }
}

/// Where one replica lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placing {
    /// Its id.
    pub id: u16,
    /// The address of its host.
    pub host: Ipv4Addr,
    /// Its port for clients.
    pub port: u16,
    /// Its port for replicas.
    pub internal_port: u16,
}

impl Placing {
    /// Its line in `replicas` of a config file, as a cluster of the drill writes it.
    pub fn line(&self) -> String {
        let Self { id, host, port, internal_port } = self;
        format!("- {{ id: {id}, host: {host}, port: {port}, internal_port: {internal_port} }}")
    }
}

pub(super) fn command_under(enter: &[String], binary: &Path) -> Command {
    let Some((first, rest)) = enter.split_first() else {
        return Command::new(binary);
    };
    let mut command = Command::new(first);
    command.args(rest).arg(binary);
    command
}

pub(super) fn fresh_dir() -> Result<PathBuf, DrillError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("plainsong-drill-{}-{count}-{:08x}", std::process::id(), fastrand::u32(..));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir(&dir).map_err(DrillError::io("make a temporary directory"))?;
    Ok(dir)
}

pub(super) fn config_text(placings: &[Placing], extra: &str) -> String {
    let replicas: String = placings.iter().map(|placing| format!("  {}\n", placing.line())).collect();
    format!("cluster: drill\nreplicas:\n{replicas}data_dir: data\n{extra}\n")
}
