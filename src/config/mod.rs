//! The one config file, read by server and client alike.
//!
//! Promises: a [`Config`] that came out of [`Config::load`] is complete and sound, so nobody checks it again; whatever
//! is wrong with a file is told with file, line, column and what to do; an unknown key is never passed over.
//!
//! Leaves out: changing anything while the server runs, and membership. Once a cluster is founded only its log says
//! who is a member, and this file is its address book.

mod check;
mod error;
mod locate;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use serde::Deserialize;

pub use error::{ConfigError, Problem};

/// The highest replica id: an id must fit ten bits, so that numbers drawn from it stay small.
pub const REPLICA_ID_MAX: u16 = 1023;
/// The shortest `limits.line_bytes`: a request with the longest name, a key and a few words must fit.
pub const LINE_BYTES_MIN: u32 = 256;
/// The longest `limits.line_bytes`: every connection may hold a few lines in memory.
pub const LINE_BYTES_MAX: u32 = 1 << 20;
/// The longest cluster name, in bytes: it stands in every greeting.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// The least `log.keep_entries`: a follower that is a moment behind is sent entries, and no copy of the whole state.
pub const KEEP_ENTRIES_MIN: u64 = 1_000;

/// The least `drop_silent_after_ms`, in greatest election timeouts. A replica that hears nobody has to notice it in half of
/// the time, by several heartbeats that are missing, before others may take it for dead.
pub const DROP_SILENT_TIMEOUTS_MIN: u32 = 4;

/// The cluster as its file describes it. Durations are in milliseconds here; the methods give [`Duration`]s.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name clients are greeted with: not empty, no `|`, no space, no control character.
    pub cluster: String,
    /// How the copies are kept.
    pub replication: Replication,
    /// With `primary-backup`: silence that counts as death, at least [`DROP_SILENT_TIMEOUTS_MIN`] times the greatest election
    /// timeout. 0: none does.
    pub drop_silent_after_ms: u32,
    /// What replicas prove to each other. Empty only while every replica is on loopback.
    pub secret: Secret,
    /// Who there is, by id in ascending order. Never empty after [`Config::load`].
    pub replicas: Vec<ReplicaConfig>,
    /// How often the leader pulses.
    pub heartbeat_interval_ms: u32,
    /// After how many silent intervals a replica counts as down.
    pub max_missed_heartbeats: u32,
    /// The shortest time a follower waits for a word from the leader: more than two heartbeats.
    pub election_timeout_min_ms: u32,
    /// The longest such time, greater than the shortest.
    pub election_timeout_max_ms: u32,
    /// How long a request without a leader is held, from its arrival.
    pub request_timeout_ms: u32,
    /// Where the replicas' folders are. [`Config::load`] has made it relative to the file.
    pub data_dir: PathBuf,
    /// Bounds a client can meet.
    pub limits: Limits,
    /// How much of the replay log is kept.
    pub log: LogConfig,
    /// Rules for accounts.
    pub accounts: Accounts,
}

/// How the copies are kept in step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// Raft: a majority of the voters holds every acknowledged entry.
    #[default]
    Quorum,
    /// Every member of the present view holds it: down to the last replica, where crashes are the only faults.
    PrimaryBackup,
}

/// One replica of the address book.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaConfig {
    /// 1 to [`REPLICA_ID_MAX`], unique, and for life.
    pub id: u16,
    /// The name or address at which clients and replicas reach it.
    pub host: String,
    /// Where clients connect.
    pub port: u16,
    /// Where replicas connect.
    pub internal_port: u16,
    /// The address to listen on, where that is not `host`.
    #[serde(default)]
    pub bind: Option<IpAddr>,
}

