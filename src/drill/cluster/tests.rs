//! What the harness itself promises, without a server.

use std::net::Ipv4Addr;
use std::process::Command;

use super::layout::config_text;
use super::look::resident_bytes_in;
use super::*;

/// A "server" that ends at once with an exit code. A process of its own writes it: what this one has open for writing,
/// the `fork` of another test may keep open until its `exec`, and what is open for writing is not run.
fn binary_that_exits(dir: &Path, code: i32) -> PathBuf {
    let path = dir.join("server.sh");
    let script = format!("#!/bin/sh\necho the reason >&2\nexit {code}\n");
    let write = ["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""];
    let written = Command::new("sh").args(write).arg(&path).arg(script).status().expect("a shell");
    assert!(written.success());
    path
}

#[test]
fn writes_the_configuration_of_the_design() {
    let placings = [Placing { id: 1, host: Ipv4Addr::LOCALHOST, port: 10, internal_port: 20 }];
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
