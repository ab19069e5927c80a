//! `plainsong bench`: what it reports is what happened, and it leaves no account behind.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use plainsong::drill::{ClusterOptions, wait_until};

use crate::harness::{PATIENCE, binary, start, together};
use crate::person::Person;

const EXIT_UNAVAILABLE: i32 = 69;
/// Messages after which the benchmark is certainly under way.
const UNDER_WAY: u64 = 200;

fn machine_line(stdout: &[u8]) -> HashMap<String, u64> {
    let text = String::from_utf8_lossy(stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("bench|")).unwrap_or_else(|| panic!("no result in {text}"));
    let fields = line.split('|').skip(1).map(|field| field.split_once('=').expect("name=value"));
    fields.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn a_benchmark_survives_the_death_of_the_leader_and_tells_the_gap() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 3, ..ClusterOptions::default() });
    let leader = cluster.await_leader().expect("a leader");
    let words = ["bench", "-n", "6", "--in-flight", "4", "--duration", "2", "--warmup", "0.1", "--failover"];
    let mut bench = Command::new(binary());
    bench.args(words).arg("--config").arg(cluster.config()).stdin(Stdio::null()).stdout(Stdio::piped());
    let bench = bench.spawn().expect("the binary runs");
    let applied = || Some(cluster.status(leader).ok()?.replica(leader)?.applied);
    let begun = wait_until("messages are sent", PATIENCE, || applied().filter(|applied| *applied > UNDER_WAY));
    begun.expect("the benchmark runs");
    cluster.kill(leader).expect("it ran");
    let output = bench.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let said = machine_line(&output.stdout);
    assert!(said["acked"] > UNDER_WAY && said["pushed"] > 0, "{said:?}");
    assert!(said["reconnects"] >= 2, "two connections were at the leader: {said:?}");
    assert_eq!(said["refused"], 0, "{said:?}");
    assert!(said["p50_us"] <= said["p99_us"] && said["p99_us"] <= said["max_us"] && said["gap_us"] > 0, "{said:?}");
    let other = cluster.running()[0];
    Person::at(&cluster, other).expect("0|^bench-", "ok|list|0|0");
}

#[test]
fn a_benchmark_begins_where_somebody_serves_and_ends_only_if_nobody_does() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 3, ..ClusterOptions::default() });
    // Each of the first two connections has another one first in its list, that of the third is the one that is down.
    cluster.kill(3).expect("it ran");
    cluster.await_leader().expect("two of three");
    let bench = |cluster: &plainsong::drill::Cluster| {
        let mut bench = Command::new(binary());
        bench.args(["bench", "-n", "3", "--in-flight", "2", "--duration", "0.2", "--warmup", "0.1"]);
        bench.arg("--config").arg(cluster.config()).stdin(Stdio::null()).output().expect("the binary runs")
    };
    let output = bench(&cluster);
    assert!(output.status.success(), "{output:?}");
    let said = machine_line(&output.stdout);
    assert!(said["acked"] > 0 && said["reconnects"] == 0, "{said:?}");
    Person::at(&cluster, 1).expect("0|^bench-", "ok|list|0|0");
    cluster.kill_all(&[1, 2]).expect("they ran");
    let output = bench(&cluster);
    assert_eq!(output.status.code(), Some(EXIT_UNAVAILABLE), "{output:?}");
}