/// Bounds a client can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest request line with its line feed, [`LINE_BYTES_MIN`] to [`LINE_BYTES_MAX`].
    pub line_bytes: u32,
    /// The most names one `list` shows.
    pub list: u32,
    /// The most client connections at a time.
    pub connections: u32,
    /// The most of them from one address; 0: any number.
    pub connections_per_address: u32,
    /// Requests a second on one connection; 0: any number.
    pub requests_per_second: u32,
    /// After so long a connection that never logged in and is silent is closed; 0: never.
    pub idle_seconds: u32,
    /// The most undelivered messages of an account; 0: any number.
    pub mailbox_messages: u64,
    /// The most bytes of their texts, at least `line_bytes`; 0: any number.
    pub mailbox_bytes: u64,
    /// The most accounts; 0: any number.
    pub accounts: u64,
    /// A message goes so many days after its delivery; 0: never.
    pub retention_days: u32,
}

/// How much of the replay log is kept: an entry goes when it is older than every limit that is set. By default none is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// At least so many of the last entries, no fewer than [`KEEP_ENTRIES_MIN`]; 0: this is no limit.
    pub keep_entries: u64,
    /// What was applied within so many days; 0: this is no limit.
    pub keep_days: u32,
    /// Where what is cut away is kept; empty: nowhere. [`Config::load`] has made it relative to the file.
    pub archive: PathBuf,
}

/// Rules for accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounts {
    /// Refuse a `create` without a password.
    pub require_password: bool,
}

/// The cluster's secret. Reads as a `str`, and never prints itself: a config may be logged.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Default for Config {
    /// Every default, and no replica: what `client --server` works with when there is no file.
    fn default() -> Self {
        Self {
            cluster: "plainsong".to_owned(),
            replication: Replication::default(),
            drop_silent_after_ms: 0,
            secret: Secret::default(),
            replicas: Vec::new(),
            heartbeat_interval_ms: 50,
            max_missed_heartbeats: 5,
            election_timeout_min_ms: 250,
            election_timeout_max_ms: 500,
            request_timeout_ms: 3000,
            data_dir: PathBuf::from("data"),
            limits: Limits::default(),
            log: LogConfig::default(),
            accounts: Accounts::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 8192,
            list: 1000,
            connections: 20_000,
            connections_per_address: 0,
            requests_per_second: 0,
            idle_seconds: 600,
            mailbox_messages: 0,
            mailbox_bytes: 0,
            accounts: 0,
            retention_days: 0,
        }
    }
}

impl Limits {
    /// How long a connection that never logged in may be silent.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        (self.idle_seconds > 0).then(|| Duration::from_secs(self.idle_seconds.into()))
    }
}

impl Config {
    /// Reads and checks the file. A relative `data_dir` comes out relative to the file's folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = fs::read(path).map_err(|said| match said.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing { path: path.to_owned() },
            _ => ConfigError::Unreadable { path: path.to_owned(), said },
        })?;
        let mut config = Self::parse(&bytes).map_err(|problems| ConfigError::bad(path, problems))?;
        if let Some(folder) = path.parent() {
            config.data_dir = folder.join(&config.data_dir);
            if !config.log.archive.as_os_str().is_empty() {
                config.log.archive = folder.join(&config.log.archive);
            }
        }
        Ok(config)
    }

    /// The pure half of [`Config::load`]: from the bytes of a file to a sound config, or to everything wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let text = error::text(bytes).map_err(|problem| vec![problem])?;
        let mut config: Self = serde_yaml::from_str(text).map_err(|error| vec![error::from_yaml(text, &error)])?;
        let violations = check::violations(&config);
        if !violations.is_empty() {
            return Err(error::located(text, violations));
        }
        config.replicas.sort_by_key(|replica| replica.id);
        Ok(config)
    }

    /// The replica of that id, if the file names it.
    #[must_use]
    pub fn replica(&self, id: u16) -> Option<&ReplicaConfig> {
        self.replicas.iter().find(|replica| replica.id == id)
    }

    /// Where that replica keeps its log and its state.
    #[must_use]
    pub fn replica_dir(&self, id: u16) -> PathBuf {
        self.data_dir.join(id.to_string())
    }

    /// Where that replica keeps what is cut away from its log, if anywhere.
    #[must_use]
    pub fn archive_dir(&self, id: u16) -> Option<PathBuf> {
        let archive = &self.log.archive;
        (!archive.as_os_str().is_empty()).then(|| archive.join(id.to_string()))
    }

    /// How many replicas are a majority of those in the file.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.replicas.len() / 2 + 1
    }

    /// How often the leader pulses.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms.into())
    }

    /// How long a replica may be silent before it counts as down.
    #[must_use]
    pub fn silence_max(&self) -> Duration {
        self.heartbeat_interval() * self.max_missed_heartbeats
    }

    /// Silence after which a replica counts as dead, if that is ever.
    #[must_use]
    pub fn drop_silent_after(&self) -> Option<Duration> {
        (self.drop_silent_after_ms > 0).then(|| Duration::from_millis(self.drop_silent_after_ms.into()))
    }

    /// The shortest time without a leader before a follower campaigns.
    #[must_use]
    pub fn election_timeout_min(&self) -> Duration {
        Duration::from_millis(self.election_timeout_min_ms.into())
    }

    /// The longest such time.
    #[must_use]
    pub fn election_timeout_max(&self) -> Duration {
        Duration::from_millis(self.election_timeout_max_ms.into())
    }

    /// How long a request without a leader is held.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }
}

