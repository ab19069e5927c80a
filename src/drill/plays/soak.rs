//! A long, random afternoon: a crowd chats, and every few seconds something is done to a replica or two.
//!
//! At most two of five are hurt at a time, and all vote again before the next fault: so a majority always serves, and
//! nobody may have to give up. What is done comes from the drill's seed, when it happens does not.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::drill::chatter::{Crowd, Diary, breaches, judge_mailbox, tally};
use crate::drill::judge::Verdict;
use crate::drill::stage::{Stage, create_accounts};
use crate::drill::{DrillError, Msg, read_mailbox, wait_until};

/// Who chats.
const CLIENTS: usize = 50;
/// Between two faults, in which all is well.
const PEACE_MS: std::ops::Range<u64> = 500..3000;
/// How long a fault lasts.
const FAULT_MS: std::ops::Range<u64> = 300..4000;
/// One fault of so many hits two replicas.
const TWO_ONE_IN: u32 = 4;
/// A mailbox can be read within this at a replica that votes.
const READ_WAIT: Duration = Duration::from_secs(60);

/// What is done to replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    Restart,
    Cut,
}

/// How often each was done.
#[derive(Debug, Default)]
struct Counts {
    kills: usize,
    pauses: usize,
    restarts: usize,
    cuts: usize,
}

pub fn soak(stage: &mut Stage) -> Result<(), DrillError> {
    let mut rng = Rng::with_seed(stage.options.seed);
    let (leader, _) = stage.roles()?;
    let names: Vec<String> = (1..=CLIENTS).map(|n| format!("client{n}")).collect();
    create_accounts(&stage.cluster, leader, &names)?;
    let ids = stage.cluster.ids();
    let addresses: Vec<_> = ids.iter().map(|&id| stage.cluster.address(id)).collect();
    let crowd = Crowd::start(&names, &addresses, stage.options.seed);
    let (began, mut counts) = (Instant::now(), Counts::default());
    while began.elapsed() < stage.options.lasting {
        stage.last(Duration::from_millis(rng.u64(PEACE_MS)))?;
        let fault = choose(&mut rng, stage.network.is_some());
        let mut victims = ids.clone();
        rng.shuffle(&mut victims);
        victims.truncate(if rng.u32(0..TWO_ONE_IN) == 0 { 2 } else { 1 });
        strike(stage, fault, &victims, Duration::from_millis(rng.u64(FAULT_MS)), &mut counts)?;
        stage.cluster.await_whole()?;
        stage.flow(1)?;
        let (done, all) = (began.elapsed().as_secs(), stage.options.lasting.as_secs());
        stage.say(&format!("{done} of {all} s, {} messages acknowledged", crowd.acked()));
    }
    stage.recover()?;
    let diaries = crowd.finish();
    tell(stage, &diaries, &counts);
    let verdict = judge_all(stage, &names, &diaries)?;
    stage.judge_also(verdict);
    Ok(())
}

fn choose(rng: &mut Rng, has_network: bool) -> Fault {
    let faults = [Fault::Kill, Fault::Pause, Fault::Restart, Fault::Cut];
    faults[rng.usize(0..if has_network { 4 } else { 3 })]
}

/// Does it, lets it last, and undoes it.
fn strike(
    stage: &mut Stage,
    fault: Fault,
    victims: &[u16],
    lasting: Duration,
    counts: &mut Counts,
) -> Result<(), DrillError> {
    let who = victims.iter().map(u16::to_string).collect::<Vec<_>>().join("+");
    match fault {
        Fault::Kill => {
            counts.kills += 1;
            stage.hit(&format!("kill {who}"), |cluster| cluster.kill_all(victims))?;
            stage.last(lasting)?;
            stage.heal("", |cluster| victims.iter().try_for_each(|&id| cluster.restart(id)))
        }
        Fault::Pause => {
            counts.pauses += 1;
            stage.hit(&format!("stop {who}"), |cluster| victims.iter().try_for_each(|&id| cluster.pause(id)))?;
            stage.last(lasting)?;
            stage.heal("", |cluster| victims.iter().try_for_each(|&id| cluster.resume(id)))
        }
        Fault::Restart => {
            counts.restarts += 1;
            let ends = stage.hit(&format!("term {who}"), |cluster| {
                victims.iter().map(|&id| cluster.terminate(id)).collect::<Result<Vec<_>, _>>()
            })?;
            stage.promise(ends.iter().all(|end| end.success()), "a replica that was asked to end did not exit with 0");
            stage.heal("", |cluster| victims.iter().try_for_each(|&id| cluster.restart(id)))
        }
        Fault::Cut => {
            counts.cuts += 1;
            let rest: Vec<u16> = stage.cluster.ids().into_iter().filter(|id| !victims.contains(id)).collect();
            stage.cut(&format!("cut {who}"), &[(victims, &rest), (&rest, victims)])?;
            stage.last(lasting)?;
            stage.join()
        }
    }
}

/// What goes into the verdict line beside the mailboxes.
fn tell(stage: &mut Stage, diaries: &[Diary], counts: &Counts) {
    let tally = tally(diaries);
    let cuts = if stage.network.is_some() { counts.cuts.to_string() } else { "skipped".to_owned() };
    stage.fact("clients", diaries.len());
    stage.fact("attempted", tally.attempted);
    stage.fact("acknowledged", tally.acknowledged);
    stage.fact("refused", tally.refused);
    stage.fact("kills", counts.kills);
    stage.fact("pauses", counts.pauses);
    stage.fact("restarts", counts.restarts);
    stage.fact("partitions", cuts);
    stage.fact("seed", stage.options.seed);
    let is_whole = tally.attempted == tally.acknowledged + tally.refused;
    stage.promise(is_whole, "a message was neither acknowledged nor refused in time");
    for breach in breaches(diaries) {
        stage.promise(false, breach);
    }
}

/// Every replica's reading of every mailbox.
fn judge_all(stage: &Stage, names: &[String], diaries: &[Diary]) -> Result<Verdict, DrillError> {
    let mut verdict = Verdict::default();
    for name in names {
        stage.say(&format!("reading {name}'s mailbox at every replica"));
        let mut worst: Option<Verdict> = None;
        for id in stage.cluster.running() {
            let seen = judge_mailbox(diaries, name, &read_at(stage, id, name)?);
            worst = Some(worst.map_or(seen, |worst| worst.worse(seen)));
        }
        verdict = verdict.plus(worst.unwrap_or_default());
    }
    Ok(verdict)
}

fn read_at(stage: &Stage, id: u16, name: &str) -> Result<Vec<Msg>, DrillError> {
    let mut last = None;
    let read = wait_until("a replica serves a mailbox", READ_WAIT, || {
        read_mailbox(stage.cluster.address(id), name).map_err(|error| last = Some(error)).ok()
    });
    read.map_err(|timeout| last.unwrap_or(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_cut_only_where_there_are_links() {
        let mut rng = Rng::with_seed(7);
        assert!((0..200).all(|_| choose(&mut rng, false) != Fault::Cut));
        assert!((0..200).any(|_| choose(&mut rng, true) == Fault::Cut));
    }
}
