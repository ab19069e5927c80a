//! Replicas that live and are not heard: stopped processes and cut links.

use std::time::Instant;

use crate::drill::DrillError;
use crate::drill::stage::{Probe, Seen, Stage};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// Acknowledged while a replica is cut off that may still hold a message of the same writer: more than the keys that are
/// remembered of an account, so that what it sends late is not stopped by its key.
const BEYOND_KEY_MEMORY: usize = 1100;

/// The read is sent while the leader is stopped, after others have gone on without it: when it wakes it still believes
/// that it leads, and its own mailbox is old.
pub fn pause_leader(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    let mut probe = Probe::open(&stage.cluster, leader)?;
    stage.hit(&format!("SIGSTOP leader {leader}"), |cluster| cluster.pause(leader))?;
    let stopped = Instant::now();
    stage.flow(BETWEEN)?;
    stage.last(stage.options.lasting.saturating_sub(stopped.elapsed()))?;
    probe.ask(stage)?;
    stage.heal("SIGCONT", |cluster| cluster.resume(leader))?;
    judge_read(stage, &mut probe, "the leader that was stopped")?;
    stage.recover()?;
    stage.flow(BETWEEN)
}

/// The writer begins at a replica that is cut off together with the leader.
pub fn partition(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    let (minority, majority) = ([leader, followers[0]], &followers[1..]);
    stage.route(&followers);
    stage.flow(stage.options.messages / 4)?;
    let mut probe = Probe::open(&stage.cluster, leader)?;
    let label = format!("cut leader {leader} and {} off", followers[0]);
    stage.cut(&label, &[(&minority, majority), (majority, &minority)])?;
    let cut = Instant::now();
    stage.flow(BETWEEN)?;
    probe.ask(stage)?;
    let seen = judge_read(stage, &mut probe, "the leader that was cut off")?;
    stage.promise(seen != Seen::Fresh, "a leader without a majority answered a read with ok");
    stage.flow(BEYOND_KEY_MEMORY)?;
    stage.last(stage.options.lasting.saturating_sub(cut.elapsed()))?;
    stage.join()?;
    stage.recover()?;
    stage.flow(BETWEEN)
}

pub fn partition_one_way(stage: &mut Stage) -> Result<(), DrillError> {
    for deaf in [true, false] {
        let (leader, followers) = stage.roles()?;
        stage.route(&followers);
        stage.flow(stage.options.messages / 4)?;
        let mut probe = Probe::open(&stage.cluster, leader)?;
        let cut = Instant::now();
        if deaf {
            stage.cut(&format!("leader {leader} hears nobody"), &[(&followers, &[leader])])?;
        } else {
            stage.cut(&format!("nobody hears leader {leader}"), &[(&[leader], &followers)])?;
        }
        stage.flow(BETWEEN)?;
        probe.ask(stage)?;
        judge_read(stage, &mut probe, if deaf { "a deaf leader" } else { "a mute leader" })?;
        stage.last((stage.options.lasting / 2).saturating_sub(cut.elapsed()))?;
        stage.join()?;
        stage.recover()?;
    }
    stage.flow(BETWEEN)
}

/// A read that could have been stale: refused is right, and so is fresh.
fn judge_read(stage: &mut Stage, probe: &mut Probe, whose: &str) -> Result<Seen, DrillError> {
    let seen = probe.answer()?;
    match &seen {
        Seen::Fresh => stage.fact("read", "fresh"),
        Seen::Refused(code) => stage.fact("read", code.clone()),
        Seen::Stale(missing) => {
            stage.fact("read", "stale");
            stage.promise(false, &format!("a read at {whose} lacked {missing} acknowledged messages"));
        }
    }
    Ok(seen)
}
