//! What a config must hold beyond its grammar: ranges, uniqueness, relations. Pure; finds everything at once.
//!
//! Relations that are held, and why:
//! - `2 × heartbeat_interval < election_timeout_min`: one pulse lost or late must not start an election.
//! - `election_timeout_min < election_timeout_max`: without a range to draw from, followers campaign together and
//!   split the vote for ever.
//! - `4 × election_timeout_max <= drop_silent_after`, if it is set: a replica that is cut off has to know it before others
//!   count it as dead.
//!
//! `max_missed_heartbeats` has no relation to hold: it says when a replica is *shown* as down, and decides nothing.

use std::collections::HashMap;

use super::locate::Step::{self, Item, Key};
use super::{
    CLUSTER_NAME_BYTES_MAX, Config, DROP_SILENT_TIMEOUTS_MIN, KEEP_ENTRIES_MIN, LINE_BYTES_MAX, LINE_BYTES_MIN,
    REPLICA_ID_MAX, ReplicaConfig, Replication,
};

/// A rule that is broken, and by which value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The value; after it, values that share the blame, for when it was left out and so has no place in the file.
    pub paths: Vec<Vec<Step>>,
    pub what: String,
    pub advice: String,
}

/// Everything that is wrong, in no order.
pub(super) fn violations(config: &Config) -> Vec<Violation> {
    let mut found = Found::default();
    names(config, &mut found);
    secret(config, &mut found);
    numbers(config, &mut found);
    timeouts(config, &mut found);
    silence(config, &mut found);
    replicas(config, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, path: &[Step], what: impl Into<String>, advice: impl Into<String>) {
        self.add_shared(&[path], what, advice);
    }

    fn add_shared(&mut self, paths: &[&[Step]], what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Violation {
            paths: paths.iter().map(|path| path.to_vec()).collect(),
            what: what.into(),
            advice: advice.into(),
        });
    }
}

fn names(config: &Config, found: &mut Found) {
    let cluster = &config.cluster;
    if cluster.is_empty() || cluster.len() > CLUSTER_NAME_BYTES_MAX || !is_field(cluster) {
        found.add(
            &[Key("cluster")],
            format!("`cluster` is {cluster:?}"),
            format!("give it 1 to {CLUSTER_NAME_BYTES_MAX} bytes without `|`, spaces and control characters"),
        );
    }
    if config.data_dir.as_os_str().is_empty() {
        found.add(&[Key("data_dir")], "`data_dir` is empty", "name a folder, or leave the key out for `data`");
    }
}

/// Whether the text can stand as one field of a line.
fn is_field(text: &str) -> bool {
    !text.chars().any(|c| c == '|' || c.is_whitespace() || c.is_control())
}

fn secret(config: &Config, found: &mut Found) {
    let stranger = config.replicas.iter().enumerate().find(|(_, replica)| !replica.is_loopback());
    if let (Some((position, stranger)), true) = (stranger, config.secret.is_empty()) {
        found.add_shared(
            &[&[Key("secret")], &[Key("replicas"), Item(position), Key("host")]],
            format!(
                "`secret` is empty, but replica {} is at {}, not on loopback",
                stranger.id,
                stranger.host.escape_debug()
            ),
            "anyone there could join the cluster: make one with `openssl rand -hex 32` and give every host the same",
        );
    }
}

fn numbers(config: &Config, found: &mut Found) {
    let positive: [(&[Step], &str, u32); 7] = [
        (&[Key("heartbeat_interval_ms")], "heartbeat_interval_ms", config.heartbeat_interval_ms),
        (&[Key("max_missed_heartbeats")], "max_missed_heartbeats", config.max_missed_heartbeats),
        (&[Key("election_timeout_min_ms")], "election_timeout_min_ms", config.election_timeout_min_ms),
        (&[Key("election_timeout_max_ms")], "election_timeout_max_ms", config.election_timeout_max_ms),
        (&[Key("request_timeout_ms")], "request_timeout_ms", config.request_timeout_ms),
        (&[Key("limits"), Key("list")], "limits.list", config.limits.list),
        (&[Key("limits"), Key("connections")], "limits.connections", config.limits.connections),
    ];
    for (path, name, value) in positive {
        if value == 0 {
            found.add(path, format!("`{name}` is 0"), "write 1 or more, or leave it out for the default");
        }
    }
    let line_bytes = config.limits.line_bytes;
    if !(LINE_BYTES_MIN..=LINE_BYTES_MAX).contains(&line_bytes) {
        found.add(
            &[Key("limits"), Key("line_bytes")],
            format!("`limits.line_bytes` is {line_bytes}"),
            format!("write {LINE_BYTES_MIN} to {LINE_BYTES_MAX}"),
        );
    }
    let keep = config.log.keep_entries;
    if (1..KEEP_ENTRIES_MIN).contains(&keep) {
        found.add(
            &[Key("log"), Key("keep_entries")],
            format!("`log.keep_entries` is {keep}"),
            format!("write {KEEP_ENTRIES_MIN} or more, or 0 for no limit"),
        );
    }
    let archive = &config.log.archive;
    if !archive.as_os_str().is_empty() && (keep, config.log.keep_days) == (0, 0) {
        found.add(
            &[Key("log"), Key("archive")],
            "`log.archive` is set, but nothing is ever cut away from the log",
            "set `log.keep_entries` or `log.keep_days` too, or leave it out",
        );
    }
    if !archive.as_os_str().is_empty() && *archive == config.data_dir {
        found.add(
            &[Key("log"), Key("archive")],
            "`log.archive` is the same folder as `data_dir`",
            "name another one, on another disk if there is one",
        );
    }
    let kept = [("keep_entries", config.log.keep_entries), ("keep_days", config.log.keep_days.into())];
    for (name, value) in kept {
        if value > 0 && config.replication == Replication::PrimaryBackup {
            found.add_shared(
                &[&[Key("log"), Key(name)], &[Key("replication")]],
                format!("`log.{name}` is {value}, but with `replication: primary-backup` the log is kept whole"),
                "leave it out, or choose `replication: quorum` before the cluster is founded",
            );
        }
    }
    let mailbox_bytes = config.limits.mailbox_bytes;
    if (1..u64::from(line_bytes)).contains(&mailbox_bytes) {
        found.add_shared(
            &[&[Key("limits"), Key("mailbox_bytes")], &[Key("limits"), Key("line_bytes")]],
            format!("`limits.mailbox_bytes` is {mailbox_bytes}, less than `limits.line_bytes`, {line_bytes}"),
            "a message of one line would fit in no mailbox: write more, or 0 for no limit",
        );
    }
}

