//! The drills, one table. Each play is a short story; what it promises beside the mailbox stands in it.

mod absent;
mod crash;
mod crowd;
mod damage;
mod disk;
mod members;
mod orphans;
mod rolling;
mod silence;
mod snapshot;
mod soak;
mod views;
mod wipe;

use std::time::Duration;

use super::load::Pace;
use super::{Drill, Needs};

/// Five replicas, nothing special.
const PLAIN: Drill = Drill {
    name: "",
    claim: "",
    needs: Needs::Nothing,
    replicas: 5,
    config: "",
    pace: Pace::STEADY,
    lasting: Duration::from_secs(10),
    play: |_| Ok(()),
};

/// Every drill there is, in the order of `scripts/drill_all.sh`, which leaves out `soak` for its length.
pub static DRILLS: &[Drill] = &[
    Drill {
        name: "kill_leader",
        claim: "Kill the leader, then its successor, while a client writes through followers",
        play: crash::kill_leader,
        ..PLAIN
    },
    Drill {
        name: "kill_follower",
        claim: "Kill the follower that a client writes through, and bring it back",
        play: crash::kill_follower,
        ..PLAIN
    },
    Drill {
        name: "kill_two",
        claim: "Kill the leader and the client's own replica at the same moment, and bring them back",
        play: crash::kill_two,
        ..PLAIN
    },
    Drill {
        name: "kill_all",
        claim: "Kill all three replicas at once, once for each order of their return",
        replicas: 3,
        play: crash::kill_all,
        ..PLAIN
    },
    Drill {
        name: "two_of_three",
        claim: "Kill two of three replicas, one after the other, in each of the six orders: the last one serves on",
        replicas: 3,
        config: "replication: primary-backup",
        play: views::two_of_three,
        ..PLAIN
    },
    Drill {
        name: "cold_start_orders",
        claim: "Stop all of three, each of them once the last, and start them in each of the six orders",
        replicas: 3,
        config: "replication: primary-backup",
        play: views::cold_start_orders,
        ..PLAIN
    },
    Drill {
        name: "rolling_restart",
        claim: "Restart every replica in turn, the leader last, while a client writes through the others",
        play: rolling::rolling_restart,
        ..PLAIN
    },
    Drill {
        name: "pause_leader",
        claim: "Stop the leader's process for a while; a read that waits at it must not be stale",
        play: silence::pause_leader,
        ..PLAIN
    },
    Drill {
        name: "partition",
        claim: "Cut the leader and another off from the other three",
        needs: Needs::Network,
        play: silence::partition,
        ..PLAIN
    },
    Drill {
        name: "partition_one_way",
        claim: "Let the leader hear nobody, then let nobody hear the leader",
        needs: Needs::Network,
        play: silence::partition_one_way,
        ..PLAIN
    },
    Drill {
        name: "orphans",
        claim: "Cut two of five off from three where silence counts as death, let both sides serve, and let them meet",
        needs: Needs::Network,
        config: "replication: primary-backup\ndrop_silent_after_ms: 4000",
        play: orphans::orphans,
        ..PLAIN
    },
    Drill {
        name: "slow_disk",
        claim: "Hold back the disk writes of a follower, then of the leader",
        play: disk::slow_disk,
        ..PLAIN
    },
    Drill {
        name: "disk_full",
        claim: "Fill the leader's disk, then those of a majority, and make room again",
        needs: Needs::SmallDisks,
        pace: Pace { text_bytes: 4000, ..Pace::STEADY },
        play: disk::disk_full,
        ..PLAIN
    },
    Drill {
        name: "torn_log",
        claim: "Cut off the write-ahead log of a killed replica at random places",
        play: damage::torn_log,
        ..PLAIN
    },
    Drill {
        name: "flip_a_bit",
        claim: "Flip one bit in a file of a stopped replica, file by file",
        play: damage::flip_a_bit,
        ..PLAIN
    },
    Drill {
        name: "wipe_one",
        claim: "Empty the disk of one replica, and then lean on it",
        play: wipe::wipe_one,
        ..PLAIN
    },
    Drill {
        name: "wipe_first",
        claim: "Stop all, empty the first, and start that one before the others",
        play: wipe::wipe_first,
        ..PLAIN
    },
    Drill {
        name: "join_under_load",
        claim: "Let two replicas join while a client writes, and then lean on them",
        play: members::join_under_load,
        ..PLAIN
    },
    Drill {
        name: "remove_leader",
        claim: "Take the leader out of the cluster, and then its successor",
        play: members::remove_leader,
        ..PLAIN
    },
    Drill {
        name: "replace_all",
        claim: "Replace all five replicas, one by one, while a client writes",
        play: members::replace_all,
        ..PLAIN
    },
    Drill {
        name: "snapshot_kill",
        claim: "Kill a replica at twenty random moments while it is filled with a copy of the state",
        config: snapshot::CONFIG,
        pace: Pace { between: Duration::ZERO, ..Pace::STEADY },
        play: snapshot::snapshot_kill,
        ..PLAIN
    },
    Drill {
        name: "slow_reader",
        claim: "Push megabytes at a reader that does not read, and let it read in the end",
        pace: Pace { between: Duration::ZERO, text_bytes: 4000 },
        play: crowd::slow_reader,
        ..PLAIN
    },
    Drill {
        name: "half_dead_reader",
        claim: "Let a reader's packets vanish, one way and both ways, and its host in the end",
        needs: Needs::Network,
        play: absent::half_dead_reader,
        ..PLAIN
    },
    Drill {
        name: "reconnect_storm",
        claim: "Kill the leader, and let 500 clients come back at the same moment",
        play: crowd::reconnect_storm,
        ..PLAIN
    },
    Drill {
        name: "soak",
        claim: "Let 50 clients chat at random while replicas are killed, stopped, cut off and restarted at random",
        needs: Needs::NetworkIfPermitted,
        pace: Pace { between: Duration::from_millis(100), text_bytes: 0 },
        lasting: Duration::from_secs(600),
        play: soak::soak,
        ..PLAIN
    },
];
