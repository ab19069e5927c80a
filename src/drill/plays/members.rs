//! Replicas that come and go while a client writes.

use std::time::Duration;

use crate::drill::stage::Stage;
use crate::drill::{Cluster, DrillError};

/// Acknowledged between two changes.
const BETWEEN: usize = 25;
/// A replica that was taken out has ended within this.
const END_WAIT: Duration = Duration::from_secs(15);

/// Two join; then two of the old ones die: of seven voters five are left, and four are needed.
pub fn join_under_load(stage: &mut Stage) -> Result<(), DrillError> {
    stage.flow(BETWEEN)?;
    let first = joins(stage)?;
    let second = joins(stage)?;
    let (leader, followers) = stage.roles()?;
    let old: Vec<u16> = followers.into_iter().filter(|&id| id != first && id != second).collect();
    stage.route(&[first, second]);
    stage.flow(BETWEEN)?;
    let mut victims = vec![leader, old[0]];
    victims.retain(|&id| id != first && id != second);
    stage.hit(&format!("kill -9 {victims:?}"), |cluster| cluster.kill_all(&victims))?;
    stage.flow(stage.options.messages / 4)
}

/// The leader goes, and whoever leads then. Three of five are left.
pub fn remove_leader(stage: &mut Stage) -> Result<(), DrillError> {
    stage.flow(BETWEEN)?;
    for _ in 0..2 {
        let (leader, followers) = stage.roles()?;
        stage.route(&followers);
        goes(stage, leader)?;
        stage.flow(BETWEEN)?;
    }
    let left = stage.cluster.ids().len();
    stage.promise(left == 3, &format!("{left} replicas are left of five"));
    Ok(())
}

/// One joins, and one of the first five goes, until none of them is there any more.
pub fn replace_all(stage: &mut Stage) -> Result<(), DrillError> {
    for old in stage.cluster.ids() {
        joins(stage)?;
        let (_, mut followers) = stage.roles()?;
        followers.retain(|&id| id != old);
        stage.route(&followers);
        goes(stage, old)?;
        stage.flow(BETWEEN)?;
    }
    let left = stage.cluster.ids();
    stage.promise(left.iter().all(|&id| id > 5) && left.len() == 5, &format!("{left:?} are left"));
    Ok(())
}

fn joins(stage: &mut Stage) -> Result<u16, DrillError> {
    let id = stage.heal("another joins", Cluster::join)?;
    stage.recover()?;
    stage.flow(BETWEEN)?;
    Ok(id)
}

fn goes(stage: &mut Stage, id: u16) -> Result<(), DrillError> {
    let told = stage.hit(&format!("{id} leaves"), |cluster| {
        let output = cluster.take_out("leave", id)?;
        if output.status.success() {
            cluster.await_end(id, END_WAIT)?;
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    })?;
    let is_gone = !stage.cluster.ids().contains(&id);
    stage.promise(is_gone, &format!("replica {id} was not taken out: {told}"));
    Ok(())
}
