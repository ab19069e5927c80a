//! Files that are no longer what was written: torn off, or one bit changed.
//!
//! A damaged replica may refuse to start, or stop; it may repair itself from the others; where nobody needs the damaged
//! place, it may go on. What it must not do is show anything that was not sent, or hand it on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use super::wipe::empty;
use crate::drill::stage::{READER, Stage};
use crate::drill::{DrillError, read_mailbox, wait_until};

/// Acknowledged between two faults.
const BETWEEN: usize = 25;
/// How often the log is torn.
const TEARS: usize = 4;
/// A damaged replica has ended or votes again within this; else it is set aside and counts as refused.
const SETTLE_WAIT: Duration = Duration::from_secs(30);
/// Where bits are flipped, and whether the replica is killed before or ends in peace, which empties its `-wal` files.
const FILES: [(&str, bool); 4] = [("log.db", false), ("log.db-wal", true), ("state.db", false), ("state.db-wal", true)];

/// What became of a damaged replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It ended by itself, or did not take part.
    Refused,
    /// It takes part.
    GoesOn,
}

/// Counts of outcomes, for the verdict line.
#[derive(Default)]
struct Tally {
    refused: usize,
    goes_on: usize,
}

pub fn torn_log(stage: &mut Stage) -> Result<(), DrillError> {
    let mut random = fastrand::Rng::with_seed(stage.options.seed);
    let mut tally = Tally::default();
    for _ in 0..TEARS {
        let (_, followers) = stage.roles()?;
        let victim = followers[0];
        stage.route(&followers[1..]);
        stage.flow(BETWEEN)?;
        stage.hit(&format!("kill -9 {victim}, tear its log"), |cluster| cluster.kill(victim))?;
        let file = stage.cluster.data_dir(victim).join("log.db-wal");
        let length = written(&fs::read(&file).map_err(DrillError::io("look at a log"))?) as u64;
        let torn = File::options().write(true).open(&file).and_then(|file| file.set_len(random.u64(..=length)));
        torn.map_err(DrillError::io("tear a log"))?;
        stage.flow(BETWEEN)?;
        revive(stage, victim, &mut tally)?;
    }
    close(stage, &tally)
}

/// In each file twice: anywhere, and in the middle of a stored text, where no structure is hurt.
pub fn flip_a_bit(stage: &mut Stage) -> Result<(), DrillError> {
    let mut random = fastrand::Rng::with_seed(stage.options.seed);
    let mut tally = Tally::default();
    for (file, is_crash) in FILES {
        for in_text in [false, true] {
            let (_, followers) = stage.roles()?;
            let victim = followers[0];
            stage.route(&followers[1..]);
            stage.flow(BETWEEN)?;
            let label = format!("a bit of {file} of {victim}{}", if in_text { ", in a text" } else { "" });
            stage.hit(&label, |cluster| match is_crash {
                true => cluster.kill(victim),
                false => cluster.terminate(victim).map(drop),
            })?;
            flip(&stage.cluster.data_dir(victim).join(file), in_text, &mut random)?;
            stage.flow(BETWEEN)?;
            revive(stage, victim, &mut tally)?;
        }
    }
    close(stage, &tally)
}

fn flip(file: &PathBuf, in_text: bool, random: &mut fastrand::Rng) -> Result<(), DrillError> {
    let mut bytes = fs::read(file).map_err(DrillError::io("read a replica's file"))?;
    let written = written(&bytes);
    if written == 0 {
        return Ok(());
    }
    let texts: Vec<usize> = if in_text { places_of_texts(&bytes) } else { Vec::new() };
    let at = random.choice(&texts).copied().unwrap_or_else(|| random.usize(..written));
    bytes[at] ^= 1 << random.u8(..8);
    fs::write(file, bytes).map_err(DrillError::io("write a replica's file"))
}

