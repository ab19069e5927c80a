//! A cluster is founded once, by all of its replicas, in whatever order they start.

use plainsong::drill::{Cluster, ClusterOptions};

use crate::harness::{binary, together};
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
        assert!(matches("ok|sent|first|*", &person.asks("5|first|hello")));
        // From now on any majority starts, in any order.
        cluster.kill_all(&cluster.ids()).expect("all were running");
        for &id in order.iter().rev().take(3) {
            cluster.restart(id).expect("it starts");
        }
        cluster.await_leader().expect("three of five elect a leader");
        Person::back(&cluster, order[4], "first");
    }
}