fn timeouts(config: &Config, found: &mut Found) {
    let Config { heartbeat_interval_ms: heartbeat, election_timeout_min_ms: min, election_timeout_max_ms: max, .. } =
        *config;
    if heartbeat == 0 || min == 0 || max == 0 {
        return; // Told already; a relation to zero would only repeat it.
    }
    if u64::from(heartbeat) * 2 >= u64::from(min) {
        found.add_shared(
            &[&[Key("heartbeat_interval_ms")], &[Key("election_timeout_min_ms")]],
            format!("two heartbeats of {heartbeat} ms are not shorter than `election_timeout_min_ms`, {min} ms"),
            "one lost pulse would start an election: lower this, or raise both election timeouts",
        );
    }
    if min >= max {
        found.add_shared(
            &[&[Key("election_timeout_min_ms")], &[Key("election_timeout_max_ms")]],
            format!("`election_timeout_min_ms`, {min}, is not below `election_timeout_max_ms`, {max}"),
            "followers draw a random time between the two so as not to campaign at once: make the second twice the first",
        );
    }
}

fn silence(config: &Config, found: &mut Found) {
    let (silent, max) = (config.drop_silent_after_ms, config.election_timeout_max_ms);
    if silent == 0 {
        return;
    }
    let path: &[Step] = &[Key("drop_silent_after_ms")];
    if config.replication != Replication::PrimaryBackup {
        found.add_shared(
            &[path, &[Key("replication")]],
            format!("`drop_silent_after_ms` is {silent}, but with `replication: quorum` a majority goes on by itself"),
            "leave it out, or choose `replication: primary-backup` before the cluster is founded",
        );
    }
    if u64::from(silent) < u64::from(max) * u64::from(DROP_SILENT_TIMEOUTS_MIN) {
        found.add_shared(
            &[path, &[Key("election_timeout_max_ms")]],
            format!(
                "`drop_silent_after_ms` is {silent}, less than {DROP_SILENT_TIMEOUTS_MIN} times `election_timeout_max_ms`, \
                 {max} ms"
            ),
            "whoever is cut off must notice it in half of that: write more, or 0 to wait for a silent replica for ever",
        );
    }
}

fn replicas(config: &Config, found: &mut Found) {
    if config.replicas.is_empty() {
        found.add(
            &[Key("replicas")],
            "there are no `replicas`",
            "list at least one, as in: - { id: 1, host: 127.0.0.1, port: 5001, internal_port: 7001 }",
        );
    }
    let mut ids = HashMap::new();
    let mut ports = HashMap::new();
    for (position, replica) in config.replicas.iter().enumerate() {
        one_replica(position, replica, found);
        if ids.insert(replica.id, position).is_some() {
            found.add(
                &[Key("replicas"), Item(position), Key("id")],
                format!("id {} is given twice", replica.id),
                "give each replica an id of its own",
            );
        }
        for (key, port) in [("port", replica.port), ("internal_port", replica.internal_port)] {
            if let Some(owner) = ports.insert((host_key(replica), port), replica.id) {
                found.add(
                    &[Key("replicas"), Item(position), Key(key)],
                    format!("`{key}` {port} on {} is already used by replica {owner}", replica.host),
                    "`port` and `internal_port` share one space on a host: choose a free one",
                );
            }
        }
    }
}

fn one_replica(position: usize, replica: &ReplicaConfig, found: &mut Found) {
    let at = |key| [Key("replicas"), Item(position), Key(key)];
    if replica.id == 0 || replica.id > REPLICA_ID_MAX {
        found.add(&at("id"), format!("id {} is out of range", replica.id), format!("choose 1 to {REPLICA_ID_MAX}"));
    }
    if replica.host.is_empty() || !is_field(&replica.host) {
        found.add(&at("host"), format!("`host` is {:?}", replica.host), "write a host name or an IP address");
    }
    for (key, port) in [("port", replica.port), ("internal_port", replica.internal_port)] {
        if port == 0 {
            found.add(&at(key), format!("`{key}` is 0"), "choose 1 to 65535: others must know where to connect");
        }
    }
}

/// Two spellings of one host that are worth knowing; anything beyond would need a resolver.
fn host_key(replica: &ReplicaConfig) -> String {
    let host = replica.host.to_ascii_lowercase();
    if host == "localhost" { "127.0.0.1".to_owned() } else { host }
}
