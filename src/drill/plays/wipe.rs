//! Replicas that lost their disk.

use std::fs;
use std::time::Duration;

use crate::drill::stage::Stage;
use crate::drill::{Cluster, DrillError};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// How long an emptied replica is watched alone: longer than any election, so that it would have made a cluster by then.
const ALONE: Duration = Duration::from_secs(2);
/// A request is answered within this, if only by `retry`.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Removes a stopped replica's data.
pub fn empty(cluster: &Cluster, id: u16) -> Result<(), DrillError> {
    fs::remove_dir_all(cluster.data_dir(id)).map_err(DrillError::io("empty a replica's disk"))
}

/// Once it votes again, two others die: what is left is a majority only with it.
pub fn wipe_one(stage: &mut Stage) -> Result<(), DrillError> {
    let (_, followers) = stage.roles()?;
    let wiped = followers[0];
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    stage.hit(&format!("kill -9 and empty {wiped}"), |cluster| {
        cluster.kill(wiped)?;
        empty(cluster, wiped)
    })?;
    stage.flow(BETWEEN)?;
    stage.heal(&format!("start {wiped} blank"), |cluster| cluster.restart(wiped))?;
    stage.recover()?;
    stage.flow(BETWEEN)?;
    let (leader, followers) = stage.roles()?;
    let mut victims: Vec<u16> = [leader].into_iter().chain(followers).filter(|&id| id != wiped).collect();
    victims.truncate(2);
    stage.hit(&format!("kill -9 {} and {}", victims[0], victims[1]), |cluster| cluster.kill_all(&victims))?;
    stage.flow(stage.options.messages / 4)
}

/// The lowest id is the one that would found a cluster.
pub fn wipe_first(stage: &mut Stage) -> Result<(), DrillError> {
    let before = cluster_id(&stage.cluster, 2)?;
    stage.flow(stage.options.messages / 4)?;
    stage.hit("kill -9 all, empty 1", |cluster| {
        cluster.kill_all(&cluster.ids())?;
        empty(cluster, 1)
    })?;
    stage.heal("start 1 blank", |cluster| cluster.restart(1))?;
    stage.last(ALONE)?;
    let answer = stage.cluster.connect(1, ANSWER_WAIT)?.request("1|intruder")?.last;
    stage.promise(answer.starts_with("retry|"), &format!("an emptied replica alone answered {answer:?}"));
    let mut others = stage.cluster.ids();
    others.retain(|&id| id != 1);
    stage.heal("start the others", |cluster| others.iter().try_for_each(|&id| cluster.restart(id)))?;
    stage.recover()?;
    stage.flow(BETWEEN)?;
    for id in stage.cluster.ids() {
        let after = cluster_id(&stage.cluster, id)?;
        stage.promise(after == before, &format!("replica {id} is of cluster {after:?}, not {before:?}"));
    }
    Ok(())
}

/// As the greeting tells it.
fn cluster_id(cluster: &Cluster, id: u16) -> Result<String, DrillError> {
    let client = cluster.connect(id, ANSWER_WAIT)?;
    Ok(client.hello().split('|').nth(4).unwrap_or_default().to_owned())
}