impl ReplicaConfig {
    /// Where clients connect, as `host:port`.
    #[must_use]
    pub fn client_address(&self) -> String {
        host_port(&self.host, self.port)
    }

    /// Where replicas connect, as `host:port`.
    #[must_use]
    pub fn internal_address(&self) -> String {
        host_port(&self.host, self.internal_port)
    }

    /// Whether the host can only be this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// An IPv6 address has colons of its own and needs brackets before a port.
fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl std::ops::Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(…)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let shipped = Config::parse(include_bytes!("../../config.yaml")).expect("the shipped config.yaml is sound");
        let replicas = (1..=5)
            .map(|id| ReplicaConfig {
                id,
                host: "127.0.0.1".to_owned(),
                port: 5000 + id,
                internal_port: 7000 + id,
                bind: None,
            })
            .collect();
        assert_eq!(shipped, Config { replicas, ..Config::default() });
    }

    #[test]
    fn replicas_come_out_by_id_and_all_else_has_a_default() {
        let text = "replicas:\n- {id: 9, host: a, port: 1, internal_port: 2}\n- {id: 2, host: b, port: 1, internal_port: 2}\n\
                    secret: long-enough-to-be-one\n";
        let config = Config::parse(text.as_bytes()).expect("sound");
        assert_eq!(config.replicas.iter().map(|replica| replica.id).collect::<Vec<_>>(), [2, 9]);
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.majority(), 2);
        assert_eq!(config.silence_max(), Duration::from_millis(250));
    }

    #[test]
    fn a_relative_data_dir_starts_at_the_file_and_an_absolute_one_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("c.yaml");
        let replicas = "replicas: [{id: 1, host: localhost, port: 1, internal_port: 2}]\n";
        fs::write(&file, format!("{replicas}data_dir: here/d\n")).expect("written");
        let config = Config::load(&file).expect("sound");
        assert_eq!(config.replica_dir(1), folder.path().join("here/d/1"));
        fs::write(&file, format!("{replicas}data_dir: /d\n")).expect("written");
        assert_eq!(Config::load(&file).expect("sound").data_dir, Path::new("/d"));
        assert_eq!(Config::load(&file).expect("sound").archive_dir(1), None);
        fs::write(&file, format!("{replicas}log: {{keep_days: 1, archive: old}}\n")).expect("written");
        assert_eq!(Config::load(&file).expect("sound").archive_dir(1), Some(folder.path().join("old/1")));
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let config = Config { secret: "hush".into(), ..Config::default() };
        assert!(!format!("{config:?}").contains("hush"));
        assert_eq!(&*config.secret, "hush");
    }

    #[test]
    fn an_ipv6_host_is_bracketed() {
        assert_eq!(host_port("::1", 5001), "[::1]:5001");
        assert_eq!(host_port("chat.example", 5001), "chat.example:5001");
    }
}
