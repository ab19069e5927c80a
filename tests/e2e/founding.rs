//! A cluster is founded once, by all of its replicas, in whatever order they start.

use plainsong::drill::{Cluster, ClusterOptions, wait_until};

use crate::harness::{PATIENCE, binary, start, together};
use crate::person::{Person, matches};

fn found_in(order: [u16; 5]) -> Cluster {
    let mut cluster = Cluster::prepare(binary(), &ClusterOptions::default()).expect("prepared");
    for id in &order[..4] {
        cluster.restart(*id).expect("it starts");
    }
    // Four blank replicas cannot know whether the fifth holds a cluster's data: they must not begin a new one.
    for &id in &order[..4] {
        let answer = Person::at(&cluster, id).asks("1|too-early");
        assert!(answer.starts_with("retry|"), "{order:?}: {answer}");
        assert_eq!(cluster.status(id).expect("status is local").leader, None, "{order:?}");
    }
    cluster.restart(order[4]).expect("it starts");
    cluster.await_whole().expect("the last one completes the cluster");
    cluster
}

#[test]
fn five_replicas_found_one_cluster_in_any_order() {
    let _turn = together();
    for order in [[1, 2, 3, 4, 5], [5, 3, 4, 2, 1]] {
        let mut cluster = found_in(order);
        let hellos: Vec<String> = cluster
            .ids()
            .into_iter()
            .map(|id| Person::at(&cluster, id).client().hello().rsplit('|').next().unwrap_or_default().to_owned())
            .collect();
        assert!(hellos.iter().all(|cluster| *cluster == hellos[0]), "{order:?}: one cluster id: {hellos:?}");
        let mut person = Person::new(&cluster, order[0], "first");
        assert!(matches("ok|*|first|*", &person.asks("5|first|hello")));
        // From now on any majority starts, in any order.
        cluster.kill_all(&cluster.ids()).expect("all were running");
        for &id in order.iter().rev().take(3) {
            cluster.restart(id).expect("it starts");
        }
        cluster.await_leader().expect("three of five elect a leader");
        Person::back(&cluster, order[4], "first");
    }
}

/// One of three will not come for a while. Its operator says so; it joins later.
#[test]
fn two_of_three_found_when_they_are_told_to_and_one_does_not() {
    let _turn = together();
    let options = ClusterOptions { replicas: 3, ..ClusterOptions::default() };
    let mut cluster = Cluster::prepare(binary(), &options).expect("prepared");
    let found = |cluster: &Cluster, words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command.arg("found").args(words).arg("--config").arg(cluster.config());
        let output = command.stdin(std::process::Stdio::null()).output().expect("the binary runs");
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    assert_eq!(found(&cluster, &["--yes"]).0, Some(69), "nobody is there");
    cluster.restart(2).expect("it starts");
    let (code, said) = found(&cluster, &["--yes"]);
    assert!(code == Some(1) && said.contains("2 are needed"), "{said}");
    cluster.restart(3).expect("it starts");
    assert_eq!(found(&cluster, &[]).0, Some(1), "nobody said yes");
    let founded = wait_until("the two are linked", PATIENCE, || {
        let (code, said) = found(&cluster, &["--yes"]);
        (code == Some(0)).then_some(said)
    })
    .expect("they found it");
    assert!(founded.contains("missing: 1") && founded.contains("server -i 1 --join"), "{founded}");
    cluster.await_leader().expect("two of two lead");
    let mut person = Person::new(&cluster, 3, "first");
    assert!(matches("ok|*|first|*", &person.asks("5|first|hello")));
    let (code, said) = found(&cluster, &["--yes"]);
    assert!(code == Some(1) && said.contains("is founded"), "{said}");
}

/// What a disk holds that is the only one is as safe as that disk.
#[test]
fn one_replica_alone_that_loses_its_disk_has_lost_all_and_founds_another_cluster() {
    let _turn = together();
    let mut cluster = start(&ClusterOptions { replicas: 1, ..ClusterOptions::default() });
    let of = |cluster: &Cluster| Person::at(cluster, 1).client().hello().rsplit('|').next().map(str::to_owned);
    let before = of(&cluster);
    Person::new(&cluster, 1, "ann").sends("ann", "for myself");
    cluster.kill(1).expect("it ran");
    cluster.restart(1).expect("it is back");
    cluster.await_leader().expect("alone");
    assert_eq!((of(&cluster), Person::back(&cluster, 1, "ann").1), (before.clone(), 1), "the disk was there");
    cluster.kill(1).expect("it ran");
    std::fs::remove_dir_all(cluster.data_dir(1)).expect("it had a directory");
    cluster.restart(1).expect("it starts blank");
    cluster.await_leader().expect("alone");
    assert_ne!(of(&cluster), before);
    Person::at(&cluster, 1).expect("2|ann", "err|NO_SUCH_USER|*");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