/// How much of a file was ever written to: behind that are only zeros.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Where texts of messages stand, each with its copies: a page that was split still holds what has moved on. Of texts
/// that stand in one place only, that place is alive; if there are any, only these.
fn places_of_texts(bytes: &[u8]) -> Vec<usize> {
    const START: &[u8] = b"message ";
    let mut places: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for at in bytes.windows(START.len()).enumerate().filter(|(_, window)| *window == START).map(|(at, _)| at) {
        let digits = bytes[at + START.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        places.entry(&bytes[at..at + START.len() + digits]).or_default().push(at);
    }
    let single: Vec<usize> = places.values().filter(|places| places.len() == 1).flatten().copied().collect();
    if single.is_empty() { places.into_values().flatten().collect() } else { single }
}

/// Starts a damaged replica, reads at it if it serves, and replaces its disk by an empty one if it does not.
fn revive(stage: &mut Stage, victim: u16, tally: &mut Tally) -> Result<(), DrillError> {
    stage.heal(&format!("start {victim}"), |cluster| cluster.spawn(victim))?;
    let mut outcome = settle(stage, victim)?;
    if outcome == Outcome::GoesOn {
        outcome = check_reading(stage, victim)?;
    }
    match outcome {
        Outcome::GoesOn => tally.goes_on += 1,
        Outcome::Refused => {
            tally.refused += 1;
            empty(&stage.cluster, victim)?;
            stage.heal(&format!("start {victim} blank"), |cluster| cluster.restart(victim))?;
        }
    }
    stage.recover()
}

/// Whether it ends by itself, or takes part. One that does neither is killed.
fn settle(stage: &mut Stage, victim: u16) -> Result<Outcome, DrillError> {
    let cluster = &mut stage.cluster;
    let settled = wait_until("a damaged replica ends or takes part", SETTLE_WAIT, || {
        match cluster.ended(victim) {
            Err(error) => return Some(Err(error)),
            Ok(Some(_)) => return Some(Ok(Outcome::Refused)),
            Ok(None) => {}
        }
        let whole = cluster.status(victim).is_ok_and(|status| status.is_whole());
        whole.then_some(Ok(Outcome::GoesOn))
    });
    match settled {
        Ok(outcome) => outcome,
        Err(_) => {
            cluster.kill(victim)?;
            Ok(Outcome::Refused)
        }
    }
}

/// At the end everybody is read; here it is looked whether the damaged one alone shows something else for a while.
/// It may also notice the damage only when it reads, and end then.
fn check_reading(stage: &mut Stage, victim: u16) -> Result<Outcome, DrillError> {
    let acked = stage.acked();
    let cluster = &mut stage.cluster;
    let read = wait_until("a damaged replica serves or ends", SETTLE_WAIT, || match cluster.ended(victim) {
        Ok(None) => read_mailbox(cluster.address(victim), READER).ok().map(|read| Ok(Some(read))),
        Ok(Some(_)) => Some(Ok(None)),
        Err(error) => Some(Err(error)),
    })??;
    let Some(read) = read else {
        return Ok(Outcome::Refused);
    };
    let wrong = read.iter().zip(1..).find(|(shown, n)| shown.text != format!("message {n}"));
    let wrong = wrong.map(|(shown, n)| format!("replica {victim} shows {:?} as message {n}", shown.text));
    stage.promise(wrong.is_none(), &wrong.unwrap_or_default());
    let missing = acked.saturating_sub(read.len());
    stage.promise(missing == 0, &format!("replica {victim} lacks {missing} acknowledged messages"));
    Ok(Outcome::GoesOn)
}

fn close(stage: &mut Stage, tally: &Tally) -> Result<(), DrillError> {
    stage.fact("refused", tally.refused);
    stage.fact("went_on", tally.goes_on);
    stage.fact("set_aside", set_aside(stage)?);
    stage.fact("seed", stage.options.seed);
    let (_, followers) = stage.roles()?;
    stage.route(&followers);
    stage.flow(BETWEEN)
}

/// How often a replica replaced its own damaged files: it keeps the old ones beside the new. Only told, not judged.
fn set_aside(stage: &Stage) -> Result<usize, DrillError> {
    let mut count = 0;
    for id in stage.cluster.ids() {
        let files = fs::read_dir(stage.cluster.data_dir(id)).map_err(DrillError::io("look into a data directory"))?;
        let names = files.flatten().map(|file| file.file_name());
        count += names.filter(|name| name.to_string_lossy().starts_with("set-aside-")).count();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_exactly_one_bit_and_in_a_text_where_there_is_one() {
        let file = std::env::temp_dir().join(format!("plainsong-flip-{}", std::process::id()));
        let before = b"..................message 1..................".to_vec();
        for seed in 0..20 {
            fs::write(&file, &before).expect("written");
            flip(&file, true, &mut fastrand::Rng::with_seed(seed)).expect("flipped");
            let after = fs::read(&file).expect("read");
            let changed: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
            assert_eq!(changed, [18], "seed {seed}");
            assert_eq!((before[18] ^ after[18]).count_ones(), 1);
        }
        fs::remove_file(file).expect("ours");
    }
}
