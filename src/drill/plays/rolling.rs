//! Restarts in good order, as for an upgrade.

use crate::drill::DrillError;
use crate::drill::stage::Stage;

/// Acknowledged before, during and after each restart.
const BETWEEN: usize = 25;

/// SIGTERM, start, wait until it has caught up: each in turn, the leader last. The writer is never connected to the one that
/// ends, so nothing excuses a refusal.
pub fn rolling_restart(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, mut order) = stage.roles()?;
    order.push(leader);
    for id in order {
        let others: Vec<u16> = stage.cluster.ids().into_iter().filter(|other| *other != id).collect();
        stage.route(&others);
        stage.flow(BETWEEN)?;
        let status = stage.hit(&format!("SIGTERM {id}"), |cluster| cluster.terminate(id))?;
        stage.promise(status.success(), "a replica did not end in good order");
        stage.flow(BETWEEN)?;
        stage.heal(&format!("start {id}"), |cluster| cluster.restart(id))?;
        stage.recover()?;
        stage.flow(BETWEEN)?;
    }
    let refused = stage.refusals();
    stage.fact("refused", refused);
    stage.promise(refused == 0, "a request at a replica that was not restarted was refused");
    Ok(())
}
