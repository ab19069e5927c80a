//! Disks that are slow or full.

use std::time::{Duration, Instant};

use crate::drill::load::ACK_WAIT;
use crate::drill::stage::{Probe, Seen, Stage, WRITER, create_accounts};
use crate::drill::throttle::Throttle;
use crate::drill::{DrillError, LineClient, wait_until};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// So many disk writes a second: an fsync takes tens of milliseconds, still less than the election timeout.
const SLOW_WRITES_PER_SECOND: u32 = 40;
/// Acknowledged while a follower's disk is slow.
const BESIDE_A_SLOW_FOLLOWER: usize = 100;
/// A majority that never waits for the slow disk acknowledges these in time; one that does needs ten times as long.
const SLOW_FOLLOWER_MAX: Duration = Duration::from_secs(10);
/// Acknowledged while a majority's disks are slow.
const WITH_A_SLOW_MAJORITY: usize = 10;
/// So long they take at least: an fsync is at least one write.
const SLOW_MAJORITY_MIN: Duration = Duration::from_millis(500);
/// A full disk shows within this: the store may overwrite old pages of its own for a while.
const FULL_WAIT: Duration = Duration::from_secs(40);
/// An account that takes what only fills disks.
const BIN: &str = "bin";
/// Long enough to fill what the store has in reserve.
const FILLER_BYTES: usize = 4000;

pub fn slow_disk(stage: &mut Stage) -> Result<(), DrillError> {
    let throttle = Throttle::make(stage.cluster.dir(), SLOW_WRITES_PER_SECOND)?;
    let (leader, followers) = stage.roles()?;
    let (slow, rest) = (followers[0], &followers[1..]);
    stage.route(rest);
    stage.flow(stage.options.messages / 4)?;
    stage.hit(&format!("slow disk of follower {slow}"), |cluster| throttle.slow(cluster.pid(slow)?))?;
    let began = Instant::now();
    stage.flow(BESIDE_A_SLOW_FOLLOWER)?;
    let took = began.elapsed();
    stage.fact("beside_slow_follower_ms", took.as_millis());
    stage.promise(took <= SLOW_FOLLOWER_MAX, "the cluster waits for the slowest disk");
    stage.heal("fast again", |cluster| throttle.release(cluster.pid(slow)?))?;
    stage.flow(BETWEEN)?;
    stage.hit(&format!("slow disk of leader {leader}"), |cluster| throttle.slow(cluster.pid(leader)?))?;
    let began = Instant::now();
    stage.flow(BETWEEN * 2)?;
    stage.fact("with_slow_leader_ms", began.elapsed().as_millis());
    let successor = stage.cluster.await_leader()?;
    stage.fact("handed_over", if successor == leader { "no" } else { "yes" });
    // Only now must anybody wait for a slow disk; that it shows is the proof that they were slow before.
    let others = [followers[0], followers[1]];
    stage.hit("slow disks of three", |cluster| others.iter().try_for_each(|&id| throttle.slow(cluster.pid(id)?)))?;
    let began = Instant::now();
    stage.flow(WITH_A_SLOW_MAJORITY)?;
    let took = began.elapsed();
    stage.fact("with_slow_majority_ms", took.as_millis());
    stage.promise(took >= SLOW_MAJORITY_MIN, "the disks were not slow: this drill has shown nothing");
    stage.heal("fast again", |cluster| {
        let slow = [leader, others[0], others[1]];
        slow.iter().try_for_each(|&id| throttle.release(cluster.pid(id)?))
    })?;
    stage.recover()?;
    stage.flow(BETWEEN)
}

/// First one disk, which the cluster can do without; then a majority's, so that it must refuse, by name.
pub fn disk_full(stage: &mut Stage) -> Result<(), DrillError> {
    let (leader, followers) = stage.roles()?;
    stage.route(&followers);
    create_accounts(&stage.cluster, leader, &[BIN])?;
    stage.flow(BETWEEN)?;
    let (mut filler, mut probe) = (Filler::open(stage, leader)?, Probe::open(&stage.cluster, leader)?);
    stage.hit(&format!("disk of leader {leader} full"), |_| Ok(()))?;
    stage.fill(leader)?;
    let cluster = &stage.cluster;
    let refused = filler.until_named_or(|| cluster.await_leader().is_ok_and(|now| now != leader))?;
    stage.fact("leader_full", if refused { "DISK_FULL" } else { "handed-over" });
    stage.flow(BETWEEN)?;
    // It cannot store what it would have to apply first, and so may refuse; whoever has room must not.
    read(stage, &mut probe, "read_at_full", false)?;
    let (others, spared) = ([followers[0], followers[1]], followers[2]);
    let (mut filler, mut probe) = (Filler::open(stage, spared)?, Probe::open(&stage.cluster, spared)?);
    read(stage, &mut probe, "read_beside_full", true)?;
    stage.hit("disks of three full", |_| Ok(()))?;
    others.iter().try_for_each(|&id| stage.fill(id))?;
    filler.until_named_or(|| false)?;
    stage.fact("majority_full", "DISK_FULL");
    read(stage, &mut probe, "majority_full_read", true)?;

    stage.heal("room again", |_| Ok(()))?;
    [leader, others[0], others[1]].iter().try_for_each(|&id| stage.free(id))?;
    stage.flow(BETWEEN)?;
    stage.recover()
}

/// A client that was there before the disk was full, and writes to an offline account, whose mailbox nobody judges.
struct Filler {
    client: LineClient,
}

impl Filler {
    fn open(stage: &Stage, at: u16) -> Result<Self, DrillError> {
        let mut client = stage.cluster.connect(at, ACK_WAIT)?;
        let request = format!("2|{WRITER}");
        let answer = client.request(&request)?;
        match answer.is_ok() {
            true => Ok(Self { client }),
            false => Err(DrillError::Refused { request, answer: answer.last }),
        }
    }

    /// Writes until it is refused with `DISK_FULL` (`true`), or it is `enough`. What was on its way to the disk when that
    /// turned out to be full is unknown; what comes after is refused by name.
    fn until_named_or(&mut self, enough: impl Fn() -> bool) -> Result<bool, DrillError> {
        let request = format!("5|{BIN}|{}", "f".repeat(FILLER_BYTES));
        wait_until("a full disk shows", FULL_WAIT, || match self.client.request(&request) {
            Ok(answer) => {
                let mut fields = answer.last.split('|');
                match (fields.next(), fields.next()) {
                    (Some("retry"), Some("DISK_FULL")) => Some(Ok(true)),
                    _ => enough().then_some(Ok(false)),
                }
            }
            Err(error) => Some(Err(error)),
        })?
    }
}

/// What a client reads at a replica: never less than was acknowledged. A refusal counts only where it `must` serve.
fn read(stage: &mut Stage, probe: &mut Probe, fact: &str, must: bool) -> Result<(), DrillError> {
    probe.ask(stage)?;
    match probe.answer()? {
        Seen::Fresh => stage.fact(fact, "fresh"),
        Seen::Refused(code) => {
            stage.fact(fact, &code);
            stage.promise(!must, &format!("{fact}: a read was refused, with {code}"));
        }
        Seen::Stale(missing) => {
            stage.fact(fact, "stale");
            stage.promise(false, &format!("{fact}: a read lacked {missing} acknowledged messages"));
        }
    }
    Ok(())
}
