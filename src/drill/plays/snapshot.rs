//! Copies of the state, on their way to a replica that is too far behind.

use std::fs;
use std::time::{Duration, Instant};

use super::wipe::empty;
use crate::drill::stage::Stage;
use crate::drill::{DrillError, wait_until};

/// What the replicas keep of their logs: little, so that it is soon not enough.
pub const CONFIG: &str = "log: { keep_entries: 1000 }";
/// Written before the first fault: more than is kept, and the margin to it.
const WRITTEN: usize = 1_500;
/// How often the replica is killed while it is filled.
const KILLS: usize = 20;
/// After so many kills its disk is emptied once more: by then it may have come through.
const KILLS_A_DISK: usize = 4;
/// How long an undisturbed filling is waited for.
const FILLED_WAIT: Duration = Duration::from_secs(60);
/// What the log file of a replica says when its state is a copy.
const INSTALLED: &str = "the state is a copy of another replica's";

/// Killed at twenty random moments of the time that it takes to be filled, and then left in peace.
pub fn snapshot_kill(stage: &mut Stage) -> Result<(), DrillError> {
    let mut random = fastrand::Rng::with_seed(stage.options.seed);
    let (_, followers) = stage.roles()?;
    let victim = followers[0];
    stage.route(&followers[1..]);
    stage.flow(WRITTEN)?;
    stage.hit(&format!("kill -9 and empty {victim}"), |cluster| {
        cluster.kill(victim)?;
        empty(cluster, victim)
    })?;
    let began = Instant::now();
    stage.heal(&format!("start {victim} blank"), |cluster| cluster.spawn(victim))?;
    let installed = wait_until("a copy is installed", FILLED_WAIT, || (installed(stage, victim) > 0).then_some(()));
    stage.promise(installed.is_ok(), &format!("replica {victim} was blank, and was sent no copy of a state"));
    let usual = began.elapsed();
    stage.recover()?;
    for kill in 0..KILLS {
        stage.hit(&format!("kill -9 {victim}"), |cluster| cluster.kill(victim))?;
        if kill % KILLS_A_DISK == 0 {
            empty(&stage.cluster, victim)?;
        }
        stage.heal(&format!("start {victim}"), |cluster| cluster.spawn(victim))?;
        stage.last(usual.mul_f64(random.f64() * 1.2))?;
    }
    stage.recover()?;
    stage.fact("kills", KILLS);
    stage.fact("copies_installed", self::installed(stage, victim));
    stage.fact("seed", stage.options.seed);
    stage.route(&[victim]);
    stage.flow(25)
}

/// How often the replica has taken a copy for its state, as far as its log file tells.
fn installed(stage: &Stage, id: u16) -> usize {
    let text = fs::read_to_string(stage.cluster.log_file(id)).unwrap_or_default();
    text.lines().filter(|line| line.contains(INSTALLED)).count()
}
