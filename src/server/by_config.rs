//! What the config says, in the words of the parts that it is meant for. Pure.

use std::time::Duration;

use crate::actors::replicator::keeper::{CUT_MARGIN, Keep};
use crate::config::{Config, Limits, LogConfig, ReplicaConfig, Replication};
use crate::consensus::{Address, Index, Mode, ReplicaId};
use crate::machine::body::mode_word;
use crate::storage;
use crate::wire::admin::Places;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Where everybody is.
pub(super) fn places(config: &Config) -> Places {
    Places { cluster: None, at: Index(0), addresses: config.replicas.iter().map(address).collect() }
}

/// Where one replica is.
pub(super) fn address(replica: &ReplicaConfig) -> Address {
    Address { id: ReplicaId(replica.id), clients: replica.client_address(), replicas: replica.internal_address() }
}

/// A digest of the address book and the mode: a cluster is founded only by replicas that agree on both.
pub(super) fn book(config: &Config) -> u64 {
    let mut lines: Vec<String> =
        config.replicas.iter().map(|r| format!("{}|{}|{}|{}", r.id, r.host, r.port, r.internal_port)).collect();
    lines.sort_unstable();
    lines.push(mode_word(mode(config)).to_owned());
    xxhash_rust::xxh3::xxh3_64(lines.join("\n").as_bytes())
}

/// How a cluster that is founded by this config replicates.
pub(super) fn mode(config: &Config) -> Mode {
    match config.replication {
        Replication::Quorum => Mode::Quorum,
        Replication::PrimaryBackup => Mode::PrimaryBackup,
    }
}

/// What a leader stamps on entries.
pub(super) fn quota(limits: &Limits) -> chat::Quota {
    chat::Quota {
        mailbox_messages: unless_zero(limits.mailbox_messages),
        mailbox_bytes: unless_zero(limits.mailbox_bytes),
        accounts: unless_zero(limits.accounts),
        retention: unless_zero(u64::from(limits.retention_days) * SECONDS_A_DAY),
    }
}

/// How much of its log a replica keeps.
pub(super) fn keep(log: &LogConfig) -> Keep {
    let (entries, time) = (unless_zero(log.keep_entries), unless_zero(u64::from(log.keep_days) * SECONDS_A_DAY));
    let archives = !log.archive.as_os_str().is_empty();
    // A file of a few entries each would be many files; who keeps few entries wants to see them go.
    let few = entries.unwrap_or(u64::MAX).min(storage::ARCHIVE_ENTRIES);
    Keep { entries, time: time.map(Duration::from_secs), archived: if archives { few } else { 0 }, margin: CUT_MARGIN }
}

/// In a config 0 stands for "no limit".
fn unless_zero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}
