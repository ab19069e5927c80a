//! A config file: any bytes are a sound [`Config`], or problems that each have a place in the file and a remedy.

use std::collections::BTreeSet;

use plainsong::config::{
    CLUSTER_NAME_BYTES_MAX, Config, LINE_BYTES_MAX, LINE_BYTES_MIN, Problem, REPLICA_ID_MAX, Replication,
};

/// Panics where a promise is broken.
pub fn run(input: &[u8]) {
    match Config::parse(input) {
        Ok(config) => sound(&config),
        Err(problems) => told(input, &problems),
    }
}

/// The rules of docs/OPERATIONS.md, written down a second time.
fn sound(config: &Config) {
    let is_field =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c == '|' || c.is_whitespace() || c.is_control());
    assert!(is_field(&config.cluster) && config.cluster.len() <= CLUSTER_NAME_BYTES_MAX);
    assert_eq!(config.replication, Replication::Quorum);
    assert!(!config.replicas.is_empty());
    assert!(config.replicas.windows(2).all(|two| two[0].id < two[1].id), "in order, and each id once");
    let mut ports = BTreeSet::new();
    for replica in &config.replicas {
        assert!((1..=REPLICA_ID_MAX).contains(&replica.id) && is_field(&replica.host));
        assert_eq!(config.replica(replica.id), Some(replica));
        for port in [replica.port, replica.internal_port] {
            assert!(port > 0 && ports.insert((replica.host.to_ascii_lowercase(), port)), "port {port} is used twice");
        }
    }
    assert!(2 * config.heartbeat_interval() < config.election_timeout_min());
    assert!(config.election_timeout_min() < config.election_timeout_max());
    assert!(config.silence_max() >= config.heartbeat_interval());
    assert!((LINE_BYTES_MIN..=LINE_BYTES_MAX).contains(&config.limits.line_bytes));
    assert!(config.limits.list > 0 && config.limits.connections > 0 && config.request_timeout_ms > 0);
}

fn told(input: &[u8], problems: &[Problem]) {
    assert!(!problems.is_empty());
    // All that YAML breaks a line at.
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let lines = String::from_utf8_lossy(input).matches(breaks).count() + 1;
    for problem in problems {
        assert!((1..=lines + 1).contains(&problem.line) && problem.column >= 1, "{problem}");
        assert!(!problem.what.is_empty() && !problem.advice.is_empty(), "{problem}");
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
    }
}
