//! Processes that die: one, two, all.

use crate::drill::DrillError;
use crate::drill::stage::Stage;

/// How many leaders die in `kill_leader`: as many as five replicas survive.
const LEADERS: usize = 2;
/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// Every order of three replicas.
pub(super) const ORDERS: [[u16; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

/// The writer goes through followers: it sees the failover, not a broken connection.
pub fn kill_leader(stage: &mut Stage) -> Result<(), DrillError> {
    let share = stage.options.messages / (LEADERS * 2 + 1);
    for _ in 0..LEADERS {
        let (leader, followers) = stage.roles()?;
        stage.route(&followers);
        stage.flow(share)?;
        stage.hit(&format!("kill -9 leader {leader}"), |cluster| cluster.kill(leader))?;
        stage.flow(share)?;
    }
    Ok(())
}

pub fn kill_follower(stage: &mut Stage) -> Result<(), DrillError> {
    let (_, followers) = stage.roles()?;
    let victim = followers[0];
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    stage.hit(&format!("kill -9 follower {victim}"), |cluster| cluster.kill(victim))?;
    stage.flow(stage.options.messages / 4)?;
    stage.heal(&format!("start {victim}"), |cluster| cluster.restart(victim))?;
    stage.recover()?;
    stage.flow(BETWEEN)
}

pub fn kill_two(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    let victims = [leader, followers[0]];
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    let label = format!("kill -9 leader {leader} and follower {}", followers[0]);
    stage.hit(&label, |cluster| cluster.kill_all(&victims))?;
    stage.flow(stage.options.messages / 4)?;
    stage.heal("start both", |cluster| victims.iter().try_for_each(|&id| cluster.restart(id)))?;
    stage.recover()?;
    stage.flow(BETWEEN)
}

pub fn kill_all(stage: &mut Stage) -> Result<(), DrillError> {
    for order in ORDERS {
        stage.flow(BETWEEN)?;
        stage.hit("kill -9 all", |cluster| cluster.kill_all(&cluster.ids()))?;
        let label = format!("start {}", order.map(|id| id.to_string()).join(", "));
        stage.heal(&label, |cluster| order.iter().try_for_each(|&id| cluster.restart(id)))?;
        stage.recover()?;
    }
    stage.flow(BETWEEN)
}
