//! `replication: primary-backup`: down to the last of three, and back after a total stop.

use super::crash::ORDERS;
use crate::drill::DrillError;
use crate::drill::stage::Stage;

/// Acknowledged between two faults.
const BETWEEN: usize = 15;

/// Of each order of return, the first two die, in that order; the third is left alone, and the writer must get through it.
/// Then it dies as well: the others come back first, and have to wait for it.
pub fn two_of_three(stage: &mut Stage) -> Result<(), DrillError> {
    for [first, second, last] in ORDERS {
        stage.route(&[last, second, first]);
        stage.flow(BETWEEN)?;
        stage.hit(&format!("kill -9 {first}"), |cluster| cluster.kill(first))?;
        stage.flow(BETWEEN)?;
        stage.hit(&format!("kill -9 {second}"), |cluster| cluster.kill(second))?;
        stage.flow(BETWEEN)?;
        stage.hit(&format!("kill -9 {last}, the last"), |cluster| cluster.kill(last))?;
        let label = format!("start {first}, {second}, {last}");
        stage.heal(&label, |cluster| [first, second, last].iter().try_for_each(|&id| cluster.restart(id)))?;
        stage.recover()?;
    }
    stage.flow(BETWEEN)
}

/// Each of the three is the last to fail once for each order of return. Whoever comes before it has to wait for it,
/// whatever it was acknowledged before; once it is there, it leads.
pub fn cold_start_orders(stage: &mut Stage) -> Result<(), DrillError> {
    for order in ORDERS {
        for last in order {
            let rest: Vec<u16> = order.into_iter().filter(|id| *id != last).collect();
            stage.route(&[&[last], &rest[..]].concat());
            for &id in &rest {
                stage.flow(BETWEEN)?;
                stage.hit(&format!("kill -9 {id}"), |cluster| cluster.kill(id))?;
            }
            stage.flow(BETWEEN)?;
            stage.hit(&format!("kill -9 {last}, the last"), |cluster| cluster.kill(last))?;
            let acked = stage.acked();
            for id in order {
                if id == last {
                    stage
                        .promise(stage.acked() == acked, "a message was acknowledged before the last to fail was back");
                }
                stage.heal(&format!("start {id}"), |cluster| cluster.restart(id))?;
                if id == last {
                    let leader = stage.roles()?.0;
                    stage.promise(leader == last, "another than the last to fail led first");
                }
            }
            stage.recover()?;
        }
    }
    stage.flow(BETWEEN)
}
